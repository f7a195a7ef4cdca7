"""Measurements behind Figs. 4, 6, 7 and 8: learning curves and steady states of the filters.

Source: the networked-ISAC paper, section V. All schemes of a place see the same frames, so that
differences are paired.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from baselines.figures import Array, Estimate, Table, estimate
from baselines.front import solve
from baselines.multi_user_imaging.figures.draws import (
    Frames,
    mean_db,
    msd_estimate,
    num_batches,
)
from baselines.multi_user_imaging.figures.filters import Variant, run, steady
from baselines.multi_user_imaging.figures.tuning import (
    PROTOTYPE_KNOWN,
    PROTOTYPE_TWO_STEP,
    tuned,
)
from isac_gym.problems.multi_user_imaging.records import (
    ImagingRecoveryDecision,
    ImagingRecoveryMetrics,
)

__all__ = [
    "OCCUPIED",
    "SHAPES",
    "SIZES",
    "USERS",
    "Grid",
    "learning",
    "occupied",
    "played",
    "prototype_occupied",
    "settling",
    "sizes",
    "store",
    "users",
]

SHAPES = {"blob": 4, "aligned": 8}  # occupied voxels of the target in Fig. 4
OCCUPIED = (2, 4, 8, 16, 32)
USERS = (5, 10, 20, 30, 40)
SIZES = {8: (2, 2, 2), 16: (4, 2, 2), 32: (4, 4, 2), 64: (4, 4, 4)}
_REFERENCES = ("joint", "oracle-ls")
_CLOSE_DB = 1.0  # a curve has settled once it stays so near to its own steady state


@dataclass(frozen=True, kw_only=True)
class Grid:
    """How much is measured; tests use less.

    Attributes:
        samples: Samples of a frame.
        occupied: Occupied voxels of Fig. 6.
        users: Users of Fig. 7.
        sizes: Voxels of Fig. 8.
        snrs_db: SNRs of Fig. 5.
        audit_snrs_db: SNRs at which the explanations of Fig. 5 are tried.
        priorities: Priorities of communication in Fig. 9.
        antennas: Antennas in Fig. 10.
        budgets: Scalars exchanged in the comparison of sharing schemes.
        theory_samples: Samples of a run that is compared with theory.
        theory_worlds: Most worlds of that comparison: theory takes longer than simulation.
    """

    samples: int = 750
    occupied: tuple[int, ...] = OCCUPIED
    users: tuple[int, ...] = USERS
    sizes: tuple[int, ...] = tuple(SIZES)
    snrs_db: tuple[float, ...] = (-15, -10, -5, 0, 3, 10, 15)
    audit_snrs_db: tuple[float, ...] = (-10, -5, 0, 5, 15)
    priorities: tuple[float, ...] = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
    antennas: tuple[int, ...] = (4, 8, 16, 32)
    budgets: tuple[int, ...] = (1_000, 5_000, 20_000, 100_000, 400_000, 1_500_000)
    theory_samples: int = 3000
    theory_worlds: int = 20


def store(table: Table, place: float | str, scheme: str, found: dict[str, Estimate]) -> None:
    """Put several quantities of one scheme at one place."""
    table.cells.update({(place, scheme, name): value for name, value in found.items()})


def played(frames: Frames, scheme: str) -> ImagingRecoveryMetrics:
    """Metrics of a registered solver on all frames."""
    with torch.no_grad():
        solution = solve(frames.problem, frames.instance, scheme)
        decision = cast(ImagingRecoveryDecision, solution.decision)
        return frames.problem.evaluate(frames.instance, decision)


def settling(curve: Tensor) -> Estimate:
    """First sample from which the mean curve (D, L) stays close to its steady state."""

    def first(values: Array) -> float:
        mean = 10 * np.log10(values.mean(0))
        end = mean_db(values[:, -min(150, values.shape[1]) :])
        outside = np.flatnonzero(mean > end + _CLOSE_DB)
        return float(outside[-1] + 2) if len(outside) else 1.0

    return estimate(curve.double().numpy(), num_batches=num_batches(len(curve)), statistic=first)


def learning(
    grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]
) -> tuple[Table, Table]:
    """Fig. 4: curves over the sample, and their ends, by shape of the target."""
    curves, ends = Table("sample"), Table("shape")
    for shape, count in SHAPES.items():
        frames = Frames.sample(
            draws=draws, seed=seed, shape=shape, num_occupied=count, num_samples=grid.samples
        )
        for scheme, variant in _learners(shape):
            progress(f"Fig. 4: {scheme}, {shape}")
            found = run(frames, variant)
            _record(curves, ends, shape, scheme, found.second)
            if scheme == "l1+l21" and found.first is not None:
                _record(curves, ends, shape, "step 1", found.first)
        for scheme in _REFERENCES:
            msd = played(frames, scheme).msd
            store(ends, shape, scheme, {"msd_db": msd_estimate(msd)})
        bound = frames.problem.bounds(frames.instance)[0]
        store(ends, shape, "bound", {"msd_db": msd_estimate(bound)})
    return curves, ends


def _learners(shape: str) -> Iterator[tuple[str, Variant]]:
    count = SHAPES[shape]
    for name in ("none", "l1", "l1+l21"):
        yield name, tuned(shape, count, name)
        yield f"known {name}", tuned(f"known {shape}", count, name)
    yield "central none", tuned(f"central {shape}", count, "none")
    yield "central", tuned(f"central {shape}", count, "l1+l21")
    # The centralised filter at the step and penalties of the distributed one.
    yield "central, same", replace(tuned(shape, count, "l1+l21"), is_central=True)
    yield "sliced lms", tuned(f"lms {shape}", count, "l1+l21")
    yield from ((f"prototype {name}", v) for name, v in PROTOTYPE_TWO_STEP.items())


def _record(curves: Table, ends: Table, shape: str, scheme: str, curve: Tensor) -> None:
    length = curve.shape[1]
    shown = sorted({*range(0, length, max(1, length // 50)), length - 1})
    for t in shown:
        key = (float(t + 1), f"{shape} {scheme}", "msd_db")
        curves.cells[key] = msd_estimate(curve[:, t])
    store(
        ends,
        shape,
        scheme,
        {"msd_db": msd_estimate(steady(curve)), "settled_at": settling(curve)},
    )


def occupied(grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]) -> Table:
    """Fig. 6: penalties tuned for the sparsest target kept, and tuned again for every target."""
    table = Table("num_occupied")
    for shape in SHAPES:
        for count in grid.occupied:
            progress(f"Fig. 6: {count} occupied, {shape}")
            changes = {"shape": shape, "num_occupied": count, "num_samples": grid.samples}
            frames = Frames.sample(draws=draws, seed=seed, **changes)
            for name in ("none", "l1", "l1+l21"):
                again = tuned(shape, count, name)
                kept = tuned(shape, OCCUPIED[1], name)
                for how, variant in (("kept", kept), ("tuned", again)):
                    end = (
                        table.at(count, f"{shape} {name} kept", "msd_db")
                        if how == "tuned" and again == kept
                        else msd_estimate(steady(run(frames, variant).second))
                    )
                    store(table, count, f"{shape} {name} {how}", {"msd_db": end})
    return table


def prototype_occupied(
    grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]
) -> Table:
    """Fig. 6 with the symbols known and the prototype's own steps and penalties."""
    table = Table("num_occupied")
    for count in grid.occupied:
        progress(f"Fig. 6: {count} occupied, symbols known")
        changes = {"shape": "aligned", "num_occupied": count, "num_samples": grid.samples}
        frames = Frames.sample(draws=draws, seed=seed, **changes)
        for name, variant in PROTOTYPE_KNOWN.items():
            end = msd_estimate(steady(run(frames, variant).second))
            store(table, count, f"known {name}", {"msd_db": end})
    return table


def users(grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]) -> Table:
    """Fig. 7."""
    table = Table("num_users")
    for count in grid.users:
        progress(f"Fig. 7: {count} users")
        frames = Frames.sample(draws=draws, seed=seed, num_users=count, num_samples=grid.samples)
        _compare(table, count, frames)
    return table


def sizes(grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]) -> Table:
    """Fig. 8: one voxel in eight occupied."""
    table = Table("num_voxels")
    for count in grid.sizes:
        progress(f"Fig. 8: {count} voxels")
        x, y, z = SIZES[count]
        frames = Frames.sample(
            draws=draws,
            seed=seed,
            voxels_x=x,
            voxels_y=y,
            voxels_z=z,
            num_occupied=count // 8,
            num_samples=grid.samples,
        )
        _compare(table, count, frames)
    return table


def _compare(table: Table, place: int, frames: Frames) -> None:
    """The paper's scheme, the plain filter that knows the symbols, and estimators at a leader."""
    variants = {"l1+l21": tuned("blob", 4, "l1+l21"), "known none": PROTOTYPE_KNOWN["none"]}
    msd = {name: steady(run(frames, variant).second) for name, variant in variants.items()}
    msd |= {name: played(frames, name).msd for name in ("ls-genie", *_REFERENCES)}
    msd["bound"] = frames.problem.bounds(frames.instance)[0]
    size = frames.instance.image.abs().square().sum(-1)
    for name, value in msd.items():
        found = {"msd_db": msd_estimate(value), "nmsd_db": msd_estimate(value / size.mean())}
        store(table, place, name, found)
