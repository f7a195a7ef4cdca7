"""Records of tensors with a leading batch axis: declared once, checked and packed everywhere.

A record class is a frozen dataclass whose fields are declared with :func:`tensor_field` (axes,
kind, unit, meaning) or :func:`record_field` (a nested record). The declaration is the run-time
check, the documentation table and the layout of submissions.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from isac_gym.core.errors import ShapeError

__all__ = ["AXES", "FieldInfo", "TensorRecord", "demand", "record_field", "tensor_field"]

AXES = {
    "B": "batch",
    "I": "base stations (cells)",
    "K": "users",
    "N": "antennas of a base station or server",
    "M": "antennas of a receiver or device",
    "T": "targets",
    "L": "time or blocks",
    "R": "sensing streams or tasks",
    "S": "subcarriers",
    "A": "agents",
    "O": "observation",
    "V": "voxels",
    "D": "weights of a network",
    "J": "training images or windows",
    "H": "held-out windows",
    "C": "features of a subcarrier",
    "Y": "entries of a label",
}
_KINDS = {
    "real": lambda t: t.is_floating_point(),
    "complex": lambda t: t.is_complex(),
    "int": lambda t: not (t.is_floating_point() or t.is_complex() or t.dtype == torch.bool),
    "bool": lambda t: t.dtype == torch.bool,
}


@dataclass(frozen=True)
class FieldInfo:
    """Declaration of one tensor of a record.

    Attributes:
        axes: Axis letters (see ``AXES``) and integer literals, e.g. ``("B", "I", "3")``.
        kind: ``real``, ``complex``, ``int`` or ``bool``.
        unit: Unit symbol; ``"1"`` for dimensionless.
        doc: Meaning, one line.
    """

    axes: tuple[str, ...]
    kind: str
    unit: str
    doc: str


def tensor_field(axes: str, kind: str, *, unit: str = "1", doc: str) -> Any:
    """Declare a tensor field: ``tensor_field("B K", "real", unit="W", doc="transmit power")``."""
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {sorted(_KINDS)}, got {kind!r}.")
    info = FieldInfo(tuple(axes.split()), kind, unit, doc)
    return dataclasses.field(metadata={"tensor": info})


def record_field(record_type: "type[TensorRecord]", *, doc: str) -> Any:
    """Declare a nested record that shares the batch axis."""
    return dataclasses.field(metadata={"record": record_type, "doc": doc})


@dataclass(frozen=True)
class TensorRecord:
    """Base of Instance, Decision, Metrics and State records."""

    tolerance: ClassVar[float] = 1e-12

    @classmethod
    def tensor_fields(cls) -> dict[str, FieldInfo]:
        """Declared tensors of this record by name; nested ones as ``outer.inner``."""
        infos: dict[str, FieldInfo] = {}
        for field in dataclasses.fields(cls):
            if "tensor" in field.metadata:
                infos[field.name] = field.metadata["tensor"]
            elif "record" in field.metadata:
                nested = field.metadata["record"].tensor_fields()
                infos |= {f"{field.name}.{name}": info for name, info in nested.items()}
        return infos

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Pairs (name, tensor), nested records flattened to ``outer.inner``."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, TensorRecord):
                yield from ((f"{field.name}.{name}", t) for name, t in value.items())
            else:
                yield field.name, value

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Record of the same type with ``function`` applied to every tensor."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            nested = isinstance(value, TensorRecord)
            values[field.name] = value.map(function) if nested else function(value)
        return type(self)(**values)

    def replace(self, **changes: "Tensor | TensorRecord") -> Self:
        """Copy with some fields exchanged."""
        return dataclasses.replace(self, **cast(Any, changes))

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """Rows of the batch, kept as a batch; ``rows`` is a slice or an index tensor."""
        return self.map(lambda t: t[rows])

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Move to ``device``; real fields to ``dtype``, complex fields to its complex twin."""

        def move(t: Tensor) -> Tensor:
            target = t.dtype
            if dtype is not None and t.is_floating_point():
                target = dtype
            elif dtype is not None and t.is_complex():
                target = torch.complex64 if dtype == torch.float32 else torch.complex128
            return t.to(device=device, dtype=target)

        return self.map(move)

    def detach(self) -> Self:
        """Record of detached tensors."""
        return self.map(Tensor.detach)

    def where(self, mask: Tensor, other: Self) -> Self:
        """Rows of ``self`` where ``mask`` (B,) is True, rows of ``other`` elsewhere."""
        mine, theirs = dict(self.items()), dict(other.items())
        merged = {n: torch.where(_lift(mask, t), t, theirs[n]) for n, t in mine.items()}
        return self.from_items(merged)

    @classmethod
    def from_items(cls, tensors: dict[str, Tensor]) -> Self:
        """Inverse of :meth:`items`.

        Raises:
            ShapeError: If a declared tensor is missing or an undeclared one is present.
        """
        declared = set(cls.tensor_fields())
        if declared != set(tensors):
            missing, extra = sorted(declared - set(tensors)), sorted(set(tensors) - declared)
            raise ShapeError(f"{cls.__name__}: missing tensors {missing}, unknown tensors {extra}.")
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if "record" in field.metadata:
                prefix = field.name + "."
                inner = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
                values[field.name] = field.metadata["record"].from_items(inner)
            else:
                values[field.name] = tensors[field.name]
        return cls(**values)

    @classmethod
    def cat(cls, records: Sequence[Self]) -> Self:
        """Concatenate records along the batch axis."""
        parts = [dict(record.items()) for record in records]
        return cls.from_items({name: torch.cat([p[name] for p in parts]) for name in parts[0]})

    @property
    def batch_size(self) -> int:
        """Length B of the batch axis."""
        return next(self.items())[1].shape[0]

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return next(self.items())[1].device

    @property
    def dtype(self) -> torch.dtype:
        """Real dtype of the floating tensors (``float64`` if there are none)."""
        for _, t in self.items():
            if t.is_floating_point() or t.is_complex():
                return t.real.dtype
        return torch.float64

    def check(self, **sizes: int) -> Self:
        """Check shapes, kinds and devices against the declarations; returns ``self``.

        Args:
            **sizes: Known axis lengths, e.g. ``I=3``; axes not named here must agree with
                each other. Keyword per axis letter.

        Raises:
            ShapeError: Names the record, the field, what was found and what is allowed.
        """
        known = dict(sizes)
        tensors = dict(self.items())
        for name, info in self.tensor_fields().items():
            _check_tensor(f"{type(self).__name__}.{name}", tensors[name], info, known)
            if tensors[name].device != self.device:
                found = f"{tensors[name].device}, expected {self.device}"
                raise ShapeError(f"{type(self).__name__}.{name}: on device {found}.")
        return self

    def check_finite(self) -> Self:
        """Refuse NaN and infinity in floating tensors; synchronises with the device."""
        for name, t in self.items():
            if t.is_meta:
                raise ShapeError(f"{type(self).__name__}.{name}: on device meta, without values.")
            if not (t.is_floating_point() or t.is_complex()):
                continue
            bad = ~torch.isfinite(t)
            if bool(bad.any()):
                row = (
                    int(bad.flatten(1).any(1).nonzero()[0]) if t.ndim > 1 else int(bad.nonzero()[0])
                )
                raise ShapeError(
                    f"{type(self).__name__}.{name}: non-finite value in row {row}; "
                    "every entry must be a finite number."
                )
        return self


def _check_tensor(label: str, t: object, info: FieldInfo, known: dict[str, int]) -> None:
    if not isinstance(t, Tensor):
        raise ShapeError(f"{label}: expected a torch.Tensor, got {type(t).__name__}.")
    expected = " ".join(info.axes)
    if t.ndim != len(info.axes):
        raise ShapeError(f"{label}: shape {tuple(t.shape)}, expected ({expected}).")
    if not _KINDS[info.kind](t):
        raise ShapeError(f"{label}: dtype {t.dtype}, expected a {info.kind} tensor.")
    for axis, length in zip(info.axes, t.shape, strict=True):
        wanted = int(axis) if axis.isdigit() else known.setdefault(axis, length)
        if wanted != length:
            meaning = AXES.get(axis, axis)
            raise ShapeError(
                f"{label}: shape {tuple(t.shape)}, expected ({expected}) with {axis}={wanted} "
                f"({meaning}), got {length}."
            )


def _lift(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (like.ndim - 1))


def demand(is_good: Tensor, field: str, allowed: str) -> None:
    """Refuse rows of a record with a ``ShapeError`` naming field, row and what is allowed.

    Args:
        is_good: (B, ...) bool.
        field: ``Record.field``.
        allowed: What the field must be.
    """
    if not bool(is_good.all()):
        row = int(
            (~is_good).flatten(1).any(1).nonzero()[0]
            if is_good.ndim > 1
            else (~is_good).nonzero()[0]
        )
        raise ShapeError(f"{field}: must be {allowed}; row {row} is not.")
