r"""The paper's Algorithm 3 on our error bound: SDR, a power penalty, difference-of-convex steps.

    minimise (1 - beta) f / f* - beta SINR / SINR* + (penalty / 2) max(tr (W_s + W_c) / P - 1, 0)^2

over W_s, W_c >= 0. The text leaves open how its objective is a difference of convex functions; the
split that always works takes rho / 2 |W|^2 as the convex part and linearises the rest, so that a
step is a projected gradient of length 1 / rho. rho doubles where a step does not descend, and the
penalty grows while the budget is exceeded. From equal power it often ends on the plateau where the
probe drowns the data, far from the optimum that ``a-optimal`` with a priority certifies.

Source: the networked-ISAC paper, (46)-(49) and Algorithm 3, with Bayesian A-optimality for (44).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from baselines.multi_user_imaging.a_optimal import designed, probing_task, typed
from baselines.multi_user_imaging.rank_one import best_draw, randomised
from isac_gym.core.errors import ScenarioError
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.loops import iterate
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver
from isac_gym.physics.a_optimal import ProbingTask, factor, split
from isac_gym.physics.trace_descent import TraceTask, evaluate, outer, share_along
from isac_gym.problems.multi_user_imaging.design import ImagingDesign, ProbingDecision

__all__ = ["PenaltyDca", "PenaltyDcaRandomised"]

_GROWTH, _MOST, _OVER = 1.1, 1e4, 1e-3  # of the penalty; largest; relative power that is too much


class _Objective(NamedTuple):
    """Data of the penalised objective, everything over P; fields as in TraceTask.

    Attributes:
        task: Error bound, weighted by (1 - beta) / f*.
        noise: comm noise over P |h|^2, (B,): SINR* is its inverse.
        beta: (B,).
        is_joint: Whether data inform, (B,) bool.
    """

    task: TraceTask
    noise: Tensor
    beta: Tensor
    is_joint: Tensor


@dataclass(frozen=True, kw_only=True)
class PenaltyDca(Solver):
    """Penalty DCA with the relaxed covariances as its result.

    Attributes:
        priority: beta of communication, in [0, 1].
        iterations: Steps, >= 1.
        tolerance: Relative change of the covariances at which a lane has converged, >= 0.
        penalty: First weight of the penalty, > 0.
    """

    name: ClassVar[str] = "penalty-dca"
    summary: ClassVar[str] = "the paper's Algorithm 3 before randomisation"

    priority: float = 0.1
    iterations: int = 300
    tolerance: float = 1e-6
    penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= 1:
            raise ScenarioError(f"priority must be in [0, 1], got {self.priority}.")
        if self.iterations < 1:
            raise ScenarioError(f"iterations must be >= 1, got {self.iterations}.")
        if not self.tolerance >= 0:
            raise ScenarioError(f"tolerance must be >= 0, got {self.tolerance}.")
        if not self.penalty > 0:
            raise ScenarioError(f"penalty must be > 0, got {self.penalty}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; starts at equal power in probe and data."""
        setup, i = typed(problem, instance)
        task = probing_task(setup, i)
        goal = _objective(setup, task, self.priority)
        point = _first(goal)
        value, slope = _score(goal, point, torch.full_like(goal.beta, self.penalty))
        state = (point, value, slope, torch.ones_like(value), torch.full_like(value, self.penalty))
        (point, *_), status, count = iterate(
            lambda *s: _step(goal, *s),
            state,
            iterations=self.iterations if budget.iterations is None else budget.iterations,
            tolerance=self.tolerance if budget.tolerance is None else budget.tolerance,
        )
        whole = point * task.max_power_w[:, None, None, None]
        decision = self._decide(
            task, whole, is_joint=setup.scenario.information == "joint", seed=seed
        )
        return Solution(decision=decision, status=status, iterations=count)

    def _decide(
        self, task: ProbingTask, point: Tensor, *, is_joint: bool, seed: int
    ) -> ProbingDecision:
        """The data beam takes of W_c what the user hears; the rest joins the probe."""
        rest, beam = split(point[:, 1], task.comm_channel)
        return ProbingDecision(factor(point[:, 0] + rest), beam)


@dataclass(frozen=True, kw_only=True)
class PenaltyDcaRandomised(PenaltyDca):
    """Algorithm 3 to its end: one beam each for probe and data, best of Gaussian draws.

    Attributes:
        draws: Candidates, >= 1.
    """

    name: ClassVar[str] = "penalty-dca-randomised"
    summary: ClassVar[str] = "the paper's Algorithm 3 with its Gaussian randomisation"

    draws: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 1:
            raise ScenarioError(f"draws must be >= 1, got {self.draws}.")

    def _decide(
        self, task: ProbingTask, point: Tensor, *, is_joint: bool, seed: int
    ) -> ProbingDecision:
        probe, data = (
            randomised(point[:, k], self.draws, seed, name)
            for k, name in enumerate(("probe", "data"))
        )
        return best_draw(task, probe, data, is_joint=is_joint)


def _objective(problem: ImagingDesign, task: ProbingTask, priority: float) -> _Objective:
    free = task._replace(min_sinr=torch.zeros_like(task.min_sinr))
    least = designed(problem, free, iterations=40, tolerance=1e-5).value
    beta = torch.full_like(least, priority)
    energy = share_along(task.comm_channel, outer(task.comm_channel)).sqrt()  # |h|^2
    energy = energy.clamp_min(torch.finfo(energy.dtype).tiny)
    trace_task = TraceTask(
        channel=(task.gain * task.max_power_w).sqrt()[:, None, None] * task.bs_channel,
        gram=task.gram,
        precision=task.precision,
        direction=task.comm_channel / energy.sqrt()[:, None],
        need=torch.zeros_like(beta),
        weight=(1 - beta) / least,
        reward=torch.zeros_like(beta),
    )
    noise = task.comm_noise_w / (task.max_power_w * energy)
    is_joint = torch.full_like(beta, problem.scenario.information == "joint", dtype=torch.bool)
    return _Objective(trace_task, noise, beta, is_joint)


def _first(goal: _Objective) -> Tensor:
    """W_s and W_c over P, (B, 2, N, N): half the power each, equal in all directions."""
    u = goal.task.direction
    eye = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device) / (2 * u.shape[-1])
    return eye.repeat(len(u), 2, 1, 1)


def _score(goal: _Objective, point: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """Penalised objective (B,) and its gradient (B, 2, N, N)."""
    probe, data = point.unbind(1)
    joint = goal.is_joint[:, None, None]
    error, slope = evaluate(goal.task, probe + joint * data)
    along = outer(goal.task.direction)
    wanted = share_along(goal.task.direction, data)
    unwanted = share_along(goal.task.direction, probe) + goal.noise
    ratio = goal.noise / unwanted  # SINR / SINR* = wanted ratio
    power = torch.diagonal(point, dim1=-2, dim2=-1).real.sum((-2, -1))
    over = (power - 1).clamp_min(0)
    value = error - goal.beta * wanted * ratio + penalty / 2 * over.square()
    eye = torch.eye(point.shape[-1], dtype=point.dtype, device=point.device)
    push = (penalty * over)[:, None, None] * eye
    loss = (goal.beta * wanted * ratio / unwanted)[:, None, None] * along
    gain = (goal.beta * ratio)[:, None, None] * along
    return value, torch.stack([push - slope + loss, push - slope * joint - gain], 1)


def _step(
    goal: _Objective, point: Tensor, value: Tensor, slope: Tensor, rho: Tensor, penalty: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    eigen, vector = hermitian_eigh(point - slope / rho[:, None, None, None])
    new = (vector * eigen.clamp_min(0)[..., None, :]) @ vector.mH
    reached, steep = _score(goal, new, penalty)
    moved = (new - point).abs().square().sum((-3, -2, -1))
    expected = ((new - point).conj() * slope).real.sum((-3, -2, -1)) + rho / 2 * moved
    is_good = reached <= value + expected + 1e-14 * value.abs()
    power = torch.diagonal(new, dim1=-2, dim2=-1).real.sum((-2, -1))
    is_over = power > 1 + _OVER
    grown = torch.where(is_good & is_over, (penalty * _GROWTH).clamp_max(_MOST), penalty)
    keep = is_good[:, None, None, None]
    point, slope = torch.where(keep, new, point), torch.where(keep, steep, slope)
    value = torch.where(is_good, reached, value)
    # The penalty's share of value and slope follows its weight.
    over = (torch.diagonal(point, dim1=-2, dim2=-1).real.sum((-2, -1)) - 1).clamp_min(0)
    value = value + (grown - penalty) / 2 * over.square()
    eye = torch.eye(point.shape[-1], dtype=point.dtype, device=point.device)
    slope = slope + ((grown - penalty) * over)[:, None, None, None] * eye
    size = point.abs().square().sum((-3, -2, -1))
    change = torch.where(is_good & ~is_over, (moved / size).sqrt(), torch.inf)
    rho = torch.where(is_good, rho * 0.7, rho * 2)
    return (point, value, slope, rho, grown), change
