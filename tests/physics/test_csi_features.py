"""Features of CSI against loops over packets and subcarriers, and what must not matter to them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.physics.csi_features import (
    Standard,
    calibrated_features,
    spectrum_features,
    window_features,
)
from tests.oracles import subcarrier as oracle

PACKETS, LINKS, TONES = 7, 2, 5
seeds = st.integers(0, 2**32 - 1)


def complex_of(rng, *shape):
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def windows(seed=0, count=3, packets=PACKETS):
    """Windows (N, T, P, K) around an empty room (P, K)."""
    rng = np.random.default_rng(seed)
    empty = complex_of(rng, LINKS, TONES)
    rest = 0.3 * complex_of(rng, count, packets, LINKS, TONES)
    gain = np.exp(0.1 * complex_of(rng, count, packets, LINKS, 1))
    return (empty + rest) * gain, empty


def loops(function, csi, *args):
    return np.stack([function(one, *args) for one in csi])


# --- against loops ------------------------------------------------------------------------------


@given(seed=seeds)
def test_window__equals_a_loop(seed):
    csi, _ = windows(seed)
    assert np.allclose(window_features(torch.tensor(csi)), loops(oracle.window, csi), rtol=1e-9)


@given(seed=seeds)
def test_calibrated__equals_a_loop(seed):
    csi, empty = windows(seed)
    found = calibrated_features(torch.tensor(csi), torch.tensor(empty)[None, None])
    assert np.allclose(found, loops(oracle.calibrated, csi, empty), rtol=1e-8, atol=1e-8)


def test_spectrum__equals_a_loop():
    csi, _ = windows(4, packets=20)
    f = np.linspace(0.15, 0.6, 6)
    found = spectrum_features(torch.tensor(csi), packet_rate_hz=4.0, frequency_hz=torch.tensor(f))
    assert np.allclose(found, loops(oracle.spectrum, csi, 4.0, f), rtol=1e-9, atol=1e-12)


@given(seed=seeds, scale=st.floats(0, 1e3))
def test_standard__equals_a_loop(seed, scale):
    rng = np.random.default_rng(seed)
    train = rng.normal(size=(9, 3, 2)) * [scale, 1.0] + 50
    train[:, 0, 1] = 7.0  # a constant feature
    other = rng.normal(size=(4, 3, 2)) * 5 + 50
    found = Standard(torch.tensor(train)[None])(torch.tensor(other)[None])[0]
    assert np.allclose(found, oracle.standardised(other, train), rtol=1e-6, atol=1e-6)
    assert found.abs().max() <= 5


def test_standard__leaves_mean_0_and_deviation_1():
    train = torch.tensor(np.random.default_rng(2).uniform(3, 9, (2, 50, 4, 3)))
    found = Standard(train)(train)
    assert torch.allclose(found.mean(1), torch.zeros(()).double(), atol=1e-12)
    assert torch.allclose(found.std(1, correction=0), torch.ones(()).double(), rtol=1e-12)


# --- what must not matter -----------------------------------------------------------------------


def test_window__phases_do_not_matter():
    csi, _ = windows()
    found = window_features(torch.tensor(csi))
    assert torch.allclose(found, window_features(torch.tensor(abs(csi))), rtol=1e-12)
    turned = csi * np.exp(2j * np.pi * np.random.default_rng(1).uniform(size=csi.shape))
    assert torch.allclose(found, window_features(torch.tensor(turned)), rtol=1e-9)


@given(seed=seeds)
def test_calibrated__gains_of_packets_and_links_do_not_matter(seed):
    csi, empty = windows(seed)
    rng = np.random.default_rng(seed)
    gain = complex_of(rng, *csi.shape[:3], 1)
    e = torch.tensor(empty)[None, None]
    before, after = (calibrated_features(torch.tensor(x), e) for x in (csi, csi * gain))
    assert torch.allclose(before, after, rtol=1e-7, atol=1e-7)


def test_calibrated__the_unit_of_the_channel_does_not_matter():
    csi, empty = windows()
    before, after = (
        calibrated_features(torch.tensor(csi * k), torch.tensor(empty * k)[None, None])
        for k in (1.0, 1e-6)
    )
    assert torch.allclose(before, after, rtol=1e-9, atol=1e-9)


def test_calibrated__the_empty_room_is_at_the_floor():
    csi, empty = windows(packets=4)
    still = np.broadcast_to(empty, csi.shape).copy()
    found = calibrated_features(torch.tensor(still), torch.tensor(empty)[None, None])
    assert torch.allclose(found[..., :2], torch.tensor(-60.0).double(), atol=1e-6)


def test_calibrated__a_link_sees_nothing_of_another():
    csi, empty = windows()
    e = torch.tensor(empty)[None, None]
    before = calibrated_features(torch.tensor(csi), e)
    csi[:, :, 1] *= 1 + 0.5 * complex_of(np.random.default_rng(3), *csi[:, :, 1].shape)
    after = calibrated_features(torch.tensor(csi), e)
    assert torch.equal(before[:, :TONES], after[:, :TONES])
    assert not torch.allclose(before[:, TONES:], after[:, TONES:])


@pytest.mark.parametrize("what", ["silent", "constant"])
def test_features__are_finite_without_any_signal_or_fluctuation(what):
    csi, empty = windows()
    csi = np.zeros_like(csi) if what == "silent" else np.ones_like(csi)
    x = torch.tensor(csi)
    assert window_features(x).isfinite().all()
    assert calibrated_features(x, torch.tensor(empty)[None, None]).isfinite().all()
    f = torch.linspace(0.15, 0.6, 6).double()
    shares = spectrum_features(x, packet_rate_hz=4.0, frequency_hz=f)
    assert torch.allclose(shares, torch.tensor(1 / 6).double())


def test_calibrated__is_finite_where_the_empty_room_is_silent():
    """A link that was never heard, in recorded data."""
    csi, empty = windows()
    empty[1] = 0
    found = calibrated_features(torch.tensor(csi), torch.tensor(empty)[None, None])
    assert found.isfinite().all()


# --- breathing ----------------------------------------------------------------------------------


@given(rate=st.floats(0.2, 0.5), phase=st.floats(0, 6.2))
def test_spectrum__of_one_breathing_tone_peaks_at_its_rate(rate, phase):
    """64 packets at 4 Hz resolve 1/16 Hz; without noise the peak lies within a quarter of that."""
    t = np.arange(64) / 4.0
    csi = np.exp(0.05 * np.sin(2 * math.pi * rate * t + phase))[:, None, None] * np.ones((1, 1, 2))
    f = torch.linspace(0.15, 0.6, 181).double()
    shares = spectrum_features(torch.tensor(csi), packet_rate_hz=4.0, frequency_hz=f)
    assert torch.allclose(shares.sum(-1), torch.ones(2).double())
    assert abs(float(f[shares[0].argmax()]) - rate) < 1 / 64


def test_window__padding_does_not_count():
    generator = torch.Generator().manual_seed(3)
    csi = torch.randn(4, 9, 2, 3, dtype=torch.complex128, generator=generator)
    received = torch.ones(4, 9, dtype=torch.bool)
    for n in range(4):
        received[n, :n] = False
    padded = torch.where(received[..., None, None], csi, 0)
    found = window_features(padded, received=received)
    for n in range(4):
        torch.testing.assert_close(found[n], window_features(csi[n, n:]), rtol=1e-12, atol=1e-12)
    everything = window_features(csi, received=torch.ones(4, 9, dtype=torch.bool))
    torch.testing.assert_close(everything, window_features(csi), rtol=1e-12, atol=1e-12)
