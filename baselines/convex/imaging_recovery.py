"""Sparse-group lasso by a conic solver, one instance at a time: the twin of the batched one."""

from typing import Any

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

__all__ = ["sparse_group_lasso"]

Array = NDArray[Any]


def sparse_group_lasso(
    information: Array, matched: Array, entry: Array, block: Array, member: Array
) -> Array:
    """Minimiser (V,) of x^H Phi x / 2 - Re b^H x + sum_n a_n |x_n| + sum_g c_g |x_g|.

    Args:
        information: Phi, (V, V) Hermitian, positive definite.
        matched: b, (V,).
        entry: a, (V,) >= 0.
        block: c, (blocks,) >= 0.
        member: One-hot block membership, (V, blocks).
    """
    scale = float(np.abs(np.diag(information)).max())
    half = np.linalg.cholesky(information / scale).conj().T  # Phi = half^H half
    target = np.linalg.solve(half.conj().T, matched / scale)
    x = cp.Variable(len(matched), complex=True)
    off = cp.sum_squares(half @ x - target) / 2
    cost = off + (entry / scale) @ cp.abs(x)
    for column, weight in zip(member.T, block / scale, strict=True):
        cost = cost + weight * cp.norm(x[np.flatnonzero(column)])
    limits = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-11)
    cp.Problem(cp.Minimize(cost)).solve(solver=cp.CLARABEL, warm_start=False, **limits)
    if x.value is None:
        raise cp.SolverError("CLARABEL found no sparse-group lasso.")
    return np.asarray(x.value)
