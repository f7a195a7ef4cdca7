"""Masks that look at no data: chance, an even comb, and every subcarrier there is."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision, SubcarrierInstance

__all__ = ["AllTones", "Comb", "FixedMask", "RandomMask"]


@dataclass(frozen=True, kw_only=True)
class FixedMask(Solver):
    """Base: a formula, nothing to iterate."""

    name: ClassVar[str] = ""

    @abstractmethod
    def mask(self, problem: SubcarrierSelection, instance: SubcarrierInstance, seed: int) -> Tensor:
        """The formula, (B, S) bool."""

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
        setup, i = cast(SubcarrierSelection, problem), cast(SubcarrierInstance, instance)
        one = torch.ones(i.batch_size, dtype=torch.int64, device=i.device)
        return Solution(
            decision=SubcarrierDecision(self.mask(setup, i, seed)),
            status=int(Status.CONVERGED) * one,
            iterations=one,
        )


@dataclass(frozen=True, kw_only=True)
class RandomMask(FixedMask):
    """An allowed number of subcarriers, then as many of them, uniformly; one mask per seed."""

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "one random mask per seed, the same for every room"

    def mask(self, problem: SubcarrierSelection, instance: SubcarrierInstance, seed: int) -> Tensor:
        """See the class."""
        s, streams = problem.scenario, Streams.from_seed(seed, 1, device=instance.device)
        choices = s.max_tones - s.min_tones + 1
        count = s.min_tones + streams.integers("count", 1, high=choices)  # (1, 1)
        order = streams.uniform("tones", s.num_tones).argsort(dim=1, stable=True)
        return (order.argsort(dim=1) < count).repeat(instance.batch_size, 1)


@dataclass(frozen=True, kw_only=True)
class Comb(FixedMask):
    """The largest allowed number, evenly spaced: the problem's floor."""

    name: ClassVar[str] = "comb"
    summary: ClassVar[str] = "evenly spaced subcarriers, as many as allowed"

    def mask(self, problem: SubcarrierSelection, instance: SubcarrierInstance, seed: int) -> Tensor:
        """See the class."""
        return problem.floor(instance).mask


@dataclass(frozen=True, kw_only=True)
class AllTones(FixedMask):
    """Every subcarrier: no selection at all, and more than is allowed."""

    name: ClassVar[str] = "all-tones"
    summary: ClassVar[str] = "every subcarrier, which is more than is allowed"
    is_projected: ClassVar[bool] = False

    def mask(self, problem: SubcarrierSelection, instance: SubcarrierInstance, seed: int) -> Tensor:
        """See the class."""
        shape = (instance.batch_size, problem.scenario.num_tones)
        return torch.ones(shape, dtype=torch.bool, device=instance.device)
