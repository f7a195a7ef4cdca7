r"""Ageing channel knowledge: fading moves on, balls round old estimates grow, pilots reset them.

    h' = rho h + sqrt(1 - rho^2) w,        w ~ CN(0, PL I)
    without pilots:  estimate' = rho estimate,  eps'^2 = rho^2 eps^2 + q N PL (1 - rho^2)
    with pilots:     estimate' = h' - e,        eps'   = csi_error ||estimate'||,  ||e|| <= eps'

The error of an estimate that was exact n slots ago has squared norm (1 - rho^2n) PL Gamma(N), and
the recursion gives q N PL (1 - rho^2n): q N is the quantile of Gamma(N) at the wanted coverage.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.random import Streams
from isac_gym.physics.channels import ar1_step
from isac_gym.problems.robust_beamforming.geometry import norm

__all__ = ["Knowledge", "age", "ball_factor", "grown_radius"]


class Knowledge(NamedTuple):
    """Channels and what is known about them.

    Attributes:
        channel: Estimates, (B, I, I, K, N).
        radius: Radii of the balls, (B, I, I, K).
        true_channel: Channels, (B, I, I, K, N).
    """

    channel: Tensor
    radius: Tensor
    true_channel: Tensor


def age(
    known: Knowledge,
    amplitude: Tensor,
    pilots: Tensor,
    streams: Streams,
    *,
    correlation: float,
    factor: float,
    csi_error: float,
) -> Knowledge:
    """Channels and knowledge one slot later.

    Args:
        known: This slot's.
        amplitude: Root of path gain over noise, (B, I, I, K).
        pilots: Cells whose users sent pilots, (B, I) bool: estimated anew by every station.
        streams: At the next slot's step.
        correlation: rho per slot.
        factor: :func:`ball_factor` q.
        csi_error: Radius of a fresh ball over the norm of the estimate.
    """
    shape, dtype = tuple(known.channel.shape[1:]), known.radius.dtype
    draw = streams.complex_normal("age/fading", *shape, dtype=dtype)
    true = ar1_step(known.true_channel, amplitude[..., None] * draw, correlation=correlation)
    direction = streams.complex_normal("age/error", *shape, dtype=dtype)
    size = streams.uniform("age/size", *shape[:-1], dtype=dtype)
    size = (size.log() * (0.5 / shape[-1])).exp()  # pow would round by batch size
    # ||e|| <= csi_error / (1 + csi_error) ||h|| puts h inside the ball round h - e.
    size = size * norm(true) * (csi_error / (1 + csi_error)) / norm(direction)
    fresh = true - size[..., None] * direction
    antennas = shape[-1]
    grown = grown_radius(known.radius, amplitude, antennas, correlation=correlation, factor=factor)
    is_fresh = pilots[:, None, :, None]
    return Knowledge(
        channel=torch.where(is_fresh[..., None], fresh, correlation * known.channel),
        radius=torch.where(is_fresh, csi_error * norm(fresh), grown),
        true_channel=true,
    )


def grown_radius(
    radius: Tensor, amplitude: Tensor, antennas: int, *, correlation: float, factor: float
) -> Tensor:
    """Radius of the ball one slot later without pilots, same shape as ``radius``."""
    news = (1 - correlation**2) * factor * antennas * amplitude.square()
    return (correlation**2 * radius.square() + news).sqrt()


@lru_cache(maxsize=64)
def ball_factor(antennas: int, coverage: float) -> float:
    """Solve P(Gamma(N) <= q N) = coverage for q by bisection: squared norms of CN(0, I) vectors."""
    low, high = 0.0, 1.0

    def covered(x: float) -> float:
        logs = [n * math.log(x) - math.lgamma(n + 1) - x for n in range(antennas)]
        return 1 - math.fsum(math.exp(value) for value in logs)

    while covered(high) < coverage:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if covered(middle) < coverage else (low, middle)
    return high / antennas
