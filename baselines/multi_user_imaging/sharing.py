r"""What users may share, what it costs in complex scalars, and what it gives at equal cost.

Estimates (diffusion), raw samples (flooding, or gathering at a leader), or matched filters (added
up on a spanning tree, or averaged with neighbours for some rounds; see
:mod:`baselines.multi_user_imaging.statistics`). One scalar over one link costs 1.

Letters: K users, V voxels, L samples, E directed links.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.multi_user_imaging.statistics import (
    Estimate,
    Frame,
    decided_symbols,
    images,
    sparse_estimate,
)
from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.core.units import linear_to_db
from isac_gym.physics.diffusion import diffuse
from isac_gym.physics.graphs import hops, metropolis
from isac_gym.physics.trust_region import squared
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario

__all__ = [
    "SCHEMES",
    "consensus_scalars",
    "consensus_weights",
    "diffusion_scalars",
    "directed_links",
    "equal_cost_curves",
    "flooding_scalars",
    "statistics_scalars",
    "tree_scalars",
]

_STEPS = ((0.3, 0.3), (0.6, 0.6), (1.0, 1.0), (1.0, 0.1))  # first and second half, times 1 / (V P)
_LEAST_ROUNDS = 5  # of averaging in each pass, before a second pass is worth its cost


def directed_links(adjacency: Tensor) -> Tensor:
    """E, (B,) int64, of adjacency (B, K, K)."""
    return adjacency.sum((-2, -1))


def consensus_scalars(adjacency: Tensor, *, size: int, rounds: int) -> Tensor:
    """E size rounds, (B,): every link carries ``size`` scalars, both ways, in every round.

    Symbols by average consensus: size = L, the products of every sample.
    """
    return directed_links(adjacency) * size * rounds


def diffusion_scalars(
    adjacency: Tensor, *, num_voxels: int, num_samples: int, every: int
) -> Tensor:
    """E V floor(L / every), (B,): every link carries an image at every exchange."""
    return consensus_scalars(adjacency, size=num_voxels, rounds=num_samples // every)


def flooding_scalars(*, num_users: int, num_samples: int) -> int:
    """L K (K - 1): every sample crosses the K - 1 links of a spanning tree."""
    return num_samples * num_users * (num_users - 1)


def tree_scalars(*, num_users: int, size: int) -> int:
    """2 size (K - 1): sums go up a spanning tree, what is made of them comes down."""
    return 2 * size * (num_users - 1)


def statistics_scalars(*, num_users: int, num_voxels: int) -> int:
    """2 V (K - 1): the matched filter goes up a spanning tree, the image comes down."""
    return tree_scalars(num_users=num_users, size=num_voxels)


def consensus_weights(adjacency: Tensor, rounds: int, *, dtype: torch.dtype) -> Tensor:
    """Weights of all users' values after some rounds of Metropolis averaging, (B, K, K)."""
    return torch.linalg.matrix_power(metropolis(adjacency, dtype=dtype), rounds)


class _Setting(NamedTuple):
    """A frame, the symbols (B, 1, L) if known, the estimator, and images of users alone."""

    frame: Frame
    symbol: Tensor | None
    estimate: Estimate
    isolated: Tensor

    @property
    def sizes(self) -> tuple[int, int, int]:
        """K, V and L."""
        _, users, voxels = self.frame.user_channel.shape
        return users, voxels, self.frame.received.shape[1]

    @property
    def exchange(self) -> int:
        """Scalars of V numbers over every directed link of the graph with most links."""
        return int(directed_links(self.frame.adjacency).amax()) * self.sizes[1]

    @property
    def summing(self) -> int:
        """Scalars of adding up the products of a frame and sending the symbols back."""
        return tree_scalars(num_users=self.sizes[0], size=self.sizes[2])

    def images(
        self,
        mixing: Tensor,
        *,
        used: Tensor | None = None,
        decided: Tensor | None = None,
        passes: int = 2,
    ) -> list[Tensor]:
        """See :func:`baselines.multi_user_imaging.statistics.images`."""
        return [
            images(
                self.frame,
                self.estimate,
                mixing,
                symbol=self.symbol,
                used=used,
                decided=decided,
                passes=passes,
            )
        ]

    def first(self, count: Tensor | int) -> Tensor:
        """1 for the first ``count`` (B,) samples, 0 for the others, (B, 1, L)."""
        whole = self.frame.everything
        index = torch.arange(whole.shape[-1], device=whole.device)
        limit = torch.as_tensor(count, device=whole.device).reshape(-1, 1, 1)
        return (index < limit).to(whole.dtype).expand_as(whole)


def _isolated(setting: _Setting, budget: int) -> list[Tensor]:
    """Nothing is exchanged."""
    return [setting.isolated]


def _raw(setting: _Setting, count: Tensor | int) -> list[Tensor]:
    """Everything is done where the first samples of all users are; without samples: alone."""
    used = setting.first(count)
    image = setting.images(setting.frame.together, used=used)[0]
    is_blind = ~(used.sum(-1, keepdim=True) > 0)
    return [torch.where(is_blind, setting.isolated, image)]


def _gathering(setting: _Setting, budget: int) -> list[Tensor]:
    users, voxels, _ = setting.sizes
    way = hops(setting.frame.adjacency).sum(-1).amin(-1)
    return _raw(setting, max(budget - voxels * (users - 1), 0) // way)


def _flooding(setting: _Setting, budget: int) -> list[Tensor]:
    return _raw(setting, budget // flooding_scalars(num_users=setting.sizes[0], num_samples=1))


def _gather_statistics(setting: _Setting, budget: int) -> list[Tensor]:
    users, voxels, _ = setting.sizes
    once = statistics_scalars(num_users=users, num_voxels=voxels)
    if budget < once:
        return _isolated(setting, budget)
    # A second pass sums statistics again, and before that the products of the decided samples.
    count = max(budget - 2 * once, 0) // tree_scalars(num_users=users, size=1)
    passes = 2 if count else 1
    return setting.images(setting.frame.together, decided=setting.first(count), passes=passes)


def _consensus_statistics(setting: _Setting, budget: int) -> list[Tensor]:
    rounds, passes = budget // setting.exchange, 1
    twice = (budget - setting.summing) // (2 * setting.exchange)
    if setting.symbol is None and twice >= _LEAST_ROUNDS:
        rounds, passes = twice, 2
    dtype = setting.frame.noise_w.dtype
    return setting.images(
        consensus_weights(setting.frame.adjacency, rounds, dtype=dtype), passes=passes
    )


def _diffusion(setting: _Setting, budget: int) -> list[Tensor]:
    """Every step rule, in the first pass and, if it can be paid for, in the second."""
    frame, found = setting.frame, []
    twice = (budget - setting.summing) // (2 * setting.exchange)
    for rule in _STEPS:
        lit = _lit(frame, setting.symbol)
        found.append(_lms(frame, lit, rule, budget // setting.exchange))
        if setting.symbol is None and twice > 0:
            start = _lms(frame, lit, rule, twice)
            symbol = decided_symbols(frame, start, frame.together)
            found.append(_lms(frame, _lit(frame, symbol), rule, twice, start=start))
    return found


def _lit(frame: Frame, symbol: Tensor | None) -> Tensor:
    """Known illumination, (B, L, V)."""
    return frame.probing if symbol is None else frame.probing + symbol.mT * frame.data[:, None]


def _lms(
    frame: Frame,
    lit: Tensor,
    rule: tuple[float, float],
    exchanges: int,
    *,
    start: Tensor | None = None,
) -> Tensor:
    """Images after the last sample, (B, K, V); the step changes at an exchange near the middle."""
    g, length = frame.user_channel, lit.shape[1]
    weight = consensus_weights(frame.adjacency, 1, dtype=frame.noise_w.dtype)
    every = -(-length // exchanges) if exchanges else length + 1
    cut = length // 2 // every * every
    energy = squared(lit).sum(-1).mean(-1, keepdim=True)  # E |u|^2 at channels of unit variance
    x = torch.zeros_like(g) if start is None else start
    for first, last, scale in ((0, cut, rule[0]), (cut, length, rule[1])):
        if first < last:
            x = diffuse(
                estimate=x,
                illumination=lit[:, first:last],
                received=frame.received[:, first:last],
                user_channel=g,
                weight=weight,
                step=(scale / energy).expand(g.shape[:2]),
                exchange_every=every,
            ).estimate
    return x


SCHEMES: dict[str, Callable[[_Setting, int], list[Tensor]]] = {
    "isolated": _isolated,
    "diffusion": _diffusion,
    "flooding": _flooding,
    "gathering": _gathering,
    "gather-statistics": _gather_statistics,
    "consensus-statistics": _consensus_statistics,
}


def equal_cost_curves(
    scenario: RecoveryScenario,
    streams: Streams,
    budgets: Sequence[int],
    *,
    knows_symbols: bool = False,
    estimate: Estimate = sparse_estimate,
) -> Mapping[str, Tensor]:
    """Squared error over |x|^2 in dB, mean over users, of every scheme in :data:`SCHEMES`.

    A scheme that cannot pay for a first exchange leaves every user with its own image (diffusion:
    with its own filter). With unknown symbols a scheme that can pay for it adds up maximum-ratio
    products on a spanning tree, decides, and estimates a second time; else the data stays noise.
    Diffusion is given the best of four step rules, with and without a second pass, at each budget;
    the truth chooses, so it is flattered.

    Args:
        scenario: World, noise and graph.
        streams: Draws B frames.
        budgets: Complex scalars, each >= 0.
        knows_symbols: The users know the data.
        estimate: What turns statistics into an image everywhere but in the diffusion.

    Returns:
        Name of the scheme to (B, len(budgets)) real, dB.

    Raises:
        ScenarioError: A budget is negative.
    """
    if any(budget < 0 for budget in budgets):
        raise ScenarioError(f"budgets must be >= 0, got {list(budgets)}.")
    problem = ImagingRecovery(scenario=scenario)
    instance = problem.sample(streams)
    symbol = instance.symbol[:, None] if knows_symbols else None
    frame = Frame.of(problem, instance)
    isolated = images(frame, estimate, frame.alone, symbol=symbol, passes=1)
    setting = _Setting(frame, symbol, estimate, isolated)
    size = squared(instance.image).sum(-1)

    def error_db(name: str, budget: int) -> Tensor:
        tried = [
            squared(image - instance.image[:, None]).sum(-1).mean(-1) / size
            for image in SCHEMES[name](setting, budget)
        ]
        best = int(torch.stack([error.mean() for error in tried]).argmin())
        return linear_to_db(tried[best])

    return {
        name: torch.stack([error_db(name, budget) for budget in budgets], -1) for name in SCHEMES
    }
