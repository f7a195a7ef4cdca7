"""Instances of tasks: loaded from a file, or drawn again from seeds and held to a fingerprint."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isac_gym.core import Streams, TensorRecord
from leaderboard.arrays import unpack
from leaderboard.tasks import DATA, Task, TaskError, make_problem, make_process, stored_arrays

__all__ = [
    "STORED_BYTES",
    "check_instances",
    "fingerprint",
    "first_fingerprint",
    "load_instances",
    "seeds_digest",
]

STORED_BYTES = 512 * 1024  # instances of more than this are drawn again instead of stored
_REDRAW_TOLERANCE = 1e-9
_TURN = (5**0.5 - 1) / 2  # golden section: the phases never repeat


def load_instances(task: Task, *, data: Path = DATA) -> TensorRecord:
    """Instances of a static task, float64, batch size ``task.instances.count``.

    Large ones (see ``STORED_BYTES``) are drawn from the task's seeds and held to its fingerprint.

    Raises:
        TaskError: The file is missing or was changed, a re-draw deviates, or the task is dynamic.
    """
    if task.kind != "static":
        raise TaskError(f"{task.id}: a dynamic task stores seeds, not instances.")
    problem = make_problem(task)
    if task.instances.fingerprint:
        instance = problem.sample(Streams.from_seeds(task.seeds()))
        _demand_redraw(task, _seeds_deviation(task, instance))
        return instance
    instance = unpack(
        problem.instance_type, stored_arrays(task, "instances", task.instances.sha256, data)
    )
    problem.validate(instance)
    return instance


def seeds_digest(seeds: list[int]) -> str:
    """SHA-256 of seeds written as decimal lines."""
    return hashlib.sha256("".join(f"{seed}\n" for seed in seeds).encode()).hexdigest()


def first_fingerprint(task: Task) -> dict[str, float]:
    """:func:`fingerprint` of the first slot of the first 8 episodes of a dynamic task."""
    process = make_process(task)
    return fingerprint(process.truth(process.initial(Streams.from_seeds(task.seeds()[:8]))))


def fingerprint(instance: TensorRecord, *, is_mixed: bool = False) -> dict[str, float]:
    """Mean magnitude of every tensor of some instances; True counts as 1.

    With ``is_mixed`` also, as ``name mixed``, the real part of a sum with fixed phases, one per
    number: it changes with any value, sign or order.
    """
    numbers = {name: t if t.is_complex() else t.double() for name, t in instance.items()}
    found = {name: float(t.abs().double().mean()) for name, t in numbers.items()}
    if is_mixed:
        found |= {f"{name} mixed": _mixed(t) for name, t in numbers.items()}
    return found


def _mixed(t: Tensor) -> float:
    flat = t.flatten().to(torch.complex128)
    turn = torch.remainder(torch.arange(1, len(flat) + 1, dtype=torch.float64) * _TURN, 1.0)
    total = (flat * torch.polar(torch.ones_like(turn), 2 * math.pi * turn)).sum()
    # On top of the plain size, so that a sum near zero does not inflate relative deviations.
    return float(total.real / len(flat) ** 0.5 + 10 * flat.abs().mean())


def check_instances(task: Task, *, data: Path = DATA) -> float:
    """Draw the instances again and compare them with what the task pins down.

    Returns:
        Largest deviation relative to the largest magnitude of the tensor's row.

    Raises:
        TaskError: It exceeds 1e-9, or a digest is wrong.
    """
    problem = make_problem(task)
    if task.kind == "static" and not task.instances.fingerprint:
        stored = dict(load_instances(task, data=data).items())
        drawn = dict(problem.sample(Streams.from_seeds(task.seeds())).items())
        worst = max(_deviation(stored[name], drawn[name]) for name in stored)
    elif task.kind == "static":
        worst = _seeds_deviation(task, problem.sample(Streams.from_seeds(task.seeds())))
    else:
        worst = _seeds_deviation(task, None)
    _demand_redraw(task, worst)
    return worst


def _seeds_deviation(task: Task, instance: TensorRecord | None) -> float:
    """Change of the fingerprint of drawn instances, or of a dynamic task's first slots."""
    if seeds_digest(task.seeds()) != task.instances.sha256:
        raise TaskError(f"{task.id}: the seeds do not have the task's SHA-256.")
    drawn = first_fingerprint(task) if instance is None else fingerprint(instance, is_mixed=True)
    return _largest_change(task.instances.fingerprint, drawn)


def _demand_redraw(task: Task, worst: float) -> None:
    if not worst <= _REDRAW_TOLERANCE:
        raise TaskError(
            f"{task.id}: a re-draw deviates by {worst:.1e} relative, allowed "
            f"{_REDRAW_TOLERANCE:.0e}; sampling has changed and the task needs a new version."
        )


def _deviation(stored: Any, drawn: Any) -> float:
    if stored.shape != drawn.shape or not stored.numel():
        return float("inf")
    gap, size = ((t.abs().reshape(len(t), -1).amax(1).double()) for t in (stored - drawn, drawn))
    return float((gap / size.clamp_min(1e-300)).max())


def _largest_change(wanted: Mapping[str, float], found: Mapping[str, float]) -> float:
    if set(wanted) != set(found):
        return float("inf")
    return max(abs(found[n] - wanted[n]) / max(abs(wanted[n]), 1e-300) for n in wanted)
