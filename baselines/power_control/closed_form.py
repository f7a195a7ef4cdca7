"""Schemes without iterations: full power, largest margin, least communication power."""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch

from baselines.power_control.outcome import network_of, outcome
from isac_gym.core.errors import ScenarioError
from isac_gym.core.linalg import solve_or_nan
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, status_tensor
from isac_gym.core.units import db_to_linear
from isac_gym.physics.interference import balanced_level
from isac_gym.problems.power_control.model import (
    PowerControlDecision,
    PowerControlInstance,
)

__all__ = ["FullPower", "FullPowerProjected", "MaxCommMargin", "MinCommPower"]


@dataclass(frozen=True, kw_only=True)
class FullPower(Solver):
    """The paper's "initial condition": every base station at its cap, thresholds or not.

    Attributes:
        level_db: Common power over the cap in dB, <= 0; SINRs hardly depend on it (scale
            invariance up to noise), so this is also the scheme "equal scaling".
    """

    name: ClassVar[str] = "full-power"
    summary: ClassVar[str] = "all at the cap, as in the paper; may violate thresholds"
    is_projected: ClassVar[bool] = False

    level_db: float = 0.0

    def __post_init__(self) -> None:
        if not -math.inf < self.level_db <= 0:
            raise ScenarioError(f"level_db must be a finite number <= 0, got {self.level_db}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; never INFEASIBLE, because it ignores the thresholds."""
        ones = torch.ones_like(cast(PowerControlInstance, instance).bs_noise_w)
        converged = status_tensor(Status.CONVERGED, ones.shape[0], device=ones.device)
        return Solution(
            decision=PowerControlDecision(ones * db_to_linear(self.level_db)),
            status=converged,
            iterations=torch.zeros_like(converged),
        )


@dataclass(frozen=True, kw_only=True)
class FullPowerProjected(Solver):
    """Full power moved towards the max-margin point until the thresholds hold."""

    name: ClassVar[str] = "full-power-projected"
    summary: ClassVar[str] = "all at the cap, then projected to feasibility"

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`."""
        network = network_of(problem, instance)
        return outcome(network, torch.ones_like(network.noise))


@dataclass(frozen=True, kw_only=True)
class MaxCommMargin(Solver):
    """Maximise the smallest gamma_c / Gamma: the Perron vector of the thresholds.

    Without thresholds every base station is at its cap.
    """

    name: ClassVar[str] = "max-comm-margin"
    summary: ClassVar[str] = "largest common communication margin, sensing ignored"

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`."""
        network = network_of(problem, instance)
        power = balanced_level(network.comm_coupling, network.comm_noise)[1]
        return outcome(network, power)


@dataclass(frozen=True, kw_only=True)
class MinCommPower(Solver):
    """Component-wise least powers that meet the thresholds, x = (I - Q')^-1 m'.

    Base stations without a threshold are silent.
    """

    name: ClassVar[str] = "min-comm-power"
    summary: ClassVar[str] = "least powers that meet the thresholds, sensing ignored"

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`."""
        network = network_of(problem, instance)
        eye = torch.eye(network.noise.shape[-1], dtype=network.noise.dtype)
        matrix = eye.to(network.noise.device) - network.comm_coupling
        power = solve_or_nan(matrix, network.comm_noise[:, :, None])[:, :, 0]
        return outcome(network, power.clamp(0, 1))
