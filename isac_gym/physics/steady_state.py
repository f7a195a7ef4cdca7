r"""Steady-state error of adaptive filters that a network of users runs by diffusion.

User k descends on its own sample, phi_k = x_k + mu_k grad_k, and averages with its neighbours,
x_k <- sum_l a_lk phi_l. Around the image the errors of all users, stacked, follow

    E <- B E + noise,   B = (A^T (x) I) (I - M H),

so their covariance solves X = B X B^H + (A^T (x) I) M Q M (A (x) I) + second order. Neighbours see
the same waveform and the same unknown data: all blocks of Q count. Matrices have K V rows; the
equation is solved by doubling, never by one system in (K V)^2 unknowns.

Letters: g ``user_channel``, C ``covariance`` of the illumination, A ``weight``, mu ``step``,
x ``image``, z ``data_gain``, R_kl = diag(conj(g_k)) C diag(g_l), S covariance of the noise of all
users, d = 1 + |x|^2 / gamma of total least squares (1 for LMS).

Source: the networked-ISAC paper, (26)-(39), rebuilt; differs: noise is not independent across
users, the bias of total least squares and the second order in the step are kept.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.physics.trust_region import all_on_cpu, squared

__all__ = ["ESTIMATORS", "SteadyState", "networked_mse", "solve_stein", "spectral_radius"]

ESTIMATORS = ("lms", "tls")
_DOUBLINGS = 24  # radii within 2^-24 of 1 count as 1
_FIXED_POINTS = 30
_VANISHED = -45.0  # log of the norm of a power that adds nothing, even in double precision
_CLOSE = 1e-7  # change of the log of the radius at which it counts as known
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}  # relative, of the second order


class SteadyState(NamedTuple):
    """Steady state of a diffusion filter; ``inf`` where there is none, never NaN.

    Attributes:
        msd: Mean over users of E |x_k - x|^2, (B,).
        msd_user: The same of each user, (B, K).
        bias: Part of ``msd`` that is the squared mean error, (B,); 0 for LMS.
        spectral_radius: Of the mean recursion B, (B,).
        is_stable: Mean and mean square converge, (B,) bool.
    """

    msd: Tensor
    msd_user: Tensor
    bias: Tensor
    spectral_radius: Tensor
    is_stable: Tensor


class _Powers(NamedTuple):
    """Powers B^(2^j); 0 once a lane has nothing left to add, all 0 where it does not converge."""

    matrices: list[Tensor]
    radius: Tensor
    is_stable: Tensor


def networked_mse(
    user_channel: Tensor,
    covariance: Tensor,
    weight: Tensor,
    step: Tensor,
    image: Tensor,
    *,
    noise_w: Tensor | float,
    data_gain: Tensor | None = None,
    estimator: str = "lms",
    gamma: float = 1.0,
    assumes_independence: bool = False,
) -> SteadyState:
    r"""Mean-square deviation that diffusion LMS or total least squares settles at.

    Exact for LMS with independent Gaussian illumination (constant-modulus symbols in it make it up
    to 0.3 dB pessimistic at mu = 0.8 / (V P)); total least squares is linearised at the image. The
    penalties of the filter are 0. One lane of 20 users and 32 voxels takes some 10 s on one core.

    Symbols: Q_kl = R_kl S_kl / d^2, S = noise I + z z^H; H_k = R_kk / d - J_k / (gamma d^2) I with
    J_k = S_kk for total least squares; mean error (I - B)^-1 (A^T (x) I) M J_k x / (gamma d^2).

    Args:
        user_channel: g, (B, K, V).
        covariance: C = conj(G W G^H) = E conj(v) v^T, (B, V, V) Hermitian W; W = W_s in the first
            step and W_s + w_c w_c^H once the symbols are known.
        weight: A, (B, K, K) real; columns sum to 1.
        step: mu > 0, (B, K) or (B,), 1 / W.
        image: x, (B, V).
        noise_w: Noise power of a user, (B,) or a number, W.
        data_gain: z where symbols are unknown and act as noise, (B, K) sqrt(W); None: known.
        estimator: ``lms`` or ``tls``.
        gamma: Output over input noise power of total least squares, > 0.
        assumes_independence: Keep only the blocks R_kk S_kk of the noise, as the paper does.

    Returns:
        See :class:`SteadyState`.

    Raises:
        ScenarioError: Unknown estimator or gamma not positive.
    """
    if estimator not in ESTIMATORS:
        raise ScenarioError(f"estimator must be one of {ESTIMATORS}, got {estimator!r}.")
    if not gamma > 0:
        raise ScenarioError(f"gamma must be > 0, got {gamma}.")
    model = _model(
        user_channel, covariance, weight, step, image, noise_w, data_gain, estimator, gamma
    )
    powers = _powers(model.recursion())
    mean = _series(powers, model.mix(model.drift[..., None, None]))[..., 0]
    eye = torch.eye(weight.shape[-1], dtype=torch.bool, device=weight.device)
    noise = torch.where(eye, model.noise, 0) if assumes_independence else model.noise
    error, is_settled = _second_order(model, powers, noise, mean)
    return _report(model, powers, error, mean, is_settled)


def solve_stein(matrix: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Solution of X = B X B^H + Q by doubling, and the spectral radius of B.

    Args:
        matrix: B, (B, n, n).
        source: Q, (B, n, n).

    Returns:
        X, (B, n, n), equal to Q where the radius is not below 1, and the radius, (B,) real.
    """
    powers = _powers(matrix)
    return _solve(powers, source), powers.radius


def spectral_radius(matrix: Tensor) -> Tensor:
    """Largest modulus of an eigenvalue, (B,), of (B, n, n) by norms of repeated squares."""
    return _powers(matrix).radius


class _Model(NamedTuple):
    """Linearised filter: what enters the recursions of mean and covariance.

    Attributes:
        blocks: R_kl stacked, (B, K, V, K, V).
        mixing: A^T, (B, K, K) complex.
        gain: mu / d, (B, K).
        growth: mu J / (gamma d^2), (B, K); how fast total least squares runs away from the image.
        drift: growth times x, (B, K, V).
        noise: S, (B, K, K).
    """

    blocks: Tensor
    mixing: Tensor
    gain: Tensor
    growth: Tensor
    drift: Tensor
    noise: Tensor

    def recursion(self) -> Tensor:
        """B, (B, K V, K V)."""
        batch, users, voxels = self.drift.shape
        own = torch.diagonal(self.blocks, dim1=1, dim2=3)  # (B, V, V, K)
        eye = torch.eye(voxels, dtype=own.dtype, device=own.device)
        keep = (1 + self.growth)[..., None, None] * eye
        keep = keep - self.gain[..., None, None] * own.permute(0, 3, 1, 2)
        whole = self.mixing[:, :, None, :, None] * keep.permute(0, 2, 1, 3)[:, None]
        return whole.reshape(batch, users * voxels, users * voxels)

    def mix(self, stacked: Tensor) -> Tensor:
        """(A^T (x) I) Y, (B, K V, n), of Y (B, K, V, ..., n)."""
        batch, users, voxels = self.drift.shape
        mixed = self.mixing @ stacked.reshape(batch, users, -1)
        return mixed.reshape(batch, users * voxels, -1)

    def source(self, noise: Tensor) -> Tensor:
        """Covariance that noise (B, K, K) on the samples adds per step, (B, K V, K V)."""
        scale = self.gain[:, :, None] * self.gain[:, None] * noise
        half = self.mix(self.blocks * scale[:, :, None, :, None])
        users, voxels = self.drift.shape[1:]
        return self.mix(half.mH.reshape(-1, users, voxels, users * voxels)).mH

    def excess(self, moment: Tensor) -> Tensor:
        """E e_k conj(e_l), (B, K, K), of e_k = u_k^T error and the moment (B, K V, K V)."""
        return (self.blocks.conj() * moment.reshape(self.blocks.shape)).sum((2, 4))


def _model(
    g: Tensor,
    covariance: Tensor,
    weight: Tensor,
    step: Tensor,
    image: Tensor,
    noise_w: Tensor | float,
    data_gain: Tensor | None,
    estimator: str,
    gamma: float,
) -> _Model:
    mu = step.expand(g.shape[:2]) if step.ndim == 2 else step[:, None].expand(g.shape[:2])
    variance = torch.as_tensor(noise_w, dtype=mu.dtype, device=mu.device)
    noise = torch.diag_embed(variance.reshape(-1, 1).expand(g.shape[:2])).to(g.dtype)
    if data_gain is not None:
        noise = noise + data_gain[..., :, None] * data_gain[..., None, :].conj()
    growth, d = torch.zeros_like(mu), torch.ones_like(mu)
    if estimator == "tls":
        d = d + squared(image).sum(-1, keepdim=True) / gamma
        growth = mu * torch.diagonal(noise, dim1=-2, dim2=-1).real / (gamma * d.square())
    blocks = g.conj()[..., None, None] * covariance[:, None, :, None] * g[:, None, None]
    drift = growth[..., None] * image[:, None]
    return _Model(blocks, weight.mT.to(g.dtype), mu / d, growth, drift, noise)


def _powers(matrix: Tensor) -> _Powers:
    """Repeated squares, normalised on the way so that nothing overflows.

    The norm of B^n tends to c radius^n: differences of its logarithm give the radius.
    """
    norm = torch.linalg.matrix_norm(matrix)
    tiny = torch.finfo(norm.dtype).tiny
    log = norm.clamp_min(tiny).log()
    unit, rate = matrix / norm.clamp_min(tiny)[:, None, None], log
    has_vanished = is_known = torch.zeros_like(log, dtype=torch.bool)
    matrices = []
    for count in range(_DOUBLINGS):
        has_vanished = has_vanished | (log < _VANISHED)
        power = log.clamp_max(-_VANISHED).exp()[:, None, None] * unit
        matrices.append(torch.where(has_vanished[:, None, None], 0, power))
        square = unit @ unit
        norm = torch.linalg.matrix_norm(square).clamp_min(tiny)
        unit, grown = square / norm[:, None, None], log + norm.log()
        change, log = grown / 2**count - rate, log + grown
        rate = torch.where(is_known, rate, rate + change)
        is_known = is_known | (change.abs() <= _CLOSE) & (has_vanished | (log > -_VANISHED))
        if all_on_cpu(is_known):
            break
    matrices = [torch.where(has_vanished[:, None, None], power, 0) for power in matrices]
    return _Powers(matrices, rate.exp(), has_vanished)


def _solve(powers: _Powers, source: Tensor) -> Tensor:
    for power in powers.matrices:
        source = source + power @ source @ power.mH
    return source


def _series(powers: _Powers, source: Tensor) -> Tensor:
    """(I - B)^-1 times a source (B, n, m), as the product of I + B^(2^j)."""
    for power in powers.matrices:
        source = source + power @ source
    return source


def _second_order(
    model: _Model, powers: _Powers, noise: Tensor, mean: Tensor
) -> tuple[Tensor, Tensor]:
    """Error covariance (B, K V, K V) with the error's own noise, and where it converges, (B,).

    The noise that errors cause is a positive linear function of itself: its increments shrink, in
    the end, by one ratio; it has no limit where that is not below 1.
    """
    tolerance = _TOLERANCE[model.gain.dtype]
    noise = torch.where(powers.is_stable[:, None, None], noise, 0)
    square = mean[..., :, None] * mean[..., None, :].conj()
    square = torch.where(powers.is_stable[:, None, None], square, 0)
    extra, last = torch.zeros_like(noise), _trace(noise)
    ratio, is_over = torch.zeros_like(last), ~powers.is_stable
    for _ in range(_FIXED_POINTS):
        moment = _solve(powers, model.source(noise + extra)) + square
        change = model.excess(moment) - extra
        size = _trace(change)
        ratio = torch.where(is_over, ratio, size / last.clamp_min(torch.finfo(size.dtype).tiny))
        extra = torch.where(is_over[:, None, None], extra, extra + change)
        total = _trace(noise + extra)
        is_over = is_over | ~(size > tolerance * total) | ~(size < total / tolerance)
        last = torch.where(is_over, last, size)
        if all_on_cpu(is_over):
            break
    return _solve(powers, model.source(noise + extra)), ratio < 1


def _report(
    model: _Model, powers: _Powers, error: Tensor, mean: Tensor, is_settled: Tensor
) -> SteadyState:
    batch, users, voxels = model.drift.shape
    bias = squared(mean).reshape(batch, users, voxels).sum(-1)
    spread = torch.diagonal(error, dim1=-2, dim2=-1).real.reshape(batch, users, voxels).sum(-1)
    is_stable = powers.is_stable & is_settled
    per_user = torch.where(is_stable[:, None], spread + bias, torch.inf)
    whole = torch.where(is_stable, bias.mean(-1), torch.inf)
    return SteadyState(per_user.mean(-1), per_user, whole, powers.radius, is_stable)


def _trace(matrix: Tensor) -> Tensor:
    return torch.diagonal(matrix, dim1=-2, dim2=-1).real.sum(-1)
