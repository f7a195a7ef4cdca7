import math
from functools import cache

import pytest
import torch

from isac_gym.core import ScenarioError, Streams
from isac_gym.problems.robust_beamforming import targets
from isac_gym.problems.robust_beamforming.actions import PilotedDecision
from isac_gym.problems.robust_beamforming.anchors import unit_power
from isac_gym.problems.robust_beamforming.geometry import norm
from isac_gym.problems.robust_beamforming.records import RobustBeamformingDecision
from isac_gym.testing import PROCESS_CHECKS
from tests.problems.robust_beamforming.playing import (
    STATIC,
    blocks,
    interval,
    make,
    play,
    random_action,
    split_by_preference,
    start,
)

CHEAP = ("observations", "transitions", "mixed_slots", "actions", "float32", "scene")


# --- conformance of the settings the registered ids do not use ----------------------------------


@pytest.mark.parametrize(
    ("environment", "preset", "settings"),
    [
        (STATIC, "two-users", {"action_mode": "structured"}),
        (STATIC, "random-targets", {"action_mode": "raw", "local_reward_mode": "difference"}),
        ("dynamic", "two-users", {"action_mode": "residual", "prices": True}),
        ("dynamic", "random-targets", {"action_mode": "structured", "bucket_slots": 3.0}),
        ("dynamic", "unresolved", {"action_mode": "raw", "pilots": "greedy", "refinements": 1}),
        ("dynamic", "small", {"local_reward_mode": "difference", "pilots": "always"}),
        ("dynamic", "csi-0", {"action_mode": "structured", "pilots": "never"}),
    ],
)
def test_settings__conform(environment, preset, settings):
    process = make(*([STATIC] if environment == STATIC else []), scenario=preset, **settings)
    for name in CHEAP:
        PROCESS_CHECKS[name](process)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "two-users", "random-targets", "bandlimited", "large"])
@pytest.mark.parametrize("mode", ["raw", "structured", "residual"])
@pytest.mark.parametrize("environment", ["static", "dynamic"])
def test_modes__conform(environment, mode, preset):
    process = make(
        *([STATIC] if environment == "static" else []), scenario=preset, action_mode=mode
    )
    for check in PROCESS_CHECKS.values():
        check(process)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"action_mode": "beams"}, "action_mode"),
        ({"local_reward_mode": "individual"}, "local_reward_mode"),
        ({"smoothing": 0.0}, "smoothing"),
        ({"pilots": "sometimes"}, "pilots"),
        ({"slot_s": 0.0}, "slot_s"),
        ({"correlation": 1.1}, "correlation"),
        ({"coverage": 1.0}, "coverage"),
        ({"pilot_cost": -0.1}, "pilot_cost"),
        ({"pilot_threshold": math.nan}, "pilot_threshold"),
        ({"speed_mps": 5000.0}, "speed_mps"),
        ({"acceleration_std_mps2": math.inf}, "acceleration_std_mps2"),
        ({"prior_position_m": 0.0}, "prior_position_m"),
        ({"prior_velocity_mps": 0.0}, "prior_velocity_mps"),
        ({"refinements": -1}, "refinements"),
        ({"bucket_slots": 0.5}, "bucket_slots"),
        ({"harvest": 2.0}, "harvest"),
        ({"horizon": 0}, "horizon"),
    ],
)
def test_settings__refused(settings, name):
    with pytest.raises(ScenarioError, match=f"{name} must be"):
        make(**settings)


# --- what a slot is scored on -------------------------------------------------------------------


def test_metrics__are_those_of_the_problem_in_every_slot():
    process = make()
    state, streams = start(process)
    for number in range(1, 5):
        decision = process.decode(state, random_action(process, 4, number))
        result = process.advance(state, decision, streams.at_step(number))
        expected = process.problem.evaluate(process.truth(state), decision)
        assert torch.equal(result.metrics.objective, expected.objective)
        state = result.state


def test_objectives__are_what_the_module_says():
    process = make(pilot_cost=0.25)
    state, streams = start(process)
    for number in range(1, 4):
        decision = process.decode(state, random_action(process, 4, number))
        result = process.advance(state, decision, streams.at_step(number))
        i, metrics = state.instance, result.metrics
        kept = 1 - 0.25 * decision.pilots.double()
        rate = (kept[..., None] * torch.log2(1 + metrics.worst_sinr)).sum((1, 2))
        gain = torch.diagonal(norm(i.true_channel), dim1=1, dim2=2).square()  # one user per cell
        free = torch.log2(1 + i.max_power_w[:, None] * gain).sum((1, 2))
        torch.testing.assert_close(result.objectives[:, 0], rate / free)
        covariance = process.problem.covariance(decision)
        information = process.problem.information(i, covariance)
        prior = torch.linalg.inv(state.covariance.reshape(4, 8, 8))
        picks = torch.zeros(4, 8).double()
        picks[[0, 1, 2, 3], [0, 1, 4, 5]] = 1
        posterior = torch.linalg.inv(prior + picks.T @ information @ picks)
        error = (posterior.diagonal(dim1=1, dim2=2) @ picks.T).unflatten(1, (2, 2)).sum(-1)
        torch.testing.assert_close(result.state.rmse_m, error.sqrt(), rtol=1e-5, atol=1e-9)
        p = i.preference
        lost = torch.stack([p, 1 - p], -1) * (1 - result.objectives)
        expected = -0.01 * torch.logsumexp(lost / 0.01, -1)
        torch.testing.assert_close(result.reward, expected)
        state = result.state


def sense_only(process, state):
    """The all-sensing policy: the factors behind the yardstick."""
    factor = unit_power(state.factor.flatten(3), state.instance.max_power_w)
    plain = RobustBeamformingDecision(
        torch.zeros_like(process.problem.floor(state.instance).beam), factor
    )
    return PilotedDecision(plain.beam, plain.sensing, torch.zeros_like(state.age).bool())


def test_utilities__sensing_alone_is_the_yardstick_and_rate_is_bounded():
    _, objectives, _ = play(make(), 8, 8, policy=sense_only)
    torch.testing.assert_close(objectives[..., 1], torch.ones(8, 8).double())
    assert (objectives[..., 0] == 0).all()
    _, mixed, _ = play(make(), 32, 8)
    assert (mixed > 0).all()
    assert (mixed < 1).all()


def test_bounds__are_certified_and_follow_the_targets():
    for preset in ("paper", "random-targets"):
        process = make(scenario=preset)
        _, _, state = play(process, 16, 12)
        for instance in (process.truth(state), process.measured(state)):
            best, _ = process.problem.sensing_optimum(instance, steps=150)
            ratio = instance.crlb_bound / best
            assert float(ratio.max()) <= 1 + 1e-3  # ``best`` is itself a lower bound
            assert float(ratio.median()) > 0.96


# --- knowledge ----------------------------------------------------------------------------------


def test_measured__hides_the_truth():
    process = make()
    _, _, state = play(process, 6, 3)
    seen, true = process.measured(state), process.truth(state)
    assert torch.equal(seen.channel, true.channel)
    assert torch.equal(seen.radius, true.radius)
    assert torch.equal(seen.true_channel, seen.channel)
    assert float((seen.target - true.target).abs().min()) > 0
    other = state.replace(
        instance=true.replace(target=true.target + 1, true_channel=2 * true.true_channel),
        velocity=-state.velocity,
        factor=-state.factor,
        rate_reference=2 * state.rate_reference,
    )
    for view in (process.observe, process.observe_local):
        assert torch.equal(view(state), view(other))
    action = random_action(process, 6)
    assert torch.equal(process.decode(state, action).beam, process.decode(other, action).beam)


def test_tracker__knows_how_wrong_it_is():
    process = make(horizon=30, refinements=0, action_mode="structured")
    state, streams = start(process, 256, seed=3)
    for number in range(1, 26):
        decision = split_by_preference(process, state)
        state = process.advance(state, decision, streams.at_step(number)).state
    truth = torch.cat([state.instance.target, state.velocity], -1)
    error = (state.track - truth).flatten(1)[..., None]
    nees = (error.mT @ torch.linalg.solve(state.covariance.reshape(-1, 8, 8), error)).flatten()
    half = 3 * math.sqrt(2 * 8 / 256)  # of a chi-square mean with 8 degrees of freedom
    assert abs(float(nees.mean()) - 8) < half


def test_sensing__now_lowers_the_need_later():
    process = make()
    state, streams = start(process, 8)
    silent = blocks(process, state)
    silent[..., 1] = -1.0
    action = blocks(process, state)
    action[..., 0], action[..., 1] = 0.0, 1.0
    later = []
    for first in (silent, action):
        middle = process.advance(state, process.decode(state, first.flatten(1)), streams.at_step(1))
        decision = process.decode(middle.state, action.flatten(1))
        later.append(process.advance(middle.state, decision, streams.at_step(2)).objectives[:, 1])
    assert (later[1] > later[0]).all()


# --- pilots -------------------------------------------------------------------------------------


def bits(process, state, sent):
    action = blocks(process, state)
    action[..., 1] = 1.0
    action[..., -1] = torch.tensor(sent).double() * 2 - 1
    return process.decode(state, action.flatten(1))


def test_pilots__cost_now_and_help_next():
    process = make(correlation=0.98)
    state, streams = start(process, 16)
    results = [
        process.advance(state, bits(process, state, sent), streams.at_step(1))
        for sent in ([False] * 3, [True] * 3)
    ]
    none, all_ = results
    assert torch.equal(none.metrics.worst_rate_bps_hz, all_.metrics.worst_rate_bps_hz)
    torch.testing.assert_close(all_.objectives[:, 0], 0.9 * none.objectives[:, 0])
    assert torch.equal(all_.objectives[:, 1], none.objectives[:, 1])
    assert (all_.state.age == 0).all()
    assert (none.state.age == 1).all()
    after = [
        process.advance(r.state, bits(process, r.state, [False] * 3), streams.at_step(2))
        for r in results
    ]
    gain = after[1].metrics.worst_rate_bps_hz - after[0].metrics.worst_rate_bps_hz
    mean, half = interval(gain)
    assert mean - half > 0


def test_pilots__of_one_cell():
    process = make()
    state, streams = start(process, 4)
    decision = bits(process, state, [False, True, False])
    assert decision.pilots.tolist() == [[False, True, False]] * 4
    after = process.advance(state, decision, streams.at_step(1)).state
    assert after.age.tolist() == [[1, 0, 1]] * 4
    ratio = after.instance.radius / norm(after.instance.channel)
    torch.testing.assert_close(ratio[:, :, 1], torch.full((4, 3, 1), 0.1).double())
    assert (ratio[:, :, 0] > 0.1).all()


def test_pilots__rules_ignore_the_action():
    for rule, expected in (("never", False), ("always", True)):
        process = make(pilots=rule)
        state, _ = start(process, 2)
        for sent in ([True] * 3, [False] * 3):
            assert (bits(process, state, sent).pilots == expected).all()


def test_pilots__solvers_get_the_greedy_rule():
    agent, greedy = make(), make(pilots="greedy")
    _, _, state = play(greedy, 12, 3)
    plain = agent.problem.floor(state.measured)
    sent = agent.decode(state, agent.encode(state, plain)).pilots
    assert torch.equal(sent, greedy.decode(state, random_action(greedy, 12)).pilots)
    assert sent.any()
    assert not sent.all()
    streams = Streams.from_seed(7, 12).at_step(4)
    direct = agent.advance(state, plain, streams)
    coded = agent.advance(state, PilotedDecision(plain.beam, plain.sensing, sent), streams)
    assert torch.equal(direct.reward, coded.reward)
    assert torch.equal(direct.state.age, coded.state.age)


@cache
def mean_rewards(rule):
    """Mean rewards of 48 episodes of 25 slots."""
    process = make(pilots=rule, action_mode="structured", refinements=0)
    return play(process, 48, 25)[0].mean(1)


@pytest.mark.parametrize("other", ["always", "never"])
def test_planning__pays(other):
    """A slot alone never pays for pilots: whoever looks one slot ahead at a time sends none."""
    mean, half = interval(mean_rewards("greedy") - mean_rewards(other))
    assert mean - half > 0


# --- energy -------------------------------------------------------------------------------------


def test_bucket__books_and_limits():
    process = make(bucket_slots=2.0, harvest=0.25, action_mode="raw", horizon=9)
    state, streams = start(process, 3)
    full = process.problem.scenario.max_power_w
    stored = torch.full((3, 3), 2 * full).double()
    action = torch.ones(3, process.action_size)
    for number in range(1, 7):
        torch.testing.assert_close(state.energy, stored)
        budget = stored.clamp(1e-3 * full, full)
        torch.testing.assert_close(state.instance.max_power_w, budget)
        result = process.advance(state, process.decode(state, action), streams.at_step(number))
        torch.testing.assert_close(result.metrics.power_w, budget)
        assert (result.metrics.violation == 0).all()
        stored = ((stored - budget).clamp_min(0) + 0.25 * full).clamp_max(2 * full)
        state = result.state
    torch.testing.assert_close(state.instance.max_power_w, torch.full((3, 3), full / 4).double())


def test_bucket__off_by_default():
    process = make()
    _, _, state = play(process, 2, 4)
    full = process.problem.scenario.max_power_w
    assert (state.energy == full).all()
    assert (state.instance.max_power_w == full).all()


# --- targets ------------------------------------------------------------------------------------


def test_targets__stay_in_their_square():
    process = make(speed_mps=900.0, horizon=30, refinements=0, action_mode="structured")
    state, streams = start(process, 8)
    for number in range(1, 25):
        decision = split_by_preference(process, state)
        state = process.advance(state, decision, streams.at_step(number)).state
        for instance in (process.truth(state), process.measured(state)):
            assert float(instance.target.abs().max()) <= 40
            process.problem.validate(instance)


def test_yardstick__never_loses_to_a_mixed_policy():
    _, _, state = play(make(), 16, 6)
    assert (targets.bound_of(state.yardstick) < targets.bound_of(state.covariance)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lost_estimates__leave_no_rate_and_valid_instances(dtype):
    process = make(pilots="never", correlation=0.5, action_mode="structured")
    state, streams = start(process, 4)
    state = state.to(dtype=dtype)
    for number in range(1, 7):
        decision = split_by_preference(process, state)
        result = process.advance(state, decision, streams.at_step(number))
        state = result.state
        process.problem.validate(process.truth(state))
        assert torch.isfinite(result.reward).all()
    assert (norm(state.instance.channel) < state.instance.radius).all()
    assert float(result.objectives[:, 0].max()) < 1e-9
    assert (result.metrics.rate_utility == 0).all()
    assert (result.objectives[:, 1] > 0).all()
