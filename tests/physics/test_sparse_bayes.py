"""Sparse Bayesian learning against the textbook formulas."""

import numpy as np
import pytest
import torch

from isac_gym.core.errors import ScenarioError
from isac_gym.physics.sparse_bayes import debias, posterior_of, sparse_bayes


def drawn(lanes=3, voxels=12, noise=0.01, seed=0):
    """Phi, b, s2 and the sparse truth (two voxels per lane) of a Gaussian design."""
    rng = np.random.default_rng(seed)

    def normal(*size):
        return (rng.normal(size=size) + 1j * rng.normal(size=size)) / 2**0.5

    design, truth = normal(lanes, 40, voxels), np.zeros((lanes, voxels), complex)
    truth[:, [2, 7]] = np.exp(2j * np.pi * rng.random((lanes, 2)))
    y = (design @ truth[..., None])[..., 0] + noise**0.5 * normal(lanes, 40)
    phi = design.conj().swapaxes(1, 2) @ design
    b = (design.conj().swapaxes(1, 2) @ y[..., None])[..., 0]
    arrays = (phi, b, np.full(lanes, noise), truth)
    return tuple(torch.from_numpy(a) for a in arrays)


def test_posterior_of__is_gaussian_conditioning():
    phi, b, noise, _ = drawn()
    gamma = torch.rand(3, 12, generator=torch.Generator().manual_seed(1)).double() + 0.1
    found = posterior_of(phi, b, noise, gamma)
    precision = torch.diag_embed(1 / gamma).to(phi.dtype) + phi / noise[:, None, None]
    covariance = torch.linalg.inv(precision)
    torch.testing.assert_close(found.covariance, covariance)
    mean = (covariance @ (b / noise[:, None])[..., None])[..., 0]
    torch.testing.assert_close(found.mean, mean)
    torch.testing.assert_close(found.variance, torch.diagonal(covariance, dim1=-2, dim2=-1).real)


def test_posterior_of__is_exact_where_the_prior_is_a_point():
    phi, b, noise, _ = drawn()
    gamma = torch.zeros(3, 12, dtype=torch.float64)
    gamma[:, 2] = 1.0
    found = posterior_of(phi, b, noise, gamma)
    assert (found.mean[:, gamma[0] == 0] == 0).all()
    wanted = b[:, 2] / (phi[:, 2, 2] + noise)
    torch.testing.assert_close(found.mean[:, 2], wanted)


def evidence(phi, b, noise, gamma):
    """Log evidence up to a constant: -log det C - y^H C^-1 y in sufficient statistics."""
    found = posterior_of(phi, b, noise, gamma)
    scaled = gamma.sqrt()[:, :, None] * phi / noise[:, None, None] * gamma.sqrt()[:, None]
    fit = (b.conj() * found.mean).real.sum(-1) / noise
    return fit - torch.logdet(torch.eye(phi.shape[-1]).to(phi.dtype) + scaled).real


def test_em__never_lowers_the_evidence():
    phi, b, noise, _ = drawn()
    gamma, before = None, torch.full((3,), -torch.inf).double()
    for _ in range(30):
        gamma = sparse_bayes(phi, b, noise, iterations=1, rule="em", start=gamma).gamma
        after = evidence(phi, b, noise, gamma.clamp_min(1e-8))
        assert (after >= before - 1e-8 * before.abs().clamp_max(1e9)).all()
        before = after


def test_mackay__reaches_more_evidence_in_ten_steps_than_em_in_sixty():
    phi, b, noise, _ = drawn()
    quick = sparse_bayes(phi, b, noise, iterations=10, rule="mackay").gamma
    slow = sparse_bayes(phi, b, noise, iterations=60, rule="em").gamma
    assert (evidence(phi, b, noise, quick) > evidence(phi, b, noise, slow)).all()


@pytest.mark.parametrize("rule", ["em", "mackay"])
@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
def test_debias__finds_the_support_and_solves_on_it(rule, dtype):
    phi, b, noise, truth = drawn()
    phi, b, noise = phi.to(dtype), b.to(dtype), noise.to(dtype.to_real())
    found = sparse_bayes(phi, b, noise, iterations=30, rule=rule)
    image, support = debias(phi, b, noise, found)
    assert image.dtype == dtype
    assert torch.equal(support, truth != 0)
    kept = [2, 7]
    wanted = torch.linalg.solve(phi[:, kept][:, :, kept], b[:, kept])
    torch.testing.assert_close(image[:, kept], wanted)


def test_blocks__draw_prior_variances_together():
    phi, b, noise, _ = drawn()
    blocks = torch.arange(12) // 4
    found = sparse_bayes(phi, b, noise, iterations=5, blocks=blocks, block_share=1.0)
    level = found.gamma.reshape(3, 3, 4)
    torch.testing.assert_close(level, level[..., :1].expand_as(level))
    none = sparse_bayes(phi, b, noise, iterations=5, blocks=blocks, block_share=0.0)
    torch.testing.assert_close(none.gamma, sparse_bayes(phi, b, noise, iterations=5).gamma)


def test_lanes__do_not_depend_on_each_other():
    phi, b, noise, _ = drawn()
    whole = sparse_bayes(phi, b, noise, iterations=5)
    alone = sparse_bayes(phi[1:2], b[1:2], noise[1:2], iterations=5)
    torch.testing.assert_close(whole.mean[1:2], alone.mean, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("wrong", [{"rule": "x"}, {"iterations": 0}, {"block_share": 1.5}])
def test_wrong_settings__are_refused(wrong):
    phi, b, noise, _ = drawn()
    with pytest.raises(ScenarioError, match=next(iter(wrong))):
        sparse_bayes(phi, b, noise, **wrong)
