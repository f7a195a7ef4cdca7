"""Records of subcarrier selection."""

from dataclasses import dataclass

from torch import Tensor

from isac_gym.core.records import TensorRecord, tensor_field

__all__ = ["SubcarrierDecision", "SubcarrierInstance", "SubcarrierMetrics"]


@dataclass(frozen=True)
class SubcarrierInstance(TensorRecord):
    """One room: labelled windows to learn from, to validate on, and those that are scored.

    Features are standardised by the training windows and clipped to +-5. Labels are the place (two
    entries) and the activity (one entry per class), centred and scaled so that the squares of each
    task add up to 1 on average over the training windows. The three splits share no place.
    """

    train: Tensor = tensor_field("B J S C", "real", doc="training features")
    train_label: Tensor = tensor_field("B J Y", "real", doc="training labels")
    val: Tensor = tensor_field("B H S C", "real", doc="validation features")
    val_label: Tensor = tensor_field("B H Y", "real", doc="validation labels")
    score: Tensor = tensor_field("B H S C", "real", doc="features of the scored windows")
    score_label: Tensor = tensor_field("B H Y", "real", doc="labels of the scored windows")
    feature_std: Tensor = tensor_field(
        "B S C", "real", doc="standard deviation of the raw training features"
    )
    label_mean: Tensor = tensor_field("B Y", "real", doc="mean of raw labels: m, m, class shares")
    label_scale: Tensor = tensor_field("B Y", "real", doc="raw label per unit: m, m, 1")


@dataclass(frozen=True)
class SubcarrierDecision(TensorRecord):
    """One selection for the whole room."""

    mask: Tensor = tensor_field("B S", "bool", doc="True: selected; link by link")


@dataclass(frozen=True)
class SubcarrierMetrics(TensorRecord):
    """Everything that is reported about a selection."""

    objective: Tensor = tensor_field("B", "real", doc="1 - error: mean explained share")
    violation: Tensor = tensor_field(
        "B", "real", doc="subcarriers below the fewest or above the most allowed, relative"
    )
    error: Tensor = tensor_field("B", "real", doc="J, mean of the two errors")
    error_location: Tensor = tensor_field(
        "B", "real", doc="squared error of the place over that of the mean place"
    )
    error_sensing: Tensor = tensor_field(
        "B", "real", doc="squared error of the activity over that of the class shares"
    )
    location_rmse_m: Tensor = tensor_field("B", "real", unit="m", doc="rms error of the place")
    accuracy: Tensor = tensor_field("B", "real", doc="share of activities that are recognised")
    num_selected: Tensor = tensor_field("B", "real", doc="selected subcarriers")
