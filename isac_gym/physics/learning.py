"""Networks of many devices trained side by side: one axis of models, one gradient for all.

The weights of S networks of one shape are the rows of one tensor (S, d). A dense layer is a batched
matrix product, a convolution one with S groups, and the loss is the sum over the models, so that
one call of autograd gives the gradient of every model. Images stay in one shared tensor of rows;
devices hold indices into it. A model's result does not depend on the others, but that one
convolution alone may be rounded otherwise than one of several.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.random import Streams

__all__ = [
    "Network",
    "cnn",
    "initial_weights",
    "local_updates",
    "logits",
    "mlp",
    "scores",
]

_KERNEL = 3
_CACHED_WEIGHTS = 1 << 20  # numbers of all models trained at once on a CPU: 4 MB in float32
_TESTED_NUMBERS = 1 << 23  # numbers of the widest layer in memory during a test


@dataclass(frozen=True, kw_only=True)
class Network:
    """Shape of a network: blocks of two 3 x 3 convolutions, ReLU and 2 x 2 pooling; dense layers.

    Attributes:
        image: Channels, height and width of an image.
        filters: Filters of each block of convolutions; none for a perceptron.
        hidden: Widths of the dense layers between.
        classes: Number of outputs.
    """

    image: tuple[int, int, int]
    filters: tuple[int, ...] = ()
    hidden: tuple[int, ...]
    classes: int

    def __post_init__(self) -> None:
        sizes = (*self.image, *self.filters, *self.hidden, self.classes)
        if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
            raise ScenarioError(f"network: every size must be an integer >= 1, got {sizes}.")
        if min(self.image[1:]) >> len(self.filters) < 1:
            raise ScenarioError(
                f"network: {len(self.filters)} poolings need an image of at least "
                f"{1 << len(self.filters)} pixels a side, got {self.image[1]} x {self.image[2]}."
            )

    @property
    def inputs(self) -> int:
        """Numbers of an image."""
        return math.prod(self.image)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the weights in the order of the row: layer by layer, weight then bias.

        A convolution is (out, in, 3, 3), a dense layer (in, out).
        """
        shapes: list[tuple[int, ...]] = []
        channels, height, width = self.image
        for count in self.filters:
            for wide in (channels, count):
                shapes += [(count, wide, _KERNEL, _KERNEL), (count,)]
            channels, height, width = count, height // 2, width // 2
        before = channels * height * width
        for after in (*self.hidden, self.classes):
            shapes += [(before, after), (after,)]
            before = after
        return tuple(shapes)

    @property
    def num_weights(self) -> int:
        """Numbers d of one network, biases included."""
        return sum(math.prod(shape) for shape in self.shapes)

    def unpack(self, weights: Tensor) -> list[Tensor]:
        """Views (S, *shape) of weights (S, d), one for each of ``shapes``."""
        if weights.shape[1:] != (self.num_weights,):
            raise ShapeError(
                f"weights: shape {tuple(weights.shape)}, expected (S, {self.num_weights})."
            )
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = weights.split(sizes, 1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]


def mlp(*sizes: int) -> Network:
    """Perceptron with ReLU between, e.g. ``mlp(784, 32, 10)``."""
    if len(sizes) < 2:
        raise ScenarioError(f"mlp: needs inputs and outputs, got sizes {sizes}.")
    return Network(image=(1, 1, sizes[0]), hidden=tuple(sizes[1:-1]), classes=sizes[-1])


def cnn(
    image: tuple[int, int, int] = (3, 32, 32),
    *,
    filters: tuple[int, ...] = (32, 64, 128),
    hidden: tuple[int, ...] = (1024, 512),
    classes: int = 10,
) -> Network:
    """Convolutional network of the CIFAR-10 experiment.

    The paper counts three blocks and lists four numbers of filters, 32, 64, 128, 256. Three blocks
    with the first three are taken: 2,915,114 weights.
    """
    return Network(image=image, filters=filters, hidden=hidden, classes=classes)


def initial_weights(network: Network, streams: Streams) -> Tensor:
    """Random weights, (B, d) float32: normal of variance 2 / inputs of the layer, biases 0.

    Source: He et al. 2015.
    """
    rows = streams.normal("weights", network.num_weights, dtype=torch.float32)
    for part in network.unpack(rows):
        shape = part.shape[1:]
        inputs = shape[0] if len(shape) == 2 else math.prod(shape[1:])
        part.mul_(0.0 if len(shape) == 1 else math.sqrt(2 / inputs))
    return rows


def logits(network: Network, weights: Tensor, images: Tensor) -> Tensor:
    """Outputs (S, n, classes) of S networks with weights (S, d) on images (S or 1, n, inputs)."""
    return _outputs(network, network.unpack(weights), images)


def _outputs(network: Network, parts: list[Tensor], images: Tensor) -> Tensor:
    count, layers = parts[0].shape[0], iter(parts)
    x = images.expand(count, -1, -1)
    if network.filters:
        x = _features(network, layers, x)
    for number in range(len(network.hidden) + 1):
        weight, bias = next(layers), next(layers)
        x = functional.relu(x) if number else x
        x = torch.baddbmm(bias[:, None], x, weight)
    return x


def _features(network: Network, layers: Iterator[Tensor], images: Tensor) -> Tensor:
    """What the convolutions make of images (S, n, inputs), (S, n, numbers)."""
    x = images.unflatten(-1, network.image)
    if images.device.type == "cpu":
        return _by_groups(network, layers, x)
    return _by_products(network, layers, x)  # cuDNN is slow with many groups


def _by_groups(network: Network, layers: Iterator[Tensor], images: Tensor) -> Tensor:
    """Convolutions of images (S, n, C, H, W) with one group per model."""
    count = images.shape[0]
    x = images.transpose(0, 1).flatten(1, 2)  # (n, S C, H, W)
    for _ in network.filters:
        for _ in range(2):
            weight, bias = next(layers).flatten(0, 1), next(layers).flatten()
            x = functional.conv2d(x, weight, bias, padding=_KERNEL // 2, groups=count)
            x = functional.relu(x)
        x = functional.max_pool2d(x, 2)
    return x.unflatten(1, (count, -1)).transpose(0, 1).flatten(2)


def _by_products(network: Network, layers: Iterator[Tensor], images: Tensor) -> Tensor:
    """The same as batched matrix products with the neighbourhood of every pixel."""
    lead, x = images.shape[:2], images.flatten(0, 1)  # (S n, C, H, W)
    for _ in network.filters:
        for _ in range(2):
            weight, bias = next(layers).flatten(2), next(layers)
            around = functional.unfold(x, _KERNEL, padding=_KERNEL // 2).unflatten(0, lead)
            out = weight[:, None] @ around + bias[:, None, :, None]
            x = functional.relu(out).flatten(0, 1).unflatten(-1, x.shape[-2:])
        x = functional.max_pool2d(x, 2)
    return x.flatten(1).unflatten(0, lead)


def local_updates(
    network: Network,
    weights: Tensor,
    images: Tensor,
    labels: Tensor,
    index: Tensor,
    *,
    learning_rate: float,
) -> Tensor:
    """What every device's stochastic gradient descent changes in the weights, (B, K, d).

    Every device starts from its environment's weights; step t uses the images ``index[t]``. On a
    CPU environments are trained a few at a time, so that their weights stay in the cache; a row's
    result does not depend on it. No gradient flows through the descent: what decisions of a round
    changed in the global weights counts there, not in what devices learn from them later.

    Args:
        network: Shape of the networks.
        weights: Global weights, (B, d) real.
        images: Rows of all images, (n, inputs), of the dtype of the weights.
        labels: Classes, (n,) int64.
        index: Rows of each batch, (steps, B, K, batch) int64.
        learning_rate: Of every step.
    """
    batch, devices = index.shape[1:3]
    weights = weights.detach()
    delta = weights[:, None].repeat(1, devices, 1)
    at_once = batch
    if weights.device.type == "cpu":
        at_once = max(1, _CACHED_WEIGHTS // (devices * network.num_weights))
    for first in range(0, batch, at_once):
        some = slice(first, first + at_once)
        rows = delta[some].flatten(0, 1)  # a view: trained in place
        _train(network, rows, images, labels, index[:, some].flatten(1, 2), learning_rate)
        delta[some].sub_(weights[some, None])
    return delta


def _train(
    network: Network,
    weights: Tensor,
    images: Tensor,
    labels: Tensor,
    index: Tensor,
    learning_rate: float,
) -> None:
    """Descend in place of weights (S, d) with batches ``index`` (steps, S, batch)."""
    views = network.unpack(weights)
    held = images.new_empty(index[0].numel(), network.inputs)
    for rows in index:
        flat = rows.flatten()
        x = torch.index_select(images, 0, flat, out=held).unflatten(0, rows.shape)
        y = labels.index_select(0, flat)
        with torch.enable_grad():
            parts = [view.detach().requires_grad_() for view in views]
            out = _outputs(network, parts, x).flatten(0, 1)
            loss = functional.cross_entropy(out, y, reduction="sum") / rows.shape[1]
            slopes = torch.autograd.grad(loss, parts)
        for view, slope in zip(views, slopes, strict=True):
            view.sub_(slope, alpha=learning_rate)


def scores(
    network: Network, weights: Tensor, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Accuracy and mean cross-entropy, (B,) each in float64, of weights (B, d) on shared images.

    Args:
        network: Shape of the networks.
        weights: One row per environment, (B, d).
        images: Rows (n, inputs), of the dtype of the weights.
        labels: Classes, (n,) int64.
    """
    batch, total = len(weights), len(images)
    right = torch.zeros(batch, dtype=torch.float64, device=weights.device)
    loss = torch.zeros_like(right)
    widest = max(network.inputs, *network.hidden, 1)
    if network.filters:
        widest = max(widest, network.filters[0] * network.inputs // network.image[0])
    at_once = max(1, _TESTED_NUMBERS // (widest * batch))
    for x, y in zip(images.split(at_once), labels.split(at_once), strict=True):
        out = logits(network, weights, x[None])
        right += (out.argmax(-1) == y).sum(-1)
        chance = functional.log_softmax(out.double(), -1)
        loss -= chance.gather(-1, y.expand(batch, -1)[..., None]).sum((-2, -1))
    return right / total, loss / total
