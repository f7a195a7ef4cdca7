"""Voxels as cubes in three dimensions, their moduli as opacity."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D  # pyright: ignore[reportMissingTypeStubs]

from baselines.figures import Array

__all__ = ["draw_cubes"]

_FAINTEST, _MOST_OPAQUE = 0.06, 0.92  # moduli below are left out; opacity of modulus 1
_FRAME = "#9fb0bf"


def draw_cubes(
    figure: Figure,
    moduli: Array,
    place: tuple[float, float, float, float],
    *,
    title: str,
    colour: str,
) -> None:
    """One box of voxels.

    Args:
        figure: Figure to draw on.
        moduli: (X, Y, Z), >= 0; 1 and above is almost opaque.
        place: Left, bottom, width and height in figure coordinates.
        title: Heading.
        colour: Of the cubes.
    """
    axes = figure.add_axes(place, projection="3d")
    if not isinstance(axes, Axes3D):
        return
    shape = moduli.shape
    face = np.zeros((*shape, 4))
    face[..., :3] = to_rgb(colour)
    face[..., 3] = _MOST_OPAQUE * np.clip(moduli, 0, 1)
    edge = face * (0.6, 0.6, 0.6, 1.0)
    axes.voxels(moduli > _FAINTEST, facecolors=face, edgecolors=edge, linewidth=0.3)
    _frame(axes, *shape)
    axes.set_axis_off()
    axes.set_box_aspect(shape, zoom=1.05)  # pyright: ignore[reportArgumentType]
    axes.view_init(elev=24, azim=-56)
    axes.set_title(title, loc="center", pad=0, fontsize=8.5)


def _frame(axes: Axes3D, x: int, y: int, z: int) -> None:
    """The twelve edges of the region."""
    for height in (0, z):
        axes.plot([0, x, x, 0, 0], [0, 0, y, y, 0], [height] * 5, color=_FRAME, lw=0.7)
    for corner in ((0, 0), (x, 0), (x, y), (0, y)):
        axes.plot([corner[0]] * 2, [corner[1]] * 2, [0, z], color=_FRAME, lw=0.7)
