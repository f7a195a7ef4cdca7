"""Small batched linear algebra that never raises inside a batch and never synchronises."""

import torch
from torch import Tensor

__all__ = ["inverse_trace", "solve_or_nan"]


def solve_or_nan(matrix: Tensor, right: Tensor) -> Tensor:
    """Solution of ``matrix @ x = right``, NaN in the lanes whose matrix is exactly singular.

    Args:
        matrix: Square matrices, (B, n, n), real or complex.
        right: Right-hand sides, (B, n, k).

    Returns:
        Solutions, (B, n, k).
    """
    solution, info = torch.linalg.solve_ex(matrix, right, check_errors=False)
    return torch.where((info != 0)[:, None, None], torch.nan, solution)


def inverse_trace(matrix: Tensor) -> Tensor:
    """Trace of the inverse of Hermitian positive definite matrices; ``inf`` where singular.

    Args:
        matrix: (B, n, n) Hermitian.

    Returns:
        (B,) real; ``inf`` in the lanes whose Cholesky factorisation fails.
    """
    factor, info = torch.linalg.cholesky_ex(matrix, check_errors=False)
    is_bad = info != 0
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    safe = torch.where(is_bad[:, None, None], identity, factor)
    half = torch.linalg.solve_triangular(safe, identity.expand_as(safe), upper=False)
    return torch.where(is_bad, torch.inf, half.abs().square().sum((-2, -1)))
