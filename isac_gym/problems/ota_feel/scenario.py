"""Scenario of over-the-air federated learning with collaborative localisation.

"silent" marks numbers that the paper's text does not give.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from isac_gym.core.errors import ScenarioError
from isac_gym.core.scenario import Scenario, parameter
from isac_gym.core.units import db_to_linear
from isac_gym.physics.aggregation import PULSES
from isac_gym.physics.echo import ARRAYS

__all__ = ["OtaFeelScenario"]

_COHERENT = {"pulse": "none"}
_UPA = {"pulse": "none", "array": "upa"}


@dataclass(frozen=True, kw_only=True)
class OtaFeelScenario(Scenario):
    """K devices send R analogue streams to a server and hear the echo of one target."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {**_UPA, "num_devices": 4, "server_antennas": 4, "sensing_weight": 0.5},
        "coherent": _COHERENT,
        "unequal": {"weight_spread": 1.0},
        "path-loss": {**_COHERENT, "uplink_exponent": 3.0},
        "low-snr": {**_COHERENT, "snr_db": 0.0},
        "high-snr": {**_COHERENT, "snr_db": 20.0},
        "joint": {**_UPA, "sensing_weight": 0.5},
        "joint-low-snr": {**_UPA, "sensing_weight": 0.5, "snr_db": -10.0},
        "sensing": {**_UPA, "sensing_weight": 1.0, "sensing": "ideal"},
        "literal": {"array": "literal"},
    }

    num_devices: int = parameter(15, low=1, high=256, doc="devices", source="paper: 15")
    device_antennas: int = parameter(
        4, low=1, high=32, doc="antennas of a device", source="paper: 4"
    )
    server_antennas: int = parameter(
        16, low=1, high=128, doc="antennas of the server", source="paper: 16"
    )
    num_tasks: int = parameter(
        2, low=1, high=8, doc="streams: localisation first, then learning", source="paper: 2"
    )
    frame_length: int = parameter(
        64, low=1, high=65536, doc="symbols of a frame and of a pulse", source="silent; paper: >= K"
    )
    max_power_w: float = parameter(
        1.0, above=0, high=1e6, doc="power budget of a device", source="silent; ours: normalised"
    )
    snr_db: float = parameter(
        10.0,
        low=-40,
        high=80,
        doc="max_power_w over the server's noise power per antenna",
        source="silent; ours",
    )
    echo_noise_w: float = parameter(
        1e-4,
        above=0,
        high=1e6,
        doc="noise power per antenna of a device",
        source="silent; ours: median bound about 1 m^2",
    )
    reference_gain: float = parameter(
        1.0, above=0, high=1e6, doc="alpha_0, amplitude of a response at 1 m", source="paper: 1"
    )
    path_exponent: float = parameter(
        1.0,
        above=0,
        high=4,
        doc="n of the amplitude alpha_0 / r^n of a response",
        source="paper: 2 in (9), 1 in appendix C, the radar law",
    )
    array: str = parameter(
        "vertical",
        choices=ARRAYS,
        doc="elements of a device: a line along z, two columns, a line along y, or (9) as printed, "
        "whose spacing is the distance of the target",
        source="paper: height enters the phase",
    )
    wavelength_m: float = parameter(
        0.1,
        above=0,
        high=100,
        only_where=("array", "literal"),
        doc="carrier wavelength",
        source="silent; ours",
    )
    min_radius_m: float = parameter(
        50.0, low=0, high=1e5, doc="devices: inner radius of the ring", source="paper: 50 m"
    )
    max_radius_m: float = parameter(
        100.0, above=0, high=1e5, doc="devices: outer radius of the ring", source="paper: 100 m"
    )
    min_target_radius_m: float = parameter(
        100.0, above=0, high=1e5, doc="target: inner radius of the ring", source="paper: 100 m"
    )
    max_target_radius_m: float = parameter(
        110.0, above=0, high=1e5, doc="target: outer radius of the ring", source="paper: 110 m"
    )
    arc_deg: float = parameter(
        20.0, above=0, high=360, doc="arc of devices and target", source="paper: 20 degrees"
    )
    device_height_m: float = parameter(
        1.5, low=0, high=1000, doc="height of the devices", source="silent; ours"
    )
    max_target_height_m: float = parameter(
        3.0, low=0, high=1000, doc="target: heights are uniform below", source="paper: 3 m"
    )
    min_target_distance_m: float = parameter(
        5.0,
        above=0,
        high=1e5,
        doc="devices keep this distance on the ground from the target, whose echo diverges at 0",
        source="silent (0 is possible); ours",
    )
    uplink_exponent: float = parameter(
        0.0,
        low=0,
        high=6,
        doc="power of a channel falls as (distance / 75 m)^-exponent; 0: all are alike",
        source="paper: 0",
    )
    weight_spread: float = parameter(
        0.0,
        low=0,
        high=3,
        doc="standard deviation of the log of the weights, which sum to 1; 0: 1 / K",
        source="paper: symbols only",
    )
    pulse: str = parameter(
        "dft",
        choices=PULSES,
        doc="orthogonal pulses, or none: then the streams add up coherently",
        source="paper: orthogonal",
    )
    sensing: str = parameter(
        "interference",
        choices=("ideal", "interference"),
        doc="bound that is scored: without or with the echoes of other devices' signals",
        source="paper: without",
    )
    sensing_weight: float = parameter(
        0.0,
        low=0,
        high=1,
        doc="share of the position bound in the objective, in dB; the rest is aggregation",
        source="ours: the paper's bound only depends on the total power",
    )
    prior_std_m: float = parameter(
        100.0,
        above=0,
        high=1e6,
        doc="what is known of each coordinate without echoes; keeps silence finite",
        source="ours: moves a bound of 1 m^2 by 1e-4",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_sizes()
        self._check_places()
        if self.array == "literal":
            warnings.warn(
                "array='literal' takes (9) as printed: its Fisher information has a condition "
                "number near 4e7, so its bounds say little; use 'vertical' or 'upa'.",
                UserWarning,
                stacklevel=3,
            )

    def _check_sizes(self) -> None:
        most = min(self.device_antennas, self.server_antennas)
        _demand(
            self.num_tasks <= most,
            f"num_tasks must be <= {most}, the fewer of device_antennas and server_antennas, "
            f"got {self.num_tasks}.",
        )
        _demand(
            self.pulse != "dft" or self.frame_length >= self.num_devices,
            f"frame_length must be >= num_devices = {self.num_devices} with pulse 'dft', "
            f"got {self.frame_length}.",
        )
        _demand(
            self.array != "upa" or (self.device_antennas >= 4 and self.device_antennas % 2 == 0),
            f"device_antennas must be even and >= 4 with array 'upa', got {self.device_antennas}.",
        )

    def _check_places(self) -> None:
        for low, high in (
            ("min_radius_m", "max_radius_m"),
            ("min_target_radius_m", "max_target_radius_m"),
        ):
            _demand(
                getattr(self, low) <= getattr(self, high),
                f"{low} must be <= {high} = {getattr(self, high):g}, got {getattr(self, low):g}.",
            )
        room = self.min_target_radius_m - self.min_radius_m
        _demand(
            self.min_target_distance_m <= room,
            f"min_target_distance_m must be <= {room:g}, min_target_radius_m - min_radius_m, "
            f"got {self.min_target_distance_m:g}.",
        )

    @property
    def noise_w(self) -> float:
        """Noise power per antenna of the server in watts."""
        return self.max_power_w / db_to_linear(self.snr_db)

    @property
    def arc_rad(self) -> float:
        """Arc of devices and target in radians, centred on the x axis."""
        return math.radians(self.arc_deg)


def _demand(is_good: bool, message: str) -> None:
    if not is_good:
        raise ScenarioError(message)
