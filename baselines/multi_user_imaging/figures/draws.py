"""Frames of multi-user imaging and estimates over them: errors are means of |x - estimate|^2."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from baselines.figures import Array, Estimate, estimate
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.physics.graphs import metropolis
from isac_gym.problems.multi_user_imaging.records import ImagingRecoveryInstance
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario

__all__ = ["Frames", "mean_db", "mean_estimate", "msd_estimate", "num_batches"]

_NUM_BATCHES = 10


@dataclass(frozen=True)
class Frames:
    """Random frames of one scenario.

    Attributes:
        problem: Recovery problem they belong to.
        instance: Instances, batch size D.
    """

    problem: ImagingRecovery
    instance: ImagingRecoveryInstance

    @classmethod
    def sample(cls, *, draws: int, seed: int | str, **changes: object) -> Self:
        """Draw frames of the ``paper`` preset with single fields changed.

        Equal seeds give equal lane seeds; seeds that are words (tuning) share no draw with numbers.
        """
        problem = ImagingRecovery(scenario=RecoveryScenario.preset("paper", **changes))
        seeds = lane_seeds(f"figures/multi_user_imaging/{seed}", draws)
        return cls(problem, problem.sample(Streams.from_seeds(seeds)))

    @cached_property
    def single(self) -> ImagingRecoveryInstance:
        """Instances in single precision, for the filters; their error is far above its rounding."""
        return self.instance.to(dtype=torch.float32)

    @cached_property
    def weight(self) -> Tensor:
        """Metropolis weights, (D, K, K) single precision."""
        return metropolis(self.instance.adjacency, dtype=torch.float32)

    @cached_property
    def blocks(self) -> Tensor:
        """Block number of every voxel, (V,)."""
        return torch.tensor(self.problem.scenario.blocks())


def num_batches(draws: int) -> int:
    """Batches behind an interval."""
    return min(_NUM_BATCHES, draws)


def mean_db(values: Array) -> float:
    """Mean in dB; -inf for 0."""
    mean = float(np.mean(values))
    return 10 * math.log10(mean) if mean > 0 else -math.inf


def msd_estimate(msd: Tensor) -> Estimate:
    """Mean over draws in dB of squared errors (D,), with batches of consecutive draws."""
    values = msd.to(torch.float64).numpy()
    return estimate(values, num_batches=num_batches(len(values)), statistic=mean_db)


def mean_estimate(values: Tensor) -> Estimate:
    """Mean over draws of (D,), in the same batches."""
    found = values.to(torch.float64).numpy()
    return estimate(found, num_batches=num_batches(len(found)))
