"""All tables behind the figures of the networked-ISAC paper."""

from collections.abc import Callable
from dataclasses import dataclass

from baselines.figures import Table
from baselines.multi_user_imaging.figures import design, imaging, measure, theory
from baselines.multi_user_imaging.figures.imaging import Picture
from baselines.multi_user_imaging.figures.measure import Grid

__all__ = ["Measured", "measure_all"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Tables of one run.

    Attributes:
        curves: Errors over the sample (Fig. 4).
        ends: Steady states and settling times by shape (Fig. 4).
        scores: Quality of the image over the SNR (Fig. 5).
        audit: SNR at which images become readable, by changed assumption (Fig. 5).
        pictures: The first frame's images (Fig. 5).
        occupied: Steady states over occupied voxels (Fig. 6).
        known: The same with known symbols and the prototype's penalties.
        users: Over users (Fig. 7).
        sizes: Over voxels (Fig. 8).
        priorities: Designs over the priority (Fig. 9).
        constraints: Errors over the SINR needed where only the probe informs.
        antennas: Designs over antennas (Fig. 10).
        theory: Steady-state theory against simulation.
        sharing: Errors over the scalars exchanged.
    """

    curves: Table
    ends: Table
    scores: Table
    audit: Table
    pictures: list[Picture]
    occupied: Table
    known: Table
    users: Table
    sizes: Table
    priorities: Table
    constraints: Table
    antennas: Table
    theory: Table
    sharing: Table


def measure_all(*, draws: int, seed: int, grid: Grid, progress: Callable[[str], None]) -> Measured:
    """Measure everything; ``progress`` is called with a line before each step."""

    def table(of: Callable[..., Table]) -> Table:
        return of(grid, draws=draws, seed=seed, progress=progress)

    curves, ends = measure.learning(grid, draws=draws, seed=seed, progress=progress)
    scores, pictures = imaging.scores(grid, draws=draws, seed=seed, progress=progress)
    return Measured(
        curves=curves,
        ends=ends,
        scores=scores,
        audit=table(imaging.audit),
        pictures=pictures,
        occupied=table(measure.occupied),
        known=table(measure.prototype_occupied),
        users=table(measure.users),
        sizes=table(measure.sizes),
        priorities=table(design.priorities),
        constraints=design.constraints(draws=draws, seed=seed),
        antennas=table(design.antennas),
        theory=table(theory.steady_states),
        sharing=table(theory.sharing),
    )
