r"""Random gates that are learnt: concrete gates and straight-through Gumbel top-k.

``concrete``: every tone is open by chance, w_j = sigmoid((a_j + logistic noise) / T) with a
temperature T that falls, and the multipliers of SPG-MIBO keep the expected number of tones within
its limits. ``gumbel-topk``: the k largest of a_j + Gumbel noise are open in the forward pass; the
backward pass takes the slope of a sigmoid around the threshold. Both descend on the sum of both
tasks' losses, and decide by the noise-free gate.

Source: Maddison et al. 2017, Louizos et al. 2018 for the first; Kool et al. 2019 for the second.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.subcarrier_selection.networks import cosine
from baselines.subcarrier_selection.relaxation import CountLimits, GateTraining, Relaxation, Run
from isac_gym.core.errors import ScenarioError

__all__ = ["ConcreteGates", "GumbelTopK", "RandomGates"]


@dataclass(frozen=True, kw_only=True)
class RandomGates(GateTraining):
    """Base: descend on the logits of a random gate.

    Attributes:
        gate_rate: Step of the logits, > 0.
        first_temperature: Temperature at the start, > 0.
        last_temperature: Temperature at the end, > 0, reached geometrically.
    """

    name: ClassVar[str] = ""

    gate_rate: float = 3.0
    first_temperature: float = 1.0
    last_temperature: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._demand("> 0", "first_temperature", "last_temperature")

    @abstractmethod
    def _open(
        self, logit: Tensor, noise: Tensor, temperature: float, run: Run
    ) -> tuple[Tensor, Tensor]:
        """Gate (R, S) and its derivative by each tone's logit; noise is uniform in (0, 1)."""

    @abstractmethod
    def _decide(self, logit: Tensor, run: Run) -> Tensor:
        """Gate without noise, (R, S) in [0, 1]."""

    def _train(self, run: Run) -> Relaxation:
        networks = tuple(run.network(task, self.hidden) for task in (0, 1))
        logit, steps = run.gate.logit(), len(run.order)
        counts = CountLimits(run, rate=self.dual_rate, cap=self.dual_cap)
        history: list[Tensor] = []
        fall = self.last_temperature / self.first_temperature
        for step in range(steps):
            x, *labels = run.batch(step)
            draw = run.streams.at_step(step).uniform("gates", logit.shape[1], dtype=logit.dtype)
            noise = draw.clamp(1e-6, 1 - 1e-6).repeat(run.rooms, 1)
            temperature = self.first_temperature * fall ** (step / steps)
            gate, turn = self._open(logit, noise, temperature, run)
            slope, losses = counts.slope(), []
            for network, label in zip(networks, labels, strict=True):
                loss, part = network.gradient(x, label, gate)
                network.step(self.learning_rate * cosine(step, steps), decay=self.weight_decay)
                slope, losses = slope + part, [*losses, loss]
            logit = logit - self.gate_rate * slope * turn
            counts.ascend(_sigmoid(logit))
            history.append(torch.stack(losses, -1))
        one = torch.ones(steps, 2, dtype=torch.int64)
        return Relaxation(
            gate=self._decide(logit, run).unflatten(0, (run.rooms, -1)),
            loss=torch.stack(history, 1).unflatten(0, (run.rooms, -1)),
            gradients=one.cumsum(0),
            networks=(networks[0], networks[1]),
        )


@dataclass(frozen=True, kw_only=True)
class ConcreteGates(RandomGates):
    """Independent relaxed Bernoulli gates."""

    name: ClassVar[str] = "concrete"
    summary: ClassVar[str] = "independent concrete gates, both tasks"

    def _open(
        self, logit: Tensor, noise: Tensor, temperature: float, run: Run
    ) -> tuple[Tensor, Tensor]:
        gate = _sigmoid((logit + noise.logit()) / temperature)
        return gate, gate * (1 - gate) / temperature

    def _decide(self, logit: Tensor, run: Run) -> Tensor:
        return _sigmoid(logit)


@dataclass(frozen=True, kw_only=True)
class GumbelTopK(RandomGates):
    """Exactly k gates are open, a random set of k without replacement.

    Attributes:
        tones: k, ``least``, ``most`` or ``middle`` of the allowed numbers.
    """

    name: ClassVar[str] = "gumbel-topk"
    summary: ClassVar[str] = "straight-through Gumbel top-k gates, both tasks"

    dual_rate: float = 0.0  # the number of tones is exact
    tones: str = "middle"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tones not in ("least", "middle", "most"):
            raise ScenarioError(
                f"tones must be one of ('least', 'middle', 'most'), got {self.tones!r}."
            )

    def _open(
        self, logit: Tensor, noise: Tensor, temperature: float, run: Run
    ) -> tuple[Tensor, Tensor]:
        score = logit - (-noise.log()).log()
        away = score - self._threshold(score, run)
        soft = _sigmoid(away / temperature)
        return (away > 0).to(logit.dtype), soft * (1 - soft) / temperature

    def _decide(self, logit: Tensor, run: Run) -> Tensor:
        return _sigmoid(logit - self._threshold(logit, run))

    def _threshold(self, score: Tensor, run: Run) -> Tensor:
        """Half way between the k-th and the next score, (R, 1)."""
        middle = (run.least + run.most) // 2
        count = {"least": run.least, "middle": middle, "most": run.most}[self.tones]
        count = min(count, score.shape[1] - 1)
        best = score.topk(count + 1).values
        return (best[:, count - 1 : count] + best[:, count:]) / 2


def _sigmoid(x: Tensor) -> Tensor:
    """Written out: PyTorch rounds its own otherwise where a tensor does not fill a register."""
    return 1 / (1 + (-x).exp())
