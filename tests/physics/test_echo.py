"""Echoes: slopes, Fisher information and bounds against differences, likelihoods, waveforms."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.physics.echo import (
    ARRAYS,
    echo_derivatives,
    element_positions,
    fisher_informations,
    paper_bound,
    response,
)
from tests.oracles import ota_feel as oracle

STEP = {name: 5e-5 if name == "literal" else 1e-2 for name in ARRAYS}  # literal turns fast


def scene(seed=1, *, devices=4, elements=4, array="upa", exponent=1.0, noise=1e-4):
    """Devices of the paper's ring in front of a target."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(-0.17, 0.17, devices + 1), rng.uniform(50, 90, devices + 1)
    radius[-1] = 104.0
    place = np.stack([radius * np.cos(angle), radius * np.sin(angle), 1.5 + 0 * angle], -1)
    place[-1, 2] = 2.6
    spread = rng.uniform(0.5, 2, devices)
    return oracle.Scene(
        place[:-1],
        place[-1],
        elements,
        array=array,
        gain=1.3,
        exponent=exponent,
        noise=noise * spread,
        length=32,
    )


def precoders(seed, devices=4, elements=4, streams=2):
    raw = oracle.complex_normal(np.random.default_rng(seed), devices, elements, streams)
    return raw / np.linalg.norm(raw, axis=(1, 2), keepdims=True)


def lane(x):
    return torch.as_tensor(np.asarray(x))[None]


def settings(s):
    return {
        "array": s.array,
        "num_elements": s.num_elements,
        "gain": s.gain,
        "exponent": s.exponent,
        "wavelength_m": s.wavelength,
    }


def respond(s):
    return response(lane(s.device), lane(s.target), **settings(s))


def information(s, precoder, *, interference=False):
    both = fisher_informations(*respond(s), lane(precoder), lane(s.noise), frame_length=s.length)
    return both[int(interference)][0].numpy()


# --- responses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("count", [4, 6])
def test_elements__are_where_they_should_be(array, count):
    np.testing.assert_allclose(element_positions(array, count), oracle.elements(array, count))


@pytest.mark.parametrize("exponent", [1.0, 2.0])
@pytest.mark.parametrize("array", ARRAYS)
def test_response__and_its_slopes_by_central_differences(array, exponent):
    s = scene(array=array, exponent=exponent)
    a, slope = respond(s)
    np.testing.assert_allclose(a[0], oracle.responses(s, s.target), rtol=1e-11)
    expected = oracle.slopes(lambda v: oracle.responses(s, v), s.target, STEP[array])
    for k in range(4):
        wanted = expected[:, k].T
        np.testing.assert_allclose(slope[0, k], wanted, rtol=2e-9, atol=2e-9 * abs(wanted).max())


def test_response__literal_turns_by_the_height_only():
    s = scene(array="literal")
    moved = dataclasses.replace(s, target=s.target + np.array([3.0, -2.0, 0.0]))
    for one, other in zip(respond(s)[0][0], respond(moved)[0][0], strict=True):
        np.testing.assert_allclose(other / other[0], one / one[0], rtol=1e-9)


def test_response__radar_law_of_the_echo():
    """Echo power falls as r^-4 with the exponent 1, as r^-8 with the one printed in (9)."""
    for exponent, power in ((1.0, 4), (2.0, 8)):
        s = scene(exponent=exponent)
        far = dataclasses.replace(s, target=s.device[0] + 2 * (s.target - s.device[0]))
        near = np.linalg.norm(respond(s)[0][0, 0]) ** 4
        ratio = near / np.linalg.norm(respond(far)[0][0, 0]) ** 4
        assert ratio == pytest.approx(2.0**power, rel=1e-10)


# --- Fisher information -------------------------------------------------------------------------


@pytest.mark.parametrize("interference", [False, True])
@pytest.mark.parametrize("array", ARRAYS)
def test_information__explicit_inverse_and_differences_of_the_mean(array, interference):
    for seed in (1, 2):
        s, c = scene(seed, array=array), precoders(seed)
        mine = information(s, c, interference=interference)
        expected = oracle.fisher(s, c, disturbed=interference, step=STEP[array])
        np.testing.assert_allclose(mine, expected, rtol=1e-8, atol=1e-8 * abs(expected).max())
        np.testing.assert_allclose(mine, mine.T, rtol=1e-12, atol=1e-12 * abs(mine).max())


@pytest.mark.parametrize("array", ARRAYS)
def test_information__is_that_of_autograd(array):
    """2 Re of the mean's Jacobian, taken by torch through a mean written anew here."""
    s, c = scene(3, array=array), precoders(3)
    elements = torch.as_tensor(oracle.elements(array, 4))

    def mean(v):
        offset = v - torch.as_tensor(s.device)
        r = offset.norm(dim=-1, keepdim=True)
        path = offset / r @ elements.T
        if array == "literal":
            path = offset[:, 2:] * torch.arange(4) / s.wavelength
        a = s.gain * r**-s.exponent * torch.exp(-2j * math.pi * path)
        sent = torch.einsum("km,kmr->kr", a, torch.as_tensor(c))
        scale = torch.as_tensor(s.length / s.noise).sqrt()
        return torch.view_as_real(scale[:, None, None] * a[:, :, None] * sent[:, None])

    jacobian = torch.autograd.functional.jacobian(mean, torch.as_tensor(s.target)).flatten(0, -2)
    expected = 2 * jacobian.T @ jacobian
    np.testing.assert_allclose(
        information(s, c), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max())
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_information__is_the_mean_square_of_the_score(seed):
    """Drawn statistics and their likelihood: 40,000 scores, entries within 4 standard errors."""
    s, c = scene(seed), precoders(seed)
    mine = information(s, c)
    drawn = oracle.score_information(np.random.default_rng(seed), s, c, samples=40_000)
    scale = np.sqrt(np.diag(mine))
    error = (drawn - mine) / np.outer(scale, scale)
    assert abs(error).max() < 4 * math.sqrt(2 / 40_000)
    # the paper's (22), without the factor 2, is rejected
    assert abs((drawn - mine / 2) / np.outer(scale, scale)).max() > 0.4


@pytest.mark.parametrize("kind", ["none", "dft"])
def test_interference__is_the_covariance_of_the_matched_echoes(kind):
    """White symbols, whole waveforms: R_k is exact for each device, with pulses or without."""
    s = scene(5, devices=3, noise=1e-6)
    s, c = dataclasses.replace(s, length=8), precoders(5, 3)
    pulse = oracle.pulses(kind, 3, 8)
    heard = oracle.matched_echoes(np.random.default_rng(5), s, c, pulse, frames=3000)
    expected = oracle.covariances(s, c)
    assert (np.linalg.eigvalsh(expected)[:, -1] > 2).all()  # echoes matter here
    for k in range(3):
        for stream in range(2):
            y = heard[:, k, :, stream]
            found = y.T @ y.conj() / len(y)
            size = np.linalg.eigvalsh(expected[k])[-1]
            assert abs(found - expected[k]).max() < 5 * size / len(y) ** 0.5
            assert abs(y.mean(0)).max() < 5 * (size / len(y)) ** 0.5
        across = heard[:, k, :, 0].T @ heard[:, k, :, 1].conj() / len(heard)
        assert abs(across).max() < 5 * np.linalg.eigvalsh(expected[k])[-1] / len(heard) ** 0.5


@given(st.integers(0, 10**6), st.sampled_from(ARRAYS), st.floats(-8, 0))
def test_interference__only_takes_information(seed, array, log_noise):
    s, c = scene(seed, array=array, noise=10**log_noise), precoders(seed)
    ideal, disturbed = information(s, c), information(s, c, interference=True)
    size = np.linalg.eigvalsh(ideal)[-1]
    assert np.linalg.eigvalsh(ideal - disturbed)[0] > -1e-12 * size
    assert np.linalg.eigvalsh(disturbed)[0] > -1e-12 * size


def test_interference__a_lone_device_has_none():
    s, c = scene(devices=1), precoders(1, 1)
    np.testing.assert_array_equal(information(s, c), information(s, c, interference=True))


def test_interference__takes_the_range_and_leaves_the_angle():
    """Noise from the target's direction: with less thermal noise, the part along a is lost."""
    s, c = scene(devices=2, noise=1e-12), precoders(2, 2)
    a, slope = (t[0].numpy() for t in respond(s))
    d = echo_derivatives(lane(a), lane(slope), lane(c))[0].numpy()
    expected = np.zeros((3, 3))
    for k in range(2):
        unit = a[k] / np.linalg.norm(a[k])
        left = np.eye(4) - np.outer(unit, unit.conj())
        scale = 2 * s.length / s.noise[k]
        expected += scale * np.einsum("imr,mn,jnr->ij", d[k].conj(), left, d[k]).real
    mine = information(s, c, interference=True)
    np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


@given(st.integers(0, 10**6), st.booleans())
def test_information__does_not_depend_on_the_basis_or_the_order(seed, interference):
    rng = np.random.default_rng(seed)
    s, c = scene(seed), precoders(seed)
    mine = information(s, c, interference=interference)
    turn = np.linalg.qr(oracle.complex_normal(rng, 2, 2))[0]
    order = rng.permutation(4)
    mixed = dataclasses.replace(s, device=s.device[order], noise=s.noise[order])
    close = {"rtol": 1e-9, "atol": 1e-9 * abs(mine).max()}
    turned = information(s, c @ turn, interference=interference)
    np.testing.assert_allclose(turned, mine, **close)
    moved = information(mixed, c[order], interference=interference)
    np.testing.assert_allclose(moved, mine, **close)


def test_information__grows_with_the_frame():
    s, c = scene(), precoders(1)
    for interference in (False, True):
        once = information(s, c, interference=interference)
        longer = dataclasses.replace(s, length=4 * s.length)
        np.testing.assert_allclose(
            information(longer, c, interference=interference), 4 * once, rtol=1e-12
        )


@pytest.mark.parametrize(
    ("array", "rank"), [("vertical", 2), ("horizontal", 2), ("literal", 2), ("upa", 3)]
)
def test_information__rank_of_a_lone_device(array, rank):
    """A line array leaves the turn around its axis open: two of three."""
    for seed in range(4):
        s = scene(seed, devices=1, array=array)
        value = np.linalg.eigvalsh(information(s, precoders(seed, 1)))
        assert value[1] > 0
        assert (abs(value[0]) < 1e-12 * value[2]) == (rank == 2)
        if array == "upa":
            assert value[0] > 1e-3 * value[2]


def test_information__two_columns_are_the_well_conditioned_array():
    """Median condition number of J: upa least, literal beyond 1e5."""
    median = {}
    for array in ARRAYS:
        found = [
            np.linalg.cond(information(scene(x, devices=15, array=array), precoders(x, 15)))
            for x in range(8)
        ]
        median[array] = np.median(found)
    assert median["upa"] < 50
    assert median["upa"] < median["vertical"] < median["horizontal"] < median["literal"]
    assert median["literal"] > 1e5


def test_information__silence_has_none():
    s = scene()
    for interference in (False, True):
        assert not information(s, 0 * precoders(1), interference=interference).any()


# --- the paper's bound --------------------------------------------------------------------------


def loose(s, c, radius=5.0):
    return float(
        paper_bound(
            lane(s.device),
            lane(c),
            lane(s.noise),
            frame_length=s.length,
            gain=s.gain,
            exponent=s.exponent,
            min_distance_m=radius,
            array=s.array,
            wavelength_m=s.wavelength,
        )[0]
    )


@pytest.mark.parametrize("exponent", [1.0, 2.0])
@pytest.mark.parametrize("array", ARRAYS)
def test_paper_bound__holds_and_is_useless(array, exponent):
    for seed in range(6):
        s, c = scene(seed, devices=5, array=array, exponent=exponent), precoders(seed, 5)
        power = float(np.sum(np.abs(c) ** 2))
        most = 2 * oracle.largest_slope(s, 5.0) * s.length * np.sum(1 / s.noise) * power
        assert loose(s, c) == pytest.approx(9 / most, rel=1e-12)
        crb = np.trace(np.linalg.inv(information(s, c)))
        assert loose(s, c) < crb / 1e4


@pytest.mark.parametrize("array", ["vertical", "upa", "horizontal"])
def test_paper_bound__limits_the_trace_even_at_its_radius(array):
    """A target 5 m away in the plane where the array sees most: 9 / tr J is still above it."""
    for axis in np.eye(3):
        s = scene(2, devices=1, array=array)
        s = dataclasses.replace(s, target=s.device[0] + 5 * axis)
        c = precoders(2, 1)
        assert loose(s, c) <= 9 / np.trace(information(s, c))


def test_paper_bound__sees_the_total_power_only():
    s, c = scene(), precoders(1)
    shift = c.copy()
    shift[0], shift[1] = 1.2 * c[0], math.sqrt(2 - 1.44) * c[1]
    assert loose(s, np.roll(shift, 1, 1)) == pytest.approx(loose(s, c), rel=1e-12)
    assert loose(s, 2 * c) == pytest.approx(loose(s, c) / 4, rel=1e-12)
