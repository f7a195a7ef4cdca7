"""Scenarios of multi-user imaging: one world, and what recovery and design add to it.

"silent" marks numbers that the paper's text does not give.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from isac_gym.core.errors import ScenarioError
from isac_gym.core.scenario import Scenario, parameter
from isac_gym.core.units import SPEED_OF_LIGHT_MPS, db_to_linear

__all__ = ["DesignScenario", "ImagingScenario", "RecoveryScenario"]

_SPHERICAL = ("channel", "geometric")
_SMALL = {
    "num_users": 4,
    "num_antennas": 4,
    "voxels_x": 2,
    "voxels_y": 2,
    "num_occupied": 2,
    "num_samples": 64,
}
_IMAGE = {"voxels_z": 4, "num_occupied": 8}
_MOST_VOXELS = 512


@dataclass(frozen=True, kw_only=True)
class ImagingScenario(Scenario):
    """A base station lights a region of voxels; K users receive what it scatters."""

    num_users: int = parameter(20, low=2, high=128, doc="sensing users", source="paper: 20")
    num_antennas: int = parameter(
        16, low=1, high=32, doc="antennas of the base station", source="paper: 16"
    )
    voxels_x: int = parameter(4, low=1, high=16, doc="voxels along x", source="silent; ours")
    voxels_y: int = parameter(4, low=1, high=16, doc="voxels along y", source="silent; ours")
    voxels_z: int = parameter(
        2, low=1, high=16, doc="voxels along z", source="silent; ours: filters converge in a frame"
    )
    block_size: int = parameter(
        2,
        low=1,
        high=16,
        only_where=("shape", "aligned"),
        doc="edge of the cubic blocks of voxels; block penalties use them everywhere",
        source="silent; ours: chunks of the stacked image are not compact in space",
    )
    num_occupied: int = parameter(
        4, low=1, high=_MOST_VOXELS, doc="voxels the target fills", source="paper: a few, varied"
    )
    shape: str = parameter(
        "blob",
        choices=("blob", "aligned"),
        doc="target: the voxels nearest to a random point, or random blocks filled one by one",
        source="paper: a few consecutive voxels",
    )
    min_amplitude: float = parameter(
        0.5, above=0, high=1, doc="smallest modulus of a scattering coefficient", source="silent"
    )
    max_amplitude: float = parameter(
        1.0, above=0, high=1, doc="largest modulus; at most 1, passive", source="silent; ours"
    )
    phase: str = parameter(
        "uniform",
        choices=("uniform", "zero"),
        doc="phase of the coefficients; zero: a real image, worth 3 dB to whoever knows it",
        source="paper: seems real; ours",
    )
    max_power_w: float = parameter(
        10.0, above=0, high=1e6, doc="power of the base station", source="paper: 10"
    )
    snr_db: float = parameter(
        15.0,
        low=-40,
        high=60,
        doc="max_power_w over the noise power of a sensing user",
        source="paper: 3 and two lost values",
    )
    num_samples: int = parameter(
        750, low=1, high=100_000, doc="samples of one decision", source="paper: 600 + 150"
    )
    channel: str = parameter(
        "rayleigh",
        choices=("rayleigh", "geometric"),
        doc="independent unit-variance entries, or spherical waves in line of sight",
        source="silent; ours",
    )
    carrier_hz: float = parameter(
        28e9, above=0, high=1e12, only_where=_SPHERICAL, doc="carrier", source="paper: 28 GHz"
    )
    voxel_m: float = parameter(
        0.1, above=0, high=10, only_where=_SPHERICAL, doc="edge of a voxel", source="silent; ours"
    )
    bs_distance_m: float = parameter(
        5.0,
        above=0,
        high=1e4,
        only_where=_SPHERICAL,
        doc="base station to the middle of the region",
        source="silent; ours",
    )
    min_user_distance_m: float = parameter(
        1.0,
        above=0,
        high=1e4,
        only_where=_SPHERICAL,
        doc="users' nearest distance to the middle of the region",
        source="silent; ours",
    )
    max_user_distance_m: float = parameter(
        3.0,
        above=0,
        high=1e4,
        only_where=_SPHERICAL,
        doc="users' largest distance to the middle of the region",
        source="silent; ours",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._demand(
            self.num_voxels <= _MOST_VOXELS,
            f"voxels_x * voxels_y * voxels_z must be <= {_MOST_VOXELS}, got {self.num_voxels}.",
        )
        self._demand(
            self.num_occupied <= self.num_voxels,
            f"num_occupied must be <= the {self.num_voxels} voxels, got {self.num_occupied}.",
        )
        self._demand(
            self.min_amplitude <= self.max_amplitude,
            f"min_amplitude must be <= max_amplitude = {self.max_amplitude:g}, "
            f"got {self.min_amplitude:g}.",
        )
        self._demand(
            self.min_user_distance_m <= self.max_user_distance_m,
            f"min_user_distance_m must be <= max_user_distance_m = {self.max_user_distance_m:g}, "
            f"got {self.min_user_distance_m:g}.",
        )
        if self.channel == "geometric":
            self._check_geometry()

    def _demand(self, is_good: bool, message: str) -> None:
        if not is_good:
            raise ScenarioError(message)

    def _check_geometry(self) -> None:
        self._demand(
            math.isqrt(self.num_antennas) ** 2 == self.num_antennas,
            f"num_antennas must be a square where channel is 'geometric' (a square array), "
            f"got {self.num_antennas}.",
        )
        room = self.voxel_m * math.hypot(self.voxels_x, self.voxels_y, self.voxels_z) / 2
        for name in ("bs_distance_m", "min_user_distance_m"):
            self._demand(
                getattr(self, name) > room,
                f"{name} must be > {room:g}, the reach of the region, got {getattr(self, name):g}.",
            )

    @property
    def num_voxels(self) -> int:
        """V, voxels of the region."""
        return self.voxels_x * self.voxels_y * self.voxels_z

    @property
    def noise_w(self) -> float:
        """Noise power of a sensing user per sample in watts."""
        return self.max_power_w / db_to_linear(self.snr_db)

    @property
    def wavelength_m(self) -> float:
        """Carrier wavelength in metres."""
        return SPEED_OF_LIGHT_MPS / self.carrier_hz

    @property
    def image_energy(self) -> float:
        """Mean of |x|^2 over the draws: occupied voxels times the mean squared modulus."""
        low, high = self.min_amplitude, self.max_amplitude
        return self.num_occupied * (low * low + low * high + high * high) / 3

    def voxels(self) -> list[tuple[int, int, int]]:
        """Integer coordinates (x, y, z) of voxel 0, 1, ..., z running fastest."""
        return list(
            itertools.product(range(self.voxels_x), range(self.voxels_y), range(self.voxels_z))
        )

    def blocks(self) -> list[int]:
        """Block number of every voxel, (V,): cubes of edge ``block_size``, cut at the border."""
        edge = self.block_size
        corners = [(x // edge, y // edge, z // edge) for x, y, z in self.voxels()]
        number = {corner: index for index, corner in enumerate(sorted(set(corners)))}
        return [number[corner] for corner in corners]


@dataclass(frozen=True, kw_only=True)
class RecoveryScenario(ImagingScenario):
    """Users turn L samples of a fixed transmission into images, alone or together."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": _SMALL,
        "image": _IMAGE,
        "aligned": {**_IMAGE, "shape": "aligned"},
        "low-snr": {**_IMAGE, "snr_db": -10.0},
        "real": {"phase": "zero"},
        "constant-beam": {"probing": "constant"},
        "geometric": {"channel": "geometric"},
    }

    data_share: float = parameter(
        0.3, low=0, high=0.99, doc="share of the power in the data beam", source="silent; ours"
    )
    probing: str = parameter(
        "random",
        choices=("random", "gauss", "hop", "constant"),
        doc="known waveform: random phases, Gaussian, one random Fourier beam per sample, or one "
        "beam for the whole frame",
        source="paper: constant, which leaves rank K of V unknowns",
    )
    mean_degree: float = parameter(
        3.0,
        above=0,
        high=127,
        doc="links per user on average; spanning tree plus shortest links",
        source="paper: 3",
    )
    min_user_distance_m: float = parameter(
        1.0,
        above=0,
        high=1e4,
        doc="users' nearest distance to the middle of the region",
        source="silent; ours",
    )
    max_user_distance_m: float = parameter(
        3.0,
        above=0,
        high=1e4,
        doc="users' largest distance to the middle of the region",
        source="silent; ours",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        least = 2 * (self.num_users - 1) / self.num_users
        self._demand(
            least <= self.mean_degree <= self.num_users - 1,
            f"mean_degree must be in [{least:g}, {self.num_users - 1}] to connect {self.num_users} "
            f"users, got {self.mean_degree:g}.",
        )

    @property
    def num_edges(self) -> int:
        """Undirected links of the users' graph."""
        return round(self.mean_degree * self.num_users / 2)


@dataclass(frozen=True, kw_only=True)
class DesignScenario(ImagingScenario):
    """Choose the probing covariance and the data beam of the next L samples."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": _SMALL,
        "joint": {"information": "joint"},
        "image": _IMAGE,
        "low-snr": {**_IMAGE, "snr_db": -10.0, "num_samples": 12},
        "geometric": {"channel": "geometric"},
    }

    min_amplitude: float = parameter(
        0.5,
        above=0,
        high=1,
        inert=True,
        doc="smallest modulus of a coefficient; only the closed loop sees it",
        source="silent",
    )
    max_amplitude: float = parameter(
        1.0,
        above=0,
        high=1,
        inert=True,
        doc="largest modulus; at most 1, passive; only the closed loop sees it",
        source="silent; ours",
    )
    phase: str = parameter(
        "uniform",
        choices=("uniform", "zero"),
        inert=True,
        doc="phase of the coefficients; only the closed loop sees it",
        source="paper: seems real; ours",
    )
    comm_snr_db: float = parameter(
        15.0,
        low=-40,
        high=60,
        doc="max_power_w over the noise power of the communication user",
        source="silent; ours",
    )
    min_sinr_db: float = parameter(
        10.0, low=-40, high=60, doc="SINR the communication user needs", source="silent; ours"
    )
    information: str = parameter(
        "step1",
        choices=("step1", "joint"),
        doc="what informs: the known probe alone, or the decoded data as well",
        source="ours: the paper's two steps",
    )
    prior_variance: float = parameter(
        0.3,
        above=0,
        high=100,
        doc="prior variance of a coefficient",
        source="ours: between an empty and an occupied voxel",
    )

    @property
    def comm_noise_w(self) -> float:
        """Noise power of the communication user in watts."""
        return self.max_power_w / db_to_linear(self.comm_snr_db)

    @property
    def min_sinr(self) -> float:
        """SINR the communication user needs, linear."""
        return db_to_linear(self.min_sinr_db)
