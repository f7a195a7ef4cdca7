"""Costs of sharing by counting messages one by one, and what the schemes give at equal cost."""

import numpy as np
import pytest
import torch

from baselines.multi_user_imaging import sharing
from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.physics.graphs import hops, metropolis
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery, gathering_scalars
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario

SCENARIO = RecoveryScenario(
    num_users=8, num_antennas=8, voxels_x=2, voxels_y=2, voxels_z=3, num_occupied=3, num_samples=200
)
USERS, VOXELS, SAMPLES = 8, 12, 200


@pytest.fixture(scope="module")
def adjacency():
    return ImagingRecovery(scenario=SCENARIO).sample(Streams.from_seed(1, 3)).adjacency


def tree(links, root):
    """Parent of every node but the root on shortest paths, one graph (K, K)."""
    parent, queue = {}, [root]
    while queue:
        node = queue.pop(0)
        for other in np.flatnonzero(links[node]):
            if other != root and other not in parent:
                parent[other] = node
                queue.append(other)
    return parent


def test_scalars__are_the_messages_counted(adjacency):
    for row, links in enumerate(adjacency.numpy()):
        images = sum(
            VOXELS
            for t in range(SAMPLES)
            if (t + 1) % 7 == 0
            for k in range(USERS)
            for _ in np.flatnonzero(links[k])
        )
        found = sharing.diffusion_scalars(
            adjacency, num_voxels=VOXELS, num_samples=SAMPLES, every=7
        )
        assert int(found[row]) == images
        rounds = sum(VOXELS for _ in range(4) for _ in np.argwhere(links))
        assert int(sharing.consensus_scalars(adjacency, size=VOXELS, rounds=4)[row]) == rounds
        parent = tree(links, root=0)
        assert sharing.statistics_scalars(num_users=USERS, num_voxels=VOXELS) == sum(
            VOXELS + VOXELS for _ in parent
        )
        flood = sum(1 for _ in range(SAMPLES) for _ in range(USERS) for _ in parent)
        assert sharing.flooding_scalars(num_users=USERS, num_samples=SAMPLES) == flood


def test_gathering__costs_the_paths_to_the_best_leader(adjacency):
    for row, links in enumerate(adjacency.numpy()):
        costs = []
        for root in range(USERS):
            parent, total = tree(links, root), 0
            for node in parent:
                while node != root:
                    node, total = parent[node], total + SAMPLES
            costs.append(total + VOXELS * len(parent))
        assert int(gathering_scalars(adjacency, SAMPLES, VOXELS)[row]) == min(costs)


def test_consensus_weights__are_those_of_averaging_round_by_round(adjacency):
    weight = metropolis(adjacency)
    values = torch.randn(3, USERS, 2, generator=torch.Generator().manual_seed(0)).double()
    after = values
    for _ in range(3):
        after = weight @ after
    found = sharing.consensus_weights(adjacency, 3, dtype=torch.float64)
    torch.testing.assert_close(found @ values, after)
    torch.testing.assert_close(found.sum(-1), torch.ones(3, USERS).double())


def curves(budgets, *, knows_symbols, lanes=8):
    return sharing.equal_cost_curves(
        SCENARIO, Streams.from_seed(5, lanes), budgets, knows_symbols=knows_symbols
    )


@pytest.mark.parametrize("knows_symbols", [False, True])
def test_equal_cost_curves__sharing_images_is_dominated(knows_symbols):
    """Spec 2.7: at the price of one exchange per sample, and of one in ten, the data give more."""
    links = 24  # 12 links, both ways
    budgets = [links * VOXELS * SAMPLES // 10, links * VOXELS * SAMPLES]
    found = curves(budgets, knows_symbols=knows_symbols)
    assert all(error.shape == (8, 2) for error in found.values())
    for name in ("gathering", "flooding", "gather-statistics", "consensus-statistics"):
        assert bool((found[name] < found["diffusion"] - 2).all()), name
    assert bool((found["diffusion"][:, 1] < found["diffusion"][:, 0]).all())  # money helps it


def test_equal_cost_curves__with_enough_everyone_has_the_image_of_all_data():
    found = curves([10**7], knows_symbols=False)
    for name in ("flooding", "gathering", "gather-statistics"):
        torch.testing.assert_close(found[name], found["gathering"])
    gap = found["consensus-statistics"] - found["gathering"]
    assert float(gap.abs().max()) < 1e-6


def test_equal_cost_curves__without_money_users_are_alone():
    found = curves([0], knows_symbols=True)
    for name in ("flooding", "gathering", "gather-statistics", "consensus-statistics"):
        torch.testing.assert_close(found[name], found["isolated"])
    once = sharing.statistics_scalars(num_users=USERS, num_voxels=VOXELS)
    found = curves([once - 1, once], knows_symbols=True)["gather-statistics"]
    assert bool((found[:, 1] < found[:, 0] - 10).all())


def test_equal_cost_curves__gathers_the_samples_it_can_pay_for():
    """With known symbols the error falls with the samples: 10 dB per decade of money."""
    way = hops(ImagingRecovery(scenario=SCENARIO).sample(Streams.from_seed(5, 8)).adjacency)
    least = int(way.sum(-1).amin(-1).max())
    tree_down = VOXELS * (USERS - 1)
    error = curves([20 * least + tree_down, 200 * least + tree_down], knows_symbols=True)
    drop = (error["gathering"][:, 0] - error["gathering"][:, 1]).mean()
    assert 7 < float(drop) < 14


def test_equal_cost_curves__refuses_negative_budgets():
    with pytest.raises(ScenarioError, match="budgets"):
        curves([-1], knows_symbols=True)
