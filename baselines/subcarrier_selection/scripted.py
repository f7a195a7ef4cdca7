"""Scripted policies of mask tracking and mask building: what knowledge of the noise is worth.

A planner chooses the mask whose error is least on rehearsed validation windows: clean ones with the
noise that it believes in. The policies differ in that belief only; each is one rung of a ladder
from chance to full knowledge, and what separates the rungs is what an agent can win by exploring.
Planning and scored windows, and their noise, are drawn apart, also for those who know the bands.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from baselines.subcarrier_selection.greedy import GreedyForward
from isac_gym.core.errors import ScenarioError
from isac_gym.core.policy import Policy, PolicyContext
from isac_gym.core.random import Streams
from isac_gym.problems.subcarrier_selection.building import MaskBuilding, MaskBuildingState
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision, SubcarrierInstance
from isac_gym.problems.subcarrier_selection.tracking import MaskTracking
from isac_gym.problems.subcarrier_selection.tracking_view import MaskTrackingState

__all__ = [
    "AvoidExpected",
    "AvoidKnown",
    "AvoidSeen",
    "GreedyBuilder",
    "RandomEachFrame",
    "StaticMask",
    "StickyClairvoyant",
    "TrackingPolicy",
    "forward_mask",
    "tracking_ladder",
]

_EXCHANGES = 4  # at most, in one frame, of the sticky policy


def forward_mask(problem: SubcarrierSelection, known: SubcarrierInstance) -> Tensor:
    """Mask (B, S) bool of greedy forward selection on the windows to plan with."""
    decision = GreedyForward().solve(problem, known).decision
    return cast(SubcarrierDecision, decision).mask


class TrackingPolicy:
    """Base of the policies of mask tracking: a mask for every frame."""

    name = "tracking policy"

    def act(self, observation: Tensor, context: PolicyContext) -> Tensor:
        """Actions (B, S) whose decoding is the mask.

        Raises:
            ScenarioError: The process is not a mask tracking.
        """
        process = context.process
        if not isinstance(process, MaskTracking):
            raise ScenarioError(
                f"process must be a MaskTracking for {self.name}, got {type(process).__name__}."
            )
        with torch.no_grad():
            mask = self.mask(process, context.state, context.is_reset)
        return process.encode(context.state, SubcarrierDecision(mask))

    @abstractmethod
    def mask(self, process: MaskTracking, state: MaskTrackingState, is_reset: Tensor) -> Tensor:
        """The mask of the coming frame, (B, S) bool."""


@dataclass(frozen=True)
class RandomEachFrame(TrackingPolicy):
    """As many random tones as allowed, others in every frame.

    Attributes:
        seed: Lane i draws from stream ``seed + i``, at the frame's number.
    """

    seed: int = field(default=0, kw_only=True)
    name = "random each frame"

    def mask(self, process: MaskTracking, state: MaskTrackingState, is_reset: Tensor) -> Tensor:
        """See the class."""
        s = process.problem.scenario
        streams = Streams.from_seed(self.seed, state.batch_size, device=state.device)
        rank = streams.at_step(state.slot).uniform("mask", s.num_tones).argsort(dim=-1, stable=True)
        return rank.argsort(-1) < s.max_tones


@dataclass
class StaticMask(TrackingPolicy):
    """One mask per episode, planned before its first frame and never changed.

    Attributes:
        noise: What it plans with: ``none``, or ``expected``, the bands anywhere.
    """

    noise: str = field(default="none", kw_only=True)
    _mask: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.noise not in ("none", "expected"):
            raise ScenarioError(f"noise must be 'none' or 'expected', got {self.noise!r}.")

    @property
    def name(self) -> str:
        """``static``, and what it plans with."""
        return "static clean" if self.noise == "none" else "static robust"

    def mask(self, process: MaskTracking, state: MaskTrackingState, is_reset: Tensor) -> Tensor:
        """See the class; planned in the lanes that begin."""
        if self._mask is None or self._mask.shape != state.mask.shape:
            is_reset, self._mask = torch.ones_like(is_reset), torch.zeros_like(state.mask)
        if bool(is_reset.any()):
            rows = is_reset.nonzero()[:, 0]
            planned = self._plan(process, state[rows])
            self._mask = self._mask.index_copy(0, rows, planned)
        return self._mask

    def _plan(self, process: MaskTracking, state: MaskTrackingState) -> Tensor:
        known = process.measured(state)
        if self.noise == "none":
            known = _rehearsal(process, state, torch.zeros_like(state.noise))
        return forward_mask(process.problem, known)


@dataclass(frozen=True)
class AvoidSeen(TrackingPolicy):
    """Plans with the noise each tone had when it was last acquired; unseen tones are clean.

    Attributes:
        memory: Frames after which a sighting is forgotten, >= 1; None: never.
    """

    memory: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory < 1:
            raise ScenarioError(f"memory must be None or >= 1, got {self.memory}.")

    @property
    def name(self) -> str:
        """``avoid seen``, with the memory where it is limited."""
        return "avoid seen" + (f" {self.memory}" if self.memory is not None else "")

    def mask(self, process: MaskTracking, state: MaskTrackingState, is_reset: Tensor) -> Tensor:
        """See the class."""
        memory = process.horizon if self.memory is None else self.memory
        noise = torch.where(state.age <= memory, state.seen, 0)
        return forward_mask(process.problem, _rehearsal(process, state, noise))


@dataclass(frozen=True)
class AvoidExpected(TrackingPolicy):
    """Plans with the noise to be expected after all sightings: an exact filter, no curiosity."""

    name = "avoid expected"

    def mask(self, process: MaskTracking, state: MaskTrackingState, is_reset: Tensor) -> Tensor:
        """See the class."""
        return forward_mask(process.problem, process.measured(state))


@dataclass(frozen=True)
class AvoidKnown(TrackingPolicy):
    """A genie: plans with the variances of the coming frame, on windows and noise of its own."""

    name = "avoid known (genie)"

    def mask(self, process: MaskTracking, state: MaskTrackingState, is_reset: Tensor) -> Tensor:
        """See the class."""
        return forward_mask(process.problem, _rehearsal(process, state, state.noise))


@dataclass(frozen=True)
class StickyClairvoyant(TrackingPolicy):
    """The same genie, which counts the price of changes: exchanges tones only where it pays.

    The better of a fresh plan and of up to four exchanges (the least missed tone for the best one)
    in the last mask, with the price of the changes.
    """

    name = "sticky clairvoyant (genie)"

    def mask(self, process: MaskTracking, state: MaskTrackingState, is_reset: Tensor) -> Tensor:
        """See the class."""
        problem, known = process.problem, _rehearsal(process, state, state.noise)
        is_free = (state.slot == 0)[:, None]

        def cost(mask: Tensor) -> Tensor:
            changed = (mask ^ state.mask[:, None]).sum(-1).to(known.dtype)
            price = torch.where(is_free, 0, process.switching_cost / 2 * changed)
            return problem.mask_errors(known, mask).mean(-1) + price

        fresh = forward_mask(problem, known)
        kept = torch.where(is_free, fresh, state.mask)
        for _ in range(_EXCHANGES):
            kept = _exchanged(kept, cost)
        pair = torch.stack([kept, fresh], 1)
        best = cost(pair).argmin(-1)
        return pair.take_along_dim(best[:, None, None], 1)[:, 0]


def _exchanged(mask: Tensor, cost: Callable[[Tensor], Tensor]) -> Tensor:
    """Mask (B, S) with one tone less and another one more, where that costs less."""
    each = torch.eye(mask.shape[-1], dtype=torch.bool, device=mask.device)
    fewer = cost(mask[:, None] & ~each).masked_fill(~mask, torch.inf)
    smaller = mask & ~each[fewer.argmin(-1)]
    more = cost(smaller[:, None] | each).masked_fill(smaller, torch.inf)
    least, tone = more.min(-1)
    better = least < cost(mask[:, None])[:, 0]
    return torch.where(better[:, None], smaller | each[tone], mask)


def _rehearsal(
    process: MaskTracking, state: MaskTrackingState, noise: Tensor
) -> SubcarrierInstance:
    """Instance to plan with: validation windows under ``noise`` (B, S)."""
    return process.problem.known(process.rehearsed(state, noise))


def tracking_ladder() -> tuple[Policy, ...]:
    """The policies of mask tracking, from chance to full knowledge."""
    return (
        RandomEachFrame(),
        StaticMask(),
        StaticMask(noise="expected"),
        AvoidSeen(),
        AvoidSeen(memory=8),
        AvoidExpected(),
        AvoidKnown(),
        StickyClairvoyant(),
    )


@dataclass(frozen=True)
class GreedyBuilder:
    """Mask building: adds the tone that lowers the validation error most, stops if none does.

    Until enough tones are built it adds the best one in any case.
    """

    name = "greedy builder"

    def act(self, observation: Tensor, context: PolicyContext) -> Tensor:
        """Actions (B, S + 1): the best tone, then the others by their error.

        Raises:
            ScenarioError: The process is not a mask building.
        """
        process: Any = context.process
        if not isinstance(process, MaskBuilding):
            raise ScenarioError(
                f"process must be a MaskBuilding for {self.name}, got {type(process).__name__}."
            )
        state: MaskBuildingState = context.state
        problem, known = process.problem, process.measured(state)
        each = torch.eye(problem.scenario.num_tones, dtype=torch.bool, device=known.device)
        with torch.no_grad():
            error = problem.mask_errors(known, state.built[:, None] | each).mean(-1)
        error = error.masked_fill(state.built, torch.inf)
        now = torch.where(state.built.any(-1), state.error.mean(-1), 1)
        rank = error.argsort(dim=-1, stable=True).argsort(-1)
        scores = 1 - 2 * rank / problem.scenario.num_tones  # from 1 down, the best first
        stops = torch.where(error.amin(-1) < now, -1.0, 1.0)
        scores = torch.where(stops[:, None] > 0, scores - 0.5, scores)
        return torch.cat([scores, stops[:, None]], -1).clamp(-1, 1).to(known.dtype)
