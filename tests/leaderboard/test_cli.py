import json

import pytest
from typer.testing import CliRunner

from isac_gym.cli import make_app
from leaderboard.store import Store
from leaderboard.submission import write_submission
from leaderboard.tasks import tasks
from tests.leaderboard.conftest import CONSTRAINED, PAPER


@pytest.fixture(scope="module")
def run():
    app, runner = make_app(), CliRunner()

    def invoke(*arguments):
        result = runner.invoke(app, [str(each) for each in arguments])
        return result.exit_code, result.stdout, result.stderr

    return invoke


def test_tasks__lists_all(run):
    code, out, _ = run("tasks", "--json")
    assert code == 0
    assert [each["id"] for each in json.loads(out)] == list(tasks())
    code, out, _ = run("tasks")
    assert code == 0
    assert "paper-v0" in out


def test_tasks__check_passes(run):
    code, out, err = run("tasks", "--check")
    assert code == 0, out + err
    assert out.count("re-draw deviates by") == len(tasks())


def test_evaluate__a_solver_prints_and_writes_its_result(run, tmp_path):
    path = tmp_path / "results.json"
    code, out, _ = run("evaluate", "--task", PAPER, "--solver", "exact", "--out", path)
    assert code == 0
    assert "score 100.000" in out
    (value,) = json.loads(path.read_text())
    assert value["summary"]["iqm"] == pytest.approx(100, abs=1e-6)
    code, out, _ = run("evaluate", "--task", PAPER, "--solver", "sca:tolerance=0.1", "--json")
    assert code == 0
    assert json.loads(out)[0]["method"]["name"] == "sca"
    code, out, _ = run("evaluate", "--task", PAPER, "--solver", "exact:margin=0.05", "--json")
    assert json.loads(out)[0]["method"]["name"] == "exact +0.05 dB"


def test_evaluate__a_submission(run, tmp_path, method, optimum):
    folder = write_submission(tmp_path / "s", method=method, decisions={PAPER: optimum})
    code, out, _ = run("evaluate", "--task", PAPER, "--submission", folder, "--json")
    assert code == 0
    assert json.loads(out)[0]["method"]["name"] == "Our method"
    code, _, err = run("evaluate", "--task", CONSTRAINED, "--submission", folder)
    assert code == 2
    assert "no entry for" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--task", "nothing/x-v0", "--solver", "exact"), "unknown task"),
        (("--task", PAPER, "--solver", "magic"), "unknown solver"),
        (("--task", PAPER, "--solver", "exact:colour=1"), "no field"),
        (("--task", PAPER, "--solver", "exact:margin=much"), "margin must be a number"),
        (("--task", PAPER, "--solver", "exact:passes"), "must read field=value"),
        (("--task", PAPER), "exactly one of"),
        (("--task", PAPER, "--solver", "exact", "--agent", "x"), "exactly one of"),
        (("--task", PAPER, "--submission", "nowhere"), "must be a folder"),
    ],
)
def test_evaluate__wrong_input_is_one_line_and_exit_code_2(run, arguments, reason):
    code, out, err = run("evaluate", *arguments)
    assert code == 2
    assert reason in err
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1


def test_site__builds_from_a_record(run, tmp_path):
    code, out, _ = run("site", "--out", tmp_path / "page", "--results", tmp_path / "record")
    assert code == 0
    assert (tmp_path / "page" / "index.html").is_file()
    assert str(tmp_path / "page" / "index.html") in out.replace("\n", "")


def test_demo__unknown_part_is_refused(run):
    code, _, err = run("demo", "--only", "nothing")
    assert code == 2
    assert "only must be one of scores" in err


@pytest.mark.slow
def test_demo__runs_everything(run, tmp_path):
    code, _, err = run("demo", "--out", tmp_path / "site")
    assert code == 0, err
    assert (tmp_path / "site" / "index.html").is_file()
    rows = list(Store(tmp_path / "record").rows())
    assert {row.result.task for row in rows} == set(tasks())
    assert all(drift.is_clean for drift in Store(tmp_path / "record").check_drift())
    assert all(row.result.above_bound == 0 for row in rows)
