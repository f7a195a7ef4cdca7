"""Records of over-the-air federated learning with collaborative localisation."""

from dataclasses import dataclass

from torch import Tensor

from isac_gym.core.records import TensorRecord, tensor_field

__all__ = ["OtaFeelDecision", "OtaFeelInstance", "OtaFeelMetrics"]


@dataclass(frozen=True)
class OtaFeelInstance(TensorRecord):
    """One frame: places, channels, and how much each device counts in each average."""

    position: Tensor = tensor_field("B K 3", "real", unit="m", doc="devices; the server is at 0")
    target: Tensor = tensor_field("B 3", "real", unit="m", doc="target, where bounds are taken")
    channel: Tensor = tensor_field("B K N M", "complex", doc="H_k, device to server")
    weight: Tensor = tensor_field("B K R", "real", doc="diagonal of W_k, weights in the averages")
    max_power_w: Tensor = tensor_field("B K", "real", unit="W", doc="power budgets")
    echo_noise_w: Tensor = tensor_field(
        "B K", "real", unit="W", doc="zeta_k^2, noise per antenna of a device"
    )


@dataclass(frozen=True)
class OtaFeelDecision(TensorRecord):
    """Precoders; the server's receiver is the MMSE receiver for them."""

    precoder: Tensor = tensor_field(
        "B K M R", "complex", unit="sqrt(W)", doc="C_k: stream 0 localisation, the others learning"
    )


@dataclass(frozen=True)
class OtaFeelMetrics(TensorRecord):
    """Everything that is reported about precoders."""

    objective: Tensor = tensor_field(
        "B", "real", unit="dB", doc="-(1 - w) 10 log10 nmse - w 10 log10 crb"
    )
    violation: Tensor = tensor_field("B", "real", doc="largest relative power above a budget")
    nmse: Tensor = tensor_field("B", "real", doc="aggregation error over the sum of |W_k|^2")
    nmse_task: Tensor = tensor_field("B R", "real", doc="the same of each stream")
    mse: Tensor = tensor_field("B", "real", doc="aggregation error, the paper's (7)")
    crb_m2: Tensor = tensor_field("B", "real", unit="m^2", doc="the bound that is scored")
    crb_ideal_m2: Tensor = tensor_field(
        "B", "real", unit="m^2", doc="bound of the position error, other devices' echoes removed"
    )
    crb_interference_m2: Tensor = tensor_field(
        "B", "real", unit="m^2", doc="the same with their echoes as noise"
    )
    crb_paper_m2: Tensor = tensor_field(
        "B", "real", unit="m^2", doc="the paper's CRB_L: total power only, tens of dB too low"
    )
    power_w: Tensor = tensor_field("B K", "real", unit="W", doc="power of each device")
