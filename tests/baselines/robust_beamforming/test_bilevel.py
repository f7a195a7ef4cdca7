import math

import numpy as np
import pytest
import torch

from baselines.robust_beamforming.bilevel import Bilevel, Cone, Cuts, LowerLevel
from isac_gym.core import Streams, family
from isac_gym.physics.worst_case import worst_case


def setup(batch=3, **changes):
    """A bilevel programme and a random point with errors well inside their balls."""
    problem = family("robust_beamforming").make_problem(changes)
    bilevel = Bilevel(problem, problem.sample(Streams.from_seed(5, batch)))
    design = bilevel.start(problem.floor(bilevel.instance))
    noise = Streams.from_seed(1, batch).normal("x", design.shape[1])
    return bilevel, design + 0.05 * noise


def slopes(function, x, rows, step=1e-5):
    """Central differences of a function (B, ...) -> (B, m) along some coordinates of x."""
    columns = []
    for row in rows:
        shift = torch.zeros_like(x)
        shift[:, row] = step
        columns.append((function(x + shift) - function(x - shift)) / (2 * step))
    return torch.stack(columns, -1)


ROWS = (0, 3, 77, 151, 170, 239)  # of gamma and of u


def test_bilevel__decision_comes_back():
    bilevel, _ = setup(num_users=2)
    decision = bilevel.problem.floor(bilevel.instance)
    again = bilevel.decision(bilevel.start(decision))
    torch.testing.assert_close(again.beam, decision.beam, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(again.sensing, decision.sensing, rtol=1e-12, atol=1e-12)
    power = bilevel.power(bilevel.start(decision))[0] * bilevel.instance.max_power_w
    metrics = bilevel.problem.evaluate(bilevel.instance, decision)
    torch.testing.assert_close(power, metrics.power_w, rtol=1e-12, atol=0)


@pytest.mark.parametrize("delay", ["resolved", "bandlimited"])
def test_bilevel__objectives_are_those_of_the_problem_at_the_errors(delay):
    bilevel, x = setup(num_users=2, delay=delay)
    instance, problem = bilevel.instance, bilevel.problem
    decision = bilevel.decision(x)
    worst = worst_case(
        instance.channel, instance.radius, decision.beam, problem.covariance(decision)
    )
    unit = worst.error / instance.radius[..., None]
    x = torch.cat([x[:, : bilevel.num_design], torch.view_as_real(unit).flatten(1)], 1)
    metrics = problem.evaluate(instance, decision)
    expected = 1 - torch.stack([metrics.rate_utility, metrics.sensing_utility], 1)
    torch.testing.assert_close(bilevel.objectives(x), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(bilevel.claimed_rate(x), metrics.worst_rate_bps_hz)


def test_bilevel__gradients_match_central_differences():
    bilevel, x = setup()
    value, slope = bilevel.jacobian(x)
    torch.testing.assert_close(value, bilevel.objectives(x), rtol=0, atol=1e-15)
    expected = slopes(bilevel.objectives, x, ROWS)
    torch.testing.assert_close(slope[:, :, ROWS], expected, rtol=1e-5, atol=1e-8)
    _, slope = bilevel.power(x)
    expected = slopes(lambda x: bilevel.power(x)[0], x, ROWS)
    torch.testing.assert_close(slope[:, :, ROWS], expected, rtol=1e-6, atol=1e-8)
    assert (slope.square().sum(-1) > 0).all()


def test_bilevel__projection_is_that_of_the_problem():
    bilevel, x = setup()
    scaled = bilevel.decision(bilevel.project(1.5 * x))
    expected = bilevel.problem.project(bilevel.instance, bilevel.decision(1.5 * x))
    torch.testing.assert_close(scaled.beam, expected.beam)
    torch.testing.assert_close(scaled.sensing, expected.sensing)


@pytest.mark.parametrize("lower", [LowerLevel(), LowerLevel(steps=3, rate=20.0)])
def test_lower_level__gap_has_the_gradient_of_central_differences(lower):
    bilevel, x = setup()
    gap, slope = bilevel.gap(x, lower)
    assert (gap > 0).all()
    expected = slopes(lambda x: bilevel.gap(x, lower)[0][:, None], x, ROWS)[:, 0]
    torch.testing.assert_close(slope[:, ROWS], expected, rtol=1e-4, atol=1e-7)


def test_lower_level__one_step_hardly_lowers_the_rate_and_many_do():
    bilevel, x = setup(8)
    decision = bilevel.decision(x)
    exact = bilevel.problem.evaluate(bilevel.instance, decision).worst_rate_bps_hz

    def rate(lower):
        u = bilevel.response(x, lower)
        norm = u.reshape(*bilevel.instance.radius.shape, -1).norm(dim=-1)
        assert norm.max() <= 1 + 1e-12
        return bilevel.claimed_rate(torch.cat([x[:, : bilevel.num_design], u], 1)).detach()

    zero = torch.cat([x[:, : bilevel.num_design], 0 * x[:, bilevel.num_design :]], 1)
    nominal = bilevel.claimed_rate(zero)
    one, many = rate(LowerLevel()), rate(LowerLevel(steps=60, rate=10.0, penalty=1e-3))
    assert (one <= nominal).all()
    assert (many >= exact - 1e-9).all()
    closed = ((nominal - one) / (nominal - exact), (nominal - many) / (nominal - exact))
    assert closed[0].mean() < 0.5
    assert closed[1].mean() > 0.8


def test_cone__neighbours_bound_the_same_set_as_all_rays():
    count = 7
    angle = (torch.arange(count, dtype=torch.float64) + 0.5) / count * math.pi / 2
    rays = torch.stack([angle.cos(), angle.sin()], 1)
    cone = Cone.around(angle.sin() / (angle.sin() + angle.cos()), count)
    points = torch.rand(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for point in points:
        inside = (cone.value(point.expand(count, 2)) <= 0).all(-1)
        nearest = (rays @ point).argmax()
        assert inside.nonzero().flatten().tolist() == [int(nearest)]
    assert cone.exists.sum(-1).tolist() == [1, 2, 2, 2, 2, 2, 1]


def test_cone__ray_of_a_preference_balances_the_scored_losses():
    preference = torch.tensor([0.0, 0.2, 0.5, 1.0]).double()
    loss = torch.stack([1 - preference, preference], 1)
    assert (Cone.around(preference, 7).value(loss) < 0).all()
    np.testing.assert_allclose(preference * loss[:, 0], (1 - preference) * loss[:, 1])
    alone = Cone.around(preference[2:3], 1)
    assert not alone.exists.any()


def test_cuts__are_dropped_added_and_overwritten():
    x = torch.tensor([[1.0, 0.0]]).double()
    slope = torch.tensor([[2.0, 0.0]]).double()
    cuts = Cuts.none(x, 2)
    assert cuts.value(x).tolist() == [[-torch.inf, -torch.inf]]
    small = torch.tensor([0.005]).double()
    assert not cuts.update(x, small, slope, tolerance=0.01).is_cut.any()
    gap = torch.tensor([1.0]).double()
    cuts = cuts.update(x, gap, slope, tolerance=0.01)  # 2 (x - 1) + 1 <= 0.01
    assert cuts.is_cut.tolist() == [[True, False]]
    np.testing.assert_allclose(cuts.value(x)[0, 0], 0.99)
    assert not cuts.update(0 * x, small, slope, tolerance=0.01).is_cut.any()  # inactive at 0
    cuts = cuts.update(x, 3 * gap, slope, tolerance=0.01)
    assert cuts.is_cut.all()
    cuts = cuts.update(x, 2 * gap, slope, tolerance=0.01)  # full: replaces the easiest
    np.testing.assert_allclose(cuts.value(x).tolist(), [[1.99, 2.99]])


def test_cuts__hold_where_the_gap_is_convex():
    """One step and a fixed linearisation: g is convex in x, so no plane cuts off a point g <= eps.

    The linearised rate has the slope c + D gamma in u, hence phi = -(c + D gamma): affine.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    matrix, shift = normal(3, 4), normal(3)

    def gap(x):
        residual = x[:, 4:] + shift + x[:, :4] @ matrix.T
        slope = 2 * torch.cat([residual @ matrix, residual], 1)
        return residual.square().sum(-1), slope

    x = normal(1, 7)
    cuts = Cuts.none(x, 1).update(x, *gap(x), tolerance=0.01)
    gamma = normal(500, 4)
    good = torch.cat([gamma, -shift - gamma @ matrix.T + 0.05 * normal(500, 3)], 1)
    is_good = gap(good)[0] <= 0.01
    assert is_good.sum() > 100
    value = (cuts.slope[0] @ good[is_good].T)[0] + cuts.offset[0]
    assert (value <= 0).all()
