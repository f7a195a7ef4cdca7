"""Benchmark rows of power control: batched solvers against CVXPY, and threads against one thread.

CVXPY gets its best case: one parametrised problem (DPP), compiled before the clock starts, the
solver named. Every row ends with a comparison of the objectives both sides reached in that run.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from baselines.registry import make_solver
from isac_gym.bench import BenchRow, Check, Side
from isac_gym.core.random import Streams
from isac_gym.problems.power_control import FAMILY
from isac_gym.problems.power_control.model import (
    PowerControl,
    PowerControlDecision,
    PowerControlInstance,
)

__all__ = ["rows"]

_BATCH = 4096
_CONSTRAINED = {"preset": "paper-constrained"}
_FREE = {"preset": "paper", "threshold_db": "-inf", "min_margin_db": "-inf"}
_EXACT_DB = 1e-5  # how far two exact optima may differ: 2e-6 relative, the bisection's width
_SCA_DB = 0.05  # both SCAs stop within 1e-3 of their limit
_VIOLATION = 1e-5  # of the alternatives, whose solvers stop at 1e-8 absolute


@dataclass(frozen=True)
class _Stage:
    """Instances of a row: ours in one batch, and the few of them the alternative gets."""

    problem: PowerControl
    many: PowerControlInstance
    few: PowerControlInstance


Run = Callable[[_Stage], Tensor]


def rows() -> list[BenchRow]:
    """All rows of this problem."""
    lp = ("CVXPY LP bisection (DPP, CLARABEL)", _lp_bisection)
    gp = ("CVXPY GP (DGP, DPP, CLARABEL)", partial(_one_by_one, "gp-cvxpy"))
    sca = ("CVXPY SCA (DPP, CLARABEL)", partial(_one_by_one, "sca-cvxpy"))
    return [
        _row("exact-lp", "exact", lp, target=10_000),
        _row("exact-lp-free", "exact", lp, scenario=_FREE, target=10_000),
        _row("exact-gp", "exact", gp, target=300),
        _row("exact-lp-single", "exact", lp, batch=1, target=1),
        _row("exact-gp-single", "exact", gp, batch=1, target=1),
        _row("sca", "sca", sca, tolerance_db=_SCA_DB, target=100),
        _row("sca-single", "sca", sca, batch=1, tolerance_db=_SCA_DB, target=1),
        _threads_row("exact"),
        _threads_row("sca"),
    ]


def _row(
    name: str,
    solver: str,
    alternative: tuple[str, Run],
    *,
    target: float,
    batch: int = _BATCH,
    scenario: dict[str, Any] = _CONSTRAINED,
    tolerance_db: float = _EXACT_DB,
) -> BenchRow:
    label, run = alternative
    return BenchRow(
        name=f"power_control/{name}",
        ours=Side(
            label=f"{solver}, B={batch}",
            run=lambda stage: _solve(solver, stage.problem, stage.many),
            units=batch,
        ),
        theirs=Side(label=label, run=run, units=lambda stage: stage.few.batch_size),
        target=target,
        prepare=lambda quick: _stage(scenario, batch, few=2 if quick else 8),
        check=partial(_compare, tolerance_db=tolerance_db),
    )


def _threads_row(solver: str) -> BenchRow:
    def halves(stage: _Stage) -> Tensor:
        size = stage.many.batch_size // 2
        parts = [stage.many[:size], stage.many[size:]]
        with ThreadPoolExecutor(2) as pool:
            return torch.cat(list(pool.map(partial(_solve, solver, stage.problem), parts)))

    return BenchRow(
        name=f"power_control/{solver}-two-threads",
        ours=Side(label="two threads, half of the batch each", run=halves, units=4 * _BATCH),
        theirs=Side(
            label=f"{solver}, B={4 * _BATCH}, one thread",
            run=lambda stage: _solve(solver, stage.problem, stage.many),
            units=4 * _BATCH,
        ),
        target=1.5,
        prepare=lambda quick: _stage(_CONSTRAINED, 4 * _BATCH, few=1),
        check=lambda stage, ours, theirs: Check(is_correct=torch.equal(ours, theirs)),
    )


def _stage(scenario: dict[str, Any], batch: int, *, few: int) -> _Stage:
    problem = cast(PowerControl, FAMILY.make_problem(scenario))
    many = problem.sample(Streams.from_seed(0, max(batch, few)))
    return _Stage(problem, many[:batch], many[: min(batch, few)])


def _solve(solver: str, problem: PowerControl, instance: PowerControlInstance) -> Tensor:
    """Powers (B, I) of a solver, called without the front door's checks on either side."""
    with torch.no_grad():
        solution = make_solver(problem.name, solver).solve(problem, instance)
    return cast(PowerControlDecision, solution.decision).power


def _one_by_one(solver: str, stage: _Stage) -> Tensor:
    return _solve(solver, stage.problem, stage.few)


def _lp_bisection(stage: _Stage) -> Tensor:
    from baselines.convex.lp_bisection import LpBisection

    network = [t.numpy() for t in stage.problem.network(stage.few)]
    programme = LpBisection.compiled(stage.problem.scenario.num_bs)
    solved = (programme.solve(*(part[i] for part in network)) for i in range(len(network[0])))
    return torch.stack([torch.as_tensor(x) for _, x in solved])


def _compare(stage: _Stage, ours: Tensor, theirs: Tensor, *, tolerance_db: float) -> Check:
    """Ours must be feasible and reach the alternative's objective, and most of theirs ours."""
    mine, other = (
        stage.problem.evaluate(stage.few, PowerControlDecision(power))
        for power in (ours[: stage.few.batch_size], theirs)
    )
    lead_db = mine.objective - other.objective
    is_comparable = (other.violation <= _VIOLATION) & lead_db.isfinite()
    is_correct = (
        bool((mine.violation <= 1e-9).all())
        and bool((lead_db[is_comparable] >= -tolerance_db).all())
        and bool((lead_db.abs() <= tolerance_db).double().mean() > 0.5)
    )
    facts = {"least_lead_db": float(lead_db.min()), "largest_lead_db": float(lead_db.max())}
    return Check(is_correct=is_correct, facts=facts)
