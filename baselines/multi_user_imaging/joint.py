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
    Products,
    Statistics,
    data_as_noise,
    demand,
    shared,
    soft_symbols,
    typed,
)
from isac_gym.core.loops import State, iterate
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver
from isac_gym.physics.sparse_bayes import Posterior, debias, sparse_bayes
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery

__all__ = ["Joint"]

_REVIVED = 1e-3  # least prior variance a round starts from, so that empty voxels may come back


@dataclass(frozen=True, kw_only=True)
class Joint(Solver):
    """Sparse Bayesian learning and soft QPSK symbols in turn, then least squares on the support.

    Either stage of a lane ends once its symbols stop moving; it has converged if the last one did.

    Attributes:
        rounds: Symbols and images in turn, >= 1.
        updates: Updates of the prior variances per round, >= 1; four times as many at first.
        polish: Rounds of symbols and debiased images at the end, >= 1.
        has_blocks: Prior variances are drawn together inside blocks; for targets of whole blocks.
        tolerance: Root mean square move of the symbols at which a lane is done, >= 0.
    """

    name: ClassVar[str] = "joint"
    summary: ClassVar[str] = "reference: sparse Bayesian image and soft symbols in turn"

    rounds: int = 6
    updates: int = 5
    polish: int = 4
    has_blocks: bool = False
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("rounds", "updates", "polish"):
            demand(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        demand(0 <= self.tolerance < float("inf"), "tolerance", ">= 0", self.tolerance)

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
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        frame = Products.of(setup, i)
        floor = torch.full_like(frame.energy, setup.scenario.noise_w)
        blocks = torch.tensor(setup.scenario.blocks(), device=floor.device)
        stage = _Stage(self, frame, floor, blocks if self.has_blocks else None)

        rounds = min(self.rounds, total)
        state = stage.first(setup, total)
        state, status, count = iterate(stage.learned, state, iterations=rounds, tolerance=tolerance)
        state = stage.debiased(state)
        if total > rounds:
            state, status, more = iterate(
                stage.polished, state, iterations=total - rounds, tolerance=tolerance
            )
            count = count + more
        order = torch.arange(total, device=floor.device)
        last = torch.minimum(order, count[:, None] - 1)
        return shared(
            instance,
            state[2],
            status=status,
            iterations=count,
            objective=state[5].gather(1, last),
        )


@dataclass(frozen=True)
class _Stage:
    """Rounds of one solve.

    A state is symbols (B, L), prior variances (B, V), image (B, V), posterior mean (B, V), noise
    (B,), trace (B, rounds) and rounds done (B,).
    """

    solver: Joint
    frame: Products
    floor: Tensor
    blocks: Tensor | None

    def first(self, problem: ImagingRecovery, total: int) -> State:
        """Image with the data as noise."""
        found = self._bayes(data_as_noise(problem, self.frame), 4 * self.solver.updates)
        symbol = torch.zeros_like(self.frame.received[..., 0])
        trace = self.floor.new_zeros(len(self.floor), total)
        count = torch.zeros_like(self.floor, dtype=torch.int64)
        return symbol, found.gamma, found.mean, found.mean, self.floor, trace, count

    def learned(self, *state: Tensor) -> tuple[State, Tensor]:
        """Round of symbols and prior variances."""
        _, gamma, image, *_ = state
        symbol, level, tail, moved = self._symbols(state, image)
        known = Statistics(*self.frame.known(symbol), level)
        found = self._bayes(known, self.solver.updates, gamma.clamp_min(_REVIVED))
        return (symbol, found.gamma, found.mean, found.mean, level, *tail), moved

    def polished(self, *state: Tensor) -> tuple[State, Tensor]:
        """Round of symbols and least squares."""
        _, gamma, image, mean, *_ = state
        symbol, level, tail, moved = self._symbols(state, image)
        return self.debiased((symbol, gamma, image, mean, level, *tail)), moved

    def debiased(self, state: State) -> State:
        """Least squares on the support, at the symbols as they are."""
        symbol, gamma, _, mean, level, *tail = state
        known = Statistics(*self.frame.known(symbol), level)
        image, _ = debias(*known, Posterior(mean, known.information, gamma))
        return (symbol, gamma, image, mean, level, *tail)

    def _bayes(self, known: Statistics, count: int, start: Tensor | None = None) -> Posterior:
        rule = "mackay" if self.blocks is None else "em"
        return sparse_bayes(*known, iterations=count, rule=rule, start=start, blocks=self.blocks)

    def _symbols(self, state: State, image: Tensor) -> tuple[Tensor, Tensor, State, Tensor]:
        """Symbols, noise, trace with its count, and the move."""
        before, trace, count = state[0], state[5], state[6]
        symbol, level = soft_symbols(self.frame, image, self.floor)
        moved = (symbol - before).abs().square().mean(-1).sqrt()
        order = torch.arange(trace.shape[-1], device=count.device)
        value = (-level / self.floor)[:, None]
        trace = torch.where(order == count[:, None], value, trace)
        return symbol, level, (trace, count + 1), moved
