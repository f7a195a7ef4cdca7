import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import isac_gym  # noqa: F401  (registers the ids)
from isac_gym.core import ScenarioError, ShapeError
from isac_gym.envs import ProcessEnv, ProcessVectorEnv

ID = "isac/PowerControl-v0"


def make(**keywords):
    return ProcessEnv(environment=ID, **{"settings": {"horizon": 3}, **keywords})


def action(env, seed=0):
    shape = env.action_space.shape
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_checkers__accept_every_environment(environment_id):
    env = gymnasium.make(environment_id).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
        check_env_sb3(env)


def test_checker__accepts_every_render_mode(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    with pytest.warns(UserWarning, match="found no display"):
        check_env(gymnasium.make(ID, render_mode="rgb_array").unwrapped)


def test_episodes__equal_a_lane_of_the_vector_environment(environment_id):
    env = gymnasium.make(environment_id)
    batch = gymnasium.make_vec(environment_id, num_envs=2)
    observation, _ = env.reset(seed=7)
    assert np.array_equal(observation, batch.reset(seed=7)[0][0])
    for k in range(5):
        joint = np.stack([action(env, k)] * 2)
        expected = batch.step(joint)
        observation, reward, terminated, truncated, info = env.step(joint[0])
        assert reward == pytest.approx(expected[1][0], rel=1e-12)
        assert (terminated, truncated) == (expected[2][0], False)
        for key, value in info.items():
            np.testing.assert_allclose(value, expected[-1][key][0], rtol=1e-9, atol=1e-12)
        if terminated:
            observation, _ = env.reset()
        np.testing.assert_allclose(observation, expected[0][0], rtol=1e-6)


def test_step__returns_plain_types():
    env = make(dtype="float32")
    observation, _ = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(action(env))
    assert observation.dtype == np.float32
    assert type(reward) is float
    assert type(terminated) is bool
    assert type(truncated) is bool
    assert type(info["cost"]) is float
    assert type(info["feasible"]) is bool
    assert info["objectives"].shape == (3,)
    assert not [key for key in info if key.startswith("_")]


def test_step__needs_a_reset_before_the_first_and_after_the_last():
    env = make(settings={"horizon": 1})
    with pytest.raises(ResetNeeded):
        env.step(action(env))
    env.reset(seed=0)
    assert env.step(action(env))[2]
    with pytest.raises(ResetNeeded, match="ended"):
        env.step(action(env))


def test_step__names_what_is_wrong_with_an_action():
    env = make()
    env.reset(seed=0)
    with pytest.raises(ShapeError, match=r"action: shape \(4,\), expected \(3,\)"):
        env.step(np.zeros(4))
    with pytest.raises(ShapeError, match=r"action: .*must be finite"):
        env.step(np.array([0, np.nan, 0]))


def test_reset__draws_from_np_random_only_once():
    env, twin = make(), make()
    env.np_random = np.random.default_rng(5)
    twin.np_random = np.random.default_rng(5)
    first, second = env.reset()[0], env.reset()[0]
    assert np.array_equal(first, twin.reset()[0])
    twin.np_random = np.random.default_rng(6)
    assert np.array_equal(second, twin.reset()[0])
    assert not np.array_equal(first, second)


def test_reset__refuses_options_and_bad_seeds():
    env = make()
    with pytest.raises(ScenarioError, match="no options"):
        env.reset(options={"reset_mask": np.array([True])})
    with pytest.raises(ScenarioError, match="seed must be in"):
        env.reset(seed=2**63)


def test_make__passes_scenario_and_settings():
    keywords = {"scenario": "paper-constrained", "settings": {"ramp_db": 2.0}}
    env = gymnasium.make(ID, **keywords)
    process = env.unwrapped.process
    assert process.ramp_db == 2.0
    assert process.problem.scenario.threshold_db == 3.0
    batch = gymnasium.make_vec(ID, num_envs=2, **keywords)
    assert isinstance(batch, ProcessVectorEnv)
    assert batch.process == process


def test_global_generators__are_never_touched(untouched_generators):
    env = make()
    env.reset()
    env.step(action(env))
    env.reset()


def test_import__stays_light():
    code = (
        "import sys, isac_gym.envs\n"
        "heavy = {'pettingzoo', 'matplotlib', 'stable_baselines3', 'cvxpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
