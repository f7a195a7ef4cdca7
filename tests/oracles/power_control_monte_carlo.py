"""Monte-Carlo oracles of power control: received signal, OFDM ranging, ML localisation (spec 8)."""

from __future__ import annotations

import math

import numpy as np

from tests.oracles.power_control_physics import Array, ComplexArray, Gains, peb

Generator = np.random.Generator


def qpsk(rng: Generator, *shape: int) -> ComplexArray:
    """Independent unit-power QPSK symbols."""
    bits = rng.integers(0, 2, size=(2, *shape)) * 2 - 1
    return (bits[0] + 1j * bits[1]) / math.sqrt(2.0)


def complex_normal(rng: Generator, *shape: int) -> ComplexArray:
    """CN(0, 1) samples."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / math.sqrt(2.0)


def _power(wave: ComplexArray) -> float:
    return float(np.mean(wave.real**2 + wave.imag**2))


def sampled_sensing_sinr(p: Array, gains: Gains, num: int, rng: Generator) -> Array:
    """SINR of the received signal (10) at every BS, from ``num`` samples per path, (I,)."""
    out = np.zeros(len(p))
    for i in range(len(p)):
        wanted = math.sqrt(p[i] * gains.a[i, i]) * qpsk(rng, num)
        rest = math.sqrt(p[i] * gains.si[i]) * qpsk(rng, num)
        rest = rest + math.sqrt(gains.n_b[i]) * complex_normal(rng, num)
        for j in range(len(p)):
            if j != i:  # the echo and the direct wave arrive with different delays
                rest = rest + math.sqrt(p[j] * gains.a[i, j]) * qpsk(rng, num)
                rest = rest + math.sqrt(p[j] * gains.g[i, j]) * qpsk(rng, num)
        out[i] = _power(wanted) / _power(rest)
    return out


def sampled_comm_sinr(p: Array, gains: Gains, own_echo: str, num: int, rng: Generator) -> Array:
    """SINR of the received signal (7) at every UE, from ``num`` samples per path, (I,)."""
    out = np.zeros(len(p))
    for i in range(len(p)):
        wanted = math.sqrt(p[i] * gains.h[i, i]) * qpsk(rng, num)
        echo = math.sqrt(p[i] * gains.e[i, i]) * qpsk(rng, num)
        rest = math.sqrt(gains.n_u[i]) * complex_normal(rng, num)
        for j in range(len(p)):
            if j != i:
                rest = rest + math.sqrt(p[j] * gains.h[i, j]) * qpsk(rng, num)
                rest = rest + math.sqrt(p[j] * gains.e[i, j]) * qpsk(rng, num)
        wanted, rest = (wanted + echo, rest) if own_echo == "signal" else (wanted, rest + echo)
        out[i] = _power(wanted) / _power(rest)
    return out


def _refine(z: ComplexArray, tones: Array, delay: Array, limit: float) -> Array:
    """Newton ascent of |sum_k z_k exp(j 2 pi k u)|^2 in u, kept within ``limit`` of the start."""
    start, w = delay, 2j * math.pi * tones
    for _ in range(8):
        wave = z * np.exp(w * delay[:, None])
        s, s1, s2 = wave.sum(1), (w * wave).sum(1), (w**2 * wave).sum(1)
        slope = (s.conj() * s1).real
        bend = np.abs(s1) ** 2 + (s.conj() * s2).real
        step = np.where(bend < 0, -slope / np.where(bend < 0, bend, 1.0), 0.0)
        delay = np.clip(delay + step, start - limit, start + limit)
    return delay


def ofdm_ranging_ratio(
    post_snr_db: float,
    *,
    trials: int,
    rng: Generator,
    num_tones: int = 256,
    num_symbols: int = 14,
    max_delay: float = 0.5,
    pad: int = 8,
) -> float:
    """RMSE / CRB of ML ranging with unknown phase versus post-integration SNR (spec 8).

    Delays are in units of 1 / subcarrier spacing, uniform in [0, max_delay); the peak is searched
    in the same window: matched filter, zero-padded IFFT, Newton. Below about 15 dB false peaks set
    the RMSE, which is then proportional to ``max_delay``.
    """
    snr = 10 ** (post_snr_db / 10)
    tones = np.arange(num_tones) - (num_tones - 1) / 2
    true = max_delay * rng.random(trials)
    sent = qpsk(rng, trials, num_symbols, num_tones)
    noise = math.sqrt(num_tones * num_symbols / snr) * complex_normal(rng, *sent.shape)
    received = sent * np.exp(-2j * math.pi * tones * true[:, None])[:, None, :] + noise
    z = (received * sent.conj()).sum(1)
    size = pad * num_tones
    spectrum = np.abs(np.fft.ifft(z, size, axis=1))[:, : max(1, round(max_delay * size))]
    found = _refine(z, tones, spectrum.argmax(1) / size, 1.0 / size)
    rms_tone = 2 * math.pi * math.sqrt((num_tones**2 - 1) / 12)
    return math.sqrt(float(np.mean((found - true) ** 2)) * 2 * snr) * rms_tone


def localisation_ratio(
    bs: Array, tgt: Array, sigma: Array, *, dim: int, trials: int, rng: Generator
) -> float:
    """RMSE / PEB of ML localisation from ranges by damped Gauss-Newton (spec 8).

    ``dim`` = 2 takes the height as known. The search starts at the true position, so the mirror
    solution above the BS plane does not enter.
    """
    measured = np.linalg.norm(bs - tgt, axis=1) + sigma * rng.standard_normal((trials, len(bs)))
    point = np.tile(np.asarray(tgt, dtype=float), (trials, 1))
    damping = np.full(trials, 1e-3)

    def residual(where: Array) -> tuple[Array, Array]:
        offset = where[:, None, :] - bs  # (trials, I, 3)
        d = np.linalg.norm(offset, axis=2)
        return (measured - d) / sigma, offset[:, :, :dim] / (d * sigma)[:, :, None]

    r, jac = residual(point)
    for _ in range(60):
        normal = np.einsum("tia,tib->tab", jac, jac)
        ridge = damping[:, None, None] * np.einsum("taa,ab->tab", normal, np.eye(dim))
        step = np.linalg.solve(normal + ridge, np.einsum("tia,ti->ta", jac, r)[:, :, None])[:, :, 0]
        trial = point.copy()
        trial[:, :dim] += step
        better = (residual(trial)[0] ** 2).sum(1) < (r**2).sum(1)
        point = np.where(better[:, None], trial, point)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-12, 1e12)
        r, jac = residual(point)
    return math.sqrt(float(((point - tgt) ** 2).sum(1).mean())) / peb(bs, tgt, sigma, dim)
