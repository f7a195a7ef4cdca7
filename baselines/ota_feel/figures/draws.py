"""Frames of OTA-FEEL that the figures share, and estimates over them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from baselines.figures import Array, Estimate, estimate
from isac_gym.core.linalg import inverse_trace
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.physics.precoding import alternating_precoders
from isac_gym.problems.ota_feel.model import OtaFeel, OtaFeelDecision, OtaFeelInstance
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario

__all__ = ["NUM_BATCHES", "Frames", "lanes", "mean_of", "median", "median_of", "wide"]

NUM_BATCHES = 8
_RELAXATION = 1.9  # of the receiver: half the rounds of plain alternation


@dataclass(frozen=True)
class Frames:
    """Random frames of one scenario; equal seeds give equal targets and, first, equal devices.

    Attributes:
        problem: Problem they belong to.
        instance: Instances, batch size D.
    """

    problem: OtaFeel
    instance: OtaFeelInstance

    @classmethod
    def sample(cls, *, draws: int, seed: int, preset: str = "paper", **changes: object) -> Self:
        """Draw frames of a preset with single fields changed."""
        problem = OtaFeel(scenario=OtaFeelScenario.preset(preset, **changes))
        seeds = lane_seeds(f"figures/ota_feel/{seed}", draws)
        return cls(problem, problem.sample(Streams.from_seeds(seeds)))

    def framed(self, length: int) -> Self:
        """The same frames with another number of samples."""
        scenario = self.problem.scenario.replace(frame_length=length)
        return replace(self, problem=OtaFeel(scenario=scenario))

    def design(
        self,
        rounds: int,
        *,
        start: OtaFeelDecision | None = None,
        relaxation: float = _RELAXATION,
    ) -> OtaFeelDecision:
        """Precoders of the exact form of the paper's algorithm 1."""
        i, s = self.instance, self.problem.scenario
        precoder = alternating_precoders(
            i.channel,
            i.weight,
            i.max_power_w,
            s.noise_w,
            pulse=s.pulse,
            iterations=rounds,
            start=None if start is None else start.precoder,
            relaxation=relaxation,
        )
        return OtaFeelDecision(precoder.resolve_conj())

    def nmse(self, decision: OtaFeelDecision) -> Tensor:
        """Aggregation error over that of silence, (D,) double."""
        return self.mse(decision) / self.instance.weight.square().sum((1, 2))

    def mse(self, decision: OtaFeelDecision) -> Tensor:
        """Aggregation error, the paper's (7), (D,) double."""
        return self.problem.errors(self.instance, decision).sum(-1)

    def crb_db(self, decision: OtaFeelDecision, *, interference: bool) -> Tensor:
        """Position bound without the prior in dB of 1 m^2, (D,) double."""
        found = self.problem.information(self.instance, decision, interference=interference)
        return 10 * inverse_trace(found).log10()


def median(values: Array) -> float:
    """Median, as a number."""
    return float(np.median(values))


def median_of(values: Tensor) -> Estimate:
    """Median over draws of (D,), with batches of consecutive draws."""
    found = wide(values)
    return estimate(found, num_batches=min(NUM_BATCHES, len(found)), statistic=median)


def mean_of(values: Tensor) -> Estimate:
    """Mean over draws of (D,), in the same batches."""
    found = wide(values)
    return estimate(found, num_batches=min(NUM_BATCHES, len(found)))


def wide(values: Tensor) -> Array:
    """NumPy copy in double precision."""
    return values.detach().to(torch.float64).cpu().numpy()


def lanes(frames: Frames, decision: OtaFeelDecision) -> Iterator[dict[str, np.ndarray]]:
    """Arrays of one frame after another."""
    i = frames.instance
    fields = {
        "position": i.position,
        "target": i.target,
        "channel": i.channel.resolve_conj(),
        "weight": i.weight,
        "budget": i.max_power_w,
        "echo_noise_w": i.echo_noise_w,
        "precoder": decision.precoder.resolve_conj(),
    }
    for lane in range(i.batch_size):
        yield {name: value[lane].numpy() for name, value in fields.items()}
