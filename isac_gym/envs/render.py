"""Drawing of any :class:`~isac_gym.core.scene.Scene`: a map and bar panels, by matplotlib.

Frames are drawn on private figures: the state of pyplot is never touched. Only the window of
``human`` mode belongs to pyplot.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse as EllipsePatch
from matplotlib.patches import FancyBboxPatch, Polygon
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from isac_gym.core.scene import Bars, Ellipse, Points, Scene
from isac_gym.envs.voxels import draw_voxels

__all__ = ["SceneWindow", "draw_frame", "draw_scene"]

_SIZE_IN, _DPI = (9.6, 5.4), 100
_PAPER, _CARD, _INK, _QUIET, _GRID = "#F3F5F7", "#FFFFFF", "#1B2733", "#66727F", "#E3E8ED"
_PALETTE = ("#2563A8", "#D9762B", "#2E8B74", "#8A4FA3", "#B5892B", "#3A9BC1", "#C04F6B", "#6F8A2F")
_ALERT = "#C62F3B"
_HALO = (withStroke(linewidth=3, foreground=_CARD),)
_MAX_NAMED = 8  # more bars or stations than this get no names
_Colours = Mapping[str, str]


def _strokes(*lines: Any) -> Path:
    return Path.make_compound_path(*(Path(np.asarray(line, dtype=float)) for line in lines))


def _arc(
    radius: float, middle_rad: float, half_rad: float, *, rise: float = 0.0
) -> NDArray[np.float64]:
    angle = np.linspace(middle_rad - half_rad, middle_rad + half_rad, 13)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle) + rise])


_MAST = _strokes(
    [(-0.5, -1), (0, 0.4), (0.5, -1)],
    [(-0.32, -0.5), (0.32, -0.5)],
    *(_arc(r, side, 0.8, rise=0.4) for r in (0.42, 0.8) for side in (0.0, math.pi)),
)
_PHONE = _strokes(
    [(-0.55, -1), (0.55, -1), (0.55, 1), (-0.55, 1), (-0.55, -1)], [(-0.18, -0.7), (0.18, -0.7)]
)
_SCOPE = _strokes(
    _arc(0.62, 0, math.pi),
    *([(0.3 * x, 0.3 * y), (x, y)] for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))),
)
_CROSS = _strokes([(-1, -1), (1, 1)], [(-1, 1), (1, -1)])
_LOOKS: dict[str, dict[str, Any]] = {
    "base_station": {"marker": _MAST, "s": 520, "color": _INK, "linewidths": 1.9, "zorder": 6},
    "user": {"marker": _PHONE, "s": 130, "color": _QUIET, "linewidths": 1.4, "zorder": 4},
    "target": {"marker": _SCOPE, "s": 300, "color": _ALERT, "linewidths": 1.9, "zorder": 7},
    "estimate": {"marker": _CROSS, "s": 70, "color": _PALETTE[3], "linewidths": 2.0, "zorder": 8},
}


class SceneWindow:
    """A window that shows one scene after another."""

    def __init__(self) -> None:
        """Open the window; where there is no display, warn and show nothing later."""
        self._figure = _open_window()

    def show(self, scene: Scene) -> None:
        """Draw a scene in the window."""
        if self._figure is not None:
            self._figure.clear()
            draw_scene(self._figure, scene)
            self._figure.canvas.draw_idle()
            self._figure.canvas.flush_events()

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._figure is not None:
            from matplotlib import pyplot

            pyplot.close(self._figure)
            self._figure = None


def draw_frame(scene: Scene) -> NDArray[np.uint8]:
    """Picture of a scene, (540, 960, 3) uint8."""
    canvas = FigureCanvasAgg(Figure(figsize=_SIZE_IN, dpi=_DPI))
    draw_scene(canvas.figure, scene)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()


def _open_window() -> Figure | None:
    from matplotlib import pyplot
    from matplotlib.backends.registry import BackendFilter, backend_registry

    backend = pyplot.get_backend()
    windowed = {name.lower() for name in backend_registry.list_builtin(BackendFilter.INTERACTIVE)}
    if backend.lower() not in windowed:
        warnings.warn(
            f"render_mode='human' found no display (matplotlib backend {backend!r}): no window is "
            "shown. Use render_mode='rgb_array' and save the frames.",
            stacklevel=2,
        )
        return None
    figure = pyplot.figure(figsize=_SIZE_IN, dpi=_DPI)
    pyplot.show(block=False)
    return figure


def draw_scene(figure: Figure, scene: Scene) -> None:
    """Draw ``scene`` on an empty ``figure``."""
    figure.set_facecolor(_PAPER)
    figure.text(0.03, 0.935, scene.title, size=15, weight="bold", color=_INK, va="center")
    named = next((points.names for points in scene.points if points.names), ())
    colours = {name: _PALETTE[index % len(_PALETTE)] for index, name in enumerate(named)}
    right = 0.60 if scene.bars else 0.97
    left = 0.62
    if scene.voxels:
        _card(figure, 0.03, 0.04, right, 0.88)
        draw_voxels(figure, scene.voxels, (0.04, 0.045, right - 0.05, 0.815))
    elif len(scene.outline_m) or scene.points:
        _card(figure, 0.03, 0.04, right, 0.88)
        _draw_map(figure.add_axes((0.045, 0.14, right - 0.06, 0.725)), scene, colours)
    else:  # bars only
        left = 0.03
    height = (0.84 - 0.02 * (len(scene.bars) - 1)) / max(len(scene.bars), 1)
    for index, bars in enumerate(scene.bars):
        bottom = 0.88 - (index + 1) * height - index * 0.02
        _card(figure, left, bottom, 0.97, bottom + height)
        inner = (left + 0.05, bottom + 0.17 * height, 0.905 - left, 0.59 * height)
        _draw_bars(figure.add_axes(inner), bars, colours)


def _card(figure: Figure, left: float, bottom: float, right: float, top: float) -> None:
    aspect = figure.get_figwidth() / figure.get_figheight()
    figure.add_artist(
        FancyBboxPatch(
            (left, bottom),
            right - left,
            top - bottom,
            boxstyle="round,pad=0,rounding_size=0.012",
            mutation_aspect=aspect,
            transform=figure.transFigure,
            facecolor=_CARD,
            edgecolor=_GRID,
            zorder=-2,
        )
    )


def _draw_map(axes: Axes, scene: Scene, colours: _Colours) -> None:
    axes.set_aspect("equal")
    axes.set_axis_off()
    _frame_map(axes, scene)
    axes.add_patch(
        Polygon(scene.outline_m, facecolor="#EEF3F8", edgecolor="#AFC0D0", linewidth=1.4, zorder=1)
    )
    ellipses = [_draw_ellipse(axes, ellipse) for ellipse in scene.ellipses]
    icons = [_draw_points(axes, points, colours) for points in scene.points]
    _draw_scale(axes)
    style = {"frameon": False, "fontsize": 8.5, "labelcolor": _INK, "handletextpad": 0.5}
    axes.add_artist(
        axes.legend(handles=ellipses, loc="upper left", bbox_to_anchor=(-0.02, 1.03), **style)
    )
    axes.legend(
        handles=icons,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.015),
        ncols=max(len(icons), 1),
        columnspacing=2.0,
        markerscale=0.62,
        **style,
    )


def _frame_map(axes: Axes, scene: Scene) -> None:
    """Limits around the outline and all points, stretched to the shape of the axes."""
    everything = np.concatenate([scene.outline_m, *(p.xy_m for p in scene.points)])
    everything = everything[np.isfinite(everything).all(1)]
    low, high = everything.min(0), everything.max(0)
    centre, half = (low + high) / 2, np.maximum((high - low) / 2, 1.0) * 1.14
    box = axes.get_window_extent()
    ratio = box.width / box.height
    half_x, half_y = max(half[0], half[1] * ratio), max(half[1], half[0] / ratio)
    axes.set_xlim(centre[0] - half_x, centre[0] + half_x)
    axes.set_ylim(centre[1] - half_y, centre[1] + half_y)


def _draw_points(axes: Axes, points: Points, colours: _Colours) -> Artist:
    """Markers with a pale halo and their names; returns the legend entry."""
    look = _LOOKS.get(points.role, _LOOKS["estimate"])
    own = [colours.get(name, look["color"]) for name in points.names]
    style = {key: value for key, value in look.items() if key != "color"}
    xy = points.xy_m
    axes.scatter(xy[:, 0], xy[:, 1], facecolors=_CARD, edgecolors=_CARD, **_wider(style))
    edge = own if own else look["color"]
    axes.scatter(xy[:, 0], xy[:, 1], facecolors="none", edgecolors=edge, **style)
    names = points.names if len(points.names) <= _MAX_NAMED else ()
    for name, position in zip(names, xy, strict=False):
        axes.annotate(
            name,
            (float(position[0]), float(position[1])),
            xytext=(13, -3),
            textcoords="offset points",
            size=8.5,
            weight="bold",
            color=colours.get(name, _INK),
            path_effects=_HALO,
            zorder=9,
        )
    colour = look["color"]
    return axes.scatter([], [], label=points.label, facecolors="none", edgecolors=colour, **style)


def _wider(style: Mapping[str, Any]) -> dict[str, Any]:
    """The same marker as a pale halo below itself."""
    return {**style, "linewidths": style["linewidths"] + 2.6, "zorder": style["zorder"] - 0.5}


def _draw_ellipse(axes: Axes, ellipse: Ellipse) -> Artist:
    """Outline at 1 sigma; returns the legend entry, the only trace of a covariance not finite."""
    if not np.isfinite(ellipse.covariance_m2).all():
        return Line2D([], [], color=_ALERT, linewidth=1.3, label=f"{ellipse.label}: unbounded")
    variance, direction = np.linalg.eigh(ellipse.covariance_m2)
    minor, major = np.sqrt(np.maximum(variance, 0))
    patch = EllipsePatch(
        (float(ellipse.centre_m[0]), float(ellipse.centre_m[1])),
        width=2 * major,
        height=2 * minor,
        angle=math.degrees(math.atan2(direction[1, 1], direction[0, 1])),
        facecolor=(0.776, 0.184, 0.231, 0.10),
        edgecolor=_ALERT,
        linewidth=1.3,
        zorder=3,
        label=f"{ellipse.label}: {major:.3g} x {minor:.3g} m",
    )
    return axes.add_patch(patch)


def _draw_scale(axes: Axes) -> None:
    """Scale bar in the lower right corner, a fifth of the width at most."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    room = (right - left) / 5
    power = 10 ** math.floor(math.log10(room))
    length = max(step * power for step in (1, 2, 5) if step * power <= room)
    x, y = right - 0.02 * (right - left), bottom + 0.03 * (top - bottom)
    tick = 0.008 * (top - bottom)
    axes.plot(
        [x - length, x - length, x, x], [y + tick, y - tick, y - tick, y + tick], color=_QUIET, lw=1
    )
    axes.text(x - length / 2, y + tick, f"{length:g} m", size=8, color=_QUIET, ha="center")


def _draw_bars(axes: Axes, bars: Bars, colours: _Colours) -> None:
    """Bars from zero; values that are not finite are left out and marked by their number."""
    count, finite = len(bars.values), np.isfinite(bars.values)
    heights = np.where(finite, bars.values, 0.0)
    place = np.arange(count)
    face = [colours.get(name, _PALETTE[0]) for name in bars.names]
    axes.bar(place, heights, width=0.62, color=face, zorder=3)
    axes.axhline(0, color=_QUIET, linewidth=0.8, zorder=4)
    limits = None if bars.limits is None else np.broadcast_to(bars.limits, (count,))
    if limits is not None:
        axes.hlines(
            limits, place - 0.42, place + 0.42, color=_ALERT, lw=1.8, zorder=5, clip_on=False
        )
    _set_bar_range(axes, heights, limits)
    axes.set_xlim(-0.6, count - 0.4)
    unit = "" if bars.unit in ("", "1") else f"  ({bars.unit})"
    axes.set_title(f"{bars.title}{unit}", loc="left", size=9.5, weight="bold", color=_INK, pad=7)
    if limits is not None:
        axes.set_title("\u2013 limit", loc="right", size=8.5, color=_ALERT, pad=7)
    axes.set_xticks(place if count <= _MAX_NAMED else [], bars.names if count <= _MAX_NAMED else [])
    axes.tick_params(length=0, labelsize=8, labelcolor=_QUIET)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.patch.set_alpha(0)
    if count <= _MAX_NAMED:
        _write_values(axes, bars.values, heights)


def _set_bar_range(
    axes: Axes, heights: NDArray[np.float64], limits: NDArray[np.float64] | None
) -> None:
    """Range that holds zero, all bars and limits, rounded outwards so that frames keep it."""
    shown = np.concatenate([heights, [] if limits is None else limits[np.isfinite(limits)]])
    low, high = float(shown.min(initial=0)), float(shown.max(initial=0))
    if low == high:
        high = 1.0
    span = high - low
    unit = 10 ** math.floor(math.log10(span))
    low, high = math.floor(low / unit) * unit, math.ceil(high / unit) * unit
    pad = 0.2 * (high - low)
    axes.set_ylim(low - pad if low < 0 else low, high + pad if high > 0 else high)


def _write_values(axes: Axes, values: NDArray[np.float64], heights: NDArray[np.float64]) -> None:
    for place, (value, height) in enumerate(zip(values, heights, strict=True)):
        axes.annotate(
            f"{value:.1f}" if 0.1 <= abs(value) < 1000 else f"{value:.3g}",
            (place, height),
            xytext=(0, 2.5 if height >= 0 else -2.5),
            textcoords="offset points",
            size=8,
            color=_INK,
            ha="center",
            va="bottom" if height >= 0 else "top",
            path_effects=_HALO,
            zorder=6,
        )
