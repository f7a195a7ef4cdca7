"""Figures 3 to 5 of Rivera Figueroa et al. 2024 at 10^4 draws: trends, tables, what fails."""

import itertools

import pytest

from baselines.power_control.figures import expected, measure
from baselines.power_control.figures.claims import level_of_no_gain, verdicts

pytestmark = pytest.mark.slow

DRAWS, SEED = 10_000, 11


@pytest.fixture(scope="module")
def measured():
    return measure.measure_all(draws=DRAWS, seed=SEED, progress=lambda line: None)


@pytest.fixture(scope="module")
def found(measured):
    return {verdict.id: verdict for verdict in verdicts(measured)}


def assert_all_hold(checks):
    broken = [f"{c.name}: {c.measured}, expected {c.expected:g}" for c in checks if not c.holds]
    assert not broken


def test_headline__mean_range_error_at_110_db(measured):
    table = measured.self_interference
    assert table.at(-110, "full-power", "mean_sigma_m").value == pytest.approx(38.6, abs=0.4)
    assert table.at(-110, "exact", "mean_sigma_m").value == pytest.approx(35.8, abs=0.4)


def test_figure_3__optimum_shifts_the_distribution_at_low_interference_only(measured):
    table = measured.distribution
    for p in (0.1, 0.5, 0.9):
        for level, sign in ((-120, -1), (-110, -1), (-90, 1)):
            best = table.at(p, f"exact at {level} dB", "mean_sigma_m")
            full = table.at(p, f"full-power at {level} dB", "mean_sigma_m")
            change = best - full
            assert change.is_below(0) if sign < 0 else change.is_above(0)


def test_figure_3__mean_stops_improving_near_101_db(measured):
    assert level_of_no_gain(measured.self_interference).value == pytest.approx(-101, abs=1)


def test_figure_3__gain_grows_as_interference_falls(measured):
    _, gains = measured.self_interference.line("exact", "level_gain_median_db")
    assert all((low - high).is_above(0) for low, high in itertools.pairwise(gains))


def test_figure_4__range_errors_match_the_prototype(measured):
    assert_all_hold(expected.range_checks(measured.self_interference))


def test_figure_4__mean_power_falls(measured):
    _, power = measured.self_interference.line("exact", "power_dbm")
    assert all((high - low).is_below(0) for low, high in itertools.pairwise(power))
    assert (power[0] - power[-1]).value == pytest.approx(1.5, abs=0.1)


@pytest.mark.xfail(
    strict=True,
    reason="the paper says that all powers are lowered; at the optimum one is always at its cap",
)
def test_figure_4__all_powers_fall_in_most_draws(measured):
    share = measured.self_interference.at(-70, "exact", "all_powers_lower_share")
    assert share.value > 0.5


def test_figure_4__a_tenth_of_a_decibel_buys_many(measured):
    assert_all_hold(expected.energy_checks(measured.energy, "energy-saver 0.1 dB"))


def test_figure_5__range_errors_match_the_prototype(measured):
    assert_all_hold(expected.threshold_checks(measured.threshold))


def test_figure_5__crosses_full_power_near_7_db_on_survivors_and_9_db_on_common_draws(measured):
    table = measured.threshold
    assert level_of_no_gain(table).value == pytest.approx(7, abs=0.7)
    change = {
        gamma: table.at(gamma, "exact common", "mean_sigma_m")
        - table.at(gamma, "full-power common", "mean_sigma_m")
        for gamma in (8, 10)
    }
    assert change[8].is_below(0)
    assert change[10].is_above(0)


def test_figure_5__worst_range_error_rises_with_the_threshold(measured):
    _, worst = measured.threshold.line("exact common", "worst_sigma_m")
    assert all((high - low).value > 0 for low, high in itertools.pairwise(worst))


def test_figure_5__feasible_full_power_loses_at_every_threshold(measured):
    scheme = "exact over full-power-projected"
    _, change = measured.threshold.line(scheme, "mean_change_percent")
    assert all(each.is_below(0) for each in change)


@pytest.mark.xfail(strict=True, reason="the paper's baseline violates the thresholds it is held to")
def test_figure_5__full_power_meets_the_thresholds(measured):
    _, share = measured.threshold.line("full-power", "feasible_share")
    assert min(each.value for each in share) > 0.99


def test_algorithm_1__ends_at_the_global_optimum(measured):
    assert measured.gaps.at(1.0, "eps 0.001", "gap_db").value < 0.1
    assert measured.gaps.at(1.0, "eps 1e-06", "gap_db").value < 0.03
    assert measured.iterations.at("mean", "eps 0.001", "value").value == pytest.approx(3.5, abs=0.3)


def test_localisation__ratios_match_the_prototype(measured):
    assert_all_hold(expected.position_checks(measured.localisation))


def test_localisation__price_matches_the_prototype(measured):
    assert_all_hold(expected.price_checks(measured.localisation))


def test_localisation__usable_stations_match_the_prototype(measured):
    assert_all_hold(expected.usable_checks(measured.self_interference))


@pytest.mark.xfail(
    strict=True, reason="the title promises localisation; in 3-D full power is closer to optimal"
)
def test_localisation__paper_optimum_improves_the_3d_bound(measured):
    table = measured.localisation
    change = table.at(-110, "exact", "peb3d_ratio") - table.at(-110, "full-power", "peb3d_ratio")
    assert change.is_below(0)


def test_sensitivity__matches_prototype_and_oracle(measured):
    assert_all_hold(expected.sensitivity_checks(measured.sensitivity))


@pytest.mark.xfail(
    strict=True,
    reason="the prototype's 34.7 m came from a small sample; the oracles' loops give 36.3 +- 0.3 m",
)
def test_sensitivity__prototype_at_3_db_rician_factor(measured):
    best = measured.sensitivity.at("K = 3 dB", "exact", "mean_sigma_m")
    assert best.value == pytest.approx(34.7, abs=0.5)


def test_verdicts__all_agree_with_expectation(found):
    assert [v.id for v in found.values() if not v.holds] == []


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("fig3/improves-at-low-si", "reproduced"),
        ("fig3/no-effect-beyond-a-level", "reproduced"),
        ("fig3/lower-si-larger-gain", "reproduced"),
        ("fig4/all-powers-fall", "partly"),
        ("fig4/tens-of-metres", "reproduced"),
        ("fig5/crossover", "reproduced"),
        ("fig5/fair-baseline", "not reproduced"),
        ("problem/non-convex", "not reproduced"),
        ("scenario/absolute-numbers", "not verifiable"),
        ("localisation/carries-over", "partly"),
    ],
)
def test_verdicts__each_claim(found, claim, verdict):
    assert found[claim].verdict == verdict
