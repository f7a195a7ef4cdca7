"""The masked iteration driver: every lane stops by itself and is frozen from then on."""

from collections.abc import Callable

import torch
from torch import Tensor

from isac_gym.core.solution import Status

__all__ = ["iterate"]

State = tuple[Tensor, ...]


def iterate(
    step: Callable[..., tuple[State, Tensor]],
    state: State,
    *,
    iterations: int,
    tolerance: float,
) -> tuple[State, Tensor, Tensor]:
    """Apply ``step`` until each lane's residual is at most ``tolerance``.

    A lane that has converged, or whose residual is not a number, keeps its state bit for bit while
    its neighbours go on.

    Args:
        step: Maps the state tensors (each with leading axis B) to (new state, residual (B,)).
        state: Initial state tensors.
        iterations: Largest number of steps, >= 1.
        tolerance: Residual at which a lane has converged, >= 0.

    Returns:
        Final state, status (B,) int64 and number of steps taken by each lane (B,) int64.
    """
    batch, device = state[0].shape[0], state[0].device
    status = torch.full((batch,), int(Status.BUDGET_SPENT), dtype=torch.int64, device=device)
    count = torch.zeros(batch, dtype=torch.int64, device=device)
    active = torch.ones(batch, dtype=torch.bool, device=device)
    for _ in range(iterations):
        proposed, residual = step(*state)
        state = tuple(
            torch.where(active.reshape((-1,) + (1,) * (old.ndim - 1)), new, old)
            for new, old in zip(proposed, state, strict=True)
        )
        count = count + active
        status = torch.where(active & residual.isnan(), int(Status.FAILED), status)
        status = torch.where(active & (residual <= tolerance), int(Status.CONVERGED), status)
        active = active & (residual > tolerance)
        if not bool(active.any()):
            break
    return state, status, count
