"""Scalar oracle of the power-control physics: section 1 of the spec, one instance, explicit loops.

Index convention as in the spec: ``gain[i, j]`` is receiver i, transmitter j. Gains are power
ratios, powers are in watts, positions in metres. Nothing here is shared with the package.
Source: Rivera Figueroa, Bishoyi, Petrova, arXiv 2402.10660, equations (4)-(12) as reconstructed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

SPEED_OF_LIGHT = 299_792_458.0
BOLTZMANN = 1.380649e-23
REFERENCE_TEMPERATURE_K = 290.0
USABLE_THRESHOLD_DB = 15.0


@dataclass(frozen=True)
class Gains:
    """Raw quantities of one instance: gains (I, I), per-BS vectors (I,), powers in watts."""

    h: Array
    g: Array
    a: Array
    e: Array
    si: Array
    n_b: Array
    n_u: Array
    p_max: Array


# --- geometry (1.1, 1.2) ---------------------------------------------------------------------


def distance(p: Array, q: Array, d_min: float = 1.0) -> float:
    """Euclidean distance in metres, clamped from below at ``d_min`` (1.1)."""
    return max(math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(p, q, strict=True))), d_min)


def bs_triangle(radius: float, height: float) -> Array:
    """Three BSs at 90, 210, 330 deg on the circle of ``radius``, (3, 3) (1.2)."""
    angles = [math.radians(v) for v in (90.0, 210.0, 330.0)]
    return np.array([[radius * math.cos(v), radius * math.sin(v), height] for v in angles])


def bs_lattice(rings: int, isd: float, height: float) -> Array:
    """Hexagonal lattice round a centre BS: 1, 7, 19 sites for 0, 1, 2 rings, (I, 3)."""
    sites = []
    for u in range(-rings, rings + 1):
        for v in range(-rings, rings + 1):
            if abs(u + v) <= rings:
                sites.append([isd * (u + v / 2), isd * v * math.sqrt(3) / 2, height])
    return np.array(sorted(sites, key=lambda s: s[0] ** 2 + s[1] ** 2))


def hexagon_vertices(radius: float) -> Array:
    """Vertices at 30, 90, ..., 330 deg, counter-clockwise, (6, 2); BSs use every second one."""
    angles = [math.radians(30.0 + 60.0 * k) for k in range(6)]
    return np.array([[radius * math.cos(v), radius * math.sin(v)] for v in angles])


def in_hexagon(point: Array, radius: float, slack: float = 0.0) -> bool:
    """True if the point is left of all six directed edges (within ``slack`` metres)."""
    corners = hexagon_vertices(radius)
    for k in range(6):
        (ax, ay), (bx, by) = corners[k], corners[(k + 1) % 6]
        cross = (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax)
        if cross / math.hypot(bx - ax, by - ay) < -slack:
            return False
    return True


# --- channel (1.2) ---------------------------------------------------------------------------


def wavelength(fc_hz: float) -> float:
    """Carrier wavelength in metres."""
    return SPEED_OF_LIGHT / fc_hz


def noise_power(bw_hz: float, nf_db: float) -> float:
    """Thermal noise kT0 B NF in watts (1.1)."""
    return BOLTZMANN * REFERENCE_TEMPERATURE_K * bw_hz * 10.0 ** (nf_db / 10.0)


def path_loss(d: float, wavelength_m: float, exponent: float = 2.5) -> float:
    """Close-in path loss PL(d) = (4 pi / lambda)^2 d^exponent, linear and > 1 (1.2)."""
    return (4.0 * math.pi / wavelength_m) ** 2 * d**exponent


def rician_gain(
    d: float, w: complex, wavelength_m: float, *, k_db: float = 10.0, exponent: float = 2.5
) -> float:
    """Power gain |h|^2 of a Rician link with NLoS term ``w`` (1.2)."""
    k = 10.0 ** (k_db / 10.0)
    phase = -2.0 * math.pi * d / wavelength_m
    los = math.sqrt(k / (k + 1.0)) * complex(math.cos(phase), math.sin(phase))
    total = los + math.sqrt(1.0 / (k + 1.0)) * w
    return (total.real**2 + total.imag**2) / path_loss(d, wavelength_m, exponent)


def comm_gains(
    bs: Array,
    ue: Array,
    w_u: ComplexArray,
    wavelength_m: float,
    *,
    k_db: float = 10.0,
    exponent: float = 2.5,
    d_min: float = 1.0,
    gain_db: float = 0.0,
) -> Array:
    """H[i, j] = |h|^2 of BS j -> UE i, (I, I) (1.2); ``gain_db`` sums both antenna gains."""
    out = np.zeros((len(ue), len(bs)))
    for i in range(len(ue)):
        for j in range(len(bs)):
            d = distance(bs[j], ue[i], d_min)
            out[i, j] = rician_gain(d, w_u[i, j], wavelength_m, k_db=k_db, exponent=exponent)
    return out * 10.0 ** (gain_db / 10.0)


def direct_gains(
    bs: Array,
    w_b: ComplexArray,
    wavelength_m: float,
    *,
    k_db: float = 10.0,
    exponent: float = 2.5,
    d_min: float = 1.0,
    gain_db: float = 0.0,
    direct_cancel_db: float = 0.0,
) -> Array:
    """G[i, j] = |h|^2 of BS j -> BS i with zero diagonal, times the cancellation (1.2)."""
    out = comm_gains(bs, bs, w_b, wavelength_m, k_db=k_db, exponent=exponent, d_min=d_min)
    for i in range(len(bs)):
        for j in range(len(bs)):
            net_db = gain_db - direct_cancel_db
            out[i, j] = 0.0 if i == j else out[i, j] * 10.0 ** (net_db / 10.0)
    return out


def echo_gains(
    receiver: Array,
    bs: Array,
    tgt: Array,
    wavelength_m: float,
    *,
    rcs_dbsm: float = 10.0,
    exponent: float = 2.0,
    d_min: float = 1.0,
    gain_db: float = 0.0,
) -> Array:
    """Radar gains kr d(rx_i, tgt)^-e d(bs_j, tgt)^-e: A for receiver = BSs, E for UEs (1.2)."""
    kr = wavelength_m**2 * 10.0 ** ((rcs_dbsm + gain_db) / 10.0) / (4.0 * math.pi) ** 3
    out = np.zeros((len(receiver), len(bs)))
    for i in range(len(receiver)):
        for j in range(len(bs)):
            hop_rx = distance(receiver[i], tgt, d_min) ** -exponent
            hop_tx = distance(bs[j], tgt, d_min) ** -exponent
            out[i, j] = kr * hop_rx * hop_tx
    return out


# --- SINRs (1.4) -----------------------------------------------------------------------------


def sensing_sinr(p: Array, gains: Gains) -> Array:
    """Integrated sensing SINR (11) from powers in watts, (I,)."""
    out = np.zeros(len(p))
    for i in range(len(p)):
        interference = p[i] * gains.si[i] + gains.n_b[i]
        for j in range(len(p)):
            if j != i:
                interference += p[j] * (gains.a[i, j] + gains.g[i, j])
        out[i] = p[i] * gains.a[i, i] / interference
    return out


def comm_sinr(p: Array, gains: Gains, own_echo: str = "signal") -> Array:
    """Integrated communication SINR (9), (I,); ``own_echo`` is "signal" or "interference"."""
    out = np.zeros(len(p))
    for i in range(len(p)):
        signal, interference = p[i] * gains.h[i, i], gains.n_u[i]
        for j in range(len(p)):
            if j != i:
                interference += p[j] * (gains.h[i, j] + gains.e[i, j])
        if own_echo == "signal":
            signal += p[i] * gains.e[i, i]
        else:
            interference += p[i] * gains.e[i, i]
        out[i] = signal / interference
    return out


def comm_only_sinr(p: Array, gains: Gains) -> Array:
    """Communication-only SINR (4): no target, (I,)."""
    return comm_sinr(p, _replace(gains, e=np.zeros_like(gains.e)))


def sensing_only_sinr(p: Array, gains: Gains) -> Array:
    """Sensing-only SINR (6): no BS-BS direct links, (I,)."""
    return sensing_sinr(p, _replace(gains, g=np.zeros_like(gains.g)))


def _replace(gains: Gains, **changes: Array) -> Gains:
    return Gains(**{**gains.__dict__, **changes})


def normalised(gains: Gains, own_echo: str = "signal") -> tuple[Array, Array, Array, Array]:
    """(F, n, Q, m) with gamma_s = x / (F x + n) and gamma_c = x / (Q x + m) (1.4)."""
    size = len(gains.p_max)
    f, q = np.zeros((size, size)), np.zeros((size, size))
    n, m = np.zeros(size), np.zeros(size)
    for i in range(size):
        echo = gains.a[i, i] * gains.p_max[i]
        own = gains.h[i, i] + (gains.e[i, i] if own_echo == "signal" else 0.0)
        link = own * gains.p_max[i]
        n[i], m[i] = gains.n_b[i] / echo, gains.n_u[i] / link
        for j in range(size):
            if i == j:
                f[i, i] = gains.si[i] * gains.p_max[i] / echo
                q[i, i] = 0.0 if own_echo == "signal" else gains.e[i, i] * gains.p_max[i] / link
            else:
                f[i, j] = (gains.a[i, j] + gains.g[i, j]) * gains.p_max[j] / echo
                q[i, j] = (gains.h[i, j] + gains.e[i, j]) * gains.p_max[j] / link
    return f, n, q, m


# --- metrics (1.5) ---------------------------------------------------------------------------


def range_std(gamma_s: Array, bw_hz: Array, integration: float = 1.0) -> Array:
    """Curry's range accuracy (12), c / (2 B sqrt(2 g gamma)), metres, (I,)."""
    pairs = zip(gamma_s, bw_hz, strict=True)
    return np.array([SPEED_OF_LIGHT / (2 * b * math.sqrt(2 * integration * v)) for v, b in pairs])


def range_crb_std(gamma_s: Array, bw_hz: Array, integration: float = 1.0) -> Array:
    """Flat-spectrum CRB of the range: rms bandwidth B / sqrt(12), metres, (I,) (gap 13)."""
    rms = np.asarray(bw_hz) / math.sqrt(12.0)
    return SPEED_OF_LIGHT / (4 * math.pi * rms * np.sqrt(2 * integration * np.asarray(gamma_s)))


def directions(bs: Array, tgt: Array, dim: int) -> Array:
    """First ``dim`` components of the 3-D unit vectors from BS i to the target, (I, dim)."""
    return np.array([[(tgt[c] - b[c]) / distance(b, tgt, 0.0) for c in range(dim)] for b in bs])


def position_information(bs: Array, tgt: Array, sigma: Array, dim: int) -> Array:
    """J = sum_i u_i u_i^T / sigma_i^2, (dim, dim), in 1/m^2 (1.5)."""
    j = np.zeros((dim, dim))
    for u, s in zip(directions(bs, tgt, dim), sigma, strict=True):
        for r in range(dim):
            for c in range(dim):
                j[r, c] += u[r] * u[c] / s**2
    return j


def peb(bs: Array, tgt: Array, sigma: Array, dim: int) -> float:
    """Position error bound sqrt(tr J^-1) in metres (1.5)."""
    return math.sqrt(float(np.trace(np.linalg.inv(position_information(bs, tgt, sigma, dim)))))


def peb3_coefficients(bs: Array, tgt: Array) -> Array:
    """c_i with PEB3^2 = sum_i c_i sigma_i^2 for I = 3: squared columns of U^-1 (4.6)."""
    return (np.linalg.inv(directions(bs, tgt, 3)) ** 2).sum(0)


def violation_db(gamma_c: Array, gamma_db: Array) -> float:
    """max_i [Gamma_dB - gamma_c_dB]_+ (1.5)."""
    gaps = [g - 10 * math.log10(v) for v, g in zip(gamma_c, gamma_db, strict=True)]
    return max(0.0, *gaps)


def evaluate(
    x: Array,
    gains: Gains,
    bs: Array,
    tgt: Array,
    *,
    bw_hz: Array,
    gamma_db: Array,
    num_resources: int = 3276 * 14,
    integrate: bool = False,
    own_echo: str = "signal",
) -> dict[str, float]:
    """All metrics of 1.5 for one decision ``x`` (I,); ``num_resources`` is n_sc * n_sym."""
    p = np.array([x[i] * gains.p_max[i] for i in range(len(x))])
    gamma_s, gamma_c = sensing_sinr(p, gains), comm_sinr(p, gains, own_echo)
    sigma = range_std(gamma_s, bw_hz, num_resources if integrate else 1)
    usable = [10 * math.log10(v * num_resources) >= USABLE_THRESHOLD_DB for v in gamma_s]
    out = {
        "t": min(float(v) * (b / max(bw_hz)) ** 2 for v, b in zip(gamma_s, bw_hz, strict=True)),
        "worst": float(max(sigma)),
        "mean": float(sum(sigma)) / len(sigma),
        "viol_db": violation_db(gamma_c, gamma_db),
        "usable": float(sum(usable)),
        "power": float(sum(p)),
        "rate": sum(math.log2(1 + v) for v in gamma_c),
    }
    for dim in (2, 3):
        if len(bs) >= dim:
            out[f"peb{dim}"] = peb(bs, tgt, sigma, dim)
            out[f"cond{dim}"] = float(np.linalg.cond(position_information(bs, tgt, sigma, dim)))
    return out
