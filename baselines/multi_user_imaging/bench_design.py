"""Benchmark rows of imaging design: certified designs in batch against CVXPY, and one at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from baselines.multi_user_imaging.a_optimal import designed, probing_task
from isac_gym.bench import BenchRow, Check, Side
from isac_gym.core.random import Streams
from isac_gym.physics.a_optimal import CHEAP_ITERATIONS, CHEAP_TOLERANCE, ProbingTask
from isac_gym.problems.multi_user_imaging import design
from isac_gym.problems.multi_user_imaging.scenario import DesignScenario

__all__ = ["design_rows"]

_BATCH, _FEW = 256, 4
_TOLERANCE = 1e-7  # relative gap; CLARABEL's own differ from the optimum by about as much


@dataclass(frozen=True)
class _Stage:
    """Instances both sides share; the first ``few`` go to the slow alternative."""

    problem: design.ImagingDesign
    task: ProbingTask
    few: int

    def first(self) -> "_Stage":
        """The first instances only."""
        return _Stage(self.problem, ProbingTask(*(t[: self.few] for t in self.task)), self.few)


def design_rows() -> list[BenchRow]:
    """All rows of this problem."""
    found = [_sdp_row(information) for information in ("step1", "joint")]
    for name, run in (("design-batch", _design), ("design-cheap-batch", _cheap)):
        found.append(
            BenchRow(
                name=f"imaging_design/{name}",
                ours=Side(label="B=64, one batch", run=run, units=64),
                theirs=Side(label="one instance", run=_first(run), units=1),
                target=3,
                prepare=lambda quick: _stage("paper", "step1", 64, 1),
                check=_compare,
            )
        )
    return found


def _sdp_row(information: str) -> BenchRow:
    return BenchRow(
        name=f"imaging_design/{information}-sdp",
        ours=Side(label=f"B={_BATCH}, certified", run=_design, units=_BATCH),
        theirs=Side(label="CVXPY SDP (DPP, CLARABEL)", run=_sdp, units=_FEW),
        target=500,
        prepare=lambda quick: _stage("small", information, _BATCH, _FEW),
        check=_compare,
    )


def _stage(preset: str, information: str, batch: int, few: int) -> _Stage:
    scenario = DesignScenario(**DesignScenario.presets[preset], information=information)
    problem = design.ImagingDesign(scenario=scenario)
    task = probing_task(problem, problem.sample(Streams.from_seed(0, batch)))
    return _Stage(problem, task, few)


def _design(stage: _Stage) -> Tensor:
    return designed(stage.problem, stage.task, iterations=500, tolerance=_TOLERANCE).value


def _cheap(stage: _Stage) -> Tensor:
    return designed(
        stage.problem, stage.task, iterations=CHEAP_ITERATIONS, tolerance=CHEAP_TOLERANCE
    ).value


def _first(run: Callable[[_Stage], Tensor]) -> Callable[[_Stage], Tensor]:
    return lambda stage: run(stage.first())


def _sdp(stage: _Stage) -> Tensor:
    from baselines.convex.imaging_design import ImagingSdp

    task = stage.first().task
    programme = ImagingSdp.compiled(*task.bs_channel.shape[1:])
    matrices = (task.bs_channel, task.gram, task.precision, task.comm_channel)
    found = [
        programme.solve(
            *(cast(Tensor, t)[lane].numpy() for t in matrices),
            gain=float(task.gain[lane]),
            max_power_w=float(task.max_power_w[lane]),
            min_sinr=float(task.min_sinr[lane]),
            comm_noise_w=float(task.comm_noise_w[lane]),
            is_joint=stage.problem.scenario.information == "joint",
        )[0]
        for lane in range(stage.few)
    ]
    return torch.tensor(found, dtype=torch.float64)


def _compare(stage: _Stage, ours: Tensor, theirs: Tensor) -> Check:
    gap = float((ours[: len(theirs)] / theirs - 1).abs().max())
    return Check(is_correct=gap <= 1e-5, facts={"largest_relative_gap": gap})
