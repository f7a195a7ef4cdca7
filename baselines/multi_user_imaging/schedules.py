"""Rules for diffusion, block by block: constant and scheduled steps, rare exchange, a greedy genie.

All are solvers of ``imaging_diffusion``; with ``SolverPolicy`` they play cooperative imaging.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Budget, Solution, Solver, Status, status_tensor
from isac_gym.problems.multi_user_imaging.diffusion import (
    MAX_SPARSITY,
    STEP_RANGE,
    ImagingDiffusion,
    ImagingDiffusionDecision,
    ImagingDiffusionInstance,
)

__all__ = [
    "Alone",
    "ConstantStep",
    "FadingSchedule",
    "OneStepGreedyOracle",
    "RareExchange",
    "RelativeVariance",
    "Rule",
    "StepSchedule",
]


@dataclass(frozen=True, kw_only=True)
class Rule(Solver):
    """A closed-form rule: the plain filter of ``floor`` with some settings changed.

    Attributes:
        step: Step size times E, in [0.05, 1.5].
        sparsity: Weight of the l1 norm over the power, in [0, 0.05].
    """

    step: float = 0.6
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        _demand_in("step", self.step, STEP_RANGE)
        _demand_in("sparsity", self.sparsity, (0, MAX_SPARSITY))

    @abstractmethod
    def changes(
        self, problem: ImagingDiffusion, instance: ImagingDiffusionInstance
    ) -> dict[str, Tensor]:
        """Settings that differ from the plain filter with this step and sparsity, by name."""

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """Apply the rule; no iterations, budget, seed and start play no role."""
        decision = self.decide(problem, instance)
        done = status_tensor(Status.CONVERGED, len(decision.step), device=decision.step.device)
        return Solution(decision=decision, status=done, iterations=torch.zeros_like(done))

    def decide(self, problem: Problem, instance: TensorRecord) -> ImagingDiffusionDecision:
        """The rule's decision, batch size B."""
        p, i = _typed(problem, instance)
        plain = p.floor(i)
        plain = plain.replace(
            step=torch.full_like(plain.step, self.step),
            sparsity=torch.full_like(plain.sparsity, self.sparsity),
        )
        return plain.replace(**self.changes(p, i))


@dataclass(frozen=True, kw_only=True)
class ConstantStep(Rule):
    """The plain filter with one step size."""

    name: ClassVar[str] = "constant-step"
    summary: ClassVar[str] = "step 0.6 / E, Metropolis weights, everyone sends in every block"

    def changes(
        self, problem: ImagingDiffusion, instance: ImagingDiffusionInstance
    ) -> dict[str, Tensor]:
        """None."""
        return {}


@dataclass(frozen=True, kw_only=True)
class StepSchedule(Rule):
    """Fast first, accurate later.

    Attributes:
        step: First step size times E.
        late_step: Step size times E from ``switch`` on.
        switch: Samples until the change, >= 0.
        every: Everyone sends in every ``every``-th block, >= 1.
    """

    name: ClassVar[str] = "step-schedule"
    summary: ClassVar[str] = "step 1 / E for 400 samples, then 0.1 / E"

    step: float = 1.0
    late_step: float = 0.1
    switch: int = 400
    every: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _demand_in("late_step", self.late_step, STEP_RANGE)
        _demand_count("switch", self.switch, 0)
        _demand_count("every", self.every, 1)

    def changes(
        self, problem: ImagingDiffusion, instance: ImagingDiffusionInstance
    ) -> dict[str, Tensor]:
        """Step by the samples gone by."""
        is_late = (instance.elapsed >= self.switch)[:, None]
        step = torch.full_like(instance.position[..., 0], self.step)
        return {
            "step": step.masked_fill(is_late, self.late_step),
            "send": _is_due(problem, instance, self.every),
        }


@dataclass(frozen=True, kw_only=True)
class FadingSchedule(Rule):
    """Largest step for a while, then a geometric decay; shrinkage grows, exchange thins out.

    The defaults are rounded from a search for the largest return of cooperative imaging at its
    defaults over schedules of this form, on 16 episodes that no test uses.

    Attributes:
        step: Step size times E before ``switch``.
        late_step: Step size times E in the last block.
        sparsity: Sparsity in the last block; grows linearly from 0 at ``switch``.
        switch: Samples until the decay begins, >= 0.
        length: Samples of the run, > ``switch``; its last block is always sent.
        share: Share of blocks that are sent at the beginning, in [0, 1].
        late_share: The same at the end; linear between.
    """

    name: ClassVar[str] = "fading-schedule"
    summary: ClassVar[str] = "tuned: step 1.5 / E, decaying from 325 samples on; exchange thins out"

    step: float = 1.5
    late_step: float = 0.12
    sparsity: float = 0.0045
    switch: int = 325
    length: int = 750
    share: float = 0.73
    late_share: float = 0.32

    def __post_init__(self) -> None:
        super().__post_init__()
        _demand_in("late_step", self.late_step, STEP_RANGE)
        _demand_in("share", self.share, (0, 1))
        _demand_in("late_share", self.late_share, (0, 1))
        _demand_count("switch", self.switch, 0)
        _demand_count("length", self.length, self.switch + 1)

    def changes(
        self, problem: ImagingDiffusion, instance: ImagingDiffusionInstance
    ) -> dict[str, Tensor]:
        """Step, sparsity and sending by the samples gone by."""
        users, block = instance.estimate.shape[1], problem.scenario.num_samples
        gone = instance.elapsed.to(instance.dtype)
        room = max(self.length - block - self.switch, 1)
        progress = ((gone - self.switch) / room).clamp(0, 1)
        step = self.step * (self.late_step / self.step) ** progress
        is_last = gone + block >= self.length
        send = is_last | (self._sent(gone + block, block) > self._sent(gone, block))
        settings = {"step": step, "sparsity": self.sparsity * progress, "send": send}
        return {name: t[:, None].expand(-1, users) for name, t in settings.items()}

    def _sent(self, gone: Tensor, block: int) -> Tensor:
        """Blocks to have been sent after ``gone`` samples, (B,), rounded up."""
        half_slope = (self.late_share - self.share) / (2 * self.length)
        return ((self.share + half_slope * gone) * gone / block - 1e-6).ceil()


@dataclass(frozen=True, kw_only=True)
class RareExchange(Rule):
    """The plain filter whose users send in every n-th block only.

    Attributes:
        every: n >= 1.
    """

    name: ClassVar[str] = "rare-exchange"
    summary: ClassVar[str] = "step 0.6 / E, everyone sends in every second block only"

    every: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        _demand_count("every", self.every, 1)

    def changes(
        self, problem: ImagingDiffusion, instance: ImagingDiffusionInstance
    ) -> dict[str, Tensor]:
        """Sending by the number of the block."""
        return {"send": _is_due(problem, instance, self.every)}


@dataclass(frozen=True, kw_only=True)
class Alone(Rule):
    """Nobody sends."""

    name: ClassVar[str] = "alone"
    summary: ClassVar[str] = "step 0.6 / E, no exchange at all"

    def changes(
        self, problem: ImagingDiffusion, instance: ImagingDiffusionInstance
    ) -> dict[str, Tensor]:
        """No sending."""
        silent = torch.zeros_like(instance.position[..., 0], dtype=torch.bool)
        return {"send": silent}


@dataclass(frozen=True, kw_only=True)
class RelativeVariance(Rule):
    """Weights inverse to the users' error powers on the samples at hand.

    Attributes:
        loading: Share of the noise power added to every error power, > 0.
    """

    name: ClassVar[str] = "relative-variance"
    summary: ClassVar[str] = "step 0.6 / E, weights inverse to the users' error powers"

    loading: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        _demand_in("loading", self.loading, (1e-9, 1e9))

    def changes(
        self, problem: ImagingDiffusion, instance: ImagingDiffusionInstance
    ) -> dict[str, Tensor]:
        """Weights by the error power of each neighbour and of oneself."""
        error = problem.residual(instance, instance.estimate)
        trust = 1 / (error + self.loading * problem.scenario.noise_w)
        eye = torch.eye(error.shape[-1], dtype=torch.bool, device=error.device)
        share = torch.where(instance.adjacency | eye, trust[..., None], 0)
        return {"weight": share / share.sum(-2, keepdim=True)}


@dataclass(frozen=True, kw_only=True)
class OneStepGreedyOracle(Solver):
    """A genie: gradient steps on the true image SNR after this very block, everyone sending.

    Adam on the logarithm of the step sizes and on the logits of the weights, from the best of some
    constant steps; the best iterate is returned. It sees image and noise, but not beyond the block.

    Attributes:
        steps: Constant steps it starts from.
        rate: Adam's learning rate.
        iterations: Adam's iterations.
    """

    name: ClassVar[str] = "one-step-greedy-oracle"
    summary: ClassVar[str] = "genie: gradient ascent on the true image SNR after the block"

    steps: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0, 1.4)
    rate: float = 0.2
    iterations: int = 15

    def __post_init__(self) -> None:
        for step in self.steps:
            _demand_in("steps", step, STEP_RANGE)
        if not self.steps:
            raise ScenarioError("steps must hold at least one step size, got none.")
        _demand_in("rate", self.rate, (1e-6, 10))
        _demand_count("iterations", self.iterations, 1)

    def solve(
        self,
        problem: Problem,
        instance: TensorRecord,
        *,
        budget: Budget = Budget(),
        seed: int = 0,
        start: TensorRecord | None = None,
    ) -> Solution:
        """Ascend; ``seed`` and ``start`` play no role."""
        p, i = _typed(problem, instance)
        best = self._constant(p, i)
        value = p.evaluate(i, best).objective
        limit = min(self.iterations, budget.iterations or self.iterations)
        point = {"step": best.step.log(), "weight": best.weight.clamp_min(1e-3).log()}
        moment = {name: (torch.zeros_like(t), torch.zeros_like(t)) for name, t in point.items()}
        for number in range(1, limit + 1):
            slope = self._slope(p, i, best, point)
            for name, grad in slope.items():
                first, second = moment[name]
                first, second = 0.9 * first + 0.1 * grad, 0.99 * second + 0.01 * grad.square()
                moment[name] = first, second
                move = first / (1 - 0.9**number)
                scale = (second / (1 - 0.99**number)).sqrt()
                point[name] = point[name] + self.rate * move / (scale + 1e-12)
            tried = _decision(p, i, best, point)
            reached = p.evaluate(i, tried).objective
            better = reached > value
            best, value = tried.where(better, best), torch.where(better, reached, value)
        spent = status_tensor(Status.BUDGET_SPENT, len(value), device=value.device)
        return Solution(decision=best, status=spent, iterations=torch.full_like(spent, limit))

    def _constant(
        self, problem: ImagingDiffusion, instance: ImagingDiffusionInstance
    ) -> ImagingDiffusionDecision:
        best = problem.floor(instance)
        value = torch.full_like(instance.position[:, 0, 0], -torch.inf)
        for step in self.steps:
            tried = best.replace(step=torch.full_like(best.step, step))
            reached = problem.evaluate(instance, tried).objective
            better = reached > value
            best, value = tried.where(better, best), torch.where(better, reached, value)
        return best

    def _slope(
        self,
        problem: ImagingDiffusion,
        instance: ImagingDiffusionInstance,
        like: ImagingDiffusionDecision,
        point: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        with torch.enable_grad():
            leaf = {name: t.detach().requires_grad_() for name, t in point.items()}
            decision = _decision(problem, instance, like, leaf)
            value = problem.evaluate(instance, decision).objective.sum()
            slopes = torch.autograd.grad(value, list(leaf.values()))
        return dict(zip(leaf, slopes, strict=True))


def _decision(
    problem: ImagingDiffusion,
    instance: ImagingDiffusionInstance,
    like: ImagingDiffusionDecision,
    point: dict[str, Tensor],
) -> ImagingDiffusionDecision:
    """Decision of log steps and weight logits."""
    eye = torch.eye(like.step.shape[-1], dtype=torch.bool, device=like.step.device)
    logits = point["weight"].masked_fill(~(instance.adjacency | eye), -torch.inf)
    return like.replace(
        step=point["step"].exp().clamp(*STEP_RANGE), weight=torch.softmax(logits, -2)
    )


def _is_due(problem: ImagingDiffusion, instance: ImagingDiffusionInstance, every: int) -> Tensor:
    """True for all users in every n-th block, (B, K)."""
    block = instance.elapsed // problem.scenario.num_samples
    return (block % every == 0)[:, None].expand(-1, instance.estimate.shape[1])


def _typed(
    problem: Problem, instance: TensorRecord
) -> tuple[ImagingDiffusion, ImagingDiffusionInstance]:
    if not isinstance(problem, ImagingDiffusion):
        raise ScenarioError(f"needs the problem imaging_diffusion, got {problem.name}.")
    if not isinstance(instance, ImagingDiffusionInstance):
        raise ScenarioError(f"needs its instances, got {type(instance).__name__}.")
    return problem, instance


def _demand_in(name: str, value: Any, allowed: tuple[float, float]) -> None:
    low, high = allowed
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ScenarioError(f"{name} must be in [{low:g}, {high:g}], got {value!r}.")


def _demand_count(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ScenarioError(f"{name} must be an integer >= {least}, got {value!r}.")
