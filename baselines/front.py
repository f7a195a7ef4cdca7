"""The front door: what all solvers share, so that a solver file holds only its algorithm."""

import dataclasses
import time

import torch
from torch import Tensor

from baselines.registry import make_solver, solvers
from isac_gym.core.errors import InfeasibleError, ScenarioError, ShapeError, SolverError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Solver, Status

__all__ = ["certificate", "repaired", "solve"]

_FEASIBLE = 1e-7  # relative violation up to which a decision counts as feasible
_ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}  # of an objective, relative
_LANES_SHOWN = 8


def solve(
    problem: Problem,
    instance: TensorRecord,
    solver: str | Solver,
    *,
    budget: Budget = Budget(),
    seed: int = 0,
    start: TensorRecord | None = None,
    throw: bool = False,
) -> Solution:
    """Solve a batch of instances, checked before and after.

    The records are validated, the solver warmed up on one lane for one iteration (unless it is
    slow), and the solve timed with the device synchronised. Decisions are then repaired (see
    :func:`repaired`). A lane whose feasible objective exceeds the solver's own certificate is
    marked FAILED.

    Args:
        problem: Problem the instances belong to.
        instance: Instance record, batch size B >= 1.
        solver: Name in the registry, or a solver.
        budget: Limits; None fields keep the solver's own.
        seed: Seed of the solver's own randomness, >= 0.
        start: Decision to start from, batch size B, or None.
        throw: Raise unless every lane has converged.

    Returns:
        Solution with a finite decision in every lane, and ``seconds`` for the batch.

    Raises:
        ScenarioError: Unknown solver or a negative seed.
        ShapeError: A record has the wrong type, shape, device or values.
        InfeasibleError: ``throw`` and some lanes have no feasible decision; names the lanes.
        SolverError: ``throw`` and some lanes failed or spent their budget; names the lanes.
    """
    solver = make_solver(problem.name, solver) if isinstance(solver, str) else solver
    _check_inputs(problem, instance, start, seed)
    with torch.no_grad():
        if not solver.is_slow:
            warm_up = dataclasses.replace(budget, iterations=1)
            solver.solve(problem, instance[:1], budget=warm_up, seed=seed)
        _synchronise(instance.device)
        begin = time.perf_counter()
        solution = solver.solve(problem, instance, budget=budget, seed=seed, start=start)
        _synchronise(instance.device)
        seconds = time.perf_counter() - begin
        solution = repaired(problem, instance, solution, is_projected=solver.is_projected)
        solution = dataclasses.replace(solution, seconds=seconds)
        solution = _hold_to_certificate(problem, instance, solution)
    if throw:
        _raise_unless_converged(solver, solution)
    return solution


def certificate(
    problem: Problem, instance: TensorRecord, *, slow: bool = False
) -> Certificate | None:
    """Bound on the optimum from the first registered solver that certifies this objective.

    Args:
        problem: Problem the instances belong to.
        instance: Instance record, batch size B.
        slow: Ask solvers too that may take a minute per instance.

    Returns:
        Certificate with ``bound`` (B,), or None if no solver can certify the objective.
    """
    for solver_type in solvers(problem.name).values():
        if not solver_type.certifies or (solver_type.is_slow and not slow):
            continue
        try:
            found = solve(problem, instance, solver_type()).certificate
        except ScenarioError:  # this solver does not apply to the scenario, the next one may
            continue
        if found is not None:
            return found
    return None


def repaired(
    problem: Problem, instance: TensorRecord, solution: Solution, *, is_projected: bool
) -> Solution:
    """Solution with a finite, and if asked projected, decision in every lane.

    Lanes with a non-finite entry get ``Problem.floor`` and status FAILED.

    Raises:
        SolverError: The decision is not a record of the problem's type and size.
    """
    decision, sizes = solution.decision, problem.axis_sizes | {"B": instance.batch_size}
    if not isinstance(decision, problem.decision_type):
        wanted = problem.decision_type.__name__
        raise SolverError(f"solver returned a {type(decision).__name__}, expected a {wanted}.")
    try:
        decision.check(**sizes)
    except ShapeError as err:
        raise SolverError(f"solver returned a malformed decision: {err}") from err
    fields = [t.isfinite().reshape(len(t), -1).all(1) for _, t in decision.items()]
    finite = torch.stack(fields).all(0)
    decision = decision.where(finite, problem.floor(instance))
    if is_projected:
        decision = problem.project(instance, decision)
    status = torch.where(finite, solution.status, int(Status.FAILED))
    return dataclasses.replace(solution, decision=decision.detach(), status=status)


def _check_inputs(
    problem: Problem, instance: TensorRecord, start: TensorRecord | None, seed: int
) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ScenarioError(f"seed must be an integer >= 0, got {seed!r}.")
    problem.validate(instance, start)
    if instance.batch_size == 0:
        raise ShapeError(f"{type(instance).__name__}: batch size must be >= 1, got 0.")
    if start is not None and start.device != instance.device:
        raise ShapeError(f"start: on device {start.device}, expected {instance.device}.")


def _synchronise(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _hold_to_certificate(problem: Problem, instance: TensorRecord, solution: Solution) -> Solution:
    claim = solution.certificate
    if claim is None:
        return solution
    metrics = problem.metrics(instance, solution.decision)
    unit = claim.bound.abs().clamp_min(1)
    slack = max(claim.tolerance, _ROUNDING[instance.dtype]) * unit
    is_above = (metrics.violation <= _FEASIBLE) & (metrics.objective > claim.bound + slack)
    is_refuted = is_above & (solution.status != int(Status.INFEASIBLE))
    status = torch.where(is_refuted, int(Status.FAILED), solution.status)
    return dataclasses.replace(solution, status=status)


def _raise_unless_converged(solver: Solver, solution: Solution) -> None:
    lanes = _lanes(solution.status == int(Status.INFEASIBLE))
    if lanes:
        raise InfeasibleError(
            f"{solver.name}: no feasible decision in lane(s) {lanes}; relax the constraints or "
            "redraw the instances."
        )
    lanes = _lanes(solution.status == int(Status.FAILED))
    if lanes:
        raise SolverError(f"{solver.name}: failed in lane(s) {lanes}.")
    lanes = _lanes(solution.status == int(Status.BUDGET_SPENT))
    if lanes:
        raise SolverError(
            f"{solver.name}: budget spent in lane(s) {lanes} after up to "
            f"{int(solution.iterations.max())} iterations; raise budget.iterations."
        )


def _lanes(mask: Tensor) -> str:
    rows = mask.nonzero()[:, 0].tolist()
    shown = ", ".join(map(str, rows[:_LANES_SHOWN]))
    return shown + (f" and {len(rows) - _LANES_SHOWN} more" if len(rows) > _LANES_SHOWN else "")
