import pytest
import torch

from baselines.interior_point import minimise
from baselines.ota_feel.receive_sca import _surrogate
from baselines.ota_feel.uniform_forcing import best_subspace, inversion_load
from baselines.registry import make_solver
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.core.solution import Status
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario


def drawn(preset="coherent", batch=4, **fields):
    problem = family("ota_feel").make_problem(preset)
    if fields:
        problem = OtaFeel(scenario=OtaFeelScenario(pulse="none", **fields))
    return problem, problem.sample(Streams.from_seed(0, batch))


def vector_of(receiver):
    return torch.view_as_real(receiver).flatten(1)[:, :, None]


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_surrogate__touches_the_load_and_lies_above_it(tasks):
    _, instance = drawn(num_tasks=tasks)
    receiver, load = best_subspace(instance, 2, seed=0)
    surrogate = _surrogate(instance, receiver)
    loads = inversion_load(instance, receiver) / load[:, None]
    at = surrogate.expand(vector_of(receiver)).constraint[:, :, 0]
    torch.testing.assert_close(at, loads - 1)
    for trial in range(20):
        noise = Streams.from_seed(trial, 4).complex_normal("m", *receiver.shape[1:])
        other = 1.1 * receiver + 0.005 * noise  # inside the domain L > 0
        above = surrogate.expand(vector_of(other)).constraint[:, :, 0]
        true = inversion_load(instance, other) / load[:, None] - 1
        assert (above >= true - 1e-9).all()


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_surrogate__derivatives_are_those_of_autograd(tasks):
    _, instance = drawn(batch=2, num_tasks=tasks)
    receiver, _ = best_subspace(instance, 2, seed=0)
    surrogate = _surrogate(instance, receiver)
    point = vector_of(1.05 * receiver)
    multiplier = Streams.from_seed(1, 2).uniform("y", 15, 1)

    def lagrangian(v):
        return (multiplier * surrogate.expand(v).constraint).sum() + v.square().sum()

    leaf = point.clone().requires_grad_()
    (slope,) = torch.autograd.grad(lagrangian(leaf), leaf)
    at = surrogate.expand(point)
    torch.testing.assert_close(slope, at.gradient + at.jacobian.mT @ multiplier)
    full = torch.autograd.functional.hessian(lagrangian, point)
    own = torch.stack([full[b, :, 0, b, :, 0] for b in range(2)])
    torch.testing.assert_close(surrogate.hessian(point, multiplier), own)


def test_surrogate__interior_point_method_equals_cvxpy():
    cp = pytest.importorskip("cvxpy")
    _, instance = drawn(batch=1, num_devices=4, server_antennas=6, num_tasks=2)
    receiver, _ = best_subspace(instance, 2, seed=0)
    surrogate = _surrogate(instance, receiver)
    start = vector_of(1.02 * receiver)[:, :, 0]
    found = minimise(surrogate, start, iterations=60, tolerance=1e-9, barrier=0.01)
    m, m_0 = cp.Variable((6, 2), complex=True), receiver[0].numpy()
    limits = []
    for k in range(4):
        h = instance.channel[0, k].numpy()
        f_0 = h.conj().T @ m_0
        level = f_0.conj().T @ h.conj().T @ m
        level = level + level.H - f_0.conj().T @ f_0
        columns = surrogate.weight[0, k].numpy()  # tr W L^-1 W, one column of W at a time
        parts = [
            cp.matrix_frac(columns[r] * torch.eye(2)[r].numpy(), (level + level.H) / 2)
            for r in range(2)
        ]
        limits.append(sum(parts) <= 1)
    programme = cp.Problem(cp.Minimize(cp.sum_squares(m)), limits)
    programme.solve(solver=cp.CLARABEL)
    assert float(found.point.square().sum()) == pytest.approx(programme.value, rel=1e-6)


@pytest.mark.parametrize(
    ("preset", "best"), [("low-snr", 0.0219), ("coherent", 0.0023), ("high-snr", 0.00028)]
)
def test_receive_sca__is_about_the_best_that_the_specification_knows(preset, best):
    problem, instance = drawn(preset, 16)
    solution = make_solver("ota_feel", "uniform-forcing-sca", iterations=30).solve(
        problem, instance
    )
    found = problem.evaluate(instance, solution.decision)
    assert float(found.nmse.median()) < 1.03 * best
    assert (found.violation <= 1e-12).all()


@pytest.mark.parametrize("fields", [{"num_tasks": 1}, {"num_tasks": 3}, {"weight_spread": 1.0}])
def test_receive_sca__never_raises_the_noise_of_inversion(fields):
    problem, instance = drawn(**fields)
    noise = []
    for count in (1, 3, 8):
        solver = make_solver("ota_feel", "uniform-forcing-sca", iterations=count)
        decision = solver.solve(problem, instance).decision
        noise.append(problem.evaluate(instance, decision).mse)
    plain = make_solver("ota_feel", "uniform-forcing").solve(problem, instance).decision
    first = problem.evaluate(instance, plain).mse
    assert (noise[0] < first).all()
    assert (noise[1] < noise[0]).all()
    assert (noise[2] < noise[1]).all()


def test_receive_sca__a_lane_does_not_depend_on_its_batch():
    problem, instance = drawn()
    solver = make_solver("ota_feel", "uniform-forcing-sca", iterations=4)
    whole = solver.solve(problem, instance)
    for row in range(4):
        alone = solver.solve(problem, instance[row : row + 1])
        torch.testing.assert_close(
            alone.decision.precoder[0], whole.decision.precoder[row], rtol=1e-6, atol=1e-8
        )


def test_receive_sca__lanes_stop_by_themselves():
    problem, instance = drawn("small", 8)
    solution = make_solver("ota_feel", "uniform-forcing-sca").solve(problem, instance)
    assert (solution.status == int(Status.CONVERGED)).all()
    assert len(set(solution.iterations.tolist())) > 1


def test_receive_sca__a_channel_without_rank_fails_alone():
    problem, instance = drawn(batch=3)
    solver = make_solver("ota_feel", "uniform-forcing-sca", iterations=2)
    good = solver.solve(problem, instance)
    instance.channel[1, 4] = 0
    bad = solver.solve(problem, instance)
    assert bad.status.tolist()[1] == int(Status.FAILED)
    assert torch.equal(bad.decision.precoder[[0, 2]], good.decision.precoder[[0, 2]])


@pytest.mark.parametrize(
    ("field", "value"), [("iterations", 0), ("candidates", 0), ("tolerance", -1.0)]
)
def test_receive_sca__bad_fields_are_named(field, value):
    with pytest.raises(ScenarioError, match=field):
        make_solver("ota_feel", "uniform-forcing-sca", **{field: value})
