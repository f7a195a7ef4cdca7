"""Least mean range error, the quantity the paper plots (it optimises the worst)."""

from dataclasses import dataclass
from typing import ClassVar

from baselines.interior_point import minimise
from baselines.power_control.log_power import MeanSigmaProgramme
from baselines.power_control.outcome import interior, limits, network_of, outcome
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver

__all__ = ["MinMeanSigma"]


@dataclass(frozen=True, kw_only=True)
class MinMeanSigma(Solver):
    """Global optimum of the mean of sigma_i: log sum_i gamma_s,i^(-1/2) is convex in log-powers.

    No objective of a scenario is the mean error, so there is no certificate.

    Attributes:
        iterations: Largest number of Newton steps, >= 1.
        tolerance: On the logarithm of the mean error.
    """

    name: ClassVar[str] = "min-mean-sigma"
    summary: ClassVar[str] = "global optimum of the mean range error"

    iterations: int = 80
    tolerance: float = 1e-7

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; ``start`` is not used, the problem is convex."""
        count, tolerance = limits(budget, iterations=self.iterations, tolerance=self.tolerance)
        original = network_of(problem, instance)
        known = interior(original)
        network, inside, _ = known
        best = minimise(
            MeanSigmaProgramme.of(network), inside.log(), iterations=count, tolerance=tolerance
        )
        power = best.point.exp().clamp_max(1)
        return outcome(original, power, known=known, status=best.status, iterations=best.iterations)
