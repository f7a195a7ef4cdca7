"""CIFAR-10 from its Python batches or from PNG sheets.

Python batches: files ``data_batch_1`` to ``data_batch_5`` and ``test_batch``, each a pickled
dictionary with ``data``, n x 3072 uint8 (red, green, blue planes in row order), and ``labels``.
PNG sheets: the same names with ``.png``, one image a row of 1024 pixels, RGB; the labels of all
training and of all test images in one JSON list each.
"""

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

from isac_gym.core.errors import DataFormatError
from isac_gym.data.safe_pickle import load_plain
from isac_gym.data.sets import Arrays, SetSpec

__all__ = ["holds", "read_folder", "write_folder"]

TRAIN = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")
TEST = ("test_batch",)
LABELS = {  # the npm package spells them the first way
    "train": ("train_lables.json", "train_labels.json"),
    "test": ("test_lables.json", "test_labels.json"),
}
_SIDE, _PIXELS = 32, 1024
_MAX_BYTES = 256 << 20  # of one file


def holds(folder: Path) -> bool:
    """Whether a folder has any of the files, in either format."""
    return any((folder / name).is_file() or _sheet(folder, name).is_file() for name in TRAIN + TEST)


def _sheet(folder: Path, name: str) -> Path:
    return folder / f"{name}.png"


def read_folder(folder: Path, spec: SetSpec) -> Arrays:
    """Read the set; Python batches go before sheets where both are there.

    Raises:
        DataFormatError: A file is missing or damaged, or images and labels disagree.
    """
    if any((folder / name).is_file() for name in TRAIN + TEST):
        train, train_label = _batches(folder, TRAIN, len(spec.classes))
        test, test_label = _batches(folder, TEST, len(spec.classes))
    else:
        train, train_label = _sheets(folder, TRAIN, "train", len(spec.classes))
        test, test_label = _sheets(folder, TEST, "test", len(spec.classes))
    return Arrays(train, train_label, test, test_label)


def write_folder(folder: Path, arrays: Arrays) -> None:
    """Write the set as Python batches (pickle protocol 4, no file names inside)."""
    images, labels = np.array_split(arrays.train, 5), np.array_split(arrays.train_label, 5)
    parts = list(zip(TRAIN, images, labels, strict=True))
    for name, image, label in [*parts, (TEST[0], arrays.test, arrays.test_label)]:
        batch = {b"labels": label.tolist(), b"data": image.reshape(len(image), -1)}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=4))


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise DataFormatError(f"{path}: no such file; a set has {', '.join(TRAIN + TEST)}.")
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise DataFormatError(f"{path}: {size} bytes, at most {_MAX_BYTES} are allowed.")
        return path.read_bytes()
    except OSError as error:
        raise DataFormatError(f"{path}: unreadable: {error}.") from error


def _labels(path: Path, found: Any, num_classes: int) -> np.ndarray:
    """Labels as uint8; ``found`` must be a list of integers in range."""
    if not isinstance(found, list) or any(type(label) is not int for label in found):
        raise DataFormatError(f"{path}: the labels must be a list of integers.")
    for label in found:
        if not 0 <= label < num_classes:
            raise DataFormatError(f"{path}: label {label}, allowed are 0 to {num_classes - 1}.")
    return np.array(found, np.uint8)


# --- Python batches -----------------------------------------------------------------------------


def _batches(
    folder: Path, names: tuple[str, ...], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    parts = [_batch(folder / name, num_classes) for name in names]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _batch(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    content = _content(path)
    try:
        found = load_plain(content)
    except Exception as error:  # damaged pickles raise anything
        raise DataFormatError(f"{path}: not a CIFAR-10 batch: {error}.") from error
    if not {"data", "labels"} <= set(found):
        keys = ", ".join(sorted(found)) or "nothing"
        raise DataFormatError(f"{path}: holds {keys}; a batch holds data and labels.")
    data = found["data"]
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3 * _PIXELS:
        shape = " x ".join(map(str, getattr(data, "shape", ()))) or type(data).__name__
        raise DataFormatError(f"{path}: data is {shape}, allowed is n x {3 * _PIXELS} uint8.")
    labels = _labels(path, found["labels"], num_classes)
    if not len(labels) == len(data) >= 1:
        raise DataFormatError(f"{path}: {len(labels)} labels for {len(data)} images.")
    return data.reshape(-1, 3, _SIDE, _SIDE), labels


# --- PNG sheets ---------------------------------------------------------------------------------


def _sheets(
    folder: Path, names: tuple[str, ...], split: str, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    images = np.concatenate([_read_sheet(_sheet(folder, name)) for name in names])
    paths = [folder / name for name in LABELS[split]]
    path = next((path for path in paths if path.is_file()), paths[0])
    content = _content(path)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataFormatError(f"{path}: not JSON: {error}.") from error
    labels = _labels(path, found, num_classes)
    if len(labels) != len(images):
        raise DataFormatError(f"{path}: {len(labels)} labels for {len(images)} images.")
    return images, labels


def _read_sheet(path: Path) -> np.ndarray:
    """Images of one sheet, (n, 3, 32, 32) uint8."""
    from PIL import Image

    _content(path)
    try:
        with Image.open(path, formats=["PNG"]) as sheet:
            if sheet.width != _PIXELS or sheet.mode != "RGB":
                raise DataFormatError(
                    f"{path}: {sheet.mode} of width {sheet.width}, allowed is RGB of {_PIXELS}."
                )
            pixels = np.asarray(sheet)
    except (OSError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataFormatError(f"{path}: damaged or not a PNG: {error}.") from error
    return np.ascontiguousarray(pixels.reshape(-1, _SIDE, _SIDE, 3).transpose(0, 3, 1, 2))
