import json
from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

from baselines import cli as baselines_cli
from baselines.figures import Verdict
from isac_gym import cli


def run(*arguments):
    return CliRunner().invoke(cli.make_app(), list(arguments), prog_name="isac")


def refused(result, *words):
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if "commands of" not in line]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]


def test_solve__json_has_everything_a_program_needs():
    result = run(
        *("solve", "power-control", "--solver", "exact", "--solver", "distributed:eta=1"),
        *("--instances", "16", "--preset", "paper-constrained", "--json"),
        *("--set", "self_interference_db=-90", "--seed", "5", "--iterations", "30"),
    )
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["problem"] == "power_control"
    assert report["scenario"]["self_interference_db"] == -90
    assert report["scenario"]["threshold_db"] == 3
    assert (report["instances"], report["seed"]) == (16, 5)
    assert report["certificate"] == "exact"
    exact, distributed = report["solvers"]
    assert exact["loss"]["max"] < 1e-9
    assert exact["status"] == {"CONVERGED": 16}
    assert distributed["loss"]["mean"] > exact["loss"]["mean"]
    assert distributed["iterations"] <= 30
    assert exact["seconds_per_instance"] > 0


def test_solve__table_shows_solvers_losses_and_statuses():
    result = run("solve", "power-control", "--instances", "8", "--solver", "random")
    assert result.exit_code == 0
    for word in ("random", "loss", "p95", "100.0%", "solved", "bound: exact"):
        assert word in result.stdout


def test_solve__a_solver_that_does_not_apply_says_so_and_the_others_go_on():
    result = run(
        *("solve", "power-control", "--set", "num_bs=2", "--instances", "4", "--json"),
        *("--solver", "peb3d", "--solver", "exact"),
    )
    first, second = json.loads(result.stdout)["solvers"]
    assert "needs num_bs >= 3" in first["error"]
    assert second["status"] == {"CONVERGED": 4}


def test_solve__without_a_certificate_there_is_no_loss():
    arguments = ("--preset", "peb2d", "--instances", "4", "--solver", "full-power-projected")
    result = run("solve", "power-control", *arguments, "--json")
    report = json.loads(result.stdout)
    assert report["certificate"] is None
    assert report["solvers"][0]["loss"] is None
    assert "bound: none known" in run("solve", "power-control", *arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing",), ("unknown problem 'nothing'",)),
        (("power-control", "--solver", "best"), ("unknown solver 'best'", "exact")),
        (("power-control", "--solver", "distributed:eta=2"), ("eta must be in (0, 1]",)),
        (("power-control", "--set", "threshold_db"), ("--set must read name=value",)),
        (("power-control", "--set", "threshold_db=200"), ("threshold_db must be", "<= 100")),
        (("power-control", "--preset", "big"), ("unknown preset 'big'",)),
        (("power-control", "--dtype", "half"), ("dtype must be one of float64, float32",)),
        (("power-control", "--device", "gpu7"), ("device 'gpu7' is not available",)),
        (("power-control", "--instances", "0"), ("instances",)),
    ],
)
def test_solve__wrong_input_is_one_clear_line(arguments, words):
    refused(run("solve", *arguments), *words)


def figures_that(holds):
    def make_figures(out_dir, *, draws, seed, progress):
        progress("drawing")
        shared = {"source": "ours", "expected": "1", "measured": f"{draws} draws, seed {seed}"}
        good = Verdict(id="a/b", claim="one", verdict="reproduced", holds=True, **shared)
        bad = Verdict(id="c/d", claim="two", verdict="partly", holds=holds, **shared)
        return [good, bad]

    return make_figures


@pytest.mark.parametrize(("holds", "code"), [(True, 0), (False, 1)])
def test_figures__exit_code_says_whether_every_claim_holds(monkeypatch, tmp_path, holds, code):
    figures_that.make = figures_that(holds)
    point = EntryPoint(
        "power_control", "tests.baselines.test_cli:figures_that.make", "isac_gym.figures"
    )
    monkeypatch.setattr(baselines_cli, "entry_points", lambda **_: [point])
    arguments = ("figures", "power-control", "--out", str(tmp_path), "--draws", "7", "--seed", "3")
    shown = run(*arguments)
    assert shown.exit_code == code
    assert "7 draws, seed 3" in shown.stdout
    assert ("NO" in shown.stdout) == (not holds)
    listed = run(*arguments, "--json")
    assert listed.exit_code == code
    verdicts = json.loads(listed.stdout)["verdicts"]
    assert [v["holds"] for v in verdicts] == [True, holds]


def test_figures__refuses_a_problem_without_figures(monkeypatch):
    monkeypatch.setattr(baselines_cli, "entry_points", lambda **_: [])
    refused(run("figures", "power-control"), "power_control has no figures")


@pytest.mark.parametrize("command", ["solve", "figures"])
def test_help__gives_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"isac {command} power-control" in result.stdout
