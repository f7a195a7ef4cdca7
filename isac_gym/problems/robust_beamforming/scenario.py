"""Scenario of robust beamforming; "silent" marks numbers that the paper's text does not give."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from isac_gym.core.errors import ScenarioError
from isac_gym.core.scenario import Scenario, parameter
from isac_gym.core.units import SPEED_OF_LIGHT_MPS, db_to_linear, dbm_to_w

__all__ = ["RobustBeamformingScenario"]

_PAPER_TARGETS_M = ((2.0, 5.0), (-5.0, 1.0))
_SMALL = {"num_antennas": 3, "num_targets": 1, "num_streams": 2}


@dataclass(frozen=True, kw_only=True)
class RobustBeamformingScenario(Scenario):
    """I base stations serve K users each with imperfect CSI and locate T targets together."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": _SMALL,
        "csi-0": {"csi_error": 0.0},
        "csi-05": {"csi_error": 0.05},
        "csi-20": {"csi_error": 0.2},
        "power-30": {"max_power_dbm": 30.0, "csi_error": 0.05},
        "power-35": {"max_power_dbm": 35.0, "csi_error": 0.05},
        "bandlimited": {"delay": "bandlimited"},
        "unresolved": {"delay": "unresolved"},
        "random-targets": {"target_box_m": 20.0},
        "two-users": {"num_users": 2},
        "large": {
            "num_users": 2,
            "num_antennas": 8,
            "num_targets": 3,
            "num_streams": 6,
            "target_box_m": 20.0,
        },
    }

    num_bs: int = parameter(
        3,
        low=2,
        high=32,
        doc="base stations on a circle; one alone sees every target from one direction only",
        source="paper: 3",
    )
    num_users: int = parameter(1, low=1, high=16, doc="users per cell", source="paper: 1")
    num_antennas: int = parameter(
        5, low=2, high=32, doc="antennas per base station, linear array", source="paper: 5"
    )
    num_targets: int = parameter(2, low=1, high=8, doc="point targets", source="paper: 2")
    num_streams: int = parameter(
        4,
        low=1,
        high=32,
        doc="columns of the sensing factor, at most num_antennas",
        source="ours: min(N, 2 T) loses nothing",
    )
    bs_radius_m: float = parameter(
        80.0, low=5, high=1e4, doc="distance of every base station from the origin", source="paper"
    )
    target_box_m: float = parameter(
        0.0,
        low=0,
        high=5e3,
        doc="targets uniform in a square of this half side; 0: the paper's two positions",
        source="paper: (2, 5) and (-5, 1)",
    )
    min_user_distance_m: float = parameter(
        20.0, above=0, high=1e4, doc="users' nearest distance to their station", source="silent"
    )
    max_user_distance_m: float = parameter(
        60.0, above=0, high=1e4, doc="users' largest distance to their station", source="silent"
    )
    max_power_dbm: float = parameter(
        40.0, low=-60, high=90, doc="power budget per base station", source="paper: 40, Fig. 3"
    )
    user_noise_dbm: float = parameter(
        -85.0, low=-200, high=60, doc="user noise", source="silent; ours: 100 MHz, 9 dB"
    )
    echo_noise_dbm: float = parameter(
        -85.0,
        low=-200,
        high=60,
        doc="echo receiver noise per antenna and sample",
        source="silent; ours: 100 MHz, 9 dB",
    )
    path_gain_db: float = parameter(
        -40.0, low=-200, high=60, doc="path gain at 1 m", source="silent; ours"
    )
    path_exponent: float = parameter(
        3.8,
        low=0,
        high=10,
        doc="path-loss exponent",
        source="silent; ours: urban, no line of sight",
    )
    csi_error: float = parameter(
        0.1,
        low=0,
        high=10,
        doc="radius of the CSI ball over the norm of the estimate",
        source="paper: absolute, values lost; relative because link gains differ by 30 dB",
    )
    carrier_hz: float = parameter(3.5e9, above=0, high=1e12, doc="carrier", source="silent; ours")
    target_rcs_dbsm: float = parameter(
        0.0, low=-100, high=100, doc="radar cross-section", source="silent; ours: 1 m^2"
    )
    bandwidth_hz: float = parameter(
        100e6, above=0, high=1e12, doc="bandwidth of the signal", source="silent; ours"
    )
    observation_s: float = parameter(
        10.24e-6, above=0, high=10, doc="observation time of an estimate", source="silent; ours"
    )
    delay: str = parameter(
        "resolved",
        choices=("resolved", "bandlimited", "unresolved"),
        doc="same-station echoes of different targets: independent, sinc-correlated, or identical",
        source="paper: independent (implied); false for its own geometry, see the docs",
    )
    preference: float = parameter(
        0.5, low=0, high=1, doc="centre of the preference p: 1 is rate, 0 sensing", source="ours"
    )
    preference_spread: float = parameter(
        0.5,
        low=0,
        high=1,
        doc="p is uniform within this distance of the centre, cut to [0, 1]",
        source="ours: 0 fixes it",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_streams > self.num_antennas:
            raise ScenarioError(
                f"num_streams must be <= num_antennas = {self.num_antennas}, "
                f"got {self.num_streams}."
            )
        if self.target_box_m == 0 and self.num_targets > len(_PAPER_TARGETS_M):
            raise ScenarioError(
                f"num_targets must be <= {len(_PAPER_TARGETS_M)} at the paper's positions "
                f"(target_box_m = 0), got {self.num_targets}; set target_box_m."
            )
        if self.target_box_m > self.bs_radius_m / 2:
            raise ScenarioError(
                f"target_box_m must be <= bs_radius_m / 2 = {self.bs_radius_m / 2:g}, "
                f"got {self.target_box_m:g}."
            )
        if 0 < self.target_box_m < self.num_targets:
            raise ScenarioError(
                f"target_box_m must be 0 or >= num_targets = {self.num_targets} to keep them 1 m "
                f"apart, got {self.target_box_m:g}."
            )
        if self.min_user_distance_m > self.max_user_distance_m:
            raise ScenarioError(
                f"min_user_distance_m must be <= max_user_distance_m = "
                f"{self.max_user_distance_m:g}, got {self.min_user_distance_m:g}."
            )

    @property
    def wavelength_m(self) -> float:
        """Carrier wavelength in metres."""
        return SPEED_OF_LIGHT_MPS / self.carrier_hz

    @property
    def max_power_w(self) -> float:
        """Power budget per base station in watts."""
        return dbm_to_w(self.max_power_dbm)

    @property
    def user_noise_w(self) -> float:
        """Noise power at a user in watts."""
        return dbm_to_w(self.user_noise_dbm)

    @property
    def echo_noise_w(self) -> float:
        """Noise power of an echo receiver in watts."""
        return dbm_to_w(self.echo_noise_dbm)

    @property
    def path_gain(self) -> float:
        """Path gain at 1 m, linear."""
        return db_to_linear(self.path_gain_db)

    @property
    def target_rcs_m2(self) -> float:
        """Radar cross-section in square metres."""
        return db_to_linear(self.target_rcs_dbsm)

    @property
    def num_samples(self) -> float:
        """Samples of an estimate: bandwidth times observation time."""
        return self.bandwidth_hz * self.observation_s

    def bs_positions(self) -> list[tuple[float, float]]:
        """Base station positions in metres, clockwise from 120 degrees as in the paper."""
        angles = [math.radians(120 - 360 * i / self.num_bs) for i in range(self.num_bs)]
        return [(self.bs_radius_m * math.cos(a), self.bs_radius_m * math.sin(a)) for a in angles]

    def target_positions(self) -> list[tuple[float, float]]:
        """The paper's target positions in metres, used where ``target_box_m`` is 0."""
        return list(_PAPER_TARGETS_M[: self.num_targets])
