"""Shared fixtures: one torch thread, devices, dtypes and every registered id."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import settings

from isac_gym.core.family import families

settings.register_profile("house", max_examples=25, deadline=None, derandomize=True, database=None)
settings.load_profile("house")


class Tolerance(NamedTuple):
    """Relative tolerances of one dtype."""

    row: float  # the same row computed alone and in a batch
    formula: float  # the same quantity by two formulas


TOLERANCES = {torch.float64: Tolerance(1e-12, 1e-9), torch.float32: Tolerance(1e-5, 1e-3)}


def pytest_configure(config):
    torch.set_num_threads(1)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    return torch.device(request.param)


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture
def tolerance(dtype):
    return TOLERANCES[dtype]


def problem_names():
    """Names of all installed problems."""
    return list(families())


def preset_ids():
    """Pairs (problem name, preset name) of all installed problems."""
    pairs = []
    for name, family in families().items():
        pairs += [(name, preset) for preset in family.make_problem().scenario_type.presets]
    return pairs


LARGE = {"dense-19", "large"}
TWINS = {"csi-05", "csi-20", "power-30", "power-35", "unresolved"}  # as another but for a number


def extends_another(name):
    """True if the scenario of a problem is that of another one, where its presets are tested."""
    kinds = {key: family.make_problem().scenario_type for key, family in families().items()}
    mine = kinds.pop(name)
    return any(issubclass(mine, kind) for kind in kinds.values())


def is_brief_preset(name, preset):
    """True for presets whose tests belong to the default run."""
    if preset == "paper":
        return True
    return preset not in LARGE | TWINS and not extends_another(name)


def environment_ids():
    """Ids of all registered environments."""
    return [entry.id for family in families().values() for entry in family.environments]


@pytest.fixture(params=problem_names())
def problem_name(request):
    return request.param


@pytest.fixture(params=environment_ids())
def environment_id(request):
    return request.param
