"""Panels shared by the OTA-FEEL figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from baselines.figures import COLOURS

__all__ = ["OURS", "SHADES", "handles", "panels", "plain_ticks"]

_WIDTH = 7.2  # inches: two columns
OURS = (
    "Powers, noise, pulse length and antenna layout are ours (the paper's text names none): "
    "10 dB, T = 64 unless shown."
)
SHADES = tuple(COLOURS[c] for c in ("orange", "green", "blue", "black"))  # of a rising parameter


def panels(columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """One row of panels; ``options`` go to ``Figure.subplots``."""
    figure = Figure(figsize=(_WIDTH, height))
    return figure, np.atleast_1d(figure.subplots(1, columns, **options)).tolist()


def handles(entries: Sequence[tuple[str, dict[str, Any]]]) -> list[Line2D]:
    """Entries of a legend from labels and line styles."""
    return [Line2D([], [], label=label, **style) for label, style in entries]


def plain_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """Only these ticks, as plain numbers."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
