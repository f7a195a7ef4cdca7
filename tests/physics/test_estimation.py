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
