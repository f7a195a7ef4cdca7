r"""Relaxed weights w in [0, 1]^S of the tones, trained together with the networks behind them.

Every solver of this kind trains perceptrons on gated features w * x by mini-batches, for a fixed
number of iterations, and decides by the Euclidean projection of the last w onto the allowed masks.
Only the training windows are used, all of them; a room and a seed are one replica. Training is in
float32: a few hundred steps of Adam follow rounding more than they follow the dtype.

Source: SPG-MIBO paper, section IV.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self, cast

import torch
from torch import Tensor

from baselines.iteration import demand_limits
from baselines.subcarrier_selection.networks import Perceptrons, batches, perceptrons
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, Trace
from isac_gym.physics.probes import task_errors
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection, select_tones
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision, SubcarrierInstance

__all__ = [
    "CountLimits",
    "GateTraining",
    "Relaxation",
    "Run",
    "feasible_gap",
    "integer_gap",
    "replicas",
]

_JITTER = 0.05
_LANES_AT_ONCE = 16  # replicas on a CPU: weights, moments and planes stay in the cache


class Run(NamedTuple):
    """Training windows of R = B Z replicas (room by room, seed by seed) in float32, and limits."""

    inputs: Tensor  # (B, J, S C)
    label: Tensor  # (B, J, Y)
    order: Tensor  # (L, Z, n) rows of the mini-batches
    gate: Tensor  # (R, S) to start from
    streams: Streams  # one lane per seed
    least: int
    most: int
    num_place: int  # leading entries of a label that are the place

    @property
    def rooms(self) -> int:
        """B."""
        return len(self.inputs)

    def network(self, task: int, hidden: tuple[int, ...]) -> Perceptrons:
        """Untrained networks of task 0 (place) or 1 (sensing)."""
        outputs = self.label.shape[-1] - self.num_place if task else self.num_place
        return perceptrons(
            self.inputs.shape[-1],
            outputs,
            hidden=hidden,
            streams=self.streams,
            repeat=self.rooms,
            number=task,
        )

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features (R, n, S C), places (R, n, 2) and activities (R, n, Y - 2) of a mini-batch."""
        rows = self.order[step]
        x, y = (
            t.index_select(1, rows.flatten()).unflatten(1, rows.shape).flatten(0, 1)
            for t in (self.inputs, self.label)
        )
        return x, y[..., : self.num_place], y[..., self.num_place :]


class CountLimits:
    """Multipliers mu >= 0 of least <= sum w <= most, (R, 2).

    Attributes:
        mu: Of the lower and of the upper limit.
    """

    def __init__(self, run: Run, *, rate: float, cap: float) -> None:
        self.mu = run.gate.new_zeros(len(run.gate), 2)
        self.limits = run.gate.new_tensor([run.least, run.most])
        self.signs = run.gate.new_tensor([-1, 1])
        self.rate, self.cap = 4 * rate / run.gate.shape[1], cap

    def excess(self, gate: Tensor) -> Tensor:
        """(least - sum w, sum w - most), (R, 2)."""
        count = gate.sum(-1, keepdim=True)
        return (count - self.limits) * self.signs

    def slope(self) -> Tensor:
        """Gradient of mu . excess by every tone's weight, (R, 1)."""
        return (self.mu[:, 1] - self.mu[:, 0])[:, None]

    def ascend(self, gate: Tensor) -> None:
        """Projected step of the multipliers."""
        self.mu = (self.mu + self.rate * self.excess(gate)).clamp(0, self.cap)


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """What training left behind for B rooms and Z seeds.

    Attributes:
        gate: Relaxed weights w, (B, Z, S) float32.
        loss: Training loss of each iteration's mini-batch before its step: place, sensing; NaN for
            a task that is not trained, (B, Z, L, 2).
        gradients: Gradients of each task that a replica has taken by the end of each iteration,
            (L, 2) int64.
        networks: Trained networks of place and sensing, or None.
    """

    gate: Tensor
    loss: Tensor
    gradients: Tensor
    networks: tuple[Perceptrons | None, Perceptrons | None]

    def errors(self, held: Tensor, held_label: Tensor) -> Tensor:
        """Errors of the trained networks behind their relaxed gates, (B, Z, 2); NaN: not trained.

        Args:
            held: Features (B, H, S, C).
            held_label: Labels (B, H, Y).
        """
        rooms, seeds = self.gate.shape[:2]
        x = held.flatten(2).to(self.gate.dtype).repeat_interleave(seeds, 0)
        out = torch.full_like(held_label[:, None].repeat(1, seeds, 1, 1), torch.nan)
        first, second = (n and n.network.classes for n in self.networks)
        place = first or held_label.shape[-1] - (second or 0)
        for network, part in zip(
            self.networks, (slice(None, place), slice(place, None)), strict=True
        ):
            if network is not None:
                found = network.predict(x, self.gate.flatten(0, 1))
                out[..., part] = found.unflatten(0, (rooms, seeds)).to(out.dtype)
        return task_errors(out, held_label, num_location=place)

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Rooms of several runs of the same schedule after each other."""
        networks: list[Perceptrons | None] = []
        for task in (0, 1):
            some = [part.networks[task] for part in parts]
            kept = [network for network in some if network is not None]
            whole = None
            if kept:
                whole = Perceptrons(kept[0].network, torch.cat([n.plain for n in kept]))
            networks.append(whole)
        return cls(
            gate=torch.cat([part.gate for part in parts]),
            loss=torch.cat([part.loss for part in parts]),
            gradients=parts[0].gradients,
            networks=(networks[0], networks[1]),
        )


@dataclass(frozen=True, kw_only=True)
class GateTraining(Solver):
    """Base: train gate and networks for a fixed number of iterations, then project the gate.

    Uses the training windows only. The trace is 1 minus the mean training loss of an iteration's
    mini-batch over the tasks that are trained. A lane has converged if no weight is farther than
    ``tolerance`` from the decision.

    Attributes:
        iterations: Mini-batches, or groups of them, >= 1.
        tolerance: Largest distance of w from the decision, > 0.
        batch_size: Windows of a mini-batch, >= 1.
        hidden: Widths of both networks.
        learning_rate: First step of Adam for the networks, > 0; falls as a cosine.
        weight_decay: Decoupled, >= 0: without it the first layer undoes any gate above 0. With as
            few windows as the presets have, it decides how good the mask is: on eight rooms the
            validation error J of SPG-MIBO was .64, .60, .57, .56, .57 with 0.3, 3, 10, 15, 20 at 16
            tones (random masks .67) and .52, .52, .50, .48, .47 at 64 (random masks .53).
        gate_rate: Step of the gate, > 0.
        dual_rate: Step of the multipliers, >= 0.
        dual_cap: Largest multiplier, >= 0.
    """

    name: ClassVar[str] = ""

    iterations: int = 400
    tolerance: float = 0.05
    batch_size: int = 128
    hidden: tuple[int, ...] = (64, 32)
    learning_rate: float = 1e-3
    weight_decay: float = 15.0
    gate_rate: float = 0.3
    dual_rate: float = 0.2
    dual_cap: float = 10.0

    def __post_init__(self) -> None:
        demand_limits(self, "iterations", "batch_size")
        if not self.hidden or min(self.hidden) < 1:
            raise ScenarioError(f"hidden must be widths >= 1, got {self.hidden}.")
        self._demand("> 0", "learning_rate", "gate_rate")
        self._demand(">= 0", "weight_decay", "dual_rate", "dual_cap")

    def _demand(self, sign: str, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not (value > 0 or (sign == ">= 0" and value == 0)) or value == math.inf:
                raise ScenarioError(f"{name} must be finite and {sign}, got {value}.")

    @property
    def batches_per_iteration(self) -> int:
        """Mini-batches that an iteration draws."""
        return 1

    @abstractmethod
    def _train(self, run: Run) -> Relaxation:
        """Train all replicas of a run."""

    def relaxed(
        self,
        problem: SubcarrierSelection,
        instance: SubcarrierInstance,
        *,
        seeds: Sequence[int] = (0,),
        iterations: int | None = None,
        start: SubcarrierDecision | None = None,
    ) -> Relaxation:
        """Train on every room with every seed; a replica depends on its room and seed only.

        Args:
            problem: Problem the instances belong to.
            instance: B rooms, of which the training windows are used.
            seeds: Z seeds >= 0 of networks, gate and mini-batches.
            iterations: Instead of the solver's own.
            start: Masks that the gate starts half way to, or None: near 1/2.
        """
        lanes = instance.batch_size
        if instance.device.type == "cpu":
            lanes = max(1, _LANES_AT_ONCE // len(seeds))
        count = self.iterations if iterations is None else iterations
        count *= self.batches_per_iteration
        parts: list[Relaxation] = []
        for first in range(0, instance.batch_size, lanes):
            some = slice(first, first + lanes)
            begin = None if start is None else start.mask[some]
            run = replicas(
                problem, instance[some], seeds, steps=count, size=self.batch_size, start=begin
            )
            parts.append(self._train(run))
        return Relaxation.cat(parts)

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`."""
        setup = cast(SubcarrierSelection, problem)
        known = setup.known(cast(SubcarrierInstance, instance))
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        found = self.relaxed(
            setup,
            known,
            seeds=(seed,),
            iterations=budget.iterations,
            start=cast(SubcarrierDecision | None, start),
        )
        gate = found.gate[:, 0]
        mask = select_tones(gate, setup.scenario.min_tones, setup.scenario.max_tones)
        tasks = [task for task in (0, 1) if found.networks[task] is not None]
        history = 1 - found.loss[:, 0, :, tasks].double().mean(-1)
        is_settled = (gate - mask.to(gate.dtype)).abs().amax(-1) <= tolerance
        status = torch.where(is_settled, int(Status.CONVERGED), int(Status.BUDGET_SPENT))
        is_finite = history.isfinite().all(-1) & gate.isfinite().all(-1)
        length = torch.full_like(status, history.shape[1])
        return Solution(
            decision=SubcarrierDecision(mask),
            status=torch.where(is_finite, status, int(Status.FAILED)),
            iterations=length,
            trace=Trace(objective=history, length=length),
        )


def replicas(
    problem: SubcarrierSelection,
    instance: SubcarrierInstance,
    seeds: Sequence[int],
    *,
    steps: int,
    size: int,
    start: Tensor | None = None,
) -> Run:
    """Training windows, mini-batches and first gates, near 1/2 or half way to ``start`` (B, S)."""
    s, rooms = problem.scenario, instance.batch_size
    streams = Streams.from_seeds(seeds, device=instance.device)
    jitter = _JITTER * (2 * streams.uniform("gate", s.num_tones, dtype=torch.float32) - 1)
    middle = torch.full((rooms, s.num_tones), 0.5, device=instance.device)
    if start is not None:
        middle = (middle + start.to(middle.dtype)) / 2
    return Run(
        inputs=instance.train.flatten(2).float(),
        label=instance.train_label.float(),
        order=batches(streams, instance.train.shape[1], size=size, steps=steps),
        gate=(middle[:, None] + jitter).flatten(0, 1),
        streams=streams,
        least=s.min_tones,
        most=s.max_tones,
        num_place=problem.num_place,
    )


def integer_gap(gate: Tensor) -> Tensor:
    """Mean distance of weights (..., S) to the nearest of 0 and 1, (...), in [0, 1/2]; (25)."""
    return (gate - (gate >= 0.5).to(gate.dtype)).abs().mean(-1)


def feasible_gap(gate: Tensor, least: int, most: int) -> Tensor:
    """Mean distance of weights (..., S) to their projection onto the allowed masks, (...).

    Also charges a wrong number of tones: all ones have :func:`integer_gap` 0 but not this one.
    """
    return (gate - select_tones(gate, least, most).to(gate.dtype)).abs().mean(-1)
