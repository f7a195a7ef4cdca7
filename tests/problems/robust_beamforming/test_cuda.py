"""The same numbers on a GPU; every test needs one."""

import gymnasium
import numpy as np
import pytest
import torch

import isac_gym  # noqa: F401 - registers the environments
from baselines.learned import FitPlan
from baselines.registry import make_solver
from isac_gym.core import Budget, Streams, family
from isac_gym.physics.worst_case import worst_case

pytestmark = pytest.mark.gpu


def draw(count=64, preset="paper"):
    problem = family("robust_beamforming").make_problem(preset)
    return problem, problem.sample(Streams.from_seed(5, count))


@pytest.mark.parametrize("preset", ["paper", "two-users", "random-targets", "bandlimited"])
def test_worst_case__agrees_with_the_cpu(preset):
    problem, instance = draw(preset=preset)
    decision = problem.floor(instance)
    arguments = (
        instance.channel,
        instance.radius,
        decision.beam,
        problem.covariance(decision),
    )
    here, there = worst_case(*arguments), worst_case(*(t.to("cuda") for t in arguments))
    torch.testing.assert_close(there.sinr.cpu(), here.sinr, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(there.lower.cpu(), here.lower, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["pga", "relaxation", "boblrbf", "rzf-split"])
def test_solver__agrees_with_the_cpu(name):
    problem, instance = draw(16)
    solver, few = make_solver("robust_beamforming", name), Budget(iterations=5)
    here = solver.solve(problem, instance, budget=few)
    there = solver.solve(problem, instance.to("cuda"), budget=few)
    values = [
        problem.evaluate(instance, problem.project(instance, s.decision.to("cpu"))).objective
        for s in (here, there)
    ]
    torch.testing.assert_close(*values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["boblrbf-dnn", "boblrbf-dnn-features", "boblrbf-dnn-gradient"])
def test_fit__runs_on_the_gpu(name):
    problem, _ = draw(1)
    plan = FitPlan(steps=3, batch=16, evaluations=1, device="cuda")
    fitted = type(make_solver("robust_beamforming", name)).fit(problem, plan)
    assert all(np.isfinite(point[3]) for point in fitted.curve)


@pytest.mark.parametrize(
    "environment",
    ["isac/RobustBeamformingStatic-v0", "isac/RobustBeamforming-v0", "isac/PowerControl-v0"],
)
def test_vector_env__agrees_with_the_cpu(environment):
    rewards = []
    for device in ("cpu", "cuda"):
        envs = gymnasium.make_vec(environment, num_envs=8, device=device)
        envs.reset(seed=3)
        shape = envs.action_space.shape
        actions = np.linspace(-1, 1, 5 * int(np.prod(shape)), dtype=np.float32).reshape(5, *shape)
        rewards.append(np.stack([envs.step(action)[1] for action in actions]))
    np.testing.assert_allclose(rewards[1], rewards[0], rtol=1e-6, atol=1e-8)
