"""Small batched linear algebra that never raises inside a batch and never synchronises."""

import torch
from torch import Tensor

__all__ = ["hermitian_eigh", "inverse_trace", "solve_or_nan"]


def hermitian_eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues in ascending order and eigenvectors, without surprises.

    Rows with a non-finite entry give NaN instead of an exception. Single precision on CUDA is
    computed in double: torch's batched complex64 routine there fails on large batches or returns
    vectors that are not orthonormal (pytorch issue 192483; seen with torch 2.11 on an H200).

    Args:
        matrix: (..., n, n) Hermitian, n <= 32.

    Returns:
        Eigenvalues (..., n) real, and eigenvectors (..., n, n) as columns.
    """
    is_finite = matrix.isfinite().flatten(-2).all(-1)
    safe = torch.where(is_finite[..., None, None], matrix, 0)
    if safe.device.type == "cuda" and safe.dtype in (torch.complex64, torch.float32):
        safe = safe.to(torch.complex128 if safe.is_complex() else torch.float64)
    value, vector = torch.linalg.eigh(safe)
    value = torch.where(is_finite[..., None], value, torch.nan)
    return value.to(matrix.real.dtype), vector.to(matrix.dtype)


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
