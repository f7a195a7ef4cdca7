"""Figures 8 and 9 of the OTA-FEEL paper."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from baselines.figures import COLOURS, Table, draw_line, label_panels, save_figure
from baselines.ota_feel.figures.fronts import LONG_FRAME, SENSINGS, WEIGHTS, front_name
from baselines.ota_feel.figures.panels import OURS, SHADES, panels, plain_ticks
from baselines.ota_feel.figures.sweeps import ANTENNAS, Twin

__all__ = ["figure_8", "figure_9"]

_ERROR = "aggregation error over silence (dB)"
_BOUND = "position bound (dB re 1 m$^2$)"
_TITLES = ("Other devices unheard", "Other devices' echoes are noise")
_KIND = (
    "Best known precoders for weights 0 to 0.99 of the bound, 2 x 2 arrays, no pulses; medians "
    "over common frames with 95 % intervals of the error."
)


def _draw(axis: Axes, table: Table, name: str, **style: Any) -> None:
    """One front from the aggregation end (right) to the sensing end, intervals of the error."""
    bound, error = (
        [table.at(w, name, quantity) for w in WEIGHTS] for quantity in ("crb_db", "nmse_db")
    )
    axis.errorbar(
        [e.value for e in bound],
        [e.value for e in error],
        [e.half_width for e in error],
        elinewidth=0.6,
        marker="o",
        **style,
    )


def figure_8(folder: Path, fronts: Twin) -> None:
    """Fronts over T."""
    figure, axes = panels(2, 2.9, sharey=True)
    for axis, sensing in zip(axes, SENSINGS, strict=True):
        for length, colour in ((64, "blue"), (LONG_FRAME, "red")):
            name = front_name(sensing, 16, length)
            _draw(axis, fronts.table, name, color=COLOURS[colour], label=f"T = {length}")
        axis.set(xlabel=_BOUND)
        axis.legend(loc="upper right")
    axes[0].set(ylabel=_ERROR)
    label_panels(axes, _TITLES)
    caption = (
        f"Fig. 8, remade with the true bounds, N = 16. {_KIND} A front four times as long lies "
        "6.02 dB further left and no lower: the pulse length does not touch the aggregation. With "
        "the paper's own bound, which depends on the total power only, each front is one point. "
        + OURS
    )
    save_figure(figure, folder / "fig8.png", caption=caption)
    fronts.table.write(folder / "fig8_9_fronts.csv")


def figure_9(folder: Path, fronts: Twin, points: Table) -> None:
    """Fronts over N, and what full power costs."""
    figure, axes = panels(3, 2.9, width_ratios=(1.15, 1.15, 1))
    for axis, sensing in zip(axes, SENSINGS, strict=False):
        for antennas, shade in zip(ANTENNAS, SHADES, strict=True):
            name = front_name(sensing, antennas, 64)
            _draw(axis, fronts.table, name, color=shade, label=f"N = {antennas}", ms=3)
        axis.set(xlabel=_BOUND)
    axes[0].set(ylabel=_ERROR)
    axes[1].legend(loc="upper right")
    axes[1].sharey(axes[0])
    for pulse, colour, label in (("none", "blue", "no pulses"), ("dft", "red", "DFT pulses")):
        style = {"color": COLOURS[colour], "marker": "o", "label": label}
        draw_line(axes[2], points, pulse, "nmse", **style)
    axes[2].set(xscale="log", yscale="log", xlabel="server antennas N", ylabel="error over silence")
    plain_ticks(axes[2].xaxis, ANTENNAS)
    axes[2].legend(loc="upper right")
    label_panels(axes, ["Unheard", "Echoes are noise", "The paper's bound: points"])
    caption = (
        f"Fig. 9, remade: (a), (b) fronts with the true bounds, T = 64. {_KIND} More antennas "
        "lower the error along the front. (c) With the paper's bound (vertical arrays) every "
        "front is the point of least error, because full power, all that bound asks for, costs "
        "nothing. " + OURS
    )
    save_figure(figure, folder / "fig9.png", caption=caption)
    points.write(folder / "fig9_points.csv")
