r"""OTA-FEEL the usual way: the paper's algorithm 1 and convex twins with CVXPY, one at a time.

``alg1-cvx`` alternates the receiver with the relaxed device step (35), whose precoder minimises

    |M^H H C - W|_F^2  over  |C|_F^2 <= alpha,  0 <= alpha <= P

and is rescaled to C sqrt(alpha) / |C|_F. The text leaves alpha to the solver, and nothing rewards a
small one: with alpha = P it always satisfies (35), which then says nothing (``normalised``). With
alpha as Clarabel returns it (``solver``) the rescaling depends on where an interior point stops.

The programmes are compiled once per size; everything of an instance enters as a parameter. Nothing
here is used by other solvers: tests compare with them.

Source: the OTA-FEEL paper, algorithm 1, (32) and (35).
"""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import cvxpy as cp
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.ota_feel.alternating import first_precoders, typed
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.physics.aggregation import mmse_receivers
from isac_gym.problems.ota_feel.model import (
    OtaFeel,
    OtaFeelDecision,
    OtaFeelInstance,
    gains,
)

__all__ = ["ALPHAS", "AlgorithmOne", "DeviceProgramme", "LiftedSdp", "SensingSdp"]

ALPHAS = ("normalised", "solver")

Array = NDArray[Any]


class DeviceProgramme:
    """Device step of one size: min |G C - B|_F^2 within a power, over real and imaginary parts.

    G and B are square roots of the normal equations, so that pulses make no difference.
    """

    def __init__(self, antennas: int, tasks: int) -> None:
        """Build it."""
        self._root = cp.Parameter((2 * antennas, 2 * antennas))
        self._wanted = cp.Parameter((2 * antennas, 2 * tasks))
        self._budget = cp.Parameter(nonneg=True)
        self._c = cp.Variable((2 * antennas, tasks))
        self._alpha = cp.Variable(nonneg=True)
        i, t = antennas, tasks
        both = cp.hstack([self._c, cp.vstack([-self._c[i:], self._c[:i]])])  # of C as (2M, 2R)
        cost = cp.sum_squares(self._root @ both - self._wanted) / 2
        rows: list[Any] = [cp.sum_squares(self._c) <= self._alpha, self._alpha <= self._budget]
        self._problem = cp.Problem(cp.Minimize(cost), rows)
        self._tasks = t

    @classmethod
    @cache
    def compiled(cls, antennas: int, tasks: int) -> "DeviceProgramme":
        """The programme of one size, compiled on its first solve."""
        return cls(antennas, tasks)

    def solve(self, gram: Array, wanted: Array, budget: float) -> tuple[Array, float]:
        """Precoder (M, R) and alpha.

        Args:
            gram: Phi, (M, M) Hermitian positive semidefinite.
            wanted: B, (M, R), in the range of Phi.
            budget: P.
        """
        value, vector = np.linalg.eigh(gram)
        value = np.where(value > 1e-13 * value[-1], value, 0.0)
        root = np.sqrt(value)[:, None] * vector.conj().T
        safe = np.where(value > 0, value, 1.0)
        half = np.where(value > 0, 1 / np.sqrt(safe), 0.0)[:, None] * (vector.conj().T @ wanted)
        scale = float(np.linalg.norm(half)) or 1.0
        unit = np.sqrt(budget)
        self._root.value = _real(root * unit / scale)
        self._wanted.value = _real(half / scale)
        self._budget.value = 1.0
        _solve(self._problem)
        if self._c.value is None:
            raise cp.SolverError(f"CLARABEL: {self._problem.status}.")
        real, imaginary = np.split(np.asarray(self._c.value), 2)
        return unit * (real + 1j * imaginary), budget * float(np.asarray(self._alpha.value))


class SensingSdp:
    """Least tr (J + prior)^-1 over covariances of one size, as a semidefinite programme."""

    def __init__(self, devices: int, antennas: int) -> None:
        """Build it."""
        size = 2 * antennas
        self._kernel = cp.Parameter((9, devices * size * size))
        self._prior = cp.Parameter((3, 3), symmetric=True)
        z = [cp.Variable((size, size), PSD=True) for _ in range(devices)]
        flat = cp.hstack([cp.reshape(each, (size * size,), order="C") for each in z])
        j = cp.reshape(self._kernel @ flat, (3, 3), order="C") + self._prior
        inverse, eye = cp.Variable((3, 3), symmetric=True), np.eye(3)
        rows: list[Any] = [cp.bmat([[(j + j.T) / 2, eye], [eye, inverse]]) >> 0]
        rows += [cp.trace(each) <= 1 for each in z]
        self._problem = cp.Problem(cp.Minimize(cp.trace(inverse)), rows)

    @classmethod
    @cache
    def compiled(cls, devices: int, antennas: int) -> "SensingSdp":
        """The programme of one size, compiled on its first solve."""
        return cls(devices, antennas)

    def solve(self, kernel: Array, prior: Array) -> float:
        """Least bound of an instance.

        Args:
            kernel: (9, K, M, M) Hermitian, see :class:`baselines.ota_feel.sensing.SensingTask`.
            prior: (3, 3).
        """
        scale = float(np.abs(np.einsum("pkmm->p", kernel)).max()) / kernel.shape[-1]
        # the trace of a product of symmetric twins is twice that of the Hermitian matrices, and a
        # twin of unit trace stands for half of a Hermitian matrix of unit trace
        real = np.stack([[_real(block) for block in row] for row in kernel / scale])
        self._kernel.value = real.reshape(9, -1)
        self._prior.value = prior / scale
        return _solve(self._problem) / scale


class LiftedSdp:
    """Least F of the lifted problem of one size; the unit budgets of its task."""

    def __init__(self, devices: int, antennas: int, tasks: int) -> None:
        """Build it."""
        size, n = antennas * tasks, antennas
        q = cp.Variable((size, size), hermitian=True)
        self._gram = [cp.Parameter((n * n,), complex=True) for _ in range(devices)]
        self._weight = [cp.Parameter((tasks, tasks)) for _ in range(devices)]
        rows: list[Any] = [q >> 0]
        cost: Any = cp.real(cp.trace(q))
        for gram, weight in zip(self._gram, self._weight, strict=True):
            x = self._seen(q, gram, n, tasks)
            # phi(X) = max over mu of mu tr W (X + mu)^-1 W - mu, whose dual is the least |E|^2 over
            # E = W - Y with Y^H Y <= X in a trace-one sense: [[X, Y], [Y^H, S]] >= 0, tr S <= 1
            y = cp.Variable((tasks, tasks), complex=True)
            s = cp.Variable((tasks, tasks), hermitian=True)
            rows += [cp.bmat([[x, y], [y.H, s]]) >> 0, cp.real(cp.trace(s)) <= 1]
            cost += cp.sum_squares(y - weight)
        self._problem = cp.Problem(cp.Minimize(cost), rows)

    @staticmethod
    def _seen(q: Any, gram: Any, n: int, tasks: int) -> Any:
        """X[i, j] = m_i^H T m_j, with Q's block (j, i) = m_j m_i^H."""
        blocks = [
            [
                cp.sum(cp.multiply(gram, cp.reshape(_block(q, j, i, n), (n * n,), order="F")))
                for j in range(tasks)
            ]
            for i in range(tasks)
        ]
        x = cp.bmat([[cp.reshape(entry, (1, 1), order="C") for entry in row] for row in blocks])
        return (x + x.H) / 2

    @classmethod
    @cache
    def compiled(cls, devices: int, antennas: int, tasks: int) -> "LiftedSdp":
        """The programme of one size, compiled on its first solve."""
        return cls(devices, antennas, tasks)

    def solve(self, channel: Array, weight: Array) -> float:
        """Least F of channels (K, N, M) and weights (K, R)."""
        for k, (gram, diagonal) in enumerate(zip(self._gram, self._weight, strict=True)):
            gram.value = (channel[k] @ channel[k].conj().T).flatten(order="C")
            diagonal.value = np.diag(weight[k])
        return _solve(self._problem)


@dataclass(frozen=True, kw_only=True)
class AlgorithmOne(Solver):
    """The paper's algorithm 1, a Python loop over instances and devices.

    Attributes:
        iterations: Rounds, >= 1.
        alpha: ``normalised``: every device at its full budget, or ``solver``: at what Clarabel
            returns for alpha.
        tolerance: Relative decrease of the error at which a lane has converged, > 0.
    """

    name: ClassVar[str] = "alg1-cvx"
    summary: ClassVar[str] = "the paper's algorithm 1 with CVXPY, alpha normalised"

    iterations: int = 10
    alpha: str = "normalised"
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ScenarioError(f"iterations must be >= 1, got {self.iterations}.")
        if self.alpha not in ALPHAS:
            raise ScenarioError(f"alpha must be one of {ALPHAS}, got {self.alpha!r}.")
        if not self.tolerance > 0:
            raise ScenarioError(f"tolerance must be > 0, got {self.tolerance}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; a lane whose programme fails keeps its last precoders."""
        setup, i = typed(problem, instance)
        count = self.iterations if budget.iterations is None else budget.iterations
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        first = first_precoders(setup, i, start)
        found, status, spent = [], [], []
        for lane in range(i.batch_size):
            part, precoder = i[lane : lane + 1], first[lane : lane + 1]
            code, last, used = Status.BUDGET_SPENT, float("inf"), 0
            while used < count and code == Status.BUDGET_SPENT:
                used += 1
                try:
                    precoder = self._round(setup, part, precoder)
                except cp.SolverError:
                    code = Status.FAILED
                    break
                error = float(setup.evaluate(part, OtaFeelDecision(precoder)).mse)
                if used > 1 and abs(last - error) <= tolerance * error:
                    code = Status.CONVERGED
                last = error
            found.append(precoder)
            status.append(int(code))
            spent.append(used)
        return Solution(
            decision=OtaFeelDecision(torch.cat(found)).to(dtype=instance.dtype),
            status=torch.tensor(status, device=i.device),
            iterations=torch.tensor(spent, device=i.device),
        )

    def _round(self, problem: OtaFeel, instance: OtaFeelInstance, precoder: Tensor) -> Tensor:
        """Precoders (1, K, M, R) after a receiver and a device step."""
        i, s = instance, problem.scenario
        gain = gains(i, OtaFeelDecision(precoder))
        receiver = mmse_receivers(gain, i.weight, s.noise_w)
        h, each = i.channel[0].cpu().numpy(), receiver[0].cpu().numpy()
        w, power = i.weight[0].cpu().numpy(), i.max_power_w[0].cpu().numpy()
        programme = DeviceProgramme.compiled(h.shape[2], w.shape[1])
        whole = each.sum(0, keepdims=True) if s.pulse == "none" else each
        found = []
        for k in range(len(h)):
            own = whole[0] if s.pulse == "none" else each[k]
            seen = np.einsum("nm,lnr->lmr", h[k].conj(), whole)
            gram = np.einsum("lmr,lqr->mq", seen, seen.conj())
            c, alpha = programme.solve(gram, (h[k].conj().T @ own) * w[k], float(power[k]))
            level = float(power[k]) if self.alpha == "normalised" else alpha
            size = float(np.linalg.norm(c))
            found.append(c * (np.sqrt(max(level, 0.0)) / size if size > 0 else 0.0))
        return torch.from_numpy(np.stack(found)[None]).to(i.channel)


def _block(q: Any, row: int, column: int, size: int) -> Any:
    return q[row * size : (row + 1) * size, column * size : (column + 1) * size]


def _solve(problem: Any) -> float:
    """Least cost; without a warm start, which would reuse the data of the previous instance."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the caller compares values
        problem.solve(solver=cp.CLARABEL, warm_start=False)
    return float("nan") if problem.value is None else float(problem.value)


def _real(matrix: Array) -> Array:
    """Complex (m, n) as real (2 m, 2 n)."""
    real, imaginary = np.real(matrix), np.imag(matrix)
    return np.block([[real, -imaginary], [imaginary, real]])
