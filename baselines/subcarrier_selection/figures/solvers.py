"""How near solvers come to the best of all masks, on windows they see and on the scored ones."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from baselines.figures import Estimate, Table
from baselines.registry import make_solver
from baselines.subcarrier_selection.figures.draws import (
    PRESETS,
    Rooms,
    by_room,
    random_masks,
    task_cells,
)
from baselines.subcarrier_selection.figures.enumeration import Enumerated
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision

__all__ = ["HIT", "SEARCHES", "SOLVERS", "measure_solvers"]

SEARCHES = ("greedy-forward", "greedy-backward", "swap", "annealing", "genetic")  # ask validation
SOLVERS = {
    16: (
        *SEARCHES,
        *("top-variance", "fisher", "mutual-information", "single-tone-fit", "group-lasso"),
        *("convex-probe", "gumbel-topk", "spg-mibo", "penalty-mibo"),
        *("localisation-only", "sensing-only"),
    ),
    64: ("greedy-forward", "fisher", "single-tone-fit", "convex-probe", "spg-mibo"),
}
HIT = 1e-6  # of an error: the optimum itself
_RANDOM = 64


def measure_solvers(size: int, truth: Sequence[Enumerated], *, rooms: int, seed: int) -> Table:
    """Errors of every solver's mask with the preset's own windows, and gaps where all are known.

    Args:
        size: Number of tones.
        truth: Enumerated rooms of 16 tones with the same seed; their solvers' gaps are measured.
        rooms: Rooms.
        seed: Seed of the rooms.
    """
    where = Rooms.sample(rooms=rooms, seed=seed, preset=PRESETS[size])
    masks = {name: _solved(name, where, seed)[:, None] for name in SOLVERS[size]}
    masks |= {
        "random": random_masks(where, _RANDOM, seed=seed, name="solvers"),
        "all": where.everything,
    }
    table = Table("tones")
    for name, mask in masks.items():
        for split, instance in {"val": where.known, "score": where.instance}.items():
            errors = where.problem.mask_errors(instance, mask)
            table.cells.update(task_cells(size, name, errors, prefix=f"{split}_"))
            if truth:
                found = errors[: len(truth)].mean(-1)
                table.cells.update(_gaps(size, name, found, truth, split))
    return table


def _gaps(
    size: int, name: str, error: Tensor, truth: Sequence[Enumerated], split: str
) -> dict[tuple[float | str, str, str], Estimate]:
    """Share of (median - best) that is lost, and share of rooms in which nothing is."""
    best, middle = (
        torch.tensor([getattr(t, f"{split}_{what}") for t in truth], dtype=error.dtype)[:, None]
        for what in ("best", "median")
    )
    gap = (error - best) / (middle - best)
    return {
        (size, name, f"{split}_gap"): by_room(gap),
        (size, name, f"{split}_hits"): by_room((error <= best + HIT).double()),
    }


def _solved(name: str, rooms: Rooms, seed: int) -> Tensor:
    found = make_solver("subcarrier_selection", name).solve(
        rooms.problem, rooms.instance, seed=seed
    )
    return cast(SubcarrierDecision, found.decision).mask
