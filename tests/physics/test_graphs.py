import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.physics.graphs import hops, metropolis, proximity_graph
from tests.oracles import imaging as oracle

SIZES = st.integers(2, 12)
SEEDS = st.integers(0, 2**32 - 1)


def positions(seed, users, lanes=3):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((lanes, users, 3)))


def random_graph(seed, users, share=0.25, lanes=3):
    """Graphs of independent links, often not connected."""
    linked = torch.from_numpy(np.random.default_rng(seed).random((lanes, users, users)) < share)
    upper = linked.triu(1)
    return upper | upper.mT


@given(SIZES, SEEDS, st.floats(0, 1))
def test_proximity_graph__is_kruskals_tree_and_the_shortest_other_links(users, seed, share):
    most = users * (users - 1) // 2
    count = users - 1 + round(share * (most - users + 1))
    position = positions(seed, users)
    graph = proximity_graph(position, count)
    for row in range(len(position)):
        links = oracle.edges(position[row].tolist(), count)
        np.testing.assert_array_equal(graph[row], oracle.adjacency(links, users))


@given(SIZES, SEEDS, st.floats(0, 1))
def test_proximity_graph__is_simple_connected_and_of_the_size_asked_for(users, seed, share):
    most = users * (users - 1) // 2
    count = users - 1 + round(share * (most - users + 1))
    graph = proximity_graph(positions(seed, users), count)
    assert torch.equal(graph, graph.mT)
    assert not torch.diagonal(graph, dim1=-2, dim2=-1).any()
    assert (graph.sum((-2, -1)) == 2 * count).all()
    assert (hops(graph) < users).all()


@given(SIZES, SEEDS)
def test_proximity_graph__follows_a_permutation_of_the_users(users, seed):
    position = positions(seed, users)
    order = torch.from_numpy(np.random.default_rng(seed + 1).permutation(users))
    count = min(users + 1, users * (users - 1) // 2)
    graph = proximity_graph(position, count)
    assert torch.equal(proximity_graph(position[:, order], count), graph[:, order][:, :, order])


@given(SIZES, SEEDS, st.integers(-20, 20))
def test_proximity_graph__ignores_the_unit_of_length(users, seed, exponent):
    position = positions(seed, users)
    count = min(users, users * (users - 1) // 2)
    scaled = proximity_graph(2.0**exponent * position, count)
    assert torch.equal(scaled, proximity_graph(position, count))


def test_proximity_graph__connects_users_at_the_same_place():
    graph = proximity_graph(torch.zeros(2, 6, 3, dtype=torch.float64), 7)
    assert (hops(graph) < 6).all()
    assert (graph.sum((-2, -1)) == 14).all()


@given(SIZES, SEEDS)
def test_metropolis__matches_the_oracle(users, seed):
    graph = random_graph(seed, users)
    weight = metropolis(graph)
    for row in range(len(graph)):
        expected = oracle.metropolis(graph[row].numpy())
        np.testing.assert_allclose(weight[row], expected, rtol=1e-13, atol=1e-15)


@given(SIZES, SEEDS)
def test_metropolis__is_symmetric_doubly_stochastic_and_aperiodic(users, seed):
    count = min(round(1.5 * users), users * (users - 1) // 2)
    graph = proximity_graph(positions(seed, users), max(count, users - 1))
    weight = metropolis(graph)
    assert torch.equal(weight, weight.mT)
    assert (weight >= 0).all()
    torch.testing.assert_close(weight.sum(-1), torch.ones(3, users).double(), rtol=1e-14, atol=0)
    assert ((weight > 0) <= (graph | torch.eye(users, dtype=torch.bool))).all()
    value = torch.linalg.eigvalsh(weight)
    assert (value[:, 0] > -1 + 1e-6).all()
    assert (value[:, -2] < 1 - 1e-9).all()  # one eigenvalue 1: connected


def test_metropolis__two_users_average_at_once():
    weight = metropolis(torch.tensor([[[False, True], [True, False]]]))
    torch.testing.assert_close(weight, torch.full((1, 2, 2), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_metropolis__has_the_dtype_asked_for(dtype):
    weight = metropolis(random_graph(0, 5), dtype=dtype)
    assert weight.dtype == dtype
    torch.testing.assert_close(weight.double(), metropolis(random_graph(0, 5)))


@given(SIZES, SEEDS, st.floats(0, 0.6))
def test_hops__match_breadth_first_search(users, seed, share):
    graph = random_graph(seed, users, share)
    found = hops(graph)
    for row in range(len(graph)):
        np.testing.assert_array_equal(found[row], oracle.hops(graph[row].numpy()))


def test_hops__on_a_path_are_differences_of_indices():
    index = torch.arange(7)
    gap = (index[:, None] - index).abs()
    assert torch.equal(hops((gap == 1)[None])[0], gap)
