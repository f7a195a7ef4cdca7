r"""Spectral projected gradients over one covariance per device, with a certificate.

    minimise  s(Z)  over  Z_k >= 0, tr Z_k = 1,  k = 1 .. K

for a convex score s. Convexity certifies every iterate: with the slope M_k = -gradient,

    s(X) >= s(Z) + sum_k (tr M_k Z_k - tr M_k X_k) >= s(Z) - sum_k (lambda_max(M_k) - tr M_k Z_k),

because tr M X <= lambda_max(M) for every X >= 0 of unit trace. Where s falls in every direction
X >= 0, equal traces are no restriction against tr Z_k <= 1.

Source: Birgin, Martinez, Raydan, SIAM J. Optim. 10 (2000), with steps by Zhou, Gao, Dai (2006).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from baselines.iteration import take
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.loops import iterate
from isac_gym.core.solution import Status
from isac_gym.physics.trace_descent import simplex

__all__ = ["Blocks", "descend", "isotropic"]

_MEMORY = 6  # scores an accepted step is compared with
_ARMIJO = 1e-4
_NOISE = 64  # rounding of a score, in units of its last place
_CHUNK = 8  # iterations between which finished lanes leave

Score = Callable[[Any, Tensor], tuple[Tensor, Tensor, Tensor]]


class Blocks(NamedTuple):
    """Result of :func:`descend`.

    Attributes:
        point: Z, (B, K, M, M).
        score: s there, (B,).
        lower: Certified lower bound of the least score, (B,), loosened by rounding; -inf (no claim)
            where no score was finite.
        iterations: (B,) int64.
        status: :class:`isac_gym.core.solution.Status`, (B,) int64.
        history: Best score after every iteration, (B, L); repeats the last one.
    """

    point: Tensor
    score: Tensor
    lower: Tensor
    iterations: Tensor
    status: Tensor
    history: Tensor


class _State(NamedTuple):
    """State of the descent: iterate, slope, move, part of it to try, accepted scores, best."""

    z: Tensor
    slope: Tensor
    move: Tensor
    length: Tensor
    recent: Tensor
    best: Tensor
    score: Tensor
    lower: Tensor
    doubt: Tensor
    count: Tensor
    history: Tensor


def isotropic(shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Equal power in all directions, (B, K, M, M) for a shape (B, K, M)."""
    eye = torch.eye(shape[2], dtype=like.dtype, device=like.device) / shape[2]
    return eye.repeat(*shape[:2], 1, 1)


def descend(
    score: Score, data: tuple[Any, ...], start: Tensor, *, iterations: int, tolerance: float
) -> Blocks:
    """Minimise until the certified gap is at most ``tolerance``.

    Args:
        score: Maps (data, Z) to s (B,), its slope M (B, K, M, M), and a limit of the rounding of
            both in units of s (B,); ``inf`` for an s that cannot be computed.
        data: Named tuple of tensors with leading axis B.
        start: First Z, (B, K, M, M) Hermitian, projected onto the set.
        iterations: Largest number of steps, >= 1.
        tolerance: Gap at which a lane stops, in units of s, >= 0.

    Returns:
        See :class:`Blocks`. A finished lane is frozen and leaves the batch.
    """
    whole = _start(score, data, _project(start), iterations)
    lanes = torch.arange(len(start), device=start.device)
    status = torch.full_like(lanes, int(Status.BUDGET_SPENT))
    done = 0
    while done < iterations and len(lanes):
        part = tuple(x[lanes] for x in whole)
        count = min(_CHUNK, iterations - done)
        step = partial(_step, score, take(data, lanes))
        state, code, _ = iterate(step, part, iterations=count, tolerance=tolerance)
        for old, new in zip(whole, state, strict=True):
            old[lanes] = new
        status[lanes] = code
        lanes, done = lanes[code == int(Status.BUDGET_SPENT)], done + count
    status = torch.where(whole.score.isfinite(), status, int(Status.FAILED))
    late = torch.arange(iterations, device=start.device) >= whole.count[:, None]
    history = torch.where(late, whole.score[:, None], whole.history)
    return Blocks(whole.best, whole.score, whole.lower, whole.count, status, history)


def _start(score: Score, data: Any, z: Tensor, iterations: int) -> _State:
    value, slope, doubt = score(data, z)
    return _State(
        z=z,
        slope=slope,
        move=_move(z, slope, torch.ones_like(value)),
        length=torch.ones_like(value),
        recent=value[:, None].repeat(1, _MEMORY),
        best=z.clone(),
        score=value.clone(),
        lower=_certified(z, value, slope, doubt),
        doubt=doubt.clone(),
        count=torch.zeros_like(value, dtype=torch.int64),
        history=value[:, None].repeat(1, iterations),
    )


def _step(score: Score, data: Any, *state: Tensor) -> tuple[_State, Tensor]:
    """Try the next point; an accepted one gets a new direction, a refused one a shorter step."""
    s = _State(*state)
    z = s.z + s.length[:, None, None, None] * s.move
    value, slope, doubt = score(data, z)
    info = torch.finfo(value.dtype)
    promised = s.length * _dot(s.slope, s.move)
    noise = _NOISE * info.eps * value.abs() + doubt  # or rounding refuses good steps
    is_good = value <= s.recent.amax(-1) - _ARMIJO * promised + noise
    move = _move(z, slope, _spectral(z - s.z, s.slope - slope, _metric(slope)))
    bound = _certified(z, value, slope, doubt)
    doubt = torch.where(bound > s.lower, doubt, s.doubt)
    lower = torch.maximum(s.lower, bound)
    is_best = value < s.score
    best, top = _pick(is_best, z, s.best), torch.where(is_best, value, s.score)
    risen = (value - s.recent[:, -1] + promised).clamp_min(info.tiny)
    shorter = s.length * (promised / (2 * risen)).clamp(0.1, 0.5)  # minimum of a parabola
    after = _State(
        z=_pick(is_good, z, s.z),
        slope=_pick(is_good, slope, s.slope),
        move=_pick(is_good, move, s.move),
        length=torch.where(is_good, 1, shorter),
        recent=_pick(is_good, torch.cat([s.recent[:, 1:], value[:, None]], -1), s.recent),
        best=best,
        score=top,
        lower=lower,
        doubt=doubt,
        count=s.count + 1,
        history=s.history.scatter(1, s.count[:, None], top[:, None]),
    )
    return after, (top - lower - doubt).clamp_min(0)


def _certified(z: Tensor, value: Tensor, slope: Tensor, doubt: Tensor) -> Tensor:
    """Lower bound of the least score, (B,); -inf where there is no finite score to start from."""
    most = _eigenvalues(slope)[..., -1]
    size = _dot_each(slope, slope).sqrt()
    margin = 16 * slope.shape[-1] * torch.finfo(value.dtype).eps * size
    used = _dot_each(slope, z)
    bound = value - (most + margin - used).sum(-1) - doubt
    return torch.where(bound.isfinite(), bound, -torch.inf)


def _eigenvalues(matrix: Tensor) -> Tensor:
    if matrix.device.type == "cpu":  # without vectors, a third of the time
        return torch.linalg.eigvalsh(torch.where(matrix.isfinite(), matrix, 0))
    return hermitian_eigh(matrix)[0]


def _metric(slope: Tensor) -> Tensor:
    """Weight of each device's block, (B, K): far devices would hardly move with equal ones."""
    size = _dot_each(slope, slope).sqrt()
    return size.clamp_min(torch.finfo(size.dtype).tiny ** 0.25)


def _spectral(moved: Tensor, bent: Tensor, metric: Tensor) -> Tensor:
    """Barzilai-Borwein step, (B,): the short one where curvatures along the step differ."""
    tiny = torch.finfo(metric.dtype).tiny
    curve = _dot(moved, bent)
    long = (metric * _dot_each(moved, moved)).sum(-1) / curve.clamp_min(tiny)
    short = curve / (_dot_each(bent, bent) / metric).sum(-1).clamp_min(tiny)
    size = torch.where(short < 0.5 * long, short, long)
    return torch.where((curve > tiny) & size.isfinite() & (size > 0), size, 1)


def _move(z: Tensor, slope: Tensor, size: Tensor) -> Tensor:
    """Direction to the projection of a gradient step, in the metric of the slope."""
    step = size[:, None] / _metric(slope)
    return _project(z + step[..., None, None] * slope) - z


def _project(y: Tensor) -> Tensor:
    """Nearest matrices >= 0 of unit trace."""
    value, vector = hermitian_eigh((y + y.mH) / 2)
    kept = simplex(value)
    return (vector * kept[..., None, :]) @ vector.mH


def _dot_each(x: Tensor, y: Tensor) -> Tensor:
    return (x.real * y.real + x.imag * y.imag).sum((-2, -1))


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return _dot_each(x, y).sum(-1)


def _pick(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(mask.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)
