"""Least squares at a leader: with the data as noise, with genie symbols, with the true support."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from baselines.multi_user_imaging.central import genie_image, shared, statistics, typed
from isac_gym.core.linalg import solve_or_nan
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver

__all__ = [
    "LeastSquares",
    "LeastSquaresGenie",
    "OracleLeastSquares",
    "OracleLeastSquaresStep1",
    "on_support",
]

_SINGULAR = {torch.float64: 1e-12, torch.float32: 1e-6}  # squared pivot of a unit diagonal


def on_support(information: Tensor, matched: Tensor, support: Tensor) -> Tensor:
    """Least squares on a support, (B, V); NaN where Phi is singular there to working precision.

    Args:
        information: Phi, (B, V, V) Hermitian.
        matched: b, (B, V).
        support: (B, V) bool.
    """
    diagonal = torch.diagonal(information, dim1=-2, dim2=-1).real
    scale = torch.where(support, diagonal.clamp_min(torch.finfo(diagonal.dtype).tiny).rsqrt(), 1.0)
    scaled = information * scale[..., :, None] * scale[..., None, :]  # unit diagonal
    eye = torch.eye(support.shape[-1], dtype=information.dtype, device=support.device)
    both = support[..., :, None] & support[..., None, :]
    scaled = torch.where(both, scaled, eye)
    factor, info = torch.linalg.cholesky_ex(scaled, check_errors=False)
    pivot = torch.diagonal(factor, dim1=-2, dim2=-1).real.square().amin(-1)
    is_good = (info == 0) & (pivot > _SINGULAR[diagonal.dtype])
    right = torch.where(support, matched * scale, 0)
    image = solve_or_nan(scaled, right[..., None])[..., 0] * scale
    return torch.where(support, torch.where(is_good[:, None], image, torch.nan), 0)


@dataclass(frozen=True, kw_only=True)
class LeastSquares(Solver):
    """Solve Phi x = b of the known probe; unbiased, since probe and data are independent."""

    name: ClassVar[str] = "ls"
    summary: ClassVar[str] = "least squares of all users' samples, data as noise"
    knows_symbols: ClassVar[bool] = False
    knows_support: ClassVar[bool] = False

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; FAILED where Phi is singular. Nothing to limit, draw or start."""
        setup, i = typed(problem, instance)
        symbol = genie_image(i)[1] if self.knows_symbols else None
        known = statistics(setup, i, symbol=symbol)
        support = torch.ones_like(known.matched, dtype=torch.bool)
        if self.knows_support:
            support = genie_image(i)[0]
        return shared(instance, on_support(known.information, known.matched, support))


@dataclass(frozen=True, kw_only=True)
class LeastSquaresGenie(LeastSquares):
    """Least squares with the true symbols."""

    name: ClassVar[str] = "ls-genie"
    summary: ClassVar[str] = "least squares with the true symbols (genie)"
    knows_symbols: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class OracleLeastSquares(LeastSquares):
    """Least squares on the true support with the true symbols: the yardstick of recovery."""

    name: ClassVar[str] = "oracle-ls"
    summary: ClassVar[str] = "least squares with true support and symbols (oracle): the yardstick"
    knows_symbols: ClassVar[bool] = True
    knows_support: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class OracleLeastSquaresStep1(LeastSquares):
    """Least squares on the true support, the data as noise."""

    name: ClassVar[str] = "oracle-ls-step1"
    summary: ClassVar[str] = "least squares with the true support (oracle), data as noise"
    knows_support: ClassVar[bool] = True
