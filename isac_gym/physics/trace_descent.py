r"""Spectral projected gradients for the A-optimal covariance of unit trace, with a certificate.

    minimise  weight tr (J_0 + conj(A Z A^H) o S)^-1 - reward u^H Z u
    over      Z >= 0, tr Z = 1, u^H Z u >= need

One V x V Cholesky inverse and one N x N eigendecomposition per iteration; about 25 iterations to a
relative gap of 1e-6, half as many as accelerated gradients. Convexity certifies every iterate: with
the slope M = -gradient, the optimum is at least value + tr (M Z) - max tr (M X), and the maximum
over the set is at most lambda_max(M + nu u u^H) - nu need for any nu >= 0.

Source: Birgin, Martinez, Raydan, SIAM J. Optim. 10 (2000), with steps by Zhou, Gao, Dai (2006).
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.loops import iterate
from isac_gym.core.solution import Status

__all__ = ["Covariance", "TraceTask", "descend", "evaluate", "outer", "share_along", "simplex"]

_MEMORY = 6  # values an accepted step is compared with
_ARMIJO = 1e-4
_NOISE = 64  # rounding of a value, in units of its last place
_DOUBT = 0.25  # rounding of a value relative to it, over eps times a condition number
_CHUNK = 8  # iterations between which finished lanes leave
_NEWTON = 60  # steps of the multiplier of u^H Z u >= need


class TraceTask(NamedTuple):
    """Data of the problem above.

    Attributes:
        channel: A, (B, V, N).
        gram: S, (B, V, V) Hermitian positive semidefinite.
        precision: J_0, (B, V, V) Hermitian positive definite.
        direction: u, unit vectors, (B, N).
        need: In [0, 1], (B,).
        weight: >= 0, (B,).
        reward: >= 0, (B,).
    """

    channel: Tensor
    gram: Tensor
    precision: Tensor
    direction: Tensor
    need: Tensor
    weight: Tensor
    reward: Tensor


class Covariance(NamedTuple):
    """Result of :func:`descend`.

    Attributes:
        point: Z, (B, N, N); in the set to rounding.
        value: Objective, (B,).
        lower: Certified lower bound of the optimum, (B,), loosened by the rounding of values;
            -inf (no claim) where no value was finite.
        iterations: (B,) int64.
        status: :class:`isac_gym.core.solution.Status`, (B,) int64; FAILED where the value is not
            finite.
        history: Best value after every iteration, (B, L); repeats the last one.
    """

    point: Tensor
    value: Tensor
    lower: Tensor
    iterations: Tensor
    status: Tensor
    history: Tensor


class _State(NamedTuple):
    """State of the descent.

    Attributes:
        z: Iterate, (B, N, N).
        slope: M there, (B, N, N).
        move: Direction that stays in the set, (B, N, N).
        length: Part of it to try next, (B,).
        recent: Last accepted values, (B, memory).
        multiplier: nu, (B,).
        best: Best iterate, (B, N, N).
        value: Its value, (B,).
        lower: Best lower bound, (B,).
        doubt: Rounding by which it was loosened, (B,).
        count: Iterations, (B,) int64.
        history: (B, L).
    """

    z: Tensor
    slope: Tensor
    move: Tensor
    length: Tensor
    recent: Tensor
    multiplier: Tensor
    best: Tensor
    value: Tensor
    lower: Tensor
    doubt: Tensor
    count: Tensor
    history: Tensor


def descend(task: TraceTask, start: Tensor, *, iterations: int, tolerance: float) -> Covariance:
    """Minimise until the gap is at most ``tolerance`` relative to |value| + reward.

    Args:
        task: The problem.
        start: First Z, (B, N, N); scaled to unit trace, and moved towards u u^H if it must.
        iterations: Largest number of gradients, >= 1.
        tolerance: >= 0.

    Returns:
        See :class:`Covariance`. A finished lane is frozen and leaves the batch.
    """
    whole = _start(task, _admitted(task, start), iterations)
    lanes = torch.arange(len(start), device=start.device)
    status = torch.full_like(lanes, int(Status.BUDGET_SPENT))
    done = 0
    while done < iterations and len(lanes):
        data, part = TraceTask(*(x[lanes] for x in task)), tuple(x[lanes] for x in whole)
        count = min(_CHUNK, iterations - done)
        step = partial(_step, data)
        state, code, _ = iterate(step, part, iterations=count, tolerance=tolerance)
        for old, new in zip(whole, state, strict=True):
            old[lanes] = new
        status[lanes] = code
        lanes, done = lanes[code == int(Status.BUDGET_SPENT)], done + count
    point = _admitted(task, whole.best)
    value = evaluate(task, point)[0]
    lower = torch.minimum(whole.lower, torch.where(value.isfinite(), value, -torch.inf))
    status = torch.where(value.isfinite(), status, int(Status.FAILED))
    late = torch.arange(iterations, device=start.device) >= whole.count[:, None]
    history = torch.where(late, whole.value[:, None], whole.history)
    return Covariance(point, value, lower, whole.count, status, history)


def outer(vector: Tensor) -> Tensor:
    """Matrices u u^H, (..., N, N), of u (..., N)."""
    return vector[..., :, None] * vector.conj()[..., None, :]


def share_along(direction: Tensor, matrix: Tensor) -> Tensor:
    """u^H Z u, (...,) real, of u (..., N) and Hermitian Z (..., N, N)."""
    return (direction.conj() * (matrix @ direction[..., None])[..., 0]).real.sum(-1)


def _admitted(task: TraceTask, z: Tensor) -> Tensor:
    """Unit trace, and mixed with u u^H by as much as the need asks."""
    trace = torch.diagonal(z, dim1=-2, dim2=-1).real.sum(-1)
    z = z / trace.clamp_min(torch.finfo(trace.dtype).tiny)[:, None, None]
    heard = share_along(task.direction, z)
    tiny = torch.finfo(trace.dtype).eps
    share = ((task.need - heard) / (1 - heard).clamp_min(tiny)).clamp(0, 1)[:, None, None]
    return (1 - share) * z + share * outer(task.direction)


def evaluate(task: TraceTask, z: Tensor) -> tuple[Tensor, Tensor]:
    """Value (B,) and slope M (B, N, N); an infinite value where the information is singular."""
    return _evaluate(task, z)[:2]


def _evaluate(task: TraceTask, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`evaluate`, and the rounding of the value, (B,)."""
    lit = task.channel @ z @ task.channel.mH
    whole = task.precision + lit.conj() * task.gram
    lower, info = torch.linalg.cholesky_ex(whole, check_errors=False)
    eye = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    is_bad = info != 0
    inverse = torch.cholesky_inverse(torch.where(is_bad[:, None, None], eye, lower))
    error = torch.diagonal(inverse, dim1=-2, dim2=-1).real.sum(-1)
    weighted = (inverse @ inverse).conj() * task.gram
    slope = task.weight[:, None, None] * (task.channel.mH @ (weighted @ task.channel))
    slope = (slope + slope.mH) / 2 + task.reward[:, None, None] * outer(task.direction)
    value = task.weight * error - task.reward * share_along(task.direction, z)
    condition = torch.diagonal(whole, dim1=-2, dim2=-1).real.amax(-1) * error
    doubt = _DOUBT * torch.finfo(value.dtype).eps * condition * task.weight * error
    return torch.where(is_bad, torch.inf, value), slope, doubt


def _certified(
    task: TraceTask, z: Tensor, value: Tensor, slope: Tensor, doubt: Tensor, multiplier: Tensor
) -> Tensor:
    """Lower bound of the optimum, (B,); -inf where there is no finite value to start from."""
    bound = value - _gap(task, z, slope, multiplier) - doubt
    return torch.where(bound.isfinite(), bound, -torch.inf)


def _start(task: TraceTask, z: Tensor, iterations: int) -> _State:
    value, slope, doubt = _evaluate(task, z)
    size = _over_norm(slope)
    move, multiplier = _aim(task, z, slope, size, torch.zeros_like(value))
    return _State(
        z=z,
        slope=slope,
        move=move,
        length=torch.ones_like(value),
        recent=value[:, None].repeat(1, _MEMORY),
        multiplier=multiplier,
        best=z.clone(),
        value=value.clone(),
        lower=_certified(task, z, value, slope, doubt, multiplier),
        doubt=doubt,
        count=torch.zeros_like(value, dtype=torch.int64),
        history=value[:, None].repeat(1, iterations),
    )


def _step(task: TraceTask, *state: Tensor) -> tuple[_State, Tensor]:
    """Try the next point; an accepted one gets a new direction, a refused one a shorter step."""
    s = _State(*state)
    z = s.z + s.length[:, None, None] * s.move
    value, slope, doubt = _evaluate(task, z)
    tiny = torch.finfo(value.dtype).tiny
    promised = s.length * _dot(s.slope, s.move)
    noise = _NOISE * torch.finfo(value.dtype).eps * value.abs()  # or rounding refuses good steps
    is_good = value <= s.recent.amax(-1) - _ARMIJO * promised + noise
    size = _spectral(z - s.z, s.slope - slope, slope)
    move, multiplier = _aim(task, z, slope, size, s.multiplier)
    bound = _certified(task, z, value, slope, doubt, multiplier)
    doubt = torch.where(bound > s.lower, doubt, s.doubt)
    lower = torch.maximum(s.lower, bound)
    is_best = value < s.value
    best, top = _pick(is_best, z, s.best), torch.where(is_best, value, s.value)
    risen = (value - s.recent[:, -1] + promised).clamp_min(tiny)
    shorter = s.length * (promised / (2 * risen)).clamp(0.1, 0.5)  # minimum of a parabola
    after = _State(
        z=_pick(is_good, z, s.z),
        slope=_pick(is_good, slope, s.slope),
        move=_pick(is_good, move, s.move),
        length=torch.where(is_good, 1, shorter),
        recent=_pick(is_good, torch.cat([s.recent[:, 1:], value[:, None]], -1), s.recent),
        multiplier=torch.where(is_good, multiplier, s.multiplier),
        best=best,
        value=top,
        lower=lower,
        doubt=doubt,
        count=s.count + 1,
        history=s.history.scatter(1, s.count[:, None], top[:, None]),
    )
    scale = (top.abs() + task.reward).clamp_min(tiny)
    return after, ((top - lower - doubt) / scale).clamp_min(0)


def _spectral(moved: Tensor, bent: Tensor, slope: Tensor) -> Tensor:
    """Barzilai-Borwein step, (B,): the short one where curvatures along the step differ."""
    tiny = torch.finfo(moved.real.dtype).tiny
    curve = _dot(moved, bent)
    long = _dot(moved, moved) / curve.clamp_min(tiny)
    short = curve / _dot(bent, bent).clamp_min(tiny)
    size = torch.where(short < 0.5 * long, short, long)
    return torch.where((curve > tiny) & size.isfinite() & (size > 0), size, _over_norm(slope))


def _over_norm(slope: Tensor) -> Tensor:
    return 1 / _dot(slope, slope).sqrt().clamp_min(torch.finfo(slope.real.dtype).tiny ** 0.25)


def _aim(
    task: TraceTask, z: Tensor, slope: Tensor, size: Tensor, multiplier: Tensor
) -> tuple[Tensor, Tensor]:
    """Direction to the projection of a gradient step, and the multiplier there."""
    target, pull = _project(task, z + size[:, None, None] * slope, multiplier * size)
    return target - z, pull / size


def _gap(task: TraceTask, z: Tensor, slope: Tensor, multiplier: Tensor) -> Tensor:
    pushed = slope + multiplier[:, None, None] * outer(task.direction)
    if pushed.device.type == "cpu":  # without vectors, a third of the time
        most = torch.linalg.eigvalsh(torch.where(pushed.isfinite(), pushed, 0))[:, -1]
    else:
        most = hermitian_eigh(pushed)[0][:, -1]
    return most - multiplier * task.need - _dot(slope, z)


def _project(task: TraceTask, y: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest point of the set, and the multiplier of u^H Z u >= need."""
    value, vector = hermitian_eigh(y)
    point = _compose(vector, simplex(value))
    is_short = share_along(task.direction, point) < task.need
    multiplier = torch.zeros_like(guess)
    if not bool(is_short.any()):
        return point, multiplier
    rows = is_short.nonzero()[:, 0]
    found, pull = _pulled(task.direction[rows], task.need[rows], y[rows], guess[rows])
    return point.index_copy(0, rows, found), multiplier.index_copy(0, rows, pull)


def _pulled(u: Tensor, need: Tensor, y: Tensor, nu: Tensor) -> tuple[Tensor, Tensor]:
    """Projection of Y + nu u u^H with u^H Z u = need: Newton on nu, bisection outside a bracket."""
    info = torch.finfo(nu.dtype)
    low, far = torch.zeros_like(nu), (1 - need).clamp_min(16 * info.eps).rsqrt()
    high = 2 * (_dot(y, y).sqrt() + 1) * far
    nu = torch.where((nu > low) & (nu < high), nu, 0.1 * (_dot(y, y).sqrt() + 1))
    is_done = torch.zeros_like(nu, dtype=torch.bool)
    for _ in range(_NEWTON):
        value, vector = hermitian_eigh(y + nu[:, None, None] * outer(u))
        kept = simplex(value)
        seen = _squared((vector.mH @ u[..., None])[..., 0])
        error = (kept * seen).sum(-1) - need
        is_done = is_done | (error.abs() <= 64 * info.eps) | (high - low <= 4 * info.eps * high)
        if bool(is_done.all()):
            break
        low = torch.where(~is_done & (error < 0), nu, low)
        high = torch.where(~is_done & (error > 0), nu, high)
        newton = nu - error / _rate(value, kept, seen).clamp_min(info.tiny)
        is_in = (newton > low) & (newton < high)
        nu = torch.where(is_done, nu, torch.where(is_in, newton, (low + high) / 2))
    return _compose(vector, kept), nu


def _rate(value: Tensor, kept: Tensor, seen: Tensor) -> Tensor:
    """Derivative of u^H Z u in nu, (B,), by divided differences of the kept eigenvalues."""
    is_on = (kept > 0).to(kept.dtype)
    apart = value[..., :, None] - value[..., None, :]
    slack = 64 * torch.finfo(value.dtype).eps * value.abs().amax(-1)[:, None, None]
    is_near = apart.abs() <= slack
    ratio = (kept[..., :, None] - kept[..., None, :]) / torch.where(is_near, 1, apart)
    ratio = torch.where(is_near, is_on[..., :, None] * is_on[..., None, :], ratio)
    heard = (seen * is_on).sum(-1)
    rate = (seen[..., :, None] * seen[..., None, :] * ratio).sum((-2, -1))
    return rate - heard.square() / is_on.sum(-1).clamp_min(1)


def simplex(value: Tensor) -> Tensor:
    """Nearest points of the simplex to rows in ascending order, (B, N)."""
    ordered = value.flip(-1)
    total = ordered.cumsum(-1) - 1
    index = torch.arange(1, value.shape[-1] + 1, device=value.device)
    count = (ordered * index > total).sum(-1, keepdim=True).clamp_min(1)
    return (value - total.gather(-1, count - 1) / count).clamp_min(0)


def _compose(vector: Tensor, value: Tensor) -> Tensor:
    return (vector * value[..., None, :]) @ vector.mH


def _squared(x: Tensor) -> Tensor:
    return x.real.square() + x.imag.square()


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x.real * y.real + x.imag * y.imag).sum((-2, -1))


def _pick(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(mask.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)
