r"""Boxes of rates and what cuts say about them, for robust beamforming with one user per cell.

In the rate r the supply phi_n(r) of a cut is convex and decreasing. So its chords, over the cells
of a grid or over a whole box, can only overestimate it, and a cut

    sum_n phi_n(r_n) >= demand + price / CRLB

becomes linear over a box: all cuts together bound a utility by a small linear programme.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from baselines.convex.robust_cuts import Cut

__all__ = ["Box", "Line", "Supplies"]

Array = NDArray[np.float64]
Line = tuple[float, float]  # constant and slope

NUM_NODES = 512
_MARGIN = 1e-9  # relative excess of demand over supply that counts as a refutation
_ROUNDS = 3  # passes of the reduction
_EDGE = 0.2  # of a width: no split nearer to an end
_TINY = 1e-300


@dataclass(frozen=True)
class Box:
    """Rates in [low, high], (I,) each in bit/s/Hz.

    Attributes:
        low: Lower ends.
        high: Upper ends.
        silent: True for users without a target; both ends are their allowance, credited for free.
    """

    low: Array
    high: Array
    silent: NDArray[np.bool_]


class Supplies:
    """Supplies of all cuts as functions of the rates, tabulated.

    Attributes:
        first: Least rate of a user with a target, (I,), bit/s/Hz.
        last: Largest one, (I,).
        weight: Rate weights, (I,).
    """

    def __init__(self, first: Array, last: Array, weight: Array) -> None:
        self.first, self.last, self.weight = first, last, weight
        self._step = (last - first) / (NUM_NODES - 1)
        self._table = np.empty((0, len(first), NUM_NODES))  # (cuts, I, nodes)
        self._silent = np.empty((0, len(first)))  # supply of users without a target
        self._demand, self._price = np.empty(0), np.empty(0)

    def add(self, cut: Cut) -> None:
        """Tabulate one more cut."""
        rates = self.first + self._step * np.arange(NUM_NODES)[:, None]  # (nodes, I)
        table = cut.supply(np.exp2(rates)[..., None] - 1)[..., 0].T
        is_free = np.abs(cut.signal).max((1, 2, 3)) == 0
        self._table = np.concatenate([self._table, table[None]])
        self._silent = np.vstack([self._silent, np.where(is_free, table[:, 0], np.inf)])
        self._demand = np.append(self._demand, cut.demand * (1 - _MARGIN))
        self._price = np.append(self._price, cut.price * (1 - _MARGIN))

    def violation(self, rates: Array, silent: NDArray[np.bool_], information: float) -> Array:
        """Demand less supply of every cut at a point, (cuts,); > 0 refutes it and all above it."""
        return self._demand + self._price * information - self._at(rates, silent).sum(1)

    def reduced(self, box: Box, target: float, information: float) -> Box | None:
        """The part of a box that no cut refutes and whose weighted sum rate reaches a target.

        Args:
            box: Box.
            target: Weighted sum rate, bit/s/Hz.
            information: 1 / CRLB, 1/m^2.

        Returns:
            Smaller box, or None if nothing is left.
        """
        low, high, w = box.low.copy(), box.high.copy(), self.weight
        need = self._demand + self._price * information
        for _ in range(_ROUNDS):
            low = np.maximum(low, high - (w @ high - target) / w)
            if (low > high).any():
                return None
            supply = self._at(low, box.silent)
            for n in np.flatnonzero(~box.silent).tolist():
                left = need - np.delete(supply, n, axis=1).sum(1)
                high[n] = min(high[n], self._largest(n, left).min(initial=np.inf))
            if (low > high).any():
                return None
        return Box(low, high, box.silent)

    def best(
        self, box: Box, rate: Line, information: Line, levels: tuple[float, float]
    ) -> tuple[float, Array]:
        """Largest level u in [least, most] with sum w r >= rate(u) and all cuts at information(u).

        Linear programme in u and the shares x of the box's widths. Of its solution only the
        multipliers count: the bound is the maximum of the Lagrangian over the box.

        Args:
            box: Box.
            rate: Weighted sum rate that a level needs, as a line.
            information: 1 / CRLB that a level needs, as a line.
            levels: Least level, one that needs nothing, and largest one.

        Returns:
            Bound of the level, and the rates (I,) that would reach it.
        """
        width, w, count = box.high - box.low, self.weight, len(self.weight)
        supply = self._at(box.low, box.silent)
        kept = np.isfinite(supply).all(1)
        supply, price = supply[kept], self._price[kept]
        drop = supply - np.where(box.silent, supply, self._at(box.high, box.silent)[kept])
        room = supply.sum(1) - self._demand[kept] - price * information[0]
        rows = np.vstack([np.column_stack([drop, price * information[1]]), [*-w * width, rate[1]]])
        right = np.append(room, w @ box.low - rate[0])
        unit = np.maximum(np.abs(rows).max(1), _TINY)
        rows, right = rows / unit[:, None], right / unit
        gain = np.append(np.zeros(count), 1.0)
        ends = [*[(0.0, 1.0)] * count, levels]
        found = linprog(-gain, A_ub=rows, b_ub=right, bounds=ends, method="highs-ds")
        if found.status != 0:
            return levels[1], box.high
        multiplier = np.maximum(-found.ineqlin.marginals, 0)
        slope = gain - multiplier @ rows
        bound = multiplier @ right + slope[:-1].clip(0).sum() + max(slope[-1] * np.array(levels))
        return min(levels[1], float(bound)), box.low + found.x[:-1].clip(0, 1) * width

    def lowered(self, rates: Array, silent: NDArray[np.bool_], target: float) -> Array:
        """Rates less a common amount, so that their weighted sum is the target or all are least."""
        least = np.where(silent, rates, np.minimum(rates, self.first))
        low, high = 0.0, float((rates - least).max())
        for _ in range(50):
            shift = (low + high) / 2
            is_short = self.weight @ np.maximum(rates - shift, least) < target
            low, high = (low, shift) if is_short else (shift, high)
        return np.maximum(rates - low, least)

    def halves(self, box: Box, rates: Array, cut: int) -> Iterator[Box]:
        """Two parts of a box, along the rate where the chord of a cut errs most at a point."""
        width = box.high - box.low
        share = (rates - box.low) / np.maximum(width, _TINY)
        at_low, at_high, inside = (
            np.where(box.silent, 0.0, self._at(r, box.silent)[cut])
            for r in (box.low, box.high, rates)
        )
        error = at_low + share * (at_high - at_low) - inside
        n = int((error if error.max() > 0 else np.where(box.silent, -1.0, width)).argmax())
        place = box.low[n] + share[n].clip(_EDGE, 1 - _EDGE) * width[n]
        below, above = box.high.copy(), box.low.copy()
        below[n] = above[n] = place
        yield Box(box.low, below, box.silent)
        yield Box(above, box.high, box.silent)

    def _at(self, rates: Array, silent: NDArray[np.bool_]) -> Array:
        """Supplies at rates (I,), (cuts, I); infinite where a cut needs a silent user's target."""
        place = ((rates - self.first) / np.maximum(self._step, _TINY)).clip(0, NUM_NODES - 1)
        left = place.astype(int).clip(0, NUM_NODES - 2)
        part, user = place - left, np.arange(len(rates))
        inner = self._table[:, user, left] * (1 - part) + self._table[:, user, left + 1] * part
        return np.where(silent, self._silent, inner)

    def _largest(self, user: int, need: Array) -> Array:
        """Largest rate of a user at which the cuts' supplies are >= need, (cuts,); -1 if none."""
        table = self._table[:, user]
        count = (table >= need[:, None]).sum(1)
        left, cut = (count - 1).clip(0, NUM_NODES - 2), np.arange(len(need))
        above, below = table[cut, left], table[cut, left + 1]
        part = ((above - need) / np.maximum(above - below, _TINY)).clip(0, 1)
        rate = self.first[user] + (left + part) * self._step[user]
        return np.where(count == NUM_NODES, self.last[user], np.where(count == 0, -1.0, rate))
