"""Rooms that the figures share, and estimates over them: seeds within a room are not independent.

Every interval is Student's over rooms: whatever is repeated in a room (seeds of a training, masks)
is averaged first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from baselines.figures import Estimate
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.problems.subcarrier_selection.model import (
    SubcarrierInstance,
    SubcarrierSelection,
    select_tones,
)
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario

__all__ = [
    "PRESETS",
    "SIZES",
    "TASKS",
    "Effort",
    "Rooms",
    "by_room",
    "mean_of",
    "project_gates",
    "random_masks",
    "spearman",
    "task_cells",
]

PRESETS = {16: "small-16", 64: "paper"}
SIZES = tuple(PRESETS)
TASKS = ("location", "sensing")


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much each room is worked on.

    Attributes:
        seeds: Trainings of every scheme in a room.
        iterations: Mini-batches of a training of gates.
        steps: Mini-batches of a training from scratch.
        windows: Labelled windows that every scheme learns from.
        held_out: Windows that errors are measured on.
        ranked: Random masks whose ranks are compared.
        retrained: Trainings from scratch of such a mask, and as many for the ceiling.
        judged: Trainings from scratch of a mask that a scheme selected.
        enumerated: Rooms in which every mask of 16 tones is scored anew.
        frames: Frames of an episode under a moving interferer.
    """

    seeds: int = 2
    iterations: int = 400
    steps: int = 400
    windows: int = 800
    held_out: int = 600
    ranked: int = 24
    retrained: int = 1
    judged: int = 2
    enumerated: int = 1
    frames: int = 12


@dataclass(frozen=True)
class Rooms:
    """Random rooms of one scenario; equal seeds give equal rooms, and first windows, at any size.

    Attributes:
        problem: Problem they belong to.
        instance: Instances, batch size B.
    """

    problem: SubcarrierSelection
    instance: SubcarrierInstance

    @classmethod
    def sample(cls, *, rooms: int, seed: int, preset: str, **changes: Any) -> Self:
        """Draw rooms of a preset with single fields changed."""
        problem = SubcarrierSelection(scenario=SubcarrierScenario.preset(preset, **changes))
        seeds = lane_seeds(f"figures/subcarrier_selection/{seed}", rooms)
        return cls(problem, problem.sample(Streams.from_seeds(seeds)))

    @property
    def known(self) -> SubcarrierInstance:
        """What a solver may see."""
        return self.problem.known(self.instance)

    @property
    def limits(self) -> tuple[int, int]:
        """Fewest and most tones of a mask."""
        return self.problem.scenario.min_tones, self.problem.scenario.max_tones

    @property
    def everything(self) -> Tensor:
        """All tones, (B, 1, S) bool: more than allowed."""
        size = (self.instance.batch_size, 1, self.problem.scenario.num_tones)
        return torch.ones(size, dtype=torch.bool)


def random_masks(rooms: Rooms, number: int, *, seed: int, name: str = "masks") -> Tensor:
    """Allowed masks of random sizes, others in every room, (B, Q, S) bool."""
    least, most = rooms.limits
    tones = rooms.problem.scenario.num_tones
    streams = Streams.from_seeds(
        lane_seeds(f"figures/subcarrier_selection/{name}/{seed}", rooms.instance.batch_size)
    )
    order = streams.uniform("order", number, tones)
    count = least + (streams.uniform("count", number, 1) * (most - least + 1)).floor()
    ranks = order.argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
    return ranks < count


def project_gates(rooms: Rooms, gate: Tensor) -> Tensor:
    """Masks that relaxed weights (..., S) decide for."""
    return select_tones(gate, *rooms.limits)


def by_room(values: Tensor) -> Estimate:
    """Mean over everything, with one batch per room, of (B, ...)."""
    rooms = values.detach().double().flatten(1).mean(1) if values.ndim > 1 else values.double()
    found = tuple(rooms.tolist())
    return Estimate(sum(found) / len(found), found)


def task_cells(
    place: float | str, scheme: str, errors: Tensor, *, prefix: str = ""
) -> dict[tuple[float | str, str, str], Estimate]:
    """Cells of a table from errors (B, ..., 2): place, activity and their mean."""
    cells = {
        (place, scheme, f"{prefix}{task}"): by_room(errors[..., index])
        for index, task in enumerate(TASKS)
    }
    return cells | {(place, scheme, f"{prefix}error"): by_room(errors.mean(-1))}


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of estimates over the same rooms."""
    values = torch.tensor([e.batches for e in estimates], dtype=torch.float64)
    return by_room(values.mean(0))


def spearman(first: Tensor, second: Tensor) -> float:
    """Rank correlation of (Q,) and (Q,)."""
    ranks = [rankdata(each.double().numpy()) for each in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])
