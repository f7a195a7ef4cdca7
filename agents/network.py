"""Policy networks: a declared architecture, so that weights are data and never code."""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

__all__ = ["Architecture", "PolicyNetwork"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}
_OUTPUTS = {"clip": lambda y: y.clamp(-1, 1), "tanh": torch.tanh}


class Architecture(BaseModel):
    """A multi-layer perceptron from observations to actions.

    Attributes:
        kind: Family of networks; only ``mlp`` exists.
        sizes: Widths of all layers, from the observation to the action.
        activation: Hidden non-linearity.
        output: Map of the last layer to [-1, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mlp"] = "mlp"
    sizes: tuple[int, ...] = Field(min_length=2, max_length=16)
    activation: Literal["relu", "silu", "tanh"] = "silu"
    output: Literal["clip", "tanh"] = "clip"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all weights by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        for index, (inputs, outputs) in enumerate(pairwise(self.sizes)):
            shapes[f"layers.{index}.weight"] = (outputs, inputs)
            shapes[f"layers.{index}.bias"] = (outputs,)
        return shapes


class PolicyNetwork(nn.Module):
    """Network of an :class:`Architecture`; initialised from its own generator."""

    def __init__(self, architecture: Architecture, *, seed: int = 0) -> None:
        """Fan-in uniform hidden layers, a small last layer: the first actions are near 0."""
        super().__init__()
        self.architecture = architecture
        generator = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, inputs, outputs)
            for inputs, outputs in pairwise(architecture.sizes)
        )
        last = f"layers.{len(self.layers) - 1}.weight"
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.orthogonal_(parameter, 0.01 if name == last else 2**0.5, generator)
        self.activation = _ACTIVATIONS[architecture.activation]()

    def raw(self, observation: Tensor) -> Tensor:
        """Last layer before the output map, (B, action_size)."""
        hidden = observation
        for layer in self.layers[:-1]:
            hidden = self.activation(layer(hidden))
        return self.layers[-1](hidden)

    def forward(self, observation: Tensor) -> Tensor:
        """Actions (B, action_size) in [-1, 1] of observations (B, O)."""
        return _OUTPUTS[self.architecture.output](self.raw(observation))
