r"""Perceptrons trained side by side on gated tones: one replica per room, seed and set of tones.

The weights of R networks of one shape are the rows of one tensor; every layer is one batched matrix
product, of which replica r is slice r. Slices start at cache lines where the widths of hidden
layers are multiples of 16, and a replica then does not depend on the others by one bit. The gate w
of the tones multiplies the rows of the first layer instead of the inputs,

    (w * x) W = x (diag(w) W),   d/dw_j = sum_{c,h} W_{jc,h} (x^T dz)_{jc,h},

so that its gradient costs no product of its own. Gradients are written out: a graph would cost as
much as the products where tones are few.

Source: Loshchilov and Hutter 2019 for the decoupled decay of weights; Kingma and Ba 2015, Adam.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from isac_gym.core.random import Streams
from isac_gym.physics.learning import Network, initial_weights, mlp

__all__ = ["Perceptrons", "batches", "cosine", "perceptrons"]

_MOMENTUM, _DECAY, _SMALL = 0.9, 0.999, 1e-8
_LINE = 16  # numbers of a cache line: a product is rounded by where its slices start in one


class Perceptrons:
    """R perceptrons with SiLU between, their gradient and Adam's moments, changed in place.

    Attributes:
        network: Shape, inputs S C.
        weights: One row per replica, (R, d) real; each layer's part starts at a multiple of 16.
        slope: Gradient of the last call of :meth:`gradient`, (R, d).

    Args:
        network: Shape.
        weights: As :func:`isac_gym.physics.learning.initial_weights` draws them, without gaps.
    """

    def __init__(self, network: Network, weights: Tensor) -> None:
        self.network = network
        self.weights = torch.cat([_padded(part) for part in network.unpack(weights)], 1)
        self.slope = torch.zeros_like(self.weights)
        self.first, self.second = (torch.zeros_like(self.weights) for _ in range(2))
        self.steps = 0
        self._layers, self._slopes = self._parts(self.weights), self._parts(self.slope)

    @property
    def plain(self) -> Tensor:
        """The weights without gaps."""
        return torch.cat([part.flatten(1) for part in self._layers], 1)

    def copy(self) -> "Perceptrons":
        """The same networks apart from these, with fresh moments."""
        return Perceptrons(self.network, self.plain)

    def predict(self, inputs: Tensor, gate: Tensor | None = None) -> Tensor:
        """Outputs (R, n, Y) for inputs (R, n, S C) and the gate (R, S) of the tones; None: open."""
        return self._forward(inputs, gate)[-1]

    def loss(self, inputs: Tensor, label: Tensor, gate: Tensor | None = None) -> Tensor:
        """Mean squared error, summed over outputs, (R,)."""
        return _loss(self.predict(inputs, gate) - label)

    def gradient(
        self, inputs: Tensor, label: Tensor, gate: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Loss (R,) and its gradient by the gate (R, S); that by the weights is in ``slope``.

        Args:
            inputs: Features, (R, n, S C).
            label: Wanted outputs, (R, n, Y).
            gate: Weights of the tones, (R, S); None: all 1, and the gradient has one tone.
        """
        *values, out = self._forward(inputs, gate)
        away = out - label
        flow = away * (2 / label.shape[1])
        for number in reversed(range(0, len(self._layers), 2)):
            weight = self._layers[number]
            into = inputs if number == 0 else functional.silu(values[number // 2 - 1])
            torch.sum(flow, 1, out=self._slopes[number + 1])
            product = into.mT @ flow
            if number:
                self._slopes[number].copy_(product)
                flow = torch.ops.aten.silu_backward(flow @ weight.mT, values[number // 2 - 1])
                continue
            open_ = _per_input(gate, weight)
            torch.mul(product, open_, out=self._slopes[0])
            tones = 1 if gate is None else gate.shape[1]
            slope = (product * weight).unflatten(1, (tones, -1)).sum((2, 3))
        return _loss(away), slope

    def step(self, rate: float, *, decay: float) -> None:
        """One step of Adam along ``slope``, weights times 1 - rate * decay before."""
        self.steps += 1
        self.first.lerp_(self.slope, 1 - _MOMENTUM)
        self.second.mul_(_DECAY).addcmul_(self.slope, self.slope, value=1 - _DECAY)
        scale = (self.second / (1 - _DECAY**self.steps)).sqrt_().add_(_SMALL)
        self.weights.mul_(1 - rate * decay)
        self.weights.addcdiv_(self.first, scale, value=-rate / (1 - _MOMENTUM**self.steps))

    def _parts(self, rows: Tensor) -> list[Tensor]:
        """Views of each layer's weights and biases in rows (R, d)."""
        parts, begin = [], 0
        for shape in self.network.shapes:
            size = math.prod(shape)
            parts.append(rows[:, begin : begin + size].unflatten(1, shape))
            begin += size + -size % _LINE
        return parts

    def _forward(self, inputs: Tensor, gate: Tensor | None) -> list[Tensor]:
        """What every layer hands on before its activation, the last one the outputs."""
        values: list[Tensor] = []
        x = inputs
        for number in range(0, len(self._layers), 2):
            weight, bias = self._layers[number : number + 2]
            if number == 0:
                weight = weight * _per_input(gate, weight)
            else:
                x = functional.silu(values[-1])
            values.append(torch.baddbmm(bias[:, None], x, weight))
        return values


def _padded(part: Tensor) -> Tensor:
    """Rows of a layer's weights, filled with zeros to whole cache lines."""
    row = part.flatten(1)
    return functional.pad(row, (0, -row.shape[1] % _LINE))


def _per_input(gate: Tensor | None, weight: Tensor) -> Tensor:
    """The gate of every input, (R, S C, 1)."""
    if gate is None:
        return weight.new_ones(1, 1, 1)
    return gate.repeat_interleave(weight.shape[1] // gate.shape[1], 1)[:, :, None]


def _loss(away: Tensor) -> Tensor:
    return away.square().sum(-1).mean(-1)


def perceptrons(
    inputs: int, outputs: int, *, hidden: Sequence[int], streams: Streams, repeat: int, number: int
) -> Perceptrons:
    """Random networks: seed z of ``streams`` (Z lanes) for each of ``repeat`` rooms, R = repeat Z.

    Args:
        inputs: Features of a sample.
        outputs: Entries of a label.
        hidden: Widths between.
        streams: One lane per seed; a room draws as any other.
        repeat: Rooms.
        number: Of the network; other numbers draw other weights.
    """
    network = mlp(inputs, *hidden, outputs)
    start = initial_weights(network, streams.at_step(number))
    return Perceptrons(network, start.repeat(repeat, 1))


def batches(streams: Streams, samples: int, *, size: int, steps: int) -> Tensor:
    """Rows of every step's mini-batch, (steps, Z, n): epochs without repetition.

    n is min(size, samples), above 16 rounded down to a multiple of 16. What does not fill a batch
    at the end of an epoch is left to the next one.
    """
    size = min(size, samples)
    size -= size % _LINE if size > _LINE else 0
    each = samples // size
    epochs = -(-steps // each)
    order = torch.cat(
        [
            streams.at_step(epoch).uniform("order", samples).argsort(dim=1, stable=True)
            for epoch in range(epochs)
        ]
    ).unflatten(0, (epochs, -1))
    parts = order[:, :, : each * size].unflatten(2, (each, size)).transpose(1, 2)
    return parts.flatten(0, 1)[:steps].contiguous()


def cosine(step: int, steps: int) -> float:
    """Share of the first step size that step 0 <= ``step`` < ``steps`` takes, in (0, 1]."""
    return (1 + math.cos(math.pi * step / steps)) / 2
