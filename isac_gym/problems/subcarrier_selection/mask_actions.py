"""Maps between numbers in [-1, 1] and masks: scores of all tones, and what a team agrees on.

A joint action holds a score of every tone; tones above 0 are selected, at least the fewest and at
most the most allowed, the largest scores first. In the multi-agent view every link scores its own
tones and bids for a share of the most allowed; what exceeds its share loses.
"""

import torch
from torch import Tensor

from isac_gym.core.errors import ShapeError
from isac_gym.problems.subcarrier_selection.model import select_tones

__all__ = ["check_action", "joined", "mask_of", "scores_of", "shares"]


def check_action(action: Tensor, batch: int, size: int) -> None:
    """Refuse an action of the wrong shape.

    Raises:
        ShapeError: Wrong shape.
    """
    if action.shape != (batch, size):
        raise ShapeError(f"action: shape {tuple(action.shape)}, expected {(batch, size)}.")


def mask_of(scores: Tensor, least: int, most: int) -> Tensor:
    """Mask (..., S) bool of scores in [-1, 1]: those above 0, within the limits."""
    return select_tones(scores.clamp(-1, 1), least, most, threshold=0.0)


def scores_of(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Scores +-1 of a mask (..., S)."""
    return 2 * mask.to(dtype) - 1


def shares(bids: Tensor, tones: int, total: int) -> Tensor:
    """Tones of each link, (..., P) int64, by bids (..., P): largest remainders of a softmax.

    Every link gets at least one and at most ``tones``; together they get ``total`` exactly, or all
    there are. The n-th tone of a link with quota q ranks by q - n, so the whole parts come first
    and then the largest remainders; ties by index.
    """
    quota = total * bids.softmax(-1)
    unit = torch.arange(tones, device=bids.device, dtype=bids.dtype)
    rank = quota[..., None] - unit
    rank = torch.where(unit == 0, torch.inf, rank).flatten(-2)
    order = rank.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return (order < total).unflatten(-1, (-1, tones)).sum(-1)


def joined(scores: Tensor, bids: Tensor, total: int) -> Tensor:
    """Joint scores (B, P K) in [-1, 1] of the links' scores (B, P, K) and bids (B, P).

    Scores above 0 within a link's share stay; the others fall to [-0.45, 0], and those beyond it to
    [-1, -0.5], so that no completion to the fewest allowed exceeds a share either.
    """
    scores = scores.clamp(-1, 1)
    share = shares(bids, scores.shape[-1], total)[..., None]
    order = scores.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    inside = torch.where(scores > 0, scores, 0.45 * scores)
    return torch.where(order < share, inside, (scores - 3) / 4).flatten(1)
