"""No solver looks at the scored windows: whatever stands there, it selects the same subcarriers."""

import pytest
import torch

from baselines.registry import make_solver, solvers
from isac_gym.core import Budget, Streams, family
from isac_gym.core.solution import Solution, Solver
from isac_gym.problems.subcarrier_selection.model import SubcarrierDecision, select_tones
from tests.conftest import lightest_preset

FAMILIES = ("subcarrier_selection", "subcarrier_respiration")
ORACLES = {"exhaustive"}  # look at the scored windows, and say so
BUDGET = Budget(iterations=6)
PROBLEMS = {name: family(name).make_problem(lightest_preset(name)) for name in FAMILIES}
TRUE = {name: problem.sample(Streams.from_seed(3, 2)) for name, problem in PROBLEMS.items()}
BLIND = [(name, solver) for name in FAMILIES for solver in solvers(name) if solver not in ORACLES]


def scored_by_noise(name, seed):
    """The same rooms with noise in place of the scored windows and their labels."""
    streams, true = Streams.from_seed(seed, 2), TRUE[name]
    if name == "subcarrier_selection":
        fields = {
            "score": 2 * streams.normal("score", *true.score.shape[1:]),
            "score_label": streams.normal("label", *true.score_label.shape[1:]),
        }
    else:
        power = streams.uniform("score", *true.score.shape[1:]) ** 3
        fields = {
            "score": power / power.sum(-1, keepdim=True),
            "score_hz": 0.2 + 0.3 * streams.uniform("rate", *true.score_hz.shape[1:]),
        }
    assert set(fields) == {field for field in true.tensor_fields() if "score" in field}
    return true.replace(**fields)


def is_blind(name, solver, *, budget=BUDGET):
    """True if three different scored splits lead to one decision, status and trace."""
    found = [
        solver.solve(PROBLEMS[name], instance, budget=budget, seed=1)
        for instance in (TRUE[name], scored_by_noise(name, 11), scored_by_noise(name, 12))
    ]
    return all(
        torch.equal(found[0].decision.mask, other.decision.mask)
        and torch.equal(found[0].status, other.status)
        and (found[0].trace is None or torch.equal(found[0].trace.objective, other.trace.objective))
        for other in found[1:]
    )


@pytest.mark.parametrize(("name", "solver"), BLIND)
def test_solver__does_not_look_at_the_scored_windows(name, solver):
    assert is_blind(name, make_solver(name, solver))


@pytest.mark.parametrize("name", FAMILIES)
def test_oracles__say_so_and_only_they_certify_the_scored_error(name):
    for solver, kind in solvers(name).items():
        if solver in ORACLES:
            assert "score" in kind.summary or "optimum" in kind.summary
            assert not is_blind(name, make_solver(name, solver), budget=Budget())
        else:
            found = make_solver(name, solver).solve(PROBLEMS[name], TRUE[name], budget=BUDGET)
            assert found.certificate is None


class Peeping(Solver):
    """Selects by the scored windows, against the rules."""

    name = "peeping"
    summary = "a solver that looks at the scored windows"

    def solve(self, problem, instance, *, budget, seed=0, start=None):
        """The best of 40 masks on the scored windows."""
        del budget, start
        scores = Streams.from_seed(seed, instance.batch_size).uniform("masks", 40, 8)
        mask = select_tones(scores, 3, 4)
        best = problem.mask_errors(instance, mask).mean(-1).argmin(1)
        decision = SubcarrierDecision(mask[torch.arange(len(best)), best])
        status = torch.zeros_like(best)
        return Solution(decision=decision, status=status, iterations=status)


def test_check__catches_a_solver_that_looks():
    assert not is_blind("subcarrier_selection", Peeping())
