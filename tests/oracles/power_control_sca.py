"""Algorithm 1 of the paper, one CVXPY problem per iteration (spec 3.1 and 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

import cvxpy as cp
import numpy as np

from tests.oracles.power_control_optimum import Array, Network, level


@dataclass
class ScaResult:
    """Trace of Algorithm 1: solver's t per iteration, last x, last solver status."""

    x: Array
    t: list[float] = field(default_factory=list)
    status: str = "start"


def sca(
    net: Network,
    *,
    split: str,
    row_scale: Array | float = 1.0,
    comm_scale: Array | float = 1.0,
    eps: float = 1e-4,
    max_iter: int = 40,
) -> ScaResult:
    """Algorithm 1 with one CVXPY problem per iteration and CLARABEL's defaults (3.1, 3.2).

    ``split`` picks kappa: "balanced" (y^k / t^k, refreshed), "fixed" (y^0 / t^0), "unit" (1). Row i
    of (14) and of P1.a is multiplied by ``row_scale`` and ``comm_scale``: the paper's literal watts
    are A_ii p_max_i and H_ii p_max_i.
    """
    f, n = net.sensing
    scale = np.broadcast_to(np.asarray(row_scale, dtype=float), net.size)
    talk = np.broadcast_to(np.asarray(comm_scale, dtype=float), net.size)
    x_k = np.ones(net.size)
    y_k, t_k = scale * (f @ x_k + n), level(net, x_k)
    result, kappa_0 = ScaResult(x_k, [t_k]), np.sqrt(y_k / t_k)
    for _ in range(max_iter):
        kappa = {"balanced": np.sqrt(y_k / t_k), "fixed": kappa_0, "unit": np.ones(net.size)}[split]
        step = _sca_step(net, kappa, scale, talk, y_k, t_k)
        result.status = step[0]
        if step[1] is None or step[1][2] <= 0:
            break
        result.x, y_k, t_new = step[1]
        result.t.append(t_new)
        done, t_k = abs(t_new - t_k) <= eps * t_k, t_new
        if done:
            break
    return result


def _sca_step(
    net: Network, kappa: Array, scale: Array, talk: Array, y_k: Array, t_k: float
) -> tuple[str, tuple[Array, Array, float] | None]:
    """One convex problem P4; returns the status and (x, y, t), or None without a solution (15)."""
    (f, n), (q, m) = net.sensing, net.comm
    x, y, t = cp.Variable(net.size), cp.Variable(net.size), cp.Variable()
    constraints = [x >= 0, x <= 1, y >= cp.multiply(scale, f @ x + n)]
    for i in range(net.size):
        k = kappa[i]
        d = k * t_k - y_k[i] / k
        linear = d**2 + 2 * d * (k * (t - t_k) - (y[i] - y_k[i]) / k)
        constraints.append(scale[i] * x[i] >= 0.25 * cp.square(k * t + y[i] / k) - 0.25 * linear)
        constraints.append(talk[i] * x[i] >= talk[i] * (q[i] @ x + m[i]))
    problem = cp.Problem(cp.Maximize(t), constraints)
    try:
        problem.solve(solver=cp.CLARABEL)
    except cp.SolverError:
        return "solver_error", None
    if x.value is None or t.value is None:
        return str(problem.status), None
    return str(problem.status), (np.clip(x.value, 0, 1), y.value, float(t.value))
