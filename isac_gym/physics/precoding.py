r"""Precoders of an over-the-air sum: exact alternating optimisation of receiver and devices.

    minimise  sum_k |M^H H_k C_k - W_k|^2 + noise |M|^2   over M and |C_k|_F^2 <= P_k

Either half is a least-squares problem: one N x N (or K R x K R) solve for the receiver, and
:mod:`isac_gym.physics.precoder_step` for the devices, which works in R x R matrices if there are
no pulses. With orthogonal pulses every device has a receiver M_k of its own, and device k sees
Phi_k = sum_l H_k^H M_l M_l^H H_k and B_k = H_k^H M_k W_k.

Over-relaxation: for fixed precoders the error is quadratic in M with Hessian A, and the best
precoders can only lower it further. So M + r (M_best - M) descends for every 0 < r < 2.

Source: the OTA-FEEL paper, algorithm 1, whose relaxed device step is replaced by the exact one.
The receiver's conjugate and transposed precoders are what is stored: then nothing is copied.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh
from isac_gym.physics.precoder_step import limited_precoders, shared_precoders, sum_precoders

__all__ = [
    "Uplink",
    "alternating_precoders",
    "best_precoders",
    "best_receiver",
    "common_directions",
    "initial_precoders",
    "precoder_step",
    "receiver_normal",
    "strongest_directions",
]


class Uplink(NamedTuple):
    """What precoders are designed for.

    Attributes:
        columns: H_k^T, (B, K, M, N) complex.
        weight: Diagonals of W_k, (B, K, R) real >= 0.
        budget: P_k, (B, K) W.
        noise_w: Noise power per antenna of the server, (B,) W, > 0.
        least_w: Least total power, (B,) W; 0 for none.
    """

    columns: Tensor
    weight: Tensor
    budget: Tensor
    noise_w: Tensor
    least_w: Tensor

    @classmethod
    def of(
        cls,
        channel: Tensor,
        weight: Tensor,
        budget: Tensor,
        noise_w: float,
        *,
        least_w: float = 0.0,
    ) -> "Uplink":
        """Of channels H_k (B, K, N, M) and numbers common to the batch."""
        one = torch.ones_like(budget[:, 0])
        return cls(channel.mT.contiguous(), weight, budget, noise_w * one, least_w * one)


def alternating_precoders(
    channel: Tensor,
    weight: Tensor,
    budget: Tensor,
    noise_w: float,
    *,
    pulse: str,
    iterations: int,
    start: Tensor | None = None,
    relaxation: float = 1.0,
) -> Tensor:
    """Precoders after a fixed number of rounds, (B, K, M, R) sqrt(W); no budget is exceeded.

    Args:
        channel: H_k, (B, K, N, M) complex.
        weight: Diagonals of W_k, (B, K, R) real >= 0.
        budget: P_k, (B, K) W.
        noise_w: Noise power per antenna of the server in watts, > 0.
        pulse: ``none`` or ``dft``.
        iterations: Rounds, >= 0.
        start: Precoders to start from, (B, K, M, R), or None for :func:`initial_precoders`.
        relaxation: Step towards the best receiver, in (0, 2); 1 is plain alternation.
    """
    if start is None:
        start = initial_precoders(channel, budget, weight.shape[-1], pulse=pulse)
    if iterations == 0:
        return start
    link = Uplink.of(channel, weight, budget, noise_w)
    receiver, _ = best_receiver(link, start.mT, pulse=pulse)
    rows = best_precoders(link, receiver, pulse=pulse)
    for _ in range(iterations - 1):
        best, _ = best_receiver(link, rows, pulse=pulse)
        receiver = best if relaxation == 1 else receiver + relaxation * (best - receiver)
        rows = best_precoders(link, receiver, pulse=pulse)
    return rows.mT.contiguous()


def strongest_directions(channel: Tensor, budget: Tensor, num_tasks: int) -> Tensor:
    """Full power, shared equally, on the R strongest right singular directions, (B, K, M, R).

    Their phases are such that every first entry is positive.

    Args:
        channel: H_k, (B, K, N, M) complex.
        budget: P_k, (B, K) W.
        num_tasks: R <= M.
    """
    _, vector = hermitian_eigh(channel.mH @ channel)
    best = _turned(vector[..., -num_tasks:].flip(-1))
    return (budget / num_tasks).sqrt()[..., None, None] * best


def _turned(columns: Tensor) -> Tensor:
    """Columns (..., n, R) whose first entries are positive: libraries leave phases open."""
    first = columns[..., :1, :]
    size = first.abs()
    return columns * torch.where(size == 0, 1, first.conj() / torch.where(size == 0, 1, size))


def common_directions(channel: Tensor, budget: Tensor, num_tasks: int) -> Tensor:
    """Full power on matched filters to R receive directions that all devices share, (B, K, M, R).

    The directions are the strongest eigenvectors of sum_k H_k H_k^H, so that the streams of the
    devices add up in phase: alternation from here needs a quarter of the rounds. Their phases are
    such that every first entry at the server is positive.

    Args:
        channel: H_k, (B, K, N, M) complex.
        budget: P_k, (B, K) W.
        num_tasks: R <= N.
    """
    flat = channel.transpose(1, 2).flatten(2)
    _, vector = hermitian_eigh(flat @ flat.mH)
    shared = _turned(vector[..., -num_tasks:].flip(-1))
    matched = channel.mH @ shared[:, None]
    power = matched.abs().square().sum((-2, -1)).clamp_min(torch.finfo(budget.dtype).tiny)
    return (budget / power).sqrt()[..., None, None] * matched


def initial_precoders(channel: Tensor, budget: Tensor, num_tasks: int, *, pulse: str) -> Tensor:
    """Where alternation starts by default: common directions, or strongest ones with pulses."""
    directions = common_directions if pulse == "none" else strongest_directions
    return directions(channel, budget, num_tasks)


def precoder_step(
    channel: Tensor,
    weight: Tensor,
    budget: Tensor,
    receiver: Tensor,
    *,
    pulse: str,
    least_w: float = 0.0,
) -> Tensor:
    """Best precoders for a given receiver, the global optimum, (B, K, M, R) sqrt(W).

    Args:
        channel: H_k, (B, K, N, M) complex.
        weight: Diagonals of W_k, (B, K, R) real >= 0.
        budget: P_k, (B, K) W.
        receiver: M (B, N, R) for ``none``, M_k (B, K, N, R) for ``dft``.
        pulse: ``none`` or ``dft``.
        least_w: Least total power of the devices in watts; 0 for none.
    """
    flat = receiver if pulse == "none" else receiver.transpose(1, 2).flatten(2)
    link = Uplink.of(channel, weight, budget, 1.0, least_w=least_w)
    return best_precoders(link, flat.conj(), pulse=pulse, is_shared=least_w > 0).mT


def best_receiver(link: Uplink, rows: Tensor, *, pulse: str) -> tuple[Tensor, Tensor]:
    """MMSE receiver of precoders and their error.

    Args:
        link: What is designed for.
        rows: C_k^T, (B, K, R, M).
        pulse: ``none`` or ``dft``.

    Returns:
        conj M (B, N, R), or the conjugates of all M_k side by side (B, N, K R), and the error (B,).
    """
    heard, wanted = _heard(link, rows, pulse)
    receiver = _receive(heard, wanted, link, pulse)
    gained = (receiver * wanted.conj()).real.sum((-2, -1))
    return receiver, link.weight.square().sum((-2, -1)) - gained


def receiver_normal(link: Uplink, rows: Tensor, *, pulse: str) -> tuple[Tensor, Tensor]:
    """Normal equations A M = S of the best receiver, both conjugate: (B, N, N) and (B, N, n).

    At the best precoders of a receiver M, 2 (A M - S) is the gradient of the least error by M.
    """
    heard, wanted = _heard(link, rows, pulse)
    eye = torch.eye(heard.shape[-1], dtype=heard.dtype, device=heard.device)
    return heard.mH @ heard + link.noise_w[:, None, None] * eye, wanted


def _heard(link: Uplink, rows: Tensor, pulse: str) -> tuple[Tensor, Tensor]:
    """G^T (B, K R, N) and conj S (B, N, n)."""
    heard = (rows @ link.columns).flatten(1, 2)
    if pulse == "none":
        shaped = heard.unflatten(1, link.weight.shape[1:])
        return heard, (link.weight[..., None] * shaped).sum(1).mH
    return heard, heard.mH * link.weight.flatten(1)[:, None, :]


def best_precoders(
    link: Uplink, receiver: Tensor, *, pulse: str, is_shared: bool = False
) -> Tensor:
    """Best precoders for a receiver as :func:`best_receiver` returns it: C_k^T, (B, K, R, M).

    ``is_shared``: spend at least ``link.least_w`` over all devices.
    """
    shape = link.columns.shape
    if pulse == "none":
        seen = (link.columns.flatten(1, 2) @ receiver).unflatten(1, shape[1:3])  # conj F
        if not is_shared:
            return sum_precoders(seen, link.weight, link.budget)
        gram, wanted = seen @ seen.mH, seen * link.weight[:, :, None, :]
    else:
        gram, wanted = _separate_normal(link, receiver)
    if is_shared:
        return shared_precoders(gram, wanted, link.budget, link.least_w).mH
    return limited_precoders(gram, wanted, link.budget).mH


def _receive(heard: Tensor, wanted: Tensor, link: Uplink, pulse: str) -> Tensor:
    """(conj A)^-1 wanted with A = G G^H + noise, of G^T (B, K R, N) and wanted (B, N, n)."""
    rows, antennas = heard.shape[1:]
    noise = link.noise_w[:, None, None]
    if rows >= antennas:
        eye = torch.eye(antennas, dtype=heard.dtype, device=heard.device)
        factor, _ = torch.linalg.cholesky_ex(heard.mH @ heard + noise * eye, check_errors=False)
        return torch.cholesky_solve(wanted, factor)
    eye = torch.eye(rows, dtype=heard.dtype, device=heard.device)
    factor, _ = torch.linalg.cholesky_ex(heard @ heard.mH + noise * eye, check_errors=False)
    weight = link.weight if pulse == "none" else link.weight.flatten(1)
    share = torch.diag_embed(weight).reshape(len(heard), rows, -1).to(heard.dtype)
    return heard.mH @ torch.cholesky_solve(share, factor)


def _separate_normal(link: Uplink, receiver: Tensor) -> tuple[Tensor, Tensor]:
    """Conj Phi_k (B, K, M, M) and conj B_k (B, K, M, R) with orthogonal pulses."""
    columns, weight = link.columns, link.weight
    seen = columns.flatten(1, 2) @ (receiver @ receiver.mH)
    own = receiver.mT.unflatten(1, weight.shape[1:]).mT  # conj M_k, (B, K, N, R)
    gram = seen.unflatten(1, columns.shape[1:3]) @ columns.mH
    return gram, (columns @ own) * weight[:, :, None, :]
