import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from tests.envs.playing import FIXED_KEYS, actions, make, play


def test_same_step__keeps_step_info_and_gives_final_observation():
    env, twin = make(3), make(3, autoreset_mode=AutoresetMode.DISABLED)
    for each in (env, twin):
        each.reset(seed=8)
    for k in range(3):
        same, disabled = env.step(actions(env, k)), twin.step(actions(env, k))
    assert same[2].all()
    for key in FIXED_KEYS:
        assert np.array_equal(same[-1][key], disabled[-1][key])
        assert np.array_equal(same[-1]["final_info"][key], disabled[-1][key])
        assert same[-1][f"_{key}"].all()
    assert np.array_equal(same[-1]["final_obs"], disabled[0])
    assert same[-1]["_final_obs"].all()
    assert same[-1]["_final_info"].all()
    assert not np.array_equal(same[0], disabled[0])
    assert np.array_equal(same[0], twin.reset()[0])
    assert not {"final_obs", "final_info"} & set(env.step(actions(env))[-1])


def test_same_step__restarts_only_the_lanes_that_ended(uneven_id):
    env = make(16, environment=uneven_id, record_statistics=True)
    env.reset(seed=0)
    singles = [make(1, environment=uneven_id) for _ in range(16)]
    for lane, single in enumerate(singles):
        single.reset(seed=lane)
    ends = []
    for k in range(9):
        action = actions(env, k)
        result = env.step(action)
        ends.append(result[2])
        for lane, single in enumerate(singles):
            alone = single.step(action[lane : lane + 1])
            np.testing.assert_allclose(alone[0][0], result[0][lane], rtol=1e-6)
            np.testing.assert_allclose(alone[1][0], result[1][lane], rtol=1e-12)
            assert alone[2][0] == result[2][lane]
            assert ("final_obs" in alone[-1]) == result[2][lane]
            if result[2].any():
                masks = ("_final_obs", "_final_info", "_episode")
                assert all(np.array_equal(result[-1][mask], result[2]) for mask in masks)
                assert np.array_equal(result[-1]["final_info"]["_cost"], result[2])
            if result[2][lane]:
                np.testing.assert_allclose(
                    alone[-1]["final_obs"][0], result[-1]["final_obs"][lane], rtol=1e-6
                )
    assert any(end.any() and not end.all() for end in ends)


def test_next_step__plays_the_episodes_of_same_step_with_a_pause(uneven_id):
    env, same = (
        make(16, environment=uneven_id, autoreset_mode=mode, record_statistics=True)
        for mode in ("NextStep", "SameStep")
    )
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    for each in (env, same):
        each.reset(seed=0)
    zero = np.zeros((16, env.process.action_size))

    def episodes(each, steps):
        """Per lane: (return, length) reported, in order; and the rewards seen."""
        reports, rewards = [[] for _ in range(16)], [[] for _ in range(16)]
        for _ in range(steps):
            _, reward, terminated, _, info = each.step(zero)
            for lane in range(16):
                if "_cost" in info and info["_cost"][lane]:
                    rewards[lane].append(reward[lane])
                else:
                    assert reward[lane] == 0
                    assert not terminated[lane]
                    assert info.get("cost", np.zeros(16))[lane] == 0
                    assert info.get("objective", np.zeros(16))[lane] == 0
                if terminated[lane]:
                    episode = info["episode"]
                    reports[lane].append((episode["r"][lane], episode["l"][lane]))
        return reports, rewards

    paused, direct = episodes(env, 15), episodes(same, 12)
    for lane in range(16):
        count = len(paused[0][lane])
        assert count >= 3
        np.testing.assert_allclose(paused[0][lane], direct[0][lane][:count], rtol=1e-12)
        steps = min(len(paused[1][lane]), 12)
        np.testing.assert_allclose(paused[1][lane][:steps], direct[1][lane][:steps], rtol=1e-12)


def test_next_step__shows_the_last_observation_then_the_first_of_the_next_episode():
    env, twin = make(2, autoreset_mode=AutoresetMode.NEXT_STEP), make(2, autoreset_mode="Disabled")
    for each in (env, twin):
        each.reset(seed=1)
    assert np.array_equal(play(env, 3)[-1][0], play(twin, 3)[-1][0])
    observation, reward, terminated, _, info = env.step(actions(env, 77))
    assert np.array_equal(observation, twin.reset()[0])
    assert not reward.any()
    assert not terminated.any()
    assert info == {}


def test_disabled__refuses_to_step_past_the_end_and_resets_under_the_mask(uneven_id):
    env = make(16, environment=uneven_id, autoreset_mode=AutoresetMode.DISABLED)
    same = make(16, environment=uneven_id)
    for each in (env, same):
        each.reset(seed=0)
    for k in range(6):
        expected = same.step(actions(env, k))
        observation, reward, terminated, _, info = env.step(actions(env, k))
        assert "final_obs" not in info
        np.testing.assert_allclose(reward, expected[1], rtol=1e-12)
        if terminated.any():
            with pytest.raises(ResetNeeded, match=f"lanes \\[{terminated.nonzero()[0][0]}"):
                env.step(actions(env))
            observation, _ = env.reset(options={"reset_mask": terminated})
        np.testing.assert_allclose(observation, expected[0], rtol=1e-6)


def test_reset_mask__leaves_other_ended_lanes_waiting():
    env = make(3, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    play(env, 3)
    env.reset(options={"reset_mask": np.array([True, False, True])})
    with pytest.raises(ResetNeeded, match=r"lanes \[1\] have ended"):
        env.step(actions(env))
    env.reset(options={"reset_mask": np.array([False, True, False])})
    assert not env.step(actions(env))[2].any()


def test_reset_mask__with_a_seed_restarts_only_those_lanes():
    env, twin = make(3), make(3)
    before, _ = env.reset(seed=0)
    after, _ = env.reset(seed=100, options={"reset_mask": np.array([False, True, False])})
    fresh, _ = twin.reset(seed=100)
    assert np.array_equal(after[[0, 2]], before[[0, 2]])
    assert np.array_equal(after[1], fresh[1])


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_statistics__count_returns_and_lengths(mode):
    env = make(2, autoreset_mode=mode, record_statistics=True)
    env.reset(seed=3)
    results = play(env, 3)
    assert all("episode" not in result[-1] for result in results[:2])
    info = results[-1][-1]
    np.testing.assert_allclose(info["episode"]["r"], sum(r[1] for r in results), rtol=1e-12)
    assert info["episode"]["l"].tolist() == [3, 3]
    assert info["_episode"].all()
    if mode is AutoresetMode.DISABLED:
        env.reset()
    again = play(env, 4 if mode is AutoresetMode.NEXT_STEP else 3)[-1][-1]
    assert again["episode"]["l"].tolist() == [3, 3]


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_statistics__agree_with_gymnasiums_wrapper(uneven_id, mode):
    ours = make(8, environment=uneven_id, autoreset_mode=mode, record_statistics=True)
    theirs = RecordEpisodeStatistics(make(8, environment=uneven_id, autoreset_mode=mode))
    ours.reset(seed=1)
    theirs.reset(seed=1)
    for k in range(9):
        mine, other = ours.step(actions(ours, k))[-1], theirs.step(actions(ours, k))[-1]
        assert ("episode" in mine) == ("episode" in other)
        if "episode" in mine:
            assert np.array_equal(mine["_episode"], other["_episode"])
            np.testing.assert_allclose(mine["episode"]["r"], other["episode"]["r"], rtol=1e-9)
            assert np.array_equal(mine["episode"]["l"], other["episode"]["l"])
