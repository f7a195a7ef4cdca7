"""Mask tracking: narrow bands of interference wander; only acquired tones show where they are.

The room stays for an episode. In every frame H windows are drawn from a pool of unseen places, and
the bands of the frame add noise to the standardised features of the tones under them, which are
then clipped as ever; the training windows are clean. A mask is scored by the scenario's evaluator
on that frame. Noise is the same whatever the mask, so policies can be compared frame by frame.

The agent sees how noisy the tones it acquired were, never the others: to know whether a band has
left a good tone, it must acquire it. Each change of a tone has a small price.

What knowledge is worth: cost J + price per frame of ``baselines.subcarrier_selection.scripted``,
default settings, preset ``tracking``, 12 rooms x 32 frames, 95 % intervals over rooms:

    policy                                      cost            changes
    random each frame                           1.10 +- 0.03    3.89
    static, planned on clean windows            1.05 +- 0.04    0
    static, planned with bands anywhere         1.07 +- 0.06    0
    avoid bands seen, never forget              0.91 +- 0.06    0.42
    avoid bands seen in the last 8 frames       0.86 +- 0.04    1.18
    avoid what an exact filter expects          0.79 +- 0.04    0.81
    avoid the bands as they are (genie)         0.63 +- 0.04    0.69
    the same, and count the price (genie)       0.63 +- 0.04    0.64

An even comb costs 1.08 and null tones first 1.19. Bands stay for some 20 frames, so that a static
mask chosen in hindsight of a whole episode costs 0.83, the genie 0.64 on the same frames (8 rooms).
With 5 dB instead of 10, the genie saves a fifth of what static masks pay.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.process import Transition
from isac_gym.core.random import Streams
from isac_gym.problems.subcarrier_selection.interferer import Band, Belief, Interferer
from isac_gym.problems.subcarrier_selection.model import select_tones
from isac_gym.problems.subcarrier_selection.records import (
    SubcarrierDecision,
    SubcarrierInstance,
    SubcarrierMetrics,
)
from isac_gym.problems.subcarrier_selection.tone_statistics import explained_alone, loss_without
from isac_gym.problems.subcarrier_selection.tracking_view import (
    FEATURE_LIMIT,
    MaskTrackingState,
    MaskTrackingView,
)

__all__ = ["MaskTracking"]

_MODES = ("shared", "difference")
_RANGES = {
    "band_share": (0.0, 1.0),
    "level_db": (-30.0, 60.0),
    "level_std_db": (0.0, 30.0),
    "level_correlation": (0.0, 1.0),
    "walk_probability": (0.0, 1.0),
    "jump_probability": (0.0, 1.0),
    "switching_cost": (0.0, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class MaskTracking(MaskTrackingView):
    """A mask for every frame; one agent per link.

    The reward of a frame is the explained share 1 - J, less the price of the tones that changed:
    0 is what the mean predictor earns, and J is already relative to it, in every room. The first
    mask is free.

    Attributes:
        band_share: Of a link's tones under its band, at least one.
        level_db: Mean variance it adds to standardised features.
        level_std_db: Standard deviation of the level.
        level_correlation: Of the level from frame to frame.
        walk_probability: A band moves by one tone, in a random direction.
        jump_probability: A band jumps anywhere.
        switching_cost: Price of exchanging one tone for another. Where it is dear (0.02), it can be
            best never to switch.
        local_reward_mode: ``shared``, or ``difference``: what the error would gain without the
            link's tones, less the price of its own changes.
    """

    objective_names: ClassVar[tuple[str, ...]] = ("localisation", "sensing", "switching")

    band_share: float = 0.375
    level_db: float = 10.0
    level_std_db: float = 0.0
    level_correlation: float = 0.9
    walk_probability: float = 0.3
    jump_probability: float = 0.05
    switching_cost: float = 0.005
    local_reward_mode: str = "shared"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ScenarioError(
                    f"{name} must be in [{low:g}, {high:g}], got {getattr(self, name)!r}."
                )
        if self.local_reward_mode not in _MODES:
            raise ScenarioError(
                f"local_reward_mode must be one of {_MODES}, got {self.local_reward_mode!r}."
            )

    @cached_property
    def interferer(self) -> Interferer:
        """Law of the bands."""
        s = self.problem.scenario
        return Interferer(
            links=s.num_links,
            tones=s.tones_per_link,
            width=max(1, round(self.band_share * s.tones_per_link)),
            walk=self.walk_probability,
            jump=self.jump_probability,
            mean_db=self.level_db,
            std_db=self.level_std_db,
            correlation=self.level_correlation,
        )

    # --- time ---------------------------------------------------------------------------------

    def initial(self, streams: Streams) -> MaskTrackingState:
        """A room of ``Problem.sample``; nothing has been acquired yet."""
        room = self.problem.sample(streams)
        alone = explained_alone(self.problem, room)
        band = self.interferer.begin(streams, room.dtype)
        belief = self.interferer.prior(room.label_scale)
        nothing = torch.zeros_like(alone[..., 0])
        none = torch.zeros_like(streams.seed)
        state = MaskTrackingState(
            instance=room,
            pool=room.score,
            pool_label=room.score_label,
            planning_noise=streams.normal("rehearsal", *room.val.shape[1:], dtype=room.dtype),
            noise=nothing,
            place=band.place,
            level_db=band.level_db,
            belief=belief.place.flatten(1),
            believed_db=belief.level_db,
            alone=alone,
            loss=loss_without(self.problem, room),
            mask=torch.zeros_like(nothing, dtype=torch.bool),
            seen=nothing,
            age=none[:, None].expand_as(nothing) + self.horizon,
            error=torch.ones_like(alone[:, 0]),
            slot=none,
        )
        return self._framed(state, streams)

    def advance(
        self, state: MaskTrackingState, decision: SubcarrierDecision, streams: Streams
    ) -> Transition:
        """Score the frame, remember what was acquired; then the bands move on."""
        s = self.problem.scenario
        mask = select_tones(decision.mask.to(state.dtype), s.min_tones, s.max_tones)
        metrics = self.problem.evaluate(state.instance, decision)
        price = self._price(state, mask)
        explained = 1 - torch.stack([metrics.error_location, metrics.error_sensing], -1)
        objectives = torch.cat([explained, -price.sum(-1, keepdim=True)], -1)
        reward = metrics.objective + objectives[:, -1]
        band = self.interferer.step(Band(state.place, state.level_db), streams)
        slot = state.slot + 1
        after = self._remember(state, mask).replace(
            place=band.place, level_db=band.level_db, error=1 - explained, slot=slot
        )
        return Transition(
            state=self._framed(after, streams),
            reward=reward,
            objectives=objectives,
            metrics=metrics,
            terminated=slot >= self.horizon,
            local_reward=self._local_reward(state, mask, metrics, price, reward),
        )

    def _price(self, state: MaskTrackingState, mask: Tensor) -> Tensor:
        """Price of every link's changes, (B, P)."""
        changed = (mask ^ state.mask) & (state.slot > 0)[:, None]
        count = changed.unflatten(1, (self._links, -1)).sum(-1)
        return self.switching_cost / 2 * count.to(state.dtype)

    def _remember(self, state: MaskTrackingState, mask: Tensor) -> MaskTrackingState:
        """State with what a mask has shown of the frame's noise."""
        belief = self.interferer.update(
            self._belief(state), state.noise, mask, self._null(state.device)
        )
        return state.replace(
            mask=mask,
            seen=torch.where(mask, state.noise, state.seen),
            age=torch.where(mask, 0, (state.age + 1).clamp_max(self.horizon)),
            belief=belief.place.flatten(1),
            believed_db=belief.level_db,
        )

    def _framed(self, state: MaskTrackingState, streams: Streams) -> MaskTrackingState:
        """State with the coming frame: windows of the pool under the bands' noise."""
        pool, size = state.pool, state.pool.shape[1]
        rows = streams.integers("windows", size, high=size)
        noise = self.interferer.noise(Band(state.place, state.level_db), self._null(state.device))
        draw = streams.normal("frame", *pool.shape[1:], dtype=pool.dtype)
        clean = pool.take_along_dim(rows[..., None, None], 1)
        frame = state.instance.replace(
            score=_noisy(clean, noise, draw),
            score_label=state.pool_label.take_along_dim(rows[..., None], 1),
        )
        return state.replace(instance=frame, noise=noise)

    def _local_reward(
        self,
        state: MaskTrackingState,
        mask: Tensor,
        metrics: SubcarrierMetrics,
        price: Tensor,
        reward: Tensor,
    ) -> Tensor:
        if self.local_reward_mode == "shared":
            return reward[:, None].expand(-1, self._links)
        owner = (
            torch.arange(self._tones, device=mask.device) // self.problem.scenario.tones_per_link
        )
        link = torch.arange(self._links, device=mask.device)
        without = mask[:, None] & (owner != link[:, None])  # (B, P, S)
        error = self.problem.mask_errors(state.instance, without).mean(-1)
        return error - metrics.error[:, None] - price

    # --- knowledge ----------------------------------------------------------------------------

    def measured(self, state: MaskTrackingState) -> SubcarrierInstance:
        """The room with validation windows as noisy as the bands are expected to be."""
        expected = self.interferer.expected(self._belief(state), self._null(state.device))
        return self.problem.known(self.rehearsed(state, expected))

    def truth(self, state: MaskTrackingState) -> SubcarrierInstance:
        """The coming frame, and validation windows with the same variances but other draws."""
        return self.rehearsed(state, state.noise)

    def rehearsed(self, state: MaskTrackingState, noise: Tensor) -> SubcarrierInstance:
        """The coming frame's instance with validation windows under ``noise`` (B, S)."""
        i = state.instance
        return i.replace(val=_noisy(i.val, noise, state.planning_noise))

    def _belief(self, state: MaskTrackingState) -> Belief:
        return Belief(state.belief.unflatten(1, (self._links, -1)), state.believed_db)

    def _null(self, device: torch.device) -> Tensor:
        return self.problem.scenario.null.to(device)


def _noisy(clean: Tensor, noise: Tensor, draw: Tensor) -> Tensor:
    """Features (B, H, S, C) with variance ``noise`` (B, S) added to each of a tone."""
    noisy = clean + noise.sqrt()[:, None, :, None] * draw
    return noisy.clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
