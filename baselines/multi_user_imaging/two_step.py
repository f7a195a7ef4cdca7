r"""Two-step imaging by diffusion: image, then symbols, then image again.

Step 1 filters with the known probe alone, the data is interference. The residuals give the data
symbols (:mod:`baselines.multi_user_imaging.symbols`), and step 2 filters the same samples with the
data as part of the regressor.

The paper uses total least squares in both steps. In step 1 that is biased: probe and data are
independent, which is no error of the regressor. It slices no symbols and fixes no phase; unfixed,
step 2 is worse than step 1.

Source: the networked-ISAC paper, Algorithms 1 and 2; differs: phase alignment, slicing, what they
cost; see ``docs/multi_user_imaging.md``.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from baselines.multi_user_imaging.sharing import (
    consensus_scalars,
    consensus_weights,
    diffusion_scalars,
)
from baselines.multi_user_imaging.symbols import (
    mrc_symbols,
    residual_and_gain,
    sliced,
    svd_symbols,
)
from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status
from isac_gym.physics.diffusion import ESTIMATORS, diffuse
from isac_gym.physics.graphs import hops, metropolis
from isac_gym.physics.trust_region import squared
from isac_gym.problems.multi_user_imaging.recovery import (
    ImagingRecovery,
    ImagingRecoveryDecision,
    ImagingRecoveryInstance,
    gathering_scalars,
)

__all__ = [
    "LmsAlone",
    "StepOne",
    "TwoStep",
    "TwoStepCentral",
    "TwoStepL1",
    "TwoStepLiteral",
    "TwoStepLms",
    "TwoStepLmsGenie",
    "TwoStepLmsSliced",
    "TwoStepMrc",
    "TwoStepPlain",
    "TwoStepTlsSliced",
]

COOPERATIONS = ("metropolis", "none", "central")
SYMBOLS = ("svd", "mrc", "genie", "none")
_TAIL = 0.1  # last part of the samples over which a converged image hardly moves
_LANES = 8  # at a time where every user has its own symbols: (L, K, V) per lane
_LEAST = 1e-12


@dataclass(frozen=True, kw_only=True)
class TwoStep(Solver):
    """The paper's scheme with phases aligned. A lane has converged if its images have settled.

    Attributes:
        estimator: ``tls`` or ``lms``, both steps.
        step: Step size over 1 / (V P), > 0; for tls times 1 + E|x|^2, the scenario's mean.
        gamma: Noise variance of the output over that of the regressor (tls), > 0.
        first_l1: Weight of moduli in step 1 over P, >= 0; for tls over 1 + E|x|^2 too.
        first_l21: Weight of the norms of blocks in step 1, likewise.
        l1: Of step 2.
        l21: Of step 2.
        cooperation: ``metropolis`` (neighbours average), ``none``, or ``central`` (one image).
        symbols: ``svd``, ``mrc`` (average consensus), ``genie``, or ``none`` (step 1 only).
        is_aligned: The phase of svd symbols is taken from the images of step 1.
        is_sliced: Symbols are decided (QPSK).
        is_warm: Step 2 starts from the images of step 1, not from empty ones.
        exchange_every: Samples per exchange of images, >= 1.
        rounds: Rounds of consensus on the symbols (mrc), >= 0.
        tolerance: Relative move over the last tenth of the samples at which images count as
            settled, >= 0.
    """

    name: ClassVar[str] = "two-step"
    summary: ClassVar[str] = "paper: sparse TLS diffusion, SVD symbols (phases aligned), again"

    estimator: str = "tls"
    step: float = 0.6
    gamma: float = 1.0
    first_l1: float = 0.015
    first_l21: float = 0.015
    l1: float = 0.005
    l21: float = 0.005
    cooperation: str = "metropolis"
    symbols: str = "svd"
    is_aligned: bool = True
    is_sliced: bool = False
    is_warm: bool = False
    exchange_every: int = 1
    rounds: int = 20
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        for name, allowed in (
            ("estimator", ESTIMATORS),
            ("cooperation", COOPERATIONS),
            ("symbols", SYMBOLS),
        ):
            value = getattr(self, name)
            _demand(value in allowed, f"{name} must be one of {allowed}, got {value!r}.")
        for name in ("step", "gamma"):
            value = getattr(self, name)
            _demand(0 < value < math.inf, f"{name} must be > 0, got {value}.")
        for name in ("first_l1", "first_l21", "l1", "l21", "tolerance"):
            value = getattr(self, name)
            _demand(0 <= value < math.inf, f"{name} must be >= 0, got {value}.")
        for name, least in (("exchange_every", 1), ("rounds", 0)):
            value = getattr(self, name)
            _demand(value >= least, f"{name} must be >= {least}, got {value}.")

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """See :class:`Solver`; an iteration is a sample, the first so many are used."""
        if not isinstance(problem, ImagingRecovery):
            raise ShapeError(f"{self.name} needs an ImagingRecovery, got {type(problem).__name__}.")
        i = cast(ImagingRecoveryInstance, instance)
        count = i.received.shape[1]
        count = count if budget.iterations is None else min(count, budget.iterations)
        i = i.replace(
            probe=i.probe[:, :count], symbol=i.symbol[:, :count], received=i.received[:, :count]
        )
        x = torch.zeros_like(i.user_channel)
        if start is not None:
            x = cast(ImagingRecoveryDecision, start).estimate
        lit = problem.probing(i)
        x, moved = self._filter(problem, i, lit, x, (self.first_l1, self.first_l21))
        if self.symbols != "none":
            symbol = self.estimated_symbols(problem, i, x)
            x = x if self.is_warm else torch.zeros_like(x)
            x, moved = self._second(problem, i, lit, x, symbol)
        tolerance = self.tolerance if budget.tolerance is None else budget.tolerance
        status = torch.where(moved <= tolerance, int(Status.CONVERGED), int(Status.BUDGET_SPENT))
        status = torch.where(moved.isfinite(), status, int(Status.FAILED))
        return Solution(
            decision=ImagingRecoveryDecision(x, self._scalars(i)),
            status=status,
            iterations=torch.full_like(status, count),
        )

    def estimated_symbols(
        self, problem: ImagingRecovery, instance: ImagingRecoveryInstance, estimate: Tensor
    ) -> Tensor:
        """Symbols (B, L), or every user's own (B, K, L), from the images (B, K, V) of step 1."""
        i = instance
        if self.symbols == "genie":
            return i.symbol
        lit, data = problem.probing(i), problem.data_illumination(i)
        residual, gain = residual_and_gain(estimate, i.user_channel, lit, data, i.received)
        if self.symbols == "mrc":
            weight = consensus_weights(i.adjacency, self.rounds, dtype=i.dtype)
            symbol = mrc_symbols(residual, gain, weight)
        else:
            symbol = svd_symbols(residual, gain, is_aligned=self.is_aligned)
        return sliced(symbol) if self.is_sliced else symbol

    def _second(
        self,
        problem: ImagingRecovery,
        instance: ImagingRecoveryInstance,
        lit: Tensor,
        x: Tensor,
        symbol: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`_filter`, of the whole illumination."""
        data, penalty = problem.data_illumination(instance), (self.l1, self.l21)
        if symbol.ndim == 2:
            whole = lit + symbol[..., None] * data[:, None]
            return self._filter(problem, instance, whole, x, penalty)
        parts = []
        for first in range(0, max(len(x), 1), _LANES):  # an empty batch is one empty part
            rows = slice(first, first + _LANES)
            own = lit[rows, :, None] + symbol[rows].mT[..., None] * data[rows, None, None]
            parts.append(self._filter(problem, instance[rows], own, x[rows], penalty))
        return torch.cat([image for image, _ in parts]), torch.cat([moved for _, moved in parts])

    def _filter(
        self,
        problem: ImagingRecovery,
        instance: ImagingRecoveryInstance,
        lit: Tensor,
        x: Tensor,
        penalty: tuple[float, float],
    ) -> tuple[Tensor, Tensor]:
        """Images (B, K, V) and their relative move over the last tenth of the samples, (B,)."""
        i, s = instance, problem.scenario
        scale = 1 + s.image_energy if self.estimator == "tls" else 1.0
        rate = self.step * scale / (s.num_voxels * s.max_power_w)
        weight = metropolis(i.adjacency, dtype=i.dtype) if self.cooperation != "none" else None
        count, every = lit.shape[1], self.exchange_every
        cut = math.floor((1 - _TAIL) * count) // every * every
        before = x
        for rows in (slice(0, cut), slice(cut, count)):
            before, x = (
                x,
                diffuse(
                    x,
                    lit[:, rows],
                    i.received[:, rows],
                    i.user_channel,
                    weight,
                    step=torch.full_like(x[..., 0].real, rate),
                    estimator=self.estimator,
                    gamma=self.gamma,
                    l1=penalty[0] * s.max_power_w / scale,
                    l21=penalty[1] * s.max_power_w / scale,
                    blocks=torch.tensor(s.blocks(), device=i.device),
                    exchange_every=every,
                    is_central=self.cooperation == "central",
                ).estimate,
            )
        size, gap = (squared(z).sum((-2, -1)).sqrt() for z in (x, x - before))
        return x, gap / size.clamp_min(_LEAST)

    def _scalars(self, instance: ImagingRecoveryInstance) -> Tensor:
        """Complex scalars sent over links, (B,) int64; see :mod:`.sharing`."""
        graph, (_, count, users) = instance.adjacency, instance.received.shape
        voxels = instance.image.shape[-1]
        if self.cooperation == "central":  # the leader then has all that svd symbols need
            return gathering_scalars(graph, count, voxels).to(torch.int64)
        total = torch.zeros(len(graph), dtype=torch.int64, device=graph.device)
        if self.cooperation == "metropolis":
            once = diffusion_scalars(
                graph, num_voxels=voxels, num_samples=count, every=self.exchange_every
            )
            total = total + once * (1 if self.symbols == "none" else 2)
        if self.symbols == "svd":  # residuals and gains to the best leader, symbols back
            way = hops(graph).sum(-1).amin(-1)
            total = total + way * (count + 1) + count * (users - 1)
        if self.symbols == "mrc":  # products and the energy of the gains
            total = total + consensus_scalars(graph, size=count + 1, rounds=self.rounds)
        return total


@dataclass(frozen=True, kw_only=True)
class TwoStepL1(TwoStep):
    """Without the penalty on blocks."""

    name: ClassVar[str] = "two-step-l1"
    summary: ClassVar[str] = "two-step with the l1 penalty only"

    first_l1: float = 0.015
    first_l21: float = 0.0
    l1: float = 0.01
    l21: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TwoStepPlain(TwoStep):
    """Without penalties."""

    name: ClassVar[str] = "two-step-plain"
    summary: ClassVar[str] = "two-step without sparsity"

    first_l1: float = 0.0
    first_l21: float = 0.0
    l1: float = 0.0
    l21: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TwoStepCentral(TwoStep):
    """One image at a leader who holds all samples."""

    name: ClassVar[str] = "two-step-central"
    summary: ClassVar[str] = "two-step at a leader with all samples"

    cooperation: str = "central"


@dataclass(frozen=True, kw_only=True)
class StepOne(TwoStep):
    """The first step only: the data stays interference."""

    name: ClassVar[str] = "step-1"
    summary: ClassVar[str] = "paper: the first step alone"

    symbols: str = "none"


@dataclass(frozen=True, kw_only=True)
class TwoStepLiteral(TwoStep):
    """Singular vectors taken as symbols whatever their phase, as the paper's text has it."""

    name: ClassVar[str] = "two-step-literal"
    summary: ClassVar[str] = "two-step with the arbitrary phase of singular vectors"

    is_aligned: bool = False


@dataclass(frozen=True, kw_only=True)
class TwoStepTlsSliced(TwoStep):
    """The paper's filters, symbols decided."""

    name: ClassVar[str] = "two-step-tls-sliced"
    summary: ClassVar[str] = "two-step with decided symbols"

    is_sliced: bool = True


@dataclass(frozen=True, kw_only=True)
class TwoStepLms(TwoStep):
    """Least mean squares: unbiased in step 1."""

    name: ClassVar[str] = "two-step-lms"
    summary: ClassVar[str] = "two-step with sparse LMS filters"

    estimator: str = "lms"
    l1: float = 0.003
    l21: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TwoStepLmsSliced(TwoStepLms):
    """Least mean squares and decided symbols: the recommended diffusion."""

    name: ClassVar[str] = "two-step-lms-sliced"
    summary: ClassVar[str] = "two-step with sparse LMS filters and decided symbols: recommended"

    is_sliced: bool = True


@dataclass(frozen=True, kw_only=True)
class TwoStepLmsGenie(TwoStepLms):
    """The true symbols in step 2: what better symbols could still give."""

    name: ClassVar[str] = "two-step-lms-genie"
    summary: ClassVar[str] = "two-step with sparse LMS filters and the true symbols (genie)"

    symbols: str = "genie"


@dataclass(frozen=True, kw_only=True)
class TwoStepMrc(TwoStepLmsSliced):
    """Symbols by average consensus: no user ever gathers samples."""

    name: ClassVar[str] = "two-step-mrc"
    summary: ClassVar[str] = "two-step LMS, symbols by average consensus of combined residuals"

    symbols: str = "mrc"


@dataclass(frozen=True, kw_only=True)
class LmsAlone(TwoStepLms):
    """Every user filters its own samples, the data as interference; nothing is sent."""

    name: ClassVar[str] = "lms-alone"
    summary: ClassVar[str] = "every user by itself, no exchange"

    cooperation: str = "none"
    symbols: str = "none"


def _demand(is_good: bool, message: str) -> None:
    if not is_good:
        raise ScenarioError(message)
