"""Random powers: the least one can do and still be feasible."""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.power_control.outcome import outcome
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams, splitmix64
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver
from isac_gym.core.units import db_to_linear
from isac_gym.problems.power_control.model import (
    PowerControl,
    PowerControlDecision,
    PowerControlInstance,
)

__all__ = ["RandomPower"]


@dataclass(frozen=True, kw_only=True)
class RandomPower(Solver):
    """Uniform in dB between ``low_db`` and 0, then projected to feasibility.

    The draw is a function of (instance, seed), not of the lane: an instance gets the same powers
    alone and in a batch, and a process gets new ones in every slot.

    Attributes:
        low_db: Smallest power over the cap in dB, < 0.
    """

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "uniform in -30..0 dB, projected to feasibility"

    low_db: float = -30.0

    def __post_init__(self) -> None:
        if not -math.inf < self.low_db < 0:
            raise ScenarioError(f"low_db must be a finite number < 0, got {self.low_db}.")

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
        problem, instance = cast(PowerControl, problem), cast(PowerControlInstance, instance)
        lane = _fingerprint(instance.comm_gain)
        streams = Streams(lane, torch.zeros_like(lane), torch.zeros_like(lane) + seed)
        draw = streams.uniform("random_power", instance.comm_gain.shape[-1])
        decision = PowerControlDecision(db_to_linear(self.low_db * draw).to(instance.dtype))
        return outcome(problem.network(instance), problem.project(instance, decision).power)


def _fingerprint(gain: Tensor) -> Tensor:
    """Hash (B,) int64 of the bits of each row of a real tensor (B, ...)."""
    words = gain.to(torch.float64).flatten(1).contiguous().view(torch.int64)
    key = torch.zeros_like(words[:, 0])
    for column in words.unbind(1):
        key = splitmix64(key ^ column)
    return key
