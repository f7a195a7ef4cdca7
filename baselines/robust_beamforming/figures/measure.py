"""Measurements behind the figures of the BOBLRBF paper: fronts, claimed rates, all schemes.

Source: Chen and Yang 2025, Figs. 3 and 4 and their text. All tables share users, fading and
reflection phases, so that differences are paired. Every rate is the exact worst case.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from baselines.figures import Estimate, Table
from baselines.robust_beamforming.boblrbf import Claim
from baselines.robust_beamforming.figures.draws import PREFERENCES, Channels, Play
from baselines.robust_beamforming.figures.speed import (
    NETWORKS,
    Training,
    measure_speed,
    read_trainings,
)
from isac_gym.problems.robust_beamforming.front import FrontMetrics

__all__ = [
    "AUDITED",
    "CLOSED",
    "CSI_ERRORS",
    "FRONT_SCHEMES",
    "POWERS_CSI_ERROR",
    "POWERS_DBM",
    "SCHEMES",
    "SPEED_CSI_ERROR",
    "VARIANTS",
    "Effort",
    "Measured",
    "Plays",
    "fronts",
    "measure_all",
]

CSI_ERRORS = (0.0, 0.05, 0.1, 0.2)
AUDITED = (0.05, 0.1)  # errors at which all schemes are run
POWERS_DBM = (30, 35, 40)
POWERS_CSI_ERROR = 0.05
SPEED_CSI_ERROR = 0.1
FRONT_SCHEMES = ("pga", "boblrbf")
VARIANTS = ("boblrbf-literal", "boblrbf-phase1", "boblrbf")
CLOSED = ("mrt-split", "mrt-null", "zf-split", "zf-null", "rzf-split", "rzf-null")
SCHEMES = (
    *CLOSED,
    "wmmse-split",
    "robust-wmmse-split",
    *NETWORKS,
    *VARIANTS,
    "pga-nominal",
    "pga",
)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long the iterative schemes run.

    Attributes:
        pga: Iterations of the reference and of its nominal twin.
        boblrbf: Iterations of the paper's algorithm.
        ceiling: Iterations of the certified ceiling; more make it tighter, never wrong.
        wmmse: Most rounds of the WMMSE schemes.
        speed_parts: Shares of these iterations at which Fig. 5 is sampled, rising to 1.
        speed_batch: Channels of Fig. 5, all in one batch in its batched runs, >= 3.
        validation: Instances behind the levels drawn into the training curves.
        weights: Folder of the networks' weights; None for the shipped ones.
    """

    pga: int = 150
    boblrbf: int = 200
    ceiling: int = 150
    wmmse: int = 500
    speed_parts: tuple[float, ...] = (0.05, 0.15, 0.4, 1.0)
    speed_batch: int = 64
    validation: int = 128
    weights: Path | None = None

    def iterations(self, scheme: str) -> int | None:
        """Iterations of a scheme; None where there is nothing to choose."""
        if scheme in VARIANTS:
            return self.boblrbf
        if scheme.startswith("pga"):
            return self.pga
        return self.wmmse if "wmmse" in scheme else None

    def fields(self, scheme: str) -> dict[str, str]:
        """Hyper-parameters of a scheme: where a network's weights lie."""
        if self.weights is None or scheme not in NETWORKS:
            return {}
        return {"weights": str(self.weights / scheme)}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Tables of one run.

    Attributes:
        error_fronts: Points over the preference for each CSI error (Fig. 3).
        errors: Hypervolumes, CRLB and robustness over the CSI error (Fig. 3).
        power_fronts: Points over the preference for each power budget (Fig. 4).
        powers: Hypervolumes and CRLB over the power budget (Fig. 4).
        speed: Values and times at p = 1/2 over iterations (Fig. 5).
        claims: What BOBLRBF claims against the exact worst case, over the CSI error.
        schemes: Hypervolumes of all schemes over the CSI error.
        levels: Mean objective of solvers without training, at random preferences.
        trainings: One per trained network and seed.
    """

    error_fronts: Table
    errors: Table
    power_fronts: Table
    powers: Table
    speed: Table
    claims: Table
    schemes: Table
    levels: Table
    trainings: list[Training]


Plays = dict[tuple[float, str], Play]


def measure_all(
    *, draws: int, seed: int, effort: Effort, progress: Callable[[str], None]
) -> Measured:
    """All tables behind the figures; calls ``progress`` with a line before each step."""
    trainings = read_trainings(effort.weights)  # first, so that missing weights cost no time
    by_error = {e: Channels.sample(draws=draws, seed=seed, csi_error=e) for e in CSI_ERRORS}
    plays = _play_errors(by_error, effort, progress)
    by_power: dict[float, Channels] = {
        p: Channels.sample(draws=draws, seed=seed, csi_error=POWERS_CSI_ERROR, max_power_dbm=p)
        for p in POWERS_DBM
    }
    at_power = _play_powers(by_power, plays, effort, progress)
    speed, levels = measure_speed(
        Channels.sample(draws=effort.speed_batch, seed=seed, csi_error=SPEED_CSI_ERROR),
        {"pga": effort.pga, "boblrbf": effort.boblrbf},
        parts=effort.speed_parts,
        validation=effort.validation,
        seed=seed,
        weights=effort.weights,
        progress=progress,
    )
    error_fronts, errors = fronts("csi_error", by_error, plays)
    power_fronts, powers = fronts("max_power_dbm", by_power, at_power)
    audited = {e: by_error[e] for e in AUDITED}
    return Measured(
        error_fronts=error_fronts,
        errors=errors,
        power_fronts=power_fronts,
        powers=powers,
        speed=speed,
        claims=_claims(audited, plays),
        schemes=_schemes(audited, plays),
        levels=levels,
        trainings=trainings,
    )


def _play_errors(
    by_error: dict[float, Channels], effort: Effort, progress: Callable[[str], None]
) -> Plays:
    """Both front schemes at every CSI error; all schemes and the ceiling at the audited ones."""
    plays: Plays = {}
    for error, channels in by_error.items():
        for scheme in SCHEMES if error in AUDITED else FRONT_SCHEMES:
            progress(f"{scheme} at CSI error {error:g}")
            count, fields = effort.iterations(scheme), effort.fields(scheme)
            plays[error, scheme] = channels.play(scheme, iterations=count, **fields)
        if error in AUDITED:
            progress(f"certified ceiling at CSI error {error:g}")
            plays[error, "ceiling"] = channels.play("relaxation", iterations=effort.ceiling)
    return plays


def _play_powers(
    by_power: dict[float, Channels],
    known: Plays,
    effort: Effort,
    progress: Callable[[str], None],
) -> Plays:
    """Both front schemes at every power; those at the scenario's own power are known."""
    plays: Plays = {}
    for power, channels in by_power.items():
        for scheme in FRONT_SCHEMES:
            progress(f"{scheme} at {power:g} dBm")
            if power == channels.front.scenario_type().max_power_dbm:
                plays[power, scheme] = known[POWERS_CSI_ERROR, scheme]
            else:
                count = effort.iterations(scheme)
                plays[power, scheme] = channels.play(scheme, iterations=count)
    return plays


def fronts(axis: str, by_level: dict[float, Channels], plays: Plays) -> tuple[Table, Table]:
    """Points of the fronts over the preference, and their summary over the level.

    Args:
        axis: Name of the level with its unit.
        by_level: Channels at each level.
        plays: Fronts by level and scheme; needs those of ``FRONT_SCHEMES``.
    """
    points, summary = Table("preference"), Table(axis)
    for level, channels in by_level.items():
        for scheme in FRONT_SCHEMES:
            m = plays[level, scheme].metrics
            for k, p in enumerate(PREFERENCES):
                found = {
                    "worst_rate_bps_hz": channels.estimate(m.worst_rate_bps_hz[:, k]),
                    "crlb_m2": channels.estimate(m.crlb_m2[:, k]),
                    "rate_utility": channels.estimate(m.rate_utility[:, k]),
                    "sensing_utility": channels.estimate(m.sensing_utility[:, k]),
                }
                _store(points, p, f"{scheme} at {level:g}", found)
            found = {
                "hypervolume": channels.estimate(m.objective),
                "outside_scored_share": channels.estimate(_outside(m)),
            }
            _store(summary, level, scheme, found)
        bounds = {"crlb_m2": channels.estimate(channels.instance.crlb_bound)}
        _store(summary, level, "bound", bounds)
    return points, summary


def _claims(by_error: dict[float, Channels], plays: Plays) -> Table:
    """Claimed against exact rates, cones, own errors and budgets of the BOBLRBF variants."""
    table = Table("csi_error")
    for error, channels in by_error.items():
        for scheme in VARIANTS:
            play = plays[error, scheme]
            if play.claim is not None:
                _store(table, error, scheme, _audit(channels, play, play.claim))
    return table


def _audit(channels: Channels, play: Play, claim: Claim) -> dict[str, Estimate]:
    metrics, shape = play.metrics, (channels.instance.batch_size, -1)
    exact = metrics.worst_rate_bps_hz.mean(-1)
    claimed = claim.rate_bps_hz.reshape(shape).mean(-1)
    size = claim.errors.abs().square().sum(-1).sqrt() / channels.points.radius
    power = claim.power.amax(-1).reshape(shape)
    values = {
        "claimed_rate_bps_hz": claimed,
        "worst_rate_bps_hz": exact,
        "optimism_bps_hz": claimed - exact,
        "outside_share": 1 - claim.is_inside.reshape(shape).double().mean(-1),
        "outside_scored_share": _outside(metrics),
        "error_over_radius": size.flatten(1).mean(-1).reshape(shape).mean(-1),
        "power_over_budget_max": power.amax(-1),
        "cuts": claim.num_cuts.double().reshape(shape).mean(-1),
        "hypervolume": metrics.objective,
    }
    return {name: channels.estimate(value) for name, value in values.items()}


def _schemes(by_error: dict[float, Channels], plays: Plays) -> Table:
    """Hypervolumes of all schemes, of their ceiling, and the reference over the ceiling."""
    table = Table("csi_error")
    for error, channels in by_error.items():
        ceiling = plays[error, "ceiling"].ceiling
        for scheme in SCHEMES:
            volume = plays[error, scheme].metrics.objective
            found = {"hypervolume": channels.estimate(volume)}
            if ceiling is not None:
                found["hypervolume_over_ceiling"] = channels.estimate(volume / ceiling)
                found["above_ceiling_share"] = channels.estimate(volume > ceiling)
            _store(table, error, scheme, found)
        if ceiling is not None:
            _store(table, error, "ceiling", {"hypervolume": channels.estimate(ceiling)})
    return table


def _outside(metrics: FrontMetrics) -> Tensor:
    """Share of a channel's points whose scored objectives are nearer to another ray, (D,)."""
    missing = 1 - torch.stack([metrics.rate_utility, metrics.sensing_utility], -1)  # (D, S, 2)
    p = missing.new_tensor(PREFERENCES)
    rays = torch.nn.functional.normalize(torch.stack([1 - p, p]), dim=0)  # (2, S)
    nearest = (missing @ rays).argmax(-1)
    return (nearest != torch.arange(len(p))).double().mean(-1)


def _store(table: Table, place: float, scheme: str, found: dict[str, Estimate]) -> None:
    table.cells.update({(place, scheme, name): value for name, value in found.items()})
