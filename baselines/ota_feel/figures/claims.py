"""All verdicts of the OTA-FEEL figures: a pure function of the tables.

Verdicts follow from measured intervals alone; checks compare with plain NumPy on the same frames
(:mod:`baselines.ota_feel.figures.theory`), with closed forms, or with the independent prototype.
"""

from dataclasses import dataclass

from baselines.figures import Table, Verdict
from baselines.ota_feel.figures.front_claims import front_verdicts
from baselines.ota_feel.figures.learning import Curves
from baselines.ota_feel.figures.learning_claims import learning_verdicts
from baselines.ota_feel.figures.location import Located
from baselines.ota_feel.figures.location_claims import location_verdicts
from baselines.ota_feel.figures.sweep_claims import (
    convergence_verdicts,
    frame_verdicts,
    load_verdicts,
    user_verdicts,
)
from baselines.ota_feel.figures.sweeps import Twin

__all__ = ["Measured", "verdicts"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Tables of one run.

    Attributes:
        frames: Position bounds over T (Fig. 6).
        users: Errors and bounds over K (Fig. 7).
        points: Cost of full power over N (Figs. 8 and 9).
        fronts: Fronts with the true bounds (Figs. 8 and 9).
        convergence: Errors over rounds (Fig. 10).
        ends: Where the rounds end, over N (Fig. 10).
        loads: Signalling loads (Fig. 11).
        location: Errors of the target (Figs. 4 and 5).
        curves: Training by image set (Figs. 2 and 3).
        apart: Training on digits in plain NumPy.
    """

    frames: Twin
    users: Twin
    points: Table
    fronts: Twin
    convergence: Table
    ends: Table
    loads: Table
    location: Located
    curves: dict[str, Curves]
    apart: Table


def verdicts(measured: Measured) -> list[Verdict]:
    """One verdict per claim of the paper, and per statement of ours that corrects it."""
    return [
        *learning_verdicts(measured.curves, measured.apart),
        *location_verdicts(measured.location),
        *frame_verdicts(measured.frames),
        *user_verdicts(measured.users),
        *front_verdicts(measured.points, measured.fronts),
        *convergence_verdicts(measured.convergence, measured.ends),
        *load_verdicts(measured.loads),
    ]
