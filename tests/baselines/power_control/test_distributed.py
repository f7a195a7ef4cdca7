import numpy as np
import pytest
import torch

from baselines import solve
from baselines.power_control.distributed import Distributed, DistributedPolicy
from baselines.power_control.exact import Exact
from isac_gym.core import Budget, PolicyContext, ScenarioError, Status, Streams, family
from tests.baselines.cases import draw, loss_db, oracle_networks
from tests.oracles import power_control_optimum as oracle


def test_distributed__small_steps_reach_the_optimum():
    setup, instance = draw(400)
    best = solve(setup, instance, Exact())
    loss = loss_db(setup, instance, solve(setup, instance, Distributed()), best)
    assert loss.abs().max() < 1e-3


def test_distributed__full_steps_end_in_limit_cycles():
    setup, instance = draw(400)
    best = solve(setup, instance, Exact())
    solution = solve(setup, instance, Distributed(eta=1.0))
    loss = loss_db(setup, instance, solution, best)
    assert loss.max() > 1
    assert (solution.status[loss > 0.1] == int(Status.BUDGET_SPENT)).all()


@pytest.mark.parametrize("eta", [0.2, 1.0])
def test_distributed__equals_a_scalar_loop(eta):
    setup, instance = draw(6, threshold_db=0.0, min_margin_db=3.0)
    budget = Budget(iterations=25, tolerance=1e-30)
    ours = Distributed(eta=eta).solve(setup, instance, budget=budget).decision
    for row, net in enumerate(oracle_networks(setup, instance)):
        x = torch.tensor(oracle.distributed(net, eta=eta, iterations=25))
        decision = type(ours)(x[None])
        theirs = setup.project(instance[row : row + 1], decision).power[0]
        np.testing.assert_allclose(ours.power[row], theirs, rtol=1e-10)


def test_distributed__starts_where_it_is_told():
    setup, instance = draw(16)
    optimum = solve(setup, instance, Exact()).decision
    told = solve(setup, instance, Distributed(), start=optimum)
    assert (told.iterations <= solve(setup, instance, Distributed()).iterations).all()
    assert told.iterations.max() <= 3


def play(policy, process, slots, seed=5, lanes=4):
    """States after each slot; the policy is told that the first slot is a reset."""
    streams = Streams.from_seed(seed, lanes)
    state = process.initial(streams)
    states = [state]
    for slot in range(1, slots + 1):
        is_reset = torch.full((lanes,), slot == 1)
        context = PolicyContext(process, state, is_reset)
        decision = process.decode(state, policy.act(process.observe(state), context))
        state = process.advance(state, decision, streams.at_step(slot)).state
        states.append(state)
    return states


def frozen_process(**settings):
    frozen = {"correlation": 1.0, "speed_mps": 0.0, "heading_std_rad": 0.0, "ramp_db": 40.0}
    return family("power_control").make_process(
        "isac/PowerControl-v0", "paper-constrained", frozen | settings
    )


def test_distributed_policy__in_a_frozen_world_is_the_distributed_solver():
    process = frozen_process()
    states = play(DistributedPolicy(), process, 60)
    instance = states[0].instance
    best = solve(process.problem, instance, Exact())
    decision = type(best.decision)(states[-1].power)
    objective = process.problem.evaluate(instance, decision).objective
    assert (best.certificate.bound - objective).abs().max() < 0.05


def test_distributed_policy__forgets_at_reset_only():
    process = frozen_process()
    policy, state = DistributedPolicy(), process.initial(Streams.from_seed(5, 2))
    observation = process.observe(state)
    no, yes = torch.tensor([False, False]), torch.tensor([True, False])
    first = policy.act(observation, PolicyContext(process, state, ~no))
    policy.act(observation, PolicyContext(process, state, no))
    again = policy.act(observation, PolicyContext(process, state, yes))
    assert torch.equal(again[0], first[0])
    assert not torch.equal(again[1], first[1])


def test_distributed_policy__sees_only_own_sinrs_and_the_shared_level():
    """Gains that leave every SINR as it was leave every action as it was."""
    process = frozen_process(delay_slots=0)
    state = process.initial(Streams.from_seed(5, 4))
    x, known = state.power, state.measured
    cap = known.max_power_w
    swapped = known.comm_gain.clone()  # user 0 hears station 1 with the power of station 2
    first, second = known.comm_gain[:, 0, 1].clone(), known.comm_gain[:, 0, 2].clone()
    echo = known.ue_echo_gain
    first, second = first + echo[:, 0, 1], second + echo[:, 0, 2]
    ratio = (x[:, 1] * cap[:, 1]) / (x[:, 2] * cap[:, 2])
    swapped[:, 0, 1] = second / ratio - echo[:, 0, 1]
    swapped[:, 0, 2] = first * ratio - echo[:, 0, 2]
    other = state.replace(measured=known.replace(comm_gain=swapped))
    reset = torch.ones(4, dtype=torch.bool)
    actions = [
        DistributedPolicy().act(process.observe(s), PolicyContext(process, s, reset))
        for s in (state, other)
    ]
    torch.testing.assert_close(actions[0], actions[1], rtol=1e-10, atol=1e-12)


def test_distributed_policy__has_a_name_and_refuses_bad_fields():
    assert DistributedPolicy().name == "distributed"
    assert DistributedPolicy(margin_db=1.0).name == "distributed +1 dB"
    with pytest.raises(ScenarioError, match="eta must be in"):
        DistributedPolicy(eta=0)
    with pytest.raises(ScenarioError, match="margin_db must be a finite number"):
        DistributedPolicy(margin_db=float("nan"))
