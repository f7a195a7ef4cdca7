"""Optimal probing covariance as a semidefinite programme: the usual way, one instance at a time.

    minimise tr T  subject to  [[J_0 + sum_m w_m K_m, I], [I, T]] >= 0,  sum_m w_m E_m >= 0

and two linear inequalities for power and SINR, over real coefficients w_m of a Hermitian basis.
Compiled once per size; everything of an instance enters as a parameter (DPP). Independent of the
batched descent it is compared with.
"""

import warnings
from functools import cache
from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

__all__ = ["ImagingSdp"]

Array = NDArray[Any]


class ImagingSdp:
    """The programme of one size (voxels, antennas)."""

    def __init__(self, voxels: int, antennas: int) -> None:
        """Build it."""
        self._basis = _hermitian_basis(antennas)
        size, count = 2 * voxels, antennas**2
        self._gain = cp.Parameter((size * size, count))
        self._prior = cp.Parameter((size, size), symmetric=True)
        self._spent, self._budget = cp.Parameter(count), cp.Parameter()
        self._heard, self._need = cp.Parameter(count), cp.Parameter()
        self._w = cp.Variable(count)
        self._slack = slack = cp.Variable((size, size), symmetric=True)
        information = self._prior + cp.reshape(self._gain @ self._w, (size, size), order="C")
        eye = np.eye(size)
        real = np.stack([_real(e) for e in self._basis])
        covariance = cp.reshape(
            real.reshape(count, -1).T @ self._w, (2 * antennas, 2 * antennas), order="C"
        )
        block = cp.bmat([[(information + information.T) / 2, eye], [eye, slack]])
        constraints = [
            block >> 0,
            (covariance + covariance.T) / 2 >> 0,
            self._spent @ self._w <= self._budget,
            self._heard @ self._w >= self._need,
        ]
        self._problem = cp.Problem(cp.Minimize(cp.trace(slack) / 2), constraints)

    @classmethod
    @cache
    def compiled(cls, voxels: int, antennas: int) -> "ImagingSdp":
        """The programme of one size, compiled on its first solve."""
        return cls(voxels, antennas)

    def solve(
        self,
        bs_channel: Array,
        gram: Array,
        precision: Array,
        comm_channel: Array,
        *,
        gain: float,
        max_power_w: float,
        min_sinr: float,
        comm_noise_w: float,
        is_joint: bool,
    ) -> tuple[float, Array]:
        """Least error f and the informing covariance W (N, N) of one instance.

        Args:
            bs_channel: G, (V, N).
            gram: g^H g, (V, V).
            precision: J_0, (V, V).
            comm_channel: h, (N,).
            gain: Samples over noise power.
            max_power_w: P.
            min_sinr: Gamma.
            comm_noise_w: Noise power of the communication user.
            is_joint: Whether decoded data inform like the probe.
        """
        p, energy = max_power_w, float(np.linalg.norm(comm_channel)) ** 2
        kernels = [
            gain * p * (bs_channel @ e @ bs_channel.conj().T).conj() * gram for e in self._basis
        ]
        isotropic = precision + sum(kernels[: len(comm_channel)]) / len(comm_channel)
        scale = float(np.trace(isotropic).real) / len(precision)
        trace = np.array([np.trace(e).real for e in self._basis])
        heard = np.array(
            [(comm_channel.conj() @ e @ comm_channel).real / energy for e in self._basis]
        )
        need = min_sinr * comm_noise_w / (p * energy)
        self._gain.value = np.stack([_real(k / scale).ravel() for k in kernels], -1)
        self._prior.value = _real(precision / scale)
        if is_joint:
            self._spent.value, self._budget.value = trace, 1.0
            self._heard.value, self._need.value = heard, need
        else:
            self._spent.value, self._budget.value = trace + min_sinr * heard, 1 - need
            self._heard.value, self._need.value = 0 * heard, 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "may be inaccurate": the caller compares values
            # A warm start would reuse the data of the previous instance.
            self._problem.solve(solver=cp.CLARABEL, warm_start=False)
        if self._w.value is None:
            raise cp.SolverError(f"CLARABEL: {self._problem.status}.")
        covariance = p * np.tensordot(self._w.value, self._basis, 1)
        return float(np.trace(np.asarray(self._slack.value))) / 2 / scale, covariance


def _hermitian_basis(size: int) -> Array:
    """Real basis of Hermitian matrices, (size^2, size, size); the diagonal ones first."""
    found = []
    for i in range(size):
        found.append(np.zeros((size, size), complex))
        found[-1][i, i] = 1
    for i in range(size):
        for k in range(i):
            for value in (1, 1j):
                found.append(np.zeros((size, size), complex))
                found[-1][i, k], found[-1][k, i] = value, np.conj(value)
    return np.stack(found)


def _real(matrix: Array) -> Array:
    """Hermitian (n, n) as symmetric (2 n, 2 n)."""
    real, imaginary = np.real(matrix), np.imag(matrix)
    whole = np.block([[real, -imaginary], [imaginary, real]])
    return (whole + whole.T) / 2
