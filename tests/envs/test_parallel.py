import sys
import warnings

import numpy as np
import pettingzoo
import pytest
from gymnasium.error import ResetNeeded
from pettingzoo.test import parallel_api_test, parallel_seed_test
from pettingzoo.utils import parallel_to_aec

import isac_gym  # noqa: F401  (registers the ids)
from agents.sb3 import IsacVecEnv
from isac_gym.core import ScenarioError, ShapeError
from isac_gym.core.family import families
from isac_gym.envs import ProcessEnv, ProcessVectorEnv
from isac_gym.envs.parallel import ProcessParallelEnv
from isac_gym.registration import register_parallel_environments

ID = "isac/PowerControl-v0"


def parallel_ids():
    entries = [entry for family in families().values() for entry in family.environments]
    return [entry.parallel_id for entry in entries if entry.parallel_id]


def make(**keywords):
    return ProcessParallelEnv(environment=ID, **{"settings": {"horizon": 3}, **keywords})


def split(env, joint):
    """Local actions of a joint action of one number per agent."""
    return {agent: joint[k : k + 1] for k, agent in enumerate(env.possible_agents)}


@pytest.mark.parametrize("parallel_id", parallel_ids())
def test_checkers__accept_every_environment(parallel_id):
    register_parallel_environments()

    def build():
        return pettingzoo.make("parallel", parallel_id)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(build(), num_cycles=8)
    parallel_seed_test(build, num_cycles=4)


def test_facades__agree_for_50_steps():
    keywords = {"environment": ID, "settings": {"horizon": 20}}
    single, batch = ProcessEnv(**keywords), ProcessVectorEnv(3, **keywords)
    parallel = ProcessParallelEnv(**keywords)
    sb3 = IsacVecEnv(ID, 2, settings=keywords["settings"], seed=9)
    observations = [single.reset(seed=9)[0], batch.reset(seed=9)[0][0], sb3.reset()[0]]
    parallel.reset(seed=9)
    observations.append(parallel.state())
    generator = np.random.default_rng(1)
    for _ in range(50):
        for each in observations[1:]:
            np.testing.assert_allclose(each, observations[0], rtol=1e-6, atol=1e-6)
        joint = generator.uniform(-1, 1, 3).astype(np.float32)
        alone = single.step(joint)
        lane = batch.step(np.stack([joint] * 3))
        local = parallel.step(split(parallel, joint))
        other = sb3.step(np.stack([joint] * 2))
        assert lane[1][0] == pytest.approx(alone[1], rel=1e-12)
        assert other[1][0] == pytest.approx(alone[1], rel=1e-6)
        rewards = np.array(list(local[1].values()))
        np.testing.assert_allclose(rewards, alone[-1]["local_reward"], rtol=1e-12)
        ended = {alone[2], bool(lane[2][0]), bool(other[2][0]), *local[2].values()}
        assert len(ended) == 1
        observations = [alone[0], lane[0][0], other[0][0], parallel.state()]
        if alone[2]:
            final = lane[-1]["final_obs"][0], other[3][0]["terminal_observation"]
            for each in (*final, parallel.state()):
                np.testing.assert_allclose(each, alone[0], rtol=1e-6)
            assert parallel.agents == []
            observations[0] = single.reset()[0]
            parallel.reset()
            observations[3] = parallel.state()


def test_observations__are_the_local_views_of_the_process():
    env = make()
    observation, infos = env.reset(seed=3)
    twin = ProcessVectorEnv(1, environment=ID, settings={"horizon": 3})
    twin.reset(seed=3)
    expected = twin.process.observe_local(twin.state)[0].numpy()
    for row, agent in zip(expected, env.possible_agents, strict=True):
        assert np.array_equal(observation[agent], row)
        assert env.observation_space(agent).contains(observation[agent])
    assert infos == {agent: {} for agent in env.agents}
    assert env.state_space.contains(env.state())


def test_step__ends_all_agents_together_and_returns_nothing_later():
    env = make(settings={"horizon": 2})
    env.reset(seed=0)
    joint = split(env, np.zeros(3, np.float32))
    assert not any(env.step(joint)[2].values())
    _, _, terminated, truncated, infos = env.step(joint)
    assert all(terminated.values())
    assert not any(truncated.values())
    assert set(infos) == set(env.possible_agents)
    assert env.step({}) == ({}, {}, {}, {}, {})
    assert env.reset()[0].keys() == set(env.agents)


def test_step__gives_each_agent_an_info_of_its_own():
    env = make()
    env.reset(seed=0)
    infos = env.step(split(env, np.zeros(3, np.float32)))[-1]
    first, second = env.agents[:2]
    assert infos[first]["cost"] == infos[second]["cost"]
    infos[first]["cost"] = -1
    assert infos[second]["cost"] >= 0


def test_individual_rewards__reach_the_agents():
    settings = {"horizon": 3, "local_reward_mode": "individual"}
    env = make(settings=settings)
    env.reset(seed=0)
    rewards = env.step(split(env, np.ones(3, np.float32)))[1]
    assert len(set(rewards.values())) > 1


def test_step__names_what_is_wrong():
    env = make()
    with pytest.raises(ResetNeeded):
        env.step({})
    env.reset(seed=0)
    good = split(env, np.zeros(3, np.float32))
    with pytest.raises(ShapeError, match="agents \\['bs_0'\\], expected"):
        env.step({"bs_0": np.zeros(1)})
    with pytest.raises(ShapeError, match="action of bs_1: shape"):
        env.step({**good, "bs_1": np.zeros(2)})
    with pytest.raises(ShapeError, match=r"action of bs_2: .*finite"):
        env.step({**good, "bs_2": np.array([np.inf])})
    with pytest.raises(ScenarioError, match="seed"):
        env.reset(seed=-3)


def test_aec__conversion_plays_an_episode():
    env = parallel_to_aec(make(settings={"horizon": 1}))
    env.reset(seed=0)
    total = {agent: 0.0 for agent in env.possible_agents}
    for agent in env.agent_iter():
        _, reward, terminated, truncated, _ = env.last()
        total[agent] += reward
        env.step(None if terminated or truncated else np.zeros(1, np.float32))
    twin = make(settings={"horizon": 1})
    twin.reset(seed=0)
    assert total == pytest.approx(twin.step(split(twin, np.zeros(3, np.float32)))[1])


def test_import__without_pettingzoo_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "isac_gym.envs.parallel")
    with pytest.raises(ImportError, match=r'pip install "isac_gym\[marl\]"'):
        import isac_gym.envs.parallel  # noqa: F401


def test_global_generators__are_never_touched(untouched_generators):
    env = make()
    env.reset()
    env.step(split(env, np.zeros(3, np.float32)))
