import math

import pytest
import torch

from isac_gym.core import Streams, family
from isac_gym.physics.a_optimal import error_bound, joint_design
from isac_gym.problems.multi_user_imaging.probing_actions import (
    closed_form,
    coded_factor,
    coded_mixture,
    coded_weights,
    equal_power,
    factor_of,
    mixture,
    planned,
    power_of,
    probing_task,
    root_of,
    spectral,
)


def start(preset="small", lanes=6):
    problem = family("imaging_design").make_problem(preset)
    return problem, problem.sample(Streams.from_seed(3, lanes))


def random_factor(lanes, count, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(lanes, count, count, dtype=torch.complex128, generator=generator)


@pytest.mark.parametrize("preset", ["small", "paper", "joint"])
def test_transmit__meets_power_and_sinr_exactly(preset):
    problem, instance = start(preset)
    form = closed_form(problem, instance)
    decision = form.transmit(random_factor(6, problem.scenario.num_antennas))
    metrics = problem.evaluate(instance, decision)
    torch.testing.assert_close(metrics.power_w, instance.max_power_w)
    reachable = metrics.is_reachable
    wanted = torch.full_like(metrics.sinr, problem.scenario.min_sinr)
    torch.testing.assert_close(metrics.sinr[reachable], wanted[reachable], rtol=1e-9, atol=0)
    assert (metrics.sinr[reachable] >= problem.scenario.min_sinr).all()


@pytest.mark.parametrize("preset", ["small", "paper", "joint"])
def test_transmit__meets_power_and_sinr_in_single_precision(preset):
    problem, instance = start(preset, lanes=200)
    instance = instance.to("cpu", torch.float32)
    factor = random_factor(200, problem.scenario.num_antennas).to(torch.complex64)
    metrics = problem.evaluate(instance, closed_form(problem, instance).transmit(factor))
    reachable = metrics.is_reachable
    assert (metrics.sinr[reachable] >= problem.scenario.min_sinr).all()
    assert (metrics.violation[reachable] <= 8 * torch.finfo(torch.float32).eps).all()


def test_power_of__is_that_of_the_metrics():
    problem, instance = start("paper")
    decision = problem.floor(instance)
    torch.testing.assert_close(power_of(decision), problem.evaluate(instance, decision).power_w)


def test_transmit__share_scales_the_room_only():
    problem, instance = start("paper")
    form = closed_form(problem, instance)
    half = form.transmit(random_factor(6, 16), torch.full((6,), 0.5, dtype=torch.float64))
    metrics = problem.evaluate(instance, half)
    torch.testing.assert_close(metrics.power_w, form.least + form.room / 2)
    assert (metrics.sinr >= problem.scenario.min_sinr).all()
    torch.testing.assert_close(form.shape(half)[1], torch.full((6,), 0.5, dtype=torch.float64))


def test_maps__are_undone():
    problem, instance = start("paper")
    basis = torch.linalg.qr(random_factor(6, 16))[0]
    generator = torch.Generator().manual_seed(4)
    shares = 2 * torch.rand(6, 16, dtype=torch.float64, generator=generator) - 1
    factor = spectral(basis, shares)
    torch.testing.assert_close(spectral(basis, coded_weights(basis, factor)), factor)
    entries = 2 * torch.rand(6, 512, dtype=torch.float64, generator=generator) - 1
    factor = factor_of(basis, entries)
    form = closed_form(problem, instance)
    again = factor_of(basis, coded_factor(basis, factor))
    torch.testing.assert_close(form.transmit(again).probe, form.transmit(factor).probe)


def test_mixture__is_undone_where_plans_are_equal():
    problem, instance = start("paper")
    _, plan = planned(problem, instance, iterations=10, tolerance=1e-3)
    plans = torch.stack([equal_power(plan), plan, plan], 1)
    action = torch.tensor([[0.3, -1.0, 1.0]], dtype=torch.float64).expand(6, -1)
    factor = mixture(plans, action)
    torch.testing.assert_close(mixture(plans, coded_mixture(plans, factor)), factor)
    weight = (4 * action).softmax(-1)
    wanted = (weight[..., None, None] * plans).sum(1)
    torch.testing.assert_close(factor @ factor.mH, wanted)


def test_planned__closed_form_is_worth_the_optimum():
    problem, instance = start("paper")
    found, plan = planned(problem, instance, iterations=100, tolerance=1e-7)
    decision = closed_form(problem, instance).transmit(root_of(plan))
    bound = problem.evaluate(instance, decision).error_bound
    assert ((bound / found.lower - 1).abs() < 1e-6).all()
    torch.testing.assert_close(
        error_bound(probing_task(problem, instance), found.covariance), found.value
    )


def test_planned__closed_form_is_near_the_joint_optimum():
    problem, instance = start("joint")
    _, plan = planned(problem, instance, iterations=100, tolerance=1e-7)
    decision = closed_form(problem, instance).transmit(root_of(plan))
    bound = problem.evaluate(instance, decision).error_bound
    best = joint_design(probing_task(problem, instance)).lower
    assert (bound > best).all()
    assert float((best / bound).mean()) > 0.94


@pytest.mark.parametrize("values", [[1.0, 1, 1, 1], [1.0, 1, 2, 2], [0.1, 1, 2, 3]])
def test_root_of__gradient_does_not_mind_repeated_eigenvalues(values):
    basis = torch.linalg.qr(random_factor(1, 4))[0]
    whole = (basis * torch.tensor(values).sqrt()).requires_grad_()
    assert torch.autograd.gradcheck(lambda half: root_of(half @ half.mH), whole)
    root = root_of(whole @ whole.mH)
    torch.testing.assert_close(root @ root, whole @ whole.mH)
    torch.testing.assert_close(root, root_of((whole @ whole.mH).detach()), rtol=0, atol=0)


def test_root_of__gradient_is_finite_where_the_matrix_is_singular():
    half = random_factor(3, 4)[..., :2].clone()
    half[1] = 0
    half.requires_grad_()
    root_of(half @ half.mH).abs().square().sum().backward()
    assert half.grad.isfinite().all()
    assert (half.grad[0] != 0).any()


def test_spectral__ratio_of_shares():
    basis = equal_power(torch.zeros(1, 4, 4, dtype=torch.complex128)) * 4
    action = torch.tensor([[1.0, -1.0, -1.0, -1.0]], dtype=torch.float64)
    share = spectral(basis, action).abs().square().sum((0, 1))
    assert math.isclose(share[0] / share[1], math.exp(10))
