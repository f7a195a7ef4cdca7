"""Start and end of every power-control solver: an interior point, and powers made a solution."""

from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.solution import Budget, Certificate, Solution, Status, Trace
from isac_gym.physics.interference import balanced_level, radial_project
from isac_gym.problems.power_control.model import NormalisedNetwork, PowerControlDecision

__all__ = ["Feasibility", "feasibility", "history", "limits", "outcome", "with_interior"]

_THIN = 1e-9  # margin above 1 below which the feasible set is a point for our purposes


class Feasibility(NamedTuple):
    """What the thresholds allow.

    Attributes:
        margin: Largest common factor of all thresholds, (B,); feasible iff >= 1.
        safe: Powers that reach it, (B, I).
    """

    margin: Tensor
    safe: Tensor


def feasibility(network: NormalisedNetwork) -> Feasibility:
    """Margin and safe powers of a network."""
    return Feasibility(*balanced_level(network.comm_coupling, network.comm_noise))


def outcome(
    network: NormalisedNetwork,
    power: Tensor,
    *,
    known: Feasibility | None = None,
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
        known: ``feasibility(network)`` if it is at hand.
        status: Status of feasible lanes, (B,) int64; None means CONVERGED.
        iterations: Iterations per lane, (B,) int64; None means 0 (closed form).
        trace: History, or None.
        certificate: Bound, or None.
    """
    margin, safe = feasibility(network) if known is None else known
    is_feasible = margin >= 1
    zero = torch.zeros_like(margin, dtype=torch.int64)
    status = zero + int(Status.CONVERGED) if status is None else status
    power = radial_project(power, network.comm_coupling, network.comm_noise, safe)
    return Solution(
        decision=PowerControlDecision(torch.where(is_feasible[:, None], power, safe)),
        status=torch.where(is_feasible, status, int(Status.INFEASIBLE)),
        iterations=zero if iterations is None else iterations,
        trace=trace,
        certificate=certificate,
    )


def with_interior(
    network: NormalisedNetwork, known: Feasibility
) -> tuple[NormalisedNetwork, Tensor]:
    """Network and powers (B, I) strictly inside its thresholds and box.

    Lanes without an interior (margin below 1 + 1e-9) get thresholds they can meet, so that they do
    not disturb a batched method; :func:`outcome` settles them on the original network.
    """
    margin, safe = known
    relief = torch.where(margin > 1 + _THIN, 1, margin / 2)[:, None]
    coupling, noise = network.comm_coupling * relief[:, :, None], network.comm_noise * relief
    inside = safe * (1 + relief / margin[:, None]) / 2
    is_silent = inside == 0  # stations without a threshold: as loud as half of the others' slack
    slack = inside - (coupling * inside[:, None, :]).sum(-1) - noise
    harm = (coupling * is_silent[:, None, :]).sum(-1)
    room = torch.where(is_silent, torch.inf, slack / harm).amin(-1, keepdim=True)
    inside = torch.where(is_silent, (room / 2).clamp_max(0.5), inside)
    return NormalisedNetwork(network.coupling, network.noise, coupling, noise), inside


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
