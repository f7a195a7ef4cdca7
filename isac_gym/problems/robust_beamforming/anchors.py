"""Certified normalisers of both objectives: an upper bound of the rate, a lower one of the CRLB.

Both are bounds by construction, whatever the number of iterations: the first drops interference,
the second is a supporting hyperplane of a convex function that is homogeneous of degree -1.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh
from isac_gym.physics.multistatic import target_bounds

__all__ = ["crlb_lower_bound", "rate_upper_bound", "unit_power"]

_LEAST_RATE = 1e-9  # bit/s/Hz; a positive normaliser where no rate is certain
_ROUNDING = 1e-12  # taken off the lower bound
_RISE = 1e-9  # relative rise of the CRLB that is rounding, not overshoot
Information = Callable[[Tensor], Tensor]  # covariances (B, I, N, N) -> information (B, n, n)


def rate_upper_bound(channel: Tensor, radius: Tensor, weight: Tensor, power: Tensor) -> Tensor:
    """Weighted sum rate without interference: water-filling per base station over worst gains.

    Model: max sum_k w_k log2(1 + p_k g_k), sum_k p_k = P, g_k = max(||h_k|| - eps_k, 0)^2. Upper
    bound because interference and the loss of serving several users only lower the rate.

    Args:
        channel: Channel estimates, (B, I, I, K, N) complex, noise-normalised.
        radius: Radii of the balls, (B, I, I, K).
        weight: Rate weights > 0, (B, I, K).
        power: Power budgets, (B, I), W.

    Returns:
        (B,) bit/s/Hz, at least 1e-9: balls that hold the zero channel leave a utility of 0.
    """
    own = torch.diagonal(channel, dim1=1, dim2=2)  # (B, K, N, I)
    norm = (own.real.square() + own.imag.square()).sum(2).sqrt().mT  # (B, I, K)
    gain = (norm - torch.diagonal(radius, dim1=1, dim2=2).mT).clamp_min(0).square()
    tiny = torch.finfo(gain.dtype).tiny ** 0.5
    need = 1 / gain.clamp_min(tiny)
    order = (need / weight).argsort(-1)
    weights, needs = weight.gather(-1, order), need.gather(-1, order)
    level = power[..., None] + needs.cumsum(-1)  # if only the first 1, 2, ... are served
    level = level / weights.cumsum(-1)
    level = torch.where(level * weights > needs, level, torch.inf).amin(-1, keepdim=True)
    level = torch.where(level.isinf(), 0, level)  # nobody can be guaranteed anything
    share = (level * weight - need).clamp_min(0)
    rate = (weight * torch.log1p(share * gain)).sum((-2, -1)) / math.log(2)
    return rate.clamp_min(_LEAST_RATE)


def crlb_lower_bound(
    information: Information, start: Tensor, power: Tensor, *, steps: int
) -> tuple[Tensor, Tensor]:
    """Smallest CRLB over all covariances within the budgets: certified bound and a near optimum.

    Multiplicative iteration C <- normalise((1 - s) C + s normalise(-G C)) with G = d CRLB / d R; a
    row whose CRLB would rise stays and halves its s. As the CRLB is convex and homogeneous of
    degree -1, CRLB(R)^2 / sum_l P_l lambda_max(-G_l) is a lower bound at any R.

    Args:
        information: Maps covariances (B, I, N, N) to Fisher information (B, n, n), differentiable.
        start: First factors C, (B, I, N, R) complex, nowhere blind.
        power: Power budgets, (B, I), W.
        steps: Iterations >= 0.

    Returns:
        Lower bound (B,) m^2, and factors of full power (B, I, N, R).
    """
    factor = unit_power(start, power)
    value, slope = _slope(information, factor)
    share = torch.full_like(value, 0.5)
    for _ in range(steps):
        part = share[:, None, None, None]
        pull = unit_power(-slope @ factor, power)
        moved = unit_power((1 - part) * factor + part * pull, power)
        new_value, new_slope = _slope(information, moved)
        is_better = new_value <= value * (1 + _RISE)
        share = torch.where(is_better, share, share / 2)
        value = torch.where(is_better, new_value, value)
        lift = is_better[:, None, None, None]
        factor, slope = torch.where(lift, moved, factor), torch.where(lift, new_slope, slope)
    price = hermitian_eigh(-slope)[0][..., -1].clamp_min(0)  # (B, I)
    return (1 - _ROUNDING) * value.square() / (power * price).sum(-1), factor


def _slope(information: Information, factor: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        covariance = (factor @ factor.mH).detach().requires_grad_()
        value = target_bounds(information(covariance)).sum(-1)
        (slope,) = torch.autograd.grad(value.sum(), covariance)
    return value.detach(), (slope + slope.mH) / 2


def unit_power(factor: Tensor, power: Tensor) -> Tensor:
    """Factors (B, I, N, R) scaled to tr C C^H = P, (B, I); zero stays zero."""
    total = (factor.real.square() + factor.imag.square()).sum((-2, -1))
    scale = (power / total.clamp_min(torch.finfo(power.dtype).tiny ** 0.5)).sqrt()
    return factor * scale[..., None, None]
