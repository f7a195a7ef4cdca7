"""Fixtures of the adapter tests."""

import random

import numpy as np
import pytest
import torch

from isac_gym.envs import vector
from tests.envs import uneven


@pytest.fixture
def uneven_id(monkeypatch):
    """Id of an environment whose lanes end at different times; known to this test only."""
    monkeypatch.setattr(vector, "family_of", lambda _: uneven.FAMILY)
    return uneven.ID


@pytest.fixture
def untouched_generators():
    """Fails if the test moves a global random generator."""

    def states():
        numpy_state = np.random.get_state()  # noqa: NPY002
        return random.getstate(), numpy_state[1].tobytes(), numpy_state[2], torch.get_rng_state()

    before = states()
    yield
    after = states()
    assert before[:3] == after[:3]
    assert torch.equal(before[3], after[3])
