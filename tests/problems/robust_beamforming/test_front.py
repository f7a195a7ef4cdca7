import math

import moocore
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import ShapeError, Streams
from isac_gym.problems.robust_beamforming.front import (
    NUM_POINTS,
    RobustFront,
    RobustFrontScenario,
    hypervolume,
    is_dominated,
    preference_grid,
)
from tests.oracles import robust_beamforming as oracle


def make(preset="paper", **changes):
    return RobustFront(scenario=RobustFrontScenario.preset(preset, **changes))


def draw(problem, batch=2, *, seed=5):
    return problem.sample(Streams.from_seed(seed, batch))


def area(points):
    """Hypervolume of one front, points (S, 2)."""
    x, y = torch.as_tensor(points, dtype=torch.float64).T[:, None]
    return float(hypervolume(x, y))


# --- hypervolume --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[0.0, 0.0]], 0.0),
        ([[0.5, 0.5]], 0.25),
        ([[1.0, 0.5], [0.5, 1.0]], 0.75),
        ([[1.0, 0.0], [0.0, 1.0]], 0.0),
        ([[1.0, 1.0], [0.3, 0.4]], 1.0),
        ([[-0.5, 0.9], [0.5, 0.5]], 0.25),
        ([[0.2, 0.8], [0.2, 0.6], [0.2, 0.8]], 0.16),
    ],
)
def test_hypervolume__hand_cases(points, expected):
    assert area(points) == pytest.approx(expected, abs=1e-15)
    assert oracle.hypervolume(np.array(points)) == pytest.approx(expected, abs=1e-15)


coordinates = st.one_of(st.floats(-0.2, 1.2), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
fronts = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=9)


@given(fronts)
def test_hypervolume__equals_brute_force_and_a_library(points):
    found = area(points)
    points = np.array(points)
    assert found == pytest.approx(oracle.hypervolume(points), abs=1e-13)
    positive = np.maximum(points, 0.0)
    theirs = moocore.hypervolume(positive, ref=[0.0, 0.0], maximise=True)
    assert found == pytest.approx(theirs, abs=1e-13)


@given(fronts, st.randoms(use_true_random=False))
def test_hypervolume__order_copies_and_dominated_points_do_not_matter(points, random):
    found = area(points)
    shuffled = random.sample(points, len(points))
    assert area(shuffled) == pytest.approx(found, abs=1e-14)
    inside = [(0.9 * min(a, 1.0), 0.8 * min(b, 1.0)) for a, b in points if a > 0 and b > 0]
    assert area(shuffled + points + inside) == pytest.approx(found, abs=1e-14)


@given(fronts, st.tuples(coordinates, coordinates))
def test_hypervolume__never_falls_with_another_point(points, other):
    assert area([*points, other]) >= area(points) - 1e-15


@given(fronts)
def test_is_dominated__agrees_with_a_library(points):
    x, y = torch.as_tensor(points, dtype=torch.float64).T[:, None]
    kept = moocore.is_nondominated(np.array(points), maximise=True, keep_weakly=True)
    assert is_dominated(x, y)[0].tolist() == (~kept).tolist()


def test_hypervolume__gradient_is_that_of_the_steps():
    x = torch.tensor([[0.8, 0.2, 0.5, 0.1]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[0.3, 0.9, 0.6, 0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(hypervolume, (x, y))
    slope = torch.autograd.grad(hypervolume(x, y).sum(), (x, y))
    assert slope[0][0, 3] == slope[1][0, 3] == 0  # dominated: no pull


# --- preferences --------------------------------------------------------------------------------


def test_preference_grid__rays_are_spread_evenly():
    p = preference_grid(7)
    angle = torch.atan2(p, 1 - p) * 180 / math.pi
    torch.testing.assert_close(angle, (torch.arange(7, dtype=torch.float64) + 0.5) * 90 / 7)
    torch.testing.assert_close(p + p.flip(0), torch.ones_like(p))
    assert p[3] == pytest.approx(0.5)


# --- the problem --------------------------------------------------------------------------------


def test_evaluate__is_the_hypervolume_of_its_points():
    problem = make()
    instance = draw(problem)
    decision = problem.floor(instance)
    found = problem.evaluate(instance, decision)
    for row in range(2):
        utilities = []
        for k in range(NUM_POINTS):
            point = problem.scatter(decision)[row * NUM_POINTS + k : row * NUM_POINTS + k + 1]
            metrics = problem.points.evaluate(instance[row : row + 1], point)
            utilities.append([float(metrics.rate_utility), float(metrics.sensing_utility)])
            assert found.worst_rate_bps_hz[row, k] == pytest.approx(
                float(metrics.worst_rate_bps_hz), rel=1e-12
            )
            assert found.crlb_m2[row, k] == pytest.approx(float(metrics.crlb_m2), rel=1e-12)
        expected = oracle.hypervolume(np.array(utilities))
        assert float(found.objective[row]) == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(found.rate_utility[row], np.array(utilities)[:, 0], rtol=1e-12)


def test_gather__is_the_inverse_of_scatter():
    problem = make("two-users")
    decision = problem.floor(draw(problem))
    again = problem.gather(problem.scatter(decision))
    assert torch.equal(again.beam, decision.beam)
    assert torch.equal(again.sensing, decision.sensing)


def test_spread__pairs_every_channel_with_every_preference():
    problem = make()
    instance = draw(problem, 3)
    many = problem.spread(instance)
    assert many.batch_size == 3 * NUM_POINTS
    torch.testing.assert_close(
        many.preference.reshape(3, -1), preference_grid(NUM_POINTS).expand(3, -1)
    )
    assert torch.equal(many.channel[NUM_POINTS : NUM_POINTS + 1], instance.channel[1:2])
    problem.points.validate(many)


def test_evaluate__does_not_see_the_preference_or_the_order_of_points():
    problem = make()
    instance = draw(problem)
    decision = problem.floor(instance)
    base = problem.evaluate(instance, decision).objective
    other = instance.replace(preference=1 - instance.preference)
    assert torch.equal(problem.evaluate(other, decision).objective, base)
    flipped = decision.map(lambda t: t.flip(1))
    torch.testing.assert_close(problem.evaluate(instance, flipped).objective, base)


def test_evaluate__copies_of_one_point_count_once():
    problem = make()
    instance = draw(problem)
    decision = problem.floor(instance).map(lambda t: t[:, 3:4].repeat_interleave(NUM_POINTS, 1))
    found = problem.evaluate(instance, decision)
    torch.testing.assert_close(
        found.objective, (found.rate_utility * found.sensing_utility)[:, 0], rtol=1e-9, atol=0
    )
    assert not found.is_dominated.any()


def test_evaluate__the_worst_point_sets_the_violation():
    problem = make()
    instance = draw(problem)
    decision = problem.floor(instance)
    loud = decision.beam.clone()
    loud[1, 5] *= 3
    raw = decision.replace(beam=loud)
    violation = problem.evaluate(instance, raw).violation
    assert violation[0] <= 1e-12
    assert violation[1] > 1
    projected = problem.project(instance, raw)
    assert torch.equal(projected.beam[0], decision.beam[0]) or torch.allclose(
        projected.beam[0], decision.beam[0], rtol=1e-14
    )
    assert problem.evaluate(instance, projected).violation.max() <= 1e-12


def test_floor__spends_every_budget_and_trades():
    problem = make()
    instance = draw(problem)
    found = problem.evaluate(instance, problem.floor(instance))
    assert found.violation.max() <= 1e-12
    assert (found.sensing_utility[:, :-1] > found.sensing_utility[:, 1:]).all()


def test_validate__refuses_another_number_of_points():
    problem = make()
    instance = draw(problem)
    decision = problem.floor(instance).map(lambda t: torch.cat([t, t], 1))
    with pytest.raises(ShapeError, match=r"RobustFrontDecision\.beam"):
        problem.validate(instance, decision)


def test_validate__includes_the_checks_of_a_point():
    problem = make()
    instance = draw(problem)
    with pytest.raises(ShapeError, match="anchored"):
        problem.validate(instance.replace(rate_bound=2 * instance.rate_bound))
