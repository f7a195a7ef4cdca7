"""Benchmark rows of subcarrier selection: evaluators, greedy selection, windows, retraining.

The other side is what one writes first with scikit-learn or NumPy: one mask at a time.
"""

import math
import subprocess
import sys
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.kernel_ridge import KernelRidge
from threadpoolctl import threadpool_limits
from torch import Tensor

from baselines.subcarrier_selection.greedy import GreedyForward
from baselines.subcarrier_selection.retraining import retrain
from baselines.subcarrier_selection.scoring import GUARD, Scorer, moved, random_masks
from baselines.subcarrier_selection.windows_by_loop import WindowDraws, windows_by_loop
from isac_gym.bench import BenchRow, Check, Side
from isac_gym.core.random import Streams
from isac_gym.core.solution import Budget, Solution
from isac_gym.physics.probes import KERNEL_RIDGE, KERNEL_WIDTH, NEIGHBOUR_BANDWIDTH
from isac_gym.problems.subcarrier_selection.model import (
    SubcarrierDecision,
    SubcarrierInstance,
    SubcarrierSelection,
)
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario
from isac_gym.problems.subcarrier_selection.world import People, Room, World

__all__ = ["rows"]

_MASKS, _FEW = 96, 4  # masks of our side, of the other side
_FIRST = 4  # tones of the greedy row at the paper's size
_WINDOWS = 400
_STEPS = 40  # of retraining
_SETS = 24

Numbers = NDArray[np.float64]


def rows() -> list[BenchRow]:
    """All rows of this problem."""
    return [*_evaluators(), *_selections(), *_others()]


def _evaluators() -> list[BenchRow]:
    return [
        BenchRow(
            name="subcarrier_selection/kernel-ridge",
            ours=Side(label=f"{_MASKS} masks, double", run=_kernel_ridge, units=_MASKS),
            theirs=Side(label="KernelRidge, mask by mask", run=_by_sklearn, units=_FEW),
            target=1,
            prepare=lambda quick: _stage("paper"),
            check=_same_errors_and_memory,
            unit="mask",
        ),
        BenchRow(
            name="subcarrier_selection/kernel-ridge-screened",
            ours=Side(label="one tone changed, single", run=_screened, units=_screened_units),
            theirs=Side(label="KernelRidge, mask by mask", run=_changed_by_sklearn, units=_FEW),
            target=4,
            prepare=lambda quick: _stage("paper"),
            check=_nearly_same_errors,
            unit="mask",
        ),
        BenchRow(
            name="subcarrier_selection/soft-neighbours",
            ours=Side(label=f"{_MASKS} masks, double", run=_neighbours, units=_MASKS),
            theirs=Side(label="NumPy, mask by mask", run=_by_numpy, units=_FEW),
            target=1,
            prepare=lambda quick: _stage("paper"),
            check=_same_errors,
            unit="mask",
        ),
    ]


def _selections() -> list[BenchRow]:
    return [
        BenchRow(
            name="subcarrier_selection/greedy-16",
            ours=Side(label="screened in single", run=_greedy),
            theirs=Side(label="KernelRidge in a loop", run=_greedy_by_sklearn),
            target=30,
            prepare=lambda quick: _stage("small-16"),
            check=_same_path,
            unit="selection",
        ),
        BenchRow(
            name="subcarrier_selection/greedy-64",
            ours=Side(label=f"first {_FIRST} tones, screened in single", run=_greedy),
            theirs=Side(label="KernelRidge in a loop", run=_greedy_by_sklearn),
            target=30,
            prepare=lambda quick: _stage("paper", steps=_FIRST),
            check=_same_path,
            unit="selection",
        ),
    ]


def _others() -> list[BenchRow]:
    return [
        BenchRow(
            name="subcarrier_selection/windows",
            ours=Side(label=f"{_WINDOWS} windows, 64 tones", run=_windows, units=_WINDOWS),
            theirs=Side(label="NumPy, packet by packet", run=_windows_by_loop, units=_FEW),
            target=20,
            prepare=lambda quick: _window_stage(),
            check=_same_windows,
            unit="window",
        ),
        BenchRow(
            name="subcarrier_selection/retraining",
            ours=Side(label=f"{_SETS} sets on one axis", run=_retrain, units=_SETS),
            theirs=Side(label="set by set", run=_retrain_one, units=1),
            target=1.5,
            prepare=lambda quick: _stage("paper"),
            check=_same_training,
            unit="set",
        ),
    ]


@dataclass(frozen=True)
class _Stage:
    """One room, what may be seen of it, and masks; greedy selection takes ``steps`` tones."""

    problem: SubcarrierSelection
    known: SubcarrierInstance
    mask: Tensor
    steps: int


def _stage(preset: str, *, steps: int | None = None) -> _Stage:
    problem = SubcarrierSelection(scenario=SubcarrierScenario.preset(preset))
    s, streams = problem.scenario, Streams.from_seed(0, 1)
    uniform = streams.uniform("bench", _MASKS, s.num_tones + 1)
    mask = random_masks(uniform, s.min_tones, s.max_tones)
    return _Stage(problem, problem.known(problem.sample(streams)), mask, steps or s.max_tones)


def _kernel_ridge(stage: _Stage) -> Tensor:
    return stage.problem.mask_errors(stage.known, stage.mask, evaluator="kernel_ridge")


def _neighbours(stage: _Stage) -> Tensor:
    return stage.problem.mask_errors(stage.known, stage.mask, evaluator="soft_neighbours")


def _candidates(stage: _Stage) -> tuple[Tensor, Tensor]:
    """A mask (1, S) and the tones (1, Q) it lacks."""
    mask = stage.mask[:, 0]
    return mask, (~mask[0]).nonzero()[:, 0][None]


def _screened_units(stage: _Stage) -> float:
    return float(_candidates(stage)[1].shape[1])


def _screened(stage: _Stage) -> Tensor:
    """Mean errors (1, Q), the table included."""
    scorer = Scorer(stage.problem, stage.known)
    return scorer.rough_moves(*_candidates(stage), adds=True)


def _changed_by_sklearn(stage: _Stage) -> Tensor:
    mask, tone = _candidates(stage)
    every = moved(mask, tone[:, :_FEW], adds=True)[0].numpy()
    with threadpool_limits(1):
        return _as_tensor([_sklearn_errors(stage, one) for one in every]).mean(-1)


def _by_sklearn(stage: _Stage) -> Tensor:
    masks = stage.mask[0, :_FEW].numpy()
    with threadpool_limits(1):
        return _as_tensor([_sklearn_errors(stage, one) for one in masks])


def _as_tensor(values: list[tuple[float, float]] | list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[None]


def _sklearn_errors(stage: _Stage, mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Errors of place and activity with scikit-learn's estimator."""
    i = stage.known
    train, held = (x[0].numpy()[:, mask].reshape(x.shape[1], -1) for x in (i.train, i.score))
    model = KernelRidge(alpha=KERNEL_RIDGE, kernel="rbf", gamma=KERNEL_WIDTH / train.shape[1])  # pyright: ignore[reportArgumentType]
    model.fit(train, i.train_label[0].numpy())
    return _numpy_errors(np.asarray(model.predict(held)), i.score_label[0].numpy())


def _numpy_errors(found: Numbers, label: Numbers) -> tuple[float, float]:
    wrong, scale = (found - label) ** 2, label**2
    place, activity = (
        float(wrong[:, part].sum() / scale[:, part].sum())
        for part in (slice(None, 2), slice(2, None))
    )
    return place, activity


def _by_numpy(stage: _Stage) -> Tensor:
    """Soft neighbours of the first masks."""
    i, found = stage.known, []
    label, held_label = i.train_label[0].numpy(), i.score_label[0].numpy()
    with threadpool_limits(1):
        for mask in stage.mask[0, :_FEW].numpy():
            train, held = (
                x[0].numpy()[:, mask].reshape(x.shape[1], -1) for x in (i.train, i.score)
            )
            gap = (held**2).sum(1)[:, None] + (train**2).sum(1) - 2 * held @ train.T
            level = -gap / (NEIGHBOUR_BANDWIDTH * train.shape[1])
            share = np.exp(level - level.max(1, keepdims=True))
            share /= share.sum(1, keepdims=True)
            found.append(_numpy_errors(share @ label, held_label))
    return _as_tensor(found)


def _same_errors(stage: _Stage, ours: Tensor, theirs: Tensor) -> Check:
    gap = float((ours[:, :_FEW] - theirs).abs().max())
    return Check(is_correct=gap <= 1e-9, facts={"largest_gap": gap})


def _same_errors_and_memory(stage: _Stage, ours: Tensor, theirs: Tensor) -> Check:
    check = _same_errors(stage, ours, theirs)
    facts = {**check.facts, "process_peak_mib_512_tones": _peak_mib()}
    return Check(is_correct=check.is_correct, facts=facts)


def _nearly_same_errors(stage: _Stage, ours: Tensor, theirs: Tensor) -> Check:
    gap = float((ours[:, :_FEW] - theirs).abs().max())
    return Check(is_correct=gap <= GUARD / 4, facts={"largest_gap": gap, "guard_band": GUARD})


def _greedy(stage: _Stage) -> Solution:
    """Selection from the instance to the mask, the table included."""
    budget = Budget(iterations=stage.steps)
    return GreedyForward().solve(stage.problem, stage.known, budget=budget)


def _greedy_by_sklearn(stage: _Stage) -> tuple[Tensor, Tensor]:
    """Objective after every step, (steps,), and the masks, (steps, S)."""
    tones = stage.problem.scenario.num_tones
    mask, masks, history = np.zeros(tones, dtype=bool), [], []
    with threadpool_limits(1):
        for _ in range(stage.steps):
            errors = np.full(tones, np.inf)
            for tone in np.flatnonzero(~mask):
                after = mask.copy()
                after[tone] = True
                errors[tone] = np.mean(_sklearn_errors(stage, after))
            mask[errors.argmin()] = True
            masks.append(mask.copy())
            history.append(1 - errors.min())
    return _as_tensor(history)[0], torch.from_numpy(np.stack(masks))


def _same_path(stage: _Stage, ours: Solution, theirs: tuple[Tensor, Tensor]) -> Check:
    """The same objective after every step and, of a whole selection, the same mask."""
    history, masks = theirs
    trace, s = ours.trace, stage.problem.scenario
    gap = math.inf if trace is None else float((trace.objective[0] - history).abs().max())
    count = masks.sum(-1)
    allowed = torch.where((count >= s.min_tones) & (count <= s.max_tones), history, -math.inf)
    mask = cast(SubcarrierDecision, ours.decision).mask[0]
    is_same = stage.steps < s.max_tones or torch.equal(mask, masks[int(allowed.argmax())])
    return Check(is_correct=is_same and gap <= GUARD / 4, facts={"largest_gap_of_a_step": gap})


@dataclass(frozen=True)
class _WindowStage:
    """A room, the people in it, and the draws of their first windows."""

    world: World
    streams: Streams
    room: Room
    people: People
    draws: WindowDraws


def _window_stage() -> _WindowStage:
    world, streams = World(SubcarrierScenario()), Streams.from_seed(0, 1)
    room = world.room(streams)
    people = world.people(streams, room, "train", _WINDOWS)
    draws = WindowDraws.of(world.scenario, streams, "train/0", min(_WINDOWS, 50))
    return _WindowStage(world, streams, room, people, draws)


def _windows(stage: _WindowStage) -> Tensor:
    """Features (1, N, S, C), the draws included."""
    return stage.world.features(stage.streams, stage.room, stage.people, "train")


def _windows_by_loop(stage: _WindowStage) -> Numbers:
    """Features (n, S, C) of the first windows, the draws given."""
    with threadpool_limits(1):
        return windows_by_loop(stage.world.scenario, stage.room, stage.people, stage.draws, _FEW)


def _same_windows(stage: _WindowStage, ours: Tensor, theirs: Numbers) -> Check:
    gap = float(np.abs(ours[0, :_FEW].numpy() - theirs).max())
    return Check(is_correct=gap <= 1e-6, facts={"largest_gap": gap})


def _retrain(stage: _Stage) -> Tensor:
    return _retrained(stage, stage.mask[:, :_SETS])


def _retrain_one(stage: _Stage) -> Tensor:
    return _retrained(stage, stage.mask[:, :1])


def _retrained(stage: _Stage, mask: Tensor) -> Tensor:
    i = stage.known
    return retrain(i.train, i.train_label, i.score, i.score_label, mask, steps=_STEPS)


def _same_training(stage: _Stage, ours: Tensor, theirs: Tensor) -> Check:
    gap = float((ours[:, :1] - theirs).abs().max())
    return Check(is_correct=gap <= 1e-3, facts={"largest_gap_of_the_error": gap})


_MEMORY = """
import torch
from pathlib import Path
from baselines.subcarrier_selection.bench import _stage
torch.set_num_threads(1)
stage = _stage("wide-512")

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

Path("/proc/self/clear_refs").write_text("5")  # the peak starts again here
stage.problem.mask_errors(stage.known, stage.mask[:, :16], evaluator="kernel_ridge")
print(memory("VmHWM"))
"""


def _peak_mib() -> float:
    """Peak of a process that scores 16 masks of 512 tones, torch included, in MiB (Linux)."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True
    )
    return float(done.stdout)
