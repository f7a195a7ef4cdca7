"""Figures of subcarrier selection, piece by piece: draws, statistics, verdicts that fail."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr, t

from baselines.figures import Estimate, Table
from baselines.subcarrier_selection.figures import enumeration, make_figures, ranks, training
from baselines.subcarrier_selection.figures.breathing import (
    SCHEMES,
    SETTINGS,
    breathing_verdicts,
)
from baselines.subcarrier_selection.figures.draws import (
    PRESETS,
    SIZES,
    TASKS,
    Effort,
    Rooms,
    by_room,
    random_masks,
    spearman,
)
from baselines.subcarrier_selection.figures.mask_claims import quality_verdicts, rank_verdicts
from baselines.subcarrier_selection.figures.masks import SPLITS, split_training
from baselines.subcarrier_selection.figures.tracking import POLICIES, tracking_verdicts
from baselines.subcarrier_selection.figures.training_claims import gap_verdicts, joint_verdicts
from isac_gym.core.errors import ScenarioError

BRIEF = Effort(seeds=2, iterations=20, steps=20, windows=64, held_out=32, ranked=4, judged=1)


def around(value, *, rooms=4, spread=1e-3):
    """An estimate over rooms with a narrow interval."""
    away = spread * np.linspace(-1, 1, rooms)
    return Estimate(value, tuple(value + away))


def table_of(cells, axis="tones"):
    return Table(axis, {key: around(value) for key, value in cells.items()})


@pytest.fixture(scope="module")
def trained():
    return training.train_size(16, rooms=3, seed=3, effort=BRIEF)


# --- statistics -------------------------------------------------------------------------------


def test_by_room__repetitions_in_a_room_do_not_narrow_the_interval():
    rooms = torch.tensor([1.0, 2.0, 4.0, 9.0])
    once, often = by_room(rooms), by_room(rooms[:, None, None].expand(4, 5, 7))
    assert once.half_width == pytest.approx(often.half_width)
    wanted = t.ppf(0.975, 3) * rooms.std().item() / 2
    assert often.half_width == pytest.approx(wanted)
    assert often.value == pytest.approx(4.0)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman__equals_scipy(ties):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 40))
    if ties:
        a, b = a.round(), b.round()
    found = spearman(torch.tensor(a), torch.tensor(b))
    assert found == pytest.approx(spearmanr(a, b).statistic)


# --- draws ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_random_masks__are_allowed_and_others_in_every_room(size):
    rooms = Rooms.sample(rooms=2, seed=1, preset=PRESETS[size], num_train=16, num_held_out=16)
    mask = random_masks(rooms, 200, seed=1)
    least, most = rooms.limits
    count = mask.sum(-1)
    assert set(count.flatten().tolist()) == set(range(least, most + 1))
    assert not torch.equal(mask[0], mask[1])
    assert mask.double().mean((0, 1)).sub(mask.double().mean()).abs().max() < 0.12


def test_rooms__are_the_same_with_more_rooms_or_more_windows():
    settings = {"seed": 5, "preset": "small-16", "num_held_out": 32}
    few = Rooms.sample(rooms=1, num_train=50, **settings).instance
    more = Rooms.sample(rooms=3, num_train=50, **settings).instance
    assert torch.equal(few.train, more.train[:1])
    long = Rooms.sample(rooms=1, num_train=100, **settings).instance
    raw = [i.train_label * i.label_scale[:, None] + i.label_mean[:, None] for i in (few, long)]
    assert torch.allclose(raw[0], raw[1][:, :50])


def test_split_training__shares_no_place_but_one():
    rooms = Rooms.sample(rooms=2, seed=2, preset="small-16", num_train=160, num_held_out=32)
    split = split_training(rooms, SPLITS[16], seed=1)
    i = split.instance
    assert (i.train.shape[1], i.val.shape[1]) == (100, 60)
    split.problem.validate(i)
    for first, second in zip(i.train_label, i.val_label, strict=True):
        places = [{tuple(row) for row in part[:, :2].tolist()} for part in (first, second)]
        assert len(places[0] & places[1]) <= 1
    windows = [{tuple(w) for w in part.flatten(1).tolist()} for part in (i.train[0], i.val[0])]
    assert not windows[0] & windows[1]
    assert windows[0] | windows[1] == {
        tuple(w) for w in rooms.instance.train[0].flatten(1).tolist()
    }


# --- training ---------------------------------------------------------------------------------


def test_training__measures_every_scheme(trained):
    for name, task in itertools.product(("spg", "penalty"), TASKS):
        assert trained.table.at(16, name, f"relaxed_{task}").value > 0
    for name in ("location", "location-matched", "sensing"):
        assert 0 <= trained.table.at(16, name, "gap").value <= 0.5
    assert (16, "sensing", "relaxed_location") not in trained.table.cells
    assert trained.masks("spg").shape == (3, 2, 16)


def test_training__all_schemes_start_from_the_same_loss(trained):
    places = [trained.curves.at(0.0, n, "16 location").value for n in ("spg", "location")]
    states = [trained.curves.at(0.0, n, "16 sensing").value for n in ("spg", "penalty", "sensing")]
    assert places == pytest.approx([places[0]] * 2)
    assert states == pytest.approx([states[0]] * 3)


def test_training__equal_gradients_are_equal(trained):
    ends = {n: int(trained.runs[n].gradients[-1, 0]) for n in ("spg", "location-matched")}
    assert ends["spg"] - 1 == ends["location-matched"] == 60  # one more for the cutting plane
    assert int(trained.runs["location"].gradients[-1, 0]) == 20


def test_ranks__every_evaluator_is_compared():
    table = ranks.measure_ranks(16, rooms=3, seed=3, effort=BRIEF)
    for name in (*ranks.EVALUATORS, "score", "validation", "ceiling"):
        assert -1 <= table.at(16, name, "rank_correlation").value <= 1


# --- stored optima ----------------------------------------------------------------------------


def test_stored_optima__belong_to_their_rooms():
    stored = enumeration.recorded()
    assert len(stored) >= 3
    rooms = Rooms.sample(rooms=len(stored), seed=stored[0].seed, preset="small-16")
    best = torch.stack([each.best for each in stored])
    least, most = rooms.limits
    assert ((best.sum(-1) >= least) & (best.sum(-1) <= most)).all()
    for instance, name in ((rooms.known, "val_best"), (rooms.instance, "val_best_on_score")):
        found = rooms.problem.mask_errors(instance, best[:, None])[:, 0].mean(-1)
        wanted = torch.tensor([getattr(each, name) for each in stored])
        assert torch.allclose(found.double(), wanted.double(), atol=2e-7)


def test_stored_optima__none_of_a_thousand_masks_is_better():
    stored = enumeration.recorded()[0]
    rooms = Rooms.sample(rooms=1, seed=stored.seed, preset="small-16")
    mask = random_masks(rooms, 1000, seed=9)
    assert rooms.problem.mask_errors(rooms.known, mask).mean(-1).min() >= stored.val_best - 1e-7


@pytest.mark.slow
def test_stored_optima__are_what_enumeration_gives():
    stored = enumeration.recorded()[0]
    rooms = Rooms.sample(rooms=1, seed=stored.seed, preset="small-16")
    found = enumeration.enumerate_room(rooms, 0, seed=stored.seed)
    assert (found.val_mask, found.score_mask) == (stored.val_mask, stored.score_mask)
    assert found.probe_best == pytest.approx(stored.probe_best, abs=1e-7)


# --- verdicts ---------------------------------------------------------------------------------


def gap_tables(spg):
    quantities = ("gap", "gap_feasible", "exact_share")
    table = table_of(
        {(s, n, q): 0.1 for s in SIZES for n in ("spg", "penalty") for q in quantities}
    )
    for size in SIZES:
        table.cells[size, "spg", "gap"] = around(spg)
    cells = {(p, "penalty", "gap"): 0.5 - 0.3 * p for p in training.PENALTIES}
    cells |= {(p, "spg", "gap"): 0.5 - 4 * p for p in training.PULLS}
    return table, table_of(cells)


@pytest.mark.parametrize(("spg", "verdict"), [(0.05, "reproduced"), (0.15, "not reproduced")])
def test_verdicts__table_2_follows_the_gaps(spg, verdict):
    found = {v.id: v for v in gap_verdicts(*gap_tables(spg))}
    assert found["table2/gap"].verdict == verdict


def joint_tables(gain):
    schemes = ("spg", "penalty", "location", "location-matched", "sensing")
    cells = {(s, n, t): 0.4 for s in SIZES for n in schemes for t in TASKS}
    cells |= {(s, "spg", t): 0.4 * (1 - gain) for s in SIZES for t in TASKS}
    relaxed = {(s, n, f"relaxed_{q}"): value for (s, n, q), value in cells.items()}
    return table_of(relaxed), table_of(cells)


@pytest.mark.parametrize(("gain", "reproduced"), [(0.25, True), (0.0, False), (-0.25, False)])
def test_verdicts__a_real_joint_gain_would_be_seen(gain, reproduced):
    found = {v.id: v.verdict for v in joint_verdicts(*joint_tables(gain))}
    names = ("joint-location", "joint-sensing", "equal-gradients", "joint-masks")
    for name in (*names, "size-of-the-gain"):
        assert (found[f"table3/{name}"] == "reproduced") == reproduced
    assert found["table3/same-penalty"] == "not reproduced"


def test_verdicts__masks_no_better_than_random_are_seen():
    schemes = ("spg", "random", "greedy", "all")
    cells = {(s, n, t): 0.4 for s in SIZES for n in schemes for t in (*TASKS, "error")}
    found = {v.id: v for v in quality_verdicts(table_of(cells))}
    assert found["masks/better-than-random"].verdict == "not reproduced"
    assert not found["masks/better-than-random"].holds


def test_verdicts__an_evaluator_that_misranks_is_seen():
    names = (*ranks.EVALUATORS, "score", "validation", "ceiling")
    cells = {(s, n, "rank_correlation"): 0.9 for s in SIZES for n in names}
    cells |= {(s, "kernel_ridge", "rank_correlation"): 0.2 for s in SIZES}
    cells |= {(s, "retrained", "spread"): 0.05 for s in SIZES}
    found = {v.id: v for v in rank_verdicts(table_of(cells))}
    assert found["ranks/kernel-ridge"].verdict == "not reproduced"
    assert found["ranks/in-sample"].verdict == "not reproduced"


def test_verdicts__without_headroom_tracking_fails():
    cells = {(12, name, "cost"): 0.9 for name in POLICIES}
    found = {v.id: v for v in tracking_verdicts(table_of(cells, "frames"))}
    assert found["tracking/headroom"].verdict == "not reproduced"


def test_verdicts__breathing_compares_room_by_room():
    cells = {(s, n, "mae_bpm"): 0.5 for s in SETTINGS for n in SCHEMES}
    cells |= {(s, "greedy", "mae_bpm"): 0.2 for s in SETTINGS}
    found = {v.id: v for v in breathing_verdicts(table_of(cells, "setting"))}
    assert {v.verdict for v in found.values()} == {"reproduced"}


@pytest.mark.parametrize(("draws", "seed"), [(2, 0), (3, -1)])
def test_make_figures__refuses_numbers_out_of_range(tmp_path, draws, seed):
    with pytest.raises(ScenarioError, match="must be >="):
        make_figures(tmp_path, draws=draws, seed=seed)
