"""Gradients of both parts: starts, fronts, and what they cannot lose."""

import pytest
import torch

from baselines.front import solve
from baselines.ota_feel.tradeoff import JointGradient, front, log_parts, starts
from isac_gym.core import ScenarioError
from tests.baselines.ota_feel.certificate_cases import drawn


@pytest.mark.parametrize("sensing", ["ideal", "interference"])
@pytest.mark.parametrize("pulse", ["none", "dft"])
def test_log_parts__are_the_metrics(sensing, pulse):
    problem, instance = drawn(sensing=sensing, pulse=pulse)
    decision = problem.floor(instance)
    parts, metrics = (
        log_parts(problem, instance, decision.precoder),
        problem.evaluate(instance, decision),
    )
    torch.testing.assert_close(parts.log_error.exp(), metrics.nmse)
    torch.testing.assert_close(parts.log_crb.exp(), metrics.crb_m2)


def test_starts__keep_budgets_and_are_as_many_as_asked():
    problem, instance = drawn(batch=2)
    for count in (1, 3, 4, 7):
        found = starts(problem, instance, count, seed=0)
        assert found.shape == (2, count, 4, 4, 2)
        power = found.abs().square().sum((-2, -1))
        assert (power <= instance.max_power_w[:, None] * (1 + 1e-12)).all()


@pytest.mark.parametrize("preset", ["small", "joint"])
def test_joint_gradient__beats_what_it_starts_from(preset):
    problem, instance = drawn(preset)
    found = solve(problem, instance, JointGradient(iterations=60))
    best = problem.evaluate(instance, found.decision)
    assert best.violation.max() <= 1e-9
    for name in ("ao", "sensing-only", "beam-at-target"):
        other = problem.evaluate(instance, solve(problem, instance, name).decision)
        assert (best.objective > other.objective).all()
    assert (found.trace.objective.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(found.trace.objective[:, -1], best.objective)


def test_joint_gradient__a_start_is_never_lost():
    problem, instance = drawn()
    good = solve(problem, instance, JointGradient(iterations=100))
    again = solve(problem, instance, JointGradient(iterations=1), start=good.decision)
    before, after = (problem.evaluate(instance, s.decision).objective for s in (good, again))
    assert (after >= before - 1e-12).all()


def test_joint_gradient__claims_nothing():
    problem, instance = drawn(batch=1)
    assert solve(problem, instance, JointGradient(iterations=2)).certificate is None


def test_front__by_weights_moves_from_the_sum_to_the_position():
    problem, instance = drawn("small", 3, sensing="ideal")
    found = front(problem, instance, weights=(0.0, 0.3, 0.7, 1.0), iterations=80)
    assert found.precoder.shape == (3, 4, 4, 4, 2)
    assert (found.nmse.diff(dim=1) >= -1e-12).all()
    assert (found.crb_m2.diff(dim=1) <= 1e-12).all()
    assert (found.crb_m2[:, 0] > 1.5 * found.crb_m2[:, -1]).all()


def test_front__by_caps_meets_them():
    problem, instance = drawn("small", 3, sensing="ideal")
    least = front(problem, instance, weights=(1.0,), iterations=60).crb_m2.amax()
    caps = (4 * float(least), 1.5 * float(least))
    found = front(problem, instance, caps_m2=caps, iterations=150)
    assert (found.crb_m2 <= 1.01 * torch.tensor(caps)).all()
    assert (found.nmse[:, 0] <= found.nmse[:, 1] * (1 + 1e-6)).all()


@pytest.mark.parametrize(
    "options",
    [{}, {"weights": (0.5,), "caps_m2": (1.0,)}, {"weights": (1.5,)}, {"caps_m2": (0.0,)}],
)
def test_front__refuses_nonsense(options):
    problem, instance = drawn(batch=1)
    with pytest.raises(ScenarioError, match=r"weights|caps"):
        front(problem, instance, **options)


@pytest.mark.parametrize("field", [{"iterations": 0}, {"num_starts": 0}, {"tolerance": 0.0}])
def test_joint_gradient__refuses_nonsense(field):
    with pytest.raises(ScenarioError, match=next(iter(field))):
        JointGradient(**field)
