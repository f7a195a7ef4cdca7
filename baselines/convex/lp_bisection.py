"""Max-min power control the textbook way: bisection on the level, a linear programme per step.

At a fixed level t the problem asks for x in [0, 1]^I with x >= t (F x + n) and x >= Q x + m. The
programme is written once with parameters (DPP) and compiled once, so that a benchmark against it
measures solves and not compilations. Source: Rivera Figueroa et al. 2024, P1 at fixed t.
"""

import math
import warnings
from contextlib import suppress
from functools import cache

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

__all__ = ["LpBisection"]

Array = NDArray[np.float64]

_SPAN = 1e-7  # lower end of the bracket over its upper end
_RESIDUAL = 1e-6  # relative violation up to which a returned point attains its level


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
            x = self._powers(level * coupling, level * noise)
            limits = level * (coupling @ x + noise), comm_coupling @ x + comm_noise
            if (x >= (1 - _RESIDUAL) * np.maximum(*limits)).all():
                low, best = level, x
            else:
                high = level
        return float((best / (coupling @ best + noise)).min()), best

    def _powers(self, coupling: Array, noise: Array) -> Array:
        """What the solver returns at a level; nan where it returns nothing.

        Its status is not asked: near the threshold CLARABEL calls right answers inaccurate and
        wrong ones too, so the caller measures the constraints instead.
        """
        self._coupling.value, self._noise.value = coupling, noise
        with suppress(cp.SolverError), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._problem.solve(solver=self.solver)
            if self._x.value is not None:
                return self._x.value.clip(0, 1)
        return np.full(self.size, math.nan)
