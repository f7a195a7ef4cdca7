r"""Receive design of uniform forcing by successive convex approximation.

With channel inversion the error is noise |M|^2 at the least scale of M for which every device can
afford it,

    minimise |M|^2  subject to  tr W_k (M^H S_k M)^-1 W_k <= P_k,   S_k = H_k H_k^H.

M^H S_k M is a convex quadratic in M, at least L_k(M) = M_0^H S_k M + M^H S_k M_0 - M_0^H S_k M_0.
Put in its place, L_k makes a convex problem whose solutions obey the true constraints; solved by an
interior-point method, again at its solution, and so on: the scale never rises. For one stream these
are multicast beams.

Source: Chen, Qin, Wang, Chen, Letaief 2018, A uniform-forcing transceiver design for over-the-air
function computation, for the problem and the approximation; there for one stream or a bound of the
trace, here for the trace itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from baselines.interior_point import Expansion, minimise
from baselines.iteration import demand_limits, iterate_shrinking
from baselines.ota_feel.alternating import aggregation_trace, typed, uplink
from baselines.ota_feel.uniform_forcing import best_subspace, inversion, inversion_load
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.physics.precoding import Uplink, best_receiver
from isac_gym.problems.ota_feel.records import OtaFeelDecision, OtaFeelInstance

__all__ = ["ReceiveSca"]

_NEWTON_STEPS = 40
_INNER_TOLERANCE = 1e-6
_ROOM = 0.02  # growth of the receiver that makes it strictly feasible
_BARRIER = 0.01
_HALVINGS = 6


class _Surrogate(NamedTuple):
    """The convex problem in the real and imaginary parts v of M, at most one constraint a device.

    L_k = offset_k + sum_j (jacobian v)_kj E_j with Hermitian E_j; c_k = tr W_k L_k^-1 W_k - 1.
    """

    jacobian: Tensor  # (B, K, R^2, 2 N R)
    offset: Tensor  # (B, K, R, R)
    basis: Tensor  # E, (B, R^2, R, R)
    weight: Tensor  # W / sqrt(largest load), (B, K, R)

    is_convex = True

    def expand(self, point: Tensor) -> Expansion:
        """See :class:`baselines.interior_point.Programme`."""
        inverse, outer = self._inverses(point)
        slope = -torch.einsum("bkij,bcji->bkc", outer, self.basis).real
        load = (torch.diagonal(inverse, dim1=-2, dim2=-1).real * self.weight.square()).sum(-1)
        return Expansion(
            gradient=2 * point,
            constraint=(load - 1)[:, :, None],
            jacobian=torch.einsum("bkc,bkcn->bkn", slope, self.jacobian),
        )

    def hessian(self, point: Tensor, multiplier: Tensor) -> Tensor:
        """See :class:`baselines.interior_point.Programme`."""
        inverse, outer = self._inverses(point)
        left = inverse[:, :, None] @ self.basis[:, None]  # L^-1 E_i, (B, K, R^2, R, R)
        right = outer[:, :, None] @ self.basis[:, None]
        bend = 2 * torch.einsum("bkcij,bkdji->bkcd", left, right).real
        bend = (bend + bend.mT) / 2 * multiplier[:, :, :, None]
        size = point.shape[1]
        flat = self.jacobian.flatten(1, 2)
        curved = flat.mT @ (bend @ self.jacobian).flatten(1, 2)
        return curved + 2 * torch.eye(size, dtype=point.dtype, device=point.device)

    def _inverses(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """L^-1 and L^-1 W^2 L^-1, (B, K, R, R)."""
        part = (self.jacobian @ point[:, None]).to(self.basis.dtype)  # (B, K, R^2, 1)
        level = self.offset + torch.einsum("bkcz,bcij->bkij", part, self.basis)
        inverse, _ = torch.linalg.inv_ex(level, check_errors=False)
        return inverse, inverse @ (self.weight.square()[..., None] * inverse)


class _Lanes(NamedTuple):
    """What a lane knows: the fields of an :class:`Uplink` and its own number."""

    columns: Tensor
    weight: Tensor
    budget: Tensor
    noise_w: Tensor
    least_w: Tensor
    lane: Tensor


@dataclass(frozen=True, kw_only=True)
class ReceiveSca(Solver):
    """Uniform forcing whose receiver is designed, from the best of some random subspaces.

    Attributes:
        iterations: Convex problems, >= 1.
        tolerance: Relative fall of the noise that inversion passes, in one of them, at which a
            lane has converged, > 0.
        candidates: Random subspaces to start from, >= 1.
    """

    name: ClassVar[str] = "uniform-forcing-sca"
    summary: ClassVar[str] = "channel inversion, receive subspace by convex approximations"

    iterations: int = 60
    tolerance: float = 1e-4
    candidates: int = 64

    def __post_init__(self) -> None:
        demand_limits(self, "iterations", "candidates")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; a start is not used. The trace needs ``sensing_weight`` 0."""
        setup, i = typed(problem, instance)
        link = uplink(setup, i)
        count = self.iterations if budget.iterations is None else budget.iterations
        history = torch.zeros(i.batch_size, count, dtype=torch.float64, device=i.device)
        receiver, load = best_subspace(i, self.candidates, seed)
        (receiver, _), status, length = iterate_shrinking(
            _approximation(i, history, setup.scenario.pulse),
            _Lanes(*link, torch.arange(i.batch_size, device=i.device)),
            (receiver, load * receiver.abs().square().sum((-2, -1))),
            iterations=count,
            tolerance=self.tolerance if budget.tolerance is None else budget.tolerance,
        )
        status = torch.where(load.isfinite(), status, int(Status.FAILED))
        return Solution(
            decision=OtaFeelDecision(inversion(i, receiver)).to(dtype=instance.dtype),
            status=status,
            iterations=length,
            trace=aggregation_trace(setup, i, history, length),
        )


def _approximation(
    instance: OtaFeelInstance, history: Tensor, pulse: str
) -> Callable[..., tuple[tuple[Tensor, ...], Tensor]]:
    """One convex problem: receiver (B, N, R) and noise passed (B,), both new."""
    done = 0

    def step(data: _Lanes, receiver: Tensor, passed: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        nonlocal done
        own = cast(OtaFeelInstance, instance[data.lane])
        surrogate = _surrogate(own, receiver)
        first = torch.view_as_real(receiver * (1 + _ROOM)).flatten(1)
        found = minimise(
            surrogate,
            first,
            iterations=_NEWTON_STEPS,
            tolerance=_INNER_TOLERANCE,
            barrier=_BARRIER,
        )
        target = torch.view_as_complex(found.point.unflatten(1, (*receiver.shape[1:], 2)))
        receiver, new = _best_on_the_way(own, receiver, target, passed)
        rows = inversion(own, receiver).mT
        _, error = best_receiver(Uplink(*data[:-1]), rows, pulse=pulse)
        history[data.lane, done] = error
        done += 1
        return (receiver, new), (passed - new) / new

    return step


def _best_on_the_way(
    instance: OtaFeelInstance, old: Tensor, target: Tensor, passed: Tensor
) -> tuple[Tensor, Tensor]:
    """The target, or a point before it, or the old receiver: whichever passes least noise.

    The interior-point method may end outside the domain L_k > 0, where its result means nothing.
    """
    best, least = old, passed
    for halving in range(_HALVINGS):
        tried = old + 0.5**halving * (target - old)
        size = tried.abs().square().sum((-2, -1))
        noise = inversion_load(instance, tried).amax(-1) * size
        is_better = noise < least  # False for NaN
        best = torch.where(is_better[:, None, None], tried / size.sqrt()[:, None, None], best)
        least = torch.where(is_better, noise, least)
    return best, least


def _surrogate(instance: OtaFeelInstance, receiver: Tensor) -> _Surrogate:
    """The convex problem at M_0 (B, N, R), whose largest load is made 1."""
    i = instance
    seen = i.channel.mH @ receiver[:, None]  # F_0, (B, K, M, R)
    tilted = i.channel @ seen  # S_k M_0, (B, K, N, R)
    basis = _hermitian_basis(receiver.shape[-1]).to(receiver)
    pulled = 2 * torch.einsum("bknr,crs->bkcns", tilted, basis)
    load = inversion_load(i, receiver).amax(-1)
    scale = (i.max_power_w * load[:, None]).sqrt()[..., None]
    return _Surrogate(
        jacobian=torch.view_as_real(pulled).flatten(3),
        offset=-(seen.mH @ seen),
        basis=basis.expand(i.batch_size, -1, -1, -1),
        weight=i.weight / scale,
    )


def _hermitian_basis(tasks: int) -> Tensor:
    """Orthonormal basis of the Hermitian matrices, (R^2, R, R)."""
    rows = []
    for a in range(tasks):
        for b in range(tasks):
            one = torch.zeros(tasks, tasks, 2, dtype=torch.float64)  # real and imaginary parts
            one[a, b, int(a > b)] = one[b, a, int(a > b)] = 1 if a == b else math.sqrt(0.5)
            if a > b:
                one[b, a] *= -1
            rows.append(torch.view_as_complex(one))
    return torch.stack(rows)
