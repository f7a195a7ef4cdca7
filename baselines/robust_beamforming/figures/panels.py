"""Panels shared by the figures of the BOBLRBF paper: names, colours, fronts, dots."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from baselines.figures import COLOURS, Estimate, Table
from baselines.robust_beamforming.figures.draws import PREFERENCES

__all__ = ["LABELS", "LOOKS", "OURS", "dots", "draw_front", "handles", "panels"]

_WIDTH = 7.2  # inches: two columns
OURS = "Scenario constants are ours (the paper's text names none)."
LABELS = {
    "pga": "projected Adam, robust (reference)",
    "pga-nominal": "projected Adam, nominal",
    "boblrbf": "BOBLRBF, repaired",
    "boblrbf-phase1": "BOBLRBF with phase 1",
    "boblrbf-literal": "BOBLRBF as printed",
    "boblrbf-dnn": "DNN as published",
    "boblrbf-dnn-features": "DNN, sees the channel",
    "boblrbf-dnn-gradient": "DNN, sees exact gradients",
    "robust-wmmse-split": "robust WMMSE, power split",
    "wmmse-split": "WMMSE, power split",
    "rzf-split": "RZF, power split",
    "rzf-null": "RZF, null-space sensing",
    "zf-split": "ZF, power split",
    "zf-null": "ZF, null-space sensing",
    "mrt-split": "MRT, power split",
    "mrt-null": "MRT, null-space sensing",
}
LOOKS: dict[str, dict[str, Any]] = {
    "pga": {"color": COLOURS["blue"], "marker": "o"},
    "boblrbf": {"color": COLOURS["red"], "marker": "s"},
    "rzf-split": {"color": COLOURS["grey"], "marker": "v"},
    "boblrbf-dnn": {"color": COLOURS["orange"], "marker": "^"},
    "boblrbf-dnn-features": {"color": COLOURS["purple"], "marker": "P"},
    "boblrbf-dnn-gradient": {"color": COLOURS["green"], "marker": "D"},
}


def panels(columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """One row of panels; ``options`` go to ``Figure.subplots``."""
    figure = Figure(figsize=(_WIDTH, height))
    return figure, np.atleast_1d(figure.subplots(1, columns, **options)).tolist()


def handles(entries: Sequence[tuple[str, dict[str, Any]]]) -> list[Line2D]:
    """Entries of a legend from labels and line styles."""
    return [Line2D([], [], label=label, **style) for label, style in entries]


def draw_front(axis: Axes, fronts: Table, scheme: str, **style: Any) -> None:
    """Mean points of a front, rate over CRLB, with both 95 % intervals."""
    crlb, rate = (
        [fronts.at(p, scheme, q) for p in PREFERENCES] for q in ("crlb_m2", "worst_rate_bps_hz")
    )
    axis.errorbar(
        [e.value for e in crlb],
        [e.value for e in rate],
        xerr=[e.half_width for e in crlb],
        yerr=[e.half_width for e in rate],
        elinewidth=0.6,
        alpha=0.95,
        **style,
    )


def dots(axis: Axes, x: Sequence[float], found: Sequence[Estimate], **style: Any) -> None:
    """Values with 95 % intervals, not joined."""
    y, half = [e.value for e in found], [e.half_width for e in found]
    axis.errorbar(x, y, half, linestyle="", capsize=2, elinewidth=0.9, **style)
