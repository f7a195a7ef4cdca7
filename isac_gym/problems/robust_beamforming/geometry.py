"""Where things stand, and what that means for channels and echoes."""

import math

import torch
from torch import Tensor

from isac_gym.core.random import Streams
from isac_gym.core.units import SPEED_OF_LIGHT_MPS
from isac_gym.problems.robust_beamforming.scenario import RobustBeamformingScenario

__all__ = ["channel_amplitude", "echoes", "length", "norm", "place_targets", "place_users"]

_PLACINGS = 32  # tries to place targets apart
_APART_M = 1.0


def place_users(scenario: RobustBeamformingScenario, bs: Tensor, u: Tensor) -> Tensor:
    """Users (B, I, K, 2) m, uniform in a ring round each station, of uniforms (B, 2, I, K)."""
    s = scenario
    low, high = s.min_user_distance_m**2, s.max_user_distance_m**2
    radius, angle = (low + (high - low) * u[:, 0]).sqrt(), 2 * math.pi * u[:, 1]
    offset = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)
    return bs[:, :, None] + offset


def place_targets(scenario: RobustBeamformingScenario, streams: Streams) -> Tensor:
    """Target positions (B, T, 2): the paper's, or the first placing that keeps them apart."""
    s, count = scenario, scenario.num_targets
    if s.target_box_m == 0:
        fixed = torch.tensor(s.target_positions(), dtype=torch.float64)
        return fixed.to(streams.seed.device).repeat(streams.batch_size, 1, 1)
    u = streams.uniform("target", _PLACINGS, count, 2)
    placed = s.target_box_m * (2 * u - 1)
    gap = length(placed[:, :, None] - placed[:, :, :, None])  # (B, P, T, T)
    eye = torch.eye(count, dtype=torch.bool, device=u.device)
    is_good = (gap.masked_fill(eye, torch.inf) >= _APART_M).flatten(2).all(-1)
    first = is_good.to(torch.int64).argmax(1)
    return placed.take_along_dim(first[:, None, None, None], 1)[:, 0]


def channel_amplitude(scenario: RobustBeamformingScenario, bs: Tensor, user: Tensor) -> Tensor:
    """Root of path gain over user noise, (B, I, I, K), of positions (B, I, 2), (B, I, K, 2)."""
    s = scenario
    distance = length(user[:, None] - bs[:, :, None, None])
    decay = (-s.path_exponent * distance.log()).exp()  # pow rounds by the batch size
    return (s.path_gain / s.user_noise_w * decay).sqrt()


def echoes(
    scenario: RobustBeamformingScenario, bs: Tensor, target: Tensor, phase: Tensor
) -> dict[str, Tensor]:
    """Instance fields ``angle``, ``angle_slope``, ``reflection``, ``correlation``.

    Model: |alpha_ljm|^2 = lambda^2 rcs / ((4 pi)^3 r_lj^2 r_mj^2); arrays are perpendicular to
    the direction of the origin.

    Args:
        scenario: Radar constants and the delay mode.
        bs: Base station positions, (B, I, 2), m.
        target: Target positions, (B, T, 2), m.
        phase: Phases of alpha, (B, I, T, I), rad.
    """
    s = scenario
    away = target[:, None] - bs[:, :, None]  # (B, l, j, 2)
    r = length(away)
    inward = -bs / length(bs)[..., None]
    axis = torch.stack([-inward[..., 1], inward[..., 0]], -1)[:, :, None]  # (B, l, 1, 2)
    along = (axis * away).sum(-1)
    slope = axis / r[..., None] - (along / r.pow(3))[..., None] * away
    radar = s.wavelength_m**2 * s.target_rcs_m2 / (4 * math.pi) ** 3
    size = math.sqrt(radar * s.num_samples / s.echo_noise_w)
    reflection = torch.polar(size / (r[..., None] * r.mT[:, None]), phase)
    path = r[:, :, None] + r[:, None]  # (B, l, m, j)
    delay = (path[..., :, None] - path[..., None, :]) / SPEED_OF_LIGHT_MPS
    correlation = {
        "resolved": lambda: torch.eye(s.num_targets, dtype=r.dtype, device=r.device).expand(
            delay.shape
        ),
        "bandlimited": lambda: torch.sinc(s.bandwidth_hz * delay),
        "unresolved": lambda: torch.ones_like(delay),
    }[s.delay]()
    return {
        "angle": math.pi * along / r,
        "angle_slope": math.pi * slope,
        "reflection": reflection,
        "correlation": correlation.clone(),
    }


def norm(z: Tensor) -> Tensor:
    """Euclidean norm of complex vectors along the last axis."""
    return (z.real.square() + z.imag.square()).sum(-1).sqrt()


def length(xy: Tensor) -> Tensor:
    """Euclidean norm of real vectors along the last axis."""
    return xy.square().sum(-1).sqrt()
