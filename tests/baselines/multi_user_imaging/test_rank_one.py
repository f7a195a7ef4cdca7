"""One constant beam cannot see more voxels than there are users."""

import pytest
import torch

from baselines.front import solve
from baselines.multi_user_imaging.rank_one import RankOne, randomised
from isac_gym.core import ScenarioError
from tests.baselines.multi_user_imaging.test_a_optimal import drawn


def test_rank_one__leaves_unseen_voxels_at_their_prior():
    problem, instance = drawn(num_samples=1000, snr_db=40.0)
    s = problem.scenario
    found = solve(problem, instance, RankOne())
    metrics = problem.evaluate(instance, found.decision)
    unseen = (s.num_voxels - s.num_users) * s.prior_variance
    assert (metrics.error_bound >= unseen * (1 - 1e-6)).all()
    torch.testing.assert_close(
        metrics.error_bound, torch.full_like(metrics.sinr, unseen), rtol=1e-4, atol=0
    )
    assert (torch.linalg.matrix_rank(found.decision.probe, rtol=1e-9) == 1).all()
    assert metrics.violation.max() <= 1e-9


@pytest.mark.parametrize("information", ["step1", "joint"])
def test_rank_one__more_draws_are_no_worse_and_seeds_differ(information):
    problem, instance = drawn(information=information)
    few, many = (
        problem.evaluate(instance, solve(problem, instance, RankOne(draws=n)).decision)
        for n in (1, 64)
    )
    assert many.objective.mean() > few.objective.mean()
    one, two = (solve(problem, instance, RankOne(), seed=n).decision.probe for n in (0, 1))
    again = solve(problem, instance, RankOne(), seed=0).decision.probe
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


def test_randomised__has_the_covariance_on_average():
    root = torch.randn(1, 3, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    w = root @ root.mH
    drawn_beams = randomised(w, 2000, 0, "probe")
    power = drawn_beams.abs().square().sum(-1)
    trace = torch.diagonal(w, dim1=-2, dim2=-1).real.sum(-1, keepdim=True)
    torch.testing.assert_close(power, trace.expand_as(power))
    along = torch.linalg.eigh(w)[1][..., -1]
    share = (drawn_beams @ along.conj()[..., None]).abs().square().mean()
    assert share > 0.4 * power.mean()


def test_rank_one__refuses_nonsense():
    for field in ({"draws": 0}, {"iterations": 0}, {"tolerance": 0.0}):
        with pytest.raises(ScenarioError):
            RankOne(**field)
