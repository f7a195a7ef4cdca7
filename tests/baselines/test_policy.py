import pytest
import torch

from baselines import SolverPolicy, make_solver
from baselines.power_control.distributed import DistributedPolicy
from isac_gym.core import Policy, PolicyContext, ScenarioError, Streams, family
from isac_gym.physics.interference import max_min_level

EXACT = make_solver("power_control", "exact")


def process(scenario="paper", **settings):
    return family("power_control").make_process("isac/PowerControl-v0", scenario, settings)


def play(policy, world, *, lanes, slots, seed=2024):
    """Mean reward, loss in dB, and share of slots with any user below its threshold."""
    streams = Streams.from_seed(seed, lanes)
    state = world.initial(streams)
    reward, loss, outage = [], [], []
    for slot in range(1, slots + 1):
        context = PolicyContext(world, state, torch.full((lanes,), slot == 1))
        decision = world.decode(state, policy.act(world.observe(state), context))
        step = world.advance(state, decision, streams.at_step(slot))
        reward.append(step.reward)
        best = max_min_level(*world.problem.network(state.instance)).level
        loss.append(10 * (best / step.metrics.worst_sinr).log10())
        outage.append((step.metrics.violation_db > 1e-6).double())
        state = step.state
    return tuple(float(torch.stack(values).mean()) for values in (reward, loss, outage))


def test_solver_policy__is_a_policy_with_a_telling_name():
    assert isinstance(SolverPolicy(EXACT), Policy)
    assert SolverPolicy(EXACT).name == "exact"
    assert SolverPolicy(EXACT, margin_db=1.0).name == "exact +1 dB"
    assert SolverPolicy(EXACT, knowledge="truth").name == "exact (genie)"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"solver": "exact"}, "solver must be a Solver, got str"),
        ({"margin_db": float("inf")}, "margin_db must be a finite number, got inf"),
        ({"knowledge": "all"}, "knowledge must be one of"),
    ],
)
def test_solver_policy__refuses_bad_fields(fields, message):
    with pytest.raises(ScenarioError, match=message):
        SolverPolicy(**({"solver": EXACT} | fields))


def test_solver_policy__plays_the_decision_of_its_solver():
    world = process(ramp_db=40.0)
    state = world.initial(Streams.from_seed(0, 8))
    context = PolicyContext(world, state, torch.ones(8, dtype=torch.bool))
    for knowledge, instance in (("measured", state.measured), ("truth", state.instance)):
        action = SolverPolicy(EXACT, knowledge=knowledge).act(world.observe(state), context)
        expected = EXACT.solve(world.problem, instance).decision.power
        played = world.decode(state, action).power
        torch.testing.assert_close(played, expected.clamp_min(1e-4), rtol=1e-9, atol=1e-12)


def test_solver_policy__margin_keeps_that_distance_from_the_thresholds():
    world = process(ramp_db=40.0, delay_slots=0)
    state = world.initial(Streams.from_seed(0, 32))
    context = PolicyContext(world, state, torch.ones(32, dtype=torch.bool))
    action = SolverPolicy(EXACT, margin_db=0.5).act(world.observe(state), context)
    ratio = world.problem.evaluate(state.instance, world.decode(state, action)).comm_sinr
    margin_db = 10 * (ratio / state.instance.threshold).log10().amin(-1)
    assert margin_db.min() > 0.5 - 1e-9
    assert margin_db.min() < 0.5 + 1e-9


def test_solver_policy__raw_solvers_stay_raw():
    world = process("paper-constrained", ramp_db=40.0)
    state = world.initial(Streams.from_seed(0, 8))
    context = PolicyContext(world, state, torch.ones(8, dtype=torch.bool))
    policy = SolverPolicy(make_solver("power_control", "full-power"))
    assert (world.decode(state, policy.act(world.observe(state), context)).power == 1).all()


def test_policies__random_powers_are_new_in_every_slot():
    world = process(ramp_db=40.0)
    streams = Streams.from_seed(0, 2)
    state = world.initial(streams)
    policy = SolverPolicy(make_solver("power_control", "random"))
    context = PolicyContext(world, state, torch.ones(2, dtype=torch.bool))
    first = policy.act(world.observe(state), context)
    state = world.advance(state, world.decode(state, first), streams.at_step(1)).state
    second = policy.act(world.observe(state), PolicyContext(world, state, context.is_reset))
    assert (first - second).abs().min() > 0


@pytest.mark.slow
def test_policies__order_of_the_dynamic_baselines():
    """Expected numbers are those of an independent prototype on 100 other episodes of 60 slots.

    Tolerances are about twice the standard error of that sample and ours.
    """
    world = process()
    policies = {
        "genie": SolverPolicy(EXACT, knowledge="truth"),
        "stale": SolverPolicy(EXACT),
        "stale +1": SolverPolicy(EXACT, margin_db=1.0),
        "stale +2": SolverPolicy(EXACT, margin_db=2.0),
        "distributed": DistributedPolicy(),
        "distributed +1": DistributedPolicy(margin_db=1.0),
        "full power": SolverPolicy(make_solver("power_control", "full-power")),
        "margin": SolverPolicy(make_solver("power_control", "max-comm-margin")),
    }
    found = {name: play(p, world, lanes=100, slots=60) for name, p in policies.items()}
    reward = {name: values[0] for name, values in found.items()}
    order = ["genie", "stale +1", "stale +2", "distributed", "full power", "margin"]
    assert sorted(order, key=lambda name: -reward[name]) == order
    assert reward["stale +1"] > reward["stale"] > reward["distributed"]
    assert reward["distributed +1"] > reward["distributed"]
    assert reward["genie"] > -0.005
    expected = {
        "stale": (-0.071, 0.15, 0.40),
        "stale +1": (-0.052, 0.43, 0.086),
        "distributed": (-0.132, 0.49, 0.38),
        "distributed +1": (-0.105, 0.73, 0.16),
        "full power": (-0.427, 3.67, 0.15),
    }
    for name, (r, loss, outage) in expected.items():
        assert found[name][0] == pytest.approx(r, rel=0.25)
        assert found[name][1] == pytest.approx(loss, rel=0.25)
        assert found[name][2] == pytest.approx(outage, abs=0.1)
