r"""Networked computational imaging: who receives what from a scattering region, and what it tells.

A base station illuminates V voxels, v(t) = G tx(t); user k receives y_k(t) = sum_n g_kn v_n(t) x_n
plus noise. Everything an estimator needs of L samples and K users are the sufficient statistics
Phi = (V^H V) o (g^H g) and b, so that no (B, L, K, V) tensor is ever formed.

Letters: G ``bs_channel``, g ``user_channel``, x ``image``, V ``illumination`` (rows v(t)), W
transmit covariance, w_c ``beam`` of the data, z_k gain of the data at user k, o Hadamard product.

Source: the networked-ISAC paper (arXiv 2405.16398), (1)-(4) and (42), rebuilt: formulas are lost.
"""

import torch
from torch import Tensor

__all__ = [
    "data_gain",
    "expected_information",
    "illuminate",
    "information",
    "masked_bound",
    "matched",
    "receive",
    "unknown_symbol_information",
    "user_gram",
]

_SINGULAR = 1e-12  # pivot over the largest diagonal entry at which information counts as singular
_ROUNDINGS = 64  # to which a difference counts as zero, relative to what was subtracted


def illuminate(bs_channel: Tensor, transmit: Tensor) -> Tensor:
    """Illumination v(t) = G tx(t) of every voxel, (B, L, V), of G (B, V, N) and tx (B, L, N)."""
    return transmit @ bs_channel.mT


def receive(user_channel: Tensor, image: Tensor, illumination: Tensor) -> Tensor:
    """Noiseless samples sum_n g_kn x_n v_n(t), (B, L, K), of g (B, K, V), x (B, V), v (B, L, V)."""
    return illumination @ (user_channel * image[:, None]).mT


def data_gain(user_channel: Tensor, image: Tensor, bs_channel: Tensor, beam: Tensor) -> Tensor:
    """Gain z_k = sum_n g_kn (G w_c)_n x_n of the data symbol at each user, (B, K) sqrt(W)."""
    lit = (bs_channel @ beam[..., None])[..., 0] * image
    return (user_channel @ lit[..., None])[..., 0]


def user_gram(user_channel: Tensor) -> Tensor:
    """Gram matrix g^H g = sum_k conj(g_k) g_k^T, (B, V, V), of g (B, K, V)."""
    return user_channel.mH @ user_channel


def information(illumination: Tensor, user_channel: Tensor) -> Tensor:
    r"""Information Phi = sum_{t,k} conj(u) u^T, u_k(t) = g_k o v(t), (B, V, V) W.

    The Fisher information of the image is Phi over the noise power (complex parameters).

    Args:
        illumination: v(t), (B, L, V) sqrt(W).
        user_channel: g, (B, K, V).
    """
    return (illumination.mH @ illumination) * user_gram(user_channel)


def unknown_symbol_information(illumination: Tensor, user_channel: Tensor, gain: Tensor) -> Tensor:
    r"""Information left where every data symbol is an unknown complex number, (B, V, V) W.

    The Schur complement over one scalar per sample: (V^H V) o (g^H Pi g), Pi = I - z z^H / |z|^2.
    Knowing the constellation is worth more, so this bounds no receiver that slices its symbols.
    Nothing at all is left of a voxel that is alone: its entry is an exact 0.

    Args:
        illumination: v(t) of the whole transmission at the true symbols, (B, L, V) sqrt(W).
        user_channel: g, (B, K, V).
        gain: z, (B, K) sqrt(W); see :func:`data_gain`.
    """
    energy = gain.abs().square().sum(-1).clamp_min(torch.finfo(gain.real.dtype).tiny)
    seen = (gain.conj()[..., None, :] @ user_channel)[..., 0, :]  # (B, V): z^H g
    lost = seen.conj()[..., :, None] * seen[..., None, :] / energy[..., None, None]
    gram = user_gram(user_channel)
    left, size = gram - lost, torch.diagonal(gram, dim1=-2, dim2=-1).real.sqrt()
    least = _ROUNDINGS * torch.finfo(size.dtype).eps * size[..., :, None] * size[..., None, :]
    return (illumination.mH @ illumination) * torch.where(left.abs() > least, left, 0)


def matched(illumination: Tensor, user_channel: Tensor, received: Tensor) -> Tensor:
    """Matched filter b = sum_{t,k} conj(u_k(t)) y_k(t), (B, V) W; least squares is Phi x = b.

    Args:
        illumination: v(t), (B, L, V) sqrt(W).
        user_channel: g, (B, K, V).
        received: y, (B, L, K) sqrt(W).
    """
    per_user = received.mT @ illumination.conj()  # (B, K, V)
    return (user_channel.conj() * per_user).sum(-2)


def expected_information(
    bs_channel: Tensor, gram: Tensor, covariance: Tensor, num_samples: float
) -> Tensor:
    r"""Expectation of :func:`information` over the waveform, L conj(G W G^H) o (g^H g).

    Args:
        bs_channel: G, (B, V, N).
        gram: g^H g, (B, V, V); see :func:`user_gram`.
        covariance: W, (B, N, N) Hermitian W.
        num_samples: L.
    """
    return num_samples * (bs_channel @ covariance @ bs_channel.mH).conj() * gram


def masked_bound(matrix: Tensor, mask: Tensor) -> Tensor:
    """Trace of the inverse information restricted to the voxels of a mask, (B,).

    Args:
        matrix: Fisher information, (B, V, V) Hermitian.
        mask: (B, V) bool; True where the coefficient is unknown, False where it is known.

    Returns:
        (B,) real, ``inf`` where the restricted matrix is singular to 12 digits, never negative.
    """
    both = mask[..., :, None] & mask[..., None, :]
    eye = torch.eye(matrix.shape[-1], dtype=torch.bool, device=matrix.device)
    # Unit diagonal after scaling: conditioning without the units, and 1 off the mask.
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1).real
    tiny = torch.finfo(diagonal.dtype).tiny
    scale = torch.where(mask, diagonal.clamp_min(tiny).rsqrt(), 1.0)
    scaled = matrix * scale[..., :, None] * scale[..., None, :]
    scaled = torch.where(both, scaled, eye.to(matrix.dtype))
    factor, info = torch.linalg.cholesky_ex(scaled, check_errors=False)
    pivot = torch.diagonal(factor, dim1=-2, dim2=-1).real
    slack = _SINGULAR if diagonal.dtype == torch.float64 else 1e-6
    is_bad = (info != 0) | ~(pivot.square().amin(-1) > slack)
    is_bad = is_bad | (mask & (diagonal <= 0)).any(-1)
    identity = eye.to(matrix.dtype)
    safe = torch.where(is_bad[:, None, None], identity, factor)
    half = torch.linalg.solve_triangular(safe, identity.expand_as(safe), upper=False)
    share = (half.real.square() + half.imag.square()).sum(-2)  # diagonal of the inverse
    total = (share * scale.square() * mask).sum(-1)
    return torch.where(is_bad, torch.inf, total)
