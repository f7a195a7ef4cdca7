import json
import shutil

import pytest

from isac_gym.core import SubmissionError
from leaderboard.arrays import content_digest, pack
from leaderboard.evaluate import evaluate_decisions
from leaderboard.results import Timing
from leaderboard.store import Store
from tests.leaderboard.conftest import PAPER

REASON = "the authors found a bug"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "record")


@pytest.fixture
def result(paper, optimum, method):
    return evaluate_decisions(paper, optimum, method=method)


def files(store):
    return {
        p.relative_to(store.folder): p.read_bytes() for p in store.folder.rglob("*") if p.is_file()
    }


def test_add__writes_one_row_and_reads_it_back(store, result, optimum):
    row = store.add(result, decision=optimum)
    (found,) = store.rows()
    assert found == row
    assert found.result == result
    assert found.status == "valid"
    assert row.id.startswith("our-method-")
    assert store.row(PAPER, row.id) == row
    with pytest.raises(SubmissionError, match="no row 'other'"):
        store.row(PAPER, "other")


def test_add__the_same_content_twice_changes_nothing(store, result, optimum):
    store.add(result, decision=optimum)
    before = files(store)
    later = result.model_copy(update={"created": "2030-01-01T00:00:00+00:00"})
    store.add(later, decision=optimum)
    assert files(store) == before


def test_add__a_new_version_of_a_method_is_a_second_row(store, result):
    store.add(result)
    timing = Timing(seconds_per_decision=1.0, batch_size=1, source="measured by us")
    store.add(result.model_copy(update={"timing": timing}))
    assert len(list(store.rows(PAPER))) == 2


def test_add__refuses_a_replay_under_another_name_and_unknown_tasks(store, result, method):
    store.add(result)
    thief = method.model_copy(update={"name": "Their method"})
    with pytest.raises(SubmissionError, match="on the board as 'Our method'"):
        store.add(result.model_copy(update={"method": thief}))
    assert store.known_decisions() == {(PAPER, result.decisions_sha256): "Our method"}
    with pytest.raises(SubmissionError, match="unknown task"):
        store.add(result.model_copy(update={"task": "power_control/none-v0"}))


def test_add__refuses_decisions_that_are_not_the_results(store, result, optimum):
    other = optimum.replace(power=optimum.power * 0.5)
    with pytest.raises(SubmissionError, match="not those of the result"):
        store.add(result, decision=other)


def test_set_status__adds_a_file_and_keeps_the_row(store, result, optimum):
    row = store.add(result, decision=optimum)
    before = files(store)
    store.set_status(PAPER, row.id, status="withdrawn", reason=REASON)
    store.set_status(PAPER, row.id, status="valid", reason="the bug was elsewhere")
    store.set_status(PAPER, row.id, status="invalid", reason=REASON)
    after = files(store)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 3
    (found,) = store.rows()
    assert (found.status, found.reason) == ("invalid", REASON)
    assert [event.status for event in found.events] == ["withdrawn", "valid", "invalid"]


@pytest.mark.parametrize(
    ("status", "reason", "field"), [("deleted", REASON, "status"), ("invalid", "no", "reason")]
)
def test_set_status__needs_a_known_status_and_a_reason(store, result, status, reason, field):
    row = store.add(result)
    with pytest.raises(SubmissionError, match=field):
        store.set_status(PAPER, row.id, status=status, reason=reason)


def test_build_database__again_gives_the_same_content(store, result, optimum, paper, tmp_path):
    store.add(result, decision=optimum)
    half = optimum.replace(power=optimum.power * 0.5)
    card = result.method.model_copy(update={"name": "Half"})
    row = store.add(evaluate_decisions(paper, half, method=card))
    store.set_status(PAPER, row.id, status="withdrawn", reason=REASON)
    first, second = store.build_database(), store.build_database(tmp_path / "board.sqlite")
    third = store.build_database(tmp_path / "board.sqlite")
    dumps = [list(each.iterdump()) for each in (first, second, third)]
    assert dumps[0] == dumps[1] == dumps[2]
    found = first.execute("SELECT method, status, instances FROM result ORDER BY method").fetchall()
    assert found == [("Half", "withdrawn", 256), ("Our method", "valid", 256)]
    assert first.execute("SELECT count(*) FROM instance").fetchone() == (512,)
    for each in (first, second, third):
        each.close()


def test_build_database__depends_only_on_the_files(store, result, tmp_path):
    store.add(result)
    copy = Store(tmp_path / "copy")
    shutil.copytree(store.folder, copy.folder)
    one, two = store.build_database(), copy.build_database()
    assert list(one.iterdump()) == list(two.iterdump())
    one.close()
    two.close()


def test_export_csv__has_a_header_and_a_line_per_row(store, result):
    store.add(result)
    header, line = store.export_csv().splitlines()
    assert header.startswith("task,row,method,kind,status,instances,iqm")
    assert line.startswith(f"{PAPER},our-method-")


def test_check_drift__is_clean_and_notices_changes(store, result, optimum, paper):
    row = store.add(result, decision=optimum)
    (drift,) = store.check_drift()
    assert drift.is_clean
    assert drift.row == row.id

    path = store.folder / "rows" / PAPER / f"{row.id}.json"
    values = json.loads(path.read_text())
    values["objective"][17] += 1e-6
    path.write_text(json.dumps(values))
    (drift,) = store.check_drift()
    assert not drift.is_clean
    assert drift.deviation == pytest.approx(1e-6, rel=1e-3)

    (store.folder / "decisions" / f"{content_digest(pack(optimum))}.safetensors").unlink()
    (drift,) = store.check_drift()
    assert drift.reason == "decisions are missing"
    assert not drift.is_clean


def test_rows__a_broken_file_is_named(store, result):
    row = store.add(result)
    path = store.folder / "rows" / PAPER / f"{row.id}.json"
    path.write_text(path.read_text().replace('"tier":"solutions"', '"tier":"gold"'))
    with pytest.raises(SubmissionError, match=rf"{row.id}.json: field tier"):
        list(store.rows())


def test_rows__an_empty_store_is_fine(store):
    assert list(store.rows()) == []
    assert store.check_drift() == []
    assert store.export_csv().startswith("task,row")
