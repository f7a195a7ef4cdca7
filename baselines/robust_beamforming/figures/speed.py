"""Fig. 5: values against wall time and iterations, and the networks' trainings.

All methods run on the same machine in the same process, one instance at a time and batched; values
are (f1 + f2) / 2 at p = 1/2 by the exact scorer. Times do not include the scoring.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch

from baselines.figures import Estimate, Table, estimate
from baselines.learned import LearnedSolver, load_weights
from baselines.registry import make_solver
from baselines.robust_beamforming.figures.draws import Channels
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.core.solution import Budget, Solver
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
)

__all__ = ["NETWORKS", "Training", "measure_speed", "read_trainings"]

NETWORKS = ("boblrbf-dnn", "boblrbf-dnn-features", "boblrbf-dnn-gradient")
LEVELS = ("pga", "boblrbf", "rzf-split")
_REPEATS = 3  # timed runs, the fewest that give an interval
_PROBLEM = RobustBeamforming.name


class Training(NamedTuple):
    """What the manifest of a trained network says.

    Attributes:
        solver: Name of the network.
        seed: Seed of its training.
        seconds: Wall time of the training.
        device: Where it was trained.
        is_used: True for the weights measured here, False for other seeds.
        curve: Points (step, seconds, training loss, exact validation objective).
        results: Held-out results by name.
    """

    solver: str
    seed: int
    seconds: float
    device: str
    is_used: bool
    curve: list[tuple[float, float, float, float]]
    results: dict[str, float]


def read_trainings(weights: Path | None) -> list[Training]:
    """Manifests of all networks, then those of their other seeds in the same folder.

    Args:
        weights: Folder of the weights; None for the shipped ones.

    Raises:
        SubmissionError: Weights or manifest of a network are missing or malformed.
    """
    used = [network(name, weights).path for name in NETWORKS]
    found = [_training(load_weights(path)[1], is_used=True) for path in used]
    for path in sorted(used[0].parent.glob("*.json")):
        manifest = json.loads(path.read_text())
        if path.with_suffix("") not in used and manifest.get("solver") in NETWORKS:
            found.append(_training(manifest, is_used=False))
    return found


def network(name: str, weights: Path | None) -> LearnedSolver:
    """A network with its weights from a folder, or with the shipped ones."""
    solver = cast(LearnedSolver, make_solver(_PROBLEM, name))
    return solver if weights is None else solver.with_weights(weights / name)


def measure_speed(
    channels: Channels,
    final: Mapping[str, int],
    *,
    parts: Sequence[float],
    validation: int,
    seed: int,
    weights: Path | None,
    progress: Callable[[str], None],
) -> tuple[Table, Table]:
    """Values and times over iterations, and levels for the training curves.

    Args:
        channels: Channels; a batched run takes all of them at once.
        final: Largest number of iterations of every iterative scheme.
        parts: Shares of it at which schemes are stopped; each is a run of its own, because the
            reference's steps depend on its budget.
        validation: Instances behind the levels.
        seed: Seed of these instances.
        weights: Folder of the networks' weights; None for the shipped ones.
        progress: Called with a line before each step.

    Returns:
        Table over iterations (networks: one pass) with ``mean_utility``, ``worst_rate_bps_hz``,
        ``crlb_m2``, ``single_s`` and ``batched_s``, seconds per instance; table over the
        preference's law with the mean ``objective``.
    """
    problem, instance = channels.front.points, channels.instance
    half = instance.replace(preference=torch.full_like(instance.preference, 0.5))
    table = Table("iterations")
    for scheme, most in final.items():
        for part in parts:
            count = max(1, round(part * most))
            progress(f"time of {scheme}, {count} iterations")
            solver = make_solver(_PROBLEM, scheme)
            found = _timed(problem, half, solver, Budget(iterations=count))
            table.cells.update({(count, scheme, name): e for name, e in found.items()})
    for name in NETWORKS:
        progress(f"time of {name}")
        found = _timed(problem, half, network(name, weights), Budget())
        table.cells.update({(1, name, quantity): e for quantity, e in found.items()})
    progress("levels for the training curves")
    return table, _levels(problem, final, validation, seed)


def _timed(
    problem: RobustBeamforming,
    instance: RobustBeamformingInstance,
    solver: Solver,
    budget: Budget,
) -> dict[str, Estimate]:
    """Values of all channels, seconds per instance one by one and all at once."""
    decision = _run(problem, instance[:1], solver, Budget(iterations=1))[1]
    single, batched, count = [], [], instance.batch_size
    for k in range(_REPEATS):  # in turns, so that both see the same load of the machine
        single.append(_run(problem, instance[k : k + 1], solver, budget)[0])
        seconds, decision = _run(problem, instance, solver, budget)
        batched.append(seconds / count)
    with torch.no_grad():
        m = problem.evaluate(instance, problem.project(instance, decision))
    values = {
        "mean_utility": (m.rate_utility + m.sensing_utility) / 2,
        "worst_rate_bps_hz": m.worst_rate_bps_hz,
        "crlb_m2": m.crlb_m2,
    }
    found = {name: estimate(v.numpy(), num_batches=count) for name, v in values.items()}
    return found | {"single_s": _median(single), "batched_s": _median(batched)}


def _run(
    problem: RobustBeamforming,
    instance: RobustBeamformingInstance,
    solver: Solver,
    budget: Budget,
) -> tuple[float, RobustBeamformingDecision]:
    begin = time.perf_counter()
    with torch.no_grad():
        decision = solver.solve(problem, instance, budget=budget).decision
    return time.perf_counter() - begin, cast(RobustBeamformingDecision, decision)


def _levels(problem: RobustBeamforming, final: Mapping[str, int], count: int, seed: int) -> Table:
    """Mean exact objective of solvers without training at the preset's random preferences."""
    seeds = lane_seeds(f"figures/robust_beamforming/levels/{seed}", count)
    instance, table = problem.sample(Streams.from_seeds(seeds)), Table("preferences")
    for scheme in LEVELS:
        solver, budget = make_solver(_PROBLEM, scheme), Budget(iterations=final.get(scheme))
        decision = problem.project(instance, _run(problem, instance, solver, budget)[1])
        with torch.no_grad():
            value = problem.evaluate(instance, decision).objective.numpy()
        found = estimate(value, num_batches=min(10, count))
        table.cells["uniform", scheme, "objective"] = found
    return table


def _median(seconds: Sequence[float]) -> Estimate:
    """Median run, which one hiccup of the machine does not move; the interval shows hiccups."""
    return Estimate(statistics.median(seconds), tuple(seconds))


def _training(manifest: dict, *, is_used: bool) -> Training:
    return Training(
        solver=manifest["solver"],
        seed=manifest["plan"]["seed"],
        seconds=manifest["seconds"],
        device=manifest["device"],
        is_used=is_used,
        curve=[tuple(point) for point in manifest["curve"]],
        results=manifest["results"],
    )
