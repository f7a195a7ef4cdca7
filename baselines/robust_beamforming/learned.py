"""The unrolled networks as solvers, and how they are trained."""

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from baselines.learned import FitPlan, Fitted, LearnedSolver, Progress, load_weights
from baselines.robust_beamforming.bilevel import Bilevel
from baselines.robust_beamforming.boblrbf_dnn import (
    Unrolled,
    UnrolledSizes,
    loss,
    schedule,
    start_point,
)
from baselines.robust_beamforming.objective import typed
from isac_gym.core.errors import ScenarioError, SolverError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Status, status_tensor
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
    RobustBeamformingMetrics,
)

__all__ = ["BoblrbfDnn", "BoblrbfDnnFeatures", "BoblrbfDnnGradient"]

_VALIDATION, _HELD_OUT = 128, 512
_MAX_GRADIENT = 1.0


@dataclass(frozen=True, kw_only=True)
class BoblrbfDnn(LearnedSolver):
    """The paper's network, literally; one forward pass, no iterations.

    Attributes:
        weights: Path of the weights without suffix; empty: the shipped ones.
    """

    name: ClassVar[str] = "boblrbf-dnn"
    summary: ClassVar[str] = "the paper's unrolled network, as published: sees no channel"
    shipped: ClassVar[Path] = Path(__file__).parent / "weights"
    mode: ClassVar[str] = "literal"

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`.

        Raises:
            ScenarioError: The problem has other sizes than the one trained on.
        """
        setup, i = typed(problem, instance)
        network = _network(self.mode, UnrolledSizes.of(setup), str(self.path))
        network = network.to(i.device, i.dtype)
        programme = Bilevel(setup, i)
        x = start_point(programme, self.mode, seed=seed)
        if start is not None:
            x = programme.start(setup.project(i, cast(RobustBeamformingDecision, start)))
        with torch.no_grad():
            decision = setup.project(i, programme.decision(network(programme, x)))
        done = status_tensor(Status.CONVERGED, i.batch_size, device=i.device)
        return Solution(decision=decision, status=done, iterations=torch.ones_like(done))

    @classmethod
    def fit(cls, problem: Problem, plan: FitPlan, *, progress: Progress | None = None) -> Fitted:
        """Adam in float32 on fresh instances; the last weights are returned, not the best ones.

        So a loss that leads away from the exact objective shows as what it is.

        Raises:
            SolverError: The loss is not a finite number.
        """
        setup = cast(RobustBeamforming, problem)
        network = Unrolled(cls.mode, UnrolledSizes.of(setup), seed=plan.seed).to(plan.device)
        optimiser = torch.optim.Adam(network.parameters(), lr=plan.learning_rate)
        seeds = lane_seeds(f"{problem.name}/dnn/train/{plan.seed}", plan.batch)
        streams = Streams.from_seeds(seeds, device=plan.device)
        check = _draw(setup, "validation", _VALIDATION, plan.device)
        curve: list[tuple[int, float, float, float]] = []
        spent, running, begin = 0.0, torch.zeros((), device=plan.device), time.perf_counter()
        every = max(1, plan.steps // plan.evaluations)
        for step in range(plan.steps + 1):
            is_last = step == plan.steps or spent + time.perf_counter() - begin > plan.max_seconds
            if step % every == 0 or is_last:
                mean = float(running) / max(1, step - (curve[-1][0] if curve else 0))
                spent += time.perf_counter() - begin
                value = _mean_objective(setup, check, network)
                if not (abs(mean) < float("inf") and abs(value) < float("inf")):
                    raise SolverError(f"training diverged after {step} steps: loss {mean}.")
                curve.append((step, round(spent, 3), mean, value))
                if progress is not None:
                    progress(step, value)
                running, begin = torch.zeros_like(running), time.perf_counter()
            if is_last:
                break
            streams = streams.next_episode()
            elapsed = spent + time.perf_counter() - begin
            rate = plan.learning_rate * schedule(max(step / plan.steps, elapsed / plan.max_seconds))
            for group in optimiser.param_groups:
                group["lr"] = rate
            running = running + _update(setup, network, optimiser, streams, step)
        held_out = _draw(setup, "held-out", _HELD_OUT, plan.device)
        return Fitted(
            tensors=network.state_dict(),
            steps=curve[-1][0],
            seconds=spent,
            curve_metric=f"exact objective, mean over {_VALIDATION} validation instances",
            curve=curve,
            results=_results(setup, held_out, network),
        )


@dataclass(frozen=True, kw_only=True)
class BoblrbfDnnFeatures(BoblrbfDnn):
    """The network with channel features and preference as inputs; see :class:`BoblrbfDnn`."""

    name: ClassVar[str] = "boblrbf-dnn-features"
    summary: ClassVar[str] = "the unrolled network with the channel as input"
    mode: ClassVar[str] = "features"


@dataclass(frozen=True, kw_only=True)
class BoblrbfDnnGradient(BoblrbfDnn):
    """The network with the exact gradient as input, eight layers; see :class:`BoblrbfDnn`."""

    name: ClassVar[str] = "boblrbf-dnn-gradient"
    summary: ClassVar[str] = "the unrolled network on exact gradients: eight learned steps"
    mode: ClassVar[str] = "gradient"


@lru_cache(maxsize=8)
def _network(mode: str, sizes: UnrolledSizes, path: str) -> Unrolled:
    tensors, manifest = load_weights(Path(path))
    network = Unrolled(mode, sizes)
    wanted = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    if wanted != found:
        scenario = str(manifest.get("scenario_digest"))[:12]
        raise ScenarioError(
            f"weights {Path(path).name}: trained on scenario {scenario} with other sizes than "
            f"{sizes}; train your own with `isac fit`."
        )
    network.load_state_dict(tensors)
    return network.double().eval().requires_grad_(False)


def _draw(
    problem: RobustBeamforming, split: str, count: int, device: str
) -> RobustBeamformingInstance:
    seeds = lane_seeds(f"{problem.name}/dnn/{split}", count)
    return problem.sample(Streams.from_seeds(seeds, device=device))


def _update(
    problem: RobustBeamforming,
    network: Unrolled,
    optimiser: torch.optim.Optimizer,
    streams: Streams,
    step: int,
) -> Tensor:
    """One gradient step on fresh instances; returns the loss, detached."""
    instance = problem.sample(streams).to(dtype=torch.float32)
    programme = Bilevel(problem, instance)
    x = start_point(programme, network.mode, seed=step if network.mode == "literal" else 0)
    value = loss(network, programme, network(programme, x), step)
    optimiser.zero_grad()
    value.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT)
    optimiser.step()
    return value.detach()


def _decide(
    problem: RobustBeamforming, instance: RobustBeamformingInstance, network: Unrolled
) -> RobustBeamformingMetrics:
    with torch.no_grad():
        single = instance.to(dtype=torch.float32)
        programme = Bilevel(problem, single)
        x = start_point(programme, network.mode)
        decision = programme.decision(network(programme, x)).to(dtype=torch.float64)
        return problem.evaluate(instance, problem.project(instance, decision))


def _mean_objective(
    problem: RobustBeamforming, instance: RobustBeamformingInstance, network: Unrolled
) -> float:
    return float(_decide(problem, instance, network).objective.mean())


def _results(
    problem: RobustBeamforming, instance: RobustBeamformingInstance, network: Unrolled
) -> dict[str, Any]:
    """Held-out means at random preferences, and at p = 1/2 in the paper's terms."""
    drawn = _decide(problem, instance, network)
    half = instance.replace(preference=torch.full_like(instance.preference, 0.5))
    even = _decide(problem, half, network)
    mean_value = (even.rate_utility + even.sensing_utility) / 2
    return {
        "instances": instance.batch_size,
        "objective": float(drawn.objective.mean()),
        "objective_standard_error": float(drawn.objective.std() / instance.batch_size**0.5),
        "mean_utility_at_half": float(mean_value.mean()),
        "worst_rate_bps_hz_at_half": float(even.worst_rate_bps_hz.mean()),
        "crlb_m2_at_half": float(even.crlb_m2.mean()),
    }
