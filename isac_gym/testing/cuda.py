"""Conformance of problems on a GPU: the same numbers, and no waiting for the host."""

import linecache
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.testing.candidates import candidates
from isac_gym.testing.common import demand, demand_same_records

__all__ = ["cuda_agrees"]

_SEED, _BATCH = 20, 8


def cuda_agrees(problem: Problem) -> None:
    """On a GPU: the same instances and results, without synchronising. Nothing without a GPU.

    Values are compared for feasible decisions only: metrics of degenerate ones may be as
    ill-conditioned as they like.

    Raises:
        ConformanceError: Names the tensor that differs, or the line that synchronises.
    """
    if not torch.cuda.is_available():
        return
    same = {"check": "problem.cuda", "expected": "CUDA to agree with the CPU"}
    instance = problem.sample(Streams.from_seed(_SEED, _BATCH))
    there = problem.sample(Streams.from_seed(_SEED, _BATCH, device="cuda"))
    demand_same_records(instance, there.to("cpu"), 1e-9, **same)
    there = instance.to("cuda")
    tried = candidates(problem, instance)
    regular = ("floor", "random", "another random")
    tried |= {f"feasible {label}": problem.project(instance, tried[label]) for label in regular}
    for label, decision in tried.items():
        for name, function in (("evaluate", problem.evaluate), ("project", problem.project)):
            moved = decision.to("cuda")
            function(there, moved)  # first call: lazy set-up of libraries may synchronise
            with _synchronisations() as seen:
                result = function(there, moved)
            demand(not seen, "problem.cuda", f"{name} without host synchronisation", seen)
            if label.startswith("feasible"):
                _demand_near(function(instance, decision), result.to("cpu"))


def _demand_near(here: TensorRecord, there: TensorRecord) -> None:
    """Every tensor agrees to 1e-7 of max(its row, 1): sums run in another order on a GPU."""
    theirs = dict(there.items())
    for name, mine in here.items():
        if mine.is_floating_point() or mine.is_complex():
            gap = torch.where(mine == theirs[name], 0, (mine - theirs[name]).abs())
            size = torch.where(mine.isfinite(), mine.abs(), 0)  # equal infinities agree
            gap, size = (t.flatten(1).amax(1) if t.ndim > 1 else t for t in (gap, size))
            worst = float((gap / size.clamp_min(1)).max())
            demand(worst <= 1e-7, "problem.cuda", f"CUDA to agree with the CPU in {name}", worst)


@contextmanager
def _synchronisations() -> Iterator[list[str]]:
    """Lines of the body that make the host wait for the GPU.

    Hermitian eigendecompositions are forgiven: torch checks their success on the host and offers
    no variant that does not.
    """
    found: list[str] = []
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for warning in caught:
        line = linecache.getline(warning.filename, warning.lineno).strip()
        if "synchroniz" in str(warning.message) and "linalg.eigh" not in line:
            found.append(f"{Path(warning.filename).name}:{warning.lineno}: {line}")
