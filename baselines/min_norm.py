r"""Point of least norm in a convex hull, batched.

It is the dual of the direction programmes of multi-objective steepest descent,

    min_{d, phi} phi + 1/2 |d|^2   subject to   g_i^T d <= phi,

whose solution is d = -sum_i lambda_i g_i, phi = -|d|^2 with lambda the weights of that point.

For mu >= 0 the programme min 1/2 |sum_i mu_i g_i|^2 - sum_i mu_i has the same solution up to a
factor: lambda = mu / sum(mu). With rows scaled to unit length it stays well conditioned where row
norms span decades. It is solved by block principal pivoting: a passive set is guessed, the normal
equations solved on it, and all rows that break a sign condition change sides.

Source: Desideri 2012 for the direction; Judice and Pires 1994 for the pivoting and its fallback,
which moves one row at a time where the blocks stop making progress.
"""

import torch
from torch import Tensor

__all__ = ["min_norm_point"]

_RIDGE = 500.0  # times the rounding unit, on a unit diagonal: nearly dependent rows
_SIGN = 1e-10  # how far a sign condition may be missed, relative to the right-hand side
_PATIENCE = 3  # block moves without progress before single moves


def min_norm_point(
    rows: Tensor, is_row: Tensor, *, iterations: int | None = None
) -> tuple[Tensor, Tensor]:
    """Weights and position of the point of least norm in the convex hull of some vectors.

    A finished lane is not touched any more. If the hull contains the origin the point is zero to
    about the square root of the rounding unit, relative to the longest row.

    Args:
        rows: Vectors g_i, (B, m, n) real; m is to be small, 30 at most.
        is_row: True for the rows that count, (B, m) bool.
        iterations: Largest number of pivoting steps, >= 1; None for 10 + 3 m.

    Returns:
        Weights lambda (B, m) >= 0 that sum to one, 0 where ``is_row`` is False, and the point
        (B, n); both zero in lanes without rows.
    """
    rows = torch.where(is_row[:, :, None], rows, 0)
    gram = rows @ rows.mT
    size = gram.diagonal(dim1=1, dim2=2).clamp_min(torch.finfo(gram.dtype).tiny ** 0.5).sqrt()
    gram = gram / size[:, :, None] / size[:, None]
    shortest = torch.where(is_row, size, size.amax(-1, keepdim=True)).amin(-1, keepdim=True)
    right = shortest / size  # (B, m)
    steps = 10 + 3 * rows.shape[1] if iterations is None else iterations
    scaled = _pivot(gram, right, is_row, steps)
    weight = scaled / size
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
    return weight, (weight[:, None] @ rows)[:, 0]


def _pivot(gram: Tensor, right: Tensor, is_row: Tensor, iterations: int) -> Tensor:
    """Solution nu (B, m) of nu >= 0, gram nu >= right with equality where nu > 0; best seen."""
    index = torch.arange(right.shape[1], device=right.device)
    passive, best = is_row, torch.zeros_like(right)
    least = torch.full_like(right[:, 0], torch.inf)
    fewest = torch.full_like(index[:1], right.shape[1] + 1).expand(right.shape[0])
    patience = torch.full_like(fewest, _PATIENCE)
    for _ in range(iterations):
        nu = _solve(gram, right, passive)
        slack = (gram @ nu[:, :, None])[:, :, 0] - right
        value = _value(gram, right, nu)
        best = torch.where((value < least)[:, None], nu.clamp_min(0), best)
        least = torch.minimum(value, least)
        room = _SIGN * right + _noise(nu)
        is_wrong = torch.where(passive, nu < 0, slack < -room) & is_row
        count = is_wrong.sum(-1)
        if right.device.type == "cpu" and not bool(count.any()):
            break
        has_progress = count < fewest
        fewest = torch.minimum(count, fewest)
        patience = torch.where(has_progress, _PATIENCE, patience - 1)
        last = torch.where(is_wrong, index, -1).amax(-1, keepdim=True)
        moves = is_wrong & ((patience >= 0)[:, None] | (index == last))
        passive = passive ^ moves
    return best


def _noise(nu: Tensor) -> Tensor:
    """Rounding error of a row of the system, (B, 1)."""
    return 4 * torch.finfo(nu.dtype).eps * nu.abs().sum(-1, keepdim=True)


def _solve(gram: Tensor, right: Tensor, passive: Tensor) -> Tensor:
    """Solution nu (B, m) of the normal equations on the passive rows, 0 on the others."""
    ridge = _RIDGE * torch.finfo(gram.dtype).eps
    both = passive[:, :, None] & passive[:, None]
    matrix = torch.where(both, gram, 0)
    diagonal = torch.where(passive, matrix.diagonal(dim1=1, dim2=2), 1)
    system = matrix.clone()
    system.diagonal(dim1=1, dim2=2).copy_(diagonal + ridge)
    factor = torch.linalg.cholesky_ex(system, check_errors=False)[0]
    target = torch.where(passive, right, 0)[:, :, None]
    nu = torch.cholesky_solve(target, factor)
    nu = nu + torch.cholesky_solve(target - matrix @ nu, factor)  # takes the ridge out again
    return torch.where(passive, nu[:, :, 0], 0)


def _value(gram: Tensor, right: Tensor, nu: Tensor) -> Tensor:
    """Squared norm (B,) of the point that clipped weights stand for, in units of the shortest."""
    nu = nu.clamp_min(0)
    total = (nu * right).sum(-1)
    value = (nu * (gram @ nu[:, :, None])[:, :, 0]).sum(-1) / total.square()
    return torch.where(total > 0, value, torch.inf)
