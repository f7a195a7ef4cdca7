"""Certified outer bound of the trade-off: drop interference, keep everything else.

Without interference the worst-case rate f1_up(R) = sum w log2(1 + min_e (h + e)^H R_c (h + e)) over
its bound is concave in the covariances, and so is f2 = bound / CRLB. A weighted sum is maximised by
projected Adam on factors and closed with the Frank-Wolfe gap, so every line

    w f1 + (1 - w) f2 <= s_w = value + sum_l (P_l max(lambda_max(G_l), 0) - tr G_l R_l)

holds for every feasible decision, however well the ascent went.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from baselines.robust_beamforming.objective import Utilities, scalarise, typed
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Solver, Status
from isac_gym.physics.trust_region import weakest_power
from isac_gym.problems.robust_beamforming.anchors import unit_power
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
    sensing_utility,
)

__all__ = ["Relaxation", "Support", "objective_bound", "relaxed_utilities", "support_lines"]

_MOMENTUM, _DECAY, _EPSILON = 0.9, 0.99, 1e-12
_RATE, _SMOOTHING = 0.1, 3e-3
_ROUNDING = 1e-9  # of the trust-region values and eigenvalues behind a line, added to s


class Support(NamedTuple):
    """Certified lines w f1 + (1 - w) f2 <= s.

    Attributes:
        weight: w, (B, L).
        limit: s, (B, L).
        gap: Frank-Wolfe gap inside s, (B, L): how much of it may be slack.
    """

    weight: Tensor
    limit: Tensor
    gap: Tensor


def relaxed_utilities(
    problem: RobustBeamforming, instance: RobustBeamformingInstance, covariance: Tensor
) -> Utilities:
    """Utilities without interference, concave in the covariances (B, I, N, N); f1 from above."""
    i = instance
    own = torch.diagonal(i.channel, dim1=1, dim2=2).permute(0, 3, 1, 2)  # (B, c, k, N)
    radius = torch.diagonal(i.radius, dim1=1, dim2=2).mT
    rate = (i.weight * torch.log2(1 + weakest_power(own, radius, covariance))).sum((-2, -1))
    crlb = problem.position_bounds(i, covariance).sum(-1)
    tiny = torch.finfo(crlb.dtype).tiny
    return Utilities(rate / i.rate_bound.clamp_min(tiny), sensing_utility(i.crlb_bound, crlb))


def support_lines(
    problem: RobustBeamforming,
    instance: RobustBeamformingInstance,
    weights: Tensor,
    *,
    iterations: int,
) -> Support:
    """Lines of several weights w (L,) for every channel, each from its own ascent."""
    batch, count = instance.batch_size, len(weights)
    rows = torch.arange(batch, device=instance.device).repeat_interleave(count)
    w = weights.to(instance.preference).repeat(batch)
    many = instance[rows].replace(preference=w)
    factor = _ascend(problem, many, "weighted-sum", iterations)
    limit, gap = _close(problem, many, factor, w)
    return Support(*(t.unflatten(0, (batch, count)) for t in (w, limit, gap)))


def objective_bound(preference: Tensor, weight: Tensor, limit: Tensor) -> Tensor:
    """Largest -max(p (1 - f1), (1 - p) (1 - f2)) under a line, (B,) like all arguments."""
    w, p = weight, preference
    tiny = torch.finfo(p.dtype).tiny
    slack = (1 - limit).clamp_min(0)
    return -slack / (w / p.clamp_min(tiny) + (1 - w) / (1 - p).clamp_min(tiny))


def _ascend(
    problem: RobustBeamforming, instance: RobustBeamformingInstance, kind: str, iterations: int
) -> Tensor:
    """Factors (B, I, N, N) of covariances near the maximum, full rank at the start."""
    i = instance
    own = torch.diagonal(i.channel, dim1=1, dim2=2).permute(0, 3, 2, 1)  # (B, c, N, k)
    toward = problem.sensing_optimum(i)[1]
    eye = torch.eye(own.shape[2], dtype=own.dtype, device=own.device).expand(*own.shape[:3], -1)
    p = i.preference[:, None, None, None]
    parts = (p.sqrt() * _unit(own), (1 - p).sqrt() * _unit(toward), 0.1 * _unit(eye))
    start = torch.cat(parts, -1)
    value, vector = hermitian_eigh(start @ start.mH)
    point = unit_power(vector * value[..., None, :].clamp_min(0).sqrt(), i.max_power_w)
    root = i.max_power_w.sqrt()[..., None, None]
    mean, square = torch.zeros_like(point), torch.zeros_like(i.max_power_w)
    best, top = point, torch.full_like(i.preference, -torch.inf)
    for step in range(iterations):
        value, slope = _slope(problem, i, kind, point)
        best = torch.where((value > top)[:, None, None, None], point, best)
        top = torch.maximum(value, top)
        energy = (slope.real.square() + slope.imag.square()).mean((-2, -1))
        square = _DECAY * square + (1 - _DECAY) * energy
        mean = _MOMENTUM * mean + (1 - _MOMENTUM) * slope
        spread = (square / (1 - _DECAY ** (step + 1))).sqrt() + _EPSILON
        length = _RATE * (1 + math.cos(math.pi * step / iterations)) / 2
        length = length / (1 - _MOMENTUM ** (step + 1)) / spread[..., None, None]
        point = unit_power(point + length * root * mean, i.max_power_w)
    return best


def _slope(
    problem: RobustBeamforming, instance: RobustBeamformingInstance, kind: str, factor: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        factor = factor.detach().requires_grad_()
        found = relaxed_utilities(problem, instance, factor @ factor.mH)
        value = scalarise(kind, instance.preference, found, smoothing=_SMOOTHING)
        (slope,) = torch.autograd.grad(value.sum(), factor)
    return value.detach(), slope


def _close(
    problem: RobustBeamforming, instance: RobustBeamformingInstance, factor: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Certified s of the weights (B,), and the gap it contains."""
    with torch.enable_grad():
        covariance = (factor @ factor.mH).detach().requires_grad_()
        found = relaxed_utilities(problem, instance, covariance)
        value = weight * found.rate + (1 - weight) * found.sensing
        (slope,) = torch.autograd.grad(value.sum(), covariance)
    slope = (slope + slope.mH) / 2
    most = hermitian_eigh(slope)[0][..., -1].clamp_min(0)
    used = (slope.conj() * covariance).real.sum((-2, -1))
    gap = (instance.max_power_w * most - used).sum(-1)
    return (value + gap).detach() + _ROUNDING, gap.detach()


def _unit(columns: Tensor) -> Tensor:
    """Columns scaled to unit Frobenius norm per matrix."""
    total = (columns.real.square() + columns.imag.square()).sum((-2, -1), keepdim=True)
    return columns / total.sqrt()


@dataclass(frozen=True, kw_only=True)
class Relaxation(Solver):
    """Maximise the relaxed Chebyshev value, certify it, and round: v = R h / sqrt(h^H R h).

    Attributes:
        iterations: Steps of the ascent, >= 1; more make the bound tighter, never wrong.
        tolerance: Gap at which a lane counts as converged.
    """

    name: ClassVar[str] = "relaxation"
    summary: ClassVar[str] = "certified bound: interference dropped; decision rounded from it"
    certifies: ClassVar[bool] = True

    iterations: int = 200
    tolerance: float = 1e-2

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; ``budget.iterations`` replaces ``iterations``."""
        setup, i = typed(problem, instance)
        count = self.iterations if budget.iterations is None else budget.iterations
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        factor = _ascend(setup, i, "chebyshev", count)
        found = relaxed_utilities(setup, i, factor @ factor.mH)
        p = i.preference
        lost = torch.stack([p * (1 - found.rate), (1 - p) * (1 - found.sensing)], -1)
        share = (lost / _SMOOTHING).softmax(-1)  # dual variables of the maximum
        ours, theirs = share[:, 0] * p, share[:, 1] * (1 - p)
        weight = ours / (ours + theirs)
        limit, gap = _close(setup, i, factor, weight)
        spent = torch.full_like(p, count, dtype=torch.int64)
        has_closed = (gap <= tolerance) & (spent > 1)
        return Solution(
            decision=self._rounded(setup, i, factor @ factor.mH),
            status=torch.where(has_closed, int(Status.CONVERGED), int(Status.BUDGET_SPENT)),
            iterations=spent,
            certificate=Certificate(
                bound=objective_bound(p, weight, limit),
                kind="relaxation",
                source="interference-free relaxation, closed with the Frank-Wolfe gap",
            ),
        )

    def _rounded(
        self, problem: RobustBeamforming, instance: RobustBeamformingInstance, covariance: Tensor
    ) -> RobustBeamformingDecision:
        """Beams R h / sqrt(h^H R h) shared by a cell's users; the rest goes to sensing."""
        own = torch.diagonal(instance.channel, dim1=1, dim2=2).permute(0, 3, 2, 1)  # (B, c, N, k)
        toward = covariance @ own
        tiny = torch.finfo(instance.preference.dtype).tiny ** 0.5
        gain = (own.conj() * toward).real.sum(-2, keepdim=True).clamp_min(tiny)
        beam = toward / (gain * own.shape[-1]).sqrt()
        value, vector = hermitian_eigh(covariance - beam @ beam.mH)
        count = problem.scenario.num_streams
        rest = vector[..., -count:] * value[..., None, -count:].clamp_min(0).sqrt()
        return RobustBeamformingDecision(beam.mT, rest)
