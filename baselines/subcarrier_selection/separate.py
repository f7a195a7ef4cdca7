r"""Separate training: a gate and a network for one task alone.

Gradient steps on the task's loss and on the paper's penalty, clipped to the box; the number of
tones is kept by the same multipliers as in SPG-MIBO. SPG-MIBO takes L gradients of the localisation
loss per iteration; ``localisation-only-matched`` takes as many in all, with L times the iterations.
A task alone chooses among the masks that joint training chooses from, so at its optimum it cannot
lose to it: where it does, the training is to blame.

Source: SPG-MIBO paper, section VI-B and (24).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from baselines.iteration import demand_limits
from baselines.subcarrier_selection.networks import cosine
from baselines.subcarrier_selection.penalty import penalty_slope
from baselines.subcarrier_selection.relaxation import CountLimits, GateTraining, Relaxation, Run

__all__ = ["LocalisationOnly", "LocalisationOnlyMatched", "SensingOnly", "SingleTask"]


@dataclass(frozen=True, kw_only=True)
class SingleTask(GateTraining):
    """Base: train for one task.

    Attributes:
        penalty: Factor of the penalty at the end, >= 0; grows in proportion to the iterations.
        repeats: Mini-batches per iteration, >= 1, for equal numbers of gradients.
    """

    name: ClassVar[str] = ""
    task: ClassVar[int]  # 0: place, 1: sensing

    penalty: float = 0.3
    repeats: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        demand_limits(self, "repeats")
        self._demand(">= 0", "penalty")

    @property
    def batches_per_iteration(self) -> int:
        """See :class:`GateTraining`."""
        return self.repeats

    def _train(self, run: Run) -> Relaxation:
        network, gate, steps = run.network(self.task, self.hidden), run.gate, len(run.order)
        counts = CountLimits(run, rate=self.dual_rate, cap=self.dual_cap)
        history = torch.full((len(gate), steps, 2), torch.nan, device=gate.device)
        for step in range(steps):
            x, *labels = run.batch(step)
            loss, slope = network.gradient(x, labels[self.task], gate)
            network.step(self.learning_rate * cosine(step, steps), decay=self.weight_decay)
            pull = self.penalty * step / steps * penalty_slope(gate)
            gate = (gate - self.gate_rate * (slope + counts.slope() + pull)).clamp(0, 1)
            counts.ascend(gate)
            history[:, step, self.task] = loss
        spent = torch.zeros(steps // self.repeats, 2, dtype=torch.int64)
        spent[:, self.task] = self.repeats
        return Relaxation(
            gate=gate.unflatten(0, (run.rooms, -1)),
            loss=history[:, :: self.repeats].unflatten(0, (run.rooms, -1)),
            gradients=spent.cumsum(0),
            networks=(None, network) if self.task else (network, None),
        )


@dataclass(frozen=True, kw_only=True)
class LocalisationOnly(SingleTask):
    """Tones and network for the place alone, as many iterations as SPG-MIBO."""

    name: ClassVar[str] = "localisation-only"
    summary: ClassVar[str] = "separate training for the place, equal iterations"
    task: ClassVar[int] = 0


@dataclass(frozen=True, kw_only=True)
class LocalisationOnlyMatched(LocalisationOnly):
    """Tones and network for the place alone, as many gradients as SPG-MIBO takes for it."""

    name: ClassVar[str] = "localisation-only-matched"
    summary: ClassVar[str] = "separate training for the place, equal gradients"

    repeats: int = 3


@dataclass(frozen=True, kw_only=True)
class SensingOnly(SingleTask):
    """Tones and network for the activity alone; SPG-MIBO takes as many gradients of its loss."""

    name: ClassVar[str] = "sensing-only"
    summary: ClassVar[str] = "separate training for the activity, equal iterations and gradients"
    task: ClassVar[int] = 1
