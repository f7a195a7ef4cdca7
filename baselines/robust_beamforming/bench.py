"""Benchmark rows of robust beamforming: the exact worst case, the CRLB, and the solvers in batch.

CUDA rows appear where a CUDA device is at hand; their other side is one CPU thread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from baselines.registry import make_solver
from baselines.robust_beamforming.dinkelbach import dinkelbach_sinr
from isac_gym.bench import BenchRow, Check, Side
from isac_gym.core.random import Streams
from isac_gym.core.solution import Budget
from isac_gym.physics.worst_case import worst_case
from isac_gym.problems.robust_beamforming import FAMILY
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
)

__all__ = ["rows"]

_BATCH = 256
_ITERATIONS = 5  # of an iterative solver per timed run


@dataclass(frozen=True)
class _Stage:
    """Instances and designs both sides share; ``few`` of them go to a slow alternative."""

    problem: RobustBeamforming
    instance: RobustBeamformingInstance
    decision: RobustBeamformingDecision
    few: int

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Arguments of the worst case."""
        i, d = self.instance, self.decision
        return i.channel, i.radius, d.beam, self.problem.covariance(d)

    def first(self, count: int) -> "_Stage":
        """The first instances only."""
        return _Stage(self.problem, self.instance[:count], self.decision[:count], self.few)

    def to(self, device: str, dtype: torch.dtype) -> "_Stage":
        """The same on another device."""
        instance, decision = self.instance.to(device, dtype), self.decision.to(device, dtype)
        return _Stage(self.problem, instance, decision, self.few)


Run = Callable[[_Stage], Tensor]


def rows() -> list[BenchRow]:
    """All rows of this problem."""
    single = ("one instance at a time", lambda stage: _sinr(stage.first(1)))
    found = [
        _row("worst-case-sdp", _sinr, ("CVXPY S-lemma SDPs (DPP, CLARABEL)", _sdp), 500, few=2),
        _row("worst-case-single", _sinr, single, 20, few=1),
        _row(
            "worst-case-dinkelbach", _sinr, ("Dinkelbach, 6 x 40 steps", _dinkelbach), 3, few=1024
        ),
        _row("crlb-single", _crlb, ("one instance", lambda s: _crlb(s.first(1))), 20, few=1),
        _solver_row("boblrbf-iteration", "boblrbf", 64, target=10),
        _solver_row("pga-iteration", "pga", 64, target=10),
    ]
    if torch.cuda.is_available():
        found += [_cuda_row(batch, dtype) for batch in (4096, 65536) for dtype in ("64", "32")]
    return found


def _row(name: str, ours: Run, theirs: tuple[str, Run], target: float, *, few: int) -> BenchRow:
    return BenchRow(
        name=f"robust_beamforming/{name}",
        ours=Side(label=f"B={max(_BATCH, few)}, one batch", run=ours, units=max(_BATCH, few)),
        theirs=Side(label=theirs[0], run=theirs[1], units=few),
        target=target,
        prepare=lambda quick: _stage(max(_BATCH, few), few),
        check=_compare,
    )


def _solver_row(name: str, solver: str, batch: int, *, target: float) -> BenchRow:
    run = partial(_iterate, solver)
    return BenchRow(
        name=f"robust_beamforming/{name}",
        ours=Side(label=f"{solver}, B={batch}", run=run, units=batch * _ITERATIONS),
        theirs=Side(label=f"{solver}, B=1", run=lambda s: run(s.first(1)), units=_ITERATIONS),
        target=target,
        prepare=lambda quick: _stage(batch, 1),
        check=partial(_compare, tolerance=1e-6),
        unit="iteration",
    )


def _cuda_row(batch: int, bits: str) -> BenchRow:
    dtype = {"64": torch.float64, "32": torch.float32}[bits]
    return BenchRow(
        name=f"robust_beamforming/worst-case-cuda-{batch}-float{bits}",
        ours=Side(label=f"CUDA, B={batch}", run=lambda both: _on_cuda(both[0]), units=batch),
        theirs=Side(
            label=f"one CPU thread, B={_BATCH}", run=lambda both: _sinr(both[1]), units=_BATCH
        ),
        target=20,
        prepare=lambda quick: _cuda_stage(batch, dtype),
        check=lambda both, ours, theirs: _compare(
            both[1], ours.cpu().to(theirs.dtype), theirs, tolerance=1e-8 if bits == "64" else 1e-3
        ),
    )


def _stage(batch: int, few: int) -> _Stage:
    """Random channels with designs half way to the reference, where beams are near their nulls."""
    problem = cast(RobustBeamforming, FAMILY.make_problem())
    instance = problem.sample(Streams.from_seed(0, batch))
    with torch.no_grad():
        solver = make_solver(problem.name, "pga")
        solution = solver.solve(problem, instance, budget=Budget(iterations=30))
    return _Stage(problem, instance, cast(RobustBeamformingDecision, solution.decision), few)


def _cuda_stage(batch: int, dtype: torch.dtype) -> tuple[_Stage, _Stage]:
    base = _stage(_BATCH, _BATCH)
    rows = torch.arange(batch) % _BATCH
    many = _Stage(base.problem, base.instance[rows], base.decision[rows], few=_BATCH)
    return many.to("cuda", dtype), base.to("cpu", dtype)


def _sinr(stage: _Stage) -> Tensor:
    return worst_case(*stage.arguments).sinr


def _on_cuda(stage: _Stage) -> Tensor:
    sinr = _sinr(stage)
    torch.cuda.synchronize()
    return sinr


def _dinkelbach(stage: _Stage) -> Tensor:
    return dinkelbach_sinr(*stage.arguments)


def _sdp(stage: _Stage) -> Tensor:
    from baselines.convex.worst_case import SLemma

    channel, radius, beam, covariance = (t[: stage.few].numpy() for t in stage.arguments)
    programme = SLemma.compiled(channel.shape[-1])
    found = torch.zeros(beam.shape[:3], dtype=torch.float64)
    for b, c, k in torch.cartesian_prod(*map(torch.arange, beam.shape[:3])).tolist():
        others = [cell for cell in range(channel.shape[1]) if cell != c]
        noise = 1 + sum(
            programme.strongest(channel[b, j, c, k], radius[b, j, c, k], covariance[b, j])
            for j in others
        )
        v = beam[b, c, k]
        rest = covariance[b, c] - v[:, None] * v.conj()
        found[b, c, k] = programme.weakest(
            channel[b, c, c, k], float(radius[b, c, c, k]), v, rest, noise
        )
    return found


def _crlb(stage: _Stage) -> Tensor:
    covariance = stage.problem.covariance(stage.decision)
    return stage.problem.position_bounds(stage.instance, covariance)


def _iterate(solver: str, stage: _Stage) -> Tensor:
    """Both utilities after a few iterations from the stage's designs, (B, 2)."""
    with torch.no_grad():
        found = make_solver(stage.problem.name, solver).solve(
            stage.problem,
            stage.instance,
            budget=Budget(iterations=_ITERATIONS),
            start=stage.decision,
        )
        decision = stage.problem.project(stage.instance, cast(Any, found.decision))
        metrics = stage.problem.evaluate(stage.instance, decision)
    return torch.stack([metrics.rate_utility, metrics.sensing_utility], -1)


def _compare(stage: _Stage, ours: Tensor, theirs: Tensor, *, tolerance: float = 1e-6) -> Check:
    """Both sides must agree on the instances both have, relative to max(value, 1e-3)."""
    mine = ours[: len(theirs)]
    gap = float(((mine - theirs).abs() / theirs.abs().clamp_min(1e-3)).max())
    return Check(is_correct=gap <= tolerance, facts={"largest_relative_gap": gap})
