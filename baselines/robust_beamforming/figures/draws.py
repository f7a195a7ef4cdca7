"""Channels of robust beamforming with one front per scheme, and estimates over channels."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor

from baselines.figures import Estimate, estimate
from baselines.registry import make_solver
from baselines.robust_beamforming.boblrbf import Boblrbf, Claim
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.core.solution import Budget
from isac_gym.problems.robust_beamforming.front import (
    NUM_POINTS,
    FrontMetrics,
    RobustFront,
    RobustFrontDecision,
    RobustFrontScenario,
    preference_grid,
)
from isac_gym.problems.robust_beamforming.model import RobustBeamformingInstance

__all__ = ["PREFERENCES", "Channels", "Play"]

PREFERENCES = tuple(round(p, 4) for p in preference_grid(NUM_POINTS).tolist())


class Play(NamedTuple):
    """What a scheme did on all channels.

    Attributes:
        metrics: Scored front of every channel, batch size D.
        claim: What BOBLRBF believes about its D S points; None for other schemes.
        ceiling: Certified bound of the hypervolume, (D,); None without a certificate.
    """

    metrics: FrontMetrics
    claim: Claim | None = None
    ceiling: Tensor | None = None


@dataclass(frozen=True)
class Channels:
    """Random channels of one scenario; the same seed gives the same users and fading in all.

    Attributes:
        front: Problem of seven points per channel.
        instance: Instances, batch size D; each is a batch of the estimates.
    """

    front: RobustFront
    instance: RobustBeamformingInstance

    @classmethod
    def sample(cls, *, draws: int, seed: int, **changes: float) -> Self:
        """Draw ``draws`` channels of the paper's scenario with single fields changed."""
        front = RobustFront(scenario=RobustFrontScenario.preset("paper", **changes))
        seeds = lane_seeds(f"figures/robust_beamforming/{seed}", draws)
        return cls(front, front.sample(Streams.from_seeds(seeds)))

    @cached_property
    def points(self) -> RobustBeamformingInstance:
        """All channels with all preferences, batch size D S."""
        return self.front.spread(self.instance)

    def play(self, scheme: str, *, iterations: int | None = None, **fields: object) -> Play:
        """Scored fronts of a registered solver with its own iterations, or with others."""
        budget = Budget(iterations=iterations)
        with torch.no_grad():
            solver = make_solver(self.front.points.name, scheme, **fields)
            if isinstance(solver, Boblrbf):
                claim = solver.run(self.front.points, self.points, budget=budget)
                return Play(self._score(self.front.gather(claim.decision)), claim)
            solver = make_solver(self.front.name, scheme, **fields)
            found = solver.solve(self.front, self.instance, budget=budget)
            proof = found.certificate
            metrics = self._score(cast(RobustFrontDecision, found.decision))
        return Play(metrics, ceiling=None if proof is None else proof.bound)

    def _score(self, decision: RobustFrontDecision) -> FrontMetrics:
        return self.front.evaluate(self.instance, self.front.project(self.instance, decision))

    def estimate(self, values: Tensor) -> Estimate:
        """Mean of one value per channel (D,) with its interval over channels."""
        return estimate(values.to(torch.float64).numpy(), num_batches=len(values))
