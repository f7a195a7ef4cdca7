"""Local search over masks: one tone swapped, put in or taken out at a time; from several starts."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.iteration import demand_limits
from baselines.subcarrier_selection.greedy import greedy_path
from baselines.subcarrier_selection.scoring import GUARD, Scorer, moved, random_masks
from baselines.subcarrier_selection.searching import Found, MaskSearch, choose
from isac_gym.core.random import Streams
from isac_gym.problems.subcarrier_selection.model import select_tones

__all__ = ["BestKnown", "GreedySwap", "improve"]


_ROUNDING = 1e-12  # smaller differences of errors in double are none


@dataclass(frozen=True, kw_only=True)
class GreedySwap(MaskSearch):
    """Greedy forward selection, then swaps; or swaps from a given start.

    An iteration passes over all places of the mask. For each, the chosen tone is left out or
    replaced by every tone that is not chosen, and the best of them is kept if it is better. The
    search ends after a pass without improvement: then no single change lowers the error.
    """

    name: ClassVar[str] = "swap"
    summary: ClassVar[str] = "greedy forward, then the best change of one tone until none helps"

    passes: int = 20

    def __post_init__(self) -> None:
        demand_limits(self, "passes")

    def search(
        self, scorer: Scorer, *, iterations: int | None, streams: Streams, start: Tensor | None
    ) -> Found:
        """See the class."""
        least, most = scorer.limits
        mask = start
        if mask is None:
            mask = greedy_path(scorer, adds=True, steps=most, is_done=True).mask
        else:
            mask = select_tones(mask.to(scorer.instance.dtype), least, most)
        return improve(scorer, mask, passes=iterations or self.passes)


@dataclass(frozen=True, kw_only=True)
class BestKnown(MaskSearch):
    """The best of several local searches: from greedy forward, greedy backward and random masks.

    An iteration is one local search. No certificate: it is the best known, not the optimum.
    """

    name: ClassVar[str] = "best-known"
    is_slow: ClassVar[bool] = True
    summary: ClassVar[str] = "best of local searches from both greedy masks and random ones"

    starts: int = 6
    passes: int = 20

    def __post_init__(self) -> None:
        demand_limits(self, "starts", "passes")

    def search(
        self, scorer: Scorer, *, iterations: int | None, streams: Streams, start: Tensor | None
    ) -> Found:
        """See the class."""
        count = min(iterations or self.starts, self.starts)
        found, history = [], []
        for number, mask in enumerate(self._starts(scorer, streams, count)):
            found.append(improve(scorer, mask, passes=self.passes).mask)
            history.append(scorer.exact(found[number][:, None])[:, 0])
        errors = torch.stack(history, -1)
        used = torch.full_like(errors[:, 0], count, dtype=torch.int64)
        return Found(
            choose(torch.stack(found, 1), errors.argmin(-1)),
            used,
            torch.full_like(used, count == self.starts, dtype=torch.bool),
            errors.cummin(-1).values,
        )

    def _starts(self, scorer: Scorer, streams: Streams, count: int) -> list[Tensor]:
        least, most = scorer.limits
        tones = scorer.problem.scenario.num_tones
        masks = [greedy_path(scorer, adds=True, steps=most, is_done=True).mask]
        if count > 1:
            masks.append(greedy_path(scorer, adds=False, steps=tones - least, is_done=True).mask)
        drawn = random_masks(streams.uniform("start", max(1, count - 2), tones + 1), least, most)
        return [*masks, *drawn.unbind(1)][:count]


def improve(scorer: Scorer, mask: Tensor, *, passes: int) -> Found:
    """Change one tone at a time while that lowers the error; allowed masks (B, S) stay allowed."""
    lanes = torch.arange(len(mask), device=mask.device)
    mask, error = mask.clone(), scorer.exact(mask[:, None])[:, 0]
    used, is_done = torch.zeros_like(lanes), torch.zeros_like(lanes, dtype=torch.bool)
    history = []
    while len(lanes) and len(history) < passes:
        few = scorer if len(lanes) == len(mask) else scorer.take(lanes)
        after, lower = _pass(few, mask[lanes], error[lanes])
        is_better = lower < error[lanes]
        scorer.doubt[lanes] = torch.maximum(scorer.doubt[lanes], few.doubt)
        mask[lanes], error[lanes] = after, lower
        used[lanes] += 1
        is_done[lanes] = ~is_better
        history.append(error.clone())
        lanes = lanes[is_better]
    return Found(mask, used, is_done, torch.stack(history, -1))


def _pass(scorer: Scorer, mask: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """One pass over the places of masks (B, S): their tones as they are at its start, then none."""
    most = int(mask.sum(-1).max())
    tones = (~mask).to(torch.int8).argsort(dim=-1, stable=True)[:, :most]
    for place in range(most + 1):
        gone = tones[:, place] if place < most else None
        mask, error = _best_change(scorer, mask, error, gone)
    return mask, error


def _best_change(
    scorer: Scorer, mask: Tensor, error: Tensor, gone: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The best mask among this one and those where a tone is replaced, left out, or put in.

    Args:
        scorer: Validation errors.
        mask: Masks (B, S).
        error: Their errors (B,).
        gone: Tone that is replaced or left out, (B,); None to put one in.
    """
    least, most = scorer.limits
    base = mask if gone is None else mask.scatter(1, gone[:, None], False)
    count = base.sum(-1, keepdim=True)
    tone = base.to(torch.int8).argsort(dim=-1, stable=True)
    tone = tone[:, : mask.shape[1] - int(count.min())]
    is_known = torch.ones_like(count, dtype=torch.bool)
    if gone is not None:
        is_known = mask.gather(1, gone[:, None])  # else another lane's place
    rough = scorer.rough_moves(base, tone, adds=True)
    is_allowed = is_known & (count < most) & ~base.gather(1, tone)
    rough = torch.where(is_allowed, rough, torch.inf)
    every = torch.cat([moved(base, tone, adds=True), base[:, None], mask[:, None]], 1)
    out = torch.where(is_known & (count >= least), scorer.rough(base[:, None]), torch.inf)
    rough = torch.cat([rough, out, error[:, None]], 1)
    if bool((rough[:, :-1].amin(-1) > error + GUARD).all()):
        return mask, error
    index, lower = scorer.best(every, rough)
    is_better = lower < error - _ROUNDING
    return (
        torch.where(is_better[:, None], choose(every, index), mask),
        torch.where(is_better, lower, error),
    )
