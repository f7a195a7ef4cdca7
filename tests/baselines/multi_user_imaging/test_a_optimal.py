"""The reference of imaging design and its two blind relatives."""

import pytest
import torch

from baselines.front import solve
from baselines.multi_user_imaging.a_optimal import AOptimal, AOptimalPrior, SupportOracle
from isac_gym.core import Budget, ScenarioError, Status, Streams, family
from isac_gym.problems.multi_user_imaging.design import ImagingDesign
from isac_gym.problems.multi_user_imaging.scenario import DesignScenario


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


def test_a_optimal__single_precision_claims_nothing_false():
    scenario = DesignScenario(prior_variance=100.0, num_users=2, num_antennas=4)
    problem = ImagingDesign(scenario=scenario)
    small = problem.sample(Streams.from_seeds(range(6))).to(dtype=torch.float32)
    found = solve(problem, small, AOptimal())
    bound = found.certificate.bound
    for decision in (problem.isotropic(small), found.decision):
        for seen in (small, small.to(dtype=torch.float64)):
            metrics = problem.evaluate(seen, decision.to(dtype=seen.dtype))
            assert (metrics.objective <= bound + 1e-3).all()
    exact = small.to(dtype=torch.float64)
    best = problem.evaluate(exact, found.decision.to(dtype=torch.float64)).objective
    even = problem.evaluate(exact, problem.isotropic(exact)).objective
    assert found.has_converged.all()
    assert (best >= even).all()
    assert found.decision.probe.dtype == torch.complex64
    assert bound.dtype == torch.float32


def test_a_optimal__bound_holds_where_ill_conditioned():
    problem, instance = drawn(
        "paper",
        32,
        information="joint",
        snr_db=60.0,
        num_users=2,
        num_antennas=4,
        voxels_x=4,
        voxels_y=2,
        voxels_z=2,
    )
    found = solve(problem, instance, AOptimal(iterations=100))
    objective = problem.evaluate(instance, found.decision).objective
    assert (objective <= found.certificate.bound).all()
    assert (found.certificate.bound - objective <= 1e-4).all()


def test_a_optimal__paper_gap_is_below_1e_7_db():
    problem, instance = drawn("paper", 8)
    found = solve(problem, instance, AOptimal())
    gap = found.certificate.bound - problem.evaluate(instance, found.decision).objective
    assert gap.min() >= 0
    assert gap.max() <= 1e-7


@pytest.mark.parametrize(
    "field", [{"iterations": 0}, {"tolerance": 0.0}, {"priority": -0.1}, {"priority": 1.1}]
)
def test_a_optimal__refuses_nonsense(field):
    with pytest.raises(ScenarioError):
        AOptimal(**field)
