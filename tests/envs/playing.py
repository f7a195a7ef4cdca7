"""Vector environments and fixed actions for the adapter tests."""

import numpy as np

import isac_gym  # noqa: F401  (registers the ids)
from isac_gym.envs import ProcessVectorEnv

ID = "isac/PowerControl-v0"
SHORT = {"horizon": 3}
FIXED_KEYS = {"objectives", "cost", "violation", "feasible", "objective", "local_reward"}


def make(num_envs=4, environment=ID, **keywords):
    keywords.setdefault("settings", SHORT if environment == ID else None)
    return ProcessVectorEnv(num_envs, environment=environment, **keywords)


def actions(env, seed=0):
    shape = (env.num_envs, env.process.action_size)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def play(env, steps, seed=0):
    """Observations, rewards, ends and infos of a run with fixed actions."""
    return [env.step(actions(env, seed + k)) for k in range(steps)]
