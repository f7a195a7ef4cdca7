r"""Precoders of an over-the-air sum: exact alternating optimisation of receiver and devices.

    minimise  sum_k |M^H H_k C_k - W_k|^2 + noise |M|^2   over M and |C_k|_F^2 <= P_k

Either half is a least-squares problem. The receiver is one N x N (or K R x K R) solve. A device's
precoder is (Phi_k + nu I)^-1 B_k, with the least nu >= 0 that keeps its budget: a root of
sum_i c_i / (e_i + nu)^2 = P_k over the eigenvalues e of Phi_k, whose inverse square root is concave
in nu, so that Newton lands left of the root from anywhere and then climbs to it. Without pulses
Phi_k = F F^H with F = H_k^H M has rank R, and all of this happens in R x R matrices; for R <= 2
there is no eigendecomposition at all.

With orthogonal pulses every device has a receiver M_k of its own, Phi_k = sum_l H_k^H M_l M_l^H H_k
and B_k = H_k^H M_k W_k.

Source: the OTA-FEEL paper, algorithm 1, whose relaxed device step is replaced by the exact one.
"""

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh

__all__ = [
    "alternating_precoders",
    "alternating_round",
    "budget_multiplier",
    "strongest_directions",
]

_ROOT_STEPS = 12  # monotone Newton steps; four to six suffice


def alternating_precoders(
    channel: Tensor,
    weight: Tensor,
    budget: Tensor,
    noise_w: float,
    *,
    pulse: str,
    iterations: int,
    start: Tensor | None = None,
) -> Tensor:
    """Precoders after a fixed number of rounds, (B, K, M, R) sqrt(W); no budget is exceeded.

    Args:
        channel: H_k, (B, K, N, M) complex.
        weight: Diagonals of W_k, (B, K, R) real >= 0.
        budget: P_k, (B, K) W.
        noise_w: Noise power per antenna of the server in watts, > 0.
        pulse: ``none`` or ``dft``.
        iterations: Rounds, >= 0.
        start: Precoders to start from, (B, K, M, R), or None for the strongest directions.
    """
    if start is None:
        start = strongest_directions(channel, budget, weight.shape[-1])
    rows, columns = start.mT, channel.mT.contiguous()
    for _ in range(iterations):
        rows, _ = alternating_round(columns, weight, budget, noise_w, rows, pulse=pulse)
    return rows.mT.contiguous()


def strongest_directions(channel: Tensor, budget: Tensor, num_tasks: int) -> Tensor:
    """Full power, shared equally, on the R strongest right singular directions, (B, K, M, R).

    Args:
        channel: H_k, (B, K, N, M) complex.
        budget: P_k, (B, K) W.
        num_tasks: R <= M.
    """
    _, vector = hermitian_eigh(channel.mH @ channel)
    best = vector[..., -num_tasks:].flip(-1)
    return (budget / num_tasks).sqrt()[..., None, None] * best


def alternating_round(
    columns: Tensor,
    weight: Tensor,
    budget: Tensor,
    noise_w: float,
    rows: Tensor,
    *,
    pulse: str,
) -> tuple[Tensor, Tensor]:
    """One round, receiver then devices, on transposed matrices, which need no copies.

    Args:
        columns: H_k^T, (B, K, M, N) complex.
        weight: Diagonals of W_k, (B, K, R) real >= 0.
        budget: P_k, (B, K) W.
        noise_w: Noise power per antenna of the server in watts.
        rows: C_k^T, (B, K, R, M) complex.
        pulse: ``none`` or ``dft``.

    Returns:
        C_k^T after the round, and the error with the best receiver *before* it, (B,).
    """
    heard = (rows @ columns).flatten(1, 2)  # G^T, (B, K R, N)
    if pulse == "none":
        receiver, error = _sum_receiver(heard, weight, noise_w)
        return _sum_devices(columns, receiver, weight, budget), error
    receiver, error = _separate_receivers(heard, weight, noise_w)
    gram, wanted = _separate_normal(columns, receiver, weight)
    return _devices(gram, wanted, budget).mH, error


def budget_multiplier(value: Tensor, size: Tensor, budget: Tensor) -> Tensor:
    """Least nu >= 0 with sum_i c_i / (e_i + nu)^2 <= P, (...).

    Args:
        value: e, (..., n) >= 0.
        size: c, (..., n) >= 0, zero where e is.
        budget: P, (...) > 0.
    """
    info = torch.finfo(value.dtype)
    value = value.clamp_min(info.tiny**0.25)
    nu = ((size / budget[..., None]).sqrt() - value).amax(-1).clamp_min(0)
    limit = budget * (1 + 4 * info.eps)
    for _ in range(_ROOT_STEPS):
        level = value + nu[..., None]
        part = size / level.square()
        spent = part.sum(-1)
        is_settled = spent <= limit
        if is_settled.device.type == "cpu" and bool(is_settled.all()):
            break
        slope = (part / level).sum(-1).clamp_min(info.tiny)
        step = spent / slope * ((spent / budget).sqrt() - 1)
        nu = nu + torch.where(is_settled, 0, step)
    return nu


def _sum_receiver(heard: Tensor, weight: Tensor, noise_w: float) -> tuple[Tensor, Tensor]:
    """Conj M (B, N, R) and the error (B,), of G^T (B, K R, N)."""
    num_tasks = weight.shape[-1]
    shaped = heard.unflatten(1, (-1, num_tasks))
    wanted = (weight[..., None] * shaped).sum(1).mH  # conj S, (B, N, R)
    receiver = _covariance_solve(heard, wanted, noise_w)
    gained = (receiver * wanted.conj()).real.sum((-2, -1))
    return receiver, weight.square().sum((-2, -1)) - gained


def _separate_receivers(heard: Tensor, weight: Tensor, noise_w: float) -> tuple[Tensor, Tensor]:
    """Conj of all M_k side by side, (B, N, K R), and the error (B,)."""
    wanted = heard.mH * weight.flatten(1)[:, None, :]
    receiver = _covariance_solve(heard, wanted, noise_w)
    gained = (receiver * wanted.conj()).real.sum((-2, -1))
    return receiver, weight.square().sum((-2, -1)) - gained


def _covariance_solve(heard: Tensor, wanted: Tensor, noise_w: float) -> Tensor:
    """conj(A)^-1 wanted, A = G G^H + noise, of G^T (B, K R, N) and wanted (B, N, n)."""
    eye = torch.eye(heard.shape[-1], dtype=heard.dtype, device=heard.device)
    covariance = heard.mH @ heard + noise_w * eye
    factor, _ = torch.linalg.cholesky_ex(covariance, check_errors=False)
    return torch.cholesky_solve(wanted, factor)


def _sum_devices(columns: Tensor, receiver: Tensor, weight: Tensor, budget: Tensor) -> Tensor:
    """C_k^T = W (conj E + nu)^-1 F^T with F = H_k^H M and E = F^H F, (B, K, R, M)."""
    seen = (columns.flatten(1, 2) @ receiver).unflatten(1, columns.shape[1:3])  # conj F
    if weight.shape[-1] <= 2:
        return _two_tasks(seen, weight, budget)
    value, vector = hermitian_eigh(seen.mH @ seen)
    value = _cleaned(value)
    turned = vector.mH * weight[..., None, :]  # U^H W, (B, K, R, R)
    size = value * _square(turned).sum(-1)
    level = value + budget_multiplier(value, size, budget)[..., None]
    inverse = torch.where(value > 0, 1 / level, 0)
    return turned.mH @ (inverse[..., None] * (vector.mH @ seen.mH))


def _two_tasks(seen: Tensor, weight: Tensor, budget: Tensor) -> Tensor:
    """As :func:`_sum_devices` of conj F (B, K, M, R), R <= 2, with 2 x 2 matrices written out."""
    first = seen[..., 0].conj()
    own = _square(first).sum(-1)
    if seen.shape[-1] == 1:
        size = own * weight[..., 0].square()
        level = own + budget_multiplier(own[..., None], size[..., None], budget)
        scale = torch.where(own > 0, weight[..., 0] / level, 0)
        return (scale[..., None] * first)[..., None, :]
    second = seen[..., 1].conj()
    other, cross = _square(second).sum(-1), (first * second.conj()).sum(-1)
    middle, half = (own + other) / 2, (own - other) / 2
    radius = (half.square() + _square(cross)).sqrt()
    value = _cleaned(torch.stack([middle - radius, middle + radius], -1))
    tilt = half / radius.clamp_min(torch.finfo(radius.dtype).tiny)
    w0, w1 = weight[..., 0].square(), weight[..., 1].square()
    mean, lean = (w0 + w1) / 2, (w0 - w1) / 2 * tilt
    size = value * torch.stack([mean - lean, mean + lean], -1)
    nu = budget_multiplier(value, size, budget)
    det = (value + nu[..., None]).prod(-1)
    scale = weight / det[..., None]
    upper = (other + nu)[..., None] * first - cross[..., None] * second
    lower = (own + nu)[..., None] * second - cross.conj()[..., None] * first
    return torch.stack([scale[..., 0, None] * upper, scale[..., 1, None] * lower], -2)


def _separate_normal(columns: Tensor, receiver: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Conj Phi_k (B, K, M, M) and conj B_k (B, K, M, R) with orthogonal pulses."""
    flat = columns.flatten(1, 2)
    seen = (flat @ (receiver @ receiver.mH)).unflatten(1, columns.shape[1:3])
    own = receiver.mT.unflatten(1, weight.shape[1:]).mT  # conj M_k, (B, K, N, R)
    return seen @ columns.mH, (columns @ own) * weight[:, :, None, :]


def _devices(gram: Tensor, wanted: Tensor, budget: Tensor) -> Tensor:
    """(Phi + nu I)^-1 B within the budget, (..., M, R); pseudo-inverse where nu is 0."""
    value, vector = hermitian_eigh(gram)
    value = _cleaned(value)
    turned = vector.mH @ wanted
    size = torch.where(value > 0, _square(turned).sum(-1), 0)
    level = value + budget_multiplier(value, size, budget)[..., None]
    inverse = torch.where(value > 0, 1 / level, 0)
    return vector @ (inverse[..., None] * turned)


def _cleaned(value: Tensor) -> Tensor:
    """Eigenvalues (..., n) in ascending order with those that are rounding set to 0."""
    rounding = value.shape[-1] * torch.finfo(value.dtype).eps * value[..., -1:]
    return torch.where(value > rounding, value, 0)


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
