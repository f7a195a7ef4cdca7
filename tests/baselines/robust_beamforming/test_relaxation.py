import dataclasses

import numpy as np
import pytest
import torch

from baselines import solve
from baselines.registry import make_solver, solvers
from baselines.robust_beamforming.objective import utilities
from baselines.robust_beamforming.pga import Pga
from baselines.robust_beamforming.relaxation import (
    Relaxation,
    objective_bound,
    relaxed_utilities,
    support_lines,
)
from isac_gym.core import Status, Streams
from isac_gym.problems.robust_beamforming.anchors import unit_power
from tests.oracles import robust_beamforming as oracle
from tests.problems.robust_beamforming.helpers import decide, draw, make, power_of, uneven

WEIGHTS = torch.tensor([0.02, 0.3, 0.5, 0.8, 0.98], dtype=torch.float64)
QUICK = {
    "pga": {"iterations": 40},
    "pga-nominal": {"iterations": 15},
    "boblrbf": {"iterations": 10},
    "boblrbf-phase1": {"iterations": 10},
    "boblrbf-literal": {"iterations": 10},
    "wmmse-split": {"iterations": 50},
    "robust-wmmse-split": {"iterations": 50},
}
ELSEWHERE = {"branch-bound", "boblrbf-dnn", "boblrbf-dnn-features", "boblrbf-dnn-gradient"}


def covariances(instance, count, *, seed=3, rank=3):
    """Random covariances of full power, every instance ``count`` times."""
    many = instance[torch.arange(instance.batch_size).repeat_interleave(count)]
    shape = (many.max_power_w.shape[1], many.channel.shape[-1], rank)
    factor = Streams.from_seed(seed, many.batch_size).complex_normal("c", *shape)
    factor = unit_power(factor, many.max_power_w)
    return many, factor @ factor.mH


# --- the relaxed problem ------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["paper", "two-users", "unresolved", "csi-0"])
def test_relaxed_utilities__are_above_the_exact_ones(preset):
    problem = make(preset)
    instance = draw(problem, 8)
    for seed in range(5):
        decision = decide(problem, instance, seed=seed)
        exact = utilities(problem, instance, decision)
        above = relaxed_utilities(problem, instance, problem.covariance(decision))
        assert (above.rate >= exact.rate - 1e-12).all()
        torch.testing.assert_close(above.sensing, exact.sensing, rtol=1e-12, atol=0)


@pytest.mark.parametrize("preset", ["paper", "two-users", "bandlimited"])
def test_relaxed_utilities__are_concave(preset):
    problem = make(preset)
    many, first = covariances(draw(problem, 4), 40, seed=1, rank=2)
    second = covariances(draw(problem, 4), 40, seed=2, rank=5)[1]
    for share in (0.1, 0.5, 0.8):
        mixed = relaxed_utilities(problem, many, share * first + (1 - share) * second)
        ends = [relaxed_utilities(problem, many, r) for r in (first, second)]
        for k in (0, 1):
            assert (mixed[k] >= share * ends[0][k] + (1 - share) * ends[1][k] - 1e-10).all()


def test_relaxed_utilities__weakest_power_is_that_of_the_sdp():
    problem = make("csi-20")
    instance = draw(problem, 2)
    many, covariance = covariances(instance, 1)
    found = relaxed_utilities(problem, many, covariance).rate * many.rate_bound
    for row in range(2):
        rate = 0.0
        for c in range(3):
            h, eps = many.channel[row, c, c, 0].numpy(), float(many.radius[row, c, c, 0])
            least = -oracle.largest_quadratic_sdp(-covariance[row, c].numpy(), h, eps)
            rate += np.log2(1 + max(least, 0.0))
        assert float(found[row]) == pytest.approx(rate, rel=1e-5)


# --- support lines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "iterations"), [("paper", 1), ("paper", 40), ("two-users", 20), ("unresolved", 5)]
)
def test_support_lines__hold_for_all_feasible_decisions(preset, iterations):
    problem = make(preset)
    instance = problem.anchored(uneven(draw(problem, 4)))
    lines = support_lines(problem, instance, WEIGHTS, iterations=iterations)
    assert lines.limit.shape == (4, 5)
    assert (lines.gap >= 0).all()
    reference = Pga(iterations=15).solve(problem, instance).decision
    tried = [decide(problem, instance, seed=seed) for seed in range(10)]
    for decision in [*tried, reference, problem.floor(instance)]:
        found = utilities(problem, instance, problem.project(instance, decision))
        value = lines.weight * found.rate[:, None] + (1 - lines.weight) * found.sensing[:, None]
        assert (value <= lines.limit).all()
    many, covariance = covariances(instance, 50)
    relaxed = relaxed_utilities(problem, many, covariance)
    rows = torch.arange(4).repeat_interleave(50)
    weight, limit = lines.weight[rows], lines.limit[rows]
    value = weight * relaxed.rate[:, None] + (1 - weight) * relaxed.sensing[:, None]
    assert (value <= limit).all()


def test_support_lines__gaps_close_and_limits_fall():
    problem = make()
    instance = draw(problem)
    rough, fine = (
        support_lines(problem, instance, WEIGHTS, iterations=count) for count in (10, 100)
    )
    assert fine.gap.max() < 6e-3
    assert fine.gap.mean() < rough.gap.mean() / 2
    assert (fine.limit <= rough.limit + 1e-3).all()
    # no line can be lower than what another line's point reaches: limits are within the gaps
    assert (rough.limit - fine.limit <= rough.gap + 1e-8).all()


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_objective_bound__is_the_best_point_under_the_line(p):
    weight, limit = 0.4, 0.8
    grid = np.linspace(0, 1, 2001)
    f1, f2 = np.meshgrid(grid, grid)
    value = np.where(
        weight * f1 + (1 - weight) * f2 <= limit, -np.maximum(p * (1 - f1), (1 - p) * (1 - f2)), -9
    )
    tensors = (torch.tensor([x], dtype=torch.float64) for x in (p, weight, limit))
    found = float(objective_bound(*tensors))
    assert found >= value.max() - 1e-12
    assert found == pytest.approx(value.max(), abs=2e-3)


# --- the solver ---------------------------------------------------------------------------------


SLOWLY = [pytest.param(name, marks=pytest.mark.slow) for name in ("csi-20", "unresolved")]


@pytest.mark.parametrize("preset", ["paper", "two-users", *SLOWLY])
def test_certificate__bounds_every_solver(preset):
    problem = make(preset)
    instance = draw(problem, 6)
    bound = Relaxation(iterations=60).solve(problem, instance).certificate.bound
    assert (bound <= 0).all()
    for name in set(solvers("robust_beamforming")) - ELSEWHERE:
        solver = make_solver("robust_beamforming", name, **QUICK.get(name, {}))
        decision = problem.project(instance, solver.solve(problem, instance).decision)
        assert (problem.evaluate(instance, decision).objective <= bound).all(), name


def test_certificate__is_worth_having():
    problem = make()
    instance = draw(problem, 8)
    solution = Relaxation(iterations=100).solve(problem, instance)
    assert (solution.status == int(Status.CONVERGED)).all()
    reached = Pga(iterations=60).solve(problem, instance).decision
    value = problem.evaluate(instance, reached).objective
    gap = solution.certificate.bound - value
    assert (gap > 0).all()
    assert gap.mean() < 0.1
    assert gap.max() < 0.2


def test_certificate__one_iteration_is_still_a_bound():
    problem = make()
    instance = draw(problem, 8)
    rough = Relaxation(iterations=1).solve(problem, instance)
    fine = Relaxation(iterations=100).solve(problem, instance)
    assert (rough.status == int(Status.BUDGET_SPENT)).all()
    value = problem.evaluate(instance, Pga(iterations=60).solve(problem, instance).decision)
    assert (rough.certificate.bound >= value.objective).all()
    assert (rough.certificate.bound >= fine.certificate.bound - 1e-3).all()


def test_certificate__ends_of_the_preference():
    problem = make()
    instance = draw(problem, 2)
    ends = instance.replace(preference=torch.tensor([0.0, 1.0], dtype=torch.float64))
    bound = Relaxation(iterations=60).solve(problem, ends).certificate.bound
    assert torch.isfinite(bound).all()
    torch.testing.assert_close(bound, torch.zeros_like(bound), rtol=0, atol=5e-3)
    value = problem.evaluate(ends, Pga(iterations=25).solve(problem, ends).decision).objective
    assert (value <= bound + 1e-9).all()


@pytest.mark.parametrize("preset", ["paper", "two-users", "large"])
def test_rounding__keeps_the_budgets_and_sends_something(preset):
    problem = make(preset)
    instance = uneven(draw(problem))
    decision = Relaxation(iterations=10).solve(problem, instance).decision
    assert (power_of(decision) <= instance.max_power_w * (1 + 1e-9)).all()
    assert (decision.beam.abs().square().sum((1, 2, 3)) > 0).all()
    assert torch.isfinite(torch.view_as_real(decision.sensing)).all()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overconfident(Relaxation):
    """Claims less than its own decision reaches, in lane 1 only."""

    def solve(self, problem, instance, **options):
        solution = super().solve(problem, instance, **options)
        value = problem.evaluate(instance, solution.decision).objective
        lowered = solution.certificate.bound.clone()
        lowered[1:2] = value[1:2] - 1e-3
        claim = dataclasses.replace(solution.certificate, bound=lowered)
        return dataclasses.replace(solution, certificate=claim)


def test_front_door__refutes_a_bound_that_is_too_low():
    problem = make()
    instance = draw(problem)
    honest = solve(problem, instance, Relaxation(iterations=60))
    assert (honest.status != int(Status.FAILED)).all()
    lying = solve(problem, instance, Overconfident(iterations=60))
    assert (lying.status == int(Status.FAILED)).tolist() == [False, True, False, False]
