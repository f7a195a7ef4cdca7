"""Radio channels: close-in path loss, Rician fading and its first-order evolution in time."""

import math

import torch
from torch import Tensor

__all__ = ["ar1_step", "close_in_gain", "distance", "rician_amplitudes"]


def distance(first: Tensor, second: Tensor, *, minimum_m: float) -> Tensor:
    """Pairwise distances between positions (B, P, 3) and (B, R, 3), (B, P, R) m, clamped below."""
    difference = first[:, :, None, :] - second[:, None, :, :]
    return difference.square().sum(-1).sqrt().clamp_min(minimum_m)


def close_in_gain(distance_m: Tensor, *, wavelength_m: float, exponent: float) -> Tensor:
    """Power gain of the close-in path-loss model with a 1 m reference.

    Model: gain = (lambda / 4 pi)^2 d^-exponent. Source: Sun et al. 2016, eq. (1).

    Args:
        distance_m: Distances > 0 in metres, any shape.
        wavelength_m: Carrier wavelength in metres.
        exponent: Path-loss exponent.

    Returns:
        Power gain, same shape, linear.
    """
    return (wavelength_m / (4 * math.pi)) ** 2 * distance_m.pow(-exponent)


def rician_amplitudes(
    distance_m: Tensor, gain: Tensor, *, wavelength_m: float, k_factor: float
) -> tuple[Tensor, Tensor]:
    """Line-of-sight amplitude and scattering scale of a Rician link.

    Model: h = los + scatter * w, w ~ CN(0, 1), los = sqrt(gain K / (K+1)) exp(-j 2 pi d / lambda),
    scatter = sqrt(gain / (K+1)); so E|h|^2 = gain. K = 0 is Rayleigh fading.

    Args:
        distance_m: Link lengths, any shape; use float64, the phase counts thousands of cycles.
        gain: Mean power gain, same shape.
        wavelength_m: Carrier wavelength in metres.
        k_factor: Rician K >= 0, linear.

    Returns:
        los (complex) and scatter (real), both of the given shape, square root of power gain.
    """
    cycles = torch.remainder(distance_m / wavelength_m, 1.0)
    amplitude = (gain * (k_factor / (k_factor + 1))).sqrt()
    return torch.polar(amplitude, -2 * math.pi * cycles), (gain / (k_factor + 1)).sqrt()


def ar1_step(fading: Tensor, innovation: Tensor, *, correlation: float) -> Tensor:
    """Stationary first-order evolution rho w + sqrt(1 - rho^2) innovation, any shape, CN(0, 1)."""
    return correlation * fading + math.sqrt(1 - correlation**2) * innovation
