"""Tasks of the tests: a toy family that no package knows, and the real one."""

import importlib

import pytest

from agents.training import TrainingTask
from tests.contracts.toy import TOY_FAMILY


@pytest.fixture
def toy(monkeypatch):
    """Make ``isac/Toy-v0`` known for one test."""
    known = importlib.import_module("isac_gym.core.family")._ADDED
    monkeypatch.setitem(known, TOY_FAMILY.name, TOY_FAMILY)
    return "isac/Toy-v0"


@pytest.fixture
def toy_task(toy):
    """Function that makes a small training task on the toy."""

    def make(horizon=1, **changes):
        settings = {"horizon": horizon}
        sizes = {"steps": 4096, "evaluations": 4, "validation_episodes": 64}
        return TrainingTask(environment=toy, settings=settings, **(sizes | changes))

    return make


@pytest.fixture
def static_task():
    """Function that makes a small training task on power control without time."""

    def make(**changes):
        sizes = {"steps": 8192, "evaluations": 4, "validation_episodes": 256}
        return TrainingTask(environment="isac/PowerControlStatic-v0", **(sizes | changes))

    return make
