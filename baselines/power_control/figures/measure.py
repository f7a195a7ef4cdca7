"""Monte-Carlo measurements behind the power-control figures, batched over draws.

Source: Rivera Figueroa et al. 2024, section IV-B. All curves share the same draws of positions and
fading (common random numbers): a sweep only exchanges self-interference or threshold. Draws whose
thresholds cannot be met are kept out of averages and counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.figures import Array, Estimate, Table, combine
from baselines.power_control.figures.draws import Draws, Play
from isac_gym.core.units import linear_to_db, w_to_dbm

__all__ = [
    "COMMON_SUBSET_DB",
    "DISTRIBUTION_DB",
    "SCA_TOLERANCES",
    "SENSITIVITY",
    "Measured",
    "gap_to_optimum",
    "interference_shares",
    "localisation",
    "measure_all",
    "sensitivity",
    "sigma_distribution",
    "sweep_self_interference",
    "sweep_threshold",
]

SELF_INTERFERENCE_DB = (-130, -125, -120, -115, -110, -105, -102.5, -100, -97.5, -95, -90, -80, -70)
DISTRIBUTION_DB = (-120, -110, -100, -90)
THRESHOLD_DB = (-20, -15, -10, -7.5, -5, -2.5, 0, 2, 3, 5, 6, 7, 8, 9, 10, 12.5, 15)
COMMON_SUBSET_DB = 10.0  # draws feasible here are feasible at every smaller threshold
ENERGY_LOSS_DB = (0.01, 0.1, 1.0)
SCA_TOLERANCES = (1e-2, 1e-3, 1e-6)
LOCALISATION_SCHEMES = ("full-power", "exact", "min-mean-sigma", "peb2d", "peb3d")
SENSITIVITY: dict[str, dict[str, Any]] = {
    "reference": {},
    "r = 50 m": {"hex_radius_m": 50.0},
    "RCS 0 dBsm": {"target_rcs_dbsm": 0.0},
    "K = 3 dB": {"rician_k_db": 3.0},
    "cap 20 dBm": {"max_power_dbm": 20.0},
    "cap 43 dBm": {"max_power_dbm": 43.0},
    "own echo interferes": {"own_echo": "interference"},
    "direct signal cancelled": {"direct_cancel_db": 300.0},
}
PROBABILITIES = tuple(np.round(np.linspace(0.01, 0.99, 99), 2).tolist())
SLOW_SHARE = 0.2  # of the draws for what needs an interior-point solver ...
FEWEST_DRAWS = 100  # ... but not fewer than this


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Tables of one run.

    Attributes:
        distribution: Quantiles of the mean range error (Fig. 3).
        self_interference: Sweep at Gamma = 0 dB (Fig. 4).
        energy: The same at Gamma = 3 dB, three levels.
        threshold: Sweep of Gamma at SI = -110 dB (Fig. 5).
        shares: Interference at full power.
        sensitivity: One number of ours changed at a time.
        gaps: Quantiles of the gap of Algorithm 1.
        iterations: Its outer iterations.
        localisation: Position error bounds over their optima.
        ratios: Quantiles of the same.
    """

    distribution: Table
    self_interference: Table
    energy: Table
    threshold: Table
    shares: Table
    sensitivity: Table
    gaps: Table
    iterations: Table
    localisation: Table
    ratios: Table


def measure_all(*, draws: int, seed: int, progress: Callable[[str], None]) -> Measured:
    """All tables behind the figures; calls ``progress`` with a line before each step."""
    few = max(FEWEST_DRAWS, round(SLOW_SHARE * draws))
    drawn = Draws.sample(draws=draws, seed=seed)
    constrained = drawn.at(threshold_db=3.0)
    progress(f"range errors and powers over self-interference ({draws} draws)")
    distribution, sweep = sigma_distribution(drawn), sweep_self_interference(drawn)
    energy = sweep_self_interference(constrained, (-110, -90, -70))
    progress(f"range errors and feasibility over the threshold ({draws} draws)")
    threshold = sweep_threshold(drawn)
    progress(f"sensitivity to our constants ({draws} draws)")
    changes = sensitivity(draws=draws, seed=seed)
    progress(f"Algorithm 1 against the global optimum ({few} draws)")
    feasible = Draws.sample(draws=few, seed=seed, min_margin_db=0.0, threshold_db=3.0)
    gaps, iterations = gap_to_optimum(feasible)
    progress(f"position error bounds ({few} draws)")
    bounds, ratios = localisation(feasible)
    return Measured(
        distribution=distribution,
        self_interference=sweep,
        energy=energy,
        threshold=threshold,
        shares=interference_shares(drawn),
        sensitivity=changes,
        gaps=gaps,
        iterations=iterations,
        localisation=bounds,
        ratios=ratios,
    )


def _mean_dbm(power_w: Array) -> float:
    return w_to_dbm(float(power_w.mean()))


def _median(values: Array) -> float:
    return float(np.median(values))


def _share(draws: Draws, mask: Tensor, *, keep: Tensor | None = None) -> Estimate:
    return draws.estimate(mask, keep=keep)


def _everywhere(draws: Draws) -> Tensor:
    return torch.ones_like(draws.feasible)


def _range_quantities(draws: Draws, play: Play, keep: Tensor | None = None) -> dict[str, Estimate]:
    """Mean and worst range error, power, usable stations and position bounds of a scheme."""
    m, count = play.metrics, play.power.shape[1]
    cap_w = draws.instance.max_power_w
    found = {
        "mean_sigma_m": draws.estimate(m.mean_sigma_m, keep=keep),
        "worst_sigma_m": draws.estimate(m.worst_sigma_m, keep=keep),
        "power_dbm": draws.estimate(m.total_power_w / count, _mean_dbm, keep=keep),
        "usable_share": draws.estimate(m.usable / count, keep=keep),
        "all_usable_share": _share(draws, m.usable == count, keep=keep),
        "peb2d_median_m": draws.estimate(m.peb2d_m, _median, keep=keep),
        "condition2d_median": draws.estimate(m.condition2d, _median, keep=keep),
    }
    for i in range(count):
        found[f"sigma_bs{i + 1}_m"] = draws.estimate(m.range_sigma_m[:, i], keep=keep)
        power_w = (play.power * cap_w)[:, i]
        found[f"power_bs{i + 1}_dbm"] = draws.estimate(power_w, _mean_dbm, keep=keep)
    return found


def _gains(draws: Draws, play: Play, over: Play) -> dict[str, Estimate]:
    """Paired comparison of a scheme with another on the same draws."""
    new, old = play.metrics, over.metrics
    gain_db = linear_to_db(new.worst_sinr) - linear_to_db(old.worst_sinr)
    return {
        "mean_improves_share": _share(draws, new.mean_sigma_m < old.mean_sigma_m),
        "worst_improves_share": _share(draws, new.worst_sigma_m < old.worst_sigma_m),
        "level_gain_median_db": draws.estimate(gain_db, _median),
        "mean_change_percent": combine(
            lambda a, b: 100 * (a / b - 1),
            draws.estimate(new.mean_sigma_m),
            draws.estimate(old.mean_sigma_m),
        ),
        "worst_change_percent": combine(
            lambda a, b: 100 * (a / b - 1),
            draws.estimate(new.worst_sigma_m),
            draws.estimate(old.worst_sigma_m),
        ),
    }


def _store(table: Table, place: float | str, scheme: str, found: dict[str, Estimate]) -> None:
    table.cells.update({(place, scheme, name): value for name, value in found.items()})


def sweep_self_interference(
    draws: Draws, levels_db: Sequence[float] = SELF_INTERFERENCE_DB
) -> Table:
    """Fig. 4 and more: range errors and powers over self-interference, at the draws' threshold."""
    table = Table("self_interference_db")
    reference = None
    for level in levels_db:
        here = draws.at(self_interference_db=level)
        full, best = here.play("full-power"), here.play("exact")
        _store(table, level, "full-power", _range_quantities(here, full))
        _store(table, level, "exact", _range_quantities(here, best) | _gains(here, best, full))
        reference = best.power if reference is None else reference
        paired = {
            "largest_power_min": here.estimate(best.power.amax(-1), np.min),
            "all_powers_lower_share": _share(here, (best.power < reference).all(-1)),
            "all_powers_not_higher_share": _share(
                here, (best.power <= reference * (1 + 1e-9)).all(-1)
            ),
        }
        _store(table, level, "exact", paired)
        for loss_db in ENERGY_LOSS_DB:
            saver = here.play("energy-saver", loss_db=loss_db)
            power = here.estimate(saver.metrics.total_power_w / saver.power.shape[1], _mean_dbm)
            _store(table, level, f"energy-saver {loss_db:g} dB", {"power_dbm": power})
    return table


def sigma_distribution(draws: Draws, levels_db: Sequence[float] = DISTRIBUTION_DB) -> Table:
    """Fig. 3: quantiles of the mean range error per draw, for several self-interferences."""
    table = Table("probability")
    for level in levels_db:
        here = draws.at(self_interference_db=level)
        for scheme in ("full-power", "exact"):
            sigma = here.play(scheme).metrics.mean_sigma_m
            for p in PROBABILITIES:
                found = here.estimate(sigma, lambda v, p=p: float(np.quantile(v, p)))
                _store(table, p, f"{scheme} at {level:g} dB", {"mean_sigma_m": found})
    return table


def sweep_threshold(draws: Draws, levels_db: Sequence[float] = THRESHOLD_DB) -> Table:
    """Fig. 5: range errors and feasibility over the communication threshold.

    Averages run over the draws feasible at the threshold (own subset) and, with the suffix
    ``common``, over those feasible at ``COMMON_SUBSET_DB``.
    """
    table = Table("threshold_db")
    common = draws.at(threshold_db=COMMON_SUBSET_DB).feasible
    previous = None
    for level in levels_db:
        here = draws.at(threshold_db=level)
        best = here.play("exact")
        plays = {
            "full-power": here.play("full-power"),
            "full-power-projected": here.play("full-power-projected"),
            "exact": best,
        }
        for scheme, play in plays.items():
            _store(table, level, scheme, _range_quantities(here, play))
            if level <= COMMON_SUBSET_DB:
                subset = _range_quantities(here, play, keep=common)
                _store(table, level, f"{scheme} common", subset)
            _store(table, level, scheme, _feasibility(here, play))
        _store(table, level, "exact", _gains(here, best, plays["full-power"]))
        fair = _gains(here, best, plays["full-power-projected"])
        _store(table, level, "exact over full-power-projected", fair)
        worst = best.metrics.worst_sigma_m
        falls = (
            torch.zeros_like(here.feasible) if previous is None else worst < previous * (1 - 1e-9)
        )
        _store(table, level, "exact", {"worst_falls_share": _share(here, falls)})
        previous = worst
    return table


def _feasibility(here: Draws, play: Play) -> dict[str, Estimate]:
    met = play.metrics.is_feasible
    return {"feasible_share": _share(here, met, keep=_everywhere(here))}


def interference_shares(draws: Draws) -> Table:
    """Shares of what a base station receives besides its own echo, at full power."""
    i = draws.instance
    power = i.max_power_w
    own = torch.diagonal(i.bs_echo_gain, dim1=-2, dim2=-1)
    echoes = (i.bs_echo_gain * power[:, None, :]).sum(-1) - own * power
    parts = {
        "direct": (i.direct_gain * power[:, None, :]).sum(-1),
        "self-interference": i.self_interference * power,
        "bistatic echoes": echoes,
        "noise": i.bs_noise_w,
    }
    total = torch.stack(list(parts.values())).sum(0)
    table = Table("part")
    for name, part in parts.items():
        share = draws.estimate((part / total).mean(-1), keep=_everywhere(draws))
        _store(table, name, "full-power", {"share": share})
    return table


def sensitivity(*, draws: int, seed: int) -> Table:
    """Range errors where one number of ours is changed; same draws of the random streams."""
    table = Table("change")
    for name, changes in SENSITIVITY.items():
        here = Draws.sample(draws=draws, seed=seed, **changes)
        full, best = here.play("full-power"), here.play("exact")
        for scheme, play in (("full-power", full), ("exact", best)):
            found = _range_quantities(here, play) | _feasibility(here, play)
            median = here.estimate(play.metrics.range_sigma_m, _median)
            _store(table, name, scheme, found | {"sigma_median_m": median})
        _store(table, name, "exact", _gains(here, best, full))
    return table


def gap_to_optimum(
    draws: Draws, tolerances: Sequence[float] = SCA_TOLERANCES
) -> tuple[Table, Table]:
    """Algorithm 1 against the global optimum: quantiles of the gap, and outer iterations."""
    gaps, iterations = Table("probability"), Table("iterations")
    best = linear_to_db(draws.play("exact").metrics.worst_sinr)
    for tolerance in tolerances:
        play, scheme = draws.play("sca", tolerance=tolerance), f"eps {tolerance:g}"
        gap = best - linear_to_db(play.metrics.worst_sinr)
        for p in (*PROBABILITIES, 1.0):
            found = draws.estimate(gap, lambda v, p=p: float(np.quantile(v, p)))
            _store(gaps, p, scheme, {"gap_db": found})
        _store(iterations, "mean", scheme, {"value": draws.estimate(play.iterations)})
        for count in range(1, int(play.iterations.max()) + 1):
            share = _share(draws, play.iterations == count)
            _store(iterations, count, scheme, {"share": share})
    return gaps, iterations


def localisation(drawn: Draws, levels_db: Sequence[float] = (-110, -90)) -> tuple[Table, Table]:
    """Position error bounds over their own optima.

    Args:
        drawn: Draws, all feasible.
        levels_db: Self-interferences.

    Returns:
        Table over self-interference with the mean and largest ratios and the price of the best
        positions; table of the quantiles of the ratios.
    """
    table, quantiles = Table("self_interference_db"), Table("probability")
    for level in levels_db:
        here = drawn.at(self_interference_db=level)
        plays = {scheme: here.play(scheme) for scheme in LOCALISATION_SCHEMES}
        for scheme, play in plays.items():
            for bound in ("peb2d", "peb3d"):
                ratio = _bound(play, bound) / _bound(plays[bound], bound)
                found = {
                    f"{bound}_ratio": here.estimate(ratio),
                    f"{bound}_ratio_max": here.estimate(ratio, np.max),
                    f"{bound}_median_m": here.estimate(_bound(play, bound), _median),
                }
                _store(table, level, scheme, found | _feasibility(here, play))
                for p in PROBABILITIES:
                    found = here.estimate(ratio, lambda v, p=p: float(np.quantile(v, p)))
                    _store(quantiles, p, f"{scheme} at {level:g} dB", {f"{bound}_ratio": found})
        _store(table, level, "peb2d", _price_of_position(here, plays))
        _store(
            table, level, "min-mean-sigma", _gains(here, plays["min-mean-sigma"], plays["exact"])
        )
    return table, quantiles


def _bound(play: Play, name: str) -> Tensor:
    return play.metrics.peb2d_m if name == "peb2d" else play.metrics.peb3d_m


def _price_of_position(draws: Draws, plays: dict[str, Play]) -> dict[str, Estimate]:
    """What the powers of the best 2-D position look like."""
    play = plays["peb2d"]
    loss_db = linear_to_db(plays["exact"].metrics.worst_sinr) - linear_to_db(
        play.metrics.worst_sinr
    )
    quietest_db = linear_to_db(play.power.amin(-1))
    margin = play.metrics.comm_sinr / draws.instance.threshold
    return {
        "level_loss_mean_db": draws.estimate(loss_db),
        "quietest_power_median_db": draws.estimate(quietest_db, _median),
        "quietest_below_20db_share": _share(draws, quietest_db < -20),
        "at_threshold_share": _share(draws, margin.amin(-1) < 1.1),
    }
