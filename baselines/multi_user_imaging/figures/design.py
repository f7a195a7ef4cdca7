"""Measurements behind Figs. 9 and 10: certified designs over priority and antennas.

Source: the networked-ISAC paper, (45)-(47), Figs. 9 and 10; its metric is replaced by the error
bound of the design problem, because its own does not fall with sensing power.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.figures import Table
from baselines.multi_user_imaging.a_optimal import probing_task
from baselines.multi_user_imaging.figures.draws import mean_estimate, msd_estimate
from baselines.multi_user_imaging.figures.measure import Grid, store
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.core.units import linear_to_db
from isac_gym.physics.a_optimal import PriorityDesign, ProbingTask, joint_priority, step1_design
from isac_gym.problems.multi_user_imaging.design import ImagingDesign
from isac_gym.problems.multi_user_imaging.scenario import DesignScenario

__all__ = ["BALANCED", "SAMPLES", "SINRS_DB", "antennas", "constraints", "priorities"]

BALANCED = 0.5  # priority in Fig. 10; the paper's is lost
SAMPLES = 100  # as the prototype; the paper names no number
SINRS_DB = (0.0, 10.0, 20.0)


def priorities(grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]) -> Table:
    """Fig. 9: error and SINR over the priority, data informing; ``best`` is each alone."""
    table, task = Table("priority"), _task(draws, seed)
    best = task.max_power_w * task.comm_channel.abs().square().sum(-1) / task.comm_noise_w
    store(table, 1.0, "best", {"sinr_db": mean_estimate(linear_to_db(best))})
    for beta in grid.priorities:
        progress(f"Fig. 9: priority {beta:g}")
        _put(table, beta, _designed(task, beta))
    return table


def antennas(grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]) -> Table:
    """Fig. 10: error and SINR over the antennas at equal priorities."""
    table = Table("num_antennas")
    for count in grid.antennas:
        progress(f"Fig. 10: {count} antennas")
        _put(table, count, _designed(_task(draws, seed, num_antennas=count), BALANCED))
    return table


def constraints(*, draws: int, seed: int) -> Table:
    """Error over the SINR needed where only the known probe informs."""
    table, task = Table("min_sinr_db"), _task(draws, seed)
    for sinr_db in SINRS_DB:
        level = torch.full_like(task.min_sinr, 10 ** (sinr_db / 10))
        with torch.no_grad():
            found = step1_design(task._replace(min_sinr=level), iterations=100, tolerance=1e-6)
        store(table, sinr_db, "step1", {"error_db": msd_estimate(found.value)})
    return table


def _task(draws: int, seed: int, **changes: object) -> ProbingTask:
    problem = ImagingDesign(scenario=DesignScenario.preset("joint", num_samples=SAMPLES, **changes))
    seeds = lane_seeds(f"figures/multi_user_imaging/{seed}", draws)
    return probing_task(problem, problem.sample(Streams.from_seeds(seeds)))


def _designed(task: ProbingTask, beta: float) -> PriorityDesign:
    with torch.no_grad():
        level = torch.full_like(task.min_sinr, beta)
        return joint_priority(task, level, iterations=200, tolerance=1e-6)


def _put(table: Table, place: float, found: PriorityDesign) -> None:
    gap: Tensor = found.score - found.lower
    quantities = {
        "error_db": msd_estimate(found.value),
        "sinr_db": mean_estimate(linear_to_db(found.sinr)),
        "gap": mean_estimate(gap),
    }
    store(table, place, "optimal", quantities)
