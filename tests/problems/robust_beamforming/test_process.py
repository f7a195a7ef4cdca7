import math

import numpy as np
import pytest
import torch

from isac_gym.core import ShapeError
from isac_gym.physics.worst_case import worst_case
from isac_gym.problems.robust_beamforming.process import smooth_chebyshev
from isac_gym.problems.robust_beamforming.records import chebyshev
from tests.problems.robust_beamforming.playing import (
    DYNAMIC,
    STATIC,
    make,
    random_action,
    split_by_preference,
    start,
)


def test_smooth_chebyshev__is_a_close_lower_bound():
    p, f1, f2 = torch.rand(3, 1000, generator=torch.Generator().manual_seed(1)).double()
    for smoothing in (0.001, 0.01, 0.1):
        gap = chebyshev(p, f1, f2) - smooth_chebyshev(p, f1, f2, smoothing=smoothing)
        assert (gap >= 0).all()
        assert float(gap.max()) <= smoothing * math.log(2) + 1e-12


def test_static__reward_is_the_smooth_objective():
    process = make(STATIC)
    state, streams = start(process)
    decision = process.decode(state, random_action(process, 4))
    result = process.advance(state, decision, streams.at_step(1))
    metrics = process.problem.evaluate(state.instance, decision)
    gap = metrics.objective - result.reward
    assert (gap >= -1e-12).all()
    assert (gap <= 0.01 * math.log(2) + 1e-12).all()
    expected = torch.stack([metrics.rate_utility, metrics.sensing_utility], -1)
    assert torch.equal(result.objectives, expected)
    assert result.terminated.all()
    assert process.objective_names == ("rate", "localisation")


def test_static__instances_are_those_of_the_problem():
    process = make(STATIC)
    state, streams = start(process)
    assert torch.equal(state.instance.channel, process.problem.sample(streams).channel)
    assert torch.equal(state.measured.true_channel, state.instance.channel)


@pytest.mark.parametrize("environment", [STATIC, DYNAMIC])
def test_preference__can_be_fixed_and_is_observed(environment):
    for scenario, same in (({"preference": 0.3, "preference_spread": 0.0}, True), ({}, False)):
        process = make(environment, scenario)
        state, _ = start(process, 8)
        names = [block.name for block in process.observation_blocks]
        sizes = [block.size for block in process.observation_blocks]
        column = sum(sizes[: names.index("preference")])
        seen = process.observe(state)[:, column]
        torch.testing.assert_close(seen.double(), state.instance.preference, rtol=0, atol=1e-6)
        assert ((seen - 0.3).abs() < 1e-6).all().item() is same


@pytest.mark.parametrize("environment", [STATIC, DYNAMIC])
def test_decode__refuses_shapes(environment):
    process = make(environment)
    state, _ = start(process, 2)
    size = process.action_size
    with pytest.raises(ShapeError, match=rf"action: shape \(2, 4\), expected \(2, {size}\)"):
        process.decode(state, torch.zeros(2, 4))


def test_sizes__are_as_documented():
    static, dynamic = make(STATIC), make(DYNAMIC)
    assert (static.action_size, dynamic.action_size) == (3 * 55, 3 * 56)
    assert make(STATIC, action_mode="raw").action_size == 2 * 3 * (1 + 4) * 5
    assert make(STATIC, action_mode="structured").action_size == 3 * (1 + 4)
    assert static.observation_size == 90 + 9 + 9 + 6 + 6 + 1
    assert dynamic.observation_size == static.observation_size + 3 + 3 + 4 + 1
    assert dynamic.agents == ("bs_0", "bs_1", "bs_2")


@pytest.mark.parametrize("environment", [STATIC, DYNAMIC])
def test_solver_decisions__can_be_played(environment):
    process = make(environment)
    state, _ = start(process)
    decision = process.problem.floor(state.measured)
    back = process.decode(state, process.encode(state, decision))
    torch.testing.assert_close(back.beam, decision.beam, rtol=0, atol=1e-9)
    torch.testing.assert_close(back.sensing, decision.sensing, rtol=0, atol=1e-9)


# --- the multi-agent view -----------------------------------------------------------------------


@pytest.mark.parametrize("environment", [STATIC, DYNAMIC])
def test_local_reward__shared_or_difference(environment):
    process = make(environment, local_reward_mode="difference")
    state, streams = start(process)
    decision = process.decode(state, random_action(process, 4))
    result = process.advance(state, decision, streams.at_step(1))
    for cell in range(3):
        beam, sensing = decision.beam.clone(), decision.sensing.clone()
        beam[:, cell], sensing[:, cell] = 0, 0
        silent = decision.replace(beam=beam, sensing=sensing)
        other = process.advance(state, silent, streams.at_step(1))
        expected = result.reward - other.reward
        torch.testing.assert_close(result.local_reward[:, cell], expected, rtol=0, atol=1e-9)
    shared = make(environment).advance(state, decision, streams.at_step(1))
    assert torch.equal(shared.local_reward, shared.reward[:, None].expand(-1, 3))
    assert torch.equal(shared.reward, result.reward)


def test_local_reward__of_a_silent_station_is_zero():
    process = make(STATIC, local_reward_mode="difference", action_mode="structured")
    state, streams = start(process)
    action = torch.zeros(4, 3, process.local_action_size)
    action[:, 1, 1] = -1.0
    decision = process.decode(state, action.flatten(1))
    result = process.advance(state, decision, streams.at_step(1))
    assert float(result.local_reward[:, 1].abs().max()) < 1e-12
    assert float(result.local_reward[:, 0].abs().min()) > 1e-6


def test_price__is_the_slope_of_the_rate_in_interference():
    process = make(DYNAMIC, "two-users", prices=True)
    state, streams = start(process)
    decision = split_by_preference(process, state)
    price = process.advance(state, decision, streams.at_step(1)).state.price
    i, covariance = state.instance, process.problem.covariance(decision)
    x = i.channel + worst_case(i.channel, i.radius, decision.beam, covariance).error
    x, v, r = x.numpy(), decision.beam.numpy(), covariance.numpy()
    for row, cell, user in ((0, 0, 0), (1, 2, 1), (3, 1, 0)):
        signal = abs(x[row, cell, cell, user].conj() @ v[row, cell, user]) ** 2
        heard = sum(
            (x[row, l, cell, user].conj() @ r[row, l] @ x[row, l, cell, user]).real
            for l in range(3)
        )
        rest = heard - signal + 1
        low, high = (np.log2(1 + signal / (rest + d)) for d in (-1e-4, 1e-4))
        assert float(price[row, cell, user]) == pytest.approx((low - high) / 2e-4, rel=1e-5)
    quiet = make(DYNAMIC, "two-users").advance(state, decision, streams.at_step(1)).state
    assert torch.equal(quiet.price, torch.zeros_like(price))
