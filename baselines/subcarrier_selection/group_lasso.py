r"""Group lasso: one group per subcarrier, both tasks' labels, along a path of penalties.

    min over V of  |Y - X V|^2 / 2 + p sum_s |V_s|

X (J, D) holds the features over the root of J, Y the labels scaled to unit energy per task, and V_s
(c, Y) the coefficients of one subcarrier. No subcarrier is active at p = max_s |X_s^T Y|; the path
goes down from there by constant factors, each minimiser starting the next, until enough are active.

A minimiser is found when its duality gap is small: with r = Y - X V scaled by u into the dual's
feasible set max_s |X_s^T u r| <= p, the gap is the value less |Y|^2 / 2 - |Y - u r|^2 / 2.

Source: Yuan and Lin 2006; Beck and Teboulle 2009 (FISTA), O'Donoghue and Candes 2015 (restart).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from baselines.iteration import demand_limits, iterate_shrinking
from baselines.subcarrier_selection.filters import allowed_count
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver
from isac_gym.physics.convex_probe import ProbeTask, probe_task
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection, select_tones
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision, SubcarrierInstance

__all__ = ["GroupLasso", "group_lasso", "largest_penalty"]


class _Data(NamedTuple):
    """X^T X or X, X^T Y, |Y|^2 (B,), penalty p (B,) and step length (B,)."""

    gram: Tensor
    feature: Tensor
    cross: Tensor
    energy: Tensor
    penalty: Tensor
    length: Tensor


def largest_penalty(task: ProbeTask, tones: int) -> Tensor:
    """Penalty p (B,) from which on no subcarrier is active."""
    return _norms(task.cross, tones).amax(-1)


def group_lasso(
    task: ProbeTask,
    penalty: Tensor,
    start: Tensor,
    length: Tensor,
    *,
    tones: int,
    iterations: int,
    tolerance: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients (B, D, Y), status (B,) and steps (B,) at one penalty per lane.

    Args:
        task: Statistics of the training sets; their ridge plays no part.
        penalty: p, (B,) > 0.
        start: Coefficients to start from, (B, D, Y).
        length: One over the largest eigenvalue of X^T X at least, (B,).
        tones: S.
        iterations: Largest number of steps, >= 1.
        tolerance: Duality gap over |Y|^2 / 2 at which a lane has converged.
    """

    def step(
        data: _Data, v: Tensor, old: Tensor, image: Tensor, past: Tensor, t: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        bigger = (1 + (1 + 4 * t * t).sqrt()) / 2  # image, past: X^T X v, X^T X old
        speed = ((t - 1) / bigger)[:, None, None]
        ahead = v + speed * (v - old)
        slope = image + speed * (image - past) - data.cross
        size = data.length[:, None, None]
        new = _shrink(ahead - size * slope, data.length * data.penalty, tones)
        uphill = ((ahead - new) * (new - v)).sum((1, 2)) > 0
        seen = _image(data, new)
        gap = _gap(data, new, seen, tones)
        return (new, v, seen, image, torch.where(uphill, 1.0, bigger)), gap

    data = _Data(task.gram, task.feature, task.cross, task.energy.sum(-1), penalty, length)
    image = _image(data, start)
    state, status, count = iterate_shrinking(
        step,
        data,
        (start, start, image, image, torch.ones_like(penalty)),
        iterations=iterations,
        tolerance=tolerance,
    )
    return state[0], status, count


@dataclass(frozen=True, kw_only=True)
class GroupLasso(Solver):
    """The subcarriers of largest coefficients where the path first has ``count`` active ones.

    Sees the training windows only. Where even the last penalty leaves too few active, the rest is
    filled by their correlation with what is not explained.

    Attributes:
        count: Subcarriers to keep; 0 means as many as allowed.
        penalties: Points of the path, >= 2.
        least_penalty: Last penalty over the first, in (0, 1).
        iterations: Steps at each penalty, >= 1.
        tolerance: Relative duality gap at which a minimiser is found, > 0.
    """

    name: ClassVar[str] = "group-lasso"
    summary: ClassVar[str] = "group lasso of both labels, one group per subcarrier, along a path"

    count: int = 0
    penalties: int = 40
    least_penalty: float = 1e-2
    iterations: int = 500
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        demand_limits(self, "iterations")
        if self.count < 0:
            raise ScenarioError(f"count must be >= 0, got {self.count}.")
        if self.penalties < 2:
            raise ScenarioError(f"penalties must be >= 2, got {self.penalties}.")
        if not 0 < self.least_penalty < 1:
            raise ScenarioError(f"least_penalty must be in (0, 1), got {self.least_penalty}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; iterations are points of the path, at most the budget's."""
        setup, i = cast(SubcarrierSelection, problem), cast(SubcarrierInstance, instance)
        kept, tones = allowed_count(setup, self.count), setup.scenario.num_tones
        task = probe_task(i.train, i.train_label, degree=1, num_location=setup.num_place)
        points = self.penalties if budget.iterations is None else budget.iterations
        points = min(points, self.penalties)
        factor = self.least_penalty ** (1 / (self.penalties - 1))

        def step(
            task: ProbeTask, v: Tensor, penalty: Tensor, length: Tensor
        ) -> tuple[tuple[Tensor, ...], Tensor]:
            lower = penalty * factor
            found, _, _ = group_lasso(
                task,
                lower,
                v,
                length,
                tones=tones,
                iterations=self.iterations,
                tolerance=self.tolerance if budget.tolerance is None else budget.tolerance,
            )
            missing = kept - (_norms(found, tones) > 0).sum(-1)
            return (found, lower, length), missing.to(v.dtype)

        start_at = (torch.zeros_like(task.cross), largest_penalty(task, tones), _step_length(task))
        state, status, count = iterate_shrinking(
            step, task, start_at, iterations=points, tolerance=0.0
        )
        mask = select_tones(_scores(task, state[0], tones), kept, kept)
        return Solution(decision=SubcarrierDecision(mask), status=status, iterations=count)


def _scores(task: ProbeTask, v: Tensor, tones: int) -> Tensor:
    """Active subcarriers by size, in (1, 2], above the others by correlation, in [0, 1]."""
    size, tiny = _norms(v, tones), torch.finfo(v.dtype).tiny
    data = _Data(*(task.gram, task.feature, task.cross), *(task.energy[:, 0],) * 3)
    left = _norms(task.cross - _image(data, v), tones)
    active, passive = (x / x.amax(-1, keepdim=True).clamp_min(tiny) for x in (size, left))
    return torch.where(size > 0, 1 + active, passive)


def _image(data: _Data, v: Tensor) -> Tensor:
    """X^T X v."""
    return data.gram @ v if data.gram.shape[1] else data.feature.mT @ (data.feature @ v)


def _gap(data: _Data, v: Tensor, image: Tensor, tones: int) -> Tensor:
    """Duality gap over |Y|^2 / 2, (B,), from X^T X v."""
    fitted, seen = (v * data.cross).sum((1, 2)), (v * image).sum((1, 2))
    residual = data.energy - 2 * fitted + seen  # |r|^2
    value = residual / 2 + data.penalty * _norms(v, tones).sum(-1)
    tiny = torch.finfo(v.dtype).tiny
    steepest = _norms(data.cross - image, tones).amax(-1)
    is_feasible = steepest <= data.penalty
    scale = torch.where(is_feasible, 1, data.penalty / steepest.clamp_min(tiny))
    inner = data.energy - fitted  # <Y, r>
    dual = scale * inner - scale.square() * residual / 2
    return (value - dual) / (data.energy / 2).clamp_min(tiny)


def _step_length(task: ProbeTask) -> Tensor:
    """One over the largest eigenvalue of X^T X, (B,)."""
    matrix = task.gram if task.gram.shape[1] else task.feature @ task.feature.mT
    largest = torch.linalg.eigvalsh(matrix)[:, -1]
    return 1 / largest.clamp_min(torch.finfo(largest.dtype).tiny)


def _norms(v: Tensor, tones: int) -> Tensor:
    """|V_s|, (B, S), of coefficients (B, D, Y)."""
    return v.reshape(len(v), tones, -1).square().sum(-1).sqrt()


def _shrink(v: Tensor, amount: Tensor, tones: int) -> Tensor:
    """Proximal map: every group's norm less by ``amount`` (B,), at least zero."""
    norm = _norms(v, tones)
    tiny = torch.finfo(v.dtype).tiny
    scale = (1 - amount[:, None] / norm.clamp_min(tiny)).clamp_min(0)
    return v * scale.repeat_interleave(v.shape[1] // tones, 1)[..., None]
