"""What the OTA-FEEL paper claims in Figs. 8 and 9, and what became of it."""

import itertools
import math
from collections.abc import Iterator

from baselines.figures import Check, Table, Verdict, grade, judge
from baselines.ota_feel.figures.checks import OURS, PAPER, Paired, prototype, twin_check
from baselines.ota_feel.figures.fronts import LONG_FRAME, SENSINGS, WEIGHTS, front_name
from baselines.ota_feel.figures.sweeps import ANTENNAS, PULSES, Twin

__all__ = ["front_verdicts"]

_N = 16  # of the paper
_PROTOTYPE = (0.735, 0.470, 0.014, 0.0040)  # error over silence with DFT pulses over N


def front_verdicts(points: Table, fronts: Twin) -> Iterator[Verdict]:
    """Figs. 8 and 9."""
    costs = {
        (p, n): points.at(n, p, "full_power_worst") for p, n in itertools.product(PULSES, ANTENNAS)
    }
    worst = max(costs.values(), key=lambda e: e.value)
    yield judge(
        "fig8/front-of-the-papers-bound",
        "Aggregation error and the paper's bound trade off along a smooth front",
        source=f"{PAPER}, Figs. 8 and 9",
        verdict=grade([c.value > 1e-3 for c in costs.values()]),
        expected_verdict="not reproduced",
        checks=[
            Check(
                "NumPy: cost of filling the null space",
                points.at(16, "none", "apart_cost"),
                0,
                1e-9,
            ),
            Check(
                "full power over budgets, N = 16",
                points.at(16, "none", "full_power_share"),
                1,
                1e-6,
            ),
        ],
        note="that bound only asks for total power, and full power costs the aggregation nothing "
        f"(largest relative cost {worst.value:.1e}): the front is one point; the true bound lies "
        f"{points.at(16, 'dft', 'true_over_paper_db')} dB above it",
    )
    yield _true_fronts(fronts)
    yield _over_frames(fronts)
    falls = []
    for sensing, weight in itertools.product(SENSINGS, WEIGHTS[:-1]):
        line = [fronts.table.at(weight, front_name(sensing, n, 64), "nmse_db") for n in ANTENNAS]
        falls += [(b - a).is_below(0) for a, b in itertools.pairwise(line)]
    yield judge(
        "fig9/more-antennas",
        "More antennas at the server lower the aggregation error along the front",
        source=f"{PAPER}, Fig. 9",
        verdict=grade([sum(falls) >= 0.9 * len(falls)]),
        expected_verdict="reproduced",
        checks=[
            *(
                Paired(
                    f"error over silence, {p} pulses, N = {n}",
                    points.at(n, p, "nmse"),
                    points.at(n, p, "apart_nmse").value,
                    1e-9,
                )
                for p in PULSES
                for n in ANTENNAS
            ),
            *(
                prototype(f"prototype, DFT pulses, N = {n}", points.at(n, "dft", "nmse"), x)
                for n, x in zip(ANTENNAS, _PROTOTYPE, strict=True)
            ),
        ],
        note=f"{sum(falls)} of {len(falls)} neighbours",
    )


def _true_fronts(fronts: Twin) -> Verdict:
    parts, notes = [], []
    for sensing in SENSINGS:
        name = front_name(sensing, _N, 64)
        ends = {
            q: fronts.table.at(WEIGHTS[-1], name, q) - fronts.table.at(0.0, name, q)
            for q in ("nmse_db", "crb_db")
        }
        parts.append(ends["nmse_db"].is_above(0) and ends["crb_db"].is_below(0))
        free = fronts.table.at(0.2, name, "crb_db") - fronts.table.at(0.0, name, "crb_db")
        paid = fronts.table.at(0.2, name, "nmse_db") - fronts.table.at(0.0, name, "nmse_db")
        notes.append(f"{sensing}: {free} dB of the bound for {paid} dB of the error")
    return judge(
        "fig8/front-of-the-true-bound",
        "With the true bound there is a front, and most of the bound is nearly free",
        source=OURS,
        verdict=grade(parts),
        expected_verdict="reproduced",
        checks=[
            twin_check(f"{s} {q} at weight {w:g}", fronts, (w, front_name(s, 16, 64), q), "dB")
            for s in SENSINGS
            for w in (0.0, 0.8)
            for q in ("nmse_db", "crb_db")
        ],
        note="; ".join(notes),
    )


def _over_frames(fronts: Twin) -> Verdict:
    shifts, errors = [], []
    for sensing, weight in itertools.product(SENSINGS, WEIGHTS[:-1]):
        short, long = (front_name(sensing, 16, t) for t in (64, LONG_FRAME))
        shifts.append(
            fronts.table.at(weight, long, "crb_db") - fronts.table.at(weight, short, "crb_db")
        )
        errors.append(
            fronts.table.at(weight, long, "nmse_db") - fronts.table.at(weight, short, "nmse_db")
        )
    step = -10 * math.log10(LONG_FRAME / 64)
    return judge(
        "fig8/longer-pulses",
        "Longer pulses lower the aggregation error and, marginally, the position error",
        source=f"{PAPER}, Fig. 8",
        verdict=grade(
            [
                any(e.value < -0.05 for e in errors),
                all(s.is_below(0) for s in shifts),
            ]
        ),
        expected_verdict="partly",
        checks=[
            Check("change of the bound from T = 64 to 256", shifts[3], step, 0.02, "dB"),
            Check("change of the aggregation error", errors[3], 0.0, 0.02, "dB"),
        ],
        note="the error does not depend on T at all; the bound falls as 1/T, not marginally",
    )
