r"""Algorithm 1 of the paper: successive convex approximation of the bilinear SINR constraint.

With y_i >= (F x + n)_i the constraint x_i >= t y_i is bilinear. For any kappa_i > 0

    t y_i = 1/4 (kappa_i t + y_i / kappa_i)^2 - 1/4 (kappa_i t - y_i / kappa_i)^2,

whose concave part is linearised at (t^k, y^k). The balanced choice kappa_i^2 = y_i^k / t^k makes
the method scale invariant and collapses the convex problem to

    max_x min_i 2 sqrt(x_i / (t^k y_i^k)) - (F x + n)_i / y_i^k

over thresholds and box. Source: Rivera Figueroa et al. 2024, Algorithm 1; the paper's kappa = 1 is
in ``baselines.convex.power_control``, where its dependence on units can be studied.
"""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.interior_point import Expansion, minimise
from baselines.power_control.outcome import history, limits, outcome, with_interior
from isac_gym.core.loops import iterate
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver
from isac_gym.core.units import linear_to_db
from isac_gym.physics.interference import sinr
from isac_gym.problems.power_control.model import (
    NormalisedNetwork,
    PowerControl,
    PowerControlDecision,
)

__all__ = ["Sca"]

_NEWTON_STEPS = 60
_INNER_TOLERANCE = 1e-3  # of the outer one
_PULL = 0.05  # how far an iterate is moved inside before the next convex problem


class _Surrogate:
    """The convex problem at (x^k, t^k) in relative powers xi = x / x^k and the level v = t / t^k.

    Rows: v - 2 sqrt(x_i / s_i) + (F x + n)_i / y_i <= 0, thresholds, caps, xi > 0; all but the
    square root is linear: c = matrix (xi, v) + offset - root sqrt(xi).
    """

    is_convex = True

    def __init__(self, network: NormalisedNetwork, x: Tensor, level: Tensor) -> None:
        """Build the rows at x (B, I) with level t^k (B,)."""
        total = x / sinr(x, network.coupling, network.noise)  # y^k = F x + n
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand(x.shape[0], -1, -1)
        sensing = network.coupling * x[:, None, :] / total[:, :, None]
        comm = network.comm_coupling * x[:, None, :] / x[:, :, None] - eye
        zero = torch.zeros_like(x)
        matrix = torch.cat([sensing, comm, eye, -eye], 1)
        column = torch.cat([torch.ones_like(x), zero, zero, zero], 1)
        self.matrix = torch.cat([matrix, column[:, :, None]], 2)  # (B, 4I, I + 1)
        self.offset = torch.cat([network.noise / total, network.comm_noise / x, -1 / x, zero], 1)
        self.root = 2 * (x / (level[:, None] * total)).sqrt()

    def values(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`baselines.interior_point.Programme`."""
        count = self.root.shape[1]
        linear = (self.matrix * point[:, None, :]).sum(-1) + self.offset
        bent = linear[:, :count] - self.root * point[:, :count].sqrt()
        return -point[:, -1], torch.cat([bent, linear[:, count:]], 1)

    def expand(self, point: Tensor) -> Expansion:
        """See :class:`baselines.interior_point.Programme`."""
        count = self.root.shape[1]
        value, constraint = self.values(point)
        gradient = torch.zeros_like(point)
        gradient[:, -1] = -1
        jacobian = self.matrix.clone()
        diagonal = jacobian.diagonal(dim1=-2, dim2=-1)[:, :count]
        diagonal -= self.root / (2 * point[:, :count].sqrt())
        return Expansion(value, gradient, constraint, jacobian)

    def hessian(self, point: Tensor, multiplier: Tensor) -> Tensor:
        """See :class:`baselines.interior_point.Programme`."""
        count = self.root.shape[1]
        bend = multiplier[:, :count] * self.root * point[:, :count].pow(-1.5) / 4
        return torch.diag_embed(torch.cat([bend, torch.zeros_like(bend[:, :1])], 1))

    def start(self, relative: Tensor) -> Tensor:
        """Strictly feasible point for relative powers (B, I) strictly inside thresholds and box."""
        level = torch.zeros_like(relative[:, :1])
        constraint = self.values(torch.cat([relative, level], 1))[1]
        height = -constraint[:, : relative.shape[1]].amax(-1, keepdim=True) - 0.1
        return torch.cat([relative, height], 1)


@dataclass(frozen=True, kw_only=True)
class Sca(Solver):
    """Algorithm 1 with the balanced split, batched.

    Starts at full power, which may violate the thresholds: the level can fall in the first
    iteration and never after it.

    Attributes:
        iterations: Largest number of convex problems, >= 1; 60 (ours, silent in the paper).
        tolerance: Stop when |t^(k+1) - t^k| <= tolerance t^k; 1e-3 (ours, silent in the paper).
    """

    name: ClassVar[str] = "sca"
    summary: ClassVar[str] = "the paper's Algorithm 1, balanced split"

    iterations: int = 60
    tolerance: float = 1e-3

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,  # noqa: ARG002
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; the trace holds 10 log10 t^k for k = 1, 2, ..."""
        count, tolerance = limits(budget, iterations=self.iterations, tolerance=self.tolerance)
        original = cast(PowerControl, problem).network(instance)
        network, inside = with_interior(original)
        first = torch.ones_like(inside)
        if start is not None:
            first = cast(PowerControlDecision, start).power.clamp_min(1e-6)
        levels: list[Tensor] = []

        def step(x: Tensor, level: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            better = _advance(network, x, level, inside, tolerance)
            new = sinr(better, network.coupling, network.noise).amin(-1)
            is_worse = (new < level) & bool(levels)  # by rounding only
            better = torch.where(is_worse[:, None], x, better)
            new = torch.where(is_worse, level, new)
            levels.append(linear_to_db(new))
            return (better, new), (new / level - 1).abs()

        level = sinr(first, network.coupling, network.noise).amin(-1)
        (power, _), status, used = iterate(
            step, (first, level), iterations=count, tolerance=tolerance
        )
        trace = history(levels, used)
        return outcome(original, power, status=status, iterations=used, trace=trace)


def _advance(
    network: NormalisedNetwork, x: Tensor, level: Tensor, inside: Tensor, tolerance: float
) -> Tensor:
    """Powers (B, I) that solve the convex problem at x (B, I) with level t^k (B,)."""
    surrogate = _Surrogate(network, x, level)
    needed = (network.comm_coupling * x[:, None, :]).sum(-1) + network.comm_noise
    is_kept = (needed <= x * (1 + 1e-12)).all(-1, keepdim=True)  # else begin at the safe point
    begin = torch.where(is_kept, torch.lerp(x, inside, _PULL), inside)
    best = minimise(
        surrogate,
        surrogate.start(begin / x),
        iterations=_NEWTON_STEPS,
        tolerance=tolerance * _INNER_TOLERANCE,
    )
    return (best.point[:, :-1] * x).clamp_max(1)
