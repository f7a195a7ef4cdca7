"""The paper's Algorithm 3 against the convex optimum of the same objective."""

import pytest
import torch

from baselines.front import solve
from baselines.multi_user_imaging.a_optimal import probing_task
from baselines.multi_user_imaging.penalty_dca import PenaltyDca, PenaltyDcaRandomised
from isac_gym.core import Budget, ScenarioError, Status
from isac_gym.physics.a_optimal import joint_priority
from tests.baselines.multi_user_imaging.test_a_optimal import drawn


def test_penalty_dca__improves_but_never_beats_the_convex_optimum_of_its_score():
    problem, instance = drawn(information="joint", min_sinr_db=-40.0)
    task = probing_task(problem, instance)
    best = joint_priority(task, torch.full((4,), 0.3).double())
    free = joint_priority(task, torch.zeros(4).double()).value
    most = instance.max_power_w * instance.comm_channel.abs().square().sum(-1)

    def score(iterations):
        found = solve(problem, instance, PenaltyDca(priority=0.3, iterations=iterations))
        metrics = problem.evaluate(instance, found.decision)
        assert metrics.violation.max() <= 1e-9
        sinr = metrics.sinr * problem.scenario.comm_noise_w / most
        return 0.7 * metrics.error_bound / free - 0.3 * sinr

    first, last = score(1), score(200)
    assert (last < first).all()
    assert (last >= best.lower - 1e-9).all()  # and often stays far: SINR is a ratio, not convex


def test_penalty_dca_randomised__sends_one_beam():
    problem, instance = drawn()
    found = solve(problem, instance, PenaltyDcaRandomised(), budget=Budget(iterations=50))
    full = solve(problem, instance, PenaltyDca(), budget=Budget(iterations=50))
    assert (torch.linalg.matrix_rank(found.decision.probe, rtol=1e-9) <= 1).all()
    sent, kept = (problem.evaluate(instance, f.decision).objective for f in (found, full))
    assert (sent < kept).all()
    assert (found.status == int(Status.BUDGET_SPENT)).all()


def test_penalty_dca__refuses_nonsense():
    for field in ({"priority": 2.0}, {"iterations": 0}, {"tolerance": -1.0}, {"penalty": 0.0}):
        with pytest.raises(ScenarioError):
            PenaltyDca(**field)
    with pytest.raises(ScenarioError):
        PenaltyDcaRandomised(draws=0)
