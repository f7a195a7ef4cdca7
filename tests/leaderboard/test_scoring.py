import numpy as np
import pytest

from leaderboard.scoring import (
    compare,
    instance_scores,
    interquartile_mean,
    profile,
    standings,
    summarise,
    worst_tail,
)

FLOOR = np.array([-40.0, -30.0, -20.0, -10.0])
BOUND = np.array([-30.0, -20.0, -10.0, -9.95])


def draw(seed, count=256):
    return np.random.default_rng(seed).normal(80, 10, count)


def test_instance_scores__floor_is_0_bound_is_100_and_small_ranges_have_no_weight():
    for objective, score in ((FLOOR, 0.0), (BOUND, 100.0), ((FLOOR + BOUND) / 2, 50.0)):
        scores = instance_scores(objective, FLOOR, BOUND, min_range=0.1)
        assert scores[:3] == pytest.approx([score] * 3)
        assert np.isnan(scores[3])


def test_summarise__counts_weights_and_takes_losses_over_all():
    summary = summarise(BOUND - 1, FLOOR, BOUND, min_range=0.1)
    assert summary.weighted == 3
    assert summary.without_weight == 1
    assert summary.iqm == pytest.approx(90)
    assert (summary.low, summary.high) == pytest.approx((90, 90))
    assert (summary.loss_mean, summary.loss_p95, summary.loss_max) == pytest.approx((1, 1, 1))
    with pytest.raises(ValueError, match="no instance carries weight"):
        summarise(BOUND, BOUND, BOUND, min_range=0.1)


def test_interquartile_mean__drops_a_quarter_at_each_end():
    assert interquartile_mean(np.array([-1e9, 1.0, 3.0, 1e9])) == pytest.approx(2)
    rows = np.array([[-1e9, 1.0, 3.0, 1e9], [0.0, 0.0, 0.0, 0.0]])
    assert interquartile_mean(rows) == pytest.approx([2, 0])


def test_worst_tail__is_the_mean_of_the_worst_twentieth():
    scores = np.arange(100.0)
    assert worst_tail(scores) == pytest.approx(np.mean([0, 1, 2, 3, 4]))
    assert worst_tail(np.array([7.0, 9.0])) == 7


def test_summarise__interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(60):
        scores = draw(seed, 64)
        summary = summarise(scores, np.zeros(64), np.full(64, 100.0), min_range=0.1)
        hits += summary.low <= 80 <= summary.high
    assert 50 <= hits <= 60  # 95 % of 60 is 57; the tail below 50 has probability 1e-4


def test_compare__pairing_finds_a_small_difference_that_spread_would_hide():
    scores = draw(1)
    better = scores + 0.5 + 0.1 * np.random.default_rng(2).normal(size=256)
    paired = compare([better], [scores])
    assert paired.difference == pytest.approx(0.5, abs=0.1)
    assert not paired.is_tie
    unrelated = compare([better], [draw(3)])
    assert unrelated.high - unrelated.low > 5 * (paired.high - paired.low)


def test_compare__float32_noise_is_a_tie():
    scores = draw(1)
    assert compare([scores + 2e-4], [scores]).is_tie
    assert compare([scores.astype(np.float32).astype(np.float64)], [scores]).is_tie
    assert not compare([scores + 5e-3], [scores]).is_tie


def test_standings__ties_share_a_rank_and_the_next_rank_is_skipped():
    scores = draw(1)
    noise = np.random.default_rng(4).normal(0, 20, 256)
    placed = standings(
        {"c": [scores + noise - 30], "a": [scores], "b": [scores + 1e-5], "d": [scores - 90]}
    )
    assert {name: each.rank for name, each in placed.items()} == {"a": 1, "b": 1, "c": 3, "d": 4}
    assert next(iter(placed)) == "b"
    assert placed["a"].low < placed["a"].value < placed["a"].high


def test_standings__do_not_depend_on_order_or_company():
    one, two = draw(1), draw(2)
    together = standings({"one": [one], "two": [two]})
    assert together == standings({"two": [two], "one": [one]})
    alone = standings({"one": [one]})["one"]
    assert (alone.value, alone.low, alone.high) == (
        together["one"].value,
        together["one"].low,
        together["one"].high,
    )


def test_standings__the_mean_runs_over_tasks_not_instances():
    many, few = np.full(200, 100.0), np.zeros(20)
    standing = standings({"a": [many, few]})["a"]
    assert (standing.value, standing.low, standing.high) == pytest.approx((50, 50, 50))


def test_standings__one_instance_has_no_width_and_none_no_rows():
    standing = standings({"a": [np.array([42.0])]})["a"]
    assert (standing.low, standing.value, standing.high) == (42, 42, 42)
    assert standings({}) == {}


def test_profile__is_the_share_within_each_threshold():
    loss = np.array([0.0, 0.1, 0.1, 2.0])
    assert profile(loss, np.array([-1.0, 0.0, 0.1, 1.0, 2.0])) == pytest.approx(
        [0, 0.25, 0.75, 0.75, 1]
    )
