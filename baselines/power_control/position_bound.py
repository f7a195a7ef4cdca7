"""Least position error bound, in three dimensions and, with known height, in two.

With as many base stations as dimensions tr J^-1 = sum_i c_i sigma_i^2, a posynomial: convex in
log-powers, solved to a duality gap. Otherwise the bound is a ratio of posynomials with several
local minima: the best of several starts is returned, without a certificate. See ``log_power.py``.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.interior_point import Optimum, duality_gap, minimise
from baselines.iteration import take
from baselines.power_control.log_power import LOG_RANGE, PositionProgramme
from baselines.power_control.outcome import interior, limits, outcome
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Solver, Status
from isac_gym.core.units import db_to_linear, linear_to_db
from isac_gym.physics.interference import radial_project
from isac_gym.problems.power_control.model import (
    NormalisedNetwork,
    PowerControl,
    PowerControlDecision,
    PowerControlInstance,
)

__all__ = ["PositionBound2D", "PositionBound3D"]

_GRID_FLOOR_DB = -45.0
_MUTED_DB = -30.0
_GRID_CHUNK = 64  # instances per pass over the grid: tens of megabytes
_PULL = 0.05  # how far a start is moved inside


@dataclass(frozen=True, kw_only=True)
class _PositionBound(Solver):
    """What both dimensions share.

    Attributes:
        iterations: Largest number of Newton steps per start, >= 1.
        tolerance: On the logarithm of the squared bound.
    """

    certifies: ClassVar[bool] = True
    dimension: ClassVar[int]

    iterations: int = 80
    tolerance: float = 1e-8

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; ``start`` is not used.

        Raises:
            ScenarioError: Fewer base stations than dimensions; the bound is infinite.
        """
        problem, instance = cast(PowerControl, problem), cast(PowerControlInstance, instance)
        if problem.scenario.num_bs < self.dimension:
            raise ScenarioError(
                f"{self.name} needs num_bs >= {self.dimension}, got {problem.scenario.num_bs}: "
                "with fewer ranges the position error bound is infinite."
            )
        count, tolerance = limits(budget, iterations=self.iterations, tolerance=self.tolerance)
        original = problem.network(instance)
        known = interior(original)
        network, inside, _ = known
        programme = PositionProgramme.of(network, _directions(instance, self.dimension))
        if programme.is_convex:
            best = minimise(programme, inside.log(), iterations=count, tolerance=tolerance)
            power = best.point.exp()
        else:
            starts = self._starts(network, programme)
            best, power = _best_of(programme, network, starts, inside, count, tolerance)
        solution = outcome(
            original,
            power.clamp_max(1),
            known=known,
            status=best.status,
            iterations=best.iterations,
        )
        is_bounded = programme.is_convex and problem.scenario.objective == self.name
        if not is_bounded:
            return solution
        gap = duality_gap(programme, best, diameter=LOG_RANGE)
        return _certified(problem, instance, solution, best.point, gap)

    def _starts(self, network: NormalisedNetwork, programme: PositionProgramme) -> Tensor:
        """Powers to start from, (K, B, I): all at the cap, and each station muted in turn."""
        ones = torch.ones_like(network.noise)
        eye = torch.eye(ones.shape[1], dtype=ones.dtype, device=ones.device)
        muted = [ones * (1 - row) + row * db_to_linear(_MUTED_DB) for row in eye]
        return torch.stack([ones, *muted])


@dataclass(frozen=True, kw_only=True)
class PositionBound3D(_PositionBound):
    """Least position error bound in three dimensions: certified for three base stations."""

    name: ClassVar[str] = "peb3d"
    summary: ClassVar[str] = "least 3-D position error bound; global optimum for 3 stations"
    dimension: ClassVar[int] = 3


@dataclass(frozen=True, kw_only=True)
class PositionBound2D(_PositionBound):
    """Least position error bound with known height: best known; certified for two stations.

    Attributes:
        grid_step_db: Step of the grid on the faces max x = 1, for three stations; > 0.
    """

    name: ClassVar[str] = "peb2d"
    summary: ClassVar[str] = "least 2-D position error bound, best known (grid and Newton)"
    dimension: ClassVar[int] = 2

    grid_step_db: float = 1.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.grid_step_db <= -_GRID_FLOOR_DB:
            raise ScenarioError(f"grid_step_db must be in [0.1, 45], got {self.grid_step_db}.")

    def _starts(self, network: NormalisedNetwork, programme: PositionProgramme) -> Tensor:
        starts = super()._starts(network, programme)
        if network.noise.shape[1] != 3:
            return starts
        axis = torch.arange(0, _GRID_FLOOR_DB - 1e-9, -self.grid_step_db, device=starts.device)
        first, second = torch.meshgrid(axis, axis, indexing="ij")
        flat = torch.stack([torch.zeros_like(first), first, second], -1).reshape(-1, 3)
        faces = torch.stack([flat.roll(face, -1) for face in range(3)])  # (3, P, 3)
        grid = db_to_linear(faces.to(starts.dtype))
        lanes = torch.arange(network.noise.shape[0], device=starts.device)
        best = [_best_on_grid(take(programme, rows), grid) for rows in lanes.split(_GRID_CHUNK)]
        return torch.cat([starts, torch.cat(best, 1)])


def _directions(instance: PowerControlInstance, dimension: int) -> Tensor:
    """First components of the unit vectors station -> target, (B, I, dimension)."""
    difference = instance.target[:, None, :] - instance.bs
    return (difference / difference.square().sum(-1, keepdim=True).sqrt())[..., :dimension]


def _best_on_grid(programme: PositionProgramme, grid: Tensor) -> Tensor:
    """Best feasible point of each face, (3, B, 3), of grid points (3, P, 3)."""
    best = []
    for points in grid:
        load = torch.einsum("bcij,pj->bcip", programme.coupling, points)
        load = load + programme.noise[..., None]  # (B, 2, I, P)
        weight = points.mT / load[:, 0]
        u = programme.direction
        cross = u[:, :, None, 0] * u[:, None, :, 1] - u[:, :, None, 1] * u[:, None, :, 0]
        determinant = (weight * (cross.square() @ weight)).sum(1) / 2
        value = weight.sum(1) / determinant  # tr J^-1 of a 2 x 2 matrix
        value = torch.where((load[:, 1] <= points.mT).all(1), value, torch.inf)
        best.append(points[value.argmin(-1)])
    return torch.stack(best)


def _best_of(
    programme: PositionProgramme,
    network: NormalisedNetwork,
    starts: Tensor,
    inside: Tensor,
    iterations: int,
    tolerance: float,
) -> tuple[Optimum, Tensor]:
    """Minimise from every start (K, B, I); the best end, or start, of each lane and its powers."""
    tries, batch, _ = starts.shape
    comm = (network.comm_coupling, network.comm_noise)
    starts = torch.stack([radial_project(each, *comm, inside) for each in starts])
    many = type(programme)(*(t.repeat(tries, *(1,) * (t.ndim - 1)) for t in programme))
    begin = torch.lerp(starts, inside, _PULL).flatten(0, 1).log()
    ends = minimise(many, begin, iterations=iterations, tolerance=tolerance)
    points = ends.point.exp().clamp_max(1).unflatten(0, (tries, batch))
    points = torch.stack([radial_project(each, *comm, inside) for each in points])
    value = torch.stack([programme.value(each.log()) for each in torch.cat([points, starts])])
    winner = value.nan_to_num(torch.inf).argmin(0)
    lane = torch.arange(batch, device=winner.device)
    power = torch.cat([points, starts])[winner, lane]
    rows = (winner % tries) * batch + lane
    return Optimum(*(tensor[rows] for tensor in ends)), power


def _certified(
    problem: PowerControl,
    instance: PowerControlInstance,
    solution: Solution,
    point: Tensor,
    gap: Tensor,
) -> Solution:
    """Solution with the bound: the objective at log-powers ``point`` (B, I) plus the gap (B,)."""
    decision = cast(PowerControlDecision, solution.decision)
    objective = problem.evaluate(instance, decision).objective
    reached = problem.evaluate(instance, PowerControlDecision(point.exp())).objective
    bound = torch.maximum(reached, objective) + linear_to_db(gap.exp())
    is_infeasible = solution.status == int(Status.INFEASIBLE)
    claim = Certificate(
        bound=torch.where(is_infeasible, objective, bound),
        kind="dual",
        source="duality gap of the geometric programme, baselines.power_control.log_power",
    )
    return dataclasses.replace(solution, certificate=claim)
