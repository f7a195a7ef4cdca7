r"""The convex programmes of subcarrier selection with CVXPY, one room at a time.

Both work on the coefficients themselves, not on the kernel that the solvers work on:

    probe        min over V, w of  |Y - X V|^2 + f sum_s |V_s|^2 / w_s,  0 <= w <= 1, sum w = k
    group lasso  min over V of     |Y - X V|^2 / 2 + p sum_s |V_s|

|V_s|^2 / w_s is a second-order cone (quadratic over linear). X is reduced to its triangular factor.
Nothing here is used by other solvers: tests compare with them.
"""

import warnings
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

__all__ = ["ProbeOptimum", "group_lasso_optimum", "probe_optimum"]

Array = NDArray[np.float64]


class ProbeOptimum(NamedTuple):
    """Optimum of the relaxed probe.

    Attributes:
        value: Least phi, the mean over both tasks.
        weight: w, (S,).
    """

    value: float
    weight: Array


def probe_optimum(
    x: Array, label: Array, *, ridge: float, total: int, degree: int = 1, num_location: int = 2
) -> ProbeOptimum:
    """Least phi over the capped simplex.

    Args:
        x: Training features, (J, S, C).
        label: Centred training labels, (J, Y).
        ridge: f > 0, per sample on columns of unit variance.
        total: k.
        degree: Largest power of the features.
        num_location: Leading label entries of the first task.
    """
    design, wanted, tones = _reduced(x, label, degree, num_location)
    v = cp.Variable((design.shape[1], wanted.shape[1]))
    w = cp.Variable(tones, nonneg=True)
    width = design.shape[1] // tones
    groups = [v[tone * width : (tone + 1) * width] for tone in range(tones)]
    shrunk = sum(cp.quad_over_lin(cp.vec(g, order="F"), w[s]) for s, g in enumerate(groups))
    missed = cp.sum_squares(wanted - design @ v)
    unseen = float(2 - np.square(wanted).sum())  # energy off the columns' span
    limits: list[Any] = [w <= 1, cp.sum(w) == total]
    programme = cp.Problem(cp.Minimize(missed + ridge * shrunk), limits)
    value = _solve(programme)
    return ProbeOptimum((value + unseen) / 2, np.asarray(w.value))


def group_lasso_optimum(
    x: Array, label: Array, *, penalty: float, num_location: int = 2
) -> tuple[float, Array]:
    """Least cost of the group lasso and the norms |V_s| (S,) of its minimiser; as above."""
    design, wanted, tones = _reduced(x, label, 1, num_location)
    v = cp.Variable((design.shape[1], wanted.shape[1]))
    width = design.shape[1] // tones
    sizes = [cp.norm(v[tone * width : (tone + 1) * width], "fro") for tone in range(tones)]
    cost = cp.sum_squares(wanted - design @ v) / 2 + penalty * cp.sum(cp.hstack(sizes))
    unseen = float(2 - np.square(wanted).sum())
    value = _solve(cp.Problem(cp.Minimize(cost)))
    found = np.asarray(v.value).reshape(tones, -1)
    return value + unseen / 2, np.linalg.norm(found, axis=1)


def _reduced(x: Array, label: Array, degree: int, num_location: int) -> tuple[Array, Array, int]:
    """Triangular factor of the columns, the labels on its span, and the number of tones."""
    powers = np.concatenate([x**power for power in range(1, degree + 1)], axis=2)
    columns = powers.reshape(len(x), -1)
    columns = columns - columns.mean(0)
    deviation = columns.std(0)
    is_flat = deviation <= 1e-6
    columns = np.where(is_flat, 0.0, columns / np.where(is_flat, 1.0, deviation))
    wanted = np.array(label, dtype=float)
    wanted[:, :num_location] /= np.linalg.norm(wanted[:, :num_location])
    wanted[:, num_location:] /= np.linalg.norm(wanted[:, num_location:])
    q, r = np.linalg.qr(columns / np.sqrt(len(x)))
    return r, q.T @ wanted, x.shape[1]


def _solve(programme: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the caller compares values
        programme.solve(solver=cp.CLARABEL)
    return float("nan") if programme.value is None else float(programme.value)
