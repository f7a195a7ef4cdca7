"""Measurements behind Fig. 5: images over the SNR, and what could shift the paper's SNR scale."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from torch import Tensor

from baselines.figures import Array, Estimate, Table
from baselines.front import solve
from baselines.multi_user_imaging.figures.draws import (
    Frames,
    mean_estimate,
    msd_estimate,
)
from baselines.multi_user_imaging.figures.filters import run
from baselines.multi_user_imaging.figures.measure import Grid, store
from baselines.multi_user_imaging.figures.tuning import PROTOTYPE_TWO_STEP, tuned
from isac_gym.problems.multi_user_imaging.records import ImagingRecoveryDecision
from isac_gym.problems.multi_user_imaging.world import support_of

__all__ = ["AUDITS", "READABLE_F1", "SHIFTS_DB", "Picture", "audit", "scores"]

READABLE_F1 = 0.9
_IMAGE = {"voxels_z": 4, "num_occupied": 8}
_SCHEMES = {
    "prototype": PROTOTYPE_TWO_STEP["l1+l21"],
    "two-step": tuned("image", 8, "l1+l21"),
    "sliced lms": tuned("lms image", 8, "l1+l21"),
}
# Exact shifts of the SNR axis in dB: what the paper may have called SNR if its gains differ.
SHIFTS_DB = {
    "power per antenna, not total": -10 * math.log10(16),
    "BS gains add to 1 per voxel": 10 * math.log10(16),
    "SNR means received SNR": 10 * math.log10(8 * 0.5833),
    "user gains add to 1 per voxel": 10 * math.log10(20),
}
# Name: changes of the scenario, changes of the filter, one user's image instead of the mean.
AUDITS: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "as specified": ({}, {}, False),
    "one user's image, not the mean": ({}, {}, True),
    "no cooperation": ({}, {"cooperates": False}, True),
    "150 samples instead of 750": ({"num_samples": 150}, {}, False),
    "constant beams": ({"probing": "constant"}, {}, False),
    "symbols sliced": ({}, {"is_sliced": True}, False),
    "half the power in the data": ({"data_share": 0.5}, {}, False),
}


@dataclass(frozen=True)
class Picture:
    """One frame at one SNR, moduli of voxels.

    Attributes:
        snr_db: SNR.
        truth: (X, Y, Z).
        paper: Users' mean image by the paper's scheme, the same shape.
        reference: By the joint reference.
    """

    snr_db: float
    truth: Array
    paper: Array
    reference: Array


def scores(
    grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]
) -> tuple[Table, list[Picture]]:
    """F1, relative error and clutter over the SNR; pictures of the first frame."""
    table, seen = Table("snr_db"), []
    for snr_db in grid.snrs_db:
        progress(f"Fig. 5: {snr_db:g} dB")
        frames = _frames(draws, seed, snr_db=snr_db, num_samples=grid.samples)
        images = {name: run(frames, variant).estimate for name, variant in _SCHEMES.items()}
        found = solve(frames.problem, frames.instance, "joint").decision
        images["joint"] = cast(ImagingRecoveryDecision, found).estimate
        for name, image in images.items():
            store(table, snr_db, name, _judged(frames, image))
        seen.append(_picture(frames, snr_db, images))
    return table, seen


def audit(grid: Grid, *, draws: int, seed: int, progress: Callable[[str], None]) -> Table:
    """SNR at which an image becomes readable, under one changed assumption at a time."""
    curves, table = Table("snr_db"), Table("assumption")
    known: dict[str, tuple[Frames, Tensor]] = {}
    for name, (world, scheme, is_single) in AUDITS.items():
        progress(f"Fig. 5: {name}")
        for snr_db in grid.audit_snrs_db:
            key = repr((snr_db, world, scheme))
            if key not in known:
                samples = min(grid.samples, world.get("num_samples", grid.samples))
                changes = {"snr_db": snr_db, **world, "num_samples": samples}
                frames = _frames(draws, seed, **changes)
                variant = replace(PROTOTYPE_TWO_STEP["l1+l21"], **scheme)
                known[key] = frames, run(frames, variant).estimate
            frames, image = known[key]
            image = image[:, :1] if is_single else image
            store(curves, snr_db, name, _judged(frames, image))
        places, found = curves.line(name, "f1")
        store(table, name, "readable", {"snr_db": _crossing(places, found), "f1_15db": found[-1]})
    return table


def _frames(draws: int, seed: int, **changes: object) -> Frames:
    return Frames.sample(draws=draws, seed=seed, **{**_IMAGE, **changes})


def _judged(frames: Frames, image: Tensor) -> dict[str, Estimate]:
    """Scores of the mean image, (D, J, V): support, error over |x|^2, energy off the target."""
    truth = frames.instance.image
    wide = image.to(truth.dtype)
    middle = wide.mean(1)
    support = support_of(truth)
    found = middle.abs() > frames.problem.scenario.min_amplitude / 2
    both = (found & support).sum(-1).double()
    f1 = 2 * both / (found.sum(-1) + support.sum(-1))
    energy = middle.abs().square()
    clutter = (energy * ~support).sum(-1) / energy.sum(-1).clamp_min(1e-30)
    msd = (wide - truth[:, None]).abs().square().sum(-1).mean(-1)
    nmsd = msd / truth.abs().square().sum(-1)
    return {
        "f1": mean_estimate(f1),
        "nmsd_db": msd_estimate(nmsd),
        "clutter": mean_estimate(clutter),
    }


def _picture(frames: Frames, snr_db: float, images: dict[str, Tensor]) -> Picture:
    s = frames.problem.scenario
    shape = (s.voxels_x, s.voxels_y, s.voxels_z)

    def box(image: Tensor) -> Array:
        return image.abs().double().reshape(shape).numpy()

    return Picture(
        snr_db,
        box(frames.instance.image[0]),
        box(images["two-step"][0].mean(0)),
        box(images["joint"][0].mean(0)),
    )


def _crossing(places: Array, found: list[Estimate]) -> Estimate:
    """SNR at which F1 passes the readable level, by interpolation; inf where it never does."""

    def of(values: Array) -> float:
        above = np.flatnonzero(values >= READABLE_F1)
        if not len(above):
            return math.inf
        k = int(above[0])
        if k == 0:
            return float(places[0])
        low, high = values[k - 1], values[k]
        share = (READABLE_F1 - low) / (high - low)
        return float(places[k - 1] + share * (places[k] - places[k - 1]))

    batches = zip(*(e.batches for e in found), strict=True)
    return Estimate(
        of(np.array([e.value for e in found])), tuple(of(np.array(each)) for each in batches)
    )
