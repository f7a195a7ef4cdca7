"""Records of multi-user imaging."""

from dataclasses import dataclass

from torch import Tensor

from isac_gym.core.records import TensorRecord, tensor_field

__all__ = [
    "ImagingDesignInstance",
    "ImagingDesignMetrics",
    "ImagingRecoveryDecision",
    "ImagingRecoveryInstance",
    "ImagingRecoveryMetrics",
    "ProbingDecision",
]


@dataclass(frozen=True)
class ImagingRecoveryInstance(TensorRecord):
    """One frame: what was sent and received, and the truth behind it."""

    bs_channel: Tensor = tensor_field("B V N", "complex", doc="G, base station to voxels")
    user_channel: Tensor = tensor_field("B K V", "complex", doc="g, voxels to users")
    image: Tensor = tensor_field("B V", "complex", doc="x, scattering coefficients; the truth")
    adjacency: Tensor = tensor_field("B K K", "bool", doc="users with a link to each other")
    position: Tensor = tensor_field("B K 3", "real", unit="m", doc="users")
    beam: Tensor = tensor_field(
        "B N", "complex", unit="sqrt(W)", doc="data beam w_c, the same in the whole frame"
    )
    probe: Tensor = tensor_field(
        "B L N", "complex", unit="sqrt(W)", doc="probing waveform p(t), known to all"
    )
    symbol: Tensor = tensor_field(
        "B L", "complex", doc="QPSK data symbols c(t); the truth, unknown to the sensing users"
    )
    received: Tensor = tensor_field("B L K", "complex", unit="sqrt(W)", doc="samples y_k(t)")


@dataclass(frozen=True)
class ImagingRecoveryDecision(TensorRecord):
    """An image per user, and what the scheme exchanged for them."""

    estimate: Tensor = tensor_field(
        "B K V", "complex", doc="each user's image; a central scheme repeats its own"
    )
    scalars: Tensor = tensor_field(
        "B", "int", doc="complex scalars sent between users, one link each; declared by the scheme"
    )


@dataclass(frozen=True)
class ImagingRecoveryMetrics(TensorRecord):
    """Everything that is reported about images."""

    objective: Tensor = tensor_field(
        "B", "real", unit="dB", doc="image SNR |x|^2 / msd, at most 150 dB"
    )
    violation: Tensor = tensor_field(
        "B", "real", doc="largest modulus above 1: objects are passive"
    )
    msd: Tensor = tensor_field("B", "real", doc="mean over users of |estimate - x|^2")
    msd_user: Tensor = tensor_field("B K", "real", doc="the same of each user")
    disagreement: Tensor = tensor_field("B", "real", doc="mean square distance to the mean image")
    f1: Tensor = tensor_field("B", "real", doc="F1 score of the support of the mean image")
    iou: Tensor = tensor_field("B", "real", doc="intersection over union of the supports")
    genie_bound: Tensor = tensor_field(
        "B", "real", doc="CRB of the msd if support and symbols were known; inf if singular"
    )
    unknown_bound: Tensor = tensor_field(
        "B", "real", doc="the same if every symbol were an unknown complex number"
    )
    excess_db: Tensor = tensor_field(
        "B",
        "real",
        unit="dB",
        doc="msd over genie_bound, within 150 dB of 0; -150 if that is infinite",
    )
    scalars: Tensor = tensor_field("B", "real", doc="complex scalars exchanged")
    gathering_scalars: Tensor = tensor_field(
        "B", "real", doc="what gathering all samples at the best leader and sending back costs"
    )


@dataclass(frozen=True)
class ImagingDesignInstance(TensorRecord):
    """What the base station knows when it chooses the next transmission."""

    bs_channel: Tensor = tensor_field("B V N", "complex", doc="G, base station to voxels")
    user_channel: Tensor = tensor_field("B K V", "complex", doc="g, voxels to users")
    comm_channel: Tensor = tensor_field("B N", "complex", doc="h, communication user: h^H tx")
    image: Tensor = tensor_field(
        "B V", "complex", doc="x, scattering coefficients; the truth, reported only"
    )
    precision: Tensor = tensor_field(
        "B V V", "complex", doc="J_0: precision of x before this transmission, Hermitian"
    )
    max_power_w: Tensor = tensor_field("B", "real", unit="W", doc="power budget")


@dataclass(frozen=True)
class ProbingDecision(TensorRecord):
    """Covariance of the probing waveform, W_s = F_s F_s^H, and the data beam."""

    probe: Tensor = tensor_field("B N R", "complex", unit="sqrt(W)", doc="factor F_s")
    beam: Tensor = tensor_field("B N", "complex", unit="sqrt(W)", doc="data beam w_c")


@dataclass(frozen=True)
class ImagingDesignMetrics(TensorRecord):
    """Everything that is reported about a transmission."""

    objective: Tensor = tensor_field("B", "real", unit="dB", doc="-10 log10 of error_bound")
    violation: Tensor = tensor_field(
        "B", "real", doc="larger of relative power above the budget and relative SINR short"
    )
    error_bound: Tensor = tensor_field(
        "B", "real", doc="f = tr (J_0 + J)^-1, squared error of all coefficients"
    )
    sinr: Tensor = tensor_field("B", "real", doc="SINR of the communication user")
    power_w: Tensor = tensor_field("B", "real", unit="W", doc="tr W_s + |w_c|^2")
    support_bound: Tensor = tensor_field(
        "B", "real", doc="f if the true support were known and nothing else; inf if singular"
    )
    is_reachable: Tensor = tensor_field(
        "B", "bool", doc="some transmission within the budget has the SINR needed"
    )
