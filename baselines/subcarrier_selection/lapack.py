"""Positive definite systems one by one with LAPACK, in place.

On a CPU this takes half the time of torch's batched factorisation, which copies every matrix and
clears the other triangle.
"""

import math

import numpy as np
import torch
from scipy.linalg import get_lapack_funcs
from torch import Tensor

from isac_gym.physics import probe_tables

__all__ = ["positive_solve"]

_ROUTINES = {
    mine: get_lapack_funcs(("posv",), dtype=theirs)[0]
    for mine, theirs in ((torch.float32, np.float32), (torch.float64, np.float64))
}


def positive_solve(matrix: Tensor, label: Tensor) -> Tensor:
    """As :func:`isac_gym.physics.probe_tables.positive_solve`; other devices leave it to that.

    Args:
        matrix: Symmetric matrices (b, q, J, J).
        label: Right-hand sides (b, J, Y).

    Returns:
        Solutions (b, q, J, Y); NaN where a matrix is not positive definite.
    """
    routine = _ROUTINES.get(matrix.dtype)
    if matrix.device.type != "cpu" or routine is None:
        return probe_tables.positive_solve(matrix, label)
    out = label.new_empty(*matrix.shape[:2], *label.shape[1:])
    work = np.empty(matrix.shape[2:], dtype=matrix.numpy().dtype)
    for some, right, found in zip(matrix.numpy(), label.numpy(), out.numpy(), strict=True):
        columns = np.asfortranarray(right)
        for number, one in enumerate(some):
            np.copyto(work, one)
            # a symmetric matrix is its transpose, which has LAPACK's order
            _, solution, info = routine(work.T, columns, lower=1, overwrite_a=1)
            found[number] = solution if info == 0 else math.nan
    return out
