r"""Diffusion filters: users adapt an image to their own samples, then combine with neighbours.

Adapt-then-combine, one sample at a time. User k corrects its image x_k by its error
e_k = y_k - u_k^T x_k, u_k(t) = g_k o v(t); then x_k becomes sum_l a_lk x_l. Least mean squares
(lms) treats the regressor as exact, total least squares (tls) as noisy.

Both follow the half gradient: J = E|e|^2 / (1 + |x|^2 / gamma) for tls, E|e|^2 for lms. Penalties
pull along x_n / |x_n| (l1) and x_g / |x_g| over blocks g (l21), both 0 at 0, inside the step.

Speed: errors and corrections are matrix products of real and imaginary parts, outputs are reused,
and lanes are run in chunks whose state stays in the cache.

Source: the networked-ISAC paper (arXiv 2405.16398), Algorithm 2, rebuilt: formulas are lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError

__all__ = ["Diffused", "Filter", "adapt", "combine", "diffuse", "diffuse_central"]

ESTIMATORS = ("lms", "tls")
_LEAST = 1e-16  # squared modulus below which a coefficient or block has no direction
_CACHE = 1 << 20  # bytes; a chunk's state, gradient and channels take about as much
_COPIES = 6  # arrays of the size of the state that one sample touches


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What every user minimises.

    Attributes:
        estimator: ``lms`` or ``tls``.
        gamma: Noise variance of the output over that of the regressor (tls), > 0.
        l1: Weight of sum |x_n|, >= 0, W for lms, per 1 + |x|^2 less for tls; float or (B, K).
        l21: Weight of sum |x_g| over blocks, >= 0, as ``l1``.
        blocks: Block number of every voxel, (V,), from 0; needed where ``l21`` is not 0.
    """

    estimator: str = "lms"
    gamma: float = 1.0
    l1: float | Tensor = 0.0
    l21: float | Tensor = 0.0
    blocks: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise ScenarioError(f"estimator must be one of {ESTIMATORS}, got {self.estimator!r}.")
        if not self.gamma > 0:
            raise ScenarioError(f"gamma must be > 0, got {self.gamma}.")
        if self.blocks is None and (isinstance(self.l21, Tensor) or self.l21 != 0):
            raise ScenarioError("blocks must be given where l21 is not 0, got None.")

    @property
    def is_sparse(self) -> bool:
        """True if some penalty is on."""
        return any(isinstance(w, Tensor) or w != 0 for w in (self.l1, self.l21))


class Diffused(NamedTuple):
    """Outcome of a frame.

    Attributes:
        estimate: Images after the last sample, (B, K, V); (B, 1, V) of a central filter.
        msd: Mean over the users of |x_k - image|^2 after every sample, (B, L), or None.
    """

    estimate: Tensor
    msd: Tensor | None


def adapt(
    estimate: Tensor,
    user_channel: Tensor,
    illumination: Tensor,
    received: Tensor,
    step: Tensor,
    rule: Filter = Filter(),
) -> Tensor:
    """Images after every user's own correction by one sample, (B, K, V).

    Args:
        estimate: Images before, (B, K, V).
        user_channel: g, (B, K, V).
        illumination: v(t) as far as it is known, (B, V) sqrt(W).
        received: y(t), (B, K) sqrt(W).
        step: mu_k, (B, K) 1/W.
        rule: What is minimised.
    """
    frame = _Frame.of(user_channel, illumination[:, None], received[:, None], step, rule)
    return _adapt(estimate, frame, 0, _Buffers())


def combine(estimate: Tensor, weight: Tensor) -> Tensor:
    """Averages sum_l a_lk x_l, (B, K, V), of images (B, K, V); a (B, K, K), columns sum to 1."""
    return _combine(estimate, weight.mT, None)


def diffuse(
    estimate: Tensor,
    user_channel: Tensor,
    illumination: Tensor,
    received: Tensor,
    step: Tensor,
    weight: Tensor | None,
    *,
    rule: Filter = Filter(),
    exchange_every: int = 1,
    image: Tensor | None = None,
) -> Diffused:
    """Run all samples of a frame; differentiable in every tensor.

    A step that is too large lets a lane grow to infinity and NaN; the others are not touched.

    Args:
        estimate: Images before, (B, K, V).
        user_channel: g, (B, K, V).
        illumination: v as far as it is known, (B, L, V) sqrt(W).
        received: y, (B, L, K) sqrt(W).
        step: mu, (B, K) 1/W.
        weight: a_lk, (B, K, K) real, columns sum to 1; None: nobody sends.
        rule: What is minimised.
        exchange_every: Combine after every n-th sample only, >= 1.
        image: The true image (B, V) to record the error against, or None.
    """
    if exchange_every < 1:
        raise ScenarioError(f"exchange_every must be >= 1, got {exchange_every}.")
    tensors = (estimate, user_channel, illumination, received, step)
    size = len(estimate)
    mixing = None if weight is None else weight.mT
    wanted = (*tensors, weight, rule.l1, rule.l21, image)
    needs_grad = torch.is_grad_enabled() and any(
        isinstance(t, Tensor) and t.requires_grad for t in wanted
    )
    chunk = size if needs_grad or estimate.device.type != "cpu" else _chunk(estimate)
    found: list[Diffused] = []
    for first in range(0, size, max(chunk, 1)):
        rows = slice(first, first + chunk)
        some = None if mixing is None else mixing[rows]
        x, g, v, y, mu = (t[rows] for t in tensors)
        frame = _Frame.of(g, v, y, mu, _rows(rule, rows))
        buffers = _Buffers() if needs_grad else _Buffers.like(x)
        truth = None if image is None else image[rows]
        found.append(_run(x, frame, some, exchange_every, truth, buffers))
    if len(found) == 1:
        return found[0]
    errors = [one.msd for one in found if one.msd is not None]
    return Diffused(
        torch.cat([one.estimate for one in found]) if found else estimate,
        torch.cat(errors) if errors else None,
    )


def diffuse_central(
    estimate: Tensor,
    user_channel: Tensor,
    illumination: Tensor,
    received: Tensor,
    step: Tensor,
    *,
    rule: Filter = Filter(),
    image: Tensor | None = None,
) -> Diffused:
    """The same filter where one image is corrected by the users' average gradient.

    Args:
        estimate: Image before, (B, V).
        user_channel: g, (B, K, V).
        illumination: v as far as it is known, (B, L, V) sqrt(W).
        received: y, (B, L, K) sqrt(W).
        step: mu, (B,) 1/W.
        rule: What is minimised; penalties are floats or (B, 1).
        image: The true image (B, V) to record the error against, or None.
    """
    mu, x = step[:, None], estimate[:, None]
    penalty = _Penalty.of(rule, mu, user_channel)
    adjoint, errors = user_channel.mH.contiguous(), []
    for lit, heard in zip(illumination.unbind(1), received.unbind(1), strict=True):
        seen = user_channel @ (lit[..., None] * x.mT)
        error = heard - seen[..., 0]  # (B, K)
        energy = _square(error).mean(-1, keepdim=True)
        pull, keep = penalty.scales(x, energy, _Buffers())
        slope = (adjoint @ error[..., None])[..., 0] * lit.conj() / error.shape[-1]
        x = (x if keep is None else x * keep) + (pull * slope)[:, None]
        if image is not None:
            errors.append(_square(x[:, 0] - image).sum(-1))
    return Diffused(x, torch.stack(errors, -1) if errors else None)


class _Buffers(NamedTuple):
    """Outputs to overwrite, or None to allocate (and to differentiate)."""

    product: Tensor | None = None  # (B, K, V) complex
    outer: Tensor | None = None  # (B, K, 2V)
    moved: Tensor | None = None  # (B, K, V) complex
    state: Tensor | None = None  # (B, K, 2V)
    error: Tensor | None = None  # (B, 2, K)
    power: Tensor | None = None  # (B, K, V)
    keep: Tensor | None = None  # (B, K, V) complex, imaginary parts 0

    @classmethod
    def like(cls, x: Tensor) -> "_Buffers":
        batch, users, voxels = x.shape
        real = x.real.dtype

        def wide() -> Tensor:
            return torch.empty(batch, users, 2 * voxels, dtype=real, device=x.device)

        def same() -> Tensor:
            return torch.zeros(x.shape, dtype=x.dtype, device=x.device)

        error = torch.empty(batch, 2, users, dtype=real, device=x.device)
        power = torch.empty(x.shape, dtype=real, device=x.device)
        return cls(same(), wide(), same(), wide(), error, power, same())


class _Penalty(NamedTuple):
    """Everything that scales the image itself, steps included.

    Attributes:
        step: mu, (B, K).
        gamma: Of tls; None for lms.
        l1: mu l1, (B, K, 1), or None.
        l21: mu l21, (B, K, 1), or None.
        member: 1 where a voxel is in a block, (V, number of blocks), or None.
    """

    step: Tensor
    gamma: float | None
    l1: Tensor | None
    l21: Tensor | None
    member: Tensor | None

    @classmethod
    def of(cls, rule: Filter, step: Tensor, channel: Tensor) -> "_Penalty":
        def scaled(weight: float | Tensor) -> Tensor | None:
            is_off = not isinstance(weight, Tensor) and weight == 0
            return None if is_off else (step * weight)[..., None]

        member = None
        if rule.blocks is not None:
            block = torch.tensor(list(rule.blocks), device=step.device)
            index = torch.arange(max(rule.blocks) + 1, device=step.device)
            member = (block[:, None] == index).to(channel.real.dtype)
        gamma = rule.gamma if rule.estimator == "tls" else None
        return cls(step, gamma, scaled(rule.l1), scaled(rule.l21), member)

    def scales(self, x: Tensor, energy: Tensor, o: _Buffers) -> tuple[Tensor, Tensor | None]:
        """Factors of the error (B, K) and of the image, (B, K, 1 or V); None: 1.

        ``energy`` is |e|^2, (B, K).
        """
        if self.gamma is None and self.l1 is None and self.l21 is None:
            return self.step, None
        power = torch.mul(x.real, x.real, out=o.power)
        power = torch.addcmul(power, x.imag, x.imag, out=o.power)
        block = power @ self.member if self.l21 is not None and self.member is not None else None
        pull, grow = self.step, torch.ones_like(energy)
        if self.gamma is not None:
            total = power.sum(-1) if block is None else block.sum(-1)
            divisor = 1 + total / self.gamma
            pull = self.step / divisor
            grow = 1 + pull * energy / divisor / self.gamma
        if self.l1 is None and block is None:
            return pull, _as_complex(grow[..., None], o)
        return pull, _as_complex(grow[..., None], o, self._shrink(power, block, o))

    def _shrink(self, power: Tensor, block: Tensor | None, o: _Buffers) -> Tensor:
        """Share of every coefficient that the penalties take away, (B, K, V)."""
        taken = None
        if self.l1 is not None:
            taken = torch.clamp(power, min=_LEAST, out=o.power)
            taken = torch.mul(torch.rsqrt(taken, out=o.power), self.l1, out=o.power)
        if block is None or self.member is None or self.l21 is None:
            return power if taken is None else taken
        pulled = block.clamp_min(_LEAST).rsqrt() * self.l21
        if taken is None:
            return pulled @ self.member.mT
        flat = torch.addmm(taken.flatten(0, 1), pulled.flatten(0, 1), self.member.mT)
        return flat.view(taken.shape)


class _Frame(NamedTuple):
    """Constants of a run: conj(v) and j conj(v) as rows of real numbers (L, B, 2, 2V), and more."""

    channel: Tensor  # (B, K, V)
    conjugate: Tensor  # (B, K, V)
    table: Tensor  # (L, B, 2, 2V)
    received: Tensor  # (L, B, 2, K)
    penalty: _Penalty

    @classmethod
    def of(
        cls, channel: Tensor, lit: Tensor, received: Tensor, step: Tensor, rule: Filter
    ) -> "_Frame":
        first = lit.transpose(0, 1).conj().resolve_conj()
        table = _flat(torch.stack([first, 1j * first], -2))
        heard = torch.view_as_real(received.transpose(0, 1).resolve_conj()).mT.contiguous()
        conjugate = channel.conj().resolve_conj()
        return cls(channel, conjugate, table, heard, _Penalty.of(rule, step, channel))


def _run(
    x: Tensor,
    frame: _Frame,
    mixing: Tensor | None,
    every: int,
    image: Tensor | None,
    o: _Buffers,
) -> Diffused:
    mixing = None if mixing is None else mixing.contiguous()
    errors = []
    for t in range(len(frame.table)):
        x = _adapt(x, frame, t, o)
        if mixing is not None and (t + 1) % every == 0:
            x = _combine(x, mixing, o.state)
        if image is not None:
            off = _flat(x - image[:, None])
            errors.append(off.square().sum((-2, -1)) / off.shape[-2])
    return Diffused(x, torch.stack(errors, -1) if errors else None)


def _adapt(x: Tensor, frame: _Frame, t: int, o: _Buffers) -> Tensor:
    table, penalty = frame.table[t], frame.penalty
    product = torch.mul(frame.channel, x, out=o.product)
    # Rows of the table: [vr, -vi] and [vi, vr], so that both products need no complex arithmetic.
    error = torch.baddbmm(frame.received[t], table, _flat(product).mT, alpha=-1, out=o.error)
    energy = error.square().sum(-2) if penalty.gamma is not None else penalty.step
    pull, keep = penalty.scales(x, energy, o)
    outer = torch.bmm((error * pull[:, None]).mT, table, out=o.outer)
    kept = x if keep is None else torch.mul(x, keep, out=o.moved)
    return torch.addcmul(kept, frame.conjugate, _paired(outer), out=o.moved)


def _combine(x: Tensor, mixing: Tensor, out: Tensor | None) -> Tensor:
    return _paired(torch.bmm(mixing, _flat(x), out=out))


def _as_complex(grow: Tensor, o: _Buffers, taken: Tensor | None = None) -> Tensor:
    """Grow minus taken; complex, if there is a buffer, because mixed products are slow."""
    if o.keep is None:
        return grow if taken is None else grow - taken
    if taken is None:
        o.keep.real.copy_(grow.expand(o.keep.shape))
    else:
        torch.sub(grow, taken, out=o.keep.real)
    return o.keep


def _flat(z: Tensor) -> Tensor:
    """Real and imaginary parts side by side, (..., 2V), of (..., V)."""
    return torch.view_as_real(z).flatten(-2)


def _paired(flat: Tensor) -> Tensor:
    """Inverse of :func:`_flat`."""
    return torch.view_as_complex(flat.unflatten(-1, (-1, 2)))


def _chunk(x: Tensor) -> int:
    """Lanes whose state stays in the cache."""
    lane = max(x[0].numel() * x.element_size() * _COPIES, 1) if len(x) else 1
    return max(_CACHE // lane, 1)


def _rows(rule: Filter, rows: slice) -> Filter:
    """The filter of some lanes."""
    penalties = [w[rows] if isinstance(w, Tensor) else w for w in (rule.l1, rule.l21)]
    return Filter(
        estimator=rule.estimator,
        gamma=rule.gamma,
        l1=penalties[0],
        l21=penalties[1],
        blocks=rule.blocks,
    )


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
