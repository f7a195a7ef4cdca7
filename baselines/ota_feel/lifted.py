r"""Certified lower bound of the aggregation error without pulses: the lifted problem and its dual.

In units where the noise and every budget are 1 (:class:`LiftedTask`), a receiver M has the error

    |M|^2 + sum_k phi_k(M^H T_k M),   T_k = H_k H_k^H,
    phi_k(X) = min over |C|_F <= 1 of |M^H H_k C - W_k|^2
             = max over mu >= 0 of mu tr W_k (X + mu I)^-1 W_k - mu.

*Lifting.* M^H T_k M is linear in Q = vec M vec M^H, and phi_k is a maximum of convex functions. So
F(Q) = tr Q + sum_k phi_k(X_k(Q)) over all Q >= 0 is convex and its minimum no larger than any
error. Several receivers side by side, Q = sum_c vec M_c vec M_c^H, parametrise it.

*Bound.* For any matrices Z_k (R x R) and any X >= 0, 0 <= |(X + mu)^-1/2 W - (X + mu)^1/2 Z|^2 says

    tr W (X + mu)^-1 W >= 2 Re tr Z^H W - tr Z^H (X + mu) Z.

With sqrt(mu) Z for Z, after multiplying by mu: phi_k(X) >= 2 s c_k - s^2 (|Z_k|^2 + 1) - tr Z_k^H X
Z_k with s^2 = mu and c_k = Re tr Z_k^H W_k, whose best s = c_k / (|Z_k|^2 + 1) >= 0 gives

    phi_k(X) >= max(c_k, 0)^2 / (|Z_k|^2 + 1) - tr Z_k^H X Z_k.

The last terms are linear: sum_k tr Z_k^H X_k(Q) Z_k = <A, Q> <= lambda_max(A) tr Q with
A = sum_k conj(Z_k Z_k^H) (x) T_k. Scaled to lambda_max(A) <= 1 they are at most tr Q, and

    error >= sum_k max(c_k, 0)^2 / (|Z_k|^2 + 1)     for every M, hence for every decision.

No upper bound of the optimum is needed, nothing cancels, and any Z is good; the Z of the minimiser
of F, sqrt(mu) (X + mu)^-1 W, closes the gap between the two.

Where W_k = w_k I the bound is that of R separate streams with P / R each: what the lifting gives
away is the orthogonality of the streams and the rank of Q.

Source: lifting and its convexity after the strong duality of trust-region problems; the explicit
dual is ours. R N > 32 works as well, but the one eigenvalue problem per lane is slow on a GPU.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.random import Streams
from isac_gym.physics.precoder_step import budget_multiplier
from isac_gym.problems.ota_feel.model import OtaFeelInstance

__all__ = ["Lifted", "LiftedTask", "dual_value", "lifted_bound", "lifted_task", "lifted_value"]

_MOMENTUM, _DECAY, _RATE = 0.9, 0.99, 0.15
_MARGIN = 64  # of the largest eigenvalue, in eps of the trace
_ROUNDING = 1e-12  # of a sum of positive numbers, relative
_ASKED = 50  # iterations between two bounds


class LiftedTask(NamedTuple):
    """An instance in units where the noise and every budget are 1, and sum |W_k|^2 is 1.

    Attributes:
        channel: H_k sqrt(P_k / noise), (B, K, N, M).
        weight: Diagonals of W_k, (B, K, R).
    """

    channel: Tensor
    weight: Tensor


class Lifted(NamedTuple):
    """Result of :func:`lifted_bound`.

    Attributes:
        receivers: Those of the least F, (B, N, columns, R), in the task's units.
        value: F there, (B,), as a share of sum |W_k|^2.
        lower: Certified lower bound of the normalised error, (B,); 0 where there is none.
    """

    receivers: Tensor
    value: Tensor
    lower: Tensor


def lifted_task(instance: OtaFeelInstance, noise_w: float) -> LiftedTask:
    """Scale an instance in double precision."""
    i = instance
    total = i.weight.square().sum((1, 2), keepdim=True)
    tiny = torch.finfo(total.dtype).tiny
    return LiftedTask(
        channel=i.channel * (i.max_power_w / noise_w).sqrt()[..., None, None],
        weight=i.weight / total.clamp_min(tiny).sqrt(),
    )


def lifted_value(task: LiftedTask, receivers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """F (B,), half its gradient in the receivers (B, N, c, R), and the Z_k (B, K, R, R).

    Args:
        task: The instance.
        receivers: M_c, (B, N, c, R).
    """
    flat = receivers.flatten(2)
    seen = task.channel.mH @ flat[:, None]  # (B, K, M, c R)
    tall = seen.unflatten(3, receivers.shape[2:]).flatten(2, 3)  # (B, K, M c, R)
    value, vector = hermitian_eigh(tall.mH @ tall)
    value = value.clamp_min(0)
    turned = vector.mH * task.weight[..., None, :]
    size = _square(turned).sum(-1)
    mu = budget_multiplier(value, value * size, torch.ones_like(value[..., 0]))[..., None]
    level = value + mu
    is_on = level > 0
    safe = torch.where(is_on, level, 1)
    kept = (torch.where(is_on, mu / safe, 1) * size).sum(-1) - mu[..., 0]
    shrunk = torch.where(is_on, mu.sqrt() / safe, 0)
    z = vector @ (shrunk[..., None] * turned)
    pull = tall @ (z @ z.mH)  # H_k^H M_c Y_k
    pull = pull.unflatten(2, seen.shape[2:3] + receivers.shape[2:3]).flatten(3)
    heard = (task.channel @ pull).sum(1).unflatten(2, receivers.shape[2:])
    return kept.sum(-1) + _square(flat).sum((1, 2)), receivers - heard, z


def dual_value(task: LiftedTask, z: Tensor) -> Tensor:
    """Certified lower bound of the normalised error, (B,), of any Z_k (B, K, R, R)."""
    outer = z @ z.mH
    batch, _, n, _ = task.channel.shape
    gram = task.channel @ task.channel.mH
    tasks = z.shape[-1]
    a = outer.conj().flatten(2).mT @ gram.flatten(2)  # (B, R R, N N)
    a = a.reshape(batch, tasks, tasks, n, n).transpose(2, 3).reshape(batch, tasks * n, tasks * n)
    is_finite = a.isfinite().flatten(1).all(1)
    a = torch.where(is_finite[:, None, None], (a + a.mH) / 2, 0)
    info = torch.finfo(a.real.dtype)
    trace = torch.diagonal(a, dim1=1, dim2=2).real.sum(-1)
    most = torch.linalg.eigvalsh(a)[:, -1] + _MARGIN * info.eps * trace
    shrink = 1 / most.clamp_min(info.tiny)
    gained = (torch.diagonal(z, dim1=-2, dim2=-1).real * task.weight).sum(-1).clamp_min(0)
    spent = _square(z).sum((-2, -1))
    scale = shrink[:, None]  # of |Z|^2
    found = (gained.square() / (spent + 1 / scale)).sum(-1) * (1 - _ROUNDING)
    return torch.where(is_finite & found.isfinite() & (trace > 0), found, 0)


def lifted_bound(
    task: LiftedTask, *, iterations: int = 600, columns: int = 8, seed: int = 0
) -> Lifted:
    """Minimise F by Adam on receivers side by side; the best bound of several iterates.

    Args:
        task: The instance.
        iterations: Steps, >= 1; more make the bound tighter, never wrong.
        columns: Receivers side by side, >= 1; R N are always enough, 8 are in practice.
        seed: Of the first receivers, which are the same in every lane but for a scale.
    """
    point = _first(task, columns, seed)
    mean, square = torch.zeros_like(point), torch.zeros_like(task.weight[:, 0, 0])
    # where every device can invert its channel the iterates' Z vanish: any other Z is a bound too
    lower = dual_value(task, torch.diag_embed(task.weight).to(point.dtype))
    for step in range(iterations):
        _, slope, z = lifted_value(task, point)
        if step % _ASKED == _ASKED - 1:
            lower = torch.maximum(lower, dual_value(task, z))
        mean = _MOMENTUM * mean + (1 - _MOMENTUM) * slope
        square = _DECAY * square + (1 - _DECAY) * _square(slope).mean((1, 2, 3))
        spread = (square / (1 - _DECAY ** (step + 1))).sqrt()
        spread = spread.clamp_min(torch.finfo(spread.dtype).tiny)
        rate = _RATE * (1 + math.cos(math.pi * step / iterations)) / 2
        size = _square(point).mean((1, 2, 3)).sqrt()
        length = rate * size / (1 - _MOMENTUM ** (step + 1)) / spread
        point = point - length[:, None, None, None] * mean
    value, _, z = lifted_value(task, point)
    return Lifted(point, value, torch.maximum(lower, dual_value(task, z)))


def _first(task: LiftedTask, columns: int, seed: int) -> Tensor:
    """Random receivers so large that most devices can invert; smaller ones converge slowly."""
    shape = (task.channel.shape[2], columns, task.weight.shape[-1])
    draw = Streams.from_seed(seed, 1).complex_normal("lifted", *shape).to(task.channel)
    loud = _square(task.channel).sum((1, 2, 3)).clamp_min(torch.finfo(task.weight.dtype).tiny)
    scale = (8 * task.weight.square().sum((1, 2)) / loud / columns).sqrt()
    return scale[:, None, None, None] * draw


def _square(x: Tensor) -> Tensor:
    return x.real.square() + x.imag.square()
