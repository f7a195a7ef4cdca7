"""Exact and brute-force optima of power control: LP, GP, grids, eigenvalues, loops (spec 4).

Everything here sees only the normalised arrays of spec 1.4: gamma_s = x / (F x + n),
gamma_c = x / (Q x + m), 0 <= x <= 1, gamma_c >= Gamma, maximise t = min_i gamma_s_i / w_i.
``Network.gamma`` is linear; 0 switches the constraint of that row off. Nothing is shared with the
package.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize

Array = NDArray[np.float64]
Objective = Callable[[Array], Array]

TIGHT = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
HIGHS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True)
class Network:
    """Normalised instance: f, q (I, I); n, m, gamma (linear threshold) and weight w (I,)."""

    f: Array
    n: Array
    q: Array
    m: Array
    gamma: Array
    weight: Array

    @property
    def size(self) -> int:
        """Number of base stations I."""
        return len(self.n)

    @property
    def sensing(self) -> tuple[Array, Array]:
        """(D(w) F, D(w) n): t is then min_i x_i / (F x + n)_i."""
        return self.weight[:, None] * self.f, self.weight * self.n

    @property
    def comm(self) -> tuple[Array, Array]:
        """(Q', m') = (D(Gamma) Q, D(Gamma) m): feasible iff x >= Q' x + m'."""
        return self.gamma[:, None] * self.q, self.gamma * self.m


def make_network(
    f: Array, n: Array, q: Array, m: Array, *, gamma_db: Array | float, bw_hz: Array | None = None
) -> Network:
    """Network from the arrays of 1.4, Gamma in dB (-inf allowed) and w = (B_max / B_i)^2 (4.1)."""
    gamma = 10.0 ** (np.broadcast_to(np.asarray(gamma_db, dtype=float), n.shape) / 10.0)
    weight = np.ones(len(n)) if bw_hz is None else (np.max(bw_hz) / np.asarray(bw_hz)) ** 2
    return Network(f, n, q, m, gamma, weight)


def level(net: Network, x: Array) -> float:
    """T = min_i gamma_s_i / w_i at x, by a loop (1.5)."""
    values = []
    for i in range(net.size):
        interference = net.n[i] + sum(net.f[i, j] * x[j] for j in range(net.size))
        values.append(x[i] / (net.weight[i] * interference))
    return min(values)


def comm_ratio(net: Network, x: Array) -> float:
    """min_i gamma_c_i / Gamma_i at x, by a loop; feasible iff >= 1 (P1.a)."""
    q, m = net.comm
    return min(
        x[i] / (m[i] + sum(q[i, j] * x[j] for j in range(net.size))) if net.gamma[i] else math.inf
        for i in range(net.size)
    )


# --- eigenvalue closed forms (4.2, 4.3) --------------------------------------------------------


def spectral_radius(matrix: Array) -> float:
    """Largest absolute eigenvalue by numpy."""
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def perron(matrix: Array) -> Array:
    """Perron vector of a non-negative matrix, scaled to maximum 1."""
    values, vectors = np.linalg.eig(matrix)
    v = np.abs(vectors[:, np.abs(values).argmax()].real)
    return v / v.max()


def _capped(f: Array, n: Array) -> tuple[float, Array]:
    """min_k 1 / rho(F + n e_k^T) and its Perron vector: max-min level under the box alone."""
    caps = [f + np.outer(n, np.eye(len(n))[k]) for k in range(len(n))]
    best = max(caps, key=spectral_radius)
    return 1.0 / spectral_radius(best), perron(best)


def unconstrained_optimum(net: Network) -> tuple[float, Array]:
    """t and x without communication constraints, min_k 1 / rho(F + n e_k^T) (4.2)."""
    return _capped(*net.sensing)


def comm_margin(net: Network) -> tuple[float, Array]:
    """Margin tf and the safe point, its Perron vector (4.3); all gamma must be > 0."""
    return _capped(*net.comm)


def smallest_comm_powers(net: Network) -> Array | None:
    """x0 = (I - Q')^{-1} m' if it is non-negative and <= 1, else None (4.3)."""
    q, m = net.comm
    if spectral_radius(q) >= 1:
        return None
    x = np.linalg.solve(np.eye(net.size) - q, m)
    return x if x.max() <= 1 else None


def enumeration_optimum(net: Network) -> tuple[float, Array]:
    """t* = min over all row selections S and caps k of t(S, k) (4.2); needs margin >= 1."""
    (f, n), (q, m) = net.sensing, net.comm
    best, vector, eye = math.inf, np.ones(net.size), np.eye(net.size)
    for rows in itertools.product([0.0, 1.0], repeat=net.size):
        s = np.diag(rows)
        for k in range(net.size):
            left = eye - (eye - s) @ (q + np.outer(m, eye[k]))
            matrix = np.linalg.solve(left, s @ (f + np.outer(n, eye[k])))
            rho = spectral_radius(matrix)
            if rho > 0 and 1 / rho < best:
                best, vector = 1 / rho, perron(matrix)
    return best, vector


# --- linear programming (4.1) ------------------------------------------------------------------


def _rows(net: Network, t: float) -> tuple[Array, Array]:
    """(M, b) with M x <= -b the 2I affine constraints at level t, rows x_i >= ... (P3)."""
    (f, n), (q, m) = net.sensing, net.comm
    eye = np.eye(net.size)
    return np.vstack([t * f - eye, q - eye]), np.concatenate([t * n, m])


def _linprog(cost: Array, matrix: Array, right: Array, bounds: list) -> Array:
    """HiGHS at its tightest tolerances; a second try without presolve."""
    for presolve in (True, False):
        options = {**HIGHS, "presolve": presolve}
        res = linprog(cost, matrix, right, bounds=bounds, method="highs-ds", options=options)
        if res.status == 0:
            return np.asarray(res.x, dtype=float)
    raise RuntimeError(f"HiGHS failed: {res.message}")


def lp_noise_margin(net: Network, t: float) -> tuple[float, Array]:
    """Largest factor r by which all noise may grow at level t, and x; feasible iff r >= 1."""
    matrix, b = _rows(net, t)
    unit = b.max()
    bounds = [(0.0, 1.0)] * net.size + [(0.0, None)]
    x = _linprog(np.r_[np.zeros(net.size), -1.0], np.c_[matrix, b / unit], np.zeros(len(b)), bounds)
    return float(x[-1] / unit), x[:-1]


def lp_optimum(net: Network, rtol: float = 1e-12) -> tuple[float, Array]:
    """t* by log bisection on LP feasibility, and a feasible x at it (4.1, 4.4)."""
    high = math.log(float(np.min(1.0 / (net.weight * (np.diag(net.f) + net.n)))))
    low = high - 60.0
    if lp_noise_margin(net, math.exp(low))[0] < 1:
        raise ValueError("communication thresholds are infeasible")
    while high - low > rtol:
        mid = (low + high) / 2
        low, high = (mid, high) if lp_noise_margin(net, math.exp(mid))[0] >= 1 else (low, mid)
    return math.exp(low), lp_noise_margin(net, math.exp(low))[1]


def lp_power_range(net: Network, t: float) -> tuple[Array, Array]:
    """Feasible x of smallest and of largest 1^T x at level t (uniqueness, 4.1)."""
    matrix, b = _rows(net, t)
    bounds, ones = [(0.0, 1.0)] * net.size, np.ones(net.size)
    return _linprog(ones, matrix, -b, bounds), _linprog(-ones, matrix, -b, bounds)


# --- geometric programming (4.1, 4.6) ----------------------------------------------------------


def _posynomial(row: Array, constant: float, x: cp.Variable) -> cp.Expression | None:
    """sum_j row_j x_j + constant without its zero terms; None if all vanish."""
    terms = [row[j] * x[j] for j in range(len(row)) if row[j] > 0]
    terms += [constant] if constant > 0 else []
    return sum(terms[1:], terms[0]) if terms else None


def _gp_constraints(net: Network, x: cp.Variable) -> list[cp.Constraint]:
    """Box and communication constraints as posynomial inequalities."""
    q, m = net.comm
    rows = [(_posynomial(q[i], m[i], x), x[i]) for i in range(net.size)]
    return [x <= 1, *(p <= v for p, v in rows if p is not None)]


def _solve_gp(problem: cp.Problem, net: Network, x: cp.Variable, tolerance: float) -> Array:
    """Solve; accept an inaccurate status if the measured constraint residual is small."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "may be inaccurate": measured below
        problem.solve(gp=True, solver=cp.CLARABEL, **TIGHT)
    if x.value is None:
        raise RuntimeError(f"GP failed: {problem.status}")
    residual = max(float(x.value.max()) - 1, 1 / comm_ratio(net, x.value) - 1)
    if residual > tolerance:
        raise RuntimeError(f"GP residual {residual:.1e} with status {problem.status}")
    return np.asarray(x.value, dtype=float)


def gp_optimum(net: Network, tolerance: float = 1e-8) -> tuple[float, Array]:
    """t* and x* by CVXPY's geometric programming (4.1); t is re-evaluated at x."""
    x, t = cp.Variable(net.size, pos=True), cp.Variable(pos=True)
    f, n = net.sensing
    rows = [_posynomial(f[i], n[i], x) for i in range(net.size)]
    constraints = [t * p <= x[i] for i, p in enumerate(rows)] + _gp_constraints(net, x)
    best = _solve_gp(cp.Problem(cp.Maximize(t), constraints), net, x, tolerance)
    return level(net, best), best


def gp_min_weighted_std(
    net: Network, cost: Array, exponent: float, tolerance: float = 1e-7
) -> tuple[float, Array]:
    """Minimise sum_i cost_i gamma_s_i^-exponent exactly (4.6); returns the value and x.

    exponent 1 with cost c_i c^2 / (8 B_i^2 g) gives PEB3^2 for I = 3; exponent 1/2 with cost
    c / (2 B_i sqrt(2 g) I) gives the mean range accuracy.
    """
    x = cp.Variable(net.size, pos=True)
    rows = [_posynomial(net.f[i], net.n[i], x) for i in range(net.size)]
    share = cost / cost.max()
    terms = [share[i] * (p / x[i]) ** exponent for i, p in enumerate(rows)]
    problem = cp.Problem(cp.Minimize(sum(terms[1:], terms[0])), _gp_constraints(net, x))
    best = _solve_gp(problem, net, x, tolerance)
    return float((cost * ((net.f @ best + net.n) / best) ** exponent).sum()), best


# --- brute force on the faces max x = 1 (4.1, 8) -----------------------------------------------


def face_points(size: int, face: int, steps: int, floor_db: float) -> Array:
    """Grid on the face x_face = 1, other entries from floor_db to 0 dB, (P, I)."""
    axis = 10.0 ** (np.linspace(floor_db, 0.0, steps) / 10.0)
    mesh = np.meshgrid(*[axis] * (size - 1), indexing="ij")
    flat = [v.ravel() for v in mesh]
    return np.stack([*flat[:face], np.ones(steps ** (size - 1)), *flat[face:]], axis=1)


def grid_minimum(
    net: Network, objective: Objective, *, steps: int, floor_db: float = -45.0
) -> list[tuple[float, Array]]:
    """Best feasible (value, x) on every face, best first; value inf where none is feasible.

    ``objective`` maps sensing SINRs (P, I) to values (P,).
    """
    found = []
    for face in range(net.size):
        x = face_points(net.size, face, steps, floor_db)
        gamma_s = x / (x @ net.f.T + net.n)
        gamma_c = x / (x @ net.q.T + net.m)
        value = np.where((gamma_c >= net.gamma).all(1), objective(gamma_s), math.inf)
        found.append((float(value.min()), x[value.argmin()]))
    return sorted(found, key=lambda pair: pair[0])


def grid_optimum(net: Network, *, steps: int, floor_db: float = -45.0) -> tuple[float, Array]:
    """Best t on the face grid and its x: never above t* (8). I = 2 and 3 only by cost."""
    value, x = grid_minimum(
        net, lambda g: -(g / net.weight).min(1), steps=steps, floor_db=floor_db
    )[0]
    return -value, x


def polish(
    net: Network, objective: Objective, start: Array, floor_db: float = -80.0
) -> tuple[float, Array]:
    """Local minimum of log objective in z = log x by SLSQP with the log constraints (4.6).

    Returns inf where the end point violates a constraint by more than 1e-9.
    """
    q, m = net.comm
    on = net.gamma > 0

    def value(z: Array) -> float:
        x = np.exp(z)
        return math.log(float(objective((x / (net.f @ x + net.n))[None])[0]))

    def slack(z: Array) -> Array:
        return (z - np.log(q @ np.exp(z) + m))[on]

    res = minimize(
        value,
        np.log(start),
        method="SLSQP",
        bounds=[(floor_db * math.log(10) / 10, 0.0)] * net.size,
        constraints=[{"type": "ineq", "fun": slack}] if on.any() else [],
        options={"ftol": 1e-14, "maxiter": 300},
    )
    good = not on.any() or slack(res.x).min() > -1e-9
    return (math.exp(res.fun) if good else math.inf), np.exp(res.x)


def peb_objective(u: Array, scale: Array) -> Objective:
    """SINRs (P, I) -> PEB (P,) for directions u (I, dim) and sigma_i^2 = scale_i / gamma_i."""

    def objective(gamma_s: Array) -> Array:
        j = np.einsum("pi,ia,ib->pab", gamma_s / scale, u, u)
        if u.shape[1] == 2:
            trace, det = j[:, 0, 0] + j[:, 1, 1], j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1] ** 2
            return np.sqrt(np.where(det > 0, trace / np.where(det > 0, det, 1.0), math.inf))
        return np.sqrt(np.trace(np.linalg.inv(j), axis1=1, axis2=2))

    return objective


def peb_optimum(
    net: Network, u: Array, scale: Array, *, steps: int = 137, floor_db: float = -45.0
) -> tuple[float, Array]:
    """Smallest PEB over powers: face grid (default 0.33 dB), then SLSQP from each face (4.6)."""
    objective = peb_objective(u, scale)
    grid = grid_minimum(net, objective, steps=steps, floor_db=floor_db)
    starts = [pair for pair in grid if math.isfinite(pair[0])]
    ends = [polish(net, objective, x) for _, x in starts]
    return min([*starts, *ends], key=lambda pair: pair[0])


# --- distributed rule (4.5) --------------------------------------------------------------------


def distributed(net: Network, *, eta: float, iterations: int) -> Array:
    """Scalar loop of the distributed rule from full power; returns x (4.5)."""
    (f, n), (q, m) = net.sensing, net.comm
    size = net.size
    x = [1.0] * size
    tau = level(net, np.ones(size))
    for _ in range(iterations):
        new = []
        for i in range(size):
            sense = tau * (n[i] + sum(f[i, j] * x[j] for j in range(size)))
            talk = m[i] + sum(q[i, j] * x[j] for j in range(size))
            new.append(max(sense, talk))
        mu = max(new)
        tau *= mu**-eta
        x = [min(v, 1.0) for v in new]
    return np.array(x)
