"""Train PPO of Stable-Baselines3 on any process and export its actor as plain weights."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from agents.network import Architecture, PolicyNetwork
from agents.sb3.vec_env import IsacVecEnv
from agents.training import Progress, Recorder, TrainingTask
from isac_gym.core.errors import ScenarioError
from isac_gym.core.process import Process

__all__ = ["PpoConfig", "export_actor", "make_ppo", "train"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


@dataclass(frozen=True, kw_only=True)
class PpoConfig:
    """Hyper-parameters of PPO; actions are symmetric in [-1, 1] by construction.

    Attributes:
        hidden: Widths of the hidden layers of actor and critic.
        activation: Hidden non-linearity: ``silu``, ``relu`` or ``tanh``.
        num_envs: Lanes.
        rollout: Slots per lane and update.
        batch_size: Minibatch size.
        epochs: Passes over a rollout.
        learning_rate: First rate.
        is_annealed: Let the rate fall linearly to 0.
        gamma: Discount.
        gae_lambda: Bias-variance parameter of the advantage.
        clip: Clip range of the ratio.
        log_std: First log standard deviation of the actions.
    """

    hidden: tuple[int, ...] = (128, 128)
    activation: Literal["relu", "silu", "tanh"] = "tanh"
    num_envs: int = 64
    rollout: int = 32
    batch_size: int = 512
    epochs: int = 6
    learning_rate: float = 2e-3
    is_annealed: bool = True
    gamma: float = 0.9
    gae_lambda: float = 0.9
    clip: float = 0.2
    log_std: float = -2.0

    def __post_init__(self) -> None:
        for name in ("num_envs", "rollout", "batch_size", "epochs"):
            if getattr(self, name) < 1:
                raise ScenarioError(f"{name} must be >= 1, got {getattr(self, name)}.")
        if any(width < 1 for width in self.hidden):
            raise ScenarioError(f"hidden widths must be >= 1, got {self.hidden}.")
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ScenarioError(f"{name} must be in [0, 1], got {getattr(self, name)}.")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ScenarioError(f"{name} must be > 0, got {getattr(self, name)}.")

    @classmethod
    def default_for(cls, process: Process) -> "PpoConfig":
        """One-step processes have nothing to discount: gamma 0."""
        return cls(gamma=0.0, gae_lambda=1.0) if process.horizon == 1 else cls()


class _Evaluate(BaseCallback):
    """Validation before every rollout; stops the run at the target value."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.has_reached = False

    def _on_rollout_start(self) -> None:
        if self.recorder.is_due(self.num_timesteps):
            self.evaluate()

    def evaluate(self) -> None:
        """Record how the policy of now plays."""
        policy = cast(ActorCriticPolicy, self.model.policy)
        self.has_reached = self.recorder.record(self.num_timesteps, export_actor(policy))

    def _on_step(self) -> bool:
        return not self.has_reached


def train(
    task: TrainingTask, config: PpoConfig | None = None, *, progress: Progress | None = None
) -> tuple[PolicyNetwork, Recorder]:
    """Train PPO; the best validated actor is returned.

    Args:
        task: What to train on and for how long.
        config: Hyper-parameters; None takes the defaults for the process.
        progress: Called with (steps, validation value) after every evaluation.

    Returns:
        The actor's mean network and the record of the run. Ctrl-C ends the run early and marks
        the record.
    """
    if task.device != "cpu":
        raise ScenarioError(f"device must be cpu for PPO, got {task.device!r}.")
    config = config or PpoConfig.default_for(task.process)
    recorder = Recorder(task, progress)
    with _own_generators(task.seed):
        model = make_ppo(task, config)
        callback = _Evaluate(recorder)
        try:
            model.learn(task.steps, callback=callback)
            callback.evaluate()
        except KeyboardInterrupt:
            recorder.interrupted = True
        return recorder.best(export_actor(cast(ActorCriticPolicy, model.policy))), recorder


def make_ppo(task: TrainingTask, config: PpoConfig, *, env: Any = None) -> PPO:
    """SB3 model of a configuration, on ``IsacVecEnv`` unless another vector env is given."""
    num_envs = task.num_envs or config.num_envs
    if env is None:
        env = IsacVecEnv(
            task.environment,
            num_envs,
            scenario=task.scenario,
            settings=task.settings,
            seed=task.seed,
        )
    layers = list(config.hidden)
    return PPO(
        "MlpPolicy",
        env,
        learning_rate=lambda left: config.learning_rate * (left if config.is_annealed else 1),
        n_steps=config.rollout,
        batch_size=min(config.batch_size, config.rollout * num_envs),
        n_epochs=config.epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip,
        policy_kwargs={
            "net_arch": {"pi": layers, "vf": layers},
            "activation_fn": _ACTIVATIONS[config.activation],
            "log_std_init": config.log_std,
        },
        device="cpu",
    )


def export_actor(policy: ActorCriticPolicy) -> PolicyNetwork:
    """The mean network of an SB3 MLP actor, playable without SB3.

    Raises:
        ScenarioError: The policy is not a plain multi-layer perceptron.
    """
    hidden = list(policy.mlp_extractor.policy_net)
    linears = [layer for layer in hidden if isinstance(layer, nn.Linear)] + [policy.action_net]
    kinds = {type(layer) for layer in hidden if not isinstance(layer, nn.Linear)}
    names = [name for name, kind in _ACTIVATIONS.items() if kinds == {kind}]
    if len(names) != 1 or len(hidden) != 2 * (len(linears) - 1):
        raise ScenarioError(f"policy must be an MLP with one activation of {list(_ACTIVATIONS)}.")
    sizes = (linears[0].in_features, *(layer.out_features for layer in linears))
    network = PolicyNetwork(
        Architecture.model_validate({"sizes": sizes, "activation": names[0], "output": "clip"})
    )
    arrays = {
        f"layers.{index}.{name}": tensor.detach().cpu()
        for index, layer in enumerate(linears)
        for name, tensor in layer.named_parameters()
    }
    network.load_state_dict(arrays)
    return network


@contextmanager
def _own_generators(seed: int) -> Iterator[None]:
    """SB3 draws from the global generators: seed them for the run and put them back after it."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
