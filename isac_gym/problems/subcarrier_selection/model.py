"""The subcarrier selection problem: one mask for a room, scored by how well two tasks are learnt.

Source: the SPG-MIBO paper, (1), with its bilevel order replaced by the mean of both errors and its
networks by estimators that are exact given the data; see ``docs/subcarrier_selection.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord, demand
from isac_gym.physics.convex_probe import convex_probe_errors
from isac_gym.physics.csi_features import Standard
from isac_gym.physics.probes import kernel_ridge_predict, soft_neighbours_predict, task_errors
from isac_gym.problems.subcarrier_selection.records import (
    SubcarrierDecision,
    SubcarrierInstance,
    SubcarrierMetrics,
)
from isac_gym.problems.subcarrier_selection.scenario import EVALUATORS, SubcarrierScenario
from isac_gym.problems.subcarrier_selection.world import ACTIVITIES, People, World

__all__ = [
    "SubcarrierDecision",
    "SubcarrierInstance",
    "SubcarrierMetrics",
    "SubcarrierSelection",
    "count_violation",
    "select_tones",
]


@dataclass(frozen=True, kw_only=True)
class SubcarrierSelection(Problem):
    """Select between ``min_tones`` and ``max_tones`` subcarriers; minimise the mean error."""

    name: ClassVar[str] = "subcarrier_selection"
    scenario_type: ClassVar[type[SubcarrierScenario]] = SubcarrierScenario
    instance_type: ClassVar[type[TensorRecord]] = SubcarrierInstance
    decision_type: ClassVar[type[TensorRecord]] = SubcarrierDecision
    metrics_type: ClassVar[type[TensorRecord]] = SubcarrierMetrics
    objective_unit: ClassVar[str] = "1"

    scenario: SubcarrierScenario = SubcarrierScenario()

    @property
    def num_place(self) -> int:
        """Leading entries of a label that are the place; the others are the activity."""
        return 2

    @property
    def num_classes(self) -> int:
        """Entries of a label that are the activity, one per class."""
        return len(ACTIVITIES)

    @property
    def axis_sizes(self) -> dict[str, int]:
        """Training windows, held-out windows, subcarriers, features, label entries."""
        s = self.scenario
        return {
            "J": s.num_train,
            "H": s.num_held_out,
            "S": s.num_tones,
            "C": s.num_features,
            "Y": self.num_place + self.num_classes,
        }

    def sample(self, streams: Streams) -> SubcarrierInstance:
        """Draw a room and its windows."""
        s, world = self.scenario, World(self.scenario)
        room = world.room(streams)
        sizes = {"train": s.num_train, "val": s.num_held_out, "score": s.num_held_out}
        features, labels = {}, {}
        for split, count in sizes.items():
            people = world.people(streams, room, split, count)
            features[split] = world.features(streams, room, people, split)
            labels[split] = _raw_labels(people)
        return self.standardised(features, labels)

    def standardised(
        self, features: Mapping[str, Tensor], labels: Mapping[str, Tensor]
    ) -> SubcarrierInstance:
        """The instance of raw features (B, N, S, C) and labels (B, N, Y) of the three splits."""
        standard, mean = Standard(features["train"]), labels["train"].mean(1, keepdim=True)
        scale = _label_scale(labels["train"] - mean, self.num_place)
        tensors = {split: standard(raw) for split, raw in features.items()}
        tensors |= {f"{split}_label": (raw - mean) / scale for split, raw in labels.items()}
        return SubcarrierInstance(
            **tensors,
            feature_std=standard.std,
            label_mean=mean[:, 0],
            label_scale=scale[:, 0],
        )

    def known(self, instance: SubcarrierInstance) -> SubcarrierInstance:
        """What may be used to choose a mask: the validation windows take the scored ones' place."""
        return instance.replace(score=instance.val, score_label=instance.val_label)

    def project(self, instance: SubcarrierInstance, decision: SubcarrierDecision) -> TensorRecord:
        """Nearest mask with an allowed number of subcarriers, ties by index."""
        s = self.scenario
        mask = select_tones(decision.mask.to(instance.dtype), s.min_tones, s.max_tones)
        return SubcarrierDecision(mask)

    def floor(self, instance: SubcarrierInstance) -> SubcarrierDecision:
        """Evenly spaced subcarriers, as many as allowed: nothing is known of the room."""
        s = self.scenario
        count = torch.arange(s.max_tones, device=instance.device)
        tone = ((2 * count + 1) * s.num_tones) // (2 * s.max_tones)
        mask = torch.zeros(s.num_tones, dtype=torch.bool, device=instance.device)
        mask[tone] = True
        return SubcarrierDecision(mask.repeat(instance.batch_size, 1))

    def predict(
        self, instance: SubcarrierInstance, weight: Tensor, *, evaluator: str | None = None
    ) -> Tensor:
        """Predicted labels of the scored windows, (B, Q, H, Y).

        Args:
            instance: Batch size B.
            weight: Masks, or weights >= 0 of the squared distances, (B, Q, S) real.
            evaluator: One of ``EVALUATORS``; the convex probe takes kernel ridge. None: the
                scenario's.

        Raises:
            ScenarioError: Unknown evaluator.
            ShapeError: Sizes of ``weight`` that are not those of the instance.
        """
        kind, i = _evaluator(evaluator or self.scenario.evaluator), instance
        function = soft_neighbours_predict if kind == "soft_neighbours" else kernel_ridge_predict
        return function(i.train, i.train_label, i.score, weight)

    def mask_errors(
        self, instance: SubcarrierInstance, mask: Tensor, *, evaluator: str | None = None
    ) -> Tensor:
        """Errors of many masks on the scored windows: place and activity, (B, Q, 2).

        The convex probe's are training errors with its penalty, and ignore the scored windows.

        Args:
            instance: Batch size B; ``known(instance)`` gives validation errors.
            mask: Masks (bool) or weights >= 0, (B, Q, S).
            evaluator: One of ``EVALUATORS``; None: the scenario's.

        Raises:
            ScenarioError: Unknown evaluator.
            ShapeError: Sizes of ``mask`` that are not those of the instance.
        """
        i, weight = instance, mask.to(instance.dtype)
        if _evaluator(evaluator or self.scenario.evaluator) == "convex_probe":
            return convex_probe_errors(i.train, i.train_label, weight, num_location=self.num_place)
        predicted = self.predict(i, weight, evaluator=evaluator)
        return task_errors(predicted, i.score_label, num_location=self.num_place)

    def evaluate(
        self, instance: SubcarrierInstance, decision: SubcarrierDecision
    ) -> SubcarrierMetrics:
        """All metrics of a mask; place and accuracy are those of kernel ridge for the probe."""
        i, s = instance, self.scenario
        weight = decision.mask.to(i.dtype)[:, None]
        predicted = self.predict(i, weight)
        if s.evaluator == "convex_probe":
            errors = self.mask_errors(i, weight)[:, 0]
        else:
            errors = task_errors(predicted, i.score_label, num_location=self.num_place)[:, 0]
        miss = (predicted[:, 0] - i.score_label)[..., : self.num_place].square().sum(-1)
        raw = [self._classes(i, labels) for labels in (predicted[:, 0], i.score_label)]
        count = weight.sum((1, 2))
        error = errors.mean(-1)
        return SubcarrierMetrics(
            objective=1 - error,
            violation=count_violation(count, s),
            error=error,
            error_location=errors[:, 0],
            error_sensing=errors[:, 1],
            location_rmse_m=miss.mean(-1).sqrt() * i.label_scale[:, 0],
            accuracy=(raw[0] == raw[1]).to(i.dtype).mean(-1),
            num_selected=count,
        )

    def validate(self, instance: TensorRecord, decision: TensorRecord | None = None) -> None:
        """As the base, and: positive label scales, held-out labels that are not all the mean.

        Raises:
            ShapeError: Names the record, the field and what is allowed.
        """
        super().validate(instance, decision)
        if not isinstance(instance, SubcarrierInstance) or instance.batch_size == 0:
            return
        i, label = instance, "SubcarrierInstance"
        demand(i.label_scale > 0, f"{label}.label_scale", "> 0")
        for field in ("train_label", "val_label", "score_label"):
            labels = getattr(i, field)
            for task in (labels[..., : self.num_place], labels[..., self.num_place :]):
                energy = task.square().sum((1, 2))
                demand(energy > 0, f"{label}.{field}", "away from the mean in some window")

    def _classes(self, instance: SubcarrierInstance, labels: Tensor) -> Tensor:
        """Most likely activity of labels (B, H, Y), (B, H) int64."""
        raw = labels * instance.label_scale[:, None] + instance.label_mean[:, None]
        return raw[..., self.num_place :].argmax(-1)


def select_tones(scores: Tensor, least: int, most: int, *, threshold: float = 0.5) -> Tensor:
    """Euclidean projection of scores (..., S) onto the masks of ``least`` to ``most`` ones.

    As many as lie above the threshold, within the limits; the largest scores first, ties by index.

    Returns:
        (..., S) bool.
    """
    count = (scores > threshold).sum(-1, keepdim=True).clamp(least, most)
    order = scores.argsort(dim=-1, descending=True, stable=True)
    return order.argsort(dim=-1) < count


def count_violation(count: Tensor, scenario: SubcarrierScenario) -> Tensor:
    """How far numbers of tones (B,) lie below the fewest or above the most allowed, relative."""
    missing = (scenario.min_tones - count).clamp_min(0) / scenario.min_tones
    return missing + (count - scenario.max_tones).clamp_min(0) / scenario.max_tones


def _evaluator(name: str) -> str:
    if name not in EVALUATORS:
        raise ScenarioError(f"evaluator must be one of {EVALUATORS}, got {name!r}.")
    return name


def _raw_labels(people: People) -> Tensor:
    classes = torch.nn.functional.one_hot(people.activity, len(ACTIVITIES))
    return torch.cat([people.place, classes.to(people.place.dtype)], -1)


def _label_scale(centred: Tensor, num_place: int) -> Tensor:
    """Root of the total variance of each task, repeated over its entries, (B, 1, Y)."""
    place, sensing = centred[..., :num_place], centred[..., num_place:]
    parts = []
    for task in (place, sensing):
        total = task.square().sum(-1, keepdim=True).mean(1, keepdim=True).sqrt()
        tiny = torch.finfo(task.dtype).eps
        parts.append(total.clamp_min(tiny).expand(-1, -1, task.shape[-1]))
    return torch.cat(parts, -1)
