"""Lanes: state and random streams of a batch of episodes, the convention every adapter shares.

An episode starts with ``initial`` at step 0 of its streams; its k-th step draws from step k. The
next episode of a lane is the next episode of its stream, whatever the other lanes do.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from gymnasium.error import ResetNeeded
from torch import Tensor

from isac_gym.core.process import Process, Transition
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord

__all__ = ["Lanes"]

_Record = TypeVar("_Record", bound=TensorRecord)


class Lanes:
    """A batch of B lanes of one process.

    Attributes:
        process: The process being played.
        device: Device of all tensors.
        dtype: Real dtype of the state; instances are drawn in float64 and then cast.
        state: State record of B lanes; None before the first :meth:`seed`.
    """

    def __init__(self, process: Process, *, device: torch.device, dtype: torch.dtype) -> None:
        """Lanes without a state; no instance is drawn before :meth:`seed`."""
        self.process = process
        self.device = device
        self.dtype = dtype
        self.state: Any = None
        self._streams: Streams | None = None

    @property
    def is_started(self) -> bool:
        """Whether the lanes have been seeded."""
        return self._streams is not None

    @property
    def streams(self) -> Streams:
        """Random streams at the episode and step of each lane.

        Raises:
            ResetNeeded: Before the first :meth:`seed`.
        """
        if self._streams is None:
            raise ResetNeeded("the environment has no state yet; call reset() first.")
        return self._streams

    def seed(self, seeds: Sequence[int], mask: Tensor | None = None) -> None:
        """Start episode 0 of new streams in the lanes under ``mask`` (B,) bool, or in all."""
        fresh = Streams.from_seeds(seeds, device=self.device)
        if mask is not None:
            old, zero = self.streams, torch.zeros_like(fresh.seed)
            fresh = Streams(
                torch.where(mask, fresh.seed, old.seed),
                torch.where(mask, zero, old.episode),
                torch.where(mask, zero, old.step),
            )
        self._streams = fresh
        self._begin(None if mask is None else mask.nonzero()[:, 0])

    def next_episode(self, mask: Tensor | None = None) -> Tensor:
        """Start the next episode in the lanes under ``mask``, or in all; returns their rows."""
        self._streams = self.streams.next_episode(mask)
        mask = torch.ones_like(self._streams.seed) if mask is None else mask
        rows = mask.nonzero()[:, 0]
        self._begin(rows)
        return rows

    def advance(self, action: Tensor, *, held: Tensor | None = None) -> Transition:
        """Play one step; ``state`` becomes the next state.

        Args:
            action: Joint actions, (B, action_size).
            held: Rows that do not move: their state and streams stay, their results are 0.
        """
        before, streams = self.state, self.streams
        decision = self.process.decode(before, action)
        moved = streams.at_step(streams.step + 1)
        change = self.process.advance(before, decision, moved)
        if held is not None:
            moved = replace(moved, step=moved.step.index_copy(0, held, streams.step[held]))
            change = _hold(change, held, before)
        self._streams, self.state = moved, change.state
        return change

    def _begin(self, rows: Tensor | None) -> None:
        if rows is None or rows.numel() == self.streams.batch_size:
            self.state = self.process.initial(self.streams).to(dtype=self.dtype)
            return
        fresh = self.process.initial(self.streams[rows]).to(dtype=self.dtype)
        self.state = _put_rows(self.state, rows, fresh)


def _hold(change: Transition, rows: Tensor, before: TensorRecord) -> Transition:
    def cleared(t: Tensor) -> Tensor:
        return t.index_fill(0, rows, 0)

    return Transition(
        state=_put_rows(change.state, rows, before[rows]),
        reward=cleared(change.reward),
        objectives=cleared(change.objectives),
        metrics=change.metrics.map(cleared),
        terminated=cleared(change.terminated),
        local_reward=cleared(change.local_reward),
    )


def _put_rows(record: _Record, rows: Tensor, new: _Record) -> _Record:
    """Copy of ``record`` with ``rows`` taken from ``new``."""
    fresh = dict(new.items())
    return record.from_items({n: t.index_copy(0, rows, fresh[n]) for n, t in record.items()})
