"""Numbers expected from an independent prototype: four channels of its own, seven preferences.

The paper's text names no number of its figures. An expected number is a mean over four other
channels, so its standard error is half of our spread over channels; the tolerance is two of these,
our own sampling error is added as the 95 % interval. This rule was fixed before any comparison.
"""

import math
from collections.abc import Iterator

import numpy as np

from baselines.figures import Check, Estimate, Table, combine
from baselines.robust_beamforming.figures.draws import PREFERENCES

__all__ = [
    "HYPERVOLUME",
    "hypervolume_checks",
    "power_checks",
    "prototype",
    "rate_checks",
    "ratio",
]

# Scheme: hypervolume by CSI error at 40 dBm
HYPERVOLUME = {
    "pga": {0.0: 0.852, 0.05: 0.810, 0.1: 0.765, 0.2: 0.674},
    "pga-nominal": {0.1: 0.740},
    "boblrbf": {0.05: 0.747, 0.1: 0.672},
    "boblrbf-phase1": {0.05: 0.743, 0.1: 0.654},
    "boblrbf-literal": {0.05: 0.687, 0.1: 0.583},
    "mrt-split": {0.05: 0.369, 0.1: 0.355},
    "mrt-null": {0.05: 0.344, 0.1: 0.323},
    "zf-split": {0.05: 0.407, 0.1: 0.389},
    "zf-null": {0.05: 0.416, 0.1: 0.387},
    "rzf-split": {0.05: 0.411, 0.1: 0.389},
    "rzf-null": {0.05: 0.414, 0.1: 0.379},
}
# CSI error: worst-case rate of the reference from the sensing to the rate end, bit/s/Hz
RATES = {
    0.0: (19.3, 22.1, 23.4, 24.4, 25.4, 26.5, 28.0),
    0.05: (17.3, 20.3, 21.9, 23.1, 24.3, 25.6, 27.0),
    0.1: (15.4, 18.7, 20.5, 21.9, 23.1, 24.4, 25.5),
    0.2: (12.3, 16.5, 18.3, 19.5, 20.6, 21.7, 22.0),
}
# Power dBm at CSI error 0.05: CRLB at the sensing end m^2, rate at the other, hypervolume
POWERS = {30: (0.207, 18.2, 0.857), 35: (0.066, 22.7, 0.840), 40: (0.021, 27.0, 0.810)}


def prototype(name: str, measured: Estimate, expected: float, unit: str = "") -> Check:
    """Check against the prototype; each batch of ``measured`` must be one channel."""
    finite = [b for b in measured.batches if math.isfinite(b)]
    spread = float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan
    return Check(name, measured, expected, spread, unit)


def hypervolume_checks(errors: Table, schemes: Table) -> Iterator[Check]:
    """All numbers of ``HYPERVOLUME``."""
    for scheme, row in HYPERVOLUME.items():
        for error, value in row.items():
            table = schemes if (error, scheme, "hypervolume") in schemes.cells else errors
            found = table.at(error, scheme, "hypervolume")
            yield prototype(f"hypervolume of {scheme} at CSI error {error:g}", found, value)


def rate_checks(error_fronts: Table) -> Iterator[Check]:
    """All numbers of ``RATES``."""
    for error, row in RATES.items():
        for p, value in zip(PREFERENCES, row, strict=True):
            found = error_fronts.at(p, f"pga at {error:g}", "worst_rate_bps_hz")
            name = f"rate at CSI error {error:g}, p = {p:.2f}"
            yield prototype(name, found, value, "bit/s/Hz")


def power_checks(power_fronts: Table, powers: Table) -> Iterator[Check]:
    """All numbers of ``POWERS``; CRLB to 5 %, because it hardly depends on the channels."""
    for power, (crlb, rate, volume) in POWERS.items():
        scheme = f"pga at {power:g}"
        found = power_fronts.at(PREFERENCES[0], scheme, "crlb_m2")
        yield Check(f"CRLB, sensing end, {power} dBm", found, crlb, 0.05 * crlb, "m^2")
        found = power_fronts.at(PREFERENCES[-1], scheme, "worst_rate_bps_hz")
        yield prototype(f"rate, rate end, {power} dBm", found, rate, "bit/s/Hz")
        found = powers.at(power, "pga", "hypervolume")
        yield prototype(f"hypervolume at {power} dBm", found, volume)


def ratio(over: Estimate, under: Estimate) -> Estimate:
    """Quotient, batch by batch."""
    return combine(lambda a, b: a / b, over, under)
