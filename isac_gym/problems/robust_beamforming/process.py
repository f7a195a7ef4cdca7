"""Robust beamforming as a process: what both variants share, and the one-shot variant."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.process import Transition
from isac_gym.core.random import Streams
from isac_gym.physics.multistatic import steering
from isac_gym.physics.worst_case import worst_case
from isac_gym.problems.robust_beamforming.actions import (
    ACTION_MODES,
    ActionMap,
    Directions,
    directions,
)
from isac_gym.problems.robust_beamforming.anchors import unit_power
from isac_gym.problems.robust_beamforming.geometry import norm
from isac_gym.problems.robust_beamforming.records import (
    RobustBeamformingDecision,
    RobustBeamformingInstance,
    RobustBeamformingMetrics,
)
from isac_gym.problems.robust_beamforming.view import (
    RobustBeamformingState,
    RobustBeamformingView,
)

__all__ = [
    "RobustBeamformingProcess",
    "StaticRobustBeamforming",
    "demand_choice",
    "demand_number",
    "first_factor",
    "smooth_chebyshev",
]

_START_STEPS = 30  # of the sensing factors at the first slot


@dataclass(frozen=True, kw_only=True)
class RobustBeamformingProcess(RobustBeamformingView):
    """What both variants share: actions, the reward, the multi-agent view.

    Attributes:
        action_mode: ``raw``, ``structured`` or ``residual``; see ``actions.py``.
        smoothing: Temperature tau of the reward -tau logsumexp([p (1 - f1), (1 - p) (1 - f2)] /
            tau), a smooth version of the objective; at most tau log 2 below it.
        local_reward_mode: ``shared``, or ``difference``: the reward less what it would have been
            with the agent's station silent.
    """

    objective_names: ClassVar[tuple[str, ...]] = ("rate", "localisation")

    action_mode: str = "residual"
    smoothing: float = 0.01
    local_reward_mode: str = "shared"

    def __post_init__(self) -> None:
        super().__post_init__()
        demand_choice("action_mode", self.action_mode, ACTION_MODES)
        demand_choice("local_reward_mode", self.local_reward_mode, ("shared", "difference"))
        demand_number("smoothing", self.smoothing, low=1e-4, high=1.0)

    @property
    def _map(self) -> ActionMap:
        s = self.problem.scenario
        return ActionMap(
            mode=self.action_mode,
            users=s.num_users,
            streams=s.num_streams,
            antennas=s.num_antennas,
        )

    @property
    def local_action_size(self) -> int:
        """Numbers of one base station."""
        return self._map.size

    def decode(self, state: RobustBeamformingState, action: Tensor) -> RobustBeamformingDecision:
        """Decision of an action in [-1, 1]; within the power budgets.

        Raises:
            ShapeError: Wrong shape.
        """
        expected = (state.batch_size, self.action_size)
        if action.shape != expected:
            raise ShapeError(f"action: shape {tuple(action.shape)}, expected {expected}.")
        action = action.to(state.dtype).clamp(-1, 1).unflatten(1, (self._cells, -1))
        return self._decode(state, action)

    def encode(self, state: RobustBeamformingState, decision: RobustBeamformingDecision) -> Tensor:
        """Action whose decoding is ``decision``: exact but for ``structured``, where it is near."""
        stacked = torch.cat([decision.beam, decision.sensing.mT], 2)
        factor = stacked / state.measured.max_power_w.sqrt()[..., None, None]
        return self._map.encode(self._directions(state), factor).flatten(1)

    def _decode(self, state: RobustBeamformingState, action: Tensor) -> RobustBeamformingDecision:
        factor = self._map.decode(self._directions(state), action)
        factor = factor * state.measured.max_power_w.sqrt()[..., None, None]
        users = self.problem.scenario.num_users
        return RobustBeamformingDecision(factor[:, :, :users], factor[:, :, users:].mT)

    def _directions(self, state: RobustBeamformingState) -> Directions:
        streams = self.problem.scenario.num_streams
        return directions(state.measured, state.plan.flatten(3), streams)

    def _utilities(
        self,
        state: RobustBeamformingState,
        decision: RobustBeamformingDecision,
        metrics: RobustBeamformingMetrics,
    ) -> tuple[Tensor, Tensor]:
        """f1 and f2 of the slot, (B,) each."""
        return metrics.rate_utility, metrics.sensing_utility

    def _reward(self, state: RobustBeamformingState, utilities: tuple[Tensor, Tensor]) -> Tensor:
        """Smooth Chebyshev value, below 0: a utility above its anchor counts as 1."""
        paid = (utility.clamp_max(1) for utility in utilities)
        return smooth_chebyshev(state.instance.preference, *paid, smoothing=self.smoothing)

    def _local_reward(
        self,
        state: RobustBeamformingState,
        decision: RobustBeamformingDecision,
        reward: Tensor,
    ) -> Tensor:
        cells = self._cells
        if self.local_reward_mode == "shared":
            return reward[:, None].expand(-1, cells)
        rows = torch.arange(len(reward), device=reward.device).repeat_interleave(cells)
        silent = torch.eye(cells, dtype=torch.bool, device=reward.device)
        silent = silent.repeat(len(reward), 1)[:, :, None, None]
        many, without = state[rows], decision[rows]
        without = without.replace(
            beam=without.beam.masked_fill(silent, 0), sensing=without.sensing.masked_fill(silent, 0)
        )
        metrics = self.problem.evaluate(many.instance, without)
        alone = self._reward(many, self._utilities(many, without, metrics))
        return reward[:, None] - alone.unflatten(0, (-1, cells))

    def _price(self, state: RobustBeamformingState, decision: RobustBeamformingDecision) -> Tensor:
        """- d rate / d interference at the worst channels, (B, I, K); zeros without ``prices``."""
        if not self.prices:
            return state.price
        i, covariance = state.instance, self.problem.covariance(decision)
        worst = worst_case(i.channel, i.radius, decision.beam, covariance)
        met = i.channel + worst.error
        own = torch.diagonal(met, dim1=1, dim2=2).permute(0, 3, 1, 2)
        signal = (own.conj() * decision.beam).sum(-1).abs().square()
        tiny = torch.finfo(signal.dtype).tiny ** 0.5
        slope = worst.sinr.square() / ((1 + worst.sinr) * signal.clamp_min(tiny))
        return i.weight * torch.where(signal > tiny, slope, 0) / math.log(2)

    def _optimum(self, instance: RobustBeamformingInstance) -> tuple[Tensor, Tensor]:
        """Certified CRLB bound (B,) m^2 and sensing factors (B, I, N, 2, T) near it."""
        bound, factor = self.problem.sensing_optimum(instance, steps=_START_STEPS)
        return bound, factor.unflatten(3, (2, -1))

    def _blank(
        self, instance: RobustBeamformingInstance, measured: RobustBeamformingInstance
    ) -> RobustBeamformingState:
        """State of instances in which nothing has happened or is known of the targets' motion."""
        i = instance
        batch, _, count = i.angle.shape
        zero = torch.zeros_like(i.weight)
        joint = torch.zeros_like(i.angle)[:, 0, :, None, None, None].expand(-1, -1, 4, count, 4)
        track = torch.cat([measured.target, torch.zeros_like(i.target)], -1)
        return RobustBeamformingState(
            instance=instance,
            measured=measured,
            age=torch.zeros_like(i.max_power_w),
            velocity=torch.zeros_like(i.target),
            track=track,
            covariance=joint.clone(),
            yardstick=joint.clone(),
            factor=first_factor(instance),
            plan=first_factor(measured),
            rate_reference=i.rate_bound,
            energy=i.max_power_w,
            price=zero,
            power_w=torch.zeros_like(i.max_power_w),
            rate=zero,
            rmse_m=torch.zeros_like(i.target[..., 0]),
            slot=torch.zeros(batch, dtype=torch.int64, device=i.weight.device),
        )

    def _transition(
        self,
        state: RobustBeamformingState,
        after: RobustBeamformingState,
        decision: RobustBeamformingDecision,
        metrics: RobustBeamformingMetrics,
        utilities: tuple[Tensor, Tensor],
    ) -> Transition:
        """Transition from ``state`` to ``after``, which gets the last slot's results."""
        reward = self._reward(state, utilities)
        slot = state.slot + 1
        after = after.replace(
            price=self._price(state, decision),
            power_w=metrics.power_w,
            rate=state.instance.weight * torch.log2(1 + metrics.worst_sinr),
            slot=slot,
        )
        return Transition(
            state=after,
            reward=reward,
            objectives=torch.stack(utilities, -1),
            metrics=metrics,
            terminated=slot >= self.horizon,
            local_reward=self._local_reward(state, decision, reward),
        )


@dataclass(frozen=True, kw_only=True)
class StaticRobustBeamforming(RobustBeamformingProcess):
    """One decision per instance, targets known: preference-conditioned one-shot optimisation.

    The preference is drawn with the instance and observed; ``preference_spread = 0`` fixes it.
    """

    def initial(self, streams: Streams) -> RobustBeamformingState:
        """Instances of ``Problem.sample``."""
        instance = self.problem.sample(streams)
        state = self._blank(instance, instance.replace(true_channel=instance.channel))
        _, plan = self._optimum(instance)
        return state.replace(factor=plan, plan=plan)

    def advance(
        self,
        state: RobustBeamformingState,
        decision: RobustBeamformingDecision,
        streams: Streams,
    ) -> Transition:
        """Score the decision and end the episode."""
        metrics = self.problem.evaluate(state.instance, decision)
        after = state.replace(rmse_m=metrics.target_rmse_m)
        utilities = self._utilities(state, decision, metrics)
        return self._transition(state, after, decision, metrics, utilities)


def first_factor(instance: RobustBeamformingInstance) -> Tensor:
    """Beams and slopes towards every target, (B, I, N, 2, T), of full power."""
    a, slope = steering(instance.angle, instance.channel.shape[-1])
    start = torch.stack([a, slope / norm(slope)[..., None]], 2).permute(0, 1, 4, 2, 3)
    return unit_power(start.flatten(3), instance.max_power_w).reshape(start.shape)


def smooth_chebyshev(
    preference: Tensor, rate_utility: Tensor, sensing_utility: Tensor, *, smoothing: float
) -> Tensor:
    """-tau logsumexp([p (1 - f1), (1 - p) (1 - f2)] / tau), (B,), of three tensors (B,)."""
    lost = [preference * (1 - rate_utility), (1 - preference) * (1 - sensing_utility)]
    return -smoothing * torch.logsumexp(torch.stack(lost, -1) / smoothing, -1)


def demand_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Refuse a setting that is not among ``allowed`` with a ``ScenarioError``."""
    if value not in allowed:
        raise ScenarioError(f"{name} must be one of {allowed}, got {value!r}.")


def demand_number(name: str, value: float, *, low: float, high: float) -> None:
    """Refuse a setting outside [low, high], or NaN, with a ``ScenarioError``."""
    if not low <= value <= high:
        raise ScenarioError(f"{name} must be in [{low:g}, {high:g}], got {value!r}.")
