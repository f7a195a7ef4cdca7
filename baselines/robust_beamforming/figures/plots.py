"""Figures 3 to 5 of the BOBLRBF paper with intervals, what they leave out, and the verdicts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from baselines.figures import (
    COLOURS,
    Table,
    Verdict,
    draw_line,
    figure_style,
    label_panels,
    save_figure,
    write_verdicts,
)
from baselines.robust_beamforming.figures import audits, measure
from baselines.robust_beamforming.figures.claims import verdicts
from baselines.robust_beamforming.figures.draws import PREFERENCES
from baselines.robust_beamforming.figures.network_claims import last_count
from baselines.robust_beamforming.figures.panels import (
    LABELS,
    LOOKS,
    OURS,
    draw_front,
    handles,
    panels,
)
from baselines.robust_beamforming.figures.speed import NETWORKS
from isac_gym.core.errors import ScenarioError

__all__ = ["make_figures"]

_FEWEST_DRAWS = 3  # below there is no interval
_RATE = "worst-case sum rate (bit/s/Hz)"
_VALUE = "mean of $f_1$ and $f_2$"
_COORDINATES = (Line2D.get_xdata, Line2D.get_ydata)
_ERROR_COLOURS = dict(zip(measure.CSI_ERRORS, ("black", "green", "blue", "orange"), strict=True))
_POWER_COLOURS = dict(zip(measure.POWERS_DBM, ("orange", "blue", "black"), strict=True))


def make_figures(
    out_dir: str | Path,
    *,
    draws: int = 16,
    seed: int = 11,
    progress: Callable[[str], None] | None = None,
    effort: measure.Effort = measure.Effort(),  # noqa: B008 - frozen
) -> list[Verdict]:
    """Measure, plot and judge; writes PNG and CSV files and ``verdicts.csv`` into ``out_dir``.

    Args:
        out_dir: Folder, created if missing; files are replaced as a whole.
        draws: Channels, >= 3; 16 take about 4 minutes on one core, time grows in proportion.
        seed: Seed of all channels, >= 0.
        progress: Called with one line before each step.
        effort: How long the iterative schemes run.

    Returns:
        One verdict per claim.

    Raises:
        ScenarioError: ``draws`` or ``seed`` is out of range.
        SubmissionError: Weights of a network are missing or malformed.
    """
    if draws < _FEWEST_DRAWS:
        raise ScenarioError(f"draws must be >= {_FEWEST_DRAWS}, got {draws}.")
    if seed < 0:
        raise ScenarioError(f"seed must be >= 0, got {seed}.")
    folder = Path(out_dir)
    report = progress or (lambda line: None)
    measured = measure.measure_all(draws=draws, seed=seed, effort=effort, progress=report)
    report("plots and verdicts")
    with figure_style():
        _figure_3(folder, measured, draws)
        _figure_4(folder, measured, draws)
        _figure_5(folder, measured, effort.speed_batch)
        audits.figure_claims(folder, measured.claims, draws)
        audits.figure_training(folder, measured.trainings, measured.levels)
        audits.figure_schemes(folder, measured.schemes, draws)
    found = verdicts(measured)
    write_verdicts(folder / "verdicts.csv", found)
    return found


def _figure_3(folder: Path, measured: measure.Measured, draws: int) -> None:
    figure, (best, paper, volume) = panels(3, 3.1, width_ratios=(1.15, 1.15, 1))
    for axis, scheme in ((best, "pga"), (paper, "boblrbf")):
        for error, colour in _ERROR_COLOURS.items():
            style = {"color": COLOURS[colour], "marker": LOOKS[scheme]["marker"], "ms": 3.5}
            draw_front(axis, measured.error_fronts, f"{scheme} at {error:g}", **style)
    _share_axes(best, paper, (0.02, 0.05, 0.1, 0.2))
    entries = [(f"CSI error {e:g}", {"color": COLOURS[c]}) for e, c in _ERROR_COLOURS.items()]
    best.legend(handles=handles(entries), loc="lower right")
    for scheme in measure.FRONT_SCHEMES:
        draw_line(volume, measured.errors, scheme, "hypervolume", **LOOKS[scheme])
    volume.set(xlabel="relative CSI error", ylabel="hypervolume", ylim=(0, 1))
    names = [(LABELS[s].split(",")[0], LOOKS[s]) for s in measure.FRONT_SCHEMES]
    volume.legend(handles=handles(names), loc="lower left")
    label_panels([best, paper, volume], ["Projected Adam", "BOBLRBF, repaired", "Whole fronts"])
    caption = (
        f"Fig. 3, remade: P = 40 dBm, {draws} channels common to all curves, means and 95 % "
        "intervals over channels; rates are exact worst cases. Seven preferences, sensing on the "
        "left. The front falls with the CSI error in the rate only: the CRLB does not know the "
        "error, its least value is 0.0202 m^2 for all. " + OURS
    )
    save_figure(figure, folder / "fig3.png", caption=caption)
    measured.error_fronts.write(folder / "fig3_fronts.csv")
    measured.errors.write(folder / "fig3_hypervolumes.csv")


def _figure_4(folder: Path, measured: measure.Measured, draws: int) -> None:
    figure, (best, paper, bound) = panels(3, 3.1, width_ratios=(1.15, 1.15, 1))
    for axis, scheme in ((best, "pga"), (paper, "boblrbf")):
        for power, colour in _POWER_COLOURS.items():
            style = {"color": COLOURS[colour], "marker": LOOKS[scheme]["marker"], "ms": 3.5}
            draw_front(axis, measured.power_fronts, f"{scheme} at {power:g}", **style)
    _share_axes(best, paper, (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2))
    entries = [(f"{p} dBm", {"color": COLOURS[c]}) for p, c in _POWER_COLOURS.items()]
    best.legend(handles=handles(entries), loc="lower right")
    least: dict[str, Any] = {"color": "black", "ls": "--", "label": "least, exactly 1/P"}
    draw_line(bound, measured.powers, "bound", "crlb_m2", **least)
    for scheme in measure.FRONT_SCHEMES:
        found = [
            measured.power_fronts.at(PREFERENCES[0], f"{scheme} at {p:g}", "crlb_m2").value
            for p in measure.POWERS_DBM
        ]
        label = LABELS[scheme].split(",")[0]
        bound.plot(measure.POWERS_DBM, found, ls="", label=label, **LOOKS[scheme])
    bound.set(yscale="log", xlabel="power budget P (dBm)", ylabel="CRLB (m$^2$)")
    _plain_ticks(bound.yaxis, (0.02, 0.05, 0.1, 0.2))
    bound.set_xticks(measure.POWERS_DBM)
    bound.legend(loc="upper right")
    label_panels([best, paper, bound], ["Projected Adam", "BOBLRBF, repaired", "Sensing end"])
    volume = [measured.powers.at(p, "pga", "hypervolume").value for p in measure.POWERS_DBM]
    caption = (
        f"Fig. 4, remade: CSI error 0.05, {draws} common channels, means and 95 % intervals. Both "
        "objectives improve with power. Over its own bounds the front falls (hypervolume "
        + ", ".join(f"{v:.2f}" for v in volume)
        + "), because the rate is limited by interference. "
        + OURS
    )
    save_figure(figure, folder / "fig4.png", caption=caption)
    measured.power_fronts.write(folder / "fig4_fronts.csv")
    measured.powers.write(folder / "fig4_hypervolumes.csv")


def _share_axes(left: Axes, right: Axes, ticks: tuple[float, ...]) -> None:
    """Common limits, set by the points; CRLB on a logarithmic axis with plain numbers."""
    curves = [line for axis in (left, right) for line in axis.get_lines()]
    crlb, rate = (np.concatenate([np.asarray(get(c)) for c in curves]) for get in _COORDINATES)
    for axis in (left, right):
        axis.set(xscale="log", xlim=(0.8 * crlb.min(), 1.3 * crlb.max()), xlabel="CRLB (m$^2$)")
        axis.set(ylim=(0, 1.15 * rate.max()))
        _plain_ticks(axis.xaxis, ticks)
    left.set(ylabel=_RATE)


def _plain_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """Only these ticks, as plain numbers."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _figure_5(folder: Path, measured: measure.Measured, batch: int) -> None:
    figure, (count, seconds, plane) = panels(3, 3.3)
    speed = measured.speed
    for scheme in measure.FRONT_SCHEMES:
        look = LOOKS[scheme]
        draw_line(count, speed, scheme, "mean_utility", **look)
        for kind, dash in (("single_s", "-"), ("batched_s", "--")):
            x = [e.value for e in speed.line(scheme, kind)[1]]
            y = [e.value for e in speed.line(scheme, "mean_utility")[1]]
            seconds.plot(x, y, ls=dash, **look)
        _plane(plane, speed, last_count(speed, scheme), scheme)
    for name in NETWORKS:
        look, value = LOOKS[name], speed.at(1, name, "mean_utility").value
        count.axhline(value, color=look["color"], ls=":")
        x = [speed.at(1, name, kind).value for kind in ("single_s", "batched_s")]
        seconds.plot(x, [value] * 2, ls=":", lw=1, **look)
        _plane(plane, speed, 1, name)
    count.set(xscale="log", xlabel="iterations", ylabel=_VALUE, ylim=(0, 1))
    _plain_ticks(count.xaxis, (1, 2, 5, 10, 20, 50, 100, 200, 500))
    seconds.set(xscale="log", xlabel="time per instance (s)", ylabel=_VALUE, ylim=(0, 1))
    plane.set(xlabel="CRLB (m$^2$)", ylabel=_RATE, ylim=(-1, None))
    plane.margins(x=0.12)
    names = [(LABELS[s].split(" (")[0], LOOKS[s]) for s in (*measure.FRONT_SCHEMES, *NETWORKS)]
    figure.legend(handles=handles(names), loc="outside upper center", ncols=3)
    entries = [("one at a time", {"color": "black"})]
    entries += [(f"batch of {batch}", {"color": "black", "ls": "--"})]
    seconds.legend(handles=handles(entries), loc="lower right")
    label_panels([count, seconds, plane], ["Over iterations", "Over time", "Where they end"])
    spent = [f"{t.seconds:.0f}" for t in measured.trainings if t.is_used]
    caption = (
        "Fig. 5, remade: p = 1/2, CSI error 0.1, exact scorer, all in one run on one CPU, threads: "
        f"{torch.get_num_threads()}; means and 95 % intervals over {batch} channels. Dotted: one "
        "forward pass of a trained network; in (b) "
        f"its right end is one instance at a time, its left end a batch of {batch}. Training "
        f"comes first and took {', '.join(spent)} s in the legend's order. The "
        "reference's steps depend on its budget: each of its points is a "
        "run of its own. " + OURS
    )
    save_figure(figure, folder / "fig5.png", caption=caption)
    speed.write(folder / "fig5.csv")


def _plane(axis: Axes, speed: Table, count: float, scheme: str) -> None:
    crlb, rate = (speed.at(count, scheme, q) for q in ("crlb_m2", "worst_rate_bps_hz"))
    half = {"xerr": crlb.half_width, "yerr": rate.half_width}
    axis.errorbar(crlb.value, rate.value, **half, ls="", capsize=2, **LOOKS[scheme])
