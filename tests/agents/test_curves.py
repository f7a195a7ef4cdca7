"""Learning curves: a picture for every kind of run, and no state left behind."""

import numpy as np
import pytest
from matplotlib.image import imread

from agents.artifact import CurvePoint, Manifest
from agents.curves import plot_curves
from agents.network import Architecture
from isac_gym.core.errors import ScenarioError


def manifest_of(references, environment="isac/Toy-v0", seed=0):
    points = [(0, -4.0), (1000, -1.0), (2000, -0.4), (3000, -0.2)]
    return Manifest(
        name="toy",
        method="test",
        environment=environment,
        scenario={},
        scenario_digest="0" * 64,
        architecture=Architecture(sizes=(2, 1)),
        seed=seed,
        curve_metric="objective (dB)",
        curve=tuple(CurvePoint(steps=s, seconds=s / 100, value=v) for s, v in points),
        curve_references=references,
    )


@pytest.mark.parametrize(
    "references", [{}, {"floor": -3.0, "exact (genie)": 0.0}, {"floor": -3.0, "weak": -0.5}]
)
def test_plot_curves__draws_a_readable_picture(tmp_path, references):
    plot_curves([manifest_of(references)], tmp_path / "curve.png")
    pixels = imread(tmp_path / "curve.png")
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 700
    is_ink = (pixels[..., :3] < 0.9).any(-1)
    assert 0.01 < is_ink.mean() < 0.3
    border = np.concatenate([is_ink[:3].ravel(), is_ink[-3:].ravel(), is_ink[:, -3:].ravel()])
    assert not border.any()  # nothing is cut off


def test_plot_curves__seeds_of_one_task_share_a_picture_other_tasks_do_not(tmp_path):
    runs = [manifest_of({}, seed=seed) for seed in (0, 1)]
    plot_curves(runs, tmp_path / "two.png")
    with pytest.raises(ScenarioError, match="one task"):
        plot_curves([runs[0], manifest_of({}, environment="isac/Other-v0")], tmp_path / "x.png")


def test_plot_curves__leaves_no_global_figure(tmp_path):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    plot_curves([manifest_of({})], tmp_path / "curve.png")
    assert pyplot.get_fignums() == before
