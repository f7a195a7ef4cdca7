"""Strongest and weakest power over balls: oracle, searches, hard cases, gradients (spec 8)."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from isac_gym.physics.trust_region import (
    NEWTON_STEPS,
    all_on_cpu,
    fill_ball,
    squared,
    strongest_power,
    weakest_power,
)
from tests.oracles import robust_beamforming as oracle

STEPS = NEWTON_STEPS[torch.float64]
RANKS = (1, 2, 5)
RADII = (0.0, 0.05, 0.3, 1.0, 3.0)


def draw(seed, count=6, *, rank=5, radius=0.3, cells=2, users=2, antennas=5):
    """(h, eps, R) of strongest_power; radii are a part of the channel's norm."""
    rng = np.random.default_rng(seed)
    h = 3 * oracle.complex_normal(rng, count, cells, cells, users, antennas)
    factor = oracle.complex_normal(rng, count, cells, antennas, rank)
    r = factor @ factor.conj().swapaxes(-1, -2)
    return h, radius * np.linalg.norm(h, axis=-1), r


def tensors(arrays, dtype=torch.float64):
    wide = {torch.float64: torch.complex128, torch.float32: torch.complex64}[dtype]
    return [torch.as_tensor(a, dtype=wide if np.iscomplexobj(a) else dtype) for a in arrays]


def own(arrays):
    """The same for weakest_power: (B, I, K, N), (B, I, K), R."""
    h, eps, r = arrays
    return np.einsum("bcckn->bckn", h).copy(), np.einsum("bcck->bck", eps).copy(), r


def power_of(x, r):
    """x^H R x of x (..., N) and R (N, N), by NumPy."""
    return np.einsum("...n,nm,...m->...", x.conj(), r, x).real


def smallest_quadratic(r, h, eps):
    """Smallest (h + d)^H R (h + d), ||d|| <= eps, by a bracketed root of ||d(mu)|| = eps."""
    lam, u = np.linalg.eigh(r)
    lam, y = np.maximum(lam, 0), u.conj().T @ h

    def error(mu):
        return lam * np.abs(y) / (lam + mu)

    seen = lam > 1e-13 * lam[-1]
    if np.linalg.norm(np.abs(y)[seen]) <= eps * (1 + 1e-12):
        return 0.0
    high = lam[-1] * np.linalg.norm(y) / max(eps, 1e-300)
    mu = brentq(lambda m: np.linalg.norm(error(m)) - eps, 1e-14 * lam[-1], high, rtol=9e-16)
    return float(np.sum(lam * (np.abs(y) - error(mu)) ** 2))


def descend(h, eps, r, sign, *, steps=400):
    """Extreme power by projected gradients from the estimate and 8 random errors."""
    rng, best = np.random.default_rng(0), []
    for start in range(9):
        d = oracle.complex_normal(rng, len(h)) * (start > 0)
        for _ in range(steps):
            d = d + sign * (r @ (h + d)) / np.linalg.eigvalsh(r)[-1]
            d = d * min(1.0, eps / max(np.linalg.norm(d), 1e-300))
        best.append(sign * power_of(h + d, r))
    return sign * max(best)


# --- strongest ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("radius", RADII)
def test_strongest__equals_the_secular_equation_of_the_oracle(rank, radius):
    arrays = draw((1, rank), rank=rank, radius=radius)
    h, eps, r = arrays
    error, power, bound = strongest_power(*tensors(arrays), STEPS)
    for index in np.ndindex(eps.shape):
        b, l = index[:2]
        wanted = oracle.largest_quadratic(r[b, l], h[index], eps[index])
        assert power[index].item() == pytest.approx(wanted, rel=1e-11)
        attained = power_of(h[index] + error[index].numpy(), r[b, l])
        assert attained == pytest.approx(wanted, rel=1e-11)
        assert bound[index].item() == pytest.approx(wanted, rel=1e-9)
    length = torch.linalg.vector_norm(error, dim=-1)
    assert (length <= torch.as_tensor(eps) * (1 + 1e-12)).all()
    assert (bound >= power * (1 - 1e-13)).all()


def test_strongest__no_search_and_no_sample_finds_more():
    arrays = draw(2, 2, rank=3)
    h, eps, r = arrays
    _, power, _ = strongest_power(*tensors(arrays), STEPS)
    rng = np.random.default_rng(4)
    for index in np.ndindex(eps.shape):
        b, l = index[:2]
        searched = descend(h[index], eps[index], r[b, l], 1)
        assert searched <= power[index].item() * (1 + 1e-12)
        assert searched == pytest.approx(power[index].item(), rel=1e-6)
        d = oracle.complex_normal(rng, 500, 5)
        d *= eps[index] / np.linalg.norm(d, axis=1, keepdims=True)
        assert power_of(h[index] + d, r[b, l]).max() <= power[index].item()


def test_strongest__hard_case():
    """R h = 0: the estimate hears nothing, a gradient sees nothing; the answer is eps^2 lambda."""
    matrix, h, eps, answer = oracle.hard_case()
    channel = torch.as_tensor(h).reshape(1, 1, 1, 1, 5)
    radius = torch.full((1, 1, 1, 1), eps, dtype=torch.float64)
    cov = torch.as_tensor(matrix)[None, None]
    error, power, bound = strongest_power(channel, radius, cov, STEPS)
    assert power.item() == pytest.approx(answer, rel=1e-14)
    assert bound.item() == pytest.approx(answer, rel=1e-12)
    assert error.norm().item() == pytest.approx(eps, rel=1e-14)


@pytest.mark.parametrize("tilt", [1e-16, 1e-12, 1e-8, 1e-4])
def test_strongest__near_the_hard_case(tilt):
    matrix, h, eps, _ = oracle.hard_case()
    h = h + tilt * np.array([0, 0, 0, 0, 1j])
    channel = torch.as_tensor(h).reshape(1, 1, 1, 1, 5)
    radius = torch.full((1, 1, 1, 1), eps, dtype=torch.float64)
    error, power, bound = strongest_power(channel, radius, torch.as_tensor(matrix)[None, None], 16)
    assert power.item() == pytest.approx(4 * (eps + tilt) ** 2, rel=1e-12)
    assert power.item() * (1 - 1e-13) <= bound.item() <= power.item() * (1 + 1e-8)
    assert error.norm().item() <= eps * (1 + 1e-14)


def test_strongest__without_a_ball_it_is_the_power():
    h, eps, r = draw(3, radius=0.0)
    error, power, bound = strongest_power(*tensors((h, eps, r)), STEPS)
    wanted = np.einsum("blckn,blnm,blckm->blck", h.conj(), r, h).real
    assert (error.abs() <= 1e-70).all()
    np.testing.assert_allclose(power, wanted, rtol=1e-13)
    np.testing.assert_allclose(bound, wanted, rtol=1e-13)


def test_strongest__silence_is_silent():
    h, eps, r = tensors(draw(4))
    error, power, bound = strongest_power(h, eps, 0 * r, STEPS)
    assert (power.abs() < 1e-290).all()
    assert (bound.abs() < 1e-290).all()
    assert error.isfinite().all()


def test_strongest__non_finite_covariance_stays_in_its_lane():
    h, eps, r = tensors(draw(5, 3))
    good = strongest_power(h, eps, r, STEPS)
    r[1, 0, 0, 0] = torch.nan
    found = strongest_power(h, eps, r, STEPS)
    assert found[1][1, 0].isnan().all()
    assert torch.equal(found[1][1, 1], good[1][1, 1])
    for a, b in zip(found, good, strict=True):
        assert torch.equal(a[::2], b[::2])


# --- weakest ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("radius", RADII)
def test_weakest__equals_a_bracketed_root(rank, radius):
    h, eps, r = own(draw((6, rank), rank=rank, radius=radius))
    found = weakest_power(*tensors((h, eps, r)))
    for index in np.ndindex(eps.shape):
        b, c = index[:2]
        wanted = smallest_quadratic(r[b, c], h[index], eps[index])
        nominal = power_of(h[index], r[b, c])
        assert found[index].item() == pytest.approx(wanted, rel=1e-9, abs=1e-12 * nominal)


def test_weakest__no_search_and_no_sample_finds_less():
    h, eps, r = own(draw(7, 2, rank=5, radius=0.3))
    found = weakest_power(*tensors((h, eps, r)))
    rng = np.random.default_rng(8)
    for index in np.ndindex(eps.shape):
        b, c = index[:2]
        searched = descend(h[index], eps[index], r[b, c], -1, steps=700)
        assert searched >= found[index].item() * (1 - 1e-9)
        assert searched == pytest.approx(found[index].item(), rel=1e-3)
        d = oracle.complex_normal(rng, 500, 5)
        d *= eps[index] / np.linalg.norm(d, axis=1, keepdims=True)
        assert power_of(h[index] + d, r[b, c]).min() >= found[index].item()


@pytest.mark.parametrize("radius", [0.0, 0.2, 0.6])
def test_weakest__closed_form_of_one_beam(radius):
    """R = v v^H: (|v^H h| - eps ||v||)_+^2."""
    rng = np.random.default_rng(9)
    h, eps, _ = own(draw(9, 20, radius=radius))
    v = oracle.complex_normal(rng, 20, 2, 5)
    r = np.einsum("bcn,bcm->bcnm", v, v.conj())
    heard = np.abs(np.einsum("bcn,bckn->bck", v.conj(), h))
    wanted = np.maximum(heard - eps * np.linalg.norm(v, axis=-1)[..., None], 0) ** 2
    found = weakest_power(*tensors((h, eps, r))).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12 * heard.max() ** 2)


def test_weakest__is_zero_where_the_ball_reaches_silence():
    h, eps, r = tensors(own(draw(10, radius=1.0)))
    assert (weakest_power(h, eps, r) <= 1e-12 * squared(h).sum(-1)).all()
    assert (weakest_power(h, eps, 0 * r) == 0).all()
    assert (weakest_power(h, 0 * eps, 0 * r) == 0).all()


def test_weakest__without_a_ball_it_is_the_power():
    h, eps, r = own(draw(11, radius=0.0))
    found = weakest_power(*tensors((h, eps, r)))
    wanted = np.einsum("bckn,bcnm,bckm->bck", h.conj(), r, h).real
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


def test_weakest__is_concave_and_grows_with_the_covariance():
    h, eps, first = tensors(own(draw(12, 40, rank=2, radius=0.4)))
    second = tensors(draw(13, 40, rank=3))[2]
    ends = weakest_power(h, eps, first), weakest_power(h, eps, second)
    gained = []
    for share in (0.1, 0.5, 0.8):
        middle = weakest_power(h, eps, share * first + (1 - share) * second)
        chord = share * ends[0] + (1 - share) * ends[1]
        assert (middle >= chord * (1 - 1e-9) - 1e-12).all()
        gained.append((middle > chord * 1.01).double().mean())
    assert min(gained) > 0.5  # not linear either
    assert (weakest_power(h, eps, first + second) >= ends[0] + ends[1] - 1e-9).all()
    doubled = weakest_power(h, eps, 2 * first)
    torch.testing.assert_close(doubled, 2 * ends[0], rtol=1e-9, atol=1e-12)


def test_weakest__falls_with_the_radius():
    h, eps, r = tensors(own(draw(14, 20, radius=0.2)))
    values = [weakest_power(h, factor * eps, r) for factor in (0.0, 0.5, 1.0, 2.0)]
    for larger, smaller in itertools.pairwise(values):
        assert (smaller < larger).all()


@pytest.mark.parametrize("rank", [2, 5])
def test_weakest__gradient_matches_central_differences(rank):
    h, eps, r = tensors(own(draw((15, rank), 8, rank=rank, radius=0.2)))
    direction = tensors(draw(16, 8, rank=5))[2]

    def value(step):
        return weakest_power(h, eps, r + step * direction).sum((1, 2))

    step = torch.tensor(0.01, dtype=torch.float64, requires_grad=True)
    numeric = (value(0.01 + 1e-5) - value(0.01 - 1e-5)) / 2e-5
    for b in range(8):
        (slope,) = torch.autograd.grad(value(step)[b], step)
        assert slope.item() == pytest.approx(numeric[b].item(), rel=1e-6)


def test_weakest__gradient_is_finite_at_the_edges():
    h, eps, r = tensors(own(draw(17, 3)))
    for channel, radius, cov in (
        (h, eps, 0 * r),
        (h, 9 * eps, r),
        (h, 0 * eps, r),
        (0 * h, eps, r),
    ):
        cov = cov.clone().requires_grad_()
        found = weakest_power(channel, radius, cov)
        assert found.isfinite().all()
        found.sum().backward()
        assert cov.grad.isfinite().all()


# --- both ---------------------------------------------------------------------------------------


def test_rows__are_independent(dtype, tolerance):
    parts = tensors(draw(18, 5), dtype)
    mine = tensors(own(draw(18, 5)), dtype)
    strong, weak = strongest_power(*parts, NEWTON_STEPS[dtype]), weakest_power(*mine)
    for b in range(5):
        one = slice(b, b + 1)
        alone = strongest_power(*(p[one] for p in parts), NEWTON_STEPS[dtype])
        torch.testing.assert_close(alone[1], strong[1][one], rtol=tolerance.row, atol=0)
        again = weakest_power(*(p[one] for p in mine))
        torch.testing.assert_close(again, weak[one], rtol=tolerance.row, atol=0)


@pytest.mark.parametrize("radius", RADII)
def test_float32__is_close_to_double(radius):
    arrays = draw(19, 40, radius=radius)
    steps = NEWTON_STEPS[torch.float32]
    exact = strongest_power(*tensors(arrays), STEPS)
    rough = strongest_power(*tensors(arrays, torch.float32), steps)
    assert rough[1].dtype == torch.float32
    torch.testing.assert_close(rough[1].double(), exact[1], rtol=1e-4, atol=0)
    torch.testing.assert_close(rough[2].double(), exact[2], rtol=1e-3, atol=0)
    mine = own(arrays)
    low = weakest_power(*tensors(mine, torch.float32))
    wanted = weakest_power(*tensors(mine))
    nominal = np.einsum("bckn,bcnm,bckm->bck", mine[0].conj(), mine[2], mine[0]).real
    assert ((low.double() - wanted).abs() <= 1e-5 * torch.as_tensor(nominal)).all()


def test_fill_ball__has_the_radius_and_keeps_the_rest():
    g = torch.as_tensor(oracle.complex_normal(np.random.default_rng(1), 50, 4))
    e = torch.as_tensor(oracle.complex_normal(np.random.default_rng(2), 50, 4))
    radius = torch.linspace(0.1, 5, 50, dtype=torch.float64)
    found = fill_ball(e, g, radius)
    torch.testing.assert_close(found.norm(dim=-1), radius, rtol=1e-12, atol=0)
    is_inside = e.norm(dim=-1) <= radius
    assert 10 < is_inside.sum() < 45
    torch.testing.assert_close(found[is_inside, :-1], e[is_inside, :-1], rtol=1e-14, atol=0)
    shrunk = e * (radius / e.norm(dim=-1))[:, None]
    torch.testing.assert_close(found[~is_inside], shrunk[~is_inside], rtol=1e-9, atol=1e-12)
    lost = torch.cat([e[:, :-1], torch.zeros_like(e[:, -1:])], -1)  # filled in the phase of g
    filled = fill_ball(lost, g, radius + 5)[:, -1]
    torch.testing.assert_close(filled / filled.abs(), g[:, -1] / g[:, -1].abs())
    nothing = fill_ball(0 * e, 0 * g, radius)
    torch.testing.assert_close(nothing[:, -1].real, radius)


def test_small_helpers():
    z = torch.tensor([3 + 4j, 0j])
    assert squared(z).tolist() == [25, 0]
    assert all_on_cpu(torch.ones(3, dtype=torch.bool))
    assert not all_on_cpu(torch.tensor([True, False]))
    assert not all_on_cpu(torch.ones(3, dtype=torch.bool, device="meta"))
