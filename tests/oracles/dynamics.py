"""Scalar oracles of target motion, AR(1) fading, the range EKF and the radial projection."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


def hexagon_normals() -> Array:
    """Outward unit normals of the six edges at 0, 60, ..., 300 deg, (6, 2) (5.1)."""
    angles = [math.radians(60.0 * k) for k in range(6)]
    return np.array([[math.cos(v), math.sin(v)] for v in angles])


def first_wall(position: Array, velocity: Array, apothem: float) -> tuple[float, int]:
    """Time to the first wall ahead and its index; (inf, -1) without one."""
    best, wall = math.inf, -1
    for k, normal in enumerate(hexagon_normals()):
        speed = float(normal @ velocity)
        if speed > 0:
            time = max(0.0, (apothem - float(normal @ position)) / speed)
            if time < best:
                best, wall = time, k
    return best, wall


def move_target(
    position: Array, velocity: Array, dt: float, radius: float
) -> tuple[Array, Array, int]:
    """Straight flight with specular reflection at each wall hit, in order of time (5.1).

    Returns the new position (2,), velocity (2,) and the number of bounces. Folding an overshoot
    p <- p - 2 (n.p - a) n is the same for at most one bounce; near a corner the order of walls
    matters and only the order of hits is physical.
    """
    apothem, left, bounces = radius * math.sqrt(3) / 2, dt, 0
    position, velocity = np.array(position, dtype=float), np.array(velocity, dtype=float)
    while True:
        time, wall = first_wall(position, velocity, apothem)
        if time >= left:
            return position + left * velocity, velocity, bounces
        normal = hexagon_normals()[wall]
        position = position + time * velocity
        velocity = velocity - 2 * float(normal @ velocity) * normal
        left, bounces = left - time, bounces + 1


def turn(velocity: Array, angle_rad: float) -> Array:
    """Velocity with its heading changed by ``angle_rad`` (random walk of 5.1)."""
    speed = math.hypot(velocity[0], velocity[1])
    heading = math.atan2(velocity[1], velocity[0]) + angle_rad
    return np.array([speed * math.cos(heading), speed * math.sin(heading)])


def ar1_step(w: complex, innovation: complex, rho: float) -> complex:
    """W <- rho W + sqrt(1 - rho^2) innovation (5.1)."""
    return rho * w + math.sqrt(1 - rho**2) * innovation


def fading_statistics(series: ComplexArray, lag: int = 1) -> dict[str, float]:
    """Moments of fading series (slots, samples): CN(0,1) AR(1) has 0, 1, 0, rho^lag, 2.

    Keys: ``mean`` |E W|, ``power`` E|W|^2, ``pseudo`` |E W^2|, ``correlation`` Re E W_k+l W_k^*
    over the power, ``kurtosis`` E|W|^4 / (E|W|^2)^2.
    """
    square = series.real**2 + series.imag**2
    power = float(square.mean())
    product = series[lag:] * series[:-lag].conj()
    return {
        "mean": abs(complex(series.mean())),
        "power": power,
        "pseudo": abs(complex((series**2).mean())),
        "correlation": float(product.real.mean()) / power,
        "kurtosis": float((square**2).mean()) / power**2,
    }


def ekf_predict(
    state: Array, covariance: Array, dt: float, accel_std: float
) -> tuple[Array, Array]:
    """Constant-velocity prediction of (x, y, vx, vy); white acceleration held over dt (5.4)."""
    transition, drive = np.eye(4), np.zeros((4, 2))
    for axis in range(2):
        transition[axis, axis + 2] = dt
        drive[axis, axis], drive[axis + 2, axis] = dt**2 / 2, dt
    process = accel_std**2 * drive @ drive.T
    return transition @ state, transition @ covariance @ transition.T + process


def ekf_update(
    state: Array, covariance: Array, ranges: Array, sigma: Array, bs: Array, height: float
) -> tuple[Array, Array]:
    """Textbook EKF update with 3-D ranges to a target of known height; Joseph form (5.4)."""
    rows, innovation = np.zeros((len(bs), 4)), np.zeros(len(bs))
    for i, site in enumerate(bs):
        dx, dy, dz = state[0] - site[0], state[1] - site[1], height - site[2]
        d = math.sqrt(dx**2 + dy**2 + dz**2)
        rows[i, 0], rows[i, 1] = dx / d, dy / d
        innovation[i] = ranges[i] - d
    noise = np.diag([s**2 for s in sigma])
    gain = covariance @ rows.T @ np.linalg.inv(rows @ covariance @ rows.T + noise)
    keep = np.eye(4) - gain @ rows
    return state + gain @ innovation, keep @ covariance @ keep.T + gain @ noise @ gain.T


def information_update(
    state: Array, covariance: Array, sigma: Array, bs: Array, height: float
) -> Array:
    """Posterior covariance (P^-1 + sum_i h_i h_i^T / sigma_i^2)^-1, one BS at a time."""
    information = np.linalg.inv(covariance)
    for site, s in zip(bs, sigma, strict=True):
        offset = np.array([state[0] - site[0], state[1] - site[1], height - site[2]])
        row = np.r_[offset[:2] / math.sqrt(float(offset @ offset)), 0.0, 0.0]
        information = information + np.outer(row, row) / s**2
    return np.linalg.inv(information)


def radial_projection(x: Array, q: Array, m: Array, safe: Array, steps: int = 200) -> Array:
    """Nearest feasible point to x on the segment to ``safe``: bisection on theta (3.4).

    (q, m) are Q', m' = D(Gamma) (Q, m); ``safe`` must satisfy safe >= Q' safe + m'.
    """

    def is_feasible(theta: float) -> bool:
        y = [x[i] + theta * (safe[i] - x[i]) for i in range(len(x))]
        need = [m[i] + sum(q[i, j] * y[j] for j in range(len(y))) for i in range(len(y))]
        return all(have >= want for have, want in zip(y, need, strict=True))

    if is_feasible(0.0):
        return np.array(x, dtype=float)
    low, high = 0.0, 1.0
    for _ in range(steps):
        mid = (low + high) / 2
        low, high = (low, mid) if is_feasible(mid) else (mid, high)
    return np.array([x[i] + high * (safe[i] - x[i]) for i in range(len(x))])
