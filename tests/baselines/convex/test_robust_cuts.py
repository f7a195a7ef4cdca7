import numpy as np
import pytest

from baselines.convex.robust_cuts import Cut, crlb_slope, error_moment, nearest_positive
from isac_gym.core.errors import ScenarioError
from tests.baselines.convex.robust_cases import draw, exact, matched, networks, random_decision


def complex_normal(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def random_cut(network, covariance, rng):
    """Cut of arbitrary weights, arbitrary error distributions and an arbitrary tangent point."""
    cells, _, users, size = network.channel.shape
    weight = rng.exponential(size=(cells, users))
    signal = np.zeros((cells, users, size, size), complex)
    load = np.zeros((cells, size, size), complex)
    power = network.max_power_w
    for b, c, k in np.ndindex(cells, cells, users):
        root = complex_normal(rng, size + 1, size + 1) * network.radius[b, c, k]
        root[-1] /= network.radius[b, c, k]
        moment = error_moment(
            root @ root.conj().T, network.channel[b, c, k], network.radius[b, c, k]
        )
        load[b] += power[b] * weight[c, k] * moment
        if b == c:
            signal[c, k] = power[b] * weight[c, k] * moment
    value, slope = crlb_slope(network.targets, covariance)
    kappa = 10 * rng.exponential() / value
    load -= kappa * power[:, None, None] * slope
    return Cut(signal, load, weight.sum(), kappa * value**2)


@pytest.mark.parametrize("preset", ["small", "paper", "two-users"])
def test_cut__holds_for_every_feasible_decision_whoever_proposed_it(preset):
    setup, instance = draw(3, preset=preset)
    rng = np.random.default_rng(0)
    for share in (0.01, 0.5, 0.99):
        for decision in (
            random_decision(setup, instance, beam_share=share),
            matched(setup, instance, share=share),
        ):
            sinr, crlb = exact(setup, instance, decision)
            covariance = setup.covariance(decision).numpy()
            other = setup.covariance(random_decision(setup, instance, seed=5)).numpy()
            for lane, network in enumerate(networks(instance)):
                for tangent in (covariance[lane], other[lane]):
                    cut = random_cut(network, tangent, rng)
                    assert 0 < cut.power_scale(sinr[lane], 1 / crlb[lane]) <= 1 + 1e-9


def test_cut__grows_with_every_demand():
    setup, instance = draw()
    decision = matched(setup, instance)
    network, rng = networks(instance)[0], np.random.default_rng(1)
    cut = random_cut(network, setup.covariance(decision)[0].numpy(), rng)
    sinr = np.full((3, 1), 2.0)
    base = cut.power_scale(sinr, 1.0)
    assert cut.power_scale(2 * sinr, 1.0) >= base
    assert cut.power_scale(sinr, 2.0) > base
    assert (cut.supply(np.stack([sinr, 2 * sinr]))[0] >= cut.supply(2 * sinr)).all()


def test_crlb_slope__matches_the_metric_and_finite_differences():
    setup, instance = draw(2, preset="paper")
    decision = random_decision(setup, instance)
    covariance = setup.covariance(decision).numpy()
    crlb = exact(setup, instance, decision)[1]
    rng = np.random.default_rng(0)
    for lane, network in enumerate(networks(instance)):
        value, slope = crlb_slope(network.targets, covariance[lane])
        assert value == pytest.approx(crlb[lane], rel=1e-9)
        assert np.vdot(slope, covariance[lane]).real == pytest.approx(value, rel=1e-9)  # degree -1
        root = complex_normal(rng, *covariance[lane].shape)
        step = 1e-4 * root @ root.conj().swapaxes(-1, -2)
        ends = [crlb_slope(network.targets, covariance[lane] + s * step)[0] for s in (1, -1)]
        assert (ends[1] - ends[0]) / 2 == pytest.approx(np.vdot(slope, step).real, rel=1e-5)


def test_crlb_slope__is_infinite_and_flat_in_the_dark():
    value, slope = crlb_slope(networks(draw()[1])[0].targets, np.zeros((3, 3, 3), complex))
    assert value > 1e9
    assert np.isfinite(slope).all()


def test_crlb_slope__asks_for_targets():
    network = networks(draw()[1])[0]._replace(sensing=None)
    with pytest.raises(ScenarioError, match="targets"):
        _ = network.targets


@pytest.mark.parametrize("radius", [0.0, 0.1, 100.0])
def test_error_moment__is_the_moment_of_errors_in_the_ball(radius):
    rng = np.random.default_rng(2)
    u = complex_normal(rng, 4)
    root = complex_normal(rng, 5, 5)
    moment = error_moment(root @ root.conj().T, u, radius)
    # For a point mass at the worst direction the gain cannot exceed (||u|| + radius)^2.
    assert np.linalg.eigvalsh(moment)[0] > -1e-12
    assert np.trace(moment).real <= (np.linalg.norm(u) + radius) ** 2 + 1e-9
    along = (u.conj() @ moment @ u).real / np.linalg.norm(u) ** 2
    assert along >= max(np.linalg.norm(u) - radius, 0) ** 2 - 1e-9


def test_error_moment__without_mass_is_the_estimate():
    u = np.array([1.0, 2j])
    np.testing.assert_array_equal(error_moment(np.zeros((3, 3)), u, 0.5), np.outer(u, u.conj()))


def test_nearest_positive__clips_eigenvalues_batched():
    rng = np.random.default_rng(3)
    matrix = complex_normal(rng, 2, 3, 3)
    found = nearest_positive(matrix)
    hermitian = (matrix + matrix.conj().swapaxes(-1, -2)) / 2
    value = np.linalg.eigvalsh(hermitian).clip(0)
    np.testing.assert_allclose(np.linalg.eigvalsh(found), value, atol=1e-12)
    np.testing.assert_allclose(nearest_positive(found), found, atol=1e-12)
