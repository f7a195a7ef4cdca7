import dataclasses

import pytest

from isac_gym.core import family_of
from isac_gym.testing import PROCESS_CHECKS, check_process
from tests.conftest import LIGHTEST, environment_ids
from tests.contracts.toy import ToyProblem, ToyProcess


def make(environment):
    """Process in the environment's own preset, or in the lightest where that is slow."""
    family = family_of(environment)
    return family.make_process(environment, LIGHTEST.get(family.name))


@pytest.mark.parametrize("check", sorted(set(PROCESS_CHECKS) - {"horizon"}))
@pytest.mark.parametrize("environment", environment_ids())
def test_process__conforms(environment, check):
    PROCESS_CHECKS[check](make(environment))


@pytest.mark.parametrize("environment", environment_ids())
@pytest.mark.parametrize(
    "settings", [{"horizon": 7}, pytest.param({}, marks=pytest.mark.slow)], ids=["short", "full"]
)
def test_process__ends_at_its_horizon(environment, settings):
    process = make(environment)
    if process.horizon > 1:  # else one decision is what it is about
        process = dataclasses.replace(process, **settings)
    PROCESS_CHECKS["horizon"](process)


@pytest.mark.parametrize("horizon", [1, 4])
def test_toy_process__conforms(horizon):
    check_process(ToyProcess(problem=ToyProblem(), horizon=horizon))
