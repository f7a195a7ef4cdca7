r"""Algorithm 1 of the paper: successive convex approximation of the bilinear SINR constraint.

With y_i >= (F x + n)_i the constraint x_i >= t y_i is bilinear. For any kappa_i > 0

    t y_i = 1/4 (kappa_i t + y_i / kappa_i)^2 - 1/4 (kappa_i t - y_i / kappa_i)^2,

whose concave part is linearised at (t^k, y^k). The balanced choice kappa_i^2 = y_i^k / t^k makes
the method scale invariant and collapses the convex problem to

    max_x min_i 2 sqrt(x_i / (t^k y_i^k)) - (F x + n)_i / y_i^k

over thresholds and box. After each problem t and y are re-evaluated at its powers, which can only
raise t. Source: Rivera Figueroa et al. 2024, Algorithm 1; the paper's kappa = 1 is
in ``baselines.convex.power_control``, where its dependence on units can be studied.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from baselines.interior_point import Expansion, minimise
from baselines.iteration import iterate_shrinking
from baselines.power_control.outcome import interior, limits, network_of, outcome
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Trace
from isac_gym.core.units import linear_to_db
from isac_gym.physics.interference import radial_project, sinr
from isac_gym.problems.power_control.model import (
    NormalisedNetwork,
    PowerControlDecision,
)

__all__ = ["Sca"]

_NEWTON_STEPS = 60
_INNER_TOLERANCE = 0.3  # of the outer one, met with a Newton step to spare
_FIRST_TOLERANCE = 0.01  # of the first convex problem, squared in the next, and so on
_PULL = 0.01  # how far an iterate is moved inside before the next convex problem
_ROOM = 0.01  # distance of the first level from its constraints
_BARRIER = 0.01  # first barrier parameter


class _Surrogate(NamedTuple):
    """The convex problem at (x^k, t^k) in relative powers xi = x / x^k and the level v = t / t^k.

    Rows: v - 2 sqrt(x_i / s_i) + (F x + n)_i / y_i <= 0, thresholds, caps, xi > 0; all but the
    square root is linear: c = matrix (xi, v) + offset - root sqrt(xi), and f = -v.
    """

    matrix: Tensor  # (B, 4I, I + 1)
    offset: Tensor  # (B, 4I, 1)
    root: Tensor  # (B, I, 1)
    gradient: Tensor  # (B, I + 1, 1)

    is_convex = True

    def expand(self, point: Tensor) -> Expansion:
        """See :class:`baselines.interior_point.Programme`."""
        count = self.root.shape[1]
        xi = point[:, :count]
        bent = self.root * xi.sqrt()
        constraint = torch.baddbmm(self.offset, self.matrix, point)
        constraint[:, :count].sub_(bent)
        jacobian = self.matrix.clone()
        jacobian.diagonal(dim1=1, dim2=2)[:, :count].unsqueeze(2).sub_(bent / xi, alpha=0.5)
        return Expansion(self.gradient, constraint, jacobian)

    def hessian(self, point: Tensor, multiplier: Tensor) -> Tensor:
        """See :class:`baselines.interior_point.Programme`."""
        count = self.root.shape[1]
        bend = multiplier[:, :count] * self.root * point[:, :count].pow(-1.5) / 4
        return torch.nn.functional.pad(bend[:, :, 0], (0, 1)).diag_embed()


def _surrogate(network: NormalisedNetwork, x: Tensor, level: Tensor) -> _Surrogate:
    """The convex problem at x (B, I) with level t^k (B,)."""
    x, noise = x[:, :, None], network.noise[:, :, None]
    total = torch.baddbmm(noise, network.coupling, x)  # y^k
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand(x.shape[0], -1, -1)
    sensing = network.coupling * x.mT / total
    comm = network.comm_coupling * x.mT / x - eye
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    column = torch.cat([one, zero, zero, zero], 1)
    return _Surrogate(
        matrix=torch.cat([torch.cat([sensing, comm, eye, -eye], 1), column], 2),
        offset=torch.cat([noise / total, network.comm_noise[:, :, None] / x, -1 / x, zero], 1),
        root=2 * (x / (level[:, None, None] * total)).sqrt(),
        gradient=torch.cat([zero, -one[:, :1]], 1),
    )


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
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; the trace holds 10 log10 t^k for k = 1, 2, ..."""
        count, tolerance = limits(budget, iterations=self.iterations, tolerance=self.tolerance)
        original = network_of(problem, instance)
        known = interior(original)
        network, inside, _ = known
        first = torch.ones_like(inside)
        if start is not None:
            first = cast(PowerControlDecision, start).power.clamp_min(1e-6)
        level = sinr(first, network.coupling, network.noise).amin(-1)
        trace = torch.zeros(*level.shape, count, dtype=level.dtype, device=level.device)

        def step(
            data: _Data, x: Tensor, level: Tensor, trace: Tensor, done: Tensor
        ) -> tuple[tuple[Tensor, ...], Tensor]:
            number = int(done[0])  # the same in all lanes
            accuracy = max(_INNER_TOLERANCE * tolerance, _FIRST_TOLERANCE ** (1 + number))
            begin = x if number else radial_project(x, *data[2:])
            better = _advance(data, x, level, begin, accuracy)
            new = sinr(better, data.coupling, data.noise).amin(-1)
            is_worse = (new < level) & bool(number)  # by rounding only
            better = torch.where(is_worse[:, None], x, better)
            new = torch.where(is_worse, level, new)
            column = torch.arange(count, device=x.device) >= done[:, None]
            trace = torch.where(column, new[:, None], trace)
            return (better, new, trace, done + 1), (new / level - 1).abs()

        (power, _, trace, used), status, _ = iterate_shrinking(
            step,
            _Data(*network, inside),
            (first, level, trace, torch.zeros_like(level, dtype=torch.int64)),
            iterations=count,
            tolerance=tolerance,
        )
        trace = Trace(objective=linear_to_db(trace[:, : int(used.max())]), length=used)
        return outcome(original, power, known=known, status=status, iterations=used, trace=trace)


class _Data(NamedTuple):
    """The network (strictly feasible) and a point inside its thresholds and box, (B, I)."""

    coupling: Tensor
    noise: Tensor
    comm_coupling: Tensor
    comm_noise: Tensor
    inside: Tensor


def _advance(data: _Data, x: Tensor, level: Tensor, begin: Tensor, tolerance: float) -> Tensor:
    """Powers (B, I) that solve the convex problem at x (B, I) with level t^k (B,).

    ``begin`` (B, I) is where to start: powers that meet thresholds and box.
    """
    count = x.shape[1]
    programme = _surrogate(NormalisedNetwork(*data[:4]), x, level)
    begin = torch.lerp(begin, data.inside, _PULL) / x
    flat = programme.expand(torch.nn.functional.pad(begin, (0, 1))[:, :, None])  # at v = 0
    height = -flat.constraint[:, :count, 0].amax(-1, keepdim=True) - _ROOM
    best = minimise(
        programme,
        torch.cat([begin, height], 1),
        iterations=_NEWTON_STEPS,
        tolerance=tolerance,
        barrier=_BARRIER,
    )
    return (best.point[:, :count] * x).clamp(0, 1)
