"""The paper's output: one constant probing beam, drawn from the optimal covariance.

With constant beams the region is lit from one direction per user, so that V > K voxels keep at
least V - K prior variances however much power there is.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.multi_user_imaging.a_optimal import designed, probing_task, typed
from baselines.multi_user_imaging.fixed_designs import one_column
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.physics.a_optimal import ProbingTask, error_bound
from isac_gym.problems.multi_user_imaging.design import ProbingDecision
from isac_gym.problems.multi_user_imaging.probing_actions import root_of

_MARGIN = {torch.float64: 1e-12, torch.float32: 2e-5}  # over the SINR needed

__all__ = ["RankOne", "best_draw", "randomised"]


@dataclass(frozen=True, kw_only=True)
class RankOne(Solver):
    """Best of Gaussian draws with the optimal covariance, each scaled to the constraints.

    Attributes:
        draws: Candidates, >= 1.
        iterations: Limit of the design behind it, >= 1.
        tolerance: Relative gap of that design, > 0.
    """

    name: ClassVar[str] = "rank-one"
    summary: ClassVar[str] = "one constant beam by Gaussian randomisation, as the paper sends"

    draws: int = 50
    iterations: int = 100
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("draws", "iterations"):
            if getattr(self, name) < 1:
                raise ScenarioError(f"{name} must be >= 1, got {getattr(self, name)}.")
        if not 0 < self.tolerance < math.inf:
            raise ScenarioError(f"tolerance must be > 0, got {self.tolerance}.")

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
        setup, i = typed(problem, instance)
        task = probing_task(setup, i)
        count = self.iterations if budget.iterations is None else budget.iterations
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        found = designed(setup, task, iterations=count, tolerance=tolerance)
        probe = randomised(found.covariance, self.draws, seed, "probe")  # (B, draws, N)
        data = found.beam[:, None].expand_as(probe)
        if setup.scenario.information == "step1":
            probe, data = _affordable(task, probe)
        is_joint = setup.scenario.information == "joint"
        decision = best_draw(task, probe, data, is_joint=is_joint)
        code = torch.where(found.has_converged, int(Status.CONVERGED), int(Status.BUDGET_SPENT))
        status = torch.where(found.is_reachable, code, int(Status.INFEASIBLE))
        return Solution(decision=decision, status=status, iterations=found.iterations)


def randomised(covariance: Tensor, draws: int, seed: int, name: str) -> Tensor:
    """Beams W^1/2 xi, xi standard normal, each with power tr W, (B, draws, N).

    The same xi in every lane: a lane's answer does not depend on where it stands in the batch.
    W^1/2 is Hermitian: a factor made of eigenvectors has phases that differ between libraries.
    """
    root, size = root_of(covariance), covariance.shape[-1]
    streams = Streams.from_seed(seed, 1, device=covariance.device)
    xi = streams.complex_normal(name, size, draws, dtype=covariance.real.dtype)
    drawn = (root @ xi).mT
    power = torch.diagonal(covariance, dim1=-2, dim2=-1).real.sum(-1).clamp_min(0)
    tiny = torch.finfo(power.dtype).tiny
    return drawn * (power[:, None] / _power(drawn).clamp_min(tiny)).sqrt()[..., None]


def best_draw(task: ProbingTask, probe: Tensor, data: Tensor, *, is_joint: bool) -> ProbingDecision:
    """The pair of beams (B, draws, N) with the least error."""
    many = ProbingTask(*(t.repeat_interleave(probe.shape[1], 0) for t in task))
    informing = _outer(probe) + _outer(data) if is_joint else _outer(probe)
    error = error_bound(many, informing.flatten(0, 1)).unflatten(0, probe.shape[:2])
    pick = error.argmin(-1)
    rows = torch.arange(len(pick), device=pick.device)
    return ProbingDecision(one_column(probe[rows, pick]), data[rows, pick])


def _affordable(task: ProbingTask, probe: Tensor) -> tuple[Tensor, Tensor]:
    """Beams scaled so that the cheapest data beam along h uses up the budget."""
    tiny = torch.finfo(task.max_power_w.dtype).tiny
    energy = _power(task.comm_channel).clamp_min(tiny)
    unit = probe / _power(probe).clamp_min(tiny).sqrt()[..., None]
    heard = (unit @ task.comm_channel.conj()[..., None])[..., 0].abs().square()
    least, noise = task.min_sinr * (1 + _MARGIN[task.min_sinr.dtype]), task.comm_noise_w
    spare = (task.max_power_w - least * noise / energy).clamp_min(0)
    power = spare[:, None] / (1 + (least / energy)[:, None] * heard)
    needed = task.max_power_w[:, None] - power
    along = task.comm_channel / energy.sqrt()[:, None]
    return unit * power.sqrt()[..., None], needed.sqrt()[..., None] * along[:, None]


def _outer(beam: Tensor) -> Tensor:
    return beam[..., :, None] * beam.conj()[..., None, :]


def _power(beam: Tensor) -> Tensor:
    return (beam.real.square() + beam.imag.square()).sum(-1)
