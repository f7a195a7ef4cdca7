"""Panels shared by the subcarrier selection figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from baselines.figures import COLOURS, Estimate

__all__ = ["LOOKS", "ROOMS", "SIZE_COLOURS", "dots", "legend_above", "panels"]

_WIDTH = 7.2  # inches: two columns
LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "spg": ("SPG-MIBO (joint)", {"color": COLOURS["blue"]}),
    "penalty": ("Penalty-MIBO (joint)", {"color": COLOURS["orange"], "ls": "--"}),
    "location": ("localisation alone", {"color": COLOURS["green"], "ls": "-."}),
    "location-matched": ("localisation alone, equal gradients", {"color": "black", "ls": ":"}),
    "sensing": ("sensing alone", {"color": COLOURS["red"], "ls": "-."}),
}
SIZE_COLOURS = {16: COLOURS["orange"], 64: COLOURS["blue"]}
ROOMS = "Points: means over rooms; bars: 95 % Student intervals over rooms, seeds averaged first."


def panels(columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """One row of panels; ``options`` go to ``Figure.subplots``."""
    figure = Figure(figsize=(_WIDTH, height))
    return figure, np.atleast_1d(figure.subplots(1, columns, **options)).tolist()


def dots(
    axis: Axes,
    labels: Sequence[str],
    groups: Mapping[str, tuple[Sequence[Estimate | None], str]],
) -> None:
    """One row per label from the top, one coloured point with its interval per group.

    Args:
        axis: Where.
        labels: Names of the rows.
        groups: Estimates (None: nothing) and colour by name of the group.
    """
    rows = np.arange(len(labels))[::-1].astype(float)
    shift = np.linspace(0.16, -0.16, len(groups)) if len(groups) > 1 else np.zeros(1)
    for (name, (found, colour)), up in zip(groups.items(), shift, strict=True):
        kept = [(y + up, e) for y, e in zip(rows, found, strict=True) if e is not None]
        axis.errorbar(
            [e.value for _, e in kept],
            [y for y, _ in kept],
            xerr=[np.nan_to_num(e.half_width) for _, e in kept],
            fmt="o",
            color=colour,
            label=name,
            capsize=2,
            elinewidth=1,
        )
    axis.set_yticks(rows, labels)
    axis.set_ylim(-0.6, len(labels) - 0.4)
    axis.grid(False, axis="y")


def legend_above(figure: Figure, axis: Axes) -> None:
    """One legend for all panels, with the entries of one of them."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
