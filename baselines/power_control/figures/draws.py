"""Draws of the power-control problem, in batches that give every estimate its interval."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor

from baselines.figures import Array, Estimate, estimate
from baselines.registry import make_solver
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.core.units import db_to_linear
from isac_gym.problems.power_control.model import (
    PowerControl,
    PowerControlDecision,
    PowerControlInstance,
    PowerControlMetrics,
)
from isac_gym.problems.power_control.scenario import PowerControlScenario

__all__ = ["Draws", "Play"]

_NUM_BATCHES = 10


class Play(NamedTuple):
    """What a scheme did on a set of draws.

    Attributes:
        power: Powers over their caps, (D, I).
        metrics: Their metrics.
        iterations: Outer iterations, (D,).
    """

    power: Tensor
    metrics: PowerControlMetrics
    iterations: Tensor


@dataclass(frozen=True)
class Draws:
    """Instances in ten batches with unrelated seeds.

    Attributes:
        problem: Problem the instances belong to.
        instance: Instances, batch after batch, D in all.
    """

    problem: PowerControl
    instance: PowerControlInstance

    @classmethod
    def sample(
        cls, *, draws: int, seed: int, min_margin_db: float = -math.inf, **changes: object
    ) -> Self:
        """Draw ``draws`` instances of the ``paper`` preset with single fields changed."""
        scenario = PowerControlScenario.preset(
            "paper", **{"min_margin_db": min_margin_db, **changes}
        )
        problem = PowerControl(scenario=scenario)
        edges = np.linspace(0, draws, _NUM_BATCHES + 1).astype(int)
        seeds = [
            lane_seed
            for batch, size in enumerate(np.diff(edges).tolist())
            for lane_seed in lane_seeds(f"figures/power_control/{seed}", size, salt=str(batch))
        ]
        return cls(problem, problem.sample(Streams.from_seeds(seeds)))

    def at(
        self, *, self_interference_db: float | None = None, threshold_db: float | None = None
    ) -> "Draws":
        """The same draws at another self-interference or threshold."""
        changes: dict[str, Tensor] = {}
        if self_interference_db is not None:
            level = db_to_linear(float(self_interference_db))
            changes["self_interference"] = torch.full_like(self.instance.self_interference, level)
        if threshold_db is not None:
            level = db_to_linear(float(threshold_db))
            changes["threshold"] = torch.full_like(self.instance.threshold, level)
        return Draws(self.problem, self.instance.replace(**changes))

    @cached_property
    def feasible(self) -> Tensor:
        """True where the thresholds can be met, (D,) bool."""
        return self.problem.comm_margin(self.instance) >= 1

    def play(self, scheme: str, **fields: object) -> Play:
        """Powers and metrics of a registered solver, as it returns them (no repair)."""
        solver = make_solver(self.problem.name, scheme, **fields)
        with torch.no_grad():
            solution = solver.solve(self.problem, self.instance)
        decision = cast(PowerControlDecision, solution.decision)
        metrics = self.problem.evaluate(self.instance, decision)
        return Play(decision.power, metrics, solution.iterations)

    def estimate(
        self,
        values: Tensor,
        statistic: Callable[[Array], float] = np.mean,
        *,
        keep: Tensor | None = None,
    ) -> Estimate:
        """Estimate over the feasible draws, or over those under ``keep``."""
        keep = self.feasible if keep is None else keep
        return estimate(
            values.to(torch.float64).numpy(),
            num_batches=_NUM_BATCHES,
            keep=keep.numpy(),
            statistic=statistic,
        )
