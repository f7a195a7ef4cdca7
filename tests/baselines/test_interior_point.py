from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog

from baselines.interior_point import Expansion, duality_gap, minimise
from isac_gym.core import Status


class Quadratic(NamedTuple):
    """Minimise 1/2 x'Px + q'x subject to Ax <= b."""

    p: torch.Tensor
    q: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor

    is_convex = True

    def expand(self, point):
        return Expansion(self.p @ point + self.q, self.a @ point - self.b, self.a)

    def hessian(self, point, multiplier):
        return self.p


class Saddle(Quadratic):
    is_convex = False


def random_linear(batch=16, size=4, seed=0):
    rng = np.random.default_rng(seed)
    a = np.concatenate([rng.normal(size=(batch, 6, size)), np.tile(np.eye(size), (batch, 1, 1))], 1)
    a = np.concatenate([a, -np.tile(np.eye(size), (batch, 1, 1))], 1)
    b = np.ones((batch, a.shape[1], 1))
    q = rng.normal(size=(batch, size, 1))
    return q, a, b


def test_minimise__solves_linear_programmes_to_the_gap():
    q, a, b = random_linear()
    zero = np.zeros((16, 4, 4))
    programme = Quadratic(*map(torch.from_numpy, (zero, q, a, b)))
    best = minimise(programme, torch.zeros(16, 4).double(), iterations=50, tolerance=1e-9)
    assert (best.status == int(Status.CONVERGED)).all()
    value = (programme.q[:, :, 0] * best.point).sum(-1).numpy()
    exact = [linprog(q[i, :, 0], a[i], b[i, :, 0], bounds=(None, None)).fun for i in range(16)]
    np.testing.assert_allclose(value, exact, atol=1e-9)
    gap = duality_gap(programme, best, diameter=2.0)
    assert gap.max() < 1e-8
    assert (value - gap.numpy() <= np.array(exact) + 1e-12).all()


def test_minimise__result_of_a_lane_does_not_depend_on_its_neighbours():
    q, a, b = map(torch.from_numpy, random_linear())
    p = torch.eye(4).double().expand(16, -1, -1)
    start = torch.zeros(16, 4).double()
    whole = minimise(Quadratic(p, q, a, b), start, iterations=50, tolerance=1e-9)
    for i in (0, 7):
        row = slice(i, i + 1)
        part = Quadratic(p[row], q[row], a[row], b[row])
        alone = minimise(part, start[row], iterations=50, tolerance=1e-9)
        assert torch.equal(alone.point[0], whole.point[i])
        assert alone.iterations[0] == whole.iterations[i]


def test_minimise__descends_from_a_saddle():
    p = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))[None]
    q = torch.tensor([[[0.0], [0.1]]], dtype=torch.float64)
    a = torch.cat([torch.eye(2), -torch.eye(2)]).double()[None]
    b = torch.ones(1, 4, 1).double()
    best = minimise(
        Saddle(p, q, a, b), torch.tensor([[0.5, 0.0]]).double(), iterations=50, tolerance=1e-9
    )
    torch.testing.assert_close(best.point, torch.tensor([[0.0, -1.0]]).double(), atol=1e-8, rtol=0)


def test_minimise__a_lane_that_breaks_fails_alone():
    q, a, b = map(torch.from_numpy, random_linear())
    q[3] = torch.nan
    programme = Quadratic(torch.zeros(16, 4, 4).double(), q, a, b)
    status = minimise(
        programme, torch.zeros(16, 4).double(), iterations=50, tolerance=1e-8
    ).status.tolist()
    assert status.pop(3) == int(Status.FAILED)
    assert set(status) == {int(Status.CONVERGED)}


def test_minimise__spends_its_budget():
    q, a, b = map(torch.from_numpy, random_linear())
    programme = Quadratic(torch.zeros(16, 4, 4).double(), q, a, b)
    best = minimise(programme, torch.zeros(16, 4).double(), iterations=2, tolerance=1e-9)
    assert (best.status == int(Status.BUDGET_SPENT)).all()
    assert (best.iterations == 2).all()
