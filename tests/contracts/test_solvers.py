import pytest

from baselines.registry import make_solver, solvers
from isac_gym.core import family
from isac_gym.testing import SOLVER_CHECKS, check_solver
from tests.conftest import LIGHTEST, is_brief_preset, lightest_preset, preset_ids, problem_names
from tests.contracts.toy import ToyProblem, ToyWaterfill

SLOW = {"sca-cvxpy", "gp-cvxpy", "branch-bound", "alg1-cvx"}  # imports and slow instances
QUICK = {  # fewer iterations by default, the solver's own with the slow tests
    "pga": {"iterations": 12},
    "pga-nominal": {"iterations": 12},
    "relaxation": {"iterations": 12},
    "boblrbf": {"iterations": 6},
    "boblrbf-phase1": {"iterations": 6},
    "boblrbf-literal": {"iterations": 6},
    "wmmse-split": {"iterations": 40},
    "robust-wmmse-split": {"iterations": 40},
    "penalty-dca": {"iterations": 40},
    "penalty-dca-randomised": {"iterations": 40},
    "varpro": {"iterations": 20, "starts": 2},
    "varpro-lbfgs": {"iterations": 20, "starts": 2},
    "uniform-forcing-sca": {"iterations": 5},
    "joint-gradient": {"iterations": 8},
    "reference": {"iterations": 4, "starts": 2},
    "branch-bound": {"programmes": 2, "climb": 10, "workers": 1},
    "spg-mibo": {"iterations": 6, "cut_every": 2},
    "spg-mibo-literal": {"iterations": 6, "cut_every": 2},
    "penalty-mibo": {"iterations": 6, "cut_every": 2},
    "localisation-only": {"iterations": 8},
    "localisation-only-matched": {"iterations": 4},
    "sensing-only": {"iterations": 8},
    "concrete": {"iterations": 8},
    "gumbel-topk": {"iterations": 8},
}
NOT_FOR = {"branch-bound": {"bandlimited", "unresolved", "two-users", "large"}}  # presets


def lengths(solver):
    """Pairs (id, fields, marks): a quick version by default and the full one, slow."""
    fields = QUICK.get(solver, {})
    yield "", fields, [pytest.mark.slow] if solver in SLOW else []
    if fields and solver not in SLOW:
        yield "full-", {}, [pytest.mark.slow]


def cases():
    for name in problem_names():
        for solver in solvers(name):
            for label, fields, marks in lengths(solver):
                for check in SOLVER_CHECKS:
                    case = f"{name}-{solver}-{label}{check}"
                    yield pytest.param(name, solver, fields, check, id=case, marks=marks)


@pytest.mark.parametrize(("name", "solver", "fields", "check"), list(cases()))
def test_solver__conforms(name, solver, fields, check):
    problem = family(name).make_problem(lightest_preset(name))
    SOLVER_CHECKS[check](make_solver(name, solver, **fields), problem)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "solver"), [(name, solver) for name in sorted(LIGHTEST) for solver in solvers(name)]
)
def test_solver__conforms_at_the_papers_size(name, solver):
    check_solver(make_solver(name, solver), family(name).make_problem())


def certifying():
    for name, preset in preset_ids():
        for solver, kind in solvers(name).items():
            if kind.certifies and preset not in NOT_FOR.get(solver, ()):
                for label, fields, marks in lengths(solver):
                    marks = marks if is_brief_preset(name, preset) else [pytest.mark.slow]
                    case = f"{name}-{preset}-{solver}{label and '-full'}"
                    yield pytest.param(name, preset, solver, fields, id=case, marks=marks)


@pytest.mark.parametrize(("name", "preset", "solver", "fields"), list(certifying()))
def test_solver__is_never_beaten(name, preset, solver, fields):
    problem = family(name).make_problem(preset)
    SOLVER_CHECKS["certificate"](make_solver(name, solver, **fields), problem)


def test_toy_solver__conforms():
    check_solver(ToyWaterfill(), ToyProblem())
