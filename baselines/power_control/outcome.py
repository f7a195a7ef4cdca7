"""Start and end of every power-control solver: an interior point, and powers made a solution."""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from isac_gym.core.linalg import solve_or_nan
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Status, Trace
from isac_gym.physics.interference import balanced_level, radial_project
from isac_gym.problems.power_control.model import (
    NormalisedNetwork,
    PowerControl,
    PowerControlDecision,
    PowerControlInstance,
)

__all__ = ["Interior", "history", "interior", "limits", "network_of", "outcome"]

_THIN = 1e-9  # distance of the least powers from the cap below which there is no interior


def network_of(problem: Problem, instance: TensorRecord) -> NormalisedNetwork:
    """Normalised network (F, n, Q', m') of power-control instances."""
    return cast(PowerControl, problem).network(cast(PowerControlInstance, instance))


class Interior(NamedTuple):
    """Where an interior method can start.

    Attributes:
        network: The network; lanes without an interior have lost their thresholds, so that they
            do not disturb a batched method. :func:`outcome` settles them.
        inside: Powers strictly inside its thresholds and box, (B, I).
        is_feasible: True where the original thresholds can be met, (B,).
    """

    network: NormalisedNetwork
    inside: Tensor
    is_feasible: Tensor


def interior(network: NormalisedNetwork) -> Interior:
    """Interior point of a network from its least powers x0 = (I - Q')^-1 m'.

    c x0 has the slack (c - 1) m' for any c > 1; c is the middle of 1 and 1 / max x0.
    """
    eye = torch.eye(network.noise.shape[1], dtype=network.noise.dtype, device=network.noise.device)
    least = solve_or_nan(eye - network.comm_coupling, network.comm_noise[:, :, None])[:, :, 0]
    peak, lowest = least.amax(-1), least.amin(-1)
    has_interior = ((peak < 1 - _THIN) & (lowest >= 0))[:, None]
    rounding = 64 * torch.finfo(peak.dtype).eps
    inside = torch.where(has_interior, least * (1 + 1 / peak[:, None]) / 2, 0)
    coupling = torch.where(has_interior[:, :, None], network.comm_coupling, 0)
    noise = torch.where(has_interior, network.comm_noise, 0)
    is_silent = noise == 0  # stations without a threshold: as loud as half of the others' slack
    inside = torch.where(is_silent, 0, inside)
    slack = inside - (coupling * inside[:, None, :]).sum(-1) - noise
    harm = (coupling * is_silent[:, None, :]).sum(-1)
    room = torch.where(is_silent, torch.inf, slack / harm).amin(-1, keepdim=True)
    return Interior(
        network=NormalisedNetwork(network.coupling, network.noise, coupling, noise),
        inside=torch.where(is_silent, (room / 2).clamp_max(0.5), inside),
        is_feasible=(peak <= 1 + rounding) & (lowest >= 0),
    )


def outcome(
    network: NormalisedNetwork,
    power: Tensor,
    *,
    known: Interior | None = None,
    status: Tensor | None = None,
    iterations: Tensor | None = None,
    trace: Trace | None = None,
    certificate: Certificate | None = None,
) -> Solution:
    """Solution of powers (B, I), moved radially to feasibility.

    Lanes whose thresholds cannot be met get the max-margin point and status INFEASIBLE.

    Args:
        network: Normalised network the powers belong to.
        power: Powers over their caps, (B, I).
        known: ``interior(network)`` of a method that ends feasible up to its tolerance; the
            movement is then towards the interior point, which is cheaper than the max-margin point.
        status: Status of feasible lanes, (B,) int64; None means CONVERGED.
        iterations: Iterations per lane, (B,) int64; None means 0 (closed form).
        trace: History, or None.
        certificate: Bound, or None.
    """
    comm = (network.comm_coupling, network.comm_noise)
    if known is None:
        margin, safe = balanced_level(*comm)
        is_feasible, target = margin >= 1, safe
    else:
        is_feasible, target = known.is_feasible, known.inside
        safe = target if bool(is_feasible.all()) else balanced_level(*comm)[1]
    zero = torch.zeros_like(is_feasible, dtype=torch.int64)
    status = zero + int(Status.CONVERGED) if status is None else status
    power = radial_project(power, *comm, target)
    return Solution(
        decision=PowerControlDecision(torch.where(is_feasible[:, None], power, safe)),
        status=torch.where(is_feasible, status, int(Status.INFEASIBLE)),
        iterations=zero if iterations is None else iterations,
        trace=trace,
        certificate=certificate,
    )


def limits(budget: Budget, *, iterations: int, tolerance: float) -> tuple[int, float]:
    """Iterations and tolerance of a budget, with a solver's own where the budget leaves them."""
    return (
        iterations if budget.iterations is None else budget.iterations,
        tolerance if budget.tolerance is None else budget.tolerance,
    )


def history(values: list[Tensor], length: Tensor) -> Trace:
    """Trace of per-iteration objectives, L tensors (B,); finished lanes repeat their last one."""
    objective = torch.stack(values, -1)  # (B, L)
    column = torch.arange(objective.shape[1], device=objective.device)
    column = torch.minimum(column, (length - 1).clamp_min(0)[:, None])
    return Trace(objective=objective.gather(1, column), length=length)
