import pytest
import torch

from baselines import solve
from baselines.convex import power_control as convex
from baselines.convex.power_control import GpCvxpy, ScaCvxpy
from baselines.power_control.exact import Exact
from baselines.power_control.sca import Sca
from isac_gym.core import Budget, Status
from tests.baselines.cases import draw, infeasible, loss_db, relative


@pytest.mark.parametrize("changes", [{}, {"num_bs": 2}, {"threshold_db": float("-inf")}], ids=str)
def test_gp__equals_exact(changes):
    setup, instance = draw(4, **changes)
    best = solve(setup, instance, Exact())
    solution = solve(setup, instance, GpCvxpy(), throw=True)
    assert relative(loss_db(setup, instance, solution, best)).abs().max() < 1e-8


@pytest.mark.parametrize("split", ["balanced", "fixed"])
def test_sca__scaled_splits_reach_the_optimum(split):
    setup, instance = draw(6)
    best = solve(setup, instance, Exact())
    solution = solve(setup, instance, ScaCvxpy(split=split, tolerance=1e-4), throw=True)
    assert loss_db(setup, instance, solution, best).abs().max() < 2e-3
    assert (solution.trace.objective.diff(dim=1) > -1e-5).all()  # Clarabel's accuracy


def test_sca__agrees_with_the_batched_one_iteration_by_iteration():
    setup, instance = draw(4)
    budget = Budget(iterations=4, tolerance=1e-9)
    theirs = solve(setup, instance, ScaCvxpy(), budget=budget).trace.objective
    ours = solve(setup, instance, Sca(), budget=budget).trace.objective
    torch.testing.assert_close(ours[:, 2:], theirs[:, 2:], rtol=0, atol=2e-3)


def test_sca__literal_watts_fail_by_more_than_a_decibel():
    """Negative control: kappa = 1 with received powers in watts, as a literal reading has it."""
    setup, instance = draw(6)
    best = solve(setup, instance, Exact())
    literal = ScaCvxpy(split="unit", power_unit_w=1.0, iterations=20)
    loss = loss_db(setup, instance, solve(setup, instance, literal), best)
    assert loss.mean() > 1
    assert loss.max() > 2


@pytest.mark.parametrize("unit_w", [None, 1e-12])
def test_sca__unit_split_in_badly_chosen_units_breaks_the_solver(unit_w):
    setup, instance = draw(4)
    solution = solve(setup, instance, ScaCvxpy(split="unit", power_unit_w=unit_w))
    assert (solution.status == int(Status.FAILED)).any()
    assert solution.decision.power.isfinite().all()


def test_programmes__are_compiled_once_per_size():
    setup, instance = draw(3)
    solve(setup, instance, ScaCvxpy())
    before = convex._surrogate.cache_info().misses
    solve(setup, instance, ScaCvxpy())
    assert convex._surrogate.cache_info().misses == before
    assert convex._surrogate(3).problem.is_dcp(dpp=True)
    assert convex._geometric(3).problem.is_dgp(dpp=True)


@pytest.mark.parametrize("solver", [GpCvxpy(), ScaCvxpy()], ids=lambda s: s.name)
def test_convex__infeasible_lanes_are_infeasible(solver):
    setup, instance = draw(4)
    mixed = type(instance).cat([instance[:2], infeasible(setup, instance[2:])])
    solution = solve(setup, mixed, solver)
    assert solution.status.tolist() == [0, 0, 2, 2]


def test_convex__missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cvxpy", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "isac_gym\[cvx\]"'):
        convex._cvxpy()
