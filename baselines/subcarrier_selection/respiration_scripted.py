"""Scripted policies of breathing frames: from chance to full knowledge of the coming frame.

What separates those who see only what they acquired from those who see every tone is what an agent
can win by exploring. None but the clairvoyant knows a true rate of any frame.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from torch import Tensor

from baselines.policy import SolverPolicy
from baselines.subcarrier_selection.respiration import grow, labelled
from baselines.subcarrier_selection.respiration_exhaustive import Exhaustive
from isac_gym.core.errors import ScenarioError
from isac_gym.core.policy import Policy, PolicyContext
from isac_gym.core.random import Streams
from isac_gym.physics.breathing import peakiness
from isac_gym.problems.subcarrier_selection.model import select_tones
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.problems.subcarrier_selection.respiration_tracking import RespirationTracking
from isac_gym.problems.subcarrier_selection.respiration_view import RespirationTrackingState

__all__ = [
    "Calibrated",
    "Frame",
    "FramePolicy",
    "RandomTones",
    "SharpestNow",
    "SharpestSeen",
    "respiration_ladder",
]


class Frame(NamedTuple):
    """A process and its state, before a frame."""

    process: RespirationTracking
    state: RespirationTrackingState

    def sharpest(self, scores: Tensor) -> Tensor:
        """The most tones allowed, of the largest scores (B, S) that are not null."""
        s = self.process.problem.scenario
        null = s.null.to(scores.device).repeat(s.num_links)
        return select_tones(scores.masked_fill(null, -torch.inf), s.max_tones, s.max_tones)


class FramePolicy:
    """Base: a mask (B, S) for every frame."""

    name = "frame policy"

    def act(self, observation: Tensor, context: PolicyContext) -> Tensor:
        """Actions (B, S) whose decoding is the mask of :meth:`mask`.

        Raises:
            ScenarioError: The process has no breathing frames.
        """
        if not isinstance(context.process, RespirationTracking):
            found = type(context.process).__name__
            raise ScenarioError(f"{self.name} plays RespirationTracking only, got {found}.")
        frame = Frame(context.process, cast(RespirationTrackingState, context.state))
        with torch.no_grad():
            decision = SubcarrierDecision(self.mask(frame))
            return frame.process.encode(frame.state, decision)

    @abstractmethod
    def mask(self, frame: Frame) -> Tensor:
        """The mask of the coming frame, (B, S) bool."""


@dataclass(frozen=True)
class RandomTones(FramePolicy):
    """The most tones allowed, others in every frame.

    Attributes:
        seed: Lane i draws from stream ``seed + i``, at the frame's number.
    """

    seed: int = field(default=0, kw_only=True)
    name = "random tones"

    def mask(self, frame: Frame) -> Tensor:
        """See the class."""
        state = frame.state
        streams = Streams.from_seed(self.seed, state.batch_size, device=state.device)
        return frame.sharpest(streams.at_step(state.slot).uniform("tones", state.mask.shape[1]))


class Calibrated(FramePolicy):
    """The greedy selection on the calibration windows, kept for the whole episode."""

    name = "calibrated"

    def mask(self, frame: Frame) -> Tensor:
        """See the class; what was seen since plays no role."""
        i, s = frame.state.instance, frame.process.problem.scenario
        problem, windows = labelled(frame.process.problem, i)
        count = i.train.shape[1]
        before = windows._replace(
            spectrum=windows.spectrum[:, :, :count], rate_hz=windows.rate_hz[:, :count]
        )
        grid = problem.frequency_hz.to(i.device, i.dtype)
        return grow(before, grid, s.min_tones, s.max_tones)[0]


@dataclass(frozen=True)
class SharpestSeen(FramePolicy):
    """The tones with the sharpest spectra as far as they are known; the others are hoped for.

    The longer ago a tone was acquired, the closer it is to ``hope`` again, so that every tone is
    tried now and then.

    Attributes:
        hope: Peak that is expected of a tone of which nothing is known, in (0, 1).
        forgetting: Share of what is known that is lost per frame, in [0, 1].
    """

    hope: float = field(default=0.25, kw_only=True)
    forgetting: float = field(default=0.03, kw_only=True)
    name = "sharpest seen"

    def __post_init__(self) -> None:
        for label in ("hope", "forgetting"):
            if not 0 <= getattr(self, label) <= 1:
                raise ScenarioError(f"{label} must be in [0, 1], got {getattr(self, label)!r}.")

    def mask(self, frame: Frame) -> Tensor:
        """See the class."""
        state = frame.state
        memory = (1 - self.forgetting) ** state.age.to(state.dtype)
        memory = torch.where(state.age < state.slot[:, None], memory, 0)
        seen = peakiness(state.instance.val).mean(1)
        return frame.sharpest(self.hope + memory * (seen - self.hope))


class SharpestNow(FramePolicy):
    """The sharpest spectra of the coming frame, as if every tone were seen; without its rates."""

    name = "sharpest now (genie)"

    def mask(self, frame: Frame) -> Tensor:
        """See the class."""
        return frame.sharpest(peakiness(frame.process.truth(frame.state).score).mean(1))


def respiration_ladder() -> tuple[Policy, ...]:
    """Policies in order of what they know: nothing, calibration, what was seen, all, the rates."""
    return (
        RandomTones(),
        Calibrated(),
        SharpestSeen(),
        SharpestNow(),
        SolverPolicy(Exhaustive(), knowledge="truth"),
    )
