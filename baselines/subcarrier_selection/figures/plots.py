"""Tables and figures of the SPG-MIBO paper with intervals, and the verdicts."""

from collections.abc import Callable
from pathlib import Path

from baselines.figures import Verdict, figure_style, write_verdicts
from baselines.subcarrier_selection.figures import measure
from baselines.subcarrier_selection.figures.claims import verdicts
from baselines.subcarrier_selection.figures.draws import Effort
from baselines.subcarrier_selection.figures.mask_plots import (
    figure_applications,
    figure_masks,
    figure_ranks,
    figure_solvers,
)
from baselines.subcarrier_selection.figures.training_plots import (
    figure_6,
    figure_7,
    figure_8,
    table_2,
    table_3,
)
from isac_gym.core.errors import ScenarioError

__all__ = ["make_figures"]

_FEWEST_DRAWS = 3  # below there is no interval


def make_figures(
    out_dir: str | Path,
    *,
    draws: int = 6,
    seed: int = 11,
    progress: Callable[[str], None] | None = None,
    effort: Effort = Effort(),  # noqa: B008 - frozen
) -> list[Verdict]:
    """Measure, plot and judge; writes PNG and CSV files and ``verdicts.csv`` into ``out_dir``.

    Args:
        out_dir: Folder, created if missing; files are replaced as a whole.
        draws: Rooms, >= 3; time grows in proportion.
        seed: Seed of everything, >= 0; the stored optima are those of 11.
        progress: Called with one line before each step.
        effort: How much each room is worked on.

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
    found = measure.measure_all(draws=draws, seed=seed, effort=effort, progress=report)
    report("plots and verdicts")
    with figure_style():
        table_2(folder, found.training, found.knobs)
        table_3(folder, found.training, found.quality)
        figure_6(folder, found.curves, found.spent)
        figure_7(folder, found.curves)
        figure_8(folder, found.trained[max(found.trained)])
        figure_masks(folder, found.quality)
        figure_ranks(folder, found.ranks)
        figure_solvers(folder, found.solved)
        figure_applications(folder, found.breathing, found.tracking)
    judged = verdicts(found)
    write_verdicts(folder / "verdicts.csv", judged)
    return judged
