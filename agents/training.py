"""What all training methods share: the run's clock, its validation curve and its best weights."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from agents.artifact import CurvePoint
from agents.evaluation import episode_seeds, play
from agents.network import PolicyNetwork
from isac_gym.core.device import torch_device
from isac_gym.core.errors import ScenarioError, SolverError
from isac_gym.core.family import family_of
from isac_gym.core.policy import PolicyContext
from isac_gym.core.process import Process
from isac_gym.core.scenario import Scenario

__all__ = ["Progress", "Recorder", "TrainingTask", "metric_name"]

Progress = Callable[[int, float], None]  # called with (steps so far, last validation value)


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What to train on, for how long.

    Attributes:
        environment: Environment id.
        scenario: Scenario, preset name or mapping; None: the environment's own preset.
        settings: Process settings by name.
        steps: Environment steps to spend (instances, for one-step processes), >= 1.
        seed: Seed of weights and instances, >= 0.
        num_envs: Lanes per update, >= 1; None keeps the method's own number.
        evaluations: Points of the validation curve, >= 1.
        validation_episodes: Episodes per point, >= 1; None: 64, or more if they are short.
        stop_at: Stop early once the validation value reaches this.
        device: Torch device of instances and network; only the gradient method leaves the CPU.
    """

    environment: str
    scenario: Scenario | str | Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int
    seed: int = 0
    num_envs: int | None = None
    evaluations: int = 20
    validation_episodes: int | None = None
    stop_at: float = math.inf
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("steps", "evaluations", "validation_episodes", "num_envs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ScenarioError(f"{name} must be >= 1, got {value}.")
        if self.seed < 0:
            raise ScenarioError(f"seed must be >= 0, got {self.seed}.")
        torch_device(self.device)

    @cached_property
    def process(self) -> Process:
        """The process of the environment id.

        Raises:
            ScenarioError: Unknown id, preset, field or setting, or a value out of range.
        """
        family = family_of(self.environment)
        return family.make_process(self.environment, self.scenario, self.settings)

    @property
    def validation_seeds(self) -> list[int]:
        """Seeds of the validation episodes."""
        count = self.validation_episodes or max(64, 4096 // self.process.horizon)
        return episode_seeds(self.environment, "validation", count)


def metric_name(process: Process) -> str:
    """What validation measures: the objective of one-step processes, else the reward per slot."""
    if process.horizon == 1:
        return f"objective ({process.problem.objective_unit})"
    return "reward per slot"


@dataclass(frozen=True)
class _Greedy:
    network: PolicyNetwork
    name: str = "training"

    def act(self, observation: torch.Tensor, context: PolicyContext) -> torch.Tensor:
        """Actions (B, A) of the network, nothing drawn."""
        return self.network(observation)


@dataclass
class Recorder:
    """Validation curve, best weights and wall time (evaluations excluded) of one run.

    Attributes:
        task: What is trained.
        progress: Told about every evaluation, or None.
        curve: Points so far.
        interrupted: True once the user has stopped the run.
    """

    task: TrainingTask
    progress: Progress | None = None
    curve: list[CurvePoint] = field(default_factory=list)
    interrupted: bool = False
    _best: Mapping[str, torch.Tensor] = field(default_factory=dict)
    _spent: float = 0.0
    _started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return self._spent + time.perf_counter() - self._started

    @property
    def steps(self) -> int:
        """Steps at the last evaluation."""
        return self.curve[-1].steps if self.curve else 0

    def is_due(self, steps: int) -> bool:
        """True if the next point of the curve is due, and at the end of the budget."""
        every = max(1, self.task.steps // self.task.evaluations)
        return not self.curve or steps >= self.steps + every or steps >= self.task.steps

    def record(self, steps: int, network: PolicyNetwork) -> bool:
        """Evaluate on the validation episodes; True if the target value has been reached.

        Raises:
            SolverError: The validation value is not a finite number.
        """
        self._spent = self.seconds
        process = self.task.process
        seeds, device = self.task.validation_seeds, self.task.device
        episodes = play(process, _Greedy(network), seeds, device=device)
        values = episodes.objective if process.horizon == 1 else episodes.reward
        value = float(values.mean())
        if not math.isfinite(value):
            raise SolverError(
                f"training diverged: the validation value after {steps} steps is {value}; "
                "lower learning_rate."
            )
        if not self.curve or value > max(point.value for point in self.curve):
            self._best = copy.deepcopy(network.state_dict())
        self.curve.append(CurvePoint(steps=steps, seconds=self._spent, value=value))
        if self.progress is not None:
            self.progress(steps, value)
        self._started = time.perf_counter()
        return value >= self.task.stop_at

    def best(self, network: PolicyNetwork) -> PolicyNetwork:
        """The network with the weights of the best validation value."""
        if self._best:
            network.load_state_dict(self._best)
        return network.cpu()
