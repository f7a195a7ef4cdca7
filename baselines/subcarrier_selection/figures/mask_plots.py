"""Masks, evaluators, solvers, breathing and tracking, drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from baselines.figures import COLOURS, Estimate, Table, label_panels, save_figure
from baselines.subcarrier_selection.figures.breathing import SCHEMES, SETTINGS
from baselines.subcarrier_selection.figures.draws import SIZES, TASKS
from baselines.subcarrier_selection.figures.panels import (
    ROOMS,
    SIZE_COLOURS,
    dots,
    legend_above,
    panels,
)
from baselines.subcarrier_selection.figures.solvers import SOLVERS
from baselines.subcarrier_selection.figures.tracking import POLICIES

__all__ = ["figure_applications", "figure_masks", "figure_ranks", "figure_solvers"]

_MASKS = {
    "random": "random",
    "all": "all tones (not allowed)",
    "location": "localisation alone",
    "sensing": "sensing alone",
    "penalty": "Penalty-MIBO (joint)",
    "spg": "SPG-MIBO (joint)",
    "greedy": "greedy, kernel ridge",
}
_EVALUATORS = {
    "ceiling": "training anew, other seeds",
    "kernel_ridge": "kernel ridge",
    "soft_neighbours": "soft neighbours",
    "mask_network": "network for all masks",
    "ridge_held_out": "ridge, held out",
    "in_sample": "ridge, in sample",
    "in_sample_weak": "weak ridge, in sample",
    "score": "the score: kernel ridge, preset's windows",
}


def _by_size(
    table: Table, names: Sequence[str], quantity: str, sizes: Sequence[int] = SIZES
) -> Mapping[str, tuple[list[Estimate | None], str]]:
    return {
        f"{size} tones": (
            [table.cells.get((size, name, quantity)) for name in names],
            SIZE_COLOURS[size],
        )
        for size in sizes
    }


def figure_masks(folder: Path, quality: Table) -> None:
    """Errors after training anew for masks of several schemes."""
    figure, axes = panels(2, 3.0, sharey=True)
    for axis, task in zip(axes, TASKS, strict=True):
        dots(axis, list(_MASKS.values()), _by_size(quality, list(_MASKS), task))
        axis.set(xlabel=f"{task} error after training anew")
    legend_above(figure, axes[0])
    label_panels(axes, ["Localisation", "Sensing"])
    save_figure(
        figure,
        folder / "masks.png",
        caption="Masks chosen from the same 800 windows, judged by networks trained anew on all of "
        f"them and tested on 600 windows of unseen places; 1 is the mean predictor. {ROOMS}",
    )


def figure_ranks(folder: Path, ranks: Table) -> None:
    """Rank agreement of evaluators with training anew."""
    figure, axes = panels(1, 3.0)
    labels = [_EVALUATORS[name] for name in _EVALUATORS]
    dots(axes[0], labels, _by_size(ranks, list(_EVALUATORS), "rank_correlation"))
    axes[0].axvline(0, color="black", linewidth=0.8)
    axes[0].set(xlabel="Spearman's correlation with errors after training anew")
    legend_above(figure, axes[0])
    save_figure(
        figure,
        folder / "ranks.png",
        caption="How evaluators rank random allowed masks of a room against networks trained anew "
        f"for every mask. {ROOMS}",
    )
    ranks.write(folder / "ranks.csv")


def figure_solvers(folder: Path, solved: Table) -> None:
    """What solvers leave of the gain of the best mask."""
    figure, axes = panels(2, 3.9, sharey=True)
    names = [*SOLVERS[16], "random", "all"]
    for axis, split in zip(axes, ("val", "score"), strict=True):
        dots(axis, names, _by_size(solved, names, f"{split}_gap", (16,)))
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set(xlabel="(error - best) / (median - best)")
    label_panels(axes, ["Validation windows", "Scored windows"])
    save_figure(
        figure,
        folder / "solvers.png",
        caption="Solvers at 16 tones against the best and the median of all 32,318 masks. Greedy, "
        "swap, annealing and genetic search ask the validation windows; all others see the "
        f"training windows alone. {ROOMS}",
    )
    solved.write(folder / "solvers.csv")


def figure_applications(folder: Path, breathing: Table, tracking: Table) -> None:
    """Breathing rate, and policies under moving interference."""
    figure, axes = panels(2, 3.0)
    colours = ("orange", "red", "blue", "green")
    groups: dict[str, tuple[list[Estimate | None], str]] = {
        label: ([breathing.at(label, s, "mae_bpm") for s in SCHEMES], COLOURS[colour])
        for label, colour in zip(SETTINGS, colours, strict=True)
    }
    dots(axes[0], list(SCHEMES), groups)
    axes[0].set(xlabel="error of the breathing rate (1/min)", xscale="log")
    legend_above(figure, axes[0])
    frames = next(iter(tracking.cells))[0]
    costs: list[Estimate | None] = [tracking.at(frames, name, "cost") for name in POLICIES]
    dots(axes[1], list(POLICIES), {"cost": (costs, COLOURS["blue"])})
    axes[1].set(xlabel="cost per frame (error and switching)")
    label_panels(axes, ["Breathing", "Moving interference, 16 tones"])
    save_figure(
        figure,
        folder / "applications.png",
        caption="(a) Mean absolute error of the breathing rate; guessing the mean errs by "
        f"4.5 per minute. (b) Scripted policies over {frames} frames. {ROOMS}",
    )
    breathing.write(folder / "breathing.csv")
    tracking.write(folder / "tracking.csv")
