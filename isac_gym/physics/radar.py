"""Radar: bistatic radar equation and range accuracy."""

import math

from torch import Tensor

from isac_gym.core.units import SPEED_OF_LIGHT_MPS

__all__ = ["bistatic_gain", "range_accuracy", "range_crb"]


def bistatic_gain(
    receive_m: Tensor, transmit_m: Tensor, *, wavelength_m: float, rcs_m2: float, exponent: float
) -> Tensor:
    """Power gain transmitter -> target -> receiver.

    Model: lambda^2 rcs / (4 pi)^3 * d_rx^-e d_tx^-e; e = 2 is the radar equation (Richards
    2014, eq. 2.11) with unit antenna gains.

    Args:
        receive_m: Distances target-receiver, (B, R), metres.
        transmit_m: Distances target-transmitter, (B, P), metres.
        wavelength_m: Carrier wavelength in metres.
        rcs_m2: Radar cross-section in m^2.
        exponent: Path-loss exponent of each hop.

    Returns:
        Gains, (B, R, P), linear.
    """
    constant = wavelength_m**2 * rcs_m2 / (4 * math.pi) ** 3
    return constant * receive_m.pow(-exponent)[:, :, None] * transmit_m.pow(-exponent)[:, None, :]


def range_accuracy(sinr: Tensor, bandwidth_hz: Tensor | float, *, gain: float = 1.0) -> Tensor:
    """Standard deviation of a range estimate, c / (2 B sqrt(2 g SINR)), metres.

    Source: Curry 2012, single-number accuracy, the paper's eq. (12); 2 pi / sqrt(12) = 1.814 times
    the Cramer-Rao bound of a flat spectrum (:func:`range_crb`).

    Args:
        sinr: Echo SINR, any shape, linear; 0 gives ``inf``.
        bandwidth_hz: Signal bandwidth in hertz.
        gain: Coherent processing gain g (number of resource elements), 1 in the paper.

    Returns:
        Standard deviation, same shape, metres.
    """
    return SPEED_OF_LIGHT_MPS / (2 * bandwidth_hz) * (2 * gain * sinr).rsqrt()


def range_crb(sinr: Tensor, bandwidth_hz: Tensor | float, *, gain: float = 1.0) -> Tensor:
    """Cramer-Rao bound on the range standard deviation for a flat spectrum, metres.

    Model: var(tau) >= 1 / (8 pi^2 beta^2 g SINR) with beta = B / sqrt(12); range is c tau / 2.
    Arguments and result as in :func:`range_accuracy`.
    """
    return range_accuracy(sinr, bandwidth_hz, gain=gain) * (math.sqrt(12) / (2 * math.pi))
