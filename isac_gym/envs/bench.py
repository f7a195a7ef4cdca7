"""Benchmark rows of the environments: batched lanes against Gymnasium's own vectorisation.

For every family, its first environment with more than one slot is measured. What both sides play
is the same: equal seeds and actions, whole episodes, restarts included.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from isac_gym.bench import BenchRow, Check, Side
from isac_gym.core.family import Family, families, load_object
from isac_gym.core.records import TensorRecord
from isac_gym.envs.single import ProcessEnv
from isac_gym.envs.vector import ProcessVectorEnv

__all__ = ["rows"]

_SYNC_LANES = 16
_TARGETS = {1: 0.9, 64: 12.0, 1024: 50.0, 16384: 50.0}  # lanes -> ratio to SyncVectorEnv(16)
_MOST_NUMBERS = 8_000_000  # observed in one step of a row; larger rows are left out
_REPLAY_STEPS = 16
_TOLERANCE = {"float64": 1e-6, "float32": 1e-2}  # largest difference of rewards in a replay


@dataclass(frozen=True)
class _Stage:
    """Both vector environments of a row and the actions (steps, lanes, action size) they play."""

    ours: Any
    theirs: Any
    actions: NDArray[np.float32]
    steps: int

    def play(self, environment: Any, steps: int) -> NDArray[np.float64]:
        """Rewards (steps, lanes) of the first actions, each lane the same on both sides."""
        actions = self.actions[:steps, : environment.num_envs]
        return np.stack([environment.step(action)[1] for action in actions])


def rows() -> list[BenchRow]:
    """Rows of every installed family."""
    with_environments = (f for f in families().values() if f.environments)
    return [row for family in with_environments for row in _family_rows(family)]


def _family_rows(family: Family) -> list[BenchRow]:
    environment = _first_dynamic(family)
    name = environment.removeprefix("isac/")
    batched = partial(ProcessVectorEnv, environment=environment)
    size = family.make_process(environment).observation_size
    found = [
        _row(
            f"environments/{name}/{lanes}-lanes",
            ours=(f"ProcessVectorEnv({lanes})", partial(batched, lanes)),
            theirs=(f"SyncVectorEnv({_SYNC_LANES})", partial(_synchronous, environment)),
            target=target,
        )
        for lanes, target in _TARGETS.items()
        if lanes * size <= _MOST_NUMBERS
    ]
    plain = ("ProcessVectorEnv(1024)", partial(batched, 1024))
    statistics = partial(batched, 1024, record_statistics=True)
    single = partial(batched, 1024, dtype="float32")
    return [
        *found,
        _row(
            f"environments/{name}/statistics",
            ours=("with episode statistics", statistics),
            theirs=plain,
            target=0.8,
        ),
        _row(
            f"environments/{name}/float32",
            ours=("float32", single),
            theirs=plain,
            target=1.0,
            tolerance=_TOLERANCE["float32"],
        ),
    ]


def _row(
    name: str,
    *,
    ours: tuple[str, Any],
    theirs: tuple[str, Any],
    target: float,
    tolerance: float = _TOLERANCE["float64"],
) -> BenchRow:
    def prepare(quick: bool) -> _Stage:
        mine, other = ours[1](), theirs[1]()
        lanes, size = max(mine.num_envs, other.num_envs), mine.single_action_space.shape[0]
        draws = np.random.default_rng(0).uniform(-1, 1, (_REPLAY_STEPS, lanes, size))
        for environment in (mine, other):
            environment.reset(seed=0)
        return _Stage(mine, other, draws.astype(np.float32), steps=4 if quick else _REPLAY_STEPS)

    return BenchRow(
        name=name,
        ours=_side(ours[0], lambda stage: stage.ours),
        theirs=_side(theirs[0], lambda stage: stage.theirs),
        target=target,
        prepare=prepare,
        check=lambda stage, mine, other: _same_rewards(stage, tolerance),
        unit="step",
    )


def _side(label: str, choose: Callable[[_Stage], Any]) -> Side:
    return Side(
        label=label,
        run=lambda stage: stage.play(choose(stage), stage.steps),
        units=lambda stage: stage.steps * choose(stage).num_envs,
    )


def _same_rewards(stage: _Stage, tolerance: float) -> Check:
    """Replay the first steps of both sides from one seed and compare the common lanes."""
    lanes = min(stage.ours.num_envs, stage.theirs.num_envs)
    rewards = []
    for environment in (stage.ours, stage.theirs):
        environment.reset(seed=0)
        rewards.append(stage.play(environment, _REPLAY_STEPS)[:, :lanes])
    gap = float(np.abs(rewards[0] - rewards[1]).max())
    facts = {"reward_gap": gap, "state_bytes_per_lane": _bytes_per_lane(stage.ours.state)}
    return Check(is_correct=gap <= tolerance, facts=facts)


def _bytes_per_lane(state: TensorRecord) -> float:
    return sum(t.element_size() * t.numel() for _, t in state.items()) / state.batch_size


def _synchronous(environment: str) -> SyncVectorEnv:
    makers = [partial(ProcessEnv, environment=environment)] * _SYNC_LANES
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def _first_dynamic(family: Family) -> str:
    entries = family.environments
    dynamic = [e.id for e in entries if load_object(e.process).horizon > 1]
    return (dynamic or [e.id for e in entries])[0]
