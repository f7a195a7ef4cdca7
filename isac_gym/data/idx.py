"""IDX files of MNIST and Fashion-MNIST, raw or gzipped.

Format (the notes that come with MNIST): two zero bytes, the element type (8: unsigned byte), the
number of axes, one big-endian 32-bit size per axis, then the elements in C order.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from isac_gym.core.errors import DataFormatError
from isac_gym.data.sets import Arrays, SetSpec

__all__ = ["holds", "read_array", "read_folder", "write_array", "write_folder"]

FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_UNSIGNED_BYTE = 8
_MAX_ITEMS = 1_000_000  # of the first axis; a header that claims more is damaged


def spellings(stem: str) -> tuple[str, ...]:
    """File names one of ``FILES`` goes by: hyphen or dot before ``idx``, raw or gzipped."""
    hyphen = f"{stem}-ubyte"
    dot = hyphen.replace("-idx", ".idx")
    return (hyphen, dot, f"{hyphen}.gz", f"{dot}.gz")


def holds(folder: Path) -> bool:
    """Whether a folder has any of the files."""
    return any((folder / name).is_file() for stem in FILES for name in spellings(stem))


def read_folder(folder: Path, spec: SetSpec) -> Arrays:
    """Read the four files of a set.

    Args:
        folder: Where they lie.
        spec: The set; gives the size of an image and the number of classes.

    Raises:
        DataFormatError: A file is missing or damaged, or images and labels disagree.
    """
    paths = [_find(folder, stem) for stem in FILES]
    parts: list[np.ndarray] = []
    for images_path, labels_path in (paths[:2], paths[2:]):
        images = read_array(images_path, axes=3)
        if images.shape[1:] != spec.shape[1:]:
            size = " x ".join(map(str, images.shape[1:]))
            allowed = " x ".join(map(str, spec.shape[1:]))
            raise DataFormatError(f"{images_path}: images of {size} pixels, allowed is {allowed}.")
        labels = read_array(labels_path, axes=1)
        if len(labels) != len(images):
            raise DataFormatError(
                f"{labels_path}: {len(labels)} labels for the {len(images)} images of "
                f"{images_path.name}."
            )
        if labels.max(initial=0) >= len(spec.classes):
            raise DataFormatError(
                f"{labels_path}: label {labels.max()}, allowed are 0 to {len(spec.classes) - 1}."
            )
        parts += [images[:, None], labels]
    return Arrays(*parts)


def _find(folder: Path, stem: str) -> Path:
    names = spellings(stem)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataFormatError(f"{folder / names[0]}: no such file; allowed are {', '.join(names)}.")


def read_array(path: Path, *, axes: int) -> np.ndarray:
    """Read one file.

    Args:
        path: The file; ends in ``.gz`` if it is compressed.
        axes: How many axes it must have.

    Returns:
        Its elements, uint8, read-only.

    Raises:
        DataFormatError: The file is no IDX file of bytes, has other axes, or is truncated, too
            long or damaged.
    """
    is_compressed = path.suffix == ".gz"
    try:
        with gzip.open(path) if is_compressed else path.open("rb") as file:
            shape = _shape(file, path, axes)  # pyright: ignore[reportArgumentType]
            size = math.prod(shape)
            if not is_compressed:
                size = min(size, path.stat().st_size)  # never ask for memory the file cannot fill
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataFormatError(f"{path}: damaged or unreadable: {error}.") from error
    if len(content) != math.prod(shape):
        found = f"{len(content)}" if len(content) < math.prod(shape) else "more"
        expected = f"the header says {math.prod(shape)} ({' x '.join(map(str, shape))})"
        raise DataFormatError(f"{path}: {found} bytes of data, {expected}.")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _shape(file: BinaryIO, path: Path, axes: int) -> tuple[int, ...]:
    header = file.read(4 * (axes + 1))
    magic = bytes((0, 0, _UNSIGNED_BYTE, axes))
    if header[:4] != magic:
        found = header[:4].hex() or "an empty file"
        raise DataFormatError(f"{path}: magic number {found}, allowed is {magic.hex()}.")
    if len(header) < 4 * (axes + 1):
        raise DataFormatError(f"{path}: {len(header)} bytes of header, must be {4 * (axes + 1)}.")
    shape = struct.unpack(f">{axes}I", header[4:])
    if not 1 <= shape[0] <= _MAX_ITEMS:
        raise DataFormatError(f"{path}: {shape[0]} items, allowed are 1 to {_MAX_ITEMS}.")
    if max(shape[1:], default=1) > 1024:
        raise DataFormatError(f"{path}: images of {shape[1]} x {shape[2]}, at most 1024 a side.")
    return shape


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array; a name that ends in ``.gz`` is compressed."""
    header = bytes((0, 0, _UNSIGNED_BYTE, array.ndim)) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        file.write(header + np.ascontiguousarray(array, np.uint8).tobytes())


def write_folder(folder: Path, arrays: Arrays) -> None:
    """Write the four files of a set, uncompressed, under their standard names."""
    for stem, array in zip(FILES, arrays, strict=True):
        write_array(folder / spellings(stem)[0], array[:, 0] if array.ndim == 4 else array)
