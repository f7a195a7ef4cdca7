"""Figures 2 to 11 of the OTA-FEEL paper with intervals, and the verdicts."""

from collections.abc import Callable
from pathlib import Path

from baselines.figures import Verdict, figure_style, write_verdicts
from baselines.ota_feel.figures import measure
from baselines.ota_feel.figures.claims import verdicts
from baselines.ota_feel.figures.front_plots import figure_8, figure_9
from baselines.ota_feel.figures.learning_plots import figure_2, figure_3
from baselines.ota_feel.figures.location_plots import figure_4, figure_5
from baselines.ota_feel.figures.sweep_plots import figure_6, figure_7, figure_10, figure_11
from baselines.ota_feel.figures.sweeps import Effort
from isac_gym.core.errors import ScenarioError

__all__ = ["make_figures"]

_FEWEST_DRAWS = 3  # below there is no interval


def make_figures(
    out_dir: str | Path,
    *,
    draws: int = 48,
    seed: int = 11,
    progress: Callable[[str], None] | None = None,
    effort: Effort = Effort(),  # noqa: B008 - frozen
    training: measure.Training = measure.Training(),  # noqa: B008 - frozen
) -> list[Verdict]:
    """Measure, plot and judge; writes PNG and CSV files and ``verdicts.csv`` into ``out_dir``.

    Figs. 2 and 3 also draw the recorded curves of MNIST and CIFAR-10 that come with the package.

    Args:
        out_dir: Folder, created if missing; files are replaced as a whole.
        draws: Frames of all tables but the fronts, which take a sixth of them, >= 3; 48 take about
            7 minutes on one core, time grows in proportion.
        seed: Seed of everything, >= 0.
        progress: Called with one line before each step.
        effort: How long the iterative schemes run.
        training: How long the federations run.

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
    found = measure.measure_all(
        draws=draws, seed=seed, effort=effort, training=training, progress=report
    )
    report("plots and verdicts")
    with figure_style():
        figure_2(folder, found.curves)
        figure_3(folder, found.curves)
        figure_4(folder, found.location)
        figure_5(folder, found.location)
        figure_6(folder, found.frames)
        figure_7(folder, found.users)
        figure_8(folder, found.fronts)
        figure_9(folder, found.fronts, found.points)
        figure_10(folder, found.convergence, found.ends)
        figure_11(folder, found.loads)
    judged = verdicts(found)
    write_verdicts(folder / "verdicts.csv", judged)
    return judged
