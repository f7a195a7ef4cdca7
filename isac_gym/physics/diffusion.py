r"""Adapt-then-combine diffusion: users refine their images sample by sample and mix them.

For every sample t, user k with regressor u_k = g_k o v(t) and error e_k = y_k - u_k^T x_k moves to

    phi_k = x_k + mu_k (e_k conj(u_k) - l1 sgn(x_k) - l21 block(x_k)),   x_k <- sum_l a_lk phi_l

with sgn(x) = x / |x| and block(x) = x / |x over its block|. Total least squares (``tls``) weighs
the error by d_k = 1 + |x_k|^2 / gamma: e_k / d_k replaces e_k, |e_k / d_k|^2 x_k / gamma is added.

With gradients, complex numbers are kept as two real planes: the modulus of a complex tensor is a
slow function, and the weights are real. Without, :mod:`isac_gym.physics.diffusion_inplace` runs the
same recursion 1.5 times faster.

Source: the networked-ISAC paper, (10)-(19); differs: the TLS inputs are not assumed white.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.physics.diffusion_inplace import Terms, run_inplace

__all__ = ["ESTIMATORS", "Diffusion", "diffuse"]

ESTIMATORS = ("lms", "tls")
_TINY = 1e-16  # squared modulus below which a coefficient or a block has no direction
_CHUNK = 32  # instances whose state stays in the cache together
_UNROLLED = 10  # samples per call of the compiled loop


class Diffusion(NamedTuple):
    """Result of a run.

    Attributes:
        estimate: Images after the last sample, (B, K, V) complex.
        msd: Mean squared distance of the users' images to a reference after each sample, (B, L);
            None unless asked for.
    """

    estimate: Tensor
    msd: Tensor | None


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """What a step does, in plain numbers: the compiled loop is specialised to it."""

    estimator: str
    gamma: float
    has_l1: bool
    has_l21: bool


class _Data(NamedTuple):
    """Real planes of everything that does not change, leading axis 2 for (re, im)."""

    lit: Tensor  # (L, 2, B, 1 or K, V)
    received: Tensor  # (L, 2, B, K, 1)
    channel: Tensor  # (2, B, K, V)
    step: Tensor  # (B, K, 1)
    l1: Tensor  # (B, K, 1)
    l21: Tensor  # (B, K, 1)
    member: Tensor  # (V, blocks) one-hot


def diffuse(
    estimate: Tensor,
    illumination: Tensor,
    received: Tensor,
    user_channel: Tensor,
    weight: Tensor | None,
    *,
    step: Tensor,
    estimator: str = "lms",
    gamma: float = 1.0,
    l1: Tensor | float = 0.0,
    l21: Tensor | float = 0.0,
    blocks: Tensor | None = None,
    exchange_every: int = 1,
    reference: Tensor | None = None,
    is_central: bool = False,
    compile_loop: bool = False,
) -> Diffusion:
    """Run the filters of all users over L samples.

    Args:
        estimate: Images to start from, (B, K, V).
        illumination: v(t) as far as the users know it, (B, L, V) sqrt(W), or every user's own idea
            of it, (B, L, K, V).
        received: y, (B, L, K) sqrt(W).
        user_channel: g, (B, K, V).
        weight: a_lk, (B, K, K) real, columns summing to 1; None: nobody exchanges anything.
        step: mu_k, (B, K) 1/W, >= 0.
        estimator: ``lms`` or ``tls``.
        gamma: Ratio of output to input noise power in ``tls``, > 0.
        l1: Shrinkage of coefficients, a number or (B, K), W.
        l21: Shrinkage of blocks, a number or (B, K), W.
        blocks: Block number of every voxel, (V,) int64; needed where ``l21`` is used.
        exchange_every: Images are mixed after every so many samples.
        reference: Image (B, V) to record the mean squared distance to after each sample.
        is_central: One image that moves by the mean of the users' gradients; the others follow it.
        compile_loop: Run through ``torch.compile``, ten samples a call: up to twice as fast after
            half a minute of compiling, no gradients.

    Returns:
        Images and, with ``reference``, their learning curve. Diverging lanes end as they end: check
        for finite values.

    Raises:
        ScenarioError: Unknown estimator, gamma <= 0, exchange_every < 1, blocks missing.
    """
    uses_blocks = isinstance(l21, Tensor) or l21 != 0
    _check(estimator, gamma, exchange_every, blocks if uses_blocks else torch.empty(0))
    uses_l1 = isinstance(l1, Tensor) or l1 != 0
    rule = _Rule(estimator=estimator, gamma=gamma, has_l1=uses_l1, has_l21=uses_blocks)
    batch, users, _ = estimate.shape
    mix = None if weight is None else weight.mT.to(estimate.real.dtype)
    mix = _average(users, estimate) if is_central else mix

    def per_user(value: Tensor | float) -> Tensor:
        like = step if isinstance(value, Tensor) else torch.full_like(step, value)
        return (value if isinstance(value, Tensor) else like)[..., None].to(step.dtype)

    member = _membership(blocks, estimate) if uses_blocks else step.new_zeros(1, 1)
    own = illumination.ndim == 4
    tensors = (estimate, illumination, received, user_channel, weight, step, l1, l21)
    is_tracked = torch.is_grad_enabled() and any(
        isinstance(t, Tensor) and t.requires_grad for t in tensors
    )
    if not (own or is_tracked or compile_loop):
        terms = Terms(
            step=step,
            gamma=gamma if estimator == "tls" else None,
            l1=per_user(l1) if uses_l1 else None,
            l21=per_user(l21) if uses_blocks else None,
            member=member,
        )
        frame = (estimate, illumination, received, user_channel)
        return _in_chunks(frame, terms, mix, every=exchange_every, reference=reference)
    data = _Data(
        lit=_planes(_per_user(illumination)).permute(2, 0, 1, 3, 4),
        received=_planes(received).permute(2, 0, 1, 3)[..., None],
        channel=_planes(user_channel),
        step=step[..., None],
        l1=per_user(l1),
        l21=per_user(l21),
        member=member,
    )
    truth = None if reference is None else _planes(reference)[:, :, None]
    run = _compiled(rule) if compile_loop else _loop(rule)
    parts = [
        _run(run, data, _planes(estimate), mix, truth, exchange_every, slice(first, first + _CHUNK))
        for first in range(0, max(batch, 1), _CHUNK)
    ]
    planes = torch.cat([images for images, _ in parts], 1)
    msd = None if truth is None else torch.cat([curve for _, curve in parts if curve is not None])
    return Diffusion(torch.complex(planes[0], planes[1]), msd)


def _in_chunks(
    frame: tuple[Tensor, Tensor, Tensor, Tensor],
    terms: Terms,
    mix: Tensor | None,
    *,
    every: int,
    reference: Tensor | None,
) -> Diffusion:
    """Run some lanes after the other, in memory that is reused."""
    (images, lit, received, channel), found, batch = frame, [], len(terms.step)
    chunk = _CHUNK if terms.step.device.type == "cpu" else max(batch, 1)
    for first in range(0, max(batch, 1), chunk):
        rows = slice(first, first + chunk)
        some = terms._replace(
            step=terms.step[rows],
            l1=None if terms.l1 is None else terms.l1[rows],
            l21=None if terms.l21 is None else terms.l21[rows],
        )
        found.append(
            run_inplace(
                *(images[rows], lit[rows], received[rows], channel[rows]),
                some,
                None if mix is None else mix[rows].contiguous(),
                every=every,
                reference=None if reference is None else reference[rows],
            )
        )
    curves = [curve for _, curve in found if curve is not None]
    return Diffusion(
        torch.cat([image for image, _ in found]), torch.cat(curves) if curves else None
    )


_Loop = Callable[..., Tensor]


def _run(
    loop: _Loop,
    data: _Data,
    images: Tensor,
    mix: Tensor | None,
    truth: Tensor | None,
    every: int,
    rows: slice,
) -> tuple[Tensor, Tensor | None]:
    """Images (2, b, K, V) and learning curve (b, L) of some lanes."""
    images = images[:, rows]
    own = _Data(
        lit=data.lit[:, :, rows].contiguous(),
        received=data.received[:, :, rows].contiguous(),
        channel=data.channel[:, rows].contiguous(),
        step=data.step[rows],
        l1=data.l1[rows],
        l21=data.l21[rows],
        member=data.member,
    )
    mixing = None if mix is None else mix[rows].contiguous()
    stride = 1 if truth is not None else (_UNROLLED if every == 1 else every)
    curve, count = [], own.lit.shape[0]
    for first in range(0, count, stride):
        last = min(first + stride, count)
        is_exchange = every == 1 or last % every == 0
        part = own._replace(lit=own.lit[first:last], received=own.received[first:last])
        images = loop(images, part, mixing if is_exchange else None, every == 1)
        if truth is not None:
            curve.append((images - truth[:, rows]).square().sum((0, -1)).mean(-1))
    return images, torch.stack(curve, -1) if curve else None


@cache
def _loop(rule: _Rule) -> _Loop:
    """Loop over some samples; mixing after each of them, or after the last one only."""

    def loop(images: Tensor, data: _Data, mixing: Tensor | None, is_each: bool) -> Tensor:
        count = data.lit.shape[0]
        for t in range(count):
            images = _adapt(rule, images, data, data.lit[t], data.received[t])
            if mixing is not None and (is_each or t == count - 1):
                images = torch.matmul(mixing, images)
        return images

    return loop


@cache
def _compiled(rule: _Rule) -> _Loop:
    return torch.compile(_loop(rule), dynamic=False)


def _adapt(rule: _Rule, images: Tensor, data: _Data, lit: Tensor, received: Tensor) -> Tensor:
    """One step of every user on its own, planes (2, B, K, V)."""
    (xr, xi), (gr, gi), (vr, vi) = images, data.channel, lit
    ur, ui = gr * vr - gi * vi, gr * vi + gi * vr
    er = received[0] - (ur * xr - ui * xi).sum(-1, keepdim=True)
    ei = received[1] - (ur * xi + ui * xr).sum(-1, keepdim=True)
    keep = None
    if rule.estimator == "tls" or rule.has_l1 or rule.has_l21:
        square = xr * xr + xi * xi
        keep = torch.zeros_like(er)
        if rule.estimator == "tls":
            inverse = 1 / (1 + square.sum(-1, keepdim=True) / rule.gamma)
            er, ei = er * inverse, ei * inverse
            keep = keep + (er * er + ei * ei) / rule.gamma
        if rule.has_l1:
            keep = keep - data.l1 * square.clamp_min(_TINY).rsqrt()
        if rule.has_l21:
            norm = (square @ data.member).clamp_min(_TINY).rsqrt()
            keep = keep - data.l21 * (norm @ data.member.mT)
        keep = 1 + data.step * keep
        xr, xi = xr * keep, xi * keep
    er, ei = data.step * er, data.step * ei
    return torch.stack([xr + (ur * er + ui * ei), xi + (ur * ei - ui * er)])


def _per_user(illumination: Tensor) -> Tensor:
    """With a users' axis, (B, L, 1 or K, V)."""
    return illumination[:, :, None] if illumination.ndim == 3 else illumination


def _average(users: int, like: Tensor) -> Tensor:
    """Weights of the mean: with equal images for all users, the centralised filter."""
    return torch.full(
        (len(like), users, users), 1 / users, dtype=like.real.dtype, device=like.device
    )


def _membership(blocks: Tensor | None, like: Tensor) -> Tensor:
    number = torch.zeros(0) if blocks is None else blocks
    count = int(number.max()) + 1 if number.device.type != "meta" else 1
    one_hot = torch.arange(count, device=like.device) == number.to(like.device)[:, None]
    return one_hot.to(like.real.dtype)


def _planes(z: Tensor) -> Tensor:
    """Real and imaginary part, (2, ...)."""
    return torch.stack([z.real, z.imag])


def _check(estimator: str, gamma: float, exchange_every: int, blocks: Tensor | None) -> None:
    if estimator not in ESTIMATORS:
        raise ScenarioError(f"estimator must be one of {ESTIMATORS}, got {estimator!r}.")
    if not gamma > 0:
        raise ScenarioError(f"gamma must be > 0, got {gamma}.")
    if exchange_every < 1:
        raise ScenarioError(f"exchange_every must be >= 1, got {exchange_every}.")
    if blocks is None:
        raise ScenarioError("blocks must be given where l21 is used, got None.")
