"""Vector rewards: wrappers that return ``info["objectives"]`` as the reward, as MO-Gymnasium does.

MO-Gymnasium's environments differ from Gymnasium's in two things only: ``step`` returns a vector
reward, and the unwrapped environment has a ``reward_space``. Both wrappers therefore work with its
algorithms without importing it; they also announce ``reward_space`` on the unwrapped environment,
which is where its wrappers look.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from isac_gym.core.process import Process

__all__ = ["MultiObjective", "MultiObjectiveVector"]


class MultiObjective(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Environment whose reward is the vector of objectives, (M,) float64, larger is better.

    The scalar reward is kept in ``info["reward"]``.

    Attributes:
        reward_space: Box of the vector, unbounded.
        objective_names: Names of its entries.
    """

    def __init__(self, env: "gymnasium.Env[Any, Any]") -> None:
        """Wrap an environment of this package, e.g. ``MultiObjective(gymnasium.make(id))``."""
        super().__init__(env)
        base: Any = env.unwrapped
        self.objective_names = _names(base.process)
        self.reward_space = _box(base.process)
        base.reward_space = self.reward_space

    def step(self, action: Any) -> Any:
        """Play one step; the reward is the vector of objectives."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        vector = np.asarray(info["objectives"], dtype=np.float64)
        return observation, vector, terminated, truncated, {**info, "reward": reward}


class MultiObjectiveVector(VectorWrapper):
    """Vector environment whose rewards are the objectives, (B, M), larger is better.

    They are arrays or tensors, as the environment's other outputs are. The scalar rewards are kept
    in ``info["reward"]``. A lane that only restarts (``NEXT_STEP``) gets zeros.

    Attributes:
        reward_space: Box of one lane's vector, unbounded.
        objective_names: Names of its entries.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap a vector environment of this package."""
        super().__init__(env)
        base: Any = env.unwrapped
        self.objective_names = _names(base.process)
        self.reward_space = _box(base.process)
        self.batched_reward_space = batch_space(self.reward_space, env.num_envs)
        base.reward_space = self.reward_space

    def step(self, actions: Any) -> Any:
        """Play one step; the rewards are the vectors of objectives."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        info = {**info, "reward": rewards}
        if "objectives" in info:
            vectors = info["objectives"]
        else:  # every lane only restarted
            vectors = rewards[:, None][:, [0] * len(self.objective_names)]
        return observations, vectors, terminated, truncated, info


def _names(process: Process) -> tuple[str, ...]:
    return type(process).objective_names


def _box(process: Process) -> Box:
    return Box(-np.inf, np.inf, (len(_names(process)),), np.float64)
