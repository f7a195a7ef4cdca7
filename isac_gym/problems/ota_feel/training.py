"""Training as the devices of a federation do it: images, who holds them, local updates, tests."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.data.images import ImageSet, load_images
from isac_gym.physics.data_split import batch_index, dirichlet_split
from isac_gym.physics.learning import Network, cnn, initial_weights, local_updates, mlp, scores

__all__ = ["Training"]

_HIDDEN = 32  # of the perceptrons, as the paper's for MNIST
_SETS = 4  # image sets kept in memory


class _Rows(NamedTuple):
    train: Tensor
    train_label: Tensor
    test: Tensor
    test_label: Tensor


@dataclass(frozen=True, kw_only=True)
class Training:
    """Data, network and local descent of a federation.

    Attributes:
        dataset: ``digits``, ``mnist``, ``fashion-mnist`` or ``cifar10``.
        folder: Where the files are; None: as ``load_images``.
        pixels: ``normalised``: mean 0 and deviation 1 per channel; ``scaled``: in [0, 1].
        network: ``mlp``: one hidden layer of 32; ``cnn``: the paper's; ``auto``: cnn for cifar10.
        steps: Local descent steps per round.
        batch_size: Images of a step.
        learning_rate: Of a step.
        train_images: First images of the training set to use; 0: all.
        test_images: First images of the test set to use; 0: all.
    """

    dataset: str
    folder: str | None
    pixels: str
    network: str
    steps: int
    batch_size: int
    learning_rate: float
    train_images: int
    test_images: int

    @property
    def shape(self) -> Network:
        """The network."""
        images = _images(self.dataset, self.folder)
        channels, height, width = images.shape
        classes = len(images.classes)
        is_deep = self.network == "cnn" or (self.network == "auto" and self.dataset == "cifar10")
        if is_deep:
            return cnn((channels, height, width), classes=classes)
        return mlp(channels * height * width, _HIDDEN, classes)

    def split(
        self, streams: Streams, num_devices: int, *, concentration: float, least: int
    ) -> tuple[Tensor, Tensor]:
        """Who holds which images; see :func:`dirichlet_split`."""
        labels = self._rows(streams.seed.device, torch.float32).train_label
        return dirichlet_split(
            labels, num_devices, streams, concentration=concentration, least_images=least
        )

    def start(self, streams: Streams) -> Tensor:
        """Global weights before the first round, (B, d) float32."""
        return initial_weights(self.shape, streams)

    def updates(self, weights: Tensor, order: Tensor, offset: Tensor, streams: Streams) -> Tensor:
        """What local descent from global weights (B, d) changes at every device, (B, K, d)."""
        rows = self._rows(weights.device, weights.dtype)
        index = batch_index(order, offset, streams, steps=self.steps, batch_size=self.batch_size)
        return local_updates(
            self.shape,
            weights,
            rows.train,
            rows.train_label,
            index,
            learning_rate=self.learning_rate,
        )

    def test(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Accuracy and mean cross-entropy on the test images, (B,) each in float64."""
        rows = self._rows(weights.device, weights.dtype)
        return scores(self.shape, weights, rows.test, rows.test_label)

    def _rows(self, device: torch.device, dtype: torch.dtype) -> _Rows:
        return _rows(self.dataset, self.folder, self.pixels, self._limits, str(device), dtype)

    @property
    def _limits(self) -> tuple[int, int]:
        return self.train_images, self.test_images


@lru_cache(maxsize=_SETS)
def _images(dataset: str, folder: str | None) -> ImageSet:
    return load_images(dataset, folder)


@lru_cache(maxsize=_SETS)
def _rows(
    dataset: str,
    folder: str | None,
    pixels: str,
    limits: tuple[int, int],
    device: str,
    dtype: torch.dtype,
) -> _Rows:
    """Images as rows (n, inputs) on a device, and their labels."""
    images = _images(dataset, folder)
    convert = images.normalised if pixels == "normalised" else images.scaled
    parts: list[Tensor] = []
    for name, (values, labels), limit in (
        ("train_images", (images.train, images.train_label), limits[0]),
        ("test_images", (images.test, images.test_label), limits[1]),
    ):
        if limit > len(values):
            raise ScenarioError(f"{name} must be <= {len(values)} for {dataset}, got {limit}.")
        kept = limit or len(values)
        parts.append(convert(values[:kept], dtype=dtype).flatten(1).to(device))
        parts.append(labels[:kept].to(device))
    return _Rows(*parts)
