"""One round of the surrogate from its definitions, in NumPy; one lane at a time.

Nothing is shared with the package but ``tests.oracles.ota_feel``. Shapes as there; belief: mean
(3,) and covariance (3, 3).
"""

import math

import numpy as np


def sector_moments(rng, inner, outer, arc, height, *, samples):
    """Mean and covariance of targets uniform over a ring sector and the heights, by simulation."""
    radius = np.sqrt(inner**2 + (outer**2 - inner**2) * rng.random(samples))
    angle = arc * (rng.random(samples) - 0.5)
    z = height * rng.random(samples)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)
    return points.mean(0), np.cov(points.T)


def information_update(mean, covariance, information, report):
    """Posterior of a Gaussian belief and an unbiased report with covariance J^-1."""
    precision = np.linalg.inv(covariance)
    after = np.linalg.inv(precision + information)
    return after @ (precision @ mean + information @ report), after


def best_within(heard, weight, budget):
    """argmin |F^H C - W|^2 over |C|_F^2 <= budget of F (M, R), W (R,), by bisection on nu."""
    count = heard.shape[0]
    phi, wanted = heard @ heard.conj().T, heard * weight

    def at(nu):
        if nu == 0:
            return np.linalg.pinv(phi, rcond=1e-12) @ wanted
        return np.linalg.solve(phi + nu * np.eye(count), wanted)

    def spent(nu):
        return float(np.sum(np.abs(at(nu)) ** 2))

    if spent(0) <= budget:
        return at(0)
    low, high = 0.0, 1.0
    while spent(high) > budget:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > budget else (low, middle)
    return at(high)


def shaped(heard, weight, toward, power_entry, sensing_entry):
    """Structured part of a precoder over sqrt(P) and its sensing direction, (M, R) and (M,).

    heard: H^H M sqrt(P) (M, R); toward: unit vector to the estimated target (M,).
    """
    u = 1 - (1 - power_entry) ** 2 / 4
    share, quiet = max(sensing_entry, 0), max(-sensing_entry, 0)
    block = np.eye(len(toward)) - quiet * np.outer(toward, toward.conj())
    kept = block @ best_within(block @ heard, weight, u * (1 - share))
    full, _ = np.linalg.qr(heard, mode="complete")
    null = full[:, heard.shape[1] :]
    off = null @ (null.conj().T @ toward)
    return kept, math.sqrt(u * share) * off / np.linalg.norm(off)
