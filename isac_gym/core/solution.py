"""What a solver returns: decision, status per instance, trace and certificate."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord

__all__ = ["Budget", "Certificate", "Solution", "Solver", "Status", "Trace"]

CERTIFICATE_KINDS = ("exact", "dual", "relaxation", "enumeration")


class Status(IntEnum):
    """Outcome of one instance."""

    CONVERGED = 0
    BUDGET_SPENT = 1
    INFEASIBLE = 2
    FAILED = 3


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of a solve.

    Attributes:
        iterations: Largest number of outer iterations >= 1; None keeps the solver's own limit.
        tolerance: Relative stopping tolerance > 0; None keeps the solver's own.
    """

    iterations: int | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if self.iterations is not None and self.iterations < 1:
            raise ScenarioError(f"budget iterations must be >= 1, got {self.iterations}.")
        if self.tolerance is not None and not (0 < self.tolerance < math.inf):
            raise ScenarioError(f"budget tolerance must be > 0, got {self.tolerance}.")


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A bound no decision can beat.

    Attributes:
        bound: Upper bound of the objective, (B,), in the objective's unit.
        kind: ``exact`` (attained optimum), ``dual``, ``relaxation`` or ``enumeration``.
        source: How to recompute it, one line.
        tolerance: Relative accuracy of ``bound``.
    """

    bound: Tensor
    kind: str
    source: str
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        if self.kind not in CERTIFICATE_KINDS:
            raise ScenarioError(f"kind must be one of {CERTIFICATE_KINDS}, got {self.kind!r}.")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """History of a solve.

    Attributes:
        objective: Objective after each iteration, (B, L); a finished lane repeats its last value.
        length: Number of meaningful entries per lane, (B,) int64.
    """

    objective: Tensor
    length: Tensor


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Result of a solver for a batch of instances.

    Attributes:
        decision: Decision record with batch size B.
        status: :class:`Status` per instance, (B,) int64.
        iterations: Outer iterations used, (B,) int64.
        trace: Objective history, or None if the solver has no iterations.
        certificate: Bound on the optimum, or None.
        seconds: Wall time of the batch, filled in by the front door; NaN-free, 0 if untimed.
    """

    decision: TensorRecord
    status: Tensor
    iterations: Tensor
    trace: Trace | None = None
    certificate: Certificate | None = None
    seconds: float = field(default=0.0)

    @property
    def has_converged(self) -> Tensor:
        """True where the status is CONVERGED, (B,) bool."""
        return self.status == int(Status.CONVERGED)


class Solver(ABC):
    """Base of all solvers: subclass as a frozen dataclass whose fields are hyper-parameters.

    Attributes:
        name: Name in the registry, kebab case.
        summary: One line for tables.
        certifies: True if the solution may carry a certificate.
        is_projected: True if decisions are made feasible with ``Problem.project`` before scoring;
            False only where the raw decision is the point of the scheme.
        is_slow: True if an instance may take a minute: only solves it is asked for by name.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    certifies: ClassVar[bool] = False
    is_projected: ClassVar[bool] = True
    is_slow: ClassVar[bool] = False

    @abstractmethod
    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """Solve every instance of the batch.

        Args:
            problem: Problem the instances belong to.
            instance: Instance record, batch size B, already checked.
            budget: Limits; None fields keep the solver's own.
            seed: Seed of the solver's own randomness, >= 0.
            start: Decision to start from, or None.

        Returns:
            Solution with batch size B; bad instances are marked in ``status``, never raised.
        """


def status_tensor(status: Status, batch_size: int, *, device: torch.device | str = "cpu") -> Tensor:
    """The same status for every instance, (B,) int64."""
    return torch.full((batch_size,), int(status), dtype=torch.int64, device=device)
