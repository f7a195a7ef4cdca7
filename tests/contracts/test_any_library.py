"""Results depend neither on the device nor on what libraries leave open: phases of eigenvectors."""

import gymnasium
import numpy as np
import pytest
import torch

from baselines.registry import make_solver, solvers
from isac_gym.core import Budget, Streams, family
from tests.conftest import environment_ids, lightest_preset, problem_names
from tests.contracts.test_solvers import QUICK, SLOW

LANES, STEPS = 5, 4
FEW = Budget(iterations=6)


def each_solver():
    for name in problem_names():
        for solver in solvers(name):
            marks = [pytest.mark.slow] if solver in SLOW else []
            yield pytest.param(name, solver, id=f"{name}-{solver}", marks=marks)


def solved(name, solver, device="cpu"):
    """Objective of a few iterations, scored on the CPU, and the solution."""
    problem = family(name).make_problem(lightest_preset(name))
    instance = problem.sample(Streams.from_seed(5, LANES))
    maker = make_solver(name, solver, **QUICK.get(solver, {}))
    solution = maker.solve(problem, instance.to(device), budget=FEW)
    decision = problem.project(instance, solution.decision.to("cpu"))
    return problem.metrics(instance, decision).objective, solution


def played(environment, device="cpu"):
    """Rewards and last observations under actions that differ between lanes and steps."""
    envs = gymnasium.make_vec(environment, num_envs=LANES, device=device)
    envs.reset(seed=3)
    shape = (STEPS, *envs.action_space.shape)
    actions = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    steps = [envs.step(action) for action in actions]
    return np.stack([step[1] for step in steps]), steps[-1][0]


def tensors(solution):
    """All tensors of a solution by name."""
    found = dict(solution.decision.items())
    found |= {"status": solution.status, "iterations": solution.iterations}
    if solution.trace is not None:
        found |= {"trace": solution.trace.objective, "length": solution.trace.length}
    if solution.certificate is not None:
        found["bound"] = solution.certificate.bound
    return found


@pytest.fixture
def turned(monkeypatch):
    """``turned()`` turns eigenvectors by fixed random phases from then on, as a library may."""
    eigh, generator = torch.linalg.eigh, torch.Generator().manual_seed(0)

    def other(matrix):
        value, vector = eigh(matrix)
        angle = 2 * torch.pi * torch.rand(value.shape, generator=generator, dtype=value.dtype)
        phase = torch.polar(torch.ones_like(angle), angle)
        phase = phase if vector.is_complex() else phase.real.sign()
        return value, vector * phase[..., None, :]

    return lambda: monkeypatch.setattr(torch.linalg, "eigh", other)


@pytest.mark.parametrize(("name", "solver"), list(each_solver()))
def test_solver__whatever_the_phases_of_eigenvectors(name, solver, turned):
    here, mine = solved(name, solver)
    turned()
    there, theirs = solved(name, solver)
    torch.testing.assert_close(there, here, rtol=1e-9, atol=1e-9)
    assert torch.equal(theirs.status, mine.status)


@pytest.mark.parametrize("environment", environment_ids())
def test_environment__whatever_the_phases_of_eigenvectors(environment, turned):
    here = played(environment)
    turned()
    there = played(environment)
    np.testing.assert_allclose(there[0], here[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(there[1], here[1], rtol=1e-6, atol=1e-6)  # float32


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "solver"), [(name, solver) for name in problem_names() for solver in solvers(name)]
)
def test_solver__agrees_on_a_gpu_and_stays_there(name, solver):
    here, mine = solved(name, solver)
    there, theirs = solved(name, solver, "cuda")
    torch.testing.assert_close(there, here, rtol=1e-9, atol=1e-9)
    assert torch.equal(theirs.status.cpu(), mine.status)
    assert {key for key, tensor in tensors(theirs).items() if tensor.device.type != "cuda"} == set()


@pytest.mark.gpu
@pytest.mark.parametrize("environment", environment_ids())
def test_environment__agrees_on_a_gpu(environment):
    here, there = played(environment), played(environment, "cuda")
    np.testing.assert_allclose(there[0], here[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(there[1], here[1], rtol=1e-6, atol=1e-6)
