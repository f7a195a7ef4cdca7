"""A batched primal-dual interior-point method for small smooth programmes.

Minimise f(v) subject to c(v) + s = 0, s > 0, from a strictly feasible start. Every lane has its own
barrier parameter, step and stopping test. Source: Mehrotra 1992 for the barrier parameter (from a
predictor step); Nocedal and Wright 2006, section 19.2, for the slack form, which does not have to
follow curved constraints from inside.
"""

from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from baselines.iteration import iterate_shrinking

__all__ = ["Expansion", "Optimum", "Programme", "duality_gap", "minimise"]

_LAG = 0.03  # least barrier parameter over the other residuals, and
_CAP = 0.1  # ... over its last value: it always falls (both found by measurement)
_CURVATURE_FLOOR = 1e-8  # relative, where a programme is not convex


class Expansion(NamedTuple):
    """First-order expansion at a point.

    Attributes:
        gradient: of f, (B, n, 1).
        constraint: c, (B, C, 1), negative inside.
        jacobian: of c, (B, C, n).
    """

    gradient: Tensor
    constraint: Tensor
    jacobian: Tensor


class Programme(Protocol):
    """What is minimised: a named tuple of tensors (B, ...) with these methods.

    It is to be scaled so that f, c and v are of order one, or logarithms.
    """

    @property
    def is_convex(self) -> bool:
        """True if f and c are convex; else the Newton matrix is made positive definite."""
        ...

    def expand(self, point: Tensor) -> Expansion:
        """First-order expansion at points (B, n, 1)."""
        ...

    def hessian(self, point: Tensor, multiplier: Tensor) -> Tensor:
        """Hessian (B, n, n) of f + sum_k multiplier_k c_k at (B, n, 1), multiplier (B, C, 1)."""
        ...


class Optimum(NamedTuple):
    """Result of :func:`minimise`.

    Attributes:
        point: (B, n); constraints hold to about the tolerance.
        slack: (B, C), > 0.
        multiplier: (B, C), > 0.
        status: CONVERGED, BUDGET_SPENT or FAILED, (B,) int64.
        iterations: Newton steps, (B,) int64.
    """

    point: Tensor
    slack: Tensor
    multiplier: Tensor
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
    """Minimise from a strictly feasible start. The result carries no gradients.

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

    def step(
        programme: Programme, point: Tensor, pair: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        return _newton(programme, point, pair, 0.1 * tolerance / pair.shape[1])

    with torch.inference_mode():  # a tenth to a fifth of the time of a small batch
        slack = -programme.expand(start[:, :, None]).constraint
        (point, pair), status, count = iterate_shrinking(
            step,
            cast(tuple[Tensor, ...], programme),  # a protocol cannot say that it is a tuple
            (start[:, :, None], torch.cat([slack, barrier / slack], 2)),
            iterations=iterations,
            tolerance=tolerance,
        )
    found = (point[:, :, 0], pair[:, :, 0], pair[:, :, 1], status, count)
    return Optimum(*(tensor.clone() for tensor in found))  # clones are ordinary tensors again


def duality_gap(programme: Programme, optimum: Optimum, *, diameter: float) -> Tensor:
    """How far f of a convex programme may lie above its minimum, (B,).

    The sum of multiplier times slack, plus the gradient of the Lagrangian times the distance that
    the minimiser may be away.

    Args:
        programme: The convex programme.
        optimum: Result of :func:`minimise`.
        diameter: Largest distance of two feasible points, along any axis.
    """
    at = programme.expand(optimum.point[:, :, None])
    lagrangian = at.gradient + torch.bmm(at.jacobian.mT, optimum.multiplier[:, :, None])
    return (optimum.slack * optimum.multiplier).sum(-1) + diameter * lagrangian.abs().sum((1, 2))


def _newton(
    programme: Programme, point: Tensor, pair: Tensor, smallest: float
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Predictor for the barrier parameter, then the step; also the residual before it, (B,).

    ``pair`` holds slacks and multipliers, (B, C, 2). Moves are affine in the barrier parameter, so
    two right-hand sides serve predictor and step. Written for few tensor operations: their number
    is the time of a small batch.
    """
    at = programme.expand(point)
    slack, multiplier = pair[:, :, :1], pair[:, :, 1:]
    inverse = slack.reciprocal()
    weight = multiplier * inverse
    excess = at.constraint + slack
    sides = torch.cat([at.jacobian * weight, multiplier, weight * excess, inverse], 2)
    sides = torch.bmm(at.jacobian.mT, sides)  # (B, n, n + 3)
    size = point.shape[1]
    lagrangian = at.gradient + sides[:, :, size : size + 1]
    error = torch.maximum(lagrangian.abs().amax((1, 2)), excess.abs().amax((1, 2)))

    matrix = programme.hessian(point, multiplier) + sides[:, :, :size]
    right = sides[:, :, size + 1 :]
    right[:, :, :1].add_(at.gradient)
    move = _solve(matrix, right, is_convex=programme.is_convex)  # (B, n, 2), to be subtracted
    closing = torch.bmm(at.jacobian, move)
    closing[:, :, :1].sub_(excess)
    change = torch.cat([-multiplier, inverse], 2) - weight * closing
    drift = torch.cat([closing[:, :, :1], change[:, :, :1]], 2)  # (B, C, 2) at barrier 0
    drift_rate = torch.cat([closing[:, :, 1:], change[:, :, 1:]], 2)  # per unit of barrier

    mean = pair.prod(2).mean(1)
    length = _reach(pair, drift, 1.0).view(-1, 1, 1)
    ahead = torch.addcmul(pair, length, drift).prod(2).mean(1)
    barrier = torch.maximum(ahead.pow(3) / mean.square(), torch.minimum(_LAG * error, _CAP * mean))
    barrier = barrier.clamp_min(smallest).view(-1, 1, 1)
    drift = torch.addcmul(drift, barrier, drift_rate)
    travel = torch.addcmul(move[:, :, :1], barrier, move[:, :, 1:])
    length = _reach(pair, drift, 1 - mean.clamp(1e-3, 0.1)).view(-1, 1, 1)
    state = (
        torch.addcmul(point, length, travel, value=-1),
        torch.addcmul(pair, length, drift),
    )
    return state, torch.maximum(mean * pair.shape[1], error)


def _reach(positive: Tensor, change: Tensor, fraction: Tensor | float) -> Tensor:
    """Largest step <= 1, (B,), that uses at most ``fraction`` of the way to zero, (B, C, 2)."""
    tiny = -torch.finfo(positive.dtype).tiny
    return (-fraction / (change / positive).amin((1, 2)).clamp_max(tiny)).clamp_max(1)


def _solve(matrix: Tensor, right: Tensor, *, is_convex: bool) -> Tensor:
    """Solve symmetric systems (B, n, n), (B, n, k); garbage where a convex one is not definite.

    Negative curvature of a programme that is not convex is turned into positive.
    """
    if is_convex:
        return torch.cholesky_solve(right, torch.linalg.cholesky_ex(matrix)[0])
    scale = matrix.diagonal(dim1=-2, dim2=-1).abs().rsqrt()[:, :, None]
    eigenvalue, basis = torch.linalg.eigh(matrix * scale * scale.mT)
    inverse = eigenvalue.abs().clamp_min(_CURVATURE_FLOOR).reciprocal()[:, :, None]
    return basis @ (basis.mT @ (right * scale) * inverse) * scale
