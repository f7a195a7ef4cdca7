"""What ``render`` draws: plain numbers; ``envs/render.py`` turns them into pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bars", "Ellipse", "Points", "Scene", "Voxels"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Points:
    """Markers of one kind at (n, 2) positions in metres; the role picks the look."""

    label: str
    xy_m: Array
    role: str  # "base_station", "user", "target", "estimate"
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ellipse:
    """Uncertainty ellipse: centre (2,) in metres and covariance (2, 2) in m^2, drawn at 1 sigma."""

    label: str
    centre_m: Array
    covariance_m2: Array


@dataclass(frozen=True, kw_only=True)
class Bars:
    """One bar panel: values by name, with an optional limit line per bar."""

    title: str
    unit: str
    names: tuple[str, ...]
    values: Array
    limits: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Voxels:
    """A box of voxels, drawn in three dimensions; the larger a value, the more opaque its voxel.

    Attributes:
        title: Heading.
        caption: Line below it; may be empty.
        values: Magnitudes >= 0, (x, y, z).
        limit: Value that is fully opaque, > 0.
        role: ``truth``, ``estimate`` or ``light``; picks the colour.
    """

    title: str
    values: Array
    limit: float
    role: str
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A map (outline, points, ellipses) and bar panels, for one row of the batch.

    Where there are voxels, they take the place of the map.
    """

    title: str
    outline_m: Array
    points: tuple[Points, ...]
    ellipses: tuple[Ellipse, ...] = ()
    bars: tuple[Bars, ...] = ()
    voxels: tuple[Voxels, ...] = ()
