"""Scores: where a decision stands between the naive floor (0) and the certified bound (100).

Per instance, then aggregated: interquartile mean (the ranking key), mean, worst 5 % tail, with
bootstrap intervals. Comparisons are paired: all methods see the same instances.

Source of the aggregates: Agarwal et al. 2021, "Deep reinforcement learning at the edge of the
statistical precipice" (interquartile mean, profiles); the paired rank rule is ours.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "Comparison",
    "Standing",
    "Summary",
    "compare",
    "instance_scores",
    "interquartile_mean",
    "profile",
    "standings",
    "summarise",
    "worst_tail",
]

FloatArray = NDArray[np.float64]
_RESAMPLES = 2000
_SEED = 20240710
# Score differences below this are arithmetic, not merit: a float32 solution of an instance differs
# by about 1e-4 points from its float64 twin.
RESOLUTION = 1e-3


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Aggregates of one method on one task; scores in points, losses in the metric's unit.

    Attributes:
        iqm: Interquartile mean of the scores: the ranking key.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        mean: Mean score.
        worst_tail: Mean of the worst 5 % of the scores.
        loss_mean: Mean of bound minus objective, over all instances.
        loss_p95: Its 95 % quantile.
        loss_max: Its largest value.
        weighted: Number of instances that carry weight.
        without_weight: Number of instances whose floor is within ``min_range`` of the bound.
    """

    iqm: float
    low: float
    high: float
    mean: float
    worst_tail: float
    loss_mean: float
    loss_p95: float
    loss_max: float
    weighted: int
    without_weight: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Paired difference of two methods: first minus second, points, with a 95 % interval."""

    difference: float
    low: float
    high: float

    @property
    def is_tie(self) -> bool:
        """True if the interval, widened by the arithmetic resolution, contains 0."""
        return self.low <= RESOLUTION and self.high >= -RESOLUTION


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Place of a method: rank, mean over tasks of the interquartile means, its 95 % interval."""

    rank: int
    value: float
    low: float
    high: float


def instance_scores(
    objective: FloatArray, floor: FloatArray, bound: FloatArray, *, min_range: float
) -> FloatArray:
    """Scores 100 (objective - floor) / (bound - floor), (n,); NaN where an instance has no weight.

    Args:
        objective: Objective reached, (n,), larger is better.
        floor: Objective that scores 0, (n,).
        bound: Objective that scores 100, (n,).
        min_range: Instances with ``bound - floor`` below this carry no weight, > 0.
    """
    reach = bound - floor
    has_weight = reach >= min_range
    return np.where(
        has_weight, 100 * (objective - floor) / np.where(has_weight, reach, 1.0), np.nan
    )


def interquartile_mean(scores: FloatArray, axis: int = -1) -> FloatArray:
    """Mean of the middle half, along ``axis``."""
    return np.asarray(stats.trim_mean(scores, 0.25, axis=axis))


def worst_tail(scores: FloatArray, share: float = 0.05) -> float:
    """Mean of the worst ``share`` of the scores, of at least one."""
    count = max(1, int(np.ceil(share * scores.size)))
    return float(np.sort(scores)[:count].mean())


def summarise(
    objective: FloatArray, floor: FloatArray, bound: FloatArray, *, min_range: float
) -> Summary:
    """All aggregates of one method on one task.

    Raises:
        ValueError: No instance carries weight.
    """
    scores = instance_scores(objective, floor, bound, min_range=min_range)
    weighted = scores[~np.isnan(scores)]
    if not weighted.size:
        raise ValueError(f"min_range = {min_range}: no instance carries weight.")
    low, high = _interval(_resampled([weighted]).draws)
    loss = bound - objective
    return Summary(
        iqm=float(interquartile_mean(weighted)),
        low=low,
        high=high,
        mean=float(weighted.mean()),
        worst_tail=worst_tail(weighted),
        loss_mean=float(loss.mean()),
        loss_p95=float(np.quantile(loss, 0.95)),
        loss_max=float(loss.max()),
        weighted=int(weighted.size),
        without_weight=int(scores.size - weighted.size),
    )


def compare(first: Sequence[FloatArray], second: Sequence[FloatArray]) -> Comparison:
    """Paired difference of the mean over tasks of the interquartile means.

    Args:
        first: Scores of the first method, one array per task, without NaN.
        second: Scores of the second method on the same instances.
    """
    return _difference(_resampled(first), _resampled(second))


def standings(methods: Mapping[str, Sequence[FloatArray]]) -> dict[str, Standing]:
    """Place methods by the mean over tasks of their interquartile means.

    A method tied with the first of the current group shares its rank; after a tie of two on rank 1
    comes rank 3.

    Args:
        methods: Per method its scores, one array per task, on common instances, without NaN.

    Returns:
        Standing by method, best first.
    """
    drawn = {name: _resampled(parts) for name, parts in methods.items()}
    placed: dict[str, Standing] = {}
    leader = ""
    for position, name in enumerate(sorted(drawn, key=lambda n: (-drawn[n].value, n)), start=1):
        is_tied = leader and _difference(drawn[leader], drawn[name]).is_tie
        if not is_tied:
            leader = name
        low, high = _interval(drawn[name].draws)
        rank = placed[leader].rank if is_tied else position
        placed[name] = Standing(rank=rank, value=drawn[name].value, low=low, high=high)
    return placed


def profile(loss: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Performance profile: share of instances with a loss of at most each threshold."""
    return np.searchsorted(np.sort(loss), thresholds, side="right") / loss.size


@dataclass(frozen=True)
class _Resampled:
    value: float
    draws: FloatArray  # (resamples,)


def _resampled(parts: Sequence[FloatArray]) -> _Resampled:
    """Mean over tasks of the interquartile means, on the instances and on bootstrap resamples.

    Instances are resampled within each task. The generator is fixed, so methods with equally many
    instances meet the same resamples: differences of their draws are a paired bootstrap.
    """

    def statistic(*samples: FloatArray, axis: int = -1) -> FloatArray:
        return np.mean([interquartile_mean(sample, axis) for sample in samples], axis=0)

    value = float(statistic(*parts))
    if min(scores.size for scores in parts) < 2:
        return _Resampled(value, np.full(_RESAMPLES, value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # all scores equal: width 0
        result = stats.bootstrap(
            list(parts),
            statistic,
            n_resamples=_RESAMPLES,
            vectorized=True,
            axis=-1,
            method="percentile",
            rng=np.random.default_rng(_SEED),
        )
    return _Resampled(value, result.bootstrap_distribution)


def _interval(draws: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _difference(first: _Resampled, second: _Resampled) -> Comparison:
    low, high = _interval(first.draws - second.draws)
    return Comparison(difference=first.value - second.value, low=low, high=high)
