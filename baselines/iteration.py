"""Iteration of a batch from which finished lanes leave."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from isac_gym.core.loops import iterate
from isac_gym.core.solution import Status

__all__ = ["iterate_shrinking", "take"]

Data = TypeVar("Data", bound=tuple[Any, ...])


def take(data: Data, rows: Tensor) -> Data:
    """Rows of a named tuple of tensors with leading axis B."""
    return type(data)(*(tensor[rows] for tensor in data))


def iterate_shrinking(
    step: Callable[..., tuple[tuple[Tensor, ...], Tensor]],
    data: Data,
    state: tuple[Tensor, ...],
    *,
    iterations: int,
    tolerance: float,
    block: int = 4,
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """As :func:`isac_gym.core.loops.iterate`, but finished lanes are dropped every few steps.

    Worth it where lanes differ much in their number of steps; a lane's result is the same.

    Args:
        step: Maps (data, *state) to (new state, residual (B,)) for any subset of lanes.
        data: Named tuple of tensors with leading axis B that does not change.
        state: Initial state tensors.
        iterations: Largest number of steps, >= 1.
        tolerance: Residual at which a lane has converged, >= 0.
        block: Steps between two shrinkings, >= 1.

    Returns:
        Final state, status (B,) int64 and number of steps taken by each lane (B,) int64.
    """
    final = tuple(tensor.clone() for tensor in state)
    lanes = torch.arange(state[0].shape[0], device=state[0].device)
    status, count = torch.zeros_like(lanes), torch.zeros_like(lanes)
    for done in range(0, iterations, block):
        part, code, used = iterate(
            lambda *now: step(data, *now),  # noqa: B023 - called before data changes
            state,
            iterations=min(block, iterations - done),
            tolerance=tolerance,
        )
        for whole, some in zip(final, part, strict=True):
            whole[lanes] = some
        status[lanes] = code
        count[lanes] += used
        rows = (code == int(Status.BUDGET_SPENT)).nonzero()[:, 0]
        if rows.numel() == 0:
            break
        state = part
        if rows.numel() < lanes.numel():
            lanes, data = lanes[rows], take(data, rows)
            state = tuple(tensor[rows] for tensor in part)
    return final, status, count
