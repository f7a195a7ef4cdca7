"""Messages of localisation in federated rounds: what each lane's devices send, what it moves.

Lanes may stand at different rounds, and so send different kinds of messages; each kind has a fixed
length, and what a lane does depends on its own round only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.problems.ota_feel.echoes import LIKELIHOODS, Echoes, evidence
from isac_gym.problems.ota_feel.localisation import (
    SearchGrid,
    cell_values,
    gradient_step,
    local_scores,
    local_values,
    peaks,
    scale_scores,
    scale_values,
    scoring_step,
    server_information,
    single_shot,
)
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.records import OtaFeelInstance
from isac_gym.problems.ota_feel.transmission import Scaling

__all__ = ["Known", "Locating", "groups"]

_NONE, _SEARCH, _FOLLOW, _ELECT, _TRACK = range(5)
_STARTS = ("search", "random", "centre")
_METHODS = ("scoring", "gradient")


@dataclass(frozen=True)
class Known:
    """What a message is made of.

    Attributes:
        instance: Places of the devices and their noise; the target is not looked at.
        echoes: What the devices heard.
        sounded: Expected P_k, what the server knows of what was sent, (B, K, M, M).
        candidates: Candidates, (B, C, 3) m, the estimate first.
        slot: Rounds done, (B,).
    """

    instance: OtaFeelInstance
    echoes: Echoes
    sounded: Tensor
    candidates: Tensor
    slot: Tensor

    def __getitem__(self, rows: slice | Tensor) -> "Known":
        """The lanes under ``rows``."""
        e = self.echoes
        return Known(
            self.instance[rows],
            Echoes(e.cross[rows], e.power[rows], e.total[rows], e.samples[rows]),
            self.sounded[rows],
            self.candidates[rows],
            self.slot[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Locating:
    """How the target is found over the rounds.

    Attributes:
        problem: Arrays, region, pulses.
        likelihood: One of ``echoes.LIKELIHOODS``.
        start: ``search``: grid, candidates, election; ``random``: a point of the grid; ``centre``.
        method: ``scoring`` or ``gradient``.
        candidates: Peaks of the search that are followed.
        follow: Rounds of scores before the election.
        step: eta of a step.
        settle: Rounds after which the step falls as their number over the round's; 0: never.
    """

    problem: OtaFeel
    likelihood: str
    start: str
    method: str
    candidates: int
    follow: int
    step: float
    settle: int

    def __post_init__(self) -> None:
        for name, allowed in (
            ("likelihood", LIKELIHOODS),
            ("start", _STARTS),
            ("method", _METHODS),
        ):
            if getattr(self, name) not in allowed:
                raise ScenarioError(
                    f"{name} must be one of {allowed}, got {getattr(self, name)!r}."
                )

    @cached_property
    def grid(self) -> SearchGrid:
        """Points over the region of the target."""
        return SearchGrid.of(self.problem.scenario)

    @property
    def count(self) -> int:
        """Candidates that are kept."""
        return min(self.candidates, len(self.grid.points)) if self.start == "search" else 1

    @property
    def longest(self) -> int:
        """Numbers of the longest message."""
        return max(self._length(kind) for kind in range(5))

    def _length(self, kind: int) -> int:
        if self.start != "search":
            return 3 * (kind in (_TRACK,))
        sizes = {_SEARCH: len(self.grid.points), _FOLLOW: 3 * self.count, _ELECT: self.count}
        return sizes.get(kind, 3 * (kind == _TRACK))

    def kinds(self, slot: Tensor) -> Tensor:
        """Kind of the next message of lanes with ``slot`` rounds done, (B,)."""
        if self.start != "search":
            return torch.where(slot == 0, _NONE, _TRACK)
        kind = torch.where(slot < 2 + self.follow, _FOLLOW, _TRACK)
        kind = torch.where(slot == 2 + self.follow, _ELECT, kind)
        kind = torch.where(slot == 1, _SEARCH, kind)
        return torch.where(slot == 0, _NONE, kind)

    def first(self, streams: Streams) -> Tensor:
        """Candidates before anything is heard, (B, C, 3) m."""
        points = self.grid.points.to(streams.seed.device)
        if self.start == "random":
            return points[streams.integers("start", 1, high=len(points))]
        return points.mean(0).expand(streams.batch_size, self.count, 3).clone()

    def message(self, known: Known) -> Tensor:
        """What the devices want to sum next, (B, K, ``longest``), zeros behind its end."""
        i = known.instance
        values = i.echo_noise_w.new_zeros(*i.echo_noise_w.shape, self.longest, dtype=torch.float64)
        for kind, rows in groups(self.kinds(known.slot)):
            if self._length(kind):
                values[rows, :, : self._length(kind)] = self._values(kind, known[rows])
        return values

    def _values(self, kind: int, known: Known) -> Tensor:
        heard = evidence(known.echoes, likelihood=self.likelihood)
        i, points = known.instance, known.candidates.to(torch.float64)
        if kind == _SEARCH:
            return cell_values(self.problem, i, heard, self.grid)
        if kind == _ELECT:
            return local_values(self.problem, i, heard, points)
        return local_scores(self.problem, i, heard, points if kind == _FOLLOW else points[:, :1])

    def scaling(self, kind: int, values: Tensor) -> Scaling:
        """Scales of one kind of message (B, K, n)."""
        is_score = kind in (_FOLLOW, _TRACK)
        return scale_scores(values) if is_score else scale_values(values)

    def weights(self, known: Known, message: Tensor) -> Tensor:
        """Weights of the devices in the next sum, (B, K); equal where nothing is sent."""
        weight = torch.full_like(message[..., 0], 1 / message.shape[1])
        for kind, rows in groups(self.kinds(known.slot)):
            if self._length(kind):
                weight[rows] = self.scaling(kind, self.cut(kind, message[rows])).weight
        return weight

    def cut(self, kind: int, message: Tensor) -> Tensor:
        """The numbers of one kind of message, (B, K, n), n = 0 where nothing is sent."""
        return message[..., : self._length(kind)]

    def moved(self, kind: int, known: Known, total: Tensor) -> Tensor:
        """Candidates (B, C, 3) after the server has received the sums (B, n)."""
        points = known.candidates
        if kind == _SEARCH:
            return peaks(self.grid, total, self.count).to(points)
        if kind == _ELECT:
            best = total.argmax(-1)[:, None, None].expand(-1, 1, 3)
            return points.gather(1, best).expand_as(points).clone()
        some = (points if kind == _FOLLOW else points[:, :1]).to(torch.float64)
        score = total.unflatten(-1, (-1, 3)).to(torch.float64)
        fall = 1.0
        if self.settle:
            late = (known.slot - self.follow).clamp_min(self.settle)
            fall = self.settle / late.to(torch.float64)
        move = scoring_step if self.method == "scoring" else gradient_step
        new = move(self.problem, some, score, self.information(known, some), step=self.step * fall)
        return new.expand_as(points).to(points)

    def information(self, known: Known, points: Tensor) -> Tensor:
        """Information matrices at points (B, C, 3) as the server knows them, (B, C, 3, 3)."""
        return server_information(
            self.problem,
            known.instance,
            known.sounded.to(torch.complex128),
            points,
            likelihood=self.likelihood,
            samples=known.echoes.samples.clamp_min(1),
        )

    def alone(self, known: Known) -> Tensor:
        """Mean of the devices' own estimates, (B, 3) m."""
        heard = evidence(known.echoes, likelihood=self.likelihood)
        return single_shot(self.problem, known.instance, heard, self.grid)


def groups(kinds: Tensor) -> Iterator[tuple[int, slice | Tensor]]:
    """Pairs (kind, rows that have it) of kinds (B,); all rows as a slice, which copies nothing."""
    found = kinds.unique().tolist()
    if len(found) == 1:
        yield found[0], slice(None)
        return
    for kind in found:
        yield kind, (kinds == kind).nonzero()[:, 0]
