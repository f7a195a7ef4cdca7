import pytest
import torch

from baselines.ota_feel.roles import RolesPolicy
from isac_gym.core import ScenarioError, Streams, family_of
from isac_gym.core.policy import PolicyContext

NAME = "isac/OtaFeel-v0"


def played(policy, lanes=8, rounds=5, **settings):
    """Sums of both objectives over some rounds, and the last state before a decision."""
    process = family_of(NAME).make_process(NAME, "joint", settings)
    streams = Streams.from_seed(3, lanes)
    state, total = process.initial(streams), 0
    for number in range(1, rounds + 1):
        context = PolicyContext(process, state, torch.zeros(lanes, dtype=torch.bool))
        decision = process.decode(state, policy.act(process.observe(state), context))
        result = process.advance(state, decision, streams.at_step(number))
        assert result.metrics.violation.max() < 1e-9
        state, total = result.state, total + result.objectives
    return total


def test_roles__quiet_devices_help_the_one_that_senses():
    base, roles = played(RolesPolicy()), played(RolesPolicy(sensing=0.3, quiet=1.0))
    aggregation, localisation = (roles - base).mean(0) / 5
    assert localisation > 0.3  # in 10 dB
    assert -0.2 < aggregation < 0


def test_roles__are_refused_by_name():
    with pytest.raises(ScenarioError, match=r"quiet must be in \[0, 1\], got 2"):
        RolesPolicy(quiet=2)
    with pytest.raises(ScenarioError, match="action_mode must be 'residual' or 'null-space'"):
        played(RolesPolicy(), action_mode="raw")


def test_roles__have_names():
    assert RolesPolicy().name == "base design"
    assert RolesPolicy(sensing=0.3, quiet=1.0).name == "roles 0.3 1"
