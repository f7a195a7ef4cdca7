import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode

from isac_gym.envs.multi_objective import MultiObjective, MultiObjectiveVector

IDS = ("isac/PowerControl-v0", "isac/RobustBeamformingStatic-v0", "isac/RobustBeamforming-v0")


@pytest.mark.parametrize("environment", IDS)
def test_single__reward_is_the_vector_of_objectives(environment):
    env, plain = MultiObjective(gymnasium.make(environment)), gymnasium.make(environment)
    names = plain.unwrapped.process.objective_names
    assert env.objective_names == names
    assert env.reward_space == Box(-np.inf, np.inf, (len(names),), np.float64)
    assert env.unwrapped.reward_space is env.reward_space
    env.reset(seed=1)
    plain.reset(seed=1)
    action = 0.1 * np.ones(env.action_space.shape, np.float32)
    observation, reward, terminated, truncated, info = env.step(action)
    expected = plain.step(action)
    assert np.array_equal(observation, expected[0])
    assert reward in env.reward_space
    np.testing.assert_array_equal(reward, expected[4]["objectives"])
    assert info["reward"] == expected[1]
    assert (terminated, truncated) == expected[2:4]


@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_vector__rewards_are_the_objectives(output):
    make = gymnasium.make_vec
    env = MultiObjectiveVector(make(IDS[2], num_envs=3, output=output))
    plain = make(IDS[2], num_envs=3, output=output)
    env.reset(seed=2)
    plain.reset(seed=2)
    actions = np.zeros(env.action_space.shape, np.float32)
    rewards, expected = env.step(actions)[1], plain.step(actions)
    assert rewards.shape == (3, 2)
    assert isinstance(rewards, torch.Tensor) is (output == "torch")
    np.testing.assert_array_equal(rewards, expected[4]["objectives"])
    assert env.batched_reward_space.shape == (3, 2)


def test_vector__lanes_that_only_restart_get_zeros():
    env = MultiObjectiveVector(
        gymnasium.make_vec(IDS[1], num_envs=2, autoreset_mode=AutoresetMode.NEXT_STEP)
    )
    env.reset(seed=2)
    actions = np.zeros(env.action_space.shape, np.float32)
    assert (env.step(actions)[1] != 0).all()
    assert (env.step(actions)[1] == np.zeros((2, 2))).all()
    assert (env.step(actions)[1] != 0).all()
