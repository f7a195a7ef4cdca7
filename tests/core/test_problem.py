import pytest
import torch

from isac_gym.core import ScenarioError, ShapeError, Streams
from tests.contracts.toy import ToyDecision, ToyProblem


@pytest.fixture
def drawn():
    problem = ToyProblem()
    instance = problem.sample(Streams.from_seed(1, 3))
    return problem, instance, problem.floor(instance)


def test_validate__accepts(drawn):
    problem, instance, decision = drawn
    problem.validate(instance, decision)
    problem.validate(instance)


def test_validate__wrong_record(drawn):
    problem, instance, decision = drawn
    with pytest.raises(ShapeError, match="expected a ToyInstance, got ToyDecision"):
        problem.validate(decision, decision)
    with pytest.raises(ShapeError, match="expected a ToyDecision, got ToyInstance"):
        problem.validate(instance, instance)


def test_validate__batch_mismatch(drawn):
    problem, instance, decision = drawn
    with pytest.raises(ShapeError, match=r"ToyDecision.power_w: .*B=3 \(batch\), got 2"):
        problem.validate(instance, decision[:2])


def test_validate__axis_of_the_scenario(drawn):
    problem, instance, _ = drawn
    wide = ToyDecision(torch.ones(3, 4, dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"ToyDecision.power_w: .*K=3 \(users\), got 4"):
        problem.validate(instance, wide)


def test_validate__device_mismatch(drawn):
    problem, instance, decision = drawn
    with pytest.raises(ShapeError, match=r"ToyDecision.power_w: on device meta, expected cpu"):
        problem.validate(instance, decision.to("meta"))


def test_validate__nan(drawn):
    problem, instance, decision = drawn
    decision.power_w[1, 0] = torch.nan
    with pytest.raises(ShapeError, match=r"ToyDecision\.power_w: non-finite value in row 1"):
        problem.validate(instance, decision)


def test_tighten__without_constraints_needs_zero(drawn):
    problem, instance, _ = drawn
    assert problem.tighten(instance, 0.0) is instance
    with pytest.raises(ScenarioError, match="toy has no margin; margin_db must be 0, got 3"):
        problem.tighten(instance, 3.0)


def test_metrics__is_evaluate(drawn):
    problem, instance, decision = drawn
    assert torch.equal(
        problem.metrics(instance, decision).objective,
        problem.evaluate(instance, decision).objective,
    )
