import pytest
import torch

from baselines.power_control import bench
from isac_gym.core.random import Streams
from isac_gym.problems.power_control import FAMILY

pytest.importorskip("cvxpy")


@pytest.fixture(scope="module")
def rows():
    return {row.name.removeprefix("power_control/"): row for row in bench.rows()}


def small(row, few=2):
    """The row's context with a batch small enough for a test."""
    scenario = {"preset": "paper-constrained"}
    return bench._stage(scenario, 8, few=few)


@pytest.mark.parametrize("name", ["exact-lp", "exact-gp", "sca"])
def test_check__both_sides_reach_the_same_objective(rows, name):
    row = rows[name]
    stage = small(row)
    check = row.check(stage, row.ours.run(stage), row.theirs.run(stage))
    assert check.is_correct, check.facts


def test_check__catches_powers_that_are_worse(rows):
    row = rows["exact-gp"]
    stage = small(row)
    ours = row.ours.run(stage)
    assert not row.check(stage, ours * 0.5, row.theirs.run(stage)).is_correct


def test_check__catches_powers_that_break_a_threshold(rows):
    row = rows["exact-gp"]
    stage = bench._stage({"preset": "paper-constrained", "threshold_db": 8.0}, 8, few=8)
    full = torch.ones(8, 3, dtype=torch.float64)
    assert not row.check(stage, full, full).is_correct


def test_check__an_alternative_that_mostly_fails_is_no_witness(rows):
    row = rows["exact-gp"]
    stage = small(row)
    ours = row.ours.run(stage)
    assert not row.check(stage, ours, torch.full_like(ours[:2], torch.nan)).is_correct


def test_units__count_the_instances_of_each_side(rows):
    row = rows["exact-lp"]
    assert row.ours.units == 4096
    assert row.theirs.units(small(row)) == 2
    assert rows["exact-lp-single"].ours.units == 1


def test_two_threads__give_the_same_powers_as_one(rows):
    row = rows["exact-two-threads"]
    stage = small(row)
    halves = row.ours.run(stage)
    assert torch.equal(halves, row.theirs.run(stage))
    assert row.check(stage, halves, halves).is_correct
    assert not row.check(stage, halves, halves.flip(0)).is_correct


def test_lp_bisection__is_the_exact_optimum_to_its_resolution():
    from baselines.convex.lp_bisection import LpBisection
    from isac_gym.physics.interference import max_min_level

    problem = FAMILY.make_problem("paper-constrained")
    network = problem.network(problem.sample(Streams.from_seed(5, 4)))
    best = max_min_level(*network)
    programme = LpBisection.compiled(3)
    for lane in range(4):
        level, x = programme.solve(*(part[lane].numpy() for part in network))
        assert level == pytest.approx(best.level[lane].item(), rel=3e-6)
        assert torch.as_tensor(x) == pytest.approx(best.x[lane], abs=1e-3)
    assert LpBisection.compiled(3) is programme


def test_lp_bisection__infeasible_thresholds_give_nan():
    import numpy as np

    from baselines.convex.lp_bisection import LpBisection

    eye = np.eye(2)
    level, x = LpBisection(2).solve(eye, np.ones(2), 2 * (1 - eye), np.ones(2))
    assert np.isnan(level)
    assert np.isnan(x).all()
