import sys
import warnings

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

from agents.sb3 import IsacVecEnv
from isac_gym.core import ScenarioError, ShapeError
from isac_gym.envs import ProcessVectorEnv

ID = "isac/PowerControl-v0"
SETTINGS = {"horizon": 4}


def make(num_envs=3, **keywords):
    return IsacVecEnv(ID, num_envs, **{"settings": SETTINGS, "seed": 5, **keywords})


def test_steps__equal_the_vector_environment():
    env, twin = make(), ProcessVectorEnv(3, environment=ID, settings=SETTINGS)
    assert np.array_equal(env.reset(), twin.reset(seed=5)[0])
    total = np.zeros(3)
    for k in range(9):
        action = np.random.default_rng(k).uniform(-1, 1, (3, 3)).astype(np.float32)
        observation, reward, done, infos = env.step(action)
        expected = twin.step(action)
        total += expected[1]
        assert np.array_equal(observation, expected[0])
        np.testing.assert_allclose(reward, expected[1], rtol=1e-6)
        assert reward.dtype == np.float32
        assert np.array_equal(done, expected[2])
        for lane, info in enumerate(infos):
            if not done[lane]:
                assert info == {}
                continue
            assert np.array_equal(info["terminal_observation"], expected[-1]["final_obs"][lane])
            assert info["TimeLimit.truncated"] is False
            assert info["episode"]["r"] == pytest.approx(total[lane])
            assert info["episode"]["l"] == 4
        total[done] = 0
        assert np.array_equal(env.last_info["cost"], expected[-1]["cost"])


def test_infos__are_not_shared_between_lanes_or_steps():
    env = make()
    env.reset()
    action = np.zeros((3, 3), np.float32)
    first = env.step(action)[-1]
    first[0]["note"] = 1
    assert first[1] == {}
    assert env.step(action)[-1][0] == {}


def test_seed__starts_lane_i_at_seed_plus_i_once():
    env, twin = make(2, seed=None), ProcessVectorEnv(2, environment=ID, settings=SETTINGS)
    assert env.seed(8) == [8, 9]
    assert np.array_equal(env.reset(), twin.reset(seed=8)[0])
    assert np.array_equal(env.reset(), twin.reset()[0])
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert env.seed(None) == [None, None]
    env.reset()
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_reset__refuses_options():
    env = make()
    env.set_options({"fast": True})
    with pytest.raises(ScenarioError, match="no options"):
        env.reset()


def test_ppo__learns_and_logs_every_episode():
    env = VecNormalize(make(8, dtype="float32"), norm_reward=False)
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(128)
    buffer = list(model.ep_info_buffer or [])
    assert len(buffer) == 32  # every episode of 8 lanes x 16 steps
    assert {info["l"] for info in buffer} == {4}


def test_ppo__repeats_with_the_same_seed():
    def rewards():
        model = PPO("MlpPolicy", make(4, seed=None), n_steps=4, batch_size=16, n_epochs=1, seed=3)
        model.learn(32)
        return [info["r"] for info in model.ep_info_buffer or []]

    first = rewards()
    assert first
    assert first == rewards()


def test_evaluate_policy__counts_whole_episodes():
    env = make()
    model = PPO("MlpPolicy", env, n_steps=4, batch_size=12, seed=0, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, lengths = evaluate_policy(model, env, n_eval_episodes=6, return_episode_rewards=True)
    assert lengths == [4] * 6


def test_attributes__are_those_of_the_batch():
    env = make()
    assert env.get_attr("environment") == [ID] * 3
    assert env.get_attr("process", indices=[0, 2]) == [env.env.process] * 2
    assert env.has_attr("device")
    assert not env.has_attr("nothing_like_it")
    env.set_attr("note", 4)
    assert env.get_attr("note", indices=1) == [4]
    assert env.env_method("render") == [None] * 3
    assert env.env_is_wrapped(gymnasium.wrappers.TimeLimit) == [False] * 3
    assert env.env_is_wrapped(Monitor, indices=[0]) == [True]
    with pytest.raises(ScenarioError, match="None or all"):
        env.set_attr("note", 5, indices=[0])
    with pytest.raises(ScenarioError, match="None or all"):
        env.env_method("render", indices=0)
    with pytest.raises(ScenarioError, match="not in"):
        env.get_attr("note", indices=3)


def test_step__names_the_lane_of_a_bad_action():
    env = make()
    env.reset()
    action = np.zeros((3, 3), np.float32)
    action[2, 0] = np.nan
    with pytest.raises(ShapeError, match="lane 2"):
        env.step(action)


def test_render__tiles_the_lanes():
    env = make(2, render_mode="rgb_array")
    env.reset()
    frame = env.render()
    assert frame is not None
    assert frame.shape[2] == 3
    assert frame.std() > 5
    env.close()


def test_import__without_sb3_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    for name in [name for name in sys.modules if name.startswith("agents.sb3")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r'pip install "isac_gym\[sb3\]"'):
        import agents.sb3  # noqa: F401
