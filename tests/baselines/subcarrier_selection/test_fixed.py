import pytest
import torch

import baselines
from baselines.registry import make_solver
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.core.solution import Status
from isac_gym.testing import check_solver

NAMES = ["random", "comb", "all-tones"]


def problem(preset="small-16"):
    return family("subcarrier_selection").make_problem(preset)


@pytest.mark.parametrize("name", NAMES)
def test_fixed__meet_the_contract(name):
    check_solver(make_solver("subcarrier_selection", name), problem("tiny-8"))


def test_random__is_one_mask_per_seed_for_every_room():
    setup = problem()
    rooms = setup.sample(Streams.from_seed(0, 3))
    solver = make_solver("subcarrier_selection", "random")
    masks = [solver.solve(setup, rooms, seed=seed).decision.mask for seed in range(200)]
    assert all(torch.equal(mask, mask[:1].expand_as(mask)) for mask in masks)
    drawn = torch.stack([mask[0] for mask in masks])
    counts = drawn.sum(-1)
    assert set(counts.tolist()) == {6, 7, 8}
    share = float(counts.double().mean()) / 16
    often = drawn.double().mean(0)  # a share of (6 + 7 + 8) / 3 / 16, deviation 0.035
    assert ((often - share).abs() < 0.14).all()
    assert len({tuple(row) for row in drawn.tolist()}) > 195


def test_comb__is_the_floor_and_even():
    setup = problem("paper")
    rooms = setup.sample(Streams.from_seed(0, 1))
    mask = make_solver("subcarrier_selection", "comb").solve(setup, rooms).decision.mask
    assert torch.equal(mask, setup.floor(rooms).mask)
    gaps = mask[0].nonzero()[:, 0].diff()
    assert int(mask.sum()) == setup.scenario.max_tones
    assert int(gaps.max() - gaps.min()) <= 1


def test_all_tones__is_scored_as_it_is_and_reported_infeasible():
    setup = problem()
    rooms = setup.sample(Streams.from_seed(0, 2))
    solution = baselines.solve(setup, rooms, "all-tones")
    assert solution.decision.mask.all()
    metrics = setup.evaluate(rooms, solution.decision)
    torch.testing.assert_close(metrics.violation, torch.ones(2).double())  # 16 of at most 8
    assert (solution.status == int(Status.CONVERGED)).all()
