"""Classical solvers: the papers' algorithms, certified optima and heuristics, behind one door."""

from typing import TYPE_CHECKING

from isac_gym.core.lazy import lazy_exports

if TYPE_CHECKING:
    from baselines.front import certificate, solve
    from baselines.policy import SolverPolicy
    from baselines.registry import make_solver, solvers

__all__ = ["SolverPolicy", "certificate", "make_solver", "solve", "solvers"]

__getattr__ = lazy_exports(__name__, __all__, modules=("registry", "front", "policy"))
