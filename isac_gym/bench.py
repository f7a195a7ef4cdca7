"""Benchmark harness: two sides, one run, interleaved rounds, and a check behind every ratio.

Absolute times swing by 2x between quiet and busy minutes, so a row reports the median over rounds
of (their seconds per unit) / (our seconds per unit), both measured back to back in one process on
one thread. A row whose results are wrong is reported as FAIL, however fast it was. Packages add
rows through the entry-point group ``isac_gym.bench`` (objects: ``rows() -> list[BenchRow]``).
"""

import fnmatch
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from typing import Any

import torch

from isac_gym.core.errors import ScenarioError

__all__ = [
    "BenchResult",
    "BenchRow",
    "Check",
    "Side",
    "Verdict",
    "compare",
    "installed_rows",
    "machine",
    "one_thread",
    "select_rows",
]

MIN_ROUNDS = 5
MIN_SECONDS = 0.05  # a side is repeated inside a round until it has run for about this long


class Verdict(StrEnum):
    """Outcome of a row: target met, correct but slower than the target, wrong, not runnable."""

    PASS = "pass"
    SLOW = "slow"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, kw_only=True)
class Check:
    """Result of a row's correctness check.

    Attributes:
        is_correct: False turns the row into FAIL.
        facts: Numbers worth printing next to the ratio, by name with unit, e.g. ``gap_db``.
    """

    is_correct: bool
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two things compared.

    Attributes:
        label: What runs, e.g. ``"CVXPY LP bisection, CLARABEL, DPP"``.
        run: Timed function of the prepared context; its result goes to the check.
        units: Units of work in one run (instances, steps), > 0; or a function of the context.
    """

    label: str
    run: Callable[[Any], Any]
    units: float | Callable[[Any], float] = 1


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One comparison.

    Attributes:
        name: ``<problem or area>/<what>``, lower case; selected by ``--rows`` patterns.
        ours: Our side.
        theirs: What we compare with.
        target: Smallest ratio (their seconds per unit over ours) we are content with.
        prepare: Builds the context both sides share, untimed; its argument is True for a quick run.
        check: ``check(context, our result, their result)``: are the timed results right?
        unit: What is counted, e.g. ``instance`` or ``step``.
    """

    name: str
    ours: Side
    theirs: Side
    target: float
    prepare: Callable[[bool], Any]
    check: Callable[[Any, Any, Any], Check]
    unit: str = "instance"


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """Outcome of one row; times are medians in seconds per unit, ratios theirs over ours."""

    name: str
    unit: str
    ours: str
    theirs: str
    target: float
    verdict: Verdict
    our_seconds: float = math.nan
    their_seconds: float = math.nan
    ratio: float = math.nan
    ratio_low: float = math.nan
    ratio_high: float = math.nan
    rounds: int = 0
    facts: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that were not measured are None."""
        values = asdict(self)
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        } | {"facts": {k: v if math.isfinite(v) else None for k, v in self.facts.items()}}


def installed_rows() -> list[BenchRow]:
    """Rows of every package that offers some, ordered by name.

    Raises:
        ScenarioError: Two rows share a name.
    """
    points = entry_points(group="isac_gym.bench")
    rows = sorted((row for point in points for row in point.load()()), key=lambda row: row.name)
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ScenarioError(f"benchmark row name(s) {twice} are used twice; names must be unique.")
    return rows


def select_rows(rows: Sequence[BenchRow], pattern: str) -> list[BenchRow]:
    """Rows whose name matches a shell pattern; a pattern without wildcards matches as a part.

    Raises:
        ScenarioError: No row matches; the message lists the names.
    """
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    chosen = [row for row in rows if fnmatch.fnmatchcase(row.name, wanted)]
    if not chosen:
        names = ", ".join(row.name for row in rows)
        raise ScenarioError(f"no benchmark row matches {pattern!r}; rows: {names}.")
    return chosen


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the body with one torch thread; the caller's setting comes back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compare(
    row: BenchRow,
    *,
    rounds: int = MIN_ROUNDS,
    quick: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> BenchResult:
    """Measure one row; results that the check refuses make it FAIL, missing extras SKIP.

    Args:
        row: What to compare.
        rounds: Interleaved rounds, at least 5.
        quick: Passed to ``row.prepare``: smaller work, same checks.
        clock: Monotonic time in seconds.

    Raises:
        ScenarioError: Fewer than 5 rounds.
    """
    if rounds < MIN_ROUNDS:
        raise ScenarioError(f"rounds must be >= {MIN_ROUNDS}, got {rounds}.")
    try:
        with one_thread():
            context = row.prepare(quick)
            return _measure(row, context, rounds=rounds, clock=clock)
    except ModuleNotFoundError as error:
        return _result(row, Verdict.SKIP, note=f"needs the module {error.name!r}")


def _measure(
    row: BenchRow, context: object, *, rounds: int, clock: Callable[[], float]
) -> BenchResult:
    sides = (row.ours, row.theirs)
    repeats = [_warm_up(side, context, clock) for side in sides]
    units = [side.units(context) if callable(side.units) else side.units for side in sides]
    results: list[Any] = [None, None]
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for index in (0, 1) if turn % 2 else (1, 0):  # neither side always goes first
            start = clock()
            for _ in range(repeats[index]):
                results[index] = sides[index].run(context)
            times[index].append((clock() - start) / (repeats[index] * units[index]))
    ratios = [their / our for our, their in zip(*times, strict=True)]
    check = row.check(context, *results)
    verdict = Verdict.PASS if median(ratios) >= row.target else Verdict.SLOW
    return _result(
        row,
        verdict if check.is_correct else Verdict.FAIL,
        our_seconds=median(times[0]),
        their_seconds=median(times[1]),
        ratio=median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
        rounds=rounds,
        facts=dict(check.facts),
        note="" if check.is_correct else "the results of this run are wrong",
    )


def _result(row: BenchRow, verdict: Verdict, **measured: Any) -> BenchResult:
    return BenchResult(
        name=row.name,
        unit=row.unit,
        ours=row.ours.label,
        theirs=row.theirs.label,
        target=row.target,
        verdict=verdict,
        **measured,
    )


def _warm_up(side: Side, context: object, clock: Callable[[], float]) -> int:
    """Run a side twice, the first time cold; returns how often to repeat it inside a round."""
    side.run(context)
    start = clock()
    side.run(context)
    return max(1, math.ceil(MIN_SECONDS / max(clock() - start, 1e-6)))


def machine() -> dict[str, str | int | None]:
    """What a reader needs to judge absolute times: processor, cores, versions, threads used."""
    return {
        "processor": _processor(Path("/proc/cpuinfo")),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": 1,
    }


def _processor(cpuinfo: Path) -> str:
    lines: Iterable[str] = cpuinfo.read_text().splitlines() if cpuinfo.exists() else ()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
