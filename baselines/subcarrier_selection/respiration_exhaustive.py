"""Every selection of up to 20 subcarriers for breathing, within seconds.

The spectra of a selection are the sum of those of its lower and of its upper half, so two tables of
2^(S/2) sums replace all products. Errors are not negative: a selection whose error on the few
hardest windows exceeds the best known is out, and only the others see all windows. Nothing is
approximated.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from baselines.subcarrier_selection.respiration import Windows, climb, grow, labelled
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Solver, Status
from isac_gym.physics.breathing import breathing_rates, peak_frequency
from isac_gym.problems.subcarrier_selection.model import select_tones
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.problems.subcarrier_selection.respiration import RespirationInstance

__all__ = ["MOST_TONES", "Exhaustive", "ExhaustiveLabelled", "best_selection"]

MOST_TONES = 20
_HARDEST = 8  # windows that sort out
_CHUNK = 4096  # selections at once
_ROUNDING = 1e-9  # relative: sums in another order may differ by less
_SAMPLE = 64  # random selections that tell which windows are hard
_TRIES = 30  # moves of the local search for a first selection


class Half(NamedTuple):
    """All selections of one half of the subcarriers, fewest first.

    Attributes:
        mask: (2^n, n) bool.
        count: Subcarriers of each, (2^n,).
        power: Their sums of spectra, (B, 2^n, N, C).
    """

    mask: Tensor
    count: Tensor
    power: Tensor


def best_selection(windows: Windows, grid: Tensor, least: int, most: int) -> tuple[Tensor, Tensor]:
    """The selection (B, S) of least error among all of ``least`` to ``most``, and its error in Hz.

    Args:
        windows: Windows with known rates.
        grid: Frequencies of the spectra, (C,) Hz.
        least: Fewest subcarriers.
        most: Most subcarriers.
    """
    first, _ = grow(windows, grid, least, most)
    first, *_ = climb(windows, first, grid, (least, most), iterations=_TRIES)
    windows = _hardest_first(windows, grid, (least, most))
    known = _errors(windows, first, grid).sum(-1)  # (B,)
    limit = known * (1 + _ROUNDING)
    split = first.shape[1] // 2
    halves = _half(windows.spectrum[:, :split]), _half(windows.spectrum[:, split:])
    pairs = _survivors(halves, windows, grid, limit, (least, most))
    best, low, high = _least(*_sift(halves, windows, grid, limit, pairs), len(limit))
    mask = torch.cat([halves[0].mask[low], halves[1].mask[high]], 1)
    is_new = best < known
    mask = torch.where(is_new[:, None], mask, first)
    return mask, torch.where(is_new, best, known) / windows.rate_hz.shape[1]


def _half(spectrum: Tensor) -> Half:
    """Sums of all subsets of (B, n, N, C), by doubling."""
    size = spectrum.shape[1]
    power = torch.zeros_like(spectrum[:, :1])
    for tone in range(size):
        power = torch.cat([power, power + spectrum[:, tone, None]], 1)
    code = torch.arange(1 << size, device=spectrum.device)
    mask = (code[:, None] >> torch.arange(size, device=spectrum.device)) & 1 > 0
    order = mask.sum(1).argsort(stable=True)
    return Half(mask[order], mask[order].sum(1), power[:, order])


def _errors(windows: Windows, mask: Tensor, grid: Tensor) -> Tensor:
    """Absolute errors of a mask (B, S) on every window, (B, N) Hz."""
    power = torch.einsum("bs,bsnc->bnc", mask.to(windows.spectrum.dtype), windows.spectrum)
    return (peak_frequency(power, grid) - windows.rate_hz).abs()


def _hardest_first(
    windows: Windows, grid: Tensor, sizes: tuple[int, int], seed: int = 0
) -> Windows:
    """The same windows in order of the errors that a few random selections make."""
    tones = windows.spectrum.shape[1]
    scores = Streams.from_seed(seed, 1, device=grid.device).uniform("masks", _SAMPLE, tones)
    mask = select_tones(scores, *sizes).to(grid.dtype).expand(len(windows.lane), -1, -1)
    rates = breathing_rates(windows.spectrum.transpose(1, 2), mask, grid)
    hardness = (rates - windows.rate_hz[:, None]).abs().mean(1)
    order = hardness.argsort(dim=1, descending=True, stable=True)
    spectrum = windows.spectrum.take_along_dim(order[:, None, :, None], 2)
    return windows._replace(spectrum=spectrum, rate_hz=windows.rate_hz.take_along_dim(order, 1))


def _survivors(
    halves: tuple[Half, Half],
    windows: Windows,
    grid: Tensor,
    limit: Tensor,
    sizes: tuple[int, int],
) -> Tensor:
    """Rows (lane, lower, upper) of selections whose errors on the hardest windows do not exceed.

    Args:
        halves: Tables of the halves.
        windows: Hardest first.
        grid: (C,) Hz.
        limit: Sum of errors that a selection must not exceed, (B,) Hz.
        sizes: Fewest and most subcarriers.
    """
    low, high = halves
    rate_hz = windows.rate_hz[:, None, :_HARDEST]
    counts, found = low.count.tolist(), []
    lower, upper = (half.power[:, :, :_HARDEST].contiguous() for half in halves)
    for row, size in enumerate(high.count.tolist()):
        first = sum(count < sizes[0] - size for count in counts)
        last = sum(count <= sizes[1] - size for count in counts)
        power = lower[:, first:last] + upper[:, row, None]
        error = (peak_frequency(power, grid) - rate_hz).abs().sum(-1)
        pair = (error <= limit[:, None]).nonzero()  # (n, 2)
        found.append(
            torch.stack([pair[:, 0], pair[:, 1] + first, torch.full_like(pair[:, 0], row)], 1)
        )
    return torch.cat(found)


def _sift(
    halves: tuple[Half, Half], windows: Windows, grid: Tensor, limit: Tensor, pairs: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs whose errors never exceed the limit, and their sums of errors, window after window."""
    total, done, count = torch.zeros_like(limit)[pairs[:, 0]], 0, windows.rate_hz.shape[1]
    while done < count:
        span = slice(done, min(count, max(_HARDEST, 2 * done)))
        total = total + _span_errors(halves, windows, grid, pairs, span)
        stays = (total <= limit[pairs[:, 0]]).nonzero()[:, 0]
        pairs, total, done = pairs[stays], total[stays], span.stop
    return pairs, total


def _span_errors(
    halves: tuple[Half, Half], windows: Windows, grid: Tensor, pairs: Tensor, span: slice
) -> Tensor:
    """Sums of the pairs' errors over a span of windows, (n,) Hz."""
    lower, upper = (half.power[:, :, span].contiguous() for half in halves)
    rate_hz, found = windows.rate_hz[:, span], [pairs.new_zeros(0, dtype=grid.dtype)]
    for lane, low, high in (part.unbind(1) for part in pairs.split(_CHUNK)):
        rates = peak_frequency(lower[lane, low] + upper[lane, high], grid)
        found.append((rates - rate_hz[lane]).abs().sum(-1))
    return torch.cat(found)


def _least(pairs: Tensor, error: Tensor, lanes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Least error of each lane over its pairs, and the first such pair; inf and 0 without any."""
    best = error.new_full((lanes,), torch.inf).scatter_reduce(0, pairs[:, 0], error, "amin")
    number = torch.where(
        error == best[pairs[:, 0]], torch.arange(len(pairs), device=pairs.device), len(pairs)
    )
    first = pairs.new_full((lanes,), len(pairs)).scatter_reduce(0, pairs[:, 0], number, "amin")
    padded = torch.cat([pairs, pairs.new_zeros(1, 3)])
    return best, padded[first, 1], padded[first, 2]


@dataclass(frozen=True, kw_only=True)
class ExhaustiveLabelled(Solver):
    """Least error on the labelled windows: the most that selection by them can do."""

    name: ClassVar[str] = "exhaustive-labelled"
    summary: ClassVar[str] = "every selection on the labelled windows, up to 20 subcarriers"

    def windows(self, problem: Problem, instance: TensorRecord) -> Windows:
        """Windows to select by."""
        return labelled(problem, instance)[1]

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; everything counts as one iteration.

        Raises:
            ScenarioError: More than 20 subcarriers.
        """
        setup, _ = labelled(problem, instance[:0])
        s = setup.scenario
        if s.num_tones > MOST_TONES:
            raise ScenarioError(
                f"{self.name} needs num_tones <= {MOST_TONES}, got {s.num_tones}; take swap."
            )
        windows = self.windows(problem, instance)
        grid = setup.frequency_hz.to(windows.spectrum)
        mask, _ = best_selection(windows, grid, s.min_tones, s.max_tones)
        one = torch.ones_like(windows.lane)
        status = int(Status.CONVERGED) * one
        return Solution(decision=SubcarrierDecision(mask), status=status, iterations=one)


@dataclass(frozen=True, kw_only=True)
class Exhaustive(ExhaustiveLabelled):
    """The optimum on the scored windows themselves: a reference, not a contestant."""

    name: ClassVar[str] = "exhaustive"
    summary: ClassVar[str] = "optimum on the scored windows by enumeration, up to 20 subcarriers"
    certifies: ClassVar[bool] = True

    def windows(self, problem: Problem, instance: TensorRecord) -> Windows:
        """The scored windows."""
        i = cast(RespirationInstance, instance)
        lane = torch.arange(i.batch_size, device=i.device)
        return Windows(i.score.transpose(1, 2).contiguous(), i.score_hz, lane)

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; the certificate is the objective of the optimum."""
        solution = super().solve(problem, instance, budget=budget, seed=seed, start=start)
        claim = Certificate(
            bound=problem.metrics(instance, solution.decision).objective,
            kind="enumeration",
            source="subcarrier_respiration/exhaustive",
        )
        return dataclasses.replace(solution, certificate=claim)
