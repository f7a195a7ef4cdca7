import numpy as np
import torch

from baselines import solve
from baselines.power_control.closed_form import (
    FullPower,
    FullPowerProjected,
    MaxCommMargin,
    MinCommPower,
)
from isac_gym.core import Status
from tests.baselines.cases import draw, infeasible, oracle_networks
from tests.oracles import power_control_optimum as oracle


def test_full_power__is_the_cap_even_where_thresholds_cannot_be_met():
    setup, instance = draw(8)
    solution = solve(setup, infeasible(setup, instance), FullPower())
    assert (solution.decision.power == 1).all()
    assert (solution.status == int(Status.CONVERGED)).all()


def test_full_power__equal_scaling_hardly_changes_the_objective():
    setup, instance = draw(64)
    full = setup.evaluate(instance, solve(setup, instance, FullPower()).decision)
    lower = setup.evaluate(instance, solve(setup, instance, FullPower(level_db=-3.0)).decision)
    assert (full.objective - lower.objective).abs().median() < 0.1
    assert (lower.objective <= full.objective).all()


def test_full_power_projected__is_the_floor():
    setup, instance = draw(16)
    solution = solve(setup, instance, FullPowerProjected())
    torch.testing.assert_close(solution.decision.power, setup.floor(instance).power)


def test_max_comm_margin__is_the_perron_vector():
    setup, instance = draw(8)
    power = solve(setup, instance, MaxCommMargin()).decision.power
    for row, net in enumerate(oracle_networks(setup, instance)):
        np.testing.assert_allclose(power[row], oracle.comm_margin(net)[1], atol=1e-10)


def test_max_comm_margin__without_thresholds_is_full_power():
    setup, instance = draw(4, threshold_db=float("-inf"))
    assert (solve(setup, instance, MaxCommMargin()).decision.power == 1).all()


def test_min_comm_power__meets_thresholds_with_equality():
    setup, instance = draw(8)
    power = solve(setup, instance, MinCommPower()).decision.power
    for row, net in enumerate(oracle_networks(setup, instance)):
        np.testing.assert_allclose(power[row], oracle.smallest_comm_powers(net), rtol=1e-9)


def test_min_comm_power__infeasible_lane_is_said():
    setup, instance = draw(8)
    solution = solve(setup, infeasible(setup, instance), MinCommPower())
    assert (solution.status == int(Status.INFEASIBLE)).all()
    assert (solution.decision.power.amax(-1) > 0.999).all()
