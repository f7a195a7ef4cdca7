"""Worst-case SINR against an SDP, searches, closed forms and its own certificate (spec 8)."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from isac_gym.physics.worst_case import robust_sinr, sinr_at, worst_case
from tests.oracles import robust_beamforming as oracle

KINDS = (
    *("random", "mrt", "zf", "mrt+null", "zf+null", "mrt+none", "zf+none"),
    *("mrt+white", "zf+white", "random+white", "mrt+double", "mrt+toward"),
)
RADII = (0.0, 0.05, 0.1, 0.3)
POWER_W = 10.0


def draw(seed, count, *, kind="random", radius=0.1, users=1, antennas=5, cells=3, share=0.3):
    """(h, eps, v, R) of ``count`` instances as arrays; own links are 26 dB stronger.

    ``kind`` is beams+sensing signal: the latter full rank, in the null space of all users, none, or
    with a repeated top eigenvalue: white, two equal ones, four equal ones whose span holds v.
    """
    rng = np.random.default_rng(seed)
    beams, _, sensing = kind.partition("+")
    gain = 10 ** rng.uniform(0, 1, (count, cells, cells, users, 1))
    gain = gain * np.where(np.eye(cells)[:, :, None, None] > 0, 20, 1)
    h = oracle.complex_normal(rng, count, cells, cells, users, antennas) * gain
    flat = h.reshape(count, cells, cells * users, antennas)
    v = oracle.complex_normal(rng, count, cells, users, antennas)
    factor = oracle.complex_normal(rng, count, cells, antennas, 4)
    if beams == "mrt":
        v = np.einsum("bcckn->bckn", h).copy()
    if beams == "zf":
        inverse = np.linalg.pinv(flat.conj()).reshape(count, cells, antennas, cells, users)
        v = np.einsum("bcnck->bckn", inverse).copy()
    if sensing == "null":
        null = np.linalg.svd(flat.conj())[2].conj().swapaxes(2, 3)[..., cells * users :]
        factor = null @ factor[..., : null.shape[-1], :]
    if sensing == "none":
        factor = 0 * factor
    if sensing in ("white", "double"):
        factor = np.linalg.qr(oracle.complex_normal(rng, count, cells, antennas, antennas))[0]
    if sensing == "double":
        factor = factor * np.array([1.0, 1.0, *np.linspace(0.5, 0.2, antennas - 2)])
    if sensing == "toward":
        factor = np.linalg.qr(np.concatenate([v.swapaxes(2, 3), factor[..., :3]], -1))[0]
    v *= math.sqrt(POWER_W * (1 - share)) / np.linalg.norm(v, axis=(2, 3), keepdims=True)
    size = np.linalg.norm(factor, axis=(2, 3), keepdims=True)
    factor = factor * math.sqrt(POWER_W * share) / np.maximum(size, 1e-300)
    r = np.stack([oracle.covariance(v[b], factor[b]) for b in range(count)])
    return h, radius * np.linalg.norm(h, axis=-1), v, r


def tensors(arrays, dtype=torch.float64):
    """Arrays as tensors of one precision."""
    wide = {torch.float64: torch.complex128, torch.float32: torch.complex64}[dtype]
    return [torch.as_tensor(a, dtype=wide if np.iscomplexobj(a) else dtype) for a in arrays]


def mixture(seed, count):
    """(instance arrays of one row, user) from all kinds, radii and numbers of users."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        kind, users = KINDS[i % len(KINDS)], 1 + (i // len(KINDS)) % 2
        radius = RADII[rng.integers(len(RADII))]
        arrays = draw((seed, i), 1, kind=kind, radius=radius, users=users)
        yield arrays, int(rng.integers(3)), int(rng.integers(users))


def oracle_link(arrays, b, c, k):
    h, eps, v, r = arrays
    return oracle.link(h[b], eps[b], v[b], r[b], c, k)


def is_close(found, wanted, nominal):
    """The comparison with the SDP: 1e-6 relative; near 0 the solver sees 1e-8 of the nominal."""
    return abs(found - wanted) <= 1e-6 * wanted + 1e-8 * nominal + 1e-12


# --- the value ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_worst_case__equals_the_s_lemma_sdp(count):
    for arrays, c, k in mixture(count, count):
        found = worst_case(*tensors(arrays)).sinr[0, c, k].item()
        user = oracle_link(arrays, 0, c, k)
        nominal = float(user.sinr(np.zeros_like(user.h)))
        assert is_close(found, oracle.worst_sinr_sdp(user), nominal)


def test_worst_case__equals_the_pencil():
    for arrays, c, k in mixture(2, 60):
        found = worst_case(*tensors(arrays)).sinr[0, c, k].item()
        user = oracle_link(arrays, 0, c, k)
        assert found == pytest.approx(oracle.worst_sinr_pencil(user), rel=2e-8, abs=1e-9)


def test_worst_case__is_never_beaten_by_a_search():
    rng = np.random.default_rng(3)
    for arrays, c, k in mixture(3, 45):
        found = worst_case(*tensors(arrays)).sinr[0, c, k].item()
        user = oracle_link(arrays, 0, c, k)
        searched = oracle.worst_sinr_search(user, rng)[0]
        assert found <= searched * (1 + 1e-9) + 1e-12
        assert found <= oracle.worst_sinr_sampled(user, rng) * (1 + 1e-9)
        nominal = float(user.sinr(np.zeros_like(user.h)))
        assert searched <= found * 1.01 + 1e-6 * nominal  # the search is not a straw man


def test_comparison__rejects_wrong_values():
    """Non-vacuity: an error of 3e-6 and the paper's one gradient step from no error are caught."""
    caught = 0
    for arrays, c, k in mixture(4, 28):
        user = oracle_link(arrays, 0, c, k)
        nominal = float(user.sinr(np.zeros_like(user.h)))
        wanted = oracle.worst_sinr_sdp(user)
        if nominal * 1e-2 < wanted:
            assert not is_close(wanted * (1 + 3e-6), wanted, nominal)
            assert not is_close(wanted * (1 - 3e-6), wanted, nominal)
        if not user.eps.any():
            continue
        x = user.h.copy()  # ascent of the interference from the estimate: stuck where R h = 0
        for l in range(len(x)):
            slope = user.rest[l] @ x[l]
            if l == c:
                slope = -user.v * np.vdot(user.v, x[l])
            x[l] += user.eps[l] * slope / max(np.linalg.norm(slope), 1e-300)
        caught += not is_close(float(user.sinr(x - user.h)), wanted, nominal)
    assert caught >= 15


def test_repeated_eigenvalue__equals_the_analytic_minimum():
    # A = lambda I and v parallel to h: the error lies in the plane of h and any other direction.
    rng = np.random.default_rng(7)
    angle = np.linspace(0, math.pi / 2, 400_001)
    for antennas, rest, radius in itertools.product((2, 3, 5), (1.0, 100.0, 1e4), (0.3, 1.5, 2.7)):
        axis = np.linalg.qr(oracle.complex_normal(rng, antennas, antennas))[0][:, 0]
        along, across = radius * np.cos(angle), radius * np.sin(angle)
        ratio = 1.69 * (3 - along) ** 2 / (rest * ((3 - along) ** 2 + across**2) + 1)
        cov = rest * np.eye(antennas) + 1.69 * np.outer(axis, axis.conj())
        arrays = (3 * axis[None, None, None, None], np.full((1, 1, 1, 1), radius))
        found = worst_case(*tensors((*arrays, 1.3 * axis[None, None, None], cov[None, None])))
        assert found.sinr.item() == pytest.approx(ratio.min(), rel=1e-9)
        assert found.lower.item() == pytest.approx(ratio.min(), rel=1e-9)


@pytest.mark.parametrize("spread", [1e-10, 1e-8, 1e-7, 1e-6, 1e-4])
def test_nearly_repeated_eigenvalue__the_bracket_stays_narrow(spread):
    h, eps, v, r = draw(11, 60, kind="mrt+white", radius=0.3)
    rng = np.random.default_rng(3)
    bump = spread * rng.standard_normal((60, 3, 5))
    axes = np.linalg.qr(oracle.complex_normal(rng, 60, 3, 5, 5))[0]
    r = r + 0.6 * np.einsum("bcnk,bck,bcmk->bcnm", axes, bump, axes.conj())
    found = worst_case(*tensors((h, eps, v, r)))
    assert (found.sinr - found.lower <= 2e-6 * found.sinr + 1e-12).all()


@pytest.mark.parametrize("users", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_certificate__closes_and_the_error_attains_it(kind, users):
    for radius in (*RADII, 0.9, 1.5):
        arrays = draw((5, users), 60, kind=kind, radius=radius, users=users)
        h, eps, v, r = tensors(arrays)
        found = worst_case(h, eps, v, r)
        assert (found.lower <= found.sinr).all()
        assert (found.sinr - found.lower <= 1e-8 * found.sinr + 1e-12).all()
        length = torch.linalg.vector_norm(found.error, dim=-1)
        assert (length <= eps * (1 + 1e-12)).all()
        attained = sinr_at(h + found.error, v, r)
        assert torch.allclose(attained, found.sinr, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("cells", "antennas"), [(1, 1), (1, 4), (2, 2), (2, 8), (4, 3)])
def test_worst_case__other_sizes(cells, antennas):
    arrays = draw(6, 4, cells=cells, antennas=antennas, users=2)
    found = worst_case(*tensors(arrays))
    for b in range(4):
        for c in range(cells):
            wanted = oracle.worst_sinr_pencil(oracle_link(arrays, b, c, 1))
            assert found.sinr[b, c, 1].item() == pytest.approx(wanted, rel=2e-8, abs=1e-9)


# --- closed forms -------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("kind", ["random+none", "mrt+none", "zf+none"])
def test_worst_case__closed_form_of_one_user_without_sensing(kind, radius):
    arrays = draw(7, 20, kind=kind, radius=radius)
    found = worst_case(*tensors(arrays)).sinr
    for b in range(20):
        wanted = oracle.worst_sinr_closed(*(a[b] for a in arrays[:3]))
        assert np.allclose(found[b].numpy(), wanted, rtol=1e-10, atol=1e-12)


def test_sinr_at__is_the_loop_and_the_worst_case_without_errors():
    arrays = draw(8, 10, radius=0.0, users=2)
    h, eps, v, r = tensors(arrays)
    found = worst_case(h, eps, v, r)
    for b in range(10):
        wanted = oracle.nominal_sinr(arrays[0][b], arrays[2][b], arrays[3][b])
        assert np.allclose(sinr_at(h, v, r)[b].numpy(), wanted, rtol=1e-10)
    assert torch.allclose(found.sinr, sinr_at(h, v, r), rtol=1e-12)
    assert (found.error == 0).all()


def test_hard_case__interferer_that_the_estimate_does_not_hear():
    """R h = 0: a gradient from no error sees nothing; the exact interference is 1."""
    matrix, h, eps, answer = oracle.hard_case()
    channel = np.zeros((1, 2, 2, 1, 5), complex)
    channel[0, 0, 0, 0, 0], channel[0, 1, 0, 0] = 6.0, h
    radius, beam = np.zeros((1, 2, 2, 1)), np.zeros((1, 2, 1, 5), complex)
    radius[0, 1, 0, 0], beam[0, 0, 0, 0] = eps, 1.0
    cov = np.zeros((1, 2, 5, 5), complex)
    cov[0, 0, 0, 0], cov[0, 1] = 1.0, matrix
    found = worst_case(*tensors((channel, radius, beam, cov)))
    assert found.sinr[0, 0, 0].item() == pytest.approx(36 / (1 + answer), rel=1e-14)
    assert found.lower[0, 0, 0].item() == pytest.approx(36 / (1 + answer), rel=1e-12)


@pytest.mark.parametrize("hidden", [1e-6, 1.0, 30.0, 1e3, 1e8])
@pytest.mark.parametrize("tilt", [0.0, 1e-12, 1e-6, 1e-2])
def test_hard_case__own_signal_that_the_estimate_does_not_hear(hidden, tilt):
    """h = s e_1, v ~ e_1 (+ tilt), rest = hidden e_N e_N^T: two numbers describe the error."""
    s, eps = 4.0, 1.0
    v = np.array([1.0, 0.0, tilt])
    channel = np.array([s, 0.0, 0.0], complex).reshape(1, 1, 1, 1, 3)
    cov = np.diag([0.0, 0.0, hidden]) + np.outer(v, v)
    arrays = (
        channel,
        np.full((1, 1, 1, 1), eps),
        v.astype(complex).reshape(1, 1, 1, 3),
        cov[None, None] + 0j,
    )

    def value(angle):
        x, y = s - eps * math.cos(angle), -eps * math.sin(angle)
        return (x + tilt * y) ** 2 / (1 + hidden * y**2)

    grid = np.linspace(-math.pi / 2, math.pi / 2, 2001)
    i = int(np.argmin([value(a) for a in grid]))
    best = minimize_scalar(
        value,
        bounds=(grid[max(i - 1, 0)], grid[min(i + 1, 2000)]),
        method="bounded",
        options={"xatol": 1e-14},
    )
    found = worst_case(*tensors(arrays))
    assert found.sinr.item() == pytest.approx(min(best.fun, value(grid[i])), rel=1e-9)
    loose = 1e-8 if hidden < 1e6 else 1e-4  # the certificate, not the value, is ill-conditioned
    assert found.lower.item() == pytest.approx(found.sinr.item(), rel=loose)
    assert found.lower <= found.sinr


def test_worst_case__is_zero_where_the_ball_hides_the_beam():
    h, eps, v, r = tensors(draw(9, 30, radius=0.4))
    found = worst_case(h, eps, v, r).sinr
    own = torch.diagonal(h, dim1=1, dim2=2).permute(0, 3, 1, 2)
    slack = torch.diagonal(eps, dim1=1, dim2=2).mT * torch.linalg.vector_norm(v, dim=-1)
    hidden = (own.conj() * v).sum(-1).abs() <= slack
    assert 10 < hidden.sum() < hidden.numel() - 10
    assert (found[hidden] == 0).all()
    assert (found[~hidden] > 0).all()


# --- gradient -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["random", "mrt", "zf+null"])
def test_gradient__matches_central_differences(kind):
    h, eps, v, r = tensors(draw(10, 6, kind=kind, radius=0.05, users=2 if kind == "mrt" else 1))
    generator = torch.Generator().manual_seed(0)
    dv, dc = (torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in (v, r[..., :2]))

    def rate(step, exact=worst_case):
        moved = v + step * dv
        factor = step * dc  # starts at zero sensing power on top of r
        covariance = r + factor @ factor.mH
        covariance = covariance + (moved.mT @ moved.conj()) - (v.mT @ v.conj())
        return torch.log2(1 + exact(h, eps, moved, covariance).sinr).sum((1, 2))

    step = torch.tensor(1e-2, dtype=h.real.dtype, requires_grad=True)
    wanted = (8 * (rate(1.1e-2) - rate(0.9e-2)) - (rate(1.2e-2) - rate(0.8e-2))) / 12e-3
    for b in range(6):
        slope = torch.autograd.grad(rate(step, robust_sinr)[b], step)[0]
        assert slope.item() == pytest.approx(wanted[b].item(), rel=1e-5, abs=1e-6)


def test_gradient__is_finite_at_the_edges():
    h, eps, v, r = tensors(draw(11, 3, radius=0.1))
    cases = [
        (h, eps, 0 * v, 0 * r),
        (0 * h, 0 * eps, v, r),
        (h, 20 * eps, v, r),
        (h, 0 * eps, v, r),
        (0 * h, 0 * eps, 0 * v, 0 * r),
    ]
    for channel, radius, beam, cov in cases:
        beam = beam.clone().requires_grad_()
        cov = cov.clone().requires_grad_()
        found = robust_sinr(channel, radius, beam, cov)
        assert all(part.isfinite().all() for part in found)
        torch.log2(1 + found.sinr).sum().backward()
        assert beam.grad.isfinite().all()
        assert cov.grad.isfinite().all()


def test_robust_sinr__has_the_value_of_the_worst_case():
    parts = tensors(draw(12, 10, users=2))
    assert torch.allclose(robust_sinr(*parts).sinr, worst_case(*parts).sinr, rtol=1e-10)


# --- invariances --------------------------------------------------------------------------------

instances = st.builds(
    lambda seed, kind, radius, users: draw(seed, 2, kind=kind, radius=radius, users=users),
    st.integers(0, 2**32 - 1),
    st.sampled_from(KINDS),
    st.sampled_from(RADII),
    st.integers(1, 2),
)


def same(left, right):
    """SINRs equal up to rounding; the SINR's condition is |signal| / slack."""
    return torch.allclose(left, right, rtol=1e-8, atol=1e-10)


@given(instances, st.integers(0, 2**32 - 1))
def test_invariance__unitary_per_station(arrays, seed):
    h, eps, v, r = arrays
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(oracle.complex_normal(rng, 2, 3, 5, 5))[0]
    turned = (
        np.einsum("blij,blckj->blcki", u, h),
        eps,
        np.einsum("blij,blkj->blki", u, v),
        u @ r @ u.conj().swapaxes(2, 3),
    )
    assert same(worst_case(*tensors(turned)).sinr, worst_case(*tensors(arrays)).sinr)


@given(instances, st.floats(1e-3, 1e3))
def test_invariance__phases_and_scale(arrays, scale):
    h, eps, v, r = tensors(arrays)
    phase = torch.polar(torch.ones_like(v.real[..., :1]), 3.0 * v.real[..., :1])
    moved = worst_case(h * scale, eps * scale, v * phase / scale, r / scale**2)
    assert same(moved.sinr, worst_case(h, eps, v, r).sinr)


@given(instances, st.permutations(range(3)))
def test_invariance__order_of_stations_and_users(arrays, order):
    h, eps, v, r = tensors(arrays)
    moved = worst_case(
        h[:, order][:, :, order].flip(3),
        eps[:, order][:, :, order].flip(3),
        v[:, order].flip(2),
        r[:, order],
    )
    assert same(moved.sinr, worst_case(h, eps, v, r).sinr[:, order].flip(2))


@given(instances, st.floats(1.0, 3.0))
def test_worst_case__falls_with_radius_and_interference(arrays, growth):
    h, eps, v, r = tensors(arrays)
    base = worst_case(h, eps, v, r).sinr
    assert (worst_case(h, growth * eps, v, r).sinr <= base * (1 + 1e-9) + 1e-12).all()
    louder = r + (growth - 1) * torch.eye(5)
    assert (worst_case(h, eps, v, louder).sinr <= base * (1 + 1e-9) + 1e-12).all()
    assert (base <= sinr_at(h, v, r) * (1 + 1e-9)).all()


def test_rows__are_independent(dtype, tolerance):
    kinds = [draw((13, i), 3, kind=kind, users=1) for i, kind in enumerate(KINDS)]
    parts = tensors([np.concatenate(a) for a in zip(*kinds, strict=True)], dtype)
    together = worst_case(*parts)
    for b in range(len(parts[0])):
        alone = worst_case(*(part[b : b + 1] for part in parts))
        assert torch.allclose(alone.sinr[0], together.sinr[b], rtol=tolerance.row, atol=1e-12)


def test_rows__poison_stays_in_its_lane():
    h, eps, v, r = tensors(draw(14, 3))
    broken = r.clone()
    broken[1, 0, 0, 0] = torch.nan
    found, good = worst_case(h, eps, v, broken).sinr, worst_case(h, eps, v, r).sinr
    assert found[1].isnan().all()
    assert torch.equal(found[::2], good[::2])


@pytest.mark.parametrize("kind", KINDS)
def test_float32__is_good_enough_for_training(kind):
    """The rest R - v v^H of the own cell is rounded: an error of about 1e-7 SINR, relative.

    Rounding also splits repeated eigenvalues, which costs another digit.
    """
    part = 1e-2 if kind.endswith(("white", "double", "toward")) else 1e-3
    for radius in RADII:
        arrays = draw(15, 60, kind=kind, radius=radius)
        exact = worst_case(*tensors(arrays)).sinr
        rough = worst_case(*tensors(arrays, torch.float32))
        assert rough.sinr.dtype == torch.float32
        assert rough.sinr.isfinite().all()
        assert (rough.lower <= rough.sinr).all()
        error = (rough.sinr.double() - exact).abs()
        assert (error <= exact * (part + 2e-6 * exact) + 1e-5).all()
        assert (error / exact)[exact > 1e-3].median() < 1e-5 + 1e-6 * exact.median()
