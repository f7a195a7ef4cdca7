"""Benchmark rows of multi-user imaging: filters, estimators at a leader, certified design."""

from baselines.multi_user_imaging.bench_atc import atc_rows
from baselines.multi_user_imaging.bench_design import design_rows
from baselines.multi_user_imaging.bench_recovery import recovery_rows
from isac_gym.bench import BenchRow

__all__ = ["rows"]


def rows() -> list[BenchRow]:
    """All rows of the three problems."""
    return [*atc_rows(), *recovery_rows(), *design_rows()]
