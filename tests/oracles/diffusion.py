"""Adapt-then-combine by plain NumPy loops over the users; shares no code with the library."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

__all__ = ["central_loop", "user_loop"]


def _direction(x: Array, blocks: Array | None) -> tuple[Array, Array]:
    """x_n / |x_n| and x_g / |x_g|, both 0 at 0."""
    single = x / np.maximum(np.abs(x), 1e-8)
    grouped = np.zeros_like(x)
    if blocks is not None:
        for b in np.unique(blocks):
            rows = blocks == b
            grouped[rows] = x[rows] / max(np.linalg.norm(x[rows]), 1e-8)
    return single, grouped


def _slope(x: Array, u: Array, y: complex, tls: bool, gamma: float) -> Array:
    e = y - u @ x
    if not tls:
        return e * u.conj()
    e = e / (1 + np.sum(np.abs(x) ** 2) / gamma)
    return e * u.conj() + abs(e) ** 2 / gamma * x


def user_loop(
    x: Array,
    g: Array,
    v: Array,
    y: Array,
    step: Array,
    weight: Array | None,
    *,
    tls: bool = False,
    gamma: float = 1.0,
    l1: float = 0.0,
    l21: float = 0.0,
    blocks: Array | None = None,
    every: int = 1,
) -> Array:
    """Images (K, V) of one instance after all samples; arguments as in the library, unbatched."""
    x = x.copy()
    for t in range(len(v)):
        moved = np.empty_like(x)
        for k in range(len(x)):
            slope = _slope(x[k], g[k] * v[t], y[t, k], tls, gamma)
            if l1 or l21:
                single, grouped = _direction(x[k], blocks)
                slope = slope - l1 * single - l21 * grouped
            moved[k] = x[k] + step[k] * slope
        x = moved
        if weight is not None and (t + 1) % every == 0:
            x = np.zeros_like(moved)
            for k in range(len(x)):
                for j in np.flatnonzero(weight[:, k]):
                    x[k] += weight[j, k] * moved[j]
    return x


def central_loop(
    x: Array,
    g: Array,
    v: Array,
    y: Array,
    step: float,
    *,
    tls: bool = False,
    gamma: float = 1.0,
    l1: float = 0.0,
    l21: float = 0.0,
    blocks: Array | None = None,
) -> Array:
    """One image (V,) corrected by the users' average gradient."""
    for t in range(len(v)):
        slope = np.zeros_like(x)
        for k in range(len(g)):
            slope += _slope(x, g[k] * v[t], y[t, k], tls, gamma) / len(g)
        single, grouped = _direction(x, blocks)
        x = x + step * (slope - l1 * single - l21 * grouped)
    return x
