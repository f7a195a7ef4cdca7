"""What an agent or planner sees never depends on the windows that will be scored."""

from dataclasses import dataclass

import pytest
import torch

from isac_gym.core import Streams
from isac_gym.problems.subcarrier_selection.building import MaskBuilding
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario
from isac_gym.problems.subcarrier_selection.tracking import MaskTracking

SCENARIO = SubcarrierScenario.preset("tiny-8")


@dataclass(frozen=True, kw_only=True)
class Blinded(SubcarrierSelection):
    """The same rooms with noise in place of the scored windows and their labels."""

    def sample(self, streams):
        """Rooms whose scored windows say nothing."""
        room = super().sample(streams)
        return room.replace(
            score=2 * streams.normal("blind", *room.score.shape[1:]),
            score_label=streams.normal("blind label", *room.score_label.shape[1:]),
        )


def play(process, *, steps, seed=4, batch=3):
    """States, observations, measured records and transitions of one fixed course of actions."""
    streams = Streams.from_seed(seed, batch)
    state, log = process.initial(streams), []
    for step in range(1, steps + 1):
        now = streams.at_step(step)
        action = 2 * now.uniform("action", process.action_size) - 1
        seen, known = process.observe(state), process.measured(state)
        transition = process.advance(state, process.decode(state, action), now)
        log.append((seen, known, transition))
        state = transition.state
    return log


def pair(kind, **settings):
    problems = (SubcarrierSelection(scenario=SCENARIO), Blinded(scenario=SCENARIO))
    return [kind(problem=problem, **settings) for problem in problems]


def test_building__shows_and_rewards_validation_only():
    true, blind = (play(p, steps=4) for p in pair(MaskBuilding, horizon=4))
    for step, ((seen, known, a), (other, hidden, b)) in enumerate(zip(true, blind, strict=True)):
        assert torch.equal(seen, other)
        assert all(torch.equal(t, getattr(hidden, name)) for name, t in known.items())
        assert torch.equal(a.reward, b.reward)
        is_last = step == 3
        assert torch.equal(a.metrics.objective, b.metrics.objective) != is_last


def test_building__rewards_add_up_to_the_explained_validation_share():
    process = pair(MaskBuilding, horizon=4)[0]
    log = play(process, steps=4)
    last = log[-1][2]
    known = process.problem.known(last.state.instance)
    error = process.problem.mask_errors(known, last.state.mask[:, None]).mean((1, 2))
    total = sum(transition.reward for _, _, transition in log)
    assert torch.allclose(total, 10 * (1 - error), atol=1e-6)


def test_tracking__planners_never_see_the_frames():
    true, blind = (play(p, steps=5) for p in pair(MaskTracking, horizon=5))
    for (_, known, _), (_, hidden, _) in zip(true, blind, strict=True):
        assert all(torch.equal(t, getattr(hidden, name)) for name, t in known.items())


@pytest.mark.parametrize("step", range(4))
def test_tracking__only_the_last_error_is_told_of_past_frames(step):
    processes = pair(MaskTracking, horizon=5)
    true, blind = (play(p, steps=5)[step][0] for p in processes)
    first = 0
    for block in processes[0].observation_blocks:
        part = slice(first, first + block.size)
        is_told = block.name == "error" and step > 0
        assert torch.equal(true[:, part], blind[:, part]) != is_told, block.name
        first += block.size
    assert first == true.shape[1]


def test_tracking__planning_noise_is_not_the_frames_noise():
    """A planner that fits its rehearsal must not fit the frame."""
    process = pair(MaskTracking, horizon=5, level_db=20.0)[0]
    streams = Streams.from_seed(1, 20)
    state = process.initial(streams)
    genie = process.truth(state)
    hit = (state.noise > 0)[:, None, :, None].expand_as(genie.val)
    clean = state.instance.val
    planned = (genie.val - clean)[hit]
    rows = streams.integers("windows", 48, high=48)
    happened = (state.instance.score - state.pool.take_along_dim(rows[..., None, None], 1))[hit]
    product = (planned * happened).mean() / (planned.std() * happened.std())
    assert abs(float(product)) < 0.05
    assert not torch.equal(planned, happened)
