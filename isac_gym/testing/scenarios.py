"""Conformance of scenarios: every field matters, wrong values are refused, presets are sound."""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.scenario import Scenario
from isac_gym.testing.candidates import random_decision
from isac_gym.testing.common import ConformanceError, demand, demand_raises, row_error

__all__ = ["scenario_errors", "scenario_fields_matter", "scenario_presets"]

_SEED, _BATCH = 21, 48


def scenario_fields_matter(problem: Problem) -> None:
    """Every field changes some metric of some draw, unless declared inert (then none).

    Raises:
        ConformanceError: A field is ignored, or is declared inert and is not.
    """
    check, base = "problem.scenario_fields", _score(problem)
    for field in dataclasses.fields(problem.scenario):
        alternatives = list(_alternatives(problem.scenario, field))
        demand(alternatives, check, f"another valid value of {field.name}", "none")
        different = (v for v in alternatives if _differs(problem, field.name, v, base))
        changed = list(itertools.islice(different, 1))
        if problem.scenario.is_inert(field.name):
            expected = f"{field.name} to change no metric, it is declared inert"
            demand(not changed, check, expected, f"a change with {changed[:1]}")
            if field.metadata["only_where"] and not field.metadata["inert"]:
                _demand_matters_elsewhere(problem, field)
        else:
            expected = f"{field.name} to change some metric, or to be declared inert"
            demand(changed, check, expected, f"equal metrics for {alternatives}")


def _demand_matters_elsewhere(problem: Problem, field: "dataclasses.Field[Any]") -> None:
    """A field for one mode only must matter in that mode."""
    check, (other, value) = "problem.scenario_fields", field.metadata["only_where"]
    expected = f"only_where of {field.name} to name a field and a value it may have"
    try:
        scenario = problem.scenario.replace(**{other: value})
    except ScenarioError as error:
        raise ConformanceError(check, expected, str(error)) from error
    there = dataclasses.replace(problem, scenario=scenario)  # pyright: ignore
    base, tried = _score(there), list(_alternatives(scenario, field))
    changed = any(_differs(there, field.name, choice, base) for choice in tried)
    expected = f"{field.name} to change some metric where {other} is {value!r}"
    demand(changed, check, expected, f"equal metrics for {tried}")


def scenario_errors(problem: Problem) -> None:
    """Unknown names, wrong types and values outside the range raise ``ScenarioError``.

    Raises:
        ConformanceError: Something was accepted, or another error was raised.
    """
    check, kind = "problem.scenario_errors", problem.scenario_type
    fields = {"no_such_field": 1}
    demand_raises(
        lambda: kind.from_dict(fields),
        ScenarioError,
        "no_such_field",
        check=check,
        case="an unknown field",
    )
    demand_raises(
        lambda: kind.preset("no such preset"),
        ScenarioError,
        "no such preset",
        check=check,
        case="an unknown preset",
    )
    for field in dataclasses.fields(kind):
        for value in _wrong_values(field):
            demand_raises(
                lambda name=field.name, value=value: problem.scenario.replace(**{name: value}),
                ScenarioError,
                field.name,
                check=check,
                case=f"{field.name} = {value!r}",
            )


def scenario_presets(problem: Problem) -> None:
    """Presets build, survive strict JSON and differ; ``paper`` exists; fields have a source.

    Raises:
        ConformanceError: Names the preset or field.
    """
    check, kind = "problem.scenario_presets", problem.scenario_type
    demand("paper" in kind.presets, check, "a preset named paper", sorted(kind.presets))
    digests: dict[str, str] = {}
    for name in kind.presets:
        scenario = kind.preset(name)
        try:
            text = json.dumps(scenario.to_dict(), allow_nan=False)
        except ValueError as error:
            raise ConformanceError(check, f"strict JSON of {name}", str(error)) from error
        back = kind.from_dict(json.loads(text))
        demand(back == scenario, check, f"{name} to survive JSON", back)
        demand(back.digest() == scenario.digest(), check, f"one digest of {name}", back.digest())
        twin = digests.setdefault(scenario.digest(), name)
        demand(twin == name, check, f"{name} to differ from other presets", f"a copy of {twin}")
    for row in kind.table():
        for column in ("doc", "source"):
            demand(row[column], check, f"a {column} of {row['field']}", "nothing")


def _score(problem: Problem) -> dict[str, Any]:
    """Metrics of the floor and of a random decision, and the instance's sizes."""
    instance = problem.sample(Streams.from_seed(_SEED, _BATCH))
    found: dict[str, Any] = {}
    decisions = {
        "floor": problem.floor(instance),
        "random": problem.project(instance, random_decision(problem, instance, "scenario")),
        "raw": random_decision(problem, instance, "scenario"),
    }
    for label, decision in decisions.items():
        metrics: TensorRecord = problem.evaluate(instance, decision)
        found |= {f"{label}.{name}": tensor for name, tensor in metrics.items()}
    return found


def _differs(problem: Problem, name: str, value: object, base: dict[str, Any]) -> bool:
    other = dataclasses.replace(problem, scenario=problem.scenario.replace(**{name: value}))  # pyright: ignore
    try:
        metrics = _score(other)
    except ScenarioError:  # e.g. a threshold out of reach of every draw: no verdict
        return False
    return any(row_error(base[key], tensor) > 0 for key, tensor in metrics.items())


def _alternatives(scenario: Scenario, field: "dataclasses.Field[Any]") -> Iterator[object]:
    """Valid other values of a field, small changes first."""
    value = getattr(scenario, field.name)
    meta = field.metadata
    if meta["choices"] is not None:
        tried: list[object] = [choice for choice in meta["choices"] if choice != value]
    elif isinstance(value, bool):
        tried = [not value]
    elif isinstance(value, int):
        tried = [value + 1, value - 1, value // 4, meta["low"]]
    else:
        start = 0.0 if math.isinf(value) else value
        tried = [start + 1.0, start - 1.0, start * 1.1, start / 2, start * 10, start + 20]
        tried.append(meta["high"])
    for other in tried:
        if other is None or other == value:
            continue
        try:
            scenario.replace(**{field.name: other})
        except ScenarioError:
            continue
        yield other


def _wrong_values(field: "dataclasses.Field[Any]") -> Iterator[object]:
    meta, default = field.metadata, field.default
    yield None
    if isinstance(default, bool):
        yield from (1, "yes")
        return
    if isinstance(default, str):
        yield 1
        if meta["choices"] is not None:
            yield default + " no such choice"
        return
    yield from (True, "1", math.nan, math.inf)
    if isinstance(default, int):
        yield default + 0.5
    step = 1 if isinstance(default, int) else 1e-3
    if meta["low"] is not None and not math.isinf(meta["low"]):
        yield meta["low"] - step
    if meta["high"] is not None:
        yield meta["high"] + step
    if meta["above"] is not None:
        yield meta["above"]
