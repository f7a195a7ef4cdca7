import pytest
import torch

from baselines.registry import make_solver
from baselines.subcarrier_selection.group_lasso import group_lasso, largest_penalty
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.core.solution import Budget, Status
from isac_gym.physics.convex_probe import probe_task
from isac_gym.testing import check_solver


def rooms(preset="small-16", batch=3):
    problem = family("subcarrier_selection").make_problem(preset)
    return problem, problem.sample(Streams.from_seed(0, batch))


def solved(problem, instance, budget=Budget(), **fields):
    solver = make_solver("subcarrier_selection", "group-lasso", **fields)
    return solver.solve(problem, instance, budget=budget)


def minimiser(windows, share, tolerance):
    """Coefficients (B, S, c, Y) and slopes X_s^T r at a share of the largest penalty."""
    _, i = rooms()
    task = probe_task(i.train[:, :windows], i.train_label[:, :windows], degree=1)
    penalty = share * largest_penalty(task, 16)
    matrix = task.gram if task.gram.shape[1] else task.feature @ task.feature.mT
    length = 1 / torch.linalg.eigvalsh(matrix)[:, -1]
    v, status, _ = group_lasso(
        task,
        penalty,
        torch.zeros_like(task.cross),
        length,
        tones=16,
        iterations=20_000,
        tolerance=tolerance,
    )
    image = task.gram @ v if task.gram.shape[1] else task.feature.mT @ (task.feature @ v)
    slope = (task.cross - image).unflatten(1, (16, -1))
    return v.unflatten(1, (16, -1)), slope, penalty, status


def test_group_lasso__meets_the_contract():
    problem, _ = rooms("tiny-8", 1)
    check_solver(make_solver("subcarrier_selection", "group-lasso"), problem)


@pytest.mark.parametrize("windows", [200, 30], ids=["tall", "wide"])
@pytest.mark.parametrize("share", [0.9, 0.3, 0.05])
def test_minimiser__satisfies_the_optimality_conditions(windows, share):
    v, slope, penalty, status = minimiser(windows, share, 1e-12)
    assert (status == int(Status.CONVERGED)).all()
    norm, pull = v.flatten(2).norm(dim=-1), slope.flatten(2).norm(dim=-1)
    assert (pull <= penalty[:, None] * (1 + 1e-4)).all()
    is_active = (norm > 1e-3 * norm.amax(1, keepdim=True))[..., None, None]
    wanted = penalty[:, None, None, None] * v / norm.clamp_min(1e-300)[..., None, None]
    miss = torch.where(is_active, slope - wanted, 0).flatten(2).norm(dim=-1)
    assert (miss <= 2e-3 * penalty[:, None]).all()


def test_path__stops_where_enough_are_active():
    problem, i = rooms()
    whole = solved(problem, i)
    assert (whole.status == int(Status.CONVERGED)).all()
    assert (whole.decision.mask.sum(-1) == 8).all()
    short = solved(problem, i, budget=Budget(iterations=2))
    assert (short.status == int(Status.BUDGET_SPENT)).all()
    assert (short.decision.mask.sum(-1) == 8).all()


def test_path__finds_the_subcarriers_that_carry_the_labels():
    problem, i = rooms()
    x = torch.randn(i.train.shape, generator=torch.Generator().manual_seed(1)).double()
    telling = [1, 4, 5, 8, 10, 13, 14, 15]
    for n, s in enumerate(telling):
        x[:, :, s, 0] += 2 * i.train_label[..., 2 + n % 3]
        x[:, :, s, 1] += 2 * i.train_label[..., n % 2]
    mask = solved(problem, i.replace(train=x)).decision.mask
    assert torch.equal(mask.nonzero()[:, 1].reshape(3, 8), torch.tensor(telling).expand(3, -1))


def test_path__flat_and_doubled_subcarriers_do_no_harm():
    problem, i = rooms()
    x = i.train.clone()
    x[:, :, 2], x[:, :, 6] = 0.5, x[:, :, 3]
    found = solved(problem, i.replace(train=x))
    assert (found.status == int(Status.CONVERGED)).all()
    assert not found.decision.mask[:, 2].any()
    nothing = solved(problem, i.replace(train=torch.zeros_like(x)), iterations=5)
    assert (nothing.status == int(Status.BUDGET_SPENT)).all()
    assert (nothing.decision.mask.sum(-1) == 8).all()


def test_path__sees_the_training_windows_only():
    problem, i = rooms()
    noise = torch.randn(i.val.shape, generator=torch.Generator().manual_seed(2)).double()
    masks = [solved(problem, each).decision.mask for each in (i, i.replace(val=noise, score=noise))]
    assert torch.equal(*masks)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"count": -1}, "count must be >= 0, got -1"),
        ({"count": 3}, r"count must be 0 or in \[6, 8\]"),
        ({"penalties": 1}, "penalties must be >= 2, got 1"),
        ({"least_penalty": 1.0}, r"least_penalty must be in \(0, 1\), got 1.0"),
        ({"least_penalty": float("nan")}, "least_penalty must be"),
        ({"iterations": 0}, "iterations must be >= 1, got 0"),
        ({"tolerance": 0.0}, "tolerance must be > 0, got 0"),
    ],
)
def test_group_lasso__refuses_bad_settings(fields, text):
    problem, i = rooms(batch=1)
    with pytest.raises(ScenarioError, match=text):
        solved(problem, i, **fields)
