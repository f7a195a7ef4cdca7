"""Checks that the claims of the OTA-FEEL figures share."""

import itertools
import math

import numpy as np

from baselines.figures import Check, Estimate, Table
from baselines.ota_feel.figures.sweeps import Twin

__all__ = ["OURS", "PAPER", "Paired", "changes", "prototype", "twin_check"]

PAPER = "Asaad et al., section V"
OURS = "ours"
_EXACT = 1e-6  # relative, of numbers that plain NumPy calculates on the same frames
_EXACT_DB = 1e-5  # the same in dB


class Paired(Check):
    """A number against the same frames calculated apart: draws cancel, no interval counts."""

    @property
    def deviation(self) -> float:
        """Distance from ``expected`` over the tolerance alone; ``inf`` if unknown."""
        distance = abs(self.measured.value - self.expected)
        return math.inf if math.isnan(distance) else distance / self.tolerance


def twin_check(name: str, twin: Twin, key: tuple[float | str, str, str], unit: str = "") -> Check:
    """One cell against plain NumPy."""
    apart = twin.apart.at(*key).value
    tolerance = _EXACT_DB if "dB" in unit else _EXACT * abs(apart)
    return Paired(name, twin.table.at(*key), apart, tolerance, unit)


def prototype(name: str, measured: Estimate, expected: float, unit: str = "") -> Check:
    """One number against the prototype's median over 16 other frames, known to 2 digits or so."""
    spread = float(np.std([b for b in measured.batches if math.isfinite(b)], ddof=1))
    return Check(name, measured, expected, spread + 0.03 * abs(expected), unit)


def changes(table: Table, places: tuple[int, ...], scheme: str, quantity: str) -> list[Estimate]:
    """Differences of neighbours, the later one less the earlier one."""
    found = [table.at(p, scheme, quantity) for p in places]
    return [b - a for a, b in itertools.pairwise(found)]
