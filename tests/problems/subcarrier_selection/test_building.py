import pytest
import torch

from baselines.policy import SolverPolicy
from baselines.registry import make_solver
from baselines.subcarrier_selection.scripted import GreedyBuilder
from isac_gym.core import Streams, family_of
from isac_gym.core.policy import PolicyContext
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.testing import check_process

ID = "isac/SubcarrierSelectionStatic-v0"


def make(scenario="tiny-8", **settings):
    return family_of(ID).make_process(ID, scenario, {"horizon": 6} | settings)


def start(process, lanes=4, *, seed=5):
    streams = Streams.from_seed(seed, lanes)
    return process.initial(streams), streams


def play(process, choose, lanes=4, *, seed=5):
    """States and transitions of an episode of actions chosen by (state, streams)."""
    state, streams = start(process, lanes, seed=seed)
    played = []
    for number in range(1, process.horizon + 1):
        there = streams.at_step(number)
        result = process.advance(state, process.decode(state, choose(state, there)), there)
        played.append((state, result))
        state = result.state
    return played


def at_random(process):
    return lambda state, streams: 2 * streams.uniform("action", process.action_size) - 1


def by(process, policy):
    def choose(state, streams):
        begun = torch.zeros(state.batch_size, dtype=torch.bool)
        return policy.act(process.observe(state), PolicyContext(process, state, begun))

    return choose


def action(process, *scores, stop=-1.0):
    """One action of the scores of the first tones; others -1."""
    row = torch.full((1, process.action_size), -1.0)
    row[0, : len(scores)] = torch.tensor(scores)
    row[0, -1] = stop
    return row


@pytest.mark.parametrize("horizon", [1, 7])
def test_process__conforms(horizon):
    check_process(make(horizon=horizon))


@pytest.mark.slow
def test_process__conforms_at_16_tones():
    check_process(make("small-16", horizon=8))


def test_rewards__telescope_to_the_final_validation_error():
    process = make("small-16", horizon=9)
    played = play(process, at_random(process))
    last = played[-1][1].state
    known = process.problem.known(last.instance)
    final = process.problem.evaluate(known, SubcarrierDecision(last.mask))
    total = torch.stack([result.reward for _, result in played]).sum(0)
    torch.testing.assert_close(total, 10 * (1 - final.error), rtol=0, atol=1e-9)
    parts = torch.stack([result.objectives for _, result in played]).sum(0)
    wanted = 10 * (1 - torch.stack([final.error_location, final.error_sensing], -1))
    torch.testing.assert_close(parts, wanted, rtol=0, atol=1e-9)


def test_rewards__no_detour_pays():
    """Whatever is built on the way, a return depends on the last mask only."""
    process = make("small-16", horizon=8)
    tones = [3, 12, 5, 9, 2, 4, 11, 13]
    returns = []
    for order in (tones, tones[::-1]):
        number = iter(order)

        def choose(state, streams, number=number):
            return action(process, *([-1.0] * next(number)), 1.0).expand(4, -1)

        played = play(process, choose)
        returns.append(torch.stack([result.reward for _, result in played]).sum(0))
        assert played[-1][1].state.mask[0].nonzero()[:, 0].tolist() == sorted(tones)
    torch.testing.assert_close(*returns, rtol=0, atol=1e-9)


def test_metrics__of_the_scored_windows_in_the_last_step_only():
    process = make()
    problem = process.problem
    for number, (_, result) in enumerate(play(process, at_random(process)), 1):
        decision = SubcarrierDecision(result.state.mask)
        instance = result.state.instance
        score = problem.evaluate(instance, decision).error
        known = problem.evaluate(problem.known(instance), decision).error
        assert (score - known).abs().min() > 1e-3
        wanted = score if number == process.horizon else known
        torch.testing.assert_close(result.metrics.error, wanted)
        assert result.terminated.all() == (number == process.horizon)


def test_decode__adds_the_best_and_completes_to_the_fewest():
    process = make()  # 3 or 4 of 8 tones
    s = process.problem.scenario
    assert (s.min_tones, s.max_tones) == (3, 4)
    state, _ = start(process, 1)
    found = process.decode(state, action(process, 0.1, 0.9, 0.5, 0.4))
    assert found.built[0].nonzero()[:, 0].tolist() == [1]
    assert found.mask[0].nonzero()[:, 0].tolist() == [1, 2, 3]
    state = state.replace(built=found.built, mask=found.mask)
    found = process.decode(state, action(process, 0.1, 0.9, 0.2, 0.4))  # 1 is built already
    assert found.built[0].nonzero()[:, 0].tolist() == [1, 3]
    assert found.mask[0].nonzero()[:, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("built", "stopped", "stop", "count"),
    [
        (2, False, 1.0, 3),  # too few to stop
        (3, False, 1.0, 3),
        (3, False, 0.5, 4),  # a tone scores more
        (3, True, -1.0, 3),  # for good
        (4, False, -1.0, 4),  # full
    ],
)
def test_decode__stops_for_good_once_enough_are_built(built, stopped, stop, count):
    process = make()
    state, streams = start(process, 1)
    mask = torch.arange(8)[None] < built
    state = state.replace(built=mask, mask=mask, stopped=torch.tensor([stopped]))
    decision = process.decode(state, action(process, *[0.6] * 8, stop=stop))
    assert int(decision.built.sum()) == count
    after = process.advance(state, decision, streams.at_step(1)).state
    assert bool(after.stopped[0]) == (count == built)


def test_encode__a_solvers_mask_is_reached_tone_by_tone():
    process = make("small-16", horizon=9)
    solver = make_solver("subcarrier_selection", "comb")
    played = play(process, by(process, SolverPolicy(solver)))
    last = played[-1][1].state
    wanted = process.problem.project(
        last.instance, solver.solve(process.problem, process.measured(last)).decision
    ).mask
    assert torch.equal(last.built, wanted)
    assert last.stopped.all()
    assert (played[-1][1].reward == 0).all()


def test_advance__takes_a_solvers_mask_one_tone_at_a_time():
    process = make("small-16")
    state, streams = start(process)
    floor = process.problem.floor(state.instance)
    result = process.advance(state, floor, streams.at_step(1))
    assert (result.state.built.sum(-1) == 1).all()
    assert (result.state.built & floor.mask).sum() == 4


def test_greedy_builder__beats_chance_and_null_tones_explain_nothing():
    process = make("small-16", horizon=8)
    s = process.problem.scenario
    null = torch.cat([s.null.repeat(s.num_links).float(), torch.full((1,), -1.0)])
    courses = {
        "greedy": by(process, GreedyBuilder()),
        "random": at_random(process),
        "null": lambda state, streams: null.expand(state.batch_size, -1),
    }
    returns = {
        name: torch.stack([result.reward for _, result in play(process, choose, 4)]).sum(0)
        for name, choose in courses.items()
    }
    assert (returns["greedy"] > returns["random"]).all()
    assert (returns["random"] > returns["null"]).float().mean() > 0.7
    assert float((returns["greedy"] - returns["null"]).min()) > 1


def test_observation__one_agent_sees_the_same():
    process = make()
    state = play(process, at_random(process))[2][1].state
    assert torch.equal(process.observe_local(state)[:, 0], process.observe(state))
    left = process.problem.scenario.max_tones - state.built.sum(-1)
    assert (process.observe(state)[:, -3] == left / 4).all()
