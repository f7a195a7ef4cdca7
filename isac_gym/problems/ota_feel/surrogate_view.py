"""What agents and people see of the surrogate rounds: the state record, observations, the scene."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock, Process
from isac_gym.core.records import TensorRecord, record_field, tensor_field
from isac_gym.core.scene import Bars, Ellipse, Points, Scene
from isac_gym.physics.aggregation import mmse_receivers
from isac_gym.problems.ota_feel.model import OtaFeel, power_of
from isac_gym.problems.ota_feel.records import OtaFeelInstance

__all__ = ["OtaFeelState", "OtaFeelView", "Part"]

_CLIP = 5.0
_LENGTH_M = 50.0  # scale of distances in observations


@dataclass(frozen=True)
class OtaFeelState(TensorRecord):
    """A round about to be decided."""

    instance: OtaFeelInstance = record_field(OtaFeelInstance, doc="this round's truth")
    measured: OtaFeelInstance = record_field(
        OtaFeelInstance, doc="what is known: channels of a round ago, the estimated target"
    )
    plan: Tensor = tensor_field(
        "B K M R", "complex", unit="sqrt(W)", doc="base design from the measured channels"
    )
    role: Tensor = tensor_field("B K 2", "real", doc="power and sensing entries it expects")
    estimate: Tensor = tensor_field("B 3", "real", unit="m", doc="mean of the belief")
    covariance: Tensor = tensor_field("B 3 3", "real", unit="m^2", doc="its covariance")
    energy: Tensor = tensor_field("B K", "real", unit="W slots", doc="energy left")
    power_w: Tensor = tensor_field("B K", "real", unit="W", doc="last powers")
    nmse_task: Tensor = tensor_field("B R", "real", doc="last errors of the streams; 1 before")
    slot: Tensor = tensor_field("B", "int", doc="rounds done in this episode")


class Part(NamedTuple):
    """A run of observation entries: name, size per device or in all, meaning, values by state."""

    name: str
    size: int
    doc: str
    value: Callable[[OtaFeelState], Tensor]


@dataclass(frozen=True, kw_only=True)
class OtaFeelView(Process):
    """The observing half of the surrogate process.

    Attributes:
        problem: The OTA-FEEL problem.
        horizon: Rounds per episode.
        correlation: Of the channels from round to round.
        delay_rounds: Age of the channels that precoders are chosen with, 0 or 1.
        energy: Of each device for the episode, over what full power takes.
    """

    problem: OtaFeel
    horizon: int = 20
    correlation: float = 0.95
    delay_rounds: int = 1
    energy: float = 1.0

    @property
    def planning_noise_w(self) -> float:
        """Noise that base designs count with: what channels lose in a round is noise, too."""
        s = self.problem.scenario
        if self.delay_rounds == 0:
            return s.noise_w
        return s.noise_w + (1 - self.correlation**2) * s.num_devices * s.max_power_w

    @property
    def _devices(self) -> int:
        return self.problem.scenario.num_devices

    @property
    def agents(self) -> tuple[str, ...]:
        """One agent per device."""
        return tuple(f"device_{index}" for index in range(self._devices))

    @property
    def action_size(self) -> int:
        """The agents' actions one after the other."""
        return self._devices * self.local_action_size

    @property
    def observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of the joint observation: device axis first, in row-major order."""
        return (
            *(ObservationBlock(p.name, self._devices * p.size, p.doc) for p in self._own_parts()),
            *(ObservationBlock(p.name, p.size, p.doc) for p in self._shared_parts()),
        )

    @property
    def local_observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of one device's observation: its own, then what the server broadcasts."""
        return (
            *(ObservationBlock(p.name, p.size, f"own {p.doc}") for p in self._own_parts()),
            *(ObservationBlock(p.name, p.size, p.doc) for p in self._shared_parts()),
            ObservationBlock("identity", self._devices, "one-hot agent number"),
        )

    def observe(self, state: OtaFeelState) -> Tensor:
        """Joint observation, (B, O) float32; see ``observation_blocks``."""
        own = [part.value(state).flatten(1) for part in self._own_parts()]
        shared = [part.value(state) for part in self._shared_parts()]
        return torch.cat([*own, *shared], 1).clamp(-_CLIP, _CLIP).to(torch.float32)

    def observe_local(self, state: OtaFeelState) -> Tensor:
        """Local observations, (B, K, O) float32; see ``local_observation_blocks``."""
        count = self._devices
        shape = (state.batch_size, count, -1)
        own = [part.value(state).reshape(shape) for part in self._own_parts()]
        shared = [part.value(state)[:, None].expand(-1, count, -1) for part in self._shared_parts()]
        identity = torch.eye(count, dtype=state.estimate.dtype, device=state.estimate.device)
        identity = identity.expand(state.batch_size, -1, -1)
        local = torch.cat([*own, *shared, identity], -1)
        return local.clamp(-_CLIP, _CLIP).to(torch.float32)

    def _own_parts(self) -> tuple[Part, ...]:
        """What every device has for itself; values (B, K, ...)."""
        s = self.problem.scenario
        links = s.num_tasks * s.device_antennas
        most = self.horizon * self.energy * s.max_power_w
        return (
            Part(
                "heard",
                2 * links,
                "K sqrt(P) H_k^H M of the base design's receiver M, as measured (K M R 2), re, im",
                self._heard,
            ),
            Part(
                "plan",
                1,
                "power of the base design over the budget (K)",
                lambda state: power_of(state.plan) / state.measured.max_power_w,
            ),
            Part("role", 2, "power and sensing entries it expects (K 2)", lambda state: state.role),
            Part(
                "strength",
                1,
                "log10 of |H_k|^2 / (N M), measured (K)",
                lambda state: _log10(_square(state.measured.channel).mean((-2, -1))),
            ),
            Part("offset", 3, "estimated target less own position / 50 m (K 3)", _offset),
            Part(
                "range",
                1,
                "log10 of the distance to the estimate / 50 m (K)",
                lambda state: _log10(_offset(state).square().sum(-1)) / 2,
            ),
            Part(
                "echo",
                1,
                "echo power for the power sent over that of the nearest device, times 5 (K)",
                self._echo,
            ),
            Part(
                "energy",
                1,
                "energy left over that of the episode (K)",
                lambda state: state.energy / most,
            ),
        )

    def _shared_parts(self) -> tuple[Part, ...]:
        """What all devices see alike; values (B, size)."""
        return (
            Part(
                "estimate",
                3,
                "estimated target / 50 m",
                lambda state: state.measured.target / _LENGTH_M,
            ),
            Part(
                "spread",
                3,
                "log10 of the deviations of the belief in m",
                lambda state: _log10(torch.diagonal(state.covariance, dim1=1, dim2=2)) / 2,
            ),
            Part(
                "error",
                self.problem.scenario.num_tasks,
                "log10 of the streams' errors in the last round (R)",
                lambda state: _log10(state.nmse_task),
            ),
            Part(
                "time",
                1,
                "round / horizon",
                lambda state: state.slot[:, None].to(state.estimate.dtype) / self.horizon,
            ),
        )

    def heard(self, state: OtaFeelState) -> Tensor:
        """H_k^H M_k, (B, K, M, R), what the base design's receiver hears of each antenna."""
        m = state.measured
        receiver = mmse_receivers(m.channel @ state.plan, m.weight, self.planning_noise_w)
        if self.problem.scenario.pulse == "none":
            receiver = receiver.sum(1, keepdim=True)
        return m.channel.mH @ receiver

    def _heard(self, state: OtaFeelState) -> Tensor:
        scale = self.problem.scenario.max_power_w**0.5 * self._devices
        return torch.view_as_real((scale * self.heard(state)).resolve_conj())

    def _echo(self, state: OtaFeelState) -> Tensor:
        distance = _offset(state).square().sum(-1).log()
        steepness = 2 * self.problem.scenario.path_exponent  # there and back, in power
        return 5 * (steepness * (distance.amin(-1, keepdim=True) - distance)).exp()

    def measured(self, state: OtaFeelState) -> OtaFeelInstance:
        """Channels of a round ago, the estimated target, this round's budgets."""
        return state.measured

    def truth(self, state: OtaFeelState) -> OtaFeelInstance:
        """What the next decision is scored on."""
        return state.instance

    def scene(self, state: OtaFeelState) -> Scene:
        """Map of server, devices, target and belief; bars of the last powers and errors; row 0."""
        row = state[:1].to("cpu", torch.float64)
        now, s = row.instance, self.problem.scenario
        error = float((row.estimate - now.target).square().sum().sqrt())
        streams = ("localisation", "learning", *(f"task {r}" for r in range(2, s.num_tasks)))
        return Scene(
            title=f"round {int(row.slot[0])}, target error {error:.2f} m",
            outline_m=_sector(s.max_target_radius_m, s.arc_rad).numpy(),
            points=(
                Points(
                    label="server",
                    xy_m=torch.zeros(1, 2, dtype=torch.float64).numpy(),
                    role="base_station",
                    names=("server",),
                ),
                Points(
                    label="device",
                    xy_m=now.position[0, :, :2].numpy(),
                    role="user",
                    names=tuple(str(index) for index in range(self._devices)),
                ),
                Points(label="target", xy_m=now.target[:, :2].numpy(), role="target"),
                Points(label="estimate", xy_m=row.estimate[:, :2].numpy(), role="estimate"),
            ),
            ellipses=(
                Ellipse(
                    label="belief, 1 sigma",
                    centre_m=row.estimate[0, :2].numpy(),
                    covariance_m2=row.covariance[0, :2, :2].numpy(),
                ),
            ),
            bars=(
                Bars(
                    title="power",
                    unit="W",
                    names=self.agents,
                    values=row.power_w[0].numpy(),
                    limits=now.max_power_w[0].numpy(),
                ),
                Bars(
                    title="aggregation error",
                    unit="dB",
                    names=streams[: s.num_tasks],
                    values=(10 * _log10(row.nmse_task[0])).numpy(),
                ),
            ),
        )


def _offset(state: OtaFeelState) -> Tensor:
    return (state.measured.target[:, None] - state.measured.position) / _LENGTH_M


def _log10(x: Tensor) -> Tensor:
    return x.clamp_min(1e-12).log10()


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()


def _sector(radius_m: float, arc_rad: float) -> Tensor:
    """Outline (n, 2) of a sector about the x axis, with the server at its tip."""
    angle = (torch.linspace(-0.5, 0.5, 49, dtype=torch.float64)) * min(arc_rad, 2 * math.pi)
    edge = radius_m * torch.stack([torch.cos(angle), torch.sin(angle)], -1)
    tip = edge.new_zeros(1, 2)
    return torch.cat([tip, edge, tip])
