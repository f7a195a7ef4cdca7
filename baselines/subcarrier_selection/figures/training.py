"""Joint and separate training of gates and networks: Tables II and III, Figs. 6 to 8.

Solvers have the settings they are registered with, which were chosen in other rooms. All see the
same windows with the same labels and draw the same mini-batches of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.figures import Estimate, Table
from baselines.subcarrier_selection.figures.draws import (
    PRESETS,
    TASKS,
    Effort,
    Rooms,
    by_room,
    project_gates,
)
from baselines.subcarrier_selection.penalty import PenaltyMibo
from baselines.subcarrier_selection.relaxation import (
    GateTraining,
    Relaxation,
    feasible_gap,
    integer_gap,
)
from baselines.subcarrier_selection.separate import (
    LocalisationOnly,
    LocalisationOnlyMatched,
    SensingOnly,
)
from baselines.subcarrier_selection.spg_mibo import SpgMibo

__all__ = ["PENALTIES", "PULLS", "Trained", "comparison_rooms", "measure_knobs", "train_size"]

PENALTIES = (0.03, 0.3, 1.0)  # 0.3 in all comparisons
PULLS = (0.002, 0.02, 0.05)  # of the proximal step; 0.05 in all comparisons
_EXACT = 1e-6  # from 0 or 1: there
_NEAR = 0.01
_BIN = 10  # iterations that a point of a curve is the mean of


@dataclass(frozen=True, kw_only=True)
class Trained:
    """All schemes trained in the same rooms.

    Attributes:
        size: Number of tones.
        rooms: Where.
        runs: By scheme.
        table: Errors behind the relaxed gates, gaps to the integers, final losses.
        curves: Training loss by iteration.
        spent: Training loss of the place by gradients taken of it.
    """

    size: int
    rooms: Rooms
    runs: Mapping[str, Relaxation]
    table: Table
    curves: Table
    spent: Table

    def masks(self, scheme: str) -> Tensor:
        """Masks that the gates decide for, (B, Z, S) bool."""
        return project_gates(self.rooms, self.runs[scheme].gate)


def comparison_rooms(size: int, *, rooms: int, seed: int, effort: Effort) -> Rooms:
    """Rooms with the windows of all comparisons after training."""
    return Rooms.sample(
        rooms=rooms,
        seed=seed,
        preset=PRESETS[size],
        num_train=effort.windows,
        num_held_out=effort.held_out,
    )


def train_size(size: int, *, rooms: int, seed: int, effort: Effort) -> Trained:
    """Train every scheme at one number of tones."""
    where = comparison_rooms(size, rooms=rooms, seed=seed, effort=effort)
    runs = {name: _run(scheme, where, effort) for name, scheme in _schemes(effort).items()}
    table, curves, spent = Table("tones"), Table("iteration"), Table("gradients")
    for name, run in runs.items():
        table.cells.update(_cells(size, name, run, where))
        for index, task in enumerate(TASKS):
            loss = run.loss[..., index].double()
            if loss.isfinite().all():
                curves.cells.update(_curve(loss, name, f"{size} {task}"))
        if run.loss[..., 0].isfinite().all():
            count = _before(run.gradients[:, 0])
            spent.cells.update(_curve(run.loss[..., 0].double(), name, f"{size} location", count))
    _overlaps(table, size, runs, where)
    return Trained(size=size, rooms=where, runs=runs, table=table, curves=curves, spent=spent)


def measure_knobs(*, rooms: int, seed: int, effort: Effort) -> Table:
    """Gaps to the integers of 16 tones over what pulls the gates there."""
    where = comparison_rooms(16, rooms=rooms, seed=seed, effort=effort)
    steps = effort.iterations
    table = Table("strength")
    for strength in PENALTIES:
        run = _run(PenaltyMibo(penalty=strength, iterations=steps), where, effort)
        table.cells[strength, "penalty", "gap"] = by_room(integer_gap(run.gate))
    for strength in PULLS:
        run = _run(SpgMibo(penalty=strength, iterations=steps), where, effort)
        table.cells[strength, "spg", "gap"] = by_room(integer_gap(run.gate))
    return table


def _schemes(effort: Effort) -> dict[str, GateTraining]:
    steps = effort.iterations
    return {
        "spg": SpgMibo(penalty=PULLS[-1], iterations=steps),
        "penalty": PenaltyMibo(penalty=PENALTIES[1], iterations=steps),
        "location": LocalisationOnly(iterations=steps),
        "location-matched": LocalisationOnlyMatched(iterations=steps),
        "sensing": SensingOnly(iterations=steps),
    }


def _run(scheme: GateTraining, rooms: Rooms, effort: Effort) -> Relaxation:
    return scheme.relaxed(rooms.problem, rooms.known, seeds=tuple(range(effort.seeds)))


def _cells(
    size: int, name: str, run: Relaxation, rooms: Rooms
) -> dict[tuple[float | str, str, str], Estimate]:
    i, gate = rooms.instance, run.gate
    errors = run.errors(i.score, i.score_label)
    away = (gate - (gate >= 0.5).to(gate.dtype)).abs()
    values = {
        "gap": integer_gap(gate),
        "gap_feasible": feasible_gap(gate, *rooms.limits),
        "exact_share": (away <= _EXACT).double().mean(-1),
        "near_share": (away <= _NEAR).double().mean(-1),
        "largest_distance": away.amax(-1),
    }
    for index, task in enumerate(TASKS):
        values[f"relaxed_{task}"] = errors[..., index]
        values[f"loss_{task}"] = run.loss[:, :, -_BIN:, index].mean(-1)
        values[f"first_loss_{task}"] = run.loss[:, :, 0, index]
    kept = {quantity: v for quantity, v in values.items() if bool(v.isfinite().all())}
    return {(size, name, quantity): by_room(v) for quantity, v in kept.items()}


def _overlaps(table: Table, size: int, runs: Mapping[str, Relaxation], rooms: Rooms) -> None:
    """Shares of equal mask entries of joint and separate training with the same seed."""
    for joint in ("spg", "penalty"):
        mask = project_gates(rooms, runs[joint].gate)
        for alone in TASKS:
            same = mask == project_gates(rooms, runs[alone].gate)
            table.cells[size, joint, f"agrees_{alone}"] = by_room(same.double())


def _before(cumulative: Tensor) -> Tensor:
    """Gradients taken before each iteration."""
    return torch.cat([torch.zeros_like(cumulative[:1]), cumulative[:-1]])


def _curve(
    loss: Tensor, scheme: str, quantity: str, place: Tensor | None = None
) -> dict[tuple[float | str, str, str], Estimate]:
    """Means over bins of iterations of a loss (B, Z, L), the first iteration apart."""
    count = torch.arange(loss.shape[-1]) if place is None else place
    cells: dict[tuple[float | str, str, str], Estimate] = {}
    cells[0.0, scheme, quantity] = by_room(loss[..., 0])
    for first in range(0, loss.shape[-1] - _BIN + 1, _BIN):
        some = slice(first, first + _BIN)
        cells[float(count[some].double().mean()), scheme, quantity] = by_room(loss[..., some])
    return cells
