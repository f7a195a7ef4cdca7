"""Figures 4 and 5 of the OTA-FEEL paper."""

from pathlib import Path
from typing import Any

from baselines.figures import COLOURS, label_panels, save_figure, write_csv
from baselines.ota_feel.figures.location import MODELS, SETUPS, Located
from baselines.ota_feel.figures.panels import OURS, panels

__all__ = ["figure_4", "figure_5"]

_LOOKS = {
    "I, random start": ("grey", ":"),
    "I": ("black", "-"),
    "II": ("green", "-."),
    "III": ("blue", "-"),
    "III, dft": ("orange", "-"),
    "III, dft, sent once": ("orange", ":"),
}
_TITLES = ("Line arrays, other devices unheard", "2 x 2 arrays, waveforms")
_SHOWN = 8  # targets of Fig. 5


def figure_4(folder: Path, located: Located) -> None:
    """Squared error of the estimate over rounds: means, and medians thin."""
    figure, axes = panels(2, 3.1, sharey=True)
    for axis, model in zip(axes, MODELS, strict=True):
        for name in SETUPS:
            colour, dash = _LOOKS[name]
            style: dict[str, Any] = {"color": COLOURS[colour], "ls": dash}
            scheme = f"{model}, {name}"
            x, found = located.curves.line(scheme, "mean_m2")
            axis.plot(x, [e.value for e in found], label=name, **style)
            _, found = located.curves.line(scheme, "median_m2")
            axis.plot(x, [e.value for e in found], lw=0.7, alpha=0.7, **style)
        ends = located.ends.table
        bound = ends.at(model, "III", "bound_mean_m2").value
        axis.axhline(bound, color=COLOURS["red"], ls="--", lw=1, label="mean bound (I, III)")
        shot = ends.at(model, "III", "single_mean_m2").value
        axis.axhline(shot, color=COLOURS["purple"], ls="--", lw=1, label="single shot, mean")
        axis.set(yscale="log", xlabel="communication round", xlim=(0, None))
    axes[0].set(ylabel="squared error (m$^2$)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    label_panels(axes, _TITLES)
    caption = (
        "Fig. 4, remade: squared error of the target's position, means over frames (thick) and "
        "medians (thin). I: perfect links; II: over the air, one stream; III: with learning. One "
        "frame is heard, round 1 searches the region, rounds 2 to 5 follow eight candidates, round "
        "6 elects one; each symbol is sent 16 times, 64 times with pulses, or once. From a random "
        "start the mean is ruled by local maxima. (a) is the paper's model, (b) simulates the "
        "waveforms of all devices; its bound treats the others' echoes as noise, the likelihood "
        "also reads their direction. " + OURS
    )
    save_figure(figure, folder / "fig4.png", caption=caption)
    located.curves.write(folder / "fig4.csv")
    located.ends.table.write(folder / "fig4_ends.csv")


def figure_5(folder: Path, located: Located) -> None:
    """Targets, estimates of setup III and single shots, from above."""
    figure, axes = panels(2, 3.1, sharey=True)
    rows = []
    for axis, model in zip(axes, MODELS, strict=True):
        target, estimate, alone = (places[:_SHOWN] for places in located.places[model])
        for mark, colour, places, label in (
            ("*", "black", target, "target"),
            ("+", "blue", estimate, "setup III"),
            ("x", "purple", alone, "single shot"),
        ):
            axis.plot(
                places[:, 1],
                places[:, 0],
                ls="",
                marker=mark,
                ms=8,
                mew=1.4,
                color=COLOURS[colour],
                label=label,
                mfc="none",
            )
            rows += [(model, label, n, *p) for n, p in enumerate(places.tolist())]
        for ends in (estimate, alone):
            for begin, end in zip(target, ends, strict=True):
                axis.plot([begin[1], end[1]], [begin[0], end[0]], color="#bbbbbb", lw=0.6, zorder=0)
        axis.set(xlabel="y (m)")
    axes[0].set(ylabel="x, away from the server (m)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    label_panels(axes, _TITLES)
    caption = (
        f"Fig. 5, remade: {_SHOWN} targets from above with the last estimates of setup III and the "
        "mean of the devices' own estimates, each joined to its target. " + OURS
    )
    save_figure(figure, folder / "fig5.png", caption=caption)
    write_csv(folder / "fig5.csv", ["model", "what", "draw", "x_m", "y_m", "z_m"], rows)
