"""Exact max-min power control, two independent ways, and what is next to it in energy.

Source: the problem is quasi-linear and geometric (Yates 1995), so the global optimum is a finite
number of linear solves; see ``isac_gym.physics.interference``.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch

from baselines.power_control.outcome import network_of, outcome
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Solver, Status
from isac_gym.core.units import db_to_linear, linear_to_db
from isac_gym.physics.interference import (
    MaxMin,
    least_fixed_point,
    max_min_level,
    max_min_level_bisect,
)
from isac_gym.problems.power_control.model import PowerControl, PowerControlDecision

__all__ = ["EnergySaver", "Exact", "ExactBisect"]

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


def _solution(problem: Problem, best: MaxMin, budget: Budget) -> Solution:
    accuracy = _TOLERANCE[best.x.dtype]
    bound = Certificate(
        bound=linear_to_db(best.bound),
        kind="exact",
        source="10 log10 of max_min_level(F, n, Q', m'), isac_gym.physics.interference",
        tolerance=accuracy,
    )
    is_tight = best.bound <= best.level * (1 + (budget.tolerance or accuracy))
    is_solved = best.has_converged & is_tight
    status = torch.where(is_solved, int(Status.CONVERGED), int(Status.BUDGET_SPENT))
    return Solution(
        decision=PowerControlDecision(best.x),  # the max-margin point where infeasible
        status=torch.where(best.is_feasible, status, int(Status.INFEASIBLE)),
        iterations=best.passes,
        certificate=bound if cast(PowerControl, problem).scenario.objective == "maxmin" else None,
    )


@dataclass(frozen=True, kw_only=True)
class Exact(Solver):
    """Global optimum by policy iteration in log space.

    The certificate bounds the objective ``maxmin`` only. In an infeasible lane it is the level of
    the returned point, as there is no optimum to bound.

    Attributes:
        passes: Largest number of policy passes, >= 1.
    """

    name: ClassVar[str] = "exact"
    summary: ClassVar[str] = "global max-min optimum by policy iteration"
    certifies: ClassVar[bool] = True

    passes: int = 20

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; ``budget.iterations`` replaces ``passes``."""
        passes = budget.iterations or self.passes
        best = max_min_level(*network_of(problem, instance), max_passes=passes)
        return _solution(problem, best, budget)


@dataclass(frozen=True, kw_only=True)
class ExactBisect(Solver):
    """Global optimum by log bisection on the least fixed point: an independent twin of ``exact``.

    Attributes:
        steps: Halvings of the logarithm of the level, >= 1; 51 reach 1e-14.
    """

    name: ClassVar[str] = "exact-bisect"
    summary: ClassVar[str] = "global max-min optimum by bisection"
    certifies: ClassVar[bool] = True

    steps: int = 51

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; ``budget.iterations`` replaces ``steps``."""
        steps = budget.iterations or self.steps
        best = max_min_level_bisect(*network_of(problem, instance), num_steps=steps)
        return _solution(problem, best, budget)


@dataclass(frozen=True, kw_only=True)
class EnergySaver(Solver):
    """Least powers that keep the worst SINR within ``loss_db`` of the optimum.

    The network is interference limited, so the optimum is flat in power: 0.1 dB of SINR buys
    4 to 16 dB of power.

    Attributes:
        loss_db: Sacrificed part of the optimal level in dB, > 0.
    """

    name: ClassVar[str] = "energy-saver"
    summary: ClassVar[str] = "least powers within 0.1 dB of the optimum"

    loss_db: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.loss_db < math.inf:
            raise ScenarioError(f"loss_db must be > 0, got {self.loss_db}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; the iterations are those of the exact optimum."""
        network = network_of(problem, instance)
        best = max_min_level(*network, max_passes=budget.iterations or Exact.passes)
        least = least_fixed_point(best.level * db_to_linear(-self.loss_db), *network)
        solved = _solution(problem, best, budget)
        return outcome(network, least.x.clamp_max(1), status=solved.status, iterations=best.passes)
