"""Measurements behind Figs. 6, 7, 10 and 11: bounds, errors and convergence of algorithm 1.

Every table has a twin with the same cells from :mod:`baselines.ota_feel.figures.theory`, which
calculates them apart on the same frames and precoders.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch

from baselines.figures import Array, Estimate, Table, estimate
from baselines.ota_feel.figures import theory
from baselines.ota_feel.figures.draws import Frames, lanes, mean_of, median_of, wide
from isac_gym.problems.ota_feel.model import OtaFeelDecision

__all__ = [
    "ANTENNAS",
    "DEVICES",
    "FRAMES",
    "LOADS",
    "NEAR",
    "PRINTED_LOADS",
    "PULSES",
    "TASKS",
    "Effort",
    "Twin",
    "apart_bounds",
    "apart_errors",
    "measure_convergence",
    "measure_frames",
    "measure_loads",
    "measure_users",
]

FRAMES = (32, 64, 128, 256, 512)
DEVICES = (5, 10, 15, 20)
TASKS = (1, 2, 3, 4)
ANTENNAS = (8, 16, 32, 64)
PULSES = ("none", "dft")
NEAR = 0.1  # relative distance from the end that counts as converged
LOADS = (8, 16, 32, 64)  # antennas of a device in Fig. 11
PRINTED_LOADS = {8: 32_000, 64: 244_000}  # what the paper's text reads off it
_SAMPLES = 200
_QUANTITIES = {"crb_ideal_db": False, "crb_interference_db": True}


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long the iterative schemes run.

    Attributes:
        rounds: Rounds of the alternation behind Figs. 6 to 9, over-relaxed.
        long_rounds: Rounds of the plain alternation of Fig. 10, the last of which is its end.
        audited: Frames whose trajectories are calculated apart.
        audited_rounds: Rounds of those.
        front_steps: Steps of every descent behind the fronts of Figs. 8 and 9.
        front_starts: Starts of every descent.
    """

    rounds: int = 200
    long_rounds: int = 600
    audited: int = 2
    audited_rounds: int = 12
    front_steps: int = 100
    front_starts: int = 3


@dataclass(frozen=True)
class Twin:
    """A table and the same cells calculated apart.

    Attributes:
        table: Ours.
        apart: Plain NumPy.
    """

    table: Table
    apart: Table

    def put(
        self, place: float | str, scheme: str, quantity: str, ours: Estimate, apart: Estimate
    ) -> None:
        """Store one cell of both."""
        self.table.cells[place, scheme, quantity] = ours
        self.apart.cells[place, scheme, quantity] = apart


def measure_frames(*, draws: int, seed: int, effort: Effort) -> Twin:
    """Position bounds of the paper's design over the frame length, for several K (Fig. 6)."""
    twin = Twin(Table("frame_length"), Table("frame_length"))
    for devices in DEVICES:
        frames = Frames.sample(draws=draws, seed=seed, num_devices=devices)
        decision = frames.design(effort.rounds)  # knows nothing of the frame
        for length in FRAMES:
            framed = frames.framed(length)
            for quantity, interference in _QUANTITIES.items():
                ours = median_of(framed.crb_db(decision, interference=interference))
                apart = apart_bounds(framed, decision, interference=interference)
                scheme = f"K={devices}"
                twin.put(length, scheme, quantity, ours, median_of(torch.tensor(apart)))
    return twin


def measure_users(*, draws: int, seed: int, effort: Effort) -> Twin:
    """Errors and bounds over K for several numbers of streams, with and without pulses (Fig. 7)."""
    twin = Twin(Table("num_devices"), Table("num_devices"))
    for pulse, tasks, devices in itertools.product(PULSES, TASKS, DEVICES):
        frames = Frames.sample(
            draws=draws, seed=seed, pulse=pulse, num_tasks=tasks, num_devices=devices
        )
        decision, scheme = frames.design(effort.rounds), f"{pulse} I={tasks}"
        mean, apart = frames.mse(decision), apart_errors(frames, decision, scale=1.0)
        twin.put(devices, scheme, "mse_mean", median_of(mean), median_of(torch.tensor(apart)))
        summed = median_of(mean * devices**2)  # W = I: receiver and error scale with the weights
        apart = apart_errors(frames, decision, scale=float(devices))
        twin.put(devices, scheme, "mse_sum", summed, median_of(torch.tensor(apart)))
        for quantity, interference in _QUANTITIES.items():
            bound = frames.crb_db(decision, interference=interference)
            apart = apart_bounds(frames, decision, interference=interference)
            twin.put(devices, scheme, quantity, median_of(bound), median_of(torch.tensor(apart)))
    return twin


def measure_convergence(*, draws: int, seed: int, effort: Effort) -> tuple[Table, Table]:
    """Errors over rounds of plain alternation for several N, and when they are near their end.

    Returns:
        Over the round, and over the number of the server's antennas.
    """
    curves, ends = Table("round"), Table("server_antennas")
    for pulse, antennas in itertools.product(PULSES, ANTENNAS):
        frames = Frames.sample(draws=draws, seed=seed, pulse=pulse, server_antennas=antennas)
        decision, history = frames.design(0), []
        for number in range(effort.long_rounds + 1):
            history.append(wide(frames.nmse(decision)))
            if number in _shown(effort.long_rounds):
                scheme = f"{pulse} N={antennas}"
                curves.cells[number, scheme, "nmse"] = median_of(torch.tensor(history[-1]))
                bound = frames.crb_db(decision, interference=False)
                curves.cells[number, scheme, "crb_ideal_db"] = median_of(bound)
            decision = frames.design(1, start=decision, relaxation=1.0)
        errors = np.array(history)  # (rounds + 1, D)
        for quantity, found in _summaries(errors, frames, effort).items():
            ends.cells[antennas, pulse, quantity] = found
    return curves, ends


def _shown(rounds: int) -> set[int]:
    """Rounds that are stored: the first twenty, then a geometric grid."""
    grid = np.geomspace(1, max(rounds, 1), 40).round().astype(int)
    return {*range(min(rounds, 20) + 1), *grid.tolist(), rounds}


def _summaries(errors: Array, frames: Frames, effort: Effort) -> dict[str, Estimate]:
    near = errors <= (1 + NEAR) * errors[-1]
    first = near.argmax(0)
    count = min(effort.audited, errors.shape[1])
    apart = [_trajectory(frames, lane, effort.audited_rounds) for lane in range(count)]
    known = errors[: len(apart[0]), :count].T
    off = np.abs(np.array(apart) / known - 1).max(1)
    tenth = min(10, len(errors) - 1)
    return {
        "nmse": median_of(torch.tensor(errors[-1])),
        "rounds_to_near": median_of(torch.tensor(first)),
        "near_after_10_share": mean_of(torch.tensor(near[tenth])),
        "excess_after_10": median_of(torch.tensor(errors[tenth] / errors[-1] - 1)),
        "largest_rise": estimate(np.diff(errors, axis=0).max(0), num_batches=1, statistic=np.max),
        "off_numpy": estimate(off, num_batches=1, statistic=np.max),
    }


def measure_loads() -> Table:
    """Real numbers that centralised and distributed sensing send (Fig. 11)."""
    table = Table("device_antennas")
    for antennas in LOADS:
        for devices in (10, 15):
            load = 2 * devices * antennas * _SAMPLES
            table.cells[antennas, f"K={devices}", "real_numbers"] = _exactly(load)
        if antennas in PRINTED_LOADS:
            printed = PRINTED_LOADS[antennas]
            table.cells[antennas, "printed", "real_numbers"] = _exactly(printed)
            implied = printed / (2 * antennas * _SAMPLES)
            table.cells[antennas, "printed", "implied_devices"] = _exactly(implied)
    return table


def _exactly(value: float) -> Estimate:
    return Estimate(float(value), (float(value),) * 3)


def apart_errors(frames: Frames, decision: OtaFeelDecision, *, scale: float) -> Array:
    """Errors of all frames in plain NumPy with weights times ``scale``, (D,)."""
    s = frames.problem.scenario
    length = s.num_devices if s.pulse == "dft" else None  # the error does not depend on it
    return np.array(
        [
            theory.mean_error(
                each["channel"], each["precoder"], scale * each["weight"], s.noise_w, length
            )
            for each in lanes(frames, decision)
        ]
    )


def apart_bounds(
    frames: Frames,
    decision: OtaFeelDecision,
    *,
    interference: bool,
    prior_std_m: float = math.inf,
) -> Array:
    """Position bounds of all frames in plain NumPy, (D,) dB of 1 m^2."""
    s = frames.problem.scenario
    found = np.array(
        [
            theory.position_bound(
                each["position"],
                each["target"],
                each["precoder"],
                each["echo_noise_w"],
                frame_length=s.frame_length,
                array=s.array,
                interference=interference,
                prior_std_m=prior_std_m,
            )
            for each in lanes(frames, decision)
        ]
    )
    return 10 * np.log10(found)


def _trajectory(frames: Frames, lane: int, rounds: int) -> list[float]:
    s, start = frames.problem.scenario, frames.design(0)
    each = next(itertools.islice(lanes(frames, start), lane, None))
    return theory.alternation(
        each["channel"],
        each["precoder"],
        each["weight"],
        each["budget"],
        s.noise_w,
        rounds,
        has_pulses=s.pulse == "dft",
    )
