"""Over-the-air aggregation: error of the MMSE receiver, with and without orthogonal pulses.

Model: device k sends C_k g_k(t) p_k(t), its streams g_k white with unit variance; the server
receives y(t) = sum_k H_k C_k g_k(t) p_k(t) + z(t) and wants sum_k W_k g_k(t), W_k diagonal.

``none``: p_k = 1, so one receiver serves every t. ``dft``: the pulses are orthogonal over the frame
and have modulus 1. The receiver M(t) = sum_k p_k(t) M_k follows them; the precoders cannot, so
every device is separated from every other one and the sum of K R shares of power in an
N-dimensional space leaves a floor whatever the noise: :func:`separation_floor`.

Source: the OTA-FEEL paper, (6), (7) and (32); the closed forms over the frame are ours.
"""

import torch
from torch import Tensor

__all__ = [
    "PULSES",
    "mmse_receivers",
    "received_covariance",
    "separation_floor",
    "task_errors",
]

PULSES = ("none", "dft")


def received_covariance(gain: Tensor, noise_w: float) -> Tensor:
    """A = sum_k G_k G_k^H + noise, (B, N, N) Hermitian, of G_k = H_k C_k (B, K, N, R)."""
    flat = gain.transpose(1, 2).flatten(2)  # (B, N, K R)
    eye = torch.eye(gain.shape[2], dtype=gain.dtype, device=gain.device)
    return flat @ flat.mH + noise_w * eye


def mmse_receivers(gain: Tensor, weight: Tensor, noise_w: float) -> Tensor:
    """M_k = A^-1 G_k W_k, (B, K, N, R), sqrt(1/W).

    The receiver is their sum without pulses, and sum_k p_k(t) M_k with them.

    Args:
        gain: G_k = H_k C_k, (B, K, N, R) complex, sqrt(W).
        weight: Diagonals of W_k, (B, K, R) real.
        noise_w: Noise power per antenna of the server in watts, > 0.

    Source: paper (32).
    """
    wanted = gain * weight[:, :, None, :]
    flat = wanted.transpose(1, 2).flatten(2)
    factor, _ = torch.linalg.cholesky_ex(received_covariance(gain, noise_w), check_errors=False)
    solved = torch.cholesky_solve(flat, factor)
    return solved.unflatten(2, (gain.shape[1], gain.shape[3])).transpose(1, 2)


def task_errors(gain: Tensor, weight: Tensor, noise_w: float, *, pulse: str) -> Tensor:
    """Mean squared aggregation error of each stream with the MMSE receiver, (B, R).

    Written as a sum of squares of residuals, so that small errors keep their digits.

    Args:
        gain: G_k = H_k C_k, (B, K, N, R) complex, sqrt(W).
        weight: Diagonals of W_k, (B, K, R) real.
        noise_w: Noise power per antenna of the server in watts, > 0.
        pulse: ``none`` or ``dft``.

    Returns:
        Error of every stream, its sum is the paper's (7).
    """
    receivers = mmse_receivers(gain, weight, noise_w)
    if pulse == "none":
        total = receivers.sum(1, keepdim=True)
        left = total.mH @ gain - torch.diag_embed(weight).to(gain.dtype)
        return _square(left).sum((1, 3)) + noise_w * _square(total).sum((1, 2))
    columns = gain.transpose(1, 2).flatten(2)
    rows = receivers.transpose(1, 2).flatten(2)
    heard = rows.mH @ columns  # (B, K R, K R): what receiver (k, i) hears of stream (l, j)
    left = heard - torch.diag_embed(weight.flatten(1)).to(heard.dtype)
    noise = noise_w * _square(rows).sum(1)
    return (_square(left).sum(-1) + noise).unflatten(1, weight.shape[1:]).sum(1)


def separation_floor(weight: Tensor, num_antennas: int) -> Tensor:
    """Least error with orthogonal pulses at any noise and power: smallest K R - N squares, (B,).

    Proof: the error is sum_j w_j^2 (1 - q_j) with q_j = g_j^H A^-1 g_j in [0, 1) and sum q_j < N.

    Args:
        weight: Diagonals of W_k, (B, K, R) real.
        num_antennas: N, antennas of the server.
    """
    squares = weight.square().flatten(1).sort(-1).values
    return squares[:, : max(squares.shape[1] - num_antennas, 0)].sum(-1)


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
