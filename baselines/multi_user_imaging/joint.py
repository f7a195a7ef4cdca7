"""The reference: image and data symbols estimated together, in one place.

Sparse Bayesian learning and soft symbols take turns, as expectation and maximisation over QPSK:
symbols enter by their posterior mean, and what is uncertain about them as extra information weight.
The data gain g_k o G w_c of an image is known, so that symbols have no phase ambiguity. Rounds on
the support found, by least squares, end it.

Source: the two-step scheme of the networked-ISAC paper, (5)-(9); differs: soft QPSK symbols
instead of singular vectors, all samples in one place, sparse Bayesian images, repetition.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.multi_user_imaging.central import (
    demand,
    shared,
    soft_symbols,
    statistics,
    typed,
)
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.physics.sparse_bayes import Posterior, debias, sparse_bayes
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery, ImagingRecoveryInstance

__all__ = ["Joint"]

_REVIVED = 1e-3  # least prior variance a round starts from, so that empty voxels may come back


@dataclass(frozen=True, kw_only=True)
class Joint(Solver):
    """Sparse Bayesian learning and soft QPSK symbols in turn, then least squares on the support.

    A lane has converged when no symbol changed its quadrant in the last round.

    Attributes:
        rounds: Symbols and images in turn, >= 1.
        updates: Updates of the prior variances per round, >= 1; four times as many at first.
        polish: Rounds of symbols and debiased images at the end, >= 1.
        has_blocks: Prior variances are drawn together inside blocks; for targets of whole blocks.
    """

    name: ClassVar[str] = "joint"
    summary: ClassVar[str] = "reference: sparse Bayesian image and soft symbols in turn"

    rounds: int = 6
    updates: int = 5
    polish: int = 4
    has_blocks: bool = False

    def __post_init__(self) -> None:
        for name in ("rounds", "updates", "polish"):
            demand(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; the trace is minus the residual power over the noise."""
        setup, i = typed(problem, instance)
        total = self.rounds + self.polish
        total = total if budget.iterations is None else min(total, budget.iterations)
        found = self._first(setup, i)
        image, noise = found.mean, torch.full_like(found.gamma[:, 0], setup.scenario.noise_w)
        floor, level, seen = noise, noise, []
        before = torch.zeros_like(i.probe[..., 0])
        is_same = torch.zeros_like(noise, dtype=torch.bool)
        for step in range(total):
            symbol, level = self._symbols(setup, i, image, floor)
            is_same = (_quadrant(symbol) == _quadrant(before)).flatten(1).all(-1) & (step > 0)
            before = symbol
            known = statistics(setup, i, symbol=symbol, noise=level)
            if step < self.rounds:
                found = self._updated(setup, known, found)
            image = found.mean if step < min(self.rounds, total) - 1 else debias(*known, found)[0]
            seen.append(-level / floor)
        return shared(
            instance,
            image,
            status=torch.where(is_same, int(Status.CONVERGED), int(Status.BUDGET_SPENT)),
            iterations=torch.full_like(is_same, total, dtype=torch.int64),
            objective=torch.stack(seen, -1),
        )

    def _blocks(self, problem: ImagingRecovery, like: Tensor) -> Tensor | None:
        return (
            torch.tensor(problem.scenario.blocks(), device=like.device) if self.has_blocks else None
        )

    def _first(self, problem: ImagingRecovery, instance: ImagingRecoveryInstance) -> Posterior:
        """Image with the data as noise."""
        known = statistics(problem, instance)
        blocks = self._blocks(problem, known.noise)
        return sparse_bayes(*known, iterations=4 * self.updates, rule=self._rule, blocks=blocks)

    def _updated(
        self, problem: ImagingRecovery, known: tuple[Tensor, Tensor, Tensor], found: Posterior
    ) -> Posterior:
        return sparse_bayes(
            *known,
            iterations=self.updates,
            rule=self._rule,
            blocks=self._blocks(problem, found.gamma),
            start=found.gamma.clamp_min(_REVIVED),
        )

    @property
    def _rule(self) -> str:
        return "em" if self.has_blocks else "mackay"

    @staticmethod
    def _symbols(
        problem: ImagingRecovery, instance: ImagingRecoveryInstance, image: Tensor, floor: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Soft symbols and noise level: what the decided symbols leave, at least the noise."""
        _, left = soft_symbols(problem, instance, image, floor * 1e-3)  # all but decided
        level = torch.maximum(left, floor)
        return soft_symbols(problem, instance, image, level)[0], level


def _quadrant(symbol: Tensor) -> Tensor:
    return torch.view_as_real(symbol) >= 0
