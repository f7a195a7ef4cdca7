"""No solver looks at the scored windows: whatever stands there, it selects the same subcarriers."""

import pytest
import torch

from baselines.registry import make_solver, solvers
from isac_gym.core import Budget, Streams, family
from isac_gym.core.solution import Solution, Solver
from isac_gym.problems.subcarrier_selection.model import SubcarrierDecision, select_tones

FAMILY = "subcarrier_selection"
ORACLES = {"exhaustive"}  # look at the scored windows, and say so
BUDGET = Budget(iterations=6)
PROBLEM = family(FAMILY).make_problem("tiny-8")
TRUE = PROBLEM.sample(Streams.from_seed(3, 2))


def scored_by_noise(seed):
    """The same rooms with noise in place of the scored windows and their labels."""
    streams = Streams.from_seed(seed, TRUE.batch_size)
    return TRUE.replace(
        score=2 * streams.normal("score", *TRUE.score.shape[1:]),
        score_label=streams.normal("label", *TRUE.score_label.shape[1:]),
    )


def is_blind(solver, *, budget=BUDGET):
    """True if three different scored splits lead to one decision, status and trace."""
    found = [
        solver.solve(PROBLEM, instance, budget=budget, seed=1)
        for instance in (TRUE, scored_by_noise(11), scored_by_noise(12))
    ]
    return all(
        torch.equal(found[0].decision.mask, other.decision.mask)
        and torch.equal(found[0].status, other.status)
        and (found[0].trace is None or torch.equal(found[0].trace.objective, other.trace.objective))
        for other in found[1:]
    )


@pytest.mark.parametrize("name", [name for name in solvers(FAMILY) if name not in ORACLES])
def test_solver__does_not_look_at_the_scored_windows(name):
    assert is_blind(make_solver(FAMILY, name))


def test_oracles__say_so_and_only_they_certify_the_scored_error():
    for name, kind in solvers(FAMILY).items():
        if name in ORACLES:
            assert "score" in kind.summary or "optimum" in kind.summary
            assert not is_blind(make_solver(FAMILY, name), budget=Budget())
        else:
            found = make_solver(FAMILY, name).solve(PROBLEM, TRUE, budget=BUDGET)
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
    assert not is_blind(Peeping())
