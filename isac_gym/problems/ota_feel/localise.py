"""Rounds of localisation over the air from the first echo to the estimate, without training.

What a federation does on its first stream, for studies: the learning stream carries unit-variance
symbols. The environment with real training uses the same parts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isac_gym.core.random import Streams
from isac_gym.physics.precoding import alternating_precoders
from isac_gym.problems.ota_feel.echoes import (
    Echoes,
    Evidence,
    evidence,
    hear,
    hear_ideal,
    sounding,
)
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
    unwhitened_scores,
    whitened_scores,
)
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.records import OtaFeelDecision, OtaFeelInstance
from isac_gym.problems.ota_feel.transmission import Scaling, Uplink, pulsed, send_repeated

__all__ = ["Localisation", "LocalisationPlan", "alternating_design", "localise"]

Design = Callable[[OtaFeel, OtaFeelInstance, Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True)
class LocalisationPlan:
    """How the target is found.

    Attributes:
        link: ``perfect`` sums, or ``ota``: over the simulated uplink.
        echoes: ``frame``: of the first frame; ``accumulate``: of one frame per round; ``ideal``:
            of the first frame, other devices unheard.
        likelihood: One of ``echoes.LIKELIHOODS``.
        start: ``search``: grid, candidates, election; ``random``: one point of the region;
            ``centre``: its middle.
        method: ``scoring`` or ``gradient``.
        rounds: Rounds, the first of which only sounds.
        candidates: Peaks of the search that are followed until the election.
        follow: Rounds of scores before the election.
        repeats: Times each symbol of localisation is sent; K or more undo the pulses.
        step: eta of the step.
        settle: Rounds after which the step falls as their number over the round's; 0: never.
        coherence: Rounds of one channel.
        spacing_m: Of the grid; None: by the lobe.
    """

    link: str = "ota"
    echoes: str = "frame"
    likelihood: str = "full"
    start: str = "search"
    method: str = "scoring"
    rounds: int = 40
    candidates: int = 8
    follow: int = 4
    repeats: int = 16
    step: float = 0.7
    settle: int = 4
    coherence: int = 4
    spacing_m: float | None = None


@dataclass(frozen=True)
class Localisation:
    """Result.

    Attributes:
        estimate: Last estimate, (B, 3) m.
        error_m2: Squared distance from the target after every round, (B, rounds).
        precoder: Precoders of the sounding frame, (B, K, M, R): the bounds are at these.
        evidence: What the devices heard, for other estimators on the same data.
    """

    estimate: Tensor
    error_m2: Tensor
    precoder: Tensor
    evidence: Evidence


def alternating_design(problem: OtaFeel, instance: OtaFeelInstance, last: Tensor | None) -> Tensor:
    """Alternating optimisation from the last precoders: 10 rounds at first, then 3."""
    s = problem.scenario
    return alternating_precoders(
        instance.channel,
        instance.weight,
        instance.max_power_w,
        s.noise_w,
        pulse=s.pulse,
        iterations=10 if last is None else 3,
        start=last,
    )


def localise(
    problem: OtaFeel,
    instance: OtaFeelInstance,
    streams: Streams,
    plan: LocalisationPlan,
    design: Design = alternating_design,
) -> Localisation:
    """Locate the target of every instance, all rounds.

    Args:
        problem: Arrays, region, pulses.
        instance: Places, weights, and the channels of the first rounds.
        streams: Randomness; round t uses step t of it.
        plan: How.
        design: Precoders (B, K, M, R) of a problem, an instance with this round's weights, and the
            precoders of the round before.
    """
    run = _Run(problem, instance, streams, plan, design)
    points = run.start()
    errors = [run.error(points)]
    for number in range(1, plan.rounds):
        run.begin(number)
        points = run.act(number, points)
        errors.append(run.error(points))
    return Localisation(points[:, 0], torch.stack(errors, 1), run.first, run.evidence)


class _Run:
    """The state of the rounds of one batch."""

    def __init__(
        self,
        problem: OtaFeel,
        instance: OtaFeelInstance,
        streams: Streams,
        plan: LocalisationPlan,
        design: Design,
    ) -> None:
        self.problem, self.plan, self.design = problem, plan, design
        self.instance, self.streams = instance, streams.at_step(0)
        self.grid = SearchGrid.of(problem.scenario, spacing_m=plan.spacing_m)
        self.precoder = self.first = design(problem, instance, None)
        self.frames = 1
        self.power = sounding(instance, self.first, problem.scenario.frame_length)
        self.heard = self._hear()
        self.evidence = self._evidence()

    def start(self) -> Tensor:
        """First estimate, (B, 1, 3) m."""
        middle = self.grid.points.to(self.instance.device).mean(0).expand(len(self.first), 1, 3)
        if self.plan.start != "random":
            return middle
        count = len(self.grid.points)
        pick = self.streams.integers("start", 1, high=count)
        return self.grid.points.to(self.instance.device)[pick]

    def begin(self, number: int) -> None:
        """A new round: perhaps new channels, perhaps a new frame of echoes."""
        self.streams = self.streams.at_step(number)
        if number % self.plan.coherence == 0:
            fading = self.streams.complex_normal("channel", *self.instance.channel.shape[1:])
            amplitude = self.problem.channel_amplitude(self.instance.position)[..., None, None]
            channel = (amplitude * fading).to(self.instance.channel)
            self.instance = replace(self.instance, channel=channel)
            self.precoder = self.design(self.problem, self.instance, None)
        if self.plan.echoes == "accumulate":
            self.heard = self.heard + self._hear()
            frame = self.problem.scenario.frame_length
            self.power = self.power + sounding(self.instance, self.precoder, frame)
            self.frames += 1
            self.evidence = self._evidence()

    def act(self, number: int, points: Tensor) -> Tensor:
        """Points after the messages of a round."""
        plan, p = self.plan, self.problem
        if plan.start == "search":
            if number == 1:
                value = cell_values(p, self.instance, self.evidence, self.grid)
                return peaks(self.grid, self._sum(value, scale_values(value)), plan.candidates)
            if number == 2 + plan.follow:
                value = local_values(p, self.instance, self.evidence, points)
                best = self._sum(value, scale_values(value)).argmax(-1)
                return points[torch.arange(len(points), device=points.device), best][:, None]
        matrix = server_information(
            p,
            self.instance,
            self.power,
            points,
            likelihood=plan.likelihood,
            samples=self.frames * p.scenario.frame_length,
        )
        score = local_scores(p, self.instance, self.evidence, points)
        is_white = plan.method == "scoring"
        if is_white:
            score = whitened_scores(score, matrix)
        total = self._sum(score, scale_scores(score))
        total = unwhitened_scores(total, matrix) if is_white else total.unflatten(-1, (-1, 3))
        fall = plan.settle / max(plan.settle, number - plan.follow) if plan.settle else 1.0
        move = scoring_step if plan.method == "scoring" else gradient_step
        return move(p, points, total, matrix, step=plan.step * fall)

    def error(self, points: Tensor) -> Tensor:
        """Squared distance of the first candidate from the target, (B,) m^2."""
        return (points[:, 0] - self.instance.target).square().sum(-1)

    def _sum(self, values: Tensor, scaling: Scaling) -> Tensor:
        """Sum over the devices of what each holds, (B, n) of (B, K, n), as the server gets it."""
        if self.plan.link == "perfect":
            return values.sum(1)
        weight = self.instance.weight.clone()
        weight[..., 0] = scaling.weight
        weighted = replace(self.instance, weight=weight)
        self.precoder = self.design(self.problem, weighted, self.precoder)
        uplink = Uplink.of(self.problem, weighted, OtaFeelDecision(self.precoder))
        got = send_repeated(
            uplink,
            scaling.symbols(values),
            scaling.weight,
            self.streams,
            "uplink",
            repeats=self.plan.repeats,
        )
        return scaling.restored(got, values.shape[-1])

    def _hear(self) -> Echoes:
        p, i = self.problem, self.instance
        if self.plan.echoes == "ideal":
            return hear_ideal(p, i, self.precoder, self.streams, "echo")
        s = p.scenario
        symbols = self.streams.complex_normal("sounded", s.num_devices, s.num_tasks, s.frame_length)
        return hear(p, i, self.precoder @ pulsed(symbols, s.pulse), self.streams, "echo")

    def _evidence(self) -> Evidence:
        return evidence(self.heard, likelihood=self.plan.likelihood)
