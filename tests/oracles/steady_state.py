"""Diffusion LMS and total least squares simulated sample by sample in NumPy, many runs at once.

One network, fixed channels; users weigh what they hear as x_k <- sum_l a_lk phi_l. The probing
waveform has independent unit-modulus or Gaussian entries, the symbols are QPSK. Nothing is shared
with the package.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Network:
    """One draw: G (V, N), g (K, V), A (K, K), x (V,), w_c (N,), noise and probing power in W."""

    bs_channel: np.ndarray
    user_channel: np.ndarray
    weight: np.ndarray
    image: np.ndarray
    beam: np.ndarray
    noise_w: float
    probe_w: float

    @property
    def data_lit(self) -> np.ndarray:
        """G w_c, (V,)."""
        return self.bs_channel @ self.beam

    @property
    def data_gain(self) -> np.ndarray:
        """z, (K,)."""
        return self.user_channel @ (self.data_lit * self.image)

    def covariance(self, *, with_data: bool) -> np.ndarray:
        """E conj(v) v^T, (V, V)."""
        gram = self.bs_channel @ self.bs_channel.conj().T * self.probe_w / self.bs_channel.shape[1]
        if with_data:
            gram = gram + np.outer(self.data_lit, self.data_lit.conj())
        return gram.conj()


def complex_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    parts = rng.standard_normal((*shape, 2)) @ np.array([1, 1j])
    return parts / np.sqrt(2)


def draw(
    seed: int, *, users: int = 8, voxels: int = 16, antennas: int = 16, snr_db: float = 15.0
) -> Network:
    """Rayleigh channels, a ring with one chord, 3 scatterers, 10 W of which 3 carry data."""
    rng = np.random.default_rng(seed)
    links = np.zeros((users, users), bool)
    for k in range(users):
        links[k, (k + 1) % users] = links[(k + 1) % users, k] = True
    links[0, users // 2] = links[users // 2, 0] = True
    count = links.sum(1) + 1
    weight = np.where(links, 1 / np.maximum(count[:, None], count), 0.0)
    weight += np.diag(1 - weight.sum(1))
    image = np.zeros(voxels, complex)
    image[:3] = rng.uniform(0.5, 1, 3) * np.exp(2j * np.pi * rng.uniform(size=3))
    comm = complex_normal(rng, antennas)
    return Network(
        bs_channel=complex_normal(rng, voxels, antennas),
        user_channel=complex_normal(rng, users, voxels),
        weight=weight,
        image=image,
        beam=comm * np.sqrt(3.0) / np.linalg.norm(comm),
        noise_w=10.0 / 10 ** (snr_db / 10),
        probe_w=7.0,
    )


def simulate(
    network: Network,
    *,
    step: float,
    runs: int,
    burn_in: int,
    samples: int,
    knows_symbols: bool,
    estimator: str = "lms",
    gamma: float = 1.0,
    is_gaussian: bool = False,
    seed: int = 0,
) -> float:
    """Mean-square deviation after ``burn_in`` samples from the image, over users, runs and time."""
    n, rng = network, np.random.default_rng(seed)
    voxels, antennas = n.bs_channel.shape
    users = len(n.user_channel)
    x = np.broadcast_to(n.image, (runs, users, voxels)).copy()
    total = 0.0
    for t in range(burn_in + samples):
        if is_gaussian:
            probe = complex_normal(rng, runs, antennas)
        else:
            probe = np.exp(2j * np.pi * rng.random((runs, antennas)))
        lit = np.sqrt(n.probe_w / antennas) * probe @ n.bs_channel.T
        symbol = np.exp(0.5j * np.pi * (rng.integers(0, 4, runs) + 0.5))
        whole = lit + symbol[:, None] * n.data_lit
        y = whole @ (n.user_channel * n.image).T
        y = y + np.sqrt(n.noise_w) * complex_normal(rng, runs, users)
        u = n.user_channel * (whole if knows_symbols else lit)[:, None]
        e = y - (u * x).sum(-1)
        grad = e[..., None] * u.conj()
        if estimator == "tls":
            d = 1 + (np.abs(x) ** 2).sum(-1) / gamma
            e = e / d
            grad = grad / d[..., None] + (np.abs(e) ** 2 / gamma)[..., None] * x
        x = n.weight.T @ (x + step * grad)
        if t >= burn_in:
            total += (np.abs(x - n.image) ** 2).sum(-1).mean()
    return total / samples
