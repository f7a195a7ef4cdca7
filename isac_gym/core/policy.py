"""Policies: what acts in a process. Solvers and trained agents are both policies."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from isac_gym.core.process import Process

__all__ = ["Policy", "PolicyContext"]


@dataclass(frozen=True)
class PolicyContext:
    """What surrounds an observation.

    Attributes:
        process: The process being played.
        state: Its state, batch size B. Learned agents must not look at it; planners may use
            ``process.measured(state)``, and only declared genies ``process.truth(state)``.
        is_reset: True in lanes whose episode has just begun, (B,) bool; stateful policies forget.
    """

    process: Process
    state: Any
    is_reset: Tensor


@runtime_checkable
class Policy(Protocol):
    """Anything with ``name`` and ``act``."""

    @property
    def name(self) -> str:
        """Short name for tables."""
        ...

    def act(self, observation: Tensor, context: PolicyContext) -> Tensor:
        """Joint actions (B, action_size) in [-1, 1] for observations (B, O) float32."""
        ...
