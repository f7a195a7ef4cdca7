"""WMMSE beams for the weighted sum rate, nominal or with CSI errors as noise, and a power split.

Model: every user's MSE e_ck = |1 - u* h^H v|^2 + |u|^2 (interference + noise) is minimised over
receivers u and beams v with weights w / e, station by station, so that sum w log2(1 + SINR) at the
design's own channels never falls. The robust variant takes the errors of all links as isotropic
with covariance spread eps^2 / N: every stream l adds noise spread eps^2 / N ||v||^2 to the users it
is not meant for. The user's own stream is left out: its error costs no more than the factor
(1 - eps)^2 of the signal in the worst case, while counted as noise it would cap the SINR.

Reference: Shi, Razaviyayn, Luo, He 2011, An iteratively weighted MMSE approach to distributed
sum-utility maximization for a MIMO interfering broadcast channel (table I). Differs: sensing is
added afterwards by a power split, the multiplier of a station's budget is a secular root.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from baselines.robust_beamforming.closed_form import Parts, Split, beams, best_sensing
from isac_gym.core.errors import ScenarioError
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.loops import iterate
from isac_gym.core.solution import Budget
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingInstance,
)

__all__ = ["Network", "RobustWmmse", "Wmmse", "design_rate", "wmmse_step"]

_ROOT_STEPS = 30  # monotone Newton steps; seven to ten suffice
_NULL = 1e-12  # relative size of an eigenvalue or entry that is rounding


class Network(NamedTuple):
    """What the design sees.

    Attributes:
        channel: h[l, c, k], (B, I, I, K, N) complex.
        error: Variance per antenna of its error, (B, I, I, K).
        weight: Rate weights, (B, I, K).
        power: Budgets, (B, I), W.
    """

    channel: Tensor
    error: Tensor
    weight: Tensor
    power: Tensor


def _received(network: Network, beam: Tensor) -> tuple[Tensor, Tensor]:
    """Own amplitudes h^H v (B, c, k), and all power with noise and errors (B, c, k)."""
    n = network
    heard = torch.einsum("blckn,bljn->blckj", n.channel.conj(), beam)
    sent = (beam.real.square() + beam.imag.square()).sum(-1)  # (B, l, k)
    noise = n.error * sent.sum(-1)[..., None, None]
    power = (heard.real.square() + heard.imag.square()).sum(-1) + noise
    own = torch.diagonal(n.channel, dim1=1, dim2=2).permute(0, 3, 1, 2)  # (B, c, k, N)
    spared = torch.diagonal(n.error, dim1=1, dim2=2).mT * sent
    return (own.conj() * beam).sum(-1), power.sum(1) - spared + 1


def design_rate(network: Network, beam: Tensor) -> Tensor:
    """Weighted sum rate of the design's model, (B,) bit/s/Hz; beams (B, I, K, N) alone."""
    amplitude, power = _received(network, beam)
    signal = amplitude.real.square() + amplitude.imag.square()
    return (network.weight * torch.log2(power / (power - signal).clamp_min(1))).sum((-2, -1))


def wmmse_step(network: Network, beam: Tensor) -> Tensor:
    """Receivers, weights and beams once round, (B, I, K, N); the design rate does not fall."""
    n = network
    amplitude, power = _received(n, beam)
    receiver = amplitude / power
    signal = amplitude.real.square() + amplitude.imag.square()
    importance = n.weight * power / (power - signal).clamp_min(1)  # w / e, (B, c, k)
    price = importance * (receiver.real.square() + receiver.imag.square())
    gram = torch.einsum("bck,blckn,blckm->blnm", price.to(beam.dtype), n.channel, n.channel.conj())
    spared = price * torch.diagonal(n.error, dim1=1, dim2=2).mT
    load = torch.einsum("bck,blck->bl", price, n.error)[..., None] - spared  # (B, l, k)
    own = torch.diagonal(n.channel, dim1=1, dim2=2).permute(0, 3, 1, 2)
    wanted = (importance * receiver)[..., None] * own  # (B, l, k, N)
    return _within_budget(gram, load, wanted, n.power)


def _within_budget(gram: Tensor, load: Tensor, wanted: Tensor, power: Tensor) -> Tensor:
    """(A + (load + mu) I)^-1 b with the least mu >= 0 that keeps the budget, (B, I, K, N).

    With A = U q U^H: sum_ki |U^H b_k|_i^2 / (q_i + load_k + mu)^2 = P. The inverse root of the left
    side is concave, so Newton from a lower limit of mu is monotone.
    """
    q, vector = hermitian_eigh(gram)
    turned = wanted @ vector.conj()  # U^H b, (B, l, k, N)
    size = turned.real.square() + turned.imag.square()
    # Without load b lies in the range of A; entries off it are rounding.
    size = torch.where(size > _NULL**2 * size.sum(-1, keepdim=True), size, 0)
    tiny = torch.finfo(q.dtype).tiny ** 0.5
    q = (q.clamp_min(0)[:, :, None] + load.clamp_min(0)[..., None]).clamp_min(tiny)
    q = q.clamp_min(_NULL * q.amax((-2, -1), keepdim=True))
    mu = (size.sqrt() / power[..., None, None].sqrt() - q).amax((-2, -1)).clamp_min(0)
    for _ in range(_ROOT_STEPS):
        level = q + mu[..., None, None]
        part = size / level.square()
        spent, slope = part.sum((-2, -1)), (part / level).sum((-2, -1))
        newton = spent * ((spent / power).sqrt() - 1) / slope.clamp_min(tiny)
        mu = mu + newton.clamp_min(0)
    turned = torch.where(size > 0, turned, 0)
    return (turned / (q + mu[..., None, None])) @ vector.mT


@dataclass(frozen=True, kw_only=True)
class Wmmse(Split):
    """Nominal WMMSE beams from regularised zero-forcing, then the best power split.

    Attributes:
        iterations: Rounds, >= 1.
        tolerance: Rise of the design rate in a round, over its bound, at which a lane stops.
        spread: Variance of CSI errors in units of eps^2 / N, >= 0.
    """

    name: ClassVar[str] = "wmmse-split"
    summary: ClassVar[str] = "WMMSE beams for exact CSI, best split with optimal sensing"
    beam_kind: ClassVar[str] = "rzf"

    iterations: int = 500
    tolerance: float = 1e-5
    spread: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise ScenarioError(f"iterations must be >= 1, got {self.iterations}.")
        for name in ("tolerance", "spread"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ScenarioError(f"{name} must be >= 0, got {getattr(self, name)}.")

    def network(self, instance: RobustBeamformingInstance) -> Network:
        """What the design takes the channels for."""
        i = instance
        error = self.spread / i.channel.shape[-1] * i.radius.square()
        return Network(i.channel, error, i.weight, i.max_power_w)

    def parts(
        self,
        problem: RobustBeamforming,
        instance: RobustBeamformingInstance,
        budget: Budget = Budget(),
    ) -> Parts:
        """WMMSE beams, which may leave power unspent, and the optimal sensing factor."""
        network = self.network(instance)
        start = beams(instance, self.beam_kind)

        def step(beam: Tensor, rate: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
            beam = wmmse_step(network, beam)
            new = design_rate(network, beam)
            return (beam, new), (new - rate) / instance.rate_bound

        (beam, _), status, count = iterate(
            step,
            (start, design_rate(network, start)),
            iterations=self.iterations if budget.iterations is None else budget.iterations,
            tolerance=self.tolerance if budget.tolerance is None else budget.tolerance,
        )
        return Parts(beam, best_sensing(problem, instance), status, count)


@dataclass(frozen=True, kw_only=True)
class RobustWmmse(Wmmse):
    """WMMSE with every CSI error as isotropic noise; see :class:`Wmmse`."""

    name: ClassVar[str] = "robust-wmmse-split"
    summary: ClassVar[str] = "WMMSE beams with CSI errors as noise, best split"

    spread: float = 1.0
