r"""Certified lower bound of the aggregation error with orthogonal pulses, for any weights.

Stream j = (k, i) is received alone, with error w_j^2 (1 - q_j), q_j = g_j^H A^-1 g_j in [0, 1) and
sum_j q_j = N - noise tr A^-1. For any threshold t >= 0

    sum_j w_j^2 (1 - q_j) = sum_j (w_j^2 - t)(1 - q_j) + t (K R - N + noise tr A^-1).

Terms with w_j^2 <= t are at least w_j^2 - t, since q_j >= 0. The others are at least
(w_j^2 - t)(1 - r_j), since A >= g_j g_j^H + noise and |g_j|^2 <= P_k lambda_max(H_k^H H_k) give
q_j <= r_j = s / (1 + s), s = P_k lambda_max(H_k^H H_k) / noise. What is left is tr A^-1 in
A = sum_k H_k S_k H_k^H + noise, whose logarithm is convex in the covariances S_k (see
:mod:`baselines.ota_feel.sensing`) and minimised with a certificate. The best threshold is one of
the w_j^2, or 0: the bound is concave and piecewise linear in t.

A position bound joins in at no loss: with fixed, slope >= 0 the logarithm of fixed + slope tr A^-1
is convex as well, so that the weighted sum with the log of the position bound has one minimum.

Equal weights w and K R > N: t = w^2 gives w^2 (K R - N + noise tr A^-1), which *is* the error, so
that only the rank of S_k is relaxed. Unequal ones: never below
:func:`isac_gym.physics.aggregation.separation_floor`, and not tight, since streams that nobody
wants may fill the noise's directions for free.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from baselines.ota_feel.block_descent import Blocks, descend, isotropic
from baselines.ota_feel.sensing import SensingTask, log_bound
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.problems.ota_feel.model import OtaFeelInstance

__all__ = [
    "JointTask",
    "SeparationTask",
    "Threshold",
    "joint_bound",
    "least_inverse",
    "log_inverse",
    "separation_bound",
    "separation_task",
    "threshold_bound",
]

_DOUBT = 1.0  # rounding of a trace relative to it, over eps times a condition number
_ROUNDING = 1e-12  # of a sum, relative to its largest terms


class SeparationTask(NamedTuple):
    """An instance in units where the noise and every budget are 1, and sum |W_k|^2 is 1.

    Attributes:
        channel: H_k sqrt(P_k / noise), (B, K, N, M).
        square: w_j^2 in ascending order, (B, K R).
        reach: r_j, in the same order, (B, K R).
    """

    channel: Tensor
    square: Tensor
    reach: Tensor


class Threshold(NamedTuple):
    """The bound fixed + slope tr A^-1 of the normalised error, both (B,) >= 0."""

    fixed: Tensor
    slope: Tensor


def separation_task(instance: OtaFeelInstance, noise_w: float) -> SeparationTask:
    """Scale an instance in double precision."""
    i = instance
    channel = i.channel * (i.max_power_w / noise_w).sqrt()[..., None, None]
    gain = hermitian_eigh(channel.mH @ channel)[0][..., -1]
    eps = torch.finfo(gain.dtype).eps
    reach = (1 - 1 / (1 + gain * (1 + 64 * gain.shape[-1] * eps)))[..., None].expand_as(i.weight)
    square = i.weight.square()
    tiny = torch.finfo(gain.dtype).tiny
    square = square / square.sum((1, 2), keepdim=True).clamp_min(tiny)
    square, order = square.flatten(1).sort(-1)
    return SeparationTask(channel, square, reach.flatten(1).gather(1, order))


def log_inverse(task: SeparationTask, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log tr A^-1 (B,) with A = sum_k H_k Z_k H_k^H + I, slope (B, K, M, M), rounding (B,)."""
    channel = task.channel
    a = (channel @ z @ channel.mH).sum(1)
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    a = (a + a.mH) / 2 + eye
    lower, info = torch.linalg.cholesky_ex(a, check_errors=False)
    is_bad = info != 0
    inverse = torch.cholesky_inverse(torch.where(is_bad[:, None, None], eye, lower))
    trace = torch.diagonal(inverse, dim1=1, dim2=2).real.sum(-1)
    slope = channel.mH @ (inverse @ inverse)[:, None] @ channel / trace[:, None, None, None]
    condition = torch.diagonal(a, dim1=1, dim2=2).real.sum(-1)  # A >= 1
    doubt = _DOUBT * torch.finfo(trace.dtype).eps * condition
    return torch.where(is_bad, torch.inf, trace.log()), (slope + slope.mH) / 2, doubt


def least_inverse(
    task: SeparationTask, *, iterations: int = 500, tolerance: float = 1e-6
) -> Blocks:
    """Least log tr A^-1, certified, and the covariances over the budgets."""
    batch, num_devices, _, antennas = task.channel.shape
    start = isotropic((batch, num_devices, antennas), task.channel)
    return descend(log_inverse, task, start, iterations=iterations, tolerance=tolerance)


def threshold_bound(task: SeparationTask, least: Tensor) -> Threshold:
    """Best threshold for a lower bound of tr A^-1, (B,) >= 0.

    The bound fixed + slope tr A^-1 holds for any decision, whatever ``least`` was.
    """
    antennas = task.channel.shape[2]
    square, one = task.square, torch.zeros_like(task.square[:, :1])
    level = torch.cat([one, square], 1)  # (B, 1 + K R)
    above = square[:, None, :] - level[:, :, None]
    share = torch.where(above > 0, 1 - task.reach[:, None, :], 1)
    excess = square.shape[1] - antennas
    terms = (above * share).sum(-1)
    rounding = _ROUNDING * (above.abs().sum(-1) + abs(excess) * level)
    fixed = terms + excess * level - rounding
    is_useful = fixed >= 0  # a trace larger than ``least`` must not turn the sign
    value = torch.where(is_useful, fixed + level * least[:, None], -torch.inf)
    best = value.argmax(-1, keepdim=True)
    fixed, slope = fixed.gather(1, best)[:, 0], level.gather(1, best)[:, 0]
    return Threshold(fixed.clamp_min(0), torch.where(is_useful.any(-1), slope, 0))


def separation_bound(
    task: SeparationTask, *, iterations: int = 500, tolerance: float = 1e-6
) -> tuple[Tensor, Blocks]:
    """Certified lower bound of the normalised error, (B,), and the covariances of least tr A^-1."""
    found = least_inverse(task, iterations=iterations, tolerance=tolerance)
    least = found.lower.exp()  # 0 where there is no claim
    best = threshold_bound(task, least)
    return best.fixed + best.slope * least, found


class JointTask(NamedTuple):
    """Both parts of the objective in the covariances over the budgets.

    Attributes:
        channel: See :class:`SeparationTask`.
        square: See :class:`SeparationTask`.
        reach: See :class:`SeparationTask`.
        fixed: See :class:`Threshold`.
        slope: See :class:`Threshold`.
        kernel: See :class:`baselines.ota_feel.sensing.SensingTask`.
        prior: See :class:`baselines.ota_feel.sensing.SensingTask`.
        weight: w of the position bound, (B,).
    """

    channel: Tensor
    square: Tensor
    reach: Tensor
    fixed: Tensor
    slope: Tensor
    kernel: Tensor
    prior: Tensor
    weight: Tensor


def joint_score(task: JointTask, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(1 - w) log (fixed + slope tr A^-1) + w log bound (B,), its slope, and their rounding."""
    log_trace, pull, doubt = log_inverse(SeparationTask(task.channel, task.square, task.reach), z)
    log_crb, push, unsure = log_bound(SensingTask(task.kernel, task.prior), z)
    tiny = torch.finfo(doubt.dtype).tiny
    moving = task.slope * log_trace.exp()
    error = (task.fixed + moving).clamp_min(tiny)
    w, part = task.weight, moving / error
    each = w[:, None, None, None]
    slope = (1 - each) * part[:, None, None, None] * pull + each * push
    score = (1 - w) * error.log() + w * log_crb
    return score, slope, (1 - w) * (doubt + _ROUNDING) + w * unsure


def joint_bound(
    task: SeparationTask,
    best: Threshold,
    sensing: SensingTask,
    weight: float,
    *,
    start: Tensor,
    iterations: int = 500,
    tolerance: float = 1e-6,
) -> Blocks:
    """Least (1 - w) log nmse + w log bound without interference: its ``lower`` is certified.

    Args:
        task: Aggregation part.
        best: From :func:`threshold_bound`.
        sensing: Position part.
        weight: w, in (0, 1).
        start: First covariances over the budgets, (B, K, M, M).
        iterations: Largest number of steps, >= 1.
        tolerance: Gap at which a lane stops, > 0.
    """
    w = torch.full_like(best.fixed, weight)
    data = JointTask(*task, *best, *sensing, w)
    return descend(joint_score, data, start, iterations=iterations, tolerance=tolerance)
