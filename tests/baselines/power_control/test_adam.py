import torch

from baselines import solve
from baselines.power_control.adam import AdamSoftmin
from baselines.power_control.exact import Exact
from isac_gym.core import Budget
from tests.baselines.cases import draw, infeasible, loss_db


def test_adam__is_good_on_average_but_not_exact():
    setup, instance = draw(200)
    best = solve(setup, instance, Exact())
    loss = loss_db(setup, instance, solve(setup, instance, AdamSoftmin()), best)
    assert loss.min() >= -1e-9
    assert 0.01 < loss.mean() < 0.3
    assert loss.median() < 0.01


def test_adam__lanes_are_independent():
    setup, instance = draw(6)
    short = AdamSoftmin(iterations=40)
    whole = short.solve(setup, instance).decision.power
    alone = short.solve(setup, instance[4:5]).decision.power
    assert torch.equal(whole[4], alone[0])


def test_adam__keeps_the_best_and_the_trace_never_falls():
    setup, instance = draw(32)
    solution = solve(setup, instance, AdamSoftmin(rate=0.5), budget=Budget(iterations=80))
    assert (solution.trace.objective.diff(dim=1) >= 0).all()
    reached = setup.evaluate(instance, solution.decision).objective
    torch.testing.assert_close(solution.trace.objective[:, -1], reached, rtol=0, atol=1e-9)


def test_adam__starts_where_it_is_told_and_cannot_get_worse():
    setup, instance = draw(32)
    best = solve(setup, instance, Exact())
    solution = solve(setup, instance, AdamSoftmin(), start=best.decision)
    assert loss_db(setup, instance, solution, best).max() < 1e-9


def test_adam__infeasible_neighbour_does_not_change_a_lane():
    setup, instance = draw(4)
    mixed = type(instance).cat([instance[:2], infeasible(setup, instance[2:])])
    short = AdamSoftmin(iterations=40)
    whole = short.solve(setup, mixed)
    alone = short.solve(setup, instance[:2])
    assert torch.equal(whole.decision.power[:2], alone.decision.power)
    assert whole.status.tolist()[2:] == [2, 2]
