"""Performance-profile plots as SVG that takes its text colour from the page."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from leaderboard.board import Table
from leaderboard.scoring import profile

__all__ = ["ProfilePlot", "profile_plot"]

FloatArray = NDArray[np.float64]
_INK, _FAINT = "#010203", "#040506"  # replaced by the page's colours
_COLOURS = ("#1b7f79", "#c2571a", "#5b6abf", "#a8487e", "#6f8f1f", "#8a6d3b")
_SMALLEST_LOSS = 1e-6
_ALIKE = 0.02  # largest difference of two profiles that would be drawn on top of each other


@dataclass(frozen=True, kw_only=True)
class ProfilePlot:
    """A plot for the page.

    Attributes:
        svg: Inline SVG element, empty where there is nothing to draw.
        legend: Pairs (colour, names); the methods named last have no colour of their own.
    """

    svg: str = ""
    legend: tuple[tuple[str, str], ...] = ()


def profile_plot(table: Table) -> ProfilePlot:
    """Performance profiles of a task's ranked methods.

    Static tasks: share of instances within a given loss of the bound. Dynamic tasks: share of
    episodes that score at least a given number of points. Methods whose curves nearly coincide
    share one coloured line; the others are drawn in grey.
    """
    chosen = [line for line in table.lines if line.rank is not None]
    if not chosen:
        return ProfilePlot()
    is_static = table.task.kind == "static"
    if is_static:
        values = {x.result.method.name: x.result.loss(table.references) for x in chosen}
        grid = np.geomspace(_SMALLEST_LOSS, max(30.0, max(v.max() for v in values.values())), 300)
    else:
        scores = {
            x.result.method.name: x.result.scores(table.task, table.references) for x in chosen
        }
        values = {name: -each for name, each in scores.items()}
        grid = -np.linspace(table.axis.low, table.axis.high, 300)[::-1]
    curves = {name: profile(each, grid) for name, each in values.items()}
    figure = Figure(figsize=(6.6, 3.1), layout="constrained")
    axes = figure.subplots()
    groups = _groups(curves)
    _draw(axes, grid if is_static else -grid, curves, groups)
    if is_static:
        axes.set_xscale("log")
        axes.set_xlabel(f"loss to the bound ({table.task.metric.unit})")
        axes.set_ylabel("instances within that loss")
    else:
        axes.set_xlabel("score")
        axes.set_ylabel("episodes with at least that score")
    legend = [(colour, ", ".join(group)) for colour, group in zip(_COLOURS, groups, strict=False)]
    rest = [name for group in groups[len(_COLOURS) :] for name in group]
    if rest:
        legend.append(("var(--line)", ", ".join(rest)))
    return ProfilePlot(svg=_svg(figure, axes, table.task.id), legend=tuple(legend))


def _draw(
    axes: Axes,
    grid: FloatArray,
    curves: Mapping[str, FloatArray],
    groups: Sequence[Sequence[str]],
) -> None:
    for number, group in enumerate(groups):
        is_coloured = number < len(_COLOURS)
        axes.plot(
            grid,
            curves[group[0]],
            color=_COLOURS[number] if is_coloured else _FAINT,
            linewidth=2.0 if is_coloured else 1.0,
            zorder=3 if is_coloured else 2,
        )


def _groups(curves: Mapping[str, FloatArray]) -> Sequence[list[str]]:
    groups: list[list[str]] = []
    for name, curve in curves.items():
        for group in groups:
            if np.abs(curves[group[0]] - curve).max() <= _ALIKE:
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _svg(figure: Figure, axes: Axes, name: str) -> str:
    axes.set_ylim(-0.02, 1.02)
    axes.margins(x=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(_FAINT)
    axes.tick_params(which="both", colors=_INK, length=0, labelsize=10)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(_INK)
        label.set_fontsize(10)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), name)


def _inline(text: str, name: str) -> str:
    """SVG element without prologue and fixed size, in the page's colours."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)
    title = f'<svg role="img" aria-label="Performance profiles of {name}"'
    text = text.replace("<svg", title, 1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    return text.replace(_INK, "var(--muted)").replace(_FAINT, "var(--line)")
