import dataclasses

import numpy as np
import pytest
import torch

from baselines import certificate, solve
from baselines.robust_beamforming import closed_form, pga
from baselines.robust_beamforming.front import (
    FrontRelaxation,
    PgaFront,
    PgaNominalFront,
    RzfSplitFront,
    hypervolume_ceiling,
)
from isac_gym.core import Budget, Status, Streams
from isac_gym.problems.robust_beamforming.front import (
    NUM_POINTS,
    RobustFront,
    RobustFrontScenario,
    hypervolume,
)


def make(**changes):
    return RobustFront(scenario=RobustFrontScenario(**changes))


def draw(problem, batch=3, *, seed=5):
    return problem.sample(Streams.from_seed(seed, batch))


def area_under(weight, limit):
    """Area under lines in the unit square, exact: the trapezoids between all corners."""
    corners = [0.0, 1.0]
    lines = list(zip(weight, limit, strict=True))
    for i, (w, s) in enumerate(lines):
        corners += [s / w, (s - (1 - w)) / w]  # where the line meets 0 and 1
        for v, t in lines[:i]:
            slopes, levels = (w / (1 - w), v / (1 - v)), (s / (1 - w), t / (1 - v))
            if slopes[0] != slopes[1]:
                corners.append((levels[0] - levels[1]) / (slopes[0] - slopes[1]))
    x = np.unique([c for c in corners if 0 <= c <= 1])
    y = np.clip(np.min([(s - w * x) / (1 - w) for w, s in lines], 0), 0, 1)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


@pytest.mark.parametrize("seed", range(5))
def test_hypervolume_ceiling__is_the_area_from_above(seed):
    rng = np.random.default_rng(seed)
    weight = np.sort(rng.uniform(0.02, 0.98, (4, 6)), 1)
    limit = np.maximum(weight, 1 - weight) * rng.uniform(0.7, 1.1, (4, 6))
    found = hypervolume_ceiling(torch.tensor(weight), torch.tensor(limit))
    for row in range(4):
        exact = area_under(weight[row], limit[row])
        assert exact <= float(found[row]) <= exact + 1 / 4096


def test_hypervolume_ceiling__bounds_points_under_the_lines():
    rng = np.random.default_rng(0)
    weight = torch.tensor(np.sort(rng.uniform(0.1, 0.9, (1, 5))))
    limit = torch.full((1, 5), 0.7, dtype=torch.float64)
    points = torch.tensor(rng.uniform(0, 1, (20000, 2)))
    inside = (weight.T * points[:, 0] + (1 - weight.T) * points[:, 1] <= limit.T).all(0)
    x, y = points[inside].T[:, None]
    ceiling = float(hypervolume_ceiling(weight, limit))
    found = float(hypervolume(x, y))
    assert found <= ceiling
    assert found > ceiling - 0.03


@pytest.mark.parametrize("kind", [PgaFront, PgaNominalFront])
def test_on_front__is_the_point_solver_on_every_preference(kind):
    problem = make()
    instance = draw(problem, 2)
    solution = kind(iterations=8).solve(problem, instance)
    base = {PgaFront: pga.Pga, PgaNominalFront: pga.PgaNominal}[kind]
    points = base(iterations=8).solve(problem.points, problem.spread(instance))
    expected = problem.gather(points.decision)
    assert torch.equal(solution.decision.beam, expected.beam)
    assert torch.equal(solution.decision.sensing, expected.sensing)
    assert solution.status.shape == solution.iterations.shape == (2,)


def test_on_front__one_unfinished_point_is_an_unfinished_channel():
    problem = make()
    instance = draw(problem, 2)
    solution = PgaFront(iterations=12, tolerance=1e-4).solve(problem, instance)
    points = pga.Pga(iterations=12, tolerance=1e-4).solve(problem.points, problem.spread(instance))
    each = points.status.reshape(2, NUM_POINTS)
    assert solution.status.tolist() == each.amax(1).tolist()


def test_on_front__starts_where_it_is_told():
    problem = make()
    instance = draw(problem, 2)
    start = PgaFront(iterations=10).solve(problem, instance).decision
    again = PgaFront(iterations=1).solve(problem, instance, start=start).decision
    torch.testing.assert_close(again.beam, start.beam, rtol=1e-12, atol=1e-12)


def test_shares__are_the_points():
    problem = make()
    instance = draw(problem)
    decision = RzfSplitFront().solve(problem, instance).decision
    total = instance.max_power_w[:, None]
    for name, part in (("sensing", 0), ("beam", 1)):
        power = getattr(decision, name).abs().square().sum((-2, -1))
        share = torch.tensor(closed_form.SHARES, dtype=torch.float64)[:, None]
        torch.testing.assert_close(power, (share if part == 0 else 1 - share) * total)


def test_fronts__reference_beats_nominal_beats_splits_and_stays_below_the_ceiling():
    problem = make()
    instance = draw(problem, 3)
    ceiling = FrontRelaxation(iterations=60).solve(problem, instance).certificate.bound
    area = []
    for solver in (PgaFront(iterations=40), PgaNominalFront(iterations=40), RzfSplitFront()):
        decision = solver.solve(problem, instance).decision
        area.append(problem.evaluate(instance, decision).objective)
        assert (area[-1] <= ceiling).all()
    assert (area[0] > area[2] + 0.1).all()
    assert area[0].mean() > area[1].mean() > area[2].mean()
    assert (ceiling < 1).all()
    assert (ceiling - area[0]).mean() < 0.3


@pytest.mark.slow
def test_fronts__the_reference_reaches_what_the_design_note_measured():
    for error, expected in ((0.05, 0.81), (0.1, 0.767)):
        problem = make(csi_error=error)
        instance = draw(problem, 16)
        decision = PgaFront().solve(problem, instance).decision
        area = problem.evaluate(instance, decision).objective.mean()
        assert abs(float(area) - expected) < 0.04  # other channels: 4 there, 16 here


def test_relaxation__more_steps_lower_the_ceiling():
    problem = make()
    instance = draw(problem)
    rough, fine = (
        FrontRelaxation().solve(problem, instance, budget=Budget(iterations=n)).certificate.bound
        for n in (2, 60)
    )
    assert (fine < rough).all()
    assert (fine > 0.9).all()


def test_certificate__is_found_by_the_front_door():
    problem = make()
    found = certificate(problem, draw(problem, 1))
    assert found is not None
    assert found.kind == "relaxation"
    assert 0.9 < float(found.bound) < 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overconfident(FrontRelaxation):
    """Claims a tenth of its ceiling."""

    def solve(self, problem, instance, **options):
        solution = super().solve(problem, instance, **options)
        claim = solution.certificate
        lowered = dataclasses.replace(claim, bound=0.1 * claim.bound)
        return dataclasses.replace(solution, certificate=lowered)


def test_front_door__refutes_a_ceiling_that_is_too_low():
    problem = make()
    instance = draw(problem, 2)
    honest = solve(problem, instance, FrontRelaxation(iterations=20))
    assert (honest.status != int(Status.FAILED)).all()
    lying = solve(problem, instance, Overconfident(iterations=20))
    assert (lying.status == int(Status.FAILED)).all()
