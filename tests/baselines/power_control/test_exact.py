"""Exact, bisection, linear programme, geometric programme and enumeration agree."""

import numpy as np
import pytest
import torch

from baselines import solve
from baselines.power_control.exact import EnergySaver, Exact, ExactBisect
from isac_gym.core import Budget, Status
from isac_gym.core.units import linear_to_db
from isac_gym.problems.power_control.model import PowerControlDecision
from tests.baselines.cases import draw, infeasible, loss_db, oracle_networks, unlike_network
from tests.oracles import power_control_optimum as oracle

SETTINGS = [
    {"num_bs": 1},
    {"num_bs": 2, "threshold_db": 5.0},
    {"self_interference_db": -130.0},
    {"self_interference_db": -90.0, "threshold_db": 5.0},
    {"threshold_db": -20.0},
    {"own_echo": "interference"},
    {"num_bs": 7, "threshold_db": 0.0},
]


def levels(setup, instance, solver):
    solution = solve(setup, instance, solver, throw=True)
    metrics = setup.evaluate(instance, solution.decision)
    assert metrics.is_feasible.all()
    return metrics.worst_sinr, solution.decision.power


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_exact__equals_bisection_to_rounding(changes):
    setup, instance = draw(200, **changes)
    level, power = levels(setup, instance, Exact())
    twin, twin_power = levels(setup, instance, ExactBisect())
    torch.testing.assert_close(level, twin, rtol=1e-11, atol=0)
    torch.testing.assert_close(power, twin_power, rtol=0, atol=1e-9)


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
def test_exact__equals_the_linear_programme(changes):
    setup, instance = draw(2, **changes)
    level, power = levels(setup, instance, Exact())
    for row, net in enumerate(oracle_networks(setup, instance)):
        best, x = oracle.lp_optimum(net)
        np.testing.assert_allclose(level[row], best, rtol=1e-8)
        np.testing.assert_allclose(power[row], x, atol=1e-7)


@pytest.mark.parametrize("changes", SETTINGS[1:4], ids=str)
def test_exact__equals_the_geometric_programme_and_enumeration(changes):
    setup, instance = draw(2, **changes)
    level, _ = levels(setup, instance, Exact())
    for row, net in enumerate(oracle_networks(setup, instance)):
        np.testing.assert_allclose(level[row], oracle.gp_optimum(net)[0], rtol=1e-8)
        np.testing.assert_allclose(level[row], oracle.enumeration_optimum(net)[0], rtol=1e-9)


def test_exact__handles_unlike_stations_and_missing_thresholds():
    setup, instance = draw(4)
    instance = unlike_network(setup, instance)
    level, _ = levels(setup, instance, Exact())
    for row, net in enumerate(oracle_networks(setup, instance)):
        np.testing.assert_allclose(level[row], oracle.lp_optimum(net)[0], rtol=1e-8)


def test_exact__without_thresholds_is_the_perron_level():
    setup, instance = draw(6, threshold_db=float("-inf"))
    level, power = levels(setup, instance, Exact())
    for row, net in enumerate(oracle_networks(setup, instance)):
        best, x = oracle.unconstrained_optimum(net)
        np.testing.assert_allclose(level[row], best, rtol=1e-10)
        np.testing.assert_allclose(power[row], x, atol=1e-9)


def test_exact__one_station_is_at_the_cap_and_no_feasible_point_is_better():
    setup, instance = draw(64)
    best = solve(setup, instance, Exact())
    torch.testing.assert_close(
        best.decision.power.amax(-1), torch.ones(64).double(), rtol=0, atol=1e-9
    )
    power = torch.rand(50, 64, 3, generator=torch.Generator().manual_seed(1)).double().pow(3)
    for x in power:
        objective = setup.evaluate(
            instance, setup.project(instance, PowerControlDecision(x))
        ).objective
        assert (objective <= best.certificate.bound + 1e-9).all()


@pytest.mark.parametrize("solver", [Exact(), ExactBisect()], ids=lambda s: s.name)
def test_exact__infeasible_lanes_get_the_max_margin_point(solver):
    setup, instance = draw(8)
    hard = infeasible(setup, instance)
    solution = solver.solve(setup, hard)
    assert (solution.status == int(Status.INFEASIBLE)).all()
    for row, net in enumerate(oracle_networks(setup, hard)):
        np.testing.assert_allclose(
            solution.decision.power[row], oracle.comm_margin(net)[1], atol=1e-9
        )


def test_exact__barely_feasible_lanes_are_solved():
    setup, instance = draw(8)
    tight = infeasible(setup, instance, margin_db=1e-9)
    solution = solve(setup, tight, Exact())
    assert solution.has_converged.all()
    assert (setup.evaluate(tight, solution.decision).violation_db < 1e-8).all()


def test_exact__short_budget_is_said_and_still_bounded():
    setup, instance = draw(64)
    best = solve(setup, instance, Exact())
    for solver in (Exact(), ExactBisect()):
        cut = solve(setup, instance, solver, budget=Budget(iterations=1))
        assert (cut.status == int(Status.BUDGET_SPENT)).all()
        assert (cut.certificate.bound >= best.certificate.bound - 1e-9).all()


def test_energy_saver__loses_what_it_is_told_and_saves_power():
    setup, instance = draw(64)
    best = solve(setup, instance, Exact())
    saver = solve(setup, instance, EnergySaver(loss_db=0.5))
    expected = torch.full((64,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(loss_db(setup, instance, saver, best), expected, rtol=0, atol=1e-7)
    saved_db = linear_to_db(best.decision.power.mean() / saver.decision.power.mean())
    assert saved_db > 4
    assert (saver.decision.power <= best.decision.power + 1e-12).all()
