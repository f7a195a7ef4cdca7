"""The power-control problem: instances, SINRs, metrics, projection.

Source: Rivera Figueroa, Bishoyi, Petrova 2024 (arXiv:2402.10660), equations (4)-(12), P1; where the
text lost its formulas they are reconstructed (``docs/power_control.md``). Everything downstream
sees only the normalised network (F, n, Q, m): gamma_s = x / (F x + n), gamma_c = x / (Q x + m).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord, tensor_field
from isac_gym.core.units import db_to_linear, linear_to_db
from isac_gym.physics.channels import close_in_gain, distance, rician_amplitudes
from isac_gym.physics.estimation import condition_2x2, position_precision, ranging_information
from isac_gym.physics.interference import balanced_level, radial_project, sinr
from isac_gym.physics.motion import uniform_in_hexagon
from isac_gym.physics.radar import bistatic_gain, range_accuracy
from isac_gym.problems.power_control.scenario import PowerControlScenario

__all__ = [
    "Fading",
    "NormalisedNetwork",
    "PowerControl",
    "PowerControlDecision",
    "PowerControlInstance",
    "PowerControlMetrics",
]

_MAX_ATTEMPTS = 400  # redraws before a threshold is called out of reach
_USABLE_SINR_DB = 15.0  # post-integration SINR where maximum-likelihood ranging collapses
_BOX_TOLERANCE = 1e-9


@dataclass(frozen=True)
class PowerControlInstance(TensorRecord):
    """One draw of positions and gains; all gains are power gains."""

    bs: Tensor = tensor_field("B I 3", "real", unit="m", doc="base station positions")
    ue: Tensor = tensor_field("B I 3", "real", unit="m", doc="user positions")
    target: Tensor = tensor_field("B 3", "real", unit="m", doc="target position")
    comm_gain: Tensor = tensor_field("B I I", "real", doc="H[i, j]: BS j to user i")
    direct_gain: Tensor = tensor_field("B I I", "real", doc="G[i, j]: BS j to BS i, zero diagonal")
    bs_echo_gain: Tensor = tensor_field("B I I", "real", doc="A[i, j]: BS j, target, BS i")
    ue_echo_gain: Tensor = tensor_field("B I I", "real", doc="E[i, j]: BS j, target, user i")
    self_interference: Tensor = tensor_field("B I", "real", doc="residual over own power")
    bs_noise_w: Tensor = tensor_field("B I", "real", unit="W", doc="noise power at the BS")
    ue_noise_w: Tensor = tensor_field("B I", "real", unit="W", doc="noise power at the user")
    threshold: Tensor = tensor_field("B I", "real", doc="communication SINR threshold Gamma")
    bandwidth_hz: Tensor = tensor_field("B I", "real", unit="Hz", doc="signal bandwidth")
    max_power_w: Tensor = tensor_field("B I", "real", unit="W", doc="power cap")


@dataclass(frozen=True)
class PowerControlDecision(TensorRecord):
    """Transmit powers over their caps."""

    power: Tensor = tensor_field("B I", "real", doc="x = p / p_max in [0, 1]")


@dataclass(frozen=True)
class PowerControlMetrics(TensorRecord):
    """Everything that is reported about a decision."""

    objective: Tensor = tensor_field(
        "B", "real", unit="dB", doc="scenario's objective, larger is better"
    )
    violation: Tensor = tensor_field(
        "B", "real", doc="largest relative shortfall of a threshold or box excess"
    )
    violation_db: Tensor = tensor_field(
        "B", "real", unit="dB", doc="largest shortfall of a communication SINR"
    )
    is_feasible: Tensor = tensor_field("B", "bool", doc="violation_db < 1e-6 and inside the box")
    sensing_sinr: Tensor = tensor_field("B I", "real", doc="gamma_s")
    comm_sinr: Tensor = tensor_field("B I", "real", doc="gamma_c")
    range_sigma_m: Tensor = tensor_field("B I", "real", unit="m", doc="sigma_i, eq. (12)")
    worst_sinr: Tensor = tensor_field("B", "real", doc="t = min_i gamma_s_i (B_i / B_max)^2")
    worst_sigma_m: Tensor = tensor_field("B", "real", unit="m", doc="largest sigma_i")
    mean_sigma_m: Tensor = tensor_field(
        "B", "real", unit="m", doc="mean of sigma_i, plotted by the paper"
    )
    peb2d_m: Tensor = tensor_field("B", "real", unit="m", doc="position error bound, height known")
    peb3d_m: Tensor = tensor_field("B", "real", unit="m", doc="position error bound in 3-D")
    condition2d: Tensor = tensor_field("B", "real", doc="condition number of the 2-D information")
    usable: Tensor = tensor_field("B", "real", doc="BSs above 15 dB after integration")
    total_power_w: Tensor = tensor_field("B", "real", unit="W", doc="sum of transmit powers")
    sum_rate_bps_hz: Tensor = tensor_field(
        "B", "real", unit="bit/s/Hz", doc="sum of log2(1 + gamma_c)"
    )


class NormalisedNetwork(NamedTuple):
    """Non-negative arrays with gamma_s w = x / (F x + n), gamma_c / Gamma = x / (Q' x + m').

    Attributes:
        coupling: F with the bandwidth weights folded in, (B, I, I).
        noise: n, likewise, (B, I).
        comm_coupling: Q' = D(Gamma) Q, (B, I, I).
        comm_noise: m' = D(Gamma) m, (B, I).
    """

    coupling: Tensor
    noise: Tensor
    comm_coupling: Tensor
    comm_noise: Tensor


class Fading(NamedTuple):
    """Small-scale fading terms, CN(0, 1).

    Attributes:
        ue: BS j to user i, (B, I, I) complex.
        bs: BS j to BS i, (B, I, I) complex, symmetric (reciprocal).
    """

    ue: Tensor
    bs: Tensor


@dataclass(frozen=True, kw_only=True)
class PowerControl(Problem):
    """Maximise the worst weighted sensing SINR under communication thresholds and power caps."""

    name: ClassVar[str] = "power_control"
    scenario_type: ClassVar[type[PowerControlScenario]] = PowerControlScenario
    instance_type: ClassVar[type[TensorRecord]] = PowerControlInstance
    decision_type: ClassVar[type[TensorRecord]] = PowerControlDecision
    metrics_type: ClassVar[type[TensorRecord]] = PowerControlMetrics
    objective_unit: ClassVar[str] = "dB"

    scenario: PowerControlScenario = PowerControlScenario()

    @property
    def axis_sizes(self) -> dict[str, int]:
        """Number of base stations."""
        return {"I": self.scenario.num_bs}

    def sample(self, streams: Streams) -> PowerControlInstance:
        """Draw instances; lanes below ``min_margin_db`` are redrawn, each lane by itself.

        Raises:
            ScenarioError: A lane stays below the margin for 400 redraws.
        """
        return self.sample_with_fading(streams, self.scenario.min_margin_db)[0]

    def sample_with_fading(
        self, streams: Streams, min_margin_db: float
    ) -> tuple[PowerControlInstance, Fading]:
        """As :meth:`sample` for a given margin, with the fading terms behind the gains."""
        instance, fading = self._draw(streams, attempt=0)
        if min_margin_db == -math.inf:
            return instance, fading
        margin = db_to_linear(min_margin_db)
        rows = (self.comm_margin(instance) < margin).nonzero()[:, 0]
        for attempt in range(1, _MAX_ATTEMPTS):
            if rows.numel() == 0:
                return instance, fading
            redrawn, terms = self._draw(streams[rows], attempt=attempt)
            pairs = zip(
                dict(instance.items()).values(), dict(redrawn.items()).values(), strict=True
            )
            for old, new in pairs:
                old[rows] = new
            fading.ue[rows], fading.bs[rows] = terms
            rows = rows[self.comm_margin(redrawn) < margin]
        raise ScenarioError(
            f"threshold_db = {self.scenario.threshold_db:g} cannot be met with min_margin_db = "
            f"{min_margin_db:g} within {_MAX_ATTEMPTS} draws; lower one of them, or set "
            "min_margin_db to -inf to keep infeasible draws."
        )

    def _draw(self, streams: Streams, *, attempt: int) -> tuple[PowerControlInstance, Fading]:
        s, batch, device = self.scenario, streams.batch_size, streams.seed.device
        count = s.num_bs
        bs = torch.tensor(s.bs_positions(), dtype=torch.float64, device=device).repeat(batch, 1, 1)
        u = streams.uniform(f"ue/{attempt}", 2, count)
        radius, angle = s.ue_radius_m * u[:, 0].sqrt(), 2 * math.pi * u[:, 1]
        offset = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)
        ue = torch.cat([bs[..., :2] + offset, torch.full_like(bs[..., :1], s.ue_height_m)], -1)
        target = uniform_in_hexagon(streams.uniform(f"target/{attempt}", 3), s.hex_radius_m)
        target = torch.cat([target, torch.full_like(target[:, :1], s.target_height_m)], -1)
        fading = Fading(
            streams.complex_normal(f"fading/ue/{attempt}", count, count),
            symmetrise(streams.complex_normal(f"fading/bs/{attempt}", count, count)),
        )
        return self.instance_at(bs, ue, target, fading), fading

    def instance_at(
        self, bs: Tensor, ue: Tensor, target: Tensor, fading: Fading
    ) -> PowerControlInstance:
        """Instance of given positions (B, I, 3), (B, I, 3), (B, 3) in metres and fading terms."""
        s = self.scenario
        ones = torch.ones_like(bs[..., 0])
        ue_link, bs_link = self.direct_links(bs, ue)
        comm, direct = fade(ue_link, fading.ue), fade(bs_link, fading.bs)
        bs_echo, ue_echo = self.echo_gains(bs, ue, target)
        return PowerControlInstance(
            bs=bs,
            ue=ue,
            target=target,
            comm_gain=comm,
            direct_gain=direct,
            bs_echo_gain=bs_echo,
            ue_echo_gain=ue_echo,
            self_interference=db_to_linear(s.self_interference_db) * ones,
            bs_noise_w=s.bs_noise_w * ones,
            ue_noise_w=s.ue_noise_w * ones,
            threshold=s.threshold * ones,
            bandwidth_hz=s.bandwidth_hz * ones,
            max_power_w=s.max_power_w * ones,
        )

    def direct_links(
        self, bs: Tensor, ue: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Rician (line of sight, scatter) amplitudes of BS-user and BS-BS links, each (B, I, I)."""
        s = self.scenario
        k_factor = db_to_linear(s.rician_k_db)

        def link(receiver: Tensor, gain_db: float) -> tuple[Tensor, Tensor]:
            length = distance(receiver, bs, minimum_m=s.min_distance_m)
            gain = close_in_gain(length, wavelength_m=s.wavelength_m, exponent=s.comm_exponent)
            gain = gain * db_to_linear(gain_db)
            return rician_amplitudes(length, gain, wavelength_m=s.wavelength_m, k_factor=k_factor)

        los, scatter = link(bs, 2 * s.bs_gain_dbi - s.direct_cancel_db)
        off = 1 - torch.eye(s.num_bs, dtype=scatter.dtype, device=scatter.device)
        return link(ue, s.bs_gain_dbi + s.ue_gain_dbi), (los * off, scatter * off)

    def echo_gains(self, bs: Tensor, ue: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Echo gains A (BS j, target, BS i) and E (BS j, target, user i), each (B, I, I)."""
        s = self.scenario
        to_bs = distance(bs, target[:, None, :], minimum_m=s.min_distance_m)[..., 0]
        to_ue = distance(ue, target[:, None, :], minimum_m=s.min_distance_m)[..., 0]
        rcs_m2 = db_to_linear(s.target_rcs_dbsm + s.bs_gain_dbi)
        radar = {"wavelength_m": s.wavelength_m, "exponent": s.sense_exponent}
        bs_echo = bistatic_gain(to_bs, to_bs, rcs_m2=rcs_m2 * db_to_linear(s.bs_gain_dbi), **radar)
        ue_echo = bistatic_gain(to_ue, to_bs, rcs_m2=rcs_m2 * db_to_linear(s.ue_gain_dbi), **radar)
        return bs_echo, ue_echo

    def network(self, instance: PowerControlInstance) -> NormalisedNetwork:
        """Normalised arrays (F, n, Q', m'); see ``docs/power_control.md``."""
        i = instance
        own_echo = torch.diagonal(i.bs_echo_gain, dim1=-2, dim2=-1)  # (B, I)
        weight = (i.bandwidth_hz.amax(-1, keepdim=True) / i.bandwidth_hz).square()
        scale = weight / (own_echo * i.max_power_w)
        received = _off_diagonal(i.bs_echo_gain + i.direct_gain) + torch.diag_embed(
            i.self_interference
        )
        coupling = scale[:, :, None] * received * i.max_power_w[:, None, :]

        own_link = torch.diagonal(i.comm_gain, dim1=-2, dim2=-1)
        user_echo = torch.diagonal(i.ue_echo_gain, dim1=-2, dim2=-1)
        heard = _off_diagonal(i.comm_gain + i.ue_echo_gain)
        if self.scenario.own_echo == "signal":
            own_link = own_link + user_echo
        else:
            heard = heard + torch.diag_embed(user_echo)
        comm_scale = i.threshold / (own_link * i.max_power_w)
        comm_coupling = comm_scale[:, :, None] * heard * i.max_power_w[:, None, :]
        return NormalisedNetwork(
            coupling, scale * i.bs_noise_w, comm_coupling, comm_scale * i.ue_noise_w
        )

    def comm_margin(self, instance: PowerControlInstance) -> Tensor:
        """Largest factor by which all thresholds can be multiplied, (B,); feasible iff >= 1."""
        network = self.network(instance)
        return balanced_level(network.comm_coupling, network.comm_noise)[0]

    def project(
        self, instance: PowerControlInstance, decision: PowerControlDecision
    ) -> PowerControlDecision:
        """Clip to the box, then move radially towards the max-margin point until feasible.

        Where the instance is infeasible the max-margin point itself is returned. Radial, not
        Euclidean: closed form, exact, piecewise differentiable.
        """
        network = self.network(instance)
        safe = balanced_level(network.comm_coupling, network.comm_noise)[1]
        power = decision.power.clamp(0, 1)
        return PowerControlDecision(
            radial_project(power, network.comm_coupling, network.comm_noise, safe)
        )

    def floor(self, instance: PowerControlInstance) -> PowerControlDecision:
        """Full power, projected: what a network does that optimises nothing (scores 0)."""
        return self.project(instance, PowerControlDecision(torch.ones_like(instance.bs_noise_w)))

    def evaluate(
        self, instance: PowerControlInstance, decision: PowerControlDecision
    ) -> PowerControlMetrics:
        """All metrics of a decision; total and differentiable, see :class:`PowerControlMetrics`."""
        return self.evaluate_on(self.network(instance), instance, decision)

    def evaluate_on(
        self,
        network: NormalisedNetwork,
        instance: PowerControlInstance,
        decision: PowerControlDecision,
    ) -> PowerControlMetrics:
        """:meth:`evaluate` for a caller that has the instance's network already."""
        s, x = self.scenario, decision.power
        weighted = sinr(x, network.coupling, network.noise)
        comm_ratio = sinr(x, network.comm_coupling, network.comm_noise)  # gamma_c / Gamma
        comm_sinr = self._comm_sinr(instance, x)
        weight = (instance.bandwidth_hz.amax(-1, keepdim=True) / instance.bandwidth_hz).square()
        sensing = weighted * weight
        sigma = range_accuracy(
            sensing.clamp_min(torch.finfo(x.dtype).tiny),
            instance.bandwidth_hz,
            gain=s.integration_gain,
        )
        information = ranging_information(instance.target, instance.bs, sigma)
        info2d = information[:, :2, :2]
        precision2d, precision3d = position_precision(info2d), position_precision(information)
        worst = weighted.amin(-1)
        ratio = torch.where(instance.threshold > 0, comm_ratio, 1)
        shortfall = (1 - ratio).clamp_min(0).amax(-1)
        shortfall_db = (-linear_to_db(ratio)).clamp_min(0).amax(-1)
        box = torch.maximum(-x, x - 1).clamp_min(0).amax(-1)
        objectives = {"maxmin": worst, "peb2d": precision2d, "peb3d": precision3d}
        integrated = sensing * (s.num_subcarriers * s.num_symbols)
        return PowerControlMetrics(
            objective=linear_to_db(objectives[s.objective]),
            violation=torch.maximum(shortfall, box),
            violation_db=shortfall_db,
            is_feasible=(shortfall_db < 1e-6) & (box < _BOX_TOLERANCE),
            sensing_sinr=sensing,
            comm_sinr=comm_sinr,
            range_sigma_m=sigma,
            worst_sinr=worst,
            worst_sigma_m=sigma.amax(-1),
            mean_sigma_m=sigma.mean(-1),
            peb2d_m=precision2d.rsqrt(),
            peb3d_m=precision3d.rsqrt(),
            condition2d=condition_2x2(info2d),
            usable=(integrated >= db_to_linear(_USABLE_SINR_DB)).to(x.dtype).sum(-1),
            total_power_w=(x * instance.max_power_w).sum(-1),
            sum_rate_bps_hz=torch.log2(1 + comm_sinr).sum(-1),
        )

    def _comm_sinr(self, instance: PowerControlInstance, x: Tensor) -> Tensor:
        power = x * instance.max_power_w
        link = torch.diagonal(instance.comm_gain, dim1=-2, dim2=-1) * power
        echo = torch.diagonal(instance.ue_echo_gain, dim1=-2, dim2=-1) * power
        heard = _off_diagonal(instance.comm_gain + instance.ue_echo_gain)
        other = (heard * power[:, None, :]).sum(-1) + instance.ue_noise_w
        if self.scenario.own_echo == "signal":
            return (link + echo) / other
        return link / (other + echo)

    def tighten(self, instance: PowerControlInstance, margin_db: float) -> PowerControlInstance:
        """The same instance with all thresholds raised by ``margin_db``."""
        return instance.replace(threshold=instance.threshold * db_to_linear(margin_db))

    def validate(self, instance: TensorRecord, decision: TensorRecord | None = None) -> None:
        """As the base, and: positive gains and noises, decision inside [0, 1] to 1e-9.

        Raises:
            ShapeError: Names the record, the field and what is allowed.
        """
        super().validate(instance, decision)
        positive = ("bs_noise_w", "ue_noise_w", "bandwidth_hz", "max_power_w")
        for name, tensor in instance.items():
            if name in ("bs", "ue", "target"):
                continue
            lowest = float(tensor.min()) if tensor.numel() else 1.0
            if lowest < 0 or (lowest == 0 and name in positive):
                bound = "> 0" if name in positive else ">= 0"
                raise ShapeError(f"PowerControlInstance.{name}: must be {bound}, got {lowest:g}.")
        if isinstance(decision, PowerControlDecision) and decision.power.numel():
            low, high = float(decision.power.min()), float(decision.power.max())
            if low < -_BOX_TOLERANCE or high > 1 + _BOX_TOLERANCE:
                value = low if low < -_BOX_TOLERANCE else high
                raise ShapeError(f"PowerControlDecision.power: must be in [0, 1], got {value:g}.")


def fade(link: tuple[Tensor, Tensor], fading: Tensor) -> Tensor:
    """Power gains |los + scatter w|^2 of Rician links, any shape."""
    los, scatter = link
    amplitude = los + scatter * fading
    return amplitude.real.square() + amplitude.imag.square()


def symmetrise(fading: Tensor) -> Tensor:
    """Reciprocal fading (B, I, I): the upper triangle mirrored, the diagonal unused."""
    upper = torch.triu(fading, 1)
    return upper + upper.mT


def _off_diagonal(matrix: Tensor) -> Tensor:
    return matrix - torch.diag_embed(torch.diagonal(matrix, dim1=-2, dim2=-1))
