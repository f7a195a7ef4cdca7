"""Base of the searches over masks: lanes a few at a time, and a second look in doubt."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from baselines.subcarrier_selection.scoring import GUARD, Scorer
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, Trace
from isac_gym.problems.subcarrier_selection.model import (
    SubcarrierDecision,
    SubcarrierInstance,
    SubcarrierSelection,
)

__all__ = ["Found", "MaskSearch", "best_on_path", "choose", "portions"]

_TABLE_NUMBERS = 1 << 27  # numbers of the tables of the lanes that are searched at once


class Found(NamedTuple):
    """Result of a search.

    Attributes:
        mask: (B, S) bool.
        iterations: Used, (B,) int64.
        is_done: Whether the search ended before the budget did, (B,) bool.
        history: Validation error after every iteration, (B, L); repeats the last one.
    """

    mask: Tensor
    iterations: Tensor
    is_done: Tensor
    history: Tensor


@dataclass(frozen=True, kw_only=True)
class MaskSearch(Solver):
    """A search for the mask of least validation error; the scored windows are never looked at.

    Errors are screened in single precision. Where they turn out to be further from those in double
    than a quarter of the guard band, the search is done again in double.
    """

    name = ""

    @abstractmethod
    def search(
        self, scorer: Scorer, *, iterations: int | None, streams: Streams, start: Tensor | None
    ) -> Found:
        """Search for the best masks of a few lanes.

        Args:
            scorer: Validation errors.
            iterations: Limit, or None for the solver's own.
            streams: Randomness, the same for every lane.
            start: Masks (B, S) to start from, or None.
        """

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; the objective of the trace is that of the validation windows."""
        setup = cast(SubcarrierSelection, problem)
        known = setup.known(cast(SubcarrierInstance, instance))
        begin = None if start is None else cast(SubcarrierDecision, start).mask
        parts = []
        for some in portions(known):
            few, first = known[some], None if begin is None else begin[some]
            streams = Streams.from_seeds([seed] * few.batch_size, device=str(few.device))
            scorer = Scorer(setup, few)
            found = self.search(scorer, iterations=budget.iterations, streams=streams, start=first)
            if bool((scorer.doubt > GUARD / 4).any()):
                scorer = Scorer(setup, few, dtype=torch.float64)
                found = self.search(
                    scorer, iterations=budget.iterations, streams=streams, start=first
                )
            parts.append(found)
        return _solution(parts)


def best_on_path(scorer: Scorer, path: Tensor, rough: Tensor) -> Tensor:
    """The mask (B, S) of least error among the allowed ones of a path (B, L, S).

    Masks of a size that is not allowed are passed over unless there is no other.
    """
    least, most = scorer.limits
    count = path.sum(-1)
    is_allowed = (count >= least) & (count <= most)
    is_allowed |= ~is_allowed.any(-1, keepdim=True)
    screened = torch.where(is_allowed, rough, torch.inf)
    return choose(path, scorer.best(path, screened)[0])


def choose(values: Tensor, index: Tensor) -> Tensor:
    """values[b, index[b]] of values (B, Q, ...) and index (B,)."""
    return values[torch.arange(len(values), device=values.device), index]


def portions(instance: SubcarrierInstance) -> list[slice]:
    """Lanes whose tables fit into memory together."""
    samples, tones = instance.train.shape[1:3]
    numbers = max(1, tones * samples * (samples + instance.score.shape[1]))
    few = max(1, _TABLE_NUMBERS // numbers)
    return [slice(lane, lane + few) for lane in range(0, max(1, instance.batch_size), few)]


def _solution(parts: list[Found]) -> Solution:
    longest = max(part.history.shape[1] for part in parts)
    history = torch.cat(
        [
            torch.cat([h, h[:, -1:].expand(-1, longest - h.shape[1])], -1)
            for h in (part.history for part in parts)
        ]
    )
    iterations = torch.cat([part.iterations for part in parts])
    is_done = torch.cat([part.is_done for part in parts])
    return Solution(
        decision=SubcarrierDecision(torch.cat([part.mask for part in parts])),
        status=torch.where(is_done, int(Status.CONVERGED), int(Status.BUDGET_SPENT)),
        iterations=iterations,
        trace=Trace(objective=1 - history, length=iterations),
    )
