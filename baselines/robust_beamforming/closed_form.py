"""Classical schemes: MRT, ZF and RZF beams with a power split towards the best sensing factor."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from baselines.robust_beamforming.objective import typed
from isac_gym.core.errors import ScenarioError
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, status_tensor
from isac_gym.problems.robust_beamforming.anchors import unit_power
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
)

__all__ = [
    "SHARES",
    "MrtNull",
    "MrtSplit",
    "Parts",
    "RzfNull",
    "RzfSplit",
    "Split",
    "ZfNull",
    "ZfSplit",
    "beams",
    "best_sensing",
    "null_projected",
    "split",
]

SHARES = (0.0, 0.02, 0.1, 0.3, 0.6, 0.9, 1.0)
_LOADING = {"mrt": 1e9, "zf": 1e-9}  # times the mean channel power


class Parts(NamedTuple):
    """What is mixed.

    Attributes:
        beam: Beams of at most full power, (B, I, K, N).
        sensing: Sensing factors of at most full power, (B, I, N, R).
        status: How the beams were found, (B,) int64.
        iterations: Steps it took, (B,) int64.
    """

    beam: Tensor
    sensing: Tensor
    status: Tensor
    iterations: Tensor


def beams(instance: RobustBeamformingInstance, kind: str) -> Tensor:
    """Beams of equal power, full budget per base station.

    Model: v_lk ~ (load I + sum_cj h_lcj h_lcj^H)^-1 h_llk; ``rzf`` loads with
    I K / P + sum eps^2 / N, the mean effect of noise and CSI errors. With fewer users than antennas
    the inverse is that of the users' Gram matrix, which is well conditioned where this one is not.

    Args:
        instance: Instances, batch size B.
        kind: ``mrt``, ``zf`` (over all users of the network) or ``rzf``.

    Returns:
        (B, I, K, N) complex, sqrt(W).
    """
    i = instance
    batch, cells, _, users, antennas = i.channel.shape
    rows = i.channel.reshape(batch, cells, cells * users, antennas)
    mean = (rows.real.square() + rows.imag.square()).sum((-2, -1)) / antennas
    if kind == "rzf":
        load = cells * users / i.max_power_w + i.radius.square().sum((-2, -1)) / antennas
    else:
        load = _LOADING[kind] * mean
    eye = torch.eye(min(cells * users, antennas), dtype=rows.dtype, device=rows.device)
    if cells * users < antennas:
        picked = eye.unflatten(1, (cells, users)).movedim(1, 0)  # (c, c k, k)
        gram = rows.conj() @ rows.mT + load[..., None, None] * eye
        solved = rows.mT @ torch.linalg.solve_ex(gram, picked.expand(batch, -1, -1, -1))[0]
    else:
        own = torch.diagonal(i.channel, dim1=1, dim2=2).permute(0, 3, 2, 1)  # (B, c, N, k)
        gram = rows.mT @ rows.conj() + load[..., None, None] * eye  # sum h h^H + load
        solved, _ = torch.linalg.solve_ex(gram, own)
    size = (solved.real.square() + solved.imag.square()).sum(-2, keepdim=True).sqrt()
    return unit_power((solved / size).mT, i.max_power_w)


def best_sensing(problem: RobustBeamforming, instance: RobustBeamformingInstance) -> Tensor:
    """Factors of the least CRLB with at most R columns, full budget, (B, I, N, R)."""
    factor, count = problem.sensing_optimum(instance)[1], problem.scenario.num_streams
    if factor.shape[-1] <= count:
        return torch.nn.functional.pad(factor, (0, count - factor.shape[-1]))
    value, vector = hermitian_eigh(factor @ factor.mH)
    kept = vector[..., -count:] * value[..., None, -count:].clamp_min(0).sqrt()
    return unit_power(kept, instance.max_power_w)


def null_projected(instance: RobustBeamformingInstance, factor: Tensor) -> Tensor:
    """Sensing factors moved into the null space of all users' estimates, full budget again.

    Where there are as many users as antennas nothing is left and the factor is zero.
    """
    i = instance
    batch, cells, _, users, antennas = i.channel.shape
    rows = i.channel.reshape(batch, cells, cells * users, antennas)
    gram = rows.mT @ rows.conj()
    value, vector = hermitian_eigh(gram)
    is_null = value < 1e-9 * value[..., -1:]
    basis = vector * is_null[..., None, :]
    return unit_power(basis @ (basis.mH @ factor), i.max_power_w)


def split(beam: Tensor, sensing: Tensor, share: Tensor | float) -> RobustBeamformingDecision:
    """Power split: ``share`` (B,) of every budget goes to sensing, the rest to the beams."""
    part = torch.as_tensor(share, dtype=beam.real.dtype, device=beam.device)
    part = part.expand(beam.shape[0])[:, None, None, None]
    return RobustBeamformingDecision((1 - part).sqrt() * beam, part.sqrt() * sensing)


@dataclass(frozen=True, kw_only=True)
class Split(Solver):
    """Beams and sensing factor of full power, mixed with the best of a few power splits.

    Attributes:
        share: Share of power for sensing in [0, 1]; negative: the best of 0, 2, 10, 30, 60, 90 and
            100 % by the exact objective.
    """

    beam_kind: ClassVar[str]
    is_null: ClassVar[bool] = False

    share: float = -1.0

    def __post_init__(self) -> None:
        if not self.share <= 1:
            raise ScenarioError(f"share must be <= 1 (negative: best of a few), got {self.share}.")

    def parts(
        self,
        problem: RobustBeamforming,
        instance: RobustBeamformingInstance,
        budget: Budget = Budget(),
    ) -> Parts:
        """Beams and sensing factors, found without iterations."""
        sensing = best_sensing(problem, instance)
        if self.is_null:
            sensing = null_projected(instance, sensing)
        done = status_tensor(Status.CONVERGED, instance.batch_size, device=instance.device)
        return Parts(beams(instance, self.beam_kind), sensing, done, torch.zeros_like(done))

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; iterations are those of the beams."""
        setup, i = typed(problem, instance)
        beam, sensing, status, iterations = self.parts(setup, i, budget)
        shares = SHARES if self.share < 0 else (self.share,)
        best = split(beam, sensing, shares[0])
        value = setup.evaluate(i, best).objective
        for share in shares[1:]:
            other = split(beam, sensing, share)
            found = setup.evaluate(i, other).objective
            best = other.where(found > value, best)
            value = torch.maximum(found, value)
        return Solution(decision=best, status=status, iterations=iterations)


@dataclass(frozen=True, kw_only=True)
class MrtSplit(Split):
    """Matched beams; see :class:`Split`."""

    name: ClassVar[str] = "mrt-split"
    summary: ClassVar[str] = "matched beams, best split with optimal sensing"
    beam_kind: ClassVar[str] = "mrt"


@dataclass(frozen=True, kw_only=True)
class MrtNull(Split):
    """Matched beams, sensing in the users' null space; see :class:`Split`."""

    name: ClassVar[str] = "mrt-null"
    summary: ClassVar[str] = "matched beams, sensing in the users' null space"
    beam_kind: ClassVar[str] = "mrt"
    is_null: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class ZfSplit(Split):
    """Zero-forcing beams over all users of the network; see :class:`Split`."""

    name: ClassVar[str] = "zf-split"
    summary: ClassVar[str] = "zero-forcing beams, best split with optimal sensing"
    beam_kind: ClassVar[str] = "zf"


@dataclass(frozen=True, kw_only=True)
class ZfNull(Split):
    """Zero-forcing beams, sensing in the users' null space; see :class:`Split`."""

    name: ClassVar[str] = "zf-null"
    summary: ClassVar[str] = "zero-forcing beams, sensing in the users' null space"
    beam_kind: ClassVar[str] = "zf"
    is_null: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class RzfSplit(Split):
    """Regularised zero-forcing, loaded for noise and CSI errors; see :class:`Split`."""

    name: ClassVar[str] = "rzf-split"
    summary: ClassVar[str] = "regularised zero-forcing, best split with optimal sensing"
    beam_kind: ClassVar[str] = "rzf"


@dataclass(frozen=True, kw_only=True)
class RzfNull(Split):
    """Regularised zero-forcing, sensing in the users' null space; see :class:`Split`."""

    name: ClassVar[str] = "rzf-null"
    summary: ClassVar[str] = "regularised zero-forcing, sensing in the users' null space"
    beam_kind: ClassVar[str] = "rzf"
    is_null: ClassVar[bool] = True
