import pytest

from baselines.registry import make_solver, solvers
from isac_gym.core import family
from isac_gym.testing import SOLVER_CHECKS, check_solver
from tests.conftest import preset_ids, problem_names
from tests.contracts.toy import ToyProblem, ToyWaterfill

LARGE = {"dense-19"}
SLOW = {"sca-cvxpy", "gp-cvxpy"}  # seconds of imports, then half a second per instance


def cases():
    for name in problem_names():
        for solver in solvers(name):
            for check in SOLVER_CHECKS:
                marks = [pytest.mark.slow] if solver in SLOW else []
                yield pytest.param(name, solver, check, id=f"{solver}-{check}", marks=marks)


@pytest.mark.parametrize(("name", "solver", "check"), list(cases()))
def test_solver__conforms(name, solver, check):
    SOLVER_CHECKS[check](make_solver(name, solver), family(name).make_problem())


def certifying():
    for name, preset in preset_ids():
        for solver, kind in solvers(name).items():
            if kind.certifies:
                marks = [pytest.mark.slow] if solver in SLOW or preset in LARGE else []
                yield pytest.param(name, preset, solver, id=f"{preset}-{solver}", marks=marks)


@pytest.mark.parametrize(("name", "preset", "solver"), list(certifying()))
def test_solver__is_never_beaten(name, preset, solver):
    problem = family(name).make_problem(preset)
    SOLVER_CHECKS["certificate"](make_solver(name, solver), problem)


def test_toy_solver__conforms():
    check_solver(ToyWaterfill(), ToyProblem())
