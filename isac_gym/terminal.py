"""What the commands of all packages share: the JSON option, plain tables, assignments, times."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from isac_gym.core.errors import ScenarioError

__all__ = ["Json", "assignments", "duration", "plain_table", "print_json"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def assignments(option: str, texts: Sequence[str] | None) -> dict[str, Any]:
    """Values of ``name=value`` texts; a value is JSON where it parses, text otherwise.

    Args:
        option: Name of the option the texts were given to, for the message.
        texts: What the user wrote, or None.

    Raises:
        ScenarioError: A text without name or equals sign.
    """
    values: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ScenarioError(f"{option} must read name=value, got {text!r}.")
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return values


def duration(seconds: float) -> str:
    """A time with three digits and its unit, e.g. ``"1.23 ms"``."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def plain_table(*columns: str, numeric: Sequence[str] = ()) -> Table:
    """Empty table without lines; the columns named in ``numeric`` are aligned to the right."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        justify = "right" if column in numeric else "left"
        table.add_column(Text(column), justify=justify, overflow="fold")
    return table


def print_json(data: object) -> None:
    """Print strict JSON: NaN and infinity are refused."""
    typer.echo(json.dumps(data, indent=2, allow_nan=False))
