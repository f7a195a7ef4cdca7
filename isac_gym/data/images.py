"""Image sets as tensors: ``load_images`` reads, checks and returns one."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from isac_gym.core.errors import DataFormatError
from isac_gym.core.random import Streams
from isac_gym.data import cifar, idx
from isac_gym.data.sets import Arrays, SetSpec, data_folder, digests, set_spec, verify_arrays

__all__ = ["ImageSet", "find_folder", "load_images", "reader_of"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A verified image set.

    Attributes:
        name: The set's name.
        train: Training images, (n, C, H, W) uint8 in [0, ``peak``].
        train_label: Their labels, (n,) int64.
        test: Test images, (n, C, H, W) uint8.
        test_label: Their labels, (n,) int64.
        classes: Name of each label.
        checksum: SHA-256 over the checksums of the four arrays.
        peak: Largest value a pixel can have.
    """

    name: str
    train: Tensor
    train_label: Tensor
    test: Tensor
    test_label: Tensor
    classes: tuple[str, ...]
    checksum: str
    peak: int = 255

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size of an image, (C, H, W)."""
        channels, height, width = self.train.shape[1:]
        return channels, height, width

    def scaled(self, images: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Images in [0, 1], same shape, real."""
        return images.to(dtype) / self.peak

    def normalised(self, images: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Images with mean 0 and standard deviation 1 per channel of the training set.

        Args:
            images: Some of this set's images, (..., C, H, W) uint8.
            dtype: Real kind of the result.

        Returns:
            Same shape, real, dimensionless.
        """
        mean, std = (s[:, None, None].to(images.device, dtype) for s in self.statistics)
        return (images.to(dtype) - mean) / std

    @cached_property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training pixels of each channel, (C,) float64."""
        value = torch.arange(self.peak + 1, dtype=torch.float64)
        counts = [torch.bincount(c.flatten(), minlength=len(value)) for c in self.train.unbind(1)]
        share = torch.stack(counts).double() / self.train[:, 0].numel()  # (C, peak + 1)
        mean = share @ value
        return mean, (share @ value.square() - mean.square()).sqrt()


def load_images(name: str, folder: Path | str | None = None, *, verify: bool = True) -> ImageSet:
    """Read an image set.

    ``digits`` comes with scikit-learn and needs no files: its 1797 images are put in a fixed
    counter-based order, of which the first 1437 are for training. The others are read from the
    standard layouts below the folder, see docs/data.md.

    Args:
        name: ``digits``, ``mnist``, ``fashion-mnist`` or ``cifar10``.
        folder: Where the files are; default: the variable ``ISAC_DATA``, else
            ``~/.cache/isac_gym``.
        verify: Whether the contents must be the official ones, by count and SHA-256; False
            accepts other images of the same size.

    Returns:
        The set, on the CPU.

    Raises:
        DataFormatError: Unknown set; or a file is missing, damaged or something else; the message
            names the file, what was found and what is allowed.
    """
    spec = set_spec(name)
    if name == "digits":
        where, arrays = "scikit-learn's digits", _digits(spec)
    else:
        where = find_folder(spec, folder)
        arrays = reader_of(spec).read_folder(where, spec)
    if verify:
        try:
            verify_arrays(arrays, spec, where)
        except DataFormatError as error:
            raise DataFormatError(f"{error} Contents of your own need verify=False.") from error
    return ImageSet(
        name=name,
        train=_tensor(arrays.train),
        train_label=_tensor(arrays.train_label).long(),
        test=_tensor(arrays.test),
        test_label=_tensor(arrays.test_label).long(),
        classes=spec.classes,
        checksum=hashlib.sha256(" ".join(digests(arrays)).encode()).hexdigest(),
        peak=spec.peak,
    )


def reader_of(spec: SetSpec) -> ModuleType:
    """The module of a set's file formats: ``holds``, ``read_folder``, ``write_folder``."""
    return cifar if spec.name == "cifar10" else idx


def find_folder(spec: SetSpec, folder: Path | str | None = None) -> Path:
    """The first of the set's folders that has any of its files.

    Raises:
        DataFormatError: None has.
    """
    root = data_folder(folder)
    holds: Callable[[Path], bool] = reader_of(spec).holds
    places = [root / place for place in spec.folders]
    for place in places:
        if holds(place):
            return place
    looked = ", ".join(str(place) for place in places)
    raise DataFormatError(
        f"{spec.name}: no files in {looked}; get them with `isac data fetch {spec.name}`, or name "
        f"their folder (argument folder, option --folder or variable ISAC_DATA)."
    )


def _digits(spec: SetSpec) -> Arrays:
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    images = np.asarray(pixels).astype(np.uint8).reshape(-1, *spec.shape)
    labels = np.asarray(target).astype(np.uint8)
    words = Streams.from_seed(0, 1).words("digits.split", len(images))[0]
    order = words.sort(stable=True).indices.numpy()
    first, rest = order[: spec.counts[0]], order[spec.counts[0] :]
    return Arrays(images[first], labels[first], images[rest], labels[rest])


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))  # a copy: what was read is read-only
