"""Affine interference networks: SINR, balanced and max-min levels, radial projection.

A network of I links has levels x in [0, 1]^I and SINRs x / (F x + n), with F >= 0 and n > 0.
Thresholds are linear constraints x >= Q x + m, where Q and m already contain the thresholds
(rows of zeros mean no threshold). Bandwidth weights are folded into F and n by the caller.

Inside, tensors are batch-last, (I, I, B), and every sum runs in a fixed order, so that the answer
of a lane does not depend on its neighbours. Systems have the form (I - P) y = r with P >= 0.

References:
    Yates 1995, A framework for uplink power control (standard interference functions). Noda 1971,
    Note on the computation of the maximal eigenvalue. Design note power_control.md, 3.4, 4.1-4.3.
"""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "FixedPoint",
    "MaxMin",
    "balanced_level",
    "least_fixed_point",
    "max_min_level",
    "max_min_level_bisect",
    "perron",
    "radial_project",
    "sinr",
]

_ELIMINATE_UP_TO = 3  # links; above it batched LAPACK is faster than unrolled elimination
_START_ROUNDS = 4  # each costs a third of a solver pass; together they save 2 to 6 passes
_NODA_ITERATIONS = 6  # 4 (I = 3), 5 (I = 7), 6 (I = 19) reached 1e-14 in all of 1e5 networks
_MAX_MOVE = 2.0  # of log x per pass; limits the harm of a first tangent that is far off
_BISECTION_SPAN = 1e-12


class FixedPoint(NamedTuple):
    """Least fixed point of all constraints at a given level; it may exceed the box."""

    x: Tensor  # smallest levels that meet every constraint, (B, I); inf where none is finite
    exists: Tensor  # True where it is finite, (B,) bool
    sensing_rows: Tensor  # True where the sensing constraint is the active one, (B, I) bool


class MaxMin(NamedTuple):
    """Solution of max_x min_i sinr_i(x) subject to x >= Q x + m and 0 <= x <= 1.

    ``bound`` is an upper bound of the optimal level up to rounding, even where x has not converged
    and may violate thresholds. Infeasible lanes hold the comm Perron vector and its level as bound.
    """

    level: Tensor  # smallest SINR at x, (B,)
    x: Tensor  # level vector, (B, I)
    is_feasible: Tensor  # True where the thresholds can be met inside the box, (B,) bool
    passes: Tensor  # passes used, (B,) int64
    has_converged: Tensor  # True where the solver met its tolerance, (B,) bool
    bound: Tensor  # (B,)


class _Network(NamedTuple):
    """Batch-last copy of C constraint families: off (C, I, I, B), diagonal and noise (C, I, B)."""

    off: Tensor
    diagonal: Tensor
    noise: Tensor

    def load(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split F x + n at x (I, B): terms (C, I, I, B), n + off-diagonal sum, total (C, I, B)."""
        terms = self.off * x
        rest = reduce(torch.add, terms.unbind(-2), self.noise)  # fixed order on purpose
        return terms, rest, rest + self.diagonal * x

    def take(self, lanes: Tensor) -> "_Network":
        return _Network(*(part.index_select(-1, lanes) for part in self))


def _network(*families: tuple[Tensor, Tensor]) -> _Network:
    """Pack (coupling (B, I, I), noise (B, I)) pairs."""
    coupling = torch.stack([pair[0] for pair in families]).permute(0, 2, 3, 1).contiguous()
    noise = torch.stack([pair[1] for pair in families]).mT.contiguous()
    diagonal = coupling.diagonal(dim1=1, dim2=2).mT.contiguous()
    return _Network(coupling * (1 - _eye(coupling)), diagonal, noise)


def _eye(like: Tensor) -> Tensor:
    """Identity (I, I, 1) for a batch-last tensor with I rows in dimension -2."""
    return torch.eye(like.shape[-2], dtype=like.dtype, device=like.device).unsqueeze(-1)


def _solve(p: Tensor, *sides: Tensor) -> tuple[Tensor, ...]:
    """Solve (I - P) y = r for P (I, I, B) and right sides (I, B) without ever raising.

    Small systems: Gauss-Jordan elimination of the Neumann series, which only adds where P >= 0
    (no pivoting needed). A lane with rho(P) >= 1 yields nan, inf or a non-positive entry.
    """
    if len(p) > _ELIMINATE_UP_TO:
        matrix, right = (_eye(p) - p).permute(2, 0, 1), torch.stack(sides, -1).transpose(0, 1)
        return torch.linalg.solve_ex(matrix, right)[0].permute(2, 1, 0).contiguous().unbind()
    work = torch.cat((p, *(side.unsqueeze(1) for side in sides)), 1)  # (I, I + R, B)
    for k in range(len(p)):
        row = work[k, 1:] / (1 - work[k, 0])
        work = work[:, 1:] + work[:, :1] * row
    return work.unbind(1)


def sinr(x: Tensor, coupling: Tensor, noise: Tensor) -> Tensor:
    """SINRs x / (F x + n), (B, I), of levels (B, I), coupling F (B, I, I) and noise n (B, I)."""
    return x / ((coupling @ x.unsqueeze(-1)).squeeze(-1) + noise)


def _start(network: _Network, x: Tensor) -> Tensor:
    """Damped fixed-point rounds in log x with self-interference solved exactly, from x (I, B)."""
    tiny = torch.finfo(x.dtype).tiny
    for _ in range(_START_ROUNDS):
        _, rest, total = network.load(x)
        inverse_level = (total[0] / x.clamp_min(tiny)).amax(0)
        own = (inverse_level - network.diagonal[0]).clamp_min(tiny)
        target = reduce(torch.maximum, total[1:], torch.minimum(rest[0] / own, x))
        x = (x * target).sqrt()
        x = x / x.amax(0).clamp_min(tiny)
    return x


def _noda(network: _Network, num_iterations: int) -> tuple[Tensor, Tensor]:
    """Eigenpair of the monotone map f(x) = F x + n max(x): inverse level (B,) and x (I, B).

    One iteration solves mu y - f(y) = x exactly, with mu = max_i f(x)_i / x_i. With the solutions
    a, b of (mu I - F) [a b] = [x n] it is y = a + s b, s = max_i a_i / (1 - b_i). Then f(y) / y =
    mu - x / y, so mu falls to the eigenvalue from any start, quadratically at the end. With n = 0
    this is Noda's iteration. The unknown is y / x; rows of zeros keep x_i = 0.
    """
    idle = (network.load(torch.ones_like(network.noise[0]))[2][0] <= 0).to(network.noise.dtype)
    x = _start(network, 1 - idle)
    for _ in range(num_iterations):
        terms, rest, total = network.load(x)
        inverse_level = (total[0] / (x + idle)).amax(0)
        own = rest[0] + (inverse_level * x - total[0]).clamp_min(0) + idle  # (mu - F_ii) x_i
        a, b = _solve(terms[0] / own.unsqueeze(1), x / own, network.noise[0] / own)
        y = x * (a * ((1 - x * b) / (x * a)).amin(0).clamp_min(0) + b)
        y = y / y.amax(0)
        is_valid = (y + idle).amin(0) > 0  # otherwise singular: x has converged to rounding
        x = torch.where(is_valid, y, x)
    for _ in range(2):  # power steps settle rows whose mu - F_ii is mostly rounding
        total = network.load(x)[2][0]
        x = total / total.amax(0).clamp_min(torch.finfo(x.dtype).tiny)
    return (network.load(x)[2][0] / (x + idle)).amax(0), x


def perron(matrix: Tensor, *, num_iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Spectral radius and Perron vector of non-negative irreducible matrices by Noda iteration.

    Args:
        matrix: Non-negative irreducible matrices, (B, I, I).
        num_iterations: Linear solves. Networks need 6, entries spread over 1e4 about 8.

    Returns:
        Spectral radius, (B,), and positive Perron vector with maximum 1, (B, I).
    """
    dust = matrix.amax(-1) * torch.finfo(matrix.dtype).eps ** 3  # keeps x > 0 if I = 1
    radius, x = _noda(_network((matrix, dust)), num_iterations)
    return radius, x.mT.contiguous()


def balanced_level(
    coupling: Tensor, noise: Tensor, *, num_iterations: int = _NODA_ITERATIONS
) -> tuple[Tensor, Tensor]:
    """Unconstrained max-min SINR in the box: level = min_k 1 / rho(F + n e_k^T) and its x.

    With the comm pair (Q, m) it is the feasibility margin of the thresholds (feasible when >= 1)
    and the safe point of ``radial_project``. Links with a row of zeros have no threshold: they get
    x_i = 0 (silent is safest); if no link has one, the level is ``inf`` and x is all ones.

    Args:
        coupling: Normalised interference gains, (B, I, I), >= 0.
        noise: Normalised noise, (B, I), > 0 except in rows of zeros.
        num_iterations: Linear solves, a fixed number.

    Returns:
        Level, (B,), attained by x, (B, I), whose maximum is 1.
    """
    inverse_level, x = _noda(_network((coupling, noise)), num_iterations)
    return 1 / inverse_level, torch.where(inverse_level == 0, 1, x).mT.contiguous()


def _least_fixed_point(level: Tensor, network: _Network) -> tuple[Tensor, Tensor, Tensor]:
    """Howard iteration for x = max(t (F x + n), Q x + m): x (I, B), exists (B,), rows (I, B).

    Starts with the comm row of every link that has a threshold, then moves rows to the larger
    piece, one solve per policy. A non-positive entry means rho >= 1, no finite fixed point.
    Values never fall, so at most 2^I policies are seen (in practice about 3).
    """
    scale = torch.stack((level, torch.ones_like(level))).unsqueeze(1)  # (2, 1, B)
    off, diagonal, noise = network.off * scale.unsqueeze(1), network.diagonal * scale, network.noise
    scaled = _Network(off, diagonal, noise * scale)
    rows = network.noise[1] <= 0
    margin = 1 + 8 * torch.finfo(level.dtype).eps
    for _ in range(2 ** len(rows)):
        own = 1 - torch.where(rows, diagonal[0], diagonal[1])
        p = torch.where(rows.unsqueeze(1), off[0], off[1]) / own.unsqueeze(1)
        (x,) = _solve(p, torch.where(rows, scaled.noise[0], scaled.noise[1]) / own)
        exists = ((x > 0) & (x < torch.inf)).all(0)
        total = scaled.load(x)[2]
        switch = (torch.where(rows, total[1], total[0]) > x * margin) & exists
        if not switch.any():
            break
        rows = rows ^ switch
    return torch.where(exists, total.amax(0), torch.inf), exists, rows


def least_fixed_point(
    level: Tensor, coupling: Tensor, noise: Tensor, comm_coupling: Tensor, comm_noise: Tensor
) -> FixedPoint:
    """Smallest x with x >= level (F x + n) and x >= Q x + m, by Howard policy iteration.

    A level (B,) > 0 can be reached in the box exactly when ``x`` <= 1. Rest: ``max_min_level``.
    """
    network = _network((coupling, noise), (comm_coupling, comm_noise))
    x, exists, rows = _least_fixed_point(level, network)
    return FixedPoint(x.mT.contiguous(), exists, rows.mT.contiguous())


def _ceiling(network: _Network) -> Tensor:
    """Upper bound of the level from the noise and self-interference of one link, (B,)."""
    return 1 / (network.diagonal[0] + network.noise[0]).amax(0)


def _is_in_box(x: Tensor) -> Tensor:
    """True where x (I, B) is at most 1 up to rounding, (B,)."""
    return (x <= 1 + 8 * torch.finfo(x.dtype).eps).all(0)


def _is_feasible(network: _Network) -> Tensor:
    """True where the thresholds alone can be met in the box, (B,)."""
    off, diagonal, noise = (part[1] for part in network)
    (x,) = _solve(off / (1 - diagonal).unsqueeze(1), noise / (1 - diagonal))
    return ((x > 0) | (noise <= 0)).all(0) & _is_in_box(x)


def _newton_pass(network: _Network, z: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One policy iteration in log space: new z = log x (I, B), bound of t* and error (B,).

    In z and tau = log t every constraint is convex, so one tangent per link, at any point, is a
    relaxation: z >= P z + d tau + c with P sub-stochastic. Its solution is affine in tau, and
    z <= 0 bounds tau from above, hence t*. The next tangents are taken there, on the larger
    constraint of each link (policy iteration); bounds converge quadratically. Rows are divided by
    the diagonal of I - P, which is formed without cancellation. The error bounds the residual left:
    curvature, and where the other row of a link may have become the larger one, its lead.
    """
    terms, rest, total = network.load(z.exp())
    sensing = level * total[0]
    ratio = sensing / total[1]
    rows = ratio >= ratio.amax(0).clamp_max(1)  # never empty: one sensing row bounds tau
    own = torch.where(rows, rest[0], rest[1])
    weight = torch.where(rows, total[0], total[1]) / own
    gap = torch.where(rows, sensing, total[1]).log() - z
    p = torch.where(rows.unsqueeze(1), terms[0], terms[1]) / own.unsqueeze(1)
    u, v = _solve(p, weight * gap, weight * rows)  # move = u + v (tau' - tau)
    step = torch.where(v > 0, (z + u) / -v, torch.inf).amin(0)
    move = (u + v * step).clamp(-_MAX_MOVE, _MAX_MOVE)
    z, size = z + move, move.abs().amax(0)
    slip = 2 * size + step.abs() - ratio.log().abs().amin(0)
    error = torch.minimum(torch.maximum(size * size, slip), gap.abs().amax(0))
    return z - z.amax(0), level * step.exp(), error


def _max_min_newton(network: _Network, max_passes: int) -> tuple[Tensor, ...]:
    """Passes until each lane is done: x (I, B), bound, passes and has_converged (B,).

    Finished lanes are frozen, and dropped once they are half of the batch.
    """
    x = _start(network, torch.ones_like(network.noise[0]))
    z, level, bound = x.log(), (x / network.load(x)[2][0]).amin(0), _ceiling(network)
    count = torch.zeros_like(level, dtype=torch.int64)
    lanes, active = torch.arange(len(level), device=x.device), count == 0
    results: tuple[Tensor, ...] = (z, bound, count, active)
    tolerance = 16 * torch.finfo(x.dtype).eps
    for step in range(max_passes + 1):
        num_active = int(active.sum()) if step < max_passes else 0
        if 2 * num_active <= len(lanes):
            parts = z, bound, count, ~active
            pairs = zip(results, parts, strict=True)
            results = tuple(old.index_copy(-1, lanes, new) for old, new in pairs)
            if not num_active:
                break
            stay = active.nonzero().squeeze(1)
            network, lanes, active = network.take(stay), lanes[stay], active[stay]
            z, level, bound, count = z[:, stay], level[stay], bound[stay], count[stay]
        new_z, new_bound, error = _newton_pass(network, z, level)
        z = torch.where(active, new_z, z)
        level = bound = torch.where(active, torch.minimum(bound, new_bound), bound)
        count = count + active
        active = active & ~(error <= tolerance)
    return results[0].exp(), *results[1:]


def _max_min_bisect(network: _Network, num_steps: int) -> tuple[Tensor, ...]:
    """Log bisection of the level on the least fixed point; results as ``_max_min_newton``."""
    high = _ceiling(network)
    low = high * _BISECTION_SPAN
    for _ in range(num_steps):
        middle = low * (high / low).sqrt()
        is_reached = _is_in_box(_least_fixed_point(middle, network)[0])
        low, high = torch.where(is_reached, middle, low), torch.where(is_reached, high, middle)
    x = _least_fixed_point(low, network)[0]
    passes = torch.full_like(low, num_steps, dtype=torch.int64)
    is_closed = high <= low * (1 + torch.finfo(low.dtype).eps ** 0.5)  # false if cut short
    return x.clamp_max(1), high, passes, _is_in_box(x) & is_closed


def _solve_feasible(network: _Network, solve: Callable[[_Network], tuple[Tensor, ...]]) -> MaxMin:
    """Apply ``solve`` to the feasible lanes and the closed form of the margin to the others."""
    is_feasible = _is_feasible(network)
    bad = is_feasible.logical_not().nonzero().squeeze(1)
    if len(bad):
        good, size = is_feasible.nonzero().squeeze(1), len(is_feasible)
        x, bound, passes, converged = (
            part.new_zeros((*part.shape[:-1], size)).index_copy_(-1, good, part)
            for part in solve(network.take(good))
        )
        comm = _Network(*(part[1:] for part in network)).take(bad)
        x[:, bad], converged[bad] = _noda(comm, _NODA_ITERATIONS)[1], True
    else:
        x, bound, passes, converged = solve(network)
    level = (x / network.load(x)[2][0]).amin(0)
    bound = torch.maximum(bound, level)
    return MaxMin(level, x.mT.contiguous(), is_feasible, passes, converged, bound)


def max_min_level(
    coupling: Tensor,
    noise: Tensor,
    comm_coupling: Tensor,
    comm_noise: Tensor,
    *,
    max_passes: int = 20,
) -> MaxMin:
    """Global optimum of the constrained max-min SINR problem by policy iteration in log space.

    Args:
        coupling: Normalised interference gains F, (B, I, I), >= 0.
        noise: Normalised noise n, (B, I), > 0.
        comm_coupling: Threshold times comm gains, Q, (B, I, I); rows of zeros mean no threshold.
        comm_noise: Threshold times comm noise, m, (B, I); zero exactly in those rows.
        max_passes: Limit of passes; 3 to 6 are usual, 13 the most seen in drawn networks.

    Returns:
        The optimum, which is unique and has max x = 1.
    """
    network = _network((coupling, noise), (comm_coupling, comm_noise))
    return _solve_feasible(network, lambda part: _max_min_newton(part, max_passes))


def max_min_level_bisect(
    coupling: Tensor,
    noise: Tensor,
    comm_coupling: Tensor,
    comm_noise: Tensor,
    *,
    num_steps: int = 51,
) -> MaxMin:
    """Same problem, arguments and result as ``max_min_level``; a slower, independent check.

    Levels below 1e-12 of the one-link ceiling min 1 / (F_ii + n_i) are not searched.
    """
    network = _network((coupling, noise), (comm_coupling, comm_noise))
    return _solve_feasible(network, lambda part: _max_min_bisect(part, num_steps))


def radial_project(x: Tensor, comm_coupling: Tensor, comm_noise: Tensor, safe: Tensor) -> Tensor:
    """Move x towards a safe point just as far as x >= Q x + m requires. Differentiable in x.

    Radial, not Euclidean: with the slacks c = x - Q x - m and c_s of ``safe``, x + theta (safe - x)
    with theta = max_i -c_i / (c_s,i - c_i) over violated rows. Feasible points come back bit for
    bit; where ``safe`` itself is infeasible (margin < 1) it is returned.

    Args:
        x: Level vector, (B, I); values outside [0, 1] are clipped first.
        comm_coupling: Threshold times comm gains, Q, (B, I, I).
        comm_noise: Threshold times comm noise, m, (B, I).
        safe: Point that meets every threshold, (B, I), e.g. x of ``balanced_level(Q, m)``.

    Returns:
        Feasible levels, (B, I), in [0, 1], up to rounding.
    """
    x = x.clamp(0, 1)
    points = torch.stack((x, safe), -1)  # (B, I, 2)
    needed = comm_coupling @ points + comm_noise.unsqueeze(-1)
    slack, slack_safe = (points - needed).unbind(-1)
    rounding = 8 * torch.finfo(x.dtype).eps
    tolerance, tolerance_safe = ((points + needed) * rounding).unbind(-1)
    is_violated = slack < -tolerance
    distance = torch.where(is_violated, slack_safe.clamp_min(0) - slack, 1)
    theta = torch.where(is_violated, -slack / distance, 0).amax(-1)
    theta = (theta * (1 + rounding)).clamp_max(1)  # round to the feasible side
    theta = torch.where((slack_safe < -tolerance_safe).any(-1), 1, theta)
    return torch.lerp(x, safe, theta.unsqueeze(-1)).clamp(0, 1)
