"""The reference of every scenario: the best precoders known, and the certificate of the objective.

The aggregation alone is left to variable projection from many starts, the position bound without
interference to its certified optimum, everything else to gradients of the objective from these. The
certificate is that of :mod:`baselines.ota_feel.relaxation`. Whatever lies between the two is not
known: "best known", not "optimal".
"""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.iteration import demand_limits
from baselines.ota_feel.alternating import typed
from baselines.ota_feel.relaxation import best_candidate, relaxed
from baselines.ota_feel.tradeoff import JointGradient
from baselines.ota_feel.varpro import VarProLbfgs
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.problems.ota_feel.model import (
    OtaFeel,
    OtaFeelDecision,
    OtaFeelInstance,
    within_budget,
)

__all__ = ["Reference"]

_DB = 10 / math.log(10)


@dataclass(frozen=True, kw_only=True)
class Reference(Solver):
    """Best known precoders of several methods, with the certified bound.

    Attributes:
        iterations: Steps of every method, >= 1.
        starts: Starts of variable projection, >= 1; an eighth with pulses, where all end alike.
        tolerance: Relative gap of decision and bound at which a lane has converged, > 0: elsewhere
            the search is spent, and nobody knows who is to blame for the gap.
    """

    name: ClassVar[str] = "reference"
    summary: ClassVar[str] = "best known precoders of several methods, with the certified bound"
    certifies: ClassVar[bool] = True

    iterations: int = 600
    starts: int = 16
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        demand_limits(self, "iterations", "starts")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; a start is one more candidate."""
        setup, i = typed(problem, instance)
        count = self.iterations if budget.iterations is None else budget.iterations
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        bound = relaxed(setup, i, dtype=instance.dtype, iterations=count, seed=seed)
        pool = [bound.precoder, *self._searched(setup, i, count, seed)]
        if start is not None:
            given = cast(OtaFeelDecision, start.to(dtype=torch.float64))
            pool.append(within_budget(given.precoder, i.max_power_w)[:, None])
        best = OtaFeelDecision(best_candidate(setup, i, torch.cat(pool, 1)))
        value = setup.evaluate(i, best).objective
        gap = bound.certificate.bound.to(value.dtype) - value
        spent = torch.full_like(value, count, dtype=torch.int64)
        is_met = (gap <= tolerance * _DB) & (spent > 1)
        return Solution(
            decision=best.to(dtype=instance.dtype),
            status=torch.where(is_met, int(Status.CONVERGED), int(Status.BUDGET_SPENT)),
            iterations=spent,
            certificate=bound.certificate,
        )

    def _searched(
        self, problem: OtaFeel, instance: OtaFeelInstance, iterations: int, seed: int
    ) -> list[Tensor]:
        """Candidates (B, 1, K, M, R) of the methods that suit the scenario."""
        s, found = problem.scenario, []
        heard = None
        if s.sensing_weight < 1:
            count = self.starts if s.pulse == "none" else 1 + self.starts // 8
            solver = VarProLbfgs(iterations=iterations, starts=count)
            heard = solver.solve(problem, instance, seed=seed).decision
            found.append(cast(OtaFeelDecision, heard).precoder[:, None])
        if s.sensing_weight > 0 and (s.sensing_weight < 1 or s.sensing != "ideal"):
            joint = JointGradient(iterations=iterations, num_starts=6)
            both = joint.solve(problem, instance, seed=seed, start=heard).decision
            found.append(cast(OtaFeelDecision, both).precoder[:, None])
        return found
