"""Features of windows of channel state information: what an estimator sees of each subcarrier.

Subcarriers of all links are numbered together: m = link * K + tone.
"""

import math

import torch
from torch import Tensor

from isac_gym.core.units import linear_to_db

__all__ = ["Standard", "calibrated_features", "spectrum_features", "window_features"]

_FAINTEST = 1e-9  # amplitudes below this count as this
_RELATIVE_FLOOR = 1e-6  # powers below this share of the static power count as this
_CLIP = 5.0
_SMALLEST_STD = 1e-6


def window_features(csi: Tensor, *, received: Tensor | None = None) -> Tensor:
    """Mean level and log of its deviation: all that commodity cards without phase allow.

    Args:
        csi: (..., T, P, K) complex, or amplitudes (real).
        received: (..., T) bool, False for packets that are padding and do not count; None: all
            count.

    Returns:
        (..., P K, 2): mean over the packets of 20 log10 |csi| in dB, log10 of its standard
        deviation in dB.
    """
    level = 2 * linear_to_db(csi.abs().clamp_min(_FAINTEST))
    if received is None:
        mean, deviation = level.mean(-3), level.std(-3, correction=0)
    else:
        share = received.to(level.dtype) / received.sum(-1, keepdim=True)
        share = share[..., None, None]  # (..., T, 1, 1)
        mean = (share * level).sum(-3)
        deviation = (share * (level - mean.unsqueeze(-3)).square()).sum(-3).sqrt()
    spread = deviation.clamp_min(_SMALLEST_STD).log10()
    return torch.stack([mean, spread], -1).flatten(-3, -2)


def calibrated_features(csi: Tensor, empty: Tensor) -> Tensor:
    """What a person adds to the empty room: mean power, fluctuation, phase between neighbours.

    Every packet and link is aligned with the empty room by one complex gain, estimated over all
    tones of the link (a preamble is wide-band, so this does not depend on the selection). With D
    the difference and P0 the mean power of the empty room: 10 log10(|mean_t D|^2 / P0 + 1e-6),
    10 log10(var_t D / P0 + 1e-6), cosine and sine of the angle of mean_t D_k conj D_{k-1}. The
    first tone of a link has no lower neighbour and takes the phase of the second. A link without
    any signal in the empty room is measured in units of the CSI.

    Args:
        csi: (..., T, P, K) complex, K >= 2.
        empty: Estimate of the empty room's channel, broadcastable to (..., 1, P, K) complex.

    Returns:
        (..., P K, 4) real.
    """
    power = empty.abs().square()
    tiny = torch.finfo(power.dtype).tiny
    gain = (csi * empty.conj()).sum(-1, keepdim=True)
    gain = gain / power.sum(-1, keepdim=True).clamp_min(tiny)
    is_heard = gain.abs() > tiny
    difference = csi / torch.where(is_heard, gain, 1) - empty
    scale = power.mean(-1, keepdim=True)[..., 0, :, :]  # (..., P, 1)
    scale = torch.where(scale > tiny, scale, 1)
    mean = difference.mean(-3)
    spread = (difference - mean[..., None, :, :]).abs().square().mean(-3)
    cross = (difference[..., 1:] * difference[..., :-1].conj()).mean(-3)
    angle = torch.cat([cross[..., :1], cross], -1).angle()
    levels = [_level(mean.abs().square() / scale), _level(spread / scale)]
    return torch.stack([*levels, angle.cos(), angle.sin()], -1).flatten(-3, -2)


def spectrum_features(csi: Tensor, *, packet_rate_hz: float, frequency_hz: Tensor) -> Tensor:
    """Periodogram of the level of each subcarrier, (..., P K, F), summing to 1 over F.

    Hann window, mean removed, evaluated at the given frequencies; a subcarrier without any
    fluctuation gets equal shares.

    Args:
        csi: (..., T, P, K) complex, or amplitudes (real).
        packet_rate_hz: Packets per second.
        frequency_hz: (F,) Hz.
    """
    level = 2 * linear_to_db(csi.abs().clamp_min(_FAINTEST))
    num_packets = level.shape[-3]
    time = torch.arange(num_packets, dtype=level.dtype, device=level.device)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * (time + 0.5) / num_packets)
    angle = 2 * math.pi * time[:, None] * frequency_hz / packet_rate_hz  # (T, F)
    probe = torch.polar(window[:, None].expand_as(angle), -angle)
    centred = (level - level.mean(-3, keepdim=True)).flatten(-2)  # (..., T, S)
    power = (centred.mT.to(probe.dtype) @ probe).abs().square()  # (..., S, F)
    tiny = torch.finfo(level.dtype).tiny
    total = power.sum(-1, keepdim=True)
    return torch.where(total > tiny, power / total.clamp_min(tiny), 1 / power.shape[-1])


def _level(ratio: Tensor) -> Tensor:
    return linear_to_db(ratio + _RELATIVE_FLOOR)


class Standard:
    """Standardisation by training statistics, per subcarrier and feature, clipped to +-5.

    Attributes:
        std: Standard deviation of the training features, (B, S, C), at least 1e-6.
    """

    def __init__(self, train: Tensor) -> None:
        """Statistics of ``train`` (B, J, S, C) over the samples."""
        self._mean = train.mean(1, keepdim=True)
        variance = (train - self._mean).square().mean(1, keepdim=True)
        self.std = variance.sqrt().clamp_min(_SMALLEST_STD)[:, 0]

    def __call__(self, features: Tensor) -> Tensor:
        """Standardised features, of the same shape (B, N, S, C)."""
        return ((features - self._mean) / self.std[:, None]).clamp(-_CLIP, _CLIP)
