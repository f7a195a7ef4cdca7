"""The reference of imaging design: the certified A-optimal covariance, and what it is worth less.

``a-optimal-prior`` ignores what is already known of the image, ``support-oracle`` knows where it is
and starves every other voxel, so that nobody could find a target there.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Solver, Status, Trace
from isac_gym.core.units import linear_to_db
from isac_gym.physics.a_optimal import (
    PriorityDesign,
    ProbingDesign,
    ProbingTask,
    factor,
    joint_design,
    joint_priority,
    step1_design,
    step1_priority,
)
from isac_gym.problems.multi_user_imaging.design import (
    ImagingDesign,
    ImagingDesignInstance,
    ProbingDecision,
)
from isac_gym.problems.multi_user_imaging.world import support_of

__all__ = ["AOptimal", "AOptimalPrior", "SupportOracle", "designed", "probing_task", "typed"]

_HIDDEN = 1e6  # precision of voxels an oracle knows to be empty, over the largest of the others


def typed(problem: Problem, instance: TensorRecord) -> tuple[ImagingDesign, ImagingDesignInstance]:
    """Problem and instance as what the registry guarantees they are."""
    return cast(ImagingDesign, problem), cast(ImagingDesignInstance, instance)


def probing_task(problem: ImagingDesign, instance: ImagingDesignInstance) -> ProbingTask:
    """What :mod:`isac_gym.physics.a_optimal` needs of an instance."""
    s, i = problem.scenario, instance
    one = torch.ones_like(i.max_power_w)
    return ProbingTask(
        bs_channel=i.bs_channel,
        gram=i.user_channel.mH @ i.user_channel,
        precision=i.precision,
        comm_channel=i.comm_channel,
        max_power_w=i.max_power_w,
        gain=one * (s.num_samples / s.noise_w),
        min_sinr=one * s.min_sinr,
        comm_noise_w=one * s.comm_noise_w,
    )


def designed(
    problem: ImagingDesign,
    task: ProbingTask,
    *,
    iterations: int,
    tolerance: float,
    start: Tensor | None = None,
) -> ProbingDesign:
    """Certified design in the scenario's model of information; ``start`` is what informs.

    Computed in double precision, returned in the task's.
    """
    run = step1_design if problem.scenario.information == "step1" else joint_design
    dtype = task.max_power_w.dtype
    wide = ProbingTask(*(_cast(t, torch.float64) for t in task))
    first = None if start is None else _cast(start, torch.float64)
    found = run(wide, iterations=iterations, tolerance=tolerance, start=first)
    return ProbingDesign(*(_cast(t, dtype) for t in found))


@dataclass(frozen=True, kw_only=True)
class AOptimal(Solver):
    """Spectral projected gradients on the informing covariance, with a dual certificate.

    Attributes:
        iterations: Largest number of gradients, >= 1.
        tolerance: Relative gap of the error bound at which a lane has converged, > 0.
        priority: beta of the paper's weighted sum, in [0, 1], instead of the SINR constraint;
            without a certificate of the scored objective. None: the constraint.
    """

    name: ClassVar[str] = "a-optimal"
    summary: ClassVar[str] = "reference: certified A-optimal covariance"
    certifies: ClassVar[bool] = True

    iterations: int = 500
    tolerance: float = 1e-8
    priority: float | None = None

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ScenarioError(f"iterations must be >= 1, got {self.iterations}.")
        if not 0 < self.tolerance < math.inf:
            raise ScenarioError(f"tolerance must be > 0, got {self.tolerance}.")
        if self.priority is not None and not 0 <= self.priority <= 1:
            raise ScenarioError(f"priority must be in [0, 1] or None, got {self.priority}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; the trace holds the best objective so far; deterministic."""
        setup, i = typed(problem, instance.to(dtype=torch.float64))  # ill-conditioned in single
        dtype = instance.dtype
        count = self.iterations if budget.iterations is None else budget.iterations
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        task = probing_task(setup, i)
        if self.priority is not None:
            return _weighted(setup, task, self.priority, count, tolerance, dtype)
        first = None
        if start is not None:
            first = setup.covariance(cast(ProbingDecision, start.to(dtype=torch.float64)))
        believed = self._believed(setup, i, task)
        found = designed(setup, believed, iterations=count, tolerance=tolerance, start=first)
        code = torch.where(found.has_converged, int(Status.CONVERGED), int(Status.BUDGET_SPENT))
        code = torch.where(found.value.isfinite(), code, int(Status.FAILED))
        lower = found.lower * (1 - _rounding(task, found, dtype))
        bound = torch.where(lower > 0, -linear_to_db(lower.clamp_min(0)), torch.inf)  # no claim
        rough = torch.finfo(dtype).eps ** 0.6  # 4e-10, or 7e-5 in single precision
        return Solution(
            decision=ProbingDecision(factor(found.covariance), found.beam).to(dtype=dtype),
            status=torch.where(found.is_reachable, code, int(Status.INFEASIBLE)),
            iterations=found.iterations,
            trace=Trace(objective=-linear_to_db(found.history).to(dtype), length=found.iterations),
            certificate=self._certificate(bound.to(dtype), rough),
        )

    def _believed(
        self, problem: ImagingDesign, instance: ImagingDesignInstance, task: ProbingTask
    ) -> ProbingTask:
        """The task as this solver sees it."""
        return task

    def _certificate(self, bound: Tensor, tolerance: float) -> Certificate | None:
        return Certificate(
            bound=bound,
            kind="dual",
            source="a-optimal: value less the Frank-Wolfe gap",
            tolerance=tolerance,
        )


@dataclass(frozen=True, kw_only=True)
class AOptimalPrior(AOptimal):
    """A-optimal for the scenario's prior, whatever is known of the image by now."""

    name: ClassVar[str] = "a-optimal-prior"
    summary: ClassVar[str] = "A-optimal for the prior alone: what earlier frames told is ignored"
    certifies: ClassVar[bool] = False

    def _believed(
        self, problem: ImagingDesign, instance: ImagingDesignInstance, task: ProbingTask
    ) -> ProbingTask:
        eye = torch.eye(
            task.precision.shape[-1], dtype=task.precision.dtype, device=instance.device
        )
        return task._replace(
            precision=(eye / problem.scenario.prior_variance).expand_as(task.precision)
        )

    def _certificate(self, bound: Tensor, tolerance: float) -> Certificate | None:
        return None


@dataclass(frozen=True, kw_only=True)
class SupportOracle(AOptimal):
    """A-optimal for the occupied voxels alone, told by a genie."""

    name: ClassVar[str] = "support-oracle"
    summary: ClassVar[str] = "genie: designed for the true support only, empty voxels unlit"
    certifies: ClassVar[bool] = False

    def _believed(
        self, problem: ImagingDesign, instance: ImagingDesignInstance, task: ProbingTask
    ) -> ProbingTask:
        mask = support_of(instance.image)
        both = mask[:, :, None] & mask[:, None, :]
        most = torch.diagonal(task.precision, dim1=-2, dim2=-1).real.amax(-1)
        eye = torch.eye(mask.shape[-1], dtype=task.precision.dtype, device=mask.device)
        hidden = _HIDDEN * most[:, None, None] * eye
        return task._replace(
            bs_channel=task.bs_channel * mask[..., None],
            precision=torch.where(both, task.precision, hidden),
        )

    def _certificate(self, bound: Tensor, tolerance: float) -> Certificate | None:
        return None


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    return tensor.to(dtype.to_complex() if tensor.is_complex() else dtype)


def _rounding(task: ProbingTask, found: ProbingDesign, dtype: torch.dtype) -> Tensor:
    """Relative error of f in single precision, (B,); 0 in double, where the bound allows for it."""
    if dtype == torch.float64:
        return torch.zeros_like(found.value)
    trace = torch.diagonal(found.covariance, dim1=-2, dim2=-1).real.sum(-1)
    lit = task.bs_channel.abs().square().sum(-1) * trace[:, None]
    gained = task.gain[:, None] * lit * torch.diagonal(task.gram, dim1=-2, dim2=-1).real
    most = (torch.diagonal(task.precision, dim1=-2, dim2=-1).real + gained).amax(-1)
    return torch.finfo(dtype).eps * most * found.value


def _weighted(
    problem: ImagingDesign,
    task: ProbingTask,
    priority: float,
    iterations: int,
    tolerance: float,
    dtype: torch.dtype,
) -> Solution:
    """The paper's weighted sum, (46), exactly."""
    beta = torch.full_like(task.max_power_w, priority)
    run = step1_priority if problem.scenario.information == "step1" else joint_priority
    found: PriorityDesign = run(task, beta, iterations=iterations, tolerance=tolerance)
    code = torch.where(found.has_converged, int(Status.CONVERGED), int(Status.BUDGET_SPENT))
    decision = ProbingDecision(factor(found.covariance), found.beam)
    code = torch.where(found.value.isfinite(), code, int(Status.FAILED))
    return Solution(decision=decision.to(dtype=dtype), status=code, iterations=found.iterations)
