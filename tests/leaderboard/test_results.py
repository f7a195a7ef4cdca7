import json

import pytest

from isac_gym.core import SubmissionError
from leaderboard import results
from leaderboard.evaluate import evaluate_decisions
from leaderboard.results import migrate, parse_result


@pytest.fixture
def result(paper, optimum, method):
    return evaluate_decisions(paper, optimum[:4], method=method)


def test_parse_result__round_trip(result):
    again = parse_result(json.loads(result.model_dump_json()))
    assert again == result


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"extra": 1}, "extra"),
        ({"objective": []}, "objective"),
        ({"tier": "gold"}, "tier"),
        ({"summary": {}}, "summary"),
        ({"schema_version": 0}, "schema_version 0"),
        ({"schema_version": "1"}, "schema_version '1'"),
        ({"schema_version": True}, "schema_version"),
    ],
)
def test_parse_result__names_the_field(result, change, field):
    values = json.loads(result.model_dump_json()) | change
    with pytest.raises(SubmissionError, match=field):
        parse_result(values)


def test_migrate__lifts_old_files_step_by_step(monkeypatch):
    def from_minus_one(values):
        return {"schema_version": 0, "name": values["title"]}

    def from_zero(values):
        return {"schema_version": 1, "label": values["name"]}

    monkeypatch.setattr(results, "MIGRATIONS", {-1: from_minus_one, 0: from_zero})
    old = {"schema_version": -1, "title": "x"}
    assert migrate(old, label="it") == {"schema_version": 1, "label": "x"}
    assert old == {"schema_version": -1, "title": "x"}


@pytest.mark.parametrize("values", [[], None, {}, {"schema_version": 2}])
def test_migrate__refuses_what_it_does_not_know(values):
    with pytest.raises(SubmissionError, match="schema_version"):
        migrate(values, label="it")


def test_result__scores_are_recomputed_from_objective_and_references(result, paper, references):
    assert result.scores(paper, references) == pytest.approx([100] * 4, abs=1e-6)
    assert result.loss(references) == pytest.approx([0] * 4, abs=1e-6)
