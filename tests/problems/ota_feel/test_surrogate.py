import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from isac_gym.core import ScenarioError, Streams, family, family_of
from isac_gym.problems.ota_feel import tracking
from isac_gym.problems.ota_feel.model import power_of
from isac_gym.problems.ota_feel.records import OtaFeelDecision
from isac_gym.problems.ota_feel.surrogate import OtaFeelSurrogate
from isac_gym.testing import PROCESS_CHECKS, check_process
from tests.oracles import ota_feel as oracle
from tests.oracles import ota_feel_rounds as rounds

ID = "isac/OtaFeel-v0"
CHEAP = ("observations", "transitions", "mixed_slots", "actions", "float32", "scene")
B = 6


@cache
def make(scenario="small", **settings):
    problem = family("ota_feel").make_problem(scenario)
    return OtaFeelSurrogate(problem=problem, **settings)


def random_action(process, batch, step):
    return 2 * Streams.from_seed(77, batch).at_step(step).uniform("a", process.action_size) - 1


def play(process, policy, *, seed=0, batch=B, steps=None):
    """Transitions of an episode and the states before them."""
    streams = Streams.from_seed(seed, batch)
    state, states, results = process.initial(streams), [], []
    for number in range(1, (steps or process.horizon) + 1):
        decision = policy(state, number)
        if not isinstance(decision, OtaFeelDecision):
            decision = process.decode(state, decision)
        result = process.advance(state, decision, streams.at_step(number))
        states.append(state)
        results.append(result)
        state = result.state
    return states, results


def constant(process, power, sensing):
    """Structured actions that are alike for all devices."""

    def policy(state, number):
        shape = (state.batch_size, len(process.agents), process.local_action_size)
        action = torch.zeros(shape).double()
        action[..., 0], action[..., 1] = power, sensing
        return action.flatten(1)

    return policy


def roles(process, sensing, quiet):
    """The device nearest to the estimate senses, the others are quiet."""

    def policy(state, number):
        action = constant(process, 1.0, -quiet)(state, number)
        action = action.unflatten(1, (len(process.agents), -1))
        offset = state.measured.target[:, None] - state.measured.position
        nearest = offset.square().sum(-1).argmin(1)
        action[torch.arange(state.batch_size), nearest, 1] = sensing
        return action.flatten(1)

    return policy


# --- conformance and settings -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "settings"),
    [
        ("small", {"action_mode": "null-space"}),
        ("small", {"action_mode": "null-space", "is_scheduled": True}),
        ("small", {"action_mode": "raw", "walk_std_m": 1.0}),
        ("small", {"is_scheduled": True, "energy": 0.05, "delay_rounds": 0}),
        ("paper", {"energy": 0.3, "is_scheduled": True}),
        ("coherent", {"action_mode": "null-space", "preference": 0.1}),
    ],
)
def test_settings__conform(scenario, settings):
    process = make(scenario, **settings)
    for name in CHEAP:
        PROCESS_CHECKS[name](process)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["residual", "null-space", "raw"])
@pytest.mark.parametrize(
    "change",
    [
        {"num_tasks": 1},
        {"num_tasks": 3},
        {"num_devices": 1},
        {"pulse": "dft"},
        {"uplink_exponent": 3.0},
        {"array": "vertical", "arc_deg": 360.0},
    ],
)
def test_scenarios__conform(change, mode):
    problem = family("ota_feel").make_problem({"preset": "small", **change})
    check_process(OtaFeelSurrogate(problem=problem, action_mode=mode))


@pytest.mark.parametrize("change", [{"num_tasks": 4}, {"array": "vertical", "device_antennas": 1}])
def test_scenarios__without_a_null_space_conform_with_residuals(change):
    tasks = min(change.get("device_antennas", 4), change.get("num_tasks", 2))
    problem = family("ota_feel").make_problem({"preset": "small", **change, "num_tasks": tasks})
    process = OtaFeelSurrogate(problem=problem)
    for name in CHEAP:
        PROCESS_CHECKS[name](process)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"action_mode": "beams"}, "action_mode"),
        ({"preference": 1.5}, "preference"),
        ({"correlation": -0.1}, "correlation"),
        ({"correlation": math.nan}, "correlation"),
        ({"walk_std_m": math.inf}, "walk_std_m"),
        ({"energy": 0.0}, "energy"),
        ({"delay_rounds": 2}, "delay_rounds"),
        ({"rounds": -1}, "rounds"),
        ({"first_rounds": True}, "first_rounds"),
        ({"horizon": 0}, "horizon"),
        ({"is_scheduled": 2}, "is_scheduled"),
    ],
)
def test_settings__refused(settings, name):
    with pytest.raises(ScenarioError, match=f"{name} must be"):
        make(**settings)


def test_entry__plays_where_the_trade_off_is_real():
    process = family_of(ID).make_process(ID)
    s = process.problem.scenario
    assert (s.array, s.pulse, s.sensing) == ("upa", "none", "interference")
    assert (process.horizon, process.delay_rounds, process.walk_std_m) == (20, 1, 0.0)
    assert process.action_size == 15 * (2 + 2 * 4 * 2)
    assert process.observation_size == sum(b.size for b in process.observation_blocks) < 500


# --- one round against the oracle ---------------------------------------------------------------


def scene_of(process, instance, row):
    s = process.problem.scenario
    return oracle.Scene(
        device=instance.position[row].numpy(),
        target=instance.target[row].numpy(),
        num_elements=s.device_antennas,
        array=s.array,
        noise=instance.echo_noise_w[row].numpy(),
        length=s.frame_length,
    )


@pytest.mark.parametrize("settings", [{}, {"walk_std_m": 2.0, "energy": 0.2, "delay_rounds": 0}])
def test_round__is_that_of_the_oracle(settings):
    process = make("small", preference=0.3, **settings)
    s = process.problem.scenario
    states, results = play(process, lambda _, number: random_action(process, B, number), steps=3)
    for number, (state, result) in enumerate(zip(states, results, strict=True), 1):
        decision = process.decode(state, random_action(process, B, number))
        for row in range(B):
            c, i = decision.precoder[row].numpy(), state.instance
            pulse = oracle.pulses("none", s.num_devices, 1)
            weight = i.weight[row].numpy()
            error = oracle.aggregation_error(
                i.channel[row].numpy(), c, weight, s.noise_w, pulse
            ) / np.sum(weight**2, axis=0)
            information = oracle.fisher(scene_of(process, i, row), c, disturbed=True)
            after = np.linalg.inv(np.linalg.inv(state.covariance[row].numpy()) + information)
            level = (16.7, 12.9)
            expected = np.array(
                [
                    (-np.mean(10 * np.log10(error)) - level[0]) / 10,
                    (-10 * np.log10(np.trace(after)) - level[1]) / 10,
                ]
            )
            np.testing.assert_allclose(result.objectives[row].numpy(), expected, rtol=1e-5)
            wanted = 0.3 * expected[0] + 0.7 * expected[1]
            np.testing.assert_allclose(float(result.reward[row]), wanted, rtol=1e-5)
            walk = process.walk_std_m**2 * np.diag([1.0, 1.0, 0.0])
            np.testing.assert_allclose(
                result.state.covariance[row].numpy(), after + walk, rtol=1e-5, atol=1e-6
            )
            spent = np.sum(np.abs(c) ** 2, axis=(1, 2))
            left = np.maximum(state.energy[row].numpy() - spent, 0)
            np.testing.assert_allclose(result.state.energy[row].numpy(), left, atol=1e-12)
            budget = np.clip(left, 1e-6, 1.0)
            np.testing.assert_allclose(result.state.instance.max_power_w[row].numpy(), budget)
        known = result.state.instance if process.delay_rounds == 0 else state.instance
        assert torch.equal(result.state.measured.channel, known.channel)


def test_structured_map__is_that_of_the_oracle():
    process = make("small", action_mode="null-space")
    states, _ = play(process, roles(process, 0.4, 0.6), steps=3)
    state, s = states[-1], process.problem.scenario
    action = random_action(process, B, 9)
    decision = process.decode(state, action).precoder.numpy()
    heard = process.heard(state).numpy()
    noise = s.noise_w + (1 - 0.95**2) * s.num_devices
    for row in range(B):
        m = state.measured
        gain = [h @ c for h, c in zip(m.channel[row].numpy(), state.plan[row].numpy(), strict=True)]
        receive = oracle.receiver(gain, m.weight[row].numpy(), noise)
        responses = oracle.responses(scene_of(process, m, row), m.target[row].numpy())
        for k in range(s.num_devices):
            own = m.channel[row, k].numpy().conj().T @ receive
            np.testing.assert_allclose(heard[row, k], own, rtol=1e-8, atol=1e-12)
            toward = responses[k].conj() / np.linalg.norm(responses[k])
            entries = action[row].reshape(-1, 2)[k].numpy()
            kept, off = rounds.shaped(own, m.weight[row, k].numpy(), toward, *entries)
            sent = toward.conj() @ state.plan[row, k].numpy()
            expected = kept + np.outer(off, sent / np.linalg.norm(sent))
            np.testing.assert_allclose(decision[row, k], expected, rtol=1e-6, atol=1e-8)


def test_belief__update_is_that_of_the_oracle():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((2, 3, 3))
    covariance = root @ root.transpose(0, 2, 1) + np.eye(3)
    root = rng.standard_normal((2, 3, 2))
    information = root @ root.transpose(0, 2, 1)  # rank 2
    mean, target = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    belief = tracking.Belief(torch.tensor(mean), torch.tensor(covariance))
    quiet = torch.zeros(2, 3).double()
    found = tracking.sharpened(belief, torch.tensor(information), torch.tensor(target), quiet)
    for row in range(2):
        expected = rounds.information_update(
            mean[row], covariance[row], information[row], target[row]
        )
        np.testing.assert_allclose(found.mean[row].numpy(), expected[0], atol=1e-6)
        np.testing.assert_allclose(found.covariance[row].numpy(), expected[1], atol=1e-6)


def test_first_belief__is_the_law_of_targets():
    for change in ({}, {"arc_deg": 360.0, "max_target_radius_m": 150.0}):
        s = family("ota_feel").make_problem({"preset": "small", **change}).scenario
        belief = tracking.first_belief(s, torch.zeros(1, 3).double())
        mean, covariance = rounds.sector_moments(
            np.random.default_rng(1),
            s.min_target_radius_m,
            s.max_target_radius_m,
            s.arc_rad,
            s.max_target_height_m,
            samples=400_000,
        )
        scale = math.sqrt(np.trace(covariance))
        np.testing.assert_allclose(belief.mean[0].numpy(), mean, atol=0.01 * scale)
        np.testing.assert_allclose(belief.covariance[0].numpy(), covariance, atol=0.01 * scale**2)


# --- time ---------------------------------------------------------------------------------------


def test_channels__age_by_the_correlation_and_start_stationary():
    process = make("small", correlation=0.8)
    states, results = play(process, constant(process, 0, 0), batch=400, steps=2)
    for state, result in zip(states, results, strict=True):
        old, new = state.measured.channel, state.instance.channel
        overlap = (old.conj() * new).mean().real
        assert abs(float(overlap) - 0.8) < 0.01
        assert abs(float(new.abs().square().mean()) - 1) < 0.02
        assert torch.equal(result.state.measured.channel, new)


def test_initial__truth_is_the_problem_s_sample():
    process = make()
    streams = Streams.from_seed(4, B)
    state, sample = process.initial(streams), process.problem.sample(streams)
    for name, tensor in sample.items():
        assert torch.equal(getattr(process.truth(state), name), tensor)
    fresh = make(delay_rounds=0).initial(streams)
    assert torch.equal(fresh.measured.channel, sample.channel)


def test_estimate__error_has_the_covariance_of_the_belief():
    process = make(walk_std_m=0.5)
    _, results = play(process, constant(process, 1, 0.2), batch=600, steps=6)
    state = results[-1].state
    error = (state.estimate - state.instance.target)[..., None]
    scaled = (error.mT @ torch.linalg.solve(state.covariance, error))[:, 0, 0]
    assert abs(float(scaled.mean()) - 3) < 3 * 2.5 / math.sqrt(600)  # chi-square, 3 degrees


def test_walk__keeps_away_from_devices():
    process = make(walk_std_m=20.0)
    _, results = play(process, constant(process, 0, 0), batch=64, steps=8)
    for result in results:
        for instance in (result.state.instance, result.state.measured):
            offset = (instance.target[:, None] - instance.position)[..., :2]
            assert float(offset.square().sum(-1).sqrt().min()) > 5 - 1e-9
    moved = results[-1].state.instance.target - results[0].state.instance.target
    assert float(moved[:, :2].square().mean().sqrt()) > 20
    assert (moved[:, 2] == 0).all()


def test_energy__runs_out():
    process = make(energy=0.1)
    states, results = play(process, constant(process, 1, 0.5))
    spent = sum(result.metrics.power_w for result in results)
    assert (spent <= 0.1 * 20 + 1e-4).all()
    assert (results[-1].metrics.nmse_task > 0.9).all()  # nothing left
    assert (states[-1].measured.max_power_w <= 1e-6).all()


# --- actions ------------------------------------------------------------------------------------


def test_scheduling__silences_below_the_threshold():
    for mode in ("residual", "null-space"):
        process = make(is_scheduled=True, action_mode=mode)
        state = process.initial(Streams.from_seed(1, B))
        action = random_action(process, B, 0).unflatten(1, (4, -1))
        action[:, 1, 0] = -0.81
        action[:, 2, 0] = -0.79
        power = power_of(process.decode(state, action.flatten(1)).precoder)
        assert (power[:, 1] == 0).all()
        assert (power[:, 2] > 0).all()
        never = replace(process, is_scheduled=False)
        assert (power_of(never.decode(state, action.flatten(1)).precoder)[:, 1] > 0).all()


@pytest.mark.parametrize("mode", ["residual", "raw"])
@pytest.mark.parametrize("preset", ["small", "coherent", "unequal"])
def test_encode__reaches_every_decision(mode, preset):
    process = make(preset, action_mode=mode)
    state = process.initial(Streams.from_seed(2, B))
    problem, known = process.problem, state.measured
    random = Streams.from_seed(5, B).complex_normal("c", *state.plan.shape[1:])
    for decision in (
        problem.floor(known),
        OtaFeelDecision(torch.zeros_like(state.plan)),
        OtaFeelDecision(state.plan),
        problem.project(known, OtaFeelDecision(3 * random)),
        problem.project(known, OtaFeelDecision(0.1 * random)),
    ):
        back = process.decode(state, process.encode(state, decision))
        torch.testing.assert_close(back.precoder, decision.precoder, rtol=0, atol=1e-12)


def test_quiet_devices__send_nothing_to_the_target():
    process = make(action_mode="null-space")
    state = process.initial(Streams.from_seed(3, B))
    a, _ = process.problem.responses(state.measured)
    loud, silent = (
        torch.einsum(
            "bkm,bkmr->bkr", a, process.decode(state, constant(process, 1, q)(state, 1)).precoder
        ).abs()
        for q in (0.0, -1.0)
    )
    assert float(silent.max()) < 1e-12 * float(loud.max())


def test_sensing__adds_nothing_to_the_sum_as_measured():
    process = make(action_mode="null-space")
    state = process.initial(Streams.from_seed(3, B))
    heard = process.heard(state)
    base, beam = (
        process.decode(state, constant(process, p, q)(state, 1)).precoder
        for p, q in ((1 - 2 * math.sqrt(0.4), 0.0), (1.0, 0.4))
    )
    assert float((heard.mH @ (base - beam)).abs().max()) < 1e-10
    assert float((power_of(beam) - power_of(base)).min()) > 0.39


# --- leverage: what the default setting rests on ------------------------------------------------


@pytest.mark.slow
def test_leverage__roles_trade_aggregation_for_localisation():
    process = family_of(ID).make_process(ID)
    base, trade = (
        torch.stack([r.objectives for r in play(process, policy, batch=32)[1]], 1).mean(1)
        for policy in (constant(process, 1, 0), roles(process, 0.6, 1.0))
    )
    gain = 10 * (trade - base)  # dB
    error = 1.96 * gain.std(0) / math.sqrt(32)
    assert float(gain[:, 0].mean() + error[0]) < -0.5
    assert float(gain[:, 1].mean() - error[1]) > 3


def test_preference__weighs_the_objectives():
    for preference in (0.0, 0.5, 1.0):
        process = make(preference=preference)
        _, results = play(process, constant(process, 0, 0), steps=2)
        for result in results:
            expected = result.objectives @ torch.tensor([preference, 1 - preference]).double()
            torch.testing.assert_close(result.reward, expected)
