"""Figures 9 and 10, theory against simulation, and sharing at equal cost."""

from pathlib import Path
from typing import Any

import numpy as np

from baselines.figures import COLOURS, Table, save_figure
from baselines.multi_user_imaging.figures.design import BALANCED, SAMPLES
from baselines.multi_user_imaging.figures.panels import OURS, bars, error_line, panels, plain_ticks
from baselines.multi_user_imaging.figures.tables import Measured
from baselines.multi_user_imaging.figures.theory import CASES

__all__ = ["figure_9", "figure_10", "figure_sharing", "figure_theory"]

_SINR, _ERROR = {"color": COLOURS["blue"], "marker": "o"}, {"color": COLOURS["red"], "marker": "s"}


def figure_9(folder: Path, measured: Measured, draws: int) -> None:
    """SINR and imaging error over the priority of communication."""
    caption = (
        f"Fig. 9, remade: certified optima of the convex priority form, data informing, {draws} "
        f"worlds, {SAMPLES} samples; means and 95 % intervals. Dashed: the largest SINR there is. "
        "The error is Bayesian A-optimality, because the paper's own metric does not fall with "
        "power. " + OURS
    )
    table = measured.priorities
    best = table.at(1.0, "best", "sinr_db").value
    _two(folder / "fig9.png", table, "priority of communication $\\beta$", caption, best=best)
    table.write(folder / "fig9.csv")
    measured.constraints.write(folder / "fig9_constraints.csv")


def figure_10(folder: Path, measured: Measured, draws: int) -> None:
    """SINR and imaging error over the antennas."""
    caption = (
        f"Fig. 10, remade: as Fig. 9 with priority {BALANCED:g} (the paper's is lost), {draws} "
        "worlds; means and 95 % intervals. " + OURS
    )
    table = measured.antennas
    _two(folder / "fig10.png", table, "antennas of the base station", caption, is_log=True)
    table.write(folder / "fig10.csv")


def _two(
    path: Path,
    table: Table,
    xlabel: str,
    caption: str,
    *,
    best: float | None = None,
    is_log: bool = False,
) -> None:
    figure, (sinr, error) = panels(2, 2.7)
    error_line(sinr, table, "optimal", "sinr_db", **_SINR)
    error_line(error, table, "optimal", "error_db", **_ERROR)
    if best is not None:
        sinr.axhline(best, color=COLOURS["grey"], ls="--")
    sinr.set(xlabel=xlabel, ylabel="SINR of the data (dB)", title="(a) Communication")
    error.set(xlabel=xlabel, ylabel="imaging error bound (dB)", title="(b) Imaging")
    if is_log:
        for axis in (sinr, error):
            axis.set_xscale("log")
            plain_ticks(axis.xaxis, table.line("optimal", "sinr_db")[0].tolist())
    save_figure(figure, path, caption=caption)


def figure_theory(folder: Path, measured: Measured, draws: int) -> None:
    """Theory minus simulation by case, and the levels themselves."""
    figure, (level, excess) = panels(2, 3.0, width_ratios=(1.35, 1), sharey=True)
    table = measured.theory
    height = np.arange(len(CASES))[::-1].astype(float)
    schemes: dict[str, tuple[str, float, dict[str, Any]]] = {
        "simulated": ("simulation", 0.0, {"color": COLOURS["black"], "marker": "o"}),
        "theory": ("full theory", 0.22, {"color": COLOURS["blue"], "marker": "D"}),
        "independent": ("independent noise", -0.22, {"color": COLOURS["red"], "marker": "s"}),
    }
    for scheme, (label, shift, style) in schemes.items():
        for axis, quantity in ((level, "msd_db"), (excess, "excess_db")):
            if quantity == "excess_db" and scheme == "simulated":
                continue
            names = [name for name in CASES if (name, scheme, quantity) in table.cells]
            found = [table.at(name, scheme, quantity) for name in names]
            place = np.array([height[list(CASES).index(name)] for name in names])
            x, half = [e.value for e in found], [e.half_width for e in found]
            look = {"label": label if axis is level else None, "capsize": 2, **style}
            axis.errorbar(x, place + shift, xerr=half, linestyle="", elinewidth=0.9, **look)
    excess.axvline(0, color=COLOURS["black"], lw=0.9)
    level.set(xlabel="steady-state MSD (dB)", ylim=(-0.6, len(CASES) - 0.4))
    level.set_yticks(height, [name.upper()[:3] + name[3:] for name in CASES])
    excess.set(xlabel="theory minus simulation (dB)")
    figure.legend(loc="outside upper center", ncols=3)
    level.set_title("(a) Levels")
    excess.set_title("(b) Paired difference")
    caption = (
        "Steady-state theory of 8 users, 16 voxels, 2 occupied; at most 20 worlds, 95 % "
        "intervals, no penalties; the last number of each row is the step times V P. Noise that is "
        "taken as independent across users, as in the paper, is too hopeful while unknown data "
        "acts as noise: all users hear the same symbols. With known "
        "symbols both theories are the same."
    )
    save_figure(figure, folder / "theory.png", caption=caption)
    table.write(folder / "theory.csv")


def figure_sharing(folder: Path, measured: Measured, draws: int) -> None:
    """Error over what is exchanged."""
    figure, (axis,) = panels(1, 3.3)
    table = measured.sharing
    looks = {
        "isolated": ("nothing", "grey", "v"),
        "diffusion": ("images, by diffusion", "blue", "D"),
        "flooding": ("samples, to everybody", "orange", "^"),
        "gathering": ("samples, to a leader", "red", "s"),
        "gather-statistics": ("matched filters, on a tree", "green", "P"),
        "consensus-statistics": ("matched filters, by consensus", "purple", "X"),
    }
    for scheme, (label, colour, marker) in looks.items():
        if any(s == scheme for _, s, _ in table.cells):
            x, found = table.line(scheme, "nmsd_db")
            style = {"color": COLOURS[colour], "marker": marker, "label": label}
            bars(axis, x.tolist(), found, **style)
    axis.set(xscale="log", xlabel="complex scalars over all links", ylabel="MSD / $|x|^2$ (dB)")
    figure.legend(loc="outside right center", title="what is shared")
    caption = (
        f"What users share, at equal cost: 32 voxels, 20 users, 750 samples, symbols unknown, "
        f"{draws} frames, means and 95 % intervals. Diffusion has the best of four step rules at "
        "every cost, chosen with the truth; all others estimate sparse images from what they have. "
        "Sending images by diffusion is the most expensive way to the same error. " + OURS
    )
    save_figure(figure, folder / "sharing.png", caption=caption)
    table.write(folder / "sharing.csv")
