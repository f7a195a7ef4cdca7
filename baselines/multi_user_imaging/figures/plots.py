"""Figures 4 to 10 of the networked-ISAC paper with intervals, and the verdicts."""

from collections.abc import Callable
from pathlib import Path

from baselines.figures import Verdict, figure_style, write_verdicts
from baselines.multi_user_imaging.figures.claims import verdicts
from baselines.multi_user_imaging.figures.design_plots import (
    figure_9,
    figure_10,
    figure_sharing,
    figure_theory,
)
from baselines.multi_user_imaging.figures.image_plots import figure_5, figure_images, figure_scale
from baselines.multi_user_imaging.figures.measure import Grid
from baselines.multi_user_imaging.figures.recovery_plots import figure_4, figure_6, figure_7_8
from baselines.multi_user_imaging.figures.tables import measure_all
from isac_gym.core.errors import ScenarioError

__all__ = ["make_figures"]

_FEWEST_DRAWS = 3  # below there is no interval


def make_figures(
    out_dir: str | Path,
    *,
    draws: int = 50,
    seed: int = 11,
    progress: Callable[[str], None] | None = None,
    grid: Grid = Grid(),  # noqa: B008 - frozen
) -> list[Verdict]:
    """Measure, plot and judge; writes PNG and CSV files and ``verdicts.csv`` into ``out_dir``.

    Args:
        out_dir: Folder, created if missing; files are replaced as a whole.
        draws: Frames of every curve, >= 3; 50 take about 5 minutes of one core, time grows in
            proportion.
        seed: Seed of all frames, >= 0; those for tuning are others.
        progress: Called with one line before each step.
        grid: What is varied, and how far.

    Returns:
        One verdict per claim.

    Raises:
        ScenarioError: ``draws`` or ``seed`` is out of range.
    """
    if draws < _FEWEST_DRAWS:
        raise ScenarioError(f"draws must be >= {_FEWEST_DRAWS}, got {draws}.")
    if seed < 0:
        raise ScenarioError(f"seed must be >= 0, got {seed}.")
    folder, report = Path(out_dir), progress or (lambda line: None)
    measured = measure_all(draws=draws, seed=seed, grid=grid, progress=report)
    report("plots and verdicts")
    with figure_style():
        for draw in (
            figure_4,
            figure_images,
            figure_5,
            figure_scale,
            figure_6,
            figure_7_8,
            figure_9,
            figure_10,
            figure_theory,
            figure_sharing,
        ):
            draw(folder, measured, draws)
    found = verdicts(measured)
    write_verdicts(folder / "verdicts.csv", found)
    return found
