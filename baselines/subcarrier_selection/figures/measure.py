"""All measurements behind the subcarrier selection figures."""

from collections.abc import Callable, Iterable

from baselines.figures import Table
from baselines.subcarrier_selection.figures.breathing import measure_breathing
from baselines.subcarrier_selection.figures.claims import Measured
from baselines.subcarrier_selection.figures.draws import PRESETS, SIZES, Effort, Rooms
from baselines.subcarrier_selection.figures.enumeration import enumerate_room, recorded
from baselines.subcarrier_selection.figures.masks import judge_masks
from baselines.subcarrier_selection.figures.ranks import measure_ranks
from baselines.subcarrier_selection.figures.solvers import measure_solvers
from baselines.subcarrier_selection.figures.tracking import measure_tracking
from baselines.subcarrier_selection.figures.training import measure_knobs, train_size

__all__ = ["measure_all"]

_FEWEST = 3  # rooms: below there is no interval


def measure_all(
    *, draws: int, seed: int, effort: Effort, progress: Callable[[str], None]
) -> Measured:
    """All tables behind the figures; calls ``progress`` with a line before each step.

    Args:
        draws: Rooms of the comparisons; what is costlier has half as many, but 3.
        seed: Seed of the rooms.
        effort: How much each room is worked on.
        progress: Called with one line before each step.
    """
    common, few = {"seed": seed, "effort": effort}, max(_FEWEST, draws // 2)
    trained, quality, ranks = {}, [], []
    for size in SIZES:
        progress(f"joint and separate training, {size} tones")
        trained[size] = train_size(size, rooms=draws, **common)
        progress(f"training anew for every mask, {size} tones")
        quality.append(judge_masks(trained[size], **common))
        progress(f"ranks of evaluators, {size} tones")
        ranks.append(measure_ranks(size, rooms=draws, **common))
    progress("strength of the pull to integers")
    knobs = measure_knobs(rooms=draws, **common)
    progress("solvers against the best of all masks")
    truth = [each for each in recorded() if each.seed == seed]
    rooms = Rooms.sample(rooms=effort.enumerated, seed=seed, preset=PRESETS[16])
    anew = [enumerate_room(rooms, index, seed=seed) for index in range(effort.enumerated)]
    truth = truth or anew
    solved = measure_solvers(16, truth, rooms=max(draws, len(truth)), seed=seed)
    others = measure_solvers(64, [], rooms=few, seed=seed)
    progress("breathing")
    breathing = measure_breathing(rooms=draws, seed=seed)
    progress("moving interference")
    tracking = measure_tracking(rooms=draws, seed=seed, frames=effort.frames)
    return Measured(
        trained=trained,
        training=_joined(each.table for each in trained.values()),
        curves=_joined(each.curves for each in trained.values()),
        spent=_joined(each.spent for each in trained.values()),
        knobs=knobs,
        quality=_joined(quality),
        ranks=_joined(ranks),
        truth=truth,
        anew=anew,
        solved=_joined([solved, others]),
        breathing=breathing,
        tracking=tracking,
    )


def _joined(tables: Iterable[Table]) -> Table:
    """One table of the cells of several with the same axis."""
    parts = list(tables)
    return Table(parts[0].axis, {key: e for part in parts for key, e in part.cells.items()})
