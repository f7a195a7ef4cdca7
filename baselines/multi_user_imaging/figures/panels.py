"""Panels shared by the figures of the networked-ISAC paper."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from baselines.figures import COLOURS, Estimate, Table

__all__ = ["MSD", "OURS", "bars", "error_line", "look", "panels", "plain_ticks"]

_WIDTH = 7.2  # inches: two columns
MSD = r"MSD (dB)"
OURS = "Constants that the paper's text has lost are ours."
_LOOKS: dict[str, tuple[str, str, str]] = {
    "none": ("black", "o", "-"),
    "l1": ("sky", "s", "-"),
    "l1+l21": ("blue", "D", "-"),
    "step 1": ("grey", "v", "-"),
    "central": ("orange", "^", "-"),
    "sliced lms": ("green", "P", "-"),
    "known none": ("black", "o", "--"),
    "ls-genie": ("red", "v", "-"),
    "joint": ("purple", "x", "-"),
    "bound": ("grey", "", ":"),
    "prototype": ("sky", "s", "-"),
    "two-step": ("blue", "D", "-"),
}


def look(scheme: str, **changes: Any) -> dict[str, Any]:
    """Colour, marker and dash of a scheme."""
    colour, marker, dash = _LOOKS[scheme]
    return {"color": COLOURS[colour], "marker": marker or None, "ls": dash, **changes}


def panels(columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """One row of panels; ``options`` go to ``Figure.subplots``."""
    figure = Figure(figsize=(_WIDTH, height))
    return figure, np.atleast_1d(figure.subplots(1, columns, **options)).tolist()


def error_line(axis: Axes, table: Table, scheme: str, quantity: str, **style: Any) -> None:
    """One curve with 95 % error bars."""
    x, found = table.line(scheme, quantity)
    bars(axis, x.tolist(), found, **style)


def bars(axis: Axes, x: Sequence[float], found: Sequence[Estimate], **style: Any) -> None:
    """Values with 95 % error bars."""
    y, half = [e.value for e in found], [e.half_width for e in found]
    axis.errorbar(x, y, half, capsize=2, elinewidth=0.9, **style)


def plain_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """Only these ticks, as plain numbers."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
