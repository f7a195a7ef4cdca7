import math

import pytest
import torch

from isac_gym.core import Streams
from isac_gym.problems.robust_beamforming import FAMILY
from isac_gym.problems.robust_beamforming.actions import (
    ACTION_MODES,
    ActionMap,
    PilotedDecision,
    directions,
    within,
)
from isac_gym.problems.robust_beamforming.records import RobustBeamformingDecision

BATCH = 5


def setup(preset="paper", mode="structured", seed=4):
    problem = FAMILY.make_problem(preset)
    instance = problem.sample(Streams.from_seed(seed, BATCH))
    s = problem.scenario
    factor = problem.sensing_optimum(instance, steps=10)[1]
    known = directions(instance, factor, s.num_streams)
    actions = ActionMap(
        mode=mode, users=s.num_users, streams=s.num_streams, antennas=s.num_antennas
    )
    return problem, instance, known, actions


def uniform(actions, cells=3, seed=9, scale=1.0):
    drawn = Streams.from_seed(seed, BATCH).uniform("action", cells, actions.size)
    return scale * (2 * drawn - 1)


def power(factor):
    return factor.abs().square().sum((-2, -1))


@pytest.mark.parametrize("preset", ["paper", "two-users", "large", "small"])
@pytest.mark.parametrize("mode", ACTION_MODES)
def test_modes__have_exact_inverses(mode, preset):
    _, _, known, actions = setup(preset, mode)
    for scale in (0.1, 0.5, 1.0):
        factor = actions.decode(known, uniform(actions, scale=scale))
        assert float(power(factor).max()) <= 1
        code = actions.encode(known, factor)
        assert float(code.abs().max()) <= 1
        torch.testing.assert_close(actions.decode(known, code), factor, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", ["raw", "residual"])
def test_modes__reach_every_decision(mode):
    _, _, known, actions = setup(mode=mode)
    drawn = Streams.from_seed(1, BATCH).complex_normal("f", 3, 5, 5)
    sparse = torch.zeros_like(drawn)
    sparse[:, :, 0, 0] = 1.0
    for factor in (drawn, 0.01 * drawn, sparse, 1j * sparse, 0 * sparse):
        wanted = within(factor)
        back = actions.decode(known, actions.encode(known, wanted))
        torch.testing.assert_close(back, wanted, rtol=0, atol=1e-11)


def test_structured__numbers_are_recovered():
    _, _, known, actions = setup("two-users")
    action = uniform(actions, scale=0.9)
    action[..., 4:] -= action[..., 4:].mean(-1, keepdim=True)  # softmax sees differences only
    code = actions.encode(known, actions.decode(known, action))
    torch.testing.assert_close(code, action, rtol=0, atol=1e-6)


def test_structured__means_what_it_says():
    problem, instance, known, actions = setup("two-users")
    action = torch.zeros(BATCH, 3, actions.size, dtype=torch.float64)
    action[..., 0], action[..., 1] = -0.5, 0.2  # a quarter senses, at 60 % of the power
    action[..., 4] = math.log(3) / 3  # three times the power of the second user
    factor = actions.decode(known, action)
    spent = factor.abs().square().sum(-1)
    torch.testing.assert_close(power(factor), torch.full((BATCH, 3), 0.6).double())
    torch.testing.assert_close(spent[..., 2:].sum(-1), torch.full((BATCH, 3), 0.15).double())
    torch.testing.assert_close(spent[..., 0], 3 * spent[..., 1])
    l, k = 1, 1  # beams are those of the regularised zero forcing
    h = instance.channel[2, l].reshape(-1, 5)
    load = 6 / problem.scenario.max_power_w + float(instance.radius[2, l].square().sum()) / 5
    beam = torch.linalg.solve(
        h.mT @ h.conj() + load * torch.eye(5).double(), h.reshape(3, 2, 5)[l, k]
    )
    torch.testing.assert_close(
        factor[2, l, k] / factor[2, l, k].norm(), beam / beam.norm(), rtol=1e-9, atol=1e-12
    )


def test_structured__null_hides_sensing_from_users():
    _, _, known, actions = setup()
    heard = []
    for null in (-1.0, 0.0, 1.0):
        action = torch.zeros(BATCH, 3, actions.size, dtype=torch.float64)
        action[..., 0], action[..., 1], action[..., 3] = 1.0, 1.0, null
        sensing = actions.decode(known, action)[:, :, 1:].mT
        heard.append((sensing.mH @ known.gram @ sensing).diagonal(dim1=-2, dim2=-1).real.sum(-1))
    assert (heard[0] > heard[1]).all()
    assert (heard[1] > heard[2]).all()
    assert float((heard[2] / heard[0]).median()) < 0.01


def test_residual__is_a_small_correction_near_zero():
    _, _, known, actions = setup(mode="residual")
    shaped = ActionMap(mode="structured", users=1, streams=4, antennas=5)
    action = torch.zeros(BATCH, 3, actions.size, dtype=torch.float64)
    base = shaped.decode(known, action[..., : shaped.size])
    action[..., shaped.size] = 0.01  # real part of the first beam's first entry
    moved = actions.decode(known, action) - base
    assert float(moved.real[:, :, 0, 0].sub(0.003).abs().max()) < 1e-8
    assert float(moved.abs().sum((-2, -1)).sub(0.003).abs().max()) < 1e-8


def test_decode__never_above_the_budget():
    for mode in ACTION_MODES:
        process = FAMILY.make_process(
            "isac/RobustBeamformingStatic-v0", "paper", {"action_mode": mode}
        )
        streams = Streams.from_seed(3, 64)
        state = process.initial(streams)
        high = torch.ones(64, process.action_size)
        for action in (high, -high, uniform_joint(process, 64)):
            decision = process.decode(state, action)
            assert (process.problem.evaluate(state.instance, decision).violation == 0).all()


def uniform_joint(process, batch):
    return 2 * Streams.from_seed(5, batch).uniform("a", process.action_size) - 1


def test_piloted_decision__is_a_decision_of_the_problem():
    problem, instance, _, _ = setup()
    plain = problem.floor(instance)
    sent = torch.ones(BATCH, 3, dtype=torch.bool)
    piloted = PilotedDecision(plain.beam, plain.sensing, sent)
    problem.validate(instance, piloted)
    first, second = (problem.evaluate(instance, d) for d in (plain, piloted))
    assert torch.equal(first.objective, second.objective)
    assert type(problem.project(instance, piloted)) is RobustBeamformingDecision
