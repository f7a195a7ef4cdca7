r"""SPG-MIBO: stochastic proximal gradients for localisation below and sensing above, one gate.

    min over w, phi of F(w, phi)   s.t.  h(w, theta) = G(w, theta) - G(w^L, theta^L) <= eps,
    w in {0, 1}^S, least <= sum w <= most

F: sensing loss, G: localisation loss, (w^L, theta^L): L gradient steps on G from (w, theta). The
constraint is replaced by planes a.w + b.theta + c <= 0, tangents of h where it was violated, with
multipliers; the integers by a proximal step whose strength grows from 30 % of the iterations on.

Two variants. ``spg-mibo`` sets theta to theta^L in every iteration. ``spg-mibo-literal`` moves
theta by the multipliers alone, as the update (11) says; localisation then hardly trains.
``penalty-mibo`` is the first with the gradient of a penalty in place of the proximal step.

Planes of a network's loss do not bound the feasible set, as h is not convex: none of this carries
a certificate.

Source: SPG-MIBO paper, algorithm 1 and (1)-(13), (24).
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.iteration import demand_limits
from baselines.subcarrier_selection.networks import Perceptrons, cosine
from baselines.subcarrier_selection.prox import PROX_KINDS, prox, prox_cardinality
from baselines.subcarrier_selection.relaxation import CountLimits, GateTraining, Relaxation, Run
from isac_gym.core.errors import ScenarioError

__all__ = ["Bilevel", "Planes", "SpgMibo", "SpgMiboLiteral"]

_NEW = 1e-3  # multiplier of a new plane
_IDLE = 1e-8  # multiplier up to which a slack plane is dropped
_FREE = 0.3  # share of the iterations without a proximal pull


class Planes:
    """Up to P planes a.w + b.theta + c <= 0 of each replica, with multipliers.

    Attributes:
        a: (R, P, S).
        b: (R, P, d).
        c: (R, P).
        multiplier: (R, P), >= 0; 0 for a plane that is not there.
        is_used: (R, P) bool.
    """

    def __init__(self, gate: Tensor, weights: Tensor, number: int) -> None:
        replicas = len(gate)
        self.a = gate.new_zeros(replicas, number, gate.shape[1])
        self.b = gate.new_zeros(replicas, number, weights.shape[1])
        self.c = gate.new_zeros(replicas, number)
        self.multiplier = torch.zeros_like(self.c)
        self.is_used = torch.zeros_like(self.c, dtype=torch.bool)

    def level(self, gate: Tensor, weights: Tensor) -> Tensor:
        """a.w + b.theta + c, (R, P); above 0 where a plane is violated."""
        return (self.a * gate[:, None]).sum(-1) + (self.b * weights[:, None]).sum(-1) + self.c

    def slopes(self) -> tuple[Tensor, Tensor]:
        """Gradients of sum_l multiplier_l level_l by gate (R, S) and weights (R, d)."""
        column = self.multiplier[..., None]
        return (column * self.a).sum(1), (column * self.b).sum(1)

    def ascend(self, gate: Tensor, weights: Tensor, *, rate: float, cap: float) -> None:
        """Projected step of the multipliers."""
        risen = (self.multiplier + rate * self.level(gate, weights)).clamp(0, cap)
        self.multiplier = torch.where(self.is_used, risen, 0)

    def refresh(self, excess: Tensor, a: Tensor, b: Tensor, gate: Tensor, weights: Tensor) -> None:
        """Drop idle planes, add the tangent where ``excess`` = h - eps (R,) is above 0.

        A full replica gives up the plane of its smallest multiplier.
        """
        is_idle = (self.multiplier <= _IDLE) & (self.level(gate, weights) < 0)
        self.is_used &= ~is_idle
        self.multiplier *= self.is_used
        place = torch.where(self.is_used, self.multiplier, -1).argmin(-1, keepdim=True)
        is_here = torch.arange(self.c.shape[1], device=place.device) == place
        is_here &= (excess > 0)[:, None]
        c = excess - (a * gate).sum(-1) - (b * weights).sum(-1)
        self.a = torch.where(is_here[..., None], a[:, None], self.a)
        self.b = torch.where(is_here[..., None], b[:, None], self.b)
        self.c = torch.where(is_here, c[:, None], self.c)
        self.multiplier = torch.where(is_here, _NEW, self.multiplier)
        self.is_used |= is_here


@dataclass(frozen=True, kw_only=True)
class Bilevel(GateTraining):
    """Base: both levels, planes and multipliers; how the gate is driven to integers is left open.

    Attributes:
        inner_steps: L, steps of the lower level, >= 1; the paper's number is lost.
        penalty: Strength of what drives the gate to integers at the end, >= 0.
        cut_every: Iterations between two refreshments of the planes, >= 1.
        cut_slack: eps, >= 0.
        max_cuts: Planes of a replica, >= 1.
        has_joint_slope: Add the gradient of G to the gate's step: not the paper's.
    """

    name: ClassVar[str] = ""

    inner_steps: int = 3
    penalty: float = 0.05
    cut_every: int = 20
    cut_slack: float = 1e-3
    max_cuts: int = 5
    has_joint_slope: bool = False

    keeps_lower_level: ClassVar[bool] = True  # theta is theta^L

    def __post_init__(self) -> None:
        super().__post_init__()
        demand_limits(self, "inner_steps", "cut_every", "max_cuts")
        self._demand(">= 0", "penalty", "cut_slack")

    @abstractmethod
    def _tighten(self, gate: Tensor, slope: Tensor, share: float, run: Run) -> Tensor:
        """Step of the gate along its ``slope`` (R, S) after a ``share`` of the iterations."""

    def _train(self, run: Run) -> Relaxation:
        theta, phi = (run.network(task, self.hidden) for task in (0, 1))
        gate, steps = run.gate, len(run.order)
        planes = Planes(gate, theta.weights, self.max_cuts)
        counts = CountLimits(run, rate=self.dual_rate, cap=self.dual_cap)
        history: list[Tensor] = []
        spent = torch.zeros(steps, 2, dtype=torch.int64)
        spent[:, 0], spent[:, 1] = self.inner_steps, 1
        for step in range(steps):
            x, place, state = run.batch(step)
            rate, share = self.learning_rate * cosine(step, steps), step / steps
            lower = theta if self.keeps_lower_level else theta.copy()
            lower_loss, lower_slope, ahead = self._lower(lower, x, place, gate, rate)
            loss, slope = phi.gradient(x, state, gate)
            phi.step(rate, decay=self.weight_decay)
            pull, turn = planes.slopes()
            slope = slope + pull + counts.slope()
            slope = slope + lower_slope if self.has_joint_slope else slope
            gate = self._tighten(gate, slope, share, run)
            if not self.keeps_lower_level:
                theta.slope.copy_(turn)
                theta.step(rate, decay=self.weight_decay)
            planes.ascend(gate, theta.weights, rate=self.dual_rate, cap=self.dual_cap)
            counts.ascend(gate)
            if step % self.cut_every == self.cut_every - 1:
                least = lower.loss(x, place, ahead)
                height, a = theta.gradient(x, place, gate)
                excess = height - least - self.cut_slack
                planes.refresh(excess, a, theta.slope, gate, theta.weights)
                spent[step, 0] += 1
            history.append(torch.stack([lower_loss, loss], -1))
        return Relaxation(
            gate=gate.unflatten(0, (run.rooms, -1)),
            loss=torch.stack(history, 1).unflatten(0, (run.rooms, -1)),
            gradients=spent.cumsum(0),
            networks=(theta, phi),
        )

    def _lower(
        self, lower: Perceptrons, x: Tensor, place: Tensor, gate: Tensor, rate: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """L steps on G; its loss and slope by the gate at the start, and the gate w^L."""
        ahead, firsts = gate, []
        for _ in range(self.inner_steps):
            loss, slope = lower.gradient(x, place, ahead)
            firsts.append((loss, slope))
            lower.step(rate, decay=self.weight_decay)
            ahead = (ahead - self.gate_rate * slope).clamp(0, 1)
        return *firsts[0], ahead


@dataclass(frozen=True, kw_only=True)
class SpgMibo(Bilevel):
    """The algorithm, with theta taken from the lower level.

    Attributes:
        penalty: tau of the proximal step in the last iteration, >= 0.
        penalty_kind: Distance from {0, 1}, one of ``PROX_KINDS``.
        has_exact_count: Shift the proximal step so that the count is within its limits.
    """

    name: ClassVar[str] = "spg-mibo"
    summary: ClassVar[str] = "paper's algorithm: proximal gradients, cutting planes, both tasks"

    penalty_kind: str = "l1"
    has_exact_count: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.penalty_kind not in PROX_KINDS:
            raise ScenarioError(
                f"penalty_kind must be one of {PROX_KINDS}, got {self.penalty_kind!r}."
            )

    def _tighten(self, gate: Tensor, slope: Tensor, share: float, run: Run) -> Tensor:
        moved = gate - self.gate_rate * slope
        tau = self.penalty * max(0.0, (share - _FREE) / (1 - _FREE))
        if self.has_exact_count:
            return prox_cardinality(moved, tau, self.penalty_kind, least=run.least, most=run.most)
        return prox(moved, tau, self.penalty_kind)


@dataclass(frozen=True, kw_only=True)
class SpgMiboLiteral(SpgMibo):
    """The update (11) to the letter: theta moves by the multipliers of the planes alone."""

    name: ClassVar[str] = "spg-mibo-literal"
    summary: ClassVar[str] = "as printed: the localisation network moves by multipliers alone"

    keeps_lower_level: ClassVar[bool] = False
