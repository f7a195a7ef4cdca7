"""Do cheap evaluators rank masks as training networks anew for every mask does?

Random allowed masks in several rooms; ranks are compared within a room (Spearman). The truth is
the mean held-out error of networks trained from scratch; its ceiling is the agreement of that
training with itself under other seeds.
"""

import torch
from torch import Tensor

from baselines.figures import Estimate, Table
from baselines.subcarrier_selection.figures.draws import (
    PRESETS,
    Effort,
    Rooms,
    by_room,
    random_masks,
    spearman,
)
from baselines.subcarrier_selection.figures.training import comparison_rooms
from baselines.subcarrier_selection.retraining import masknet_errors, retrain
from isac_gym.physics.convex_probe import convex_probe_errors, convex_probe_predict
from isac_gym.physics.probes import task_errors

__all__ = ["EVALUATORS", "measure_ranks", "rank_agreement"]

EVALUATORS = (
    *("kernel_ridge", "soft_neighbours", "mask_network"),
    *("ridge_held_out", "in_sample", "in_sample_weak"),
)
_WEAK_RIDGE, _WEAK_DEGREE = 0.05, 2  # as the prototype: a weak penalty, squares too


def rank_agreement(first: Tensor, second: Tensor) -> Estimate:
    """Spearman's correlation within each room of (B, Q) and (B, Q)."""
    found = [spearman(a, b) for a, b in zip(first, second, strict=True)]
    return by_room(torch.tensor(found, dtype=torch.float64))


def measure_ranks(size: int, *, rooms: int, seed: int, effort: Effort) -> Table:
    """Rank agreement of every evaluator with training anew, at one number of tones."""
    where = comparison_rooms(size, rooms=rooms, seed=seed, effort=effort)
    mask = random_masks(where, effort.ranked, seed=seed, name="ranks")
    truth = _anew(where, mask, effort)
    others = _anew(where, mask, effort, first=effort.retrained)
    mean = torch.cat([truth, others], -1).mean(-1)
    table = Table("tones")
    for name, error in {**_errors(where, mask, effort), **_scores(size, mask, rooms, seed)}.items():
        table.cells[size, name, "rank_correlation"] = rank_agreement(error, mean)
    halves = rank_agreement(truth.mean(-1), others.mean(-1))
    table.cells[size, "ceiling", "rank_correlation"] = halves
    spread = mean.std(-1)
    table.cells[size, "retrained", "spread"] = by_room(spread)
    return table


def _anew(rooms: Rooms, mask: Tensor, effort: Effort, *, first: int = 0) -> Tensor:
    """Errors of training anew with the seeds from ``first`` on, (B, Q, Z)."""
    i = rooms.instance
    seeds = tuple(range(first, first + effort.retrained))
    steps = effort.steps
    found = retrain(i.train, i.train_label, i.score, i.score_label, mask, seeds=seeds, steps=steps)
    return found.mean(-1)


def _errors(rooms: Rooms, mask: Tensor, effort: Effort) -> dict[str, Tensor]:
    """Errors (B, Q) of all evaluators on the windows that the networks are judged by too."""
    i, problem = rooms.instance, rooms.problem
    least, most = rooms.limits
    weight = mask.to(i.dtype)
    net = masknet_errors(
        i.train,
        i.train_label,
        i.score,
        i.score_label,
        mask,
        least=least,
        most=most,
        seeds=tuple(range(effort.retrained)),
        steps=3 * effort.steps,
    )
    ridge = task_errors(
        convex_probe_predict(i.train, i.train_label, i.score, weight), i.score_label
    )
    return {
        "kernel_ridge": problem.mask_errors(i, mask, evaluator="kernel_ridge").mean(-1),
        "soft_neighbours": problem.mask_errors(i, mask, evaluator="soft_neighbours").mean(-1),
        "mask_network": net.mean((-1, -2)),
        "ridge_held_out": ridge.mean(-1),
        "in_sample": problem.mask_errors(i, mask, evaluator="convex_probe").mean(-1),
        "in_sample_weak": convex_probe_errors(
            i.train, i.train_label, weight, ridge=_WEAK_RIDGE, degree=_WEAK_DEGREE
        ).mean(-1),
    }


def _scores(size: int, mask: Tensor, rooms: int, seed: int) -> dict[str, Tensor]:
    """The score itself: kernel ridge on as many windows as the benchmark's preset has."""
    small = Rooms.sample(rooms=rooms, seed=seed, preset=PRESETS[size])
    i, problem = small.instance, small.problem
    return {
        "score": problem.mask_errors(i, mask).mean(-1),
        "validation": problem.mask_errors(small.known, mask).mean(-1),
    }
