import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList

from isac_gym.core import ScenarioError, ShapeError, Streams, lane_seeds
from tests.envs.playing import FIXED_KEYS, ID, actions, make, play

STATIC = "isac/PowerControlStatic-v0"


def test_make_vec__gives_numpy_of_the_declared_spaces(environment_id):
    env = gymnasium.make_vec(environment_id, num_envs=3)
    observation, info = env.reset(seed=5)
    assert env.observation_space.contains(observation)
    assert info == {}
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert reward.shape == terminated.shape == truncated.shape == (3,)
    assert reward.dtype == np.float64
    assert terminated.dtype == truncated.dtype == np.bool_
    assert not truncated.any()
    assert set(info) >= FIXED_KEYS | {f"_{key}" for key in FIXED_KEYS}
    assert info["objectives"].shape == (3, len(env.process.objective_names))
    assert info["local_reward"].shape == (3, len(env.process.agents))
    assert np.array_equal(info["cost"], info["violation"])
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_info__holds_every_metric_and_nothing_else(environment_id):
    env = gymnasium.make_vec(environment_id, num_envs=2)
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[-1]
    metrics = set(env.process.problem.metrics_type.tensor_fields())
    end = {"final_obs", "final_info"}
    assert {key for key in info if not key.startswith("_")} - end == metrics | FIXED_KEYS


def test_lane__does_not_depend_on_the_batch():
    alone, pair, many = make(1), make(2), make(9)
    for env in (alone, pair, many):
        env.reset(seed=20)
    for k in range(7):  # three episodes
        action = actions(many, k)
        results = [env.step(action[: env.num_envs]) for env in (alone, pair, many)]
        for result in results[:2]:
            np.testing.assert_allclose(result[0][0], results[2][0][0], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(result[1][0], results[2][1][0], rtol=1e-12)


def test_reset__seeds_lane_i_with_seed_plus_i():
    env, other = make(3), make(2)
    assert np.array_equal(env.reset(seed=4)[0][1:], other.reset(seed=5)[0])


def test_reset__takes_one_63_bit_seed_per_lane():
    seeds = lane_seeds("a task", 3)
    env, single = make(3), make(1)
    observation, _ = env.reset(seed=seeds)
    for lane, seed in enumerate(seeds):
        assert np.array_equal(single.reset(seed=seed)[0][0], observation[lane])
    assert np.array_equal(env.reset(seed=np.array(seeds))[0], observation)


def test_reset__differs_between_seeds_and_repeats_for_one():
    env = make(2)
    first, second = env.reset(seed=1)[0], env.reset(seed=50)[0]
    assert np.array_equal(env.reset(seed=1)[0], first)
    assert not np.isclose(first, second).all(1).any()
    assert not np.isclose(first[0], first[1]).all()


def test_reset__starts_from_problem_sample():
    env = make(3, environment=STATIC)
    env.reset(seed=11)
    sample = env.process.problem.sample(Streams.from_seed(11, 3))
    truth = dict(env.process.truth(env.state).items())
    for name, tensor in sample.items():
        assert torch.equal(truth[name], tensor), name


def test_reset__without_seed_goes_to_the_next_episode_of_each_lane():
    env, twin = make(3), make(3)
    env.reset(seed=2)
    twin.reset(seed=2)
    second, _ = env.reset()
    play(twin, 2)
    assert np.array_equal(play(twin, 1, seed=2)[0][0], second)  # SAME_STEP restarts there
    assert torch.equal(env.streams.episode, torch.ones(3, dtype=torch.int64))


def test_reset__without_any_seed_draws_from_np_random(untouched_generators):
    env, twin, other = make(2), make(2), make(2)
    env.np_random = np.random.default_rng(3)
    twin.np_random = np.random.default_rng(3)
    first = env.reset()[0]
    assert np.array_equal(first, twin.reset()[0])
    assert not np.array_equal(first, other.reset()[0])


def test_info__can_be_split_by_gymnasiums_wrapper():
    env = DictInfoToList(make(2, settings={"horizon": 1}))
    env.reset(seed=0)
    infos = env.step(actions(env.unwrapped))[-1]
    assert len(infos) == 2
    assert np.isscalar(infos[1]["final_info"]["cost"])


def test_torch_output__stays_on_the_device(device):
    env = make(3, output="torch", device=device, dtype="float32", record_statistics=True)
    observation, _ = env.reset(seed=0)
    assert observation.device.type == device.type
    for k in range(3):
        result = env.step(torch.as_tensor(actions(env, k), device=device))
    leaves = [*result[:4], *(v for v in result[4].values() if not isinstance(v, dict))]
    leaves += [*result[4]["final_info"].values(), *result[4]["episode"].values()][1:]
    tensors = [leaf for leaf in leaves if not isinstance(leaf, dict)]
    assert all(t.device.type == device.type and not t.requires_grad for t in tensors)
    assert result[0].dtype == result[1].dtype == torch.float32
    assert env.state.dtype == torch.float32


def test_torch_output__equals_numpy_output():
    env, twin = make(2), make(2, output="torch")
    env.reset(seed=0)
    twin.reset(seed=0)
    for k in range(4):
        ours, theirs = env.step(actions(env, k)), twin.step(torch.as_tensor(actions(env, k)))
        for mine, other in zip(ours[:4], theirs[:4], strict=True):
            assert np.array_equal(mine, other.numpy())


def spoil(value):
    """Overwrite everything a caller was given."""
    for leaf in value.values() if isinstance(value, dict) else [value]:
        if isinstance(leaf, dict):
            spoil(leaf)
        elif leaf.dtype in (bool, torch.bool):
            leaf[...] = True
        else:
            leaf[...] = 7


@pytest.mark.parametrize("output", ["numpy", "torch"])
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_outputs__can_be_overwritten_without_harm(uneven_id, output, mode):
    keywords = {"environment": uneven_id, "autoreset_mode": mode, "record_statistics": True}
    env, twin = make(8, output=output, **keywords), make(8, **keywords)
    spoil(env.reset(seed=0)[0])
    twin.reset(seed=0)
    for k in range(8):
        result, expected = env.step(actions(env, k)), twin.step(actions(env, k))
        for mine, other in zip(result[:4], expected[:4], strict=True):
            np.testing.assert_array_equal(np.asarray(mine), other)
        if "final_obs" in result[-1]:
            assert not np.shares_memory(np.asarray(result[0]), np.asarray(result[-1]["final_obs"]))
        for part in (*result[:2], result[2], result[3], result[4]):
            spoil(part)


def test_float32__casts_the_float64_instance():
    single, double = make(2, dtype="float32"), make(2)
    single.reset(seed=6)
    double.reset(seed=6)
    tensors = dict(single.state.items())
    for name, tensor in double.state.to(dtype=torch.float32).items():
        assert torch.equal(tensors[name], tensor), name


def test_step__takes_float64_actions_without_rounding(uneven_id):
    env, twin = make(1, environment=uneven_id), make(1, environment=uneven_id)
    env.reset(seed=0)
    twin.reset(seed=0)
    action = np.full((1, 3), -0.7)  # not a float32 number
    exact, rounded = env.step(action)[1], twin.step(action.astype(np.float32))[1]
    assert 0 < abs(exact[0] - rounded[0]) < 1e-6


def test_step__clips_actions_to_the_box():
    env, twin = make(2), make(2)
    env.reset(seed=0)
    twin.reset(seed=0)
    wild = np.array([[5.0, -7.0, 0.5]] * 2)
    assert np.array_equal(env.step(wild)[1], twin.step(wild.clip(-1, 1))[1])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros((2, 4)), r"actions: shape \(2, 4\), expected \(2, 3\)"),
        (np.zeros(3), r"actions: shape \(3,\)"),
        ([[0, 0, 0], [0, np.nan, 0]], "actions: lane 1 is"),
        ([[np.inf, 0, 0], [0, 0, 0]], "actions: lane 0 is"),
        ("full", "actions: not an array of real numbers"),
        (None, "actions: not an array of real numbers"),
    ],
)
def test_step__names_what_is_wrong_with_an_action(action, message):
    env = make(2)
    env.reset(seed=0)
    with pytest.raises(ShapeError, match=message):
        env.step(action)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer >= 1"),
        ({"num_envs": 2.0}, "num_envs must be an integer >= 1"),
        ({"environment": "isac/Nothing-v0"}, "unknown environment"),
        ({"scenario": "nowhere"}, "unknown preset"),
        ({"scenario": {"num_bs": 3, "speed": 4}}, "unknown field"),
        ({"settings": {"horizont": 4}}, "unknown setting"),
        ({"settings": {"horizon": 0}}, "horizon must be an integer >= 1"),
        ({"output": "jax"}, "output must be one of"),
        ({"dtype": "float16"}, "dtype must be one of"),
        ({"device": "abacus"}, "device must be a torch device"),
        ({"render_mode": "ansi"}, "render_mode must be one of"),
        ({"autoreset_mode": "sometimes"}, "autoreset_mode must be one of"),
    ],
)
def test_init__names_what_is_wrong(keywords, message):
    with pytest.raises(ScenarioError, match=message):
        make(**keywords)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"seed": -1}, ScenarioError, "seed must be in"),
        ({"seed": 2**63}, ScenarioError, "seed must be in"),
        ({"seed": 1.5}, ScenarioError, "seed must be an integer"),
        ({"seed": [1, 2, 3]}, ShapeError, "3 seeds for 2 lanes"),
        ({"seed": [1, None]}, ScenarioError, "seed must be an integer"),
        ({"options": {"mask": 1}}, ScenarioError, "unknown reset option"),
        ({"options": {"reset_mask": np.ones(3, bool)}}, ShapeError, "reset_mask: shape"),
        ({"options": {"reset_mask": np.zeros(2, bool)}}, ShapeError, "at least one True"),
        ({"options": {"reset_mask": np.ones(2)}}, ShapeError, "expected \\(2,\\) bool"),
    ],
)
def test_reset__names_what_is_wrong(keywords, error, message):
    env = make(2)
    env.reset(seed=0)
    with pytest.raises(error, match=message):
        env.reset(**keywords)


def test_before_reset__needs_a_full_reset():
    env = make(2)
    with pytest.raises(ResetNeeded):
        env.step(actions(env))
    with pytest.raises(ResetNeeded):
        env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded):
        _ = env.streams
    assert env.state is None


def test_global_generators__are_never_touched(untouched_generators):
    env = make(2, environment=ID)
    env.reset()
    play(env, 4)
