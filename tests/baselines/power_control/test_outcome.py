import torch

from baselines.power_control.outcome import history, interior, limits, network_of, outcome
from isac_gym.core import Budget, Status
from tests.baselines.cases import draw, infeasible, unlike_network


def slack(network, x):
    return x - (network.comm_coupling @ x[:, :, None])[:, :, 0] - network.comm_noise


def test_interior__is_strictly_inside_in_every_lane():
    setup, instance = draw(64)
    cases = [
        instance,
        unlike_network(setup, instance),
        instance.replace(threshold=instance.threshold * 0),
        infeasible(setup, instance),
        infeasible(setup, instance, margin_db=1e-6),
        infeasible(setup, instance, margin_db=1e-12),
    ]
    for case in cases:
        found = interior(network_of(setup, case))
        assert (slack(found.network, found.inside) > 0).all()
        assert (found.inside > 0).all()
        assert (found.inside < 1).all()


def test_interior__feasibility_is_that_of_the_margin():
    setup, instance = draw(64)
    for margin_db in (-1.0, -1e-6, 1e-6, 1.0):
        case = infeasible(setup, instance, margin_db=margin_db)
        is_feasible = interior(network_of(setup, case)).is_feasible
        assert is_feasible.all() if margin_db > 0 else not is_feasible.any()


def test_outcome__moves_powers_to_feasibility_both_ways():
    setup, instance = draw(32)
    network = network_of(setup, instance)
    ones = torch.ones_like(network.noise)
    for known in (None, interior(network)):
        solution = outcome(network, ones, known=known)
        assert setup.evaluate(instance, solution.decision).is_feasible.all()
        assert solution.has_converged.all()


def test_outcome__infeasible_lanes_are_the_same_with_and_without_an_interior():
    setup, instance = draw(8)
    case = type(instance).cat([instance[:4], infeasible(setup, instance[4:])])
    network = network_of(setup, case)
    ones = torch.ones_like(network.noise)
    plain, known = outcome(network, ones), outcome(network, ones, known=interior(network))
    assert torch.equal(plain.status, known.status)
    assert (plain.status[4:] == int(Status.INFEASIBLE)).all()
    assert torch.equal(plain.decision.power[4:], known.decision.power[4:])


def test_limits__budget_wins_over_the_solver():
    assert limits(Budget(), iterations=5, tolerance=0.1) == (5, 0.1)
    assert limits(Budget(iterations=2, tolerance=0.5), iterations=5, tolerance=0.1) == (2, 0.5)


def test_history__repeats_the_last_value_of_a_finished_lane():
    values = [torch.tensor([1.0, 4.0]), torch.tensor([2.0, 5.0]), torch.tensor([9.0, 6.0])]
    trace = history(values, torch.tensor([2, 3]))
    assert trace.objective.tolist() == [[1.0, 2.0, 2.0], [4.0, 5.0, 6.0]]
