"""Certificates of the objective in dB, of certified lower bounds of its two parts.

    objective <= -(1 - w) 10 log10 (least nmse) - w 10 log10 (least bound)

A part whose weight is 0 is never looked at, and a part without a lower bound (-inf, NaN) makes no
claim: the bound is inf. In single precision the bound is moved outwards by more than an evaluation
of the objective can be wrong.
"""

import math

import torch
from torch import Tensor

from isac_gym.core.solution import Certificate
from isac_gym.problems.ota_feel.model import OtaFeel

__all__ = ["claim", "in_db"]

_DB = 10 / math.log(10)
_OUTWARD = {torch.float64: 1e-9, torch.float32: 1e-5}  # of max(1, |bound|): rounding of objectives


def in_db(log_score: Tensor) -> Tensor:
    """Bound of the objective in dB, (B,), of a lower bound of (1 - w) log nmse + w log bound."""
    bound = -_DB * log_score
    return torch.where(bound.isnan(), torch.inf, bound)


def claim(
    problem: OtaFeel,
    *,
    log_error: Tensor | None = None,
    log_crb: Tensor | None = None,
    log_score: Tensor | None = None,
    dtype: torch.dtype,
    kind: str,
    source: str,
) -> Certificate:
    """Certificate of lower bounds of the parts, or of their weighted sum; the best one counts.

    Args:
        problem: Its ``sensing_weight`` is w.
        log_error: Lower bound of log nmse, (B,); needed where w < 1.
        log_crb: Lower bound of the log of the scored bound in m^2, (B,); needed where w > 0.
        log_score: Lower bound of (1 - w) log nmse + w log bound, (B,), or None.
        dtype: Of the instance.
        kind: See :class:`Certificate`.
        source: How to recompute it.
    """
    share = problem.scenario.sensing_weight
    pairs = [(1 - share, log_error), (share, log_crb)]
    parts = [weight * part for weight, part in pairs if weight > 0 and part is not None]
    bound = in_db(torch.stack(parts).sum(0))
    if log_score is not None:
        bound = torch.minimum(bound, in_db(log_score))
    margin = _OUTWARD[dtype]
    bound = bound + margin * bound.abs().clamp_min(1)
    return Certificate(bound=bound.to(dtype), kind=kind, source=source, tolerance=margin)
