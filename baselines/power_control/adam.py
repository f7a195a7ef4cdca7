"""Gradient ascent on a smooth minimum: what one gets without any knowledge of the structure."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.power_control.outcome import history, limits, outcome
from isac_gym.core.errors import ScenarioError
from isac_gym.core.loops import iterate
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver
from isac_gym.core.units import linear_to_db
from isac_gym.physics.interference import balanced_level, radial_project, sinr
from isac_gym.problems.power_control.model import PowerControl, PowerControlDecision

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
    rate: float = 0.1
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
        seed: int = 0,  # noqa: ARG002
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; the trace holds the best worst-case SINR so far in dB."""
        count, tolerance = limits(budget, iterations=self.iterations, tolerance=self.tolerance)
        network = cast(PowerControl, problem).network(instance)
        comm = (network.comm_coupling, network.comm_noise)
        safe = balanced_level(*comm)[1]
        log_power = torch.zeros_like(network.noise)
        if start is not None:
            log_power = cast(PowerControlDecision, start).power.clamp_min(1e-6).log()

        def powers(z: Tensor) -> Tensor:
            return radial_project((z - z.amax(-1, keepdim=True)).exp(), *comm, safe)

        def gradient(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            with torch.enable_grad():
                z = z.detach().requires_grad_()
                x = powers(z)
                level = sinr(x, network.coupling, network.noise).log()
                soft = -(-self.sharpness * level).logsumexp(-1) / self.sharpness
                (slope,) = torch.autograd.grad(soft.sum(), z)
            return slope, x.detach(), level.amin(-1).detach()

        best_seen: list[Tensor] = []

        def step(*state: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            z, first, second, best, best_x, stale, number = state
            slope, x, level = gradient(z)
            is_better = level > best
            stale = torch.where(level > best + tolerance, 0, stale + 1)
            best_x = torch.where(is_better[:, None], x, best_x)
            best = torch.where(is_better, level, best)
            best_seen.append(linear_to_db(best.exp()))
            number = number + 1
            first = _DECAY * first + (1 - _DECAY) * slope
            second = _DECAY_SQUARE * second + (1 - _DECAY_SQUARE) * slope.square()
            age = number[:, None].to(z.dtype)
            mean = first / (1 - _DECAY**age)
            spread = (second / (1 - _DECAY_SQUARE**age)).sqrt()
            z = z + self.rate * mean / (spread + _EPSILON)
            is_done = stale >= _PATIENCE
            return (z, first, second, best, best_x, stale, number), torch.where(is_done, 0.0, 1.0)

        zero = torch.zeros_like(log_power)
        never = torch.full_like(zero[:, 0], -torch.inf)
        age = torch.zeros_like(zero[:, 0], dtype=torch.int64)
        state = (log_power, zero, zero, never, zero, age, age)
        state, status, used = iterate(step, state, iterations=count, tolerance=0.5)
        trace = history(best_seen, used)
        return outcome(network, state[4], status=status, iterations=used, trace=trace)
