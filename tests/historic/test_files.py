"""Files of every past schema version must load for ever. Add a folder per version; change none."""

import json
from pathlib import Path

import pytest

from leaderboard.results import migrate, parse_result, read_model
from leaderboard.store import Event
from leaderboard.submission import read_submission, verify_submission
from leaderboard.tasks import load_references, load_task, task

FOLDERS = sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir())
VERSIONS = [path for path in FOLDERS if path.name.startswith("v")]


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def folder(request):
    return request.param


def test_historic__version_1_is_kept():
    assert "v1" in [path.name for path in VERSIONS]


def test_historic__submission_loads(folder):
    submission = read_submission(folder / "submission")
    assert submission.method.name == f"Historic ({folder.name})"
    assert submission.method.seeds_tried == [0, 1, 2]


def test_historic__submission_still_scores_the_same(folder):
    stored = parse_result(json.loads((folder / "result.json").read_text()))
    (again,) = verify_submission(folder / "submission")
    assert again.objective == pytest.approx(stored.objective, abs=1e-9)
    assert again.decisions_sha256 == stored.decisions_sha256


def test_historic__result_loads_and_its_summary_can_be_recomputed(folder):
    result = parse_result(json.loads((folder / "result.json").read_text()))
    scores = result.scores(task(result.task), load_references(task(result.task)))
    assert scores.mean() == pytest.approx(result.summary.mean, abs=1e-6)


def test_historic__status_and_task_load(folder):
    values = migrate(json.loads((folder / "status.json").read_text()), label="status")
    assert read_model(Event, values, label="status").status == "withdrawn"
    assert load_task(folder / "task.json").id == "power_control/paper-v0"
