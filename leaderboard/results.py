"""Results: one method on one task, as strict, versioned JSON that must load for ever."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isac_gym.core import SubmissionError
from leaderboard.scoring import Summary, instance_scores, summarise
from leaderboard.tasks import References, Task

__all__ = ["Method", "Result", "Timing", "migrate", "parse_result", "read_model"]

M = TypeVar("M", bound=BaseModel)
SCHEMA_VERSION = 1
# Version n -> version n + 1. Entries are added, never changed: old files must load for ever.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Training(_Model):
    """What a learned method was trained with."""

    data: str = Field(min_length=1, max_length=2000)
    budget: str = Field(min_length=1, max_length=2000)


class Method(_Model):
    """Method card: who made what, with which means.

    Attributes:
        name: Short name shown in tables.
        kind: ``classical``, ``learned``, ``rl``, or ``genie`` (knows what no method can: unranked).
        summary: What it does, one or two sentences.
        code_url: Where the code is, or empty.
        code_commit: Its commit, or empty.
        training: What it was trained with; required of learned methods.
        seeds_tried: Every training seed that was tried, the bad ones too.
        seed_reported: The one behind these numbers.
        parameters: Number of trained parameters.
        contact: How to reach the authors.
        licence: Licence of the code.
        versions: Software versions.
        hardware: What it ran on.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .,+@()_-]{0,63}$")
    kind: Literal["classical", "learned", "rl", "genie"]
    summary: str = Field(default="", max_length=2000)
    code_url: str = Field(default="", pattern=r"^(https://\S+)?$", max_length=300)
    code_commit: str = Field(default="", pattern=r"^([0-9a-f]{7,64})?$")
    training: Training | None = None
    seeds_tried: list[int] = Field(default=[], max_length=10_000)
    seed_reported: int | None = None
    parameters: int = Field(default=0, ge=0)
    contact: str = Field(default="", max_length=200)
    licence: str = Field(default="", max_length=100)
    versions: dict[str, str] = {}
    hardware: str = Field(default="", max_length=200)


class Timing(_Model):
    """Time per decision; a column of the table, never the ranking key."""

    seconds_per_decision: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    source: Literal["measured by us", "stated by the authors"]


class Result(_Model):
    """One method on one task.

    Attributes:
        task: Task id.
        task_digest: Digest of the task when it was scored.
        tier: ``solutions`` (decisions handed in) or ``policies`` (played by us).
        objective: What is scored, per instance, in the task's unit: objective after projection, or
            mean reward per slot. May be shorter than the task: then the result is partial.
        feasible: Share of feasible decisions per instance, as handed in (1 or 0 for solutions).
        violation: Largest relative violation per instance, as handed in.
        feasible_after: The same share after our projection; equal to ``feasible`` for policies.
        columns: Further quantities, averaged over instances, by "name [unit]".
        summary: Aggregates; recomputable from ``objective`` and the task's references.
        above_bound: Instances where a feasible decision beats the bound by more than its tolerance:
            0 unless the bound or the evaluation is wrong.
        decisions_sha256: Content digest of the decisions, or of an agent's file; may be empty.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    task: str
    task_digest: str
    tier: Literal["solutions", "policies"]
    method: Method
    objective: list[float] = Field(min_length=1)
    feasible: list[float]
    violation: list[float]
    feasible_after: list[float]
    columns: dict[str, float]
    summary: Summary
    above_bound: int = Field(default=0, ge=0)
    timing: Timing | None = None
    decisions_sha256: str = ""
    created: str

    @property
    def feasibility_rate(self) -> float:
        """Share of feasible decisions as handed in."""
        return float(np.mean(self.feasible))

    @property
    def feasibility_rate_after(self) -> float:
        """Share of feasible decisions after projection."""
        return float(np.mean(self.feasible_after))

    def is_partial(self, task: Task) -> bool:
        """True if the result covers only the first instances of the task; it is then not ranked."""
        return len(self.objective) < task.instances.count

    def scores(self, task: Task, references: References) -> NDArray[np.float64]:
        """Scores of the instances that carry weight, (weighted,)."""
        mine = references.first(len(self.objective))
        scores = instance_scores(
            np.array(self.objective), mine.floor, mine.bound, min_range=task.metric.min_range
        )
        return scores[~np.isnan(scores)]

    def loss(self, references: References) -> NDArray[np.float64]:
        """Bound minus objective of every instance, (n,)."""
        return references.first(len(self.objective)).bound - np.array(self.objective)


def build_result(
    task: Task,
    references: References,
    *,
    method: Method,
    per_instance: Mapping[str, NDArray[np.float64]],
    columns: Mapping[str, float],
    timing: Timing | None = None,
    decisions_sha256: str = "",
) -> Result:
    """Score values per instance: ``objective, feasible, violation, feasible_after``."""
    objective = per_instance["objective"]
    mine = references.first(objective.size)
    tolerance = task.reference("bound").tolerance
    above = (objective > mine.bound + tolerance) & (per_instance["feasible_after"] >= 1)
    return Result(
        task=task.id,
        task_digest=task.digest(),
        tier="solutions" if task.kind == "static" else "policies",
        method=method,
        **cast(Any, {name: values.tolist() for name, values in per_instance.items()}),
        columns=dict(columns),
        summary=summarise(objective, mine.floor, mine.bound, min_range=task.metric.min_range),
        above_bound=int(above.sum()) if task.has_bound else 0,
        timing=timing,
        decisions_sha256=decisions_sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def migrate(values: Any, *, label: str) -> dict[str, Any]:
    """Raw JSON of any past version lifted to the current one.

    Raises:
        SubmissionError: No known schema version.
    """
    version = values.get("schema_version") if isinstance(values, dict) else None
    while version != SCHEMA_VERSION or isinstance(version, bool):
        if type(version) is not int or version not in MIGRATIONS:
            raise SubmissionError(
                f"{label}: schema_version {version!r}, allowed 1 to {SCHEMA_VERSION}."
            )
        values = MIGRATIONS[version](dict(values))
        version = values.get("schema_version")
    return values


def read_model(model: type[M], values: Any, *, label: str) -> M:
    """Validate plain values as ``model``.

    Raises:
        SubmissionError: Names the field, the fault and ``label``.
    """
    try:
        return model.model_validate_json(json.dumps(values))
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"])) or "(whole file)"
        raise SubmissionError(f"{label}: field {where}: {first['msg']}.") from err


def parse_result(values: Any, *, label: str = "result") -> Result:
    """Result of raw JSON of any version.

    Raises:
        SubmissionError: Names the field.
    """
    return read_model(Result, migrate(values, label=label), label=label)
