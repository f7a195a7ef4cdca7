from dataclasses import replace
from itertools import combinations

import pytest
import torch

import baselines
from baselines.registry import make_solver
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.core.solution import Status
from isac_gym.testing import check_solver


def scored_by_the_probe(preset):
    problem = family("subcarrier_selection").make_problem(preset)
    return replace(problem, scenario=replace(problem.scenario, evaluator="convex_probe"))


def enumerated(problem, instance):
    """Least error of all masks with the most subcarriers allowed, (B,)."""
    s = problem.scenario
    chosen = torch.tensor(list(combinations(range(s.num_tones), s.max_tones)))
    masks = torch.zeros(len(chosen), s.num_tones, dtype=torch.bool).scatter_(1, chosen, True)
    batch = instance.batch_size
    parts = [
        problem.mask_errors(instance, part.expand(batch, -1, -1)).mean(-1)
        for part in masks.split(1000)
    ]
    return torch.cat(parts, 1).amin(1)


@pytest.mark.parametrize("preset", ["tiny-8", pytest.param("small-16", marks=pytest.mark.slow)])
def test_convex_probe__meets_the_contract_where_it_certifies(preset):
    check_solver(make_solver("subcarrier_selection", "convex-probe"), scored_by_the_probe(preset))


def test_convex_probe__meets_the_contract_where_it_does_not():
    problem = family("subcarrier_selection").make_problem("tiny-8")
    check_solver(make_solver("subcarrier_selection", "convex-probe"), problem)
    rooms = problem.sample(Streams.from_seed(0, 2))
    assert baselines.solve(problem, rooms, "convex-probe").certificate is None


@pytest.mark.parametrize(("preset", "batch"), [("tiny-8", 8), ("small-16", 1)])
def test_convex_probe__finds_the_enumerated_optimum_below_its_bound(preset, batch):
    problem = scored_by_the_probe(preset)
    rooms = problem.sample(Streams.from_seed(100, batch))
    solution = baselines.solve(problem, rooms, "convex-probe")
    found = problem.evaluate(rooms, solution.decision).objective
    best = 1 - enumerated(problem, rooms)
    bound = solution.certificate.bound
    assert solution.certificate.kind == "relaxation"
    assert (solution.status == int(Status.CONVERGED)).all()
    torch.testing.assert_close(found, best, rtol=1e-12, atol=0)
    assert (best <= bound).all()
    assert (bound - best <= 0.01 * (1 - best)).all()  # 0.006 to 0.2 % of the error when measured


def test_convex_probe__scores_what_it_says():
    problem = scored_by_the_probe("tiny-8")
    rooms = problem.sample(Streams.from_seed(1, 2))
    noise = torch.randn(rooms.score.shape, generator=torch.Generator().manual_seed(0)).double()
    decision = problem.floor(rooms)
    here, there = (
        problem.evaluate(each, decision).objective for each in (rooms, rooms.replace(score=noise))
    )
    assert torch.equal(here, there)  # training error: the scored windows play no part


@pytest.mark.parametrize("preset", ["small-16", "paper"])
def test_convex_probe__beats_chance_on_unseen_places(preset):
    problem = family("subcarrier_selection").make_problem(preset)
    s, rooms = problem.scenario, problem.sample(Streams.from_seed(5000, 3))
    order = Streams.from_seed(1, 3).uniform("masks", 20, s.num_tones).argsort(-1)
    chance = problem.mask_errors(rooms, order.argsort(-1) < s.max_tones).mean((1, 2))
    found = baselines.solve(problem, rooms, "convex-probe")
    error = problem.evaluate(rooms, found.decision).error
    assert (error < chance).all()
    assert float((chance - error).mean()) > 0.02


def test_convex_probe__exchanges_never_hurt():
    problem = scored_by_the_probe("small-16")
    rooms = problem.sample(Streams.from_seed(7, 6))
    error = [
        problem.evaluate(
            rooms,
            make_solver("subcarrier_selection", "convex-probe", exchanges=count)
            .solve(problem, rooms)
            .decision,
        ).error
        for count in (0, 200)
    ]
    assert (error[1] <= error[0] + 1e-12).all()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"iterations": 0}, "iterations must be >= 1, got 0"),
        ({"exchanges": -1}, "exchanges must be >= 0, got -1"),
        ({"tolerance": 0.0}, "tolerance must be > 0, got 0"),
        ({"tolerance": float("nan")}, "tolerance must be > 0, got nan"),
    ],
)
def test_convex_probe__refuses_bad_settings(fields, text):
    with pytest.raises(ScenarioError, match=text):
        make_solver("subcarrier_selection", "convex-probe", **fields)
