import numpy as np
import pytest
import torch

from isac_gym.core import ShapeError, Streams
from isac_gym.problems.robust_beamforming.anchors import rate_upper_bound, unit_power
from tests.oracles import robust_beamforming as oracle
from tests.oracles import robust_beamforming_sensing as sensing
from tests.problems.robust_beamforming.helpers import decide, draw, make, place_of, uneven

# --- rate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["paper", "csi-0", "csi-20", "two-users", "large"])
def test_rate_upper_bound__is_water_filling(preset):
    instance = uneven(draw(make(preset)))
    fields = (instance.channel, instance.radius, instance.weight, instance.max_power_w)
    found = rate_upper_bound(*fields)
    for row in range(4):
        expected = oracle.rate_bound(*(t[row].numpy() for t in fields))
        np.testing.assert_allclose(found[row], expected, rtol=1e-12)


@pytest.mark.parametrize("power", [1e-9, 1e-3, 1e6])
def test_rate_upper_bound__any_number_of_served_users(power):
    problem = make(num_users=4)
    instance = uneven(draw(problem, 8))
    budget = power * instance.max_power_w
    fields = (instance.channel, instance.radius, instance.weight, budget)
    found = rate_upper_bound(*fields)
    for row in range(8):
        expected = oracle.rate_bound(*(t[row].numpy() for t in fields))
        np.testing.assert_allclose(found[row], max(expected, 1e-9), rtol=1e-9)


def test_rate_upper_bound__users_without_guaranteed_gain_get_nothing():
    instance = draw(make(num_users=2))
    own = torch.diagonal(instance.radius, dim1=1, dim2=2)  # a view, (B, K, I)
    radius = instance.radius.clone()
    torch.diagonal(radius, dim1=1, dim2=2)[:, 0] = 20 * own[:, 0]  # user 0 of every cell
    fields = (instance.channel, radius, instance.weight, instance.max_power_w)
    found = rate_upper_bound(*fields)
    for row in range(4):
        expected = oracle.rate_bound(*(t[row].numpy() for t in fields))
        np.testing.assert_allclose(found[row], expected, rtol=1e-12)
    everywhere = rate_upper_bound(
        instance.channel, 20 * instance.radius, instance.weight, instance.max_power_w
    )
    assert (everywhere == 1e-9).all()


@pytest.mark.parametrize("preset", ["paper", "csi-0", "two-users"])
def test_rate_upper_bound__holds_for_random_decisions(preset):
    problem = make(preset)
    instance = draw(problem, 8)
    for seed in range(20):
        found = problem.evaluate(instance, decide(problem, instance, seed=seed))
        assert (found.worst_rate_bps_hz <= instance.rate_bound).all()


def test_rate_upper_bound__is_attained_without_interference():
    problem = make("csi-0")
    instance = draw(problem)
    own = torch.eye(3)[:, :, None, None]
    alone = problem.anchored(instance.replace(channel=instance.channel * own))
    matched = problem.floor(alone).beam
    decision = decide(problem, alone)
    decision = decision.replace(
        beam=unit_power(matched, alone.max_power_w), sensing=0 * decision.sensing
    )
    f1 = problem.evaluate(alone, decision).rate_utility
    torch.testing.assert_close(f1, torch.ones_like(f1), rtol=1e-12, atol=0)


# --- CRLB ---------------------------------------------------------------------------------------


def test_crlb_lower_bound__is_tight_at_the_papers_geometry():
    problem = make()
    instance = draw(problem, 1)
    bound, factor = problem.sensing_optimum(instance)
    covariance = factor @ factor.mH
    reached = problem.position_bounds(instance, covariance).sum(-1)
    assert bound <= reached
    torch.testing.assert_close(bound, reached, rtol=1e-6, atol=0)
    best = sensing.smallest_crlb(place_of(problem, instance, 0), np.full(3, 10.0))[0]
    np.testing.assert_allclose(bound, best, rtol=1e-5)  # the SDP's own accuracy
    np.testing.assert_allclose(bound, 0.02021, rtol=1e-3)  # of the design note


@pytest.mark.parametrize(
    ("preset", "slack"), [("paper", 1e-6), ("bandlimited", 1e-4), ("unresolved", 1e-3)]
)
def test_crlb_lower_bound__holds_for_random_covariances_and_is_near(preset, slack):
    problem = make(preset)
    instance = draw(problem, 4)
    bound, factor = problem.sensing_optimum(instance)
    reached = problem.position_bounds(instance, factor @ factor.mH).sum(-1)
    assert (bound <= reached).all()
    torch.testing.assert_close(bound, reached, rtol=slack, atol=0)
    rows = torch.arange(4).repeat_interleave(250)
    many, streams = instance[rows], Streams.from_seed(1, 1000)
    random = unit_power(streams.complex_normal("c", 3, 5, 4), many.max_power_w)
    share = streams.uniform("share")[:, None, None, None]
    near = unit_power(factor[rows] + share.square() * random, many.max_power_w)
    for tried in (random, near):
        value = problem.position_bounds(many, tried @ tried.mH).sum(-1)
        assert (value >= bound[rows]).all()


def test_crlb_lower_bound__any_number_of_steps_is_valid():
    problem = make("bandlimited")
    instance = draw(problem)
    fine = problem.sensing_optimum(instance)[0]
    last = torch.zeros_like(fine)
    for steps in (0, 5, 40):
        bound, factor = problem.sensing_optimum(instance, steps=steps)
        reached = problem.position_bounds(instance, factor @ factor.mH).sum(-1)
        assert (bound <= reached).all()
        assert (bound <= reached.minimum(fine * (1 + 1e-3))).all()
        assert (bound > last).all()
        last = bound


def test_crlb_lower_bound__uneven_budgets():
    problem = make()
    instance = uneven(draw(problem, 1))
    bound = problem.sensing_optimum(instance)[0]
    power = instance.max_power_w[0].numpy()
    best = sensing.smallest_crlb(place_of(problem, instance, 0), power)[0]
    np.testing.assert_allclose(bound, best, rtol=1e-5)


def test_sensing_optimum__the_cached_geometry_is_the_general_one():
    problem = make()
    instance = draw(problem, 2)
    cached = problem.sensing_optimum(instance)[0]
    moved = instance.replace(max_power_w=instance.max_power_w * (1 + 1e-9))  # not the cached one
    torch.testing.assert_close(problem.sensing_optimum(moved)[0], cached, rtol=1e-6, atol=0)


@pytest.mark.parametrize("preset", ["paper", "bandlimited"])
def test_anchored__restores_both_bounds(preset):
    problem = make(preset)
    instance = draw(problem)
    stale = instance.replace(
        rate_bound=0 * instance.rate_bound, crlb_bound=0 * instance.crlb_bound + 1
    )
    fresh = problem.anchored(stale)
    assert torch.equal(fresh.rate_bound, instance.rate_bound)
    assert torch.equal(fresh.crlb_bound, instance.crlb_bound)


def test_unit_power__scales_and_leaves_zero_alone():
    factor = Streams.from_seed(2, 3).complex_normal("c", 2, 5, 3)
    factor[0, 0] = 0
    power = torch.tensor([[99.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=torch.float64)
    total = unit_power(factor, power).abs().square().sum((-2, -1))
    assert total[0, 0] == 0
    torch.testing.assert_close(total[1:], power[1:])


def test_anchored__follows_changed_echoes_and_validate_asks_for_it():
    problem = make("paper")
    instance = draw(problem)
    louder = instance.replace(reflection=3 * instance.reflection)
    fresh = problem.anchored(louder)
    torch.testing.assert_close(fresh.crlb_bound, instance.crlb_bound / 9, rtol=1e-5, atol=0)
    problem.validate(fresh)
    with pytest.raises(ShapeError, match="crlb_bound"):
        problem.validate(instance.replace(crlb_bound=100 * instance.crlb_bound))
