"""All measurements behind the OTA-FEEL figures, in the order of their cost."""

from collections.abc import Callable
from dataclasses import dataclass

from baselines.ota_feel.figures.claims import Measured
from baselines.ota_feel.figures.fronts import measure_fronts, measure_points
from baselines.ota_feel.figures.learning import Curves, record, recorded
from baselines.ota_feel.figures.learning_theory import measure_apart
from baselines.ota_feel.figures.location import measure_location
from baselines.ota_feel.figures.sweeps import (
    Effort,
    measure_convergence,
    measure_frames,
    measure_loads,
    measure_users,
)

__all__ = ["RECORDED", "Training", "measure_all"]

RECORDED = ("mnist", "cifar10")
_FRONT_SHARE = 6  # fronts take so many times as long as the rest


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long the federations on digits run.

    Attributes:
        rounds: Rounds.
        seeds: Federations side by side.
        apart_rounds: Rounds of those in plain NumPy.
        apart_lanes: How many of those.
    """

    rounds: int = 40
    seeds: int = 8
    apart_rounds: int = 20
    apart_lanes: int = 3


def measure_all(
    *,
    draws: int,
    seed: int,
    effort: Effort,
    training: Training,
    progress: Callable[[str], None],
) -> Measured:
    """All tables behind the figures; calls ``progress`` with a line before each step."""
    common = {"draws": draws, "seed": seed, "effort": effort}
    progress("position bounds over T and K")
    frames = measure_frames(**common)
    progress("aggregation errors over K and I")
    users = measure_users(**common)
    progress("convergence over N")
    convergence, ends = measure_convergence(**common)
    progress("what full power costs")
    points = measure_points(**common)
    progress("fronts over N and T")
    few = max(3, draws // _FRONT_SHARE)
    fronts = measure_fronts(draws=few, seed=seed, effort=effort)
    progress("localisation, setups I to III")
    location = measure_location(draws=draws, seed=seed)
    progress("training on digits, then in plain NumPy")
    curves = {"digits": _digits(training, seed)}
    apart = measure_apart(
        rounds=min(training.apart_rounds, training.rounds),
        seeds=training.seeds,
        lanes=min(training.apart_lanes, training.seeds),
        seed=seed,
    )
    stored = {name: recorded(name) for name in RECORDED}
    curves |= {name: each for name, each in stored.items() if each is not None}
    return Measured(
        frames=frames,
        users=users,
        points=points,
        fronts=fronts,
        convergence=convergence,
        ends=ends,
        loads=measure_loads(),
        location=location,
        curves=curves,
        apart=apart,
    )


def _digits(training: Training, seed: int) -> Curves:
    return record("digits", rounds=training.rounds, seeds=training.seeds, seed=seed)
