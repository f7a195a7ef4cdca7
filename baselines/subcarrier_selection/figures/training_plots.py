"""Tables II and III and Figures 6 to 8 of the SPG-MIBO paper."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from baselines.figures import COLOURS, Estimate, Table, draw_line, label_panels, save_figure
from baselines.subcarrier_selection.figures.draws import SIZES, TASKS
from baselines.subcarrier_selection.figures.panels import (
    LOOKS,
    ROOMS,
    SIZE_COLOURS,
    dots,
    legend_above,
    panels,
)
from baselines.subcarrier_selection.figures.training import PENALTIES, PULLS, Trained

__all__ = ["figure_6", "figure_7", "figure_8", "table_2", "table_3"]

_PAPER = {"location": 0.27 - 0.34, "sensing": 0.09 - 0.13}
_TICKS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0, 1.5)
_SHOWN = 64  # tones of Figs. 6 and 7


def _loss(axis: Axes, table: Table, quantity: str, schemes: tuple[str, ...]) -> None:
    for scheme in schemes:
        draw_line(axis, table, scheme, quantity, **LOOKS[scheme][1])
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(FixedLocator(_TICKS))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def figure_6(folder: Path, curves: Table, spent: Table) -> None:
    """Joint against separate training: losses by iteration and by gradients."""
    figure, axes = panels(3, 2.7, sharey=True)
    place, state = (f"{_SHOWN} {task}" for task in TASKS)
    _loss(axes[0], curves, place, ("spg", "location"))
    _loss(axes[1], spent, place, ("spg", "location", "location-matched"))
    _loss(axes[2], curves, state, ("spg", "sensing"))
    axes[0].set(xlabel="iteration", ylabel="training loss (mean predictor: 1)")
    axes[1].set(xlabel="localisation gradients")
    axes[2].set(xlabel="iteration")
    lines = [axes[1].get_lines()[i] for i in range(3)] + [axes[2].get_lines()[1]]
    titles = [LOOKS[n][0] for n in ("spg", "location", "location-matched", "sensing")]
    figure.legend(lines, titles, loc="outside upper center", ncols=4)
    label_panels(axes, ["Localisation", "By gradients", "Sensing"])
    save_figure(
        figure,
        folder / "fig6.png",
        caption="Fig. 6, remade: mini-batch losses of joint and separate training at 64 tones, "
        "means over rooms and seeds with 95 % intervals over rooms. Joint training takes three "
        "localisation gradients per iteration, hence the head start in (a); counted in gradients, "
        "(b), it is gone. Sensing is trained alike, (c).",
    )
    curves.write(folder / "fig6_7_curves.csv")
    spent.write(folder / "fig6_gradients.csv")


def figure_7(folder: Path, curves: Table) -> None:
    """Losses with the proximal step and with the penalty."""
    figure, axes = panels(2, 2.7, sharey=True)
    for axis, task in zip(axes, TASKS, strict=True):
        _loss(axis, curves, f"{_SHOWN} {task}", ("spg", "penalty"))
        axis.set(xlabel="iteration")
    axes[0].set(ylabel="training loss (mean predictor: 1)")
    titles = [LOOKS[n][0] for n in ("spg", "penalty")]
    figure.legend(axes[0].get_lines(), titles, loc="outside upper center", ncols=2)
    label_panels(axes, ["Localisation", "Sensing"])
    save_figure(
        figure,
        folder / "fig7.png",
        caption="Fig. 7, remade: mini-batch losses with the proximal step and with the penalty at "
        "64 tones, means over rooms and seeds with 95 % intervals over rooms.",
    )


def figure_8(folder: Path, trained: Trained) -> None:
    """Weights of one link in the first room."""
    figure, axes = panels(2, 2.3, sharey=True)
    count = trained.rooms.problem.scenario.tones_per_link
    tone = np.arange(1, count + 1)
    for axis, name in zip(axes, ("spg", "penalty"), strict=True):
        weight = trained.runs[name].gate[0, 0, :count].numpy()
        axis.vlines(tone, 0, weight, color=LOOKS[name][1]["color"], linewidth=1)
        axis.plot(tone, weight, "o", color=LOOKS[name][1]["color"], markersize=3)
        axis.set(xlabel="subcarrier of the first link", ylim=(-0.05, 1.08))
    axes[0].set(ylabel="relaxed weight")
    label_panels(axes, [LOOKS[n][0] for n in ("spg", "penalty")])
    save_figure(
        figure,
        folder / "fig8.png",
        caption=f"Fig. 8, remade: relaxed weights of one link after training at "
        f"{trained.size} tones (first room, first seed).",
    )


def table_2(folder: Path, table: Table, knobs: Table) -> None:
    """Gaps to the integers, and what they depend on."""
    figure, axes = panels(2, 2.3)
    groups: dict[str, tuple[list[Estimate | None], str]] = {
        f"{size} tones": ([table.at(size, n, "gap") for n in ("spg", "penalty")], colour)
        for size, colour in SIZE_COLOURS.items()
    }
    dots(axes[0], ["SPG-MIBO", "Penalty-MIBO"], groups)
    axes[0].plot([0.041, 0.116], [1, 0], "D", color=COLOURS["grey"], label="paper")
    axes[0].set(xlabel="integer feasibility gap")
    axes[0].legend(loc="upper right")
    dots(
        axes[1],
        [f"penalty {p:g}" for p in PENALTIES] + [f"proximal {p:g}" for p in PULLS],
        {
            "16 tones": (
                [knobs.at(p, "penalty", "gap") for p in PENALTIES]
                + [knobs.at(p, "spg", "gap") for p in PULLS],
                SIZE_COLOURS[16],
            )
        },
    )
    axes[1].set(xlabel="integer feasibility gap, 16 tones")
    label_panels(axes, ["Table II", "Over the strength of the pull"])
    save_figure(
        figure,
        folder / "table2.png",
        caption=f"Table II, remade: mean distance of relaxed weights to the nearest of 0 and 1. "
        f"{ROOMS} As the networks' weights decay, gates move to their ends even under a weak pull.",
    )
    table.write(folder / "tables2_3.csv")
    knobs.write(folder / "table2_strength.csv")


def table_3(folder: Path, table: Table, quality: Table) -> None:
    """Joint less separate training, room by room."""
    figure, axes = panels(2, 2.6, sharey=True)
    rows = [
        ("relaxed networks", table, "relaxed_{task}"),
        ("trained anew for the mask", quality, "{task}"),
    ]
    for axis, task in zip(axes, TASKS, strict=True):
        groups: dict[str, tuple[list[Estimate | None], str]] = {}
        labels = [label for label, *_ in rows]
        for size in SIZES:
            found: list[Estimate | None] = [
                source.at(size, "spg", q.format(task=task))
                - source.at(size, task, q.format(task=task))
                for _, source, q in rows
            ]
            if task == "location":
                found += [
                    source.at(size, "spg", q.format(task=task))
                    - source.at(size, "location-matched", q.format(task=task))
                    for _, source, q in rows
                ]
            else:
                found += [None, None]
            groups[f"{size} tones"] = (found, SIZE_COLOURS[size])
        labels = labels + [f"{label}, equal gradients" for label in labels]
        dots(axis, labels, groups)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.axvline(_PAPER[task], color=COLOURS["grey"], ls="--", label="paper's change")
        axis.set(xlabel=f"joint - alone, {task} error")
    legend_above(figure, axes[0])
    label_panels(axes, ["Localisation", "Sensing"])
    save_figure(
        figure,
        folder / "table3.png",
        caption=f"Table III (simulation), remade: held-out error of joint training less that of "
        f"training for one task alone, paired by room; 1 is the mean predictor's error. {ROOMS} "
        "The paper's errors have another unit.",
    )
    quality.write(folder / "table3_masks.csv")
