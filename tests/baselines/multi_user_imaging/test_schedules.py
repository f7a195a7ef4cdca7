import itertools
from functools import cache

import pytest
import torch

from baselines import SolverPolicy, make_solver, solve
from baselines.multi_user_imaging.schedules import (
    Alone,
    ConstantStep,
    FadingSchedule,
    OneStepGreedyOracle,
    RareExchange,
    RelativeVariance,
    StepSchedule,
)
from isac_gym.core import Budget, PolicyContext, ScenarioError, Streams, family, family_of
from isac_gym.physics.graphs import metropolis

ID = "isac/CooperativeImaging-v0"
NAMES = {
    "constant-step": ConstantStep,
    "step-schedule": StepSchedule,
    "fading-schedule": FadingSchedule,
    "rare-exchange": RareExchange,
    "alone": Alone,
    "relative-variance": RelativeVariance,
    "one-step-greedy-oracle": OneStepGreedyOracle,
}


def draw(preset="small", lanes=32, seed=9):
    problem = family("imaging_diffusion").make_problem(preset)
    return problem, problem.sample(Streams.from_seed(seed, lanes))


def at(instance, samples):
    """The instance at a later or earlier time of the run."""
    return instance.replace(elapsed=torch.full_like(instance.elapsed, samples))


@cache
def final(solver, *, lanes=16, blocks=30, knowledge="measured"):
    """Return and final image SNR of episodes at the defaults, (B,) each."""
    process = family_of(ID).make_process(ID, "paper", {"horizon": blocks})
    streams, policy = Streams.from_seed(77, lanes), SolverPolicy(solver, knowledge=knowledge)
    state, total = process.initial(streams), torch.zeros(lanes, dtype=torch.float64)
    for number in range(1, blocks + 1):
        context = PolicyContext(process, state, torch.full((lanes,), number == 1))
        action = policy.act(process.observe(state), context)
        step = process.advance(state, process.decode(state, action), streams.at_step(number))
        state, total = step.state, total + step.reward
    return total, step.metrics.objective


@pytest.mark.parametrize("name", NAMES)
def test_registry__knows_them(name):
    solver = make_solver("imaging_diffusion", name)
    assert type(solver) is NAMES[name]
    assert solver.summary
    assert ("oracle" in name) == ("genie" in solver.summary)


def test_constant_step__is_the_plain_filter():
    problem, instance = draw()
    decision = ConstantStep(step=0.3, sparsity=0.01).decide(problem, instance)
    assert (decision.step == 0.3).all()
    assert (decision.sparsity == 0.01).all()
    assert decision.send.all()
    assert torch.equal(decision.weight, metropolis(instance.adjacency))
    alone = Alone().decide(problem, instance)
    assert (alone.step == 0.6).all()
    assert not alone.send.any()


def test_step_schedule__changes_once():
    problem, instance = draw(lanes=2)
    rule = StepSchedule(every=3)
    for samples, step in ((0, 1.0), (399, 1.0), (400, 0.1), (10_000, 0.1)):
        assert (rule.decide(problem, at(instance, samples)).step == step).all()
    sent = [bool(rule.decide(problem, at(instance, 8 * b)).send.all()) for b in range(7)]
    assert sent == [True, False, False, True, False, False, True]


def test_rare_exchange__sends_in_every_nth_block():
    problem, instance = draw(lanes=2)
    for every in (1, 2, 5):
        rule = RareExchange(every=every)
        for block in range(11):
            send = rule.decide(problem, at(instance, 8 * block)).send
            assert send.all() if block % every == 0 else not send.any()


def test_fading_schedule__by_the_numbers():
    problem, instance = draw("paper", lanes=1)
    rule, steps, sparsities, sent = FadingSchedule(), [], [], []
    for block in range(30):
        decision = rule.decide(problem, at(instance, 25 * block))
        steps.append(float(decision.step[0, 0]))
        sparsities.append(float(decision.sparsity[0, 0]))
        sent.append(bool(decision.send.all()))
    assert steps[:14] == [1.5] * 14  # 325 samples, and the start of the decay
    assert steps[-1] == pytest.approx(0.12)
    ratios = [b / a for a, b in itertools.pairwise(steps[13:])]
    assert ratios == pytest.approx([ratios[0]] * 16)
    assert sparsities[:14] == [0.0] * 14
    assert sparsities[-1] == pytest.approx(0.0045)
    assert sent[0]
    assert sent[-1]
    assert sum(sent) == pytest.approx(30 * (0.73 + 0.32) / 2, abs=1.5)  # and the last
    assert sum(sent[:10]) > sum(sent[20:])
    for share, count in ((1.0, 30), (0.0, 1), (0.5, 16)):
        rule = FadingSchedule(share=share, late_share=share)
        sent = [bool(rule.decide(problem, at(instance, 25 * b)).send.all()) for b in range(30)]
        assert sum(sent) == count


def test_relative_variance__trusts_the_accurate():
    problem, instance = draw()
    worse = instance.estimate.clone()
    worse[:, 1] += 3
    instance = instance.replace(estimate=worse)
    decision = RelativeVariance().decide(problem, instance)
    assert float(problem.evaluate(instance, decision).violation.max()) < 1e-12
    error = problem.residual(instance, instance.estimate)
    linked = instance.adjacency | torch.eye(4, dtype=torch.bool)
    for row in range(4):
        for user in range(4):
            near = [n for n in range(4) if linked[row, n, user]]
            trust = 1 / (error[row, near] + 1e-3 * problem.scenario.noise_w)
            torch.testing.assert_close(decision.weight[row, near, user], trust / trust.sum())
    heard = decision.weight[:, 1][linked[:, 1]].mean()
    assert float(heard) < 0.2


def test_rules__do_not_see_the_truth():
    problem, instance = draw()
    other = instance.replace(image=instance.image.conj() * 0.5)
    for name, kind in NAMES.items():
        if "oracle" in name:
            continue
        here, there = (kind().solve(problem, i).decision for i in (instance, other))
        for field, tensor in here.items():
            assert torch.equal(tensor, getattr(there, field)), (name, field)


def test_oracle__beats_every_rule_in_its_block():
    problem, instance = draw("paper", lanes=12)
    best = solve(problem, instance, "one-step-greedy-oracle")
    reached = problem.evaluate(instance, best.decision)
    assert float(reached.violation.max()) <= 1e-9
    for name in NAMES:
        other = solve(problem, instance, name, budget=Budget(iterations=1))
        value = problem.evaluate(instance, other.decision).objective
        assert (reached.objective >= value - 1e-9).all(), name
    rash = OneStepGreedyOracle(rate=10.0, iterations=3).solve(problem, instance).decision
    kept = problem.evaluate(instance, rash).objective  # leaps lead astray, the best is kept
    for step in OneStepGreedyOracle().steps:
        rule = ConstantStep(step=step).decide(problem, instance)
        assert (kept >= problem.evaluate(instance, rule).objective - 1e-9).all(), step
    assert (best.iterations == 15).all()
    cut = solve(problem, instance, "one-step-greedy-oracle", budget=Budget(iterations=2))
    assert (cut.iterations == 2).all()


def test_episodes__schedules_beat_the_constant_step():
    reward, image = final(ConstantStep())
    scheduled, sharper = final(StepSchedule())
    assert 2.0 < float((sharper - image).mean()) < 6.0  # 4.1 dB on 128 episodes
    faded, _ = final(FadingSchedule())
    assert float((faded - scheduled).mean()) > 0.3
    assert float((scheduled - reward).mean()) > 0.2


def test_episodes__exchange_is_worth_its_price():
    reward, image = final(ConstantStep())
    for solver, loss in ((RareExchange(), 6.7), (RareExchange(every=5), 11.6), (Alone(), 30.4)):
        other, blurred = final(solver)
        assert float((image - blurred).mean()) == pytest.approx(loss, abs=2)  # dB
        assert float((reward - other).mean()) > 0.05


def test_episodes__the_genie_shows_room():
    reward, _ = final(ConstantStep(), lanes=2, blocks=6)
    genie, _ = final(OneStepGreedyOracle(), lanes=2, blocks=6, knowledge="truth")
    assert (genie > reward + 0.1).all()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ConstantStep(step=0.04), "step must be in"),
        (lambda: ConstantStep(step=1.6), "step must be in"),
        (lambda: ConstantStep(step=float("nan")), "step must be in"),
        (lambda: ConstantStep(step=True), "step must be in"),
        (lambda: ConstantStep(sparsity=-0.1), "sparsity must be in"),
        (lambda: Alone(step="fast"), "step must be in"),
        (lambda: StepSchedule(late_step=0.0), "late_step must be in"),
        (lambda: StepSchedule(switch=-1), "switch must be an integer"),
        (lambda: StepSchedule(every=0), "every must be an integer"),
        (lambda: RareExchange(every=1.5), "every must be an integer"),
        (lambda: FadingSchedule(share=1.1), "share must be in"),
        (lambda: FadingSchedule(late_share=-0.1), "late_share must be in"),
        (lambda: FadingSchedule(length=300), "length must be an integer >= 326"),
        (lambda: FadingSchedule(late_step=2.0), "late_step must be in"),
        (lambda: StepSchedule(switch=0.5), "switch must be an integer"),
        (lambda: RelativeVariance(loading=0.0), "loading must be in"),
        (lambda: OneStepGreedyOracle(steps=()), "steps must hold"),
        (lambda: OneStepGreedyOracle(steps=(2.0,)), "steps must be in"),
        (lambda: OneStepGreedyOracle(rate=0.0), "rate must be in"),
        (lambda: OneStepGreedyOracle(iterations=0), "iterations must be an integer"),
    ],
)
def test_settings__are_checked(build, words):
    with pytest.raises(ScenarioError, match=words):
        build()


@pytest.mark.parametrize("kind", [ConstantStep, OneStepGreedyOracle])
def test_solve__refuses_another_problem(kind):
    problem, instance = draw(lanes=2)
    other = family("imaging_recovery").make_problem("small")
    with pytest.raises(ScenarioError, match="imaging_diffusion"):
        kind().solve(other, other.sample(Streams.from_seed(1, 2)))
    with pytest.raises(ScenarioError, match="instances"):
        kind().solve(problem, problem.floor(instance))
