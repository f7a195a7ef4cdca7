"""Channels against scalar re-derivations and their own statistics."""

import numpy as np
import pytest
import torch

from isac_gym.core.random import Streams
from isac_gym.physics.channels import ar1_step, close_in_gain, distance, rician_amplitudes
from tests.oracles import dynamics
from tests.oracles import power_control_physics as oracle

WAVELENGTH_M = oracle.wavelength(3.5e9)


def test_distance__pairs_and_clamp():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 3, 3)) * 50, rng.normal(size=(2, 4, 3)) * 50
    second[0, 0] = first[0, 0]
    found = distance(torch.as_tensor(first), torch.as_tensor(second), minimum_m=1.0)
    wanted = [[[oracle.distance(p, q, 1.0) for q in second[b]] for p in first[b]] for b in (0, 1)]
    assert np.allclose(found, wanted, rtol=1e-14)
    assert found[0, 0, 0] == 1.0


def test_rician__matches_scalar_derivation():
    rng = np.random.default_rng(1)
    length = rng.uniform(1, 300, 50)
    w = rng.normal(size=50) + 1j * rng.normal(size=50)
    gain = close_in_gain(torch.as_tensor(length), wavelength_m=WAVELENGTH_M, exponent=2.5)
    los, scatter = rician_amplitudes(
        torch.as_tensor(length), gain, wavelength_m=WAVELENGTH_M, k_factor=10.0
    )
    power = (los + scatter * torch.as_tensor(w)).abs().square()
    wanted = [oracle.rician_gain(d, x, WAVELENGTH_M) for d, x in zip(length, w, strict=True)]
    assert np.allclose(power, wanted, rtol=1e-10)


@pytest.mark.parametrize("k_factor", [0.0, 1.0, 10.0])
def test_rician__mean_power_is_the_path_gain(k_factor):
    w = Streams.from_seed(3, 200_000).complex_normal("w", 1)[:, 0]
    gain = torch.tensor(2e-9, dtype=torch.float64)
    los, scatter = rician_amplitudes(
        torch.tensor(77.7, dtype=torch.float64), gain, wavelength_m=0.0857, k_factor=k_factor
    )
    assert (los + scatter * w).abs().square().mean().item() == pytest.approx(2e-9, rel=0.01)


@pytest.mark.parametrize("rho", [0.99, 0.95, 0.8])
def test_ar1__is_stationary_with_the_stated_correlation(rho):
    streams = Streams.from_seed(5, 4000)
    series = [streams.complex_normal("start", 1)[:, 0]]
    for step in range(1, 40):
        innovation = streams.at_step(step).complex_normal("w", 1)[:, 0]
        series.append(ar1_step(series[-1], innovation, correlation=rho))
    walk = torch.stack(series)  # (L, B)
    assert walk.abs().square().mean().item() == pytest.approx(1, abs=0.05)
    found = (walk[1:] * walk[:-1].conj()).mean().real.item()
    assert found == pytest.approx(rho, abs=0.05)
    first, second = complex(walk[0, 0]), complex(streams.at_step(1).complex_normal("w", 1)[0, 0])
    assert complex(walk[1, 0]) == pytest.approx(dynamics.ar1_step(first, second, rho), rel=1e-12)


def test_close_in_gain__is_friis_in_free_space():
    gain = close_in_gain(torch.tensor([250.0]).double(), wavelength_m=0.1, exponent=2.0)
    assert gain.item() == pytest.approx((0.1 / (4 * np.pi * 250)) ** 2, rel=1e-13)


@pytest.mark.parametrize("k_factor", [0.0, 1.0, 10.0])
def test_rician__spread_is_that_of_the_k_factor(k_factor):
    # var |h|^2 / (E |h|^2)^2 = (2 K + 1) / (K + 1)^2
    w = Streams.from_seed(1, 60_000).complex_normal("w", 1)[:, 0]
    one = torch.tensor(1.0, dtype=torch.float64)
    los, scatter = rician_amplitudes(31.4 * one, one, wavelength_m=0.0857, k_factor=k_factor)
    spread = (los + scatter * w).abs().square().std().item()
    assert spread == pytest.approx(np.sqrt(2 * k_factor + 1) / (k_factor + 1), rel=0.03)


def test_rician__phase_turns_backwards_with_distance():
    length = torch.tensor([5.0, 5.0 + 0.25 * 0.08, 5.0 + 0.08], dtype=torch.float64)
    los, _ = rician_amplitudes(length, torch.ones(3).double(), wavelength_m=0.08, k_factor=1e9)
    turn = (los[1:] / los[:1]).angle().tolist()
    assert turn == pytest.approx([-np.pi / 2, 0], abs=1e-9)
