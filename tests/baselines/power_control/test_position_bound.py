import numpy as np
import pytest
import torch

from baselines import solve
from baselines.power_control.exact import Exact
from baselines.power_control.position_bound import PositionBound2D, PositionBound3D
from baselines.power_control.random_power import RandomPower
from isac_gym.core import ScenarioError, Status
from tests.baselines.cases import draw, infeasible, oracle_networks
from tests.oracles import power_control_optimum as oracle


def oracle_inputs(setup, instance, dimension):
    """Networks, directions and sigma^2 gamma of each row for the grid oracle."""
    away = (instance.target[:, None] - instance.bs).numpy()
    direction = away / np.linalg.norm(away, axis=-1, keepdims=True)
    scale = (299_792_458.0 / (2 * instance.bandwidth_hz.numpy())) ** 2 / 2
    return zip(oracle_networks(setup, instance), direction[..., :dimension], scale, strict=True)


@pytest.mark.parametrize("interference_db", [-110.0, -90.0])
def test_peb3d__is_never_worse_than_the_polished_grid(interference_db):
    setup, instance = draw(3, preset="peb3d", self_interference_db=interference_db)
    solution = solve(setup, instance, PositionBound3D(), throw=True)
    bound = setup.evaluate(instance, solution.decision).peb3d_m
    for row, (net, u, scale) in enumerate(oracle_inputs(setup, instance, 3)):
        best, _ = oracle.peb_optimum(net, u, scale, steps=35)
        assert bound[row] <= best * (1 + 1e-7)
        np.testing.assert_allclose(bound[row], best, rtol=1e-4)


def test_peb3d__equals_the_geometric_programme():
    setup, instance = draw(2, preset="peb3d")
    solution = solve(setup, instance, PositionBound3D())
    bound = setup.evaluate(instance, solution.decision).peb3d_m
    for row, (net, u, scale) in enumerate(oracle_inputs(setup, instance, 3)):
        cost = (np.linalg.inv(u) ** 2).sum(0) * scale
        value, _ = oracle.gp_min_weighted_std(net, cost, 1.0)
        np.testing.assert_allclose(bound[row] ** 2, value, rtol=1e-7)


def test_peb3d__certificate_is_tight_and_holds():
    setup, instance = draw(100, preset="peb3d")
    solution = solve(setup, instance, PositionBound3D(), throw=True)
    reached = setup.evaluate(instance, solution.decision).objective
    assert (solution.certificate.bound - reached).max() < 1e-6
    for seed in range(10):
        other = solve(setup, instance, RandomPower(), seed=seed).decision
        objective = setup.evaluate(instance, other).objective
        assert (objective <= solution.certificate.bound + 1e-9).all()


def test_peb3d__max_min_is_worse_for_localisation():
    setup, instance = draw(100, preset="peb3d")
    ours = setup.evaluate(instance, solve(setup, instance, PositionBound3D()).decision).peb3d_m
    theirs = setup.evaluate(instance, solve(setup, instance, Exact()).decision).peb3d_m
    assert 1.05 < (theirs / ours).mean() < 1.3


def test_peb3d__needs_three_stations_and_certifies_only_three():
    setup, instance = draw(2, preset="peb3d", num_bs=2)
    with pytest.raises(ScenarioError, match="peb3d needs num_bs >= 3, got 2"):
        solve(setup, instance, PositionBound3D())
    setup, instance = draw(4, preset="peb3d", num_bs=5, threshold_db=-3.0)
    solution = solve(setup, instance, PositionBound3D())
    assert solution.certificate is None
    reached = setup.evaluate(instance, solution.decision).objective
    for solver in (Exact(), RandomPower()):
        other = solve(setup, instance, solver).decision
        assert (setup.evaluate(instance, other).objective <= reached + 1e-9).all()


def test_peb2d__is_never_worse_than_the_polished_grid():
    setup, instance = draw(4, preset="peb2d")
    solution = solve(setup, instance, PositionBound2D(), throw=True)
    bound = setup.evaluate(instance, solution.decision).peb2d_m
    for row, (net, u, scale) in enumerate(oracle_inputs(setup, instance, 2)):
        best, _ = oracle.peb_optimum(net, u, scale, steps=137)
        assert bound[row] <= best * (1 + 1e-6)
    assert solution.certificate is None


def test_peb2d__a_finer_grid_finds_nothing_better():
    setup, instance = draw(24, preset="peb2d")
    coarse = solve(setup, instance, PositionBound2D()).decision
    fine = solve(setup, instance, PositionBound2D(grid_step_db=0.5)).decision
    torch.testing.assert_close(
        setup.evaluate(instance, coarse).objective, setup.evaluate(instance, fine).objective
    )


def test_peb2d__two_stations_are_certified():
    setup, instance = draw(16, preset="peb2d", num_bs=2)
    solution = solve(setup, instance, PositionBound2D(), throw=True)
    assert solution.certificate.kind == "dual"
    reached = setup.evaluate(instance, solution.decision).objective
    assert (solution.certificate.bound - reached).max() < 1e-6


@pytest.mark.parametrize("solver", [PositionBound2D(), PositionBound3D()], ids=lambda s: s.name)
def test_position_bound__infeasible_neighbours_do_not_change_a_lane(solver):
    setup, instance = draw(4, preset=solver.name)
    mixed = type(instance).cat([instance[:2], infeasible(setup, instance[2:])])
    whole, alone = solver.solve(setup, mixed), solver.solve(setup, instance[:2])
    assert torch.equal(whole.decision.power[:2], alone.decision.power)
    assert whole.status.tolist() == [0, 0, int(Status.INFEASIBLE), int(Status.INFEASIBLE)]
