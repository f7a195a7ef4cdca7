"""Penalty-MIBO: the loop of SPG-MIBO with the gradient of a penalty instead of a proximal step.

Source: SPG-MIBO paper, (24) and section VI-B.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from baselines.subcarrier_selection.relaxation import Run
from baselines.subcarrier_selection.spg_mibo import Bilevel

__all__ = ["PenaltyMibo", "penalty_slope"]


def penalty_slope(gate: Tensor) -> Tensor:
    """Gradient of sum_j (w_j (1 - w_j))^2, of the shape of ``gate``: 0 at 0, 1/2 and 1."""
    return 2 * gate * (1 - gate) * (1 - 2 * gate)


@dataclass(frozen=True, kw_only=True)
class PenaltyMibo(Bilevel):
    """Gradient steps on loss and growing penalty, clipped to the box.

    Attributes:
        penalty: Factor of the penalty at the end, >= 0; grows in proportion to the iterations.
    """

    name: ClassVar[str] = "penalty-mibo"
    summary: ClassVar[str] = "SPG-MIBO's loop with a smooth penalty instead of the proximal step"

    penalty: float = 0.3

    def _tighten(self, gate: Tensor, slope: Tensor, share: float, run: Run) -> Tensor:
        pull = self.penalty * share * penalty_slope(gate)
        return (gate - self.gate_rate * (slope + pull)).clamp(0, 1)
