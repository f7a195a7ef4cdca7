"""Figures 2 to 11 of the OTA-FEEL paper: files, verdicts that can fail, and (slow) all claims."""

import copy
import csv
import dataclasses

import numpy as np
import pytest

from baselines.figures import Estimate
from baselines.ota_feel.federated import run_federated
from baselines.ota_feel.figures import make_figures, measure, theory
from baselines.ota_feel.figures.claims import verdicts
from baselines.ota_feel.figures.draws import Frames, lanes
from baselines.ota_feel.figures.learning import LEARNERS, Curves, record, recorded
from baselines.ota_feel.figures.learning_claims import first_reaching
from baselines.ota_feel.figures.sweeps import Effort, apart_bounds, apart_errors
from isac_gym.core.errors import ScenarioError, SolverError
from isac_gym.problems.ota_feel.training import Training

DRAWS = 3
TABLES = {
    "fig2_digits": "round",
    "fig2_mnist": "round",
    "fig4": "round",
    "fig4_ends": "model",
    "fig6": "frame_length",
    "fig7": "num_devices",
    "fig8_9_fronts": "weight",
    "fig9_points": "server_antennas",
    "fig10": "round",
    "fig10_ends": "server_antennas",
    "fig11": "device_antennas",
}
FIGURES = (2, 4, 5, 6, 7, 8, 9, 10, 11)
BRIEF = Effort(rounds=3, long_rounds=12, audited=1, audited_rounds=2, front_steps=3, front_starts=1)
SHORT = measure.Training(rounds=6, seeds=3, apart_rounds=2, apart_lanes=1)


def read(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def quick():
    return measure.measure_all(
        draws=DRAWS, seed=2, effort=BRIEF, training=SHORT, progress=lambda line: None
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quick):
    """Files of ``make_figures`` on the measured tables (measuring once is enough)."""
    out = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "measure_all", lambda **settings: quick)
        return out, make_figures(out, draws=DRAWS)


def shifted(table, key, value):
    """The same cell around another value."""
    old = table.cells[key]
    table.cells[key] = Estimate(value, tuple(b + value - old.value for b in old.batches))


def test_files__every_figure_and_table_is_written(folder):
    out, _ = folder
    for number in FIGURES:
        assert (out / f"fig{number}.png").read_bytes().startswith(b"\x89PNG")
    for name, axis in TABLES.items():
        rows = read(out / f"{name}.csv")
        assert list(rows[0]) == [axis, "scheme", "quantity", "value", "half_width_95"]
    assert not list(out.glob("*.partial"))


def test_files__verdicts_are_those_returned(folder):
    out, found = folder
    assert [r["id"] for r in read(out / "verdicts.csv")] == [v.id for v in found]
    assert len({v.id for v in found}) == len(found) >= 25


def test_verdicts__are_a_pure_function_of_the_tables(quick):
    before = copy.deepcopy(quick.users.table.cells)
    assert verdicts(quick) == verdicts(quick)
    assert quick.users.table.cells == before


EXACT = [
    ("fig6/falls-with-T", "frames", (64, "K=15", "crb_ideal_db"), 1e-3),
    ("fig6/inverse-to-T", "frames", (512, "K=5", "crb_ideal_db"), 1e-4),
    ("fig6/falls-with-K", "frames", (64, "K=20", "crb_ideal_db"), 40.0),
    ("fig7/error-grows-with-K", "users", (20, "dft I=2", "mse_sum"), 1.0),
    ("fig7/error-grows-with-I", "users", (15, "dft I=4", "mse_mean"), -0.15),
    ("fig7/bound-grows-with-I", "users", (15, "none I=4", "crb_ideal_db"), 90.0),
    ("fig7/pulses-separate", "users", (15, "dft I=2", "mse_mean"), -0.03),
    ("fig9/more-antennas", "points", (32, "none", "nmse"), 1e-6),
    ("fig8/front-of-the-true-bound", "fronts", (0.8, "ideal N=16 T=64", "crb_db"), 1e-3),
    ("fig8/longer-pulses", "fronts", (0.5, "ideal N=16 T=256", "crb_db"), 1.0),
    ("fig11/printed-numbers", "loads", (8, "K=15", "real_numbers"), 1.0),
]


@pytest.mark.parametrize(("claim", "part", "key", "shift"), EXACT)
def test_verdicts__one_wrong_number_flips_its_claim(quick, claim, part, key, shift):
    twin = copy.deepcopy(getattr(quick, part))
    table = getattr(twin, "table", twin)
    shifted(table, key, table.cells[key].value + shift)
    wrong = dataclasses.replace(quick, **{part: twin})
    assert {v.id: v.holds for v in verdicts(wrong)}[claim] is False


def test_verdicts__a_costly_full_power_would_give_the_paper_its_front(quick):
    points = copy.deepcopy(quick.points)
    for pulse in ("none", "dft"):
        for antennas in (8, 16, 32, 64):
            shifted(points, (antennas, pulse, "full_power_worst"), 0.1)
    found = {v.id: v for v in verdicts(dataclasses.replace(quick, points=points))}
    verdict = found["fig8/front-of-the-papers-bound"]
    assert (verdict.verdict, verdict.holds) == ("reproduced", False)


def test_verdicts__a_rise_of_the_error_is_seen(quick):
    ends = copy.deepcopy(quick.ends)
    shifted(ends, (16, "none", "largest_rise"), 1e-3)
    found = {v.id: v for v in verdicts(dataclasses.replace(quick, ends=ends))}
    assert not found["fig10/monotone"].holds


def test_verdicts__a_scheme_that_lags_does_not_track(quick):
    curves = {name: copy.deepcopy(each) for name, each in quick.curves.items()}
    for each in curves.values():
        each.rows = [
            (n, s, k, a - 0.5 * s.startswith("joint"), loss, e) for n, s, k, a, loss, e in each.rows
        ]
    found = {v.id: v for v in verdicts(dataclasses.replace(quick, curves=curves))}
    assert found["fig2/joint-tracks"].verdict == "not reproduced"
    assert not found["fig2/joint-arrives"].holds
    assert not found["fig2/interference"].holds


@pytest.mark.parametrize("pulse", ["none", "dft"])
@pytest.mark.parametrize("array", ["vertical", "upa"])
def test_theory__agrees_on_errors_and_bounds(pulse, array):
    frames = Frames.sample(draws=2, seed=4, pulse=pulse, array=array, num_devices=6)
    decision = frames.design(5)
    assert apart_errors(frames, decision, scale=1.0) == pytest.approx(
        frames.mse(decision).numpy(), rel=1e-9
    )
    for interference in (False, True):
        ours = frames.crb_db(decision, interference=interference).numpy()
        apart = apart_bounds(frames, decision, interference=interference)
        assert apart == pytest.approx(ours, abs=1e-5)


def test_theory__null_space_fill_spends_all_and_changes_nothing():
    frames = Frames.sample(draws=1, seed=4, pulse="none", server_antennas=8)
    decision = frames.design(50)
    each = next(lanes(frames, decision))
    filled = theory.null_space_fill(
        each["channel"], each["precoder"], each["weight"], each["budget"], 0.1
    )
    power = (np.abs(filled) ** 2).sum((1, 2))
    assert power == pytest.approx(np.ones(15))
    old, new = (
        theory.mean_error(each["channel"], c, each["weight"], 0.1, None)
        for c in (each["precoder"], filled)
    )
    assert new <= old * (1 + 1e-9)


def test_training__perfect_links_equal_plain_numpy_image_by_image(quick):
    ours = quick.curves["digits"].table()
    for number in (0, 1, 2):
        apart = quick.apart.at(number, "perfect", "accuracy").value
        assert ours.at(number, "perfect", "accuracy").batches[0] == pytest.approx(apart)


def test_training__same_lanes_side_by_side_and_alone():
    settings = {"rounds": 1, "seed": 5, "learners": ("joint",)}
    both, alone = (record("digits", seeds=n, **settings).table() for n in (2, 1))
    key = (1, "joint", "accuracy")
    assert both.at(*key).batches[0] == alone.at(*key).batches[0]


def test_training__no_round_begins_after_its_time():
    found = record("digits", rounds=50, seeds=1, seed=1, learners=("ota",), seconds=0.0)
    assert found.last_round == 0


@pytest.mark.parametrize("train", ["record", "run_federated"])
def test_training__divergence_stops_it(train, monkeypatch):
    exact = Training.updates
    monkeypatch.setattr(Training, "updates", lambda *given: exact(*given) * np.nan)
    settings = {"dataset": "digits", "learning_rate": 0.25}
    runs = {
        "record": lambda: record(**settings, rounds=2, seeds=2, seed=1, learners=["perfect"]),
        "run_federated": lambda: run_federated(
            scheme="perfect", rounds=2, seeds=2, settings=settings
        ),
    }
    with pytest.raises(SolverError, match=r"seeds \[0, 1\] .* round 1 at learning_rate 0.25"):
        runs[train]()


def test_curves__survive_writing(tmp_path):
    curves = Curves([(0, "ota", 0, 0.5, 1.25, 3.0), (1, "ota", 0, 0.75, 1.0, 2.0)], ["how"])
    curves.write(tmp_path / "curve.csv")
    assert Curves.read(tmp_path / "curve.csv") == curves


def test_curves__of_mnist_are_shipped_with_how_they_were_made():
    curves = recorded("mnist")
    table = curves.table()
    assert any("--dataset mnist" in line for line in curves.about)
    assert len(table.at(0, "perfect", "accuracy").batches) == 10
    assert {row[1] for row in curves.rows} == set(LEARNERS)
    assert table.at(curves.last_round, "perfect", "accuracy").value > 0.93
    assert first_reaching(table, "perfect", 2.0) == np.inf


@pytest.mark.parametrize(("draws", "seed"), [(2, 0), (3, -1)])
def test_make_figures__refuses_numbers_out_of_range(tmp_path, draws, seed):
    with pytest.raises(ScenarioError, match="must be >="):
        make_figures(tmp_path, draws=draws, seed=seed)


@pytest.fixture(scope="module")
def full():
    return measure.measure_all(
        draws=48,
        seed=11,
        effort=Effort(),
        training=measure.Training(),
        progress=lambda line: None,
    )


@pytest.mark.slow
def test_verdicts__all_agree_with_expectation(full):
    assert [(v.id, v.measured) for v in verdicts(full) if not v.holds] == []
