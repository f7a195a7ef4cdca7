"""A batched primal-dual interior-point method for small smooth programmes.

Minimise f(v) subject to c(v) + s = 0, s > 0, from a strictly feasible start. Every lane has its own
barrier parameter, step and stopping test. Source: Mehrotra 1992 for the barrier parameter (from a
predictor step); Nocedal and Wright 2006, section 19.2, for the slack form, which does not have to
follow curved constraints from inside.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from baselines.iteration import iterate_shrinking

__all__ = ["Expansion", "Optimum", "Programme", "minimise"]

_LAG = 0.03  # least barrier parameter over the other residuals, and
_CAP = 0.1  # ... over its last value: it always falls (both found by measurement)
_LONGEST_MOVE = 5.0  # per variable and step; variables are of order one or natural logarithms
_CURVATURE_FLOOR = 1e-8  # relative, where a programme is not convex


class Expansion(NamedTuple):
    """First-order expansion at a point.

    Attributes:
        gradient: of f, (B, n).
        constraint: c, (B, C), negative inside.
        jacobian: of c, (B, C, n).
    """

    gradient: Tensor
    constraint: Tensor
    jacobian: Tensor


class Programme(Protocol):
    """What is minimised: a named tuple of tensors (B, ...) with these methods.

    It is to be scaled so that f, c and v are of order one, or logarithms.
    """

    is_convex: bool

    def expand(self, point: Tensor) -> Expansion:
        """First-order expansion at points (B, n)."""
        ...

    def hessian(self, point: Tensor, multiplier: Tensor) -> Tensor:
        """Hessian (B, n, n) of f + sum_k multiplier_k c_k, multiplier (B, C) > 0."""
        ...


class Optimum(NamedTuple):
    """Result of :func:`minimise`.

    Attributes:
        point: (B, n); constraints hold to about the tolerance.
        gap: Sum of multiplier times slack, (B,): the duality gap where ``residual`` is 0.
        residual: Largest entry of the gradient of the Lagrangian, (B,).
        status: CONVERGED, BUDGET_SPENT or FAILED, (B,) int64.
        iterations: Newton steps, (B,) int64.
    """

    point: Tensor
    gap: Tensor
    residual: Tensor
    status: Tensor
    iterations: Tensor


def minimise(
    programme: Programme,
    start: Tensor,
    *,
    iterations: int,
    tolerance: float,
    barrier: float = 1.0,
) -> Optimum:
    """Minimise from a strictly feasible start.

    Args:
        programme: Objective and constraints.
        start: Strictly feasible points, (B, n).
        iterations: Largest number of Newton steps, >= 1.
        tolerance: A lane stops with the Newton step that begins where the duality gap, the gradient
            of the Lagrangian and the constraint residual are below this.
        barrier: First barrier parameter; less than 1 if the start is good.

    Returns:
        The optimum; for a programme that is not convex, a stationary point.
    """
    slack = -programme.expand(start).constraint
    smallest = 0.1 * tolerance / slack.shape[1]

    def step(
        programme: Programme, point: Tensor, pair: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        return _newton(programme, point, pair, smallest)

    (point, pair), status, count = iterate_shrinking(
        step,
        programme,  # type: ignore[arg-type] - a protocol cannot be a tuple
        (start, torch.stack([slack, barrier / slack], 1)),
        iterations=iterations,
        tolerance=tolerance,
    )
    at = programme.expand(point)
    lagrangian = at.gradient[:, :, None] + at.jacobian.mT @ pair[:, 1, :, None]
    residual = lagrangian.abs().amax((1, 2))
    return Optimum(point, pair.prod(1).sum(-1), residual, status, count)


def _newton(
    programme: Programme, point: Tensor, pair: Tensor, smallest: float
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Predictor for the barrier parameter, then the step; also the residual before it, (B,).

    ``pair`` holds slacks and multipliers, (B, 2, C). Moves are affine in the barrier parameter, so
    two right-hand sides serve predictor and step.
    """
    at = programme.expand(point)
    slack, multiplier = pair.unbind(1)
    inverse = slack.reciprocal()
    weight = multiplier * inverse
    excess = at.constraint + slack
    gap = (slack * multiplier).sum(-1)
    sides = at.jacobian.mT @ torch.stack([multiplier, weight * excess, inverse], -1)
    lagrangian = (at.gradient + sides[:, :, 0]).abs().amax(-1)
    error = torch.maximum(lagrangian, excess.abs().amax(-1))

    matrix = programme.hessian(point, multiplier)
    matrix = matrix + at.jacobian.mT @ (at.jacobian * weight[:, :, None])
    sides[:, :, 1] += at.gradient
    move = _solve(matrix, -sides[:, :, 1:], is_convex=programme.is_convex)  # (B, n, 2)
    closing = at.jacobian @ -move
    closing[:, :, 0] -= excess
    change = torch.stack([-multiplier, inverse], -1) - weight[:, :, None] * closing
    drift = torch.stack([closing, change], 1)  # (B, 2, C, 2)

    mean = gap / slack.shape[1]
    ahead = pair + _reach(pair, drift[:, :, :, 0], 1.0)[:, None, None] * drift[:, :, :, 0]
    barrier = (ahead.prod(1).mean(-1) / mean).pow(3) * mean
    lag = torch.minimum(_LAG * error, _CAP * mean)
    barrier = torch.maximum(barrier, lag).clamp_min(smallest)[:, None]
    drift = drift[:, :, :, 0] + barrier[:, :, None] * drift[:, :, :, 1]
    travel = move[:, :, 0] + barrier * move[:, :, 1]
    length = _reach(pair, drift, 1 - mean.clamp(1e-3, 0.1))
    length = torch.minimum(length, _LONGEST_MOVE / travel.abs().amax(-1))[:, None]
    state = (point + length * travel, pair + length[:, :, None] * drift)
    return state, torch.maximum(gap, error)


def _reach(positive: Tensor, change: Tensor, fraction: Tensor | float) -> Tensor:
    """Largest step <= 1, (B,), that uses at most ``fraction`` of the way to zero, (B, 2, C)."""
    tiny = -torch.finfo(positive.dtype).tiny
    return (-fraction / (change / positive).amin((1, 2)).clamp_max(tiny)).clamp_max(1)


def _solve(matrix: Tensor, right: Tensor, *, is_convex: bool) -> Tensor:
    """Solve symmetric systems (B, n, n), (B, n, k); NaN where a convex one is not definite.

    Negative curvature of a programme that is not convex is turned into positive.
    """
    if is_convex:
        factor, info = torch.linalg.cholesky_ex(matrix, check_errors=False)
        return torch.cholesky_solve(right, factor) + torch.where(info == 0, 0.0, torch.nan)[
            :, None, None
        ]
    scale = matrix.diagonal(dim1=-2, dim2=-1).abs().rsqrt()[:, :, None]
    eigenvalue, basis = torch.linalg.eigh(matrix * scale * scale.mT)
    inverse = eigenvalue.abs().clamp_min(_CURVATURE_FLOOR).reciprocal()[:, :, None]
    return basis @ (basis.mT @ (right * scale) * inverse) * scale
