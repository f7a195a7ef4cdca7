"""Breathing rate with selected subcarriers: scored in closed form, without anything to train.

The normalised spectra of the selected subcarriers are added up; the peak is the rate. The sum is
additive in the selection, so that every selection of up to 20 subcarriers can be tried in seconds.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord, demand
from isac_gym.physics.breathing import breathing_rates, rate_errors
from isac_gym.physics.csi_features import spectrum_features
from isac_gym.problems.subcarrier_selection.model import count_violation, select_tones
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.problems.subcarrier_selection.respiration_records import (
    RespirationInstance,
    RespirationMetrics,
    RespirationScenario,
)
from isac_gym.problems.subcarrier_selection.world import (
    ACTIVITIES,
    BREATHING_HZ,
    People,
    Room,
    World,
)

__all__ = [
    "CHANCE_HZ",
    "RespirationInstance",
    "RespirationMetrics",
    "RespirationScenario",
    "SubcarrierRespiration",
    "csi_chunks",
]

CHANCE_HZ = (BREATHING_HZ[1] - BREATHING_HZ[0]) / 4  # error of the mean rate: 4.5 per minute
_BAND_HZ = (0.15, 0.6)
_NEAR_HZ = 1 / 60
_PER_MINUTE = 60.0


@dataclass(frozen=True, kw_only=True)
class SubcarrierRespiration(Problem):
    """Select between ``min_tones`` and ``max_tones`` subcarriers; minimise the rate's error."""

    name: ClassVar[str] = "subcarrier_respiration"
    scenario_type: ClassVar[type[RespirationScenario]] = RespirationScenario
    instance_type: ClassVar[type[TensorRecord]] = RespirationInstance
    decision_type: ClassVar[type[TensorRecord]] = SubcarrierDecision
    metrics_type: ClassVar[type[TensorRecord]] = RespirationMetrics
    objective_unit: ClassVar[str] = "1"

    scenario: RespirationScenario = RespirationScenario()

    @property
    def axis_sizes(self) -> dict[str, int]:
        """Calibration windows, held-out windows, subcarriers, frequencies."""
        s = self.scenario
        return {"J": s.num_train, "H": s.num_held_out, "S": s.num_tones, "C": s.num_bins}

    @property
    def frequency_hz(self) -> Tensor:
        """Grid of the spectra, (C,) Hz, float64."""
        return torch.linspace(*_BAND_HZ, self.scenario.num_bins, dtype=torch.float64)

    def sample(self, streams: Streams) -> RespirationInstance:
        """Draw a room and its windows."""
        s, world = self.scenario, World(self.scenario)
        room = world.room(streams)
        tensors = {}
        sizes = {"train": s.num_train, "val": s.num_held_out, "score": s.num_held_out}
        for split, count in sizes.items():
            people = self.posed(world.people(streams, room, split, count))
            chunks = csi_chunks(world, streams, room, people, split)
            tensors[split] = torch.cat([self.spectra(csi) for csi in chunks], 1)
            tensors[f"{split}_hz"] = people.breathing_hz
        return RespirationInstance(**tensors)

    def spectra(self, csi: Tensor) -> Tensor:
        """Normalised spectra (..., S, C) of reported CSI (..., T, P, K)."""
        grid, rate = self.frequency_hz.to(csi.device), self.scenario.packet_rate_hz
        return spectrum_features(csi, packet_rate_hz=rate, frequency_hz=grid)

    def posed(self, people: People) -> People:
        """The same people in the scenario's posture."""
        posture = self.scenario.posture
        if posture == "any":
            return people
        activity = torch.full_like(people.activity, ACTIVITIES.index(posture))
        return dataclasses.replace(people, activity=activity)

    def known(self, instance: RespirationInstance) -> RespirationInstance:
        """What may be used to choose a mask: the validation windows take the scored ones' place."""
        return instance.replace(score=instance.val, score_hz=instance.val_hz)

    def project(self, instance: RespirationInstance, decision: SubcarrierDecision) -> TensorRecord:
        """Nearest mask with an allowed number of subcarriers, ties by index."""
        least, most = self.scenario.min_tones, self.scenario.max_tones
        return SubcarrierDecision(select_tones(decision.mask.to(instance.dtype), least, most))

    def floor(self, instance: RespirationInstance) -> SubcarrierDecision:
        """Evenly spaced subcarriers, as many as allowed: nothing is known of the room."""
        s = self.scenario
        passed = torch.arange(s.num_tones + 1, device=instance.device) * s.max_tones // s.num_tones
        return SubcarrierDecision((passed.diff() > 0).repeat(instance.batch_size, 1))

    def mask_errors(self, instance: RespirationInstance, mask: Tensor) -> Tensor:
        """Mean absolute errors of many masks on the scored windows, (B, Q) in units of chance.

        Args:
            instance: Batch size B; ``known(instance)`` gives validation errors.
            mask: Masks (bool) or weights >= 0, (B, Q, S).
        """
        weight, grid = mask.to(instance.dtype), self._grid(instance)
        return rate_errors(instance.score, instance.score_hz, weight, grid) / CHANCE_HZ

    def evaluate(
        self, instance: RespirationInstance, decision: SubcarrierDecision
    ) -> RespirationMetrics:
        """All metrics of a mask; without any subcarrier the lowest frequency is the rate."""
        i = instance
        weight = decision.mask.to(i.dtype)
        rate = breathing_rates(i.score, weight[:, None], self._grid(i))[:, 0]
        miss = (rate - i.score_hz).abs()
        error, count = miss.mean(-1) / CHANCE_HZ, weight.sum(-1)
        return RespirationMetrics(
            objective=1 - error,
            violation=count_violation(count, self.scenario),
            error=error,
            mae_bpm=_PER_MINUTE * miss.mean(-1),
            within=(miss <= _NEAR_HZ).to(i.dtype).mean(-1),
            num_selected=count,
        )

    def validate(self, instance: TensorRecord, decision: TensorRecord | None = None) -> None:
        """As the base, and: spectra of nothing below 0, rates above 0.

        Raises:
            ShapeError: Names the record, the field and what is allowed.
        """
        super().validate(instance, decision)
        if not isinstance(instance, RespirationInstance) or instance.batch_size == 0:
            return
        for split in ("train", "val", "score"):
            demand(getattr(instance, split) >= 0, f"RespirationInstance.{split}", ">= 0")
            demand(getattr(instance, f"{split}_hz") > 0, f"RespirationInstance.{split}_hz", "> 0")

    def _grid(self, instance: RespirationInstance) -> Tensor:
        """The same on an instance's device, drawn up there: a copy would wait for the host."""
        count, device = self.scenario.num_bins, instance.device
        grid = torch.linspace(*_BAND_HZ, count, dtype=torch.float64, device=device)
        return grid.to(instance.dtype)


def csi_chunks(
    world: World, streams: Streams, room: Room, people: People, split: str
) -> Iterator[Tensor]:
    """Reported CSI of the windows, (B, n, T, P, K) complex128 chunk by chunk."""
    done, number = 0, 0
    while done < people.place.shape[1]:
        csi = world.csi(streams, room, people, split, number)
        done, number = done + csi.shape[1], number + 1
        yield csi
