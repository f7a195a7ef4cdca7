"""Figures the BOBLRBF paper does not have: claimed rates, trainings, all schemes."""

from pathlib import Path
from typing import Any

from matplotlib.ticker import PercentFormatter

from baselines.figures import COLOURS, Table, label_panels, save_figure, write_csv
from baselines.robust_beamforming.figures.measure import AUDITED, SCHEMES, VARIANTS
from baselines.robust_beamforming.figures.panels import (
    LABELS,
    LOOKS,
    OURS,
    dots,
    handles,
    panels,
)
from baselines.robust_beamforming.figures.speed import LEVELS, NETWORKS, Training

__all__ = ["figure_claims", "figure_schemes", "figure_training"]

_SHORT = ("as\nprinted", "with\nphase 1", "repaired")
_ERROR_STYLES: dict[float, dict[str, Any]] = {
    AUDITED[0]: {"color": COLOURS["green"]},
    AUDITED[1]: {"color": COLOURS["blue"]},
}
_SHIFT = 0.14  # of the dots of the two errors


def figure_claims(folder: Path, claims: Table, draws: int) -> None:
    """Claimed and exact rates, cones and own errors of the BOBLRBF variants."""
    figure, (rate, cone, own) = panels(3, 3.1)
    for sign, (error, style) in zip((-1, 1), _ERROR_STYLES.items(), strict=True):
        x = [k + sign * _SHIFT for k in range(len(VARIANTS))]

        def found(quantity: str, error: float = error) -> list[Any]:
            return [claims.at(error, scheme, quantity) for scheme in VARIANTS]

        exact, claimed = found("worst_rate_bps_hz"), found("claimed_rate_bps_hz")
        for place, low, high in zip(x, exact, claimed, strict=True):
            rate.plot([place] * 2, [low.value, high.value], color="#bbbbbb", lw=2, zorder=1)
        rate.plot(x, [e.value for e in claimed], ls="", marker="^", mfc="white", **style)
        rate.plot(x, [e.value for e in exact], ls="", marker="o", **style)
        for place, gap, low in zip(x, found("optimism_bps_hz"), exact, strict=True):
            middle = low.value + gap.value / 2
            rate.annotate(
                f"{gap.value:.1f}",
                (place, middle),
                (4 * sign, 0),
                textcoords="offset points",
                ha="right" if sign < 0 else "left",
                va="center",
                size=7,
                color=style["color"],
            )
        dots(cone, x, found("outside_share"), marker="^", mfc="white", **style)
        dots(cone, x, found("outside_scored_share"), marker="o", **style)
        dots(own, x, found("error_over_radius"), marker="s", **style)
    rate.set(ylim=(0, 1.15 * rate.get_ylim()[1]), ylabel="sum rate (bit/s/Hz)")
    cone.set(ylim=(0, 1), ylabel="share of points")
    cone.yaxis.set_major_formatter(PercentFormatter(1))
    own.set(ylim=(0, 1), ylabel="norm over the allowed radius")
    for axis in (rate, cone, own):
        axis.set_xticks(range(len(VARIANTS)), _SHORT)
        axis.set_xlim(-0.5, len(VARIANTS) - 0.5)
        axis.grid(visible=False, axis="x")
    kinds = [("claimed", "^", "white"), ("exact", "o", "black")]
    entries = [
        (f"CSI error {e:g}", {**s, "marker": "s", "ls": ""}) for e, s in _ERROR_STYLES.items()
    ]
    entries += [
        (name, {"color": "black", "marker": shape, "mfc": fill, "ls": ""})
        for name, shape, fill in kinds
    ]
    figure.legend(handles=handles(entries), loc="outside upper center", ncols=4)
    titles = ["Claimed and exact rate", "Outside their cones", "Its own channel errors"]
    label_panels([rate, cone, own], titles)
    caption = (
        f"BOBLRBF's view of itself (not in the paper): {draws} channels, seven preferences, 95 % "
        "intervals over channels. It takes the rate at its own channel errors (c) for the worst "
        "case; the numbers in (a) are claimed less exact. A front is well spread if points stay in "
        "the cones of their preferences (b). " + OURS
    )
    save_figure(figure, folder / "claims.png", caption=caption)
    claims.write(folder / "claims.csv")


def figure_training(folder: Path, trainings: list[Training], levels: Table) -> None:
    """Loss and exact objective of every network and seed over its training."""
    figure, (loss, value) = panels(2, 3.2)
    for each in trainings:
        style = {"color": LOOKS[each.solver]["color"], "lw": 1.4 if each.is_used else 0.8}
        step, seconds, losses, values = zip(*each.curve[1:], strict=True)
        loss.plot(step, losses, **style)
        value.plot(seconds, values, **style)
    for scheme, place in zip(LEVELS, ("bottom", "bottom", "top"), strict=True):
        level = levels.at("uniform", scheme, "objective").value
        value.axhline(level, color=LOOKS[scheme]["color"], ls="--", lw=1)
        value.annotate(
            LABELS[scheme].split(" (")[0],
            (0.01, level),
            (0, 2 if place == "bottom" else -2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="left",
            va=place,
            size=7,
            color=LOOKS[scheme]["color"],
        )
    loss.set(xscale="log", yscale="log", xlabel="gradient steps", ylabel="training loss")
    value.set(xscale="log", xlabel="training time (s)", ylabel="exact objective, validation")
    names = [(LABELS[name], {"color": LOOKS[name]["color"]}) for name in NETWORKS]
    figure.legend(handles=handles(names), loc="outside upper center", ncols=3)
    label_panels([loss, value], ["Training loss", "What it is for"])
    devices = ", ".join(sorted({each.device for each in trainings}))
    caption = (
        "Training of the networks (not in the paper), one line per seed, thick: the weights used "
        f"in Fig. 5; trained on {devices}. The objective is -max(p (1 - f1), (1 - p) (1 - f2)) by "
        "the exact scorer at random preferences, CSI error 0.1; dashed: solvers without training "
        "on other instances of the same law. " + OURS
    )
    save_figure(figure, folder / "training.png", caption=caption)
    rows = [
        (each.solver, each.seed, each.device, *map(float, point))
        for each in trainings
        for point in each.curve
    ]
    header = ["solver", "seed", "device", "step", "seconds", "loss", "exact_objective"]
    write_csv(folder / "training.csv", header, rows)
    levels.write(folder / "training_levels.csv")


def figure_schemes(folder: Path, schemes: Table, draws: int) -> None:
    """Hypervolumes of all schemes below their certified ceiling."""
    figure, (axis,) = panels(1, 3.7)
    for sign, (error, style) in zip((1, -1), _ERROR_STYLES.items(), strict=True):
        y = [k + sign * _SHIFT for k in range(len(SCHEMES))]
        found = [schemes.at(error, scheme, "hypervolume") for scheme in SCHEMES]
        values, half = [e.value for e in found], [e.half_width for e in found]
        axis.errorbar(values, y, xerr=half, ls="", marker="o", capsize=2, **style)
        ceiling = schemes.at(error, "ceiling", "hypervolume").value
        axis.axvline(ceiling, ls=(2 * (1 + sign), (4, 4)), lw=1.4, **style)
    axis.set_yticks(range(len(SCHEMES)), [LABELS[scheme] for scheme in SCHEMES])
    axis.set(xlabel="hypervolume over (0, 0)", xlim=(0, 1), ylim=(-0.6, len(SCHEMES) - 0.4))
    entries = [
        (f"CSI error {e:g}", {**s, "marker": "o", "ls": ""}) for e, s in _ERROR_STYLES.items()
    ]
    entries += [("certified ceiling", {"color": "black", "ls": "--"})]
    axis.legend(handles=handles(entries), loc="lower right", bbox_to_anchor=(0.95, 0))
    caption = (
        f"All schemes (not in the paper): seven points per channel, {draws} common channels, "
        "means and 95 % intervals over channels, exact scorer. The ceilings ignore interference: "
        "no front can exceed them, and none needs to reach them. " + OURS
    )
    save_figure(figure, folder / "schemes.png", caption=caption)
    schemes.write(folder / "schemes.csv")
