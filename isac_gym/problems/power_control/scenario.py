"""Scenario of the power-control problem; "blank" marks numbers the paper's text does not give."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from isac_gym.core.scenario import Scenario, parameter
from isac_gym.core.units import (
    SPEED_OF_LIGHT_MPS,
    db_to_linear,
    dbm_to_w,
    thermal_noise_w,
)

__all__ = ["PowerControlScenario"]


@dataclass(frozen=True, kw_only=True)
class PowerControlScenario(Scenario):
    """I base stations, each serving one user, range one passive target."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "paper-constrained": {"threshold_db": 3.0},
        "high-si": {"self_interference_db": -90.0},
        "low-si": {"self_interference_db": -130.0},
        "dense-7": {"num_bs": 7},
        "dense-19": {"num_bs": 19, "threshold_db": -3.0},
        "realistic": {"processing_gain": True},
        "peb3d": {"objective": "peb3d", "threshold_db": 3.0},
        "peb2d": {"objective": "peb2d", "threshold_db": 3.0},
    }

    objective: str = parameter(
        "maxmin",
        choices=("maxmin", "peb3d", "peb2d"),
        doc="worst range error, or position error bound in 3-D, or in 2-D with known height",
        source="paper: maxmin; the others ours: the title promises localisation",
    )
    num_bs: int = parameter(
        3,
        low=1,
        high=61,
        doc="base stations; 3 stand on the hexagon, others on a lattice",
        source="paper: 3",
    )
    hex_radius_m: float = parameter(
        100.0,
        above=0,
        doc="circumradius of the sensing hexagon",
        source="blank; ours: urban micro, ISD 173 m",
    )
    ue_radius_isd: float = parameter(
        0.5,
        above=0,
        high=2,
        doc="radius of the users' disc over the inter-site distance",
        source="blank; ours: discs touch",
    )
    bs_height_m: float = parameter(
        10.0, low=0, high=1e3, doc="base station height", source="blank; ours"
    )
    ue_height_m: float = parameter(1.5, low=0, high=1e3, doc="user height", source="blank; ours")
    target_height_m: float = parameter(
        1.5, low=0, high=1e3, doc="target height", source="paper: equal to the users'"
    )
    carrier_hz: float = parameter(
        3.5e9, above=0, doc="carrier frequency", source="paper: FR1; value ours"
    )
    bandwidth_hz: float = parameter(
        100e6, above=0, doc="bandwidth of every link", source="blank; ours"
    )
    num_subcarriers: int = parameter(
        3276,
        low=1,
        doc="active subcarriers, for the processing gain",
        source="ours: 273 resource blocks",
    )
    num_symbols: int = parameter(
        14, low=1, doc="OFDM symbols, for the processing gain", source="ours: one slot"
    )
    processing_gain: bool = parameter(
        False, doc="count the integration gain in the range error", source="paper: not counted"
    )
    max_power_dbm: float = parameter(
        30.0, low=-60, high=90, doc="power cap per base station", source="blank; ours"
    )
    bs_noise_figure_db: float = parameter(
        5.0, low=0, high=60, doc="base station noise figure", source="blank; ours"
    )
    ue_noise_figure_db: float = parameter(
        9.0, low=0, high=60, doc="user noise figure", source="blank; ours"
    )
    bs_gain_dbi: float = parameter(
        0.0, low=-60, high=60, doc="antenna gain in the sector", source="blank; ours"
    )
    ue_gain_dbi: float = parameter(
        0.0, low=-60, high=60, doc="user antenna gain", source="blank; ours"
    )
    target_rcs_dbsm: float = parameter(
        10.0, low=-100, high=100, doc="radar cross-section", source="blank; ours: a car"
    )
    rician_k_db: float = parameter(
        10.0, low=-100, high=100, doc="Rician K of all direct links", source="blank; ours"
    )
    comm_exponent: float = parameter(
        2.5, low=0, high=10, doc="path-loss exponent of direct links", source="paper: 2.5"
    )
    sense_exponent: float = parameter(
        2.0, low=0, high=10, doc="exponent per hop of echo links", source="paper: 2"
    )
    self_interference_db: float = parameter(
        -110.0,
        low=-300,
        high=0,
        doc="residual self-interference over own transmit power",
        source="paper: swept; a ratio, see docs/power_control.md",
    )
    direct_cancel_db: float = parameter(
        0.0, low=0, high=300, doc="extra suppression of the direct BS-BS signal", source="paper: 0"
    )
    threshold_db: float = parameter(
        0.0,
        low=-math.inf,
        high=100,
        doc="communication SINR threshold; -inf: none",
        source="paper: swept",
    )
    own_echo: str = parameter(
        "signal",
        choices=("signal", "interference"),
        doc="role of the own echo at the served user",
        source="lost; ours: multipath inside the cyclic prefix is signal",
    )
    min_distance_m: float = parameter(
        1.0, above=0, high=100, doc="clamp of every distance", source="silent; ours"
    )
    min_margin_db: float = parameter(
        0.1,
        low=-math.inf,
        high=30,
        doc="redraw instances whose communication margin is smaller; -inf: take every draw",
        source="ours: the paper is silent about infeasible draws",
    )

    @property
    def wavelength_m(self) -> float:
        """Carrier wavelength in metres."""
        return SPEED_OF_LIGHT_MPS / self.carrier_hz

    @property
    def inter_site_distance_m(self) -> float:
        """Distance of neighbouring base stations in metres."""
        return math.sqrt(3.0) * self.hex_radius_m

    @property
    def ue_radius_m(self) -> float:
        """Radius of the disc of users round each base station in metres."""
        return self.ue_radius_isd * self.inter_site_distance_m

    @property
    def max_power_w(self) -> float:
        """Power cap per base station in watts."""
        return dbm_to_w(self.max_power_dbm)

    @property
    def bs_noise_w(self) -> float:
        """Noise power at a base station in watts."""
        return thermal_noise_w(self.bandwidth_hz, self.bs_noise_figure_db)

    @property
    def ue_noise_w(self) -> float:
        """Noise power at a user in watts."""
        return thermal_noise_w(self.bandwidth_hz, self.ue_noise_figure_db)

    @property
    def integration_gain(self) -> float:
        """Gain g inside the range error, linear: 1 unless ``processing_gain``."""
        return float(self.num_subcarriers * self.num_symbols) if self.processing_gain else 1.0

    @property
    def threshold(self) -> float:
        """Communication threshold Gamma, linear."""
        return db_to_linear(self.threshold_db)

    def bs_positions(self) -> list[tuple[float, float, float]]:
        """Base station positions in metres: alternate hexagon vertices for 3, else a lattice."""
        if self.num_bs == 3:
            radius, angles = self.hex_radius_m, (90.0, 210.0, 330.0)
            points = [
                (radius * math.cos(math.radians(a)), radius * math.sin(math.radians(a)))
                for a in angles
            ]
        else:
            points = _lattice(self.num_bs, self.inter_site_distance_m)
        return [(x, y, self.bs_height_m) for x, y in points]


def _lattice(count: int, spacing: float) -> list[tuple[float, float]]:
    """Hexagonal lattice points nearest to the origin, ring by ring, then by angle."""
    span = range(-5, 6)
    points = [(spacing * (a + b / 2), spacing * b * math.sqrt(3) / 2) for a in span for b in span]

    def order(point: tuple[float, float]) -> tuple[float, float]:
        angle = math.degrees(math.atan2(point[1], point[0])) % 360.0
        return round(math.hypot(*point) / spacing, 6), round(angle, 6)

    return sorted(points, key=order)[:count]
