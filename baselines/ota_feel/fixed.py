"""Precoders by formula: singular directions, matched filters, chance, the target, silence."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.physics.precoding import common_directions, strongest_directions
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.records import OtaFeelDecision, OtaFeelInstance

__all__ = ["BeamAtTarget", "Common", "FixedPrecoder", "RandomPrecoder", "Silent", "Svd"]


@dataclass(frozen=True, kw_only=True)
class FixedPrecoder(Solver):
    """Base: a formula, always within the budgets."""

    name: ClassVar[str] = ""

    @abstractmethod
    def precoder(self, problem: OtaFeel, instance: OtaFeelInstance, seed: int) -> Tensor:
        """The formula, (B, K, M, R) sqrt(W)."""

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; nothing to iterate."""
        setup, i = cast(OtaFeel, problem), cast(OtaFeelInstance, instance)
        one = torch.ones(i.batch_size, dtype=torch.int64, device=i.device)
        return Solution(
            decision=OtaFeelDecision(self.precoder(setup, i, seed)),
            status=int(Status.CONVERGED) * one,
            iterations=one,
        )


@dataclass(frozen=True, kw_only=True)
class Svd(FixedPrecoder):
    """Full power on the strongest right singular directions of every channel."""

    name: ClassVar[str] = "svd"
    summary: ClassVar[str] = "full power on each channel's strongest directions"

    def precoder(self, problem: OtaFeel, instance: OtaFeelInstance, seed: int) -> Tensor:
        """See the class."""
        return strongest_directions(
            instance.channel, instance.max_power_w, problem.scenario.num_tasks
        )


@dataclass(frozen=True, kw_only=True)
class Common(FixedPrecoder):
    """Full power on matched filters to receive directions that all devices share."""

    name: ClassVar[str] = "common-directions"
    summary: ClassVar[str] = "full power, matched to receive directions all devices share"

    def precoder(self, problem: OtaFeel, instance: OtaFeelInstance, seed: int) -> Tensor:
        """See the class."""
        return common_directions(instance.channel, instance.max_power_w, problem.scenario.num_tasks)


@dataclass(frozen=True, kw_only=True)
class RandomPrecoder(FixedPrecoder):
    """Full power on Gaussian precoders, the same draw for every instance of a seed."""

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "full power on random precoders"

    def precoder(self, problem: OtaFeel, instance: OtaFeelInstance, seed: int) -> Tensor:
        """See the class."""
        i, s = instance, problem.scenario
        draw = Streams.from_seed(seed, 1, device=i.device).complex_normal(
            "precoder", s.num_devices, s.device_antennas, s.num_tasks, dtype=i.dtype
        )
        power = draw.abs().square().sum((-2, -1))
        return (i.max_power_w / power).sqrt()[..., None, None] * draw


@dataclass(frozen=True, kw_only=True)
class BeamAtTarget(FixedPrecoder):
    """Full power in the direction of the target, the streams added up: the most light on it."""

    name: ClassVar[str] = "beam-at-target"
    summary: ClassVar[str] = "full power at the target, nothing for the server"

    def precoder(self, problem: OtaFeel, instance: OtaFeelInstance, seed: int) -> Tensor:
        """See the class."""
        i, tasks = instance, problem.scenario.num_tasks
        a, _ = problem.responses(i)
        towards = a.conj() / a.abs().square().sum(-1, keepdim=True).sqrt()
        beam = towards.to(i.channel.dtype)[..., None].expand(*a.shape, tasks)
        return (i.max_power_w / tasks).sqrt()[..., None, None] * beam


@dataclass(frozen=True, kw_only=True)
class Silent(FixedPrecoder):
    """No power: an aggregation error of 1, and of the target the prior alone."""

    name: ClassVar[str] = "silent"
    summary: ClassVar[str] = "no power at all: what doing nothing is worth"

    def precoder(self, problem: OtaFeel, instance: OtaFeelInstance, seed: int) -> Tensor:
        """See the class."""
        i = instance
        shape = (*i.channel.shape[:2], i.channel.shape[3], problem.scenario.num_tasks)
        return torch.zeros(shape, dtype=i.channel.dtype, device=i.device)
