"""Train a network by the gradient of the process's own score, through decode and evaluate.

No critic, no exploration, no labels: the score is differentiable, so its gradient is the learning
signal. One-step processes use ``Problem.evaluate`` directly; longer ones sum the reward over a
short window of ``Process.advance`` and cut the gradient at the window's end.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from agents.network import Architecture, PolicyNetwork
from agents.training import Progress, Recorder, TrainingTask
from isac_gym.core.errors import ScenarioError
from isac_gym.core.process import Process
from isac_gym.core.random import Streams, lane_seeds

__all__ = ["AmortisedConfig", "gradient_steps", "make_network", "train"]

_BETAS = (0.9, 0.99)


@dataclass(frozen=True, kw_only=True)
class AmortisedConfig:
    """Hyper-parameters.

    Attributes:
        hidden: Widths of the hidden layers.
        activation: Hidden non-linearity: ``silu``, ``relu`` or ``tanh``.
        num_envs: Lanes per gradient step.
        learning_rate: Peak rate of Adam; warmed up, then a half cosine to 0.
        warm_up: Gradient steps of the warm-up.
        pool_size: Instances drawn at once (one-step processes).
        reuse: Passes over a pool before fresh instances are drawn (one-step processes).
        window: Slots the gradient runs through (longer processes).
        violation_weight: Units of objective charged per unit of violation (one-step processes).
        max_gradient: Norm at which gradients are clipped.
    """

    hidden: tuple[int, ...] = (192, 192, 192)
    activation: Literal["relu", "silu", "tanh"] = "silu"
    num_envs: int = 256
    learning_rate: float = 5e-3
    warm_up: int = 200
    pool_size: int = 16384
    reuse: int = 4
    window: int = 4
    violation_weight: float = 10.0
    max_gradient: float = 10.0

    def __post_init__(self) -> None:
        for name in ("num_envs", "warm_up", "pool_size", "reuse", "window"):
            if getattr(self, name) < 1:
                raise ScenarioError(f"{name} must be >= 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "max_gradient"):
            if not 0 < getattr(self, name) < math.inf:
                raise ScenarioError(f"{name} must be > 0, got {getattr(self, name)}.")
        if any(width < 1 for width in self.hidden):
            raise ScenarioError(f"hidden widths must be >= 1, got {self.hidden}.")
        if not 0 <= self.violation_weight < math.inf:
            raise ScenarioError(f"violation_weight must be >= 0, got {self.violation_weight}.")

    @classmethod
    def default_for(cls, process: Process) -> "AmortisedConfig":
        """Longer processes see fewer, correlated states per second: a smaller network."""
        return cls() if process.horizon == 1 else cls(hidden=(128, 128, 128), learning_rate=3e-3)


def train(
    task: TrainingTask, config: AmortisedConfig | None = None, *, progress: Progress | None = None
) -> tuple[PolicyNetwork, Recorder]:
    """Train a network in float32; the best validated weights are returned.

    Args:
        task: What to train on and for how long.
        config: Hyper-parameters; None takes the defaults.
        progress: Called with (steps, validation value) after every evaluation.

    Returns:
        The network and the record of the run. Ctrl-C ends the run early and marks the record.
    """
    config = config or AmortisedConfig.default_for(task.process)
    network = make_network(task, config).to(task.device)
    recorder = Recorder(task, progress)
    try:
        recorder.record(0, network)
        for steps in gradient_steps(network, task, config):
            if recorder.is_due(steps) and recorder.record(steps, network):
                break
    except KeyboardInterrupt:
        recorder.interrupted = True
    return recorder.best(network), recorder


def make_network(task: TrainingTask, config: AmortisedConfig) -> PolicyNetwork:
    """Untrained network of the right sizes, initialised from the task's seed."""
    sizes = (task.process.observation_size, *config.hidden, task.process.action_size)
    architecture = Architecture(sizes=sizes, activation=config.activation, output="tanh")
    return PolicyNetwork(architecture, seed=task.seed)


def gradient_steps(
    network: PolicyNetwork, task: TrainingTask, config: AmortisedConfig
) -> Iterator[int]:
    """Train ``network`` in place, one gradient step per item, until the task's steps are spent.

    Yields:
        Environment steps spent so far.

    Raises:
        ScenarioError: Decisions of the environment are discrete.
    """
    _demand_gradients(task)
    one_step, lanes = task.process.horizon == 1, task.num_envs or config.num_envs
    per_update = lanes if one_step else lanes * config.window
    updates = math.ceil(task.steps / per_update)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=_BETAS)
    losses = (_one_step if one_step else _windows)(network, task, config, lanes)
    for update in range(1, updates + 1):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * _schedule(update, updates, config.warm_up)
        optimiser.zero_grad()
        next(losses).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_gradient)
        optimiser.step()
        yield update * per_update


def _demand_gradients(task: TrainingTask) -> None:
    kinds = {info.kind for info in task.process.problem.decision_type.tensor_fields().values()}
    if not kinds & {"real", "complex"}:
        raise ScenarioError(
            f"method amortised needs decisions with a gradient; those of {task.environment} are "
            f"{', '.join(sorted(kinds))}; use method ppo."
        )


def _schedule(update: int, updates: int, warm_up: int) -> float:
    return min(1.0, update / warm_up) * 0.5 * (1 + math.cos(math.pi * (update - 1) / updates))


def _one_step(
    network: PolicyNetwork, task: TrainingTask, config: AmortisedConfig, lanes: int
) -> Iterator[Tensor]:
    """Losses of minibatches of fresh instances, each pool of them used ``reuse`` times."""
    process = task.process
    pool_size = max(config.pool_size, lanes)
    streams = _training_streams(task, pool_size)
    generator = torch.Generator().manual_seed(task.seed)
    while True:
        pool: Any = process.initial(streams).to(dtype=torch.float32)
        observation = process.observe(pool)
        for _ in range(config.reuse):
            order = torch.randperm(pool_size, generator=generator).to(task.device)
            for rows in order[: pool_size - pool_size % lanes].split(lanes):
                action = network(observation[rows])
                yield -_score(process, pool[rows], action, config.violation_weight)
        streams = streams.next_episode()


def _score(process: Process, state: Any, action: Tensor, violation_weight: float) -> Tensor:
    decision = process.decode(state, action)
    metrics = process.problem.metrics(process.truth(state), decision)
    return (metrics.objective - violation_weight * metrics.violation).mean()


def _windows(
    network: PolicyNetwork, task: TrainingTask, config: AmortisedConfig, lanes: int
) -> Iterator[Tensor]:
    """Losses of consecutive windows of episodes that the network itself plays."""
    process = task.process
    streams = _training_streams(task, lanes)
    while True:
        state: Any = process.initial(streams).to(dtype=torch.float32)
        for first in range(0, process.horizon, config.window):
            rewards = []
            for slot in range(first + 1, min(first + config.window, process.horizon) + 1):
                decision = process.decode(state, network(process.observe(state)))
                step = process.advance(state, decision, streams.at_step(slot))
                state = step.state
                rewards.append(step.reward)
            yield -torch.stack(rewards).mean()
            state = state.detach()
        streams = streams.next_episode()


def _training_streams(task: TrainingTask, lanes: int) -> Streams:
    seeds = lane_seeds(f"agents/{task.environment}/train/{task.seed}", lanes)
    return Streams.from_seeds(seeds, device=task.device)
