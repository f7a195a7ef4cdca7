"""Validation errors of many masks: screened in single precision, decided in double.

Searches compare very many masks whose errors differ little. Kernel ridge errors are computed from
a table in single precision; they differ by some 1e-6 from those in double, and every mask within
``GUARD`` of the least one is computed again in double, so that the least error is that of double
precision. How far both are apart is watched (``doubt``); see :mod:`.searching` for what follows.
Other evaluators are computed in the instance's own precision throughout.
"""

import math

import torch
from torch import Tensor

from baselines.subcarrier_selection.lapack import positive_solve
from isac_gym.physics.probe_tables import DifferenceTable
from isac_gym.problems.subcarrier_selection.model import SubcarrierInstance, SubcarrierSelection

__all__ = ["GUARD", "Scorer", "moved", "random_masks"]

GUARD = 2e-5  # of errors near 1/2; single precision is wrong by 1e-6 to 3e-6


class Scorer:
    """Errors of masks on the windows that an instance scores; batch size B.

    Attributes:
        problem: Says how masks are scored.
        instance: Scored windows and training windows.
        doubt: Largest difference seen between single and double precision, (B,).
    """

    def __init__(
        self,
        problem: SubcarrierSelection,
        instance: SubcarrierInstance,
        *,
        dtype: torch.dtype = torch.float32,
        table: DifferenceTable | None = None,
    ) -> None:
        self.problem, self.instance = problem, instance
        self.doubt = torch.zeros(instance.batch_size, device=instance.device, dtype=torch.float64)
        self._table = table
        self._guard = GUARD if problem.scenario.evaluator == "kernel_ridge" else 0.0
        if table is None and problem.scenario.evaluator == "kernel_ridge":
            i = instance
            self._table = DifferenceTable.build(
                i.train,
                i.train_label,
                i.score,
                i.score_label,
                dtype=dtype,
                num_location=problem.num_place,
                solve=positive_solve,
            )

    @property
    def limits(self) -> tuple[int, int]:
        """Fewest and most tones."""
        return self.problem.scenario.min_tones, self.problem.scenario.max_tones

    def take(self, lanes: Tensor) -> "Scorer":
        """Scorer of some lanes."""
        table = None if self._table is None else self._table.take(lanes)
        return Scorer(self.problem, self.instance[lanes], table=table)

    def exact(self, mask: Tensor) -> Tensor:
        """Errors (B, Q) of masks (B, Q, S), in the instance's precision."""
        return self.problem.mask_errors(self.instance, mask).mean(-1)

    def rough(self, mask: Tensor) -> Tensor:
        """Errors (B, Q) of masks (B, Q, S), for screening."""
        return self.rough_tasks(mask).mean(-1)

    def rough_tasks(self, mask: Tensor) -> Tensor:
        """Errors (B, Q, 2) of masks (B, Q, S), place and activity, for screening."""
        if self._table is None:
            return _finite(self.problem.mask_errors(self.instance, mask))
        return _finite(self._table.errors(mask).to(self.instance.dtype))

    def rough_moves(self, mask: Tensor, tone: Tensor, *, adds: bool) -> Tensor:
        """Errors (B, Q), for screening, of masks (B, S) with one tone (B, Q) more or less.

        Args:
            mask: Masks that are changed.
            tone: The tones.
            adds: Whether they are put in, or taken out.
        """
        if self._table is None:
            return self.exact(moved(mask, tone, adds=adds))
        count = mask.sum(-1).to(self._table.exponent.dtype)
        share = 1 / (count + 1) if adds else -1 / (count - 1).clamp_min(1)
        return _finite(
            self._table.errors_moved(self._table.mean(mask), tone, share)
            .mean(-1)
            .to(self.instance.dtype)
        )

    def best(self, mask: Tensor, rough: Tensor) -> tuple[Tensor, Tensor]:
        """Index (B,) of the mask (B, Q, S) of least error, ties by index, and that error (B,).

        Args:
            mask: Masks.
            rough: Their errors for screening, (B, Q); ``inf`` for those that must not be chosen.
        """
        near, is_near = self._near(rough)
        exact = self.exact(mask.gather(1, near[..., None].expand(-1, -1, mask.shape[-1])))
        self.watch(torch.where(is_near, rough.gather(1, near), exact), exact)
        exact = torch.where(is_near, exact, math.inf)
        error, position = exact.min(-1)
        return near.gather(1, position[:, None])[:, 0], error

    def pick(self, mask: Tensor, rough: Tensor) -> Tensor:
        """The index of :meth:`best`; nothing is computed in double where there are no rivals."""
        near, _ = self._near(rough)
        return near[:, 0] if near.shape[1] == 1 else self.best(mask, rough)[0]

    def _near(self, rough: Tensor) -> tuple[Tensor, Tensor]:
        """Indices (B, R) of errors (B, Q) within the guard band of the least, and which are."""
        is_near = (rough <= rough.amin(-1, keepdim=True) + self._guard) & (rough < math.inf)
        most = max(1, int(is_near.sum(-1).max()))
        near = (~is_near).to(torch.int8).argsort(dim=-1, stable=True)[:, :most]
        return near, is_near.gather(1, near)

    def watch(self, rough: Tensor, exact: Tensor) -> None:
        """Note how far screened errors (B, Q) are from exact ones."""
        gap = (rough - exact).abs().amax(-1).to(self.doubt.dtype)
        self.doubt = torch.maximum(self.doubt, torch.where(gap.isfinite(), gap, 0))


def moved(mask: Tensor, tone: Tensor, *, adds: bool) -> Tensor:
    """Masks (B, Q, S): mask (B, S) with tone (B, Q) put in or taken out."""
    every = mask[:, None].repeat(1, tone.shape[1], 1)
    return every.scatter(2, tone[..., None], adds)


def random_masks(uniform: Tensor, least: int, most: int) -> Tensor:
    """Masks (..., S) of ``least`` to ``most`` tones, sizes alike, from uniforms (..., S + 1)."""
    count = least + (uniform[..., :1] * (most - least + 1)).to(torch.int64)
    return uniform[..., 1:].argsort(dim=-1).argsort(dim=-1) < count


def _finite(error: Tensor) -> Tensor:
    return torch.where(error.isnan(), math.inf, error)
