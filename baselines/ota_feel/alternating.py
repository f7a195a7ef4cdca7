"""Exact alternating optimisation of receiver and precoders, for the aggregation error alone.

Every device step is the global optimum, so that the error never rises; the paper's algorithm 1
relaxes that step. Alternation is slow: see ``varpro-lbfgs`` for the same problem without patience.

``ao-null-space`` then spends what power is left in the null space of M^H H_k, towards the target:
the server does not hear it, the error stays what it is. Only without pulses: with them a device's
receivers see all of its antennas.

Source: the OTA-FEEL paper, algorithm 1, with (30b) as ``min_total_power_w``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from baselines.iteration import demand_limits, iterate_shrinking
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, Trace
from isac_gym.core.units import linear_to_db
from isac_gym.physics.precoding import (
    Uplink,
    best_precoders,
    best_receiver,
    initial_precoders,
)
from isac_gym.problems.ota_feel.model import OtaFeel, within_budget
from isac_gym.problems.ota_feel.records import OtaFeelDecision, OtaFeelInstance

__all__ = [
    "Alternating",
    "AlternatingNullSpace",
    "aggregation_trace",
    "fill_null_space",
    "first_precoders",
    "typed",
    "uplink",
]


def typed(problem: Problem, instance: TensorRecord) -> tuple[OtaFeel, OtaFeelInstance]:
    """Problem and instance, in double precision, as what the registry guarantees they are."""
    return cast(OtaFeel, problem), cast(OtaFeelInstance, instance.to(dtype=torch.float64))


def uplink(problem: OtaFeel, instance: OtaFeelInstance, *, least_w: float = 0.0) -> Uplink:
    """What :mod:`isac_gym.physics.precoding` needs of an instance."""
    i = instance
    return Uplink.of(i.channel, i.weight, i.max_power_w, problem.scenario.noise_w, least_w=least_w)


def first_precoders(
    problem: OtaFeel, instance: OtaFeelInstance, start: TensorRecord | None
) -> Tensor:
    """The caller's start within the budgets, or the default one, (B, K, M, R)."""
    i, s = instance, problem.scenario
    if start is None:
        return initial_precoders(i.channel, i.max_power_w, s.num_tasks, pulse=s.pulse)
    given = cast(OtaFeelDecision, start.to(dtype=torch.float64))
    return within_budget(given.precoder, i.max_power_w)


def aggregation_trace(
    problem: OtaFeel, instance: OtaFeelInstance, error: Tensor, length: Tensor
) -> Trace | None:
    """History of the objective, of the errors (B, L) after every iteration.

    None where the objective has a share of the position bound, of which these solvers know nothing.
    """
    if problem.scenario.sensing_weight > 0:
        return None
    most = max(int(length.max()), 1) if len(length) else 1
    index = torch.arange(most, device=length.device)
    last = torch.minimum(index, (length - 1).clamp_min(0)[:, None])
    tiny = torch.finfo(error.dtype).tiny
    wanted = instance.weight.square().sum((-2, -1))[:, None].clamp_min(tiny)
    nmse = (error[:, :most] / wanted).clamp_min(tiny).gather(1, last)
    return Trace(objective=-linear_to_db(nmse), length=length)


class _Lanes(NamedTuple):
    """Fields of an :class:`Uplink`, and which lanes they are of."""

    columns: Tensor
    weight: Tensor
    budget: Tensor
    noise_w: Tensor
    least_w: Tensor
    lane: Tensor


@dataclass(frozen=True, kw_only=True)
class Alternating(Solver):
    """Receiver, precoders, receiver, ...; a lane stops when a round lowers its error too little.

    Attributes:
        iterations: Rounds, >= 1.
        tolerance: Relative change of the error in a round at which a lane has converged, > 0.
        relaxation: Step towards the best receiver, in (0, 2); 1 is plain alternation, 1.9 halves
            the rounds.
        min_total_power_w: Least power of all devices together, >= 0, the paper's (30b).
    """

    name: ClassVar[str] = "ao"
    summary: ClassVar[str] = "exact alternating optimisation of the aggregation error"

    iterations: int = 400
    tolerance: float = 1e-6
    relaxation: float = 1.0
    min_total_power_w: float = 0.0

    def __post_init__(self) -> None:
        demand_limits(self, "iterations")
        if not 0 < self.relaxation < 2:
            raise ScenarioError(f"relaxation must be in (0, 2), got {self.relaxation}.")
        if not 0 <= self.min_total_power_w < math.inf:
            raise ScenarioError(f"min_total_power_w must be >= 0, got {self.min_total_power_w}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; deterministic. The trace needs ``sensing_weight`` 0."""
        setup, i = typed(problem, instance)
        link = uplink(setup, i, least_w=self.min_total_power_w)
        count = self.iterations if budget.iterations is None else budget.iterations
        history = torch.zeros(i.batch_size, count, dtype=torch.float64, device=i.device)
        first = first_precoders(setup, i, start).mT
        receiver, error = best_receiver(link, first, pulse=setup.scenario.pulse)
        (rows, receiver, _), status, length = iterate_shrinking(
            self._round(setup.scenario.pulse, history),
            _Lanes(*link, torch.arange(i.batch_size, device=i.device)),
            (first, receiver, error),
            iterations=count,
            tolerance=self.tolerance if budget.tolerance is None else budget.tolerance,
        )
        is_reachable = i.max_power_w.sum(-1) * (1 + 1e-9) >= self.min_total_power_w
        decision = OtaFeelDecision(self._finished(setup, i, link, rows).contiguous())
        return Solution(
            decision=decision.to(dtype=instance.dtype),
            status=torch.where(is_reachable, status, int(Status.INFEASIBLE)),
            iterations=length,
            trace=aggregation_trace(setup, i, history, length),
        )

    def _round(
        self, pulse: str, history: Tensor
    ) -> Callable[..., tuple[tuple[Tensor, ...], Tensor]]:
        is_shared, done = self.min_total_power_w > 0, 0

        def step(
            data: _Lanes, rows: Tensor, receiver: Tensor, error: Tensor
        ) -> tuple[tuple[Tensor, ...], Tensor]:
            nonlocal done
            link = Uplink(*data[:-1])
            rows = best_precoders(link, receiver, pulse=pulse, is_shared=is_shared)
            best, new = best_receiver(link, rows, pulse=pulse)
            if self.relaxation != 1:
                best = receiver + self.relaxation * (best - receiver)
            history[data.lane, done] = new
            done += 1
            return (rows, best, new), (new - error).abs() / new.abs()

        return step

    def _finished(
        self, problem: OtaFeel, instance: OtaFeelInstance, link: Uplink, rows: Tensor
    ) -> Tensor:
        """Precoders of the decision, (B, K, M, R), of C^T (B, K, R, M)."""
        return rows.mT


@dataclass(frozen=True, kw_only=True)
class AlternatingNullSpace(Alternating):
    """As :class:`Alternating`; then unheard power towards the target, where there are no pulses."""

    name: ClassVar[str] = "ao-null-space"
    summary: ClassVar[str] = "ao, then the power left where only the target hears it"

    def _finished(
        self, problem: OtaFeel, instance: OtaFeelInstance, link: Uplink, rows: Tensor
    ) -> Tensor:
        return (
            rows.mT
            if problem.scenario.pulse == "dft"
            else fill_null_space(problem, instance, link, rows.mT)
        )


def fill_null_space(
    problem: OtaFeel, instance: OtaFeelInstance, link: Uplink, precoder: Tensor
) -> Tensor:
    """Precoders at full power with the same error at their receiver, (B, K, M, R); no pulses.

    The direction added is the part of conj(a_k) that M^H H_k does not pass, in the combination of
    streams that already reaches the target.
    """
    receiver, _ = best_receiver(link, precoder.mT, pulse="none")
    seen = (link.columns.flatten(1, 2) @ receiver).unflatten(1, link.columns.shape[1:3])
    basis, _ = torch.linalg.qr(seen.conj())  # of F = H_k^H M, (B, K, M, R)
    a, _ = problem.responses(instance)
    towards = a.conj()[..., None]
    direction = towards - basis @ (basis.mH @ towards)
    direction = direction - basis @ (basis.mH @ direction)  # twice: M may equal R
    tiny = torch.finfo(link.budget.dtype).tiny
    length = direction.abs().square().sum(-2, keepdim=True).sqrt()
    is_open = length > 1e-9 * towards.abs().square().sum(-2, keepdim=True).sqrt()
    unit = torch.where(is_open, direction / length.clamp_min(tiny), 0)  # (B, K, M, 1)
    sent = a[..., None, :] @ precoder  # (B, K, 1, R)
    size = sent.abs().square().sum(-1, keepdim=True).sqrt()
    first = torch.zeros_like(sent)
    first[..., 0] = 1
    mix = torch.where(size > tiny**0.5, sent / size.clamp_min(tiny), first)
    left = (link.budget - precoder.abs().square().sum((-2, -1))).clamp_min(0)[..., None, None]
    along = (unit.mH @ precoder @ mix.mH).real
    return precoder + ((along.square() + left).sqrt() - along) * (unit @ mix)
