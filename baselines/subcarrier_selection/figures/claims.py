"""All verdicts of the subcarrier selection figures: a pure function of the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from baselines.figures import Table, Verdict
from baselines.subcarrier_selection.figures.breathing import breathing_verdicts
from baselines.subcarrier_selection.figures.enumeration import Enumerated
from baselines.subcarrier_selection.figures.mask_claims import (
    quality_verdicts,
    rank_verdicts,
    truth_verdicts,
)
from baselines.subcarrier_selection.figures.tracking import tracking_verdicts
from baselines.subcarrier_selection.figures.training import Trained
from baselines.subcarrier_selection.figures.training_claims import (
    gap_verdicts,
    joint_verdicts,
    loss_verdicts,
    mask_verdicts,
)

__all__ = ["Measured", "verdicts"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Tables of one run.

    Attributes:
        trained: Joint and separate training by number of tones; only Fig. 8 looks inside.
        training: Their errors, gaps and losses (Tables II and III).
        curves: Their losses by iteration (Figs. 6 and 7).
        spent: Their localisation losses by gradients.
        knobs: Gaps over the strength of the pull.
        quality: Errors after training anew for the masks.
        ranks: Agreement of evaluators with training anew.
        truth: Stored optima of 16 tones, in the rooms of this run.
        anew: Rooms that were enumerated again.
        solved: Solvers with the presets' windows.
        breathing: Errors of the breathing rate.
        tracking: Policies under moving interference.
    """

    trained: Mapping[int, Trained]
    training: Table
    curves: Table
    spent: Table
    knobs: Table
    quality: Table
    ranks: Table
    truth: Sequence[Enumerated]
    anew: Sequence[Enumerated]
    solved: Table
    breathing: Table
    tracking: Table


def verdicts(measured: Measured) -> list[Verdict]:
    """One verdict per claim of the paper, and per statement of ours that qualifies it."""
    m = measured
    return [
        *gap_verdicts(m.training, m.knobs),
        *joint_verdicts(m.training, m.quality),
        *mask_verdicts(m.training),
        *loss_verdicts(m.curves, m.spent, m.training),
        *quality_verdicts(m.quality),
        *rank_verdicts(m.ranks),
        *truth_verdicts(m.truth, m.anew, m.solved),
        *breathing_verdicts(m.breathing),
        *tracking_verdicts(m.tracking),
    ]
