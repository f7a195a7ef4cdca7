"""The optimum by enumeration of all masks of allowed size, for at most 20 tones."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.subcarrier_selection.scoring import GUARD, Scorer
from baselines.subcarrier_selection.searching import portions
from isac_gym.core.errors import ScenarioError, SolverError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Certificate, Solution, Solver, Status
from isac_gym.problems.subcarrier_selection.model import (
    SubcarrierDecision,
    SubcarrierInstance,
    SubcarrierSelection,
)

__all__ = ["Exhaustive", "ExhaustiveValidation", "all_errors", "all_masks", "best_of_all"]

_MOST_TONES = 20
_ROWS = 4096  # masks between which portions of lanes alternate


@dataclass(frozen=True, kw_only=True)
class ExhaustiveValidation(Solver):
    """The mask of least validation error: the best that validation can tell.

    One iteration: all masks.
    """

    name: ClassVar[str] = "exhaustive-val"
    summary: ClassVar[str] = "the optimum on validation, by enumeration; at most 20 tones"
    is_slow: ClassVar[bool] = True

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`.

        Raises:
            ScenarioError: More than 20 tones.
        """
        setup, i = cast(SubcarrierSelection, problem), cast(SubcarrierInstance, instance)
        return _solution(best_of_all(setup, setup.known(i))[0])


@dataclass(frozen=True, kw_only=True)
class Exhaustive(Solver):
    """The optimum itself: reads the scored windows, and certifies that no mask is better.

    A yardstick, not a competitor.
    """

    name: ClassVar[str] = "exhaustive"
    summary: ClassVar[str] = "oracle: the optimum on the scored windows, by enumeration"
    certifies: ClassVar[bool] = True
    is_slow: ClassVar[bool] = True

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`.

        Raises:
            ScenarioError: More than 20 tones.
        """
        setup, i = cast(SubcarrierSelection, problem), cast(SubcarrierInstance, instance)
        mask, error = best_of_all(setup, i)
        certificate = Certificate(
            bound=1 - error,
            kind="enumeration",
            source="baselines.subcarrier_selection.exhaustive.best_of_all",
        )
        return _solution(mask, certificate)


def all_masks(num_tones: int, least: int, most: int) -> Tensor:
    """All masks (N, S) of ``least`` to ``most`` tones, by size, then as binary numbers.

    Raises:
        ScenarioError: More than 20 tones.
    """
    if num_tones > _MOST_TONES:
        raise ScenarioError(
            f"enumeration: num_tones must be <= {_MOST_TONES}, got {num_tones}: the masks would be "
            "too many. Use best-known instead."
        )
    code = torch.arange(1 << num_tones)
    bit = (code[:, None] >> torch.arange(num_tones)) & 1
    size = bit.sum(-1)
    is_allowed = (size >= least) & (size <= most)
    order = size[is_allowed].argsort(stable=True)
    return bit[is_allowed][order].to(torch.bool)


def all_errors(problem: SubcarrierSelection, instance: SubcarrierInstance) -> tuple[Tensor, Tensor]:
    """All masks (N, S), and their errors on the scored windows, (B, N, 2): place and activity.

    Single precision where the evaluator is kernel ridge (errors are wrong by some 1e-6).
    """
    scorer, mask = Scorer(problem, instance), _masks_of(problem, instance)
    parts = [
        scorer.rough_tasks(rows.expand(instance.batch_size, -1, -1)) for rows in mask.split(_ROWS)
    ]
    return mask, torch.cat(parts, 1)


def best_of_all(
    problem: SubcarrierSelection, instance: SubcarrierInstance
) -> tuple[Tensor, Tensor]:
    """The mask (B, S) of least error on the scored windows, and that error (B,), in double.

    All masks are screened; those within the guard band of the least are computed in double.

    Raises:
        ScenarioError: More than 20 tones.
        SolverError: Single precision differs from double by more than a quarter of the guard band.
    """
    mask = _masks_of(problem, instance)
    found, errors = [], []
    for some in portions(instance):
        scorer = Scorer(problem, instance[some])
        lanes = scorer.instance.batch_size
        rough = [scorer.rough(rows.expand(lanes, -1, -1)) for rows in mask.split(_ROWS)]
        index, error = scorer.best(mask.expand(lanes, -1, -1), torch.cat(rough, 1))
        if bool((scorer.doubt > GUARD / 4).any()):
            raise SolverError(
                f"enumeration: single precision is wrong by {float(scorer.doubt.max()):.1e}, "
                f"allowed {GUARD / 4:.1e}. Reduce num_train or raise the ridge."
            )
        found.append(mask[index])
        errors.append(error)
    return torch.cat(found), torch.cat(errors)


def _masks_of(problem: SubcarrierSelection, instance: SubcarrierInstance) -> Tensor:
    s = problem.scenario
    return all_masks(s.num_tones, s.min_tones, s.max_tones).to(instance.device)


def _solution(mask: Tensor, certificate: Certificate | None = None) -> Solution:
    one = torch.ones(len(mask), dtype=torch.int64, device=mask.device)
    return Solution(
        decision=SubcarrierDecision(mask),
        status=int(Status.CONVERGED) * one,
        iterations=one,
        certificate=certificate,
    )
