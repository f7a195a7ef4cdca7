"""What processes over tones share: observations tone by tone, scores as actions, bids of links."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock, Process
from isac_gym.problems.subcarrier_selection.mask_actions import (
    check_action,
    joined,
    mask_of,
    scores_of,
)
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision

__all__ = ["Part", "ToneProcess"]

_CLIP = 5.0
_BID = 3.0  # scale of bids: the largest ratio of two shares is exp(6)


class Part(NamedTuple):
    """A run of observation entries of every tone.

    Attributes:
        name: Short name.
        size: Entries per tone.
        doc: Meaning and normalisation.
        value: Entries (B, S, size) of a state.
    """

    name: str
    size: int
    doc: str
    value: Callable[[Any], Tensor]


@dataclass(frozen=True, kw_only=True)
class ToneProcess(Process):
    """A mask per step, for all links together or one agent per link.

    The joint action scores every tone: those above 0 are selected, at least the fewest and at most
    the most allowed, the largest scores first. A link scores its own tones and adds a bid for a
    share of the most allowed, see ``join``.

    Attributes:
        problem: A problem whose scenario has links and tones.
        horizon: Steps per episode.
    """

    problem: Any
    horizon: int = 64

    # --- sizes --------------------------------------------------------------------------------

    @property
    def _links(self) -> int:
        return self.problem.scenario.num_links

    @property
    def _tones(self) -> int:
        return self.problem.scenario.num_tones

    @property
    def agents(self) -> tuple[str, ...]:
        """One agent per receiver, that is, per link."""
        return tuple(f"rx_{link}" for link in range(self._links))

    @property
    def action_size(self) -> int:
        """A score of every tone."""
        return self._tones

    @property
    def local_action_size(self) -> int:
        """Scores of the own tones, then a bid for a share of the most allowed."""
        return self.problem.scenario.tones_per_link + 1

    # --- actions ------------------------------------------------------------------------------

    def join(self, local_actions: Tensor) -> Tensor:
        """Joint scores: each link's best tones within the share that its bid won."""
        scores, bids = local_actions[..., :-1], local_actions[..., -1]
        return joined(scores, _BID * bids.clamp(-1, 1), self.problem.scenario.max_tones)

    def decode(self, state: Any, action: Tensor) -> SubcarrierDecision:
        """Tones with scores above 0, at least the fewest and at most the most allowed.

        Raises:
            ShapeError: Wrong shape.
        """
        check_action(action, state.batch_size, self.action_size)
        s = self.problem.scenario
        return SubcarrierDecision(mask_of(action, s.min_tones, s.max_tones))

    def encode(self, state: Any, decision: SubcarrierDecision) -> Tensor:
        """Scores 1 of selected tones, -1 of others."""
        return scores_of(decision.mask, state.dtype)

    # --- observations -------------------------------------------------------------------------

    @property
    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """What is observed of every tone."""

    @abstractmethod
    def shared_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of what everyone observes besides the tones."""

    @abstractmethod
    def shared(self, state: Any) -> Tensor:
        """What everyone observes besides the tones, (B, n); see ``shared_blocks``."""

    @property
    def observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of the joint observation: quantity by quantity, tones link by link."""
        own = (ObservationBlock(p.name, self._tones * p.size, p.doc) for p in self.parts)
        return (*own, *self.shared_blocks())

    @property
    def local_observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of one link's observation: its own tones, what all know, who it is."""
        tones = self.problem.scenario.tones_per_link
        own = (ObservationBlock(p.name, tones * p.size, f"own tones: {p.doc}") for p in self.parts)
        identity = ObservationBlock("identity", self._links, "one-hot number of the link")
        return (*own, *self.shared_blocks(), identity)

    def observe(self, state: Any) -> Tensor:
        """Joint observation, (B, O) float32; see ``observation_blocks``."""
        own = [part.value(state).flatten(1) for part in self.parts]
        joint = torch.cat([*own, self.shared(state)], 1)
        return joint.clamp(-_CLIP, _CLIP).to(torch.float32)

    def observe_local(self, state: Any) -> Tensor:
        """Local observations, (B, P, O) float32; see ``local_observation_blocks``."""
        links = self._links
        own = [part.value(state).unflatten(1, (links, -1)).flatten(2) for part in self.parts]
        shared = self.shared(state)[:, None].expand(-1, links, -1)
        identity = torch.eye(links, dtype=shared.dtype, device=shared.device)
        local = torch.cat([*own, shared, identity.expand(len(shared), -1, -1)], -1)
        return local.clamp(-_CLIP, _CLIP).to(torch.float32)
