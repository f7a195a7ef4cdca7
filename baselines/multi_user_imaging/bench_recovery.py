"""Benchmark rows of recovery at a leader: batches against a conic solver and single frames."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.multi_user_imaging.central import Statistics, statistics
from baselines.multi_user_imaging.joint import Joint
from baselines.multi_user_imaging.lasso import Penalty, penalty, sparse_group_lasso
from isac_gym.bench import BenchRow, Check, Side
from isac_gym.core.random import Streams
from isac_gym.physics.sparse_bayes import sparse_bayes
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery, ImagingRecoveryInstance
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario

__all__ = ["recovery_rows"]

_BATCH, _FEW = 64, 4
_STEPS, _TOLERANCE = 5000, 1e-11  # of the accelerated gradients
_UPDATES = 5  # of prior variances, as in a closed loop
_AGREEMENT = 1e-5


@dataclass(frozen=True)
class _Stage:
    """Frames both sides share; the first ``few`` go to the slow alternative."""

    problem: ImagingRecovery
    instance: ImagingRecoveryInstance
    known: Statistics
    weight: Penalty
    few: int

    def first(self) -> "_Stage":
        """The first frames only."""
        n = self.few
        weight = self.weight._replace(entry=self.weight.entry[:n], block=self.weight.block[:n])
        known = Statistics(*(t[:n] for t in self.known))
        return _Stage(self.problem, self.instance[:n], known, weight, n)


Run = Callable[[_Stage], Tensor]


def recovery_rows() -> list[BenchRow]:
    """All rows of this problem."""
    return [
        _row("sparse-group-lasso-cvxpy", _lasso, ("CVXPY, CLARABEL", _conic), _BATCH, 20, few=_FEW),
        _single_row("sparse-bayes-batch", _bayes, _BATCH, 1.2),
        _single_row("joint-batch", _joint, _BATCH, 1.4),
    ]


def _single_row(name: str, run: Run, batch: int, target: float) -> BenchRow:
    single = ("B=1", lambda stage: run(stage.first()))
    return _row(name, run, single, batch, target, few=1)


def _row(
    name: str, ours: Run, theirs: tuple[str, Run], batch: int, target: float, *, few: int
) -> BenchRow:
    return BenchRow(
        name=f"imaging_recovery/{name}",
        ours=Side(label=f"B={batch}, one batch", run=ours, units=batch),
        theirs=Side(label=theirs[0], run=theirs[1], units=few),
        target=target,
        prepare=lambda quick: _stage(batch, few),
        check=_compare,
    )


def _stage(batch: int, few: int) -> _Stage:
    problem = ImagingRecovery(scenario=RecoveryScenario.preset("image"))
    instance = problem.sample(Streams.from_seed(0, batch))
    known = statistics(problem, instance)
    blocks = torch.tensor(problem.scenario.blocks())
    weight = penalty(known.information, known.noise, blocks, entry=0.5, block=0.5)
    return _Stage(problem, instance, known, weight, few)


def _lasso(stage: _Stage) -> Tensor:
    k = stage.known
    limits = {"iterations": _STEPS, "tolerance": _TOLERANCE}
    return sparse_group_lasso(k.information, k.matched, stage.weight, **limits)[0]


def _conic(stage: _Stage) -> Tensor:
    from baselines.convex.imaging_recovery import sparse_group_lasso as conic

    few, member = stage.first(), stage.weight.member.numpy()
    terms = (few.known.information, few.known.matched, few.weight.entry, few.weight.block)
    phi, b, entry, block = (t.numpy() for t in terms)
    found = [conic(phi[row], b[row], entry[row], block[row], member) for row in range(few.few)]
    return torch.stack([torch.from_numpy(x) for x in found])


def _bayes(stage: _Stage) -> Tensor:
    return sparse_bayes(*stage.known, iterations=_UPDATES, rule="mackay").mean


def _joint(stage: _Stage) -> Tensor:
    with torch.no_grad():
        found = Joint().solve(stage.problem, stage.instance).decision
    return dict(found.items())["estimate"][:, 0]


def _compare(stage: _Stage, ours: Tensor, theirs: Tensor) -> Check:
    """Both sides must agree on the frames both have."""
    gap = float((ours[: len(theirs)] - theirs).abs().max())
    return Check(is_correct=gap <= _AGREEMENT, facts={"largest_gap": gap})
