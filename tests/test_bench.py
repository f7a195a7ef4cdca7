import json
import math

import pytest
import torch

from isac_gym import bench
from isac_gym.bench import BenchRow, Check, Side, Verdict, compare, one_thread, select_rows
from isac_gym.core.errors import ScenarioError


class Clock:
    """Time that only the timed functions move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def make_row(clock, *, our_seconds=1.0, their_seconds=(10.0,), target=5.0, **changes):
    waits = {"turn": 0}

    def ours(context):
        clock.now += our_seconds
        return context["answer"]

    def theirs(context):
        clock.now += their_seconds[waits["turn"] % len(their_seconds)]
        waits["turn"] += 1
        return 42

    fields = {
        "name": "toy/row",
        "ours": Side(label="ours", run=ours),
        "theirs": Side(label="theirs", run=theirs),
        "target": target,
        "prepare": lambda quick: {"answer": 42, "quick": quick},
        "check": lambda context, ours, theirs: Check(
            is_correct=ours == theirs, facts={"gap": abs(ours - theirs)}
        ),
    }
    return BenchRow(**(fields | changes))


def test_compare__ratio_is_theirs_over_ours():
    clock = Clock()
    result = compare(make_row(clock, our_seconds=2.0, their_seconds=(10.0,)), clock=clock)
    assert result.ratio == result.ratio_low == result.ratio_high == 5.0
    assert (result.our_seconds, result.their_seconds) == (2.0, 10.0)
    assert result.verdict is Verdict.PASS


def test_compare__units_normalise_different_amounts_of_work():
    clock = Clock()
    row = make_row(clock, our_seconds=2.0, their_seconds=(10.0,))
    ours = Side(label="ours", run=row.ours.run, units=4096)
    theirs = Side(label="theirs", run=row.theirs.run, units=lambda context: 8)
    result = compare(make_row(clock, ours=ours, theirs=theirs), clock=clock)
    assert result.ratio == pytest.approx((10 / 8) / (2 / 4096))


def test_compare__median_of_per_round_ratios_not_ratio_of_medians():
    clock = Clock()
    warm_up = (1.0, 1.0)
    row = make_row(clock, their_seconds=(*warm_up, 10.0, 30.0, 20.0, 50.0, 40.0))
    result = compare(row, rounds=5, clock=clock)
    assert (result.ratio, result.ratio_low, result.ratio_high) == (30.0, 10.0, 50.0)
    assert result.rounds == 5


def test_compare__sides_take_turns_in_going_first():
    clock, order = Clock(), []

    def side(name):
        def run(context):
            order.append(name)
            clock.now += 1.0

        return Side(label=name, run=run)

    row = make_row(clock, ours=side("ours"), theirs=side("theirs"))
    compare(
        BenchRow(**{**vars(row), "check": lambda *_: Check(is_correct=True)}),
        rounds=6,
        clock=clock,
    )
    timed = order[4:]
    firsts = timed[::2]
    assert sorted(firsts[:2]) == ["ours", "theirs"]
    assert timed.count("ours") == timed.count("theirs") == 6


def test_compare__fast_sides_are_repeated_and_divided_again():
    clock = Clock()
    result = compare(make_row(clock, our_seconds=1e-3, their_seconds=(2e-3,)), clock=clock)
    assert result.our_seconds == pytest.approx(1e-3)
    assert result.ratio == pytest.approx(2.0)
    assert clock.now > 5 * 2 * 0.9 * bench.MIN_SECONDS


def test_compare__a_wrong_result_fails_however_fast():
    clock = Clock()
    row = make_row(clock, our_seconds=1e-3, prepare=lambda quick: {"answer": 41})
    result = compare(row, clock=clock)
    assert result.verdict is Verdict.FAIL
    assert result.facts == {"gap": 1}
    assert result.ratio > row.target


def test_compare__correct_but_below_target_is_slow():
    clock = Clock()
    assert compare(make_row(clock, target=11.0), clock=clock).verdict is Verdict.SLOW


def test_compare__quick_reaches_prepare():
    clock, seen = Clock(), []

    def prepare(quick):
        seen.append(quick)
        return {"answer": 42}

    compare(make_row(clock, prepare=prepare), quick=True, clock=clock)
    assert seen == [True]


def test_compare__missing_extra_is_skipped_with_the_reason():
    def prepare(quick):
        raise ModuleNotFoundError("No module named 'cvxpy'", name="cvxpy")

    result = compare(make_row(Clock(), prepare=prepare))
    assert result.verdict is Verdict.SKIP
    assert "cvxpy" in result.note
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["ratio"] is None


def test_compare__other_errors_are_not_swallowed():
    def prepare(quick):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compare(make_row(Clock(), prepare=prepare))


def test_compare__fewer_than_5_rounds_are_refused():
    with pytest.raises(ScenarioError, match="rounds must be >= 5, got 4"):
        compare(make_row(Clock()), rounds=4)


def fail_on_one_thread():
    with one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError


def test_one_thread__restores_the_setting_even_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError):
            fail_on_one_thread()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_compare__runs_on_one_thread():
    clock, seen = Clock(), []

    def prepare(quick):
        seen.append(torch.get_num_threads())
        return {"answer": 42}

    compare(make_row(clock, prepare=prepare), clock=clock)
    assert seen == [1]


def test_select_rows__part_or_pattern():
    rows = [make_row(Clock(), name=name) for name in ("a/fast", "a/slow", "b/fast")]
    assert [row.name for row in select_rows(rows, "fast")] == ["a/fast", "b/fast"]
    assert [row.name for row in select_rows(rows, "a/*")] == ["a/fast", "a/slow"]
    with pytest.raises(ScenarioError, match="rows: a/fast, a/slow, b/fast"):
        select_rows(rows, "c")


def test_installed_rows__names_are_unique_and_every_row_is_complete():
    rows = bench.installed_rows()
    assert len({row.name for row in rows}) == len(rows) > 0
    for row in rows:
        assert row.target > 0
        assert row.ours.label != row.theirs.label


def test_installed_rows__a_name_used_twice_is_refused(monkeypatch):
    class Point:
        def load(self):
            return lambda: [make_row(Clock())]

    monkeypatch.setattr(bench, "entry_points", lambda **selection: [Point(), Point()])
    with pytest.raises(ScenarioError, match="toy/row"):
        bench.installed_rows()


def test_machine__says_what_a_reader_needs():
    facts = bench.machine()
    assert facts["torch"] == torch.__version__
    assert facts["cores"] >= 1
    assert facts["processor"]


def test_processor__reads_the_model_name(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name\t: Toy CPU 3000\n")
    assert bench._processor(info) == "Toy CPU 3000"
    assert bench._processor(tmp_path / "none") != ""


def test_to_dict__is_strict_json():
    clock = Clock()
    row = make_row(clock, check=lambda *_: Check(is_correct=True, facts={"gap": math.inf}))
    values = compare(row, clock=clock).to_dict()
    assert json.loads(json.dumps(values, allow_nan=False))["facts"] == {"gap": None}
