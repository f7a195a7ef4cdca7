"""Scenario base: frozen plain numbers, declared with range, unit-bearing name and source."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from isac_gym.core.errors import ScenarioError

__all__ = ["Scenario", "parameter"]


def parameter(
    default: Any,
    *,
    doc: str,
    source: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
    inert: bool = False,
    only_where: tuple[str, object] | None = None,
) -> Any:
    """Declare a scenario field.

    Args:
        default: Default value; its type is the type of the field.
        doc: Meaning in one line; the unit is the suffix of the field's name.
        source: The paper's value and place, or ``"ours: why"``.
        low: Smallest allowed value, or None.
        high: Largest allowed value, or None.
        above: Value the field must exceed strictly, or None.
        choices: Allowed values, or None.
        inert: True if the field by design changes no metric (declared to the conformance suite).
        only_where: (field, value): the field plays a role only where another has this value.
    """
    allowed = {"low": low, "high": high, "above": above, "choices": choices}
    use = {"inert": inert, "only_where": only_where}
    return dataclasses.field(
        default=default, metadata={"doc": doc, "source": source, **use, **allowed}
    )


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Base of all scenarios; subclasses declare fields with :func:`parameter`."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _check_value(field, value)
            if isinstance(field.default, float):  # 30, 30.0 and -0.0, 0.0 share one digest
                object.__setattr__(self, field.name, float(value) + 0.0)

    @classmethod
    def preset(cls, name: str = "paper", **changes: Any) -> Self:
        """Scenario of a named preset, with single fields changed.

        Raises:
            ScenarioError: Unknown preset or field, or a value outside its range.
        """
        if name not in cls.presets:
            raise ScenarioError(f"unknown preset {name!r}; allowed: {', '.join(cls.presets)}.")
        return cls.from_dict({**cls.presets[name], **changes})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Scenario from plain values; unknown names are refused."""
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ScenarioError(f"unknown field(s) {unknown}; allowed: {', '.join(known)}.")
        return cls(**{name: _parse(value) for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values by field name, strict JSON: minus infinity becomes the text ``"-inf"``."""
        values = dataclasses.asdict(self)
        return {name: "-inf" if value == -math.inf else value for name, value in values.items()}

    def replace(self, **changes: Any) -> Self:
        """Copy with some fields changed (validated)."""
        return self.from_dict({**self.to_dict(), **changes})

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of all fields, hexadecimal."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def is_inert(self, name: str) -> bool:
        """True if the field by design plays no role in this scenario."""
        meta = next(f.metadata for f in dataclasses.fields(self) if f.name == name)
        if meta["only_where"] is None:
            return meta["inert"]
        other, value = meta["only_where"]
        return meta["inert"] or getattr(self, other) != value

    @classmethod
    def table(cls) -> list[dict[str, str]]:
        """Rows (field, default, allowed, doc, source) for cards and documentation."""
        return [
            {
                "field": field.name,
                "default": str(field.default),
                "allowed": _describe(field),
                "doc": _purpose(field),
                "source": field.metadata["source"],
            }
            for field in dataclasses.fields(cls)
        ]


def _purpose(field: "dataclasses.Field[Any]") -> str:
    if field.metadata["only_where"] is None:
        return field.metadata["doc"]
    name, value = field.metadata["only_where"]
    return f"{field.metadata['doc']} (only where {name} is {value!r})"


def _parse(value: object) -> object:
    return -math.inf if value == "-inf" else value


def _check_value(field: "dataclasses.Field[Any]", value: object) -> None:
    meta, default = field.metadata, field.default
    wanted = type(default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ScenarioError(
            f"{field.name} must be {wanted.__name__}, got {value!r} ({type(value).__name__})."
        )
    inside = meta["choices"] is None or value in meta["choices"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        inside &= not math.isnan(value) and value != math.inf
        inside &= value != -math.inf or meta["low"] == -math.inf
        inside &= meta["low"] is None or value >= meta["low"]
        inside &= meta["high"] is None or value <= meta["high"]
        inside &= meta["above"] is None or value > meta["above"]
    if not inside:
        raise ScenarioError(f"{field.name} must be {_describe(field)}, got {value!r}.")


def _describe(field: "dataclasses.Field[Any]") -> str:
    meta = field.metadata
    if isinstance(field.default, bool):
        return "True or False"
    if meta["choices"] is not None:
        return "one of " + ", ".join(map(repr, meta["choices"]))
    parts = [f"> {meta['above']:g}"] if meta["above"] is not None else []
    parts += [f">= {meta['low']:g}"] if meta["low"] is not None else []
    parts += [f"<= {meta['high']:g}"] if meta["high"] is not None else []
    return " and ".join(parts) or "a finite number"
