"""The textbook route to the worst-case SINR, for comparison: Dinkelbach over trust-region problems.

Every Dinkelbach step t <- ratio(x) solves min x^H (v v^H - t A) x over the ball from a fresh
eigendecomposition. Exact as well, and several times slower than the scalar root of
:mod:`isac_gym.physics.worst_case`, with which it shares no code.
"""

import torch
from torch import Tensor

__all__ = ["dinkelbach_sinr"]


def dinkelbach_sinr(
    channel: Tensor,
    radius: Tensor,
    beam: Tensor,
    covariance: Tensor,
    *,
    outer: int = 6,
    newton: int = 40,
) -> Tensor:
    """Smallest SINR of every user, (B, I, K); arguments as in ``worst_case``."""
    cells = channel.shape[1]
    _, strongest = _smallest(-covariance[:, :, None, None], channel, radius, newton)
    others = 1 - torch.eye(cells, dtype=radius.dtype, device=radius.device)[:, :, None]
    noise = 1 - (strongest * others).sum(1)  # (B, c, k)
    own = torch.diagonal(channel, dim1=1, dim2=2).permute(0, 3, 1, 2)
    ball = torch.diagonal(radius, dim1=1, dim2=2).mT
    signal = beam[..., :, None] * beam[..., None, :].conj()
    rest = covariance[:, :, None] - signal
    x, ratio = own, torch.zeros_like(noise)
    for _ in range(outer):
        ratio = _form(signal, x) / (_form(rest, x) + noise)
        x = own + _smallest(signal - ratio[..., None, None] * rest, own, ball, newton)[0]
    return torch.minimum(ratio, _form(signal, x) / (_form(rest, x) + noise))


def _form(matrix: Tensor, x: Tensor) -> Tensor:
    return (x.conj() * (matrix @ x[..., None])[..., 0]).real.sum(-1)


def _smallest(matrix: Tensor, h: Tensor, radius: Tensor, newton: int) -> tuple[Tensor, Tensor]:
    """Minimiser d and minimum of (h + d)^H W (h + d), ||d|| <= radius, by the secular equation."""
    info = torch.finfo(radius.dtype)
    value, vector = torch.linalg.eigh(matrix)
    scale = value.abs().amax(-1, keepdim=True).clamp_min(info.tiny)
    value = value / scale
    y = (vector.mH @ h[..., None])[..., 0]
    g = value * y
    low = (-value[..., :1]).clamp_min(0) + 8 * info.eps
    high = low + g.abs().square().sum(-1, keepdim=True).sqrt() / radius[..., None].clamp_min(
        info.tiny**0.25
    )
    mu = low
    for _ in range(newton):
        part = g.abs().square() / (value + mu).square()
        norm2 = part.sum(-1, keepdim=True)
        slope = (part / (value + mu)).sum(-1, keepdim=True)
        step = norm2 * (norm2.sqrt() / radius[..., None].clamp_min(info.tiny**0.25) - 1)
        moved = mu + step / slope.clamp_min(info.tiny)
        mu = torch.where(norm2.sqrt() > radius[..., None], torch.minimum(moved, high), mu)
    d = -g / (value + mu)
    others = d[..., 1:].abs().square().sum(-1)
    rest = (radius.square() - others).clamp_min(0).sqrt()  # mu + value[0] may be mere rounding
    needs = value[..., 0] < 0  # on the sphere, unless W is positive semidefinite
    phase = torch.where(d[..., 0].abs() > 0, d[..., 0], y[..., 0])
    phase = torch.where(phase == 0, 1, phase / phase.abs().clamp_min(info.tiny))
    first = torch.where(needs, rest * phase, d[..., 0])
    d = torch.cat([first[..., None], d[..., 1:]], -1)
    length = d.abs().square().sum(-1).sqrt().clamp_min(info.tiny)
    d = d * (radius / length).clamp_max(1)[..., None]  # repeated eigenvalues leave the ball
    x = y + d
    least = scale[..., 0] * (value * x.abs().square()).sum(-1)
    return (vector @ d[..., None])[..., 0], least
