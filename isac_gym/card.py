"""Cards: what a problem is, as plain data generated from its declarations, so it cannot go stale.

A card is JSON-ready; the command line, the documentation and the leaderboard page draw it.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import EnvironmentEntry, Family, family, family_of, load_object
from isac_gym.core.process import ObservationBlock, Process
from isac_gym.core.records import AXES, TensorRecord
from isac_gym.core.scenario import Scenario

__all__ = ["card"]

Rows = list[dict[str, Any]]


def card(name: str, scenario: "Scenario | str | Mapping[str, Any] | None" = None) -> dict[str, Any]:
    """Card of a problem, or of one environment and its problem.

    Args:
        name: Problem name, or environment id (then only that environment is described).
        scenario: Scenario the sizes and the values in force are taken from; None: ``paper`` for
            the problem, the environment's own preset for each environment.

    Returns:
        Plain values: ``problem``, ``title``, ``paper``, ``formulas``, ``scenario`` (rows field,
        default, value, allowed, doc, source), ``presets``, ``records`` (rows field, axes, shape,
        kind, unit, doc per record), ``environments`` (id, doc, preset,
            settings, observation, action).

    Raises:
        ScenarioError: Unknown name, preset or field, or a value outside its range.
    """
    owner = family_of(name) if "/" in name else family(name)
    entries = [e for e in owner.environments if e.id == name] or list(owner.environments)
    problem = owner.make_problem("paper" if scenario is None else scenario)
    sizes = problem.axis_sizes
    records = {
        "instance": problem.instance_type,
        "decision": problem.decision_type,
        "metrics": problem.metrics_type,
    }
    return {
        "problem": owner.name,
        "title": owner.title,
        "paper": owner.paper,
        "formulas": list(owner.formulas),
        "scenario": _scenario_rows(problem.scenario),
        "presets": _presets(type(problem.scenario)),
        "axes": {axis: AXES.get(axis, axis) for axis in ("B", *sizes)},
        "records": {key: _record_rows(record, sizes) for key, record in records.items()},
        "environments": [_environment(owner, entry, scenario) for entry in entries],
    }


def _scenario_rows(scenario: Scenario) -> Rows:
    values = scenario.to_dict()
    return [{**row, "value": values[row["field"]]} for row in type(scenario).table()]


def _presets(scenario_type: type[Scenario]) -> dict[str, dict[str, Any]]:
    named = {name: scenario_type.preset(name).to_dict() for name in scenario_type.presets}
    return {
        name: {field: named[name][field] for field in changes}
        for name, changes in scenario_type.presets.items()
    }


def _record_rows(record: type[TensorRecord], sizes: Mapping[str, int]) -> Rows:
    return [
        {
            "field": name,
            "axes": " ".join(info.axes),
            "shape": ["B" if a == "B" else int(sizes.get(a, a)) for a in info.axes],
            "kind": info.kind,
            "unit": info.unit,
            "doc": info.doc,
        }
        for name, info in record.tensor_fields().items()
    ]


def _environment(
    owner: Family,
    entry: EnvironmentEntry,
    scenario: "Scenario | str | Mapping[str, Any] | None",
) -> dict[str, Any]:
    process = owner.make_process(entry.id, scenario)
    return {
        "id": entry.id,
        "parallel_id": entry.parallel_id,
        "doc": entry.doc,
        "preset": entry.preset,
        "horizon": process.horizon,
        "settings": _settings(load_object(entry.process), process),
        "objectives": list(process.objective_names),
        "observation": _layout(process.observation_blocks),
        "action": {"size": process.action_size, "low": -1.0, "high": 1.0},
        "agents": list(process.agents),
        "local_observation": _layout(process.local_observation_blocks),
        "local_action": {"size": process.local_action_size, "low": -1.0, "high": 1.0},
    }


def _settings(process_type: type[Process], process: Process) -> Rows:
    if not dataclasses.is_dataclass(process_type):
        raise ScenarioError(f"{process_type.__name__} must be a frozen dataclass.")
    fields = (f for f in dataclasses.fields(process_type) if f.init and f.name != "problem")
    return [{"setting": f.name, "default": getattr(process, f.name)} for f in fields]


def _layout(blocks: Iterable[ObservationBlock]) -> Rows:
    rows: Rows = []
    start = 0
    for block in blocks:
        rows.append({"entries": [start, start + block.size], "name": block.name, "doc": block.doc})
        start += block.size
    return rows
