"""Scripted policies of breathing frames: what knowledge is worth."""

import math

import pytest
import torch

from baselines.subcarrier_selection.respiration import grow, labelled
from baselines.subcarrier_selection.respiration_scripted import (
    Calibrated,
    RandomTones,
    SharpestNow,
    SharpestSeen,
    respiration_ladder,
)
from isac_gym.core import PolicyContext, ScenarioError, Streams, family_of
from tests.contracts.toy import ToyProblem, ToyProcess

ID = "isac/SubcarrierRespiration-v0"
T_10 = 2.228  # two-sided 95 % quantile, 10 degrees of freedom


def costs(policies, *, lanes, horizon, seed):
    """Mean cost 1 - reward per frame, (B,) by name, on the same episodes."""
    process = family_of(ID).make_process(ID, settings={"horizon": horizon})
    streams, found = Streams.from_seed(seed, lanes), {}
    start = process.initial(streams)
    for policy in policies:
        state, total = start, torch.zeros(lanes, dtype=torch.float64)
        for step in range(1, horizon + 1):
            context = PolicyContext(process, state, torch.full((lanes,), step == 1))
            decision = process.decode(state, policy.act(process.observe(state), context))
            result = process.advance(state, decision, streams.at_step(step))
            state, total = result.state, total + 1 - result.reward
        found[policy.name] = total / horizon
    return found


def least_saving(before, after):
    """Lower end of the paired 95 % interval of the mean saving, over the mean cost before."""
    saving = before - after
    half = T_10 * saving.std() / math.sqrt(len(saving))
    return float((saving.mean() - half) / before.mean())


def test_headroom__between_static_and_clairvoyant_policies_is_real():
    cost = costs(respiration_ladder(), lanes=11, horizon=32, seed=5000)
    chance, static, seen, now, clairvoyant = cost.values()
    assert least_saving(static, clairvoyant) >= 0.2
    assert least_saving(static, now) >= 0.1  # without any true rate
    assert least_saving(static, seen) > 0
    assert float(chance.mean()) > float(seen.mean()) > float(now.mean())


def states(steps=4, lanes=3):
    process = family_of(ID).make_process(ID)
    streams = Streams.from_seed(2, lanes)
    state = process.initial(streams)
    for step in range(1, steps + 1):
        yield process, state
        action = 2 * streams.at_step(step).uniform("action", process.action_size) - 1
        state = process.advance(state, process.decode(state, action), streams.at_step(step)).state


def acted(policy, process, state):
    context = PolicyContext(process, state, torch.zeros(state.batch_size, dtype=torch.bool))
    return policy.act(process.observe(state), context)


@pytest.mark.parametrize("policy", [RandomTones(), Calibrated(), SharpestSeen()])
def test_policy__knows_nothing_of_the_coming_frame(policy):
    for process, state in states():
        noise = Streams.from_seed(1, 3).uniform("noise", *state.instance.score.shape[1:])
        other = state.replace(instance=state.instance.replace(score=noise), level=0 * state.level)
        assert torch.equal(acted(policy, process, state), acted(policy, process, other))


def test_policies__keep_the_most_tones_and_no_null_ones():
    for policy in (RandomTones(), SharpestSeen(), SharpestNow()):
        for process, state in states():
            mask = acted(policy, process, state) > 0
            assert (mask.sum(1) == process.problem.scenario.max_tones).all()
            assert not (mask & process.problem.scenario.null.repeat(2)).any()


def test_calibrated__is_greedy_on_the_calibration_windows_for_ever():
    found = [acted(Calibrated(), process, state) for process, state in states()]
    assert all(torch.equal(found[0], other) for other in found)
    process, state = next(states())
    setup, windows = labelled(process.problem, state.instance)
    count = state.instance.train.shape[1]
    train = windows._replace(
        spectrum=windows.spectrum[:, :, :count], rate_hz=windows.rate_hz[:, :count]
    )
    s = setup.scenario
    assert torch.equal(found[0] > 0, grow(train, setup.frequency_hz, s.min_tones, s.max_tones)[0])


def test_sharpest_seen__keeps_good_tones_and_tries_forgotten_ones():
    process, state = list(states())[-1]
    line = torch.zeros_like(state.instance.val)
    line[..., 5] = 1
    good = torch.zeros(16, dtype=torch.bool)
    good[[2, 3, 9, 10]] = True
    flat = torch.full_like(line, 1 / 24)
    val = torch.where(good[:, None], line, flat)
    seen = state.replace(instance=state.instance.replace(val=val), age=torch.zeros_like(state.age))
    assert torch.equal(acted(SharpestSeen(), process, seen) > 0, good.expand(3, -1))
    hopeful = SharpestSeen(hope=1.0, forgetting=1.0)
    tried = acted(hopeful, process, seen.replace(age=torch.where(good, 3, 2).expand(3, -1))) > 0
    assert not torch.equal(tried, good.expand(3, -1))


@pytest.mark.parametrize("name", ["hope", "forgetting"])
def test_sharpest_seen__refuses(name):
    with pytest.raises(ScenarioError, match=name):
        SharpestSeen(**{name: 1.5})


def test_policy__refuses_another_process():
    process = ToyProcess(problem=ToyProblem())
    state = process.initial(Streams.from_seed(0, 2))
    with pytest.raises(ScenarioError, match="RespirationTracking only, got ToyProcess"):
        acted(RandomTones(), process, state)
