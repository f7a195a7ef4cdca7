"""Gradient ascent on a smooth minimum: what one gets without any knowledge of the structure."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.power_control.outcome import history, limits, network_of, outcome
from isac_gym.core.errors import ScenarioError
from isac_gym.core.loops import iterate
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver
from isac_gym.core.units import linear_to_db
from isac_gym.physics.interference import balanced_level, radial_project, sinr
from isac_gym.problems.power_control.model import (
    NormalisedNetwork,
    PowerControlDecision,
)

__all__ = ["AdamSoftmin"]

_DECAY, _DECAY_SQUARE, _EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015
_PATIENCE = 60


@dataclass(frozen=True, kw_only=True)
class AdamSoftmin(Solver):
    """Adam on -1/s logsumexp(-s log gamma_s) of projected powers x = exp(z - max z).

    Keeps the best powers seen. A lane has converged when they have not improved for 60 steps.

    Attributes:
        sharpness: s above, > 0; larger is closer to the minimum.
        rate: Step size in nepers of power, > 0.
        iterations: Largest number of steps, >= 1.
        tolerance: Relative improvement of the worst SINR that counts as one.
    """

    name: ClassVar[str] = "adam-softmin"
    summary: ClassVar[str] = "Adam on a smooth minimum, projected"

    sharpness: float = 20.0
    rate: float = 0.05
    iterations: int = 300
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("sharpness", "rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ScenarioError(f"{name} must be > 0, got {getattr(self, name)}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; the trace holds the best worst-case SINR so far in dB."""
        count, tolerance = limits(budget, iterations=self.iterations, tolerance=self.tolerance)
        network = network_of(problem, instance)
        safe = balanced_level(network.comm_coupling, network.comm_noise)[1]
        first = torch.zeros_like(network.noise)
        if start is not None:
            first = cast(PowerControlDecision, start).power.clamp_min(1e-6).log()
        seen: list[Tensor] = []

        def step(*state: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            z, mean, square, best, best_x, stale, number = state
            slope, x, level = self._gradient(network, safe, z)
            stale = torch.where(level > best + tolerance, 0, stale + 1)
            best_x = torch.where((level > best)[:, None], x, best_x)
            best = torch.maximum(level, best)
            seen.append(linear_to_db(best.exp()))
            z, mean, square = self._move(z, mean, square, slope, number + 1)
            is_done = torch.where(stale >= _PATIENCE, 0.0, 1.0)
            return (z, mean, square, best, best_x, stale, number + 1), is_done

        zero, age = torch.zeros_like(first), torch.zeros_like(first[:, 0], dtype=torch.int64)
        never = torch.full_like(first[:, 0], -torch.inf)
        state = (first, zero, zero, never, zero, age, age)
        state, status, used = iterate(step, state, iterations=count, tolerance=0.5)
        trace = history(seen, used)
        return outcome(network, state[4], status=status, iterations=used, trace=trace)

    def _gradient(
        self, network: NormalisedNetwork, safe: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient (B, I) of the smooth minimum, powers (B, I) and log of the minimum (B,)."""
        comm = (network.comm_coupling, network.comm_noise)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            x = radial_project((z - z.amax(-1, keepdim=True)).exp(), *comm, safe)
            level = sinr(x, network.coupling, network.noise).log()
            soft = -(-self.sharpness * level).logsumexp(-1) / self.sharpness
            (slope,) = torch.autograd.grad(soft.sum(), z)
        return slope, x.detach(), level.amin(-1).detach()

    def _move(
        self, z: Tensor, mean: Tensor, square: Tensor, slope: Tensor, number: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One Adam step upwards: new point, first and second moment."""
        mean = _DECAY * mean + (1 - _DECAY) * slope
        square = _DECAY_SQUARE * square + (1 - _DECAY_SQUARE) * slope.square()
        age = number[:, None].to(z.dtype)
        spread = (square / (1 - _DECAY_SQUARE**age)).sqrt() + _EPSILON
        return z + self.rate * mean / (1 - _DECAY**age) / spread, mean, square
