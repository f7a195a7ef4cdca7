"""A batched primal-dual interior-point method for small smooth programmes.

Minimise f(v) subject to c(v) <= 0 from a strictly feasible start. Every lane has its own barrier
parameter, step and stopping test. Source: Boyd and Vandenberghe 2004, section 11.7, with an Armijo
search on the logarithmic barrier f - mu sum log(-c) instead of the residual, so that non-convex f
also descends.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from isac_gym.core.loops import iterate

__all__ = ["Expansion", "Optimum", "Programme", "minimise"]

_FRACTION = 0.99  # of the way to the boundary
_ARMIJO = 1e-4
_TRIALS = 30
_START_GAP = 1.0  # mean of multiplier times slack at the start


class Expansion(NamedTuple):
    """First-order expansion at a point.

    Attributes:
        value: f, (B,).
        gradient: of f, (B, n).
        constraint: c, (B, C), negative inside.
        jacobian: of c, (B, C, n).
    """

    value: Tensor
    gradient: Tensor
    constraint: Tensor
    jacobian: Tensor


class Programme(Protocol):
    """What is minimised."""

    @property
    def is_convex(self) -> bool:
        """True if f and c are convex; else the Newton matrix is made positive definite."""
        ...

    def values(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Objective f (B,) and constraints c (B, C) at points (B, n); NaN outside the domain."""
        ...

    def expand(self, point: Tensor) -> Expansion:
        """First-order expansion at points (B, n)."""
        ...

    def hessian(self, point: Tensor, multiplier: Tensor) -> Tensor:
        """Hessian (B, n, n) of f + sum_k multiplier_k c_k, multiplier (B, C) > 0."""
        ...


class Optimum(NamedTuple):
    """Result of :func:`minimise`.

    Attributes:
        point: Strictly feasible, (B, n).
        gap: Sum of multiplier times slack, (B,): the duality gap where the residual vanishes.
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
    programme: Programme, start: Tensor, *, iterations: int, tolerance: float
) -> Optimum:
    """Minimise from a strictly feasible start.

    Args:
        programme: Objective and constraints, scaled so that f, c and v are of order one.
        start: Strictly feasible points, (B, n).
        iterations: Largest number of Newton steps, >= 1.
        tolerance: On the duality gap and on the gradient of the Lagrangian.

    Returns:
        The optimum; for a programme that is not convex, a local one.
    """
    multiplier = _START_GAP / -programme.values(start)[1]
    unknown = torch.full_like(start[:, 0], torch.inf)

    def step(
        point: Tensor,
        multiplier: Tensor,
        gap: Tensor,  # noqa: ARG001
        residual: Tensor,  # noqa: ARG001
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        point, multiplier = _newton(programme, point, multiplier, tolerance)
        at = programme.expand(point)
        gap = (multiplier * -at.constraint).sum(-1)
        residual = (at.gradient + _times(at.jacobian.mT, multiplier)).abs().amax(-1)
        return (point, multiplier, gap, residual), torch.maximum(gap, residual)

    (point, _, gap, residual), status, count = iterate(
        step, (start, multiplier, unknown, unknown), iterations=iterations, tolerance=tolerance
    )
    return Optimum(point, gap, residual, status, count)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix (B, m, n) times vector (B, n), summed row by row whatever the batch."""
    return (matrix * vector[:, None, :]).sum(-1)


def _newton(
    programme: Programme, point: Tensor, multiplier: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """One primal-dual step; the point stays strictly feasible and the barrier does not rise."""
    at = programme.expand(point)
    slack = -at.constraint
    mean = (multiplier * slack).mean(-1)
    target = torch.minimum(0.1 * mean, mean.pow(1.5)).clamp_min(0.1 * tolerance / slack.shape[1])
    barrier = target[:, None] / slack
    weight = multiplier / slack
    matrix = programme.hessian(point, multiplier)
    matrix = matrix + (at.jacobian * weight[:, :, None]).mT @ at.jacobian
    slope = at.gradient + _times(at.jacobian.mT, barrier)
    move = _solve(matrix, -slope, is_convex=programme.is_convex)
    closing = _times(at.jacobian, move)  # first-order loss of slack
    change = barrier - multiplier + weight * closing
    longest = _FRACTION / (-change / multiplier).amax(-1).clamp_min(_FRACTION)
    length = _search(programme, point, move, at, target, (slope * move).sum(-1), closing)
    return point + length[:, None] * move, multiplier + longest[:, None] * change


def _search(
    programme: Programme,
    point: Tensor,
    move: Tensor,
    at: Expansion,
    target: Tensor,
    slope: Tensor,
    closing: Tensor,
) -> Tensor:
    """Step lengths (B,): inside the constraints, and the barrier function falls (Armijo)."""
    slack = -at.constraint
    before = at.value - target * slack.log().sum(-1)
    noise = 64 * torch.finfo(before.dtype).eps * (1 + before.abs())
    length = _FRACTION / (closing / slack).amax(-1).clamp_min(_FRACTION)
    for _ in range(_TRIALS):
        value, constraint = programme.values(point + length[:, None] * move)
        after = value - target * (-constraint).log().sum(-1)  # NaN outside the constraints
        is_good = after <= before + _ARMIJO * length * slope + noise
        if bool(is_good.all()):
            break
        length = torch.where(is_good, length, length / 2)
    return length


def _solve(matrix: Tensor, right: Tensor, *, is_convex: bool) -> Tensor:
    """Solve symmetric systems (B, n, n), (B, n); negative curvature is turned into positive."""
    scale = matrix.diagonal(dim1=-2, dim2=-1).abs().clamp_min(torch.finfo(matrix.dtype).tiny)
    scale = scale.rsqrt()
    scaled = matrix * scale[:, :, None] * scale[:, None, :]
    right = (right * scale)[:, :, None]
    if is_convex:
        factor = torch.linalg.cholesky_ex(scaled, check_errors=False)[0]
        return torch.cholesky_solve(right, factor)[:, :, 0] * scale
    eigenvalue, vector = torch.linalg.eigh(scaled)
    inverse = eigenvalue.abs().clamp_min(1e-8).reciprocal()
    return (vector @ (inverse[:, :, None] * (vector.mT @ right)))[:, :, 0] * scale
