"""Certified bound of every scenario's objective, and precoders rounded from the relaxations.

Without pulses the aggregation error is bounded by its lifted problem
(:mod:`baselines.ota_feel.lifted`), with them by :mod:`baselines.ota_feel.separation`, and the
position bound by its optimum without interference (:mod:`baselines.ota_feel.sensing`). An objective
of both has the sum of its parts' bounds at least, loose by as much as no decision is best at both;
with pulses the parts are minimised together.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from baselines.iteration import demand_limits
from baselines.ota_feel.alternating import typed
from baselines.ota_feel.claims import claim
from baselines.ota_feel.lifted import lifted_bound, lifted_task
from baselines.ota_feel.sensing import least_bound, reduced, sensing_task
from baselines.ota_feel.separation import (
    joint_bound,
    least_inverse,
    separation_task,
    threshold_bound,
)
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Solver, Status
from isac_gym.physics.precoding import alternating_precoders, precoder_step
from isac_gym.problems.ota_feel.model import OtaFeel, OtaFeelDecision, OtaFeelInstance

__all__ = ["Relaxation", "Relaxed", "relaxed"]

_ROUNDS = 20  # alternating rounds after rounding
_STEPS, _GAP = 500, 1e-7  # of the projected gradients
_KINDS = {"none": "lifted problem, explicit dual", "dft": "separation of streams by thresholds"}


class Relaxed(NamedTuple):
    """Bounds of a batch, and what they are rounded from.

    Attributes:
        certificate: Of the objective.
        precoder: Candidates, (B, n, K, M, R) sqrt(W), full power.
        gap: Largest log of value over lower bound of the relaxations themselves, (B,).
        iterations: Steps, (B,) int64.
    """

    certificate: Certificate
    precoder: Tensor
    gap: Tensor
    iterations: Tensor


class _Part(NamedTuple):
    """Lower bound of a log (B,), candidates (B, n, K, M, R), own gap (B,), steps (B,)."""

    lower: Tensor
    precoder: Tensor
    gap: Tensor
    iterations: Tensor


def relaxed(
    problem: OtaFeel,
    instance: OtaFeelInstance,
    *,
    dtype: torch.dtype,
    iterations: int = 500,
    draws: int = 4,
    seed: int = 0,
) -> Relaxed:
    """Certify the scenario's objective.

    Args:
        problem: The problem.
        instance: In double precision.
        dtype: Of the certificate.
        iterations: Steps of every relaxation, >= 1.
        draws: Randomised roundings of the lifted problem, >= 1.
        seed: Of start and roundings.
    """
    share, pulse = problem.scenario.sensing_weight, problem.scenario.pulse
    heard = seen = together = None
    if share < 1:
        run = _summed if pulse == "none" else _separated
        heard = run(problem, instance, iterations, draws, seed)
    if share > 0:
        seen = _sensed(problem, instance, iterations)
    if heard is not None and seen is not None and pulse == "dft":
        together = _joined(problem, instance, iterations)
    parts = [part for part in (heard, seen, together) if part is not None]
    sources = [] if heard is None else [_KINDS[pulse]]
    sources += [] if seen is None else ["least position bound without interference"]
    certificate = claim(
        problem,
        log_error=None if heard is None else heard.lower,
        log_crb=None if seen is None else seen.lower,
        log_score=None if together is None else together.lower,
        dtype=dtype,
        kind="relaxation",
        source="relaxation: " + "; ".join(sources),
    )
    return Relaxed(
        certificate=certificate,
        precoder=torch.cat([part.precoder for part in parts], 1),
        gap=torch.stack([part.gap for part in parts]).amax(0),
        iterations=torch.stack([part.iterations for part in parts]).amax(0),
    )


def _summed(
    problem: OtaFeel, instance: OtaFeelInstance, iterations: int, draws: int, seed: int
) -> _Part:
    i, noise_w = instance, problem.scenario.noise_w
    found = lifted_bound(lifted_task(i, noise_w), iterations=iterations, seed=seed)
    streams = Streams.from_seed(seed, 1)
    mixing = streams.complex_normal("rounding", found.receivers.shape[2], draws).to(i.channel)
    receivers = torch.einsum("bncr,zcd->bdnr", found.receivers, mixing)
    rows = torch.arange(len(receivers), device=i.device).repeat_interleave(draws)
    many = i[rows]
    scale = noise_w**-0.5 * i.weight.square().sum((1, 2)).sqrt()  # back from the task's units
    flat = (scale[:, None, None, None] * receivers).flatten(0, 1)
    first = precoder_step(many.channel, many.weight, many.max_power_w, flat, pulse="none")
    rounded = _improved(problem, many, first).unflatten(0, receivers.shape[:2])
    steps = torch.full_like(found.value, iterations, dtype=torch.int64)
    tiny = torch.finfo(found.lower.dtype).tiny
    gap = (found.value / found.lower.clamp_min(tiny)).log()
    return _Part(found.lower.log(), rounded, gap, steps)


def _separated(
    problem: OtaFeel, instance: OtaFeelInstance, iterations: int, draws: int, seed: int
) -> _Part:
    i = instance
    task = separation_task(i, problem.scenario.noise_w)
    found = least_inverse(task, iterations=iterations, tolerance=_GAP)
    least = found.lower.exp()
    best = threshold_bound(task, least)
    first = _strongest(problem, i, found.point)
    rounded = _improved(problem, i, first)[:, None]
    lower = (best.fixed + best.slope * least).log()
    return _Part(lower, rounded, found.score - found.lower, found.iterations)


def _sensed(problem: OtaFeel, instance: OtaFeelInstance, iterations: int) -> _Part:
    found = least_bound(problem, instance, iterations=iterations, tolerance=_GAP)
    factor = reduced(sensing_task(problem, instance), found.point, problem.scenario.num_tasks)
    precoder = instance.max_power_w.sqrt()[..., None, None] * factor
    return _Part(found.lower, precoder[:, None], found.score - found.lower, found.iterations)


def _joined(problem: OtaFeel, instance: OtaFeelInstance, iterations: int) -> _Part:
    task = separation_task(instance, problem.scenario.noise_w)
    first = least_inverse(task, iterations=iterations, tolerance=_GAP)
    best = threshold_bound(task, first.lower.exp())
    found = joint_bound(
        task,
        best,
        sensing_task(problem, instance),
        problem.scenario.sensing_weight,
        start=first.point,
        iterations=iterations,
        tolerance=_GAP,
    )
    precoder = _strongest(problem, instance, found.point)[:, None]
    return _Part(found.lower, precoder, found.score - found.lower, found.iterations)


def _strongest(problem: OtaFeel, instance: OtaFeelInstance, z: Tensor) -> Tensor:
    """R strongest directions of covariances Z (B, K, M, M) at full power, (B, K, M, R)."""
    value, vector = hermitian_eigh(z)
    kept = value[..., -problem.scenario.num_tasks :].clamp_min(0)
    tiny = torch.finfo(kept.dtype).tiny
    share = kept / kept.sum(-1, keepdim=True).clamp_min(tiny) * instance.max_power_w[..., None]
    return vector[..., -problem.scenario.num_tasks :] * share.sqrt()[..., None, :]


def _improved(problem: OtaFeel, instance: OtaFeelInstance, first: Tensor) -> Tensor:
    i, s = instance, problem.scenario
    return alternating_precoders(
        i.channel,
        i.weight,
        i.max_power_w,
        s.noise_w,
        pulse=s.pulse,
        iterations=_ROUNDS,
        start=first,
    )


def best_candidate(problem: OtaFeel, instance: OtaFeelInstance, precoder: Tensor) -> Tensor:
    """Precoders (B, K, M, R) of largest objective among candidates (B, n, K, M, R)."""
    count = precoder.shape[1]
    rows = torch.arange(len(precoder), device=precoder.device).repeat_interleave(count)
    decision = OtaFeelDecision(precoder.flatten(0, 1))
    value = problem.evaluate(instance[rows], decision).objective.unflatten(0, (-1, count))
    value = torch.where(value.isfinite(), value, -torch.inf)
    return precoder[torch.arange(len(precoder), device=precoder.device), value.argmax(1)]


@dataclass(frozen=True, kw_only=True)
class Relaxation(Solver):
    """Certified bound of the objective; the decision is the best of the roundings.

    Attributes:
        iterations: Steps of every relaxation, >= 1; more make bounds tighter, never wrong.
        draws: Randomised roundings of the lifted problem, >= 1.
        tolerance: Relative gap of the relaxations themselves, not of the rounding, at which a lane
            counts as converged, > 0.
    """

    name: ClassVar[str] = "relaxation"
    summary: ClassVar[str] = "certified bound of the objective; decision rounded from it"
    certifies: ClassVar[bool] = True

    iterations: int = 500
    draws: int = 4
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        demand_limits(self, "iterations", "draws")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; a start is not needed."""
        setup, i = typed(problem, instance)
        count = self.iterations if budget.iterations is None else budget.iterations
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        found = relaxed(
            setup, i, dtype=instance.dtype, iterations=count, draws=self.draws, seed=seed
        )
        is_tight = (found.gap <= tolerance) & (found.iterations > 1)
        return Solution(
            decision=OtaFeelDecision(best_candidate(setup, i, found.precoder)).to(
                dtype=instance.dtype
            ),
            status=torch.where(is_tight, int(Status.CONVERGED), int(Status.BUDGET_SPENT)),
            iterations=found.iterations,
            certificate=found.certificate,
        )
