"""The judge: scores decisions and plays policies. It cannot see a contestant's code.

Decisions go through ``Problem.project`` and ``Problem.evaluate``; policies are played through the
task's ``Process`` on its frozen seeds, so all contestants meet the same draws.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isac_gym.core import (
    Policy,
    PolicyContext,
    Problem,
    Process,
    ShapeError,
    Streams,
    TensorRecord,
)
from leaderboard.arrays import content_digest, pack
from leaderboard.instances import load_instances
from leaderboard.results import Method, Result, Timing, build_result
from leaderboard.tasks import (
    References,
    Task,
    TaskError,
    load_references,
    make_problem,
    make_process,
)

__all__ = [
    "FloorPolicy",
    "Measurement",
    "evaluate_decisions",
    "evaluate_policy",
    "measure",
    "play",
    "policy_decisions",
]

FloatArray = NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured before any score is formed; all arrays (n,).

    Attributes:
        objective: In the task's unit.
        feasible: Share of feasible decisions as handed in.
        violation: Largest relative violation as handed in.
        feasible_after: Share of feasible decisions after our projection.
        columns: Mean of further scalar quantities by "name [unit]".
        seconds_per_decision: Time of the policy, 0 where it was not ours to measure.
    """

    objective: FloatArray
    feasible: FloatArray
    violation: FloatArray
    feasible_after: FloatArray
    columns: dict[str, float]
    seconds_per_decision: float = 0.0

    def per_instance(self) -> dict[str, FloatArray]:
        """The arrays by name."""
        return {
            "objective": self.objective,
            "feasible": self.feasible,
            "violation": self.violation,
            "feasible_after": self.feasible_after,
        }


@dataclass(frozen=True)
class FloorPolicy:
    """Plays the problem's naive decision for the measured instance: score 0."""

    name: str = "floor"

    def act(self, observation: Tensor, context: PolicyContext) -> Tensor:
        """Action of ``Problem.floor``, (B, action_size)."""
        process = context.process
        return process.encode(context.state, process.problem.floor(process.measured(context.state)))


def measure(task: Task, instance: TensorRecord, decision: TensorRecord) -> Measurement:
    """Evaluate decisions as handed in and after projection; no score yet.

    A decision that is still infeasible after projection earns nothing: its objective is capped by
    the floor's.

    Args:
        task: A static task.
        instance: Instances, batch size B.
        decision: Decisions for them; validated here.

    Raises:
        ShapeError: The decision record is not valid for the instances.
    """
    problem = make_problem(task)
    _check_decision(problem, instance, decision)
    decision = decision.to("cpu", torch.float64).detach()
    limit = task.metric.feasibility_tolerance
    with torch.no_grad():
        raw = problem.metrics(instance, decision)
        projected = problem.evaluate(instance, problem.project(instance, decision))
        floor = problem.metrics(instance, problem.floor(instance)).objective
    values = dict(projected.items())
    is_feasible = values["violation"] <= limit
    capped = torch.minimum(values["objective"], floor)
    return Measurement(
        objective=_numpy(torch.where(is_feasible, values["objective"], capped)),
        feasible=_numpy(raw.violation <= limit),
        violation=_numpy(raw.violation),
        feasible_after=_numpy(is_feasible),
        columns=_finite(_columns(projected)),
    )


def _check_decision(problem: Problem, instance: TensorRecord, decision: object) -> None:
    """Type, shape and finiteness. Values outside the decision set are no error: they are scored."""
    wanted = problem.decision_type
    if not isinstance(decision, wanted):
        raise ShapeError(f"expected a {wanted.__name__}, got {type(decision).__name__}.")
    problem.validate(instance)
    decision.check(**problem.axis_sizes, B=instance.batch_size).check_finite()


def evaluate_decisions(
    task: Task,
    decision: TensorRecord,
    *,
    method: Method,
    timing: Timing | None = None,
    references: References | None = None,
    instance: TensorRecord | None = None,
) -> Result:
    """Score decisions for a static task's instances.

    Args:
        task: A static task.
        decision: Decisions for its first B instances, in their order.
        method: Who made them.
        timing: Time per decision.
        references: Reference values; loaded if None.
        instance: The task's instances; loaded if None.

    Raises:
        TaskError: The task is dynamic, or one of its files was changed.
        ShapeError: The decisions are not valid for the instances.
    """
    instance = load_instances(task) if instance is None else instance
    references = load_references(task) if references is None else references
    if decision.batch_size > instance.batch_size:
        raise ShapeError(
            f"decision: batch size {decision.batch_size}, at most {instance.batch_size} (B)."
        )
    measured = measure(task, instance[: decision.batch_size], decision)
    return build_result(
        task,
        references,
        method=method,
        per_instance=measured.per_instance(),
        columns=measured.columns,
        timing=timing,
        decisions_sha256=content_digest(pack(decision)),
    )


def evaluate_policy(
    task: Task,
    policy: Policy,
    *,
    method: Method,
    episodes: int | None = None,
    references: References | None = None,
    progress: Progress | None = None,
    agent_sha256: str = "",
) -> Result:
    """Play a policy on a dynamic task's episodes and score it.

    Args:
        task: A dynamic task.
        policy: The contestant; sees observations, and the context that planners need.
        method: Who made it.
        episodes: Play only the first ones (a partial result, not ranked); None plays all.
        references: Reference values; loaded if None.
        progress: Called with (slots done, horizon).
        agent_sha256: Digest of the agent's file.

    Raises:
        TaskError: The task is static, or one of its files was changed.
        ShapeError: The policy's actions have the wrong shape or are not finite.
    """
    if task.kind != "dynamic":
        raise TaskError(f"{task.id}: a static task takes decisions; see evaluate_decisions.")
    count = min(episodes or task.instances.count, task.instances.count)
    measured = play(task, policy, episodes=count, progress=progress)
    seconds = measured.seconds_per_decision
    return build_result(
        task,
        load_references(task) if references is None else references,
        method=method,
        per_instance=measured.per_instance(),
        columns=measured.columns,
        timing=Timing(seconds_per_decision=seconds, batch_size=count, source="measured by us"),
        decisions_sha256=agent_sha256,
    )


def policy_decisions(task: Task, policy: Policy) -> TensorRecord:
    """Decisions of a policy for a static task's instances, batch size ``task.instances.count``.

    The one-step environment draws the same instances as the stored set, to rounding; the decisions
    are then scored on the stored ones.

    Raises:
        TaskError: The task is dynamic.
        ShapeError: The policy's actions have the wrong shape or are not finite.
    """
    if task.kind != "static":
        raise TaskError(f"{task.id}: a dynamic task is played; see evaluate_policy.")
    process = make_process(task)
    with torch.no_grad():
        state = process.initial(Streams.from_seeds(task.seeds()))
        is_reset = torch.ones(task.instances.count, dtype=torch.bool)
        action = policy.act(process.observe(state), PolicyContext(process, state, is_reset))
        shape = (task.instances.count, process.action_size)
        return process.decode(state, _checked(action, shape, 1))


def play(
    task: Task, policy: Policy, *, episodes: int | None = None, progress: Progress | None = None
) -> Measurement:
    """Play the first ``episodes`` episodes of a dynamic task side by side; no score yet.

    Raises:
        ShapeError: The policy's actions have the wrong shape or are not finite.
    """
    process = make_process(task)
    streams = Streams.from_seeds(task.seeds()[:episodes])
    with torch.no_grad():
        return _play(process, policy, streams, task.metric.feasibility_tolerance, progress)


def _play(
    process: Process, policy: Policy, streams: Streams, limit: float, progress: Progress | None
) -> Measurement:
    state, batch = process.initial(streams), streams.batch_size
    is_reset = torch.ones(batch, dtype=torch.bool)
    total, feasible, worst = (torch.zeros(batch, dtype=torch.float64) for _ in range(3))
    sums: dict[str, float] = {}
    seconds = 0.0
    for slot in range(1, process.horizon + 1):
        context = PolicyContext(process, state, is_reset)
        start = time.perf_counter()
        action = policy.act(process.observe(state), context)
        seconds += time.perf_counter() - start
        decision = process.decode(state, _checked(action, (batch, process.action_size), slot))
        step = process.advance(state, decision, streams.at_step(slot))
        total += step.reward
        feasible += (step.metrics.violation <= limit).double()
        worst = torch.maximum(worst, step.metrics.violation)
        for name, value in (_columns(step.metrics) | _goals(process, step.objectives)).items():
            sums[name] = sums.get(name, 0.0) + value / process.horizon
        state, is_reset = step.state, torch.zeros_like(is_reset)
        if progress is not None:
            progress(slot, process.horizon)
    share = _numpy(feasible / process.horizon)
    return Measurement(
        objective=_numpy(total / process.horizon),
        feasible=share,
        violation=_numpy(worst),
        feasible_after=share,
        columns=_finite(sums),
        seconds_per_decision=max(seconds / (process.horizon * batch), 1e-12),
    )


def _checked(action: Tensor, shape: tuple[int, int], slot: int) -> Tensor:
    if not isinstance(action, Tensor) or tuple(action.shape) != shape:
        found = tuple(action.shape) if isinstance(action, Tensor) else type(action).__name__
        raise ShapeError(
            f"policy action in slot {slot}: {found}, expected shape {shape} (B, action)."
        )
    if not bool(torch.isfinite(action).all()):
        raise ShapeError(f"policy action in slot {slot}: not finite; entries must be in [-1, 1].")
    return action


def _columns(metrics: TensorRecord) -> dict[str, float]:
    """Means of the scalar real metrics, by "name [unit]"."""
    infos = type(metrics).tensor_fields()
    return {
        f"{name} [{infos[name].unit}]": float(value.mean())
        for name, value in metrics.items()
        if infos[name].axes == ("B",) and infos[name].kind == "real"
    }


def _finite(columns: dict[str, float]) -> dict[str, float]:
    """Columns with a finite mean; a bound is infinite where, say, nothing lights the image."""
    return {name: mean for name, mean in columns.items() if math.isfinite(mean)}


def _goals(process: Process, objectives: Tensor) -> dict[str, float]:
    means = objectives.mean(0).tolist()
    return {
        f"reward {name} [1]": value
        for name, value in zip(process.objective_names, means, strict=True)
    }


def _numpy(tensor: Tensor) -> FloatArray:
    return tensor.detach().cpu().double().numpy()
