import dataclasses

import numpy as np
import pytest

from isac_gym.core.family import families
from isac_gym.envs import bench
from isac_gym.envs.vector import ProcessVectorEnv


@pytest.fixture
def row():
    return next(row for row in bench.rows() if row.name.endswith("/PowerControl-v0/64-lanes"))


def test_rows__cover_every_family_with_environments_and_batch_size():
    names = [row.name for row in bench.rows()]
    count = sum(bool(family.environments) for family in families().values())
    assert len(names) == len(set(names))
    for end in ("1-lanes", "64-lanes", "1024-lanes", "statistics", "float32"):
        assert sum(name.endswith(f"/{end}") for name in names) == count
    assert "environments/PowerControl-v0/16384-lanes" in names
    assert "environments/CooperativeImaging-v0/16384-lanes" not in names  # a GB of states


def test_prepare__both_sides_play_the_same_actions_in_common_lanes(row):
    stage = row.prepare(True)
    assert stage.ours.num_envs == 64
    assert stage.theirs.num_envs == 16
    assert row.ours.units(stage) == 4 * 64
    assert row.theirs.units(stage) == 4 * 16


def test_check__equal_environments_agree(row):
    check = row.check(row.prepare(True), None, None)
    assert check.is_correct
    assert check.facts["reward_gap"] <= 1e-9
    assert check.facts["state_bytes_per_lane"] > 0


def test_check__catches_an_environment_that_plays_another_game(row):
    stage = row.prepare(True)
    other = ProcessVectorEnv(
        64, environment="isac/PowerControl-v0", settings={"reward_mode": "sigma"}
    )
    assert not row.check(dataclasses.replace(stage, ours=other), None, None).is_correct


def test_check__catches_lanes_in_the_wrong_order(row):
    stage = row.prepare(True)
    swapped = dataclasses.replace(stage, actions=np.ascontiguousarray(stage.actions[:, ::-1]))

    class Mixed:
        num_envs, state = stage.theirs.num_envs, stage.ours.state

        def reset(self, *, seed):
            return stage.theirs.reset(seed=seed)

        def step(self, action):
            return stage.theirs.step(action[::-1])

    assert not row.check(dataclasses.replace(swapped, theirs=Mixed()), None, None).is_correct
