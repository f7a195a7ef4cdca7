r"""Certified bound of robust beamforming with one user per cell, by branch and bound in the rates.

A utility grows with the weighted sum rate and with the information 1 / CRLB; a level of it asks for
some of both. The search keeps boxes of rates, bounds each by the cuts found so far, and asks the
semidefinite programme only where no cut refutes the best point of the best box: its multipliers are
the next cut. Some ten to a hundred programmes close a gap that needs hundreds when each of them
refutes a single vertex.

The bound rests on cuts alone. What the programme does not refute counts as reached or as unsure,
which can only raise the bound; so it stays valid when a solver errs and whenever the search stops.

Source: branch-reduce-and-bound of monotonic optimisation (Tuy); docs/robust_beamforming.md.
"""

import heapq
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from baselines.convex.robust_boxes import Box, Line, Supplies
from baselines.convex.robust_cuts import Network
from baselines.convex.robust_sdp import Answer, RobustProgramme
from isac_gym.core.errors import ScenarioError

__all__ = ["Aim", "Bound", "Chebyshev", "SumRate", "bound_rates"]

Array = NDArray[np.float64]

_ATTAINED = 1e-3  # relative excess of the power budgets up to which an answer attains its targets
_QUIET = 1e-3  # least rate of a served user over its largest


class Aim(Protocol):
    """A utility of the weighted sum rate and of 1 / CRLB, nondecreasing in both."""

    @property
    def rate_line(self) -> Line:
        """Weighted sum rate that a level needs, constant and slope; below 0 it needs none."""
        ...

    @property
    def information_line(self) -> Line:
        """1 / CRLB that a level needs, 1/m^2, constant and slope; below 0 it needs none."""
        ...

    @property
    def levels(self) -> tuple[float, float]:
        """Level of a decision that sends nothing, and a level that none exceeds."""
        ...


@dataclass(frozen=True)
class SumRate:
    """Weighted sum rate in bit/s/Hz, if asked with a cap on the CRLB.

    Attributes:
        crlb_m2: The cap, m^2; infinite without one.
    """

    crlb_m2: float = math.inf

    @property
    def rate_line(self) -> Line:
        """See :class:`Aim`."""
        return 0.0, 1.0

    @property
    def information_line(self) -> Line:
        """See :class:`Aim`."""
        return 1 / self.crlb_m2, 0.0

    @property
    def levels(self) -> tuple[float, float]:
        """See :class:`Aim`; 0 stands for nothing, capped or not."""
        return 0.0, math.inf


@dataclass(frozen=True)
class Chebyshev:
    """-max(p (1 - rate / rate_bound), (1 - p) (1 - crlb_bound / CRLB)), the problem's objective.

    Attributes:
        preference: p in [0, 1].
        rate_bound: Upper bound of the weighted sum rate, bit/s/Hz.
        crlb_bound: Lower bound of the CRLB, m^2.
    """

    preference: float
    rate_bound: float
    crlb_bound: float

    @property
    def rate_line(self) -> Line:
        """See :class:`Aim`."""
        p = self.preference
        return (self.rate_bound, self.rate_bound / p) if p > 0 else (0.0, 0.0)

    @property
    def information_line(self) -> Line:
        """See :class:`Aim`."""
        unit, q = 1 / self.crlb_bound, 1 - self.preference
        return (unit, unit / q) if q > 0 else (0.0, 0.0)

    @property
    def levels(self) -> tuple[float, float]:
        """See :class:`Aim`."""
        return -max(self.preference, 1 - self.preference), 0.0


class Bound(NamedTuple):
    """Outcome of the search.

    Attributes:
        upper: No decision's utility exceeds it.
        reached: The incumbent, or the best level that the relaxation attains.
        programmes: Semidefinite programmes solved.
        has_closed: True if ``upper - reached`` is within the gap asked for.
        answer: Programme's answer at ``reached``; None if the incumbent was never beaten.
    """

    upper: float
    reached: float
    programmes: int
    has_closed: bool
    answer: Answer | None


def bound_rates(
    network: Network,
    weight: Array,
    aim: Aim,
    *,
    gap: float,
    incumbent: float = -math.inf,
    seconds: float = 60.0,
    programmes: int = 400,
) -> Bound:
    """Certified upper bound of a utility over all decisions of one instance with K = 1.

    Args:
        network: Instance; its ``sensing`` is needed where the aim asks for information.
        weight: Rate weights, (I,), > 0.
        aim: Utility.
        gap: Stop once the bound is within this of the level reached, > 0, in the utility's unit.
        incumbent: Utility of a known decision: a larger one is faster, none is wrong.
        seconds: Time limit; the bound is valid at any time.
        programmes: Limit on the semidefinite programmes.

    Returns:
        Bound.

    Raises:
        ScenarioError: More than one user per cell, or no targets where the aim needs them.
    """
    if network.channel.shape[2] != 1:
        raise ScenarioError(f"branch and bound needs K = 1, got {network.channel.shape[2]}.")
    search = _start(network, weight, aim, gap=gap, incumbent=incumbent)
    begin = time.monotonic()
    while search.heap and search.upper - search.reached > gap:
        if time.monotonic() - begin > seconds or search.programmes >= programmes:
            break
        search.step()
    has_closed = search.upper - search.reached <= gap
    return Bound(search.upper, search.reached, search.programmes, has_closed, search.answer)


def _start(network: Network, weight: Array, aim: Aim, *, gap: float, incumbent: float) -> "_Search":
    """Search over all combinations of silent and served users.

    A silent user may have up to ``first`` for free, altogether an eighth of the gap or a
    thousandth of p, whichever is larger.
    """
    cells = np.arange(len(weight))
    norm = np.linalg.norm(network.channel[cells, cells, 0], axis=-1)
    margin = (norm - network.radius[cells, cells, 0]).clip(0)
    alone = np.log2(1 + network.max_power_w * margin**2)  # without interference
    worth = aim.rate_line[1] * gap / len(weight)
    first = np.minimum(np.maximum(worth / (8 * weight), _QUIET * alone), alone / 4)
    search = _Search(
        network=network,
        aim=aim,
        gap=gap,
        reached=max(incumbent, aim.levels[0]),
        supplies=Supplies(first, alone, weight),
    )
    constant, slope = aim.rate_line
    top = min(aim.levels[1], (float(weight @ alone) - constant) / slope if slope > 0 else math.inf)
    for choice in itertools.product((False, True), repeat=len(weight)):
        silent = np.array(choice)
        if (alone[~silent] > 0).all():
            box = Box(first, np.where(silent, first, alone), silent)
            search.push(top, box)
    return search


@dataclass(kw_only=True)
class _Search:
    """State of the search: boxes by their bound, cuts, best level reached, levels not refuted."""

    network: Network
    aim: Aim
    gap: float
    reached: float
    supplies: Supplies
    heap: list[tuple[float, int, Box]] = field(default_factory=list)
    order: Iterator[int] = field(default_factory=itertools.count)
    unsure: float = -math.inf
    programmes: int = 0
    answer: Answer | None = None

    @property
    def upper(self) -> float:
        """Bound so far."""
        return max(self.reached, self.unsure, -self.heap[0][0] if self.heap else -math.inf)

    def push(self, level: float, box: Box) -> None:
        """Keep a box whose utility is at most ``level``."""
        heapq.heappush(self.heap, (-level, next(self.order), box))

    def step(self) -> None:
        """Bound the most promising box again; refute, split or attain its best point."""
        key, _, box = heapq.heappop(self.heap)
        tighter = self.supplies.reduced(
            box, self.rate(self.reached), self.information(self.reached)
        )
        if tighter is None:
            return
        levels = self.aim.levels[0], -key
        level, rates = self.supplies.best(
            tighter, self.aim.rate_line, self.aim.information_line, levels
        )
        if level <= self.reached:
            return
        if self.heap and level < -self.heap[0][0]:
            self.push(level, tighter)
            return
        aimed = max(level - self.gap / 2, self.reached)
        point = self.supplies.lowered(rates, tighter.silent, self.rate(aimed))
        violation = self.supplies.violation(point, tighter.silent, self.information(aimed))
        if violation.max(initial=-1.0) > 0:
            for part in self.supplies.halves(tighter, rates, int(violation.argmax())):
                self.push(level, part)
        elif self.is_decided(point, tighter.silent, aimed):
            self.push(level, tighter)
        else:
            self.unsure = max(self.unsure, level)

    def is_decided(self, rates: Array, silent: NDArray[np.bool_], level: float) -> bool:
        """Ask the programme for a point: keep the cut if it refutes, else the level if attained."""
        information, (cells, users, size) = self.information(level), self.network.channel.shape[1:]
        num_targets = len(self.network.targets.angle[0]) if information > 0 else 0
        programme = RobustProgramme.compiled((cells, users, size), num_targets)
        sinr = np.where(silent, 0.0, np.exp2(rates) - 1)[:, None]
        cap = 1 / information if information > 0 else None
        answer = programme.solve(self.network, sinr, crlb_m2=cap)
        self.programmes += 1
        if answer is None:
            return False
        self.supplies.add(answer.cut)
        if self.supplies.violation(rates, silent, information)[-1] > 0:
            return True
        if answer.power_scale <= 1 + _ATTAINED:
            self.reached, self.answer = level, answer
            return True
        return False

    def rate(self, level: float) -> float:
        """Weighted sum rate that a level needs, bit/s/Hz."""
        return _needed(self.aim.rate_line, level)

    def information(self, level: float) -> float:
        """1 / CRLB that a level needs, 1/m^2."""
        return _needed(self.aim.information_line, level)


def _needed(line: Line, level: float) -> float:
    return max(0.0, line[0] + line[1] * level)
