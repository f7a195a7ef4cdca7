"""Figures 2 and 3 of the OTA-FEEL paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from baselines.figures import COLOURS, draw_line, label_panels, save_figure
from baselines.ota_feel.figures.learning import LEARNERS, Curves
from baselines.ota_feel.figures.panels import handles, panels

__all__ = ["figure_2", "figure_3"]

_LOOKS: dict[str, tuple[str, dict[str, Any]]] = {
    "perfect": ("perfect links", {"color": "black"}),
    "ota": ("learning alone over the air", {"color": COLOURS["green"], "ls": "-."}),
    "joint": ("joint, no pulses", {"color": COLOURS["blue"], "ls": "--"}),
    "joint-dft": ("joint, DFT pulses", {"color": COLOURS["orange"]}),
    "joint-dft-max": ("joint, DFT pulses, equal weights", {"color": COLOURS["red"]}),
}
_SETUP = (
    "K = 15, N = 16, 10 dB, Dirichlet(0.4) split, five steps of 32 images per round, channels "
    "that last four rounds; equal weights of the devices."
)


def _draw(axis: Axes, curves: Curves, *, zoom: bool = False) -> None:
    table = curves.table()
    schemes = [s for s in LEARNERS if (0, s, "accuracy") in table.cells]
    for scheme in schemes:
        draw_line(axis, table, scheme, "accuracy", **_LOOKS[scheme][1])
    end = curves.last_round
    axis.set(xlabel="communication round", xlim=(0, end))
    if zoom:
        best = table.at(end, "perfect", "accuracy").value
        axis.set(xlim=(end / 6, end), ylim=(best - 0.08, best + 0.01))


def _legend(schemes: list[str]) -> list[tuple[str, dict[str, Any]]]:
    return [_LOOKS[s] for s in schemes]


def figure_2(folder: Path, curves: Mapping[str, Curves]) -> None:
    """Accuracies on digits and MNIST."""
    shown = [name for name in ("digits", "mnist") if name in curves]
    figure, axes = panels(len(shown) + ("mnist" in shown), 2.9)
    for axis, name in zip(axes, shown, strict=False):
        _draw(axis, curves[name])
    titles = ["Digits", "MNIST", "MNIST, the end"][: len(axes)]
    if "mnist" in shown:
        _draw(axes[-1], curves["mnist"], zoom=True)
    axes[0].set(ylabel="test accuracy")
    figure.legend(handles=handles(_legend(list(LEARNERS))), loc="outside upper center", ncols=3)
    label_panels(axes, titles)
    caption = (
        f"Fig. 2, remade: means over seeds with 95 % intervals. {_SETUP} Perceptrons of 32 hidden "
        "units on digits, measured now"
    )
    if "mnist" in shown:
        caption += "; and on the 60,000 images of MNIST, recorded (data/mnist.csv)"
    caption += (
        ". Without pulses joint, learning alone and perfect links cannot be told apart; orthogonal "
        "pulses, as in the paper, delay the training and cost little in the end."
    )
    save_figure(figure, folder / "fig2.png", caption=caption)
    for name in shown:
        curves[name].table().write(folder / f"fig2_{name}.csv")


def figure_3(folder: Path, curves: Mapping[str, Curves]) -> None:
    """Accuracies on CIFAR-10, where they were recorded; nothing otherwise."""
    if "cifar10" not in curves:
        return
    cifar = curves["cifar10"]
    table = cifar.table()
    schemes = [s for s in LEARNERS if (0, s, "accuracy") in table.cells]
    figure, axes = panels(2, 2.9)
    _draw(axes[0], cifar)
    _draw(axes[1], cifar, zoom=True)
    axes[0].set(ylabel="test accuracy")
    figure.legend(handles=handles(_legend(schemes)), loc="outside upper center", ncols=3)
    label_panels(axes, ["CIFAR-10", "The end"])
    count = len(table.at(0, "perfect", "accuracy").batches)
    caption = (
        f"Fig. 3, remade: the paper's convolutional network, means of {count} seeds, 95 % "
        f"intervals from 3 seeds on, recorded on a GPU (data/cifar10.csv says how). {_SETUP}"
    )
    save_figure(figure, folder / "fig3.png", caption=caption)
    table.write(folder / "fig3.csv")
