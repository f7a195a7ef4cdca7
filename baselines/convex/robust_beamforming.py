"""Offline certifier of robust beamforming: branch and bound over semidefinite programmes.

Slow on purpose: about 0.1 s per programme and ten to a few hundred of them per lane. For stored
instances, where a tight bound is worth minutes; many lanes are shared among processes.
"""

import math
import os
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from baselines.convex.robust_cuts import Network, Sensing
from baselines.robust_beamforming.pga import Pga
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Solver, Status
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
)

__all__ = ["BranchBound", "network_of", "recovered"]

_AIM = ("preference", "rate_bound", "crlb_bound")
_FEW_LANES = 16  # below it starting processes is not worth it


class _Lane(NamedTuple):
    """Arguments of one lane's search, free of tensors, so that another process can run it."""

    network: Network
    weight: Any
    aim: tuple[float, float, float]
    incumbent: float
    limits: dict[str, Any]

    @classmethod
    def of(
        cls,
        instance: RobustBeamformingInstance,
        lane: int,
        incumbent: float,
        limits: dict[str, Any],
    ) -> "_Lane":
        weight = instance.weight[lane, :, 0].double().cpu().numpy()
        preference, rate, crlb = (getattr(instance, name)[lane].item() for name in _AIM)
        aim = (preference, rate, crlb)
        return cls(network_of(instance, lane), weight, aim, incumbent, limits)


def _search(lane: _Lane) -> Any:
    """Certified bound of one lane."""
    rates = _rates()
    aim = rates.Chebyshev(*lane.aim)
    return rates.bound_rates(
        lane.network, lane.weight, aim, incumbent=lane.incumbent, **lane.limits
    )


@dataclass(frozen=True, kw_only=True)
class BranchBound(Solver):
    """Certified bound of the objective, and the best decision on the way.

    A known decision, the start or the reference's, prunes the search; what the relaxation attains
    beyond it becomes a decision again, is improved by the reference and kept where it is better.

    The certificate is dual: whatever the programmes return, it follows from inequalities in closed
    form (``baselines.convex.robust_cuts``) in every box of a partition of the rates. A lane has
    converged if the bound is within ``gap`` of what the relaxation attains or of the known
    decision. The rest of the distance between bound and decision is the relaxation's: beams of rank
    above one carry sensing streams that do not count as interference.

    Needs one user per cell and resolved delays.

    Attributes:
        gap: Absolute gap of the objective at which a lane stops, > 0.
        seconds: Time limit per lane, > 0; the bound is valid when it strikes.
        programmes: Limit on the semidefinite programmes per lane, >= 1.
        climb: Iterations of the reference, before and after, >= 1.
        workers: Processes that share 16 lanes or more; 0: one per processor.
    """

    name: ClassVar[str] = "branch-bound"
    summary: ClassVar[str] = "certifier, offline: branch and bound over S-lemma programmes (CVXPY)"
    certifies: ClassVar[bool] = True

    gap: float = 0.004
    seconds: float = 120.0
    programmes: int = 400
    climb: int = 150
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("gap", "seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise ScenarioError(f"{name} must be > 0, got {getattr(self, name)}.")
        for name, least in (("programmes", 1), ("climb", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise ScenarioError(f"{name} must be >= {least}, got {getattr(self, name)}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; iterations are programmes per lane, the tolerance is ``gap``.

        Raises:
            ScenarioError: More than one user per cell, or delays that are not resolved.
        """
        setup, i = cast(RobustBeamforming, problem), cast(RobustBeamformingInstance, instance)
        _check(i)
        climb = Pga(iterations=min(self.climb, budget.iterations or self.climb))
        if start is None:
            start = climb.solve(setup, i, seed=seed).decision
        best = setup.project(i, cast(RobustBeamformingDecision, start))
        value = setup.evaluate(i, best).objective
        limits = {
            "gap": self.gap if budget.tolerance is None else budget.tolerance,
            "seconds": self.seconds,
            "programmes": budget.iterations or self.programmes,
        }
        lanes = [_Lane.of(i, lane, value[lane].item(), limits) for lane in range(i.batch_size)]
        bounds = self._bounds(lanes)
        relaxed = best
        for lane, bound in enumerate(bounds):
            if bound.answer is not None:
                covariances = bound.answer.beam, bound.answer.sensing
                row = recovered(i, lane, *covariances, best.sensing)
                relaxed = type(best).cat([relaxed[:lane], row, relaxed[lane + 1 :]])
        relaxed = setup.project(i, relaxed)
        climbed = climb.solve(setup, i, seed=seed, start=relaxed).decision
        for found in (relaxed, cast(RobustBeamformingDecision, climbed)):
            is_better = setup.evaluate(i, found).objective > setup.evaluate(i, best).objective
            best = found.where(is_better, best)
        return _solution(i, best, bounds)

    def _bounds(self, lanes: list[_Lane]) -> list[Any]:
        workers = self.workers or os.cpu_count() or 1
        if len(lanes) < _FEW_LANES or workers == 1:
            return [_search(lane) for lane in lanes]
        from joblib import Parallel, delayed  # works in notebooks too, which spawning does not

        return list(Parallel(n_jobs=workers)(delayed(_search)(lane) for lane in lanes))


def network_of(instance: RobustBeamformingInstance, lane: int) -> Network:
    """One lane in NumPy arrays of double precision, with its targets."""

    def array(tensor: Tensor) -> Any:
        wide = torch.complex128 if tensor.is_complex() else torch.float64
        return tensor[lane].detach().cpu().to(wide).numpy()

    i = instance
    sensing = Sensing(array(i.angle), array(i.angle_slope), array(i.reflection))
    return Network(array(i.channel), array(i.radius), array(i.max_power_w), sensing)


def recovered(
    instance: RobustBeamformingInstance, lane: int, beam: Any, sensing: Any, like: Tensor
) -> RobustBeamformingDecision:
    """Decision of one lane from relaxed covariances.

    v = W h / sqrt(h^H W h) keeps the power at the estimate and leaves W - v v^H >= 0, which joins
    the sensing covariance; of that, the strongest streams are kept.

    Args:
        instance: Instances, batch size B.
        lane: Row.
        beam: Covariances W, (I, K, N, N) complex, W.
        sensing: Covariances Q, (I, N, N) complex, W.
        like: Sensing factors of the wanted type, (B, I, N, R).

    Returns:
        Decision with batch size 1, not projected.
    """
    channel = network_of(instance, lane).channel
    h = np.stack([channel[c, c] for c in range(len(channel))])  # (I, K, N)
    column = np.einsum("cknm,ckm->ckn", beam, h)
    power = np.einsum("ckn,ckn->ck", h.conj(), column).real
    v = column / np.sqrt(np.maximum(power, 1e-300))[..., None]
    rest = beam.sum(1) + sensing - np.einsum("ckn,ckm->cnm", v, v.conj())
    value, vector = np.linalg.eigh((rest + rest.conj().swapaxes(-1, -2)) / 2)
    factor = vector * np.sqrt(value.clip(0))[:, None, :]
    arrays = v, factor[..., -like.shape[-1] :]
    return RobustBeamformingDecision(*(torch.from_numpy(a)[None].to(like) for a in arrays))


def _solution(
    instance: RobustBeamformingInstance, best: RobustBeamformingDecision, bounds: list[Any]
) -> Solution:
    like, device = instance.preference, instance.device
    codes = [Status.CONVERGED if b.has_closed else Status.BUDGET_SPENT for b in bounds]
    return Solution(
        decision=best,
        status=torch.tensor([int(code) for code in codes], device=device),
        iterations=torch.tensor([b.programmes for b in bounds], device=device),
        certificate=Certificate(
            bound=torch.tensor([b.upper for b in bounds], dtype=like.dtype, device=device),
            kind="dual",
            source="baselines.convex.robust_rates:bound_rates",
        ),
    )


def _check(instance: RobustBeamformingInstance) -> None:
    users, targets = instance.channel.shape[3], instance.angle.shape[2]
    if users != 1:
        raise ScenarioError(f"branch-bound needs num_users = 1, got {users}.")
    eye = torch.eye(targets, dtype=instance.dtype, device=instance.device)
    if (instance.correlation != eye).any():
        raise ScenarioError("branch-bound needs delay = 'resolved'.")


def _rates() -> Any:
    """The search, which needs cvxpy."""
    try:
        from baselines.convex import robust_rates
    except ModuleNotFoundError as err:
        message = 'this solver needs cvxpy: pip install "isac_gym[cvx]"'
        raise ModuleNotFoundError(message, name="cvxpy") from err
    return robust_rates
