"""Iteration of a batch from which finished lanes leave, and limits of iterations."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.solution import Solver, Status

__all__ = ["demand_limits", "iterate_shrinking", "take"]

Data = TypeVar("Data", bound=tuple[Any, ...])


def demand_limits(solver: Solver, *counts: str) -> None:
    """Refuse a solver whose named counts are below 1 or whose ``tolerance`` is not positive.

    Raises:
        ScenarioError: Names field and value.
    """
    for name in counts:
        if getattr(solver, name) < 1:
            raise ScenarioError(f"{name} must be >= 1, got {getattr(solver, name)}.")
    tolerance = getattr(solver, "tolerance", 1.0)
    if not 0 < tolerance < math.inf:
        raise ScenarioError(f"tolerance must be > 0, got {tolerance}.")


def take(data: Data, rows: Tensor) -> Data:
    """Rows of a named tuple of tensors with leading axis B."""
    return type(data)(*(tensor[rows] for tensor in data))


def iterate_shrinking(
    step: Callable[..., tuple[tuple[Tensor, ...], Tensor]],
    data: tuple[Any, ...],
    state: tuple[Tensor, ...],
    *,
    iterations: int,
    tolerance: float,
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """As :func:`isac_gym.core.loops.iterate`, but a finished lane leaves the batch at once.

    Worth it where steps are expensive and lanes differ in their number.

    Args:
        step: Maps (data, *state) to (new state, residual (B,)) for any subset of lanes.
        data: Named tuple of tensors with leading axis B that does not change.
        state: Initial state tensors.
        iterations: Largest number of steps, >= 1.
        tolerance: Residual at which a lane has converged, >= 0.

    Returns:
        Final state, status (B,) int64 and number of steps taken by each lane (B,) int64.
    """
    final = tuple(torch.empty_like(tensor) for tensor in state)
    lanes = torch.arange(state[0].shape[0], device=state[0].device)
    status, count = torch.zeros_like(lanes), torch.zeros_like(lanes)
    for done in range(1, iterations + 1):
        state, residual = step(data, *state)
        goes_on = residual > tolerance  # False for NaN
        if done < iterations and bool(goes_on.all()):
            continue
        stays = goes_on.nonzero()[:, 0] if done < iterations else lanes[:0]
        leaves = goes_on.logical_not().nonzero()[:, 0] if done < iterations else slice(None)
        rows, error = lanes[leaves], residual[leaves]
        for whole, part in zip(final, state, strict=True):
            whole[rows] = part[leaves]
        code = torch.where(error.isnan(), int(Status.FAILED), int(Status.BUDGET_SPENT))
        status[rows] = torch.where(error <= tolerance, int(Status.CONVERGED), code)
        count[rows] = done
        if stays.numel() == 0:
            break
        lanes, data = lanes[stays], take(data, stays)
        state = tuple(tensor[stays] for tensor in state)
    return final, status, count
