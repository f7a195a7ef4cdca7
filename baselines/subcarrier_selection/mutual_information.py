r"""Mutual information of one feature and one label by nearest neighbours, batched.

With e_i the distance of sample i to its k-th neighbour in the larger of both coordinates' distances
and n_x, n_y the numbers of samples (with i) closer than e_i in one coordinate alone,

    I = psi(n) + psi(k) - mean of psi(n_x) + psi(n_y),

and for a class label, with e_i the distance to the k-th neighbour in the class of i, of size n_c,

    I = psi(n) + psi(k) - mean of psi(n_c) + psi(n_x).

Both at least 0. Ties are broken by noise of relative size 1e-10, as scikit-learn does.

Source: Kraskov, Stoegbauer and Grassberger 2004; Ross 2014.
"""

import torch
from torch import Tensor

from isac_gym.core.random import Streams

__all__ = ["class_information", "untied", "value_information"]

_NOISE = 1e-10
_CHUNK = 1 << 18  # distances at once: they stay in the cache


def untied(x: Tensor, name: str, seed: int) -> Tensor:
    """Columns (B, J, N) of unit deviation with noise that breaks ties; constant ones are noise.

    The noise is a function of seed, name and place in the column alone.
    """
    deviation = (x - x.mean(1, keepdim=True)).square().mean(1, keepdim=True).sqrt()
    floor = torch.finfo(x.dtype).eps * x.abs().amax(1, keepdim=True)
    scaled = torch.where(deviation > floor, x / deviation.clamp_min(floor), 0)
    noise = Streams.from_seed(seed, 1, device=x.device).normal(name, *x.shape[1:])
    size = scaled.abs().mean(1, keepdim=True).clamp_min(1)
    return scaled + _NOISE * size * noise.to(x.dtype)


def value_information(x: Tensor, value: Tensor, *, neighbours: int) -> Tensor:
    """Information (B, N, M) between columns x (B, J, N) and values (B, J, M), in nats."""
    count, (lanes, _, columns) = x.shape[1], x.shape
    near = (value.mT[..., None] - value.mT[..., None, :]).abs()  # (B, M, J, J)
    digamma = _digamma_table(count, x)
    parts = []
    for some in x.mT.split(_columns_at_once(lanes, count), 1):
        own = (some[..., None] - some[..., None, :]).abs()  # (B, n, J, J)
        found = [
            _value_mean(own, near[:, None, index], digamma, neighbours)
            for index in range(value.shape[2])
        ]
        parts.append(torch.stack(found, -1))
    mean = torch.cat(parts, 1) if columns else x.new_zeros(lanes, 0, value.shape[2])
    return (digamma[count] + digamma[neighbours] - mean).clamp_min(0)


def class_information(x: Tensor, member: Tensor, *, neighbours: int) -> Tensor:
    """Information (B, N) between columns x (B, J, N) and classes, one-hot (B, J, classes).

    A sample that is alone in its class does not count; a class of n has n - 1 neighbours at most.
    """
    lanes, count = x.shape[:2]
    digamma = _digamma_table(count, x)
    size = (member * member.sum(1, keepdim=True)).sum(-1).to(torch.int64)  # (B, J)
    is_counted = size > 1
    counted = is_counted.to(x.dtype)
    total = counted.sum(-1).clamp_min(1)
    reach = (size - 1).clamp(1, neighbours)
    is_other = (member @ member.mT) < 0.5  # (B, J, J)
    fixed = (counted * (digamma[reach] - digamma[size])).sum(-1) / total
    parts = []
    for some in x.mT.split(_columns_at_once(lanes, count), 1):
        own = (some[..., None] - some[..., None, :]).abs()
        inner = own.masked_fill(is_other[:, None], torch.inf)
        nearest = inner.topk(min(neighbours + 1, count), largest=False).values
        index = reach[:, None, :, None].expand(*nearest.shape[:3], 1)
        closer = (own < nearest.gather(-1, index)) & is_counted[:, None, None]
        parts.append((counted[:, None] * digamma[closer.sum(-1)]).sum(-1) / total[:, None])
    whole = digamma[total.to(torch.int64)] + fixed
    return (whole[:, None] - torch.cat(parts, 1)).clamp_min(0)


def _value_mean(own: Tensor, near: Tensor, digamma: Tensor, neighbours: int) -> Tensor:
    """Mean of psi(n_x) + psi(n_y), (B, n), of distances (B, n, J, J) and (B, 1, J, J)."""
    joint = torch.maximum(own, near)
    edge = joint.topk(neighbours + 1, largest=False).values[..., -1:]
    return (digamma[(own < edge).sum(-1)] + digamma[(near < edge).sum(-1)]).mean(-1)


def _digamma_table(count: int, like: Tensor) -> Tensor:
    """psi(0 .. count), that of 0 as of 1."""
    number = torch.arange(count + 1, dtype=like.dtype, device=like.device).clamp_min(1)
    return torch.special.digamma(number)


def _columns_at_once(lanes: int, count: int) -> int:
    return max(1, _CHUNK // (lanes * count**2))
