"""Reference values: computed with our baselines, stored next to the task, checked by recomputing.

Only this module and ``cli`` may import ``baselines`` and ``agents``: the judge reads the stored values
and cannot see who made them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from baselines.front import solve
from baselines.policy import SolverPolicy
from baselines.registry import make_solver
from isac_gym.core import Policy, Solver, Streams, TensorRecord
from leaderboard.arrays import content_digest, file_digest, pack, write_bytes
from leaderboard.evaluate import FloorPolicy, measure, play
from leaderboard.results import Timing
from leaderboard.submission import software_versions
from leaderboard.tasks import (
    DATA,
    Reference,
    ScenarioRef,
    Task,
    TaskError,
    first_fingerprint,
    load_instances,
    load_references,
    load_task,
    make_problem,
    seeds_digest,
    tasks,
)

__all__ = [
    "Solved",
    "check_references",
    "compute_references",
    "freeze",
    "solve_static",
    "solver_policy",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Solved:
    """A solver's answer to a static task.

    Attributes:
        decision: Decisions for the first B instances.
        timing: Time per decision, measured here.
    """

    decision: TensorRecord
    timing: Timing


def solve_static(task: Task, solver: str | Solver, instance: TensorRecord) -> Solved:
    """Solve a static task's instances (batch size B) with one of our solvers."""
    solution = solve(make_problem(task), instance, solver)
    seconds = max(solution.seconds / instance.batch_size, 1e-12)
    timing = Timing(
        seconds_per_decision=seconds, batch_size=instance.batch_size, source="measured by us"
    )
    return Solved(decision=solution.decision, timing=timing)


def solver_policy(task: Task, name: str, *, margin_db: float = 0.0) -> Policy:
    """A solver that plans every slot of a dynamic task with the measured instance."""
    return cast(Policy, SolverPolicy(make_solver(task.problem, name), margin_db=margin_db))


def compute_references(
    task: Task, *, instance: TensorRecord | None = None
) -> dict[str, FloatArray]:
    """Values of floor, bound and paper per instance, each (n,), computed from scratch.

    Args:
        task: The task.
        instance: Instances of a static task; loaded if None.

    Raises:
        TaskError: The floor beats the bound, or the bound's certificate is of another kind.
    """
    if task.kind == "static":
        values = _static_values(task, load_instances(task) if instance is None else instance)
    else:
        values = _dynamic_values(task)
    bound, slack = values["bound"], task.reference("bound").tolerance
    for role in ("floor", "paper"):
        if role in values and task.has_bound and np.any(values[role] > bound + slack):
            row = int(np.argmax(values[role] - bound))
            raise TaskError(f"{task.id}: the {role} beats the bound in instance {row}.")
    return values


def _static_values(task: Task, instance: TensorRecord) -> dict[str, FloatArray]:
    problem = make_problem(task)
    values = {"floor": measure(task, instance, problem.floor(instance)).objective}
    for reference in task.references:
        if reference.role == "paper":
            decision = solve_static(task, reference.method, instance).decision
            values["paper"] = measure(task, instance, decision).objective
    values["bound"] = _static_bound(task, task.reference("bound"), instance, values["floor"])
    return values


def _static_bound(
    task: Task, reference: Reference, instance: TensorRecord, floor: FloatArray
) -> FloatArray:
    if not reference.method:
        return _constant_bound(reference, floor)
    certificate = solve(make_problem(task), instance, reference.method).certificate
    if certificate is None or certificate.kind != reference.kind:
        found = "no certificate" if certificate is None else f"kind {certificate.kind!r}"
        raise TaskError(
            f"{task.id}: {reference.method} gives {found}, expected {reference.kind!r}."
        )
    return certificate.bound.double().numpy()


def _constant_bound(reference: Reference, floor: FloatArray) -> FloatArray:
    if reference.above_floor is not None:
        return floor + reference.above_floor
    return np.full_like(floor, reference.value or 0.0)


def _dynamic_values(task: Task) -> dict[str, FloatArray]:
    values = {"floor": play(task, FloorPolicy()).objective}
    for reference in task.references:
        if reference.role == "paper":
            values["paper"] = play(task, solver_policy(task, reference.method)).objective
    values["bound"] = _constant_bound(task.reference("bound"), values["floor"])
    return values


def check_references(task: Task, *, data: Path = DATA) -> dict[str, float]:
    """Recompute the references and compare them with the stored ones.

    Returns:
        Largest deviation by role, in the metric's unit.

    Raises:
        TaskError: One exceeds the reference's tolerance.
    """
    instance = load_instances(task, data=data) if task.kind == "static" else None
    fresh, stored = compute_references(task, instance=instance), load_references(task, data=data)
    found: dict[str, float] = {}
    for reference in task.references:
        old = getattr(stored, reference.role)
        found[reference.role] = float(np.abs(fresh[reference.role] - old).max())
        if not found[reference.role] <= reference.tolerance:
            raise TaskError(
                f"{task.id}: the {reference.role} deviates by {found[reference.role]:.1e} "
                f"{task.metric.unit}, allowed {reference.tolerance:.1e}."
            )
    return found


def freeze(path: Path, *, data: Path = DATA) -> Task:
    """Fill in a draft task: draw its instances, compute its references, store both and their digests.

    Args:
        path: Task file whose digests are empty; rewritten in place.
        data: Folder of the data files.

    Raises:
        TaskError: The task is frozen already; a change needs a new version.
    """
    draft = load_task(path)
    if draft.references_sha256 or draft.instances.sha256:
        raise TaskError(
            f"{draft.id}: frozen already; a change is a new task with a higher version."
        )
    problem = make_problem(draft)
    scenario = ScenarioRef(
        preset=draft.scenario.preset,
        changes=draft.scenario.changes,
        digest=problem.scenario.digest(),
    )
    changes: dict[str, Any] = {}
    instance = None
    if draft.kind == "static":
        instance = problem.sample(Streams.from_seeds(draft.seeds()))
        changes["sha256"] = _store(data, "instances", draft.id, pack(instance))
    else:
        changes["sha256"] = seeds_digest(draft.seeds())
        changes["fingerprint"] = first_fingerprint(draft)
    values = compute_references(draft, instance=instance)
    arrays = {role: torch.from_numpy(value.copy()) for role, value in values.items()}
    task = draft.model_copy(
        update={
            "scenario": scenario,
            "instances": draft.instances.model_copy(update=changes),
            "references_sha256": _store(data, "references", draft.id, arrays),
        }
    )
    provenance = {
        "task": task.id,
        "task_digest": task.digest(),
        "content_sha256": content_digest(arrays),
        "versions": software_versions(),
        "references": [r.model_dump(mode="json", exclude_none=True) for r in task.references],
        "means": {role: float(value.mean()) for role, value in values.items()},
    }
    text = json.dumps(provenance, indent=2) + "\n"
    write_bytes(data / "references" / f"{task.id}.json", text.encode())
    text = json.dumps(task.model_dump(mode="json", exclude_none=True), indent=2) + "\n"
    write_bytes(path, text.encode())
    tasks.cache_clear()
    return task


def _store(data: Path, kind: str, task_id: str, arrays: dict[str, torch.Tensor]) -> str:
    path = data / kind / f"{task_id}.safetensors"
    write_bytes(path, safetensors.torch.save(arrays))
    return file_digest(path)
