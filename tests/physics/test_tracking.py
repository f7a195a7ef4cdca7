"""The extended Kalman filter against a textbook loop and against the information form."""

import numpy as np
import pytest
import torch

from isac_gym.physics.tracking import filter_predict, filter_update
from tests.oracles import dynamics

BS = np.array([[0.0, 100.0, 10.0], [-86.6, -50.0, 10.0], [86.6, -50.0, 10.0]])
HEIGHT_M = 1.5


def _batch(seed, sigma):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(6, 4, 4))
    return {
        "mean": rng.normal(size=(6, 4)) * [40, 40, 8, 8],
        "covariance": root @ root.transpose(0, 2, 1) * 10 + np.eye(4),
        "ranges": rng.uniform(20, 160, (6, 3)),
        "sigma": sigma * rng.uniform(0.5, 2, (6, 3)),
    }


def test_predict__matches_textbook():
    data = _batch(0, 1.0)
    mean, covariance = filter_predict(
        torch.as_tensor(data["mean"]),
        torch.as_tensor(data["covariance"]),
        slot_s=0.1,
        acceleration_std_mps2=3.0,
    )
    for row in range(6):
        m, p = dynamics.ekf_predict(data["mean"][row], data["covariance"][row], 0.1, 3.0)
        assert np.allclose(mean[row], m, rtol=1e-12)
        assert np.allclose(covariance[row], p, rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 40.0, 1e3])
def test_update__matches_textbook_and_information_form(sigma):
    data = _batch(1, sigma)
    tensors = {name: torch.as_tensor(value) for name, value in data.items()}
    mean, covariance = filter_update(
        tensors["mean"],
        tensors["covariance"],
        tensors["ranges"],
        tensors["sigma"],
        anchor=torch.as_tensor(BS).expand(6, 3, 3),
        height=torch.full((6,), HEIGHT_M, dtype=torch.float64),
    )
    for row in range(6):
        arguments = (data["mean"][row], data["covariance"][row])
        m, p = dynamics.ekf_update(
            *arguments, data["ranges"][row], data["sigma"][row], BS, HEIGHT_M
        )
        other = dynamics.information_update(*arguments, data["sigma"][row], BS, HEIGHT_M)
        assert np.allclose(mean[row], m, rtol=1e-8)
        assert np.allclose(covariance[row], p, rtol=1e-7, atol=1e-9)
        assert np.allclose(covariance[row], other, rtol=1e-5, atol=1e-7)


def test_update__no_information_changes_nothing():
    data = _batch(2, 1e9)
    tensors = {name: torch.as_tensor(value) for name, value in data.items()}
    mean, covariance = filter_update(
        tensors["mean"],
        tensors["covariance"],
        tensors["ranges"],
        tensors["sigma"],
        anchor=torch.as_tensor(BS).expand(6, 3, 3),
        height=torch.full((6,), HEIGHT_M, dtype=torch.float64),
    )
    assert torch.allclose(mean, tensors["mean"], rtol=1e-9)
    assert torch.allclose(covariance, tensors["covariance"], rtol=1e-9)


def test_update__covariance_is_symmetric_and_shrinks():
    data = _batch(3, 2.0)
    tensors = {name: torch.as_tensor(value) for name, value in data.items()}
    _, after = filter_update(
        tensors["mean"],
        tensors["covariance"],
        tensors["ranges"],
        tensors["sigma"],
        anchor=torch.as_tensor(BS).expand(6, 3, 3),
        height=torch.full((6,), HEIGHT_M, dtype=torch.float64),
    )
    assert torch.equal(after, after.mT)
    assert torch.linalg.eigvalsh(after).min() > 0
    assert torch.linalg.eigvalsh(tensors["covariance"] - after).min() > -1e-9
