import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from isac_gym import bench, cli
from isac_gym.core.errors import ScenarioError, SubmissionError


@pytest.fixture
def run():
    def invoke(*arguments, app=None):
        return CliRunner().invoke(app or cli.make_app(), list(arguments), prog_name="isac")

    return invoke


def plug_in(monkeypatch, command):
    """Application with one more command, found through the entry-point group as a package's is."""
    plug_in.register = lambda app: app.command("extra")(command)
    point = EntryPoint("extra", "tests.test_cli:plug_in.register", "isac_gym.commands")
    found = cli.importlib.metadata.entry_points

    def entry_points(*, group, **selection):
        return [point] if group == "isac_gym.commands" else found(group=group, **selection)

    monkeypatch.setattr(cli.importlib.metadata, "entry_points", entry_points)
    return cli.make_app()


def assert_refused(result, *words):
    lines = [line for line in result.stderr.splitlines() if "commands of" not in line]
    assert result.exit_code == 2
    assert len(lines) == 1
    assert lines[0].startswith("isac: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in lines[0]


def test_help__names_own_commands_and_exit_codes(run):
    result = run("--help")
    assert result.exit_code == 0
    for word in ("list", "show", "bench", "Exit codes", "isac show power-control"):
        assert word in result.stdout


@pytest.mark.parametrize("command", ["list", "show", "bench"])
def test_help__every_command_gives_an_example(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"isac {command}" in result.stdout
    assert "--json" in result.stdout


def test_version__is_the_package_version(run):
    import isac_gym

    assert run("--version").stdout.strip() == f"isac_gym {isac_gym.__version__}"


def test_list__json_names_environments_and_solvers(run):
    problems = json.loads(run("list", "--json").stdout)["problems"]
    entry = next(p for p in problems if p["name"] == "power_control")
    assert "isac/PowerControl-v0" in [e["id"] for e in entry["environments"]]
    assert "exact" in entry["solvers"]
    assert entry["tasks"] >= 0


def test_list__text_names_what_json_names(run):
    result = run("list")
    assert result.exit_code == 0
    assert "isac/PowerControlTracking-v0" in result.stdout


def test_list__prints_no_empty_tables(run):
    problems = json.loads(run("list", "--json").stdout)["problems"]
    text = run("list").stdout
    assert text.count("what it is") == sum(bool(p["environments"]) for p in problems)
    assert all(p["name"] in text for p in problems)


def test_show__a_problem_without_environments(run):
    result = run("show", "robust_front")
    assert result.exit_code == 0
    assert "objective     hypervolume" in result.stdout
    assert "reward" not in result.stdout


def test_show__json_is_the_card(run):
    from isac_gym.card import card

    result = run("show", "power-control", "--scenario", "dense-7", "--json")
    assert json.loads(result.stdout) == card("power_control", "dense-7")


def test_show__text_holds_formulas_fields_and_layout(run):
    text = run("show", "power_control").stdout
    for word in ("gamma_s_i", "self_interference_db", "dense-19", "comm_gain", "bs_0, bs_1"):
        assert word in text


def test_show__environment_id_describes_that_environment_only(run):
    card = json.loads(run("show", "isac/PowerControl-v0", "--json").stdout)
    assert [e["id"] for e in card["environments"]] == ["isac/PowerControl-v0"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nope"], ["--nope"]),
        (["lst"], ["lst", "list"]),
        (["list", "--nope"], ["--nope", "isac list --help"]),
        (["list", "more"], ["more"]),
        (["show"], ["NAME"]),
        (["show", "nope"], ["nope", "power_control"]),
        (["show", "isac/Nope-v0"], ["isac/Nope-v0", "isac/PowerControl-v0"]),
        (["show", "power-control", "--scenario", "nope"], ["nope", "paper-constrained"]),
        (["bench", "--rounds", "x"], ["--rounds", "integer"]),
    ],
)
def test_wrong_input__is_one_line_and_exit_code_2(run, arguments, words):
    assert_refused(run(*arguments), *words)


def fake_row(name="toy/row", *, is_correct=True):
    side = bench.Side(label="side", run=lambda context: context)
    return bench.BenchRow(
        name=name,
        ours=side,
        theirs=side,
        target=1e-6,
        prepare=lambda quick: 1,
        check=lambda context, ours, theirs: bench.Check(is_correct=is_correct),
    )


def test_bench__json_report_and_file_agree(run, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "installed_rows", lambda: [fake_row()])
    monkeypatch.setattr(bench, "MIN_SECONDS", 0.0)
    result = run("bench", "--json", "--out", str(tmp_path / "report.json"))
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["rows"][0]["verdict"] == "pass"
    assert report["machine"]["threads"] == 1


def test_bench__a_wrong_result_exits_1(run, monkeypatch):
    monkeypatch.setattr(bench, "installed_rows", lambda: [fake_row(is_correct=False)])
    monkeypatch.setattr(bench, "MIN_SECONDS", 0.0)
    result = run("bench")
    assert result.exit_code == 1
    assert "FAIL" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows", "zzz"], ["zzz", "toy/row"]),
        (["--rounds", "2"], ["2", "5"]),
        (["--out", "missing/folder/report.json"], ["missing/folder"]),
    ],
)
def test_bench__wrong_input_is_refused(run, monkeypatch, arguments, words):
    monkeypatch.setattr(bench, "installed_rows", lambda: [fake_row()])
    monkeypatch.setattr(bench, "MIN_SECONDS", 0.0)
    assert_refused(run("bench", *arguments), *words)


@pytest.mark.parametrize("error", [ScenarioError, SubmissionError, FileNotFoundError])
def test_plug_in__foreseeable_errors_are_one_line(run, monkeypatch, error):
    def command():
        raise error("field x must be > 0,\n got -1.")

    assert_refused(run("extra", app=plug_in(monkeypatch, command)), "x must be > 0, got -1.")


def test_plug_in__missing_extra_names_the_pip_line(run, monkeypatch):
    def command():
        raise ModuleNotFoundError("No module named 'cvxpy'", name="cvxpy.atoms")

    result = run("extra", app=plug_in(monkeypatch, command))
    assert_refused(result, 'pip install "isac_gym[cvx]"')


def test_plug_in__a_missing_module_of_no_extra_is_a_bug_not_an_input_error(run, monkeypatch):
    def command():
        raise ModuleNotFoundError("No module named 'isac_gym.nope'", name="isac_gym.nope")

    result = run("extra", app=plug_in(monkeypatch, command))
    assert isinstance(result.exception, ModuleNotFoundError)


def test_plug_in__exit_code_1_passes_through(run, monkeypatch):
    def command():
        raise typer.Exit(1)

    assert run("extra", app=plug_in(monkeypatch, command)).exit_code == 1


def test_plug_in__one_that_cannot_be_imported_leaves_the_others(monkeypatch, capsys):
    point = EntryPoint("broken", "no_such_package.cli:register", "isac_gym.commands")
    monkeypatch.setattr(cli.importlib.metadata, "entry_points", lambda **selection: [point])
    app = cli.make_app()
    assert "'broken' are missing: No module named 'no_such_package'" in capsys.readouterr().err
    assert CliRunner().invoke(app, ["--version"]).exit_code == 0


def test_bare_command__shows_the_help(run):
    result = run()
    assert result.exit_code == 0
    assert "Where to begin" in result.stdout


def run_python(*arguments):
    line = [sys.executable, "-c", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_console_entry__help_needs_no_torch_and_errors_end_with_2():
    probe = (
        "import sys\n"
        "from isac_gym.cli import main\n"
        "sys.argv = ['isac', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    code = stop.code\n"
        "heavy = {'torch', 'scipy', 'matplotlib', 'cvxpy'} & set(sys.modules)\n"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    line = [sys.executable, "-c", "from isac_gym.cli import main; main()", "show", "nope"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
