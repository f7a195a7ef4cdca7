"""Solvers by problem and name, found through the entry-point group ``isac_gym.solvers``.

The entry point's name is the problem's, its object a mapping from solver name to
``"module:Class"``. Third parties enter through the same door; a name taken twice is refused.
"""

import dataclasses
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family, load_object
from isac_gym.core.solution import Solver

__all__ = ["make_solver", "solvers"]

GROUP = "isac_gym.solvers"


@cache
def _paths(problem: str) -> dict[str, str]:
    paths: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP, name=problem), key=lambda point: point.value):
        found = point.load()
        twice = sorted(set(paths) & set(found))
        if twice:
            raise ScenarioError(f"solver name(s) {twice} of {problem} are defined twice ({point}).")
        paths |= found
    return paths


def solvers(problem: str) -> dict[str, type[Solver]]:
    """Solver classes of a problem by name, our own first.

    Args:
        problem: Problem name; hyphens and underscores are the same.

    Raises:
        ScenarioError: Unknown problem.
    """
    return {name: load_object(path) for name, path in _paths(family(problem).name).items()}


def make_solver(problem: str, name: str, **fields: Any) -> Solver:
    """Solver of a problem by name, with hyper-parameters changed by keyword.

    Raises:
        ScenarioError: Unknown problem, solver or field, or a value out of range.
    """
    paths = _paths(family(problem).name)
    if name not in paths:
        raise ScenarioError(f"unknown solver {name!r} of {problem}; allowed: {', '.join(paths)}.")
    solver_type = load_object(paths[name])
    known = [field.name for field in dataclasses.fields(solver_type)]
    unknown = sorted(set(fields) - set(known))
    if unknown:
        allowed = ", ".join(known) or "none"
        raise ScenarioError(f"solver {name!r} has no field(s) {unknown}; allowed: {allowed}.")
    return solver_type(**fields)
