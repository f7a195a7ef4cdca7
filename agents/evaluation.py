"""Playing policies on named sets of episodes and summing up what they reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from baselines.front import solve
from baselines.policy import SolverPolicy
from baselines.registry import solvers
from isac_gym.core.policy import Policy, PolicyContext
from isac_gym.core.process import Process
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.core.solution import Solver
from isac_gym.core.units import db_to_linear

__all__ = [
    "Episodes",
    "FloorPolicy",
    "certifier",
    "episode_seeds",
    "interval",
    "play",
    "references",
    "summary",
]

_FEASIBLE = 1e-7  # relative violation up to which a slot counts as feasible


@dataclass(frozen=True)
class Episodes:
    """What a policy reached, slot by slot.

    Attributes:
        reward: (B, horizon).
        objective: (B, horizon), in the problem's unit.
        violation: (B, horizon).
    """

    reward: Tensor
    objective: Tensor
    violation: Tensor


@dataclass(frozen=True)
class FloorPolicy:
    """The problem's naive decision for the instance as measured."""

    name: str = "floor"

    def act(self, observation: Tensor, context: PolicyContext) -> Tensor:
        """Encoded naive decision, (B, action_size)."""
        process = context.process
        decision = process.problem.floor(process.measured(context.state))
        return process.encode(context.state, decision)


def episode_seeds(environment: str, split: str, count: int) -> list[int]:
    """Seeds of ``validation`` (model selection) or ``held-out`` (reported) episodes."""
    return lane_seeds(f"agents/{environment}/{split}", count)


def play(
    process: Process, policy: Policy, seeds: Sequence[int], *, device: str = "cpu"
) -> Episodes:
    """One whole episode per seed, float64, without gradients."""
    streams = Streams.from_seeds(seeds, device=device)
    is_reset = torch.ones(len(seeds), dtype=torch.bool, device=device)
    slots: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.no_grad():
        state: Any = process.initial(streams)
        for slot in range(1, process.horizon + 1):
            context = PolicyContext(process, state, is_reset)
            action = policy.act(process.observe(state), context)
            step = process.advance(state, process.decode(state, action), streams.at_step(slot))
            slots.append((step.reward, step.metrics.objective, step.metrics.violation))
            state, is_reset = step.state, torch.zeros_like(is_reset)
    return Episodes(*(torch.stack(parts, 1) for parts in zip(*slots, strict=True)))


def certifier(process: Process, seeds: Sequence[int]) -> tuple[Solver, Tensor] | None:
    """First quick solver that certifies the objective, with its bound of the first slots.

    Returns:
        The solver and the bound (B,), or None if the problem has no such solver.
    """
    instance = process.truth(process.initial(Streams.from_seeds(seeds)))
    for solver_type in solvers(process.problem.name).values():
        if not solver_type.certifies or solver_type.is_slow:
            continue
        solver = solver_type()
        certificate = solve(process.problem, instance, solver).certificate
        if certificate is not None:
            return solver, certificate.bound
    return None


def references(process: Process) -> list[Policy]:
    """The floor, and a certifying solver as policy: plain, with 1 dB margin, clairvoyant."""
    found: list[Policy] = [FloorPolicy()]
    certified = certifier(process, [0])
    if certified is None:
        return found
    solver = certified[0]
    if process.horizon > 1:
        found += [SolverPolicy(solver), SolverPolicy(solver, margin_db=1.0)]
    return [*found, SolverPolicy(solver, knowledge="truth")]


def summary(process: Process, policy: Policy, seeds: Sequence[int]) -> dict[str, Any]:
    """Means over held-out episodes, with 95 % intervals over episodes.

    Returns:
        ``reward`` per slot, ``objective`` in the problem's unit and ``infeasible``, the share of
        slots with a violated constraint. One-step processes with a certified bound add ``loss``
        (bound minus objective), ``score``, 100 (mean objective - mean floor) / (mean bound - mean
        floor), and where it means something ``share`` (objective over a positive bound; a power
        ratio where the unit is dB).
    """
    episodes = play(process, policy, seeds)
    objective = episodes.objective.mean(1)
    result = _mean("reward", episodes.reward.mean(1)) | _mean("objective", objective)
    result["infeasible"] = float((episodes.violation > _FEASIBLE).double().mean())
    certified = certifier(process, seeds) if process.horizon == 1 else None
    if certified is None:
        return result
    bound = certified[1]
    is_db = process.problem.objective_unit == "dB"
    has_share = is_db or bool((bound > 0).all())
    share = db_to_linear(objective - bound) if is_db else objective / bound
    floor = play(process, FloorPolicy(), seeds).objective.mean(1)
    score = 100 * float((objective - floor).mean() / (bound - floor).mean())
    shared = _mean("share", share) if has_share else {}
    return result | _mean("loss", bound - objective) | shared | {"score": score}


def _mean(name: str, values: Tensor) -> dict[str, Any]:
    return {name: float(values.mean()), f"{name}_interval": list(interval(values))}


def interval(values: Sequence[float] | Tensor, *, confidence: float = 0.95) -> tuple[float, float]:
    """Student t interval of the mean of at least two independent values; one value is a point."""
    data = np.asarray(values, dtype=np.float64)
    centre, error = float(data.mean()), float(stats.sem(data)) if data.size > 1 else 0.0
    if error == 0:
        return centre, centre
    low, high = stats.t.interval(confidence, data.size - 1, loc=centre, scale=error)
    return float(low), float(high)
