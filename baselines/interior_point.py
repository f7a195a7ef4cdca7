"""A batched primal-dual interior-point method for small smooth programmes.

Minimise f(v) subject to c(v) + s = 0, s > 0, from a strictly feasible start. Every lane has its own
barrier parameter, step and stopping test. Source: Mehrotra 1992 for the barrier parameter (from a
predictor step); Nocedal and Wright 2006, section 19.2, for the slack form, which does not have to
follow curved constraints from inside.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from baselines.iteration import iterate_shrinking

__all__ = ["Expansion", "Optimum", "Programme", "minimise"]

_LAG = 0.03  # the barrier parameter does not run ahead of the other residuals by more
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

    def step(
        programme: Programme, point: Tensor, slack: Tensor, multiplier: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        return _newton(programme, point, slack, multiplier, 0.1 * tolerance / slack.shape[1])

    (point, slack, multiplier), status, count = iterate_shrinking(
        step,
        programme,  # type: ignore[arg-type] - a protocol cannot be a tuple
        (start, slack, barrier / slack),
        iterations=iterations,
        tolerance=tolerance,
    )
    at = programme.expand(point)
    residual = (at.gradient + _times(at.jacobian.mT, multiplier)).abs().amax(-1)
    return Optimum(point, (multiplier * slack).sum(-1), residual, status, count)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix (B, m, n) times vector (B, n)."""
    return (matrix @ vector[:, :, None])[:, :, 0]


def _newton(
    programme: Programme, point: Tensor, slack: Tensor, multiplier: Tensor, smallest: float
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Predictor for the barrier parameter, then the step; also the residual before it, (B,)."""
    at = programme.expand(point)
    weight = multiplier / slack
    excess = at.constraint + slack
    product = multiplier * slack
    mean = product.mean(-1)
    sides = torch.stack([weight * excess, slack.reciprocal(), multiplier], -1)  # (B, C, 3)
    sides = at.jacobian.mT @ sides
    lagrangian = (at.gradient + sides[:, :, 2]).abs().amax(-1)
    error = torch.maximum(lagrangian, excess.abs().amax(-1))

    matrix = programme.hessian(point, multiplier)
    matrix = matrix + at.jacobian.mT @ (at.jacobian * weight[:, :, None])
    right = -torch.stack([at.gradient + sides[:, :, 0], sides[:, :, 1]], -1)
    move = _factor(matrix, is_convex=programme.is_convex)(right)  # (B, n, 2): at 0, per barrier
    closing = -(at.jacobian @ move)
    closing[:, :, 0] -= excess
    change = -weight[:, :, None] * closing
    change[:, :, 0] -= multiplier
    change[:, :, 1] += slack.reciprocal()

    pair = torch.stack([slack, multiplier], 1)  # (B, 2, C)
    drift = torch.stack([closing, change], 1)  # (B, 2, C, 2)
    length = _reach(pair, drift[:, :, :, 0], 1.0)[:, None, None]
    ahead = (pair + length * drift[:, :, :, 0]).prod(1).mean(-1)
    barrier = (ahead / mean).pow(3) * mean
    barrier = torch.maximum(barrier, _LAG * error).clamp_min(smallest)[:, None]
    drift = drift[:, :, :, 0] + barrier[:, :, None] * drift[:, :, :, 1]
    travel = move[:, :, 0] + barrier * move[:, :, 1]
    length = _reach(pair, drift, 1 - mean.clamp(1e-3, 0.1))
    length = torch.minimum(length, _LONGEST_MOVE / travel.abs().amax(-1))[:, None]
    slack, multiplier = (pair + length[:, :, None] * drift).unbind(1)
    return (point + length * travel, slack, multiplier), torch.maximum(product.sum(-1), error)


def _reach(positive: Tensor, change: Tensor, fraction: Tensor | float) -> Tensor:
    """Largest step <= 1, (B,), that uses at most ``fraction`` of the way to zero, (B, 2, C)."""
    tiny = torch.finfo(positive.dtype).tiny
    return (fraction / (-change / positive).amax((1, 2)).clamp_min(tiny)).clamp_max(1)


def _factor(matrix: Tensor, *, is_convex: bool) -> Callable[[Tensor], Tensor]:
    """Solver of symmetric systems; negative curvature is turned into positive if not convex."""
    scale = matrix.diagonal(dim1=-2, dim2=-1).abs().rsqrt()[:, :, None]
    scaled = matrix * scale * scale.mT
    if is_convex:
        factor = torch.linalg.cholesky_ex(scaled, check_errors=False)[0]
        return lambda right: torch.cholesky_solve(right * scale, factor) * scale
    eigenvalue, basis = torch.linalg.eigh(scaled)
    inverse = eigenvalue.abs().clamp_min(_CURVATURE_FLOOR).reciprocal()[:, :, None]
    return lambda right: basis @ (basis.mT @ (right * scale) * inverse) * scale
