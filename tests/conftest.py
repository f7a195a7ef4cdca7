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


LIGHTEST = {  # where not the paper's own size: that one is tested with the slow tests
    "imaging_recovery": "small",  # a frame of 750 samples takes seconds
    "subcarrier_respiration": "tiny-8",
    "subcarrier_selection": "tiny-8",  # 520 windows of 64 subcarriers, 10^9 masks
}
LARGE = {"dense-19", "large"}
TWINS = {"csi-05", "csi-20", "power-30", "power-35", "unresolved"}  # as another but for a number


def extends_another(name):
    """True if the scenario of a problem is that of another one, where its presets are tested."""
    kinds = {key: family.make_problem().scenario_type for key, family in families().items()}
    mine = kinds.pop(name)
    return any(issubclass(mine, kind) for kind in kinds.values())


def lightest_preset(name):
    """Preset in which a problem and its solvers are tested by default."""
    return LIGHTEST.get(name, "paper")


def is_brief_preset(name, preset):
    """True for presets whose tests belong to the default run."""
    if preset == lightest_preset(name):
        return True
    if preset == "paper" or name.startswith("subcarrier"):
        return False
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
