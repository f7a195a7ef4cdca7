"""Benchmark rows of diffusion filters: a batch against plain NumPy loops over users."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from isac_gym.bench import BenchRow, Check, Side
from isac_gym.core.random import Streams
from isac_gym.physics.diffusion import diffuse
from isac_gym.physics.graphs import metropolis
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario

__all__ = ["atc_rows"]

_BATCH, _SAMPLES, _LOOPED = 32, 200, 1


class _Frame(NamedTuple):
    """What both sides run: L samples of K users, V voxels, steps in 1/W, penalties in W."""

    lit: Tensor  # (B, L, V)
    received: Tensor  # (B, L, K)
    channel: Tensor  # (B, K, V)
    weight: Tensor  # (B, K, K)
    blocks: Tensor  # (V,)
    estimator: str
    step: float
    penalty: float

    def first(self, count: int) -> "_Frame":
        """The first instances only."""
        some = (t[:count] for t in (self.lit, self.received, self.channel, self.weight))
        return self._replace(**dict(zip(self._fields, some, strict=False)))


def atc_rows() -> list[BenchRow]:
    """Filters of the paper's size over 200 samples: its sparse total least squares, plain LMS."""
    loop = Side(label="NumPy, loop over users", run=_loop, units=_LOOPED)
    single = Side(label="one instance at a time", run=lambda f: _ours(f.first(1)))
    return [
        _row("atc-tls-sparse", loop, 20, estimator="tls", is_sparse=True),
        _row("atc-lms", loop, 20, estimator="lms", is_sparse=False),
        _row("atc-single", single, 3, estimator="tls", is_sparse=True),
    ]


def _row(name: str, theirs: Side, target: float, *, estimator: str, is_sparse: bool) -> BenchRow:
    return BenchRow(
        name=f"multi_user_imaging/{name}",
        ours=Side(label=f"B={_BATCH}, one batch", run=_ours, units=_BATCH),
        theirs=theirs,
        target=target,
        prepare=partial(_prepare, estimator=estimator, is_sparse=is_sparse),
        check=_compare,
    )


def _prepare(quick: bool, *, estimator: str, is_sparse: bool) -> _Frame:
    scenario = RecoveryScenario(num_samples=_SAMPLES)
    problem = ImagingRecovery(scenario=scenario)
    i = problem.sample(Streams.from_seed(0, _BATCH))
    scale = 1 + scenario.image_energy if estimator == "tls" else 1.0
    return _Frame(
        lit=problem.probing(i),
        received=i.received,
        channel=i.user_channel,
        weight=metropolis(i.adjacency),
        blocks=torch.tensor(scenario.blocks()),
        estimator=estimator,
        step=0.6 * scale / (scenario.num_voxels * scenario.max_power_w),
        penalty=0.015 * scenario.max_power_w / scale if is_sparse else 0.0,
    )


def _ours(frame: _Frame) -> Tensor:
    f = frame
    return diffuse(
        torch.zeros_like(f.channel),
        f.lit,
        f.received,
        f.channel,
        f.weight,
        step=torch.full_like(f.channel[..., 0].real, f.step),
        estimator=f.estimator,
        l1=f.penalty,
        l21=f.penalty,
        blocks=f.blocks,
    ).estimate


def _loop(frame: _Frame) -> Tensor:
    """The first instances, one after the other, as the paper's algorithm reads."""
    f, found = frame.first(_LOOPED), []
    for lane in range(_LOOPED):
        arrays = [t[lane].numpy() for t in (f.lit, f.received, f.channel, f.weight)]
        found.append(_looped(*[*arrays, f.blocks.numpy(), f]))
    return torch.from_numpy(np.stack(found))


def _looped(lit: Any, received: Any, channel: Any, weight: Any, blocks: Any, f: _Frame) -> Any:
    x = np.zeros_like(channel)
    neighbours = [np.flatnonzero(column) for column in weight.T]
    for v, y in zip(lit, received, strict=True):
        moved = np.empty_like(x)
        for k, own in enumerate(x):
            u = channel[k] * v
            moved[k] = own + f.step * _slope(own, u, y[k] - u @ own, blocks, f)
        for k, near in enumerate(neighbours):
            x[k] = weight[near, k] @ moved[near]
    return x


def _slope(x: Any, u: Any, error: Any, blocks: Any, f: _Frame) -> Any:
    square = x.real**2 + x.imag**2
    if f.estimator == "tls":
        error = error / (1 + square.sum())
    slope = error * u.conj()
    if f.estimator == "tls":
        slope = slope + abs(error) ** 2 * x
    if f.penalty > 0:
        size = np.maximum(np.sqrt(square), 1e-8)
        norm = np.maximum(np.sqrt(np.bincount(blocks, square)), 1e-8)
        slope = slope - f.penalty * x * (1 / size + 1 / norm[blocks])
    return slope


def _compare(frame: _Frame, ours: Tensor, theirs: Tensor) -> Check:
    """The instances both sides have must end in the same images."""
    gap = float((ours[: len(theirs)] - theirs).abs().max())
    return Check(is_correct=gap <= 1e-10, facts={"largest_gap": gap})
