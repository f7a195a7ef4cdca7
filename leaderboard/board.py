"""What the page shows, as plain values: tables per task, overall tables, method cards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isac_gym.core import family
from leaderboard.results import Method, Result
from leaderboard.scoring import Standing, instance_scores, interquartile_mean, standings
from leaderboard.store import Row, Store
from leaderboard.tasks import References, Task, load_references, tasks

__all__ = ["Axis", "Board", "Line", "MethodCard", "OverallLine", "Table", "Track", "build_board"]

FloatArray = NDArray[np.float64]
_LOWEST_SHOWN = -60.0
_TRACKS = {"static": "Solutions", "dynamic": "Policies"}


@dataclass(frozen=True)
class Axis:
    """Score axis of a drawing, from ``low`` to ``high`` points."""

    low: float
    high: float

    def at(self, score: float) -> float:
        """Position in per cent of the width, clipped to the axis."""
        share = (score - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of a task's table; ``rank`` is None where the row is not ranked, ``why`` says why."""

    row: Row
    rank: int | None
    why: str = ""

    @property
    def result(self) -> Result:
        """The result."""
        return self.row.result


@dataclass(frozen=True, kw_only=True)
class Table:
    """A task with its lines, best first.

    Attributes:
        task: The task.
        lines: Ranked lines, then unranked ones.
        retired: Withdrawn and invalid rows.
        axis: Score axis.
        paper: Interquartile mean of the paper's algorithm, or None.
        references: Reference values.
    """

    task: Task
    lines: tuple[Line, ...]
    retired: tuple[Row, ...]
    axis: Axis
    paper: float | None
    references: References


@dataclass(frozen=True, kw_only=True)
class OverallLine:
    """One row of an overall table, with the interquartile means by task id."""

    name: str
    standing: Standing
    by_task: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Track:
    """Overall table of one problem and tier."""

    problem: str
    title: str
    paper: str
    tier: str
    tables: tuple[Table, ...]
    lines: tuple[OverallLine, ...]
    axis: Axis
    left_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MethodCard:
    """A method and where it stands."""

    method: Method
    lines: tuple[tuple[Task, Line], ...]


@dataclass(frozen=True, kw_only=True)
class Board:
    """Everything the page shows."""

    tables: tuple[Table, ...]
    tracks: tuple[Track, ...]
    methods: tuple[MethodCard, ...]
    newest: str


def build_board(store: Store) -> Board:
    """Tables, overall tables and method cards of a store."""
    by_task: dict[str, list[Row]] = {}
    for row in store.rows():
        by_task.setdefault(row.result.task, []).append(row)
    tables = tuple(
        _table(task, by_task.get(task.id, []), load_references(task, data=store.data))
        for task in tasks(store.data).values()
    )
    dates = [row.result.created for rows in by_task.values() for row in rows]
    return Board(
        tables=tables,
        tracks=tuple(_tracks(tables)),
        methods=tuple(_cards(tables)),
        newest=max(dates, default=""),
    )


def _table(task: Task, rows: Sequence[Row], references: References) -> Table:
    current = {row.result.method.name: row for row in sorted(rows, key=lambda r: r.result.created)}
    newest = [row for row in current.values() if row.status == "valid"]
    reasons = {row.id: _unranked_because(task, row.result) for row in newest}
    ranked = {row.id: row for row in newest if not reasons[row.id]}
    place = standings({name: [r.result.scores(task, references)] for name, r in ranked.items()})
    rank = {name: standing.rank for name, standing in place.items()}
    lines = [Line(row=row, rank=rank.get(row.id), why=reasons[row.id]) for row in newest]
    lines.sort(key=lambda line: (line.rank or 10**6, -line.result.summary.iqm, line.row.id))
    return Table(
        task=task,
        lines=tuple(lines),
        retired=tuple(row for row in rows if row.status != "valid"),
        axis=_axis([line.result.summary.low for line in lines], [_top(line) for line in lines]),
        paper=_paper_score(task, references),
        references=references,
    )


def _top(line: Line) -> float:
    return line.result.summary.high


def _axis(lows: Sequence[float], highs: Sequence[float]) -> Axis:
    low = max(_LOWEST_SHOWN, min([-5.0, *lows]))
    return Axis(10 * np.floor(low / 10), max(105.0, 5 * np.ceil(max([0.0, *highs]) / 5)))


def _unranked_because(task: Task, result: Result) -> str:
    if result.method.kind == "genie":
        return "genie: knows what no method can"
    if result.is_partial(task):
        return f"partial: {len(result.objective)} of {task.instances.count}"
    if result.task_digest != task.digest():
        return "scored on another version of the task"
    if result.above_bound:
        return f"under review: {result.above_bound} instances above the bound"
    return ""


def _paper_score(task: Task, references: References) -> float | None:
    if references.paper is None:
        return None
    scores = instance_scores(
        references.paper, references.floor, references.bound, min_range=task.metric.min_range
    )
    return float(interquartile_mean(scores[~np.isnan(scores)]))


def _tracks(tables: Sequence[Table]) -> list[Track]:
    groups: dict[tuple[str, str], list[Table]] = {}
    for table in tables:
        groups.setdefault((table.task.problem, table.task.kind), []).append(table)
    return [_track(problem, kind, group) for (problem, kind), group in groups.items()]


def _track(problem: str, kind: str, tables: Sequence[Table]) -> Track:
    bounded = [table for table in tables if table.task.has_bound]
    scores = {table.task.id: _ranked_scores(table) for table in bounded}
    names = sorted({name for each in scores.values() for name in each})
    complete = [name for name in names if all(name in each for each in scores.values())]
    parts = {name: [each[name] for each in scores.values()] for name in complete}
    lines = [
        OverallLine(
            name=name,
            standing=standing,
            by_task={
                task_id: float(interquartile_mean(each))
                for task_id, each in zip(scores, parts[name], strict=True)
            },
        )
        for name, standing in standings(parts).items()
    ]
    return Track(
        problem=problem,
        title=family(problem).title,
        paper=family(problem).paper,
        tier=_TRACKS[kind],
        tables=tuple(tables),
        lines=tuple(lines),
        axis=_axis([x.standing.low for x in lines], [x.standing.high for x in lines]),
        left_out=tuple(name for name in names if name not in complete),
    )


def _ranked_scores(table: Table) -> Mapping[str, FloatArray]:
    return {
        line.result.method.name: line.result.scores(table.task, table.references)
        for line in table.lines
        if line.rank is not None
    }


def _cards(tables: Sequence[Table]) -> list[MethodCard]:
    cards: dict[str, MethodCard] = {}
    for table in tables:
        for line in table.lines:
            method = line.result.method
            card = cards.get(method.name, MethodCard(method=method, lines=()))
            cards[method.name] = replace(card, lines=(*card.lines, (table.task, line)))
    return [cards[name] for name in sorted(cards, key=str.lower)]
