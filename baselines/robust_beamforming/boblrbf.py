r"""BOBLRBF, the paper's algorithm: steepest descent for two objectives inside preference cones.

Each lane aims at its own ray u = (1 - p, p) / |.|. An iteration finds the direction (22) that
descends on both objectives and all active constraints (the cone of the ray, power budgets, cutting
planes), then steps along it by Armijo's rule (24). Every few iterations the planes are updated.

The cone is bounded by the two neighbouring rays at 90 / S degrees; the farther ones of a uniform
grid bound the same set. Neighbours outside the quadrant do not exist.

Variants, because the algorithm as printed ends outside its cones: ``literal``; ``phase1`` leaves
the objectives out of (22) while the point is outside its cone and there descends on the worst cone
constraint (Lin et al. 2019); ``warm`` also starts the search at twice the last step, counts
budgets as active a little early and scales what it tries into the budgets. Power is no condition of
(24): the other two end above their budgets, and results are rescaled before they are scored.

Source: Chen and Yang 2025, Algorithm 1. See docs/robust_beamforming.md for what it claims.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor

from baselines.min_norm import min_norm_point
from baselines.robust_beamforming.bilevel import Bilevel, Cone, Cuts, LowerLevel
from baselines.robust_beamforming.objective import typed
from isac_gym.core.errors import ScenarioError
from isac_gym.core.loops import iterate
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Trace
from isac_gym.problems.robust_beamforming.model import RobustBeamformingDecision

__all__ = ["Boblrbf", "BoblrbfLiteral", "BoblrbfPhase1", "Claim"]

_FIRST_POWER = 0.9  # of the budget, at the random start
_STEP_FLOOR = 1e-4  # steps below this are stalls,
_STALLS = 3  # ... and so many in a row end a lane
_LONGEST = 16.0  # step of the warm variant, its first too (found by measurement)
_EARLY = 1e-3  # relative distance from the budget at which the warm variant counts it as active

Variant = Literal["literal", "phase1", "warm"]


class Claim(NamedTuple):
    """What a run ends with, and what it believes.

    Attributes:
        decision: Beams and sensing factors, not rescaled to the budgets.
        errors: Channel errors the run takes for the worst, (B, I, I, K, N) complex.
        rate_bps_hz: Weighted sum rate at these errors, (B,); not the worst case.
        is_inside: True where the claimed objectives are in their cone, (B,) bool.
        power: tr R_l / P_l before rescaling, (B, I).
        num_cuts: Cutting planes at the end, (B,) int64.
        objective: Claimed objective after each iteration, (B, L).
        status: CONVERGED (critical or stalled), BUDGET_SPENT or FAILED, (B,) int64.
        iterations: Iterations used, (B,) int64.
    """

    decision: RobustBeamformingDecision
    errors: Tensor
    rate_bps_hz: Tensor
    is_inside: Tensor
    power: Tensor
    num_cuts: Tensor
    objective: Tensor
    status: Tensor
    iterations: Tensor


class _Step(NamedTuple):
    """State of the descent: point, last step length, stalls in a row, objectives at the point."""

    x: Tensor
    last: Tensor
    stalls: Tensor
    now: Tensor


class _Rule(NamedTuple):
    """Armijo's rule (24) of a step: on both objectives, in phase 1 on the worst cone constraint.

    Attributes:
        cone: The cones.
        is_outside: True in phase 1, (B, 1) bool.
        now: Objectives before the step, (B, 2).
        needed: Change of the merits per unit step, times a constant, (B, 2), < 0.
    """

    cone: Cone
    is_outside: Tensor
    now: Tensor
    needed: Tensor

    def is_met(self, trial: Tensor, eta: Tensor) -> Tensor:
        """True where objectives (B, 2) after a step of length eta (B,) suffice, (B,) bool."""
        old, new = (self.cone.value(t).amax(-1, keepdim=True) for t in (self.now, trial))
        change = torch.where(self.is_outside, new - old, trial - self.now)
        return (change <= eta[:, None] * self.needed).all(-1)


@dataclass(frozen=True, kw_only=True)
class Boblrbf(Solver):
    """The paper's Algorithm 1 with phase 1, warm steps and budgets that hold.

    Attributes:
        iterations: Largest number of iterations, >= 1; 200 (ours).
        tolerance: A lane is critical where phi >= -tolerance.
        num_preferences: S, rays of the front; sets the width of a cone.
        num_cuts: Places for cutting planes, >= 1.
        cut_every: k_pre, iterations between updates of the planes, >= 1.
        cut_tolerance: epsilon of (17).
        inner_steps: K_GD of (16), >= 1.
        inner_rate: Step of (16), > 0. With longer ones planes bind more and fronts get worse.
        inner_penalty: Of the augmented Lagrangian, > 0.
        sufficient: Constant of (24) in (0, 1).
        backtracks: Largest number of halvings, >= 1.
    """

    name: ClassVar[str] = "boblrbf"
    summary: ClassVar[str] = "the paper's Algorithm 1, repaired: phase 1, warm steps"
    variant: ClassVar[Variant] = "warm"

    iterations: int = 200
    tolerance: float = 1e-10
    num_preferences: int = 7
    num_cuts: int = 6
    cut_every: int = 5
    cut_tolerance: float = 1e-2
    inner_steps: int = 1
    inner_rate: float = 1.0
    inner_penalty: float = 10.0
    sufficient: float = 1e-4
    backtracks: int = 12

    def __post_init__(self) -> None:
        for name in ("iterations", "num_preferences", "num_cuts", "cut_every", "inner_steps"):
            if getattr(self, name) < 1:
                raise ScenarioError(f"{name} must be >= 1, got {getattr(self, name)}.")
        for name in ("inner_rate", "inner_penalty", "sufficient"):
            if not 0 < getattr(self, name) < math.inf:
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
        """See :class:`Solver`; the trace holds the objective of the claimed rates."""
        claim = self.run(problem, instance, budget=budget, seed=seed, start=start)
        return Solution(
            decision=claim.decision,
            status=claim.status,
            iterations=claim.iterations,
            trace=Trace(objective=claim.objective, length=claim.iterations),
        )

    def run(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Claim:
        """As :meth:`solve`, with the algorithm's own view of its result."""
        if budget.tolerance is not None:
            tuned = dataclasses.replace(self, tolerance=budget.tolerance)
            budget = dataclasses.replace(budget, tolerance=None)
            return tuned.run(problem, instance, budget=budget, seed=seed, start=start)
        bilevel = Bilevel(*typed(problem, instance))
        preference = bilevel.instance.preference
        cone = Cone.around(preference, self.num_preferences)
        lower = LowerLevel(self.inner_steps, self.inner_rate, self.inner_penalty)
        p = torch.stack([preference, 1 - preference], 1)
        seen: list[Tensor] = []

        def step(*state: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            cuts = Cuts(*state[4:])
            new = self._advance(bilevel, cone, cuts, _Step(*state[:4]))
            if len(seen) % self.cut_every == 0:
                gap = bilevel.gap(new.x, lower)
                cuts = cuts.update(new.x, *gap, tolerance=self.cut_tolerance)
            seen.append(-(p * new.now).amax(-1))
            return (*new, *cuts), 0 * seen[-1] + (new.stalls < _STALLS)

        x = self._start(bilevel, seed, cast(RobustBeamformingDecision | None, start))
        last = torch.full_like(x[:, 0], _LONGEST)
        begin = _Step(x, last, torch.zeros_like(last, dtype=torch.int64), torch.zeros_like(p))
        count = self.iterations if budget.iterations is None else budget.iterations
        state = (*begin, *Cuts.none(x, self.num_cuts))
        (x, _, _, now, *planes), status, used = iterate(
            step, state, iterations=count, tolerance=0.5
        )
        return Claim(
            decision=bilevel.decision(x),
            errors=bilevel.errors(x),
            rate_bps_hz=bilevel.claimed_rate(x),
            is_inside=(cone.value(now) <= 0).all(-1),
            power=bilevel.power(x)[0],
            num_cuts=planes[2].sum(-1),
            objective=_history(seen, used),
            status=status,
            iterations=used,
        )

    def _start(
        self, bilevel: Bilevel, seed: int, start: RobustBeamformingDecision | None
    ) -> Tensor:
        """The start, or the same random factors at 90 % of the budgets in every lane, (B, n)."""
        if start is not None:
            return bilevel.start(start)
        batch, cells, _, users, antennas = bilevel.instance.channel.shape
        streams = Streams.from_seed(seed, 1, device=bilevel.instance.device)
        shape = (cells, users + bilevel.num_streams, antennas)
        dtype = bilevel.instance.dtype
        factor = streams.complex_normal("boblrbf.start", *shape, dtype=dtype).expand(batch, *shape)
        power = factor.abs().square().sum((2, 3), keepdim=True)
        amplitude = (_FIRST_POWER * bilevel.instance.max_power_w[:, :, None, None] / power).sqrt()
        beam, sensing = (amplitude * factor).split([users, bilevel.num_streams], 2)
        return bilevel.start(RobustBeamformingDecision(beam=beam, sensing=sensing.mT))

    def _advance(self, bilevel: Bilevel, cone: Cone, cuts: Cuts, old: _Step) -> _Step:
        """One iteration: direction (22), then the step (23) by Armijo's rule (24)."""
        is_warm = self.variant == "warm"
        value, slope = bilevel.jacobian(old.x)
        r = cone.value(value)
        is_outside = (r > 0).any(-1, keepdim=True) & (self.variant != "literal")
        power, power_slope = bilevel.power(old.x)
        is_spent = power >= (1 - _EARLY if is_warm else 1)
        rows = torch.cat([slope, cone.rows @ slope, power_slope, cuts.slope], 1)
        active = [~is_outside.expand(-1, 2), r >= 0, is_spent, cuts.value(old.x) >= 0]
        direction = -min_norm_point(rows, torch.cat(active, 1))[1]
        phi = -direction.square().sum(-1, keepdim=True)
        needed = torch.where(is_outside, phi, (slope @ direction[:, :, None])[:, :, 0])
        rule = _Rule(cone, is_outside, value, self.sufficient * needed)
        begin = (2 * old.last).clamp_max(_LONGEST) if is_warm else torch.ones_like(old.last)
        is_idle = (old.stalls >= _STALLS) | (phi[:, 0] >= -self.tolerance)
        x, eta, now = self._search(bilevel, rule, old.x, direction, begin, is_idle)
        stalls = torch.where(eta > _STEP_FLOOR, 0, old.stalls + 1)
        return _Step(
            x=x,
            last=torch.where(eta > 0, eta, begin * 0.5**self.backtracks),
            stalls=torch.where(is_idle, _STALLS, stalls),
            now=now,
        )

    def _search(
        self,
        bilevel: Bilevel,
        rule: _Rule,
        x: Tensor,
        direction: Tensor,
        begin: Tensor,
        is_idle: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New points, largest steps begin / 2^j that meet the rule (or 0), new objectives."""
        eta, chosen, now, is_done, origin = begin, torch.zeros_like(begin), rule.now, is_idle, x
        for _ in range(self.backtracks + 1):
            point = origin + eta[:, None] * direction
            point = bilevel.project(point) if self.variant == "warm" else point
            trial = bilevel.objectives(point)
            takes = rule.is_met(trial, eta) & ~is_done
            x = torch.where(takes[:, None], point, x)
            chosen, now = torch.where(takes, eta, chosen), torch.where(takes[:, None], trial, now)
            eta, is_done = eta / 2, is_done | takes
            if bool(is_done.all()):
                break
        return x, chosen, now


@dataclass(frozen=True, kw_only=True)
class BoblrbfPhase1(Boblrbf):
    """The paper's Algorithm 1 with phase 1 only; fields as :class:`Boblrbf`."""

    name: ClassVar[str] = "boblrbf-phase1"
    summary: ClassVar[str] = "the paper's Algorithm 1 with phase 1"
    variant: ClassVar[Variant] = "phase1"


@dataclass(frozen=True, kw_only=True)
class BoblrbfLiteral(Boblrbf):
    """The paper's Algorithm 1 as printed; fields as :class:`Boblrbf`."""

    name: ClassVar[str] = "boblrbf-literal"
    summary: ClassVar[str] = "the paper's Algorithm 1 as printed"
    variant: ClassVar[Variant] = "literal"


def _history(seen: list[Tensor], used: Tensor) -> Tensor:
    """Objectives after each iteration, (B, L); a finished lane repeats its last one."""
    whole = torch.stack(seen, 1)
    index = torch.arange(whole.shape[1], device=used.device).expand_as(whole)
    return whole.gather(1, torch.minimum(index, used[:, None] - 1))
