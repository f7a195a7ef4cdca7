"""CVXPY agrees with the batched solvers, and what algorithm 1's alpha does."""

import numpy as np
import pytest
import torch

from baselines.convex.ota_feel import AlgorithmOne, DeviceProgramme, LiftedSdp, SensingSdp
from baselines.front import solve
from baselines.ota_feel.lifted import lifted_bound, lifted_task
from baselines.ota_feel.sensing import least_bound, sensing_task
from isac_gym.core import Budget, ScenarioError
from isac_gym.physics.aggregation import mmse_receivers
from isac_gym.physics.precoding import precoder_step
from isac_gym.problems.ota_feel.model import gains
from tests.baselines.ota_feel.certificate_cases import drawn


@pytest.mark.parametrize("changes", [{}, {"weight_spread": 1.0}, {"snr_db": 0.0}])
def test_lifted__optimum_is_that_of_the_programme(changes):
    problem, instance = drawn("small", 2, sensing_weight=0.0, **changes)
    task = lifted_task(instance, problem.scenario.noise_w)
    found = lifted_bound(task, iterations=1500)
    programme = LiftedSdp.compiled(4, 4, 2)
    for lane in range(2):
        value = programme.solve(task.channel[lane].numpy(), task.weight[lane].numpy())
        assert float(found.lower[lane]) == pytest.approx(value, rel=1e-5)
        assert float(found.value[lane]) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("array", ["upa", "vertical"])
def test_sensing__optimum_is_that_of_the_programme(array):
    problem, instance = drawn("sensing", 2, num_devices=5, array=array)
    task = sensing_task(problem, instance)
    found = least_bound(problem, instance, tolerance=1e-9)
    for lane in range(2):
        programme = SensingSdp.compiled(5, 4)
        value = programme.solve(task.kernel[lane].numpy(), task.prior[lane].numpy())
        assert float(found.score[lane].exp()) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("pulse", ["none", "dft"])
def test_device_step__is_that_of_the_programme_to_1e_8(pulse):
    problem, instance = drawn("small", 1, pulse=pulse, weight_spread=0.5)
    gain = gains(instance, problem.floor(instance))
    receiver = mmse_receivers(gain, instance.weight, problem.scenario.noise_w)
    receiver = receiver.sum(1) if pulse == "none" else receiver
    i = instance
    exact = precoder_step(i.channel, i.weight, i.max_power_w, receiver, pulse=pulse)
    for k in range(4):
        h, m = i.channel[0, k].numpy(), receiver[0].numpy()
        whole, own = (m[None], m) if pulse == "none" else (m, m[k])
        seen = np.einsum("nm,lnr->lmr", h.conj(), whole)
        gram = np.einsum("lmr,lqr->mq", seen, seen.conj())
        wanted = (h.conj().T @ own) * i.weight[0, k].numpy()
        found, alpha = DeviceProgramme.compiled(4, 2).solve(gram, wanted, 1.0)
        assert np.linalg.norm(found) ** 2 <= alpha + 1e-6 <= 1 + 2e-6
        costs = [
            (np.trace(c.conj().T @ gram @ c) - 2 * np.trace(wanted.conj().T @ c)).real
            for c in (found, exact[0, k].resolve_conj().numpy())
        ]
        assert costs[0] == pytest.approx(costs[1], abs=1e-8)


def test_algorithm_one__improves_and_keeps_budgets():
    problem, instance = drawn("small", 2, sensing_weight=0.0)
    found = solve(problem, instance, AlgorithmOne(iterations=4))
    metrics = problem.evaluate(instance, found.decision)
    assert metrics.violation.max() <= 1e-9
    assert (metrics.nmse < problem.evaluate(instance, problem.floor(instance)).nmse).all()
    assert (found.iterations <= 4).all()
    spread = torch.full_like(instance.max_power_w, problem.scenario.max_power_w)
    torch.testing.assert_close(metrics.power_w, spread)  # normalised: always full power


def test_algorithm_one__alpha_matters_where_devices_should_hold_back():
    problem, instance = drawn("path-loss", 1, snr_db=30.0)
    exact = solve(problem, instance, "ao", budget=Budget(iterations=10)).decision
    best = float(problem.evaluate(instance, exact).nmse)
    for alpha in ("normalised", "solver"):
        found = solve(problem, instance, AlgorithmOne(alpha=alpha)).decision
        assert float(problem.evaluate(instance, found).nmse) > 1.2 * best


@pytest.mark.parametrize("field", [{"iterations": 0}, {"alpha": "any"}, {"tolerance": 0.0}])
def test_algorithm_one__refuses_nonsense(field):
    with pytest.raises(ScenarioError, match=next(iter(field))):
        AlgorithmOne(**field)
