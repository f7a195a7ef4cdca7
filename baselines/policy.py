"""Solvers as policies: plan every slot with what is known."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from baselines.front import repaired
from isac_gym.core.errors import ScenarioError
from isac_gym.core.policy import PolicyContext
from isac_gym.core.solution import Solver

__all__ = ["SolverPolicy"]

_KNOWLEDGE = ("measured", "truth")


@dataclass(frozen=True)
class SolverPolicy:
    """Solve the known instance in every slot and play the decision.

    Attributes:
        solver: Any solver of the process's problem.
        margin_db: Constraints are tightened by this much before planning (``Problem.tighten``).
        knowledge: ``measured`` (what the agents know, delayed) or ``truth`` (what the decision is
            scored on: a genie, for references only).
    """

    solver: Solver
    margin_db: float = field(default=0.0, kw_only=True)
    knowledge: str = field(default="measured", kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.solver, Solver):
            raise ScenarioError(f"solver must be a Solver, got {type(self.solver).__name__}.")
        if not math.isfinite(self.margin_db):
            raise ScenarioError(f"margin_db must be a finite number, got {self.margin_db}.")
        if self.knowledge not in _KNOWLEDGE:
            raise ScenarioError(f"knowledge must be one of {_KNOWLEDGE}, got {self.knowledge!r}.")

    @property
    def name(self) -> str:
        """Solver name with margin and knowledge where they are not the default."""
        margin = f" {self.margin_db:+g} dB" if self.margin_db else ""
        genie = " (genie)" if self.knowledge == "truth" else ""
        return f"{self.solver.name}{margin}{genie}"

    def act(self, observation: Tensor, context: PolicyContext) -> Tensor:
        """Actions (B, action_size) in [-1, 1] whose decoding is the solver's decision."""
        process, state = context.process, context.state
        known = process.truth(state) if self.knowledge == "truth" else process.measured(state)
        with torch.no_grad():
            planned = process.problem.tighten(known, self.margin_db)
            solution = self.solver.solve(process.problem, planned)
            is_projected = self.solver.is_projected
            solution = repaired(process.problem, planned, solution, is_projected=is_projected)
            return process.encode(state, solution.decision)
