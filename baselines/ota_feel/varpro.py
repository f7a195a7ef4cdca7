r"""Variable projection: descend on the receiver alone, the best precoders follow in closed form.

    f(M) = min over |C_k|_F^2 <= P_k of sum_k |M^H H_k C_k - W_k|^2 + noise |M|^2

is smooth, its gradient is 2 (A M - S) with the normal equations of the receiver at the best
precoders, and alternating optimisation is M - A^-1 (A M - S): a gradient step with metric A.

``varpro`` is Adam on f. ``varpro-lbfgs`` takes A^-1 as the first inverse Hessian of L-BFGS; where a
step does not descend, the lane forgets its memory and takes an over-relaxed round of alternation,
which always does.

Source: Golub and Pereyra 1973 for the elimination; Nocedal and Wright 2006, section 7.2.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from baselines.iteration import demand_limits, iterate_shrinking
from baselines.ota_feel.alternating import aggregation_trace, first_precoders, typed, uplink
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.physics.precoding import Uplink, best_precoders, best_receiver, receiver_normal
from isac_gym.problems.ota_feel.records import OtaFeelDecision

__all__ = ["ReceiverDescent", "VarPro", "VarProLbfgs", "least_error", "random_receivers"]

_MOMENTUM, _DECAY = 0.9, 0.99
_MEMORY = 6  # pairs; more gains nothing
_RELAXED = 1.9  # step of alternation, < 2
State = tuple[Tensor, ...]


class Lanes(NamedTuple):
    """Fields of an :class:`Uplink`, and which lanes they are of."""

    columns: Tensor
    weight: Tensor
    budget: Tensor
    noise_w: Tensor
    least_w: Tensor
    lane: Tensor

    @property
    def link(self) -> Uplink:
        """The uplink alone."""
        return Uplink(*self[:-1])


def least_error(link: Uplink, receiver: Tensor, *, pulse: str) -> tuple[Tensor, Tensor, Tensor]:
    """Error f (B,), half its gradient (B, N, n) and the metric A (B, N, N), of conj M (B, N, n)."""
    rows = best_precoders(link, receiver, pulse=pulse)
    metric, wanted = receiver_normal(link, rows, pulse=pulse)
    slope = metric @ receiver - wanted
    change = _inner(receiver, slope - wanted)
    return link.weight.square().sum((-2, -1)) + change, slope, metric


def random_receivers(link: Uplink, starts: int, seed: int, *, pulse: str) -> Tensor:
    """Gaussian receivers of about the right size, (B, starts, N, n); one draw for all instances."""
    _, devices, elements, antennas = link.columns.shape
    tasks = link.weight.shape[-1]
    columns = tasks if pulse == "none" else devices * tasks
    draw = Streams.from_seed(seed, 1, device=link.budget.device).complex_normal(
        "receiver", starts, antennas, columns, dtype=link.budget.dtype
    )
    mean = link.weight.square().mean((-2, -1)).sqrt()
    size = 2 * mean / (link.budget.mean(-1) * antennas * elements).sqrt()
    return size[:, None, None, None] * draw


@dataclass(frozen=True, kw_only=True)
class ReceiverDescent(Solver):
    """Base: descent from several receivers per instance, the best precoders are kept.

    The first start is the caller's, or common receive directions; the others are random.
    """

    name: ClassVar[str] = ""

    iterations: int = 400
    tolerance: float = 1e-8
    starts: int = 4

    def __post_init__(self) -> None:
        demand_limits(self, "iterations", "starts")

    @abstractmethod
    def _descend(
        self, data: Lanes, receiver: Tensor, history: Tensor, *, pulse: str, tolerance: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Best receivers found, status and iterations; writes ``history`` (lanes, L)."""

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`. The trace needs ``sensing_weight`` 0 and is of the best start."""
        setup, i = typed(problem, instance)
        pulse, link = setup.scenario.pulse, uplink(setup, i)
        first, _ = best_receiver(link, first_precoders(setup, i, start).mT, pulse=pulse)
        others = random_receivers(link, self.starts, seed, pulse=pulse)[:, 1:]
        receiver = torch.cat([first[:, None], others], 1).flatten(0, 1)
        wide = Uplink(*(t.repeat_interleave(self.starts, 0) for t in link))
        count = self.iterations if budget.iterations is None else budget.iterations
        history = torch.zeros(len(receiver), count, dtype=torch.float64, device=i.device)
        found, status, length = self._descend(
            Lanes(*wide, torch.arange(len(receiver), device=i.device)),
            receiver,
            history,
            pulse=pulse,
            tolerance=self.tolerance if budget.tolerance is None else budget.tolerance,
        )
        rows = best_precoders(wide, found, pulse=pulse)
        _, error = best_receiver(wide, rows, pulse=pulse)
        error = torch.where(error.isnan(), torch.inf, error).unflatten(0, (-1, self.starts))
        pick = error.argmin(1) + self.starts * torch.arange(i.batch_size, device=i.device)
        return Solution(
            decision=OtaFeelDecision(rows[pick].mT.contiguous()).to(dtype=instance.dtype),
            status=torch.where(error.amin(1).isinf(), int(Status.FAILED), status[pick]),
            iterations=length[pick],
            trace=aggregation_trace(setup, i, history[pick], length[pick]),
        )


@dataclass(frozen=True, kw_only=True)
class VarPro(ReceiverDescent):
    """Adam with a cosine of step sizes; the best iterate is kept, every lane takes all iterations.

    A lane has converged if its best error fell by at most ``tolerance`` over the last tenth.

    Attributes:
        iterations: Gradients, >= 1.
        tolerance: Relative improvement over the last tenth of the iterations, > 0.
        starts: Receivers to start from, >= 1.
        learning_rate: First step over the root mean square of a start's entries, > 0.
    """

    name: ClassVar[str] = "varpro"
    summary: ClassVar[str] = "Adam on the receiver, precoders eliminated, best of 4 starts"

    tolerance: float = 1e-4
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.learning_rate < math.inf:
            raise ScenarioError(f"learning_rate must be > 0, got {self.learning_rate}.")

    def _descend(
        self, data: Lanes, receiver: Tensor, history: Tensor, *, pulse: str, tolerance: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = history.shape[1]
        size = receiver.abs().square().mean((-2, -1), keepdim=True).sqrt()
        first, second = torch.zeros_like(receiver), torch.zeros_like(receiver.real)
        best, least = receiver, torch.full_like(history[:, 0], torch.inf)
        tiny = torch.finfo(size.dtype).tiny ** 0.5
        for step in range(1, count + 1):
            value, slope, _ = least_error(data.link, receiver, pulse=pulse)
            best = torch.where((value < least)[:, None, None], receiver, best)
            least = torch.where(value < least, value, least)
            history[:, step - 1] = least
            slope = slope * size / value[:, None, None]  # of the logarithm, per unit of size
            first = _MOMENTUM * first + (1 - _MOMENTUM) * slope
            second = _DECAY * second + (1 - _DECAY) * slope.abs().square()
            scale = (second / (1 - _DECAY**step)).sqrt() + tiny
            rate = self.learning_rate * (1 + math.cos(math.pi * step / (count + 1))) / 2
            receiver = receiver - rate * size * first / (1 - _MOMENTUM**step) / scale
        before = history[:, max(count - 1 - count // 10, 0)]
        has_settled = (count >= 10) & (before - least <= tolerance * least)
        status = torch.where(has_settled, int(Status.CONVERGED), int(Status.BUDGET_SPENT))
        status = torch.where(least.isfinite(), status, int(Status.FAILED))
        return best, status, torch.full_like(status, count)


@dataclass(frozen=True, kw_only=True)
class VarProLbfgs(ReceiverDescent):
    """L-BFGS in the metric of alternation; every lane stops by itself.

    Attributes:
        iterations: Trial points, >= 1.
        tolerance: What a round of alternation would at least gain, over the error, at which a lane
            has converged, > 0.
        starts: Receivers to start from, >= 1.
    """

    name: ClassVar[str] = "varpro-lbfgs"
    summary: ClassVar[str] = "L-BFGS on the receiver, precoders eliminated, best of 4 starts"

    def _descend(
        self, data: Lanes, receiver: Tensor, history: Tensor, *, pulse: str, tolerance: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        lanes, antennas, columns = receiver.shape
        none = receiver.new_zeros(lanes, _MEMORY, antennas, columns)
        never = torch.full_like(history[:, 0], torch.inf)
        factor = receiver.new_zeros(lanes, antennas, antennas)
        empty = none[:, :, 0, 0].real
        state = (receiver, receiver, never, torch.zeros_like(receiver), factor, none, none, empty)
        (_, point, *_), status, length = iterate_shrinking(
            _lbfgs_step(history, pulse),
            data,
            state,
            iterations=history.shape[1],
            tolerance=tolerance,
        )
        return point, status, length


def _lbfgs_step(history: Tensor, pulse: str) -> Callable[..., tuple[State, Tensor]]:
    done = 0

    def step(
        data: Lanes,
        trial: Tensor,
        point: Tensor,
        value: Tensor,
        slope: Tensor,
        factor: Tensor,
        moved: Tensor,
        turned: Tensor,
        weight: Tensor,
    ) -> tuple[State, Tensor]:
        nonlocal done
        new, new_slope, metric = least_error(data.link, trial, pulse=pulse)
        is_better = (new < value)[:, None, None]  # not for NaN
        difference, change = trial - point, new_slope - slope
        curvature = _inner(difference, change)
        is_curved = (new < value) & value.isfinite() & (curvature > 0)
        rate = torch.where(is_curved, 1 / curvature, 0)
        moved = torch.cat([moved[:, 1:], difference[:, None]], 1)
        turned = torch.cat([turned[:, 1:], change[:, None]], 1)
        weight = torch.cat([weight[:, 1:], rate[:, None]], 1)
        weight = torch.where(is_better[:, :, 0], weight, 0)  # forgotten
        point = torch.where(is_better, trial, point)
        slope = torch.where(is_better, new_slope, slope)
        new_factor, _ = torch.linalg.cholesky_ex(metric, check_errors=False)
        factor = torch.where(is_better, new_factor, factor)
        failed = value.isinf() & new.isnan()
        value = torch.where(failed, torch.nan, torch.where(new < value, new, value))
        history[data.lane, done] = value
        done += 1
        plain = torch.cholesky_solve(slope, factor)
        way = _two_loops(slope, factor, moved, turned, weight)
        trial = point - torch.where((weight > 0).any(1)[:, None, None], way, _RELAXED * plain)
        gain = _inner(slope, plain) / value
        return (trial, point, value, slope, factor, moved, turned, weight), gain

    return step


def _two_loops(
    slope: Tensor, factor: Tensor, moved: Tensor, turned: Tensor, weight: Tensor
) -> Tensor:
    """Inverse Hessian of the pairs (B, m, N, n) times the slope; pairs of weight 0 are ignored."""
    shares = []
    for s, y, rho in zip(*(t.flip(1).unbind(1) for t in (moved, turned, weight)), strict=True):
        share = rho * _inner(s, slope)
        slope = slope - share[:, None, None] * y
        shares.append(share)
    slope = torch.cholesky_solve(slope, factor)
    pairs = zip(moved.unbind(1), turned.unbind(1), weight.unbind(1), reversed(shares), strict=True)
    for s, y, rho, share in pairs:
        slope = slope + (share - rho * _inner(y, slope))[:, None, None] * s
    return slope


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Real inner product of (B, N, n), (B,)."""
    return (a.real * b.real + a.imag * b.imag).sum((-2, -1))
