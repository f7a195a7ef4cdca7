"""Selections for breathing: by the shape of the spectra, by single subcarriers, greedy, exchanges.

All look at the calibration and validation windows alone. Sums of spectra are additive, so what a
subcarrier would change is one addition.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from baselines.iteration import demand_limits, iterate_shrinking
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, Trace
from isac_gym.physics.breathing import peak_frequency, peakiness, rate_errors
from isac_gym.problems.subcarrier_selection.model import select_tones
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.problems.subcarrier_selection.respiration import (
    CHANCE_HZ,
    RespirationInstance,
    SubcarrierRespiration,
)

__all__ = ["Greedy", "Peakiness", "SingleTone", "Swap", "Windows", "climb", "grow", "labelled"]


class Windows(NamedTuple):
    """Windows with known rates.

    Attributes:
        spectrum: Tones first, (B, S, N, C).
        rate_hz: (B, N) Hz.
        lane: Which lanes these are, (B,) int64.
    """

    spectrum: Tensor
    rate_hz: Tensor
    lane: Tensor


def labelled(problem: Problem, instance: TensorRecord) -> tuple[SubcarrierRespiration, Windows]:
    """The problem, and its calibration and validation windows together."""
    setup, i = cast(SubcarrierRespiration, problem), cast(RespirationInstance, instance)
    spectrum = torch.cat([i.train, i.val], 1).transpose(1, 2).contiguous()
    lane = torch.arange(i.batch_size, device=i.device)
    return setup, Windows(spectrum, torch.cat([i.train_hz, i.val_hz], 1), lane)


def windows_error(power: Tensor, rate_hz: Tensor, grid: Tensor) -> Tensor:
    """Mean absolute error, (..., N, C) to (...), in units of chance."""
    return (peak_frequency(power, grid) - rate_hz).abs().mean(-1) / CHANCE_HZ


def grow(windows: Windows, grid: Tensor, least: int, most: int) -> tuple[Tensor, Tensor]:
    """Masks (B, S) that add the best subcarrier one after another, and their errors (B,).

    Of the sizes from ``least`` to ``most`` the best one counts; ties go to fewer and by index.
    """
    spectrum, rate_hz, _ = windows
    power = torch.zeros_like(spectrum[:, 0])
    mask = torch.zeros(spectrum.shape[:2], dtype=torch.bool, device=spectrum.device)
    kept, best = mask, torch.full_like(power[:, 0, 0], torch.inf)
    for size in range(1, most + 1):
        error = windows_error(power[:, None] + spectrum, rate_hz[:, None], grid)
        error, tone = error.masked_fill(mask, torch.inf).min(1)
        mask = mask.scatter(1, tone[:, None], True)
        power = power + spectrum.take_along_dim(tone[:, None, None, None], 1)[:, 0]
        is_better = (error < best) & (size >= least)
        kept, best = (
            torch.where(is_better[:, None], mask, kept),
            torch.where(is_better, error, best),
        )
    return kept, best


def best_move(
    windows: Windows, mask: Tensor, grid: Tensor, least: int, most: int
) -> tuple[Tensor, Tensor]:
    """Best mask (B, S) one exchange, addition or removal away, and its error (B,).

    A tone of nothing stands last: exchanging with it adds or removes.
    """
    spectrum, rate_hz, _ = windows
    nothing = torch.zeros_like(spectrum[:, :1])
    spectrum = torch.cat([spectrum, nothing], 1)
    count, size = mask.sum(1, keepdim=True), mask.shape[1]
    leaves = torch.cat([mask, count < most], 1)  # (B, S + 1): the tone of nothing, to add
    enters = torch.cat([~mask, count > least], 1)
    power = (mask.to(spectrum.dtype)[:, None] @ spectrum[:, :-1].flatten(2)).view_as(nothing)
    errors = []
    for tone in range(size + 1):  # that leaves
        error = windows_error(power - spectrum[:, tone, None] + spectrum, rate_hz[:, None], grid)
        is_allowed = enters & leaves[:, tone, None]
        errors.append(error.masked_fill(~is_allowed, torch.inf))
    error, move = torch.cat(errors, 1).min(1)
    extended = torch.cat([mask, torch.zeros_like(mask[:, :1])], 1)
    extended = extended.scatter(1, (move // (size + 1))[:, None], False)
    return extended.scatter(1, (move % (size + 1))[:, None], True)[:, :size], error


def climb(
    windows: Windows, mask: Tensor, grid: Tensor, limits: tuple[int, int], *, iterations: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Best moves until none helps: masks (B, S), status and steps (B,), errors by step (B, L)."""
    weight = mask.to(windows.spectrum.dtype)[:, None]
    error = rate_errors(windows.spectrum.transpose(1, 2), windows.rate_hz, weight, grid)[:, 0]
    error = error / CHANCE_HZ
    history, done = error[:, None].repeat(1, iterations), 0

    def step(data: Windows, mask: Tensor, error: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        nonlocal done
        other, reached = best_move(data, mask, grid, *limits)
        gain = error - reached
        is_better = gain > _LEAST_GAIN
        mask = torch.where(is_better[:, None], other, mask)
        error = torch.where(is_better, reached, error)
        history[data.lane, done:] = error[:, None]
        done += 1
        return (mask, error), torch.where(is_better, gain, 0)

    (mask, _), status, count = iterate_shrinking(
        step, windows, (mask, error), iterations=iterations, tolerance=0.0
    )
    return mask, status, count, history


_LEAST_GAIN = 1e-9  # gains below are rounding


@dataclass(frozen=True, kw_only=True)
class _Formula(Solver):
    """Base: the most subcarriers allowed, by one score each."""

    name: ClassVar[str] = ""

    @abstractmethod
    def scores(self, problem: SubcarrierRespiration, windows: Windows) -> Tensor:
        """The larger the better, (B, S)."""

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; nothing to iterate."""
        setup, windows = labelled(problem, instance)
        most = setup.scenario.max_tones
        return _solution(select_tones(self.scores(setup, windows), most, most))


@dataclass(frozen=True, kw_only=True)
class Peakiness(_Formula):
    """The subcarriers whose spectra have the highest peaks on average; no label is used."""

    name: ClassVar[str] = "peakiness"
    summary: ClassVar[str] = "the subcarriers with the sharpest spectra, without labels"

    def scores(self, problem: SubcarrierRespiration, windows: Windows) -> Tensor:
        """See the class."""
        return peakiness(windows.spectrum).mean(-1)


@dataclass(frozen=True, kw_only=True)
class SingleTone(_Formula):
    """The subcarriers that alone have the least error on the labelled windows."""

    name: ClassVar[str] = "single-tone"
    summary: ClassVar[str] = "the subcarriers that alone have the least error"

    def scores(self, problem: SubcarrierRespiration, windows: Windows) -> Tensor:
        """See the class."""
        grid = problem.frequency_hz.to(windows.spectrum)
        return -windows_error(windows.spectrum, windows.rate_hz[:, None], grid)


@dataclass(frozen=True, kw_only=True)
class Greedy(Solver):
    """Forward selection on the labelled windows; the best size on the way counts."""

    name: ClassVar[str] = "greedy"
    summary: ClassVar[str] = "the best subcarrier one after another, on labelled windows"

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; one pass counts as one iteration."""
        setup, windows = labelled(problem, instance)
        s, grid = setup.scenario, setup.frequency_hz.to(windows.spectrum)
        return _solution(grow(windows, grid, s.min_tones, s.max_tones)[0])


@dataclass(frozen=True, kw_only=True)
class Swap(Solver):
    """Local search from the greedy selection, or from ``start``: exchange, add, remove.

    Attributes:
        iterations: Largest number of moves, >= 1.
    """

    name: ClassVar[str] = "swap"
    summary: ClassVar[str] = "greedy, then the best exchange until none helps"

    iterations: int = 50

    def __post_init__(self) -> None:
        demand_limits(self, "iterations")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`. The trace is on the labelled windows."""
        setup, windows = labelled(problem, instance)
        s, grid = setup.scenario, setup.frequency_hz.to(windows.spectrum)
        limits = s.min_tones, s.max_tones
        if start is None:
            mask = grow(windows, grid, *limits)[0]
        else:
            begin = problem.project(instance, start)
            mask = cast(SubcarrierDecision, begin).mask
        mask, status, count, history = climb(
            windows, mask, grid, limits, iterations=budget.iterations or self.iterations
        )
        return Solution(
            decision=SubcarrierDecision(mask),
            status=status,
            iterations=count,
            trace=Trace(objective=1 - history, length=count),
        )


def _solution(mask: Tensor) -> Solution:
    one = torch.ones(len(mask), dtype=torch.int64, device=mask.device)
    status = int(Status.CONVERGED) * one
    return Solution(decision=SubcarrierDecision(mask), status=status, iterations=one)
