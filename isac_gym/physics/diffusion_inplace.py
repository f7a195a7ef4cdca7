r"""The loop of :mod:`isac_gym.physics.diffusion` without gradients: every output is reused.

Complex products stay complex, one pass each. Sums run through matrix products of real and
imaginary parts side by side: with the rows conj(v) and j conj(v) as real numbers, one product gives
both parts of all errors, another all corrections before they meet conj(g).
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Terms", "run_inplace"]

_TINY = 1e-16  # squared modulus below which a coefficient or a block has no direction


class Terms(NamedTuple):
    """What a step minimises; None switches a term off.

    Attributes:
        step: mu, (B, K) 1/W.
        gamma: Of total least squares.
        l1: (B, K, 1) W.
        l21: (B, K, 1) W.
        member: One-hot block membership, (V, blocks).
    """

    step: Tensor
    gamma: float | None
    l1: Tensor | None
    l21: Tensor | None
    member: Tensor


class _Space(NamedTuple):
    """Memory of a run: images ``x``, images before mixing ``moved``, and what leads there."""

    x: Tensor  # (B, K, V) complex
    moved: Tensor  # (B, K, V) complex
    product: Tensor  # (B, K, V) complex
    outer: Tensor  # (B, K, V) complex
    keep: Tensor  # (B, K, V) complex, imaginary parts 0: mixed products are slow
    power: Tensor  # (B, K, V)
    error: Tensor  # (B, 2, K)

    @classmethod
    def starting(cls, images: Tensor) -> "_Space":
        """Buffers for first images (B, K, V)."""
        batch, users, _ = images.shape
        x = images.contiguous().clone()
        return cls(
            x=x,
            moved=torch.empty_like(x),
            product=torch.empty_like(x),
            outer=torch.empty_like(x),
            keep=torch.zeros_like(x),
            power=x.real.new_empty(x.shape),
            error=x.real.new_empty(batch, 2, users),
        )


def run_inplace(
    images: Tensor,
    lit: Tensor,
    received: Tensor,
    channel: Tensor,
    terms: Terms,
    mixing: Tensor | None,
    *,
    every: int,
    reference: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Images (B, K, V) after all samples, and the learning curve (B, L) towards a reference.

    Args:
        images: To start from, (B, K, V) complex; not written to.
        lit: v, (B, L, V) sqrt(W).
        received: y, (B, L, K) sqrt(W).
        channel: g, (B, K, V).
        terms: What a step minimises.
        mixing: A^T, (B, K, K), or None.
        every: Samples per exchange.
        reference: (B, V), or None.
    """
    first = lit.transpose(0, 1).conj().resolve_conj()
    table = _flat(torch.stack([first, 1j * first], -2))  # (L, B, 2, 2V)
    heard = torch.view_as_real(received.transpose(0, 1).contiguous()).mT.contiguous()
    channel, adjoint = channel.contiguous(), channel.conj().resolve_conj()
    terms = terms._replace(
        l1=None if terms.l1 is None else terms.step[..., None] * terms.l1,
        l21=None if terms.l21 is None else terms.step[..., None] * terms.l21,
    )
    s, curve = _Space.starting(images), []
    flat, moved, errors = _flat(s.x), _flat(s.moved), _flat(s.product).mT
    outer, pull = _flat(s.outer), terms.step[:, None]
    for t in range(len(table)):
        torch.mul(channel, s.x, out=s.product)
        torch.baddbmm(heard[t], table[t], errors, alpha=-1, out=s.error)
        kept = _kept(s, terms)
        torch.bmm(s.error.mul_(pull).mT, table[t], out=outer)
        if mixing is None or (t + 1) % every:
            torch.addcmul(kept, adjoint, s.outer, out=s.x)
        else:
            torch.addcmul(kept, adjoint, s.outer, out=s.moved)
            torch.bmm(mixing, moved, out=flat)
        if reference is not None:
            off = _flat(s.x - reference[:, None])
            curve.append(off.square().sum(-1).mean(-1))
    return s.x, torch.stack(curve, -1) if curve else None


def _kept(s: _Space, terms: Terms) -> Tensor:
    """What a step keeps of the images; divides the errors of total least squares on the way."""
    if terms.gamma is None and terms.l1 is None and terms.l21 is None:
        return s.x
    is_sparse, block = terms.l1 is not None or terms.l21 is not None, None
    if is_sparse:
        torch.mul(s.x.real, s.x.real, out=s.power).addcmul_(s.x.imag, s.x.imag)
    if terms.l21 is not None:
        block = s.power.flatten(0, 1) @ terms.member  # (B K, blocks)
    grow = None if terms.gamma is None else _weighed(s, terms, terms.gamma, block)
    if not is_sparse:
        return s.x if grow is None else _scaled(s, grow)
    taken = s.power.flatten(0, 1)
    if terms.l1 is not None:
        s.power.clamp_min_(_TINY).rsqrt_().mul_(terms.l1)
    else:
        taken.zero_()
    if terms.l21 is not None and block is not None:
        pulled = block.clamp_min_(_TINY).rsqrt_().mul_(terms.l21.flatten(0, 1))
        taken.addmm_(pulled, terms.member.mT)
    torch.sub(s.power.new_ones(()) if grow is None else grow, s.power, out=s.keep.real)
    return torch.mul(s.x, s.keep, out=s.moved)


def _weighed(s: _Space, terms: Terms, gamma: float, block: Tensor | None) -> Tensor:
    """Growth 1 + mu |e / d|^2 / gamma, (B, K, 1), with errors divided by d = 1 + |x|^2 / gamma."""
    if block is None:
        energy = torch.linalg.vector_norm(_flat(s.x), dim=-1).square_()
    else:
        energy = block.sum(-1).view(terms.step.shape)
    s.error.mul_(energy.div_(gamma).add_(1).reciprocal_()[:, None])
    return s.error.square().sum(1).mul_(terms.step).div_(gamma).add_(1)[..., None]


def _scaled(s: _Space, grow: Tensor) -> Tensor:
    torch.mul(_flat(s.x), grow, out=_flat(s.moved))
    return s.moved


def _flat(z: Tensor) -> Tensor:
    """Real and imaginary parts side by side, (..., 2V), of (..., V)."""
    return torch.view_as_real(z).flatten(-2)
