"""What the OTA-FEEL paper claims of training in Figs. 2 and 3, and what became of it."""

import math
from collections.abc import Iterator, Mapping

from baselines.figures import Check, Estimate, Grade, Table, Verdict, grade, judge
from baselines.ota_feel.figures.checks import OURS, PAPER
from baselines.ota_feel.figures.learning import Curves
from baselines.ota_feel.figures.learning_theory import APART

__all__ = ["CLOSE", "first_reaching", "learning_verdicts"]

CLOSE = 0.02  # of accuracy: tracks closely
_SETTLED = 5  # rounds; before it accuracies of all schemes change by tens of percent
_LEVEL = 0.9  # accuracy at which speeds are compared, of the end of perfect training
_JOINT = {"joint": "without pulses", "joint-dft": "with pulses"}


def learning_verdicts(curves: Mapping[str, Curves], apart: Table) -> list[Verdict]:
    """Verdicts on digits, MNIST and, where it was recorded, CIFAR-10."""
    tables = {name: each.table() for name, each in curves.items()}
    ends = {name: each.last_round for name, each in curves.items()}
    return [
        *_tracking(tables, ends, apart),
        *_interference(tables, ends),
        *_pulses(tables, ends),
        *_cifar(tables, ends),
    ]


def _at(table: Table, number: int, scheme: str) -> Estimate:
    return table.at(number, scheme, "accuracy")


def largest_gap(table: Table, end: int, scheme: str) -> Estimate:
    """Largest lag of a scheme behind perfect training after the first rounds."""
    gaps = [
        _at(table, int(n), "perfect") - _at(table, int(n), scheme)
        for n in table.line(scheme, "accuracy")[0]
        if _SETTLED <= n <= end
    ]
    return max(gaps, key=lambda gap: gap.value)


def _tracking(
    tables: Mapping[str, Table], ends: Mapping[str, int], apart: Table
) -> Iterator[Verdict]:
    sets = [name for name in ("digits", "mnist") if name in tables]
    gaps = {
        (name, scheme): largest_gap(tables[name], ends[name], scheme)
        for name in sets
        for scheme in _JOINT
    }
    yield judge(
        "fig2/joint-tracks",
        "Joint learning and localisation tracks perfect links and OTA-FEEL closely",
        source=f"{PAPER}, Fig. 2",
        verdict=grade([gap.is_below(CLOSE) for gap in gaps.values()]),
        expected_verdict="partly",
        checks=[*_numpy_checks(tables["digits"], apart)],
        note="largest lag after round 5: "
        + "; ".join(f"{n}, {_JOINT[s]} {gap}" for (n, s), gap in gaps.items()),
    )
    finals = {
        (name, scheme): _at(tables[name], ends[name], "perfect")
        - _at(tables[name], ends[name], scheme)
        for name in sets
        for scheme in _JOINT
    }
    yield judge(
        "fig2/joint-arrives",
        "At the end of training the joint scheme is as accurate, with pulses too",
        source=OURS,
        verdict=grade([gap.is_below(CLOSE) for gap in finals.values()]),
        expected_verdict="reproduced",
        note="behind perfect links at the end: "
        + "; ".join(f"{n} (round {ends[n]}), {_JOINT[s]} {gap}" for (n, s), gap in finals.items()),
    )


def _numpy_checks(table: Table, apart: Table) -> Iterator[Check]:
    """Accuracy on digits against NumPy on the same lanes: exact for perfect links."""
    last = int(max(apart.line("perfect", "accuracy")[0]))
    for scheme in APART:
        other = _at(apart, last, scheme)
        ours = _at(table, last, scheme).batches[: len(other.batches)]
        mean = sum(ours) / len(ours)
        spread = Estimate(mean, tuple([mean] * 3))  # what is left is in the tolerance
        tolerance = 2e-3 if scheme == "perfect" else CLOSE
        name = f"digits, {scheme}, round {last}, first {len(ours)} seeds"
        yield Check(name, spread, other.value, tolerance)


def _interference(tables: Mapping[str, Table], ends: Mapping[str, int]) -> Iterator[Verdict]:
    gaps = {
        name: _at(table, ends[name], "ota") - _at(table, ends[name], "joint")
        for name, table in tables.items()
        if name != "cifar10"
    }
    yield judge(
        "fig2/interference",
        "Interference by localisation leaves a small gap to OTA-FEEL without it",
        source=f"{PAPER}, Fig. 2",
        verdict=grade([gap.is_above(0) for gap in gaps.values()]),
        expected_verdict="not reproduced",
        note="without pulses the gap is "
        + "; ".join(f"{gap} on {name}" for name, gap in gaps.items())
        + ": not to be told from 0",
    )


def first_reaching(table: Table, scheme: str, level: float) -> float:
    """First round whose mean accuracy is at least a level; inf if there is none."""
    rounds, found = table.line(scheme, "accuracy")
    for number, each in zip(rounds, found, strict=True):
        if each.value >= level:
            return float(number)
    return math.inf


def _pulses(tables: Mapping[str, Table], ends: Mapping[str, int]) -> Iterator[Verdict]:
    sets = [name for name in ("digits", "mnist") if name in tables]
    gaps = {
        (name, scheme): largest_gap(tables[name], ends[name], scheme)
        for name in sets
        for scheme in ("joint-dft", "joint-dft-max")
    }
    notes = []
    for name in sets:
        level = _LEVEL * _at(tables[name], ends[name], "perfect").value
        rounds = [
            first_reaching(tables[name], s, level)
            for s in ("perfect", "joint-dft", "joint-dft-max")
        ]
        notes.append(f"{name} {level:.2f} in round " + ", ".join(f"{r:.0f}" for r in rounds))
    yield judge(
        "fig2/pulses-slow-training",
        "The paper's orthogonal pulses slow the training down",
        source=OURS,
        verdict=grade([gap.is_above(0) for gap in gaps.values()]),
        expected_verdict="reproduced",
        note="accuracy reached by perfect links, pulses, pulses and one common scale: "
        + "; ".join(notes),
    )


def _cifar(tables: Mapping[str, Table], ends: Mapping[str, int]) -> Iterator[Verdict]:
    claim = "CIFAR-10: a similar trend with a larger gap than on MNIST"
    source = f"{PAPER}, Fig. 3"
    if "cifar10" not in tables:
        unknown: Grade = "not verifiable"
        yield judge(
            "fig3/larger-gap",
            claim,
            source=source,
            verdict=unknown,
            expected_verdict=unknown,
            note="not recorded: needs a GPU, see baselines/ota_feel/figures/learning.py",
        )
        return
    table, end = tables["cifar10"], ends["cifar10"]
    schemes = [s for s in _JOINT if (end, s, "accuracy") in table.cells]
    gaps = {s: _at(table, end, "perfect") - _at(table, end, s) for s in schemes}
    other = {
        s: _at(tables["mnist"], ends["mnist"], "perfect") - _at(tables["mnist"], ends["mnist"], s)
        for s in schemes
    }
    least = {s: gaps[s].value - gaps[s].half_width for s in schemes}  # NaN: too few seeds
    is_known = all(math.isfinite(value) for value in least.values())
    verdict = grade([least[s] > other[s].value for s in schemes]) if is_known else "not verifiable"
    yield judge(
        "fig3/larger-gap",
        claim,
        source=source,
        verdict=verdict,
        expected_verdict="not verifiable",
        note=f"round {end}, accuracy of perfect links "
        f"{_at(table, end, 'perfect').value:.4f}, behind them, seed by seed: "
        + "; ".join(
            f"{_JOINT[s]} {', '.join(f'{gap:.4f}' for gap in gaps[s].batches)} (MNIST {other[s]})"
            for s in schemes
        )
        + ("" if is_known else "; the trend is similar, too few seeds for a verdict on the gap"),
    )
