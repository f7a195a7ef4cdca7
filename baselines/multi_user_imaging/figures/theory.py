"""Steady-state theory against simulated filters, and sharing schemes at equal cost."""

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.figures import Table
from baselines.multi_user_imaging.figures.draws import Frames, mean_estimate, msd_estimate
from baselines.multi_user_imaging.figures.filters import Variant, filtered, steady
from baselines.multi_user_imaging.figures.measure import Grid, store
from baselines.multi_user_imaging.sharing import equal_cost_curves
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.physics.imaging import data_gain
from isac_gym.physics.steady_state import networked_mse
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario

__all__ = ["CASES", "sharing", "steady_states"]

# Name: estimator, step times V P, are the symbols known.
CASES: dict[str, tuple[str, float, bool]] = {
    "lms, step 1, 0.3": ("lms", 0.3, False),
    "lms, step 1, 0.8": ("lms", 0.8, False),
    "lms, symbols known, 0.8": ("lms", 0.8, True),
    "tls, symbols known, 0.9": ("tls", 0.9, True),
    "tls, symbols known, 2.4": ("tls", 2.4, True),
}


def steady_states(grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]) -> Table:
    """Simulated steady states of 8 users and 16 voxels, the full theory and the paper's."""
    table = Table("case")
    frames = Frames.sample(
        draws=min(draws, grid.theory_worlds),
        seed=seed,
        num_users=8,
        voxels_x=4,
        voxels_y=2,
        voxels_z=2,
        num_occupied=2,
        num_samples=grid.theory_samples,
    )
    for name, (estimator, step, knows) in CASES.items():
        progress(f"theory: {name}")
        lit = frames.problem.probing(frames.single)
        if knows:
            data = frames.problem.data_illumination(frames.single)
            lit = lit + frames.single.symbol[..., None] * data[:, None]
        scale = 1 + frames.problem.scenario.image_energy if estimator == "tls" else 1.0
        curve, _ = filtered(frames, Variant(estimator=estimator, step=step / scale), lit)
        simulated = msd_estimate(steady(curve))
        store(table, name, "simulated", {"msd_db": simulated})
        for label, independent in (("theory", False), ("independent", True)):
            if independent and knows:
                continue  # no common data acts as noise: both theories are the same
            found = msd_estimate(_predicted(frames, estimator, step, knows, independent))
            store(table, name, label, {"msd_db": found, "excess_db": found - simulated})
    return table


def _predicted(
    frames: Frames, estimator: str, step: float, knows: bool, independent: bool
) -> Tensor:
    i, problem = frames.instance, frames.problem
    s = problem.scenario
    power = (1 - s.data_share) * s.max_power_w / s.num_antennas
    covariance = power * (i.bs_channel @ i.bs_channel.mH)
    data = problem.data_illumination(i)
    if knows:
        covariance = covariance + data[..., None] * data.conj()[:, None]
    gain = data_gain(i.user_channel, i.image, i.bs_channel, i.beam)
    with torch.no_grad():
        return networked_mse(
            i.user_channel,
            covariance.conj(),
            frames.weight.double(),
            torch.full_like(i.image[:, 0].real, step / (s.num_voxels * s.max_power_w)),
            i.image,
            noise_w=s.noise_w,
            data_gain=None if knows else gain,
            estimator=estimator,
            assumes_independence=independent,
        ).msd


def sharing(grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]) -> Table:
    """Squared error over that of the empty image, by scalars exchanged."""
    progress("sharing schemes")
    table = Table("scalars")
    scenario = RecoveryScenario.preset("paper", num_samples=grid.samples)
    seeds = lane_seeds(f"figures/multi_user_imaging/{seed}", draws)
    with torch.no_grad():
        found = equal_cost_curves(scenario, Streams.from_seeds(seeds), grid.budgets)
    for scheme, error in found.items():
        for place, values in zip(grid.budgets, error.unbind(-1), strict=True):
            store(table, place, scheme, {"nmsd_db": mean_estimate(values)})
    return table
