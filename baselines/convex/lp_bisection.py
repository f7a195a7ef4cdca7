"""Max-min power control the textbook way: bisection on the level, a linear programme per step.

At a fixed level t the problem asks for x in [0, 1]^I with x >= t (F x + n) and x >= Q x + m. The
programme is written once with parameters (DPP) and compiled once, so that a benchmark against it
measures solves and not compilations. Source: Rivera Figueroa et al. 2024, P1 at fixed t.
"""

import math
from functools import cache
from typing import Any

import cvxpy as cp
import numpy as np
from cvxpy.settings import SOLUTION_PRESENT
from numpy.typing import NDArray

__all__ = ["LpBisection"]

Array = NDArray[np.float64]

_SPAN = 1e-7  # lower end of the bracket over its upper end


class LpBisection:
    """One compiled programme for networks of a given size.

    Attributes:
        size: Number of links I.
        steps: Halvings of the logarithm of the bracket; 24 reach a relative width of 1e-6.
    """

    solver = "CLARABEL"

    def __init__(self, size: int, *, steps: int = 24) -> None:
        self.size, self.steps = size, steps
        self._x = cp.Variable(size)
        self._coupling = cp.Parameter((size, size), nonneg=True)
        self._noise = cp.Parameter(size, nonneg=True)
        self._comm_coupling = cp.Parameter((size, size), nonneg=True)
        self._comm_noise = cp.Parameter(size, nonneg=True)
        constraints: list[cp.Constraint] = [
            self._x >= self._coupling @ self._x + self._noise,
            self._x >= self._comm_coupling @ self._x + self._comm_noise,
            self._x >= 0,
            self._x <= 1,
        ]
        self._problem = cp.Problem(cp.Maximize(cp.sum(self._x)), constraints)

    @classmethod
    @cache
    def compiled(cls, size: int) -> "LpBisection":
        """The programme for networks of ``size`` links, compiled on first use."""
        programme = cls(size)
        eye = np.eye(size)
        programme.solve(0.01 * (1 - eye), np.full(size, 0.1), 0 * eye, np.zeros(size))
        return programme

    def solve(
        self, coupling: Array, noise: Array, comm_coupling: Array, comm_noise: Array
    ) -> tuple[float, Array]:
        """Best level and its powers for one network.

        Args:
            coupling: F, (I, I), >= 0.
            noise: n, (I,), > 0.
            comm_coupling: Q with the thresholds folded in, (I, I), >= 0.
            comm_noise: m, likewise, (I,), >= 0.

        Returns:
            Level attained by the last powers found, and these x (I,); nan if there are none.
        """
        self._comm_coupling.value, self._comm_noise.value = comm_coupling, comm_noise
        high = float((1 / (np.diagonal(coupling) + noise)).min())
        low, best = high * _SPAN, np.full(self.size, math.nan)
        for _ in range(self.steps):
            level = math.sqrt(low * high)
            x = self._powers(level, coupling, noise)
            if x is None:
                high = level
            else:
                low, best = level, x.clip(0, 1)
        return float((best / (coupling @ best + noise)).min()), best

    def _powers(self, level: float, coupling: Array, noise: Array) -> Any:
        """Powers that attain a level, or None where the programme has none or the solver gave up.

        Near the threshold CLARABEL may stop undecided; the level then counts as out of reach,
        which costs accuracy that the benchmark's check measures.
        """
        self._coupling.value, self._noise.value = level * coupling, level * noise
        try:
            self._problem.solve(solver=self.solver)
        except cp.SolverError:
            return None
        return self._x.value if self._problem.status in SOLUTION_PRESENT else None
