"""Enumeration of selections for breathing: nothing is missed, nothing is approximated."""

import pytest
import torch

from baselines.registry import make_solver
from baselines.subcarrier_selection import respiration_exhaustive
from isac_gym.core import ScenarioError, Streams, family
from tests.oracles import subcarrier_breathing as oracle

NAME = "subcarrier_respiration"
BRIEF = {"num_train": 16, "num_held_out": 24}


def solved(name, problem, instance):
    return make_solver(NAME, name).solve(problem, instance)


def test_exhaustive__equals_brute_force_by_loops():
    problem = family(NAME).make_problem("tiny-8")
    room = problem.sample(Streams.from_seed(6, 1))
    found = solved("exhaustive", problem, room)
    spectrum, rate = room.score[0].numpy(), room.score_hz[0].numpy()
    limits = problem.scenario.min_tones, problem.scenario.max_tones
    error, mask = oracle.best_mask(spectrum, rate, problem.frequency_hz.numpy(), *limits)
    assert found.decision.mask[0].tolist() == mask
    assert float(found.certificate.bound[0]) == pytest.approx(1 - error / 0.075, abs=1e-9)
    assert found.certificate.kind == "enumeration"


def every_mask(scenario):
    code = torch.arange(1 << scenario.num_tones)
    every = (code[:, None] >> torch.arange(scenario.num_tones)) & 1 > 0
    count = every.sum(1)
    return every[(count >= scenario.min_tones) & (count <= scenario.max_tones)]


def selected_by(name, rooms):
    """The rooms with the windows in the scored ones' place that a solver selects by."""
    if name == "exhaustive":
        return rooms
    score_hz = torch.cat([rooms.train_hz, rooms.val_hz], 1)
    return rooms.replace(score=torch.cat([rooms.train, rooms.val], 1), score_hz=score_hz)


@pytest.mark.parametrize("preset", ["tiny-8", "tracking", "low-snr-16"])
@pytest.mark.parametrize("name", ["exhaustive", "exhaustive-labelled"])
def test_exhaustive__equals_trying_every_mask(name, preset):
    problem = family(NAME).make_problem({"preset": preset, **BRIEF})
    rooms = problem.sample(Streams.from_seed(7, 2))
    tried = selected_by(name, rooms)
    every = every_mask(problem.scenario)
    least = problem.mask_errors(tried, every.expand(2, -1, -1)).amin(1)
    mask = solved(name, problem, rooms).decision.mask
    found = problem.mask_errors(tried, mask[:, None])[:, 0]
    torch.testing.assert_close(found, least, rtol=1e-9, atol=1e-12)


def test_exhaustive__finds_the_best_without_a_good_first_selection(monkeypatch):
    """The local search that sets the limit may be as bad as it likes."""
    problem = family(NAME).make_problem({"preset": "tiny-8", **BRIEF})
    rooms = problem.sample(Streams.from_seed(8, 3))
    wanted = solved("exhaustive", problem, rooms).decision.mask
    first = torch.arange(8).lt(3).repeat(3, 1)
    monkeypatch.setattr(respiration_exhaustive, "climb", lambda *args, **options: (first,))
    monkeypatch.setattr(respiration_exhaustive, "_CHUNK", 7)
    assert torch.equal(solved("exhaustive", problem, rooms).decision.mask, wanted)


def test_exhaustive__of_more_than_20_tones_is_refused():
    wide = family(NAME).make_problem({"preset": "tiny-8", "tones_per_link": 11})
    with pytest.raises(ScenarioError, match=r"num_tones <= 20, got 22"):
        solved("exhaustive", wide, wide.sample(Streams.from_seed(0, 1)))


@pytest.mark.slow
def test_exhaustive__of_20_tones_tries_556206_masks():
    problem = family(NAME).make_problem("small-20")
    rooms = problem.sample(Streams.from_seed(9, 1))
    every = every_mask(problem.scenario)
    assert len(every) == 556_206
    least = min(float(problem.mask_errors(rooms, part[None]).min()) for part in every.split(20_000))
    bound = solved("exhaustive", problem, rooms).certificate.bound
    assert float(bound[0]) == pytest.approx(1 - least, abs=1e-9)
