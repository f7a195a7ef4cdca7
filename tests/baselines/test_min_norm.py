import cvxpy
import numpy as np
import pytest
import torch

from baselines.min_norm import min_norm_point


def draw(rows, size, *, decades=0.0, shared=0.0, seed=0, batch=20):
    """Random rows with norms spread over some decades and a shared part; about 70 % count."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    vectors = normal(batch, rows, size) + shared * normal(batch, 1, size)
    spread = torch.rand(batch, rows, 1, generator=generator, dtype=torch.float64) - 0.5
    is_row = torch.rand(batch, rows, generator=generator) < 0.7
    is_row[:, 0] = True
    return vectors * 10 ** (decades * spread), is_row


def direction_programme(vectors):
    """phi and d of the direction programme by Clarabel."""
    unit = np.linalg.norm(vectors, axis=1).min()
    phi, d = cvxpy.Variable(), cvxpy.Variable(vectors.shape[1])
    cost = cvxpy.Minimize(phi + cvxpy.sum_squares(d) / 2)
    problem = cvxpy.Problem(cost, [vectors / unit @ d <= phi])
    problem.solve(cvxpy.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return phi.value * unit**2, d.value * unit


CASES = {
    "random": {"rows": 18, "size": 240},
    "badly scaled": {"rows": 18, "size": 240, "decades": 4},
    "scaled, nearly parallel": {"rows": 18, "size": 240, "decades": 4, "shared": 3},
    "more rows than dimensions": {"rows": 18, "size": 10, "decades": 3, "shared": 3},
}


@pytest.mark.parametrize("case", CASES)
def test_min_norm_point__is_the_solution_of_the_direction_programme(case):
    vectors, is_row = draw(**CASES[case])
    weight, point = min_norm_point(vectors, is_row)
    for g, used, mine in zip(vectors, is_row, point, strict=True):
        phi, d = direction_programme(g[used].numpy())
        norm = np.linalg.norm(d)
        assert abs(-float(mine.square().sum()) / phi - 1) < 1e-6
        assert np.linalg.norm(d + mine.numpy()) < 1e-5 * norm
    assert (weight[~is_row] == 0).all()
    torch.testing.assert_close(weight.sum(-1), torch.ones(20).double(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_min_norm_point__meets_the_optimality_conditions(case):
    vectors, is_row = draw(**CASES[case], seed=1, batch=200)
    weight, point = min_norm_point(vectors, is_row)
    square = point.square().sum(-1, keepdim=True)
    along = (vectors @ point[:, :, None])[:, :, 0]
    assert (weight >= 0).all()
    assert (along >= square * (1 - 1e-7))[is_row].all()  # G d <= phi
    assert (along <= square * (1 + 1e-7))[weight > 1e-12].all()  # complementary slackness


def test_min_norm_point__of_a_hull_around_the_origin_is_zero():
    corners = torch.tensor([[[1.0, 0], [-1, 1], [-1, -1]]]).double() * 1e3
    _, point = min_norm_point(corners, torch.ones(1, 3, dtype=torch.bool))
    assert point.abs().max() < 1e-4
    vectors, is_row = draw(18, 4, decades=3, batch=100)
    _, point = min_norm_point(vectors, is_row | True)
    assert (point.norm(dim=-1) < 1e-5 * vectors.norm(dim=-1).amax(-1)).all()


def test_min_norm_point__masked_rows_do_not_count_whatever_they_hold():
    vectors, is_row = draw(8, 5, decades=2, shared=2)
    wild = torch.where(is_row[:, :, None], vectors, torch.nan)
    for mine, theirs in zip(
        min_norm_point(vectors, is_row), min_norm_point(wild, is_row), strict=True
    ):
        assert torch.equal(mine, theirs)
    weight, point = min_norm_point(vectors, torch.zeros_like(is_row))
    assert not weight.any()
    assert not point.any()


def test_min_norm_point__hand_cases():
    rows = torch.tensor([[[1.0, 0], [0, 1]], [[2, 0], [1, 0]], [[3, 4], [3, 4]], [[0, 0], [1, 1]]])
    _, point = min_norm_point(rows.double(), torch.ones(4, 2, dtype=torch.bool))
    expected = torch.tensor([[0.5, 0.5], [1, 0], [3, 4], [0, 0]]).double()
    torch.testing.assert_close(point, expected, rtol=1e-12, atol=1e-12)


def test_min_norm_point__of_a_lane_does_not_depend_on_its_neighbours():
    vectors, is_row = draw(13, 60, decades=3, shared=2)
    whole = min_norm_point(vectors, is_row)
    bad = vectors.clone()
    bad[1:] = torch.nan
    for mine, theirs in zip(whole, min_norm_point(bad, is_row), strict=True):
        assert torch.equal(mine[0], theirs[0])
    for row in (0, 7):
        alone = min_norm_point(vectors[row : row + 1], is_row[row : row + 1])
        for mine, theirs in zip(whole, alone, strict=True):
            torch.testing.assert_close(mine[row], theirs[0], rtol=1e-10, atol=1e-12)


def test_min_norm_point__single_precision_and_device(device):
    vectors, is_row = draw(18, 240, decades=2, shared=1)
    _, exact = min_norm_point(vectors, is_row)
    _, point = min_norm_point(vectors.float().to(device), is_row.to(device))
    assert point.dtype == torch.float32
    assert ((point.cpu() - exact).norm(dim=-1) < 1e-3 * exact.norm(dim=-1)).all()
