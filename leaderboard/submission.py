"""Submissions of solutions: a folder of two files that are data, checked before they are believed.

``submission.json`` says who did what; ``decisions.safetensors`` holds, for every task handed in,
the decision arrays ``<task id>:<field>`` and ``<task id>:instance``, the instance number of every
row. The verifier loads arrays, projects and evaluates. It never runs foreign code.
"""

import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self, cast

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from isac_gym.core import SubmissionError, TensorRecord
from leaderboard.arrays import (
    ArraySpec,
    content_digest,
    pack,
    parse_json,
    read_arrays,
    read_regular_file,
    specs_of,
    unpack,
    write_bytes,
)
from leaderboard.evaluate import evaluate_decisions
from leaderboard.instances import load_instances
from leaderboard.results import Method, Result, Timing, migrate, read_model
from leaderboard.tasks import DATA, Task, load_references, make_problem, tasks

__all__ = [
    "Entry",
    "Submission",
    "read_submission",
    "software_versions",
    "verify_submission",
    "write_submission",
]

_JSON_LIMIT = 1 << 20
_ARRAYS_LIMIT = 1 << 28
_NEEDED_VERSIONS = ("isac_gym", "torch", "python")
_DECISIONS, _DECLARATION = "decisions.safetensors", "submission.json"


class Entry(BaseModel):
    """One task of a submission."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    instances_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    decisions_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    seconds_per_decision: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=1, ge=1)


class Submission(BaseModel):
    """Content of ``submission.json``; every field is checked, unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    method: Method
    tasks: dict[str, Entry] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _check_method(self) -> Self:
        m = self.method
        if m.kind == "genie":
            raise ValueError("method.kind: a genie is a reference, not a contestant")
        for name in ("summary", "contact", "licence", "hardware", "code_url", "code_commit"):
            if not getattr(m, name):
                raise ValueError(f"method.{name}: must not be empty")
        missing = [name for name in _NEEDED_VERSIONS if not m.versions.get(name)]
        if missing:
            raise ValueError(f"method.versions: missing {missing}")
        if m.kind in ("learned", "rl"):
            if m.training is None:
                raise ValueError("method.training: required of a learned method")
            if m.seed_reported not in m.seeds_tried:
                raise ValueError("method.seeds_tried: list every seed tried, the reported one too")
        if len(set(m.seeds_tried)) != len(m.seeds_tried):
            raise ValueError("method.seeds_tried: a seed is listed twice")
        return self


def software_versions() -> dict[str, str]:
    """Versions of isac_gym, torch and Python here."""
    try:
        own = version("isac_gym")
    except PackageNotFoundError:
        own = "unknown"
    return {"isac_gym": own, "torch": torch.__version__, "python": platform.python_version()}


def write_submission(
    folder: Path,
    *,
    method: Method,
    decisions: Mapping[str, TensorRecord],
    seconds_per_decision: Mapping[str, float] | None = None,
    batch_size: int = 1,
    data: Path = DATA,
) -> Path:
    """Write a submission folder that :func:`verify_submission` accepts.

    Args:
        folder: Made if missing; its two files are replaced.
        method: Method card, complete.
        decisions: Decision record for all instances, by task id.
        seconds_per_decision: Time by task id, if known.
        batch_size: Batch size that time refers to.
        data: Folder of the tasks.

    Returns:
        The folder.

    Raises:
        SubmissionError: A field is missing or wrong, or a task is not a static one.
    """
    arrays: dict[str, Tensor] = {}
    entries: dict[str, Any] = {}
    for task_id, record in decisions.items():
        task = _static_task(task_id, data)
        tensors = pack(record)
        arrays |= {f"{task_id}:{name}": t for name, t in tensors.items()}
        arrays[f"{task_id}:instance"] = torch.arange(record.batch_size)
        entries[task_id] = {
            "instances_sha256": task.instances.sha256,
            "decisions_sha256": content_digest(tensors),
            "seconds_per_decision": (seconds_per_decision or {}).get(task_id),
            "batch_size": batch_size,
        }
    values = {"schema_version": 1, "method": method.model_dump(mode="json"), "tasks": entries}
    submission = read_model(Submission, values, label=_DECLARATION)
    write_bytes(folder / _DECISIONS, safetensors.torch.save(arrays))
    write_bytes(folder / _DECLARATION, (submission.model_dump_json(indent=2) + "\n").encode())
    return folder


def read_submission(folder: Path) -> Submission:
    """Read and check ``submission.json`` of a folder; no array is touched.

    Raises:
        SubmissionError: Names the field or file.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise SubmissionError(
            f"{folder.name}: must be a folder with {_DECLARATION} and {_DECISIONS}."
        )
    extra = sorted(set(os.listdir(folder)) - {_DECLARATION, _DECISIONS})  # noqa: PTH208
    if extra:
        raise SubmissionError(f"{extra[0]!r}: not part of a submission; hand in two files only.")
    text = read_regular_file(folder / _DECLARATION, max_bytes=_JSON_LIMIT)
    values = migrate(parse_json(text, label=_DECLARATION), label=_DECLARATION)
    return read_model(Submission, values, label=_DECLARATION)


def verify_submission(
    folder: Path, *, known: Mapping[tuple[str, str], str] | None = None, data: Path = DATA
) -> list[Result]:
    """Check a submission folder and score it: load arrays, project, evaluate.

    Args:
        folder: Folder with ``submission.json`` and ``decisions.safetensors``.
        known: Method names by (task id, content digest) of rows already on the board.
        data: Folder of the tasks.

    Returns:
        One result per task.

    Raises:
        SubmissionError: Names the field, array or file at fault.
    """
    submission = read_submission(folder)
    chosen = {task_id: _static_task(task_id, data) for task_id in submission.tasks}
    specs: dict[str, ArraySpec] = {}
    for task in chosen.values():
        specs |= _specs(task)
    if sum(spec.max_bytes for spec in specs.values()) > _ARRAYS_LIMIT:
        raise SubmissionError(
            f"{_DECISIONS}: more than {_ARRAYS_LIMIT} bytes; hand in fewer tasks."
        )
    arrays = read_arrays(folder / _DECISIONS, specs)
    return [_judge(task, submission, arrays, known or {}, data) for task in chosen.values()]


def _static_task(task_id: str, data: Path) -> Task:
    known = tasks(data)
    if task_id not in known:
        allowed = ", ".join(name for name, task in known.items() if task.kind == "static")
        shown = re.sub(r"[^ -~]", "?", task_id)[:80]
        raise SubmissionError(f"tasks: unknown task {shown!r}; allowed: {allowed}.")
    if known[task_id].kind != "static":
        raise SubmissionError(f"tasks: {task_id} is dynamic; it takes a policy, not decisions.")
    return known[task_id]


def _specs(task: Task) -> dict[str, ArraySpec]:
    problem = make_problem(task)
    sizes = {**problem.axis_sizes, "B": task.instances.count}
    specs = specs_of(problem.decision_type.tensor_fields(), sizes)
    specs["instance"] = ArraySpec(dtypes=("I64", "I32"), shape=(task.instances.count,))
    return {f"{task.id}:{name}": spec for name, spec in specs.items()}


def _judge(
    task: Task,
    submission: Submission,
    arrays: Mapping[str, Tensor],
    known: Mapping[tuple[str, str], str],
    data: Path,
) -> Result:
    entry, prefix = submission.tasks[task.id], f"{task.id}:"
    mine = {name[len(prefix) :]: t for name, t in arrays.items() if name.startswith(prefix)}
    _check_order(task, mine.pop("instance"))
    if entry.instances_sha256 != task.instances.sha256:
        raise SubmissionError(
            f"tasks.{task.id}.instances_sha256: {entry.instances_sha256[:12]}..., the task's "
            f"instances have {task.instances.sha256[:12]}...; solve the current version."
        )
    digest = content_digest(mine)
    if entry.decisions_sha256 != digest:
        raise SubmissionError(
            f"tasks.{task.id}.decisions_sha256: {entry.decisions_sha256[:12]}..., the arrays have "
            f"{digest[:12]}..."
        )
    owner = known.get((task.id, digest), submission.method.name)
    if owner != submission.method.name:
        raise SubmissionError(
            f"tasks.{task.id}.decisions_sha256: the same decisions are on the board as {owner!r}."
        )
    problem = make_problem(task)
    timing = None
    if entry.seconds_per_decision is not None:
        timing = Timing(
            seconds_per_decision=entry.seconds_per_decision,
            batch_size=entry.batch_size,
            source="stated by the authors",
        )
    return evaluate_decisions(
        task,
        cast(TensorRecord, unpack(problem.decision_type, mine)),
        method=submission.method,
        timing=timing,
        references=load_references(task, data=data),
        instance=load_instances(task, data=data),
    )


def _check_order(task: Task, instance: Tensor) -> None:
    rows = instance.tolist()
    if len(set(rows)) != len(rows):
        twice = next(row for row in rows if rows.count(row) > 1)
        raise SubmissionError(
            f"{task.id}:instance: number {twice} occurs twice; each exactly once."
        )
    if rows != list(range(len(rows))):
        place = next(k for k, row in enumerate(rows) if row != k)
        raise SubmissionError(
            f"{task.id}:instance: row {place} holds {rows[place]}, expected {place}; rows must "
            "follow the order of the instances."
        )
