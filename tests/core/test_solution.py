import pytest
import torch

from isac_gym.core import Budget, Certificate, ScenarioError, Solution, Status, Streams
from isac_gym.core.solution import status_tensor
from tests.contracts.toy import ToyProblem


@pytest.mark.parametrize("iterations", [0, -3])
def test_budget__refuses_iterations(iterations):
    with pytest.raises(ScenarioError, match=f"iterations must be >= 1, got {iterations}"):
        Budget(iterations=iterations)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("inf"), float("nan")])
def test_budget__refuses_tolerance(tolerance):
    with pytest.raises(ScenarioError, match="tolerance must be > 0"):
        Budget(tolerance=tolerance)


def test_budget__defaults_keep_the_solvers_own():
    assert Budget().iterations is None
    assert Budget().tolerance is None


def test_certificate__refuses_unknown_kind():
    with pytest.raises(ScenarioError, match=r"kind must be one of .*'guess'"):
        Certificate(bound=torch.zeros(1), kind="guess", source="none")


def test_status__values_are_fixed():
    assert [int(s) for s in Status] == [0, 1, 2, 3]
    assert status_tensor(Status.FAILED, 2).tolist() == [3, 3]
    assert status_tensor(Status.FAILED, 2).dtype == torch.int64


def test_solution__has_converged():
    problem = ToyProblem()
    instance = problem.sample(Streams.from_seed(0, 4))
    status = torch.tensor([0, 1, 2, 3])
    solution = Solution(
        decision=problem.floor(instance), status=status, iterations=torch.zeros_like(status)
    )
    assert solution.has_converged.tolist() == [True, False, False, False]
