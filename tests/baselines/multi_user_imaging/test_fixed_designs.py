"""Designs without optimisation."""

import pytest
import torch

from baselines.front import solve
from baselines.multi_user_imaging.fixed_designs import Isotropic, Matched, MrtOnly
from isac_gym.core import Status
from tests.baselines.multi_user_imaging.test_a_optimal import drawn


@pytest.mark.parametrize("solver", [Isotropic(), MrtOnly(), Matched()])
@pytest.mark.parametrize("information", ["step1", "joint"])
def test_fixed__uses_the_budget_within_the_constraints(solver, information):
    problem, instance = drawn(information=information)
    found = solve(problem, instance, solver)
    metrics = problem.evaluate(instance, found.decision)
    assert found.has_converged.all()
    assert metrics.violation.max() <= 1e-9
    torch.testing.assert_close(metrics.power_w, instance.max_power_w)


def test_mrt_only__has_the_largest_sinr_and_tells_nothing():
    problem, instance = drawn()
    metrics = problem.evaluate(instance, solve(problem, instance, MrtOnly()).decision)
    most = instance.max_power_w * instance.comm_channel.abs().square().sum(-1)
    torch.testing.assert_close(metrics.sinr, most / problem.scenario.comm_noise_w)
    prior = problem.scenario.num_voxels * problem.scenario.prior_variance
    torch.testing.assert_close(metrics.error_bound, torch.full_like(most, prior))


def test_matched__one_beam_silent_at_the_user():
    problem, instance = drawn()
    decision = solve(problem, instance, Matched()).decision
    heard = instance.comm_channel.conj()[:, None] @ decision.probe
    assert heard.abs().max() <= 1e-12
    assert (torch.linalg.matrix_rank(decision.probe, rtol=1e-9) == 1).all()


def test_fixed__marks_what_cannot_be_reached():
    problem, instance = drawn()
    instance = instance.replace(comm_channel=1e-3 * instance.comm_channel)
    found = solve(problem, instance, Isotropic())
    assert (found.status == int(Status.INFEASIBLE)).all()
