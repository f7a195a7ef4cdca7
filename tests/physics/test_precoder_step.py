import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from isac_gym.core.random import Streams
from isac_gym.physics.precoder_step import (
    budget_multiplier,
    limited_precoders,
    shared_precoders,
    sum_precoders,
)


def drawn(batch=3, devices=4, antennas=4, tasks=2, rank=None, seed=1):
    """Gram matrices of a given rank and wanted directions in their range."""
    streams = Streams.from_seed(seed, batch)
    factor = streams.complex_normal("f", devices, antennas, antennas if rank is None else rank)
    gram = factor @ factor.mH
    return gram, gram @ streams.complex_normal("b", devices, antennas, tasks)


def cost(gram, wanted, c):
    quadratic = (c.conj() * (gram @ c)).real.sum((-2, -1))
    return quadratic - 2 * (wanted.conj() * c).real.sum((-2, -1))


def power(c):
    return c.abs().square().sum((-2, -1))


def test_budget_multiplier__is_zero_below_the_budget_and_meets_it_above():
    streams = Streams.from_seed(0, 500)
    value, size = streams.uniform("e", 4).square(), streams.uniform("c", 4)
    value[:100, 0] = size[:100, 0] = 0
    budget = 10 ** (4 * streams.uniform("p") - 2)
    nu = budget_multiplier(value, size, budget)
    spent = (size / (value + nu[:, None]).clamp_min(1e-100).square()).sum(-1)
    is_free = nu == 0
    assert 20 < int(is_free.sum()) < 480
    assert (spent[is_free] <= budget[is_free] * (1 + 1e-14)).all()
    torch.testing.assert_close(spent[~is_free], budget[~is_free], rtol=1e-13, atol=0)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("budget_w", [1e-3, 0.5, 1e3])
def test_limited_precoders__equal_cvxpy(rank, budget_w):
    cp = pytest.importorskip("cvxpy")
    gram, wanted = drawn(batch=1, devices=2, rank=rank)
    budget = torch.full((1, 2), budget_w, dtype=torch.float64)
    found = limited_precoders(gram, wanted, budget)
    assert (power(found) <= budget_w * (1 + 1e-12)).all()
    for k in range(2):
        root = torch.linalg.eigh(gram[0, k])
        half = (root.eigenvectors * root.eigenvalues.clamp_min(0).sqrt()).mH.resolve_conj().numpy()
        x = cp.Variable((4, 2), complex=True)
        linear = cp.real(cp.trace(wanted[0, k].mH.resolve_conj().numpy() @ x))
        limits = [cp.sum_squares(x) <= budget_w]
        wall = cp.Problem(cp.Minimize(cp.sum_squares(half @ x) - 2 * linear), limits)
        wall.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        mine = float(cost(gram, wanted, found)[0, k])
        assert mine == pytest.approx(wall.value, rel=1e-8)


@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("budget_w", [1e-3, 0.5, 1e6])
@pytest.mark.parametrize("kind", ["full", "parallel", "silent", "one-sided"])
def test_sum_precoders__equal_the_general_step(tasks, budget_w, kind):
    streams = Streams.from_seed(5, 6)
    seen = streams.complex_normal("f", 3, 4, tasks)
    weight = streams.uniform("w", 3, tasks)
    if kind == "parallel":
        seen[..., 1:] = (0.3 - 2j) * seen[..., :1]
    if kind == "silent":
        seen[:, 0] = 0
    if kind == "one-sided":
        seen[..., -1], weight[:, 0] = 0, 0
    budget = torch.full((6, 3), budget_w, dtype=torch.float64)
    gram, wanted = seen.conj() @ seen.mT, seen.conj() * weight[:, :, None, :]
    general = limited_precoders(gram, wanted, budget)
    special = sum_precoders(seen, weight, budget).mT
    assert special.isfinite().all()
    torch.testing.assert_close(special, general, rtol=1e-7, atol=1e-8 * float(general.abs().max()))
    difference = cost(gram, wanted, special) - cost(gram, wanted, general)
    assert (difference.abs() <= 1e-11).all()


def slsqp(gram, wanted, budget, least):
    """Best of many local searches over all devices of one instance, numbers only."""
    devices, antennas, tasks = wanted.shape
    half = devices * antennas * tasks

    def unpack(x):
        return (x[:half] + 1j * x[half:]).reshape(devices, antennas, tasks)

    def value(x):
        c = unpack(x)
        quadratic = np.einsum("kmr,kmn,knr->", c.conj(), gram, c).real
        return quadratic - 2 * (wanted.conj() * c).real.sum()

    def slope(x):
        g = 2 * (np.einsum("kmn,knr->kmr", gram, unpack(x)) - wanted).ravel()
        return np.concatenate([g.real, g.imag])

    def powers(x):
        return (np.abs(unpack(x)) ** 2).sum((1, 2))

    owner = np.tile(np.repeat(np.eye(devices), antennas * tasks, 1), 2)  # (K, 2 half)
    limits = [
        {"type": "ineq", "fun": lambda x: budget - powers(x), "jac": lambda x: -2 * owner * x},
        {
            "type": "ineq",
            "fun": lambda x: np.array([powers(x).sum() - least]),
            "jac": lambda x: 2 * x[None],
        },
    ]
    rng = np.random.default_rng(3)
    best = np.inf
    for _ in range(4):
        start = rng.normal(size=2 * half) * 0.3
        run = minimize(
            value,
            start,
            jac=slope,
            constraints=limits,
            method="SLSQP",
            options={"maxiter": 300, "ftol": 1e-15},
        )
        excess = np.maximum(powers(run.x) - budget, 0).max()
        if max(excess, least - powers(run.x).sum()) < 1e-11:
            best = min(best, run.fun)
    return best


@pytest.mark.parametrize(
    ("kind", "share"),
    [("full", 0.5), ("full", 0.9), ("full", 0.98), ("low rank", 0.9), ("hard", 0.9), ("hard", 0.6)],
)
def test_shared_precoders__equal_many_local_searches(kind, share):
    gram, wanted = drawn(
        batch=1, devices=3, antennas=2, seed=4, rank=1 if kind == "low rank" else 2
    )
    if kind == "hard":  # what is wanted is orthogonal to the weakest eigenvector
        vector = torch.linalg.eigh(gram).eigenvectors[..., :1]
        wanted = wanted - vector @ (vector.mH @ wanted)
    budget = torch.tensor([[1.0, 1.5, 2.0]], dtype=torch.float64)
    free = power(limited_precoders(gram, wanted / 10, budget)).sum()
    least = share * float(budget.sum())
    assert float(free) < 0.4 * float(budget.sum())  # the constraint binds
    found = shared_precoders(gram, wanted / 10, budget, torch.tensor([least], dtype=torch.float64))
    assert (power(found) <= budget * (1 + 1e-9)).all()
    assert float(power(found).sum()) >= least * (1 - 1e-9)
    mine = float(cost(gram, wanted / 10, found).sum())
    best = slsqp(gram[0].numpy(), wanted[0].numpy() / 10, budget[0].numpy(), least)
    assert mine == pytest.approx(best, rel=1e-9)


def test_shared_precoders__change_nothing_where_enough_is_spent_anyway():
    gram, wanted = drawn(batch=5)
    budget = torch.full((5, 4), 0.5, dtype=torch.float64)
    free = limited_precoders(gram, wanted, budget)
    least = 0.9 * power(free).sum(-1)
    torch.testing.assert_close(shared_precoders(gram, wanted, budget, least), free)


def test_shared_precoders__spend_null_space_power_at_no_cost():
    gram, wanted = drawn(batch=5, rank=2)
    budget = torch.full((5, 4), 20.0, dtype=torch.float64)
    free = limited_precoders(gram, wanted, budget)
    found = shared_precoders(gram, wanted, budget, budget.sum(-1))
    assert (power(free).sum(-1) < 0.9 * budget.sum(-1)).all()
    torch.testing.assert_close(power(found), budget, rtol=1e-9, atol=0)
    torch.testing.assert_close(cost(gram, wanted, found), cost(gram, wanted, free))


def test_shared_precoders__spend_everything_where_more_is_asked_for():
    gram, wanted = drawn(batch=2)
    budget = torch.full((2, 4), 30.0, dtype=torch.float64)
    found = shared_precoders(gram, wanted, budget, 2 * budget.sum(-1))
    torch.testing.assert_close(power(found), budget, rtol=1e-9, atol=0)


def test_steps__do_not_depend_on_the_batch():
    gram, wanted = drawn(batch=6)
    budget, least = torch.ones(6, 4, dtype=torch.float64), 3.9 * torch.ones(6, dtype=torch.float64)
    whole = shared_precoders(gram, wanted / 50, budget, least)
    for row in range(6):
        part = slice(row, row + 1)
        alone = shared_precoders(gram[part], wanted[part] / 50, budget[part], least[part])
        torch.testing.assert_close(alone, whole[part], rtol=1e-12, atol=1e-14)


def test_steps__bad_numbers_stay_in_their_lane():
    gram, wanted = drawn(batch=3)
    budget = torch.ones(3, 4, dtype=torch.float64)
    good = limited_precoders(gram, wanted, budget)
    gram[1, 2, 0, 0] = torch.nan
    found = limited_precoders(gram, wanted, budget)
    assert torch.equal(found[[0, 2]], good[[0, 2]])
    assert found[1, 2].isnan().any()
