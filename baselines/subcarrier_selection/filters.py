r"""Filters: every subcarrier gets a score of its own from the training windows; the best are kept.

A filter knows no redundancy: two copies of the best subcarrier are first and second. Constant
features score nothing. All filters see the training windows only, all of them.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.subcarrier_selection.mutual_information import (
    class_information,
    untied,
    value_information,
)
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.physics.convex_probe import probe_basis
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection, select_tones
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision, SubcarrierInstance
from isac_gym.problems.subcarrier_selection.tone_statistics import activities, fisher_score

__all__ = [
    "Filter",
    "FisherScore",
    "MutualInformation",
    "SingleToneFit",
    "TopVariance",
    "single_tone_fits",
]


def single_tone_fits(
    x: Tensor, label: Tensor, *, degree: int, ridge: float, num_location: int = 2
) -> Tensor:
    """R^2 of each task's ridge regression on one subcarrier's powers alone, (B, S, 2).

    Args:
        x: Features, (B, J, S, C).
        label: Labels centred by their mean, (B, J, Y).
        degree: Largest power, >= 1.
        ridge: Per window, on powers of unit variance, > 0.
        num_location: Leading label entries of the first task.
    """
    basis, y = probe_basis(x, x, degree=degree).transpose(1, 2), label.to(torch.float64)[:, None]
    gram = basis.mT @ basis / x.shape[1]  # (B, S, c, c)
    cross = basis.mT @ y / x.shape[1]  # (B, S, c, Y)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    fitted = torch.linalg.solve_ex(gram + ridge * eye, cross, check_errors=False).result
    missed = (y - basis @ fitted).square().sum(2)  # (B, S, Y)
    whole = y.square().sum(2)
    tiny = torch.finfo(whole.dtype).tiny
    parts = [
        1 - missed[..., task].sum(-1) / whole[..., task].sum(-1).clamp_min(tiny)
        for task in (slice(num_location), slice(num_location, None))
    ]
    return torch.stack(parts, -1)


@dataclass(frozen=True, kw_only=True)
class Filter(Solver):
    """Base: the ``count`` subcarriers of largest score, ties by index.

    Attributes:
        count: Subcarriers to keep; 0 means as many as allowed.
    """

    name: ClassVar[str] = ""

    count: int = 0

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ScenarioError(f"count must be >= 0, got {self.count}.")

    @abstractmethod
    def scores(
        self, problem: SubcarrierSelection, instance: SubcarrierInstance, seed: int
    ) -> Tensor:
        """Scores (B, S), larger is better."""

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; nothing to iterate.

        Raises:
            ScenarioError: ``count`` is not allowed in this scenario.
        """
        setup, i = cast(SubcarrierSelection, problem), cast(SubcarrierInstance, instance)
        kept = allowed_count(setup, self.count)
        one = torch.ones(i.batch_size, dtype=torch.int64, device=i.device)
        return Solution(
            decision=SubcarrierDecision(select_tones(self.scores(setup, i, seed), kept, kept)),
            status=int(Status.CONVERGED) * one,
            iterations=one,
        )


def allowed_count(problem: SubcarrierSelection, count: int) -> int:
    """Number of subcarriers to keep, ``max_tones`` for 0.

    Raises:
        ScenarioError: The count lies outside the scenario's limits.
    """
    s = problem.scenario
    kept = count or s.max_tones
    if not s.min_tones <= kept <= s.max_tones:
        raise ScenarioError(
            f"count must be 0 or in [{s.min_tones}, {s.max_tones}] in this scenario, got {count}."
        )
    return kept


@dataclass(frozen=True, kw_only=True)
class TopVariance(Filter):
    """Largest deviation of a raw feature over the training windows, no label used.

    Standardising takes it out of the features, so it is read off the record. The first feature is
    a level in dB.

    Attributes:
        feature: Which feature, >= 0.
    """

    name: ClassVar[str] = "top-variance"
    summary: ClassVar[str] = "subcarriers whose level varies most; no labels"

    feature: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.feature < 0:
            raise ScenarioError(f"feature must be >= 0, got {self.feature}.")

    def scores(
        self, problem: SubcarrierSelection, instance: SubcarrierInstance, seed: int
    ) -> Tensor:
        """See the class."""
        known = instance.feature_std
        if self.feature >= known.shape[-1]:
            raise ScenarioError(f"feature must be < {known.shape[-1]}, got {self.feature}.")
        return known[..., self.feature].square()


@dataclass(frozen=True, kw_only=True)
class FisherScore(Filter):
    """Separation of the activities, the mean over features; the place plays no part."""

    name: ClassVar[str] = "fisher"
    summary: ClassVar[str] = "Fisher score of the activities, one subcarrier at a time"

    def scores(
        self, problem: SubcarrierSelection, instance: SubcarrierInstance, seed: int
    ) -> Tensor:
        """See the class."""
        return fisher_score(problem, instance)


@dataclass(frozen=True, kw_only=True)
class SingleToneFit(Filter):
    """R^2 of ridge regressions of both labels on one subcarrier, the mean of the two tasks.

    Attributes:
        degree: Largest power of the features, 1 .. 8.
        ridge: Per window, > 0.
    """

    name: ClassVar[str] = "single-tone-fit"
    summary: ClassVar[str] = "R^2 of both labels on one subcarrier at a time"

    degree: int = 2
    ridge: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.degree <= 8:
            raise ScenarioError(f"degree must be in [1, 8], got {self.degree}.")
        if not 0 < self.ridge < float("inf"):
            raise ScenarioError(f"ridge must be > 0, got {self.ridge}.")

    def scores(
        self, problem: SubcarrierSelection, instance: SubcarrierInstance, seed: int
    ) -> Tensor:
        """See the class."""
        i = instance
        fits = single_tone_fits(
            i.train,
            i.train_label,
            degree=self.degree,
            ridge=self.ridge,
            num_location=problem.num_place,
        )
        return fits.mean(-1)


@dataclass(frozen=True, kw_only=True)
class MutualInformation(Filter):
    """Mutual information of each feature and the labels by nearest neighbours.

    The sum over features, both coordinates and the activity.

    Attributes:
        neighbours: Of the estimator, >= 1 and below the number of training windows.
    """

    name: ClassVar[str] = "mutual-information"
    summary: ClassVar[str] = "mutual information of one subcarrier's features and both labels"

    neighbours: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1:
            raise ScenarioError(f"neighbours must be >= 1, got {self.neighbours}.")

    def scores(
        self, problem: SubcarrierSelection, instance: SubcarrierInstance, seed: int
    ) -> Tensor:
        """See the class."""
        i, k = instance, self.neighbours
        if k >= i.train.shape[1]:
            raise ScenarioError(
                f"neighbours must be < {i.train.shape[1]} training windows, got {k}."
            )
        x = untied(i.train.to(torch.float64).flatten(2), "feature", seed)
        place = untied(i.train_label[..., : problem.num_place].to(torch.float64), "place", seed)
        where = value_information(x, place, neighbours=k).sum(-1)
        what = class_information(x, activities(problem, i), neighbours=k)
        each = (where + what).unflatten(1, i.train.shape[2:])
        is_flat = i.train.amax(1) == i.train.amin(1)
        return torch.where(is_flat, 0, each).sum(-1)
