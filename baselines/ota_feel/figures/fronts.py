"""Measurements behind Figs. 8 and 9: what is traded against what, over N and over T.

With the paper's bound, which depends on the total power only, the front is one point; with the true
bounds it is a curve.
"""

import torch
from torch import Tensor

from baselines.figures import Estimate, Table
from baselines.ota_feel.figures import theory
from baselines.ota_feel.figures.draws import Frames, lanes, mean_of, median_of, wide
from baselines.ota_feel.figures.sweeps import (
    ANTENNAS,
    PULSES,
    Effort,
    Twin,
    apart_bounds,
    apart_errors,
)
from baselines.ota_feel.tradeoff import front
from isac_gym.core.units import linear_to_db
from isac_gym.physics.aggregation import mmse_receivers
from isac_gym.physics.precoding import precoder_step
from isac_gym.problems.ota_feel.model import OtaFeelDecision, gains, power_of

__all__ = ["LONG_FRAME", "SENSINGS", "WEIGHTS", "front_name", "measure_fronts", "measure_points"]

WEIGHTS = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
SENSINGS = ("ideal", "interference")
LONG_FRAME = 256  # samples; the others have 64
_FULL = 1 - 1e-9  # of the sum of the budgets


def front_name(sensing: str, antennas: int, length: int) -> str:
    """Name of a front in its table."""
    return f"{sensing} N={antennas} T={length}"


def measure_points(*, draws: int, seed: int, effort: Effort) -> Table:
    """What full power costs the aggregation, and what it does for the paper's bound (Fig. 9)."""
    table = Table("server_antennas")
    for pulse in PULSES:
        for antennas in ANTENNAS:
            frames = Frames.sample(draws=draws, seed=seed, pulse=pulse, server_antennas=antennas)
            best = frames.design(effort.rounds)
            full = _full_power(frames, best)
            power, total = frames.instance.max_power_w, frames.instance.weight.square().sum((1, 2))
            before, after = (
                frames.problem.evaluate(frames.instance, c).crb_paper_m2 for c in (best, full)
            )
            cost = frames.nmse(full) / frames.nmse(best) - 1
            found = {
                "nmse": median_of(frames.nmse(best)),
                "apart_nmse": median_of(
                    torch.tensor(apart_errors(frames, best, scale=1.0)) / total
                ),
                "power_share": mean_of(power_of(best.precoder).sum(-1) / power.sum(-1)),
                "full_power_share": mean_of(power_of(full.precoder).sum(-1) / power.sum(-1)),
                "full_power_cost": median_of(cost),
                "full_power_worst": _worst(cost),
                "paper_bound_fall_db": median_of(linear_to_db(before) - linear_to_db(after)),
                "true_over_paper_db": median_of(
                    frames.crb_db(best, interference=False) - linear_to_db(before)
                ),
            }
            if pulse == "none":
                found["apart_cost"] = _worst(torch.tensor(_filled_cost(frames, best)))
            for name, value in found.items():
                table.cells[antennas, pulse, name] = value
    return table


def _worst(values: Tensor) -> Estimate:
    return Estimate(float(values.max()), (float(values.max()),) * 3)


def _full_power(frames: Frames, decision: OtaFeelDecision) -> OtaFeelDecision:
    """One exact step of the precoders under the least total power of all budgets."""
    i, s = frames.instance, frames.problem.scenario
    receiver = mmse_receivers(gains(i, decision), i.weight, s.noise_w)
    precoder = precoder_step(
        i.channel,
        i.weight,
        i.max_power_w,
        receiver.sum(1) if s.pulse == "none" else receiver,
        pulse=s.pulse,
        least_w=_FULL * float(i.max_power_w[0].sum()),
    )
    return OtaFeelDecision(precoder.resolve_conj())


def _filled_cost(frames: Frames, decision: OtaFeelDecision) -> list[float]:
    """Relative change of the error where plain NumPy fills up the power in the null space."""
    noise_w, found = frames.problem.scenario.noise_w, []
    for each in lanes(frames, decision):
        channel, weight = each["channel"], each["weight"]
        filled = theory.null_space_fill(channel, each["precoder"], weight, each["budget"], noise_w)
        old = theory.mean_error(channel, each["precoder"], weight, noise_w, None)
        new = theory.mean_error(channel, filled, weight, noise_w, None)
        found.append(new / old - 1)
    return found


def measure_fronts(*, draws: int, seed: int, effort: Effort) -> Twin:
    """Fronts with the true bounds over N, and over T at the paper's N (Figs. 8 and 9)."""
    twin = Twin(Table("weight"), Table("weight"))
    for sensing in SENSINGS:
        for antennas, length in (*((n, 64) for n in ANTENNAS), (16, LONG_FRAME)):
            frames = Frames.sample(
                draws=draws,
                seed=seed,
                preset="joint",
                sensing=sensing,
                server_antennas=antennas,
                frame_length=length,
            )
            found = front(
                frames.problem,
                frames.instance,
                weights=WEIGHTS,
                iterations=effort.front_steps,
                num_starts=effort.front_starts,
            )
            name = front_name(sensing, antennas, length)
            for index, weight in enumerate(WEIGHTS):
                decision = OtaFeelDecision(found.precoder[:, index])
                _put(twin, weight, name, frames, decision)
    return twin


def _put(twin: Twin, weight: float, name: str, frames: Frames, decision: OtaFeelDecision) -> None:
    disturbed = frames.problem.scenario.sensing == "interference"
    total = wide(frames.instance.weight.square().sum((1, 2)))
    error = torch.tensor(apart_errors(frames, decision, scale=1.0) / total)
    nmse = 10 * frames.nmse(decision).log10()
    twin.put(weight, name, "nmse_db", median_of(nmse), median_of(10 * error.log10()))
    bound = frames.crb_db(decision, interference=disturbed)
    apart = apart_bounds(frames, decision, interference=disturbed)
    twin.put(weight, name, "crb_db", median_of(bound), median_of(torch.tensor(apart)))
