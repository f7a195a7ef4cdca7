"""Strongest and weakest power x^H R x over a ball of channels: trust-region problems, batched.

With R = U diag(value) U^H, q = value / largest, g = U^H h, the extremal error of ||e|| <= radius is
e_i = +-q_i g_i / (y -+ q_i) with the scalar y that gives it the ball's radius. 1 / ||e(y)|| is
concave, so that Newton from the left converges monotonically, without safeguards.

Source: Conn, Gould, Toint 2000, Trust-Region Methods, ch. 7 (secular equation, hard case).
"""

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh

__all__ = [
    "NEWTON_STEPS",
    "all_on_cpu",
    "fill_ball",
    "squared",
    "strongest_power",
    "weakest_power",
]

NEWTON_STEPS = {torch.float64: 16, torch.float32: 10}  # full accuracy; see tests/physics


def strongest_power(
    channel: Tensor, radius: Tensor, covariance: Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Largest received power max (h + e)^H R (h + e) over ||e|| <= radius; not differentiable.

    Args:
        channel: From BS l to user (c, k), (B, I, I, K, N) complex.
        radius: Radii >= 0, (B, I, I, K).
        covariance: R_l, (B, I, N, N) Hermitian PSD.
        steps: Newton steps.

    Returns:
        Error (B, I, I, K, N) that attains it, its power and a certified upper bound (dual value)
        of the largest power, both (B, I, I, K).
    """
    tiny = torch.finfo(radius.dtype).tiny
    value, vector = hermitian_eigh(covariance)  # ascending, (B, l, N)
    top = value[..., -1:].clamp_min(tiny)
    q = (value / top).clamp_min(0)[:, :, None, None]  # (B, l, 1, 1, N)
    batch, cells, _, users, antennas = channel.shape
    rows = channel.reshape(batch, cells, cells * users, antennas)
    g = (rows @ vector.conj()).reshape(channel.shape)  # U^H h
    size = squared(g).sqrt()
    r = radius[..., None].clamp_min(tiny**0.25)
    pull = q * size
    # y = 1 + over, kept as the difference: near the hard case it is far below the rounding of 1.
    below = 1 - q
    over = (pull / r - below).amax(-1, keepdim=True).clamp_min(tiny**0.5)
    limit = r.square() * (1 + 16 * torch.finfo(r.dtype).eps)
    for _ in range(steps):
        part = (pull / (over + below)).square()
        norm2 = part.sum(-1, keepdim=True)
        is_settled = norm2 <= limit
        if all_on_cpu(is_settled):
            break
        slope = (part / (over + below)).sum(-1, keepdim=True)  # -(1/2) d norm2 / dy
        step = norm2 * (norm2.sqrt() / r - 1) / slope.clamp_min(tiny)
        over = over + torch.where(is_settled, 0, step)
    e = q * g / (over + below)
    e = fill_ball(e, g, radius)
    x = g + e
    power = top[..., 0, None, None] * (q * squared(x)).sum(-1)
    dual = (1 + over[..., 0]) * (radius.square() + (pull * size / (over + below)).sum(-1))
    error = (e.reshape(rows.shape) @ vector.mT).reshape(channel.shape)
    return error, power, top[..., 0, None, None] * dual


def weakest_power(channel: Tensor, radius: Tensor, covariance: Tensor) -> Tensor:
    """Smallest received power min (h + e)^H R (h + e) over ||e|| <= radius, differentiable in R.

    With q, g as for the strongest interference: e_i = -q_i g_i / (q_i + y), and y >= 0 solves
    ||e|| = radius; 0 where the ball reaches the null space of R. Concave in R.

    Args:
        channel: (B, I, K, N) complex.
        radius: (B, I, K).
        covariance: (B, I, N, N) Hermitian PSD.

    Returns:
        (B, I, K).
    """
    info = torch.finfo(radius.dtype)
    with torch.no_grad():
        value, vector = hermitian_eigh(covariance)
        top = value[..., -1:].clamp_min(info.tiny)
        q = (value / top).clamp_min(0)[:, :, None]
        g = channel @ vector.conj()
        r = radius[..., None].clamp_min(info.tiny**0.25)
        pull = q * squared(g).sqrt()
        y = (pull / r - q).amax(-1, keepdim=True).clamp_min(info.eps)
        for _ in range(NEWTON_STEPS[radius.dtype]):
            part = (pull / (q + y)).square()
            norm2 = part.sum(-1, keepdim=True)
            slope = (part / (q + y)).sum(-1, keepdim=True)
            step = norm2 * (norm2.sqrt() / r - 1) / slope.clamp_min(info.tiny)
            y = y + torch.where(norm2 > r.square(), step, 0)
        e = -q * g / (q + y)
        length = squared(e).sum(-1, keepdim=True).sqrt().clamp_min(info.tiny)
        x = channel + (e * (radius[..., None] / length).clamp_max(1)) @ vector.mT
    return (x.conj() * (x @ covariance.mT)).real.sum(-1).clamp_min(0)


def fill_ball(e: Tensor, g: Tensor, radius: Tensor, along: Tensor | None = None) -> Tensor:
    """Error (..., N) brought to norm ``radius`` (...): shrunk, or filled along one entry.

    The fill takes the phase of that entry's own error, else of g: the objective is indifferent in
    the hard case, where that eigenvector sees neither.

    Args:
        e: Errors in an eigenbasis, (..., N) complex.
        g: Channels in it.
        radius: Norm to reach, (...).
        along: True at the entry to fill, (..., N) bool; None: the last.
    """
    if along is None:
        along = torch.zeros_like(e, dtype=torch.bool)
        along[..., -1] = True
    tiny = torch.finfo(radius.dtype).tiny
    norm2 = squared(e).sum(-1)
    shrink = (radius / norm2.sqrt().clamp_min(tiny)).clamp_max(1)
    e = e * shrink[..., None]
    own, channel = ((t * along).sum(-1) for t in (e, g))
    size = own.abs()
    guide = torch.where(size > 0, own, channel)
    phase = torch.where(guide == 0, 1, guide / guide.abs().clamp_min(tiny))
    rest = norm2 * shrink.square() - size.square()
    wanted = (radius.square() - rest).clamp_min(0).sqrt()
    return torch.where(along, (wanted * phase)[..., None], e)


def all_on_cpu(mask: Tensor) -> bool:
    """True if every entry is True, asked on the CPU only, where it costs no synchronisation."""
    return mask.device.type == "cpu" and bool(mask.all())


def squared(z: Tensor) -> Tensor:
    """|z|^2 of complex numbers, any shape."""
    return z.real.square() + z.imag.square()
