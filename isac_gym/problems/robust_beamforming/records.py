"""Records of robust beamforming, and two small maps on them.

Everything is noise-normalised: noise powers are 1, power stays in W. Axes [l, c, k] read: from
base station l to user k of cell c.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.errors import ShapeError
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.records import TensorRecord, tensor_field

__all__ = [
    "RobustBeamformingDecision",
    "RobustBeamformingInstance",
    "RobustBeamformingMetrics",
    "chebyshev",
    "sensing_factor",
]


@dataclass(frozen=True)
class RobustBeamformingInstance(TensorRecord):
    """One draw of channels, targets and a preference; axes [l, c, k]: BS l to user k of cell c."""

    channel: Tensor = tensor_field(
        "B I I K N", "complex", unit="1/sqrt(W)", doc="channel estimate over the noise amplitude"
    )
    true_channel: Tensor = tensor_field(
        "B I I K N", "complex", unit="1/sqrt(W)", doc="realised channel, reported only"
    )
    radius: Tensor = tensor_field("B I I K", "real", unit="1/sqrt(W)", doc="radius of the CSI ball")
    weight: Tensor = tensor_field("B I K", "real", doc="rate weight")
    max_power_w: Tensor = tensor_field("B I", "real", unit="W", doc="power budget")
    bs: Tensor = tensor_field("B I 2", "real", unit="m", doc="base station positions")
    user: Tensor = tensor_field("B I K 2", "real", unit="m", doc="user positions")
    target: Tensor = tensor_field("B T 2", "real", unit="m", doc="target positions")
    angle: Tensor = tensor_field(
        "B I T", "real", unit="rad", doc="electrical angle pi sin(theta) of a target"
    )
    angle_slope: Tensor = tensor_field(
        "B I T 2", "real", unit="rad/m", doc="its derivative by the target's position"
    )
    reflection: Tensor = tensor_field(
        "B I T I", "complex", unit="1/sqrt(W)", doc="sqrt(samples) alpha over noise, BS l to BS m"
    )
    correlation: Tensor = tensor_field(
        "B I I T T", "real", doc="correlation of delayed copies, chi[l, m]"
    )
    preference: Tensor = tensor_field("B", "real", doc="p: 1 wants rate, 0 wants localisation")
    rate_bound: Tensor = tensor_field(
        "B", "real", unit="bit/s/Hz", doc="certified upper bound of the weighted sum rate"
    )
    crlb_bound: Tensor = tensor_field(
        "B", "real", unit="m^2", doc="certified lower bound of the CRLB"
    )


@dataclass(frozen=True)
class RobustBeamformingDecision(TensorRecord):
    """Beams and a sensing factor: R_l = sum_k v_lk v_lk^H + C_l C_l^H."""

    beam: Tensor = tensor_field("B I K N", "complex", unit="sqrt(W)", doc="user beams v")
    sensing: Tensor = tensor_field("B I N R", "complex", unit="sqrt(W)", doc="sensing factor C")


@dataclass(frozen=True)
class RobustBeamformingMetrics(TensorRecord):
    """Everything that is reported about a decision."""

    objective: Tensor = tensor_field("B", "real", doc="-max(p (1 - f1), (1 - p) (1 - f2))")
    violation: Tensor = tensor_field("B", "real", doc="largest tr R_l / P_l - 1 above 0")
    rate_utility: Tensor = tensor_field("B", "real", doc="f1: exact worst rate over its bound")
    sensing_utility: Tensor = tensor_field("B", "real", doc="f2: bound of the CRLB over the CRLB")
    worst_rate_bps_hz: Tensor = tensor_field(
        "B", "real", unit="bit/s/Hz", doc="weighted sum rate at the exact worst channels"
    )
    nominal_rate_bps_hz: Tensor = tensor_field(
        "B", "real", unit="bit/s/Hz", doc="the same at the estimates"
    )
    realised_rate_bps_hz: Tensor = tensor_field(
        "B", "real", unit="bit/s/Hz", doc="the same at the realised channels"
    )
    crlb_m2: Tensor = tensor_field(
        "B", "real", unit="m^2", doc="sum of all coordinate bounds; inf without illumination"
    )
    target_rmse_m: Tensor = tensor_field(
        "B T", "real", unit="m", doc="root of each target's bound; inf without illumination"
    )
    worst_sinr: Tensor = tensor_field("B I K", "real", doc="exact worst SINR of each user")
    certified_rate_bps_hz: Tensor = tensor_field(
        "B", "real", unit="bit/s/Hz", doc="certified lower bound of worst_rate_bps_hz"
    )
    power_w: Tensor = tensor_field("B I", "real", unit="W", doc="tr R_l")
    fairness: Tensor = tensor_field("B", "real", doc="Jain's index of the users' worst rates")


def chebyshev(preference: Tensor, rate_utility: Tensor, sensing_utility: Tensor) -> Tensor:
    """-max(p (1 - f1), (1 - p) (1 - f2)), (B,), of three tensors (B,)."""
    lost = torch.maximum(preference * (1 - rate_utility), (1 - preference) * (1 - sensing_utility))
    return -lost


def sensing_factor(covariance: Tensor, num_streams: int) -> Tensor:
    """Factor C, (B, I, N, R), of sensing covariances Q = C C^H, (B, I, N, N).

    Raises:
        ShapeError: Q is not Hermitian positive semidefinite, or its rank is above ``num_streams``.
    """
    size = covariance.abs().amax((-2, -1)).clamp_min(torch.finfo(covariance.real.dtype).tiny)
    skew = (covariance - covariance.mH).abs().amax((-2, -1)) / size
    value, vector = hermitian_eigh((covariance + covariance.mH) / 2)
    value = value / size[..., None]
    lost = value[..., : max(value.shape[-1] - num_streams, 0)].clamp_min(0).sum(-1)
    for bad, allowed in (
        (skew > 1e-9, "Hermitian"),
        (value[..., 0] < -1e-9, "positive semidefinite"),
        (lost > 1e-9, f"of rank <= num_streams = {num_streams}"),
    ):
        if bool(bad.any()):
            row = int(bad.flatten(1).any(1).nonzero()[0])
            raise ShapeError(f"covariance: row {row} is not {allowed}.")
    kept = (value * size[..., None]).clamp_min(0).sqrt()[..., None, :] * vector
    kept = kept[..., -num_streams:]
    return torch.nn.functional.pad(kept, (num_streams - kept.shape[-1], 0))
