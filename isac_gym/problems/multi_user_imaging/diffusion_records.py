"""Records of imaging by diffusion."""

from dataclasses import dataclass

from torch import Tensor

from isac_gym.core.records import TensorRecord, tensor_field

__all__ = [
    "ImagingDiffusionDecision",
    "ImagingDiffusionInstance",
    "ImagingDiffusionMetrics",
]


@dataclass(frozen=True)
class ImagingDiffusionInstance(TensorRecord):
    """The world, the users' images so far, and the samples of the block."""

    bs_channel: Tensor = tensor_field("B V N", "complex", doc="G, base station to voxels")
    user_channel: Tensor = tensor_field("B K V", "complex", doc="g, voxels to users")
    image: Tensor = tensor_field("B V", "complex", doc="x, scattering coefficients; the truth")
    adjacency: Tensor = tensor_field("B K K", "bool", doc="users with a link to each other")
    position: Tensor = tensor_field("B K 3", "real", unit="m", doc="users")
    beam: Tensor = tensor_field("B N", "complex", unit="sqrt(W)", doc="data beam w_c")
    estimate: Tensor = tensor_field("B K V", "complex", doc="each user's image before the block")
    elapsed: Tensor = tensor_field("B", "int", doc="samples before the block")
    probe: Tensor = tensor_field(
        "B L N", "complex", unit="sqrt(W)", doc="probing waveform p(t), known to all"
    )
    symbol: Tensor = tensor_field(
        "B L", "complex", doc="QPSK data symbols c(t); known to the users only if the scenario says"
    )
    received: Tensor = tensor_field("B L K", "complex", unit="sqrt(W)", doc="samples y_k(t)")


@dataclass(frozen=True)
class ImagingDiffusionDecision(TensorRecord):
    """Settings of every user's filter for one block."""

    step: Tensor = tensor_field("B K", "real", doc="step size times E, in [0.05, 1.5]")
    weight: Tensor = tensor_field(
        "B K K",
        "real",
        doc="a_lk, what k gives to l: columns are >= 0, sum to 1, and are 0 without a link",
    )
    send: Tensor = tensor_field("B K", "bool", doc="the user sends its image in every sample")
    sparsity: Tensor = tensor_field(
        "B K", "real", doc="weight of the l1 norm over the power, in [0, 0.05]"
    )


@dataclass(frozen=True)
class ImagingDiffusionMetrics(TensorRecord):
    """Everything that is reported about a block."""

    objective: Tensor = tensor_field("B", "real", unit="dB", doc="image SNR after the block")
    violation: Tensor = tensor_field(
        "B", "real", doc="largest of: weights off the simplex or the links, settings off the range"
    )
    gain_db: Tensor = tensor_field("B", "real", unit="dB", doc="objective over that before")
    msd: Tensor = tensor_field("B", "real", doc="mean over users of |estimate - x|^2")
    msd_user: Tensor = tensor_field("B K", "real", doc="the same of each user")
    disagreement: Tensor = tensor_field("B", "real", doc="mean square distance to the mean image")
    scalars: Tensor = tensor_field("B", "real", doc="complex scalars sent, over all links")
    cost_share: Tensor = tensor_field("B", "real", doc="scalars over those of everyone sending")
