"""What the image sets are: names, shapes, classes, where their files lie, their checksums.

The checksums are SHA-256 of the decoded bytes (images as ``n C H W``, labels one byte each), so
they do not depend on the file format. They were computed from files whose whole-file checksums
agree with those published for the originals: MD5 of the IDX files of MNIST and Fashion-MNIST,
SHA-1 of the binary batches of CIFAR-10.

Sources: LeCun et al. 1998 (MNIST); Xiao et al. 2017, arXiv:1708.07747 (Fashion-MNIST);
Krizhevsky 2009 (CIFAR-10); Alpaydin and Kaynak 1998, UCI repository (digits).
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isac_gym.core.errors import DataFormatError

__all__ = ["SETS", "Arrays", "SetSpec", "data_folder", "digests", "set_spec", "verify_arrays"]

FOLDER_VARIABLE = "ISAC_DATA"


class Arrays(NamedTuple):
    """Decoded contents of a set, NumPy uint8: images (n, C, H, W), labels (n,)."""

    train: np.ndarray
    train_label: np.ndarray
    test: np.ndarray
    test_label: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SetSpec:
    """One image set.

    Attributes:
        name: What ``load_images`` calls it.
        shape: Size of an image, (C, H, W).
        counts: Number of training and of test images.
        classes: Name of each label.
        peak: Largest value a pixel can have.
        sha256: Checksums of the decoded bytes, in the order of ``Arrays``.
        folders: Where its files may lie below the data folder, in the order of the search; fetched
            files are put into the first.
    """

    name: str
    shape: tuple[int, int, int]
    counts: tuple[int, int]
    classes: tuple[str, ...]
    peak: int = 255
    sha256: tuple[str, str, str, str]
    folders: tuple[str, ...] = ()


_DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
_CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_THINGS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

SETS: dict[str, SetSpec] = {
    spec.name: spec
    for spec in (
        SetSpec(
            name="digits",
            shape=(1, 8, 8),
            counts=(1437, 360),
            classes=_DIGITS,
            peak=16,
            sha256=(
                "d9886bcbc5cce5cfdc472082fd732258169343334609fca0301e50ee6552883a",
                "d3b8c67d805cdc5da46dadcc19b252c4f33bdcdd5012d50253f784335373b837",
                "8525158181d731b595dbc1615b9bc8612ab58e80723b3b29125eb6630da6c4bb",
                "b28e13ad44279d1f3104b6bac37e4e109f6c2ffa69ed47056cc0a1fa1b0f4f98",
            ),
        ),
        SetSpec(
            name="mnist",
            shape=(1, 28, 28),
            counts=(60_000, 10_000),
            classes=_DIGITS,
            sha256=(
                "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
                "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
                "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
                "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
            ),
            folders=("MNIST/raw", "mnist", "."),
        ),
        SetSpec(
            name="fashion-mnist",
            shape=(1, 28, 28),
            counts=(60_000, 10_000),
            classes=_CLOTHES,
            sha256=(
                "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
                "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
                "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
                "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
            ),
            folders=("FashionMNIST/raw", "fashion-mnist", "."),
        ),
        SetSpec(
            name="cifar10",
            shape=(3, 32, 32),
            counts=(50_000, 10_000),
            classes=_THINGS,
            sha256=(
                "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
                "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
                "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
                "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
            ),
            folders=("cifar-10-batches-py", "cifar10", "."),
        ),
    )
}


def set_spec(name: str) -> SetSpec:
    """The set called ``name``.

    Raises:
        DataFormatError: There is none.
    """
    if name not in SETS:
        raise DataFormatError(f"data set must be one of {', '.join(SETS)}; got {name!r}.")
    return SETS[name]


def data_folder(folder: Path | str | None = None) -> Path:
    """The folder the user named, else the variable ``ISAC_DATA``, else ``~/.cache/isac_gym``."""
    named = folder or os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "isac_gym"


def digests(arrays: Arrays) -> tuple[str, ...]:
    """SHA-256 of the decoded bytes of each array."""
    return tuple(hashlib.sha256(np.ascontiguousarray(a).data).hexdigest() for a in arrays)


def verify_arrays(arrays: Arrays, spec: SetSpec, where: Path | str) -> None:
    """Compare counts and checksums with those of the official set.

    Args:
        arrays: Decoded contents, shapes already checked.
        spec: The set they should be.
        where: File or folder they come from, for the message.

    Raises:
        DataFormatError: They are not the official set; names what differs.
    """
    found = digests(arrays)
    if found == spec.sha256:
        return
    for other in SETS.values():
        if found == other.sha256:
            raise DataFormatError(f"{where}: these are the files of {other.name}, not {spec.name}.")
    for part, count, allowed in (
        ("training", len(arrays.train), spec.counts[0]),
        ("test", len(arrays.test), spec.counts[1]),
    ):
        if count != allowed:
            raise DataFormatError(f"{where}: {count} {part} images, {spec.name} has {allowed}.")
    names = ("training images", "training labels", "test images", "test labels")
    wrong = [
        f"{name} have SHA-256 {got}, allowed is {known}"
        for name, got, known in zip(names, found, spec.sha256, strict=True)
        if got != known
    ]
    raise DataFormatError(f"{where}: not the official {spec.name}: {'; '.join(wrong)}.")
