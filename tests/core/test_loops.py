import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import Status, iterate


def _newton_sqrt(value):
    """Newton iteration for the square root; residual: relative step."""

    def step(x):
        new = (x + value / x) / 2
        return (new,), (new - x).abs() / new

    return step


def _run(value, *, iterations=60, tolerance=1e-14):
    value = torch.tensor(value, dtype=torch.float64)
    (root,), status, count = iterate(
        _newton_sqrt(value), (torch.ones_like(value),), iterations=iterations, tolerance=tolerance
    )
    return root, status, count


def test_iterate__converges_each_lane():
    root, status, _ = _run([2.0, 9.0, 1e8])
    torch.testing.assert_close(
        root.square(), torch.tensor([2.0, 9.0, 1e8]).double(), rtol=1e-13, atol=0
    )
    assert status.tolist() == [Status.CONVERGED] * 3


def test_iterate__counts_own_steps():
    _, _, count = _run([1.0, 1e12])
    assert count[0] == 1
    assert count[1] > 10


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=6))
def test_iterate__hard_neighbours_change_no_bit(neighbours):
    alone, status_alone, count_alone = _run([2.0])
    root, status, count = _run([2.0, *neighbours])
    assert torch.equal(root[:1], alone)
    assert status[0] == status_alone[0]
    assert count[0] == count_alone[0]


def test_iterate__finished_lane_is_frozen_bit_for_bit():
    seen = []

    def step(x, speed):
        seen.append(x.clone())
        return (x + speed, speed), torch.where(x >= 2, 0.0, 1.0)

    start = torch.tensor([1.0, -5.0])
    (final, _), status, count = iterate(
        step, (start, torch.tensor([0.1, 0.1])), iterations=30, tolerance=0.5
    )
    stopped = int(count[0])
    assert stopped < 30
    assert all(torch.equal(later[0], seen[stopped][0]) for later in seen[stopped:])
    assert status.tolist() == [Status.CONVERGED, Status.BUDGET_SPENT]
    assert final[0] == seen[-1][0]


def test_iterate__nan_residual_fails_only_its_lane():
    root, status, count = _run([4.0, float("nan"), 16.0])
    assert status.tolist() == [Status.CONVERGED, Status.FAILED, Status.CONVERGED]
    assert count[1] == 1
    torch.testing.assert_close(root[[0, 2]], torch.tensor([2.0, 4.0]).double())


def test_iterate__nan_after_a_number_is_failed():
    def step(x):
        return (x + 1,), torch.where(x > 2, torch.nan, 1.0)

    (final,), status, count = iterate(step, (torch.zeros(1),), iterations=9, tolerance=0.1)
    assert status.tolist() == [Status.FAILED]
    assert count.tolist() == [4]
    assert final.tolist() == [4.0]


def test_iterate__budget_spent():
    _, status, count = _run([1e12], iterations=3)
    assert status.tolist() == [Status.BUDGET_SPENT]
    assert count.tolist() == [3]


def test_iterate__keeps_state_structure():
    state = (torch.zeros(2, 3, 4), torch.zeros(2, dtype=torch.int64))

    def step(a, b):
        return (a + 1, b + 1), torch.tensor([0.0, 1.0])

    (a, b), _, _ = iterate(step, state, iterations=4, tolerance=0.0)
    assert a[:, 0, 0].tolist() == [1.0, 4.0]
    assert b.tolist() == [1, 4]


def test_iterate__wrong_number_of_states_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        iterate(lambda a: ((a, a), a), (torch.zeros(2),), iterations=1, tolerance=0.0)


def test_iterate__empty_batch():
    (x,), status, count = iterate(
        lambda x: ((x,), x), (torch.zeros(0),), iterations=5, tolerance=0.0
    )
    assert x.shape == status.shape == count.shape == (0,)
