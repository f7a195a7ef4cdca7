import pytest
import torch

from baselines import solve
from baselines.power_control.exact import Exact
from baselines.power_control.outcome import interior, network_of
from baselines.power_control.sca import Sca, _advance, _Data
from isac_gym.core import Budget, Status
from isac_gym.physics.interference import sinr
from isac_gym.problems.power_control.model import PowerControlDecision
from tests.baselines.cases import draw, infeasible, loss_db, oracle_networks, unlike_network
from tests.oracles import power_control_sca as oracle

PRESETS = ["paper", "paper-constrained", "high-si", "dense-7"]


@pytest.mark.parametrize("preset", PRESETS)
def test_sca__is_within_its_tolerance_of_the_optimum(preset):
    setup, instance = draw(100, preset=preset)
    best = solve(setup, instance, Exact())
    loose = loss_db(setup, instance, solve(setup, instance, Sca(), throw=True), best)
    tight = loss_db(setup, instance, solve(setup, instance, Sca(tolerance=1e-6)), best)
    assert loose.min() >= -1e-9
    assert loose.max() < 0.05
    assert loose.mean() < 1e-3
    assert tight.max() < 1e-5


@pytest.mark.parametrize("preset", PRESETS)
def test_sca__trace_never_falls_from_the_first_iteration_on_and_never_passes_the_optimum(preset):
    setup, instance = draw(100, preset=preset)
    best = solve(setup, instance, Exact())
    solution = solve(setup, instance, Sca(tolerance=1e-6))
    trace = solution.trace
    assert (trace.objective.diff(dim=1) >= -1e-9).all()
    assert (trace.objective <= best.certificate.bound[:, None] + 1e-9).all()
    assert torch.equal(trace.length, solution.iterations)
    reached = setup.evaluate(instance, solution.decision).objective
    torch.testing.assert_close(trace.objective[:, -1], reached, rtol=0, atol=1e-6)


def test_sca__its_convex_problem_is_that_of_algorithm_1():
    setup, instance = draw(3)
    network, inside, _ = interior(network_of(setup, instance))
    first = torch.ones_like(inside)
    level = sinr(first, network.coupling, network.noise).amin(-1)
    x = _advance(_Data(*network, inside), first, level, inside, 1e-9)
    total = first / sinr(first, network.coupling, network.noise)
    wanted = x / sinr(x, network.coupling, network.noise)
    root = 2 * (x / (level[:, None] * total)).sqrt()
    value = level * (root - wanted / total).amin(-1)
    for row, net in enumerate(oracle_networks(setup, instance)):
        theirs = oracle.sca(net, split="balanced", max_iter=1)
        assert float(value[row]) == pytest.approx(theirs.t[1], rel=1e-5)
        torch.testing.assert_close(x[row], torch.tensor(theirs.x), rtol=0, atol=1e-3)


def test_sca__full_power_is_where_it_starts_and_a_start_is_used():
    setup, instance = draw(32)
    free = solve(setup, instance, Sca())
    given = PowerControlDecision(torch.ones(32, 3).double())
    assert torch.equal(
        solve(setup, instance, Sca(), start=given).decision.power, free.decision.power
    )
    optimum = solve(setup, instance, Exact()).decision
    assert (solve(setup, instance, Sca(), start=optimum).iterations == 1).all()


def test_sca__spends_its_budget_and_stays_feasible():
    setup, instance = draw(32)
    solution = solve(setup, instance, Sca(), budget=Budget(iterations=1, tolerance=1e-9))
    assert (solution.status == int(Status.BUDGET_SPENT)).all()
    assert solution.trace.objective.shape == (32, 1)
    assert setup.evaluate(instance, solution.decision).is_feasible.all()


def test_sca__infeasible_and_barely_feasible_neighbours_do_not_change_a_lane():
    setup, instance = draw(9)
    alone = Sca().solve(setup, instance[:3])
    hard = infeasible(setup, instance[3:6])
    thin = infeasible(setup, instance[6:], margin_db=1e-10)
    mixed = Sca().solve(setup, type(instance).cat([instance[:3], hard, thin]))
    assert torch.equal(mixed.decision.power[:3], alone.decision.power)
    assert mixed.status.tolist() == [0] * 3 + [int(Status.INFEASIBLE)] * 3 + [0] * 3
    decision = PowerControlDecision(mixed.decision.power[6:])
    assert setup.evaluate(thin, decision).violation.max() < 1e-7


def test_sca__handles_unlike_stations_and_missing_thresholds():
    setup, instance = draw(32)
    for case in (
        unlike_network(setup, instance),
        instance.replace(threshold=instance.threshold * 0),
    ):
        best = solve(setup, case, Exact())
        solution = solve(setup, case, Sca(tolerance=1e-6), throw=True)
        assert loss_db(setup, case, solution, best).max() < 1e-4


@pytest.mark.parametrize("num_bs", [1, 2])
def test_sca__solves_one_and_two_stations(num_bs):
    setup, instance = draw(32, num_bs=num_bs)
    best = solve(setup, instance, Exact())
    solution = solve(setup, instance, Sca(tolerance=1e-6), throw=True)
    assert loss_db(setup, instance, solution, best).max() < 1e-4
