from typing import NamedTuple

import torch

from baselines.iteration import iterate_shrinking, take
from isac_gym.core import Status, iterate


class Target(NamedTuple):
    goal: torch.Tensor


def step(data, x):
    return ((x + data.goal) / 2,), (x - data.goal).abs()


def test_iterate_shrinking__equals_the_masked_driver():
    goal = torch.tensor([0.0, 1.0, 100.0, 1e4, torch.nan])
    start = (torch.zeros(5),)
    few, status, count = iterate_shrinking(step, Target(goal), start, iterations=12, tolerance=0.5)
    masked = iterate(lambda x: step(Target(goal), x), start, iterations=12, tolerance=0.5)
    torch.testing.assert_close(few[0], masked[0][0], equal_nan=True, rtol=0, atol=0)
    assert torch.equal(status, masked[1])
    assert torch.equal(count, masked[2])
    assert status.tolist() == [0, 0, 0, int(Status.BUDGET_SPENT), int(Status.FAILED)]


def test_iterate_shrinking__shows_a_lane_only_while_it_is_unfinished():
    seen = []

    def spy(data, x):
        seen.append(x.shape[0])
        return step(data, x)

    iterate_shrinking(
        spy, Target(torch.tensor([0.1, 8.0])), (torch.zeros(2),), iterations=9, tolerance=0.5
    )
    assert seen == [2, 1, 1, 1, 1]


def test_take__keeps_the_type():
    data = take(Target(torch.arange(4)), torch.tensor([2, 0]))
    assert isinstance(data, Target)
    assert data.goal.tolist() == [2, 0]
