"""Fisher information of networked sensing from simulated data, its optimum, and ML (spec 1.5, 4.2).

One instance at a time. Receiver m hears sum_lj c_ljm a(w_mj) a(w_lj)^H S_ljm + noise, per-entry
power 1, with waveforms made on purpose: S_lj'm S_ljm^H = chi_jj' R_l and no overlap between
transmitters. Everything is derived from these data by finite differences in the positions; delays
are nuisance, as in the paper. Positions (..., T, 2) m, index of the information 2 j + d. Nothing is
shared with the package.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import cvxpy as cp
import numpy as np

from tests.oracles.robust_beamforming import Array, ComplexArray, Generator, complex_normal

LIGHT_M_S = 299792458.0
PAPER_BS = np.array([[-40.0, 40.0 * math.sqrt(3)], [80.0, 0.0], [-40.0, -40.0 * math.sqrt(3)]])
PAPER_TARGET = np.array([[2.0, 5.0], [-5.0, 1.0]])
MODES = ("resolved", "bandlimited", "unresolved")


# --- geometry -----------------------------------------------------------------------------------


def electrical_angle(bs: Array, position: Array) -> Array:
    """Omega = pi u . (p - b) / |p - b|, bs (I, 2), position (..., T, 2): (..., I, T).

    The array axis u is perpendicular to the direction from the base station to the origin (1.1).
    """
    to_origin = -bs / np.linalg.norm(bs, axis=1, keepdims=True)
    axis = np.stack([-to_origin[:, 1], to_origin[:, 0]], 1)
    d = position[..., None, :, :] - bs[:, None]
    return math.pi * np.einsum("id,...itd->...it", axis, d) / np.linalg.norm(d, axis=-1)


def angle_slope(bs: Array, position: Array) -> Array:
    """D omega / d p by fourth-order differences, (I, T, 2), rad/m."""
    out = np.zeros((len(bs), len(position), 2))
    for d in range(2):
        out[:, :, d] = _difference(lambda p: electrical_angle(bs, p), position, np.eye(2)[d])
    return out


def _difference(f, position: Array, direction: Array, step: float = 1e-2):
    """Derivative of f along a direction by the five-point stencil."""
    near, far = (
        f(position + k * step * direction) - f(position - k * step * direction) for k in (1, 2)
    )
    return (8 * near - far) / (12 * step)


def correlation(bs: Array, target: Array, mode: str, bandwidth_hz: float = 100e6) -> Array:
    """chi (I, I, T, T) of delayed copies: sinc(B (tau - tau')), or its two limits (2.3)."""
    num_bs, num_targets = len(bs), len(target)
    out = np.zeros((num_bs, num_bs, num_targets, num_targets))
    for l in range(num_bs):
        for m in range(num_bs):
            for j in range(num_targets):
                for i in range(num_targets):
                    path = [math.dist(bs[l], p) + math.dist(bs[m], p) for p in target[[j, i]]]
                    lag = bandwidth_hz * (path[0] - path[1]) / LIGHT_M_S
                    limit = {"resolved": float(i == j), "unresolved": 1.0}
                    out[l, m, j, i] = limit.get(mode, float(np.sinc(lag)))
    return out


def reflections(
    bs: Array,
    target: Array,
    rng: Generator,
    *,
    samples: int = 1024,
    rcs_m2: float = 1.0,
    carrier_hz: float = 3.5e9,
    noise_dbm: float = -85.0,
) -> ComplexArray:
    """c (I, T, I) = sqrt(samples) alpha / sigma, [l, j, m], uniform phase (radar equation, 1.2)."""
    wavelength, noise_w = LIGHT_M_S / carrier_hz, 10 ** (noise_dbm / 10 - 3)
    out = np.zeros((len(bs), len(target), len(bs)), complex)
    for l in range(len(bs)):
        for j in range(len(target)):
            for m in range(len(bs)):
                spread = (4 * math.pi) ** 3 * math.dist(bs[l], target[j]) ** 2
                spread *= math.dist(bs[m], target[j]) ** 2
                size = math.sqrt(samples * wavelength**2 * rcs_m2 / spread / noise_w)
                out[l, j, m] = size * np.exp(2j * math.pi * rng.random())
    return out


@dataclass(frozen=True)
class Scene:
    """bs (I, 2), target (T, 2) m; reflection (I, T, I) 1/sqrt(W); chi (I, I, T, T); N antennas."""

    bs: Array
    target: Array
    reflection: ComplexArray
    chi: Array
    num_antennas: int


def scene(seed: int, mode: str, *, num_antennas: int = 5, target: Array = PAPER_TARGET) -> Scene:
    """The paper's three base stations and targets (1.1)."""
    rng = np.random.default_rng(seed)
    chi = correlation(PAPER_BS, target, mode)
    return Scene(PAPER_BS, target, reflections(PAPER_BS, target, rng), chi, num_antennas)


# --- simulated data -----------------------------------------------------------------------------


def _square_root(matrix: ComplexArray) -> ComplexArray:
    value, vector = np.linalg.eigh(matrix)
    return vector * np.sqrt(np.maximum(value, 0.0))


def waveforms(cov: ComplexArray, chi: Array) -> ComplexArray:
    """S (I, I, T, N, I T N), [l, m, j]: S_lj'm S_ljm^H = chi_jj' R_l, zero between transmitters."""
    num_bs, num_antennas = cov.shape[:2]
    num_targets = chi.shape[-1]
    length = num_bs * num_targets * num_antennas
    out = np.zeros((num_bs, num_bs, num_targets, num_antennas, length), complex)
    rows = np.eye(length).reshape(num_bs, num_targets, num_antennas, length)
    for l in range(num_bs):
        for m in range(num_bs):
            mix = _square_root(chi[l, m].T)
            for j in range(num_targets):
                for q in range(num_targets):
                    out[l, m, j] += mix[j, q] * _square_root(cov[l]) @ rows[l, q]
    return out


def echoes(place: Scene, wave: ComplexArray, position: Array) -> ComplexArray:
    """Noise-free data of unit reflections, (..., l, j, m, N, length), targets at ``position``."""
    index = np.arange(place.num_antennas) - (place.num_antennas - 1) / 2
    a = np.exp(1j * electrical_angle(place.bs, position)[..., None] * index)  # (..., I, T, N)
    sent = np.einsum("...ljn,lmjns->...ljms", a.conj(), wave)
    return np.einsum("...mjn,...ljms->...ljmns", a, sent)


def _flat(data: ComplexArray) -> ComplexArray:
    """Echoes (..., l, j, m, N, length) -> one column per reflection, (..., data, l j m)."""
    *batch, num_l, num_j, num_m, n, length = data.shape
    out = np.zeros((*batch, num_m, n, length, num_l, num_j, num_m), complex)
    for m in range(num_m):
        out[..., m, :, :, :, :, m] = np.moveaxis(data[..., m, :, :], (-4, -3), (-2, -1))
    return out.reshape(*batch, num_m * n * length, num_l * num_j * num_m)


def jacobian(
    place: Scene, wave: ComplexArray, position: Array, c: ComplexArray
) -> tuple[ComplexArray, ComplexArray]:
    """Echoes B (..., data, l j m) and d (B c) / d (positions, Re c, Im c), by differences in p."""

    def mean(p: Array) -> ComplexArray:
        return (_flat(echoes(place, wave, p)) @ c.reshape(*c.shape[:-3], -1, 1))[..., 0]

    basis = _flat(echoes(place, wave, position))
    columns = []
    for k in range(place.target.size):
        direction = np.eye(place.target.size)[k].reshape(-1, 2)
        columns.append(_difference(mean, position, direction))
    return basis, np.concatenate([np.stack(columns, -1), basis, 1j * basis], -1)


# --- Fisher information -------------------------------------------------------------------------


def information(place: Scene, cov: ComplexArray) -> Array:
    """EFIM (2 T, 2 T): Slepian-Bangs matrix of all real unknowns, then the Schur complement."""
    wave = waveforms(cov, place.chi)
    slope = jacobian(place, wave, place.target, place.reflection)[1]
    fisher = 2 * (slope.conj().T @ slope).real
    n = place.target.size
    cross = fisher[:n, n:]
    return fisher[:n, :n] - cross @ np.linalg.pinv(fisher[n:, n:], 1e-13, hermitian=True) @ cross.T


def crlb(info: Array) -> float:
    """Sum of the coordinate bounds, m^2; inf where the information is singular."""
    value = np.linalg.eigvalsh(info)
    return float(np.sum(1 / value)) if value[0] > 1e-13 * value[-1] else math.inf


def resolved_information(place: Scene, cov: ComplexArray) -> Array:
    """EFIM (2 T, 2 T) where all delays are resolved, by loops over the closed form (1.5)."""
    num_bs, num_targets, n = len(place.bs), len(place.target), place.num_antennas
    omega, slope = electrical_angle(place.bs, place.target), angle_slope(place.bs, place.target)
    index = np.arange(n) - (n - 1) / 2
    out = np.zeros((2 * num_targets, 2 * num_targets))
    for j in range(num_targets):
        block = out[2 * j : 2 * j + 2, 2 * j : 2 * j + 2]
        for l in range(num_bs):
            a = np.exp(1j * index * omega[l, j])
            da = 1j * index * a
            lit, mixed = np.vdot(a, cov[l] @ a).real, np.vdot(da, cov[l] @ a)
            z = np.vdot(da, cov[l] @ da).real - (abs(mixed) ** 2 / lit if lit > 0 else 0.0)
            for m in range(num_bs):
                gain = abs(place.reflection[l, j, m]) ** 2
                block += 2 * n * z * gain * np.outer(slope[l, j], slope[l, j])
                hear = n * (n**2 - 1) / 6 * lit * gain
                block += hear * np.outer(slope[m, j], slope[m, j])
    return out


# --- smallest CRLB ------------------------------------------------------------------------------


def _kernels(place: Scene, l: int, m: int) -> ComplexArray:
    """K (P, P, N, N), P = 2 T + T, such that X_ab = tr(K_ab R_l) are the complex moments of (l, m).

    Unknown a moves the data by G_a S_j(a); X_ab = chi_j(a)j(b) tr(G_a^H G_b R).
    """
    omega, slope = electrical_angle(place.bs, place.target), angle_slope(place.bs, place.target)
    n, num_targets = place.num_antennas, len(place.target)
    index = np.arange(n) - (n - 1) / 2
    move, owner = [], []
    for j in range(num_targets):
        a, b = (np.exp(1j * index * omega[i, j]) for i in (m, l))
        for d in range(2):
            heard = np.outer(1j * index * a * slope[m, j, d], b.conj())
            sent = np.outer(a, (1j * index * b * slope[l, j, d]).conj())
            move.append(place.reflection[l, j, m] * (heard + sent))
            owner.append(j)
    for j in range(num_targets):
        a, b = (np.exp(1j * index * omega[i, j]) for i in (m, l))
        move.append(np.outer(a, b.conj()))
        owner.append(j)
    size = len(move)
    out = np.zeros((size, size, n, n), complex)
    for a in range(size):
        for b in range(size):
            out[a, b] = place.chi[l, m, owner[a], owner[b]] * move[a].conj().T @ move[b]
    return out


def kernel_information(place: Scene, cov: ComplexArray) -> Array:
    """EFIM by the Schur complements of the moments: no waveforms, no simulated data."""
    n = place.target.size
    out = np.zeros((n, n))
    for l in range(len(place.bs)):
        for m in range(len(place.bs)):
            x = np.einsum("abij,ji->ab", _kernels(place, l, m), cov[l])
            inner = np.linalg.pinv(x[n:, n:], 1e-13, hermitian=True)
            out += 2 * (x[:n, :n] - x[:n, n:] @ inner @ x[n:, :n]).real
    return out


def smallest_crlb(place: Scene, power_w: Array) -> tuple[float, ComplexArray]:
    """Minimum CRLB (m^2) over tr R_l <= P_l and the optimal R (I, N, N), by one SDP, any chi.

    The information is an epigraph: X(R_l) - [[Y, 0], [0, 0]] >= 0, EFIM = sum 2 Re Y, and
    [[EFIM, 1], [1, U]] >= 0 bounds the inverse. Moments are scaled to isotropic power.
    """
    num_bs, n = len(place.bs), place.target.size
    iso = np.stack([p * np.eye(place.num_antennas) / place.num_antennas for p in power_w])
    unit = float(np.trace(kernel_information(place, iso))) / n
    cov = [cp.Variable((place.num_antennas,) * 2, hermitian=True) for _ in range(num_bs)]
    limits = [r >> 0 for r in cov] + [cp.real(cp.trace(r)) <= 1 for r in cov]
    total = 0
    for l in range(num_bs):
        for m in range(num_bs):
            kernel = _kernels(place, l, m) * power_w[l]
            root = np.sqrt(np.einsum("aaii->a", kernel).real / place.num_antennas)
            kernel = kernel / (root[:, None, None, None] * root[None, :, None, None])
            size = len(kernel)
            flat = kernel.reshape(size * size, -1)  # tr(K R) = vec_C(K) . vec_F(R)
            x = cp.reshape(flat @ cp.vec(cov[l], order="F"), (size, size), order="C")
            y = cp.Variable((n, n), hermitian=True)
            pad = np.eye(size, n)
            gap = x - pad @ y @ pad.T
            limits.append((gap + gap.H) / 2 >> 0)
            scale = np.diag(root[:n]) / math.sqrt(unit)
            total = total + 2 * cp.real(scale @ y @ scale)
    cover = cp.Variable((n, n), symmetric=True)
    limits.append(cp.bmat([[(total + total.T) / 2, np.eye(n)], [np.eye(n), cover]]) >> 0)
    problem = cp.Problem(cp.Minimize(cp.trace(cover)), limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tests put the returned R into the formula
        problem.solve(solver=cp.CLARABEL)
    best = np.stack(
        [p * (r.value + r.value.conj().T) / 2 for p, r in zip(power_w, cov, strict=True)]
    )
    return float(problem.value) / unit, best


# --- maximum likelihood -------------------------------------------------------------------------


def ml_error(
    place: Scene, cov: ComplexArray, rng: Generator, *, trials: int = 400, gain_db: float = 30.0
) -> tuple[Array, Array]:
    """(errors (trials, T, 2) of ML positions, EFIM) with all echoes ``gain_db`` stronger (8.3).

    Gauss-Newton on positions and complex reflections from the truth: in the local regime ML is the
    minimum next to it.
    """
    c_true = place.reflection * 10 ** (gain_db / 20)
    wave, n = waveforms(cov, place.chi), place.target.size
    basis, slope = jacobian(place, wave, place.target, c_true)
    fisher = 2 * (slope.conj().T @ slope).real
    inner = np.linalg.inv(fisher[n:, n:])
    info = fisher[:n, :n] - fisher[:n, n:] @ inner @ fisher[n:, :n]
    errors = []
    for _ in range(trials // 50):
        data = basis @ c_true.ravel() + complex_normal(rng, 50, len(basis))
        position = np.broadcast_to(place.target, (50, *place.target.shape)).copy()
        c = np.broadcast_to(c_true, (50, *c_true.shape)).copy()
        for _ in range(2):
            b, slope = jacobian(place, wave, position, c)
            rest = data - (b @ c.reshape(50, -1, 1))[..., 0]
            adjoint = slope.conj().swapaxes(1, 2)
            step = np.linalg.solve((adjoint @ slope).real, (adjoint @ rest[..., None]).real)[..., 0]
            position += step[:, :n].reshape(position.shape)
            half = c_true.size
            c += (step[:, n : n + half] + 1j * step[:, n + half :]).reshape(c.shape)
        errors.append(position - place.target)
    return np.concatenate(errors), info
