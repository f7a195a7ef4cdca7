"""A distributed scheme that shares matched filters instead of images or samples."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch

from baselines.multi_user_imaging.sharing import (
    consensus_scalars,
    consensus_weights,
    tree_scalars,
)
from baselines.multi_user_imaging.statistics import Frame, images, sparse_estimate
from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, status_tensor
from isac_gym.problems.multi_user_imaging.recovery import (
    ImagingRecovery,
    ImagingRecoveryDecision,
    ImagingRecoveryInstance,
)

__all__ = ["ConsensusStatistics"]


@dataclass(frozen=True, kw_only=True)
class ConsensusStatistics(Solver):
    """Every user mixes matched filters with its neighbours and solves for its own image.

    Nobody sees the samples of another user. The data is noise at first; maximum-ratio products are
    then added up on a spanning tree, decided, and the matched filters mixed once more.

    Attributes:
        rounds: Rounds of Metropolis averaging of the matched filters in every pass, >= 0.
        passes: 1: the data stays noise; 2: as above; more repeat the second, >= 1.
    """

    name: ClassVar[str] = "consensus-statistics"
    summary: ClassVar[str] = "users mix matched filters, then learn their own sparse images"

    rounds: int = 5
    passes: int = 2

    def __post_init__(self) -> None:
        for name, least in (("rounds", 0), ("passes", 1)):
            if getattr(self, name) < least:
                raise ScenarioError(f"{name} must be >= {least}, got {getattr(self, name)}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; an iteration is a pass."""
        if not isinstance(problem, ImagingRecovery):
            raise ShapeError(f"{self.name} needs an ImagingRecovery, got {type(problem).__name__}.")
        i = cast(ImagingRecoveryInstance, instance)
        passes = self.passes if budget.iterations is None else min(self.passes, budget.iterations)
        frame = Frame.of(problem, i)
        mixing = consensus_weights(i.adjacency, self.rounds, dtype=i.dtype)
        image = images(frame, sparse_estimate, mixing, passes=passes)
        _, length, users = i.received.shape
        mixed = consensus_scalars(i.adjacency, size=i.image.shape[-1], rounds=self.rounds)
        summed = tree_scalars(num_users=users, size=length)
        spent = Status.CONVERGED if passes == self.passes else Status.BUDGET_SPENT
        status = status_tensor(spent, i.batch_size, device=i.device)
        return Solution(
            decision=ImagingRecoveryDecision(image, passes * mixed + (passes - 1) * summed),
            status=status,
            iterations=torch.full_like(status, passes),
        )
