"""Estimation bounds from range measurements."""

import torch
from torch import Tensor

__all__ = ["condition_2x2", "position_precision", "ranging_information"]


def ranging_information(position: Tensor, anchor: Tensor, sigma_m: Tensor) -> Tensor:
    """Fisher information of a position from independent ranges.

    Model: J = sum_i u_i u_i^T / sigma_i^2 with u_i the unit vector anchor i -> position.

    Args:
        position: Target positions, (B, 3), metres.
        anchor: Anchor positions, (B, I, 3), metres.
        sigma_m: Range standard deviations, (B, I), metres; ``inf`` means no measurement.

    Returns:
        Information matrices, (B, 3, 3), 1/m^2. With the height known, use the leading 2 x 2 block.
    """
    difference = position[:, None, :] - anchor
    unit = difference / difference.square().sum(-1, keepdim=True).sqrt()
    weighted = unit / sigma_m[:, :, None]
    return torch.einsum("bic,bid->bcd", weighted, weighted)


def position_precision(information: Tensor) -> Tensor:
    """Inverse squared position error bound 1 / tr(J^-1); PEB is its inverse square root.

    Model: tr(J^-1) = (sum of principal minors of order n - 1) / det J. Closed form, so that value
    and gradient stay finite where J is singular.

    Args:
        information: Fisher information, (B, n, n) symmetric PSD, n = 2 or 3, 1/m^2.

    Returns:
        (B,) 1/m^2; 0 where J is singular.
    """
    tiny = torch.finfo(information.dtype).tiny
    diagonal = torch.diagonal(information, dim1=-2, dim2=-1)
    trace = diagonal.sum(-1).clamp_min(tiny)
    j = information / trace[:, None, None]
    if information.shape[-1] == 2:
        determinant = j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1].square()
        return trace * determinant.clamp_min(0)
    minor_x = j[:, 1, 1] * j[:, 2, 2] - j[:, 1, 2].square()
    minor_y = j[:, 0, 0] * j[:, 2, 2] - j[:, 0, 2].square()
    minor_z = j[:, 0, 0] * j[:, 1, 1] - j[:, 0, 1].square()
    mixed = j[:, 0, 1] * j[:, 2, 2] - j[:, 0, 2] * j[:, 1, 2]
    other = j[:, 0, 1] * j[:, 1, 2] - j[:, 0, 2] * j[:, 1, 1]
    determinant = j[:, 0, 0] * minor_x - j[:, 0, 1] * mixed + j[:, 0, 2] * other
    minors = (minor_x + minor_y + minor_z).clamp_min(tiny)
    return trace * determinant.clamp_min(0) / minors


def condition_2x2(matrix: Tensor) -> Tensor:
    """Two-norm condition number, (B,), of symmetric positive semidefinite matrices (B, 2, 2)."""
    a, b, c = matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 1]
    mean, radius = (a + b) / 2, (((a - b) / 2).square() + c.square()).sqrt()
    low = (a * b - c.square()) / (mean + radius)
    return (mean + radius) / low.clamp_min(torch.finfo(matrix.dtype).tiny)
