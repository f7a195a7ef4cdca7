"""Radar equation and range accuracy against scalar formulas and against each other."""

import math

import numpy as np
import pytest
import torch

from isac_gym.physics.radar import bistatic_gain, range_accuracy, range_crb
from tests.oracles import power_control_physics as oracle


def test_bistatic_gain__matches_scalar_loops():
    rng = np.random.default_rng(0)
    bs, target = rng.normal(size=(3, 3)) * 80, rng.normal(size=3) * 30
    wavelength_m = oracle.wavelength(3.5e9)
    wanted = oracle.echo_gains(bs, bs, target, wavelength_m)
    length = torch.tensor([[oracle.distance(b, target) for b in bs]], dtype=torch.float64)
    found = bistatic_gain(length, length, wavelength_m=wavelength_m, rcs_m2=10.0, exponent=2.0)
    assert np.allclose(found[0], wanted, rtol=1e-13)
    assert torch.equal(found, found.mT)


def test_range_accuracy__matches_the_paper_and_is_1814_crbs():
    sinr = torch.logspace(-4, 3, 8, dtype=torch.float64)
    found = range_accuracy(sinr, 100e6, gain=4.0)
    assert np.allclose(found, oracle.range_std(sinr.numpy(), np.full(8, 100e6), 4.0), rtol=1e-14)
    bound = range_crb(sinr, 100e6, gain=4.0)
    assert np.allclose(
        bound, oracle.range_crb_std(sinr.numpy(), np.full(8, 100e6), 4.0), rtol=1e-14
    )
    assert (found / bound).tolist() == pytest.approx([2 * math.pi / math.sqrt(12)] * 8)


def test_range_accuracy__silence_gives_no_measurement():
    assert range_accuracy(torch.zeros(1), 1e8).item() == math.inf


def test_bistatic_gain__known_value_and_exponent():
    # 3.5 GHz, 10 dBsm, 100 m both ways: -124.3 dB
    wavelength_m, length = oracle.wavelength(3.5e9), torch.tensor([[100.0, 200.0]]).double()
    gain = bistatic_gain(length, length, wavelength_m=wavelength_m, rcs_m2=10.0, exponent=2.0)
    assert 10 * math.log10(gain[0, 0, 0].item()) == pytest.approx(-124.3, abs=0.1)
    steep = bistatic_gain(length, length, wavelength_m=wavelength_m, rcs_m2=10.0, exponent=2.3)
    assert (steep[0, 0, 0] / steep[0, 1, 0]).item() == pytest.approx(2**2.3, rel=1e-12)


def test_range_accuracy__known_value():
    # c / (2 * 100 MHz * sqrt(2 * 10)) = 0.335 m
    found = range_accuracy(torch.tensor([10.0, torch.inf]).double(), 100e6)
    assert found.tolist() == [pytest.approx(0.33518, abs=1e-5), 0.0]


def test_range_crb__is_the_fisher_information_of_flat_tones():
    # equal tones over B, complex amplitude unknown: information 2 snr sum (2 pi (f - mean f))^2
    tones, bandwidth, snr = 2048, 1e8, 0.3
    frequency = (np.arange(tones) - (tones - 1) / 2) * bandwidth / tones
    information = 2 * snr * ((2 * np.pi * frequency) ** 2).sum()
    wanted = oracle.SPEED_OF_LIGHT / 2 / math.sqrt(information)
    found = range_crb(torch.tensor([snr], dtype=torch.float64), bandwidth, gain=tones)
    assert found.item() == pytest.approx(wanted, rel=1e-6)
