from functools import cache

import pytest

from isac_gym.core.family import families, family_of
from isac_gym.registration import register_family
from isac_gym.testing import ENV_CHECKS, EnvCase, check_env
from tests.conftest import environment_ids, lightest_preset
from tests.contracts.toy import TOY_FAMILY

HORIZON = 12  # several episodes within 50 steps; the full horizons are played by test_processes.py


@cache
def case(environment):
    """One case per id: its reference rollout is played once."""
    is_static = family_of(environment).make_process(environment).horizon == 1
    settings = None if is_static else {"horizon": HORIZON}
    return EnvCase(environment, lightest_preset(family_of(environment).name), settings)


@pytest.mark.parametrize("check", ENV_CHECKS)
@pytest.mark.parametrize("environment", environment_ids())
def test_env__conforms(environment, check):
    ENV_CHECKS[check](case(environment))


@pytest.mark.slow
@pytest.mark.parametrize("environment", environment_ids())
def test_env__conforms_at_full_horizon(environment):
    check_env(environment)


def test_toy_env__conforms():
    if TOY_FAMILY.name not in families():
        register_family(TOY_FAMILY)
    check_env("isac/Toy-v0", scenario="wide")
