r"""Best known trade-offs of aggregation and position bound: gradients of the precoders themselves.

The receiver is eliminated: the error of the MMSE receiver is a smooth function of C, and so are
both position bounds. Adam on C over its budget, projected after every step, minimises

    (1 - w) log nmse + w log crb                   a weight, the scenario's own by default
    log nmse + penalty max(0, log crb - log cap)   a cap on the position bound

from several starts: precoders of the aggregation alone, of the position alone, and mixtures. With
R < M antennas a device can send into the null space of M^H H_k at no cost to the aggregation, which
is why a little of the position bound is nearly free.

Nothing is certified here. With interference the bound is not convex in the covariances: a device
that lights the target better blinds its neighbours.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from baselines.iteration import demand_limits
from baselines.ota_feel.alternating import typed
from baselines.ota_feel.sensing import least_bound, reduced, sensing_task
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, Trace
from isac_gym.core.units import linear_to_db
from isac_gym.physics.aggregation import task_errors
from isac_gym.physics.precoding import alternating_precoders
from isac_gym.problems.ota_feel.model import (
    OtaFeel,
    OtaFeelDecision,
    OtaFeelInstance,
    gains,
    within_budget,
)

__all__ = ["Front", "JointGradient", "Parts", "front", "log_parts", "starts"]

_MOMENTUM, _DECAY, _RATE = 0.9, 0.99, 0.1
_ROUNDS = 100  # of the alternating start
_PENALTY = 30.0  # of log crb above its cap
_MIX = 0.3  # share of power that a mixed start spends on the position


class Parts(NamedTuple):
    """log of both metrics, (B,): of the error over sum |W_k|^2, and of the bound over 1 m^2."""

    log_error: Tensor
    log_crb: Tensor


class Front(NamedTuple):
    """Trade-offs of every instance, (B, L) in the order of the weights or caps.

    Attributes:
        nmse: Normalised aggregation error.
        crb_m2: Position bound that was traded, m^2.
        precoder: C, (B, L, K, M, R).
    """

    nmse: Tensor
    crb_m2: Tensor
    precoder: Tensor


Loss = Callable[[Parts], Tensor]


def log_parts(problem: OtaFeel, instance: OtaFeelInstance, precoder: Tensor) -> Parts:
    """Both parts of the objective of precoders C (B, K, M, R), differentiable."""
    s, decision = problem.scenario, OtaFeelDecision(precoder)
    gain = gains(instance, decision)
    error = task_errors(gain, instance.weight, s.noise_w, pulse=s.pulse).sum(-1)
    wanted = instance.weight.square().sum((1, 2))
    is_disturbed = s.sensing == "interference"
    j = problem.information(instance, decision, interference=is_disturbed)
    tiny = torch.finfo(error.dtype).tiny
    nmse = error / wanted.clamp_min(tiny)
    return Parts(nmse.clamp_min(tiny).log(), problem.bound(j).clamp_min(tiny).log())


def starts(problem: OtaFeel, instance: OtaFeelInstance, count: int, seed: int) -> Tensor:
    """Precoders to start from, (B, count, K, M, R): of one aim, of both, then random mixtures."""
    s, i = problem.scenario, instance
    heard = alternating_precoders(
        i.channel, i.weight, i.max_power_w, s.noise_w, pulse=s.pulse, iterations=_ROUNDS
    )
    lit = least_bound(problem, i, iterations=60, tolerance=1e-4).point
    root = i.max_power_w.sqrt()[..., None, None]
    seen = root * reduced(sensing_task(problem, i), lit, s.num_tasks)
    found = [heard, _mixed(heard, seen, _MIX, i), seen, _mixed(heard, seen, 1 - _MIX, i)]
    streams = Streams.from_seed(seed, 1)
    extra = count - len(found)
    for index in range(extra):
        draw = streams.complex_normal(f"start {index}", *heard.shape[1:]).to(heard)
        share = (index + 0.5) / extra
        found.append(_mixed(found[index % 3], _scaled(draw.expand_as(heard), i), share, i))
    return torch.stack(found[:count], 1)


def _mixed(first: Tensor, second: Tensor, share: float, instance: OtaFeelInstance) -> Tensor:
    return _scaled(math.sqrt(1 - share) * first + math.sqrt(share) * second, instance)


def _scaled(precoder: Tensor, instance: OtaFeelInstance) -> Tensor:
    """Precoders at full power."""
    power = (precoder.real.square() + precoder.imag.square()).sum((-2, -1))
    tiny = torch.finfo(power.dtype).tiny
    return precoder * (instance.max_power_w / power.clamp_min(tiny)).sqrt()[..., None, None]


def _weighted(parts: Parts, *, weight: float) -> Tensor:
    if weight == 0:
        return parts.log_error
    return parts.log_crb if weight == 1 else (1 - weight) * parts.log_error + weight * parts.log_crb


def _capped(parts: Parts, *, log_cap: Tensor) -> Tensor:
    return parts.log_error + _PENALTY * (parts.log_crb - log_cap).clamp_min(0)


class _Run(NamedTuple):
    """Best precoders (B, K, M, R), their loss (B,), and the best one after every step (B, L)."""

    precoder: Tensor
    loss: Tensor
    history: Tensor


def _descend(
    problem: OtaFeel, instance: OtaFeelInstance, start: Tensor, loss: Loss, iterations: int
) -> _Run:
    """Adam from precoders (B, K, M, R); the best ones, and the best loss after every step."""
    budget = instance.max_power_w
    root = budget.sqrt()[..., None, None]
    point = start / root
    mean, square = torch.zeros_like(point), torch.zeros_like(budget[:, 0])
    best, least, history = start, torch.full_like(square, torch.inf), []
    for step in range(iterations + 1):
        value, slope = _slope(problem, instance, root * point, loss)
        slope = torch.where(slope.isfinite(), slope * root, 0)
        is_better = value < least
        best = torch.where(is_better[:, None, None, None], root * point, best)
        least = torch.where(is_better, value, least)
        history.append(least)
        if step == iterations:
            break
        mean = _MOMENTUM * mean + (1 - _MOMENTUM) * slope
        energy = (slope.real.square() + slope.imag.square()).mean((1, 2, 3))
        square = _DECAY * square + (1 - _DECAY) * energy
        spread = (square / (1 - _DECAY ** (step + 1))).sqrt()
        length = _RATE * (1 + math.cos(math.pi * step / iterations)) / 2
        length = length / (1 - _MOMENTUM ** (step + 1)) / _count(point)
        length = length / spread.clamp_min(torch.finfo(spread.dtype).tiny)
        point = within_budget(point - length[:, None, None, None] * mean, torch.ones_like(budget))
    return _Run(best, least, torch.stack(history[1:], 1))


def _count(point: Tensor) -> float:
    """Root of the number of entries of one precoder: steps are relative to its norm."""
    return math.sqrt(point.shape[2] * point.shape[3])


def _slope(
    problem: OtaFeel, instance: OtaFeelInstance, precoder: Tensor, loss: Loss
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        c = precoder.detach().requires_grad_()
        value = loss(log_parts(problem, instance, c))
        (slope,) = torch.autograd.grad(value.sum(), c)
    return value.detach(), slope


def _best_of(
    problem: OtaFeel, instance: OtaFeelInstance, first: Tensor, loss: Loss, iterations: int
) -> _Run:
    """Best run of every lane from starts (B, S, K, M, R)."""
    count = first.shape[1]
    rows = torch.arange(len(first), device=first.device).repeat_interleave(count)
    run = _descend(problem, instance[rows], first.flatten(0, 1), loss, iterations)
    precoder, least, history = (x.unflatten(0, (-1, count)) for x in run)
    pick = least.argmin(1)
    lane = torch.arange(len(first), device=first.device)
    return _Run(precoder[lane, pick], least[lane, pick], history.amin(1))


def front(
    problem: OtaFeel,
    instance: TensorRecord,
    *,
    weights: Sequence[float] = (),
    caps_m2: Sequence[float] = (),
    iterations: int = 300,
    num_starts: int = 4,
    seed: int = 0,
) -> Front:
    """Best known trade-offs of the aggregation error and the scenario's position bound.

    Args:
        problem: Its ``sensing`` says which bound is traded; its own weight is not used.
        instance: Batch of instances.
        weights: Weights w of the position bound, each in [0, 1]; or
        caps_m2: Caps of the position bound in m^2, > 0: the least error that meets each.
        iterations: Steps of every descent, >= 1.
        num_starts: Starts of every descent; each neighbour's result is one more.
        seed: Of random starts.

    Raises:
        ScenarioError: Neither or both of weights and caps, or one out of range.
    """
    if bool(weights) == bool(caps_m2):
        raise ScenarioError("give weights or caps_m2, not both and not neither.")
    if not all(0 <= w <= 1 for w in weights):
        raise ScenarioError(f"weights must be in [0, 1], got {list(weights)}.")
    if not all(0 < cap < math.inf for cap in caps_m2):
        raise ScenarioError(f"caps_m2 must be > 0, got {list(caps_m2)}.")
    setup, i = typed(problem, instance)
    losses: list[Loss] = [partial(_weighted, weight=w) for w in weights]
    losses += [partial(_capped, log_cap=i.target.new_tensor(math.log(cap))) for cap in caps_m2]
    first, found = starts(setup, i, num_starts, seed), []
    for loss in losses:
        found.append(_best_of(setup, i, first, loss, iterations).precoder)
    pool = torch.stack(found, 1)  # every result is a candidate of every weight
    parts = [log_parts(setup, i, c) for c in found]
    chosen = []
    for loss in losses:
        pick = torch.stack([loss(p) for p in parts], 1).argmin(1)
        chosen.append(pool[torch.arange(len(pick), device=pick.device), pick])
    last = [log_parts(setup, i, c) for c in chosen]
    return Front(
        nmse=torch.stack([p.log_error for p in last], 1).exp(),
        crb_m2=torch.stack([p.log_crb for p in last], 1).exp(),
        precoder=torch.stack(chosen, 1),
    )


@dataclass(frozen=True, kw_only=True)
class JointGradient(Solver):
    """Adam on the precoders from several starts: best known, without a certificate.

    Attributes:
        iterations: Steps of every start, >= 1.
        num_starts: Starts, >= 1: aggregation, mixture, position, mixture, then random ones.
        tolerance: Relative progress in the last fifth at which a lane counts as converged, > 0.
    """

    name: ClassVar[str] = "joint-gradient"
    summary: ClassVar[str] = "best known: gradients of the objective from several starts"

    iterations: int = 300
    num_starts: int = 4
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        demand_limits(self, "iterations", "num_starts")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; a start is one more start; the trace holds the best objective."""
        setup, i = typed(problem, instance)
        count = self.iterations if budget.iterations is None else budget.iterations
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        first = starts(setup, i, self.num_starts, seed)
        if isinstance(start, OtaFeelDecision):
            given = within_budget(start.to(dtype=torch.float64).precoder, i.max_power_w)
            first = torch.cat([first, given[:, None]], 1)
        loss = partial(_weighted, weight=setup.scenario.sensing_weight)
        run = _best_of(setup, i, first, loss, count)
        spent = torch.full_like(run.loss, count, dtype=torch.int64)
        late = run.history[:, (4 * count) // 5 - 1] - run.loss if count > 4 else torch.inf
        is_settled = torch.as_tensor(late, device=i.device) <= tolerance
        code = torch.where(is_settled & run.loss.isfinite(), 0, int(Status.BUDGET_SPENT))
        code = torch.where(run.loss.isfinite(), code, int(Status.FAILED))
        return Solution(
            decision=OtaFeelDecision(run.precoder).to(dtype=instance.dtype),
            status=code,
            iterations=spent,
            trace=Trace(
                objective=-linear_to_db(run.history.exp()).to(instance.dtype), length=spent
            ),
        )
