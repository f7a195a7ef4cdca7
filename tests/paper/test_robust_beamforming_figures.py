"""Figures 3 to 5 of Chen and Yang 2025: files, verdicts that can fail, and (slow) all claims."""

import copy
import csv
import dataclasses
import math

import numpy as np
import pytest

from baselines.figures import Estimate, Table
from baselines.learned import FitPlan, Fitted, save_weights
from baselines.robust_beamforming.boblrbf_dnn import Unrolled, UnrolledSizes
from baselines.robust_beamforming.figures import expected, make_figures, measure, speed
from baselines.robust_beamforming.figures.claims import verdicts
from baselines.robust_beamforming.figures.draws import PREFERENCES, Channels
from baselines.robust_beamforming.figures.network_claims import seconds_to_reach
from baselines.robust_beamforming.figures.speed import NETWORKS, Training
from isac_gym.core.errors import ScenarioError, SubmissionError
from isac_gym.problems.robust_beamforming import FAMILY

DRAWS = 3
TABLES = {
    "fig3_fronts": "preference",
    "fig3_hypervolumes": "csi_error",
    "fig4_fronts": "preference",
    "fig4_hypervolumes": "max_power_dbm",
    "fig5": "iterations",
    "claims": "csi_error",
    "schemes": "csi_error",
    "training_levels": "preferences",
}
FIGURES = ("fig3", "fig4", "fig5", "claims", "training", "schemes")
MODES = dict(zip(NETWORKS, ("literal", "features", "gradient"), strict=True))
CHANNELS = 16


def known(value, spread=0.0):
    """Estimate over 16 channels whose common pattern cancels in differences."""
    pattern = np.resize([1.0, -1.0], CHANNELS)
    return Estimate(value, tuple(value + spread * pattern))


def read(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Untrained weights of all networks, and the first one's of another seed."""
    folder, problem = tmp_path_factory.mktemp("weights"), FAMILY.make_problem()
    for name, seed in (*((name, 0) for name in NETWORKS), (NETWORKS[0], 1)):
        network = Unrolled(MODES[name], UnrolledSizes.of(problem), seed=seed)
        fitted = Fitted(
            tensors=network.state_dict(),
            steps=2,
            seconds=0.5,
            curve_metric="exact objective",
            curve=[(0, 0.0, 0.0, -0.6), (1, 0.2, 0.9, -0.5), (2, 0.5, 0.8, -0.4)],
            results={"instances": 1},
        )
        plan = FitPlan(steps=2, batch=1, seed=seed)
        path = folder / (f"{name}-seed{seed}" if seed else name)
        save_weights(path, fitted, solver=name, problem=problem, plan=plan, command="test")
    return folder


@pytest.fixture(scope="module")
def effort(weights):
    return measure.Effort(
        pga=4,
        boblrbf=6,
        ceiling=3,
        wmmse=3,
        speed_parts=(0.5, 1.0),
        speed_batch=4,
        validation=4,
        weights=weights,
    )


@pytest.fixture(scope="module")
def quick(effort):
    return measure.measure_all(draws=DRAWS, seed=2, effort=effort, progress=lambda line: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quick, effort):
    """Files of ``make_figures`` on the measured tables (measuring once is enough)."""
    out = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "measure_all", lambda **settings: quick)
        return out, make_figures(out, draws=DRAWS, effort=effort)


def put(table, place, scheme, value=None, spread=0.0, quantity="hypervolume", **found):
    """Cells of known values."""
    found = found if value is None else {quantity: value, **found}
    table.cells.update({(place, scheme, name): known(v, spread) for name, v in found.items()})


def ideal_fronts(levels):
    """Fronts over the preference whose rates and bounds are those of ``levels``."""
    table = Table("preference")
    for level, (rates, crlbs) in levels.items():
        for p, rate, crlb in zip(PREFERENCES, rates, crlbs, strict=True):
            for scheme, lost in (("pga", 0.0), ("boblrbf", 3.0)):
                place = f"{scheme} at {level:g}"
                put(table, p, place, spread=2.0, worst_rate_bps_hz=rate - lost)
                put(table, p, place, crlb_m2=crlb)
    return table


def ideal_schemes():
    """Hypervolumes; spreads differ, so that differences have intervals too."""
    table = Table("csi_error")
    others = ("wmmse-split", "robust-wmmse-split", *NETWORKS)
    defaults = {"pga-nominal": 0.795} | dict.fromkeys(others, 0.4)
    spreads = {"boblrbf": 0.07, "boblrbf-literal": 0.05, "pga-nominal": 0.02}
    for error in measure.AUDITED:
        for scheme in measure.SCHEMES:
            value = expected.HYPERVOLUME.get(scheme, {}).get(error, defaults.get(scheme))
            put(table, error, scheme, value, spreads.get(scheme, 0.03))
            put(table, error, scheme, above_ceiling_share=0.0)
            put(table, error, scheme, spread=0.02, hypervolume_over_ceiling=value / 0.95)
        put(table, error, "ceiling", 0.96)
    return table


def ideal_errors():
    table, boblrbf = Table("csi_error"), (0.78, 0.747, 0.672, 0.56)
    for error, volume in zip(measure.CSI_ERRORS, boblrbf, strict=True):
        put(table, error, "bound", crlb_m2=0.02021)
        put(table, error, "pga", expected.HYPERVOLUME["pga"][error], 0.03)
        put(table, error, "boblrbf", volume, 0.03)
        for scheme in measure.FRONT_SCHEMES:
            put(table, error, scheme, outside_scored_share=0.1)
    return table


def ideal_speed():
    table = Table("iterations")
    rows = {
        (75, "pga"): (0.70, 20.0, 0.028, 1.0, 0.01),
        (150, "pga"): (0.73, 20.0, 0.027, 2.0, 0.02),
        (100, "boblrbf"): (0.60, 15.0, 0.030, 1.0, 0.04),
        (200, "boblrbf"): (0.66, 16.0, 0.028, 2.0, 0.08),
        (1, NETWORKS[0]): (0.27, 0.1, 0.037, 0.005, 0.0002),
        (1, NETWORKS[1]): (0.45, 0.2, 0.022, 0.005, 0.0002),
        (1, NETWORKS[2]): (0.70, 19.0, 0.029, 0.1, 0.003),
    }
    for (count, scheme), (value, rate, crlb, single, batched) in rows.items():
        put(table, count, scheme, spread=0.03, mean_utility=value)
        put(table, count, scheme, worst_rate_bps_hz=rate, crlb_m2=crlb)
        put(table, count, scheme, single_s=single, batched_s=batched)
    return table


def ideal():
    """Tables of a run in which every number is as expected."""
    claims, powers = Table("csi_error"), Table("max_power_dbm")
    for error, gap, in_phase_1 in zip(measure.AUDITED, (2.5, 4.5), (0.07, 0.14), strict=True):
        for scheme, outside in zip(measure.VARIANTS, (0.84, in_phase_1, 0.05), strict=True):
            put(claims, error, scheme, spread=0.02, outside_share=outside)
            put(claims, error, scheme, optimism_bps_hz=gap, error_over_radius=0.09)
    crlbs = np.array([1, 1.1, 1.2, 1.3, 1.5, 2, 4])
    levels = {e: (rates, 0.021 * crlbs) for e, rates in expected.RATES.items()}
    by_power = {}
    for power, (crlb, rate, volume) in expected.POWERS.items():
        put(powers, power, "bound", crlb_m2=0.202 * 10 ** (3 - power / 10))
        put(powers, power, "pga", volume, 0.03)
        by_power[power] = (rate - np.arange(6, -1, -1), crlb * crlbs)
    return measure.Measured(
        error_fronts=ideal_fronts(levels),
        errors=ideal_errors(),
        power_fronts=ideal_fronts(by_power),
        powers=powers,
        speed=ideal_speed(),
        claims=claims,
        schemes=ideal_schemes(),
        levels=Table("preferences"),
        trainings=[Training(n, 0, 60.0, "device", True, [], {}) for n in NETWORKS],
    )


def test_files__every_figure_and_table_is_written(folder):
    out, _ = folder
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for name, axis in TABLES.items():
        rows = read(out / f"{name}.csv")
        assert rows
        assert list(rows[0]) == [axis, "scheme", "quantity", "value", "half_width_95"]
    assert not list(out.glob("*.partial"))


def test_files__verdicts_are_those_returned(folder):
    out, found = folder
    rows = read(out / "verdicts.csv")
    assert [r["id"] for r in rows] == [v.id for v in found]
    assert len({v.id for v in found}) == len(found) >= 20
    assert any(not v.holds for v in found), "four iterations must not reproduce everything"


def test_files__training_curves_of_all_seeds(folder):
    rows = read(folder[0] / "training.csv")
    assert {(r["solver"], r["seed"]) for r in rows} == {
        *((name, "0") for name in NETWORKS),
        (NETWORKS[0], "1"),
    }


def test_tables__intervals_are_over_channels(quick):
    found = quick.errors.at(0.1, "pga", "hypervolume")
    assert len(found.batches) == DRAWS
    assert found.value == pytest.approx(np.mean(found.batches))
    assert found.half_width > 0


def test_tables__channels_are_common_to_all_errors_and_powers():
    drawn = [
        Channels.sample(draws=2, seed=3, **changes).instance
        for changes in ({"csi_error": 0.0}, {"csi_error": 0.2}, {"max_power_dbm": 30.0})
    ]
    assert all(i.channel.equal(drawn[0].channel) for i in drawn)
    assert all(i.reflection.equal(drawn[0].reflection) for i in drawn)


def test_tables__claimed_and_exact_rate_differ_by_the_optimism(quick):
    claimed, exact, optimism = (
        quick.claims.at(0.1, "boblrbf", f"{name}_bps_hz").value
        for name in ("claimed_rate", "worst_rate", "optimism")
    )
    assert optimism == pytest.approx(claimed - exact)
    assert 0 <= quick.claims.at(0.1, "boblrbf", "outside_share").value <= 1


def test_tables__no_scheme_exceeds_its_ceiling(quick):
    cells = quick.schemes.cells.items()
    assert all(e.value == 0 for (_, _, name), e in cells if name == "above_ceiling_share")


def test_speed__slower_of_two_runs_takes_longer_and_networks_run_once(quick):
    counts, seconds = quick.speed.line("boblrbf", "single_s")
    assert list(counts) == [3, 6]
    assert all(e.value > 0 for e in seconds)
    for name in NETWORKS:
        assert quick.speed.line(name, "batched_s")[0].tolist() == [1]


def test_speed__time_to_reach_a_value():
    table = ideal_speed()
    assert seconds_to_reach(table, "boblrbf", 0.5) == table.at(100, "boblrbf", "single_s")
    assert seconds_to_reach(table, "boblrbf", 0.65) == table.at(200, "boblrbf", "single_s")
    assert seconds_to_reach(table, "boblrbf", 0.9) is None


def test_weights__missing_ones_are_named_before_anything_is_measured(tmp_path, effort):
    with pytest.raises(SubmissionError, match=r"boblrbf-dnn\.json: no such file"):
        make_figures(tmp_path, effort=dataclasses.replace(effort, weights=tmp_path))


@pytest.mark.parametrize(("draws", "seed"), [(2, 0), (3, -1)])
def test_make_figures__refuses_numbers_out_of_range(tmp_path, draws, seed):
    with pytest.raises(ScenarioError, match="must be >="):
        make_figures(tmp_path, draws=draws, seed=seed)


def test_verdicts__all_hold_on_expected_numbers():
    assert [(v.id, v.measured) for v in verdicts(ideal()) if not v.holds] == []


def test_verdicts__are_a_pure_function_of_the_tables(quick):
    before = copy.deepcopy(quick)
    assert verdicts(quick) == verdicts(quick)
    assert quick == before


WRONG = [
    ("fig3/front-shrinks", "errors", 0.2, "pga", "hypervolume", 0.85),
    ("fig3/both-objectives-lose", "errors", 0.1, "bound", "crlb_m2", 0.0203),
    ("fig3/table", "error_fronts", PREFERENCES[3], "pga at 0.1", "worst_rate_bps_hz", 27.0),
    ("fig4/both-improve", "power_fronts", PREFERENCES[0], "pga at 40", "crlb_m2", 0.3),
    ("fig4/crlb-inverse-to-power", "powers", 30, "bound", "crlb_m2", 0.203),
    ("fig4/interference-limited", "powers", 30, "pga", "hypervolume", 0.8),
    ("fig5/fifty-times-faster", "speed", 1, NETWORKS[0], "single_s", 0.1),
    ("fig5/crlb-small-quickly", "speed", 1, NETWORKS[1], "crlb_m2", 0.03),
    ("fig5/repaired-network", "speed", 1, NETWORKS[2], "mean_utility", 0.55),
    ("fig5/reference", "speed", 150, "pga", "mean_utility", 0.65),
    ("fig5/one-sample-at-a-time", "speed", 200, "boblrbf", "batched_s", 1.0),
    ("algorithm/well-spread", "claims", 0.1, "boblrbf-literal", "outside_share", 0.1),
    ("algorithm/phase-1", "claims", 0.1, "boblrbf-phase1", "outside_share", 0.8),
    ("algorithm/robust", "claims", 0.1, "boblrbf", "optimism_bps_hz", 0.1),
    ("algorithm/own-errors", "claims", 0.05, "boblrbf", "error_over_radius", 0.9),
    ("algorithm/worth-of-robustness", "schemes", 0.1, "pga-nominal", "hypervolume", 0.77),
    ("algorithm/nominal-adam", "schemes", 0.1, "pga-nominal", "hypervolume", 0.6),
    ("algorithm/phase-1-pays", "schemes", 0.1, "boblrbf-literal", "hypervolume", 0.7),
    ("algorithm/warm-steps-pay", "schemes", 0.1, "boblrbf", "hypervolume", 0.72),
    ("schemes/closed-forms", "schemes", 0.1, "rzf-split", "hypervolume", 0.6),
    ("schemes/ceiling", "schemes", 0.1, "zf-null", "above_ceiling_share", 0.1),
    ("schemes/table", "schemes", 0.05, "mrt-null", "hypervolume", 0.5),
]


@pytest.mark.parametrize(("claim", "table", "place", "scheme", "quantity", "wrong"), WRONG)
def test_verdicts__one_wrong_number_flips_its_claim(claim, table, place, scheme, quantity, wrong):
    measured = ideal()
    cells = getattr(measured, table).cells
    right = cells[place, scheme, quantity]
    shift = wrong - right.value
    cells[place, scheme, quantity] = Estimate(wrong, tuple(b + shift for b in right.batches))
    found = {v.id: v.holds for v in verdicts(measured)}
    assert not found[claim]


def test_verdicts__every_claim_that_can_fail_has_a_wrong_number():
    tested = {row[0] for row in WRONG} | {"fig5/better-on-both"}
    assert {v.id for v in verdicts(ideal())} - tested == {"scenario/absolute-numbers"}


@pytest.mark.parametrize(
    ("rate", "crlb", "verdict"),
    [
        (18.0, 0.02, "reproduced"),
        (18.0, 0.04, "not reproduced"),
        (15.0, 0.02, "not reproduced"),
    ],
)
def test_verdicts__better_on_both_needs_both(rate, crlb, verdict):
    measured = ideal()
    put(measured.speed, 1, NETWORKS[0], worst_rate_bps_hz=rate, crlb_m2=crlb)
    found = {v.id: v for v in verdicts(measured)}["fig5/better-on-both"]
    assert (found.verdict, found.holds) == (verdict, verdict == "not reproduced")


def test_prototype__tolerance_is_the_spread_over_channels():
    check = expected.prototype("x", known(1.0, 0.1), 1.05)
    assert check.tolerance == pytest.approx(0.1 * math.sqrt(16 / 15))
    assert check.holds
    assert not expected.prototype("x", known(1.0, 0.1), 1.3).holds


def test_trainings__used_weights_come_first(weights):
    found = speed.read_trainings(weights)
    assert [(t.solver, t.seed) for t in found if t.is_used] == [(n, 0) for n in NETWORKS]
    assert [(t.solver, t.seed) for t in found if not t.is_used] == [(NETWORKS[0], 1)]


@pytest.fixture(scope="module")
def full():
    effort = measure.Effort()
    return measure.measure_all(draws=16, seed=11, effort=effort, progress=lambda line: None)


@pytest.mark.slow
def test_verdicts__all_agree_with_expectation_on_16_channels(full):
    assert [(v.id, v.measured) for v in verdicts(full) if not v.holds] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ("fig3/front-shrinks", "reproduced"),
        ("fig3/both-objectives-lose", "partly"),
        ("fig4/both-improve", "reproduced"),
        ("fig5/better-on-both", "not reproduced"),
        ("fig5/crlb-small-quickly", "partly"),
        ("fig5/one-sample-at-a-time", "not reproduced"),
        ("algorithm/well-spread", "not reproduced"),
        ("algorithm/robust", "not reproduced"),
        ("algorithm/worth-of-robustness", "reproduced"),
        ("scenario/absolute-numbers", "not verifiable"),
    ],
)
def test_verdicts__each_claim(full, claim, verdict):
    assert {v.id: v.verdict for v in verdicts(full)}[claim] == verdict
