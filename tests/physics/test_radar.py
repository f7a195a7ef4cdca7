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
