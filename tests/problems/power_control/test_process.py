import math

import numpy as np
import pytest
import torch

from isac_gym.core import ScenarioError, ShapeError, Streams
from isac_gym.physics.interference import max_min_level
from isac_gym.problems.power_control import FAMILY
from isac_gym.problems.power_control.model import PowerControlDecision
from isac_gym.testing import PROCESS_CHECKS
from tests.oracles import dynamics
from tests.oracles import power_control_physics as oracle
from tests.oracles.power_control_optimum import enumeration_optimum, make_network
from tests.problems.power_control.helpers import gains_of

DYNAMIC, STATIC = "isac/PowerControl-v0", "isac/PowerControlStatic-v0"
ENERGY, TRACKING = "isac/PowerControlEnergy-v0", "isac/PowerControlTracking-v0"


def make(environment=DYNAMIC, scenario="paper", **settings):
    return FAMILY.make_process(environment, scenario, settings)


def start(process, batch=4, *, seed=6):
    streams = Streams.from_seed(seed, batch)
    return process.initial(streams), streams


def step(process, state, streams, number, level=0.4):
    action = torch.full(state.power.shape, float(level))
    decision = process.decode(state, action)
    return process.advance(state, decision, streams.at_step(number))


def to_db(x):
    return 10 * x.log10()


# --- conformance of the settings the registered ids do not use ----------------------------------


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        (STATIC, {"action_mode": "targets"}),
        (STATIC, {"shield": False, "reward_mode": "sigma", "local_reward_mode": "individual"}),
        (DYNAMIC, {"shield": True, "delay_slots": 0, "horizon": 5, "share_peak": False}),
        (DYNAMIC, {"correlation": 0.8, "ramp_db": 2.0, "power_price": 0.5, "horizon": 5}),
        (ENERGY, {"mean_power_db": -3.0, "horizon": 5}),
    ],
)
def test_settings__conform(environment, settings):
    process = make(environment, {"preset": "paper", "threshold_db": 2.0}, **settings)
    for name, check in PROCESS_CHECKS.items():
        if name != "seeds":  # the same for all settings
            check(process)


@pytest.mark.parametrize(
    ("environment", "settings", "name"),
    [
        (STATIC, {"action_mode": "watts"}, "action_mode"),
        (STATIC, {"reward_mode": "profit"}, "reward_mode"),
        (STATIC, {"local_reward_mode": "none"}, "local_reward_mode"),
        (STATIC, {"horizon": 0}, "horizon"),
        (DYNAMIC, {"slot_s": 0.0}, "slot_s"),
        (DYNAMIC, {"speed_mps": -1.0}, "speed_mps"),
        (DYNAMIC, {"heading_std_rad": math.nan}, "heading_std_rad"),
        (DYNAMIC, {"correlation": 1.5}, "correlation"),
        (DYNAMIC, {"delay_slots": 2}, "delay_slots"),
        (DYNAMIC, {"ramp_db": 0.0}, "ramp_db"),
        (DYNAMIC, {"power_price": -1.0}, "power_price"),
        (ENERGY, {"mean_power_db": 1.0}, "mean_power_db"),
        (ENERGY, {"mean_power_db": -40.0}, "mean_power_db"),
        (TRACKING, {"prior_position_m": 0.0}, "prior_position_m"),
        (TRACKING, {"acceleration_std_mps2": math.inf}, "acceleration_std_mps2"),
    ],
)
def test_settings__refused(environment, settings, name):
    with pytest.raises(ScenarioError, match=f"{name} must be"):
        make(environment, **settings)


# --- actions ------------------------------------------------------------------------------------


def test_decode__levels_are_db():
    process = make(STATIC, {"threshold_db": -math.inf})
    state, _ = start(process, 2)
    action = torch.tensor([[-1.0, 0.0, 1.0], [0.5, -0.5, 0.25]])
    level_db = to_db(process.decode(state, action).power)
    expected = torch.tensor([[-40.0, -20.0, 0.0], [-10.0, -30.0, -15.0]]).double()
    torch.testing.assert_close(level_db, expected, rtol=0, atol=1e-9)


def test_decode__clips_actions():
    process = make(STATIC, {"threshold_db": -math.inf})
    state, _ = start(process, 2)
    wild = process.decode(state, torch.full((2, 3), 9.0)).power
    assert (wild == 1).all()


def test_decode__refuses_shapes():
    state, _ = start(make(), 2)
    with pytest.raises(ShapeError, match=r"action: shape \(2, 4\), expected \(2, 3\)"):
        make().decode(state, torch.zeros(2, 4))


@pytest.mark.parametrize("ramp_db", [2.0, 6.0])
def test_decode__ramp_limits_the_change(ramp_db):
    process = make(ramp_db=ramp_db)
    state, streams = start(process)
    for number, level in enumerate([1.0, -1.0, -1.0, -1.0, 1.0], start=1):
        before = to_db(state.power)
        state = step(process, state, streams, number, level).state
        change = to_db(state.power) - before
        assert float(change.abs().max()) <= ramp_db * (1 + 1e-12)
        if number > 1:  # the start at -3 dB leaves only 3 dB of room upwards
            torch.testing.assert_close(
                change.abs(), torch.full_like(change, ramp_db), rtol=1e-9, atol=0
            )


def test_initial__powers_are_minus_3_db():
    state, _ = start(make())
    torch.testing.assert_close(to_db(state.power), torch.full((4, 3), -3.0).double())


def test_decode__shield_meets_measured_thresholds():
    shielded, bare = (make(shield=flag) for flag in (True, False))
    state, _ = start(shielded, 64)
    action = Streams.from_seed(1, 64).uniform("a", 3).float() * 2 - 1
    safe, raw = shielded.decode(state, action), bare.decode(state, action)
    measured = shielded.measured(state)
    problem = shielded.problem
    assert (problem.evaluate(measured, safe).violation <= 1e-12).all()
    assert (problem.evaluate(measured, raw).violation > 0.01).any()


def test_decode__targets_zero_is_the_maxmin_optimum():
    process = make(STATIC, "paper", action_mode="targets")
    state, _ = start(process, 8)
    decision = process.decode(state, torch.zeros(8, 3))
    best = max_min_level(*process.problem.network(state.measured))
    torch.testing.assert_close(decision.power, best.x, rtol=1e-9, atol=0)


def test_decode__targets_set_the_sinr_ratios():
    process = make(STATIC, {"threshold_db": -math.inf}, action_mode="targets")
    state, streams = start(process, 8)
    action = 0.1 * streams.uniform("a", 3).float()
    decision = process.decode(state, action)
    is_inside = (to_db(decision.power) > -39.9).all(-1)  # not cut off at the lowest level
    assert is_inside.any()
    sinr_db = to_db(process.problem.evaluate(state.instance, decision).sensing_sinr)
    surplus = sinr_db - 20 * action.double()  # the same for all stations
    spread = (surplus.amax(-1) - surplus.amin(-1))[is_inside]
    assert float(spread.max()) < 1e-6


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [DYNAMIC, ENERGY, TRACKING])
def test_advance__agents_know_the_last_slot(environment):
    process = make(environment)
    state, streams = start(process)
    for number in (1, 2, 3):
        after = step(process, state, streams, number).state
        for name, tensor in process.measured(after).items():
            assert torch.equal(tensor, getattr(state.instance, name)), name
        assert not torch.equal(after.instance.comm_gain, after.measured.comm_gain)
        state = after


def test_advance__without_delay_agents_know_the_slot():
    process = make(delay_slots=0)
    state, streams = start(process)
    assert torch.equal(state.measured.comm_gain, state.instance.comm_gain)
    after = step(process, state, streams, 1).state
    assert torch.equal(after.measured.comm_gain, after.instance.comm_gain)


def test_advance__scores_the_slot_the_agents_do_not_know():
    process = make()
    state, streams = start(process)
    decision = process.decode(state, torch.zeros(4, 3))
    metrics = process.advance(state, decision, streams.at_step(1)).metrics
    truth = process.problem.evaluate(state.instance, decision)
    stale = process.problem.evaluate(state.measured, decision)
    assert torch.equal(metrics.objective, truth.objective)
    assert not torch.isclose(metrics.objective, stale.objective, rtol=1e-6).any()


def test_initial__static_is_the_problems_sample():
    process = make(STATIC, "paper-constrained")
    state, streams = start(process, 30)
    sampled = process.problem.sample(streams)
    for name, tensor in state.instance.items():
        assert torch.equal(tensor, getattr(sampled, name)), name


def test_initial__reset_margin_holds():
    process = make(reset_margin_db=2.0)
    state, _ = start(process, 100)
    assert (process.problem.comm_margin(state.instance) >= 10**0.2 * (1 - 1e-12)).all()


def test_evolve__fading_is_a_stationary_ar1():
    process = make(correlation=0.8, reset_margin_db=-math.inf)
    process = make(scenario={"min_margin_db": -math.inf, "threshold_db": -30.0}, correlation=0.8)
    state, streams = start(process, 3000)
    series_ue, series_bs = [state.ue_fading], [state.bs_fading]
    for number in range(1, 6):
        state = step(process, state, streams, number).state
        series_ue.append(state.ue_fading)
        series_bs.append(state.bs_fading)
    off = ~torch.eye(3, dtype=torch.bool)
    for series in (torch.stack(series_ue).flatten(1), torch.stack(series_bs)[:, :, off].flatten(1)):
        for lag in (1, 3):
            found = dynamics.fading_statistics(series.numpy(), lag)
            assert found["mean"] < 0.03
            assert found["pseudo"] < 0.03
            assert found["power"] == pytest.approx(1, abs=0.03)
            assert found["correlation"] == pytest.approx(0.8**lag, abs=0.02)
            assert found["kurtosis"] == pytest.approx(2, abs=0.1)


def test_evolve__gains_follow_fading_and_target():
    process = make()
    state, streams = start(process)
    state = step(process, state, streams, 1).state
    s, now = process.problem.scenario, state.instance
    wavelength = oracle.wavelength(s.carrier_hz)
    for row in range(4):
        bs, ue, target = (t[row].numpy() for t in (now.bs, now.ue, now.target))
        expected = {
            "comm_gain": oracle.comm_gains(bs, ue, state.ue_fading[row].numpy(), wavelength),
            "direct_gain": oracle.direct_gains(bs, state.bs_fading[row].numpy(), wavelength),
            "bs_echo_gain": oracle.echo_gains(bs, bs, target, wavelength),
            "ue_echo_gain": oracle.echo_gains(ue, bs, target, wavelength),
        }
        for name, gain in expected.items():
            np.testing.assert_allclose(getattr(now, name)[row].numpy(), gain, rtol=1e-9)


def test_evolve__reciprocal_links_stay_reciprocal():
    process = make()
    state, streams = start(process)
    for number in (1, 2):
        state = step(process, state, streams, number).state
        assert torch.equal(state.bs_fading, state.bs_fading.mT)
        assert torch.equal(state.instance.direct_gain, state.instance.direct_gain.mT)


def test_evolve__target_moves_one_step_and_stays_inside():
    process = make(horizon=200)
    state, streams = start(process, 200)
    for number in range(1, 31):
        before = state.instance.target
        state = step(process, state, streams, number).state
        moved = (state.instance.target - before).norm(dim=-1)
        assert float(moved.max()) <= 1.0 + 1e-12
        straight = (moved - 1.0).abs() < 1e-9  # a reflected path ends nearer than its length
        assert float(straight.double().mean()) > 0.9
        points = state.instance.target[:, :2].numpy()
        assert all(oracle.in_hexagon(p, 100.0, slack=1e-9) for p in points)


def test_evolve__users_do_not_move():
    process = make()
    state, streams = start(process)
    after = step(process, state, streams, 1).state
    assert torch.equal(after.instance.ue, state.instance.ue)
    assert torch.equal(after.comm_los, state.comm_los)


def test_initial__known_target_is_where_it_came_from():
    process = make()
    state, _ = start(process, 500)
    heading = torch.stack([state.heading_rad.cos(), state.heading_rad.sin()], -1)
    came_from = state.instance.target[:, :2] - heading  # 10 m/s times 0.1 s
    known = state.measured.target[:, :2]
    inside = torch.tensor([oracle.in_hexagon(p, 100.0) for p in came_from.numpy()])
    assert 0.9 < float(inside.double().mean()) < 1
    torch.testing.assert_close(known[inside], came_from[inside], rtol=0, atol=1e-9)


def test_initial__known_gains_are_one_slot_old_in_law():
    # the pair (known, true) at reset has the law of the pair after a step: same correlations
    process = make(scenario={"min_margin_db": -math.inf, "threshold_db": -30.0}, correlation=0.6)
    state, streams = start(process, 4000)
    pairs = [(state.measured, state.instance)]
    state = step(process, state, streams, 1).state
    pairs.append((state.measured, state.instance))
    found = []
    for known, true in pairs:
        x, y = (np.log(i.comm_gain.numpy()).reshape(-1, 9) for i in (known, true))
        x, y = x - x.mean(0), y - y.mean(0)
        found.append((x * y).mean() / math.sqrt((x**2).mean() * (y**2).mean()))
    assert found[0] == pytest.approx(found[1], abs=0.02)
    assert found[0] < 0.999


# --- rewards ------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold_db", [0.0, 3.0])
def test_reward__is_regret_and_outage_by_the_oracle(threshold_db):
    process = make(scenario={"threshold_db": threshold_db})
    state, streams = start(process, 6)
    state = step(process, state, streams, 1, 0.9).state
    result = step(process, state, streams, 2, 0.6)
    for row in range(6):
        gains = gains_of(state.instance, row)
        net = make_network(*oracle.normalised(gains), gamma_db=threshold_db)
        best, _ = enumeration_optimum(net)
        p = result.state.power[row].numpy() * gains.p_max
        worst = oracle.sensing_sinr(p, gains).min()
        short_db = np.maximum(threshold_db - 10 * np.log10(oracle.comm_sinr(p, gains)), 0)
        loss_db = np.clip(10 * np.log10(best / worst), 0, 30)
        outage = min(short_db.sum(), 20) / 5
        power = p.sum() / gains.p_max.sum()
        assert float(result.reward[row]) == pytest.approx(-loss_db / 10 - outage, rel=1e-8)
        expected = [-loss_db / 10, -outage, -power]
        np.testing.assert_allclose(result.objectives[row].numpy(), expected, rtol=1e-8, atol=1e-15)


def test_reward__genie_gets_zero():
    process = make(STATIC, "paper-constrained")
    state, streams = start(process, 50)
    best = max_min_level(*process.problem.network(process.truth(state)))
    result = process.advance(state, PowerControlDecision(best.x), streams.at_step(1))
    assert float(result.reward.abs().max()) < 1e-8


def test_reward__violating_thresholds_buys_nothing():
    process = make(STATIC, {"threshold_db": 5.0}, shield=False)
    state, streams = start(process, 50)
    free = make(STATIC, {"threshold_db": -math.inf})
    network = free.problem.network(state.instance.replace(threshold=state.instance.threshold * 0))
    greedy = PowerControlDecision(max_min_level(*network).x)
    result = process.advance(state, greedy, streams.at_step(1))
    assert (result.objectives[:, 0] <= 0).all()
    violated = result.metrics.violation_db > 0.1
    assert violated.any()
    assert (result.reward[violated] < -0.01).all()


def test_reward__caps():
    process = make(STATIC, {"threshold_db": 5.0}, shield=False)
    state, streams = start(process, 20)
    mute = torch.tensor([[1e-4, 1.0, 1.0]]).double().repeat(20, 1)
    result = process.advance(state, PowerControlDecision(mute), streams.at_step(1))
    assert (result.objectives[:, 0] >= -3).all()
    assert (result.objectives[:, 1] >= -4).all()
    assert (result.objectives[:, 1] == -4).any()


def test_reward__sigma_and_price():
    process = make(STATIC, reward_mode="sigma", power_price=0.5)
    state, streams = start(process)
    result = step(process, state, streams, 1)
    metrics = result.metrics
    expected = -metrics.worst_sigma_m.log10() - 0.5 * result.state.power.mean(-1)
    expected = expected + result.objectives[:, 1]
    torch.testing.assert_close(result.reward, expected, rtol=1e-10, atol=1e-12)


def test_reward__shared_by_default():
    process = make()
    state, streams = start(process)
    result = step(process, state, streams, 1)
    assert torch.equal(result.local_reward, result.reward[:, None].expand(-1, 3))


def test_reward__individual_blames_the_worst_station():
    process = make(scenario={"threshold_db": -math.inf}, local_reward_mode="individual")
    state, streams = start(process)
    result = step(process, state, streams, 1)
    worst = result.metrics.range_sigma_m.argmax(-1)
    blamed = torch.nn.functional.one_hot(worst, 3) * result.objectives[:, :1]
    torch.testing.assert_close(result.local_reward, blamed)


def test_reward__individual_outage_is_the_own_and_capped():
    process = make(STATIC, {"threshold_db": 5.0}, shield=False, local_reward_mode="individual")
    state, streams = start(process, 20)
    mute = torch.tensor([[1e-4, 1.0, 1.0]]).double().repeat(20, 1)
    result = process.advance(state, PowerControlDecision(mute), streams.at_step(1))
    short_db = (5 - to_db(result.metrics.comm_sinr)).clamp(0, 20)
    worst = result.metrics.range_sigma_m.argmax(-1)
    blamed = torch.nn.functional.one_hot(worst, 3) * result.objectives[:, :1]
    torch.testing.assert_close(result.local_reward, blamed - short_db / 5)
    assert (short_db[:, 0] == 20).any()


@pytest.mark.parametrize("objective", ["peb2d", "peb3d"])
def test_reward__position_objectives_are_rewarded_themselves(objective):
    process = make(STATIC, {"objective": objective})
    state, streams = start(process, 6)
    decision = process.problem.floor(state.instance)
    result = process.advance(state, decision, streams.at_step(1))
    bound_m = getattr(result.metrics, f"{objective}_m")
    torch.testing.assert_close(result.reward, -2 * bound_m.log10())


def test_reward__no_threshold_no_outage():
    process = make(scenario={"threshold_db": -math.inf})
    state, streams = start(process)
    result = step(process, state, streams, 1, -1.0)
    assert (result.objectives[:, 1] == 0).all()
    assert torch.isfinite(result.reward).all()


# --- energy -------------------------------------------------------------------------------------


def test_energy__books_what_was_spent():
    process = make(ENERGY, mean_power_db=-6.0, horizon=20)
    state, streams = start(process)
    budget = 20 * 10**-0.6
    torch.testing.assert_close(state.energy, torch.full((4, 3), budget).double())
    for number in range(1, 6):
        spent = step(process, state, streams, number, 0.9)
        expected = state.energy - spent.state.power
        torch.testing.assert_close(spent.state.energy, expected, rtol=1e-12, atol=1e-12)
        state = spent.state


def test_energy__spent_stations_fall_to_the_floor():
    process = make(ENERGY, mean_power_db=-10.0, horizon=20, ramp_db=40.0)
    state, streams = start(process)
    applied = []
    for number in range(1, 11):
        state = step(process, state, streams, number, 1.0).state
        applied.append(state.power)
    assert (state.energy == 0).all()
    torch.testing.assert_close(to_db(applied[-1]), torch.full((4, 3), -40.0).double())
    assert float(torch.stack(applied).sum(0).max()) <= 2.0 + 10 * 1e-4
    assert (torch.stack(applied).amax(0) == 1).all()


def test_energy__unlimited_elsewhere():
    process = make(horizon=7)
    state, streams = start(process)
    assert (state.energy == 7).all()
    state = step(process, state, streams, 1, 1.0).state
    result = step(process, state, streams, 2, 1.0)
    torch.testing.assert_close(result.state.power, torch.ones(4, 3).double())


def test_optimum__matches_the_oracle():
    process = make(scenario={"threshold_db": 3.0})
    state, _ = start(process, 8)
    best, _, is_feasible, *_ = max_min_level(*process.problem.network(state.instance))
    assert is_feasible.all()
    for row in range(8):
        net = make_network(*oracle.normalised(gains_of(state.instance, row)), gamma_db=3.0)
        assert float(best[row]) == pytest.approx(enumeration_optimum(net)[0], rel=1e-9)
