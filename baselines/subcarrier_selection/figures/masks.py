"""What masks are worth once networks are trained for them alone: joint, separate, greedy, random.

Like for like: every mask is chosen from the same training windows, and networks are trained on all
of them; held-out windows only judge. Greedy selection needs windows to validate on and takes them
from the training windows, place by place, so that no place is on both sides.
"""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from baselines.figures import Table
from baselines.registry import make_solver
from baselines.subcarrier_selection.figures.draws import (
    Effort,
    Rooms,
    random_masks,
    task_cells,
)
from baselines.subcarrier_selection.figures.training import Trained
from baselines.subcarrier_selection.retraining import retrain
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision

__all__ = ["SPLITS", "judge_masks", "split_training"]

SPLITS = {16: (5 / 8, 3 / 8), 64: (3 / 8, 3 / 8)}  # of the windows: to learn from, to validate on
_RANDOM = 4  # masks per room


def judge_masks(trained: Trained, *, seed: int, effort: Effort) -> Table:
    """Errors after training anew for the masks of every scheme, in the rooms of a comparison."""
    rooms, size = trained.rooms, trained.size
    masks = {name: trained.masks(name) for name in trained.runs}
    masks["random"] = random_masks(rooms, _RANDOM, seed=seed)
    masks["all"] = rooms.everything
    masks["greedy"] = _greedy(split_training(rooms, SPLITS[size], seed=seed))
    i = rooms.instance
    errors = retrain(
        i.train,
        i.train_label,
        i.score,
        i.score_label,
        torch.cat(list(masks.values()), 1),
        seeds=tuple(range(effort.judged)),
        steps=effort.steps,
    )
    parts = errors.split([mask.shape[1] for mask in masks.values()], 1)
    table = Table("tones")
    for name, found in zip(masks, parts, strict=True):
        table.cells.update(task_cells(size, name, found))
    return table


def split_training(rooms: Rooms, shares: tuple[float, float], *, seed: int) -> Rooms:
    """The same rooms with training and validation windows both taken from the training windows.

    Windows are ordered by place, the places at random; the first share is learnt from, the last
    one validates. At most one place is on both sides.
    """
    i, s = rooms.instance, rooms.problem.scenario
    order = _by_place(i.train_label, seed)
    learnt, checked = (round(share * s.num_train) for share in shares)
    first, last = order[:, :learnt], order[:, -checked:]
    parts = {
        "train": i.train.take_along_dim(first[..., None, None], 1),
        "train_label": i.train_label.take_along_dim(first[..., None], 1),
        "val": i.train.take_along_dim(last[..., None, None], 1),
        "val_label": i.train_label.take_along_dim(last[..., None], 1),
    }
    parts |= {"score": parts["val"], "score_label": parts["val_label"]}
    scenario = s.replace(num_train=learnt, num_held_out=checked)
    return Rooms(replace(rooms.problem, scenario=scenario), i.replace(**parts))


def _by_place(label: Tensor, seed: int) -> Tensor:
    """Order of the windows (B, J) in which those of one place follow each other."""
    rooms, windows = label.shape[:2]
    streams = Streams.from_seeds(lane_seeds(f"figures/subcarrier_selection/split/{seed}", rooms))
    rank = streams.uniform("places", windows)
    keys = [
        each[torch.unique(place, dim=0, return_inverse=True)[1]]
        for each, place in zip(rank, label[..., :2], strict=True)
    ]
    return torch.stack(keys).argsort(dim=1, stable=True)


def _greedy(rooms: Rooms) -> Tensor:
    solver = make_solver("subcarrier_selection", "greedy-forward")
    found = solver.solve(rooms.problem, rooms.instance)
    return cast(SubcarrierDecision, found.decision).mask[:, None]
