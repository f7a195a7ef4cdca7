r"""What is known of the target over the rounds: a Gaussian belief that the echoes sharpen.

A round with Fisher information J of the position changes the covariance P of the belief by

    P_after = (P^-1 + J)^-1,    P_next = P_after + Q,

here in covariance form, which exists without any information. The mean gets what an efficient
receiver would report, a position with error covariance J^-1, so that its own error covariance is
P exactly; J is taken at the true target.

Source: Tichavsky, Muravchik, Nehorai 1998, the posterior bound.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.problems.ota_feel.scenario import OtaFeelScenario

__all__ = ["Belief", "first_belief", "kept_apart", "sharpened", "spread", "walked"]

_RIDGE = 1e-9  # of the largest diagonal entry, and 1/m^2, so that silence has a factor


class Belief(NamedTuple):
    """Gaussian belief: mean (B, 3) m and covariance (B, 3, 3) m^2."""

    mean: Tensor
    covariance: Tensor


def first_belief(scenario: OtaFeelScenario, like: Tensor) -> Belief:
    """Moments of the law that targets are drawn from; ``like`` is (B, 3).

    The law is uniform over a sector of a ring and over the heights, so the moments are exact and
    the mean's error has exactly this covariance.
    """
    s = scenario
    inner, outer, half = s.min_target_radius_m, s.max_target_radius_m, s.arc_rad / 2
    radius = 2 / 3 * (inner**2 + inner * outer + outer**2) / (inner + outer)
    square = (inner**2 + outer**2) / 2
    cosine = math.sin(half) / half
    cosine_square = 0.5 + math.sin(2 * half) / (4 * half)
    mean = (radius * cosine, 0.0, s.max_target_height_m / 2)
    variance = (
        square * cosine_square - mean[0] ** 2,
        square * (1 - cosine_square),
        s.max_target_height_m**2 / 12,
    )
    batch = like.shape[0]
    return Belief(
        like.new_tensor(mean).expand(batch, -1).clone(),
        torch.diag(like.new_tensor(variance).clamp_min(0)).expand(batch, -1, -1).clone(),
    )


def sharpened(belief: Belief, information: Tensor, target: Tensor, noise: Tensor) -> Belief:
    """Belief after the echoes of a round.

    Args:
        belief: Belief before them.
        information: Fisher information J at the true target, (B, 3, 3) 1/m^2; may be singular.
        target: True position, (B, 3) m.
        noise: Standard normal draws, (B, 3); the receiver sees L^T target + noise, L L^T = J.
    """
    mean, covariance, target, noise = (each.to(torch.float64) for each in (*belief, target, noise))
    size = torch.diagonal(information, dim1=-2, dim2=-1).amax(-1)[:, None, None]
    eye = torch.eye(3, dtype=torch.float64, device=mean.device)
    root, _ = torch.linalg.cholesky_ex(information + _RIDGE * (1 + size) * eye)
    across = root.mT @ covariance
    factor, _ = torch.linalg.cholesky_ex(eye + across @ root)
    half = torch.linalg.solve_triangular(factor, across, upper=False)
    after = covariance - half.mT @ half
    surprise = root.mT @ (target - mean)[..., None] + noise[..., None]
    step = half.mT @ torch.linalg.solve_triangular(factor, surprise, upper=False)
    dtype = belief.mean.dtype
    return Belief((mean + step[..., 0]).to(dtype), ((after + after.mT) / 2).to(dtype))


def spread(covariance: Tensor, walk_std_m: float) -> Tensor:
    """Covariance (B, 3, 3) after a step of the walk on the ground."""
    q = covariance.new_tensor([walk_std_m**2, walk_std_m**2, 0.0])
    return covariance + torch.diag(q)


def walked(target: Tensor, step: Tensor, device: Tensor, min_distance_m: float) -> Tensor:
    """Targets (B, 3) after steps (B, 2) m; those that would come too near to a device stay."""
    moved = torch.cat([target[:, :2] + step, target[:, 2:]], -1)
    offset = moved[:, None, :2] - device[..., :2]
    is_free = offset.square().sum(-1).amin(-1) >= min_distance_m**2
    return torch.where(is_free[:, None], moved, target)


def kept_apart(position: Tensor, device: Tensor, min_distance_m: float) -> Tensor:
    """Positions (B, 3) m moved straight away from the nearest device to the least distance."""
    offset = position[:, None, :2] - device[..., :2]  # (B, K, 2)
    gap, nearest = (offset.square().sum(-1) + torch.finfo(offset.dtype).tiny).sqrt().min(-1)
    away = offset.take_along_dim(nearest[:, None, None], 1)[:, 0]
    outward = position.new_tensor([1.0, 0.0])
    unit = torch.where(gap[:, None] > 1e-6, away / gap.clamp_min(1e-6)[:, None], outward)
    missing = (min_distance_m - gap).clamp_min(0)[:, None]
    return torch.cat([position[:, :2] + missing * unit, position[:, 2:]], -1)
