r"""Proximal operators that pull relaxed weights of the tones towards 0 or 1.

    prox(v) = argmin over w in [0, 1] of (w - v)^2 / 2 + tau d(w)

with d(w) = min(w, 1 - w) (``l1``), min(w, 1 - w)^2 (``squared``) or infinite off {0, 1} (``hard``).
Each branch is a convex problem in one variable, and as w -> 1 - w swaps the branches their values
cross at v = 1/2: below it the branch at 0 wins, above it the one at 1. At v = 1/2 both do and the
upper one is taken.

Source: SPG-MIBO paper, (7), (12), (13), whose formulas are lost in the text; derived anew.
"""

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError

__all__ = ["PROX_KINDS", "prox", "prox_cardinality"]

PROX_KINDS = ("l1", "squared", "hard")
_HALVINGS = 40


def prox(v: Tensor, tau: float | Tensor, kind: str = "l1") -> Tensor:
    """Nearest weights under the penalty, elementwise, of the shape of ``v``.

    Args:
        v: Any real numbers.
        tau: Strength of the penalty, >= 0; from 1/2 on ``l1`` rounds.
        kind: One of ``PROX_KINDS``.

    Raises:
        ScenarioError: Unknown kind.
    """
    if kind not in PROX_KINDS:
        raise ScenarioError(f"kind must be one of {PROX_KINDS}, got {kind!r}.")
    is_up = v >= 0.5
    if kind == "hard":
        return is_up.to(v.dtype)
    if kind == "l1":
        return torch.where(is_up, (v + tau).clamp(0.5, 1), (v - tau).clamp(0, 0.5))
    return torch.where(is_up, (v + 2 * tau) / (1 + 2 * tau), v / (1 + 2 * tau)).clamp(0, 1)


def prox_cardinality(
    v: Tensor, tau: float | Tensor, kind: str = "l1", *, least: int, most: int
) -> Tensor:
    """The prox after a common shift of each row, so that ``least`` <= sum <= ``most`` if it can.

    Rows that satisfy the limits are not shifted. As the prox jumps at 1/2, a shifted row's sum may
    miss the limit by one jump; it is then on the inner side.

    Args:
        v: Rows (..., S).
        tau: As for :func:`prox`; a tensor broadcasts with ``v``.
        kind: As for :func:`prox`.
        least: Least sum, >= 0.
        most: Largest sum, >= ``least``.
    """
    plain = prox(v, tau, kind)
    total = plain.sum(-1, keepdim=True)
    is_low, is_high = total < least, total > most
    reach = (
        v.abs().amax(-1, keepdim=True) + 2 + 2 * torch.as_tensor(tau)
    )  # certain to fill or empty
    inside, outside = torch.where(is_low, reach, -reach), torch.zeros_like(total)
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        total = prox(v + middle, tau, kind).sum(-1, keepdim=True)
        is_inside = torch.where(is_low, total >= least, total <= most)
        inside = torch.where(is_inside, middle, inside)
        outside = torch.where(is_inside, outside, middle)
    return torch.where(is_low | is_high, prox(v + inside, tau, kind), plain)
