import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from isac_gym.core import ScenarioError, Streams, lane_seeds
from isac_gym.core.random import splitmix64

GAMMA = 0x9E3779B97F4A7C15
ENOUGH = 1e-4  # p-value; all seeds are literals, so a pass stays a pass


def signed(value):
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def reference_splitmix64(seed, count):
    """The reference generator in Python integers."""
    words, state = [], seed
    for _ in range(count):
        state = (state + GAMMA) % 2**64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        words.append(z ^ (z >> 31))
    return words


def test_splitmix64__known_answers():
    states = torch.tensor([signed(1234567 + k * GAMMA) for k in (1, 2, 3)])
    words = [int(word) % 2**64 for word in splitmix64(states)]
    assert words == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.integers(0, 2**64 - 1))
def test_splitmix64__equals_integer_arithmetic(seed):
    states = torch.tensor([signed(seed + k * GAMMA) for k in range(1, 9)])
    assert [int(w) % 2**64 for w in splitmix64(states)] == reference_splitmix64(seed, 8)


def test_words__golden():
    # pinned: a change here changes every instance of every problem and needs new -vN ids
    words = Streams.from_seed(7, 2).at_step(3).words("golden", 2)
    assert words.tolist() == [
        [6493010074434780529, -6169495638764086443],
        [-1772302329533988604, -2589571855737465389],
    ]


# --- the draw is a pure function ----------------------------------------------------------------


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12), st.integers(1, 9))
def test_words__depend_only_on_the_own_lane(seeds, columns):
    together = Streams.from_seeds(seeds).words("x", columns)
    for row, seed in enumerate(seeds):
        assert torch.equal(together[row : row + 1], Streams.from_seeds([seed]).words("x", columns))


@given(st.permutations(range(16)))
def test_draws__permute_with_the_lanes(order):
    index = torch.tensor(order)
    streams = Streams.from_seed(5, 16).at_step(torch.arange(16))
    for draw in ("uniform", "normal", "complex_normal"):
        whole = getattr(streams, draw)("x", 3, 5)
        assert torch.equal(getattr(streams[index], draw)("x", 3, 5), whole[index])


@pytest.mark.parametrize("draw", ["uniform", "normal", "complex_normal"])
@pytest.mark.parametrize("batch", [1, 2, 7, 33])
def test_draws__same_in_any_batch_size(draw, batch):
    large = getattr(Streams.from_seed(11, 200), draw)("x", 9)
    assert torch.equal(getattr(Streams.from_seed(11, batch), draw)("x", 9), large[:batch])


def test_draws__do_not_depend_on_earlier_draws():
    streams = Streams.from_seed(3, 4)
    first = streams.normal("a", 5)
    streams.uniform("b", 100)
    assert torch.equal(streams.normal("a", 5), first)


def test_words__prefix_of_columns_is_stable():
    streams = Streams.from_seed(3, 4)
    assert torch.equal(streams.words("a", 3), streams.words("a", 8)[:, :3])


def test_draws__touch_no_global_generator():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    streams = Streams.from_seed(0, 8)
    for draw in (streams.uniform, streams.normal, streams.complex_normal):
        draw("x", 4)
    streams.integers("x", 4, high=9)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


@pytest.mark.gpu
def test_words__same_bits_on_cuda():
    cpu = Streams.from_seed(11, 500).words("x", 32)
    assert torch.equal(Streams.from_seed(11, 500, device="cuda").words("x", 32).cpu(), cpu)


# --- addresses: seed, episode, step, name, column -----------------------------------------------


def test_words__no_two_addresses_collide():
    found = []
    for episode in range(4):
        for step in range(8):
            base = Streams.from_seed(0, 64)
            streams = Streams(base.seed, base.episode + episode, base.step + step)
            found += [streams.words(name, 16) for name in ("a", "b", "a/0", "a/1")]
    words = torch.stack(found).flatten()
    assert words.unique().numel() == words.numel() == 4 * 8 * 64 * 4 * 16


def test_from_seed__lane_i_is_seed_plus_i():
    assert Streams.from_seed(40, 3).seed.tolist() == [40, 41, 42]
    lane = Streams.from_seed(42, 1).words("x", 4)
    assert torch.equal(Streams.from_seed(40, 3).words("x", 4)[2:], lane)


def test_from_seed__refuses_negative():
    with pytest.raises(ScenarioError, match="seed must be an integer >= 0, got -1"):
        Streams.from_seed(-1, 2)


def test_from_seeds__accepts_64_bits():
    seeds = [0, 2**63 - 1, 2**63, 2**64 - 1]
    assert Streams.from_seeds(seeds).words("x", 1).unique().numel() == 4


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_from_seeds__refuses_outside_64_bits(seed):
    with pytest.raises(ScenarioError, match="seed"):
        Streams.from_seeds([0, seed])


def test_at_step__keeps_seed_and_episode():
    streams = Streams.from_seed(1, 3).next_episode()
    assert streams.at_step(4).step.tolist() == [4, 4, 4]
    assert streams.at_step(torch.tensor([1, 2, 3])).step.tolist() == [1, 2, 3]
    assert streams.at_step(4).episode.tolist() == [1, 1, 1]


def test_next_episode__moves_only_masked_lanes():
    streams = Streams.from_seed(1, 3).at_step(9)
    moved = streams.next_episode(torch.tensor([True, False, True]))
    assert moved.episode.tolist() == [1, 0, 1]
    assert moved.step.tolist() == [0, 9, 0]
    assert streams.next_episode().step.tolist() == [0, 0, 0]


def test_lane_seeds__depend_on_all_arguments():
    base = lane_seeds("set", 5)
    assert base == lane_seeds("set", 9)[:5]
    assert lane_seeds("set", 3, first=2) == base[2:]
    others = lane_seeds("set", 5, salt="x") + lane_seeds("other", 5)
    assert not set(base) & set(others)
    assert len(set(base + others)) == 15


def test_lane_seeds__are_63_bit_and_pinned():
    seeds = lane_seeds("golden", 1000)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62
    assert seeds[:2] == [9216033340989060236, 3226220105187875897]


def test_lane_seeds__names_cannot_be_glued_together():
    assert lane_seeds("a/b", 1, salt="c") != lane_seeds("a", 1, salt="b/c")


# --- statistics ---------------------------------------------------------------------------------


def sweep(draw, axis, count=20_000):
    """``count`` draws that differ only along one axis of the address."""
    if axis == "lane":
        return draw(Streams.from_seed(1, count), "x", 1)[:, 0]
    if axis == "column":
        return draw(Streams.from_seed(1, 1), "x", count)[0]
    if axis == "name":
        return torch.cat(
            [draw(Streams.from_seed(1, 200), f"n{k}", 1)[:, 0] for k in range(count // 200)]
        )
    index = torch.arange(count)
    zero = torch.zeros_like(index)
    pair = (zero, index) if axis == "step" else (index, zero)
    return draw(Streams(zero + 1, *pair), "x", 1)[:, 0]


AXES = ["lane", "column", "step", "episode", "name"]


@pytest.mark.parametrize("axis", AXES)
def test_uniform__is_uniform_along(axis):
    value = sweep(Streams.uniform, axis).numpy()
    assert value.min() >= 0
    assert value.max() < 1
    assert stats.kstest(value, "uniform").pvalue > ENOUGH
    assert stats.chisquare(np.histogram(value, 256, (0, 1))[0]).pvalue > ENOUGH


@pytest.mark.parametrize("axis", AXES)
def test_normal__is_normal_along(axis):
    value = sweep(Streams.normal, axis).numpy()
    assert stats.kstest(value, "norm").pvalue > ENOUGH
    assert abs(value.mean()) < 4 / len(value) ** 0.5
    assert abs(value.var() - 1) < 4 * (2 / len(value)) ** 0.5
    assert abs(stats.kurtosis(value)) < 4 * (24 / len(value)) ** 0.5
    assert abs(stats.skew(value)) < 4 * (6 / len(value)) ** 0.5


@pytest.mark.parametrize("axis", AXES)
def test_uniform__neighbours_are_independent_along(axis):
    value = sweep(Streams.uniform, axis, 40_000).numpy()
    pairs = np.histogram2d(value[:-1:2], value[1::2], 16, ((0, 1), (0, 1)))[0]
    assert stats.chisquare(pairs.ravel()).pvalue > ENOUGH
    assert abs(np.corrcoef(value[:-1], value[1:])[0, 1]) < 4 / len(value) ** 0.5


@pytest.mark.parametrize("bit", [0, 1, 31, 32, 33, 62, 63])
def test_words__every_bit_is_fair_and_free_of_its_neighbour(bit):
    word = Streams.from_seed(1, 2000).words("x", 16)
    value = ((word >> bit) & 1).double()
    assert abs(float(value.mean()) - 0.5) < 4 * 0.5 / value.numel() ** 0.5
    agree = (value[:-1] == value[1:]).double().mean()
    assert abs(float(agree) - 0.5) < 4 * 0.5 / value.numel() ** 0.5


def test_normal__halves_of_a_box_muller_pair_are_independent():
    value = Streams.from_seed(1, 20_000).normal("x", 2).numpy()
    cells = np.histogram2d(*stats.norm.cdf(value).T, 16, ((0, 1), (0, 1)))[0]
    assert stats.chisquare(cells.ravel()).pvalue > ENOUGH
    assert abs(np.corrcoef(value.T)[0, 1]) < 4 / 20_000**0.5
    assert abs(np.corrcoef((value**2).T)[0, 1]) < 4 / 20_000**0.5


def test_normal__streams_of_two_names_are_independent():
    streams = Streams.from_seed(1, 20_000)
    both = torch.cat([streams.normal("a", 1), streams.normal("b", 1)], 1).numpy()
    assert abs(np.corrcoef(both.T)[0, 1]) < 4 / 20_000**0.5


def test_complex_normal__is_circular_with_unit_power():
    value = Streams.from_seed(1, 40_000).complex_normal("x", 1)[:, 0].numpy()
    power = np.abs(value) ** 2
    assert abs(power.mean() - 1) < 4 / 200
    assert abs((value**2).mean()) < 4 / 200
    assert abs(value.mean()) < 4 / 200
    assert stats.kstest(power, "expon").pvalue > ENOUGH
    assert stats.kstest(np.angle(value) / (2 * np.pi) + 0.5, "uniform").pvalue > ENOUGH


def test_integers__cover_the_range_evenly():
    value = Streams.from_seed(1, 10_000).integers("x", 2, high=7).flatten()
    assert value.dtype == torch.int64
    counts = torch.bincount(value, minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts.numpy()).pvalue > ENOUGH


def test_draws__shapes_and_dtypes(dtype):
    streams = Streams.from_seed(1, 3)
    for shape in [(), (1,), (5,), (2, 3)]:
        assert streams.uniform("x", *shape, dtype=dtype).shape == (3, *shape)
        assert streams.normal("x", *shape, dtype=dtype).shape == (3, *shape)
        drawn = streams.complex_normal("x", *shape, dtype=dtype)
        assert drawn.shape == (3, *shape)
        assert drawn.real.dtype == dtype


def test_draws__float32_approximates_float64():
    streams = Streams.from_seed(1, 5000)
    for draw in (streams.uniform, streams.normal):
        torch.testing.assert_close(
            draw("x", 4, dtype=torch.float32).double(), draw("x", 4), rtol=0, atol=5e-6
        )  # the angle is rounded to 2 pi 2^-24, times a radius of at most 6.7
    assert streams.uniform("x", 40, dtype=torch.float32).max() < 1


def test_draws__empty_batch():
    streams = Streams.from_seed(1, 0)
    assert streams.batch_size == 0
    assert streams.normal("x", 3).shape == (0, 3)


@pytest.mark.parametrize("draw", ["uniform", "normal", "complex_normal"])
def test_draws__of_nothing_are_empty(draw):
    assert getattr(Streams.from_seed(0, 3), draw)("x", 0, 2).shape == (3, 0, 2)
