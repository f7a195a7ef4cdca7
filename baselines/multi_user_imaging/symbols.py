r"""Data symbols from what the image estimates leave over, and their phase.

The residual of user k is r_k(t) = y_k(t) - u_k(t)^T x_k = z_k c(t) + noise, rank one over users.
Its left singular vector knows neither norm nor phase of c: the norm is that of unit-modulus
symbols, the phase follows from the gains z_k = b_k^T x_k, b_k = g_k o a, that the estimates imply.
Without the second step two-step imaging is useless.

Letters: g ``user_channel``, v ``probing``, a ``data``, x ``estimate``, y ``received``.
"""

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh
from isac_gym.physics.trust_region import squared

__all__ = ["mrc_symbols", "residual_and_gain", "sliced", "svd_symbols"]

_LEAST = 1e-12  # modulus below which a sum has no phase
_WEIGHT = 1e-30  # energy of gains below which nothing can be divided by it


def residual_and_gain(
    estimate: Tensor, user_channel: Tensor, probing: Tensor, data: Tensor, received: Tensor
) -> tuple[Tensor, Tensor]:
    """Residuals (B, L, K) of every user's own image, and its gains z_k (B, K), sqrt(W).

    Args:
        estimate: (B, K, V).
        user_channel: (B, K, V).
        probing: Illumination by the known probe, (B, L, V) sqrt(W).
        data: Illumination by the data beam, (B, V) sqrt(W).
        received: (B, L, K) sqrt(W).
    """
    seen = user_channel * estimate
    gain = (seen @ data[..., None])[..., 0]
    return received - probing @ seen.mT, gain


def svd_symbols(residual: Tensor, gain: Tensor, *, is_aligned: bool = True) -> Tensor:
    """Symbols (B, L) of mean energy 1 along the first left singular vector of the residuals.

    The vector comes from the K x K Gram matrix. Its phase is arbitrary: unaligned, the first entry
    of the right singular vector is real and not negative, whatever the library returns.

    Args:
        residual: (B, L, K).
        gain: z, (B, K); only its phase matters.
        is_aligned: Turn back by the phase of sum_k z_k s_k, s the right singular vector.
    """
    gram = residual.mH @ residual
    right = hermitian_eigh(gram)[1][..., -1]  # (B, K): residual ~ c right^H
    symbol = (residual @ right[..., None])[..., 0]
    # residual @ right = c sum_k z_k right_k
    turn = (gain * right).sum(-1) if is_aligned else right[..., 0]
    size = turn.abs()
    unit = torch.where(size > _LEAST, turn / size.clamp_min(_LEAST), 1.0)
    symbol = symbol * unit.conj()[..., None]
    return symbol / squared(symbol).mean(-1, keepdim=True).clamp_min(_WEIGHT).sqrt()


def mrc_symbols(residual: Tensor, gain: Tensor, averaging: Tensor | None = None) -> Tensor:
    """Every user's symbols sum_k conj(z_k) r_k(t) / sum_k |z_k|^2, (B, K, L).

    Args:
        residual: (B, L, K).
        gain: z, (B, K).
        averaging: Weights (B, K, K) with which user k (column) has averaged the users' products and
            energies; None: exact sums.
    """
    product = (residual * gain.conj()[:, None]).mT  # (B, K, L)
    energy = squared(gain)[..., None]
    if averaging is None:
        product = product.sum(1, keepdim=True).expand_as(product)
        energy = energy.sum(1, keepdim=True)
    else:
        product, energy = averaging.mT.to(product.dtype) @ product, averaging.mT @ energy
    return product / energy.clamp_min(_WEIGHT)


def sliced(symbol: Tensor) -> Tensor:
    """Nearest QPSK symbols exp(j (pi / 4 + i pi / 2)), any shape."""
    parts = torch.where(symbol.real < 0, -1.0, 1.0), torch.where(symbol.imag < 0, -1.0, 1.0)
    return (torch.complex(*parts) * 0.5**0.5).to(symbol.dtype)
