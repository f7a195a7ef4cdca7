"""Mask building: add one tone after the other, rewarded by what each one explains.

Nothing changes but the mask, so this is the combinatorial problem as a game, and a sanity check:
with 16 tones greedy construction reaches the enumerated validation optimum. Research needs 64.

A step adds the unbuilt tone with the largest score, or stops once enough are built. What is scored
is the mask so far, completed to the fewest allowed by the next best scores. Rewards are differences
of the validation error, which telescope: no detour pays. The scored windows stay hidden until the
last step; its metrics, and nothing else, are those of the scored windows.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.process import Transition
from isac_gym.core.random import Streams
from isac_gym.problems.subcarrier_selection.building_view import (
    BuildingDecision,
    MaskBuildingState,
    MaskBuildingView,
)
from isac_gym.problems.subcarrier_selection.mask_actions import check_action
from isac_gym.problems.subcarrier_selection.records import (
    SubcarrierDecision,
    SubcarrierInstance,
)
from isac_gym.problems.subcarrier_selection.tone_statistics import explained_alone, fisher_score

__all__ = ["MaskBuilding"]

_GAIN = 10.0  # of the reward: an episode earns 10 (1 - J)


@dataclass(frozen=True, kw_only=True)
class MaskBuilding(MaskBuildingView):
    """A mask, tone by tone; steps after the last tone or a stop change nothing.

    The reward of a step is 10 times the fall of the validation error J; before the first step J is
    1, that of the mean predictor, so that the return is 10 (1 - J) of the final mask.
    """

    objective_names: ClassVar[tuple[str, ...]] = ("localisation", "sensing")

    # --- actions ------------------------------------------------------------------------------

    def decode(self, state: MaskBuildingState, action: Tensor) -> BuildingDecision:
        """Built tones with the best-scored new one, or unchanged; completed to the fewest allowed.

        Stopping needs the largest score of all, and enough tones; once stopped or full, nothing is
        added. Ties by index, tones before stopping.

        Raises:
            ShapeError: Wrong shape.
        """
        check_action(action, state.batch_size, self.action_size)
        s = self.problem.scenario
        action = action.to(state.dtype).clamp(-1, 1)
        scores = action[:, :-1].masked_fill(state.built, -torch.inf)
        count, best = state.built.sum(-1), scores.amax(-1)
        wants_stop = (action[:, -1] > best) & (count >= s.min_tones)
        done = state.stopped | wants_stop | (count >= s.max_tones)
        picked = torch.nn.functional.one_hot(scores.argmax(-1), self._tones).to(torch.bool)
        built = state.built | (picked & ~done[:, None])
        return BuildingDecision(mask=self._completed(built, scores), built=built)

    def _completed(self, built: Tensor, scores: Tensor) -> Tensor:
        """Built tones (B, S), and the best-scored others up to the fewest allowed."""
        ranked = scores.masked_fill(built, torch.inf)
        order = ranked.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        return built | (order < self.problem.scenario.min_tones)

    def encode(self, state: MaskBuildingState, decision: SubcarrierDecision) -> Tensor:
        """Action towards a mask: its next tone by index, or the one a decision of this process has.

        Tones already built cannot be taken back.
        """
        dtype = state.dtype
        fresh = decision.mask & ~state.built
        chosen = decision.built & ~state.built if isinstance(decision, BuildingDecision) else fresh
        first = chosen & (chosen.cumsum(-1) == 1)
        scores = torch.where(first, 1.0, torch.where(fresh, 0.5, -1.0).to(dtype)).to(dtype)
        stop = torch.where(chosen.any(-1, keepdim=True), -1.0, 1.0).to(dtype)
        return torch.cat([scores, stop], -1)

    # --- time ---------------------------------------------------------------------------------

    def initial(self, streams: Streams) -> MaskBuildingState:
        """A room of ``Problem.sample`` and an empty mask."""
        room = self.problem.sample(streams)
        alone = explained_alone(self.problem, room)
        empty = torch.zeros_like(alone[..., 0], dtype=torch.bool)
        return MaskBuildingState(
            instance=room,
            alone=alone,
            fisher=fisher_score(self.problem, room),
            built=empty,
            mask=empty.clone(),
            stopped=torch.zeros_like(empty[:, 0]),
            error=torch.ones_like(alone[:, 0]),
            slot=torch.zeros_like(streams.seed),
        )

    def advance(
        self, state: MaskBuildingState, decision: SubcarrierDecision, streams: Streams
    ) -> Transition:
        """Score the mask. Masks of solvers are taken as far as one step leads towards them."""
        if not isinstance(decision, BuildingDecision):
            decision = self.decode(state, self.encode(state, decision))
        problem, known = self.problem, self.problem.known(state.instance)
        errors = problem.mask_errors(known, decision.mask[:, None])[:, 0]
        is_same = (decision.mask == state.mask).all(-1, keepdim=True)
        errors = torch.where(is_same, state.error, errors)  # exactly, whatever the rounding
        gain = _GAIN * (state.error - errors)
        slot, reward = state.slot + 1, gain.mean(-1)
        is_unchanged = (decision.built == state.built).all(-1)
        return Transition(
            state=state.replace(
                built=decision.built,
                mask=decision.mask,
                stopped=state.stopped | is_unchanged,
                error=errors,
                slot=slot,
            ),
            reward=reward,
            objectives=gain,
            metrics=problem.evaluate(self.truth(state), decision),
            terminated=slot >= self.horizon,
            local_reward=reward[:, None],
        )

    # --- knowledge ----------------------------------------------------------------------------

    def measured(self, state: MaskBuildingState) -> SubcarrierInstance:
        """The room without its scored windows."""
        return self.problem.known(state.instance)

    def truth(self, state: MaskBuildingState) -> SubcarrierInstance:
        """What the metrics of the next step are about: validation, in the last step the score."""
        is_last = state.slot >= self.horizon - 1
        return state.instance.where(is_last, self.problem.known(state.instance))
