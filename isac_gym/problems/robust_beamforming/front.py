"""The whole front as one decision: S points per channel, scored by their hypervolume.

The number of points is fixed, so that nobody is paid for sending more. Point k is meant for the
preference ray at angle (k + 1/2) 90 / S degrees, but only the hypervolume counts.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord, tensor_field
from isac_gym.core.scenario import parameter
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
)
from isac_gym.problems.robust_beamforming.scenario import RobustBeamformingScenario

__all__ = [
    "NUM_POINTS",
    "FrontMetrics",
    "RobustFront",
    "RobustFrontDecision",
    "RobustFrontScenario",
    "hypervolume",
    "is_dominated",
    "preference_grid",
]

NUM_POINTS = 7


@dataclass(frozen=True, kw_only=True)
class RobustFrontScenario(RobustBeamformingScenario):
    """As of one point; a front has no preference."""

    preference: float = parameter(0.5, low=0, high=1, inert=True, doc="unused", source="ours")
    preference_spread: float = parameter(
        0.5, low=0, high=1, inert=True, doc="unused", source="ours"
    )


@dataclass(frozen=True)
class RobustFrontDecision(TensorRecord):
    """One beamforming decision per point of the front."""

    beam: Tensor = tensor_field("B S I K N", "complex", unit="sqrt(W)", doc="user beams v")
    sensing: Tensor = tensor_field("B S I N R", "complex", unit="sqrt(W)", doc="sensing factor C")


@dataclass(frozen=True)
class FrontMetrics(TensorRecord):
    """What is reported about a front."""

    objective: Tensor = tensor_field("B", "real", doc="hypervolume of the points over (0, 0)")
    violation: Tensor = tensor_field("B", "real", doc="largest tr R_l / P_l - 1 of all points")
    rate_utility: Tensor = tensor_field("B S", "real", doc="f1 of each point")
    sensing_utility: Tensor = tensor_field("B S", "real", doc="f2 of each point")
    worst_rate_bps_hz: Tensor = tensor_field(
        "B S", "real", unit="bit/s/Hz", doc="exact worst-case sum rate of each point"
    )
    crlb_m2: Tensor = tensor_field("B S", "real", unit="m^2", doc="CRLB of each point")
    is_dominated: Tensor = tensor_field("B S", "bool", doc="another point is better in both")


@dataclass(frozen=True, kw_only=True)
class RobustFront(Problem):
    """Choose seven designs per channel that together dominate as much as possible."""

    name: ClassVar[str] = "robust_front"
    scenario_type: ClassVar[type[RobustFrontScenario]] = RobustFrontScenario
    instance_type: ClassVar[type[TensorRecord]] = RobustBeamformingInstance
    decision_type: ClassVar[type[TensorRecord]] = RobustFrontDecision
    metrics_type: ClassVar[type[TensorRecord]] = FrontMetrics

    scenario: RobustFrontScenario = RobustFrontScenario()

    @property
    def axis_sizes(self) -> dict[str, int]:
        """Those of the point problem, and S points."""
        return self.points.axis_sizes | {"S": NUM_POINTS}

    @property
    def points(self) -> RobustBeamforming:
        """The problem of one point."""
        return RobustBeamforming(scenario=self.scenario)

    def spread(self, instance: RobustBeamformingInstance) -> RobustBeamformingInstance:
        """Instances of all points, (B S): every channel with every preference of the grid."""
        rows = torch.arange(instance.batch_size, device=instance.device)
        many = instance[rows.repeat_interleave(NUM_POINTS)]
        grid = preference_grid(NUM_POINTS, dtype=instance.dtype, device=instance.device)
        return many.replace(preference=grid.repeat(instance.batch_size))

    def gather(self, decision: RobustBeamformingDecision) -> RobustFrontDecision:
        """Front of the decisions (B S) of :meth:`spread`."""
        parts = (t.unflatten(0, (-1, NUM_POINTS)) for t in (decision.beam, decision.sensing))
        return RobustFrontDecision(*parts)

    def scatter(self, decision: RobustFrontDecision) -> RobustBeamformingDecision:
        """Inverse of :meth:`gather`."""
        return RobustBeamformingDecision(
            decision.beam.flatten(0, 1), decision.sensing.flatten(0, 1)
        )

    def sample(self, streams: Streams) -> RobustBeamformingInstance:
        """Channels of the point problem; their preference plays no role."""
        return self.points.sample(streams)

    def project(
        self, instance: RobustBeamformingInstance, decision: RobustFrontDecision
    ) -> RobustFrontDecision:
        """Every point scaled to the budgets."""
        projected = self.points.project(self.spread(instance), self.scatter(decision))
        return self.gather(projected)

    def floor(self, instance: RobustBeamformingInstance) -> RobustFrontDecision:
        """Matched beams and beams at the targets, the power shared as each preference says."""
        many = self.spread(instance)
        half = self.points.floor(many)
        p = many.preference[:, None, None, None]
        mixed = RobustBeamformingDecision(
            (2 * p).sqrt() * half.beam, (2 * (1 - p)).sqrt() * half.sensing
        )
        return self.gather(mixed)

    def evaluate(
        self, instance: RobustBeamformingInstance, decision: RobustFrontDecision
    ) -> FrontMetrics:
        """Hypervolume and the utilities of all points; total and differentiable."""
        found = self.points.evaluate(self.spread(instance), self.scatter(decision))

        def each(t: Tensor) -> Tensor:
            return t.unflatten(0, (-1, NUM_POINTS))

        f1, f2 = each(found.rate_utility), each(found.sensing_utility)
        return FrontMetrics(
            objective=hypervolume(f1, f2),
            violation=each(found.violation).amax(-1),
            rate_utility=f1,
            sensing_utility=f2,
            worst_rate_bps_hz=each(found.worst_rate_bps_hz),
            crlb_m2=each(found.crlb_m2),
            is_dominated=is_dominated(f1, f2),
        )

    def validate(self, instance: TensorRecord, decision: TensorRecord | None = None) -> None:
        """As the point problem, and shapes and values of the front.

        Raises:
            ShapeError: Names the record, the field and what is allowed.
        """
        super().validate(instance, decision)
        self.points.validate(instance)


def preference_grid(
    num_points: int,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Preferences p_k = u_2 / (u_1 + u_2) of the rays u at (k + 1/2) 90 / S degrees, (S,)."""
    place = torch.arange(num_points, dtype=dtype, device=device) + 0.5
    angle = place / num_points * (math.pi / 2)
    return torch.sin(angle) / (torch.sin(angle) + torch.cos(angle))


def hypervolume(first: Tensor, second: Tensor) -> Tensor:
    """Area dominated by points over (0, 0), both coordinates to be large, (B,) of two (B, S).

    Negative coordinates count as 0. Differentiable where no two points tie.
    """
    order = first.argsort(-1, descending=True)
    x, y = first.clamp_min(0).gather(-1, order), second.clamp_min(0).gather(-1, order)
    width = x - torch.nn.functional.pad(x[..., 1:], (0, 1))
    return (width * y.cummax(-1).values).sum(-1)


def is_dominated(first: Tensor, second: Tensor) -> Tensor:
    """True where another point of the row is at least as good in both and better in one, (B, S)."""
    x, y = first[..., None, :] - first[..., :, None], second[..., None, :] - second[..., :, None]
    return ((x >= 0) & (y >= 0) & ((x > 0) | (y > 0))).any(-1)
