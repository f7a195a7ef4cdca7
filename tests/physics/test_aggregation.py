"""Aggregation error against every instant of a frame, transmitted waveforms and its floor."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.physics.aggregation import (
    PULSES,
    mmse_receivers,
    received_covariance,
    separation_floor,
    task_errors,
)
from tests.oracles import ota_feel as oracle


@dataclasses.dataclass(frozen=True)
class Case:
    """One lane for the oracle."""

    channel: np.ndarray
    precoder: np.ndarray
    weight: np.ndarray
    noise: float

    @property
    def gain(self):
        return torch.as_tensor(self.channel @ self.precoder)[None]

    def errors(self, pulse):
        return task_errors(self.gain, self.wanted, self.noise, pulse=pulse)[0].numpy()

    @property
    def wanted(self):
        return torch.as_tensor(self.weight)[None]

    def oracle(self, kind, length):
        return oracle.aggregation_error(
            self.channel,
            self.precoder,
            self.weight,
            self.noise,
            oracle.pulses(kind, len(self.weight), length),
        )


def case(seed, *, devices=5, antennas=4, elements=3, streams=2, noise=0.1):
    rng = np.random.default_rng(seed)
    return Case(
        oracle.complex_normal(rng, devices, antennas, elements),
        oracle.complex_normal(rng, devices, elements, streams) / elements**0.5,
        rng.dirichlet(np.ones(devices), streams).T,
        noise,
    )


@pytest.mark.parametrize("length", [5, 8, 13])
@pytest.mark.parametrize("antennas", [3, 4, 16])
def test_errors__are_the_mean_over_every_instant(antennas, length):
    for seed in range(3):
        one = case(seed, antennas=antennas)
        for kind in PULSES:
            expected = one.oracle(kind, length)
            np.testing.assert_allclose(one.errors(kind), expected, rtol=1e-11, err_msg=kind)


def test_errors__pulses_that_are_not_orthogonal_are_another_thing():
    """Fewer instants than devices: the closed form no longer holds, so the check above can fail."""
    one = case(3)
    assert (abs(one.errors("dft") / one.oracle("dft", 3) - 1) > 0.01).all()


@pytest.mark.parametrize("kind", PULSES)
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_errors__are_those_of_transmitted_waveforms(kind, seed):
    """48,000 symbols: standard error below 0.5 %."""
    one, length = case(seed, noise=0.05), 6
    parts = one.channel, one.precoder, one.weight, one.noise
    pulse = oracle.pulses(kind, 5, length)
    sent = oracle.simulated_error(np.random.default_rng(seed), *parts, pulse, frames=8000)
    np.testing.assert_allclose(one.errors(kind), sent, rtol=0.015)
    np.testing.assert_allclose(one.errors(kind).sum(), sent.sum(), rtol=0.015)


@pytest.mark.parametrize("kind", PULSES)
def test_receiver__is_the_best_linear_one(kind):
    """Any other receiver of the frame has a larger error; a mean over instants of the oracle."""
    one, rng = case(4), np.random.default_rng(4)
    pulse = oracle.pulses(kind, 5, 6)
    parts = mmse_receivers(one.gain, one.wanted, one.noise)[0].numpy()
    for size in (0, 1e-3, 1e-2):
        total = 0
        for t in range(6):
            gain = oracle.heard(one.channel, one.precoder, pulse[:, t])
            m = np.einsum("k,kni->ni", pulse[:, t], parts)
            np.testing.assert_allclose(m, oracle.receiver(gain, one.weight, one.noise), rtol=1e-11)
            m = m + size * oracle.complex_normal(rng, *m.shape)
            total = total + oracle.error_of(m, gain, one.weight, one.noise) / 6
        assert (total >= one.errors(kind) * (1 - 1e-12)).all()
        if size:
            assert (total > one.errors(kind) * (1 + 1e-9)).all()


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 12), st.integers(1, 3))
def test_floor__holds_for_any_weights(seed, devices, antennas, streams):
    one = case(seed, devices=devices, antennas=antennas, streams=streams, noise=1e-6)
    floor = float(separation_floor(one.wanted, antennas))
    assert floor == pytest.approx(oracle.separation_floor(one.weight, antennas), rel=1e-12)
    error = one.errors("dft").sum()
    assert error >= floor * (1 - 1e-9)
    assert (floor == 0) == (devices * streams <= antennas)


def test_floor__is_reached_without_noise_and_with_equal_weights():
    """Every error vanishes with the noise but (K I - N) / (K I) of equal weights."""
    one = dataclasses.replace(case(5, elements=4), weight=np.full((5, 2), 0.2))
    for noise, extra in ((1e-2, 0.5), (1e-4, 0.01), (1e-6, 1e-4)):
        quiet = dataclasses.replace(one, noise=noise)
        relative = quiet.errors("dft").sum() / np.sum(quiet.weight**2)
        assert 0.6 < relative < 0.6 + extra
    alone = dataclasses.replace(one, channel=one.channel[:2], precoder=one.precoder[:2])
    alone = dataclasses.replace(alone, weight=one.weight[:2], noise=1e-9)
    assert alone.errors("dft").sum() < 1e-6


def test_floor__unequal_weights_come_near_it():
    """Devices of little weight that fall silent leave N streams to N antennas."""
    one = case(6, devices=4, antennas=4, elements=4)
    weight = np.array([[1, 1], [1, 1], [1e-2, 1e-2], [1e-2, 1e-2]])
    silent = one.precoder.copy()
    silent[2:] = 0
    one = Case(one.channel, silent, weight, 1e-9)
    np.testing.assert_allclose(one.errors("dft").sum(), 4e-4, rtol=1e-4)
    assert oracle.separation_floor(weight, 4) == pytest.approx(4e-4)


@given(st.integers(0, 10**6), st.sampled_from(PULSES))
def test_errors__do_not_depend_on_the_basis_or_the_order(seed, kind):
    rng = np.random.default_rng(seed)
    one = dataclasses.replace(case(seed), weight=np.full((5, 2), 0.2))
    turn = np.linalg.qr(oracle.complex_normal(rng, 2, 2))[0]
    order = rng.permutation(5)
    turned = dataclasses.replace(one, precoder=one.precoder @ turn)
    mixed = Case(one.channel[order], one.precoder[order], one.weight[order], one.noise)
    total = one.errors(kind).sum()
    np.testing.assert_allclose(turned.errors(kind).sum(), total, rtol=1e-9)
    np.testing.assert_allclose(mixed.errors(kind), one.errors(kind), rtol=1e-9)


@pytest.mark.parametrize("kind", PULSES)
def test_errors__silence_leaves_the_weights(kind):
    one = case(7)
    silent = dataclasses.replace(one, precoder=0 * one.precoder)
    np.testing.assert_allclose(silent.errors(kind), (one.weight**2).sum(0), rtol=1e-14)


@pytest.mark.parametrize("noise", [1e-4, 1e-8, 1e-12])
def test_errors__keep_their_digits_without_noise(noise):
    """One device, two streams, channel diag(g): the error is w^2 s / (|g|^2 + s)."""
    gain = torch.tensor([[1.0, 0], [0, 0.5], [0, 0]], dtype=torch.complex128)[None, None]
    weight = torch.tensor([[[0.7, 0.3]]], dtype=torch.float64)
    expected = weight[0, 0] ** 2 * noise / (torch.tensor([1, 0.25], dtype=torch.float64) + noise)
    for kind in PULSES:
        torch.testing.assert_close(
            task_errors(gain, weight, noise, pulse=kind)[0], expected, rtol=1e-12, atol=0
        )


def test_errors__single_precision_and_its_limit():
    """complex64 serves errors near 1e-2; below 1e-5 it is wrong: high SNR needs complex128."""
    one = case(8, devices=2, antennas=8)
    for noise, tolerance in ((0.1, 1e-5), (1e-3, 1e-3)):
        quiet = dataclasses.replace(one, noise=noise)
        low = task_errors(quiet.gain.to(torch.complex64), quiet.wanted.float(), noise, pulse="dft")
        assert low.dtype == torch.float32
        np.testing.assert_allclose(low[0], quiet.errors("dft"), rtol=tolerance)


def test_covariance__is_hermitian_and_that_of_the_samples():
    one, rng = case(9), np.random.default_rng(9)
    mine = received_covariance(one.gain, one.noise)[0].numpy()
    np.testing.assert_allclose(mine, mine.conj().T, rtol=1e-14)
    y = one.noise**0.5 * oracle.complex_normal(rng, 4, 200_000)
    for g in one.gain[0].numpy():
        y = y + g @ oracle.complex_normal(rng, 2, 200_000)
    np.testing.assert_allclose(y @ y.conj().T / 200_000, mine, atol=0.02 * abs(mine).max())
