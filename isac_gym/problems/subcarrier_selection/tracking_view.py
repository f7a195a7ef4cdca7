"""What agents and people see of mask tracking: the state record, observations, the scene."""

from dataclasses import dataclass

from torch import Tensor

from isac_gym.core.records import TensorRecord, record_field, tensor_field
from isac_gym.problems.subcarrier_selection.records import SubcarrierInstance

__all__ = ["FEATURE_LIMIT", "MaskTrackingState", "MaskTrackingView"]

FEATURE_LIMIT = 5.0  # standardised features are clipped here
_CLIP = 5.0
_AGE = 10.0  # frames, scale of ages in observations
_IMPORTANCE = 10.0  # of importances in observations


@dataclass(frozen=True)
class MaskTrackingState(TensorRecord):
    """A frame about to be decided."""

    instance: SubcarrierInstance = record_field(
        SubcarrierInstance, doc="the room; its scored windows are the coming frame, with its noise"
    )
    pool: Tensor = tensor_field("B H S C", "real", doc="windows frames are drawn from, clean")
    pool_label: Tensor = tensor_field("B H Y", "real", doc="their labels")
    planning_noise: Tensor = tensor_field(
        "B H S C", "real", doc="unit noise of the validation windows: what planners rehearse with"
    )
    noise: Tensor = tensor_field("B S", "real", doc="variance added in the coming frame")
    place: Tensor = tensor_field("B A", "int", doc="first tone of each link's band in that frame")
    level_db: Tensor = tensor_field("B A", "real", unit="dB", doc="its level in that frame")
    belief: Tensor = tensor_field(
        "B A 0", "real", doc="probability that a link's band begins at a tone, by what was seen"
    )
    believed_db: Tensor = tensor_field("B A", "real", unit="dB", doc="its expected level")
    alone: Tensor = tensor_field("B S 2", "real", doc="explained share with a tone alone, by task")
    loss: Tensor = tensor_field("B S 2", "real", doc="rise of the error if a tone of all is left")
    mask: Tensor = tensor_field("B S", "bool", doc="tones acquired last; none before")
    seen: Tensor = tensor_field("B S", "real", doc="variance on a tone when last acquired; or 0")
    age: Tensor = tensor_field("B S", "int", doc="frames since then; the horizon if never")
    error: Tensor = tensor_field("B 2", "real", doc="errors of the last frame; 1 before")
    slot: Tensor = tensor_field("B", "int", doc="frames done in this episode")
