"""The robust-beamforming problem: instances, exact worst case, localisation bound, metrics.

Everything is noise-normalised: noise powers are 1, power stays in W. The truth of the protocol is
the channel estimate plus its ball; errors chosen by a solver are never used for scoring.

Source: the BOBLRBF paper, problem (11)-(16); its lost formulas are rebuilt and its errors listed
in ``docs/robust_beamforming.md``.
"""

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ShapeError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.physics.estimation import position_precision
from isac_gym.physics.multistatic import (
    block_diagonal,
    position_information,
    resolved_information,
    steering,
    target_bounds,
)
from isac_gym.physics.worst_case import robust_sinr, sinr_at
from isac_gym.problems.robust_beamforming.anchors import (
    crlb_lower_bound,
    rate_upper_bound,
    unit_power,
)
from isac_gym.problems.robust_beamforming.geometry import (
    channel_amplitude,
    echoes,
    length,
    norm,
    place_targets,
    place_users,
)
from isac_gym.problems.robust_beamforming.records import (
    RobustBeamformingDecision,
    RobustBeamformingInstance,
    RobustBeamformingMetrics,
    chebyshev,
    sensing_factor,
)
from isac_gym.problems.robust_beamforming.scenario import RobustBeamformingScenario

__all__ = [
    "RobustBeamforming",
    "RobustBeamformingDecision",
    "RobustBeamformingInstance",
    "RobustBeamformingMetrics",
    "chebyshev",
    "sensing_factor",
    "sensing_utility",
]

_ANCHOR_STEPS = 150  # within 1e-6 of the least CRLB at the paper's geometry
_COINCIDENT_M = 0.3  # closer targets make the unresolved information ill-conditioned
_NEAREST_M = 1.0  # of a target to a base station
_BLIND_M2 = 1e12  # a bound this large counts as none: CRLB inf, f2 = 0


@dataclass(frozen=True, kw_only=True)
class RobustBeamforming(Problem):
    """Trade the exact worst-case sum rate against the CRLB of all target positions."""

    name: ClassVar[str] = "robust_beamforming"
    scenario_type: ClassVar[type[RobustBeamformingScenario]] = RobustBeamformingScenario
    instance_type: ClassVar[type[TensorRecord]] = RobustBeamformingInstance
    decision_type: ClassVar[type[TensorRecord]] = RobustBeamformingDecision
    metrics_type: ClassVar[type[TensorRecord]] = RobustBeamformingMetrics

    scenario: RobustBeamformingScenario = RobustBeamformingScenario()

    @property
    def axis_sizes(self) -> dict[str, int]:
        """Base stations, users per cell, antennas, targets, sensing streams."""
        s = self.scenario
        sizes = (s.num_bs, s.num_users, s.num_antennas, s.num_targets, s.num_streams)
        return dict(zip("IKNTR", sizes, strict=True))

    def sample(self, streams: Streams) -> RobustBeamformingInstance:
        """Draw channels, users, targets, reflection phases and preferences."""
        s, count, users = self.scenario, self.scenario.num_bs, self.scenario.num_users
        bs = torch.tensor(s.bs_positions(), dtype=torch.float64, device=streams.seed.device)
        bs = bs.repeat(streams.batch_size, 1, 1)
        user = place_users(s, bs, streams.uniform("user", 2, count, users))
        fading = streams.complex_normal("fading", count, count, users, s.num_antennas)
        channel = channel_amplitude(s, bs, user)[..., None] * fading
        radius = s.csi_error * norm(channel)
        # Uniform in the ball: a point on the sphere of one complex dimension more, cut short.
        sphere = streams.complex_normal("error", count, count, users, s.num_antennas + 1)
        error = sphere[..., :-1] * (radius / norm(sphere))[..., None]
        shift = 2 * streams.uniform("preference", 1)[:, 0] - 1
        target = place_targets(s, streams)
        phase = 2 * math.pi * streams.uniform("phase", count, s.num_targets, count)
        weight = torch.ones_like(user[..., 0])
        return self.anchored(
            RobustBeamformingInstance(
                channel=channel,
                true_channel=channel + error,
                radius=radius,
                weight=weight,
                max_power_w=s.max_power_w * weight[..., 0],
                bs=bs,
                user=user,
                target=target,
                **echoes(s, bs, target, phase),
                preference=(s.preference + s.preference_spread * shift).clamp(0, 1),
                rate_bound=weight[:, 0, 0],
                crlb_bound=weight[:, 0, 0],
            )
        )

    def anchored(
        self, instance: RobustBeamformingInstance, *, steps: int = _ANCHOR_STEPS
    ) -> RobustBeamformingInstance:
        """The instance with ``rate_bound`` and ``crlb_bound`` recomputed."""
        i = instance
        rate = rate_upper_bound(i.channel, i.radius, i.weight, i.max_power_w)
        return i.replace(rate_bound=rate, crlb_bound=self.sensing_optimum(i, steps=steps)[0])

    def sensing_optimum(
        self, instance: RobustBeamformingInstance, *, steps: int = _ANCHOR_STEPS
    ) -> tuple[Tensor, Tensor]:
        """Certified lower bound of the CRLB, (B,) m^2, and factors near it, (B, I, N, 2 T).

        The information sees a covariance only through the span of a_j and a'_j, so that 2 T columns
        are enough. Rows with the scenario's own geometry share one cached result.
        """
        i = instance
        if self._is_common(i):
            bound, factor = _common_optimum(self.scenario, steps)
            batch = i.batch_size
            factor = factor.to(i.angle.device, i.channel.dtype)
            return torch.full_like(i.preference, bound), factor.repeat(batch, 1, 1, 1)
        a, slope = steering(i.angle, i.channel.shape[-1])
        start = torch.cat([a, slope / norm(slope)[..., None]], 2).mT
        information = partial(self.information, i)
        return crlb_lower_bound(information, start, i.max_power_w, steps=steps)

    def _is_common(self, instance: RobustBeamformingInstance) -> bool:
        """True if every row has the scenario's own targets, stations and budgets (synchronises)."""
        s, i = self.scenario, instance
        if s.delay != "resolved" or s.target_box_m > 0 or i.batch_size == 0:
            return False
        own = ((i.target, s.target_positions()), (i.bs, s.bs_positions()))
        is_same = [bool((t == torch.tensor(v, dtype=torch.float64).to(t)).all()) for t, v in own]
        if not all(is_same) or not bool((i.max_power_w == s.max_power_w).all()):
            return False
        echo = echoes(s, i.bs, i.target, torch.zeros_like(i.reflection.real))
        names = ("angle", "angle_slope", "reflection")
        slack = 1e-4 if i.dtype == torch.float32 else 1e-9
        pairs = [(getattr(i, name).abs(), echo[name].abs()) for name in names]
        return all(torch.allclose(mine, own, rtol=slack, atol=slack) for mine, own in pairs)

    def information(self, instance: RobustBeamformingInstance, covariance: Tensor) -> Tensor:
        """Fisher information of all target coordinates, (B, 2 T, 2 T) 1/m^2, of R (B, I, N, N)."""
        i = instance
        if self.scenario.delay != "resolved":
            return position_information(
                covariance, i.angle, i.angle_slope, i.reflection, i.correlation
            )
        return block_diagonal(
            resolved_information(covariance, i.angle, i.angle_slope, i.reflection)
        )

    def covariance(self, decision: RobustBeamformingDecision) -> Tensor:
        """Transmit covariances R_l, (B, I, N, N) W."""
        streams = torch.cat([decision.beam.mT, decision.sensing], -1)
        return streams @ streams.mH

    def project(
        self, instance: RobustBeamformingInstance, decision: RobustBeamformingDecision
    ) -> RobustBeamformingDecision:
        """Scale each base station to its budget: the exact Euclidean projection of (v_l, C_l)."""
        power, budget = _power(decision), instance.max_power_w
        scale = (budget / torch.maximum(power, budget)).sqrt()[..., None, None]
        return RobustBeamformingDecision(decision.beam * scale, decision.sensing * scale)

    def floor(self, instance: RobustBeamformingInstance) -> RobustBeamformingDecision:
        """Half the power on matched beams, half on beams at the targets: nothing is optimised."""
        i = instance
        own = torch.diagonal(i.channel, dim1=1, dim2=2).permute(0, 3, 1, 2)  # (B, c, k, N)
        beam = unit_power(own / norm(own)[..., None], i.max_power_w / 2)
        a = steering(i.angle, i.channel.shape[-1])[0]  # (B, l, j, N)
        streams = self.scenario.num_streams
        sensing = a.new_zeros(*a.shape[:2], streams, a.shape[-1])
        column = torch.arange(a.shape[2], device=a.device) % streams
        sensing = sensing.index_add(2, column, a).mT
        return RobustBeamformingDecision(beam, unit_power(sensing, i.max_power_w / 2))

    def evaluate(
        self, instance: RobustBeamformingInstance, decision: RobustBeamformingDecision
    ) -> RobustBeamformingMetrics:
        """All metrics of a decision; total and differentiable."""
        return self.evaluate_with(instance, decision, steps=None)

    def evaluate_with(
        self,
        instance: RobustBeamformingInstance,
        decision: RobustBeamformingDecision,
        *,
        steps: int | None,
    ) -> RobustBeamformingMetrics:
        """:meth:`evaluate` with a chosen number of Newton steps of the worst case (training)."""
        i, covariance = instance, self.covariance(decision)
        worst = robust_sinr(i.channel, i.radius, decision.beam, covariance, steps=steps)
        rates = torch.log2(1 + worst.sinr)
        rate, lower = ((i.weight * r).sum((-2, -1)) for r in (rates, torch.log2(1 + worst.lower)))
        nominal, realised = (
            (i.weight * torch.log2(1 + sinr_at(h, decision.beam, covariance))).sum((-2, -1))
            for h in (i.channel, i.true_channel)
        )
        spread = self.position_bounds(i, covariance)
        crlb = spread.sum(-1)
        tiny = torch.finfo(rate.dtype).tiny
        f1, f2 = rate / i.rate_bound.clamp_min(tiny), sensing_utility(i.crlb_bound, crlb)
        power = _power(decision)
        total = rates.sum((-2, -1)).square()
        fairness = total / (
            rates.square().sum((-2, -1)) * (rates.shape[1] * rates.shape[2])
        ).clamp_min(tiny)
        crlb, spread = (t.masked_fill(t >= _BLIND_M2, torch.inf) for t in (crlb, spread))
        return RobustBeamformingMetrics(
            objective=chebyshev(i.preference, f1, f2),
            violation=(power / i.max_power_w - 1).clamp_min(0).amax(-1),
            rate_utility=f1,
            sensing_utility=f2,
            worst_rate_bps_hz=rate,
            nominal_rate_bps_hz=nominal,
            realised_rate_bps_hz=realised,
            crlb_m2=crlb,
            target_rmse_m=spread.sqrt(),
            worst_sinr=worst.sinr,
            certified_rate_bps_hz=lower.detach(),
            power_w=power,
            fairness=fairness,
        )

    def position_bounds(self, instance: RobustBeamformingInstance, covariance: Tensor) -> Tensor:
        """Bound of each target, (B, T) m^2, cut at 1e12 m^2: finite value and gradient if blind."""
        i = instance
        if self.scenario.delay == "resolved":
            blocks = resolved_information(covariance, i.angle, i.angle_slope, i.reflection)
            precision = position_precision(blocks.flatten(0, 1)).unflatten(0, i.angle.shape[::2])
            return 1 / precision.clamp_min(1 / _BLIND_M2)
        return target_bounds(self.information(i, covariance)).clamp_max(_BLIND_M2)

    def validate(self, instance: TensorRecord, decision: TensorRecord | None = None) -> None:
        """As the base, and: values in range, targets apart, ``rate_bound`` of these channels.

        Raises:
            ShapeError: Names the record, the field and what is allowed.
        """
        super().validate(instance, decision)
        if not isinstance(instance, RobustBeamformingInstance) or instance.batch_size == 0:
            return
        i = instance
        for name in ("weight", "max_power_w", "crlb_bound"):
            _demand(getattr(i, name) > 0, name, "> 0", getattr(i, name))
        for name in ("radius", "rate_bound"):
            _demand(getattr(i, name) >= 0, name, ">= 0", getattr(i, name))
        _demand((i.preference >= 0) & (i.preference <= 1), "preference", "in [0, 1]", i.preference)
        self._validate_targets(i)
        slack = 1e-3 if i.dtype == torch.float32 else 1e-9
        if self._is_common(i):
            least = _common_optimum(self.scenario, _ANCHOR_STEPS)[0]
            allowed = "that of this geometry; call RobustBeamforming.anchored"
            is_own = (i.crlb_bound - least).abs() <= slack * least
            _demand(is_own, "crlb_bound", allowed, i.crlb_bound)
        rate = rate_upper_bound(i.channel, i.radius, i.weight, i.max_power_w)
        _demand(
            (rate - i.rate_bound).abs() <= slack * rate,
            "rate_bound",
            "the bound of these channels; call RobustBeamforming.anchored",
            i.rate_bound,
        )

    def _validate_targets(self, i: RobustBeamformingInstance) -> None:
        from_bs = length(i.target[:, None] - i.bs[:, :, None])
        _demand(from_bs >= _NEAREST_M, "target", f">= {_NEAREST_M:g} m from stations", from_bs)
        count = i.angle.shape[-1]
        eye = torch.eye(count, dtype=torch.bool, device=i.angle.device)
        diagonal = torch.diagonal(i.correlation, dim1=-2, dim2=-1)
        _demand((diagonal - 1).abs() <= 1e-6, "correlation", "1 on the diagonal", diagonal)
        least = torch.linalg.eigvalsh((i.correlation + i.correlation.mT) / 2).amin(-1)
        _demand(least >= -1e-5, "correlation", "positive semidefinite", least)
        if self.scenario.delay == "resolved":
            off = i.correlation.masked_fill(eye, 0)
            _demand(off == 0, "correlation", "the identity where delays are resolved", off)
            return
        apart = length(i.target[:, None] - i.target[:, :, None]).masked_fill(eye, torch.inf)
        _demand(
            apart >= _COINCIDENT_M, "target", f"{_COINCIDENT_M:g} m apart unless resolved", apart
        )


@lru_cache(maxsize=64)
def _common_optimum(scenario: RobustBeamformingScenario, steps: int) -> tuple[float, Tensor]:
    """Bound (m^2) and factors (1, I, N, 2 T) of the scenario's fixed geometry."""
    bs = torch.tensor(scenario.bs_positions(), dtype=torch.float64)[None]
    target = torch.tensor(scenario.target_positions(), dtype=torch.float64)[None]
    phase = bs.new_zeros(1, scenario.num_bs, scenario.num_targets, scenario.num_bs)
    echo = echoes(scenario, bs, target, phase)
    a, slope = steering(echo["angle"], scenario.num_antennas)
    start = torch.cat([a, slope / norm(slope)[..., None]], 2).mT
    power = torch.full((1, scenario.num_bs), scenario.max_power_w, dtype=torch.float64)

    def information(covariance: Tensor) -> Tensor:
        blocks = resolved_information(
            covariance, echo["angle"], echo["angle_slope"], echo["reflection"]
        )
        return block_diagonal(blocks)

    bound, factor = crlb_lower_bound(information, start, power, steps=steps)
    return float(bound[0]), factor


def sensing_utility(crlb_bound: Tensor, crlb: Tensor) -> Tensor:
    """f2, (B,): lower bound over the CRLB, both (B,) m^2; 0 where a target is blind."""
    return torch.where(crlb >= _BLIND_M2, 0, crlb_bound / crlb)


def _demand(is_good: Tensor, name: str, allowed: str, value: Tensor) -> None:
    if bool(is_good.all()):
        return
    row = (
        int((~is_good).flatten(1).any(1).nonzero()[0])
        if is_good.ndim > 1
        else int((~is_good).nonzero()[0])
    )
    found = value[row][~is_good[row]].flatten()[0]
    raise ShapeError(
        f"RobustBeamformingInstance.{name}: must be {allowed}, got {float(found):.6g} in row {row}."
    )


def _power(decision: RobustBeamformingDecision) -> Tensor:
    beam, sensing = (_square(t).sum((-2, -1)) for t in (decision.beam, decision.sensing))
    return beam + sensing


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
