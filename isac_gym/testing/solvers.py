"""Conformance of solvers: results, certificates, budgets, independence of lanes, seeds."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.testing.candidates import candidates, clone
from isac_gym.testing.common import (
    ConformanceError,
    demand,
    demand_same,
    demand_same_records,
    global_state_guard,
)

__all__ = ["SOLVER_CHECKS", "check_solver"]

_SEED, _BATCH = 40, 6
_BOUND_TOLERANCE = 1e-7  # relative, added to the certificate's own
_HARDER_DB = 30.0


def check_solver(solver: Solver, problem: Problem) -> None:
    """Run every check of :data:`SOLVER_CHECKS` on instances of a problem.

    Raises:
        ConformanceError: Names the first check that failed, what was expected and what was seen.
    """
    for check in SOLVER_CHECKS.values():
        check(solver, problem)


def _draw(problem: Problem, batch: int = _BATCH, *, seed: int = _SEED) -> TensorRecord:
    return problem.sample(Streams.from_seed(seed, batch))


def _demand_same_solutions(
    left: Solution, right: Solution, tolerance: float, *, check: str, expected: str
) -> None:
    demand_same_records(left.decision, right.decision, tolerance, check=check, expected=expected)
    for name in ("status", "iterations"):
        mine, theirs = getattr(left, name), getattr(right, name)
        demand_same(mine, theirs, tolerance, check=check, expected=expected, name=name)


def _rows(solution: Solution, rows: slice) -> Solution:
    return Solution(
        decision=solution.decision[rows],
        status=solution.status[rows],
        iterations=solution.iterations[rows],
    )


def _results(solver: Solver, problem: Problem) -> None:
    """Decision, status and iterations: types, shapes, known values, finite where not failed."""
    check, instance = "solver.results", _draw(problem)
    solution = solver.solve(problem, instance)
    demand(isinstance(solution, Solution), check, "a Solution", type(solution).__name__)
    decision, wanted = solution.decision, problem.decision_type
    demand(type(decision) is wanted, check, wanted.__name__, type(decision).__name__)
    try:
        decision.check(**problem.axis_sizes, B=_BATCH)
    except ShapeError as error:
        raise ConformanceError(check, "a decision as declared", str(error)) from error
    for name in ("status", "iterations"):
        tensor = getattr(solution, name)
        demand(tensor.shape == (_BATCH,), check, f"{name} (B,)", tuple(tensor.shape))
        demand(tensor.dtype == torch.int64, check, f"int64 {name}", tensor.dtype)
    known = {int(status) for status in Status}
    demand(set(solution.status.tolist()) <= known, check, "known statuses", solution.status)
    demand((solution.iterations >= 0).all(), check, "iterations >= 0", solution.iterations.tolist())
    good = solution.status != int(Status.FAILED)
    demand(good.any(), check, "a lane that did not fail", solution.status.tolist())
    for name, tensor in decision.items():
        finite = torch.isfinite(tensor[good]).all()
        demand(finite, check, f"finite {name} where not failed", tensor[good].tolist())
    objective = problem.metrics(instance, problem.project(instance, decision)).objective[good]
    demand(torch.isfinite(objective).all(), check, "finite objectives", objective.tolist())


def _trace(solver: Solver, problem: Problem) -> None:
    """The trace has one row per lane, its length is that of the iterations, its tail repeats."""
    check = "solver.trace"
    trace = solver.solve(problem, _draw(problem)).trace
    if trace is None:
        return
    history, length = trace.objective, trace.length
    demand(history.ndim == 2 and len(history) == _BATCH, check, "objective (B, L)", history.shape)
    demand(length.shape == (_BATCH,), check, "length (B,)", tuple(length.shape))
    demand(length.dtype == torch.int64, check, "int64 length", length.dtype)
    is_possible = (length >= 0) & (length <= history.shape[1])
    demand(is_possible.all(), check, f"lengths in [0, {history.shape[1]}]", length.tolist())
    for row, count in zip(history, length.tolist(), strict=True):
        used, tail = row[:count], row[max(count - 1, 0) :]
        demand(torch.isfinite(used).all(), check, "finite objectives", used.tolist())
        repeats = count == 0 or bool((tail == tail[0]).all())
        demand(repeats, check, "a finished lane to repeat its last objective", tail.tolist())


def _certificate(solver: Solver, problem: Problem) -> None:
    """No feasible decision beats the certified bound: the solver's own, random, adversarial."""
    check, instance = "solver.certificate", _draw(problem)
    solution = solver.solve(problem, instance)
    certificate = solution.certificate
    if certificate is None:
        return
    demand(solver.certifies, check, "certifies = True of a solver with certificates", False)
    bound = certificate.bound
    demand(bound.shape == (_BATCH,), check, "bound (B,)", tuple(bound.shape))
    demand(not bound.isnan().any(), check, "a bound without NaN", bound.tolist())
    slack = (certificate.tolerance + _BOUND_TOLERANCE) * bound.abs().clamp_min(1)
    slack = torch.where(bound.isinf(), 0, slack)
    good = solution.status != int(Status.FAILED)
    tried = candidates(problem, instance) | {"the solver's decision": solution.decision}
    for label, decision in tried.items():
        metrics = problem.metrics(instance, problem.project(instance, decision))
        is_beaten = (metrics.objective > bound + slack) & (metrics.violation <= 1e-9) & good
        seen = f"{metrics.objective[is_beaten].tolist()} above {bound[is_beaten].tolist()}"
        demand(not is_beaten.any(), check, f"no objective above the bound ({label})", seen)


def _budget(solver: Solver, problem: Problem) -> None:
    """A budget of one iteration is kept, and spent lanes say so."""
    check, instance = "solver.budget", _draw(problem)
    solution = solver.solve(problem, instance, budget=Budget(iterations=1))
    most = int(solution.iterations.max())
    demand(most <= 1, check, "at most 1 iteration", most)
    free = solver.solve(problem, instance)
    is_cut = (free.iterations > 1) & (solution.status == int(Status.CONVERGED))
    seen = f"CONVERGED after 1 of {free.iterations[is_cut].tolist()} iterations"
    demand(not is_cut.any(), check, "lanes that need more not to claim convergence", seen)


def _hard_neighbour(solver: Solver, problem: Problem) -> None:
    """Other neighbours, harder or infeasible ones, do not change a lane by one bit."""
    check, pool = "solver.hard_neighbour", _draw(problem, 24)
    order = solver.solve(problem, pool).iterations.argsort()
    batch, hardest = pool[order[:_BATCH]], pool[order[1 - _BATCH :]]
    alone = _rows(solver.solve(problem, batch), slice(0, 1))
    kind = type(pool)
    neighbours = {
        "the hardest of 24": kind.cat([batch[:1], hardest]),
        "copies of itself": kind.cat([batch[:1]] * _BATCH),
    }
    infeasible = _harder(problem, hardest)
    if infeasible is not None:
        neighbours["infeasible ones"] = kind.cat([batch[:1], infeasible])
    for label, crowd in neighbours.items():
        there = _rows(solver.solve(problem, crowd), slice(0, 1))
        expected = f"lane 0 to be the same bit for bit beside {label}"
        _demand_same_solutions(alone, there, 0.0, check=check, expected=expected)


def _harder(problem: Problem, instance: TensorRecord) -> TensorRecord | None:
    try:
        return problem.tighten(instance, _HARDER_DB)
    except ScenarioError:
        return None


def _seeds(solver: Solver, problem: Problem) -> None:
    """The same seed gives the same solution, bit for bit; no global state is touched."""
    check, instance = "solver.seeds", _draw(problem)
    before = clone(instance)
    with global_state_guard(check):
        first = solver.solve(problem, instance, seed=3)
    again = solver.solve(problem, instance, seed=3)
    expected = "the same seed to give the same solution"
    _demand_same_solutions(first, again, 0.0, check=check, expected=expected)
    expected = "the instance left alone"
    demand_same_records(before, instance, 0.0, check=check, expected=expected)


def _start(solver: Solver, problem: Problem) -> None:
    """A start is accepted and left alone."""
    check, instance = "solver.start", _draw(problem)
    start = problem.floor(instance)
    before = clone(start)
    solution = solver.solve(problem, instance, start=start)
    good = solution.status != int(Status.FAILED)
    demand(good.any(), check, "a lane that did not fail", solution.status.tolist())
    demand_same_records(before, start, 0.0, check=check, expected="the start left alone")


def _infeasible(solver: Solver, problem: Problem) -> None:
    """Instances that cannot be met are marked, never raised, and never CONVERGED."""
    check, instance = "solver.infeasible", _harder(problem, _draw(problem))
    if instance is None:
        return
    hopeless = problem.metrics(instance, problem.floor(instance)).violation > 1e-6
    if not hopeless.any():
        return
    try:
        solution = solver.solve(problem, instance)
    except Exception as error:
        seen = f"{type(error).__name__}: {error}"
        raise ConformanceError(check, "a status, not an exception", seen) from error
    claimed: Tensor = solution.status[hopeless]
    decision = problem.metrics(instance, solution.decision).violation[hopeless]
    is_wrong = (claimed == int(Status.CONVERGED)) & (decision > 1e-6)
    seen = f"violations {decision[is_wrong].tolist()}"
    is_bounded = solution.certificate is not None  # heuristics promise no feasibility
    demand(
        not (is_wrong.any() and is_bounded),
        check,
        "no certified CONVERGED on infeasible instances",
        seen,
    )


SOLVER_CHECKS: Mapping[str, Callable[[Solver, Problem], None]] = MappingProxyType(
    {
        "results": _results,
        "trace": _trace,
        "certificate": _certificate,
        "budget": _budget,
        "hard_neighbour": _hard_neighbour,
        "seeds": _seeds,
        "start": _start,
        "infeasible": _infeasible,
    }
)
