"""What agents and people see of power control: the state record, observations and the scene."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock, Process
from isac_gym.core.records import TensorRecord, record_field, tensor_field
from isac_gym.core.scene import Bars, Ellipse, Points, Scene
from isac_gym.core.units import linear_to_db
from isac_gym.physics.interference import sinr
from isac_gym.problems.power_control.model import (
    NormalisedNetwork,
    PowerControl,
    PowerControlDecision,
    PowerControlInstance,
    PowerControlMetrics,
)

__all__ = ["FLOOR_DB", "PowerControlState", "PowerControlView"]

FLOOR_DB = -40.0  # lowest power of an action, x in dB
_CLIP = 5.0
# Mean and standard deviation of log10 of the normalised network's entries over 10^4 reset draws
# of the `paper` preset (seed 11); recompute with `python -m tests.problems.observation_statistics`.
_LOG_STATISTICS = {
    "coupling": (2.467, 0.913),
    "noise": (0.536, 0.895),
    "comm_coupling": (-1.275, 0.626),
    "comm_noise": (-2.806, 0.527),
}


@dataclass(frozen=True)
class PowerControlState(TensorRecord):
    """State of all variants; energy and track are carried, unused, where they do not apply."""

    instance: PowerControlInstance = record_field(PowerControlInstance, doc="this slot's truth")
    measured: PowerControlInstance = record_field(PowerControlInstance, doc="what the agents know")
    comm_los: Tensor = tensor_field("B I I", "complex", doc="line-of-sight amplitude, BS to user")
    comm_scatter: Tensor = tensor_field("B I I", "real", doc="scattering scale, BS to user")
    direct_los: Tensor = tensor_field("B I I", "complex", doc="line-of-sight amplitude, BS to BS")
    direct_scatter: Tensor = tensor_field("B I I", "real", doc="scattering scale, BS to BS")
    ue_fading: Tensor = tensor_field("B I I", "complex", doc="fading term, BS to user")
    bs_fading: Tensor = tensor_field("B I I", "complex", doc="fading term, BS to BS")
    heading_rad: Tensor = tensor_field("B", "real", unit="rad", doc="target heading")
    power: Tensor = tensor_field("B I", "real", doc="last applied x")
    energy: Tensor = tensor_field("B I", "real", doc="energy left, in slots at full power")
    track_mean: Tensor = tensor_field(
        "B 4", "real", unit="m, m/s", doc="filter mean (x, y, vx, vy)"
    )
    track_covariance: Tensor = tensor_field("B 4 4", "real", unit="m, m/s", doc="filter covariance")
    slot: Tensor = tensor_field("B", "int", doc="slots done in this episode")


@dataclass(frozen=True, kw_only=True)
class PowerControlView(Process):
    """The observing half of every power-control process.

    Attributes:
        problem: The power-control problem.
        horizon: Slots per episode.
        share_peak: Agents observe the largest last power of the network (one shared scalar).
    """

    problem: PowerControl
    horizon: int = 1
    share_peak: bool = True

    @property
    def _count(self) -> int:
        return self.problem.scenario.num_bs

    @property
    def agents(self) -> tuple[str, ...]:
        """One agent per base station."""
        return tuple(f"bs_{index}" for index in range(self._count))

    @property
    def action_size(self) -> int:
        """One number per base station."""
        return self._count

    @property
    def local_action_size(self) -> int:
        """The agent's own number."""
        return 1

    @property
    def observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of the joint observation."""
        count = self._count
        log = "log10, centred and scaled"
        return (
            ObservationBlock("power", count, "last x in dB / 20 + 1"),
            ObservationBlock("sensing", count, "(gamma_s in dB + 30) / 15 at the last measurement"),
            ObservationBlock("communication", count, "(gamma_c - Gamma in dB) / 10, same"),
            ObservationBlock(
                "coupling", count * (count - 1), f"measured F off the diagonal, {log}"
            ),
            ObservationBlock("noise", count, f"measured n, {log}"),
            ObservationBlock("comm_coupling", count * (count - 1), f"measured Gamma Q, {log}"),
            ObservationBlock("comm_noise", count, f"measured Gamma m, {log}"),
            ObservationBlock("threshold", count, "Gamma in dB / 10"),
            ObservationBlock("time", 1, "slot / horizon"),
            *self._extra_blocks(),
        )

    @property
    def local_observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of one agent's observation: no other cell's gains."""
        return (
            ObservationBlock("power", 1, "own last x in dB / 20 + 1"),
            ObservationBlock("sensing", 1, "(own gamma_s in dB + 30) / 15"),
            ObservationBlock("communication", 1, "(own gamma_c - Gamma in dB) / 10"),
            ObservationBlock(
                "heard_at_bs", 1, "(own interference + noise at the BS over noise, dB) / 20 - 1"
            ),
            ObservationBlock("heard_at_user", 1, "(the same at the user, dB) / 20 - 1"),
            ObservationBlock(
                "echo", 1, "own echo strength A_ii p_max / noise in dB / 20: a range proxy"
            ),
            ObservationBlock(
                "peak", 1, "largest last power of the network, x in dB / 20 + 1; 0 unless shared"
            ),
            ObservationBlock("time", 1, "slot / horizon"),
            ObservationBlock("energy", 1, "own energy left / budget; 1 where unlimited"),
            ObservationBlock("identity", self._count, "one-hot agent number"),
        )

    def _extra_blocks(self) -> tuple[ObservationBlock, ...]:
        return ()

    def _extra_observation(self, state: PowerControlState) -> list[Tensor]:
        return []

    def measured(self, state: PowerControlState) -> PowerControlInstance:
        """Gains the agents know."""
        return state.measured

    def truth(self, state: PowerControlState) -> PowerControlInstance:
        """Gains the next decision is scored on."""
        return state.instance

    def observe(self, state: PowerControlState) -> Tensor:
        """Joint observation, (B, O) float32; see ``observation_blocks``."""
        network = self.problem.network(state.measured)
        sensing, comm = _last_sinrs(network, state.power)
        count = self._count
        off = ~torch.eye(count, dtype=torch.bool, device=state.power.device).flatten()
        index = (
            torch.arange(count * count, device=off.device)[off]
            if off.device.type != "meta"
            else off
        )

        def log(name: str, tensor: Tensor) -> Tensor:
            mean, deviation = _LOG_STATISTICS[name]
            flat = tensor.flatten(1)
            flat = flat[:, index] if tensor.ndim == 3 else flat
            return (linear_to_db(flat.clamp_min(1e-30)) / 10 - mean) / deviation

        threshold_db = linear_to_db(state.measured.threshold).clamp_min(-50)
        parts = [
            linear_to_db(state.power) / 20 + 1,
            sensing,
            comm,
            log("coupling", network.coupling),
            log("noise", network.noise),
            log("comm_coupling", network.comm_coupling),
            log("comm_noise", network.comm_noise),
            threshold_db / 10,
            (state.slot / self.horizon).to(state.power.dtype)[:, None],
            *self._extra_observation(state),
        ]
        return torch.cat(parts, 1).clamp(-_CLIP, _CLIP).to(torch.float32)

    def observe_local(self, state: PowerControlState) -> Tensor:
        """Local observations, (B, I, O) float32; see ``local_observation_blocks``."""
        network, x, m = self.problem.network(state.measured), state.power, state.measured
        sensing, comm = _last_sinrs(network, state.power)
        at_bs = sinr(x, network.coupling, network.noise).reciprocal() * x / network.noise
        at_user = sinr(x, network.comm_coupling, network.comm_noise).reciprocal() * x
        at_user = at_user / network.comm_noise.clamp_min(torch.finfo(x.dtype).tiny)
        echo = torch.diagonal(m.bs_echo_gain, dim1=-2, dim2=-1) * m.max_power_w / m.bs_noise_w
        power = linear_to_db(x) / 20 + 1
        peak = power.amax(-1, keepdim=True).expand_as(power) * float(self.share_peak)
        time = (state.slot / self.horizon).to(x.dtype)[:, None].expand_as(x)
        columns = [
            power,
            sensing,
            comm,
            linear_to_db(at_bs) / 20 - 1,
            linear_to_db(at_user) / 20 - 1,
            linear_to_db(echo) / 20,
            peak,
            time,
            state.energy / self._energy_budget(),
        ]
        identity = torch.eye(self._count, dtype=x.dtype, device=x.device).expand(x.shape[0], -1, -1)
        local = torch.cat([torch.stack(columns, -1), identity], -1)
        return local.clamp(-_CLIP, _CLIP).to(torch.float32)

    def _energy_budget(self) -> float:
        return float(self.horizon)

    def scene(self, state: PowerControlState) -> Scene:
        """Map of stations, users and target; bars of the last powers and SINRs of row 0."""
        row = state[:1].to("cpu", torch.float64)
        now = row.instance
        metrics = self.problem.evaluate(now, PowerControlDecision(row.power))
        angles = [math.radians(30 + 60 * k) for k in range(7)]
        radius = self.problem.scenario.hex_radius_m
        outline = torch.tensor([[radius * math.cos(a), radius * math.sin(a)] for a in angles])
        threshold_db = linear_to_db(now.threshold[0]).clamp_min(FLOOR_DB)
        worst_m = float(metrics.worst_sigma_m[0])
        names = self.agents
        return Scene(
            title=f"slot {int(row.slot[0])}, worst range error {worst_m:.1f} m",
            outline_m=outline.double().numpy(),
            points=(
                Points(
                    label="base station",
                    xy_m=now.bs[0, :, :2].numpy(),
                    role="base_station",
                    names=names,
                ),
                Points(label="user", xy_m=now.ue[0, :, :2].numpy(), role="user"),
                Points(label="target", xy_m=now.target[:, :2].numpy(), role="target"),
                *self._track_points(row),
            ),
            ellipses=self._ellipses(row, metrics),
            bars=(
                Bars(
                    title="power over cap",
                    unit="dB",
                    names=names,
                    values=linear_to_db(row.power[0]).numpy(),
                ),
                Bars(
                    title="sensing SINR",
                    unit="dB",
                    names=names,
                    values=linear_to_db(metrics.sensing_sinr[0]).numpy(),
                ),
                Bars(
                    title="communication SINR",
                    unit="dB",
                    names=names,
                    values=linear_to_db(metrics.comm_sinr[0]).numpy(),
                    limits=threshold_db.numpy(),
                ),
            ),
        )

    def _track_points(self, row: PowerControlState) -> tuple[Points, ...]:
        return ()

    def _ellipses(
        self, row: PowerControlState, metrics: PowerControlMetrics
    ) -> tuple[Ellipse, ...]:
        difference = row.instance.target[:, None, :] - row.instance.bs
        unit = (difference / difference.norm(dim=-1, keepdim=True))[0, :, :2]
        information = (unit / metrics.range_sigma_m[0][:, None]).mT @ (
            unit / metrics.range_sigma_m[0][:, None]
        )
        return (
            Ellipse(
                label="position error bound (1 sigma)",
                centre_m=row.instance.target[0, :2].numpy(),
                covariance_m2=torch.linalg.pinv(information, hermitian=True).numpy(),
            ),
        )


def _last_sinrs(network: NormalisedNetwork, power: Tensor) -> tuple[Tensor, Tensor]:
    """Sensing SINR and communication excess of the last powers, normalised, each (B, I)."""
    sensing = linear_to_db(sinr(power, network.coupling, network.noise))
    comm = linear_to_db(sinr(power, network.comm_coupling, network.comm_noise))
    return (sensing + 30) / 15, comm.clamp(-50, 50) / 10
