"""What every gradient method of robust beamforming climbs: both utilities, and how to scalarise."""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.physics.worst_case import robust_sinr
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
    sensing_utility,
)

__all__ = ["SCALARISATIONS", "Utilities", "scalarise", "typed", "utilities"]

SCALARISATIONS = ("chebyshev", "weighted-sum", "epsilon")
_PENALTY = 20.0  # of the missed part of an epsilon constraint


class Utilities(NamedTuple):
    """Both objectives over their bounds.

    Attributes:
        rate: f1, worst-case rate over its upper bound, (B,).
        sensing: f2, lower bound of the CRLB over the CRLB, (B,).
    """

    rate: Tensor
    sensing: Tensor


def typed(
    problem: Problem, instance: TensorRecord
) -> tuple[RobustBeamforming, RobustBeamformingInstance]:
    """Problem and instance as what the registry guarantees they are."""
    return cast(RobustBeamforming, problem), cast(RobustBeamformingInstance, instance)


def utilities(
    problem: RobustBeamforming,
    instance: RobustBeamformingInstance,
    decision: RobustBeamformingDecision,
    *,
    steps: int | None = None,
) -> Utilities:
    """Utilities of a decision, differentiable; what ``evaluate`` reports without its reports.

    Args:
        problem: The problem.
        instance: Instances, batch size B.
        decision: Decisions, batch size B.
        steps: Newton steps of the worst case; None for full accuracy.
    """
    i, covariance = instance, problem.covariance(decision)
    sinr = robust_sinr(i.channel, i.radius, decision.beam, covariance, steps=steps).sinr
    tiny = torch.finfo(sinr.dtype).tiny
    rate = (i.weight * torch.log2(1 + sinr)).sum((-2, -1)) / i.rate_bound.clamp_min(tiny)
    crlb = problem.position_bounds(i, covariance).sum(-1)
    return Utilities(rate, sensing_utility(i.crlb_bound, crlb))


def scalarise(kind: str, preference: Tensor, found: Utilities, *, smoothing: float) -> Tensor:
    """One number to maximise, (B,).

    Args:
        kind: ``chebyshev``: -tau logsumexp of the weighted losses over tau; ``weighted-sum``:
            p f1 + (1 - p) f2; ``epsilon``: f1 less a penalty where f2 is below 1 - p.
        preference: p, (B,).
        found: Utilities.
        smoothing: tau > 0 of the Chebyshev scalarisation.

    Raises:
        ScenarioError: Unknown kind.
    """
    p, (f1, f2) = preference, found
    if kind == "chebyshev":
        lost = torch.stack([p * (1 - f1), (1 - p) * (1 - f2)])
        return -smoothing * (lost / smoothing).logsumexp(0)
    if kind == "weighted-sum":
        return p * f1 + (1 - p) * f2
    if kind == "epsilon":
        return f1 - _PENALTY * (1 - p - f2).clamp_min(0)
    raise ScenarioError(f"scalarisation must be one of {SCALARISATIONS}, got {kind!r}.")
