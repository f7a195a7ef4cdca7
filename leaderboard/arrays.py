"""Records as arrays on disk: packing, digests, and reading strangers' files without trust.

The format is safetensors: a JSON header and raw numbers, no code. A complex tensor is stored as a
real one with a trailing axis of length 2 (real, imaginary part).
"""

import hashlib
import json
import math
import os
import stat
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from isac_gym.core import FieldInfo, SubmissionError, TensorRecord

__all__ = [
    "ArraySpec",
    "content_digest",
    "file_digest",
    "pack",
    "parse_json",
    "read_arrays",
    "read_regular_file",
    "specs_of",
    "unpack",
    "write_bytes",
]

_HEADER_LIMIT = 1 << 16
_WIDTH = {"F64": 8, "F32": 4, "I64": 8, "I32": 4, "BOOL": 1}
_ALLOWED = {
    "real": ("F64", "F32"),
    "complex": ("F64", "F32"),
    "int": ("I64", "I32"),
    "bool": ("BOOL",),
}
_SMALLEST_NORMAL = {torch.float64: 2.0**-1022, torch.float32: 2.0**-126}


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """What one array of a file must look like.

    Attributes:
        dtypes: Allowed safetensors dtype codes.
        shape: Required shape.
    """

    dtypes: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def max_bytes(self) -> int:
        """Largest size of the array in bytes."""
        return math.prod(self.shape) * max(_WIDTH[code] for code in self.dtypes)


def specs_of(infos: Mapping[str, FieldInfo], sizes: Mapping[str, int]) -> dict[str, ArraySpec]:
    """Specifications of the tensors of a record type, by name, for axis lengths ``sizes``."""
    return {name: _spec(info, sizes) for name, info in infos.items()}


def _spec(info: FieldInfo, sizes: Mapping[str, int]) -> ArraySpec:
    shape = tuple(int(axis) if axis.isdigit() else sizes[axis] for axis in info.axes)
    tail = (2,) if info.kind == "complex" else ()
    return ArraySpec(dtypes=_ALLOWED[info.kind], shape=shape + tail)


def pack(record: TensorRecord) -> dict[str, Tensor]:
    """Copies of a record's tensors by name, on the CPU, complex ones as real pairs."""

    def plain(t: Tensor) -> Tensor:
        real = torch.view_as_real(t.resolve_conj()) if t.is_complex() else t
        return real.detach().cpu().clone(memory_format=torch.contiguous_format)

    return {name: plain(t) for name, t in record.items()}


def unpack(record_type: type[TensorRecord], tensors: Mapping[str, Tensor]) -> TensorRecord:
    """Inverse of :func:`pack`; floating tensors become float64 or complex128.

    Every tensor is copied: a file's tensors lie where its header ends, often off the 16 bytes that
    complex linear algebra assumes, which ends in a segmentation fault.
    """
    infos = record_type.tensor_fields()

    def restore(name: str, t: Tensor) -> Tensor:
        kind = infos[name].kind if name in infos else "int"
        if kind == "complex":
            return torch.view_as_complex(t.to(torch.float64, copy=True).contiguous())
        wanted = {"real": torch.float64, "bool": torch.bool}.get(kind, torch.int64)
        return t.to(wanted, copy=True)

    return record_type.from_items({name: restore(name, t) for name, t in tensors.items()})


def content_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and values; neither storage dtype nor file header matter."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name]
        t = t.double() if t.is_floating_point() else t.long()
        t = torch.where(t == 0, torch.zeros_like(t), t)  # minus zero is zero
        total.update(f"{name}:{tuple(t.shape)}:".encode())
        total.update(t.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file by way of a temporary neighbour, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def parse_json(text: str | bytes, *, label: str) -> Any:
    """Strict JSON: duplicate keys and the non-numbers NaN and Infinity are refused.

    Raises:
        SubmissionError: Names ``label`` and the reason.
    """

    def pairs(items: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in items]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise SubmissionError(f"{label}: duplicate key {double[0]!r}; every key at most once.")
        return dict(items)

    def constant(name: str) -> float:
        raise SubmissionError(f"{label}: {name} is not a number JSON allows.")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as err:
        raise SubmissionError(f"{label}: not valid JSON ({err}).") from err


def read_regular_file(path: Path, *, max_bytes: int) -> bytes:
    """Bytes of a regular file that is no link and no larger than ``max_bytes``.

    Raises:
        SubmissionError: The file is missing, a link, a device or too large; nothing was read.
    """
    try:
        status = path.lstat()
    except OSError as err:
        raise SubmissionError(
            f"{path.name}: missing or unreadable in the submission folder."
        ) from err
    if not stat.S_ISREG(status.st_mode):
        raise SubmissionError(f"{path.name}: must be a regular file, not a link, folder or device.")
    if status.st_size > max_bytes:
        raise SubmissionError(f"{path.name}: {status.st_size} bytes, allowed at most {max_bytes}.")
    return path.read_bytes()


def read_arrays(path: Path, specs: Mapping[str, ArraySpec]) -> dict[str, Tensor]:
    """Load a stranger's safetensors file that must hold exactly the arrays of ``specs``.

    The size is checked before anything is read and the header before any array is made; floating
    values must be finite and not subnormal.

    Args:
        path: The file.
        specs: Required arrays by name.

    Raises:
        SubmissionError: Names the array and what is allowed.
    """
    limit = 8 + _HEADER_LIMIT + sum(spec.max_bytes for spec in specs.values())
    data = read_regular_file(path, max_bytes=limit)
    _check_header(data, specs, label=path.name)
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, RuntimeError) as err:
        raise SubmissionError(f"{path.name}: not a valid safetensors file ({err}).") from err
    for name, t in tensors.items():
        _check_values(name, t)
    return tensors


def _check_header(data: bytes, specs: Mapping[str, ArraySpec], *, label: str) -> None:
    if len(data) < 8:
        raise SubmissionError(f"{label}: {len(data)} bytes is no safetensors file.")
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(_HEADER_LIMIT, len(data) - 8):
        raise SubmissionError(
            f"{label}: header of {length} bytes, allowed at most {_HEADER_LIMIT}."
        )
    header = parse_json(data[8 : 8 + length], label=f"{label} header")
    if not isinstance(header, dict):
        raise SubmissionError(f"{label} header: must be a JSON object.")
    header.pop("__metadata__", None)
    missing, extra = sorted(set(specs) - set(header)), sorted(set(header) - set(specs))
    if missing or extra:
        raise SubmissionError(f"{label}: missing arrays {missing}, unknown arrays {extra}.")
    for name, spec in specs.items():
        entry = header[name]
        found = (
            (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
        )
        if found[0] not in spec.dtypes:
            raise SubmissionError(f"{name}: dtype {found[0]}, allowed {' or '.join(spec.dtypes)}.")
        if found[1] != list(spec.shape):
            raise SubmissionError(f"{name}: shape {found[1]}, expected {list(spec.shape)}.")


def _check_values(name: str, t: Tensor) -> None:
    if not t.is_floating_point():
        return
    smallest = _SMALLEST_NORMAL[t.dtype]
    faults = {
        "not a finite number": ~torch.isfinite(t),
        "subnormal (use 0)": (t != 0) & (t.abs() < smallest),
    }
    for what, mask in faults.items():
        if bool(mask.any()):
            row = int(mask.flatten(1).any(1).nonzero()[0])
            raise SubmissionError(f"{name}: row {row} holds a value that is {what}.")
