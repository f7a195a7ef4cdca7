"""Networks of users: who talks to whom, with which weight, over how many hops."""

import torch
from torch import Tensor

__all__ = ["hops", "metropolis", "proximity_graph"]


def proximity_graph(position: Tensor, num_edges: int) -> Tensor:
    """Minimum spanning tree plus the shortest other edges; always connected.

    Prim's algorithm, K - 1 steps for the whole batch. Ties have probability 0 for drawn positions;
    the lower index wins.

    Args:
        position: (B, K, D) m.
        num_edges: Undirected edges, at least K - 1 and at most K (K - 1) / 2.

    Returns:
        Adjacency, (B, K, K) bool, symmetric, without self loops.
    """
    batch, count, _ = position.shape
    gap = (position[:, :, None] - position[:, None]).square().sum(-1)
    eye = torch.eye(count, dtype=torch.bool, device=position.device)
    gap = gap.masked_fill(eye, torch.inf)
    tree = _spanning_tree(gap)
    upper = torch.ones_like(eye).triu(1)
    rest = gap.masked_fill(tree | ~upper, torch.inf).flatten(1)
    spare = num_edges - (count - 1)
    order = rest.argsort(stable=True, dim=-1).argsort(-1).reshape(batch, count, count)
    extra = (order < spare) & upper
    return tree | extra | extra.mT


def _spanning_tree(gap: Tensor) -> Tensor:
    batch, count, _ = gap.shape
    index = torch.arange(count, device=gap.device)
    inside = (index == 0).expand(batch, count)
    nearest = gap[:, 0]  # distance of each user to the tree
    parent = torch.zeros(batch, count, dtype=torch.int64, device=gap.device)
    tree = torch.zeros_like(gap, dtype=torch.bool)
    for _ in range(count - 1):
        new = nearest.masked_fill(inside, torch.inf).argmin(-1, keepdim=True)  # (B, 1)
        is_new = index == new
        link = is_new[:, :, None] & (index == parent.gather(1, new))[:, None]
        tree = tree | link | link.mT
        inside = inside | is_new
        reach = gap.gather(1, new[..., None].expand(-1, 1, count))[:, 0]
        parent = torch.where(reach < nearest, new, parent)
        nearest = torch.minimum(nearest, reach)
    return tree


def metropolis(adjacency: Tensor, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Metropolis weights a_lk = 1 / max(n_l, n_k), n counting the node itself; (B, K, K) real.

    Symmetric and doubly stochastic. Counting only the links, as the paper's text does, gives two
    users the weights [[0, 1], [1, 0]], which never agree.

    Source: paper (50); differs: n counts the node itself.
    """
    degree = adjacency.sum(-1) + 1
    most = torch.maximum(degree[:, :, None], degree[:, None])
    weight = adjacency.to(dtype) / most.to(dtype)
    return weight + torch.diag_embed(1 - weight.sum(-1))


def hops(adjacency: Tensor) -> Tensor:
    """Links on the shortest path between every two users, (B, K, K) int64; K where there is none.

    Args:
        adjacency: (B, K, K) bool, symmetric.
    """
    count = adjacency.shape[-1]
    reached = torch.eye(count, dtype=torch.bool, device=adjacency.device).expand_as(adjacency)
    step = adjacency.to(torch.float32)
    far = torch.where(reached, 0, count).to(torch.int64)
    for length in range(1, count):
        wider = reached | ((reached.to(torch.float32) @ step) > 0)
        far = torch.where(wider & ~reached, length, far)
        reached = wider
    return far
