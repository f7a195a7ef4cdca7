r"""Power control with CVXPY: the paper's Algorithm 1 literally, and the geometric programme.

Every programme is compiled once per size (disciplined parametrised programming) and then solved
instance by instance with Clarabel. The method and its symbols are those of
``baselines.power_control.sca``; there too t and y are re-evaluated after each problem.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.power_control.outcome import limits, network_of, outcome
from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, Trace
from isac_gym.core.units import linear_to_db
from isac_gym.problems.power_control.model import (
    NormalisedNetwork,
    PowerControlDecision,
    PowerControlInstance,
)

__all__ = ["GpCvxpy", "ScaCvxpy"]

Array = NDArray[np.float64]

_SPLITS = ("balanced", "fixed", "unit")
_NO_THRESHOLD = 1e-30  # positive stand-in for absent terms: geometric programmes know no zero
_TIGHT = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
_SOLVED = ("optimal", "optimal_inaccurate")


def _cvxpy() -> Any:
    try:
        import cvxpy
    except ModuleNotFoundError as err:
        message = 'this solver needs cvxpy: pip install "isac_gym[cvx]"'
        raise ModuleNotFoundError(message, name="cvxpy") from err
    return cvxpy


class _Programme:
    """A compiled problem, its parameters and variables by name."""

    def __init__(self, problem: Any, parameters: dict[str, Any], variables: dict[str, Any]) -> None:
        self.problem, self.parameters, self.variables = problem, parameters, variables

    def solve(self, values: dict[str, Any], **options: Any) -> dict[str, Array] | None:
        """Values of the variables, or None where Clarabel finds no point."""
        cp = _cvxpy()
        for name, value in values.items():
            self.parameters[name].value = value
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Solution may be inaccurate")
                self.problem.solve(solver=cp.CLARABEL, **options)
        except (cp.SolverError, ValueError):  # Clarabel gave up, or returned NaN
            return None
        if self.problem.status not in _SOLVED:
            return None
        return {name: np.asarray(v.value, dtype=float) for name, v in self.variables.items()}


@lru_cache(maxsize=8)
def _surrogate(count: int) -> _Programme:
    """Convex problem P4 of Algorithm 1 for I = ``count``, rows scaled by the caller.

    scale x >= 1/4 (kappa t + y / kappa)^2 - 1/4 (d^2 + 2 d (kappa (t - t^k) - (y - y^k) / kappa)).
    """
    cp = _cvxpy()
    x, y, t = cp.Variable(count), cp.Variable(count), cp.Variable()
    name = {n: cp.Parameter(count, nonneg=True) for n in ("scale", "noise", "kappa", "inverse")}
    name |= {n: cp.Parameter(count) for n in ("slope_t", "slope_y", "constant")}
    name |= {n: cp.Parameter((count, count), nonneg=True) for n in ("coupling", "comm")}
    name |= {n: cp.Parameter(count, nonneg=True) for n in ("comm_scale", "comm_noise")}
    squared = cp.square(name["kappa"] * t + cp.multiply(name["inverse"], y)) / 4
    line = name["slope_t"] * t - cp.multiply(name["slope_y"], y) + name["constant"]
    rows = [
        y >= name["coupling"] @ x + name["noise"],
        cp.multiply(name["scale"], x) >= squared - line,
        cp.multiply(name["comm_scale"], x) >= name["comm"] @ x + name["comm_noise"],
        x >= 0,
        x <= 1,
    ]
    return _Programme(cp.Problem(cp.Maximize(t), rows), name, {"x": x, "y": y, "t": t})


@lru_cache(maxsize=8)
def _geometric(count: int) -> _Programme:
    """Max-min power control as a geometric programme for I = ``count``."""
    cp = _cvxpy()
    x, t = cp.Variable(count, pos=True), cp.Variable(pos=True)
    name = {n: cp.Parameter((count, count), pos=True) for n in ("coupling", "comm")}
    name |= {n: cp.Parameter(count, pos=True) for n in ("noise", "comm_noise")}
    rows = [x <= 1]
    for i in range(count):
        heard = [name["coupling"][i, j] * x[j] for j in range(count)]
        rows.append(t * (sum(heard[1:], heard[0]) + name["noise"][i]) <= x[i])
        heard = [name["comm"][i, j] * x[j] for j in range(count)]
        rows.append(sum(heard[1:], heard[0]) + name["comm_noise"][i] <= x[i])
    return _Programme(cp.Problem(cp.Maximize(t), rows), name, {"x": x, "t": t})


def _lanes(network: NormalisedNetwork) -> list[NormalisedNetwork]:
    """One network of NumPy arrays per lane."""
    arrays = [tensor.detach().cpu().to(torch.float64).numpy() for tensor in network]
    return [NormalisedNetwork(*lane) for lane in zip(*arrays, strict=True)]


def _level(network: NormalisedNetwork, x: Array) -> float:
    return float((x / (network.coupling @ x + network.noise)).min())


@dataclass(frozen=True, kw_only=True)
class GpCvxpy(Solver):
    """Global optimum as a geometric programme: an independent verifier of ``exact``."""

    name: ClassVar[str] = "gp-cvxpy"
    summary: ClassVar[str] = "geometric programme with CVXPY and Clarabel"

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; tolerances are Clarabel's at 1e-12."""
        network = network_of(problem, instance)
        powers, codes = [], []
        for lane in _lanes(network):
            values = dict(zip(("coupling", "noise", "comm", "comm_noise"), lane, strict=True))
            positive = {name: np.maximum(value, _NO_THRESHOLD) for name, value in values.items()}
            found = _geometric(len(lane.noise)).solve(positive, gp=True, **_TIGHT)
            powers.append(np.full(len(lane.noise), np.nan) if found is None else found["x"])
            codes.append(Status.FAILED if found is None else Status.CONVERGED)
        like = network.noise
        power = torch.as_tensor(np.stack(powers), dtype=like.dtype, device=like.device)
        status = torch.tensor([int(code) for code in codes], device=like.device)
        return outcome(network, power, status=status)


@dataclass(frozen=True, kw_only=True)
class ScaCvxpy(Solver):
    """Algorithm 1 as printed, one convex problem per iteration.

    ``split="unit", power_unit_w=1.0`` is the literal reading and the negative control: the plain
    split is not scale invariant, and received powers of 1e-13 W lie below the solver's tolerance.

    Attributes:
        split: kappa^2 = y^k / t^k (``balanced``), y^0 / t^0 (``fixed``) or 1 (``unit``).
        power_unit_w: Unit of received powers in watts (1e-9: nanowatts); None divides every row by
            its own gain, so that it reads x_i >= ...
        iterations: Largest number of convex problems, >= 1.
        tolerance: Stop when |t^(k+1) - t^k| <= tolerance t^k.
    """

    name: ClassVar[str] = "sca-cvxpy"
    summary: ClassVar[str] = "the paper's Algorithm 1 with CVXPY; literal units on request"

    split: str = "balanced"
    power_unit_w: float | None = None
    iterations: int = 60
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise ScenarioError(f"split must be one of {_SPLITS}, got {self.split!r}.")
        if self.power_unit_w is not None and not 0 < self.power_unit_w < float("inf"):
            raise ScenarioError(f"power_unit_w must be > 0 or None, got {self.power_unit_w}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; FAILED where Clarabel finds no point, with the last powers."""
        count, tolerance = limits(budget, iterations=self.iterations, tolerance=self.tolerance)
        network = network_of(problem, instance)
        first = torch.ones_like(network.noise)
        if start is not None:
            first = cast(PowerControlDecision, start).power.clamp_min(1e-6)
        scales = self._row_scales(cast(PowerControlInstance, instance), network)
        ends = [
            self._run(*lane, iterations=count, tolerance=tolerance)
            for lane in zip(_lanes(network), *scales, first.cpu().double().numpy(), strict=True)
        ]
        like = network.noise
        power = torch.as_tensor(np.stack([e[0] for e in ends]), dtype=like.dtype)
        used = torch.tensor([len(e[1]) for e in ends], device=like.device)
        longest = max(1, int(used.max()))
        levels = [(e[1] + e[1][-1:] * longest or [np.nan] * longest)[:longest] for e in ends]
        history = torch.tensor(levels, dtype=torch.float64, device=like.device)
        trace = Trace(objective=linear_to_db(history), length=used)
        status = torch.tensor([int(e[2]) for e in ends], device=like.device)
        return outcome(network, power.to(like.device), status=status, iterations=used, trace=trace)

    def _row_scales(
        self, instance: PowerControlInstance, network: NormalisedNetwork
    ) -> tuple[Array, Array]:
        """Factors (B, I) of the sensing and of the communication rows."""
        if self.power_unit_w is None:
            ones = np.ones(tuple(network.noise.shape))
            return ones, ones
        sensing = instance.bs_noise_w / network.noise / self.power_unit_w  # A_ii p_max,i
        quiet = network.comm_noise <= 0
        comm = instance.ue_noise_w / network.comm_noise.clamp_min(_NO_THRESHOLD)
        comm = torch.where(quiet, self.power_unit_w, comm) / self.power_unit_w
        return sensing.cpu().double().numpy(), comm.cpu().double().numpy()

    def _run(
        self,
        network: NormalisedNetwork,
        scale: Array,
        comm_scale: Array,
        x: Array,
        *,
        iterations: int,
        tolerance: float,
    ) -> tuple[Array, list[float], Status]:
        """Algorithm 1 on one instance: last powers, t^1, t^2, ... and the status."""
        coupling, noise = scale[:, None] * network.coupling, scale * network.noise
        fixed = {
            "scale": scale,
            "coupling": coupling,
            "noise": noise,
            "comm_scale": comm_scale,
            "comm": comm_scale[:, None] * network.comm_coupling,
            "comm_noise": comm_scale * network.comm_noise,
        }
        y, t = coupling @ x + noise, _level(network, x)
        kappa, levels = np.sqrt(y / t), []
        for _ in range(iterations):
            if self.split == "balanced":
                kappa = np.sqrt(y / t)
            kappa = np.ones_like(y) if self.split == "unit" else kappa
            d = kappa * t - y / kappa
            moving = {
                "kappa": kappa,
                "inverse": 1 / kappa,
                "slope_t": d * kappa / 2,
                "slope_y": d / kappa / 2,
                "constant": (d**2 - 2 * d * (kappa * t - y / kappa)) / 4,
            }
            found = _surrogate(len(x)).solve(fixed | moving)
            if found is None:
                return x, levels, Status.FAILED
            x = found["x"].clip(_NO_THRESHOLD, 1)
            y, old, t = coupling @ x + noise, t, _level(network, x)
            levels.append(t)
            if abs(t - old) <= tolerance * old:
                return x, levels, Status.CONVERGED
        return x, levels, Status.BUDGET_SPENT
