import numpy as np
import pytest

from leaderboard.board import Axis, build_board
from leaderboard.evaluate import evaluate_decisions
from leaderboard.instances import load_instances
from leaderboard.store import Store
from leaderboard.tasks import References, make_problem, task, tasks
from tests.leaderboard.conftest import PAPER

STATIC = [
    each.id
    for each in tasks().values()
    if each.kind == "static" and each.problem == "power_control"
]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "record")


@pytest.fixture
def add(store, method):
    """Add the floor's decisions, moved towards zero power in some instances, under a name."""

    def add(name, task_id=PAPER, *, scale=1.0, kind="classical", count=256, **options):
        each = task(task_id)
        instance = load_instances(each)[:count]
        decision = make_problem(each).floor(instance)
        power = decision.power.clone()
        power[::2] *= scale
        card = method.model_copy(update={"name": name, "kind": kind})
        created = options.pop("created", "2026-01-01T00:00:00+00:00")
        decision = decision.replace(power=power)
        result = evaluate_decisions(each, decision, method=card, **options)
        return store.add(result.model_copy(update={"created": created}))

    return add


def table(store, task_id=PAPER):
    return next(each for each in build_board(store).tables if each.task.id == task_id)


def test_build_board__has_every_task_even_without_rows(store):
    board = build_board(store)
    assert [each.task.id for each in board.tables] == list(tasks())
    assert board.methods == ()
    assert all(track.lines == () for track in board.tracks)


def test_table__ranks_valid_complete_rows_only(add, store):
    add("full")
    add("cut", scale=0.3)
    add("few", count=8)
    add("seer", kind="genie", scale=0.9)
    gone = add("gone", scale=0.8)
    store.set_status(PAPER, gone.id, status="withdrawn", reason="wrong numbers inside")
    found = table(store)
    ranks = {line.result.method.name: line.rank for line in found.lines}
    assert ranks.pop("few") is None
    assert ranks.pop("seer") is None
    assert set(ranks) == {"full", "cut"}
    assert sorted(ranks.values())[0] == 1
    why = {line.result.method.name: line.why for line in found.lines}
    assert why["few"] == "partial: 8 of 256"
    assert why["seer"].startswith("genie")
    assert [row.result.method.name for row in found.retired] == ["gone"]
    assert found.paper == pytest.approx(100, abs=0.1)


def test_table__a_row_above_the_bound_is_under_review(add, store, references):
    add("odd", references=References(floor=references.floor - 9, bound=references.floor - 1))
    (line,) = table(store).lines
    assert line.rank is None
    assert line.why.startswith("under review")


def test_table__the_newest_row_of_a_method_counts(add, store):
    for scale, year in ((0.9, 2026), (0.3, 2028), (0.6, 2027)):
        add("same", scale=scale, created=f"{year}-01-01T00:00:00+00:00")
    (line,) = table(store).lines
    assert line.result.created.startswith("2028")


def track_of(store, tier):
    tracks = build_board(store).tracks
    return next(t for t in tracks if (t.problem, t.tier) == ("power_control", tier))


def test_track__overall_is_the_mean_over_tasks(add, store):
    for task_id in STATIC:
        add("full", task_id)
        add("cut", task_id, scale=0.5)
    add("lonely", STATIC[0], scale=0.7)
    track = track_of(store, "Solutions")
    assert track.left_out == ("lonely",)
    assert {line.name for line in track.lines} == {"full", "cut"}
    for line in track.lines:
        assert line.standing.value == pytest.approx(np.mean(list(line.by_task.values())))
        assert set(line.by_task) == set(STATIC)


def test_track__tasks_without_a_bound_stay_out_of_the_mean(store):
    track = track_of(store, "Policies")
    assert any(not each.task.has_bound for each in track.tables)


def test_methods__one_card_per_method(add, store):
    add("b", scale=0.5)
    add("A")
    add("A", STATIC[1])
    board = build_board(store)
    assert [card.method.name for card in board.methods] == ["A", "b"]
    assert [each.id for each, _ in board.methods[0].lines] == STATIC[:2]


def test_axis__clips_to_its_ends():
    axis = Axis(-50.0, 150.0)
    assert [axis.at(score) for score in (-90, -50, 50, 150, 999)] == [0, 0, 50, 100, 100]
