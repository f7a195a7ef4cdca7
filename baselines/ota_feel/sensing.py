r"""Precoders for the position alone: the least Cramer-Rao bound, certified.

With S_k = C_k C_k^H = P_k Z_k the information of the echoes without interference is linear,

    J_ij(Z) = 2 Re sum_k (T P_k / zeta_k^2) tr (E_ki^H E_kj Z_k),  E_ki = da_ki a_k^T + a_k da_ki^T,

and log tr (J + prior)^-1 is convex: along a line J + t D a congruence makes both diagonal, so that
the trace is a sum of terms c / (1 + t d) with c > 0, each log-convex. Spectral projected gradients
minimise it, with a lower bound from every iterate (:mod:`baselines.ota_feel.block_descent`). It
holds for the bound with interference as well, whose J is never larger.

R streams suffice where R >= 2: device k contributes 6 real numbers to J and one to its power, so
that a Z_k of rank r with r^2 > 7 can be moved along a Hermitian direction that changes none of the
seven until an eigenvalue vanishes (Barvinok, Pataki). With one stream the strongest direction is
kept, and what that costs shows in the gap.

Source: the OTA-FEEL paper, theorem 1; the convex form, its certificate and the rank are ours.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from baselines.iteration import demand_limits
from baselines.ota_feel.alternating import typed
from baselines.ota_feel.block_descent import Blocks, descend, isotropic
from baselines.ota_feel.claims import claim
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Trace
from isac_gym.core.units import linear_to_db
from isac_gym.problems.ota_feel.model import OtaFeel, OtaFeelDecision, OtaFeelInstance

__all__ = [
    "SensingOnly",
    "SensingTask",
    "least_bound",
    "log_bound",
    "reduced",
    "sensing_task",
]

_DOUBT = 1.0  # rounding of a bound relative to it, over eps times a condition number
_SPAN = 4  # dimensions of a and its three derivatives


class SensingTask(NamedTuple):
    """What the position bound needs of an instance, in double precision.

    Attributes:
        kernel: 2 (T P_k / zeta_k^2) E_ki^H E_kj, its Hermitian part, (B, 9, K, M, M), 1/m^2.
        prior: Information without echoes, (B, 3, 3) 1/m^2.
    """

    kernel: Tensor
    prior: Tensor


def sensing_task(problem: OtaFeel, instance: OtaFeelInstance) -> SensingTask:
    """Kernels of an instance in double precision."""
    a, slope = problem.responses(instance)
    turned = slope.movedim(-1, -2)  # (B, K, 3, M)
    first = turned[..., :, None] * a[:, :, None, None, :]
    gain = 2 * problem.scenario.frame_length * instance.max_power_w / instance.echo_noise_w
    e = gain.sqrt()[..., None, None, None] * (first + first.mT)
    kernel = torch.einsum("bkimp,bkjmq->bijkpq", e.conj(), e).flatten(1, 2)
    eye = torch.eye(3, dtype=gain.dtype, device=gain.device)
    prior = (eye / problem.scenario.prior_std_m**2).expand(len(gain), 3, 3)
    return SensingTask((kernel + kernel.mH) / 2, prior)


def log_bound(task: SensingTask, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log tr (J(Z) + prior)^-1 (B,), its slope (B, K, M, M), and a limit of their rounding (B,).

    Args:
        task: The instance.
        z: Covariances over the budgets, (B, K, M, M) Hermitian.
    """
    kernel = task.kernel.flatten(2)  # (B, 9, K M M)
    seen = kernel.conj() @ z.flatten(1)[..., None]
    whole = seen.real.unflatten(1, (3, 3))[..., 0] + task.prior
    whole = (whole + whole.mT) / 2
    lower, info = torch.linalg.cholesky_ex(whole, check_errors=False)
    is_bad = info != 0
    eye = torch.eye(3, dtype=whole.dtype, device=whole.device)
    inverse = torch.cholesky_inverse(torch.where(is_bad[:, None, None], eye, lower))
    bound = torch.diagonal(inverse, dim1=-2, dim2=-1).sum(-1)
    price = (inverse @ inverse / bound[:, None, None]).flatten(1)
    slope = (price[:, None, :].to(kernel.dtype) @ kernel)[:, 0].reshape(z.shape)
    condition = torch.diagonal(whole, dim1=-2, dim2=-1).sum(-1) * bound
    doubt = _DOUBT * torch.finfo(bound.dtype).eps * condition
    return torch.where(is_bad, torch.inf, bound.log()), slope, doubt


def least_bound(
    problem: OtaFeel, instance: OtaFeelInstance, *, iterations: int = 500, tolerance: float = 1e-6
) -> Blocks:
    """Least log of the bound in m^2 without interference, at any rank, and its covariances.

    Args:
        problem: The problem.
        instance: In double precision.
        iterations: Largest number of steps, >= 1.
        tolerance: Relative gap of the bound at which a lane stops.
    """
    task = sensing_task(problem, instance)
    shape = (instance.batch_size, task.kernel.shape[2], task.kernel.shape[3])
    start = isotropic(shape, task.kernel)
    return descend(log_bound, task, start, iterations=iterations, tolerance=tolerance)


def reduced(task: SensingTask, z: Tensor, rank: int) -> Tensor:
    """Factors F (B, K, M, rank) of full power, and with the information of Z_k where rank >= 2.

    Args:
        task: The instance.
        z: Covariances, (B, K, M, M) Hermitian positive semidefinite.
        rank: 1 to M.
    """
    kernel = task.kernel.movedim(1, 2)[:, :, [0, 1, 2, 4, 5, 8]]  # (B, K, 6, M, M)
    lit = kernel[:, :, 0] + kernel[:, :, 3] + kernel[:, :, 5]
    tiny = torch.finfo(z.real.dtype).tiny
    lit = lit / _trace(lit).clamp_min(tiny)[..., None, None]
    kernel = kernel / _trace(kernel).abs().amax(2).clamp_min(tiny)[..., None, None, None]
    span = hermitian_eigh(lit)[1][..., -_SPAN:]  # J sees conj a and conj da only
    value, vector = hermitian_eigh(span.mH @ z @ span)
    factor = span @ (vector * value.clamp_min(0).sqrt()[..., None, :])
    eye = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    kept = torch.cat([kernel, eye.expand_as(z)[:, :, None]], 2)
    while factor.shape[-1] > max(rank, 2):
        factor = _one_less(factor, kept)
    if rank < factor.shape[-1]:
        factor = _strongest(factor)
    power = (factor.real.square() + factor.imag.square()).sum((-2, -1))
    factor = _canonical(factor / power.clamp_min(tiny).sqrt()[..., None, None])
    return torch.nn.functional.pad(factor, (0, rank - factor.shape[-1]))


def _trace(matrix: Tensor) -> Tensor:
    return torch.diagonal(matrix, dim1=-2, dim2=-1).real.sum(-1)


def _one_less(factor: Tensor, kept: Tensor) -> Tensor:
    """Factors (B, K, M, r - 1) that change no tr (kept F F^H), of F (B, K, M, r), r >= 3."""
    rank = factor.shape[-1]
    seen = factor.mH[:, :, None] @ kept @ factor[:, :, None]  # (B, K, 7, r, r)
    rows = torch.view_as_real(seen).flatten(3)  # Re tr (X D) = <X, D> for Hermitian X and D
    basis = _hermitian_basis(rank, factor)
    rows = rows @ torch.view_as_real(basis).flatten(1).mT  # (B, K, 7, r^2)
    turned = torch.linalg.svd(rows, full_matrices=True).Vh[..., -1, :]
    direction = (turned[..., None, None].to(basis.dtype) * basis).sum(-3)
    value, vector = hermitian_eigh((direction + direction.mH) / 2)
    is_low = -value[..., 0] > value[..., -1]
    first = torch.where(is_low, value[..., 0], value[..., -1])
    left = (1 - value / first[..., None]).clamp_min(0).sqrt()
    moved = factor @ (vector * left[..., None, :])
    return torch.where(is_low[..., None, None], moved[..., 1:], moved[..., :-1])


def _hermitian_basis(size: int, like: Tensor) -> Tensor:
    """Orthonormal real basis of Hermitian matrices, (size^2, size, size)."""
    real, imaginary = torch.zeros(2, size * size, size, size, dtype=torch.float64)
    half = math.sqrt(0.5)
    for i in range(size):
        real[i * size + i, i, i] = 1
        for j in range(i):
            real[i * size + j, i, j] = real[i * size + j, j, i] = half
            imaginary[j * size + i, i, j], imaginary[j * size + i, j, i] = half, -half
    return torch.complex(real, imaginary).to(like)


def _canonical(factor: Tensor) -> Tensor:
    """F U with orthogonal columns, the strongest first, whose largest entries are positive."""
    turned = (factor @ hermitian_eigh(factor.mH @ factor)[1]).flip(-1)
    size = turned.abs()
    top = size.argmax(-2, keepdim=True)
    tiny = torch.finfo(size.dtype).tiny
    unit = turned.gather(-2, top) / size.gather(-2, top).clamp_min(tiny)
    return turned * unit.conj()


def _strongest(factor: Tensor) -> Tensor:
    """Strongest direction of F F^H, (B, K, M, 1)."""
    return factor @ hermitian_eigh(factor.mH @ factor)[1][..., -1:]


@dataclass(frozen=True, kw_only=True)
class SensingOnly(Solver):
    """The covariances of least position bound, cut to R streams without loss where R >= 2.

    Certifies scenarios whose objective is the position bound alone: tightly for ``ideal``, and for
    ``interference`` because no echo that disturbs makes a bound smaller.

    Attributes:
        iterations: Largest number of steps, >= 1; about 8 are taken.
        tolerance: Relative gap of the position bound at which a lane has converged, > 0.
    """

    name: ClassVar[str] = "sensing-only"
    summary: ClassVar[str] = "least position bound without interference, certified; no aggregation"
    certifies: ClassVar[bool] = True

    iterations: int = 500
    tolerance: float = 1e-7

    def __post_init__(self) -> None:
        demand_limits(self, "iterations")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; deterministic, a start is not needed.

        The trace is there where the objective is the position bound without interference.
        """
        setup, i = typed(problem, instance)
        s, dtype = setup.scenario, instance.dtype
        count = self.iterations if budget.iterations is None else budget.iterations
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        found = least_bound(setup, i, iterations=count, tolerance=tolerance)
        factor = reduced(sensing_task(setup, i), found.point, s.num_tasks)
        precoder = i.max_power_w.sqrt()[..., None, None] * factor
        is_all, is_ideal = s.sensing_weight == 1, s.sensing == "ideal"
        trace = Trace(
            objective=-linear_to_db(found.history.exp()).to(dtype), length=found.iterations
        )
        return Solution(
            decision=OtaFeelDecision(precoder).to(dtype=dtype),
            status=found.status,
            iterations=found.iterations,
            trace=trace if is_all and is_ideal else None,
            certificate=claim(
                setup,
                log_crb=found.lower,
                dtype=dtype,
                kind="dual" if is_ideal else "relaxation",
                source="least bound without interference, less its gap by convexity",
            )
            if is_all
            else None,
        )
