r"""Sparse-group lasso at a leader, by accelerated proximal gradients.

    min over x of  x^H Phi x / 2 - Re b^H x + sum_n a_n |x_n| + sum_g c_g |x_g|

with a_n = f1 (s2 Phi_nn)^1/2 and c_g = f2 |g|^1/2 times the mean of (s2 Phi_nn)^1/2 in the block.

Source: Beck and Teboulle 2009 (FISTA), O'Donoghue and Candes 2015 (restart).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from baselines.multi_user_imaging.central import demand, genie_image, shared, statistics, typed
from isac_gym.core.loops import iterate
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver

__all__ = ["Penalty", "SparseGroupLasso", "SparseGroupLassoGenie", "penalty", "sparse_group_lasso"]


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


def sparse_group_lasso(
    information: Tensor, matched: Tensor, weight: Penalty, *, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Minimiser (B, V), status (B,) and steps (B,).

    A lane stops once a step moves it by at most ``tolerance`` of its norm.

    Args:
        information: Phi, (B, V, V) Hermitian.
        matched: b, (B, V).
        weight: Penalty.
        iterations: Largest number of steps.
        tolerance: See above.
    """
    bound = information.abs().sum(-1).amax(-1)  # of the largest eigenvalue
    length = (1 / bound.clamp_min(torch.finfo(bound.dtype).tiny))[:, None]

    def step(x: Tensor, old: Tensor, t: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        bigger = (1 + (1 + 4 * t * t).sqrt()) / 2
        ahead = x + ((t - 1) / bigger)[:, None] * (x - old)
        slope = (information @ ahead[..., None])[..., 0] - matched
        new = _shrink(ahead - length * slope, length, weight)
        uphill = ((ahead - new).conj() * (new - x)).real.sum(-1) > 0
        moved = _norm(new - x) / _norm(new).clamp_min(1e-12)
        return (new, x, torch.where(uphill, 1.0, bigger)), moved

    zero = torch.zeros_like(matched)
    start = (zero, zero, torch.ones_like(bound))
    (image, _, _), status, count = iterate(step, start, iterations=iterations, tolerance=tolerance)
    return image, status, count


@dataclass(frozen=True, kw_only=True)
class SparseGroupLasso(Solver):
    """Sparse-group lasso with weights from the noise.

    Attributes:
        entry: f1, weight of single voxels, >= 0.
        block: f2, weight of blocks, >= 0.
        iterations: Steps, >= 1.
        tolerance: Relative move at which a lane has converged, >= 0.
    """

    name: ClassVar[str] = "sparse-group-lasso"
    summary: ClassVar[str] = "sparse-group lasso of all users' samples, data as noise"
    knows_symbols: ClassVar[bool] = False

    entry: float = 1.0
    block: float = 0.0
    iterations: int = 1000
    tolerance: float = 1e-7

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
        """See :class:`Solver`; no seed and no start are used."""
        setup, i = typed(problem, instance)
        known = statistics(setup, i, symbol=genie_image(i)[1] if self.knows_symbols else None)
        blocks = torch.tensor(setup.scenario.blocks(), device=i.device)
        image, status, count = sparse_group_lasso(
            known.information,
            known.matched,
            penalty(known.information, known.noise, blocks, entry=self.entry, block=self.block),
            iterations=self.iterations if budget.iterations is None else budget.iterations,
            tolerance=self.tolerance if budget.tolerance is None else budget.tolerance,
        )
        return shared(instance, image, status=status, iterations=count)


@dataclass(frozen=True, kw_only=True)
class SparseGroupLassoGenie(SparseGroupLasso):
    """The same with the true symbols."""

    name: ClassVar[str] = "sparse-group-lasso-genie"
    summary: ClassVar[str] = "sparse-group lasso with the true symbols (genie)"
    knows_symbols: ClassVar[bool] = True


def _shrink(z: Tensor, length: Tensor, weight: Penalty) -> Tensor:
    """Proximal map: entries first, then blocks; exact for this penalty."""
    size = z.abs()
    kept = z * (1 - length * weight.entry / size.clamp_min(1e-300)).clamp_min(0)
    norm = (kept.abs().square() @ weight.member).sqrt()
    scale = (1 - length * weight.block / norm.clamp_min(1e-300)).clamp_min(0)
    return kept * (scale @ weight.member.mT)


def _norm(z: Tensor) -> Tensor:
    return z.abs().square().sum(-1).sqrt()
