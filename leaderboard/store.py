"""The store: append-only JSON files are the record; a database built from them serves queries.

A row is ``rows/<task id>/<row id>.json``. Its status is changed only by adding a file
``<row id>.status-<k>.json`` with the reason; nothing is overwritten or deleted. Decisions of
solutions are kept as ``decisions/<digest>.safetensors``: a drift check can score them again.
"""

import csv
import hashlib
import io
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
from pydantic import BaseModel, ConfigDict, Field

from isac_gym.core import SubmissionError, TensorRecord
from leaderboard.arrays import content_digest, pack, parse_json, unpack, write_bytes
from leaderboard.evaluate import evaluate_decisions
from leaderboard.instances import load_instances
from leaderboard.results import Result, migrate, parse_result, read_model
from leaderboard.tasks import DATA, Task, load_references, make_problem, tasks

__all__ = ["Drift", "Event", "Row", "Store"]

_DRIFT_TOLERANCE = 1e-9
_SUFFIX = re.compile(r"\.status-(\d+)\.json$")


class Event(BaseModel):
    """A change of a row's status."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    row: str
    status: Literal["valid", "withdrawn", "invalid"]
    reason: str = Field(min_length=10, max_length=2000)
    created: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One result on the board.

    Attributes:
        id: Row id, ``<method>-<digest>``, unique within a task.
        result: The result.
        events: Status changes, oldest first.
    """

    id: str
    result: Result
    events: tuple[Event, ...] = ()

    @property
    def status(self) -> str:
        """``valid``, ``withdrawn`` or ``invalid``."""
        return self.events[-1].status if self.events else "valid"

    @property
    def reason(self) -> str:
        """Reason of the last status change, or empty."""
        return self.events[-1].reason if self.events else ""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Outcome of scoring one row again.

    Attributes:
        task: Task id.
        row: Row id.
        deviation: Largest difference of an objective, in the task's unit.
        reason: Why the row could not be scored again, or empty.
    """

    task: str
    row: str
    deviation: float
    reason: str = ""

    @property
    def is_clean(self) -> bool:
        """True if every objective came out the same to 1e-9."""
        return not self.reason and self.deviation <= _DRIFT_TOLERANCE


@dataclass(frozen=True)
class Store:
    """Results in a folder.

    Attributes:
        folder: Root of the record; made when the first row is added.
        data: Folder of the tasks.
    """

    folder: Path = DATA / "results"
    data: Path = field(default=DATA, kw_only=True)

    def add(self, result: Result, *, decision: TensorRecord | None = None) -> Row:
        """Append a result; adding the same content twice is the same row.

        Raises:
            SubmissionError: Unknown task, or the same decisions stand under another method's name.
        """
        if result.task not in tasks(self.data):
            raise SubmissionError(f"task: unknown task {result.task!r}.")
        owner = self.known_decisions().get((result.task, result.decisions_sha256))
        if result.decisions_sha256 and owner not in (None, result.method.name):
            raise SubmissionError(
                f"decisions_sha256: the same decisions are on the board as {owner!r}."
            )
        if decision is not None:
            self._keep_decisions(result, decision)
        text = _canonical(result)
        anonymous = _canonical(result.model_copy(update={"created": ""}))
        digest = hashlib.sha256(anonymous.encode()).hexdigest()
        row_id = f"{_slug(result.method.name)}-{digest[:12]}"
        path = self.folder / "rows" / result.task / f"{row_id}.json"
        if not path.exists():
            write_bytes(path, text.encode())
        return Row(id=row_id, result=result)

    def set_status(self, task_id: str, row_id: str, *, status: str, reason: str) -> Event:
        """Mark a row ``withdrawn``, ``invalid`` or ``valid`` again; the row itself stays.

        Raises:
            SubmissionError: Unknown row, or the reason is shorter than 10 characters.
        """
        row = self.row(task_id, row_id)
        event = read_model(
            Event,
            {"row": row_id, "status": status, "reason": reason, "created": _now()},
            label="status",
        )
        path = self.folder / "rows" / task_id / f"{row_id}.status-{len(row.events) + 1}.json"
        write_bytes(path, (event.model_dump_json(indent=1) + "\n").encode())
        return event

    def row(self, task_id: str, row_id: str) -> Row:
        """One row.

        Raises:
            SubmissionError: Unknown row.
        """
        for row in self.rows(task_id):
            if row.id == row_id:
                return row
        raise SubmissionError(f"row: {task_id} has no row {row_id!r}.")

    def rows(self, task_id: str | None = None) -> Iterator[Row]:
        """All rows, of one task if given, in the order of their paths."""
        root = self.folder / "rows" / (task_id or "")
        paths = sorted(root.rglob("*.json")) if root.is_dir() else []
        for path in paths:
            if _SUFFIX.search(path.name):
                continue
            values = parse_json(path.read_text(), label=path.name)
            yield Row(
                id=path.stem,
                result=parse_result(values, label=path.name),
                events=tuple(_events(path)),
            )

    def known_decisions(self) -> dict[tuple[str, str], str]:
        """Method names by (task id, content digest), for :func:`verify_submission`."""
        return {
            (row.result.task, row.result.decisions_sha256): row.result.method.name
            for row in self.rows()
            if row.result.decisions_sha256
        }

    def _keep_decisions(self, result: Result, decision: TensorRecord) -> None:
        tensors = pack(decision)
        if content_digest(tensors) != result.decisions_sha256:
            raise SubmissionError("decisions_sha256: the decisions are not those of the result.")
        path = self.folder / "decisions" / f"{result.decisions_sha256}.safetensors"
        if not path.exists():
            write_bytes(path, safetensors.torch.save(tensors))

    def check_drift(self) -> list[Drift]:
        """Score every row with stored decisions again, with today's code."""
        return [
            self._rescore(row, tasks(self.data)[row.result.task])
            for row in self.rows()
            if row.result.tier == "solutions"
        ]

    def _rescore(self, row: Row, task: Task) -> Drift:
        path = self.folder / "decisions" / f"{row.result.decisions_sha256}.safetensors"
        if not path.is_file():
            return Drift(task=task.id, row=row.id, deviation=0.0, reason="decisions are missing")
        if row.result.task_digest != task.digest():
            return Drift(task=task.id, row=row.id, deviation=0.0, reason="the task was changed")
        decision = unpack(make_problem(task).decision_type, safetensors.torch.load_file(path))
        again = evaluate_decisions(
            task,
            decision,
            method=row.result.method,
            references=load_references(task, data=self.data),
            instance=load_instances(task, data=self.data),
        )
        gap = np.abs(np.array(again.objective) - np.array(row.result.objective))
        return Drift(task=task.id, row=row.id, deviation=float(gap.max()))

    def build_database(self, path: str | Path = ":memory:") -> sqlite3.Connection:
        """SQLite database of everything in the record; building it again gives the same content.

        Tables: ``task (id ...)``, ``result (task, row ...)``, ``instance (task, row, number ...)``.
        """
        if path != ":memory:":
            Path(path).unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        connection.executescript(_TABLES)
        with connection:
            for task in tasks(self.data).values():
                connection.execute("INSERT INTO task VALUES (?,?,?,?)", _task_values(task))
            for row in self.rows():
                connection.execute(f"INSERT INTO result VALUES ({_marks(15)})", _row_values(row))
                connection.executemany(
                    f"INSERT INTO instance VALUES ({_marks(5)})", _instance_values(row)
                )
        return connection

    def export_csv(self) -> str:
        """The ``result`` table as CSV with a header line."""
        connection = self.build_database()
        try:
            cursor = connection.execute("SELECT * FROM result ORDER BY task, iqm DESC, row")
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow([column[0] for column in cursor.description])
            writer.writerows(cursor)
        finally:
            connection.close()
        return text.getvalue()


_TABLES = """
CREATE TABLE task (id TEXT PRIMARY KEY, title TEXT, kind TEXT, digest TEXT);
CREATE TABLE result (
  task TEXT REFERENCES task, row TEXT, method TEXT, kind TEXT, status TEXT, instances INTEGER,
  iqm REAL, low REAL, high REAL, mean REAL, worst_tail REAL, loss_mean REAL,
  feasible REAL, feasible_after REAL, seconds_per_decision REAL, PRIMARY KEY (task, row));
CREATE TABLE instance (
  task TEXT, row TEXT, number INTEGER, objective REAL, violation REAL,
  PRIMARY KEY (task, row, number));
"""


def _marks(count: int) -> str:
    return ",".join("?" * count)


def _task_values(task: Task) -> Sequence[Any]:
    return task.id, task.title, task.kind, task.digest()


def _row_values(row: Row) -> Sequence[Any]:
    r, s = row.result, row.result.summary
    seconds = r.timing.seconds_per_decision if r.timing else None
    head = (r.task, row.id, r.method.name, r.method.kind, row.status, len(r.objective))
    score = (s.iqm, s.low, s.high, s.mean, s.worst_tail, s.loss_mean)
    return *head, *score, r.feasibility_rate, r.feasibility_rate_after, seconds


def _instance_values(row: Row) -> list[Sequence[Any]]:
    r = row.result
    pairs = zip(r.objective, r.violation, strict=True)
    return [(r.task, row.id, number, *pair) for number, pair in enumerate(pairs)]


def _events(path: Path) -> list[Event]:
    found: list[tuple[int, Event]] = []
    for each in path.parent.glob(f"{path.stem}.status-*.json"):
        match = _SUFFIX.search(each.name)
        values = migrate(parse_json(each.read_text(), label=each.name), label=each.name)
        event = read_model(Event, values, label=each.name)
        found.append((int(match.group(1)) if match else 0, event))
    return [event for _, event in sorted(found, key=lambda pair: pair[0])]


def _canonical(result: Result) -> str:
    values: Mapping[str, Any] = result.model_dump(mode="json")
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "method"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
