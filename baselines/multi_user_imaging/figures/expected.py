"""Numbers expected from an independent prototype, and how far ours may be from them.

The paper's text names no number of its figures. The prototype used 8 frames of its own and mostly
one seed: its standard error follows from the spread of our batches of five frames. The tolerance is
two of these; our own sampling error is added as the 95 % interval. The rule was fixed before any
comparison. Where the prototype left a constant unsaid, the claim's note says what we took.
"""

import math
from collections.abc import Iterator

import numpy as np

from baselines.figures import Check, Estimate, Table

__all__ = [
    "ANTENNAS",
    "IMAGES",
    "KNOWN",
    "PRIORITIES",
    "SIZES_LS",
    "THEORY",
    "TWO_STEP",
    "USERS_KNOWN",
    "checks",
    "prototype",
]

_FRAMES, _BATCH = 8, 5

# Fig. 4, whole blocks, 8 of 32 voxels, symbols estimated: dB.
TWO_STEP = {"none": -12.3, "l1": -16.6, "l1+l21": -15.5}
# Fig. 5: relative error in dB and F1 of the paper's scheme by SNR.
IMAGES = {-15: (11.7, 0.24), -10: (6.9, 0.32), -5: (-0.2, 0.90), 0: (-8.0, 1.0)}
# Fig. 6, symbols known: penalty none, l1, both, l21 by occupied voxels.
KNOWN = {
    2: (-27.4, -32.6, -32.7, -31.3),
    8: (-28.2, -27.2, -27.5, -30.0),
    16: (-28.6, -23.9, -24.1, -28.1),
    32: (-25.1, -18.4, -18.6, -22.1),
}
# Fig. 7, symbols known, no penalty, by users.
USERS_KNOWN = {5: -20.1, 10: -26.9, 20: -28.1, 30: -28.2, 40: -28.3}
# Fig. 8, least squares with known symbols, by voxels.
SIZES_LS = {8: -45.8, 16: -42.6, 32: -40.0, 64: -36.7}
# Fig. 9: SINR and error in dB at the ends.
PRIORITIES = {0.01: (15.2, -33.9), 0.99: (26.7, -25.6)}
# Fig. 10: SINR and error in dB by antennas.
ANTENNAS = {4: (18.0, -29.0), 8: (20.1, -31.2), 16: (22.6, -33.2), 32: (24.9, -35.3)}
# Full and independent-noise theory minus simulation in dB.
THEORY = {
    "lms, step 1, 0.3": (0.0, -1.80),
    "lms, step 1, 0.8": (-0.03, -1.76),
    "lms, symbols known, 0.8": (0.01, -0.48),
    "tls, symbols known, 0.9": (-0.15, None),
}


def prototype(name: str, measured: Estimate, expected: float, unit: str = "dB") -> Check:
    """Check against a number of the prototype."""
    finite = [b for b in measured.batches if math.isfinite(b)]
    spread = float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan
    return Check(name, measured, expected, 2 * spread * math.sqrt(_BATCH / _FRAMES), unit)


def checks(
    table: Table, scheme: str, quantity: str, expected: dict[int, float], name: str
) -> Iterator[Check]:
    """One check per place of a curve that was measured there."""
    for place, value in expected.items():
        if (place, scheme, quantity) in table.cells:
            yield prototype(f"{name} {place}", table.at(place, scheme, quantity), value)
