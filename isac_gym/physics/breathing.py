"""Breathing rate from the summed periodograms of selected subcarriers, for many selections at once.

    P_m(f) = sum over selected subcarriers j of S_j(f),  rate = parabolic peak of P_m

The sum is additive in the selection, so a batch of selections is one matrix product.
"""

import torch
from torch import Tensor

__all__ = ["breathing_rates", "peak_frequency", "peakiness", "rate_errors"]

_CHUNK = 1 << 24  # entries of P_m held at once


def peak_frequency(power: Tensor, frequency_hz: Tensor) -> Tensor:
    """Frequency of the peak of a parabola through the largest entry and its neighbours, (...) Hz.

    At the ends of the grid, and where neighbours are equal to it, it is the entry itself; the
    first of equal entries counts.

    Args:
        power: (..., F) real, F >= 3.
        frequency_hz: Equidistant grid, (F,) Hz.
    """
    last = power.shape[-1] - 1
    index = power.argmax(-1, keepdim=True)
    centre = index.clamp(1, last - 1)
    left, middle, right = (power.gather(-1, centre + step) for step in (-1, 0, 1))
    bend = (middle - left) + (middle - right)
    is_peak = (index == centre) & (bend > 0)
    shift = (right - left) / (2 * torch.where(is_peak, bend, 1))
    step_hz = frequency_hz[1] - frequency_hz[0]
    at = frequency_hz.to(power.dtype)[index] + torch.where(is_peak, shift, 0) * step_hz
    return at[..., 0].to(power.dtype)


def peakiness(spectrum: Tensor) -> Tensor:
    """Largest share of the power at one frequency, (...), of spectra (..., F) that add up to 1."""
    return spectrum.amax(-1)


def breathing_rates(spectrum: Tensor, weight: Tensor, frequency_hz: Tensor) -> Tensor:
    """Rates that selections find in every window, (B, Q, H) Hz.

    Args:
        spectrum: Normalised periodograms, (B, H, S, F).
        weight: Selections, or weights >= 0, (B, Q, S) real.
        frequency_hz: Grid of the periodograms, (F,) Hz.
    """
    batch, windows, tones, bins = spectrum.shape
    table = spectrum.permute(0, 2, 1, 3).reshape(batch, tones, windows * bins)
    size = max(1, _CHUNK // max(1, batch * windows * bins))
    found = []
    for part in weight.split(size, 1):
        power = (part @ table).unflatten(-1, (windows, bins))
        found.append(peak_frequency(power, frequency_hz))
    return torch.cat(found, 1)


def rate_errors(spectrum: Tensor, rate_hz: Tensor, weight: Tensor, frequency_hz: Tensor) -> Tensor:
    """Mean absolute errors of selections over the windows, (B, Q) Hz.

    Args:
        spectrum: Normalised periodograms, (B, H, S, F).
        rate_hz: True rates, (B, H) Hz.
        weight: Selections, or weights >= 0, (B, Q, S) real.
        frequency_hz: Grid of the periodograms, (F,) Hz.
    """
    found = breathing_rates(spectrum, weight, frequency_hz)
    return (found - rate_hz[:, None]).abs().mean(-1)
