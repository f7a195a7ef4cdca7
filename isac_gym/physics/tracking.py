"""Tracking: a constant-velocity model and the extended Kalman filter fed with ranges."""

import torch
from torch import Tensor

from isac_gym.core.linalg import solve_or_nan

__all__ = ["filter_predict", "filter_update"]


def filter_predict(
    mean: Tensor, covariance: Tensor, *, slot_s: float, acceleration_std_mps2: float
) -> tuple[Tensor, Tensor]:
    """Constant-velocity prediction of state (x, y, vx, vy): mean (B, 4), covariance (B, 4, 4).

    Process noise: white acceleration, constant over a slot (Bar-Shalom 2001, section 6.3.2).
    """
    eye = torch.eye(2, dtype=mean.dtype, device=mean.device)
    transition = torch.cat([torch.cat([eye, slot_s * eye], 1), torch.cat([0 * eye, eye], 1)], 0)
    gain = torch.cat([slot_s**2 / 2 * eye, slot_s * eye], 0)  # (4, 2)
    noise = acceleration_std_mps2**2 * gain @ gain.mT
    return mean @ transition.mT, transition @ covariance @ transition.mT + noise


def filter_update(
    mean: Tensor,
    covariance: Tensor,
    measured_m: Tensor,
    sigma_m: Tensor,
    *,
    anchor: Tensor,
    height: Tensor,
) -> tuple[Tensor, Tensor]:
    """Extended Kalman update with independent ranges to anchors; the target's height is known.

    Args:
        mean: Predicted state, (B, 4).
        covariance: Predicted covariance, (B, 4, 4).
        measured_m: Ranges, (B, I), metres.
        sigma_m: Range standard deviations > 0, (B, I), metres.
        anchor: Anchor positions, (B, I, 3), metres.
        height: Target height, (B,), metres.

    Returns:
        Posterior mean (B, 4) and covariance (B, 4, 4), symmetric (Joseph form).
    """
    position = torch.cat([mean[:, :2], height[:, None]], -1)
    difference = position[:, None, :] - anchor
    predicted = difference.square().sum(-1).sqrt().clamp_min(1e-3)
    jacobian = difference[..., :2] / predicted[..., None]  # (B, I, 2)
    jacobian = torch.cat([jacobian, torch.zeros_like(jacobian)], -1)  # (B, I, 4)
    noise = torch.diag_embed(sigma_m.square())
    spread = covariance @ jacobian.mT  # (B, 4, I)
    innovation = jacobian @ spread + noise
    scale = sigma_m.reciprocal()  # whitened, so that sigmas of 1 m and 1 km keep their digits
    whitened = scale[:, :, None] * innovation * scale[:, None, :]
    gain = solve_or_nan(whitened, scale[:, :, None] * spread.mT).mT * scale[:, None, :]
    kept = torch.eye(4, dtype=mean.dtype, device=mean.device) - gain @ jacobian
    posterior = kept @ covariance @ kept.mT + gain @ noise @ gain.mT
    residual = measured_m - predicted
    return mean + (gain @ residual[:, :, None])[..., 0], (posterior + posterior.mT) / 2
