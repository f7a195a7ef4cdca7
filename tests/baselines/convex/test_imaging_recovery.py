"""The conic sparse-group lasso against the accelerated one (spec 8.3)."""

import numpy as np
import pytest
import torch

from baselines.convex.imaging_recovery import sparse_group_lasso as conic
from baselines.multi_user_imaging.central import statistics
from baselines.multi_user_imaging.lasso import penalty, sparse_group_lasso
from isac_gym.core.random import Streams
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario


@pytest.mark.parametrize(("entry", "block"), [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0), (1.0, 2.0)])
def test_sparse_group_lasso__agrees_with_accelerated_gradients(entry, block):
    problem = ImagingRecovery(scenario=RecoveryScenario(num_antennas=9, num_users=6))
    instance = problem.sample(Streams.from_seed(3, 2))
    known = statistics(problem, instance)
    blocks = torch.tensor(problem.scenario.blocks())
    weight = penalty(known.information, known.noise, blocks, entry=entry, block=block)
    phi, b = known.information, known.matched
    found, status, _ = sparse_group_lasso(phi, b, weight, iterations=20000, tolerance=1e-11)
    assert (status == 0).all()
    for row in range(2):
        arrays = (t[row].numpy() for t in (phi, b, weight.entry, weight.block))
        wanted = conic(*arrays, weight.member.numpy())
        np.testing.assert_allclose(found[row].numpy(), wanted, rtol=0, atol=1e-5)
