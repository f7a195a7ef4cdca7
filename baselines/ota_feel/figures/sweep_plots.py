"""Figures 6, 7, 10 and 11 of the OTA-FEEL paper."""

from pathlib import Path

from baselines.figures import COLOURS, Table, draw_line, label_panels, save_figure
from baselines.ota_feel.figures import theory
from baselines.ota_feel.figures.panels import OURS, SHADES, handles, panels, plain_ticks
from baselines.ota_feel.figures.sweeps import (
    ANTENNAS,
    DEVICES,
    FRAMES,
    LOADS,
    PRINTED_LOADS,
    TASKS,
    Twin,
)

__all__ = ["figure_6", "figure_7", "figure_10", "figure_11"]

_BOUND = "position bound (dB re 1 m$^2$)"
_BOUND_TITLES = {
    "crb_ideal_db": "Other devices unheard",
    "crb_interference_db": "Other devices' echoes are noise",
}
_PULSE_TITLES = {"none": "No pulses", "dft": "DFT pulses"}


def figure_6(folder: Path, twin: Twin) -> None:
    """Position bound over T for several K."""
    figure, axes = panels(2, 2.7, sharey=True)
    for axis, quantity in zip(axes, _BOUND_TITLES, strict=True):
        for devices, shade in zip(DEVICES, SHADES, strict=True):
            draw_line(
                axis,
                twin.table,
                f"K={devices}",
                quantity,
                color=shade,
                marker="o",
                label=f"K = {devices}",
            )
        axis.set(xscale="log", xlabel="pulse length T (symbols)")
        plain_ticks(axis.xaxis, FRAMES)
    axes[0].set(ylabel=_BOUND)
    axes[1].legend(loc="upper right", ncols=2)
    label_panels(axes, list(_BOUND_TITLES.values()))
    caption = (
        "Fig. 6, remade: bound of the target's position for the precoders of algorithm 1 (DFT "
        "pulses), medians over frames with 95 % intervals. It falls exactly as 1/T in both models: "
        "a longer frame averages the other devices' echoes no better than thermal noise. " + OURS
    )
    save_figure(figure, folder / "fig6.png", caption=caption)
    twin.table.write(folder / "fig6.csv")


def figure_7(folder: Path, twin: Twin) -> None:
    """Aggregation error over K and I with both pulses and both scalings; bound over K."""
    figure, axes = panels(4, 2.9, width_ratios=(1, 1, 1, 1))
    for pulse, dash in (("none", "-"), ("dft", "--")):
        for tasks, shade in zip(TASKS, SHADES, strict=True):
            style = {"color": shade, "ls": dash, "marker": "o", "ms": 3}
            scheme = f"{pulse} I={tasks}"
            draw_line(axes[0], twin.table, scheme, "mse_mean", **style)
            draw_line(axes[1], twin.table, scheme, "mse_sum", **style)
            draw_line(
                axes[2 if pulse == "none" else 3], twin.table, scheme, "crb_ideal_db", **style
            )
    for axis in axes:
        axis.set(xlabel="devices K", xticks=DEVICES)
    axes[0].set(yscale="log", ylabel="aggregation error")
    axes[1].set(yscale="log")
    axes[2].set(ylabel=_BOUND)
    low = min(axis.get_ylim()[0] for axis in axes[2:])
    high = max(axis.get_ylim()[1] for axis in axes[2:])
    for axis in axes[2:]:
        axis.set(ylim=(low, high))
    entries = [(f"I = {i}", {"color": c}) for i, c in zip(TASKS, SHADES, strict=True)]
    entries += [("no pulses", {"color": "black"}), ("DFT pulses", {"color": "black", "ls": "--"})]
    figure.legend(handles=handles(entries), loc="outside upper center", ncols=6)
    label_panels(axes, ["w = 1/K", "w = 1", "Bound, no pulses", "Bound, DFT"])
    caption = (
        "Fig. 7, remade: (a), (b) error of the average and of the sum of the devices' symbols, "
        "(c), (d) position bound with the other devices unheard; medians over frames with 95 % "
        "intervals, 200 rounds of exact alternation. Whether the error grows with K depends on "
        "what is summed: it falls for an average without pulses, and grows for a sum. It grows "
        "with I; the bound does not. " + OURS
    )
    save_figure(figure, folder / "fig7.png", caption=caption)
    twin.table.write(folder / "fig7.csv")


def figure_10(folder: Path, curves: Table, ends: Table) -> None:
    """Error over rounds of plain alternation for several N."""
    figure, axes = panels(3, 2.8, width_ratios=(1.2, 1.2, 1))
    for axis, pulse in zip(axes, _PULSE_TITLES, strict=False):
        for antennas, shade in zip(ANTENNAS, SHADES, strict=True):
            draw_line(
                axis, curves, f"{pulse} N={antennas}", "nmse", color=shade, label=f"N = {antennas}"
            )
            if pulse == "dft" and theory.floor(15, 2, antennas):
                axis.axhline(theory.floor(15, 2, antennas), color=shade, ls=":", lw=1)
        axis.axvline(10, color=COLOURS["grey"], lw=0.8)
        axis.set(xscale="symlog", yscale="log", xlabel="rounds of alternation", xlim=(0, None))
        plain_ticks(axis.xaxis, (0, 1, 10, 100, 600))
    axes[0].set(ylabel="aggregation error over silence")
    axes[0].legend(loc="upper right")
    for pulse, colour in (("none", "blue"), ("dft", "red")):
        draw_line(
            axes[2],
            ends,
            pulse,
            "rounds_to_near",
            color=COLOURS[colour],
            marker="o",
            label=_PULSE_TITLES[pulse],
        )
    axes[2].axhline(10, color=COLOURS["grey"], lw=0.8)
    axes[2].set(xscale="log", xlabel="server antennas N", ylabel="rounds to within 10 % of the end")
    plain_ticks(axes[2].xaxis, ANTENNAS)
    axes[2].legend(loc="upper left")
    label_panels(axes, [*_PULSE_TITLES.values(), "When near the end"])
    caption = (
        "Fig. 10, remade: plain exact alternation of receiver and precoders, K = 15, I = 2, median "
        "over frames with 95 % intervals; the end is round 600. Dotted: floor (K I - N) / (K I) of "
        "orthogonal pulses with equal weights. Ten rounds (grey) suffice only where pulses leave "
        "nothing to gain. " + OURS
    )
    save_figure(figure, folder / "fig10.png", caption=caption)
    curves.write(folder / "fig10.csv")
    ends.write(folder / "fig10_ends.csv")


def figure_11(folder: Path, loads: Table) -> None:
    """Signalling load over the devices' antennas."""
    figure, (axis,) = panels(1, 2.7)
    places = range(len(LOADS))
    for shift, devices, colour in ((-0.2, 15, "blue"), (0.2, 10, "sky")):
        heights = [loads.at(m, f"K={devices}", "real_numbers").value for m in LOADS]
        axis.bar(
            [p + shift for p in places],
            heights,
            0.38,
            color=COLOURS[colour],
            label=f"2 K M s, K = {devices}",
        )
    axis.plot(
        [LOADS.index(m) for m in PRINTED_LOADS],
        list(PRINTED_LOADS.values()),
        ls="",
        marker="D",
        color=COLOURS["red"],
        label="printed in the paper's text",
    )
    axis.plot(places, [30] * len(LOADS), color="black", marker="_", label="distributed: 30")
    axis.set(yscale="log", xticks=list(places), xticklabels=[str(m) for m in LOADS])
    axis.set(xlabel="antennas of a device M", ylabel="real numbers sent", ylim=(10, 2e6))
    axis.legend(loc="upper left", ncols=2)
    caption = (
        "Fig. 11, remade: load of centralised sensing, s = 200 samples, against the distributed "
        "one. The two numbers in the paper's text imply K = 10 and 9.5 devices instead of the 15 "
        "of its set-up."
    )
    save_figure(figure, folder / "fig11.png", caption=caption)
    loads.write(folder / "fig11.csv")
