"""Designs that optimise nothing: equal power, all power to the user, the strongest beam."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from baselines.multi_user_imaging.a_optimal import typed
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.problems.multi_user_imaging.design import (
    ImagingDesign,
    ImagingDesignInstance,
    ProbingDecision,
)
from isac_gym.problems.multi_user_imaging.world import matched_beam

__all__ = ["FixedDesign", "Isotropic", "Matched", "MrtOnly", "one_column"]


def one_column(beam: torch.Tensor) -> torch.Tensor:
    """Factor (B, N, N) whose first column is the beam (B, N), the others zero."""
    probe = beam.new_zeros(*beam.shape, beam.shape[-1])
    probe[..., 0] = beam
    return probe


@dataclass(frozen=True, kw_only=True)
class FixedDesign(Solver):
    """Base: a formula, marked INFEASIBLE where no transmission has the SINR needed."""

    name: ClassVar[str] = ""

    @abstractmethod
    def decide(self, problem: ImagingDesign, instance: ImagingDesignInstance) -> ProbingDecision:
        """The formula."""

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
        setup, i = typed(problem, instance)
        most = i.max_power_w * i.comm_channel.abs().square().sum(-1)
        is_reachable = most > setup.scenario.min_sinr * setup.scenario.comm_noise_w
        status = torch.where(is_reachable, int(Status.CONVERGED), int(Status.INFEASIBLE))
        return Solution(
            decision=self.decide(setup, i), status=status, iterations=torch.ones_like(status)
        )


@dataclass(frozen=True, kw_only=True)
class Isotropic(FixedDesign):
    """Equal probing power in all directions, the SINR just met."""

    name: ClassVar[str] = "isotropic"
    summary: ClassVar[str] = "equal power in all directions"

    def decide(self, problem: ImagingDesign, instance: ImagingDesignInstance) -> ProbingDecision:
        """See the class."""
        return problem.isotropic(instance)


@dataclass(frozen=True, kw_only=True)
class MrtOnly(FixedDesign):
    """All power in the data beam: the largest SINR there is."""

    name: ClassVar[str] = "mrt-only"
    summary: ClassVar[str] = "all power to the communication user"

    def decide(self, problem: ImagingDesign, instance: ImagingDesignInstance) -> ProbingDecision:
        """See the class."""
        beam = matched_beam(instance.comm_channel, instance.max_power_w)
        return ProbingDecision(one_column(torch.zeros_like(beam)), beam)


@dataclass(frozen=True, kw_only=True)
class Matched(FixedDesign):
    """One constant probing beam: what lights the region most without reaching the user."""

    name: ClassVar[str] = "matched"
    summary: ClassVar[str] = "the beam that lights the region most, silent at the user"

    def decide(self, problem: ImagingDesign, instance: ImagingDesignInstance) -> ProbingDecision:
        """See the class."""
        i, beam = instance, problem.beam_alone(instance)
        unit = matched_beam(i.comm_channel, 1.0)[..., None]
        silent = i.bs_channel - (i.bs_channel @ unit) @ unit.mH
        top = hermitian_eigh(silent.mH @ silent)[1][..., -1]
        rest = (i.max_power_w - beam.abs().square().sum(-1)).clamp_min(0)
        return ProbingDecision(one_column(rest.sqrt()[:, None] * top), beam)
