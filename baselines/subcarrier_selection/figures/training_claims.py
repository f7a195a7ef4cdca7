"""What the SPG-MIBO paper claims of joint training in Tables II and III and Figs. 6 to 8.

Expected numbers are those of an independent prototype in six other rooms with two seeds, with its
95 % half widths as tolerance. Its networks over-fitted (their weights decayed 50 times slower than
ours), so where decay decides, expected verdicts are those of the first run with ours, and the
comment at the verdict tells what the prototype found.
"""

from collections.abc import Iterator

from baselines.figures import Estimate, Grade, Table, Verdict, grade, judge
from baselines.subcarrier_selection.figures.checks import (
    OURS,
    PAPER,
    names,
    over_sizes,
    prototype,
    relative,
    words,
)
from baselines.subcarrier_selection.figures.draws import SIZES, TASKS, mean_of
from baselines.subcarrier_selection.figures.training import PENALTIES, PULLS

__all__ = ["gap_verdicts", "joint_verdicts", "loss_verdicts", "mask_verdicts"]

_EARLY = 0.25  # of the iterations
_SIMILAR = 0.05  # of the mean predictor's loss
_PAPER_GAP = 0.041
_GAIN = 0.1  # of the error: a gain worth the paper's 21 and 31 %
# Joint less separate after training anew: place, activity; and half widths.
_PROTOTYPE_ANEW = {
    16: {"location": (0.009, 0.046), "sensing": (-0.002, 0.011)},
    64: {"location": (0.017, 0.043), "sensing": (-0.010, 0.016)},
}


def gap_verdicts(table: Table, knobs: Table) -> Iterator[Verdict]:
    """Table II and Fig. 8."""
    gaps = over_sizes(table, "spg", "penalty", "gap")
    yield judge(
        "table2/gap",
        "SPG-MIBO's relaxed weights lie nearer to integers than Penalty-MIBO's",
        source=f"{PAPER}, Table II",
        verdict=grade([gap.is_below(0) for gap in gaps.values()]),
        expected_verdict="not reproduced",  # prototype: reproduced, -.028 +- .013, -.023 +- .013
        note="; ".join(
            f"{size} tones: SPG {table.at(size, 'spg', 'gap')}, penalty "
            f"{table.at(size, 'penalty', 'gap')}; to allowed masks "
            f"{table.at(size, 'spg', 'gap_feasible')}, {table.at(size, 'penalty', 'gap_feasible')}"
            for size in SIZES
        )
        + "; SPG - penalty "
        + words(gaps)
        + " (paper .041 and .116)",
    )
    below = [knobs.at(p, n, "gap").value for p, n, _ in knobs.cells]
    yield judge(
        "table2/gap-is-small",
        "Both leave less of a gap than the paper's SPG-MIBO, .041, whatever the strength of the "
        "pull: decay of the networks' weights drives the gates to their ends",
        source=OURS,
        verdict=grade([gap < _PAPER_GAP for gap in below]),
        expected_verdict="reproduced",  # prototype: gaps from .30 to .02 as the penalty grows
        note=names(
            [
                *((f"penalty {p:g}", knobs.at(p, "penalty", "gap")) for p in PENALTIES),
                *((f"proximal {p:g}", knobs.at(p, "spg", "gap")) for p in PULLS),
            ]
        ),
    )
    shares = over_sizes(table, "spg", "penalty", "exact_share")
    yield judge(
        "fig8/at-the-ends",
        "Weights of SPG-MIBO are at 0 or 1, those of the penalty only near",
        source=f"{PAPER}, Fig. 8",
        verdict=grade([share.is_above(0) for share in shares.values()]),
        expected_verdict="reproduced",
        note="share of weights at 0 or 1 to 1e-6: "
        + "; ".join(
            f"{size} tones: SPG {table.at(size, 'spg', 'exact_share')}, penalty "
            f"{table.at(size, 'penalty', 'exact_share')}"
            for size in SIZES
        ),
    )


def joint_verdicts(table: Table, quality: Table) -> Iterator[Verdict]:
    """Table III, simulated column: relaxed networks first, then masks trained for anew."""
    relaxed = {t: _own(table, "spg", t, "relaxed_{}") for t in TASKS}
    # Prototype: not reproduced in either task; there three times the iterations over-fitted.
    wanted: dict[str, Grade] = {"location": "reproduced", "sensing": "not reproduced"}
    for task, change in {"location": "-21 %", "sensing": "-31 %"}.items():
        yield judge(
            f"table3/joint-{task}",
            f"Joint training lowers the {task} error against training for it alone ({change})",
            source=f"{PAPER}, Table III, simulation",
            verdict=grade([d.is_below(0) for d in relaxed[task].values()]),
            expected_verdict=wanted[task],
            note=f"joint - alone: {words(relaxed[task])}, that is "
            + _percent(relaxed[task], table, task, f"relaxed_{task}"),
        )
    matched = over_sizes(table, "spg", "location-matched", "relaxed_location")
    longer = over_sizes(table, "location-matched", "location", "relaxed_location")
    yield judge(
        "table3/equal-gradients",
        "It does so too against training for localisation alone with as many gradients",
        source=f"{PAPER}, Table III, at equal budget",
        verdict=grade([d.is_below(0) for d in matched.values()]),
        expected_verdict="not reproduced",
        note=f"joint - alone: {words(matched)}; what three times the iterations change alone: "
        + words(longer),
    )
    yield from _anew(table, quality)


def _anew(table: Table, quality: Table) -> Iterator[Verdict]:
    """What is left once networks are trained for the mask alone."""
    anew = {t: _own(quality, "spg", t, "{}") for t in TASKS}
    yield judge(
        "table3/joint-masks",
        "Networks trained anew do better with the joint mask than with the task's own",
        source=OURS,
        verdict=grade([d.is_below(0) for each in anew.values() for d in each.values()]),
        expected_verdict="partly",  # sensing at 64 tones by 3 %; prototype: -.010 +- .016
        checks=[
            prototype(f"{task}, {s} tones", anew[task][s], *_PROTOTYPE_ANEW[s][task])
            for task in TASKS
            for s in SIZES
        ],
        note="; ".join(f"{t} {_percent(anew[t], quality, t, t)}" for t in TASKS),
    )
    same = {t: _own(quality, "penalty", t, "{}") for t in TASKS}
    yield judge(
        "table3/same-penalty",
        "So do networks with the mask of joint training that has the penalty of separate training",
        source=OURS,
        verdict=grade([d.is_below(0) for each in same.values() for d in each.values()]),
        expected_verdict="not reproduced",
        note="SPG-MIBO differs from training alone by its proximal step too; Penalty-MIBO - alone: "
        + "; ".join(f"{name} {words(each)}" for name, each in same.items()),
    )
    pairs = [
        (difference, source.at(s, task, quantity.format(task)))
        for source, quantity in ((table, "relaxed_{}"), (quality, "{}"))
        for task in TASKS
        for s, difference in _own(source, "spg", task, quantity).items()
    ]
    yield judge(
        "table3/size-of-the-gain",
        "The gain is of the paper's size: 10 % and more",
        source=f"{PAPER}, Table III, simulation",
        verdict=grade([d.is_below(-_GAIN * alone.value) for d, alone in pairs]),
        expected_verdict="not reproduced",
        note=f"largest {100 * min(d.value / alone.value for d, alone in pairs):.1f} %",
    )


def _own(table: Table, joint: str, task: str, quantity: str) -> dict[int, Estimate]:
    """Joint scheme less training for the task alone, by number of tones."""
    return over_sizes(table, joint, task, quantity.format(task))


def _percent(gaps: dict[int, Estimate], table: Table, task: str, quantity: str) -> str:
    return ", ".join(
        f"{relative(gap, table.at(s, task, quantity)):+.1f} % ({s} tones)"
        for s, gap in gaps.items()
    )


def loss_verdicts(curves: Table, spent: Table, table: Table) -> Iterator[Verdict]:
    """Figs. 6 and 7."""
    starts, later = {}, {}
    for size in SIZES:
        place, _ = curves.line("spg", f"{size} location")
        early = [p for p in place if p <= _EARLY * place[-1]]
        starts[size] = _mean_gap(curves, early, "spg", "location", f"{size} location")
        later[size] = _spent_gap(spent, size)
    yield judge(
        "fig6/head-start",
        "The joint training loss of localisation is lower from the first iterations on",
        source=f"{PAPER}, Fig. 6",
        verdict=grade([gap.is_below(0) for gap in starts.values()]),
        expected_verdict="partly",  # 64 tones; prototype, which has 64 tones only: reproduced
        note=f"joint - alone, mean of the first quarter: {words(starts)}",
    )
    yield judge(
        "fig6/per-gradient",
        "Counted in localisation gradients the head start is gone: the inner steps were it",
        source=OURS,
        verdict=grade([not gap.is_below(0) for gap in later.values()]),
        expected_verdict="reproduced",
        note=f"joint - alone with as many gradients, mean of the second quarter: {words(later)}",
    )
    ends = {s: _final(table, s, "spg") - _final(table, s, "penalty") for s in SIZES}
    yield judge(
        "fig7/similar",
        "Losses fall alike with the proximal step and with the penalty",
        source=f"{PAPER}, Fig. 7",
        verdict=grade([d.is_below(_SIMILAR) and d.is_above(-_SIMILAR) for d in ends.values()]),
        expected_verdict="reproduced",
        note=f"final SPG - penalty {words(ends)}; levels: "
        + names(
            (f"{scheme} {task}, {size} tones", table.at(size, scheme, f"loss_{task}"))
            for size in SIZES
            for scheme in ("spg", "penalty")
            for task in TASKS
        ),
    )


def mask_verdicts(table: Table) -> Iterator[Verdict]:
    """Whose mask the joint mask is."""
    gaps = {
        size: table.at(size, "spg", "agrees_sensing") - table.at(size, "spg", "agrees_location")
        for size in SIZES
    }
    yield judge(
        "table3/mask-follows-sensing",
        "The joint mask is closer to that of sensing alone than to that of localisation alone",
        source=OURS,
        verdict=grade([gap.is_above(0) for gap in gaps.values()]),
        expected_verdict="partly",  # 64 tones; prototype: .95 and .70 at 16, .90 and .60 at 64
        note="; ".join(
            f"{size} tones: equal entries with sensing alone "
            f"{table.at(size, 'spg', 'agrees_sensing')}, with localisation alone "
            f"{table.at(size, 'spg', 'agrees_location')}"
            for size in SIZES
        ),
    )


def _final(table: Table, size: int, scheme: str) -> Estimate:
    """Mean of both final training losses."""
    return mean_of([table.at(size, scheme, f"loss_{task}") for task in TASKS])


def _mean_gap(table: Table, places: list[float], first: str, second: str, what: str) -> Estimate:
    gaps = [table.at(p, first, what) - table.at(p, second, what) for p in places]
    return mean_of(gaps)


def _spent_gap(spent: Table, size: int) -> Estimate:
    """Joint less matched training where both have taken as many gradients, second quarter."""
    what = f"{size} location"
    (joint, values), (alone, others) = (spent.line(n, what) for n in ("spg", "location-matched"))
    end = min(joint[-1], alone[-1])
    gaps = []
    for x, value in zip(joint, values, strict=True):
        if _EARLY * end <= x <= 2 * _EARLY * end:
            nearest = min(range(len(alone)), key=lambda k, x=x: abs(alone[k] - x))
            gaps.append(value - others[nearest])
    return mean_of(gaps)
