"""What agents and people see of robust beamforming: the state record, observations, the scene."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock, Process
from isac_gym.core.records import TensorRecord, record_field, tensor_field
from isac_gym.core.scene import Bars, Ellipse, Points, Scene
from isac_gym.problems.robust_beamforming.geometry import length, norm
from isac_gym.problems.robust_beamforming.model import RobustBeamforming
from isac_gym.problems.robust_beamforming.records import RobustBeamformingInstance

__all__ = ["Part", "RobustBeamformingState", "RobustBeamformingView"]

_CLIP = 5.0


@dataclass(frozen=True)
class RobustBeamformingState(TensorRecord):
    """State of both variants; what only the dynamic one needs is carried, unused, by the static."""

    instance: RobustBeamformingInstance = record_field(
        RobustBeamformingInstance, doc="this slot's truth: estimates, balls, true targets"
    )
    measured: RobustBeamformingInstance = record_field(
        RobustBeamformingInstance, doc="what the agents know: estimated targets, no true channel"
    )
    age: Tensor = tensor_field("B I", "real", unit="slots", doc="age of the cell's estimates")
    velocity: Tensor = tensor_field("B T 2", "real", unit="m/s", doc="true target velocities")
    track: Tensor = tensor_field(
        "B T 4", "real", unit="m, m/s", doc="predicted means (x, y, vx, vy)"
    )
    covariance: Tensor = tensor_field(
        "B T 4 T 4", "real", unit="m, m/s", doc="predicted covariance of all targets"
    )
    yardstick: Tensor = tensor_field(
        "B T 4 T 4", "real", unit="m, m/s", doc="the same of the all-sensing policy"
    )
    factor: Tensor = tensor_field(
        "B I N 2 T", "complex", unit="sqrt(W)", doc="near-optimal sensing at the true targets"
    )
    plan: Tensor = tensor_field(
        "B I N 2 T", "complex", unit="sqrt(W)", doc="the same at the estimated targets"
    )
    rate_reference: Tensor = tensor_field(
        "B", "real", unit="bit/s/Hz", doc="interference-free rate with perfect CSI"
    )
    energy: Tensor = tensor_field("B I", "real", unit="W slots", doc="energy stored")
    price: Tensor = tensor_field(
        "B I K", "real", unit="bit/s/Hz", doc="last rate lost per noise power of interference"
    )
    power_w: Tensor = tensor_field("B I", "real", unit="W", doc="last power")
    rate: Tensor = tensor_field("B I K", "real", unit="bit/s/Hz", doc="last worst-case rates")
    rmse_m: Tensor = tensor_field("B T", "real", unit="m", doc="last target errors; 0 before")
    slot: Tensor = tensor_field("B", "int", doc="slots done in this episode")


class Part(NamedTuple):
    """A run of observation entries: name, size, meaning, and values by state."""

    name: str
    size: int
    doc: str
    value: Callable[[RobustBeamformingState], Tensor]


@dataclass(frozen=True, kw_only=True)
class RobustBeamformingView(Process):
    """The observing half of both processes.

    Attributes:
        problem: The robust-beamforming problem.
        horizon: Slots per episode.
        prices: Agents observe the last slot's interference prices, one per user.
    """

    problem: RobustBeamforming
    horizon: int = 1
    prices: bool = False

    @property
    def _cells(self) -> int:
        return self.problem.scenario.num_bs

    @property
    def agents(self) -> tuple[str, ...]:
        """One agent per base station."""
        return tuple(f"bs_{index}" for index in range(self._cells))

    @property
    def action_size(self) -> int:
        """The agents' actions one after the other."""
        return self._cells * self.local_action_size

    @property
    def observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of the joint observation; axes in row-major order."""
        s = self.problem.scenario
        links = s.num_bs**2 * s.num_users
        looks = s.num_bs * s.num_targets
        return (
            ObservationBlock(
                "channel", 2 * links * s.num_antennas, "estimates over their norm (I I K N), re, im"
            ),
            ObservationBlock("strength", links, "log10 of the squared norm / 3 (I I K)"),
            ObservationBlock("radius", links, "ball radius over the norm (I I K)"),
            ObservationBlock("sine", looks, "sine of the angle to each estimated target (I T)"),
            ObservationBlock("range", looks, "its distance / 100 m (I T)"),
            *(ObservationBlock(p.name, p.size * s.num_bs, p.doc) for p in self._station_parts()),
            *(ObservationBlock(p.name, p.size, p.doc) for p in self._shared_parts()),
        )

    @property
    def local_observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of one agent's observation: the own station's links and looks."""
        s = self.problem.scenario
        links = s.num_bs * s.num_users
        return (
            ObservationBlock(
                "channel", 2 * links * s.num_antennas, "own estimates over the norm (I K N), re, im"
            ),
            ObservationBlock("strength", links, "log10 of the squared norm / 3 (I K)"),
            ObservationBlock("radius", links, "ball radius over the norm (I K)"),
            ObservationBlock("sine", s.num_targets, "sine of the own angle to each target"),
            ObservationBlock("range", s.num_targets, "own distance to each target / 100 m"),
            *(ObservationBlock(p.name, p.size, f"own {p.doc}") for p in self._station_parts()),
            *(ObservationBlock(p.name, p.size, p.doc) for p in self._shared_parts()),
            ObservationBlock("identity", self._cells, "one-hot agent number"),
        )

    def _station_parts(self) -> tuple[Part, ...]:
        """What every station has for itself; values (B, I)."""
        return ()

    def _shared_parts(self) -> tuple[Part, ...]:
        """What all stations see alike; values (B, size). The preference is always among them."""
        users = self._cells * self.problem.scenario.num_users
        preference = Part(
            "preference",
            1,
            "p: 1 wants rate, 0 wants localisation",
            lambda state: state.measured.preference[:, None],
        )
        price = Part(
            "price",
            users,
            "- d rate / d interference of the last slot (I K)",
            lambda state: state.price.flatten(1),
        )
        return (preference, price) if self.prices else (preference,)

    def measured(self, state: RobustBeamformingState) -> RobustBeamformingInstance:
        """What the agents know: estimates with balls, estimated targets."""
        return state.measured

    def truth(self, state: RobustBeamformingState) -> RobustBeamformingInstance:
        """What the next decision is scored on: the same estimates and balls, the true targets."""
        return state.instance

    def observe(self, state: RobustBeamformingState) -> Tensor:
        """Joint observation, (B, O) float32; see ``observation_blocks``."""
        known = [part.flatten(1) for part in self._known(state)]
        parts = [part.value(state) for part in (*self._station_parts(), *self._shared_parts())]
        return torch.cat([*known, *parts], 1).clamp(-_CLIP, _CLIP).to(torch.float32)

    def observe_local(self, state: RobustBeamformingState) -> Tensor:
        """Local observations, (B, I, O) float32; see ``local_observation_blocks``."""
        cells = self._cells
        known = [part.flatten(2) for part in self._known(state)]
        own = [part.value(state)[..., None] for part in self._station_parts()]
        shared = [part.value(state)[:, None] for part in self._shared_parts()]
        shared = [part.expand(-1, cells, -1) for part in shared]
        identity = torch.eye(cells, dtype=state.rate.dtype, device=state.rate.device)
        identity = identity.expand(state.batch_size, -1, -1)
        local = torch.cat([*known, *own, *shared, identity], -1)
        return local.clamp(-_CLIP, _CLIP).to(torch.float32)

    def _known(self, state: RobustBeamformingState) -> tuple[Tensor, ...]:
        """Channel, strength, radius, sine, range with the station axis second."""
        m = state.measured
        size = norm(m.channel).clamp_min(torch.finfo(m.radius.dtype).tiny ** 0.25)
        unit = m.channel / size[..., None]
        away = length(m.target[:, None] - m.bs[:, :, None])
        return (
            torch.stack([unit.real, unit.imag], 2),
            size.log10() * (2 / 3),
            m.radius / size,
            m.angle / math.pi,
            away / 100,
        )

    def scene(self, state: RobustBeamformingState) -> Scene:
        """Map of stations, users and targets; bars of the last power, rates and errors; row 0."""
        row = state[:1].to("cpu", torch.float64)
        now, s = row.instance, self.problem.scenario
        reach = s.bs_radius_m + s.max_user_distance_m
        angle = torch.arange(49, dtype=torch.float64) * (2 * math.pi / 48)
        outline = reach * torch.stack([torch.cos(angle), torch.sin(angle)], -1)
        pairs = tuple(f"{cell}.{user}" for cell in range(s.num_bs) for user in range(s.num_users))
        users = self.agents if s.num_users == 1 else pairs  # then in the stations' colours
        targets = tuple(f"target {index}" for index in range(s.num_targets))
        rate, share = float(row.rate.sum()), float(now.preference[0])
        title = f"slot {int(row.slot[0])}, preference {share:.2f}, worst rate {rate:.1f} bit/s/Hz"
        station = Points(
            label="base station", xy_m=now.bs[0].numpy(), role="base_station", names=self.agents
        )
        return Scene(
            title=title,
            outline_m=outline.numpy(),
            points=(
                station,
                Points(label="user", xy_m=now.user[0].flatten(0, 1).numpy(), role="user"),
                Points(label="target", xy_m=now.target[0].numpy(), role="target"),
                *self._track_points(row),
            ),
            ellipses=self._ellipses(row),
            bars=(
                Bars(
                    title="power",
                    unit="W",
                    names=self.agents,
                    values=row.power_w[0].numpy(),
                    limits=now.max_power_w[0].numpy(),
                ),
                Bars(
                    title="worst-case rate",
                    unit="bit/s/Hz",
                    names=users,
                    values=row.rate[0].flatten().numpy(),
                ),
                Bars(title="target error", unit="m", names=targets, values=row.rmse_m[0].numpy()),
            ),
        )

    def _track_points(self, row: RobustBeamformingState) -> tuple[Points, ...]:
        return ()

    def _ellipses(self, row: RobustBeamformingState) -> tuple[Ellipse, ...]:
        return ()
