"""What our own baselines and agents give: the reference values of tasks, and rows for the board.

Only this module and ``cli`` may import ``baselines`` and ``agents``: the judge reads the stored
reference values and cannot see who made them.
"""

import json
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

import agents
from agents.artifact import TrainedAgent, load_agent
from baselines.front import solve
from baselines.policy import SolverPolicy
from baselines.registry import make_solver, solvers
from isac_gym.core import Solver, Streams, TensorRecord
from isac_gym.core.family import load_object
from leaderboard.arrays import content_digest, file_digest, pack, write_bytes
from leaderboard.evaluate import (
    FloorPolicy,
    Progress,
    evaluate_decisions,
    evaluate_policy,
    measure,
    play,
    policy_decisions,
)
from leaderboard.instances import (
    STORED_BYTES,
    fingerprint,
    first_fingerprint,
    load_instances,
    seeds_digest,
)
from leaderboard.results import Method, Result, Timing, Training
from leaderboard.submission import software_versions
from leaderboard.tasks import (
    DATA,
    Reference,
    ScenarioRef,
    Task,
    TaskError,
    load_references,
    load_task,
    make_problem,
    make_process,
    tasks,
)

__all__ = [
    "Run",
    "check_references",
    "compute_references",
    "freeze",
    "jobs_of",
    "run_agent",
    "run_job",
    "run_solver",
]

FloatArray = NDArray[np.float64]
_PRETRAINED = Path(agents.__file__).parent / "pretrained"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A contestant of ours on one task.

    Attributes:
        result: Its score.
        decision: Its decisions, on static tasks.
    """

    result: Result
    decision: TensorRecord | None = None


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
            decision = solve(make_problem(task), instance, reference.method).decision
            values["paper"] = measure(task, instance, decision).objective
    values["bound"] = _static_bound(task, task.reference("bound"), instance, values["floor"])
    return values


def _static_bound(
    task: Task, reference: Reference, instance: TensorRecord, floor: FloatArray
) -> FloatArray:
    if not reference.method:
        return _constant_bound(reference, floor)
    solution = solve(make_problem(task), instance, reference.method)
    if reference.kind == "yardstick":
        return measure(task, instance, solution.decision).objective
    certificate = solution.certificate
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
            policy = SolverPolicy(make_solver(task.problem, reference.method))
            values["paper"] = play(task, policy).objective
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
    """Fill in a draft: draw its instances, compute its references, store both and the digests.

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
    if instance is not None and sum(t.nbytes for _, t in instance.items()) <= STORED_BYTES:
        changes["sha256"] = _store(data, "instances", draft.id, pack(instance))
    else:
        changes["sha256"] = seeds_digest(draft.seeds())
        found = (
            first_fingerprint(draft) if instance is None else fingerprint(instance, is_mixed=True)
        )
        changes["fingerprint"] = found
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


def run_solver(
    task: Task,
    solver: Solver,
    *,
    margin_db: float = 0.0,
    knowledge: str = "measured",
    limit: int | None = None,
    progress: Progress | None = None,
) -> Run:
    """Score one of our solvers.

    Args:
        task: A static task, whose instances are solved, or a dynamic one, planned slot by slot.
        solver: The solver.
        margin_db: Constraints are tightened by this much before solving.
        knowledge: ``measured``, or ``truth`` for a genie; dynamic tasks only.
        limit: Solve only the first instances of a static task: a partial result, not ranked.
        progress: Called with (slots done, horizon).
    """
    if task.kind == "dynamic":
        policy = SolverPolicy(solver, margin_db=margin_db, knowledge=knowledge)
        kind = "genie" if knowledge == "truth" else "classical"
        method = _method(policy.name, solver.summary, kind=kind)
        return Run(result=evaluate_policy(task, policy, method=method, progress=progress))
    problem, instance = make_problem(task), load_instances(task)[:limit]
    solution = solve(problem, problem.tighten(instance, margin_db), solver)
    name = solver.name + (f" {margin_db:+g} dB" if margin_db else "")
    result = evaluate_decisions(
        task,
        solution.decision,
        method=_method(name, solver.summary),
        timing=_timing(solution.seconds, instance.batch_size),
    )
    return Run(result=result, decision=solution.decision)


def run_agent(task: Task, agent: TrainedAgent, *, progress: Progress | None = None) -> Run:
    """Score a trained agent, on a static task through the one-step environment."""
    method, digest = _agent_method(agent), agent.manifest.weights_sha256
    if task.kind == "dynamic":
        return Run(
            result=evaluate_policy(
                task, agent, method=method, progress=progress, agent_sha256=digest
            )
        )
    policy_decisions(task, agent)  # warm up
    start = time.perf_counter()
    decision = policy_decisions(task, agent)
    timing = _timing(time.perf_counter() - start, task.instances.count)
    result = evaluate_decisions(task, decision, method=method, timing=timing)
    return Run(result=result, decision=decision)


def jobs_of(task: Task) -> Iterator[dict[str, Any]]:
    """What ``isac demo`` runs on a task, see ``data/demo/<problem>.json``; for :func:`run_job`.

    Slow solvers are left out.
    """
    path = DATA / "demo" / f"{task.problem}.json"
    chosen: Mapping[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    if task.kind == "static":
        limits = chosen.get("static_limits", {})
        for name, kind in solvers(task.problem).items():
            if not kind.is_slow:
                yield {"solver": name, "limit": limits.get(name)}
    else:
        for job in chosen.get("dynamic", ()):
            if task.id in job.get("only", [task.id]):
                yield {name: value for name, value in job.items() if name != "only"}
    for folder in sorted(p.parent for p in _PRETRAINED.rglob("manifest.json")):
        manifest = load_agent(folder).manifest
        if manifest.environment != task.environment:
            continue
        process, sizes = make_process(task), manifest.architecture.sizes
        if (sizes[0], sizes[-1]) == (process.observation_size, process.action_size):
            yield {"agent": str(folder)}


def run_job(task: Task, job: Mapping[str, Any], *, progress: Progress | None = None) -> Run:
    """Run one entry of :func:`jobs_of`: a ``solver``, a ``policy`` of ours, or an ``agent``."""
    options = dict(job)
    if "agent" in options:
        return run_agent(task, load_agent(options["agent"]), progress=progress)
    if "policy" in options:
        policy = load_object(options.pop("policy"))(**options)
        method = _method(policy.name, (type(policy).__doc__ or "").partition("\n")[0])
        return Run(result=evaluate_policy(task, policy, method=method, progress=progress))
    solver = make_solver(task.problem, options.pop("solver"))
    return run_solver(task, solver, progress=progress, **options)


def _timing(seconds: float, batch_size: int) -> Timing:
    each = max(seconds / batch_size, 1e-12)
    return Timing(seconds_per_decision=each, batch_size=batch_size, source="measured by us")


def _method(
    name: str, summary: str, *, kind: Literal["classical", "genie"] = "classical"
) -> Method:
    text = summary[:1].upper() + summary[1:]
    return Method(
        name=name,
        kind=kind,
        summary=text if text.endswith(".") or not text else f"{text}.",
        licence="MIT",
        contact="the isac_gym developers",
        versions=software_versions(),
        hardware=f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)",
    )


def _agent_method(agent: TrainedAgent) -> Method:
    m = agent.manifest
    sizes = " x ".join(map(str, m.architecture.sizes))
    return Method(
        name=m.name,
        kind="rl" if m.method == "ppo" else "learned",
        summary=f"Trained with {m.method}; network {sizes}.",
        training=Training(
            data=f"{m.environment}, scenario {m.scenario_digest[:16]}.",
            budget=f"{m.steps} steps, {m.seconds:.0f} s.",
        ),
        seeds_tried=[m.seed],
        seed_reported=m.seed,
        parameters=sum(t.numel() for t in agent.network.parameters()),
        licence="MIT",
        contact="the isac_gym developers",
        versions=m.versions,
    )
