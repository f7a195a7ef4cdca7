"""Steady-state theory of diffusion filters against simulation, SciPy and its own limits."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from isac_gym.core.errors import ScenarioError
from isac_gym.physics.steady_state import networked_mse, solve_stein, spectral_radius
from tests.oracles import steady_state as oracle

ENERGY_W = 160.0  # V P
RING = 3  # seed of the network most tests share


def db(value):
    return 10 * math.log10(float(value))


def theory(*networks, scale, knows_symbols=False, power=1.0, dtype=torch.complex128, **options):
    """Theory of one or more draws at step scale / E; ``power`` scales the probe."""
    real = torch.float64 if dtype == torch.complex128 else torch.float32

    def stack(parts, kind):
        return torch.as_tensor(np.stack(list(parts))).to(kind)

    return networked_mse(
        stack((n.user_channel for n in networks), dtype),
        power * stack((n.covariance(with_data=knows_symbols) for n in networks), dtype),
        stack((n.weight for n in networks), real),
        torch.full((len(networks),), scale / ENERGY_W, dtype=real),
        stack((n.image for n in networks), dtype),
        noise_w=torch.tensor([n.noise_w for n in networks], dtype=real),
        data_gain=None if knows_symbols else stack((n.data_gain for n in networks), dtype),
        **options,
    )


def simulated_db(network, *, scale, runs=60, burn_in=600, samples=400, **options):
    return db(
        oracle.simulate(
            network, step=scale / ENERGY_W, runs=runs, burn_in=burn_in, samples=samples, **options
        )
    )


@pytest.mark.parametrize("scale", [0.3, 0.8])
@pytest.mark.parametrize("knows_symbols", [False, True])
def test_networked_mse__is_what_lms_settles_at(scale, knows_symbols):
    network = oracle.draw(RING)
    found = theory(network, scale=scale, knows_symbols=knows_symbols)
    seen = simulated_db(network, scale=scale, knows_symbols=knows_symbols)
    assert bool(found.is_stable.all())
    assert abs(db(found.msd) - seen) <= 0.3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [0.3, 0.8, 1.2])
@pytest.mark.parametrize("knows_symbols", [False, True])
def test_networked_mse__is_what_lms_settles_at__many(seed, scale, knows_symbols):
    network = oracle.draw(seed)
    found = theory(network, scale=scale, knows_symbols=knows_symbols)
    run = {"runs": 300, "burn_in": 1500, "samples": 1000, "is_gaussian": True}
    seen = simulated_db(network, scale=scale, knows_symbols=knows_symbols, **run)
    # QPSK is not Gaussian: once it is part of the regressor, the second order is not exact.
    assert abs(db(found.msd) - seen) <= (0.4 * scale if knows_symbols else 0.15)


@pytest.mark.parametrize("scale", [0.9, 2.4])
def test_networked_mse__has_the_bias_of_total_least_squares(scale):
    network = oracle.draw(1)
    found = theory(network, scale=scale, knows_symbols=True, estimator="tls")
    run = {"knows_symbols": True, "estimator": "tls", "burn_in": 900}
    assert abs(db(found.msd) - simulated_db(network, scale=scale, **run)) <= 0.3
    assert db(found.msd) > db(found.msd - found.bias) + 1.5  # without it the theory fails


def test_networked_mse__needs_the_noise_common_to_users():
    """The paper's independence assumption; how much it misses depends on the network."""
    networks = [oracle.draw(seed) for seed in range(4)]
    full = theory(*networks, scale=0.3).msd
    paper = theory(*networks, scale=0.3, assumes_independence=True).msd
    gap = 10 * (full / paper).log10()
    assert bool((gap > 0.05).all())
    assert gap[RING] > 1.2  # and the simulation stands by the full one, see above
    assert 0.5 < float(gap.mean()) < 2
    known = [
        theory(networks[0], scale=0.3, knows_symbols=True, assumes_independence=is_paper).msd
        for is_paper in (False, True)
    ]
    torch.testing.assert_close(*known)  # nothing common is left once symbols are known


def test_networked_mse__needs_more_than_the_spectral_radius_to_settle():
    """In the mean the filter converges, in the mean square it does not; nothing is NaN."""
    network = oracle.draw(RING)
    for scale, is_mean_stable in ((6.0, True), (11.0, True), (100.0, False), (1e6, False)):
        found = theory(network, scale=scale)
        assert bool(found.spectral_radius < 1) is is_mean_stable
        assert not bool(found.is_stable.any())
        assert all(bool((part == torch.inf).all()) for part in found[:3])
        assert bool(found.spectral_radius.isfinite().all())
    run = {"runs": 20, "burn_in": 300, "samples": 50, "knows_symbols": False}
    assert simulated_db(network, scale=11.0, **run) > 60


def test_networked_mse__declares_blind_directions():
    """A constant beam lights every user's voxels one way: the rest never converges."""
    network = oracle.draw(RING, users=4)
    lit = torch.as_tensor(network.bs_channel.sum(1))
    tensors = [torch.as_tensor(t)[None] for t in (network.user_channel, network.weight)]
    found = networked_mse(
        tensors[0],
        torch.outer(lit.conj(), lit)[None],
        tensors[1],
        torch.tensor([1e-3]),
        torch.as_tensor(network.image)[None],
        noise_w=network.noise_w,
    )
    assert not bool(found.is_stable)
    assert float(found.spectral_radius) == pytest.approx(1, abs=1e-6)


def test_networked_mse__declares_unstable_total_least_squares():
    found = theory(oracle.draw(RING, snr_db=-10), scale=0.6, estimator="tls")
    assert not bool(found.is_stable)
    assert float(found.spectral_radius) > 1


def test_networked_mse__barely_depends_on_power_at_a_fixed_step():
    """Gradient noise and curvature grow alike, so this is no objective to design a beam by."""
    network, powers = oracle.draw(RING), (0.25, 0.5, 1, 2, 4)
    fixed = [db(theory(network, scale=0.1, power=p, knows_symbols=True).msd) for p in powers]
    assert max(fixed) - min(fixed) < 1.5
    assert fixed == sorted(fixed)  # more power is slightly worse
    scaled = [db(theory(network, scale=0.1 / p, power=p, knows_symbols=True).msd) for p in powers]
    assert np.diff(scaled) == pytest.approx(-10 * math.log10(2), abs=1e-6)


def test_networked_mse__takes_a_step_per_user_and_noise_per_lane():
    n = oracle.draw(RING)
    parts = (n.user_channel, n.covariance(with_data=True), n.weight, n.image)
    g, c, weight, image = (torch.as_tensor(t)[None] for t in parts)
    common, noise = torch.tensor([2e-3]).double(), torch.tensor([n.noise_w]).double()
    found = networked_mse(g, c, weight, common, image, noise_w=n.noise_w)
    same = networked_mse(g, c, weight, common.expand(1, 8), image, noise_w=noise)
    torch.testing.assert_close(same.msd_user, found.msd_user)
    torch.testing.assert_close(found.msd_user.mean(-1), found.msd)
    idle = common.expand(1, 8).clone()
    idle[0, :2] = 0  # two users only listen
    assert bool(networked_mse(g, c, weight, idle, image, noise_w=noise).is_stable)


def test_networked_mse__lane_ignores_its_neighbours():
    networks = [oracle.draw(seed, users=4, voxels=6) for seed in range(3)]
    found = theory(*networks, scale=0.5)
    alone = theory(networks[1], scale=0.5)
    torch.testing.assert_close(alone.msd, found.msd[1:2], rtol=1e-12, atol=0)
    wild = oracle.draw(7, users=4, voxels=6, snr_db=-40)
    other = theory(wild, networks[1], wild, scale=0.5)
    assert torch.equal(other.msd_user[1], found.msd_user[1])


def test_networked_mse__works_in_single_precision():
    network = oracle.draw(RING)
    single = theory(network, scale=0.8, dtype=torch.complex64)
    assert single.msd.dtype == torch.float32
    assert db(single.msd) == pytest.approx(db(theory(network, scale=0.8).msd), abs=0.01)


@pytest.mark.parametrize("options", [{"estimator": "rls"}, {"gamma": 0.0}, {"gamma": math.nan}])
def test_networked_mse__refuses(options):
    with pytest.raises(ScenarioError, match=next(iter(options))):
        theory(oracle.draw(RING), scale=0.3, **options)


def contraction(rng, size, radius):
    matrix = rng.standard_normal((size, size)) + 1j * rng.standard_normal((size, size))
    return matrix * (radius / np.abs(np.linalg.eigvals(matrix)).max())


@pytest.mark.parametrize("radius", [0.0, 0.5, 0.99, 0.9999])
def test_solve_stein__equals_scipy(radius):
    rng = np.random.default_rng(4)
    matrix = contraction(rng, 12, radius)
    half = rng.standard_normal((12, 3)) + 1j * rng.standard_normal((12, 3))
    source = half @ half.conj().T
    found, seen = solve_stein(torch.as_tensor(matrix)[None], torch.as_tensor(source)[None])
    wanted = scipy.linalg.solve_discrete_lyapunov(matrix, source)
    assert np.abs(found[0].numpy() - wanted).max() <= 1e-9 * np.abs(wanted).max()
    assert float(seen) == pytest.approx(radius, abs=1e-7)


def test_spectral_radius__of_defective_and_diverging_matrices():
    shear = torch.tensor([[0.9, 50.0], [0.0, 0.9]], dtype=torch.float64)
    rows = torch.stack([shear, shear / 0.9, shear * 40, torch.zeros_like(shear)])
    wanted = torch.tensor([0.9, 1.0, 36.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(spectral_radius(rows), wanted, rtol=1e-5, atol=1e-9)
    found, _ = solve_stein(rows, torch.eye(2, dtype=torch.float64).expand(4, -1, -1))
    assert bool(found.isfinite().all())
