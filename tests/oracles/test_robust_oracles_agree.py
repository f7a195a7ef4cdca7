"""The oracles of robust beamforming against each other, without the package (spec section 8)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracles import robust_beamforming as oracle
from tests.oracles import robust_beamforming_sensing as sensing

POWER_W = np.full(3, 10.0)


def draw(seed: int, *, silent: bool = False, users: int = 1):
    """(h, eps, v, R) of three cells; ``silent``: no sensing signal."""
    rng = np.random.default_rng(seed)
    h = oracle.complex_normal(rng, 3, 3, users, 4) * np.where(np.eye(3) > 0, 10, 1)[..., None, None]
    v = oracle.complex_normal(rng, 3, users, 4) + 0.3 * np.einsum("cckn->ckn", h)
    c = oracle.complex_normal(rng, 3, 4, 3) * (0.0 if silent else 1.0)
    return h, 0.1 * np.linalg.norm(h, axis=-1), v, oracle.covariance(v, c)


def test_covariance__is_the_sum_of_all_streams() -> None:
    rng = np.random.default_rng(0)
    v, c = oracle.complex_normal(rng, 3, 2, 4), oracle.complex_normal(rng, 3, 4, 3)
    wanted = np.einsum("lkn,lkm->lnm", v, v.conj()) + c @ c.conj().swapaxes(1, 2)
    assert np.allclose(oracle.covariance(v, c), wanted, rtol=1e-13)


@pytest.mark.parametrize("seed", range(6))
def test_largest_quadratic__secular_equation_is_the_sdp(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = oracle.complex_normal(rng, 5, 1 + seed % 5)
    h = oracle.complex_normal(rng, 5)
    if seed % 2:  # the hard case: h hears nothing
        h = np.linalg.svd(x)[0][:, -1] if seed % 5 < 4 else 0 * h
    m = x @ x.conj().T
    found = oracle.largest_quadratic(m, h, 0.3)
    assert found == pytest.approx(oracle.largest_quadratic_sdp(m, h, 0.3), rel=1e-7)


def test_largest_quadratic__hard_case() -> None:
    m, h, eps, answer = oracle.hard_case()
    assert oracle.largest_quadratic(m, h, eps) == pytest.approx(answer, rel=1e-14)
    assert oracle.largest_quadratic_sdp(m, h, eps) == pytest.approx(answer, rel=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_worst_sinr__sdp_pencil_and_search(seed: int) -> None:
    h, eps, v, r = draw(seed, users=1 + seed % 2)
    user = oracle.link(h, eps, v, r, seed % 3, seed % 2 if seed % 2 else 0)
    wanted = oracle.worst_sinr_pencil(user)
    searched, error = oracle.worst_sinr_search(user, np.random.default_rng(seed))
    assert oracle.worst_sinr_sdp(user) == pytest.approx(wanted, rel=1e-6)
    assert searched == pytest.approx(wanted, rel=1e-3)
    assert searched >= wanted * (1 - 1e-8)
    assert user.sinr(error) == pytest.approx(searched, rel=1e-12)
    assert (np.linalg.norm(error, axis=1) <= user.eps * (1 + 1e-12)).all()
    assert oracle.worst_sinr_sampled(user, np.random.default_rng(seed)) > wanted


def test_worst_sinr__closed_form() -> None:
    h, eps, v, r = draw(7, silent=True)
    wanted = oracle.worst_sinr_closed(h, eps, v)
    for c in range(3):
        user = oracle.link(h, eps, v, r, c, 0)
        assert oracle.worst_sinr_sdp(user) == pytest.approx(wanted[c, 0], rel=1e-7)
    nominal = oracle.nominal_sinr(h, v, r)
    assert np.allclose(oracle.worst_sinr_closed(h, 0 * eps, v), nominal, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_rate_bound__water_filling_is_the_convex_programme(seed: int) -> None:
    rng = np.random.default_rng(seed)
    h = oracle.complex_normal(rng, 3, 3, 3, 4) * 10 ** rng.uniform(-1, 1, (3, 3, 3, 1))
    eps, weight = 0.2 * np.linalg.norm(h, axis=-1), rng.uniform(0.1, 2, (3, 3))
    found = oracle.rate_bound(h, eps, weight, POWER_W / 10)
    assert found == pytest.approx(oracle.rate_bound_convex(h, eps, weight, POWER_W / 10), rel=1e-6)


@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_min_norm_point__meets_its_optimality_conditions(spread: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((18, 40)) * 10 ** rng.uniform(-spread, spread, (18, 1))
    value, lam = oracle.min_norm_point(rows)
    assert lam.min() >= 0
    assert lam.sum() == pytest.approx(1)
    assert (rows @ (lam @ rows)).min() >= value * (1 - 1e-7)


def test_hypervolume__hand_cases() -> None:
    assert oracle.hypervolume(np.array([[0.5, 0.4]])) == pytest.approx(0.2)
    points = np.array([[0.5, 0.5], [0.2, 0.9], [0.9, 0.1], [0.3, 0.3], [0.5, 0.5], [1.0, -1.0]])
    assert oracle.hypervolume(points) == pytest.approx(0.2 * 0.9 + 0.3 * 0.5 + 0.4 * 0.1)
    grid = (np.arange(400) + 0.5) / 400
    x, y = np.meshgrid(grid, grid)
    cloud = np.random.default_rng(1).random((7, 2))
    covered = np.any([(x < p[0]) & (y < p[1]) for p in cloud], axis=0)
    assert oracle.hypervolume(cloud) == pytest.approx(covered.mean(), abs=0.01)


# --- sensing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", sensing.MODES)
def test_waveforms__have_the_promised_moments(mode: str) -> None:
    place = sensing.scene(0, mode)
    x = oracle.complex_normal(np.random.default_rng(0), 3, 5, 5)
    cov = x @ x.conj().swapaxes(1, 2)
    s = sensing.waveforms(cov, place.chi)
    for m in range(3):
        gram = np.einsum("lias,kjbs->likjab", s[:, m], s[:, m].conj())
        for l in range(3):
            wanted = np.einsum("ji,ab->ijab", place.chi[l, m], cov[l])
            assert np.allclose(gram[l, :, l], wanted, atol=1e-10)
            assert np.allclose(np.delete(gram[l], l, axis=1), 0, atol=1e-10)


@pytest.mark.parametrize("mode", sensing.MODES)
def test_information__simulated_data_moments_and_loops(mode: str) -> None:
    place = sensing.scene(1, mode)
    x = oracle.complex_normal(np.random.default_rng(1), 3, 5, 3)
    cov = x @ x.conj().swapaxes(1, 2)
    wanted = sensing.information(place, cov)
    assert np.allclose(sensing.kernel_information(place, cov), wanted, rtol=1e-8)
    if mode == "resolved":
        assert np.allclose(sensing.resolved_information(place, cov), wanted, atol=1e-8)


def test_smallest_crlb__of_the_papers_network() -> None:
    """Minimum 0.02021 m^2 (spec 4.2), of rank two at every station."""
    place = sensing.scene(2, "resolved")
    value, best = sensing.smallest_crlb(place, POWER_W)
    assert value == pytest.approx(0.02021, rel=1e-3)
    assert sensing.crlb(sensing.resolved_information(place, best)) == pytest.approx(value, rel=1e-5)
    spectrum = np.linalg.eigvalsh(best)
    assert (spectrum[:, -3] < 1e-4 * spectrum[:, -1]).all()
    assert sensing.smallest_crlb(place, POWER_W / 10)[0] == pytest.approx(10 * value, rel=1e-5)
