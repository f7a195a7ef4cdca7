"""Decibel conversions and physical constants: the one place where ``log10`` is taken."""

import math
from typing import overload

import torch
from torch import Tensor

__all__ = [
    "BOLTZMANN_J_PER_K",
    "NOISE_TEMPERATURE_K",
    "SPEED_OF_LIGHT_MPS",
    "db_to_linear",
    "dbm_to_w",
    "linear_to_db",
    "thermal_noise_w",
    "w_to_dbm",
]

SPEED_OF_LIGHT_MPS = 299_792_458.0
BOLTZMANN_J_PER_K = 1.380_649e-23
NOISE_TEMPERATURE_K = 290.0
_TINY = 1e-300  # smallest power ratio shown in dB: -3000 dB instead of -inf


@overload
def db_to_linear(value_db: float) -> float: ...
@overload
def db_to_linear(value_db: Tensor) -> Tensor: ...
def db_to_linear(value_db: float | Tensor) -> float | Tensor:
    """Power ratio of a value in dB (any shape); ``-inf`` dB gives 0."""
    if isinstance(value_db, Tensor):
        return torch.pow(10.0, value_db / 10)
    return 10.0 ** (value_db / 10)


@overload
def linear_to_db(ratio: float) -> float: ...
@overload
def linear_to_db(ratio: Tensor) -> Tensor: ...
def linear_to_db(ratio: float | Tensor) -> float | Tensor:
    """Value in dB of a power ratio >= 0 (any shape); 0 gives the dtype's floor, never ``-inf``."""
    if isinstance(ratio, Tensor):
        floor = max(_TINY, torch.finfo(ratio.dtype).tiny)
        return 10 * torch.log10(ratio.clamp_min(floor))
    return 10 * math.log10(max(ratio, _TINY))


def dbm_to_w(value_dbm: float) -> float:
    """Power in watts of a level in dBm."""
    return 1e-3 * db_to_linear(value_dbm)


def w_to_dbm(power_w: float) -> float:
    """Level in dBm of a power in watts."""
    return linear_to_db(power_w * 1e3)


def thermal_noise_w(bandwidth_hz: float, noise_figure_db: float) -> float:
    """Receiver noise power k T0 B NF in watts with T0 = 290 K."""
    noise_density = BOLTZMANN_J_PER_K * NOISE_TEMPERATURE_K
    return noise_density * bandwidth_hz * db_to_linear(noise_figure_db)
