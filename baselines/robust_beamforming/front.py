"""Fronts: every solver of one point, run on all points of a channel at once."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from baselines.robust_beamforming import boblrbf, closed_form, learned, pga, wmmse
from baselines.robust_beamforming.relaxation import Relaxation, support_lines
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Solver
from isac_gym.problems.robust_beamforming.front import (
    NUM_POINTS,
    RobustFront,
    RobustFrontDecision,
)
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamformingDecision,
    RobustBeamformingInstance,
)

__all__ = [
    "BoblrbfDnnFeaturesFront",
    "BoblrbfDnnFront",
    "BoblrbfDnnGradientFront",
    "BoblrbfFront",
    "BoblrbfLiteralFront",
    "BoblrbfPhase1Front",
    "FrontRelaxation",
    "MrtNullFront",
    "MrtSplitFront",
    "OnFront",
    "PgaFront",
    "PgaNominalFront",
    "RobustWmmseFront",
    "RzfNullFront",
    "RzfSplitFront",
    "WmmseFront",
    "ZfNullFront",
    "ZfSplitFront",
    "hypervolume_ceiling",
]

_WEIGHTS = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98)
_CELLS = 4096  # of the area under the lines, summed from above


class OnFront(Solver):
    """Mix in before a point solver: the same hyper-parameters, one solve for all points.

    A channel has converged if all its points have.
    """

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; iterations are those of the slowest point."""
        front, channels = cast(RobustFront, problem), cast(RobustBeamformingInstance, instance)
        first = None if start is None else front.scatter(cast(RobustFrontDecision, start))
        found = super().solve(  # pyright: ignore[reportAbstractUsage]
            front.points, front.spread(channels), budget=budget, seed=seed, start=first
        )
        return Solution(
            decision=front.gather(cast(RobustBeamformingDecision, found.decision)),
            status=found.status.unflatten(0, (-1, NUM_POINTS)).amax(-1),
            iterations=found.iterations.unflatten(0, (-1, NUM_POINTS)).amax(-1),
        )


@dataclass(frozen=True, kw_only=True)
class PgaFront(OnFront, pga.Pga):
    """:class:`~baselines.robust_beamforming.pga.Pga` on every point."""


@dataclass(frozen=True, kw_only=True)
class PgaNominalFront(OnFront, pga.PgaNominal):
    """:class:`~baselines.robust_beamforming.pga.PgaNominal` on every point."""


@dataclass(frozen=True, kw_only=True)
class BoblrbfFront(OnFront, boblrbf.Boblrbf):
    """:class:`~baselines.robust_beamforming.boblrbf.Boblrbf` on every point."""


@dataclass(frozen=True, kw_only=True)
class BoblrbfPhase1Front(OnFront, boblrbf.BoblrbfPhase1):
    """:class:`~baselines.robust_beamforming.boblrbf.BoblrbfPhase1` on every point."""


@dataclass(frozen=True, kw_only=True)
class BoblrbfLiteralFront(OnFront, boblrbf.BoblrbfLiteral):
    """:class:`~baselines.robust_beamforming.boblrbf.BoblrbfLiteral` on every point."""


@dataclass(frozen=True, kw_only=True)
class BoblrbfDnnFront(OnFront, learned.BoblrbfDnn):
    """:class:`~baselines.robust_beamforming.learned.BoblrbfDnn` on every point."""


@dataclass(frozen=True, kw_only=True)
class BoblrbfDnnFeaturesFront(OnFront, learned.BoblrbfDnnFeatures):
    """:class:`~baselines.robust_beamforming.learned.BoblrbfDnnFeatures` on every point."""


@dataclass(frozen=True, kw_only=True)
class BoblrbfDnnGradientFront(OnFront, learned.BoblrbfDnnGradient):
    """:class:`~baselines.robust_beamforming.learned.BoblrbfDnnGradient` on every point."""


class _SharesFront(closed_form.Split):
    """The points are the power splits 0, 2, 10, 30, 60, 90 and 100 %."""

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; iterations are those of the beams."""
        front, channels = cast(RobustFront, problem), cast(RobustBeamformingInstance, instance)
        beam, sensing, status, iterations = self.parts(front.points, channels, budget)
        beam, sensing = (t.repeat_interleave(NUM_POINTS, 0) for t in (beam, sensing))
        shares = beam.real.new_tensor(closed_form.SHARES).repeat(channels.batch_size)
        decision = front.gather(closed_form.split(beam, sensing, shares))
        return Solution(decision=decision, status=status, iterations=iterations)


@dataclass(frozen=True, kw_only=True)
class MrtSplitFront(_SharesFront, closed_form.MrtSplit):
    """Matched beams and seven power splits."""


@dataclass(frozen=True, kw_only=True)
class MrtNullFront(_SharesFront, closed_form.MrtNull):
    """Matched beams, null-space sensing and seven power splits."""


@dataclass(frozen=True, kw_only=True)
class ZfSplitFront(_SharesFront, closed_form.ZfSplit):
    """Zero-forcing and seven power splits."""


@dataclass(frozen=True, kw_only=True)
class ZfNullFront(_SharesFront, closed_form.ZfNull):
    """Zero-forcing, null-space sensing and seven power splits."""


@dataclass(frozen=True, kw_only=True)
class RzfSplitFront(_SharesFront, closed_form.RzfSplit):
    """Regularised zero-forcing and seven power splits."""


@dataclass(frozen=True, kw_only=True)
class RzfNullFront(_SharesFront, closed_form.RzfNull):
    """Regularised zero-forcing, null-space sensing and seven power splits."""


@dataclass(frozen=True, kw_only=True)
class WmmseFront(_SharesFront, wmmse.Wmmse):
    """WMMSE beams and seven power splits."""


@dataclass(frozen=True, kw_only=True)
class RobustWmmseFront(_SharesFront, wmmse.RobustWmmse):
    """Robust WMMSE beams and seven power splits."""


@dataclass(frozen=True, kw_only=True)
class FrontRelaxation(OnFront, Relaxation):
    """Rounded relaxations as points; the certificate bounds the hypervolume of any front.

    The bound is the area under eleven certified lines, so it also bounds fronts with more points.
    """

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; ``budget.iterations`` replaces ``iterations``."""
        found = super().solve(problem, instance, budget=budget, seed=seed, start=start)
        front, channels = cast(RobustFront, problem), cast(RobustBeamformingInstance, instance)
        count = self.iterations if budget.iterations is None else budget.iterations
        weights = torch.tensor(_WEIGHTS, dtype=torch.float64)
        lines = support_lines(front.points, channels, weights, iterations=count)
        certificate = Certificate(
            bound=hypervolume_ceiling(lines.weight, lines.limit),
            kind="relaxation",
            source="area under the support lines of the interference-free relaxation",
        )
        return Solution(
            decision=found.decision,
            status=found.status,
            iterations=found.iterations,
            certificate=certificate,
        )


def hypervolume_ceiling(weight: Tensor, limit: Tensor) -> Tensor:
    """Area under lines w f1 + (1 - w) f2 <= s, (B, L), in the unit square, (B,); rounded up."""
    x = torch.arange(_CELLS, dtype=limit.dtype, device=limit.device) / _CELLS
    height = (limit[..., None] - weight[..., None] * x) / (1 - weight[..., None])
    return height.amin(1).clamp(0, 1).mean(-1)
