"""Boxes of voxels in three dimensions: panels side by side, one colour per role."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D  # pyright: ignore[reportMissingTypeStubs]
from mpl_toolkits.mplot3d.art3d import (  # pyright: ignore[reportMissingTypeStubs]
    Poly3DCollection,
)

from isac_gym.core.scene import Voxels

__all__ = ["draw_voxels"]

_INK, _QUIET, _EDGE = "#1B2733", "#66727F", "#AFC0D0"
_COLOURS = {"truth": "#C62F3B", "estimate": "#2563A8", "light": "#B5892B"}
_FAINTEST = 0.06  # share of the limit below which a voxel is left out
_MOST_OPAQUE = 0.92
_COLUMNS = 2
_GAP = 0.1  # between voxels, so that a faint one does not hide its neighbour's face
_SQUARE = ((0, 0), (1, 0), (1, 1), (0, 1))
_CUBE = [
    np.insert(np.asarray(_SQUARE, dtype=float), axis, side, axis=1)
    for axis in (0, 1, 2)
    for side in (0, 1)
]
_SHADES = (0.7, 0.7, 0.85, 0.85, 1.0, 1.0)  # of faces across x, y and z


def draw_voxels(
    figure: Figure, panels: Sequence[Voxels], box: tuple[float, float, float, float]
) -> None:
    """Draw boxes of voxels on a figure.

    Args:
        figure: Figure to draw on.
        panels: One to four boxes, filled row by row.
        box: Left, bottom, width and height of the place for all, in figure coordinates.
    """
    left, bottom, width, height = box
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        in_row = min(columns, len(panels) - row * columns)
        wide, high = width / in_row, height / rows
        place = (left + column * wide, bottom + (rows - 1 - row) * high, wide, high)
        _draw_box(figure, panel, place)


def _draw_box(figure: Figure, panel: Voxels, place: tuple[float, float, float, float]) -> None:
    left, bottom, width, height = place
    text = {"transform": figure.transFigure, "va": "top"}
    top = bottom + height
    figure.text(left + 0.012, top, panel.title, size=10, weight="bold", color=_INK, **text)
    figure.text(left + 0.012, top - 0.038, panel.caption, size=8.5, color=_QUIET, **text)
    axes = figure.add_axes((left, bottom, width, height - 0.06), projection="3d")
    if not isinstance(axes, Axes3D):
        return
    axes.set_axis_off()
    axes.patch.set_alpha(0)
    axes.set_box_aspect(panel.values.shape, zoom=1.12)  # pyright: ignore[reportArgumentType]
    axes.view_init(elev=24, azim=-56)
    _draw_frame(axes, panel.values.shape)
    share = np.clip(panel.values / panel.limit, 0, 1)
    faces, colours = [], []
    for corner in np.argwhere(share > _FAINTEST):
        opacity = float(share[tuple(corner)]) * _MOST_OPAQUE
        faces += [corner + _GAP / 2 + (1 - _GAP) * face for face in _CUBE]
        own = to_rgb(_COLOURS.get(panel.role, _QUIET))
        colours += [(*(shade * np.asarray(own)), opacity) for shade in _SHADES]
    axes.add_collection3d(
        Poly3DCollection(faces, facecolors=colours, edgecolors=colours, linewidths=0.4)
    )


def _draw_frame(axes: Axes3D, shape: Sequence[int]) -> None:
    """Edges of the box and a grid on its floor."""
    x, y, z = shape
    for height in (0, z):
        outline = ([0, x, x, 0, 0], [0, 0, y, y, 0], [height] * 5)
        axes.plot(*outline, color=_EDGE, lw=0.9)
    for corner in ((0, 0), (x, 0), (x, y), (0, y)):
        axes.plot([corner[0]] * 2, [corner[1]] * 2, [0, z], color=_EDGE, lw=0.9)
    for line in range(1, x):
        axes.plot([line, line], [0, y], [0, 0], color=_EDGE, lw=0.4)
    for line in range(1, y):
        axes.plot([0, x], [line, line], [0, 0], color=_EDGE, lw=0.4)
