"""Decisions to try a problem with: random, adversarial and at the boundary, for any record."""

import torch
from torch import Tensor

from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord

__all__ = ["candidates", "clone", "random_decision"]


def clone(record: TensorRecord) -> TensorRecord:
    """Copy with its own memory."""
    return record.map(Tensor.clone)


def _scale(tensor: Tensor) -> Tensor:
    """Typical magnitude of each row, 1 where the floor is zero, shaped to broadcast."""
    flat = tensor.abs().reshape(len(tensor), -1)
    size = flat.amax(1) if flat.shape[1] else flat.new_ones(len(tensor))
    return torch.where(size > 0, size, 1).reshape((-1,) + (1,) * (tensor.ndim - 1))


def random_decision(problem: Problem, instance: TensorRecord, name: str) -> TensorRecord:
    """Raw random decision round the magnitude of the floor, usually partly infeasible.

    Args:
        problem: Problem the instance belongs to.
        instance: Instances, batch size B.
        name: Name of the random stream; other names give other decisions.

    Returns:
        Decision record with batch size B, on the device of the instance.
    """
    floor = problem.floor(instance)
    streams = Streams.from_seed(97, instance.batch_size, device=instance.device)
    tensors = {}
    for field, tensor in floor.items():
        shape, key = tensor.shape[1:], f"{name}/{field}"
        if tensor.dtype == torch.bool:
            drawn = streams.uniform(key, *shape) < 0.5
        elif tensor.is_complex():
            drawn = _scale(tensor) * streams.complex_normal(key, *shape, dtype=tensor.real.dtype)
        elif tensor.is_floating_point():
            drawn = _scale(tensor) * (2 * streams.uniform(key, *shape, dtype=tensor.dtype) - 0.5)
        else:
            low, high = int(tensor.min()), int(tensor.max())
            drawn = low + streams.integers(key, *shape, high=high - low + 1).to(tensor.dtype)
        tensors[field] = drawn
    return type(floor).from_items(tensors)


def candidates(problem: Problem, instance: TensorRecord) -> dict[str, TensorRecord]:
    """Raw decisions by label: the floor, random ones, nothing, far too much, one entry only.

    Args:
        problem: Problem the instance belongs to.
        instance: Instances, batch size B >= 1.

    Returns:
        Decision records with batch size B; feasible or not.
    """
    floor = problem.floor(instance)

    def numeric(function: str) -> TensorRecord:
        return floor.map(lambda t: _edge(t, function))

    return {
        "floor": floor,
        "random": random_decision(problem, instance, "random"),
        "another random": random_decision(problem, instance, "another"),
        "nothing": numeric("nothing"),
        "tiny": numeric("tiny"),
        "too much": numeric("too much"),
        "first entry only": numeric("first"),
    }


def _edge(tensor: Tensor, kind: str) -> Tensor:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor.clone()
    size = _scale(tensor).to(tensor.dtype)
    if kind == "nothing":
        return torch.zeros_like(tensor)
    if kind == "tiny":
        return torch.ones_like(tensor) * size * 1e-9
    if kind == "too much":
        return torch.ones_like(tensor) * size * 1e3
    first = torch.zeros_like(tensor)
    first[:, :1] = 1
    return first * size
