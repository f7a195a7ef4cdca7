"""Power control in time: fading, a moving target, stale measurements, ramp limits, energy.

Slot k's decision is scored on slot k's gains; the agent knows slot k-1's (``delay_slots`` = 1). The
reward is a regret against the exact max-min optimum of the slot, so 0 is a clairvoyant network.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.process import ObservationBlock, Transition
from isac_gym.core.random import Streams
from isac_gym.core.units import db_to_linear, linear_to_db
from isac_gym.physics.channels import ar1_step
from isac_gym.physics.interference import max_min_level, sinr
from isac_gym.physics.motion import reflect_in_hexagon
from isac_gym.problems.power_control.model import (
    NormalisedNetwork,
    PowerControlDecision,
    PowerControlMetrics,
    fade,
    symmetrise,
)
from isac_gym.problems.power_control.view import FLOOR_DB, PowerControlState, PowerControlView

__all__ = [
    "DynamicPowerControl",
    "EnergyPowerControl",
    "StaticPowerControl",
]

_INITIAL_DB = -3.0
_LOSS_CAP_DB = 30.0
_OUTAGE_CAP_DB = 20.0


@dataclass(frozen=True, kw_only=True)
class _PowerControlProcess(PowerControlView):
    """What all variants share: action map, observations, exact regret, multi-agent view.

    Attributes:
        action_mode: ``levels``: entries are powers in dB; ``targets``: entries are relative SINR
            weights, powers are the exact weighted max-min point of the measured network.
        shield: Project the decision to feasibility with the measured gains.
        reward_mode: ``regret`` (against the exact optimum; for a position objective, whose optimum
            has no closed form, minus log10 of the squared bound in m^2) or ``sigma`` (minus log10
            of the worst range error in metres).
        power_price: Price of mean power in the reward; 0 as in the paper.
        local_reward_mode: ``shared`` or ``individual`` (loss only at the worst BS, own violation).
    """

    objective_names: ClassVar[tuple[str, ...]] = ("sensing", "communication", "power")

    reward_modes: ClassVar[tuple[str, ...]] = ("regret", "sigma")
    local_reward_modes: ClassVar[tuple[str, ...]] = ("shared", "individual")

    action_mode: str = "levels"
    shield: bool = True
    reward_mode: str = "regret"
    power_price: float = 0.0
    local_reward_mode: str = "shared"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("action_mode", self.action_mode, ("levels", "targets"))
        check_choice("reward_mode", self.reward_mode, self.reward_modes)
        check_choice("local_reward_mode", self.local_reward_mode, self.local_reward_modes)
        check_positive("power_price", self.power_price, allow_zero=True)

    def decode(self, state: PowerControlState, action: Tensor) -> PowerControlDecision:
        """Powers of an action (B, I) in [-1, 1]; the box holds, thresholds only with ``shield``.

        Raises:
            ShapeError: Wrong shape.
        """
        if action.shape != state.power.shape:
            raise ShapeError(
                f"action: shape {tuple(action.shape)}, expected {tuple(state.power.shape)} (B, I)."
            )
        action = action.to(state.power.dtype).clamp(-1, 1)
        if self.action_mode == "targets":
            level_db = self._levels_of_targets(state, action)
        else:
            level_db = FLOOR_DB + 20 * (action + 1)
        decision = PowerControlDecision(db_to_linear(self._reachable(state, level_db)).clamp(0, 1))
        return self.problem.project(state.measured, decision) if self.shield else decision

    def encode(self, state: PowerControlState, decision: PowerControlDecision) -> Tensor:
        """Action whose decoding is ``decision``, or the nearest within the range of levels."""
        if self.action_mode == "targets":
            network = self.problem.network(state.measured)
            weight_db = linear_to_db(sinr(decision.power, network.coupling, network.noise))
            return ((weight_db - weight_db.mean(-1, keepdim=True)) / 20).clamp(-1, 1)
        return (linear_to_db(decision.power) / 20 + 1).clamp(-1, 1)

    def _levels_of_targets(self, state: PowerControlState, action: Tensor) -> Tensor:
        network = self.problem.network(state.measured)
        weight = db_to_linear(20 * action)
        best = max_min_level(
            weight[:, :, None] * network.coupling,
            weight * network.noise,
            network.comm_coupling,
            network.comm_noise,
        )
        return linear_to_db(best.x).clamp(FLOOR_DB, 0)

    def _reachable(self, state: PowerControlState, level_db: Tensor) -> Tensor:
        return level_db.clamp(FLOOR_DB, 0)

    def _applied(
        self, state: PowerControlState, decision: PowerControlDecision
    ) -> PowerControlDecision:
        return decision

    def _score(
        self, state: PowerControlState, metrics: PowerControlMetrics, network: NormalisedNetwork
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reward (B,), objectives (B, 3) and local rewards (B, I) of a slot."""
        outage_db, outage = outage_penalty(state, metrics)
        if self.reward_mode == "sigma":
            sensing = -(linear_to_db(metrics.worst_sigma_m) / 10).clamp_max(6)
        elif self.problem.scenario.objective != "maxmin":
            sensing = metrics.objective / 10
        else:
            best = max_min_level(*network).level  # exact best worst-case SINR of the slot
            loss_db = (linear_to_db(best) - linear_to_db(metrics.worst_sinr)).clamp(0, _LOSS_CAP_DB)
            sensing = -loss_db / 10
        mean_power = metrics.total_power_w / state.instance.max_power_w.sum(-1)
        reward = sensing - outage - self.power_price * mean_power
        objectives = torch.stack([sensing, -outage, -mean_power], -1)
        if self.local_reward_mode == "shared":
            return reward, objectives, reward[:, None].expand(-1, self._count)
        is_worst = metrics.range_sigma_m >= metrics.worst_sigma_m[:, None]
        own = -outage_db.clamp_max(_OUTAGE_CAP_DB) / 5
        return reward, objectives, own + torch.where(is_worst, sensing[:, None], 0)

    def _start(self, streams: Streams, min_margin_db: float) -> PowerControlState:
        instance, fading = self.problem.sample_with_fading(streams, min_margin_db)
        comm, direct = self.problem.direct_links(instance.bs, instance.ue)
        batch = instance.batch_size
        zeros = torch.zeros_like(instance.bs_noise_w)
        heading = 2 * math.pi * streams.uniform("heading", 1)[:, 0]
        return PowerControlState(
            instance=instance,
            measured=instance,
            comm_los=comm[0],
            comm_scatter=comm[1],
            direct_los=direct[0],
            direct_scatter=direct[1],
            ue_fading=fading.ue,
            bs_fading=fading.bs,
            heading_rad=heading,
            power=zeros + db_to_linear(_INITIAL_DB),
            energy=zeros + self._energy_budget(),
            track_mean=zeros.new_zeros(batch, 4),
            track_covariance=torch.eye(4, dtype=zeros.dtype, device=zeros.device).repeat(
                batch, 1, 1
            ),
            slot=torch.zeros(batch, dtype=torch.int64, device=zeros.device),
        )


@dataclass(frozen=True, kw_only=True)
class StaticPowerControl(_PowerControlProcess):
    """One decision per instance, true gains known: a contextual bandit with an exact optimum."""

    def initial(self, streams: Streams) -> PowerControlState:
        """Instances of ``Problem.sample``."""
        return self._start(streams, self.problem.scenario.min_margin_db)

    def advance(
        self,
        state: PowerControlState,
        decision: PowerControlDecision,
        streams: Streams,
    ) -> Transition:
        """Score the decision and end the episode."""
        network = self.problem.network(state.instance)
        metrics = self.problem.evaluate_on(network, state.instance, decision)
        reward, objectives, local = self._score(state, metrics, network)
        slot = state.slot + 1
        return Transition(
            state=state.replace(power=decision.power, slot=slot),
            reward=reward,
            objectives=objectives,
            metrics=metrics,
            terminated=slot >= self.horizon,
            local_reward=local,
        )


@dataclass(frozen=True, kw_only=True)
class DynamicPowerControl(_PowerControlProcess):
    """Fading links, a moving target, stale gains and a ramp limit.

    Attributes:
        slot_s: Slot length in seconds.
        speed_mps: Target speed, constant in size.
        heading_std_rad: Standard deviation of the heading's random walk per slot.
        correlation: Fading correlation rho per slot: 0.99 easy, 0.95 default, 0.8 hard.
        delay_slots: Age of the known gains, 0 or 1.
        ramp_db: Largest change of a power per slot: 6 easy, 2 hard.
        reset_margin_db: Communication margin demanded of the first slot.
    """

    horizon: int = 100
    shield: bool = False
    slot_s: float = 0.1
    speed_mps: float = 10.0
    heading_std_rad: float = 0.2
    correlation: float = 0.95
    delay_slots: int = 1
    ramp_db: float = 6.0
    reset_margin_db: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("delay_slots", self.delay_slots, (0, 1))
        for name in ("slot_s", "ramp_db"):
            check_positive(name, getattr(self, name))
        for name in ("speed_mps", "heading_std_rad"):
            check_positive(name, getattr(self, name), allow_zero=True)
        reach_m, radius_m = self.speed_mps * self.slot_s, self.problem.scenario.hex_radius_m
        if reach_m > radius_m / 2:
            raise ScenarioError(
                f"speed_mps * slot_s must be <= hex_radius_m / 2 = {radius_m / 2:g} m, "
                f"got {reach_m:g} m."
            )
        if not 0 <= self.correlation <= 1:
            raise ScenarioError(f"correlation must be in [0, 1], got {self.correlation}.")

    def initial(self, streams: Streams) -> PowerControlState:
        """Instances of ``Problem.sample`` with margin ``reset_margin_db``.

        The known gains are a slot older; fading and motion are reversible, so that slot is drawn by
        stepping backwards.
        """
        margin_db = max(self.reset_margin_db, self.problem.scenario.min_margin_db)
        state = self._start(streams, margin_db)
        if self.delay_slots == 0:
            return state
        turned = state.replace(heading_rad=state.heading_rad + math.pi)
        straight = replace(self, heading_std_rad=0.0)  # the heading is that of the last move
        past = straight._evolve(turned, streams, "past")
        return state.replace(measured=past.instance)

    def advance(
        self, state: PowerControlState, decision: PowerControlDecision, streams: Streams
    ) -> Transition:
        """Score the decision on this slot, then let fading and target move on."""
        applied = self._applied(state, decision)
        network = self.problem.network(state.instance)
        metrics = self.problem.evaluate_on(network, state.instance, applied)
        state = self._sense(state, metrics, streams)
        reward, objectives, local = self._score(state, metrics, network)
        after = self._evolve(state, streams, "evolve")
        slot = state.slot + 1
        after = after.replace(
            measured=after.instance if self.delay_slots == 0 else state.instance,
            power=applied.power,
            energy=(state.energy - applied.power).clamp_min(0),
            slot=slot,
        )
        return Transition(
            state=self._predict(after),
            reward=reward,
            objectives=objectives,
            metrics=metrics,
            terminated=slot >= self.horizon,
            local_reward=local,
        )

    def _sense(
        self,
        state: PowerControlState,
        metrics: PowerControlMetrics,
        streams: Streams,
    ) -> PowerControlState:
        return state

    def _predict(self, state: PowerControlState) -> PowerControlState:
        return state

    def _reachable(self, state: PowerControlState, level_db: Tensor) -> Tensor:
        last = linear_to_db(state.power)
        limited = torch.minimum(torch.maximum(level_db, last - self.ramp_db), last + self.ramp_db)
        return limited.clamp(FLOOR_DB, 0)

    def _evolve(self, state: PowerControlState, streams: Streams, name: str) -> PowerControlState:
        count, dtype = self._count, state.power.dtype
        draw = streams.complex_normal(name, 2 * count, count, dtype=dtype)
        ue_fading = ar1_step(state.ue_fading, draw[:, :count], correlation=self.correlation)
        innovation = symmetrise(draw[:, count:])
        bs_fading = ar1_step(state.bs_fading, innovation, correlation=self.correlation)
        turn = self.heading_std_rad * streams.normal(f"{name}/heading", 1, dtype=dtype)[:, 0]
        position, heading = reflect_in_hexagon(
            state.instance.target[:, :2],
            state.heading_rad + turn,
            step_m=self.speed_mps * self.slot_s,
            radius_m=self.problem.scenario.hex_radius_m,
        )
        old = state.instance
        target = torch.cat([position, old.target[:, 2:]], -1)
        bs_echo, ue_echo = self.problem.echo_gains(old.bs, old.ue, target)
        moved = old.replace(
            target=target,
            comm_gain=fade((state.comm_los, state.comm_scatter), ue_fading),
            direct_gain=fade((state.direct_los, state.direct_scatter), bs_fading),
            bs_echo_gain=bs_echo,
            ue_echo_gain=ue_echo,
        )
        return state.replace(
            instance=moved, ue_fading=ue_fading, bs_fading=bs_fading, heading_rad=heading
        )


@dataclass(frozen=True, kw_only=True)
class EnergyPowerControl(DynamicPowerControl):
    """Each base station has a budget for the episode; once spent it falls to -40 dB.

    Attributes:
        mean_power_db: Budget as a mean power over the horizon, relative to the cap.
    """

    mean_power_db: float = -13.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not FLOOR_DB < self.mean_power_db <= 0:
            raise ScenarioError(f"mean_power_db must be in (-40, 0], got {self.mean_power_db}.")

    def _energy_budget(self) -> float:
        return self.horizon * db_to_linear(self.mean_power_db)

    def _applied(
        self, state: PowerControlState, decision: PowerControlDecision
    ) -> PowerControlDecision:
        floor = db_to_linear(FLOOR_DB)
        return PowerControlDecision(torch.minimum(decision.power, state.energy.clamp_min(floor)))

    def _extra_blocks(self) -> tuple[ObservationBlock, ...]:
        return (ObservationBlock("energy", self._count, "energy left / budget"),)

    def _extra_observation(self, state: PowerControlState) -> list[Tensor]:
        return [state.energy / self._energy_budget()]


def outage_penalty(state: PowerControlState, metrics: PowerControlMetrics) -> tuple[Tensor, Tensor]:
    """Shortfall of each user in dB, (B, I), and the penalty min(sum, 20 dB) / 5, (B,)."""
    threshold = state.instance.threshold
    floor = torch.finfo(threshold.dtype).tiny
    excess_db = linear_to_db(metrics.comm_sinr / threshold.clamp_min(floor))
    shortfall_db = torch.where(threshold > 0, -excess_db, 0).clamp_min(0)
    return shortfall_db, shortfall_db.sum(-1).clamp_max(_OUTAGE_CAP_DB) / 5


def check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Refuse a setting outside its allowed values with a ``ScenarioError``."""
    if value not in allowed:
        raise ScenarioError(f"{name} must be one of {allowed}, got {value!r}.")


def check_positive(name: str, value: float, *, allow_zero: bool = False) -> None:
    """Refuse a setting that is not finite and positive with a ``ScenarioError``."""
    if not (math.isfinite(value) and (value > 0 or (allow_zero and value == 0))):
        raise ScenarioError(f"{name} must be {'>= 0' if allow_zero else '> 0'}, got {value!r}.")
