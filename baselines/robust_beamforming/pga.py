"""The reference: projected Adam through the exact worst case and the exact CRLB.

No line search and no cutting planes: the worst-case rate is not smooth where beams are steered to
nulls, and steepest descent with Armijo steps jams there; averaged gradients do not.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.robust_beamforming.closed_form import beams, best_sensing
from baselines.robust_beamforming.objective import SCALARISATIONS, scalarise, typed, utilities
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, Trace
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
)

__all__ = ["Pga", "PgaNominal", "warm_start"]

_MOMENTUM, _DECAY, _EPSILON = 0.9, 0.99, 1e-12
_NOISE = 0.01  # of the amplitude, so that no column starts at zero
_ORACLE_STEPS = 10  # Newton steps of the worst case inside the loop; the scorer uses 16
_TAIL = 0.1  # last part of the iterations in which a converged lane has stopped improving


def warm_start(
    problem: RobustBeamforming, instance: RobustBeamformingInstance, *, seed: int
) -> RobustBeamformingDecision:
    """sqrt(p) RZF beams + sqrt(1 - p) optimal sensing factor + 1 % noise, projected."""
    i = instance
    root = (i.max_power_w[..., None, None] / i.channel.shape[-1]).sqrt()
    drawn = Streams.from_seed(seed, 1, device=i.device)

    def noise(name: str, like: Tensor) -> Tensor:
        draw = drawn.complex_normal(name, *like.shape[1:], dtype=like.real.dtype)
        return _NOISE * root * draw

    beam, sensing = beams(i, "rzf"), best_sensing(problem, i)
    p = i.preference[:, None, None, None]
    start = RobustBeamformingDecision(
        p.sqrt() * beam + noise("beam", beam), (1 - p).sqrt() * sensing + noise("sensing", sensing)
    )
    return problem.project(i, start)


@dataclass(frozen=True, kw_only=True)
class Pga(Solver):
    """Adam on both factors with one step size per base station, projected, best iterate kept.

    A lane has converged if its best value rose by at most ``tolerance`` over the last tenth of the
    iterations.

    Attributes:
        scalarisation: ``chebyshev`` (smooth, the scored objective), ``weighted-sum`` or
            ``epsilon``.
        iterations: Steps, >= 1; the step size follows half a cosine over them.
        rate: First step size over the root of the budget, > 0.
        smoothing: tau of the smooth Chebyshev scalarisation, > 0.
        robustness: Factor on the radius of the CSI balls the design assumes, >= 0.
        tolerance: See above, >= 0.
    """

    name: ClassVar[str] = "pga"
    summary: ClassVar[str] = "reference: projected Adam through the exact worst case"

    scalarisation: str = "chebyshev"
    iterations: int = 150
    rate: float = 0.1
    smoothing: float = 0.01
    robustness: float = 1.0
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if self.scalarisation not in SCALARISATIONS:
            raise ScenarioError(
                f"scalarisation must be one of {SCALARISATIONS}, got {self.scalarisation!r}."
            )
        if self.iterations < 1:
            raise ScenarioError(f"iterations must be >= 1, got {self.iterations}.")
        for name in ("rate", "smoothing"):
            if not 0 < getattr(self, name) < math.inf:
                raise ScenarioError(f"{name} must be > 0, got {getattr(self, name)}.")
        for name in ("robustness", "tolerance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ScenarioError(f"{name} must be >= 0, got {getattr(self, name)}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; the trace holds the best scalarised value so far."""
        setup, i = typed(problem, instance)
        count = self.iterations if budget.iterations is None else budget.iterations
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        design = i.replace(radius=self.robustness * i.radius)
        point = warm_start(setup, design, seed=seed)
        if start is not None:
            point = setup.project(i, cast(RobustBeamformingDecision, start))
        best, seen = self._climb(setup, design, point, count)
        history = torch.stack(seen, -1).cummax(-1).values  # (B, L)
        tail = max(10, math.ceil(_TAIL * count))
        has_settled = torch.zeros_like(history[:, 0], dtype=torch.bool)
        if count > tail:
            has_settled = history[:, -1] - history[:, -1 - tail] <= tolerance
        spent = torch.full_like(has_settled, count, dtype=torch.int64)
        return Solution(
            decision=best,
            status=torch.where(has_settled, int(Status.CONVERGED), int(Status.BUDGET_SPENT)),
            iterations=spent,
            trace=Trace(objective=history, length=spent),
        )

    def _climb(
        self,
        problem: RobustBeamforming,
        instance: RobustBeamformingInstance,
        point: RobustBeamformingDecision,
        count: int,
    ) -> tuple[RobustBeamformingDecision, list[Tensor]]:
        """Best iterate of ``count`` steps, and the value of every iterate, each (B,)."""
        best, top, seen = point, torch.full_like(instance.preference, -torch.inf), []
        mean = point.map(torch.zeros_like)
        square = torch.zeros_like(instance.max_power_w)
        root = instance.max_power_w.sqrt()[..., None, None]
        for step in range(count):
            value, slope = self._slope(problem, instance, point)
            best = point.where(value > top, best)
            top = torch.maximum(value, top)
            seen.append(value)
            energy = sum(_energy(t) for _, t in slope.items())
            square = _DECAY * square + (1 - _DECAY) * energy
            mean = RobustBeamformingDecision(
                _MOMENTUM * mean.beam + (1 - _MOMENTUM) * slope.beam,
                _MOMENTUM * mean.sensing + (1 - _MOMENTUM) * slope.sensing,
            )
            spread = (square / (1 - _DECAY ** (step + 1))).sqrt() + _EPSILON
            length = self.rate * (1 + math.cos(math.pi * step / count)) / 2
            length = length / (1 - _MOMENTUM ** (step + 1)) / spread[..., None, None]
            moved = RobustBeamformingDecision(
                point.beam + length * root * mean.beam,
                point.sensing + length * root * mean.sensing,
            )
            point = problem.project(instance, moved)
        return best, seen

    def _slope(
        self,
        problem: RobustBeamforming,
        instance: RobustBeamformingInstance,
        point: RobustBeamformingDecision,
    ) -> tuple[Tensor, RobustBeamformingDecision]:
        """Scalarised value (B,) and its gradient in units of the value over sqrt(P)."""
        with torch.enable_grad():
            variables = [t.detach().requires_grad_() for _, t in point.items()]
            decision = RobustBeamformingDecision(*variables)
            found = utilities(problem, instance, decision, steps=_ORACLE_STEPS)
            value = scalarise(
                self.scalarisation, instance.preference, found, smoothing=self.smoothing
            )
            slopes = torch.autograd.grad(value.sum(), variables)
        return value.detach(), RobustBeamformingDecision(*slopes)


@dataclass(frozen=True, kw_only=True)
class PgaNominal(Pga):
    """The same design for perfect CSI: what robustness is worth is the difference to ``pga``."""

    name: ClassVar[str] = "pga-nominal"
    summary: ClassVar[str] = "the reference designed as if the CSI were exact"

    robustness: float = 0.0


def _energy(slope: Tensor) -> Tensor:
    """Mean squared entry per base station, (B, I)."""
    return (slope.real.square() + slope.imag.square()).mean((-2, -1))
