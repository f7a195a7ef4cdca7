"""Peaks of periodograms and rates of selections."""

import math

import numpy as np
import pytest
import torch

from isac_gym.core import Streams
from isac_gym.physics.breathing import breathing_rates, peak_frequency, peakiness, rate_errors
from isac_gym.physics.csi_features import spectrum_features
from tests.oracles import subcarrier_breathing as oracle

GRID = torch.linspace(0.15, 0.6, 24, dtype=torch.float64)
BIN_HZ = 0.45 / 23
SPECTRUM = Streams.from_seed(0, 2).uniform("spectrum", 5, 6, 24)
RATE = 0.2 + 0.3 * Streams.from_seed(0, 2).uniform("rate", 5)
MASK = Streams.from_seed(0, 2).uniform("mask", 7, 6) < 0.5


@pytest.mark.parametrize("rate_hz", [0.2, 0.2371, 0.3, 0.3456, 0.41, 0.5])
@pytest.mark.parametrize("phase", [0.0, 1.0, 2.5])
def test_rate__of_a_noiseless_tone_within_a_quarter_of_a_bin(rate_hz, phase):
    time = torch.arange(64, dtype=torch.float64) / 4
    level_db = 3 * torch.sin(2 * math.pi * rate_hz * time + phase)
    csi = torch.pow(10.0, level_db / 20)[:, None, None]
    spectrum = spectrum_features(csi, packet_rate_hz=4.0, frequency_hz=GRID)
    assert spectrum.shape == (1, 24)
    found = float(peak_frequency(spectrum, GRID)[0])
    assert abs(found - rate_hz) <= BIN_HZ / 4
    by_loops = oracle.periodogram(level_db.numpy(), 4.0, GRID.numpy())
    np.testing.assert_allclose(spectrum[0].numpy(), by_loops, rtol=1e-9, atol=1e-12)


def test_peak__equals_the_fitted_parabola():
    found = peak_frequency(SPECTRUM, GRID)
    for index in np.ndindex(2, 5, 6):
        wanted = oracle.peak(SPECTRUM[index].numpy(), GRID.numpy())
        assert abs(float(found[index]) - wanted) <= 1e-9


@pytest.mark.parametrize(
    ("power", "wanted"),
    [
        ([3.0, 2.0, 1.0, 0.0], 0.1),  # at the lower end
        ([0.0, 1.0, 2.0, 3.0], 0.4),  # at the upper end
        ([1.0, 1.0, 1.0, 1.0], 0.1),  # flat: the first
        ([0.0, 0.0, 0.0, 0.0], 0.1),  # nothing selected
        ([0.0, 1.0, 1.0, 0.0], 0.25),  # between two equal ones
        ([0.0, 1.0, 0.0, 0.0], 0.2),
    ],
)
def test_peak__of_special_spectra(power, wanted):
    grid = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    found = peak_frequency(torch.tensor(power, dtype=torch.float64), grid)
    assert abs(float(found) - wanted) <= 1e-12


def test_rates__are_those_of_the_added_spectra():
    error = rate_errors(SPECTRUM, RATE, MASK.double(), GRID)
    for lane, number in np.ndindex(2, 7):
        spectrum, rate, mask = SPECTRUM[lane].numpy(), RATE[lane].numpy(), MASK[lane, number]
        wanted = oracle.mask_error(spectrum, rate, mask.tolist(), GRID.numpy())
        assert abs(float(error[lane, number]) - wanted) <= 1e-9


def test_rates__do_not_depend_on_the_scale_of_weights_nor_on_a_tone_twice():
    weight = MASK.double()
    found = breathing_rates(SPECTRUM, weight, GRID)
    torch.testing.assert_close(breathing_rates(SPECTRUM, 3 * weight, GRID), found)
    twice = torch.cat([SPECTRUM, SPECTRUM[:, :, :1]], 2)
    doubled = torch.cat([weight, weight[:, :, :1]], 2)
    single = torch.cat([weight, torch.zeros_like(weight[:, :, :1])], 2)
    single[:, :, 0] *= 2
    left, right = (breathing_rates(twice, w, GRID) for w in (doubled, single))
    torch.testing.assert_close(left, right)


def test_rates__chunk_by_chunk(monkeypatch):
    whole = breathing_rates(SPECTRUM, MASK.double(), GRID)
    monkeypatch.setattr("isac_gym.physics.breathing._CHUNK", 500)
    torch.testing.assert_close(breathing_rates(SPECTRUM, MASK.double(), GRID), whole)


def test_peakiness__is_one_for_a_line_and_least_for_a_flat_spectrum():
    line = torch.eye(24, dtype=torch.float64)[3]
    assert float(peakiness(line)) == 1
    assert float(peakiness(torch.full((24,), 1 / 24))) == pytest.approx(1 / 24)
