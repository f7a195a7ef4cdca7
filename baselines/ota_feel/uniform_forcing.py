"""Uniform forcing: every device inverts its channel into a receive subspace, the best of many.

With M^H H_k C_k = W_k the streams add up without error and only noise is left, |M|^2 noise. The
cheapest such precoder is C_k = F_k (F_k^H F_k)^-1 W_k with F_k = H_k^H M, of power
tr W_k (F_k^H F_k)^-1 W_k; the device that needs most relative to its budget sets the scale of M.
The scored receiver is the MMSE receiver for these precoders, which is a little better.

Made for transmission without pulses; with them the precoders are the same and serve no purpose.

Source: Chen, Qin, Wang, Chen, Letaief 2018, A uniform-forcing transceiver design for over-the-air
function computation; random subspaces are ours.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.iteration import demand_limits
from baselines.ota_feel.alternating import typed
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.records import OtaFeelDecision, OtaFeelInstance

__all__ = ["UniformForcing", "best_subspace", "inversion", "inversion_load"]


def inversion_load(instance: OtaFeelInstance, receiver: Tensor) -> Tensor:
    """Power that inversion needs over the budget, (B, K), of receivers M (B, N, R).

    Noise scales as |M|^2, this as 1 / |M|^2: the error is noise * |M|^2 * the largest load.
    """
    seen = instance.channel.mH @ receiver[:, None]
    inverse, _ = torch.linalg.inv_ex(seen.mH @ seen, check_errors=False)
    needed = torch.diagonal(inverse, dim1=-2, dim2=-1).real * instance.weight.square()
    load = needed.sum(-1) / instance.max_power_w
    return torch.where(load >= 0, load, torch.inf)  # NaN: not invertible


def inversion(instance: OtaFeelInstance, receiver: Tensor) -> Tensor:
    """Precoders that make M^H H_k C_k the same multiple of W_k, (B, K, M, R), within the budgets.

    Args:
        instance: Channels, weights and budgets.
        receiver: M, (B, N, R); its scale does not matter.
    """
    seen = instance.channel.mH @ receiver[:, None]
    inverse, _ = torch.linalg.inv_ex(seen.mH @ seen, check_errors=False)
    precoder = (seen @ inverse) * instance.weight[:, :, None, :]
    load = precoder.abs().square().sum((-2, -1)) / instance.max_power_w
    return precoder / load.amax(-1).sqrt()[:, None, None, None]


def best_subspace(instance: OtaFeelInstance, candidates: int, seed: int) -> tuple[Tensor, Tensor]:
    """Best of random receive subspaces, orthonormal (B, N, R), and its largest load (B,).

    The subspaces are the same for all instances.
    """
    i = instance
    antennas, tasks = i.channel.shape[2], i.weight.shape[2]
    drawn = Streams.from_seed(seed, 1, device=i.device).complex_normal(
        "subspace", candidates, antennas, tasks, dtype=i.dtype
    )
    basis, _ = torch.linalg.qr(drawn[0])
    best = basis[0].expand(i.batch_size, -1, -1)
    least = torch.full_like(i.max_power_w[:, 0], torch.inf)
    for one in basis:
        tried = one.expand(i.batch_size, -1, -1)
        load = inversion_load(i, tried).amax(-1)
        best = torch.where((load < least)[:, None, None], tried, best)
        least = torch.minimum(load, least)
    return best, least


@dataclass(frozen=True, kw_only=True)
class UniformForcing(Solver):
    """Channel inversion into the best of some random receive subspaces.

    Attributes:
        candidates: Subspaces tried, >= 1.
    """

    name: ClassVar[str] = "uniform-forcing"
    summary: ClassVar[str] = "channel inversion into the best of 64 random receive subspaces"

    candidates: int = 64

    def __post_init__(self) -> None:
        demand_limits(self, "candidates")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; a formula, a lane fails if some channel has no full rank."""
        setup, i = typed(problem, instance)
        receiver, load = best_subspace(i, self.candidates, seed)
        return forced(setup, i, receiver, load.isfinite(), instance.dtype)


def forced(
    problem: OtaFeel,
    instance: OtaFeelInstance,
    receiver: Tensor,
    is_good: Tensor,
    dtype: torch.dtype,
) -> Solution:
    """Solution in one step: inversion into a subspace, FAILED where ``is_good`` is False."""
    precoder = inversion(instance, receiver)
    status = torch.where(is_good, int(Status.CONVERGED), int(Status.FAILED))
    return Solution(
        decision=OtaFeelDecision(precoder).to(dtype=dtype),
        status=status,
        iterations=torch.ones_like(status),
    )
