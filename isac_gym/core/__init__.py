"""Contracts of the house: records, scenario, problem, process, solution, randomness, units."""

from typing import TYPE_CHECKING

from isac_gym.core.errors import (
    InfeasibleError,
    IsacError,
    ScenarioError,
    ShapeError,
    SolverError,
    SubmissionError,
)
from isac_gym.core.family import EnvironmentEntry, Family, add_family, families, family, family_of
from isac_gym.core.lazy import lazy_exports

if TYPE_CHECKING:
    from isac_gym.core.loops import iterate
    from isac_gym.core.policy import Policy, PolicyContext
    from isac_gym.core.problem import Metrics, Problem
    from isac_gym.core.process import ObservationBlock, Process, Transition
    from isac_gym.core.random import Streams, lane_seeds
    from isac_gym.core.records import FieldInfo, TensorRecord, record_field, tensor_field
    from isac_gym.core.scenario import Scenario, parameter
    from isac_gym.core.scene import Bars, Ellipse, Points, Scene, Voxels
    from isac_gym.core.solution import Budget, Certificate, Solution, Solver, Status, Trace

__all__ = [
    "Bars",
    "Budget",
    "Certificate",
    "Ellipse",
    "EnvironmentEntry",
    "Family",
    "FieldInfo",
    "InfeasibleError",
    "IsacError",
    "Metrics",
    "ObservationBlock",
    "Points",
    "Policy",
    "PolicyContext",
    "Problem",
    "Process",
    "Scenario",
    "ScenarioError",
    "Scene",
    "ShapeError",
    "Solution",
    "Solver",
    "SolverError",
    "Status",
    "Streams",
    "SubmissionError",
    "TensorRecord",
    "Trace",
    "Transition",
    "Voxels",
    "add_family",
    "families",
    "family",
    "family_of",
    "iterate",
    "lane_seeds",
    "parameter",
    "record_field",
    "tensor_field",
]

__getattr__ = lazy_exports(
    __name__,
    __all__,
    modules=(
        "scenario",
        "random",
        "records",
        "problem",
        "process",
        "solution",
        "loops",
        "policy",
        "scene",
    ),
)
