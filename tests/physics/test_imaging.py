import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.physics.imaging import (
    data_gain,
    expected_information,
    illuminate,
    information,
    masked_bound,
    matched,
    receive,
    unknown_symbol_information,
    user_gram,
)
from tests.oracles import imaging as oracle

LANES, USERS, ANTENNAS, VOXELS, SAMPLES = 3, 4, 3, 6, 9
CLOSE = {"rtol": 1e-10, "atol": 1e-10}
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed=0, **sizes):
    """G, g, x, w_c and a waveform of Gaussian entries by name, and the support of x."""
    size = {"users": USERS, "voxels": VOXELS, "samples": SAMPLES, "antennas": ANTENNAS} | sizes
    rng, lanes = np.random.default_rng(seed), size.get("lanes", LANES)
    shapes = {
        "bs_channel": (size["voxels"], size["antennas"]),
        "user_channel": (size["users"], size["voxels"]),
        "image": (size["voxels"],),
        "beam": (size["antennas"],),
        "transmit": (size["samples"], size["antennas"]),
        "received": (size["samples"], size["users"]),
    }
    return {n: torch.from_numpy(oracle.complex_normal(rng, lanes, *s)) for n, s in shapes.items()}


def rows(scene, *names):
    """The named fields of every lane as NumPy arrays."""
    return list(zip(*(scene[name].numpy() for name in names), strict=True))


def trace_of_inverse(matrix):
    everything = torch.ones(matrix.shape[:-1], dtype=torch.bool)
    return masked_bound(matrix, everything)


# --- signals ------------------------------------------------------------------------------------


def test_receive__is_the_sum_over_voxels():
    s = drawn()
    found = receive(s["user_channel"], s["image"], illuminate(s["bs_channel"], s["transmit"]))
    names = ("bs_channel", "user_channel", "image", "transmit")
    for row, lane in enumerate(rows(s, *names)):
        np.testing.assert_allclose(found[row], oracle.received(*lane), **CLOSE)


def test_data_gain__is_what_one_symbol_gives():
    s = drawn(1)
    names = ("user_channel", "image", "bs_channel", "beam")
    found = data_gain(*(s[name] for name in names))
    for row, (g, x, channel, beam) in enumerate(rows(s, *names)):
        np.testing.assert_allclose(found[row], oracle.gains(channel, g, x, beam), **CLOSE)


@pytest.mark.parametrize("users", [1, USERS])
def test_statistics__are_sums_over_samples_and_users(users):
    s = drawn(2, users=users)
    lit = illuminate(s["bs_channel"], s["transmit"])
    phi = information(lit, s["user_channel"])
    b = matched(lit, s["user_channel"], s["received"])
    for row, (g, y) in enumerate(rows(s, "user_channel", "received")):
        expected = oracle.statistics(lit[row].numpy(), g, y)
        np.testing.assert_allclose(phi[row], expected[0], **CLOSE)
        np.testing.assert_allclose(b[row], expected[1], **CLOSE)


def test_matched__least_squares_returns_the_image_where_there_is_no_noise():
    s = drawn(3, users=20, samples=40)
    lit = illuminate(s["bs_channel"], s["transmit"])
    y = receive(s["user_channel"], s["image"], lit)
    phi, b = information(lit, s["user_channel"]), matched(lit, s["user_channel"], y)
    torch.testing.assert_close(torch.linalg.solve(phi, b), s["image"], **CLOSE)


def test_expected_information__is_the_mean_over_waveforms():
    s = drawn(4, lanes=1, samples=40_000)
    root = drawn(5, lanes=1, samples=ANTENNAS)["transmit"]
    lit = illuminate(s["bs_channel"], s["transmit"] @ root.mT)  # E[tx tx^H] = root root^H
    gram = user_gram(s["user_channel"])
    mean = expected_information(s["bs_channel"], gram, root @ root.mH, 40_000)
    found = information(lit, s["user_channel"])
    assert (found - mean).abs().max() <= 0.03 * mean.abs().max()


def test_expected_information__is_exact_where_the_waveform_is_orthogonal():
    s = drawn(6, samples=ANTENNAS)
    turn = torch.arange(ANTENNAS, dtype=torch.float64)
    fourier = torch.polar(torch.ones(3, 3).double(), 2 * math.pi / 3 * turn[:, None] * turn)
    covariance = torch.eye(ANTENNAS, dtype=torch.complex128).expand(LANES, -1, -1)
    lit = illuminate(s["bs_channel"], fourier.expand(LANES, -1, -1))
    gram = user_gram(s["user_channel"])
    mean = expected_information(s["bs_channel"], gram, covariance, ANTENNAS)
    torch.testing.assert_close(information(lit, s["user_channel"]), mean, **CLOSE)


# --- identifiability ----------------------------------------------------------------------------


@pytest.mark.parametrize(("users", "voxels"), [(3, 8), (8, 8), (12, 8)])
def test_information__has_the_rank_of_the_users_where_the_beam_is_constant(users, voxels):
    s = drawn(7, users=users, voxels=voxels, samples=30)
    constant = s["transmit"][..., :1] * s["beam"][:, None]
    phi = information(illuminate(s["bs_channel"], constant), s["user_channel"])
    assert (torch.linalg.matrix_rank(phi, rtol=1e-9, hermitian=True) == min(users, voxels)).all()


def test_information__has_full_rank_where_every_sample_has_its_own_beam():
    s = drawn(7, users=3, voxels=8, antennas=4, samples=30)
    phi = information(illuminate(s["bs_channel"], s["transmit"]), s["user_channel"])
    assert (torch.linalg.matrix_rank(phi, rtol=1e-9, hermitian=True) == 8).all()


@given(SEEDS)
def test_statistics__do_not_depend_on_the_order_of_users_or_samples(seed):
    s = drawn(seed)
    rng = np.random.default_rng(seed)
    user, sample = rng.permutation(USERS), rng.permutation(SAMPLES)
    lit = illuminate(s["bs_channel"], s["transmit"])
    g, y = s["user_channel"], s["received"]
    shuffled = (lit[:, sample], g[:, user])
    torch.testing.assert_close(information(*shuffled), information(lit, g), **CLOSE)
    mixed = y[:, sample][:, :, user]
    torch.testing.assert_close(matched(*shuffled, mixed), matched(lit, g, y), **CLOSE)


@given(SEEDS, st.floats(1e-3, 1e3))
def test_information__scales_with_the_power(seed, scale):
    s = drawn(seed)
    lit, g = illuminate(s["bs_channel"], s["transmit"]), s["user_channel"]
    phi = information(lit, g)
    torch.testing.assert_close(information(scale * lit, g), scale**2 * phi, rtol=1e-12, atol=0)


@given(SEEDS)
def test_information__is_hermitian_and_falls_where_symbols_are_unknown(seed):
    s = drawn(seed)
    lit, g = illuminate(s["bs_channel"], s["transmit"]), s["user_channel"]
    known = information(lit, g)
    gain = data_gain(g, s["image"], s["bs_channel"], s["beam"])
    unknown = unknown_symbol_information(lit, g, gain)
    for phi in (known, unknown, known - unknown):
        torch.testing.assert_close(phi, phi.mH, **CLOSE)
        assert torch.linalg.eigvalsh(phi).min() >= -1e-9 * known.abs().max()


# --- bounds -------------------------------------------------------------------------------------


def frame(seed, *, occupied=3, **sizes):
    """A scene whose transmit is a probe plus QPSK data along the beam, x of a few voxels."""
    s = drawn(seed, **sizes)
    rng = np.random.default_rng(seed + 1)
    lanes, length = s["transmit"].shape[:2]
    quadrant = torch.from_numpy(rng.integers(4, size=(lanes, length)))
    symbol = torch.exp(1j * math.pi / 2 * (quadrant.double() + 0.5))
    s["transmit"] = s["transmit"] + symbol[..., None] * s["beam"][:, None]
    mask = torch.zeros(s["image"].shape, dtype=torch.bool)
    mask[:, :occupied] = True
    s["image"], s["support"] = torch.where(mask, s["image"], 0), mask
    s["lit"] = illuminate(s["bs_channel"], s["transmit"])
    s["gain"] = data_gain(s["user_channel"], s["image"], s["bs_channel"], s["beam"])
    return s


@pytest.mark.parametrize("occupied", [3, VOXELS])
def test_bounds__match_the_whole_fisher_matrix(occupied):
    s, noise = frame(8, occupied=occupied, samples=12), 0.3
    known = information(s["lit"], s["user_channel"]) / noise
    unknown = unknown_symbol_information(s["lit"], s["user_channel"], s["gain"]) / noise
    genie, blind = (masked_bound(m, s["support"]) for m in (known, unknown))
    names = ("lit", "user_channel", "gain", "support")
    for row, (lit, g, z, support) in enumerate(rows(s, *names)):
        matrix = oracle.fisher(lit, g, z, noise)
        np.testing.assert_allclose(
            genie[row], oracle.bound(matrix, support, VOXELS, nuisance=False), rtol=1e-10
        )
        np.testing.assert_allclose(
            blind[row], oracle.bound(matrix, support, VOXELS, nuisance=True), rtol=1e-10
        )
    assert (genie < blind).all()


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
def test_unknown_symbols__hide_a_target_of_one_voxel(dtype):
    s = frame(9, occupied=1)
    lit, g, z = (s[name].to(dtype) for name in ("lit", "user_channel", "gain"))
    bound = masked_bound(unknown_symbol_information(lit, g, z), s["support"])
    assert torch.isinf(bound).all()
    assert (bound > 0).all()
    assert torch.isfinite(masked_bound(information(lit, g), s["support"])).all()


def test_unknown_symbols__cost_nothing_where_no_data_is_received():
    s = drawn(10)
    lit, g = illuminate(s["bs_channel"], s["transmit"]), s["user_channel"]
    silent = torch.zeros(LANES, USERS, dtype=torch.complex128)
    found = unknown_symbol_information(lit, g, silent)
    torch.testing.assert_close(found, information(lit, g), rtol=0, atol=0)


@given(SEEDS, st.floats(-8, 8))
def test_masked_bound__is_the_trace_of_the_inverse_in_any_unit(seed, exponent):
    s = drawn(seed, users=9, samples=20)
    phi = information(illuminate(s["bs_channel"], s["transmit"]), s["user_channel"])
    mask = torch.from_numpy(np.random.default_rng(seed).random((LANES, VOXELS)) < 0.6)
    scale = 10.0**exponent
    found = masked_bound(scale * phi, mask)
    for row in range(LANES):
        keep = mask[row].numpy()
        part = phi[row].numpy()[np.ix_(keep, keep)]
        np.testing.assert_allclose(
            scale * found[row], np.trace(np.linalg.inv(part)).real, rtol=1e-9
        )


def test_masked_bound__grows_with_what_is_unknown():
    s = drawn(11, users=9, samples=20)
    phi = information(illuminate(s["bs_channel"], s["transmit"]), s["user_channel"])
    index, last = torch.arange(VOXELS), torch.zeros(LANES, dtype=torch.float64)
    for count in range(1, VOXELS + 1):
        bound = masked_bound(phi, (index < count).expand(LANES, -1))
        assert (bound > last).all()
        last = bound


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
@pytest.mark.parametrize(
    "matrix",
    [
        torch.zeros(2, 2),
        torch.ones(2, 2),
        torch.diag(torch.tensor([1.0, 0.0])),
        torch.diag(torch.tensor([1.0, -1.0])),
        torch.tensor([[1.0, 2.0], [2.0, 1.0]]),
        torch.full((2, 2), torch.nan),
    ],
    ids=["zero", "rank 1", "blind voxel", "negative", "indefinite", "nan"],
)
def test_masked_bound__is_infinite_where_the_information_is_singular(matrix, dtype):
    good = torch.eye(2, dtype=dtype)
    found = trace_of_inverse(torch.stack([matrix.to(dtype), good]))
    assert found[0] == torch.inf
    torch.testing.assert_close(found[1], torch.tensor(2.0, dtype=found.dtype))


def test_masked_bound__ignores_singular_parts_off_the_mask():
    matrix = torch.diag(torch.tensor([4.0, 0.0])).to(torch.complex128)[None]
    found = masked_bound(matrix, torch.tensor([[True, False]]))
    torch.testing.assert_close(found, torch.tensor([0.25], dtype=torch.float64))
    nothing = masked_bound(matrix, torch.tensor([[False, False]]))
    assert nothing.item() == 0


def _oracle_least_squares(*, real):
    """Mean squared error of least squares on the support over 400 noises, and the bound."""
    s, noise, lanes = frame(12, lanes=1, users=30, antennas=8, samples=60), 0.5, 400
    support = s["support"][0]
    s["image"] = s["image"].abs().to(torch.complex128) if real else s["image"]
    lit, g = (s[name].expand(lanes, -1, -1) for name in ("lit", "user_channel"))
    rng = np.random.default_rng(13)
    disturbed = noise**0.5 * torch.from_numpy(oracle.complex_normal(rng, lanes, 60, 30))
    y = receive(g, s["image"].expand(lanes, -1), lit) + disturbed
    phi, b = information(lit, g), matched(lit, g, y)
    part, rhs = phi[:, support][:, :, support], b[:, support]
    if real:
        part, rhs = part.real, rhs.real
    estimate = torch.linalg.solve(part, rhs)
    error = (estimate - s["image"][:, support]).abs().square().sum(-1).mean()
    return float(error), float(masked_bound(phi[:1] / noise, s["support"]))


def test_genie_bound__is_met_by_least_squares_on_the_support():
    error, bound = _oracle_least_squares(real=False)
    assert 0.93 <= error / bound <= 1.07


def test_genie_bound__is_halved_by_who_knows_that_the_image_is_real():
    error, bound = _oracle_least_squares(real=True)
    assert 0.45 <= error / bound <= 0.55


# --- precision ----------------------------------------------------------------------------------


def test_physics__keeps_single_precision():
    s = frame(14)
    lit, g, z = (s[name].to(torch.complex64) for name in ("lit", "user_channel", "gain"))
    y = s["received"].to(torch.complex64)
    single = (information(lit, g), unknown_symbol_information(lit, g, z), matched(lit, g, y))
    double = (
        information(s["lit"], s["user_channel"]),
        unknown_symbol_information(s["lit"], s["user_channel"], s["gain"]),
        matched(s["lit"], s["user_channel"], s["received"]),
    )
    for low, high in zip(single, double, strict=True):
        assert low.dtype == torch.complex64
        torch.testing.assert_close(low.to(high.dtype), high, rtol=1e-4, atol=1e-3)
    assert masked_bound(single[0], s["support"]).dtype == torch.float32
