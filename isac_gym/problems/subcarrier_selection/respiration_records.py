"""Scenario and records of breathing rates from selected subcarriers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from isac_gym.core.records import TensorRecord, tensor_field
from isac_gym.core.scenario import parameter
from isac_gym.problems.subcarrier_selection.scenario import EVALUATORS, SubcarrierScenario
from isac_gym.problems.subcarrier_selection.world import ACTIVITIES

__all__ = ["RespirationInstance", "RespirationMetrics", "RespirationScenario"]

_TINY = {"tones_per_link": 4, "guard_tones": 0, "has_dc_null": False, "interference_width": 0.25}
_NARROW = {"tones_per_link": 8, "guard_tones": 1, "has_dc_null": False, "interference_width": 0.25}


@dataclass(frozen=True, kw_only=True)
class RespirationScenario(SubcarrierScenario):
    """As of subcarrier selection, with longer windows at a lower rate; nothing is trained."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "tiny-8": {**_TINY, "num_train": 32, "num_held_out": 32},
        "small-16": _NARROW,
        "small-20": {**_NARROW, "tones_per_link": 10},
        "low-snr": {"snr_db": 25.0},
        "low-snr-16": {**_NARROW, "snr_db": 25.0},
        "tracking": {
            **_NARROW,
            "snr_db": 25.0,
            "max_share": 0.25,
            "num_interferers": 0,
            "num_train": 48,
            "num_held_out": 4,
        },
        "sitting": {"posture": "sitting"},
    }

    posture: str = parameter(
        "lying",
        choices=(*ACTIVITIES, "any"),
        doc="of the person; standing, the sway hides the chest and no subcarrier tells the rate",
        source="silent; ours: asleep",
    )
    num_train: int = parameter(
        64,
        low=1,
        high=100_000,
        inert=True,
        doc="labelled windows to calibrate with; no part of the score",
        source="silent; ours",
    )
    num_held_out: int = parameter(
        64,
        low=1,
        high=100_000,
        doc="labelled windows for validation, and as many that are scored",
        source="silent; ours",
    )
    evaluator: str = parameter(
        "kernel_ridge",
        choices=EVALUATORS,
        inert=True,
        doc="unused: the rate is a closed form of the spectra",
        source="ours",
    )
    features: str = parameter(
        "calibrated",
        choices=("calibrated", "window"),
        inert=True,
        doc="unused: spectra of the level need no calibration",
        source="ours",
    )
    num_packets: int = parameter(
        64, low=8, high=1024, doc="packets of a window: 16 s", source="silent; ours"
    )
    packet_rate_hz: float = parameter(
        4.0, low=1.2, high=1e4, doc="packets per second", source="silent; ours"
    )
    num_bins: int = parameter(
        24, low=3, high=1024, doc="frequencies from 0.15 to 0.6 Hz", source="silent; ours"
    )


@dataclass(frozen=True)
class RespirationInstance(TensorRecord):
    """One room: spectra of windows with known rates, and of those that are scored.

    A spectrum is the Hann periodogram of a subcarrier's level in dB at C frequencies, divided by
    its sum over them. The three splits share no place.
    """

    train: Tensor = tensor_field("B J S C", "real", doc="spectra of calibration windows")
    train_hz: Tensor = tensor_field("B J", "real", unit="Hz", doc="their breathing rates")
    val: Tensor = tensor_field("B H S C", "real", doc="spectra of validation windows")
    val_hz: Tensor = tensor_field("B H", "real", unit="Hz", doc="their breathing rates")
    score: Tensor = tensor_field("B H S C", "real", doc="spectra of the scored windows")
    score_hz: Tensor = tensor_field("B H", "real", unit="Hz", doc="their breathing rates")


@dataclass(frozen=True)
class RespirationMetrics(TensorRecord):
    """Everything that is reported about a selection."""

    objective: Tensor = tensor_field("B", "real", doc="1 - error: 0 for the mean rate, 1 perfect")
    violation: Tensor = tensor_field(
        "B", "real", doc="subcarriers below the fewest or above the most allowed, relative"
    )
    error: Tensor = tensor_field("B", "real", doc="mean absolute error over 4.5 breaths per minute")
    mae_bpm: Tensor = tensor_field("B", "real", unit="1/min", doc="mean absolute error of the rate")
    within: Tensor = tensor_field("B", "real", doc="share of windows within 1 breath per minute")
    num_selected: Tensor = tensor_field("B", "real", doc="selected subcarriers")
