"""Position bounds against inverses, the closed identity for I = 3 and finite differences."""

import numpy as np
import pytest
import torch

from isac_gym.physics.estimation import condition_2x2, position_precision, ranging_information
from tests.oracles import power_control_physics as oracle

BS = np.array([[0.0, 100.0, 10.0], [-86.6, -50.0, 10.0], [86.6, -50.0, 10.0]])


def _draw(seed, count=40):
    rng = np.random.default_rng(seed)
    target = np.column_stack([rng.uniform(-60, 60, (count, 2)), np.full(count, 1.5)])
    return target, rng.uniform(0.5, 60, (count, 3))


@pytest.mark.parametrize("dim", [2, 3])
def test_precision__is_the_inverse_squared_bound(dim):
    target, sigma = _draw(dim)
    anchor = torch.as_tensor(BS).expand(len(target), 3, 3)
    information = ranging_information(torch.as_tensor(target), anchor, torch.as_tensor(sigma))
    found = position_precision(information[:, :dim, :dim]).rsqrt()
    wanted = [oracle.peb(BS, t, s, dim) for t, s in zip(target, sigma, strict=True)]
    assert np.allclose(found, wanted, rtol=1e-8)


def test_precision__three_stations_identity():
    target, sigma = _draw(7)
    anchor = torch.as_tensor(BS).expand(len(target), 3, 3)
    information = ranging_information(torch.as_tensor(target), anchor, torch.as_tensor(sigma))
    wanted = [
        float(oracle.peb3_coefficients(BS, t) @ s**2) for t, s in zip(target, sigma, strict=True)
    ]
    assert np.allclose(1 / position_precision(information), wanted, rtol=1e-8)


def test_information__matches_finite_differences_of_the_likelihood():
    target, sigma = _draw(9, count=1)

    def mean(position):
        return np.array([np.linalg.norm(position - b) for b in BS])

    step, jacobian = 1e-4, np.zeros((3, 3))
    for axis in range(3):
        e = np.eye(3)[axis] * step
        jacobian[:, axis] = (mean(target[0] + e) - mean(target[0] - e)) / (2 * step)
    wanted = jacobian.T @ np.diag(sigma[0] ** -2.0) @ jacobian
    found = ranging_information(
        torch.as_tensor(target), torch.as_tensor(BS)[None], torch.as_tensor(sigma)
    )
    assert np.allclose(found[0], wanted, rtol=1e-7)


def test_precision__singular_is_zero_with_a_finite_gradient():
    sigma = torch.tensor([[5.0, torch.inf, torch.inf]], dtype=torch.float64)
    inverse = sigma.reciprocal().requires_grad_()
    target = torch.tensor([[10.0, 5.0, 1.5]], dtype=torch.float64)
    information = ranging_information(target, torch.as_tensor(BS)[None], 1 / inverse)
    for dim in (2, 3):
        assert position_precision(information[:, :dim, :dim]).item() == pytest.approx(0, abs=1e-12)
    zero = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    position_precision(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_condition__matches_numpy():
    root = np.random.default_rng(3).normal(size=(20, 2, 2))
    matrix = root @ root.transpose(0, 2, 1)
    assert np.allclose(condition_2x2(torch.as_tensor(matrix)), np.linalg.cond(matrix), rtol=1e-6)


def _bound(position, anchor, sigma, dim=3):
    return position_precision(ranging_information(position, anchor, sigma)[:, :dim, :dim]).rsqrt()


def test_precision__orthogonal_ranges_add_variances():
    anchor = torch.tensor([[[100.0, 0, 0], [0, 50.0, 0], [0, 0, -7.0]]]).double()
    sigma = torch.tensor([[1.0, 2.0, 3.0]]).double()
    assert _bound(torch.zeros(1, 3).double(), anchor, sigma).item() == pytest.approx(14**0.5)


def test_precision__regular_polygon_in_the_plane():
    # n equal ranges all round: PEB = 2 sigma / sqrt(n)
    angle = torch.arange(6).double() * np.pi / 3
    anchor = 40 * torch.stack([angle.cos(), angle.sin(), 0 * angle], -1)[None]
    found = _bound(torch.zeros(1, 3).double(), anchor, torch.full((1, 6), 3.0).double(), 2)
    assert found.item() == pytest.approx(6 / 6**0.5, rel=1e-13)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_precision__scales_with_the_ranges(factor):
    target, sigma = (torch.as_tensor(part) for part in _draw(5))
    anchor = torch.as_tensor(BS).expand(len(target), 3, 3)
    base, scaled = (_bound(target, anchor, f * sigma) for f in (1.0, factor))
    torch.testing.assert_close(scaled, factor * base, rtol=1e-9, atol=0)


def test_information__infinite_sigma_is_no_measurement():
    target, sigma = (torch.as_tensor(part) for part in _draw(6))
    anchor = torch.as_tensor(BS).expand(len(target), 3, 3)
    muted = sigma.clone()
    muted[:, 0] = torch.inf
    without = ranging_information(target, anchor[:, 1:], sigma[:, 1:])
    torch.testing.assert_close(ranging_information(target, anchor, muted), without)


def test_precision__is_reached_by_maximum_likelihood():
    # 2-D, good ranges, Gauss-Newton: RMSE over the bound is 0.94 to 1.04 (spec 8)
    rng, trials = np.random.default_rng(2), 4000
    target, _ = _draw(8, count=1)
    measured = np.linalg.norm(target - BS, axis=1) + 0.05 * rng.normal(size=(trials, 3))
    guess = np.repeat(target, trials, axis=0)
    for _ in range(6):
        difference = guess[:, None] - BS
        length = np.linalg.norm(difference, axis=-1)
        rows = difference[..., :2] / length[..., None]
        guess[:, :2] += (np.linalg.pinv(rows) @ (measured - length)[..., None])[..., 0]
    rmse = np.sqrt(((guess - target)[:, :2] ** 2).sum(-1).mean())
    sigma = torch.full((1, 3), 0.05).double()
    # equal sigmas, so that the unweighted fit is maximum likelihood
    bound = _bound(torch.as_tensor(target), torch.as_tensor(BS)[None], sigma, 2)
    assert rmse / bound.item() == pytest.approx(1, abs=0.05)
