"""Policies of OTA-FEEL rounds that give every device a role: to sense, to keep quiet, or neither.

The nearest device to where the target is believed turns a share of its power to it, the others keep
its direction free of power: their echoes would be noise to the one that senses. Actions of the
processes hold both numbers, see ``isac_gym.problems.ota_feel.actions``; nothing is searched for.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.policy import PolicyContext

__all__ = ["RolesPolicy"]


@dataclass(frozen=True, kw_only=True)
class RolesPolicy:
    """Base design of every round; the nearest device senses, the others keep quiet.

    Attributes:
        sensing: Share of the nearest device's power for the target, in [0, 1].
        quiet: How much of the target's direction the others leave free, in [0, 1].
    """

    sensing: float = 0.0
    quiet: float = 0.0

    def __post_init__(self) -> None:
        for name in ("sensing", "quiet"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ScenarioError(f"{name} must be in [0, 1], got {value!r}.")

    @property
    def name(self) -> str:
        """``base design``, or ``roles`` with the two numbers."""
        if self.sensing == self.quiet == 0:
            return "base design"
        return f"roles {self.sensing:g} {self.quiet:g}"

    def act(self, observation: Tensor, context: PolicyContext) -> Tensor:
        """Actions (B, action_size) in [-1, 1]."""
        process: Any = context.process
        if process.action_mode == "raw":
            raise ScenarioError("action_mode must be 'residual' or 'null-space', got 'raw'.")
        known = process.measured(context.state)
        apart = (known.position - known.target[:, None]).square().sum(-1)
        is_nearest = apart == apart.amin(-1, keepdim=True)
        action = apart.new_zeros(*apart.shape, process.local_action_size)
        action[..., 0] = 1
        action[..., 1] = torch.where(is_nearest, self.sensing, -self.quiet)
        return action.flatten(1)
