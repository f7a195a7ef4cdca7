"""Families: one paper's problem and its environments, found through entry points by name.

A family is written in strings ("module:Class"), so that listing and registering everything imports
no tensors. Third parties add theirs with the entry-point group ``isac_gym.problems``.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from isac_gym.core.errors import ScenarioError

if TYPE_CHECKING:
    from isac_gym.core.problem import Problem
    from isac_gym.core.process import Process
    from isac_gym.core.scenario import Scenario

__all__ = [
    "EnvironmentEntry",
    "Family",
    "add_family",
    "as_scenario",
    "families",
    "family",
    "family_of",
    "load_object",
]


def load_object(path: str | type) -> Any:
    """Object named by ``"module:attribute"``; a class is returned as it is."""
    if isinstance(path, type):
        return path
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True, kw_only=True)
class EnvironmentEntry:
    """One environment of a family.

    Attributes:
        id: Gymnasium id, ``isac/<Name>-v<N>``.
        process: ``"module:ProcessClass"``, or the class.
        doc: What makes this environment different, one line.
        parallel_id: Id in PettingZoo's registry, or None.
        preset: Scenario preset where none is asked for.
    """

    id: str
    process: str | type
    doc: str
    parallel_id: str | None = None
    preset: str = "paper"


@dataclass(frozen=True, kw_only=True)
class Family:
    """A problem, its environments and where they come from.

    Attributes:
        name: Problem name, snake case, e.g. ``power_control``.
        title: One line for people.
        paper: Authors, title, identifier.
        problem: ``"module:ProblemClass"``, or the class.
        environments: Entries in order of difficulty.
        formulas: Lines of the card.
    """

    name: str
    title: str
    paper: str
    problem: str | type
    environments: tuple[EnvironmentEntry, ...]
    formulas: tuple[str, ...] = field(default=())

    def make_problem(self, scenario: "Scenario | str | Mapping[str, Any]" = "paper") -> "Problem":
        """Problem of a preset name, a scenario, or a mapping ``{"preset": ..., field: value}``."""
        problem_type = load_object(self.problem)
        return problem_type(scenario=as_scenario(problem_type.scenario_type, scenario))

    def make_process(
        self,
        environment: str,
        scenario: "Scenario | str | Mapping[str, Any] | None" = None,
        settings: Mapping[str, Any] | None = None,
    ) -> "Process":
        """Process of one environment id; without a preset, in the environment's own.

        Raises:
            ScenarioError: Unknown id, preset, field or setting, or a value out of range.
        """
        entries = {entry.id: entry for entry in self.environments}
        if environment not in entries:
            raise ScenarioError(f"unknown environment {environment!r}; allowed: {list(entries)}.")
        if scenario is None or (isinstance(scenario, Mapping) and "preset" not in scenario):
            scenario = {"preset": entries[environment].preset, **(scenario or {})}
        process_type = load_object(entries[environment].process)
        known = [f.name for f in fields(process_type) if f.init and f.name != "problem"]
        unknown = sorted(set(settings or {}) - set(known))
        if unknown:
            raise ScenarioError(f"unknown setting(s) {unknown}; allowed: {', '.join(known)}.")
        return process_type(problem=self.make_problem(scenario), **(settings or {}))


def as_scenario(
    scenario_type: "type[Scenario]", scenario: "Scenario | str | Mapping[str, Any]"
) -> "Scenario":
    """Scenario from a preset name, a mapping with optional key ``preset``, or a scenario."""
    if isinstance(scenario, str):
        return scenario_type.preset(scenario)
    if isinstance(scenario, Mapping):
        changes = dict(scenario)
        return scenario_type.preset(changes.pop("preset", "paper"), **changes)
    if not isinstance(scenario, scenario_type):
        raise ScenarioError(
            f"scenario must be a preset name, a mapping or a {scenario_type.__name__}, "
            f"got {type(scenario).__name__}."
        )
    return scenario


def families() -> dict[str, Family]:
    """All known families by name: installed ones and those added with :func:`add_family`."""
    return _installed() | _ADDED


def add_family(family: Family) -> None:
    """Make a family known to this process without installing it (notebooks, tests).

    Raises:
        ScenarioError: The name is taken.
    """
    if family.name in families():
        raise ScenarioError(f"problem name {family.name!r} is taken; known: {list(families())}.")
    _ADDED[family.name] = family


_ADDED: dict[str, Family] = {}


@cache
def _installed() -> dict[str, Family]:
    points = sorted(entry_points(group="isac_gym.problems"), key=lambda point: point.name)
    return {point.name: point.load() for point in points}


def family(name: str) -> Family:
    """Family by name; hyphens and underscores are the same.

    Raises:
        ScenarioError: Unknown name; the message lists the known ones.
    """
    known = families()
    key = name.replace("-", "_")
    if key not in known:
        raise ScenarioError(f"unknown problem {name!r}; allowed: {', '.join(known)}.")
    return known[key]


def family_of(environment: str) -> Family:
    """Family that owns an environment id.

    Raises:
        ScenarioError: No installed family has this id.
    """
    for candidate in families().values():
        if any(environment == entry.id for entry in candidate.environments):
            return candidate
    known = [entry.id for each in families().values() for entry in each.environments]
    raise ScenarioError(f"unknown environment {environment!r}; allowed: {', '.join(known)}.")
