"""Federated training and localisation played round by round with a solver's precoders."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from baselines.ota_feel import SOLVERS
from isac_gym.core.errors import ScenarioError, SolverError
from isac_gym.core.family import as_scenario, load_object
from isac_gym.core.random import Streams
from isac_gym.core.scenario import Scenario
from isac_gym.problems.ota_feel.federated import OtaFeelFederated
from isac_gym.problems.ota_feel.federated_settings import TASKS
from isac_gym.problems.ota_feel.federated_view import OtaFeelFederatedState
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.records import OtaFeelDecision
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario

__all__ = ["FederatedRun", "demand_finite", "federated_process", "run_federated"]


@dataclass(frozen=True)
class FederatedRun:
    """What a federation reached, one row per seed; column 0 is before the first round.

    Attributes:
        accuracy: On the test images, (S, rounds + 1); zeros where nothing is learned.
        loss: Mean cross-entropy there, (S, rounds + 1) nat.
        error_m: Distance of estimate and target, (S, rounds + 1) m.
        nmse_task: Aggregation error of every stream, (S, rounds, R).
        crb_m2: Bound of the frame of every round that the scenario scores, (S, rounds) m^2.
        state: After the last round.
        seconds: Of all rounds and seeds together, without loading the data.
    """

    accuracy: Tensor
    loss: Tensor
    error_m: Tensor
    nmse_task: Tensor
    crb_m2: Tensor
    state: OtaFeelFederatedState
    seconds: float


def federated_process(
    scenario: Scenario | str | Mapping[str, Any] = "joint",
    *,
    scheme: str = "joint",
    rounds: int = 40,
    settings: Mapping[str, Any] | None = None,
) -> OtaFeelFederated:
    """The process of a scheme; the number of streams is the scheme's.

    Args:
        scenario: Preset name, mapping or scenario.
        scheme: One of ``SCHEMES``.
        rounds: Rounds of an episode.
        settings: Other settings of :class:`OtaFeelFederated`; echoes are those of the first frame
            where nothing else is said, as in the paper.
    """
    chosen = as_scenario(OtaFeelScenario, scenario)
    if scheme in TASKS:
        chosen = chosen.replace(num_tasks=TASKS[scheme])
    problem = OtaFeel(scenario=chosen)  # pyright: ignore[reportArgumentType]
    return OtaFeelFederated(
        problem=problem, scheme=scheme, horizon=rounds, **{"echoes": "frame", **(settings or {})}
    )


def demand_finite(loss: Tensor, number: int, learning_rate: float) -> None:
    """Raise where training has diverged.

    Args:
        loss: On the test images after a round, (S,).
        number: Of the round.
        learning_rate: Of the devices' descent.

    Raises:
        SolverError: A loss is not finite.
    """
    if not bool(loss.isfinite().all()):
        lanes = (~loss.isfinite()).nonzero()[:, 0].tolist()
        raise SolverError(
            f"training diverged: the test loss of seeds {lanes} is not finite after round {number} "
            f"at learning_rate {learning_rate:g}; take a smaller one."
        )


@torch.no_grad()
def run_federated(
    scenario: Scenario | str | Mapping[str, Any] = "joint",
    *,
    scheme: str = "joint",
    solver: str = "base",
    seeds: int = 4,
    first_seed: int = 0,
    rounds: int = 40,
    settings: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> FederatedRun:
    """Play a federation with several seeds side by side.

    Args:
        scenario: Preset name, mapping or scenario.
        scheme: One of ``SCHEMES``; ``perfect``, ``ota`` and ``joint`` are the paper's comparison.
        solver: Of the precoders: a name of this problem's solvers, which start anew in every round,
            or ``base``: the process's own alternating optimisation, which goes on from round to
            round.
        seeds: Episodes side by side.
        first_seed: Seed of the first.
        rounds: Rounds.
        settings: Other settings of :class:`OtaFeelFederated`.
        device: Where to compute.

    Raises:
        ScenarioError: Unknown solver or setting.
        SolverError: Training diverged.
    """
    process = federated_process(scenario, scheme=scheme, rounds=rounds, settings=settings)
    if solver != "base" and solver not in SOLVERS:
        raise ScenarioError(f"solver must be 'base' or one of {list(SOLVERS)}, got {solver!r}.")
    method = None if solver == "base" else load_object(SOLVERS[solver])()
    streams = Streams.from_seed(first_seed, seeds, device=device)
    state = process.initial(streams)
    kept = [(state.accuracy, state.loss, state.error_m)]
    frames: list[tuple[Tensor, Tensor]] = []
    begin = time.perf_counter()
    for number in range(1, rounds + 1):
        decision = OtaFeelDecision(state.plan)
        if method is not None:
            decision = method.solve(process.problem, process.measured(state)).decision
        result = process.advance(state, decision, streams.at_step(number))
        state = result.state
        demand_finite(state.loss, number, process.learning_rate)
        kept.append((state.accuracy, state.loss, state.error_m))
        frames.append((result.metrics.nmse_task, result.metrics.crb_m2))
    accuracy, loss, error = (torch.stack(part, 1) for part in zip(*kept, strict=True))
    nmse, bound = (torch.stack(part, 1) for part in zip(*frames, strict=True))
    return FederatedRun(accuracy, loss, error, nmse, bound, state, time.perf_counter() - begin)
