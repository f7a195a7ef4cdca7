r"""Best precoders of all devices for a given receiver: least squares within power limits, exactly.

    minimise  tr C^H Phi C - 2 Re tr B^H C   over  |C|_F^2 <= P,   B in the range of Phi

A device's precoder is (Phi + nu I)^-1 B with the least nu >= 0 that keeps its budget: a root of
sum_i c_i / (e_i + nu)^2 = P over the eigenvalues e of Phi. The inverse square root of the left side
is concave in nu, so that Newton lands left of the root from anywhere and then climbs to it.

With a least total power over the devices, sum_k |C_k|^2 >= E, nu may be negative down to -e_min.
The least value as a function of the power spent is convex (a trust-region problem), so one price
mu >= 0 per watt finds the optimum: nu_k = max(-mu, nu_k of the budget), and where B does not see
the weakest eigenvector (the hard case) that eigenvector takes what is left.

Source: Conn, Gould, Toint 2000, Trust-Region Methods, ch. 7.
"""

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh

__all__ = ["budget_multiplier", "limited_precoders", "shared_precoders", "sum_precoders"]

_ROOT_STEPS = 12  # monotone Newton steps; four to six suffice
_HALVINGS = 64


def budget_multiplier(value: Tensor, size: Tensor, budget: Tensor) -> Tensor:
    """Least nu >= 0 with sum_i c_i / (e_i + nu)^2 <= P, (...).

    Args:
        value: e, (..., n) >= 0.
        size: c, (..., n) >= 0.
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


def limited_precoders(gram: Tensor, wanted: Tensor, budget: Tensor) -> Tensor:
    """C = (Phi + nu I)^-1 B within the budget, (..., M, R); pseudo-inverse where nu is 0.

    Args:
        gram: Phi, (..., M, M) Hermitian positive semidefinite.
        wanted: B, (..., M, R).
        budget: P, (...) W.
    """
    value, vector = hermitian_eigh(gram)
    value = _cleaned(value)
    turned = vector.mH @ wanted
    size = torch.where(value == 0, 0, _square(turned).sum(-1))
    level = value + budget_multiplier(value, size, budget)[..., None]
    inverse = torch.where(value == 0, 0, 1 / level)
    return vector @ (inverse[..., None] * turned)


def shared_precoders(gram: Tensor, wanted: Tensor, budget: Tensor, least_w: Tensor) -> Tensor:
    """As :func:`limited_precoders` of all devices that together spend at least a given power.

    Args:
        gram: Phi_k, (B, K, M, M) Hermitian positive semidefinite.
        wanted: B_k, (B, K, M, R).
        budget: P_k, (B, K) W.
        least_w: E, (B,) W; where it exceeds the sum of the budgets, all of them are spent.
    """
    value, vector = hermitian_eigh(gram)
    value = _cleaned(value)
    turned = vector.mH @ wanted
    size = torch.where(value == 0, 0, _square(turned).sum(-1))
    rise, least = value - value[..., :1], value[..., 0]
    cap = budget_multiplier(rise, size, budget)  # of nu + e_min, which is >= 0

    def level(price: Tensor) -> Tensor:  # e + nu, (B, K, M)
        return rise + torch.maximum(cap, least - price[:, None]).clamp_min(0)[..., None]

    def spent(price: Tensor) -> Tensor:
        at = level(price)
        return torch.where(at == 0, 0, size / at.square()).sum(-1)

    high = torch.where(spent(torch.zeros_like(least_w)).sum(-1) >= least_w, 0, least.amax(-1))
    low = torch.zeros_like(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_enough = spent(middle).sum(-1) >= least_w
        low, high = torch.where(is_enough, low, middle), torch.where(is_enough, middle, high)
    below = spent(low)
    above = torch.where(least <= high[:, None], budget, spent(high))
    room = (above - below).clamp_min(0)
    lacking = (least_w - below.sum(-1)).clamp_min(0)
    tiny = torch.finfo(budget.dtype).tiny
    extra = room * (lacking / room.sum(-1).clamp_min(tiny)).clamp_max(1)[:, None]
    at = level(low)
    inverse = torch.where(at == 0, 0, 1 / at)
    return vector @ _with_weakest(inverse[..., None] * turned, turned[..., 0, :], extra)


def _with_weakest(mixed: Tensor, guide: Tensor, extra_w: Tensor) -> Tensor:
    """Coefficients (B, K, M, R) with more power on the first one, in its or the guide's direction.

    Args:
        mixed: Coefficients of the eigenvectors, the weakest first.
        guide: What B has of the weakest, (B, K, R).
        extra_w: Power to add, (B, K) W.
    """
    tiny = torch.finfo(extra_w.dtype).tiny
    length = _square(guide).sum(-1).sqrt()[..., None]
    first = torch.zeros_like(guide)
    first[..., 0] = 1
    unit = torch.where(length > tiny**0.5, guide / length.clamp_min(tiny), first)
    weakest = mixed[..., 0, :]
    power = _square(weakest).sum(-1) + extra_w
    weakest = torch.where(extra_w[..., None] > 0, power.sqrt()[..., None] * unit, weakest)
    return torch.cat([weakest[..., None, :], mixed[..., 1:, :]], -2)


def sum_precoders(seen: Tensor, weight: Tensor, budget: Tensor) -> Tensor:
    """As :func:`limited_precoders` with Phi = F F^H and B = F W, in R x R matrices; transposed.

    C = F (E + nu)^-1 W with E = F^H F; written out for R <= 2.

    Args:
        seen: conj F, (B, K, M, R).
        weight: Diagonals of W_k, (B, K, R) real >= 0.
        budget: P_k, (B, K) W.

    Returns:
        C_k^T, (B, K, R, M).
    """
    if weight.shape[-1] == 1:
        return _one_task(seen, weight, budget)
    if weight.shape[-1] == 2:
        return _two_tasks(seen, weight, budget)
    value, vector = hermitian_eigh(seen.mH @ seen)
    value = _cleaned(value)
    turned = vector.mH * weight[..., None, :]  # U^H W
    size = value * _square(turned).sum(-1)
    level = value + budget_multiplier(value, size, budget)[..., None]
    inverse = torch.where(value == 0, 0, 1 / level)
    return turned.mH @ (inverse[..., None] * (vector.mH @ seen.mH))


def _one_task(seen: Tensor, weight: Tensor, budget: Tensor) -> Tensor:
    row = seen.mH
    own = _square(row).sum(-1)  # (B, K, 1)
    level = own + budget_multiplier(own, own * weight.square(), budget)[..., None]
    return torch.where(own == 0, 0, weight / level)[..., None] * row


def _two_tasks(seen: Tensor, weight: Tensor, budget: Tensor) -> Tensor:
    first, second = seen.mH.unbind(-2)  # rows of F^T
    own, other = _square(first).sum(-1), _square(second).sum(-1)
    cross = (first * second.conj()).sum(-1)
    middle, half = (own + other) / 2, (own - other) / 2
    radius = (half.square() + _square(cross)).sqrt()
    value = _cleaned(torch.stack([middle - radius, middle + radius], -1))
    # |U^H W|^2 by the eigenvectors' weights (1 -+ tilt) / 2 on the first task
    info = torch.finfo(radius.dtype)
    tilt = half / radius.clamp_min(info.tiny)
    square = weight.square()
    mean, lean = square.sum(-1) / 2, (square[..., 0] - square[..., 1]) / 2 * tilt
    size = value * torch.stack([mean - lean, mean + lean], -1)
    nu = budget_multiplier(value, size, budget)
    # (E + nu)^-1 by cofactors, or E / (e (e + nu)) where F has rank 1
    weak, strong = value.unbind(-1)
    is_flat = weak == 0
    det = (torch.where(is_flat, strong, weak + nu) * (strong + nu)).clamp_min(info.tiny)
    scale = weight / det[..., None]
    across = torch.where(is_flat, cross, -cross)[..., None]
    upper = torch.where(is_flat, own, other + nu)[..., None] * first + across * second
    lower = torch.where(is_flat, other, own + nu)[..., None] * second + across.conj() * first
    return torch.stack([scale[..., :1] * upper, scale[..., 1:] * lower], -2)


def _cleaned(value: Tensor) -> Tensor:
    """Eigenvalues (..., n) in ascending order with those that are rounding set to 0."""
    rounding = value.shape[-1] * torch.finfo(value.dtype).eps * value[..., -1:]
    return torch.where(value <= rounding, 0, value)  # NaN stays


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
