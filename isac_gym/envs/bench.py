"""Benchmark rows of the environments: batched lanes against Gymnasium's own vectorisation.

For every family, its first environment with more than one slot is measured. What both sides play
is the same: equal seeds and actions, whole episodes, restarts included.
"""

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
_TARGETS = {1: 1.0, 64: 12.0, 1024: 50.0, 16384: 50.0}  # lanes -> ratio to SyncVectorEnv(16)
_REPLAY_STEPS = 25
_TOLERANCE = {"float64": 1e-6, "float32": 1e-2}  # largest difference of rewards in a replay


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """The two vector environments of a row and the actions they play.

    Attributes:
        ours: Measured environment.
        theirs: What it is compared with.
        our_actions: (steps, lanes, action size) float32.
        their_actions: Likewise; the lanes both have play the same actions.
    """

    ours: Any
    theirs: Any
    our_actions: NDArray[np.float32]
    their_actions: NDArray[np.float32]


def rows() -> list[BenchRow]:
    """Rows of every installed family."""
    return [row for family in families().values() for row in _family_rows(family)]


def _family_rows(family: Family) -> list[BenchRow]:
    environment = _first_dynamic(family)
    name = environment.removeprefix("isac/")
    batched = partial(ProcessVectorEnv, environment=environment)
    found = [
        _row(
            f"environments/{name}/{lanes}-lanes",
            ours=(f"ProcessVectorEnv({lanes})", partial(batched, lanes)),
            theirs=(f"SyncVectorEnv({_SYNC_LANES})", partial(_synchronous, environment)),
            target=target,
        )
        for lanes, target in _TARGETS.items()
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
        lanes = max(mine.num_envs, other.num_envs)
        steps = max(4, (4096 if quick else 65536) // lanes)
        size = mine.single_action_space.shape[0]
        draws = np.random.default_rng(0).uniform(-1, 1, (min(steps, 100), lanes, size))
        actions = draws.astype(np.float32)
        for environment in (mine, other):
            environment.reset(seed=0)
        return _Stage(
            ours=mine,
            theirs=other,
            our_actions=actions[:, : mine.num_envs],
            their_actions=actions[:, : other.num_envs],
        )

    return BenchRow(
        name=name,
        ours=Side(
            label=ours[0],
            run=lambda stage: _play(stage.ours, stage.our_actions),
            units=lambda stage: stage.our_actions[..., 0].size,
        ),
        theirs=Side(
            label=theirs[0],
            run=lambda stage: _play(stage.theirs, stage.their_actions),
            units=lambda stage: stage.their_actions[..., 0].size,
        ),
        target=target,
        prepare=prepare,
        check=lambda stage, mine, other: _same_rewards(stage, tolerance),
        unit="step",
    )


def _play(environment: Any, actions: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.stack([environment.step(action)[1] for action in actions])


def _same_rewards(stage: _Stage, tolerance: float) -> Check:
    """Replay the first steps of both sides from one seed and compare the common lanes."""
    lanes = min(stage.ours.num_envs, stage.theirs.num_envs)
    rewards = []
    for environment, actions in (
        (stage.ours, stage.our_actions),
        (stage.theirs, stage.their_actions),
    ):
        environment.reset(seed=0)
        rewards.append(_play(environment, actions[:_REPLAY_STEPS])[:, :lanes])
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
