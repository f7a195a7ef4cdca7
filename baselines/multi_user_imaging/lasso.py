r"""Sparse-group lasso at a leader, by accelerated proximal gradients.

    min over x of  x^H Phi x / 2 - Re b^H x + sum_n a_n |x_n| + sum_g c_g |x_g|

with a_n = f1 (s2 Phi_nn)^1/2 and c_g = f2 |g|^1/2 times the mean of (s2 Phi_nn)^1/2 in the block.

A lane has converged by its duality gap. With r = b - Phi x, d its proximal map and v = r - d, which
is feasible in the dual, the gap is at most R(x) - Re v^H x + |d|^2 |Phi^-1| / 2, R the penalty.

Source: Beck and Teboulle 2009 (FISTA), O'Donoghue and Candes 2015 (restart).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from baselines.multi_user_imaging.central import demand, genie_image, shared, statistics, typed
from isac_gym.core.loops import State, iterate
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver

__all__ = [
    "Minimiser",
    "Penalty",
    "SparseGroupLasso",
    "SparseGroupLassoGenie",
    "penalty",
    "sparse_group_lasso",
    "traced_lasso",
]

_ROUNDINGS = 4  # of a cost that no step can undercut


class Penalty(NamedTuple):
    """Weights of the penalty.

    Attributes:
        entry: a, (B, V) W.
        block: c, (B, blocks) W.
        member: One-hot block membership, (V, blocks).
    """

    entry: Tensor
    block: Tensor
    member: Tensor


def penalty(
    information: Tensor, noise: Tensor, blocks: Tensor, *, entry: float, block: float
) -> Penalty:
    """Weights from the noise: f1 = ``entry``, f2 = ``block``; see the module.

    Args:
        information: Phi, (B, V, V).
        noise: s2, (B,) W.
        blocks: Block number of every voxel, (V,).
        entry: f1 >= 0.
        block: f2 >= 0.
    """
    deviation = (noise[:, None] * torch.diagonal(information, dim1=-2, dim2=-1).real).sqrt()
    number = torch.arange(int(blocks.max()) + 1, device=blocks.device)
    member = (blocks[:, None] == number).to(deviation.dtype)
    size = member.sum(0)
    return Penalty(entry * deviation, block * (deviation @ member) / size.sqrt(), member)


class Minimiser(NamedTuple):
    """What the accelerated gradients found.

    Attributes:
        image: (B, V).
        status: (B,) int64.
        count: Steps, (B,) int64.
        cost: Costs after every step, (B, steps); a finished lane repeats its last.
    """

    image: Tensor
    status: Tensor
    count: Tensor
    cost: Tensor


def sparse_group_lasso(
    information: Tensor, matched: Tensor, weight: Penalty, *, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Image, status and steps of :func:`traced_lasso`."""
    return traced_lasso(information, matched, weight, iterations=iterations, tolerance=tolerance)[
        :3
    ]


def traced_lasso(
    information: Tensor, matched: Tensor, weight: Penalty, *, iterations: int, tolerance: float
) -> Minimiser:
    """Minimiser of the penalised cost.

    A lane stops once its duality gap is at most ``tolerance`` of its cost, or within roundings of
    it; where the information is singular, only once the residual itself is feasible (d = 0).

    Args:
        information: Phi, (B, V, V) Hermitian.
        matched: b, (B, V).
        weight: Penalty.
        iterations: Largest number of steps.
        tolerance: See above.
    """
    bound = information.abs().sum(-1).amax(-1)  # of the largest eigenvalue
    tiny, eps = torch.finfo(bound.dtype).tiny, torch.finfo(bound.dtype).eps
    length = (1 / bound.clamp_min(tiny))[:, None]
    flat = _flattest(information)
    costs: list[Tensor] = []

    def step(
        x: Tensor, old: Tensor, image: Tensor, past: Tensor, t: Tensor, cost: Tensor
    ) -> tuple[State, Tensor]:
        costs.append(cost)  # image, past: Phi x, Phi old
        bigger = (1 + (1 + 4 * t * t).sqrt()) / 2
        speed = ((t - 1) / bigger)[:, None]
        ahead = x + speed * (x - old)
        slope = image + speed * (image - past) - matched
        new = _shrink(ahead - length * slope, length, weight)
        uphill = _dot(ahead - new, new - x) > 0
        seen = _times(information, new)
        penalised = _size(new, weight)
        cost = _dot(new, seen / 2 - matched) + penalised
        short = _shrink(matched - seen, torch.ones_like(length), weight)  # d
        gap = penalised - _dot(matched - seen - short, new) + _dot(short, short) * flat / 2
        gap = gap / cost.abs().clamp_min(tiny)
        return (new, x, seen, image, torch.where(uphill, 1.0, bigger), cost), gap

    zero, one = torch.zeros_like(matched), torch.ones_like(bound)
    start = (zero, zero, zero, zero, one, 0 * one)
    state, status, count = iterate(
        step, start, iterations=iterations, tolerance=max(tolerance, _ROUNDINGS * eps)
    )
    return Minimiser(state[0], status, count, torch.stack([*costs[1:], state[5]], -1))


@dataclass(frozen=True, kw_only=True)
class SparseGroupLasso(Solver):
    """Sparse-group lasso with weights from the noise.

    Attributes:
        entry: f1, weight of single voxels, >= 0.
        block: f2, weight of blocks, >= 0.
        iterations: Steps, >= 1.
        tolerance: Duality gap over the cost at which a lane has converged, >= 0.
    """

    name: ClassVar[str] = "sparse-group-lasso"
    summary: ClassVar[str] = "sparse-group lasso of all users' samples, data as noise"
    knows_symbols: ClassVar[bool] = False

    entry: float = 1.0
    block: float = 0.0
    iterations: int = 1000
    tolerance: float = 1e-10  # moves the image by 1e-5

    def __post_init__(self) -> None:
        for name in ("entry", "block", "tolerance"):
            value = getattr(self, name)
            demand(0 <= value < float("inf"), name, ">= 0", value)
        demand(self.iterations >= 1, "iterations", ">= 1", self.iterations)

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; no seed and no start are used; the trace is minus the cost."""
        setup, i = typed(problem, instance)
        known = statistics(setup, i, symbol=genie_image(i)[1] if self.knows_symbols else None)
        blocks = torch.tensor(setup.scenario.blocks(), device=i.device)
        found = traced_lasso(
            known.information,
            known.matched,
            penalty(known.information, known.noise, blocks, entry=self.entry, block=self.block),
            iterations=self.iterations if budget.iterations is None else budget.iterations,
            tolerance=self.tolerance if budget.tolerance is None else budget.tolerance,
        )
        return shared(
            instance,
            found.image,
            status=found.status,
            iterations=found.count,
            objective=-found.cost,
        )


@dataclass(frozen=True, kw_only=True)
class SparseGroupLassoGenie(SparseGroupLasso):
    """The same with the true symbols."""

    name: ClassVar[str] = "sparse-group-lasso-genie"
    summary: ClassVar[str] = "sparse-group lasso with the true symbols (genie)"
    knows_symbols: ClassVar[bool] = True


def _shrink(z: Tensor, length: Tensor, weight: Penalty) -> Tensor:
    """Proximal map: entries first, then blocks; exact for this penalty."""
    size = z.abs()
    tiny = torch.finfo(size.dtype).tiny
    kept = z * (1 - length * weight.entry / size.clamp_min(tiny)).clamp_min(0)
    norm = (kept.abs().square() @ weight.member).sqrt()
    scale = (1 - length * weight.block / norm.clamp_min(tiny)).clamp_min(0)
    return kept * (scale @ weight.member.mT)


def _size(x: Tensor, weight: Penalty) -> Tensor:
    """Penalty R(x), (B,)."""
    square = x.abs().square()
    norm = (square @ weight.member).sqrt()
    return (weight.entry * square.sqrt()).sum(-1) + (weight.block * norm).sum(-1)


def _flattest(information: Tensor) -> Tensor:
    """Bound of the inverse's largest eigenvalue, (B,); the largest number where there is none."""
    factor, info = torch.linalg.cholesky_ex(information, check_errors=False)
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    is_singular = info != 0
    safe = torch.where(is_singular[:, None, None], eye, factor)
    bound = torch.cholesky_inverse(safe).abs().sum(-1).amax(-1)
    return torch.where(is_singular, torch.finfo(bound.dtype).max, bound)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x.conj() * y).real.sum(-1)


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x[..., None])[..., 0]
