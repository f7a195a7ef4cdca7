r"""Relaxation of the convex probe on the capped simplex, and exchanges of tones at binary masks.

    min phi(w)  over 0 <= w <= 1, sum w = k,      phi the mean of both tasks' probes

No entry of w raises phi, so k is the largest number of tones that is allowed. The tangent at any
w >= 0 lies below phi, hence  phi(w) + min over s of <grad phi(w), s - w>  is a lower bound of every
mask's phi; the best one of the run is kept.

Source: Beck and Teboulle 2009 (FISTA), O'Donoghue and Candes 2015 (restart).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from baselines.iteration import iterate_shrinking, take
from isac_gym.physics.convex_probe import ProbeTask, convex_probe_slope

__all__ = ["Relaxed", "capped_simplex", "exchanged", "relaxed_probe", "tangent_bound"]

_HALVINGS = 60
_GROWTH = 1.5  # of the step after one that held
_EXCHANGE = 1e-12  # relative decrease below which an exchange is rounding
_CHUNK = 1 << 23  # matrix entries of exchanges at once


class Relaxed(NamedTuple):
    """What the accelerated gradients found.

    Attributes:
        weight: w, (B, S).
        value: phi(w), (B,).
        lower: Largest tangent bound, (B,).
        status: (B,) int64.
        iterations: Steps, (B,) int64.
    """

    weight: Tensor
    value: Tensor
    lower: Tensor
    status: Tensor
    iterations: Tensor


def capped_simplex(point: Tensor, total: int) -> Tensor:
    """Euclidean projection of points (..., S) onto 0 <= w <= 1, sum w = total.

    w = min(max(point - t, 0), 1); t by bisection, then in closed form from the free entries.
    """
    low, high = point.amin(-1, keepdim=True) - 1, point.amax(-1, keepdim=True)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_heavy = (point - middle).clamp(0, 1).sum(-1, keepdim=True) > total
        low, high = torch.where(is_heavy, middle, low), torch.where(is_heavy, high, middle)
    shift = (low + high) / 2
    moved = point - shift
    is_free, is_full = (moved > 0) & (moved < 1), moved >= 1
    free = is_free.sum(-1, keepdim=True)
    rest = total - is_full.sum(-1, keepdim=True)
    exact = (torch.where(is_free, point, 0).sum(-1, keepdim=True) - rest) / free.clamp_min(1)
    return (point - torch.where(free > 0, exact, shift)).clamp(0, 1)


def tangent_bound(value: Tensor, slope: Tensor, weight: Tensor, total: int) -> Tensor:
    """Least value (B,) on the capped simplex of the tangent at ``weight`` (B, S)."""
    least = slope.topk(total, dim=-1, largest=False).values.sum(-1)
    return value + least - (slope * weight).sum(-1)


def _probe(task: ProbeTask, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Value (B,) of phi and its gradient (B, S) at weights (B, S)."""
    value, slope = convex_probe_slope(task, weight[:, None])
    return value[:, 0].mean(-1), slope[:, 0].mean(1)


def relaxed_probe(
    task: ProbeTask, tones: int, total: int, *, iterations: int, tolerance: float
) -> Relaxed:
    """Accelerated projected gradients; a step that breaks the quadratic bound is halved.

    Args:
        task: Statistics of the training sets, batch size B.
        tones: S.
        total: Sum of the weights, 1 .. S.
        iterations: Largest number of steps.
        tolerance: Value over lower bound, less one, at which a lane has converged.
    """
    start = task.energy.new_full((len(task.energy), tones), total / tones)
    value, slope = _probe(task, start)

    def step(
        task: ProbeTask,
        w: Tensor,
        old: Tensor,
        value: Tensor,
        lower: Tensor,
        t: Tensor,
        length: Tensor,
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        bigger = (1 + (1 + 4 * t * t).sqrt()) / 2
        ahead = (w + ((t - 1) / bigger)[:, None] * (w - old)).clamp_min(0)
        there, slope = _probe(task, ahead)
        new = capped_simplex(ahead - length[:, None] * slope, total)
        found, own = _probe(task, new)
        move = new - ahead
        curved = ((own - slope) * move).sum(-1)  # at least what phi lies above its tangent
        holds = curved <= move.square().sum(-1) / (2 * length)
        tangents = (
            tangent_bound(there, slope, ahead, total),
            tangent_bound(found, own, new, total),
        )
        lower = torch.maximum(lower, torch.maximum(*tangents))
        uphill = ((ahead - new) * (new - w)).sum(-1) > 0
        row = holds[:, None]
        state = (
            torch.where(row, new, w),
            torch.where(row, w, old),
            torch.where(holds, found, value),
            lower,
            torch.where(holds, torch.where(uphill, 1.0, bigger), t),
            length * torch.where(holds, _GROWTH, 0.5),
        )
        tiny = torch.finfo(w.dtype).tiny
        return state, (state[2] - lower) / lower.clamp_min(tiny)

    tiny = torch.finfo(start.dtype).tiny
    lower = tangent_bound(value, slope, start, total)
    length = 1 / slope.abs().amax(-1).clamp_min(tiny)
    state, status, count = iterate_shrinking(
        step,
        task,
        (start, start, value, lower, torch.ones_like(value), length),
        iterations=iterations,
        tolerance=tolerance,
    )
    return Relaxed(state[0], state[2], state[3], status, count)


def exchanged(task: ProbeTask, mask: Tensor, *, iterations: int) -> tuple[Tensor, Tensor, Tensor]:
    """Masks (B, S) after the best exchanges of one tone for another, status (B,) and rounds (B,).

    All pairs are tried at once by a correction of rank 2c of the last solution. A lane stops where
    no exchange lowers phi.

    Args:
        task: Statistics of the training sets, batch size B.
        mask: Masks to start from, (B, S) bool, all with the same number of tones.
        iterations: Largest number of exchanges, >= 1.
    """
    size = task.cross.shape[1] ** 2

    def step(task: ProbeTask, mask: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        some = torch.arange(len(mask), device=mask.device).split(max(1, _CHUNK // size))
        found = [_best_exchange(take(task, rows), mask[rows]) for rows in some]
        change, out, into = (torch.cat(parts) for parts in zip(*found, strict=True))
        is_better = change < -_EXCHANGE
        lane = torch.arange(len(mask), device=mask.device)
        moved = mask.clone()
        moved[lane, out] = False
        moved[lane, into] = True
        goes_on = is_better.to(change.dtype)  # a lane goes on while it moves
        return (torch.where(is_better[:, None], moved, mask),), goes_on

    (final,), status, count = iterate_shrinking(
        step, task, (mask,), iterations=iterations, tolerance=0.5
    )
    return final, status, count


def _best_exchange(task: ProbeTask, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least change of phi by one exchange, the tone to take out and the one to take in, each (B,).

    With M = X^T A^-1 X and N = X^T A^-1 y at the mask, U the columns of both tones and
    D = diag(-I, I), its own inverse, the change is  -f tr N_U^T (D + M_UU)^-1 N_U  by Woodbury.
    All masks have the same number of tones.
    """
    width = task.cross.shape[1] // mask.shape[1]
    response, dual = _responses(task, mask)  # (B, S, S, c, c), (B, S, c, Y)
    order = mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    kept = int(mask[0].sum())
    inside, outside = order[:, :kept], order[:, kept:]
    eye = torch.eye(width, dtype=response.dtype, device=mask.device)
    lane = torch.arange(len(mask), device=mask.device)[:, None]
    added, after = response[lane, outside, outside] + eye, dual[lane, outside]
    values = []
    for out in inside.split(max(1, _CHUNK // (4 * width**2 * outside.numel())), 1):
        cross = response[lane[..., None], out[..., None], outside[:, None]]  # (B, i, j, c, c)
        shape = cross.shape
        removed = (response[lane, out, out] - eye)[:, :, None].expand(shape)
        before = dual[lane, out][:, :, None].expand(*shape[:4], -1)
        upper = torch.cat([removed, cross], -1)
        lower = torch.cat([cross.mT, added[:, None].expand(shape)], -1)
        right = torch.cat([before, after[:, None].expand_as(before)], -2)
        matrix = torch.cat([upper, lower], -2)
        solved = torch.linalg.solve_ex(matrix, right, check_errors=False).result
        values.append(-(right * solved).sum((-2, -1)))
    change = torch.cat(values, 1).flatten(1) * task.ridge[:, None] / 2
    best = change.nan_to_num(torch.inf).min(1)
    out = inside.gather(1, best.indices[:, None] // outside.shape[1])
    into = outside.gather(1, best.indices[:, None] % outside.shape[1])
    return best.values, out[:, 0], into[:, 0]


def _responses(task: ProbeTask, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks of X^T A^-1 X (B, S, S, c, c) and of X^T A^-1 y (B, S, c, Y) at masks (B, S)."""
    tones, (lanes, columns, labels) = mask.shape[1], task.cross.shape
    weight = mask.to(task.cross.dtype).repeat_interleave(columns // tones, 1)[:, None]
    size = task.gram.shape[1] or task.feature.shape[1]
    eye = task.ridge[:, None, None] * torch.eye(size, dtype=weight.dtype, device=mask.device)
    if task.gram.shape[1]:
        right = torch.cat([task.gram, task.cross], -1)
        whole = torch.linalg.solve_ex(task.gram * weight + eye, right, check_errors=False).result
    else:
        matrix = (task.feature * weight) @ task.feature.mT + eye
        right = torch.cat([task.feature, task.label], -1)
        whole = task.feature.mT @ torch.linalg.solve_ex(matrix, right, check_errors=False).result
    blocks = whole[..., :columns].reshape(lanes, tones, columns // tones, tones, -1)
    return blocks.transpose(2, 3), whole[..., columns:].reshape(lanes, tones, -1, labels)
