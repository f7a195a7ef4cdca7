"""The reference of imaging design and its two blind relatives."""

import pytest
import torch

from baselines.front import solve
from baselines.multi_user_imaging.a_optimal import AOptimal, AOptimalPrior, SupportOracle
from isac_gym.core import Budget, ScenarioError, Status, Streams, family


def drawn(preset="small", batch=4, *, seed=1, **changes):
    problem = family("imaging_design").make_problem({"preset": preset, **changes})
    return problem, problem.sample(Streams.from_seed(seed, batch))


@pytest.mark.parametrize("information", ["step1", "joint"])
def test_a_optimal__attains_its_certificate(information):
    problem, instance = drawn(information=information)
    found = solve(problem, instance, AOptimal())
    metrics = problem.evaluate(instance, found.decision)
    assert found.has_converged.all()
    assert metrics.violation.max() <= 1e-9
    gap = found.certificate.bound - metrics.objective
    assert gap.min() >= -1e-9
    assert gap.max() <= 1e-7
    assert (found.trace.objective.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(found.trace.objective[:, -1], metrics.objective)


def test_a_optimal__beats_equal_power():
    problem, instance = drawn("paper")
    best = problem.evaluate(instance, solve(problem, instance, AOptimal()).decision)
    even = problem.evaluate(instance, problem.isotropic(instance))
    assert (best.objective > even.objective + 2).all()


def test_a_optimal__honours_budget_and_start():
    problem, instance = drawn()
    best = solve(problem, instance, AOptimal())
    short = solve(problem, instance, AOptimal(), budget=Budget(iterations=3))
    assert (short.status == int(Status.BUDGET_SPENT)).all()
    assert (short.iterations == 3).all()
    warm = solve(problem, instance, AOptimal(), start=best.decision)
    assert (warm.iterations < best.iterations).all()
    loose = solve(problem, instance, AOptimal(), budget=Budget(tolerance=1e-2))
    assert (loose.iterations < best.iterations).all()


@pytest.mark.parametrize("information", ["step1", "joint"])
def test_a_optimal__marks_what_cannot_be_reached(information):
    problem, instance = drawn(information=information)
    h = instance.comm_channel.clone()
    h[1] *= 1e-3
    instance = instance.replace(comm_channel=h)
    found = solve(problem, instance, AOptimal())
    assert (found.status == int(Status.INFEASIBLE)).tolist() == [False, True, False, False]
    assert found.certificate.bound.isfinite().all()


def test_prior_design__ignores_the_posterior():
    problem, instance = drawn()
    posterior = instance.precision.clone()
    posterior[:, :4, :4] *= 100
    known = instance.replace(precision=posterior)
    blind = solve(problem, known, AOptimalPrior()).decision
    torch.testing.assert_close(blind.probe, solve(problem, instance, AOptimal()).decision.probe)
    best = problem.evaluate(known, solve(problem, known, AOptimal()).decision).objective
    assert (best > problem.evaluate(known, blind).objective).all()


def test_support_oracle__best_on_the_support_and_bad_elsewhere():
    problem, instance = drawn("small", 8)
    oracle = problem.evaluate(instance, solve(problem, instance, SupportOracle()).decision)
    best = problem.evaluate(instance, solve(problem, instance, AOptimal()).decision)
    assert (oracle.support_bound < best.support_bound).all()
    assert (oracle.error_bound > best.error_bound).all()


def test_priority__moves_towards_the_user():
    problem, instance = drawn("small", min_sinr_db=-40.0, information="joint")
    sinr = [
        problem.evaluate(instance, solve(problem, instance, AOptimal(priority=p)).decision).sinr
        for p in (0.01, 0.5, 0.99)
    ]
    assert (sinr[0] < sinr[1]).all()
    assert (sinr[1] < sinr[2]).all()


def test_a_optimal__single_precision_reaches_the_optimum_to_four_digits():
    problem, instance = drawn()
    best = solve(problem, instance, AOptimal()).decision
    value = problem.evaluate(instance, best).objective
    small = instance.to("cpu", torch.float32)
    found = solve(problem, small, AOptimal(tolerance=1e-4)).decision
    assert found.probe.dtype == torch.complex64
    reached = problem.evaluate(small, found).objective.double()
    torch.testing.assert_close(reached, value, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "field", [{"iterations": 0}, {"tolerance": 0.0}, {"priority": -0.1}, {"priority": 1.1}]
)
def test_a_optimal__refuses_nonsense(field):
    with pytest.raises(ScenarioError):
        AOptimal(**field)
