import dataclasses

import numpy as np
import pytest

from isac_gym.core import Bars, Points, Scene


def test_scene__is_frozen_and_optional_parts_are_empty():
    scene = Scene(title="t", outline_m=np.zeros((3, 2)), points=())
    assert scene.ellipses == ()
    assert scene.bars == ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        scene.title = "u"


def test_scene__parts_are_keyword_only():
    with pytest.raises(TypeError):
        Points("user", np.zeros((1, 2)), "user")
    assert Bars(title="p", unit="W", names=("a",), values=np.zeros(1)).limits is None
