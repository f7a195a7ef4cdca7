r"""Sparse Bayesian learning of images from sufficient statistics.

Model: b = Phi x + noise of covariance s2 Phi, x_n ~ CN(0, gamma_n) independent, gamma unknown. With
r = gamma^1/2 and Q = (I + r Phi r / s2)^-1 the posterior is Sigma = r Q r, mu = Sigma b / s2; this
form stays exact where gamma_n tends to 0. The evidence is climbed by

    em:       gamma_n <- |mu_n|^2 + Sigma_nn
    mackay:   gamma_n <- |mu_n|^2 / (1 - Sigma_nn / gamma_n)      a few times faster

In blocks, log gamma is drawn towards the mean of its block by a share of the way.

Source: Tipping 2001, Wipf and Rao 2004; the block rule is ours.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.linalg import solve_or_nan

__all__ = ["RULES", "Posterior", "debias", "posterior_of", "sparse_bayes"]

RULES = ("em", "mackay")
_LEAST = 1e-8  # prior variance at which a voxel counts as empty
_MOST = 1e4


class Posterior(NamedTuple):
    """Gaussian posterior of an image.

    Attributes:
        mean: mu, (B, V).
        covariance: Sigma, (B, V, V) Hermitian.
        gamma: Prior variances, (B, V).
    """

    mean: Tensor
    covariance: Tensor
    gamma: Tensor

    @property
    def variance(self) -> Tensor:
        """Diagonal of the covariance, (B, V)."""
        return torch.diagonal(self.covariance, dim1=-2, dim2=-1).real


def posterior_of(information: Tensor, matched: Tensor, noise: Tensor, gamma: Tensor) -> Posterior:
    """Posterior for given prior variances.

    Args:
        information: Phi, (B, V, V) Hermitian.
        matched: b, (B, V).
        noise: Noise power s2, (B,) > 0.
        gamma: Prior variances, (B, V) >= 0.
    """
    root = gamma.sqrt()
    scaled = root[..., :, None] * (information / noise[:, None, None]) * root[..., None, :]
    eye = torch.eye(gamma.shape[-1], dtype=information.dtype, device=gamma.device)
    factor, _ = torch.linalg.cholesky_ex(eye + scaled, check_errors=False)
    inverse = torch.cholesky_inverse(factor)
    covariance = root[..., :, None] * inverse * root[..., None, :]
    mean = (covariance @ (matched / noise[:, None])[..., None])[..., 0]
    return Posterior(mean, covariance, gamma)


def sparse_bayes(
    information: Tensor,
    matched: Tensor,
    noise: Tensor,
    *,
    iterations: int = 60,
    rule: str = "em",
    start: Tensor | None = None,
    blocks: Tensor | None = None,
    block_share: float = 0.5,
) -> Posterior:
    """Posterior whose prior variances maximise the evidence, after a fixed number of updates.

    Args:
        information: Phi, (B, V, V) Hermitian.
        matched: b, (B, V).
        noise: Noise power s2, (B,) > 0.
        iterations: Updates, >= 1.
        rule: ``em`` or ``mackay``.
        start: Prior variances to start from, (B, V); None: those of the matched filter.
        blocks: Block number of every voxel, (V,) int64, for the block rule; None: no blocks.
        block_share: How far log gamma goes to the mean of its block, in [0, 1].

    Raises:
        ScenarioError: Unknown rule, or a number outside its range.
    """
    if rule not in RULES:
        raise ScenarioError(f"rule must be one of {RULES}, got {rule!r}.")
    if iterations < 1:
        raise ScenarioError(f"iterations must be >= 1, got {iterations}.")
    if not 0 <= block_share <= 1:
        raise ScenarioError(f"block_share must be in [0, 1], got {block_share}.")
    gamma = _first(information, matched) if start is None else start.clamp(_LEAST, _MOST)
    average = None if blocks is None else _averages(blocks, gamma)
    found = posterior_of(information, matched, noise, gamma)
    for _ in range(iterations):
        gamma = _update(rule, found)
        if average is not None:
            level = gamma.log()
            gamma = (level + block_share * (level @ average - level)).exp()
        found = posterior_of(information, matched, noise, gamma.clamp(_LEAST, _MOST))
    return found


def debias(
    information: Tensor, matched: Tensor, noise: Tensor, posterior: Posterior
) -> tuple[Tensor, Tensor]:
    """Least squares on the support that the posterior shows.

    A voxel is kept where |mu_n|^2 exceeds 2 ln V times its noise variance s2 / Phi_nn.

    Returns:
        Image (B, V), 0 off the support, and the support (B, V) bool.
    """
    diagonal = torch.diagonal(information, dim1=-2, dim2=-1).real
    tiny = torch.finfo(diagonal.dtype).tiny
    level = max(2 * math.log(diagonal.shape[-1]), 2.0)
    support = posterior.mean.abs().square() > level * noise[:, None] / diagonal.clamp_min(tiny)
    both = support[..., :, None] & support[..., None, :]
    eye = torch.eye(diagonal.shape[-1], dtype=torch.bool, device=diagonal.device)
    system = torch.where(both | eye, information, 0)  # own equations off the support, zero right
    right = torch.where(support, matched, 0)
    image = solve_or_nan(system, right[..., None])[..., 0]
    return torch.where(support, image, 0), support


def _first(information: Tensor, matched: Tensor) -> Tensor:
    """Prior variances of the matched filter, (B, V)."""
    diagonal = torch.diagonal(information, dim1=-2, dim2=-1).real
    tiny = torch.finfo(diagonal.dtype).tiny
    return (matched.abs() / diagonal.clamp_min(tiny)).square().clamp(1e-3, _MOST)


def _update(rule: str, found: Posterior) -> Tensor:
    square = found.mean.abs().square()
    if rule == "em":
        return square + found.variance
    known = 1 - found.variance / found.gamma
    return (square / known.clamp_min(_LEAST)).clamp(_LEAST, _MOST)


def _averages(blocks: Tensor, like: Tensor) -> Tensor:
    """Matrix that replaces every entry by the mean of its block, (V, V)."""
    same = (blocks[:, None] == blocks).to(like.dtype).to(like.device)
    return same / same.sum(0)
