"""Worst-case SINR, rate bound, min-norm point and hypervolume by brute force (spec 3.1, 4, 8).

One instance at a time, noise power 1: channel (I, I, K, N) with [l, c, k] from base station l to
user k of cell c, radius (I, I, K), beam (I, K, N), covariance (I, N, N) of all that l sends. Link
errors live in balls: ||error[l, c, k]|| <= radius[l, c, k]. Nothing is shared with the package.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import warnings
from dataclasses import dataclass
from functools import cache

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import brentq, minimize_scalar

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
Generator = np.random.Generator

TOLERANCES = (1e-13, 1e-11, 1e-9, 1e-8)


def complex_normal(rng: Generator, *shape: int) -> ComplexArray:
    """CN(0, 1) samples."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / math.sqrt(2.0)


def covariance(beam: ComplexArray, sensing: ComplexArray) -> ComplexArray:
    """R_l = sum_k v v^H + C C^H by loops, (I, N, N); beam (I, K, N), sensing (I, N, R)."""
    out = np.zeros((len(beam), beam.shape[2], beam.shape[2]), complex)
    for l in range(len(beam)):
        for v in [*beam[l], *sensing[l].T]:
            out[l] += np.outer(v, v.conj())
    return out


# --- nominal ------------------------------------------------------------------------------------


def nominal_sinr(channel: ComplexArray, beam: ComplexArray, cov: ComplexArray) -> Array:
    """SINR (I, K) of exactly known channels, by loops (1.4)."""
    num_bs, num_users, _ = beam.shape
    out = np.zeros((num_bs, num_users))
    for c in range(num_bs):
        for k in range(num_users):
            signal = abs(np.vdot(channel[c, c, k], beam[c, k])) ** 2
            total = sum(
                np.vdot(channel[l, c, k], cov[l] @ channel[l, c, k]).real for l in range(num_bs)
            )
            out[c, k] = signal / (total - signal + 1.0)
    return out


# --- the worst case of one user -----------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """What one user sees: h (I, N), eps (I,), its beam v (N,), own covariance less V, the others'.

    ``cell`` is the index c of the serving base station; ``rest`` (I, N, N) holds R_l; R_c - V at
    l = c.
    """

    h: ComplexArray
    eps: Array
    v: ComplexArray
    rest: ComplexArray
    cell: int

    def sinr(self, error: ComplexArray) -> Array:
        """SINR (...,) at the errors (..., I, N)."""
        g = self.h + error
        noise = np.einsum("...ln,lnm,...lm->...", g.conj(), self.rest, g).real + 1.0
        return np.abs(g[..., self.cell, :].conj() @ self.v) ** 2 / noise


def link(
    channel: ComplexArray, radius: Array, beam: ComplexArray, cov: ComplexArray, c: int, k: int
) -> Link:
    """The link of user k in cell c."""
    rest = cov.copy()
    rest[c] -= np.outer(beam[c, k], beam[c, k].conj())
    return Link(channel[:, c, k], radius[:, c, k], beam[c, k], rest, c)


@cache
def _s_lemma(size: int) -> tuple[cp.Problem, cp.Parameter, cp.Parameter, cp.Variable]:
    """Maximise t subject to constant + t slope + mu diag(1, ..., 1, -1) >= 0, mu >= 0."""
    constant = cp.Parameter((2 * size, 2 * size), symmetric=True)
    slope = cp.Parameter((2 * size, 2 * size), symmetric=True)
    t, mu = cp.Variable(), cp.Variable(nonneg=True)
    ball = np.diag(([1.0] * (size - 1) + [-1.0]) * 2)
    problem = cp.Problem(cp.Maximize(t), [constant + t * slope + mu * ball >> 0])
    return problem, constant, slope, t


def _real(matrix: ComplexArray) -> Array:
    """Hermitian (n, n) as a real symmetric matrix (2n, 2n) with the same eigenvalues twice."""
    out = np.block([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]])
    return (out + out.T) / 2


def _solve(constant: ComplexArray, slope: ComplexArray) -> float:
    problem, p, q, t = _s_lemma(len(constant))
    p.value, q.value = _real(constant), _real(slope)
    return float(_tight(problem, t).item())


def _tight(problem: cp.Problem, variable: cp.Variable) -> Array:
    """Value of the variable at the tightest tolerance that Clarabel reaches."""
    for tol, equilibrate in itertools.product(TOLERANCES, (False, True)):
        options = {"tol_gap_abs": tol, "tol_gap_rel": tol, "tol_feas": tol}
        options["equilibrate_enable"] = equilibrate
        with warnings.catch_warnings(), contextlib.suppress(cp.SolverError):
            warnings.simplefilter("ignore")  # "may be inaccurate": callers bracket the answer
            problem.solve(solver=cp.CLARABEL, ignore_dpp=False, **options)
            if variable.value is not None:
                return np.asarray(variable.value)
    raise RuntimeError(f"Clarabel: {problem.status}.")


def _form(matrix: ComplexArray, h: ComplexArray, eps: float) -> ComplexArray:
    """Matrix (N + 1, N + 1) of (h + eps u)^H M (h + eps u) in the variable (u, 1)."""
    basis = np.column_stack([eps * np.eye(len(h)), h])
    return basis.conj().T @ matrix @ basis


def largest_quadratic_sdp(matrix: ComplexArray, h: ComplexArray, eps: float) -> float:
    """Largest (h + d)^H M (h + d) over ||d|| <= eps for Hermitian M, by the S-lemma."""
    form, corner = _form(matrix, h, eps), np.zeros((len(h) + 1,) * 2, complex)
    scale = max(np.abs(form).max(), 1e-300)
    corner[-1, -1] = -1.0
    return -scale * _solve(-form / scale, corner)


def largest_quadratic(matrix: ComplexArray, h: ComplexArray, eps: float) -> float:
    """Largest (h + d)^H M (h + d) over ||d|| <= eps, M PSD, by the secular equation.

    With M = U diag(lam) U^H, y = U^H h, d = U g, g = lam y / (mu - lam) and mu >= lam_max such that
    ||d|| = eps. In the hard case ||d|| < eps at mu = lam_max the rest goes along the top vector.
    """
    lam, u = np.linalg.eigh(matrix)
    y, top = u.conj().T @ h, max(lam[-1], 0.0)
    if top == 0.0 or eps == 0.0:
        return float(np.sum(lam * np.abs(y) ** 2))
    pull, gap = lam / top * np.abs(y), 1.0 - lam / top

    def excess(mu: float) -> float:  # mu + 1 = multiplier / lam_max
        return float(np.sum((pull / (gap + mu)) ** 2)) - eps**2

    high, low = float(np.linalg.norm(pull)) / eps, 1e-15
    if high <= low or excess(low) <= 0:
        d = pull / (gap + low)
        d[-1] = math.sqrt(eps**2 - np.sum(d[:-1] ** 2))
    else:
        mu = brentq(excess, low, high * (1 + 1e-12), xtol=1e-300, rtol=9e-16)
        d = pull / (gap + mu)
    return float(np.sum(lam * (np.abs(y) + d) ** 2))


def interference_floor(user: Link) -> float:
    """1 + the largest interference of the other cells."""
    others = [l for l in range(len(user.h)) if l != user.cell]
    return 1.0 + sum(largest_quadratic(user.rest[l], user.h[l], user.eps[l]) for l in others)


def worst_sinr_sdp(user: Link, *, rounds: int = 3) -> float:
    """Smallest SINR of one user over its error balls, from one S-lemma SDP (4.1).

    t is a lower bound iff N(d) - t (Den(d) + c0) >= 0 on the ball. Everything is divided by the
    signal power; ``rounds`` re-scale t by the last answer, since the solver's error is absolute.
    """
    signal, noise, unit = _forms(user)
    if unit == 0.0:
        return 0.0
    t = min(float(user.sinr(np.zeros_like(user.h))) / unit, 1.0 / float(np.abs(noise).max()))
    for _ in range(rounds):
        factor = _solve(signal, -t * noise)
        if factor <= 1e-8:
            return max(factor, 0.0) * t * unit
        t *= factor
    return t * unit


def worst_sinr_pencil(user: Link) -> float:
    """The same number as the largest t(mu), t = smallest eigenvalue of S + mu E over D (4.1).

    S, D are the forms of signal and noise, E = diag(1, ..., 1, -1). t is concave in mu, hence
    flat at its peak: the answer is accurate to about 1e-14, a lower bound for any mu.
    """
    signal, noise, unit = _forms(user)
    ball = np.diag([1.0] * (len(noise) - 1) + [-1.0])
    if unit == 0.0:
        return 0.0

    def level(log_mu: float) -> float:
        pencil = signal + math.exp(log_mu) * ball
        smallest = np.linalg.eigvalsh(pencil)[0]
        if smallest <= 0:
            return float(smallest)
        return 1.0 / float(eigh(noise, pencil, eigvals_only=True)[-1])

    grid = np.linspace(math.log(1e-9), math.log(2.0), 100)
    i = int(np.argmax([level(x) for x in grid]))
    bounds = (grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)])
    best = minimize_scalar(
        lambda x: -level(x), bounds=bounds, method="bounded", options={"xatol": 1e-12}
    )
    return max(-float(best.fun), 0.0) * unit


def _forms(user: Link) -> tuple[ComplexArray, ComplexArray, float]:
    """Forms of signal and noise in (u, 1), and the unit of their ratio."""
    c0 = interference_floor(user)
    h, eps = user.h[user.cell], float(user.eps[user.cell])
    signal = _form(np.outer(user.v, user.v.conj()), h, eps)
    noise = _form(user.rest[user.cell], h, eps) / c0
    noise[-1, -1] += 1.0
    scale = max(float(np.abs(signal).max()), 1e-300)
    return signal / scale, noise, scale / c0 if signal.any() else 0.0


def worst_sinr_search(
    user: Link, rng: Generator, *, starts: int = 12, steps: int = 400
) -> tuple[float, ComplexArray]:
    """Smallest SINR and its errors (I, N) by normalised projected gradients from many starts.

    The first start is no error, the others are uniform on the spheres. Steps shrink
    geometrically from one radius to 1e-7 radii.
    """
    error = sphere(user, rng, starts)
    error[0] = 0.0
    best, where = math.inf, error[0]
    for step in np.geomspace(1.0, 1e-7, steps):
        value = user.sinr(error)
        if value.min() < best:
            best, where = float(value.min()), error[value.argmin()].copy()
        g = user.h + error
        slope = -value[:, None, None] * np.einsum("lnm,slm->sln", user.rest, g)
        slope[:, user.cell] += (g[:, user.cell].conj() @ user.v).conj()[:, None] * user.v
        length = np.linalg.norm(slope, axis=-1, keepdims=True)
        error = error - step * user.eps[:, None] * slope / np.maximum(length, 1e-300)
        norm = np.linalg.norm(error, axis=-1, keepdims=True)
        error *= np.minimum(1.0, user.eps[:, None] / np.maximum(norm, 1e-300))
    return best, where


def sphere(user: Link, rng: Generator, count: int) -> ComplexArray:
    """Errors uniform on the spheres, (count, I, N)."""
    z = complex_normal(rng, count, *user.h.shape)
    return z * user.eps[:, None] / np.linalg.norm(z, axis=-1, keepdims=True)


def worst_sinr_sampled(user: Link, rng: Generator, count: int = 1000) -> float:
    """Smallest SINR over ``count`` errors on the spheres and as many inside the balls."""
    on, inside = sphere(user, rng, count), sphere(user, rng, count)
    shrink = rng.random((count, len(user.h), 1)) ** (0.5 / user.h.shape[1])
    return float(min(user.sinr(on).min(), user.sinr(inside * shrink).min()))


def worst_sinr_closed(channel: ComplexArray, radius: Array, beam: ComplexArray) -> Array:
    """Worst SINR (I, 1) of one user per cell without sensing signal, in closed form (8.8)."""
    num_bs = len(beam)
    out = np.zeros((num_bs, 1))
    for c in range(num_bs):
        reach = [abs(np.vdot(channel[l, c, 0], beam[l, 0])) for l in range(num_bs)]
        slack = [radius[l, c, 0] * np.linalg.norm(beam[l, 0]) for l in range(num_bs)]
        noise = 1.0 + sum((reach[l] + slack[l]) ** 2 for l in range(num_bs) if l != c)
        out[c, 0] = max(reach[c] - slack[c], 0.0) ** 2 / noise
    return out


def hard_case() -> tuple[ComplexArray, ComplexArray, float, float]:
    """(M, h, eps, answer): M h = 0, so the quadratic has no gradient at d = 0 (8.8)."""
    return np.diag([0.0, 1.0, 2.0, 3.0, 4.0]).astype(complex), np.eye(5, dtype=complex)[0], 0.5, 1.0


# --- rate bound, quadratic programme, hypervolume -----------------------------------------------


def rate_bound(channel: ComplexArray, radius: Array, weight: Array, power_w: Array) -> float:
    """Interference-free bound of the weighted sum rate, bit/s/Hz (4.3): weighted water-filling.

    Maximises sum w log2(1 + p g), g = (||h|| - eps)_+^2, sum p <= P: root of the water level.
    """
    total = 0.0
    for c in range(len(power_w)):
        gain = np.maximum(np.linalg.norm(channel[c, c], axis=-1) - radius[c, c], 0.0) ** 2
        g, w = gain[gain > 0], weight[c][gain > 0]
        if not len(g):
            continue

        def spent(level: float, g: Array = g, w: Array = w, cap: float = power_w[c]) -> float:
            return float(np.maximum(w * level - 1 / g, 0.0).sum()) - cap

        high = (1 + 1e-9) * (power_w[c] + (1 / g).max()) / w.min()
        level = brentq(spent, 0.0, high, xtol=1e-300, rtol=9e-16)
        total += float(np.sum(w * np.log2(np.maximum(w * level * g, 1.0))))
    return total


def rate_bound_convex(channel: ComplexArray, radius: Array, weight: Array, power_w: Array) -> float:
    """The same bound as a convex programme over powers scaled by P."""
    total = 0.0
    for c in range(len(power_w)):
        gain = np.maximum(np.linalg.norm(channel[c, c], axis=-1) - radius[c, c], 0.0) ** 2
        p = cp.Variable(len(gain), nonneg=True)
        rate = cp.sum(cp.multiply(weight[c], cp.log1p(cp.multiply(gain * power_w[c], p))))
        total += float(cp.Problem(cp.Maximize(rate), [cp.sum(p) <= 1]).solve(solver=cp.CLARABEL))
    return total / math.log(2.0)


def min_norm_point(rows: Array) -> tuple[float, Array]:
    """Smallest ||sum_i lam_i rows_i||^2 over the simplex and lam, rows (M, n), by CVXPY (3.1)."""
    q = np.linalg.qr(rows.T, mode="r")
    scale = max(float(np.linalg.norm(rows, axis=1).min()), 1e-300)
    lam = cp.Variable(len(rows), nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares((q / scale) @ lam)), [cp.sum(lam) == 1])
    found = np.maximum(_tight(problem, lam), 0.0)
    found /= found.sum()
    return float(np.sum((found @ rows) ** 2)), found


def hypervolume(points: Array) -> float:
    """Area of the union of the boxes [0, f1] x [0, f2], points (S, 2), cell by cell."""
    points = np.maximum(points, 0.0)
    xs, ys = (np.unique(np.append(points[:, d], 0.0)) for d in (0, 1))
    area = 0.0
    for i in range(1, len(xs)):
        for j in range(1, len(ys)):
            if any(p[0] >= xs[i] and p[1] >= ys[j] for p in points):
                area += (xs[i] - xs[i - 1]) * (ys[j] - ys[j - 1])
    return float(area)
