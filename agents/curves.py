"""Learning curves as pictures: validation value against training effort, with reference lines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from agents.artifact import Manifest
from isac_gym.core.errors import ScenarioError

__all__ = ["plot_curves"]

_INK, _CURVE, _LINES = "#222222", "#0b6e99", ("#8c8c8c", "#b5651d", "#6a4c93", "#4f7942")


def plot_curves(manifests: Sequence[Manifest], path: Path | str) -> None:
    """Draw the curves of one or more runs on the same task (e.g. seeds) into a PNG.

    Where the best reference is above everything, the axis shows the distance to it on a
    logarithmic scale, so that the last tenths stay visible; otherwise the plain values.

    Raises:
        ScenarioError: No runs, or runs of different environments.
    """
    tasks = {(m.environment, m.scenario_digest, m.curve_metric) for m in manifests}
    if len(tasks) != 1:
        raise ScenarioError(f"curves must belong to one task, got {len(tasks)}.")
    first = manifests[0]
    top = max(first.curve_references.values(), default=-np.inf)
    highest = max((point.value for m in manifests for point in m.curve), default=np.inf)
    is_gap = np.isfinite(top) and top > highest
    figure = Figure(figsize=(7.0, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for manifest in manifests:
        steps = [point.steps for point in manifest.curve]
        values = np.array([point.value for point in manifest.curve])
        label = f"{manifest.name}, seed {manifest.seed}"
        shown = top - values if is_gap else values
        axes.plot(steps, shown, color=_CURVE, marker="o", markersize=3, linewidth=1.6, label=label)
    _reference_lines(axes, first, top if is_gap else None)
    _dress(axes, first, is_gap)
    figure.savefig(path, metadata={"Software": None})


def _reference_lines(axes: Axes, manifest: Manifest, top: float | None) -> None:
    drawn = sorted(manifest.curve_references.items(), key=lambda item: -item[1])
    for index, (name, value) in enumerate(drawn):
        if top is not None and value >= top:
            continue  # the origin of the axis
        height = value if top is None else top - value
        colour = _LINES[index % len(_LINES)]
        axes.axhline(height, color=colour, linewidth=1.1, linestyle=(0, (5, 3)), zorder=1)
        axes.annotate(
            name,
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )


def _dress(axes: Axes, manifest: Manifest, is_gap: bool) -> None:
    best = max(manifest.curve_references, key=manifest.curve_references.__getitem__, default="")
    if is_gap:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel(f"distance to {best}, {manifest.curve_metric}")
    else:
        axes.set_ylabel(manifest.curve_metric)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.set_xlabel(f"environment steps ({manifest.seconds:.0f} s of training)")
    axes.set_title(f"{manifest.environment}, {manifest.method}", loc="left", color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, which="major", axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="upper right")


def _thousands(value: float, _: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"
