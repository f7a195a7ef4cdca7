import dataclasses
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from isac_gym.core import Bars, Ellipse, Points, Scene, Voxels
from isac_gym.envs import ProcessEnv, ProcessVectorEnv, render
from isac_gym.envs.parallel import ProcessParallelEnv

ID = "isac/PowerControlTracking-v0"


def scene(**changes):
    parts = {
        "title": "a scene",
        "outline_m": np.array([[0.0, 0.0], [10.0, 0.0], [5.0, 8.0]]),
        "points": (
            Points(label="station", xy_m=np.ones((1, 2)), role="base_station", names=("a",)),
            Points(label="something", xy_m=np.full((1, 2), 4.0), role="unheard of"),
        ),
    }
    return Scene(**{**parts, **changes})


def bars(values, limits=None):
    names = tuple(f"n{k}" for k in range(len(values)))
    return Bars(title="t", unit="1", names=names, values=np.array(values), limits=limits)


def test_draw_frame__shows_something_and_leaves_pyplot_alone():
    settings, open_figures = dict(matplotlib.rcParams), pyplot.get_fignums()
    frame = render.draw_frame(scene())
    assert frame.shape == (540, 960, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 5
    assert dict(matplotlib.rcParams) == settings
    assert pyplot.get_fignums() == open_figures


def test_draw_frame__repeats_and_tells_scenes_apart():
    with_bars = scene(bars=(bars([1.0, -2.0]),))
    first = render.draw_frame(with_bars)
    assert np.array_equal(first, render.draw_frame(with_bars))
    for other in (
        scene(bars=(bars([1.0, -3.0]),)),
        scene(bars=(bars([1.0, -2.0], limits=np.array(0.5)),)),
        scene(bars=(bars([1.0, -2.0]),), title="another"),
        scene(bars=(bars([1.0, -2.0]),), outline_m=np.array([[0.0, 0.0], [9.0, 0.0], [5.0, 8.0]])),
    ):
        assert not np.array_equal(first, render.draw_frame(other))


def test_draw_frame__marks_the_limit_in_red():
    def red(frame):
        return (np.abs(frame.astype(int) - [0xC6, 0x2F, 0x3B]).sum(-1) < 20).sum()

    plain, limited = bars([1.0, 2.0]), bars([1.0, 2.0], limits=np.array([1.5, 1.5]))
    without, with_limit = (red(render.draw_frame(scene(bars=(b,)))) for b in (plain, limited))
    assert with_limit > without + 100


@pytest.mark.parametrize(
    "values", [[np.nan, 1.0], [-np.inf, np.inf], [0.0], list(np.arange(30.0)), []]
)
def test_draw_frame__survives_odd_bars(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = render.draw_frame(scene(bars=(bars(values), bars(values, limits=np.array(np.nan)))))
    assert frame.std() > 5


def test_draw_frame__survives_unbounded_and_degenerate_ellipses():
    sizes = (np.full((2, 2), np.nan), np.zeros((2, 2)), np.diag([1e12, 1e-12]), np.eye(2))
    frames = [
        render.draw_frame(
            scene(ellipses=(Ellipse(label="e", centre_m=np.ones(2), covariance_m2=size),))
        )
        for size in sizes
    ]
    assert len({frame.tobytes() for frame in frames}) == len(sizes)


def test_environments__draw_the_same_scene():
    keywords = {"environment": ID, "render_mode": "rgb_array"}
    single, batch = ProcessEnv(**keywords), ProcessVectorEnv(2, **keywords)
    parallel = ProcessParallelEnv(**keywords)
    assert single.render() is None  # nothing to show yet
    for env in (single, batch, parallel):
        env.reset(seed=4)
    frames = batch.render()
    assert len(frames) == 2
    assert not np.array_equal(*frames)
    assert np.array_equal(single.render(), frames[0])
    assert np.array_equal(parallel.render(), frames[0])
    single.step(np.full(3, 0.5, np.float32))
    assert not np.array_equal(single.render(), frames[0])
    assert ProcessEnv(environment=ID).render() is None


def test_human_mode__says_when_there_is_no_display(monkeypatch):
    monkeypatch.setattr(pyplot, "get_backend", lambda: "agg")
    env = ProcessEnv(environment=ID, render_mode="human")
    with pytest.warns(UserWarning, match="found no display.*'agg'.*rgb_array"):
        env.reset(seed=0)
    with warnings.catch_warnings():  # once is enough
        warnings.simplefilter("error")
        env.step(np.zeros(3, np.float32))
        assert env.render() is None
    env.close()


def test_human_mode__draws_every_step_in_one_window(monkeypatch):
    figure = Figure(figsize=(9.6, 5.4))
    canvas = FigureCanvasAgg(figure)
    opened, closed, pictures = [], [], []
    monkeypatch.setattr(render, "_open_window", lambda: opened.append(1) or figure)
    monkeypatch.setattr(pyplot, "close", closed.append)

    def draw_idle():
        canvas.draw()
        pictures.append(bytes(canvas.buffer_rgba()))

    monkeypatch.setattr(canvas, "draw_idle", draw_idle)
    monkeypatch.setattr(canvas, "flush_events", lambda: None)
    env = ProcessEnv(environment=ID, render_mode="human")
    env.reset(seed=0)
    env.step(np.zeros(3, np.float32))
    env.close()
    env.close()
    assert opened == [1]
    assert len(set(pictures)) == 2
    assert closed == [figure]


def test_draw_frame__shows_boxes_of_voxels_in_place_of_the_map():
    box = scene(outline_m=np.zeros((0, 2)), points=(), bars=(bars([1.0]),))
    values = np.zeros((4, 4, 2))
    values[1, 2, 0] = 1.0
    panels = [
        Voxels(title="true", values=values, limit=1.0, role="truth"),
        Voxels(title="estimate", values=0.5 * values, limit=1.0, role="estimate", caption="3 dB"),
        Voxels(title="empty", values=0 * values, limit=1.0, role="light"),
    ]
    frames = [
        render.draw_frame(dataclasses.replace(box, voxels=tuple(panels[:count])))
        for count in (1, 2, 3)
    ]
    assert all(frame.shape == (540, 960, 3) for frame in frames)
    assert not (frames[0] == frames[1]).all()
    left, right = frames[0][:, :580], frames[1][:, :580]
    reds = [(f[..., 0].astype(int) - f[..., 2] > 60).sum() for f in (left, right)]
    assert min(reds) > 200  # the one voxel of the true image is there
    blue = (right[..., 2].astype(int) - right[..., 0] > 40).sum()
    assert blue > 100


def test_draw_frame__of_bars_alone_gives_them_the_whole_width():
    nowhere = scene(outline_m=np.zeros((0, 2)), points=(), bars=(bars([1.0, 2.0]),))
    mapped = scene(bars=(bars([1.0, 2.0]),))
    alone, beside = (render.draw_frame(each) for each in (nowhere, mapped))
    left = slice(60, 560)  # where the map was
    assert alone.shape == beside.shape
    assert (alone[120:500, left].std(axis=(0, 1)) > 0).all()
    assert not np.array_equal(alone, beside)
