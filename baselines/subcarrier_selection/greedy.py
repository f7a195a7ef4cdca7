"""Greedy searches: tones put in one by one, or taken out one by one.

Source: forward selection and backward elimination, e.g. Guyon and Elisseeff 2003, section 4.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.subcarrier_selection.scoring import Scorer, moved
from baselines.subcarrier_selection.searching import Found, MaskSearch, best_on_path, choose
from isac_gym.core.random import Streams

__all__ = ["GreedyBackward", "GreedyForward", "greedy_path"]


@dataclass(frozen=True, kw_only=True)
class GreedyForward(MaskSearch):
    """Add the tone that lowers the validation error most, up to ``max_tones``; keep the best size.

    A budget below ``max_tones`` iterations is spent: if tones are missing then, those of the last
    comparison follow in its order.
    """

    name: ClassVar[str] = "greedy-forward"
    summary: ClassVar[str] = "add the tone of least validation error, keep the best size"

    def search(
        self, scorer: Scorer, *, iterations: int | None, streams: Streams, start: Tensor | None
    ) -> Found:
        """See the class; starts from no tone."""
        most = scorer.limits[1]
        steps = most if iterations is None else min(iterations, most)
        return greedy_path(scorer, adds=True, steps=steps, is_done=steps == most)


@dataclass(frozen=True, kw_only=True)
class GreedyBackward(MaskSearch):
    """Drop the tone whose loss costs least validation error, down to ``min_tones``."""

    name: ClassVar[str] = "greedy-backward"
    summary: ClassVar[str] = "drop the tone whose loss costs least, keep the best size"

    def search(
        self, scorer: Scorer, *, iterations: int | None, streams: Streams, start: Tensor | None
    ) -> Found:
        """See the class; starts from all tones."""
        whole = scorer.problem.scenario.num_tones - scorer.limits[0]
        steps = whole if iterations is None else min(iterations, whole)
        return greedy_path(scorer, adds=False, steps=steps, is_done=steps == whole)


def greedy_path(scorer: Scorer, *, adds: bool, steps: int, is_done: bool) -> Found:
    """Add tones to none, or drop tones of all, one by one; the best allowed mask on the way."""
    i, tones = scorer.instance, scorer.problem.scenario.num_tones
    mask = torch.full((i.batch_size, tones), not adds, device=i.device)
    path, rough_of = [], []
    rough = tone = mask.new_zeros(0)
    for step in range(steps):
        tone = (mask if adds else ~mask).to(torch.int8).argsort(dim=-1, stable=True)
        tone = tone[:, : tones - step]
        rough = scorer.rough_moves(mask, tone, adds=adds)
        after = moved(mask, tone, adds=adds)
        index = scorer.pick(after, rough)
        mask = choose(after, index)
        path.append(mask)
        rough_of.append(choose(rough, index))
    if not is_done:
        path.append(_completed(scorer, mask, tone, rough, adds=adds))
        rough_of.append(rough_of[-1])
    found = torch.stack(path, 1), torch.stack(rough_of, 1)
    used = torch.full((i.batch_size,), steps, dtype=torch.int64, device=i.device)
    mask = best_on_path(scorer, *found) if is_done else path[-1]
    done = torch.full_like(used, is_done, dtype=torch.bool)
    return Found(mask, used, done, found[1][:, :steps])


def _completed(scorer: Scorer, mask: Tensor, tone: Tensor, rough: Tensor, *, adds: bool) -> Tensor:
    """The mask of an unfinished search with an allowed size: by the order of the last errors."""
    least, most = scorer.limits
    score = torch.full_like(mask, -torch.inf, dtype=rough.dtype).scatter(1, tone, -rough)
    score = torch.where(mask, torch.inf, score) if adds else torch.where(mask, -score, -torch.inf)
    count = mask.sum(-1, keepdim=True).clamp(least, most)
    order = score.argsort(dim=-1, descending=True, stable=True)
    return order.argsort(dim=-1) < count
