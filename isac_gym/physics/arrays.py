"""Antenna arrays: one steering convention for the whole project.

A unit-norm steering vector is ``exp(+j 2 pi d^T u / lambda) / sqrt(M)`` for element positions d and
the unit direction u from the array to the far point (Sionna's convention); the precoder that points
at u is its conjugate.
"""

import math

import torch
from torch import Tensor

__all__ = ["linear_array", "steering_vectors"]


def linear_array(
    num_elements: int,
    *,
    spacing_wavelengths: float = 0.5,
    axis: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Element positions of a uniform linear array, centred at the origin.

    Args:
        num_elements: Number of elements M >= 1.
        spacing_wavelengths: Distance of neighbours in wavelengths.
        axis: Cartesian axis the array lies on: 0, 1 or 2.
        dtype: Real dtype.

    Returns:
        Positions in wavelengths, (M, 3).
    """
    offset = torch.arange(num_elements, dtype=dtype) - (num_elements - 1) / 2
    position = torch.zeros(num_elements, 3, dtype=dtype)
    position[:, axis] = offset * spacing_wavelengths
    return position


def steering_vectors(position: Tensor, direction: Tensor) -> Tensor:
    r"""Unit-norm far-field responses ``exp(+j 2 pi d^T u) / sqrt(M)``.

    Args:
        position: Element positions in wavelengths, (M, 3).
        direction: Unit vectors from the array to the far points, (..., 3).

    Returns:
        Responses, (..., M) complex, dimensionless, norm 1.
    """
    phase = 2 * math.pi * torch.einsum("...c,mc->...m", direction, position)
    return torch.polar(torch.ones_like(phase), phase) / math.sqrt(position.shape[0])
