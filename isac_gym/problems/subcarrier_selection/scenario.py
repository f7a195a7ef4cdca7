"""Scenario of subcarrier selection for joint localisation and sensing.

"silent" marks numbers that the paper's text does not give.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.scenario import Scenario, parameter

__all__ = ["EVALUATORS", "SubcarrierScenario"]

EVALUATORS = ("kernel_ridge", "soft_neighbours", "convex_probe")
# Transmitter, then receivers, as shares of the room's lengths. The first is free of symmetry axes;
# in the second a place and its mirror image give the same paths.
_LAYOUTS = {
    "staggered": (
        (0.083, 0.425),
        *((0.917, 0.8), (0.767, 0.125), (0.15, 0.9), (0.5, 0.075)),
        *((0.95, 0.375), (0.05, 0.1), (0.5, 0.925), (0.33, 0.15)),
    ),
    "symmetric": (
        (0.083, 0.5),
        *((0.917, 0.5), (0.75, 0.5), (0.58, 0.5), (0.42, 0.5)),
        *((0.3, 0.5), (0.2, 0.5), (0.67, 0.5), (0.5, 0.5)),
    ),
}
_TINY = {"tones_per_link": 4, "guard_tones": 0, "has_dc_null": False, "interference_width": 0.25}
_NARROW = {
    "tones_per_link": 8,
    "guard_tones": 1,
    "has_dc_null": False,
    "interference_width": 0.25,
    "num_train": 200,
    "num_held_out": 300,
}


@dataclass(frozen=True, kw_only=True)
class SubcarrierScenario(Scenario):
    """P OFDM links watch one person in a furnished room; S = P K subcarriers can be selected."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "tiny-8": {**_TINY, "num_train": 64, "num_held_out": 48},
        "small-16": _NARROW,
        "small-20": {  # 556,206 masks: fewer windows, so that enumeration takes minutes
            **_NARROW,
            "tones_per_link": 10,
            "num_train": 120,
            "num_held_out": 200,
        },
        "wide-512": {"num_links": 4, "tones_per_link": 128, "guard_tones": 6},
        "hard-16": {**_NARROW, "has_target_bounces": True},
        "commodity": {"features": "window"},
        "probe-16": {**_NARROW, "evaluator": "convex_probe"},
        "tracking": {
            **_NARROW,
            "evaluator": "soft_neighbours",
            "num_train": 256,
            "num_held_out": 128,
            "num_interferers": 0,
        },
    }

    num_links: int = parameter(2, low=1, high=8, doc="receivers, one link each", source="paper: 2")
    tones_per_link: int = parameter(
        32, low=4, high=1024, doc="subcarriers of a link", source="paper: 32 per receiver"
    )
    max_share: float = parameter(
        1 / 2, above=0, high=1, doc="most subcarriers selected, of all", source="paper: M/2"
    )
    min_share: float = parameter(
        2 / 3, above=0, high=1, doc="fewest selected, of the most", source="paper: M/3"
    )
    num_train: int = parameter(
        400, low=16, high=100_000, doc="labelled windows to learn from", source="silent; ours"
    )
    num_held_out: int = parameter(
        400,
        low=16,
        high=100_000,
        doc="windows for validation, and as many that are scored",
        source="silent; ours",
    )
    evaluator: str = parameter(
        "kernel_ridge",
        choices=EVALUATORS,
        doc="what the error of a mask is: held-out error of kernel ridge or of soft neighbours, or "
        "the training error of a convex ridge probe",
        source="ours: ranks masks as retraining does (kernel ridge)",
    )
    features: str = parameter(
        "calibrated",
        choices=("calibrated", "window"),
        doc="difference from the empty room with phases, or level and its deviation",
        source="silent; ours",
    )
    carrier_hz: float = parameter(
        5.25e9, low=1e8, high=1e11, doc="centre frequency", source="silent; ours: Wi-Fi"
    )
    bandwidth_hz: float = parameter(
        160e6, low=1e6, high=1e10, doc="occupied bandwidth of a link", source="silent; ours"
    )
    num_packets: int = parameter(
        16, low=2, high=1024, doc="packets of a window", source="silent; ours"
    )
    packet_rate_hz: float = parameter(
        10.0, above=0, high=1e4, doc="packets per second", source="silent; ours"
    )
    room_x_m: float = parameter(
        6.0, low=3, high=100, doc="length of the room", source="paper: rectangular, size lost"
    )
    room_y_m: float = parameter(
        4.0, low=3, high=100, doc="width of the room", source="paper: rectangular, size lost"
    )
    layout: str = parameter(
        "staggered",
        choices=tuple(_LAYOUTS),
        doc="places of the nodes; on an axis of symmetry mirror images look alike",
        source="paper: in a lost figure",
    )
    wall_reflection: float = parameter(
        0.6, low=0, high=1, doc="amplitude reflected by a wall", source="silent; ours"
    )
    num_furniture: int = parameter(
        4, low=0, high=64, doc="static scatterers, drawn per room", source="paper: more if complex"
    )
    furniture_rcs_m2: float = parameter(
        0.5, above=0, high=100, doc="their radar cross-section", source="silent; ours"
    )
    target_rcs_m2: float = parameter(
        1.0,
        above=0,
        high=100,
        doc="radar cross-section standing; 0.6 of it sitting, 0.35 lying",
        source="paper: gain depends on the state, values lost",
    )
    motion_scale: float = parameter(
        1.0,
        low=0,
        high=100,
        doc="times body sway (rms 6, 2, 0.5 mm standing, sitting, lying) and chest motion (3-7 mm)",
        source="silent; ours",
    )
    has_target_bounces: bool = parameter(
        False,
        doc="also paths that meet a wall before or after the person",
        source="paper: number of dynamic paths lost",
    )
    grid_m: float = parameter(
        0.2, low=0.05, high=0.4, doc="grid of places, 0.4 m off the walls", source="paper: 0.2 m"
    )
    snr_db: float = parameter(
        35.0,
        low=-20,
        high=100,
        doc="mean static power of a subcarrier over the noise of the link",
        source="paper: thermal, which would be above 55 dB; ours: commodity cards",
    )
    agc_db: float = parameter(
        0.2, low=0, high=10, doc="rms gain error of a packet and link", source="silent; ours"
    )
    num_interferers: int = parameter(
        1, low=0, high=16, doc="narrow-band interferers of each link", source="silent; ours"
    )
    interference_width: float = parameter(
        0.2, above=0, high=1, doc="their share of the link's subcarriers", source="silent; ours"
    )
    inr_min_db: float = parameter(
        10.0, low=-30, high=60, doc="weakest interference over noise", source="silent; ours"
    )
    inr_max_db: float = parameter(
        20.0, low=-30, high=60, doc="strongest interference over noise", source="silent; ours"
    )
    interference_duty: float = parameter(
        0.5, low=0, high=1, doc="share of packets that are hit", source="silent; ours"
    )
    guard_tones: int = parameter(
        2, low=0, high=256, doc="unused subcarriers at each edge of a link", source="silent; ours"
    )
    has_dc_null: bool = parameter(
        True, doc="the middle subcarrier of a link is unused", source="silent; ours"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        used = self.tones_per_link - 2 * self.guard_tones - self.has_dc_null
        if used < 2:
            raise ScenarioError(
                f"guard_tones must leave two used subcarriers of tones_per_link = "
                f"{self.tones_per_link}, got {self.guard_tones}."
            )
        if self.max_tones < 1:
            raise ScenarioError(
                f"max_share must allow one of {self.num_tones} subcarriers, got {self.max_share:g}."
            )
        if self.inr_min_db > self.inr_max_db:
            raise ScenarioError(
                f"inr_min_db must be <= inr_max_db = {self.inr_max_db:g}, got {self.inr_min_db:g}."
            )

    @property
    def num_tones(self) -> int:
        """S, subcarriers of all links together."""
        return self.num_links * self.tones_per_link

    @property
    def min_tones(self) -> int:
        """Fewest subcarriers of a selection, at least 1."""
        return math.ceil(self.min_share * self.max_tones - 1e-9)

    @property
    def max_tones(self) -> int:
        """Most subcarriers of a selection."""
        return math.floor(self.max_share * self.num_tones + 1e-9)

    @property
    def num_features(self) -> int:
        """C, features of a subcarrier."""
        return 4 if self.features == "calibrated" else 2

    @property
    def null(self) -> Tensor:
        """True for unused subcarriers of a link, which carry noise only, (K,) bool."""
        tone = torch.arange(self.tones_per_link)
        edge = torch.minimum(tone, self.tones_per_link - 1 - tone)
        is_dc = (tone == self.tones_per_link // 2) & torch.tensor(self.has_dc_null)
        return (edge < self.guard_tones) | is_dc

    @property
    def node_m(self) -> Tensor:
        """Transmitter and receivers, (1 + P, 3) m, float64, 1.2 m above the floor."""
        shares = torch.tensor(_LAYOUTS[self.layout][: 1 + self.num_links], dtype=torch.float64)
        size = torch.tensor([self.room_x_m, self.room_y_m], dtype=torch.float64)
        # in float32, whatever the default type: its rounding is part of every draw
        height = torch.full((len(shares), 1), 1.2, dtype=torch.float32)
        return torch.cat([shares * size, height], -1)

    @property
    def grid(self) -> Tensor:
        """Places a person may stand at, (G, 2) m, float64."""
        axes = [self._axis(length) for length in (self.room_x_m, self.room_y_m)]
        return torch.cartesian_prod(*axes)

    def _axis(self, length_m: float) -> Tensor:
        margin = 0.4
        steps = math.floor((length_m - 2 * margin) / self.grid_m + 1e-9)
        return margin + self.grid_m * torch.arange(steps + 1, dtype=torch.float64)
