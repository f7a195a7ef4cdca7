"""The public conformance suite: is this problem, process, solver or environment one of the house?

Every contract of the project as a plain function that needs no test runner. ``check_problem`` and
its siblings run all checks of their kind and raise :class:`ConformanceError` at the first failure;
the mappings ``PROBLEM_CHECKS``, ``PROCESS_CHECKS``, ``SOLVER_CHECKS`` and ``ENV_CHECKS`` hold the
same checks by name, one test each for a test runner.
"""

from isac_gym.testing.common import ConformanceError
from isac_gym.testing.env_case import EnvCase
from isac_gym.testing.environments import ENV_CHECKS, check_env
from isac_gym.testing.problems import PROBLEM_CHECKS, check_problem
from isac_gym.testing.processes import PROCESS_CHECKS, check_process
from isac_gym.testing.solvers import SOLVER_CHECKS, check_solver

__all__ = [
    "ENV_CHECKS",
    "PROBLEM_CHECKS",
    "PROCESS_CHECKS",
    "SOLVER_CHECKS",
    "ConformanceError",
    "EnvCase",
    "check_env",
    "check_problem",
    "check_process",
    "check_solver",
]
