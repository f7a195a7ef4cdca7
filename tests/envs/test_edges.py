import numpy as np
import pytest
import torch

from isac_gym.core import ScenarioError, ShapeError
from isac_gym.envs import edges

WHERE = {"device": torch.device("cpu"), "dtype": torch.float64, "name": "x"}


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (4, [4, 5]),
        (np.int32(4), [4, 5]),
        ([9, 2**62], [9, 2**62]),
        (np.array([1, 2]), [1, 2]),
        (torch.tensor([1, 2]), [1, 2]),
    ],
)
def test_seed_list__takes_integers_and_sequences(seed, expected):
    assert edges.seed_list(seed, 2) == expected


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5, "7", [0, 0.5]])
def test_seed_list__refuses_what_is_no_seed(seed):
    with pytest.raises(ScenarioError, match="seed must be"):
        edges.seed_list(seed, 2)


def test_numbers__names_the_lane_and_the_shape():
    values = np.zeros((3, 2), np.float32)
    assert edges.numbers(values, (3, 2), **WHERE).dtype == torch.float64
    assert edges.numbers([[1, 2]], (1, 2), **WHERE).tolist() == [[1.0, 2.0]]
    values[2, 1] = np.nan
    with pytest.raises(ShapeError, match=r"x: lane 2 is \[0.0, nan\]"):
        edges.numbers(values, (3, 2), **WHERE)
    with pytest.raises(ShapeError, match=r"x: shape \(3, 2\), expected \(2, 3\)"):
        edges.numbers(values, (2, 3), **WHERE)
    with pytest.raises(ShapeError, match="x: complex, expected"):
        edges.numbers([[1j, 0]], (1, 2), **WHERE)


def test_to_numpy__shares_memory_on_the_cpu():
    tensor = torch.zeros(3)
    edges.to_numpy(tensor)[0] = 1
    assert tensor[0] == 1


def test_boxes__are_float32_and_bounded():
    for box, bound in ((edges.observation_box(4), 5), (edges.action_box(4), 1)):
        assert box.dtype == np.float32
        assert (box.low == -bound).all()
        assert (box.high == bound).all()
