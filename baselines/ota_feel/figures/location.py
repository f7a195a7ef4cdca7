"""Measurements behind Figs. 4 and 5: errors of the target's estimate over rounds, and bounds."""

from dataclasses import dataclass, field

import numpy as np
import torch

from baselines.figures import Array, Estimate, Table, combine
from baselines.ota_feel.figures.draws import Frames, mean_of, median_of, wide
from baselines.ota_feel.figures.sweeps import Twin, apart_bounds
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.problems.ota_feel.localisation import SearchGrid, single_shot
from isac_gym.problems.ota_feel.localise import LocalisationPlan, localise
from isac_gym.problems.ota_feel.model import OtaFeelDecision

__all__ = ["MODELS", "ROUNDS", "SETUPS", "Located", "Setup", "measure_location"]

ROUNDS = 30
MODELS = ("vertical, other devices unheard", "upa, waveforms")


@dataclass(frozen=True)
class Setup:
    """A curve of Fig. 4.

    Attributes:
        link: ``perfect`` or ``ota``.
        num_tasks: Streams; the second one carries learning.
        pulse: Of the uplink.
        start: Of the search.
        repeats: Times each symbol of localisation is sent.
    """

    link: str
    num_tasks: int
    pulse: str = "none"
    start: str = "search"
    repeats: int = 16

    def plan(self, model: str) -> LocalisationPlan:
        """How the target is found."""
        is_ideal = model == MODELS[0]
        return LocalisationPlan(
            link=self.link,
            start=self.start,
            echoes="ideal" if is_ideal else "frame",
            likelihood="white" if is_ideal else "full",
            rounds=ROUNDS,
            repeats=self.repeats,
        )


SETUPS = {
    "I, random start": Setup("perfect", 2, start="random"),
    "I": Setup("perfect", 2),
    "II": Setup("ota", 1),
    "III": Setup("ota", 2),
    "III, dft": Setup("ota", 2, pulse="dft", repeats=64),
    "III, dft, sent once": Setup("ota", 2, pulse="dft", repeats=1),
}


@dataclass
class Located:
    """What was found.

    Attributes:
        curves: Errors over rounds by model and setup.
        ends: Errors of the last round, single shots and bounds, by model; and apart.
        places: Targets, estimates and single shots of setup III, (D, 3) m each, by model.
    """

    curves: Table = field(default_factory=lambda: Table("round"))
    ends: Twin = field(default_factory=lambda: Twin(Table("model"), Table("model")))
    places: dict[str, tuple[Array, Array, Array]] = field(default_factory=dict)


def measure_location(*, draws: int, seed: int) -> Located:
    """Errors of all setups under both models of the echoes."""
    found = Located()
    for model in MODELS:
        for name, setup in SETUPS.items():
            _measure(found, model, name, setup, draws, seed)
    return found


def _measure(found: Located, model: str, name: str, setup: Setup, draws: int, seed: int) -> None:
    array, is_ideal = model.split(",")[0], model == MODELS[0]
    frames = Frames.sample(
        draws=draws, seed=seed, array=array, num_tasks=setup.num_tasks, pulse=setup.pulse
    )
    streams = Streams.from_seeds(lane_seeds(f"figures/ota_feel/location/{seed}", draws))
    result = localise(frames.problem, frames.instance, streams, setup.plan(model))
    error = result.error_m2
    for number in range(error.shape[1]):
        cells = found.curves.cells
        cells[number, f"{model}, {name}", "mean_m2"] = mean_of(error[:, number])
        cells[number, f"{model}, {name}", "median_m2"] = median_of(error[:, number])
    decision, last = OtaFeelDecision(result.precoder), error[:, -1]
    p = frames.problem
    bound = p.bound(p.information(frames.instance, decision, interference=not is_ideal))
    apart = 10 ** (
        apart_bounds(
            frames, decision, interference=not is_ideal, prior_std_m=p.scenario.prior_std_m
        )
        / 10
    )
    grid = SearchGrid.of(p.scenario)
    alone = single_shot(p, frames.instance, result.evidence, grid)
    shot = (alone - frames.instance.target).square().sum(-1)
    ends = found.ends
    ours, theirs = mean_of(bound), mean_of(torch.tensor(apart))
    ends.put(model, name, "bound_mean_m2", ours, theirs)
    ends.put(model, name, "bound_median_m2", median_of(bound), median_of(torch.tensor(apart)))
    table = ends.table.cells
    table[model, name, "mean_m2"] = mean_of(last)
    table[model, name, "median_m2"] = median_of(last)
    table[model, name, "mean_over_bound"] = _ratio(mean_of(last), ours)
    table[model, name, "apart_over_bound"] = _ratio(mean_of(last), theirs)
    table[model, name, "median_over_bound"] = median_of(last / bound)
    table[model, name, "single_mean_m2"] = mean_of(shot)
    table[model, name, "prior_mean_m2"] = _prior(frames)
    if name == "III":
        places = (frames.instance.target, result.estimate, alone)
        found.places[model] = (wide(places[0]), wide(places[1]), wide(places[2]))


def _ratio(over: Estimate, under: Estimate) -> Estimate:
    return combine(lambda a, b: a / b, over, under)


def _prior(frames: Frames) -> Estimate:
    """Squared distance of the targets from the middle of their region, m^2."""
    target = wide(frames.instance.target)
    middle = wide(SearchGrid.of(frames.problem.scenario).points).mean(0)
    return mean_of(torch.tensor(np.square(target - middle).sum(1)))
