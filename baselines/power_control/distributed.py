r"""Distributed max-min power control: local SINRs and one shared scalar.

Each base station i measures its own gamma_s and gamma_c and updates

    x_i <- max(tau x_i / gamma_s_i, Gamma_i x_i / gamma_c_i),   mu = max_i x_i,
    tau <- tau mu^-eta,   x <- min(x, 1),

a standard interference iteration (Yates 1995) at a level tau that the shared mu steers to the
optimum. eta = 1 ends in limit cycles; 0.2 converges.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.power_control.outcome import limits, network_of, outcome
from isac_gym.core.errors import ScenarioError
from isac_gym.core.loops import iterate
from isac_gym.core.policy import PolicyContext
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver
from isac_gym.physics.interference import sinr
from isac_gym.problems.power_control.model import (
    NormalisedNetwork,
    PowerControlDecision,
)

__all__ = ["Distributed", "DistributedPolicy"]


def _check_eta(eta: float) -> None:
    if not 0 < eta <= 1:
        raise ScenarioError(f"eta must be in (0, 1], got {eta}.")


def _demand(network: NormalisedNetwork, x: Tensor, tau: Tensor) -> Tensor:
    """Power each station needs at level tau (B,), from its own two SINRs only, (B, I)."""
    sensing = x / sinr(x, network.coupling, network.noise)
    comm = x / sinr(x, network.comm_coupling, network.comm_noise)
    return torch.maximum(tau[:, None] * sensing, comm)


@dataclass(frozen=True, kw_only=True)
class Distributed(Solver):
    """The distributed rule on fixed gains, from full power.

    Attributes:
        eta: Step of the shared level, in (0, 1]; 0.2 (ours) converges, 1 does not.
        iterations: Largest number of updates, >= 1.
        tolerance: Stop when no power and no level moves by more than this, relative.
    """

    name: ClassVar[str] = "distributed"
    summary: ClassVar[str] = "local SINR updates and one shared scalar"

    eta: float = 0.2
    iterations: int = 1000
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        _check_eta(self.eta)

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`."""
        network = network_of(problem, instance)
        first = torch.ones_like(network.noise)
        if start is not None:
            first = cast(PowerControlDecision, start).power.clamp_min(1e-6)
        tau = sinr(first, network.coupling, network.noise).amin(-1)

        def step(x: Tensor, tau: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            wanted = _demand(network, x, tau)
            peak = wanted.amax(-1)
            new = wanted.clamp_max(1)
            residual = torch.maximum((new / x - 1).abs().amax(-1), self.eta * peak.log().abs())
            return (new, tau * peak.pow(-self.eta)), residual

        count, tolerance = limits(budget, iterations=self.iterations, tolerance=self.tolerance)
        (power, _), status, used = iterate(
            step, (first, tau), iterations=count, tolerance=tolerance
        )
        return outcome(network, power, status=status, iterations=used)


@dataclass
class DistributedPolicy:
    """One update of the distributed rule per slot, on measured SINRs; remembers its level tau.

    What a base station needs: its own two SINRs of the last slot and the scalar mu of the last
    update (and, at the start of an episode, the smallest sensing SINR of the network).

    Attributes:
        eta: Step of the shared level, in (0, 1].
        margin_db: Thresholds are raised by this much.
    """

    eta: float = field(default=0.2, kw_only=True)
    margin_db: float = field(default=0.0, kw_only=True)
    _tau: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        _check_eta(self.eta)
        if not math.isfinite(self.margin_db):
            raise ScenarioError(f"margin_db must be a finite number, got {self.margin_db}.")

    @property
    def name(self) -> str:
        """``distributed``, with the margin where there is one."""
        return "distributed" + (f" {self.margin_db:+g} dB" if self.margin_db else "")

    def act(self, observation: Tensor, context: PolicyContext) -> Tensor:
        """Actions (B, I) in [-1, 1]."""
        process, state = context.process, context.state
        known = process.problem.tighten(process.measured(state), self.margin_db)
        network = network_of(process.problem, known)
        x = state.power
        fresh = sinr(x, network.coupling, network.noise).amin(-1)
        last = self._tau
        if last is None or last.shape != fresh.shape:
            last = fresh
        tau = torch.where(context.is_reset, fresh, last)
        wanted = _demand(network, x, tau)
        self._tau = tau * wanted.amax(-1).pow(-self.eta)
        return process.encode(state, PowerControlDecision(wanted.clamp(max=1)))
