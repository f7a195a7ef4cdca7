"""Worst-case SINR of one user by S-lemma semidefinite programmes: the usual way, one at a time.

Compiled once per number of antennas; channel, ball and powers enter as parameters of the matrix
inequality, so that the programme is DPP. Independent of the batched oracle it is compared with.
"""

import contextlib
import warnings
from functools import cache
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

__all__ = ["SLemma"]

Array = NDArray[Any]
_TOLERANCES = (1e-12, 1e-9, 1e-7)  # tightest first; the solver refuses some at the limit


class SLemma:
    """max t subject to constant + t slope + mu diag(1, ..., 1, -1) >= 0, mu >= 0."""

    def __init__(self, antennas: int) -> None:
        """Build the programme for quadratic forms in (u, 1), ||u|| <= 1, u of ``antennas``."""
        size = 2 * (antennas + 1)
        self._constant = cp.Parameter((size, size), symmetric=True)
        self._slope = cp.Parameter((size, size), symmetric=True)
        self._t = cp.Variable()
        ball = np.diag(([1.0] * antennas + [-1.0]) * 2)
        inequality = self._constant + self._t * self._slope + cp.Variable(nonneg=True) * ball
        self._problem = cp.Problem(cp.Maximize(self._t), [inequality >> 0])

    @classmethod
    @cache
    def compiled(cls, antennas: int) -> "SLemma":
        """The programme of one size, compiled on its first solve."""
        return cls(antennas)

    def strongest(self, channel: Array, radius: float, covariance: Array) -> float:
        """Largest (h + e)^H R (h + e) over the ball, of h (N,), R (N, N)."""
        form = _form(covariance, channel, radius)
        scale = max(float(np.abs(form).max()), 1e-300)
        corner = np.zeros_like(form)
        corner[-1, -1] = -1
        return -scale * self._solve(-form / scale, corner)

    def weakest(
        self, channel: Array, radius: float, beam: Array, rest: Array, noise: float
    ) -> float:
        """Smallest |v^H x|^2 / (x^H A x + c0) over the ball, of h, v (N,), A (N, N)."""
        signal = _form(np.outer(beam, beam.conj()), channel, radius)
        other = _form(rest, channel, radius) / noise
        other[-1, -1] += 1
        scale = float(np.abs(signal).max())
        if scale == 0:
            return 0.0
        guess = min(signal[-1, -1].real / other[-1, -1].real / scale, 1 / np.abs(other).max())
        factor = max(self._solve(signal / scale, -guess * other), 0.0)
        return factor * guess * scale / noise

    def _solve(self, constant: Array, slope: Array) -> float:
        self._constant.value, self._slope.value = _real(constant), _real(slope)
        for tolerance in _TOLERANCES:
            limits = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tolerance)
            with warnings.catch_warnings(), contextlib.suppress(cp.SolverError):
                warnings.simplefilter("ignore")  # "may be inaccurate": the caller compares values
                self._problem.solve(solver=cp.CLARABEL, equilibrate_enable=False, **limits)
                if self._t.value is not None:
                    return float(self._t.value)
        raise cp.SolverError(f"CLARABEL: {self._problem.status}.")


def _form(matrix: Array, channel: Array, radius: float) -> Array:
    """(h + eps u)^H M (h + eps u) as a matrix in (u, 1)."""
    basis = np.column_stack([radius * np.eye(len(channel)), channel])
    return basis.conj().T @ matrix @ basis


def _real(matrix: Array) -> Array:
    """Hermitian (n, n) as symmetric (2 n, 2 n)."""
    real, imaginary = np.real(matrix), np.imag(matrix)
    whole = np.block([[real, -imaginary], [imaginary, real]])
    return (whole + whole.T) / 2
