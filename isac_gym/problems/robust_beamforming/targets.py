r"""Targets in time: motion, the information recursion, and the tracker that lives by it.

A target's state is (x, y, vx, vy); the joint covariance of T targets is (B, T, 4, T, 4), because
echoes that are not resolved couple them. A slot with Fisher information E of all positions gives

    J = (F J_before^-1 F^T + W)^-1 + H^T E H,   H = [I 0] per target,

here in covariance form, which exists without any information. Sensing now therefore lowers the need
to sense later. The tracker gets what an efficient receiver would report, the positions with error
covariance E^-1, so that its error covariance is J^-1 exactly and its errors are correlated in time.

Source: Tichavsky, Muravchik, Nehorai 1998 (posterior bound); Bar-Shalom 2001, section 6.3.2.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Turn",
    "bound_of",
    "information_root",
    "keep_apart",
    "measure",
    "move",
    "predict",
    "predict_covariance",
    "prior_covariance",
    "turned",
]

_APART_M = 1.0  # targets do not come closer to each other


class Turn(NamedTuple):
    """What turning back does to the free motion of targets, (B, T, 2) each.

    Attributes:
        shift: Position less that of the free motion, m.
        sign: -1 where a velocity is reversed, else 1.
    """

    shift: Tensor
    sign: Tensor


def prior_covariance(like: Tensor, position_m: float, velocity_mps: float) -> Tensor:
    """Covariance (B, T, 4, T, 4) of independent first estimates; ``like`` is (B, T, 2)."""
    deviation = like.new_tensor([position_m] * 2 + [velocity_mps] * 2).square()
    return _per_target(torch.diag(deviation), like.shape[1]).expand(like.shape[0], -1, -1, -1, -1)


def information_root(information: Tensor) -> Tensor:
    """L with L L^T = E, (B, 2 T, 2 T); a relative 1e-9 (single: 1e-6) is added for silence."""
    size = torch.diagonal(information, dim1=-2, dim2=-1).amax(-1)[:, None, None]
    ridge = 1e-9 if information.dtype == torch.float64 else 1e-6
    eye = torch.eye(information.shape[-1], dtype=information.dtype, device=information.device)
    root, _ = torch.linalg.cholesky_ex(information + (ridge * size + ridge) * eye)
    return root


def measure(
    mean: Tensor, covariance: Tensor, root: Tensor, position: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Posterior mean (B, T, 4) and covariance after efficient position estimates.

    Args:
        mean: Predicted means, (B, T, 4), m and m/s.
        covariance: Predicted covariance, (B, T, 4, T, 4).
        root: :func:`information_root` L of the slot, 1/m.
        position: True positions, (B, T, 2), m.
        noise: Standard normal draws, (B, 2 T); the receiver sees L^T p + noise.
    """
    batch, targets = mean.shape[:2]
    spread = covariance[..., :2].reshape(batch, 4 * targets, 2 * targets) @ root
    seen = covariance[:, :, :2, :, :2].reshape(batch, 2 * targets, 2 * targets)
    eye = torch.eye(2 * targets, dtype=mean.dtype, device=mean.device)
    factor, _ = torch.linalg.cholesky_ex(eye + root.mT @ seen @ root)
    half = torch.linalg.solve_triangular(factor, spread.mT, upper=False)
    posterior = covariance.reshape(batch, 4 * targets, 4 * targets) - half.mT @ half
    posterior = (posterior + posterior.mT) / 2
    surprise = root.mT @ (position - mean[..., :2]).reshape(batch, -1, 1) + noise[..., None]
    step = half.mT @ torch.linalg.solve_triangular(factor, surprise, upper=False)
    return mean + step.reshape(mean.shape), posterior.reshape(covariance.shape)


def predict(mean: Tensor, slot_s: float, turn: Turn) -> Tensor:
    """Means (B, T, 4) one slot later, after turns the tracker sees."""
    position = mean[..., :2] + slot_s * mean[..., 2:] + turn.shift
    return torch.cat([position, turn.sign * mean[..., 2:]], -1)


def predict_covariance(covariance: Tensor, slot_s: float, acceleration_std_mps2: float) -> Tensor:
    """Covariance F P F^T + W, (B, T, 4, T, 4); W: white acceleration, constant over a slot."""
    p = covariance
    p = torch.cat([p[..., :2] + slot_s * p[..., 2:], p[..., 2:]], -1)
    p = torch.cat([p[:, :, :2] + slot_s * p[:, :, 2:], p[:, :, 2:]], 2)
    eye = torch.eye(2, dtype=p.dtype, device=p.device)
    gain = torch.cat([slot_s**2 / 2 * eye, slot_s * eye])
    return p + _per_target(acceleration_std_mps2**2 * gain @ gain.mT, p.shape[1])


def bound_of(covariance: Tensor) -> Tensor:
    """Squared position error of each target, (B, T) m^2, of covariances (B, T, 4, T, 4)."""
    own = torch.diagonal(covariance, dim1=1, dim2=3)  # (B, 4, 4, T)
    return own[:, 0, 0] + own[:, 1, 1]


def move(
    position: Tensor, velocity: Tensor, acceleration: Tensor, *, slot_s: float, region_m: float
) -> tuple[Tensor, Tensor, Turn]:
    """One slot of motion inside a square; targets turn back at its sides and before each other.

    Args:
        position: (B, T, 2), m.
        velocity: (B, T, 2), m/s.
        acceleration: (B, T, 2), m/s^2, constant over the slot.
        slot_s: Slot length.
        region_m: Half side of the square.

    Returns:
        Positions, velocities, and the turns taken.
    """
    free = position + slot_s * velocity + slot_s**2 / 2 * acceleration
    is_out = free.abs() > region_m
    after = torch.where(is_out, 2 * region_m * free.sign() - free, free)
    after = after.clamp(-region_m, region_m)
    is_close = _gaps(after).amin(-1, keepdim=True) < _APART_M  # (B, T, 1)
    after = torch.where(is_close, position, after)
    sign = torch.where(is_out | is_close, -1.0, 1.0).to(position.dtype)
    turn = Turn(after - free, sign)
    return after, sign * (velocity + slot_s * acceleration), turn


def turned(covariance: Tensor, turn: Turn) -> Tensor:
    """Covariance (B, T, 4, T, 4) after turns the tracker sees: velocity errors change sign."""
    sign = torch.cat([torch.ones_like(turn.sign), turn.sign], -1)  # (B, T, 4)
    return sign[..., None, None] * covariance * sign[:, None, None]


def keep_apart(position: Tensor, gap_m: float) -> Tensor:
    """Positions (B, T, 2) pushed apart in pairs that are nearer than ``gap_m``."""
    for _ in range(position.shape[1] - 1):
        difference = position[:, :, None] - position[:, None]  # (B, T, T, 2), from the other
        gap = _gaps(position)
        push = (gap_m - gap).clamp_min(0)[..., None]
        order = torch.arange(position.shape[1], dtype=position.dtype, device=position.device)
        aside = (order[:, None] - order).sign()[..., None] * position.new_tensor([1.0, 0.0])
        safe = gap[..., None].clamp_max(1e9)
        way = torch.where(safe > 1e-9, difference / safe.clamp_min(1e-9), aside)
        position = position + (push * way).sum(2) / 2 * 1.001
    return position


def _gaps(position: Tensor) -> Tensor:
    """Distances between targets, (B, T, T), inf on the diagonal."""
    difference = position[:, :, None] - position[:, None]
    eye = torch.eye(position.shape[1], dtype=torch.bool, device=position.device)
    return difference.square().sum(-1).sqrt().masked_fill(eye, torch.inf)


def _per_target(block: Tensor, targets: int) -> Tensor:
    """Block (4, 4) for every target, none across, (1, T, 4, T, 4)."""
    eye = torch.eye(targets, dtype=block.dtype, device=block.device)
    return (eye[:, None, :, None] * block[None, :, None, :])[None]
