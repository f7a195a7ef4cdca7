import pytest

from baselines.registry import make_solver, solvers
from isac_gym.core import family
from isac_gym.testing import SOLVER_CHECKS, check_solver
from tests.conftest import problem_names
from tests.contracts.toy import ToyProblem, ToyWaterfill

SLOW = {"sca-cvxpy", "gp-cvxpy", "peb2d"}  # seconds per instance


def cases():
    for name in problem_names():
        for solver in solvers(name):
            for check in SOLVER_CHECKS:
                marks = [pytest.mark.slow] if solver in SLOW else []
                yield pytest.param(name, solver, check, id=f"{solver}-{check}", marks=marks)


@pytest.mark.parametrize(("name", "solver", "check"), list(cases()))
def test_solver__conforms(name, solver, check):
    SOLVER_CHECKS[check](make_solver(name, solver), family(name).make_problem())


def test_toy_solver__conforms():
    check_solver(ToyWaterfill(), ToyProblem())
