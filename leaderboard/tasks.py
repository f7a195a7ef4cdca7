"""Tasks: frozen, content-addressed definitions of what is scored. A task is a data file, not code.

A task file is JSON in ``data/tasks/<problem>/<name>-v<N>.json``. What it pins down:

* static tasks: the instances, stored in ``data/instances`` (transcendental functions differ by an
  ulp between processors, so the stored file is the truth and a re-draw is only compared with it);
* static tasks with large instances: their seeds (SHA-256) and a fingerprint of what they give;
* dynamic tasks: the episode seeds and a fingerprint of the first instances;
* the reference values in ``data/references``: floor (score 0), bound (score 100), paper.

A change of any of these is a new task with a higher version, never an overwrite.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
import safetensors.torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from isac_gym.core import IsacError, Problem, Process, family, lane_seeds
from leaderboard.arrays import file_digest

__all__ = [
    "DATA",
    "HiddenSet",
    "InstanceSet",
    "Metric",
    "Reference",
    "References",
    "ScenarioRef",
    "Task",
    "TaskError",
    "load_references",
    "load_task",
    "make_problem",
    "make_process",
    "stored_arrays",
    "task",
    "tasks",
]

DATA = Path(__file__).parent / "data"
FloatArray = NDArray[np.float64]
Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
TaskId = Annotated[str, Field(pattern=r"^[a-z0-9_]+/[a-z0-9]+(-[a-z0-9]+)*-v[0-9]+$")]


class TaskError(IsacError, ValueError):
    """A task file, or a data file that belongs to it, is wrong or was changed."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ScenarioRef(_Model):
    """Scenario of a task: a preset, single fields changed, and the digest of the result."""

    preset: str
    changes: dict[str, float | int | str | bool] = {}
    digest: Digest = ""

    def mapping(self) -> dict[str, Any]:
        """What ``Family.make_problem`` accepts."""
        return {"preset": self.preset, **self.changes}


class HiddenSet(_Model):
    """A set whose salt is committed to by hash and revealed when the set is retired."""

    name: str
    count: int = Field(ge=1)
    commitment: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    revealed_salt: str = ""


class InstanceSet(_Model):
    """The scored instances or episodes, and the names of the sets to train and validate on.

    Instance i of a set is drawn from ``lane_seeds(name, count)[i]``, a hash of (name, i).

    Attributes:
        sha256: Of the file of instances; of the seeds where instances are drawn, not stored.
        fingerprint: Mean magnitude of every tensor, where instances are drawn.
    """

    name: str
    count: int = Field(ge=1, le=4096)
    split: Literal["public-test", "shifted-test"]
    sha256: Digest = ""
    fingerprint: dict[str, float] = {}
    train: str
    validation: str
    hidden: HiddenSet | None = None


class Metric(_Model):
    """What is measured on one instance.

    Attributes:
        name: ``objective`` of the projected decision, or ``mean reward per slot`` of an episode.
        unit: Its unit.
        min_range: Instances whose floor lies closer to the bound than this carry no weight.
        feasibility_tolerance: A violation up to this counts as feasible.
    """

    name: Literal["objective", "mean reward per slot"]
    unit: str
    min_range: float = Field(gt=0)
    feasibility_tolerance: float = Field(default=1e-7, gt=0)


class Reference(_Model):
    """One mark on the score axis.

    Attributes:
        role: ``floor`` is score 0, ``bound`` is score 100, ``paper`` is shown between them.
        kind: How far the value can be trusted as a bound. ``yardstick`` is no bound, scores may
            exceed 100: it lies a fixed distance above the floor, or is what ``method`` reaches.
        label: Short name for the page.
        method: Solver whose value it is; empty for the floor and for constants.
        value: The bound, where it is one number for all instances.
        above_floor: Distance of a yardstick above the floor, in the metric's unit.
        source: How to recompute it, one line.
        tolerance: Absolute accuracy in the metric's unit.
    """

    role: Literal["floor", "paper", "bound"]
    kind: Literal[
        "heuristic", "algorithm", "exact", "dual", "relaxation", "enumeration", "yardstick"
    ]
    label: str
    method: str = ""
    value: float | None = None
    above_floor: float | None = Field(default=None, gt=0)
    source: str
    tolerance: float = Field(ge=0)


class Task(_Model):
    """Definition of one task; see the module's docstring."""

    schema_version: Literal[1]
    id: TaskId
    title: str
    summary: str
    kind: Literal["static", "dynamic"]
    order: int = 0
    problem: str
    scenario: ScenarioRef
    environment: str  # empty: the problem has none
    settings: dict[str, float | int | str | bool] = {}
    instances: InstanceSet
    budget: str
    metric: Metric
    references: tuple[Reference, ...] = Field(strict=False)
    references_sha256: Digest = ""
    superseded_by: str | None = None

    @model_validator(mode="after")
    def _check_roles(self) -> Self:
        roles = [reference.role for reference in self.references]
        if roles.count("floor") != 1 or roles.count("bound") != 1 or roles.count("paper") > 1:
            raise ValueError(f"references: one floor, one bound, at most one paper; got {roles}")
        bound = self.reference("bound")
        given = [bool(bound.method), bound.value is not None, bound.above_floor is not None]
        is_odd = bound.value is not None if bound.kind == "yardstick" else given[2]
        if sum(given) != 1 or is_odd:
            raise ValueError(
                "references: a bound needs a method or a value, a yardstick a method or above_floor"
            )
        return self

    def reference(self, role: str) -> Reference:
        """The reference of a role.

        Raises:
            TaskError: The task has none.
        """
        for reference in self.references:
            if reference.role == role:
                return reference
        raise TaskError(f"{self.id}: no reference with role {role!r}.")

    @property
    def has_bound(self) -> bool:
        """True if 100 is a bound, so that scores of different tasks may be averaged."""
        return self.reference("bound").kind != "yardstick"

    def digest(self) -> str:
        """SHA-256 of all that defines the task; not of ``superseded_by`` and a revealed salt."""
        values = self.model_dump(mode="json", exclude={"superseded_by"})
        if values["instances"]["hidden"]:
            values["instances"]["hidden"]["revealed_salt"] = ""
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def seeds(self) -> list[int]:
        """Lane seeds of the scored set."""
        return lane_seeds(self.instances.name, self.instances.count)


@dataclass(frozen=True, kw_only=True)
class References:
    """Reference values of a task, one per instance, in the metric's unit.

    Attributes:
        floor: Score 0, (n,).
        bound: Score 100, (n,).
        paper: The paper's algorithm, (n,), or None.
    """

    floor: FloatArray
    bound: FloatArray
    paper: FloatArray | None = None

    def first(self, count: int) -> "References":
        """References of the first ``count`` instances."""
        paper = None if self.paper is None else self.paper[:count]
        return References(floor=self.floor[:count], bound=self.bound[:count], paper=paper)


def make_problem(task: Task) -> Problem:
    """Problem of a task.

    Raises:
        TaskError: The scenario is not the one the task was frozen with.
    """
    problem = family(task.problem).make_problem(task.scenario.mapping())
    if task.scenario.digest and problem.scenario.digest() != task.scenario.digest:
        raise TaskError(
            f"{task.id}: scenario digest {problem.scenario.digest()[:12]}, the task was frozen "
            f"with {task.scenario.digest[:12]}; a changed scenario needs a new task version."
        )
    return problem


def make_process(task: Task) -> Process:
    """Process of a task's environment id, scenario and settings."""
    make_problem(task)
    entry = family(task.problem)
    return entry.make_process(task.environment, task.scenario.mapping(), task.settings)


def load_task(path: Path) -> Task:
    """Task of a JSON file.

    Raises:
        TaskError: Names the file and the field.
    """
    try:
        return Task.model_validate_json(path.read_text())
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise TaskError(f"{path.name}: {where}: {first['msg']}.") from err


@cache
def tasks(data: Path = DATA) -> dict[str, Task]:
    """All tasks by id, problems in alphabetical order, then static before dynamic, then ``order``.

    Raises:
        TaskError: A file is wrong, or its name is not the task's id.
    """
    found: list[Task] = []
    for path in sorted((data / "tasks").rglob("*.json")):
        each = load_task(path)
        if path.relative_to(data / "tasks").with_suffix("").as_posix() != each.id:
            raise TaskError(f"{path.name}: the task inside is called {each.id!r}.")
        found.append(each)
    found.sort(key=lambda each: (each.problem, each.kind != "static", each.order, each.id))
    return {each.id: each for each in found}


def task(task_id: str, *, data: Path = DATA) -> Task:
    """Task by id.

    Raises:
        TaskError: Unknown id; the message lists the known ones.
    """
    known = tasks(data)
    if task_id not in known:
        raise TaskError(f"unknown task {task_id!r}; allowed: {', '.join(known)}.")
    return known[task_id]


def stored_arrays(task: Task, kind: str, wanted: str, data: Path) -> dict[str, Any]:
    """Arrays of ``data/<kind>/<id>.safetensors``, which must have the SHA-256 ``wanted``.

    Raises:
        TaskError: The file is missing or was changed.
    """
    path = data / kind / f"{task.id}.safetensors"
    if not path.is_file():
        raise TaskError(f"{task.id}: {kind} file {path.name} is missing.")
    if file_digest(path) != wanted:
        raise TaskError(f"{task.id}: {kind} file {path.name} does not have the task's SHA-256.")
    return safetensors.torch.load_file(path)


def load_references(task: Task, *, data: Path = DATA) -> References:
    """Reference values of a task.

    Raises:
        TaskError: The file is missing or was changed.
    """
    arrays = stored_arrays(task, "references", task.references_sha256, data)
    values = {name: cast(FloatArray, t.double().numpy()) for name, t in arrays.items()}
    return References(floor=values["floor"], bound=values["bound"], paper=values.get("paper"))
