"""Scenarios of subcarrier selection: derived numbers and what is refused."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import ScenarioError
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario


@pytest.mark.parametrize(
    ("preset", "sizes"),
    [
        ("paper", (64, 22, 32)),
        ("small-16", (16, 6, 8)),
        ("small-20", (20, 7, 10)),
        ("wide-512", (512, 171, 256)),
    ],
)
def test_limits__are_a_third_and_a_half(preset, sizes):
    s = SubcarrierScenario.preset(preset)
    assert (s.num_tones, s.min_tones, s.max_tones) == sizes


@given(links=st.integers(1, 8), tones=st.integers(6, 200))
def test_limits__are_those_of_the_paper_for_any_size(links, tones):
    s = SubcarrierScenario(num_links=links, tones_per_link=tones, guard_tones=0)
    size = links * tones
    assert s.max_tones == size // 2
    assert s.min_tones in (math.ceil(size / 3), math.ceil(size // 2 * 2 / 3))


@given(tones=st.integers(4, 64), guard=st.integers(0, 40), dc=st.booleans())
def test_null__is_guard_bands_and_the_middle_or_the_scenario_is_refused(tones, guard, dc):
    def build():
        return SubcarrierScenario(tones_per_link=tones, guard_tones=guard, has_dc_null=dc)

    wanted = [k < guard or k >= tones - guard or (dc and k == tones // 2) for k in range(tones)]
    if tones - 2 * guard - dc < 2:
        with pytest.raises(ScenarioError, match="guard_tones must leave two used"):
            build()
    else:
        assert build().null.tolist() == wanted


BAD = {
    "no subcarrier selected": ({"max_share": 0.01}, "max_share"),
    "more than all": ({"max_share": 1.5}, "max_share must be > 0 and <= 1, got 1.5"),
    "a least above the most": ({"min_share": 1.2}, "min_share must be > 0 and <= 1, got 1.2"),
    "a negative least": ({"min_share": -0.1}, "min_share must be"),
    "guards leave nothing": ({"tones_per_link": 8, "guard_tones": 4}, "guard_tones must leave"),
    "snr": ({"snr_db": math.inf}, "snr_db must be"),
    "snr is no number": ({"snr_db": math.nan}, "snr_db must be"),
    "inr": ({"inr_max_db": math.nan}, "inr_max_db must be"),
    "inr order": ({"inr_min_db": 30.0}, "inr_min_db must be <= inr_max_db = 20, got 30"),
    "training": ({"num_train": 7}, "num_train must be >= 16 and <= 100000, got 7"),
    "held out": ({"num_held_out": 0}, "num_held_out must be"),
    "evaluator": ({"evaluator": "ridge"}, "evaluator must be one of"),
    "features": ({"features": "raw"}, "features must be one of"),
    "layout": ({"layout": "corner"}, "layout must be one of"),
    "room": ({"room_x_m": 2.0}, "room_x_m must be >= 3 and <= 100, got 2"),
    "links": ({"num_links": 9}, "num_links must be >= 1 and <= 8, got 9"),
    "wall": ({"wall_reflection": 1.1}, "wall_reflection must be"),
    "duty": ({"interference_duty": 2.0}, "interference_duty must be"),
    "type": ({"num_links": 1.5}, "num_links must be"),
    "unknown": ({"num_tones": 4}, "num_tones"),
}


@pytest.mark.parametrize("case", BAD)
def test_scenario__refuses(case):
    changes, words = BAD[case]
    with pytest.raises(ScenarioError, match=words):
        SubcarrierScenario.preset("paper", **changes)


@given(
    layout=st.sampled_from(["staggered", "symmetric"]),
    x=st.floats(3, 100),
    y=st.floats(3, 100),
)
def test_nodes__are_inside_the_room_and_apart(layout, x, y):
    """Nothing can be put outside or on top of another node: nodes are shares of the room."""
    s = SubcarrierScenario(layout=layout, num_links=8, room_x_m=x, room_y_m=y)
    node = s.node_m
    assert bool(((node[:, :2] > 0) & (node[:, :2] < torch.tensor([x, y]).double())).all())
    sender, *receivers = node.tolist()
    assert all(math.dist(sender, receiver) > 0.3 for receiver in receivers)
    assert len({tuple(place) for place in node.tolist()}) == 9


def test_default_nodes__are_free_of_symmetry():
    """No place has the path lengths of its mirror image on both links."""
    s = SubcarrierScenario()
    grid = torch.cat([s.grid, torch.full((len(s.grid), 1), 1.2).double()], 1)
    length = torch.stack(
        [(grid - s.node_m[0]).norm(dim=-1) + (grid - rx).norm(dim=-1) for rx in s.node_m[1:]], -1
    )
    apart = torch.cdist(length, length) + 9 * torch.eye(len(grid))
    assert float(apart.min()) > 1e-4
