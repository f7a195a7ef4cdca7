"""Sparse Bayesian learning in one place, with or without blocks, debiased on the support it finds.

Data symbols are noise, or known where the name says genie; see
:mod:`baselines.multi_user_imaging.joint` for receivers that estimate them.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from baselines.multi_user_imaging.central import demand, genie_image, shared, statistics, typed
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.physics.sparse_bayes import RULES, Posterior, debias, sparse_bayes

__all__ = ["BlockSparseBayes", "BlockSparseBayesGenie", "SparseBayes", "SparseBayesGenie"]


@dataclass(frozen=True, kw_only=True)
class SparseBayes(Solver):
    """Sparse Bayesian learning on the statistics of all samples.

    A lane has converged if no prior variance moved by more than ``tolerance`` of the largest in
    the last update.

    Attributes:
        iterations: Updates of the prior variances, >= 2.
        rule: ``mackay`` or ``em``.
        is_debiased: Least squares on the support found, instead of the posterior mean.
        tolerance: See above, >= 0.
    """

    name: ClassVar[str] = "sbl"
    summary: ClassVar[str] = "sparse Bayesian learning, data as noise, debiased"
    knows_symbols: ClassVar[bool] = False
    has_blocks: ClassVar[bool] = False

    iterations: int = 40
    rule: str = "mackay"
    is_debiased: bool = True
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        demand(self.iterations >= 2, "iterations", ">= 2", self.iterations)
        demand(self.rule in RULES, "rule", f"one of {RULES}", self.rule)
        demand(self.tolerance >= 0, "tolerance", ">= 0", self.tolerance)

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; an iteration is an update of the prior variances."""
        setup, i = typed(problem, instance)
        count = self.iterations if budget.iterations is None else budget.iterations
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        known = statistics(setup, i, symbol=genie_image(i)[1] if self.knows_symbols else None)
        blocks = torch.tensor(setup.scenario.blocks(), device=i.device) if self.has_blocks else None
        first: Posterior | None = None
        if count > 1:
            first = sparse_bayes(*known, iterations=count - 1, rule=self.rule, blocks=blocks)
        gamma = None if first is None else first.gamma
        last = sparse_bayes(*known, iterations=1, rule=self.rule, blocks=blocks, start=gamma)
        image = debias(*known, last)[0] if self.is_debiased else last.mean
        has_settled = torch.zeros_like(last.gamma[:, 0], dtype=torch.bool)
        if gamma is not None:
            moved = (last.gamma - gamma).abs().amax(-1)
            has_settled = moved <= tolerance * last.gamma.amax(-1)
        return shared(
            instance,
            image,
            status=torch.where(has_settled, int(Status.CONVERGED), int(Status.BUDGET_SPENT)),
            iterations=torch.full_like(has_settled, count, dtype=torch.int64),
        )


@dataclass(frozen=True, kw_only=True)
class SparseBayesGenie(SparseBayes):
    """With known symbols; see :class:`SparseBayes`."""

    name: ClassVar[str] = "sbl-genie"
    summary: ClassVar[str] = "sparse Bayesian learning, symbols known, debiased"
    knows_symbols: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class BlockSparseBayes(SparseBayes):
    """Prior variances drawn together inside blocks of voxels; see :class:`SparseBayes`."""

    name: ClassVar[str] = "block-sbl"
    summary: ClassVar[str] = "block sparse Bayesian learning, data as noise, debiased"
    has_blocks: ClassVar[bool] = True

    rule: str = "em"  # steps towards the block's mean are no ascent: MacKay's overshoot them


@dataclass(frozen=True, kw_only=True)
class BlockSparseBayesGenie(BlockSparseBayes):
    """With known symbols; see :class:`BlockSparseBayes`."""

    name: ClassVar[str] = "block-sbl-genie"
    summary: ClassVar[str] = "block sparse Bayesian learning, symbols known, debiased"
    knows_symbols: ClassVar[bool] = True
