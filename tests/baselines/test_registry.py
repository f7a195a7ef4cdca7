import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from baselines import make_solver, registry, solvers
from isac_gym.core import ScenarioError, Solver

NAMES = {
    *("exact", "exact-bisect", "sca", "sca-cvxpy", "gp-cvxpy", "distributed", "full-power"),
    *("full-power-projected", "max-comm-margin", "min-comm-power", "energy-saver", "random"),
    *("adam-softmin", "min-mean-sigma", "peb3d", "peb2d"),
}


def test_solvers__are_all_there_with_name_and_summary():
    found = solvers("power-control")
    assert set(found) == NAMES
    for name, solver_type in found.items():
        assert issubclass(solver_type, Solver)
        assert solver_type.name == name
        assert 10 < len(solver_type.summary) < 80


def test_make_solver__sets_fields():
    assert make_solver("power_control", "distributed", eta=0.5).eta == 0.5


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("none", {}, "unknown solver 'none' of power_control; allowed: exact, exact-bisect"),
        ("distributed", {"eta": 2}, r"eta must be in \(0, 1\], got 2"),
        ("distributed", {"step": 1}, r"no field\(s\) \['step'\]; allowed: eta, iterations"),
        ("max-comm-margin", {"x": 1}, "allowed: none"),
        ("energy-saver", {"loss_db": 0}, "loss_db must be > 0"),
        ("full-power", {"level_db": 1}, "level_db must be a finite number <= 0"),
        ("random", {"low_db": 0}, "low_db must be a finite number < 0"),
        ("sca-cvxpy", {"split": "x"}, "split must be one of"),
        ("sca-cvxpy", {"power_unit_w": 0}, "power_unit_w must be > 0 or None"),
        ("adam-softmin", {"rate": 0}, "rate must be > 0"),
        ("peb2d", {"grid_step_db": 0}, "grid_step_db must be in"),
    ],
)
def test_make_solver__refuses_unknown_names_fields_and_values(name, fields, message):
    with pytest.raises(ScenarioError, match=message):
        make_solver("power_control", name, **fields)


def test_solvers__refuses_an_unknown_problem():
    with pytest.raises(ScenarioError, match="unknown problem 'nothing'"):
        solvers("nothing")


def test_solvers__third_parties_enter_by_the_same_door_but_cannot_take_a_name(monkeypatch):
    ours = EntryPoint("power_control", "baselines.power_control:SOLVERS", registry.GROUP)
    theirs = EntryPoint("power_control", "tests.baselines.test_registry:EXTRA", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [ours, theirs])
    registry._paths.cache_clear()
    assert make_solver("power_control", "extra").name == "exact"
    monkeypatch.setitem(EXTRA, "exact", EXTRA["extra"])
    registry._paths.cache_clear()
    with pytest.raises(ScenarioError, match=r"\['exact'\] of power_control are defined twice"):
        solvers("power_control")
    registry._paths.cache_clear()


EXTRA = {"extra": "baselines.power_control.exact:Exact"}


def test_import__needs_no_cvxpy():
    code = (
        "import sys, baselines; baselines.solvers('power_control'); print('cvxpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
