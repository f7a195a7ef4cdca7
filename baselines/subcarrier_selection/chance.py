"""Masks by chance: the best of many random ones, simulated annealing, a genetic algorithm.

Sources: Kirkpatrick et al. 1983; Goldberg 1989. All are guided by the validation error.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.iteration import demand_limits
from baselines.subcarrier_selection.scoring import Scorer, random_masks
from baselines.subcarrier_selection.searching import Found, MaskSearch, choose
from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.problems.subcarrier_selection.model import select_tones

__all__ = ["Annealing", "BestRandom", "Genetic"]


@dataclass(frozen=True, kw_only=True)
class BestRandom(MaskSearch):
    """The best on validation of ``draws`` random masks of allowed size."""

    name: ClassVar[str] = "best-random"
    summary: ClassVar[str] = "the best on validation of 500 random masks"

    draws: int = 500

    def __post_init__(self) -> None:
        demand_limits(self, "draws")

    def search(
        self, scorer: Scorer, *, iterations: int | None, streams: Streams, start: Tensor | None
    ) -> Found:
        """See the class; all draws are one iteration."""
        mask = _drawn(scorer, streams, "mask", self.draws)
        index, error = scorer.best(mask, scorer.rough(mask))
        one = torch.ones_like(index)
        return Found(choose(mask, index), one, one > 0, error[:, None])


@dataclass(frozen=True, kw_only=True)
class Annealing(MaskSearch):
    """Chains of random changes of one tone, accepted by Metropolis' rule while it gets colder.

    A proposal swaps a chosen tone for another, or where the size allows it puts one in or takes
    one out, all of them alike. The temperature falls geometrically; an iteration is one proposal
    in every chain, and the best mask that any chain met is kept.
    """

    name: ClassVar[str] = "annealing"
    summary: ClassVar[str] = "simulated annealing, 16 chains of 60 changes of one tone"

    chains: int = 16
    steps: int = 60
    hottest: float = 0.02  # in units of the error: a usual change of one swap
    coldest: float = 0.0005

    def __post_init__(self) -> None:
        demand_limits(self, "chains", "steps")
        if not 0 < self.coldest <= self.hottest < math.inf:
            raise ScenarioError(
                f"coldest must be in (0, hottest = {self.hottest:g}], got {self.coldest:g}."
            )

    def search(
        self, scorer: Scorer, *, iterations: int | None, streams: Streams, start: Tensor | None
    ) -> Found:
        """See the class; a start takes the first chain's place."""
        steps = min(iterations or self.steps, self.steps)
        mask = _begin(scorer, streams, self.chains, start)
        error = scorer.rough(mask)
        best, lowest, history = mask, error, []
        for step in range(steps):
            at = streams.at_step(step)
            offer = _changed(mask, at, *scorer.limits)
            theirs = scorer.rough(offer)
            cold = self.hottest * (self.coldest / self.hottest) ** (step / max(1, self.steps - 1))
            luck = at.uniform("luck", self.chains).to(error.dtype)
            is_taken = luck < ((error - theirs) / cold).clamp_max(0).exp()
            mask = torch.where(is_taken[..., None], offer, mask)
            error = torch.where(is_taken, theirs, error)
            is_best = error < lowest
            best = torch.where(is_best[..., None], mask, best)
            lowest = torch.where(is_best, error, lowest)
            history.append(lowest.amin(-1))
        return _finish(scorer, best, lowest, history, steps == self.steps)


@dataclass(frozen=True, kw_only=True)
class Genetic(MaskSearch):
    """Parents by tournament, uniform crossover, changes of one tone; the best mask survives.

    A child takes every tone from one of two parents by the toss of a coin, is brought to an
    allowed size, and has one tone changed with probability ``mutation``. An iteration is a
    generation.
    """

    name: ClassVar[str] = "genetic"
    summary: ClassVar[str] = "genetic algorithm, 32 masks for 25 generations"

    population: int = 32
    generations: int = 25
    mutation: float = 0.5

    def __post_init__(self) -> None:
        demand_limits(self, "population", "generations")
        if not 0 <= self.mutation <= 1:
            raise ScenarioError(f"mutation must be in [0, 1], got {self.mutation:g}.")

    def search(
        self, scorer: Scorer, *, iterations: int | None, streams: Streams, start: Tensor | None
    ) -> Found:
        """See the class; a start takes the first mask's place."""
        count = min(iterations or self.generations, self.generations)
        mask = _begin(scorer, streams, self.population, start)
        error, history = scorer.rough(mask), []
        for number in range(count):
            child = self._children(scorer, mask, error, streams.at_step(number))
            elite = error.argmin(-1)
            mask = torch.cat([choose(mask, elite)[:, None], child], 1)
            error = torch.cat([choose(error, elite)[:, None], scorer.rough(child)], 1)
            history.append(error.amin(-1))
        return _finish(scorer, mask, error, history, count == self.generations)

    def _children(self, scorer: Scorer, mask: Tensor, error: Tensor, streams: Streams) -> Tensor:
        """All masks of the next generation but the one that survives, (B, P - 1, S)."""
        count, tones = self.population - 1, mask.shape[-1]
        rival = streams.integers("rival", 2, 2, count, high=self.population)
        theirs = error[:, None, None].expand(*rival.shape[:3], -1).gather(-1, rival)
        winner = rival.gather(2, theirs.argmin(2, keepdim=True))[:, :, 0]  # (B, 2, P - 1)
        wide = winner[..., None].expand(-1, -1, -1, tones)
        parent = mask[:, None].expand(-1, 2, -1, -1).gather(2, wide)
        coin = streams.uniform("coin", count, tones)
        mixed = torch.where(coin < 0.5, parent[:, 0], parent[:, 1])
        # the coin also breaks ties when tones have to be put in or taken out
        child = select_tones(mixed + 0.1 * (coin - 0.5), *scorer.limits)
        changed = _changed(child, streams, *scorer.limits)
        is_hit = streams.uniform("mutation", count) < self.mutation
        return torch.where(is_hit[..., None], changed, child)


def _drawn(scorer: Scorer, streams: Streams, name: str, count: int) -> Tensor:
    """Random masks (B, count, S)."""
    uniform = streams.uniform(name, count, scorer.problem.scenario.num_tones + 1)
    return random_masks(uniform, *scorer.limits)


def _begin(scorer: Scorer, streams: Streams, count: int, start: Tensor | None) -> Tensor:
    """Random masks (B, count, S), the first of them the start."""
    mask = _drawn(scorer, streams, "start", count)
    if start is None:
        return mask
    first = select_tones(start.to(scorer.instance.dtype), *scorer.limits)
    return torch.cat([first[:, None], mask[:, 1:]], 1)


def _changed(mask: Tensor, streams: Streams, least: int, most: int) -> Tensor:
    """Masks (B, R, S) after a random change of one tone: swapped, put in or taken out."""
    luck = streams.uniform("change", *mask.shape[1:], 2)
    kind = streams.integers("kind", mask.shape[1], high=3)
    count = mask.sum(-1)
    adds = (kind != 1) & ((kind == 0) | (count < most)) & (count < mask.shape[-1])
    drops = (kind != 2) & ((kind == 0) | (count > least))
    drops &= ~((kind == 0) & (count == mask.shape[-1]))  # nothing to swap with
    into = torch.where(mask, -1.0, luck[..., 0]).argmax(-1, keepdim=True)
    out = torch.where(mask, luck[..., 1], -1.0).argmax(-1, keepdim=True)
    after = mask.scatter(-1, into, mask.gather(-1, into) | adds[..., None])
    return after.scatter(-1, out, after.gather(-1, out) & ~drops[..., None])


def _finish(
    scorer: Scorer, mask: Tensor, rough: Tensor, history: list[Tensor], is_done: bool
) -> Found:
    """The best of masks (B, R, S) by exact errors."""
    index, _ = scorer.best(mask, rough)
    used = torch.full_like(index, len(history))
    done = torch.full_like(used, is_done, dtype=torch.bool)
    return Found(choose(mask, index), used, done, torch.stack(history, -1))
