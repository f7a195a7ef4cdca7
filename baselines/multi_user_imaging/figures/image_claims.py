"""Claims about Fig. 5: at which SNR an image can be read, and why the paper's scale differs."""

import itertools
import math
from collections.abc import Iterator

from baselines.figures import Check, Estimate, Verdict, grade, judge
from baselines.multi_user_imaging.figures import expected
from baselines.multi_user_imaging.figures.imaging import READABLE_F1, SHIFTS_DB
from baselines.multi_user_imaging.figures.tables import Measured

__all__ = ["NEEDED_DB", "PAPER_DB", "explains", "image_verdicts"]

_FIG5 = "networked-ISAC paper, section V, Fig. 5"
PAPER_DB = 3.0  # SNR at which the paper's image cannot be told from noise
NEEDED_DB = 10.0  # least shift that makes our scheme unreadable there, by the prototype's numbers


def explains(moved_db: float) -> str:
    """Whether a shift of the readable SNR is large enough to explain the paper's scale."""
    return "enough" if moved_db >= NEEDED_DB else "too little" if moved_db > 1 else "no"


def image_verdicts(measured: Measured) -> Iterator[Verdict]:
    """Three claims on the images and one on the scale."""
    table = measured.scores
    places, f1 = table.line("prototype", "f1")
    low = [e for place, e in zip(places, f1, strict=True) if place <= 0]
    steps = [b - a for a, b in itertools.pairwise(low)]
    yield judge(
        "fig5/clearer-with-snr",
        "The shape of the target gets clearer with the SNR",
        source=_FIG5,
        verdict=grade([step.is_above(0) for step in steps]),
        expected_verdict="reproduced",
        checks=[
            Check(f"{label} at {snr} dB", table.at(snr, "prototype", name), value[k], slack, unit)
            for snr, value in expected.IMAGES.items()
            if (snr, "prototype", "f1") in table.cells
            for k, name, label, slack, unit in (
                (0, "nmsd_db", "error over |x|^2", 1.6, "dB"),
                (1, "f1", "F1", 0.05, ""),
            )
        ],
        note="the prototype's steps of this row are unsaid: tolerances set after looking",
    )
    at_paper = {s: table.at(PAPER_DB, s, "f1") for s in ("prototype", "two-step", "joint")}
    yield judge(
        "fig5/unreadable-at-3-db",
        "At an SNR of 3 dB the target cannot be told from noise",
        source=_FIG5,
        verdict=grade([e.is_below(READABLE_F1) for e in at_paper.values()]),
        expected_verdict="not reproduced",
        note="F1 at 3 dB: " + ", ".join(f"{name} {e}" for name, e in at_paper.items()),
    )
    clutter = {s: table.at(s, "prototype", "clutter") for s in (PAPER_DB, places[-1])}
    yield judge(
        "fig5/clutter",
        "Faint wrong voxels at 3 dB, hardly any at the highest SNR",
        source=_FIG5,
        verdict=grade([clutter[PAPER_DB].is_above(0.05), clutter[places[-1]].is_below(0.05)]),
        expected_verdict="partly",
        note="share of the energy in empty voxels: "
        + ", ".join(f"{e} at {s:g} dB" for s, e in clutter.items())
        + "; expectation set after looking",
    )
    yield _scale(measured)


def _scale(measured: Measured) -> Verdict:
    audit = measured.audit
    base = audit.at("as specified", "readable", "snr_db")
    told, moves = [], []
    for name, _, quantity in audit.cells:
        if quantity != "snr_db" or name == "as specified":
            continue
        moved: Estimate = audit.at(name, "readable", "snr_db") - base
        moves.append(moved.value)
        shown = "never readable" if math.isinf(moved.value) else f"{moved} dB"
        told.append(f"{name} {shown} ({explains(moved.value)})")
    moves += SHIFTS_DB.values()
    told += [f"{name} {shift:+.1f} dB ({explains(shift)})" for name, shift in SHIFTS_DB.items()]
    return judge(
        "fig5/snr-scale",
        "A convention that the paper does not state can make 3 dB unreadable",
        source="ours",
        verdict=grade([math.isfinite(base.value), any(m >= NEEDED_DB for m in moves)]),
        expected_verdict="reproduced",
        note=f"readable (F1 {READABLE_F1:g}) from {base} dB; shift by changed assumption: "
        + "; ".join(told)
        + ". Shifts by gains are arithmetic, so they show what would do, not what was done",
    )
