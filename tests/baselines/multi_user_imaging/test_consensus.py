"""The distributed solver that mixes matched filters."""

from typing import cast

import pytest
import torch

from baselines.front import solve
from baselines.multi_user_imaging.consensus import ConsensusStatistics
from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.random import Streams
from isac_gym.core.solution import Budget
from isac_gym.problems.multi_user_imaging.design import ImagingDesign
from isac_gym.problems.multi_user_imaging.recovery import (
    ImagingRecovery,
    ImagingRecoveryDecision,
    ImagingRecoveryMetrics,
)
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario

PROBLEM = ImagingRecovery(scenario=RecoveryScenario.preset("small", mean_degree=1.5))


@pytest.fixture(scope="module")
def instance():
    return PROBLEM.sample(Streams.from_seed(3, 6))


def estimate(instance, **options) -> torch.Tensor:
    solution = ConsensusStatistics(**options).solve(PROBLEM, instance)
    return cast(ImagingRecoveryDecision, solution.decision).estimate


def score(instance, **options) -> ImagingRecoveryMetrics:
    solution = solve(PROBLEM, instance, ConsensusStatistics(**options))
    return PROBLEM.evaluate(instance, cast(ImagingRecoveryDecision, solution.decision))


def test_consensus_statistics__gains_from_every_round_and_pass(instance):
    first, more, two = (
        score(instance, rounds=rounds, passes=passes).objective.mean()
        for rounds, passes in ((2, 1), (20, 1), (20, 2))
    )
    assert first < more < two - 3


def test_consensus_statistics__agrees_once_averaging_has_converged(instance):
    found = score(instance, rounds=300)
    assert float((found.disagreement / found.msd).max()) < 1e-6
    early = score(instance, rounds=2)
    assert float((early.disagreement / early.msd).min()) > 1e-3


def test_consensus_statistics__counts_its_scalars(instance):
    links = instance.adjacency.sum((-2, -1))
    found = score(instance, rounds=3, passes=2).scalars
    assert torch.equal(found, (2 * 3 * 8 * links + 2 * 64 * 3).double())
    assert torch.equal(score(instance, rounds=0, passes=1).scalars, torch.zeros(6).double())


def test_consensus_statistics__does_not_see_the_truth(instance):
    blind = instance.replace(
        image=torch.ones_like(instance.image), symbol=torch.ones_like(instance.symbol)
    )
    assert torch.equal(estimate(instance), estimate(blind))


def test_consensus_statistics__users_far_away_do_not_count(instance):
    """One round: a user's image depends on its own samples and its neighbours' only."""
    row, user, other = ((~instance.adjacency) & ~torch.eye(4, dtype=torch.bool)).nonzero()[0]
    received = instance.received.clone()
    received[row, :, other] = 0
    deaf = instance.replace(received=received)
    found, same = (estimate(i, rounds=1, passes=1) for i in (instance, deaf))
    torch.testing.assert_close(found[row, user], same[row, user])
    assert not torch.allclose(found[row, other], same[row, other])


def test_consensus_statistics__stops_after_the_passes_of_the_budget(instance):
    solution = ConsensusStatistics().solve(PROBLEM, instance, budget=Budget(iterations=1))
    assert torch.equal(solution.iterations, torch.ones(6, dtype=torch.int64))
    found = cast(ImagingRecoveryDecision, solution.decision).estimate
    assert torch.equal(found, estimate(instance, passes=1))


@pytest.mark.parametrize("field", ["rounds", "passes"])
def test_consensus_statistics__refuses(field):
    with pytest.raises(ScenarioError, match=field):
        ConsensusStatistics(**{field: -1})


def test_consensus_statistics__needs_a_recovery_problem(instance):
    with pytest.raises(ShapeError, match="ImagingRecovery"):
        ConsensusStatistics().solve(ImagingDesign(), instance)
