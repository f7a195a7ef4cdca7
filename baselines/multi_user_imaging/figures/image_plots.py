"""Figure 5: images, their scores over the SNR, and what could shift the SNR scale."""

import math
from pathlib import Path

from matplotlib.figure import Figure

from baselines.figures import COLOURS, Estimate, draw_line, label_panels, save_figure
from baselines.multi_user_imaging.figures.cubes import draw_cubes
from baselines.multi_user_imaging.figures.image_claims import NEEDED_DB, PAPER_DB
from baselines.multi_user_imaging.figures.imaging import (
    AUDITS,
    READABLE_F1,
    SHIFTS_DB,
)
from baselines.multi_user_imaging.figures.panels import OURS, look, panels
from baselines.multi_user_imaging.figures.tables import Measured

__all__ = ["figure_5", "figure_images", "figure_scale"]

_SHOWN_DB = (-15, -10, -5, 3, 15)
_LABELS = {
    "prototype": "two-step, prototype's penalties",
    "two-step": "two-step, tuned at 15 dB",
    "sliced lms": "LMS, symbols decided (ours)",
    "joint": "joint reference (ours)",
}


def figure_images(folder: Path, measured: Measured, draws: int) -> None:
    """True image, the paper's scheme and the reference at several SNRs."""
    shown = [p for p in measured.pictures if p.snr_db in _SHOWN_DB]
    figure, columns = Figure(figsize=(7.2, 3.2)), len(shown) + 1
    figure.set_layout_engine("none")
    width, high = 1 / columns, 0.44
    truth = {"title": "true image", "colour": COLOURS["red"]}
    draw_cubes(figure, shown[0].truth, (0, 0.24, width, high), **truth)
    for row, label in enumerate(("two-step", "joint")):
        bottom = 0.5 - 0.5 * row
        for k, picture in enumerate(shown):
            title = f"{label}, {picture.snr_db:g} dB".replace(" -", " \N{MINUS SIGN}")
            place = ((k + 1) * width, bottom, width, high)
            moduli = picture.reference if row else picture.paper
            draw_cubes(figure, moduli, place, title=title, colour=COLOURS["blue"])
    caption = (
        "Fig. 5, remade: moduli of 64 voxels as opacity, 8 occupied, 20 users, mean of the users' "
        "images, one frame at all SNRs; two-step: the paper's scheme, joint: our reference. The "
        "paper's 3 dB image cannot be told from noise; ours can."
    )
    save_figure(figure, folder / "fig5_images.png", caption=caption)


def figure_5(folder: Path, measured: Measured, draws: int) -> None:
    """Scores over the SNR."""
    figure, axes = panels(3, 3.0)
    for axis, quantity in zip(axes, ("f1", "nmsd_db", "clutter"), strict=True):
        for scheme, label in _LABELS.items():
            draw_line(axis, measured.scores, scheme, quantity, **look(scheme, label=label))
        axis.axvline(PAPER_DB, color=COLOURS["red"], ls="--", lw=1)
        axis.set(xlabel="SNR (dB)")
    axes[0].set(ylabel="F1 of the support", ylim=(0, 1.05))
    axes[1].set(ylabel="MSD / $|x|^2$ (dB)")
    axes[2].set(ylabel="energy in empty voxels", ylim=(0, None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    label_panels(axes, ["Support", "Error", "Clutter"])
    caption = (
        f"Fig. 5 in numbers: {draws} common frames, means and 95 % intervals; F1 and clutter of "
        "the users' mean image, voxels above 0.25. Dashed: 3 dB, where the paper's image is "
        "unreadable. " + OURS
    )
    save_figure(figure, folder / "fig5.png", caption=caption)
    measured.scores.write(folder / "fig5.csv")


def figure_scale(folder: Path, measured: Measured, draws: int) -> None:
    """Shift of the SNR at which images become readable, by changed assumption."""
    figure, (axis,) = panels(1, 3.6)
    base = measured.audit.at("as specified", "readable", "snr_db")
    rows: list[tuple[str, Estimate]] = [
        (name, measured.audit.at(name, "readable", "snr_db") - base)
        for name in AUDITS
        if name != "as specified"
    ]
    rows += [(f"{name} (exact)", Estimate(v, (v,) * 3)) for name, v in SHIFTS_DB.items()]
    right = 22.0
    for height, (_, moved) in enumerate(reversed(rows)):
        is_never = not math.isfinite(moved.value)
        colour = COLOURS["green"] if moved.value >= NEEDED_DB else COLOURS["grey"]
        value = right - 1.5 if is_never else moved.value
        axis.barh(height, value, color=colour, height=0.62)
        if is_never:
            axis.annotate("never readable", (right - 2, height), ha="right", va="center", c="white")
        elif moved.half_width > 0:
            half = moved.half_width
            axis.errorbar(value, height, xerr=half, color=COLOURS["black"], capsize=2, lw=0.9)
    axis.axvline(0, color=COLOURS["black"], lw=0.9)
    axis.axvline(NEEDED_DB, color=COLOURS["red"], ls="--", lw=1)
    axis.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    axis.set(xlabel="shift of the SNR from which images can be read (dB)", xlim=(-15, right))
    axis.grid(False, axis="y")
    caption = (
        f"What would make the paper's 3 dB unreadable: our scheme reads (F1 {READABLE_F1:g}) from "
        f"{base.value:.1f} ± {base.half_width:.1f} dB; a shift right of the dashed line, "
        f"{NEEDED_DB:g} dB, explains the paper's scale. {draws} frames, 95 % intervals; exact "
        "shifts follow from the gains alone. Green: large enough."
    )
    save_figure(figure, folder / "fig5_scale.png", caption=caption)
    measured.audit.write(folder / "fig5_scale.csv")
