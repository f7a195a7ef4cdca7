"""Robust beamforming over many slots: ageing estimates and pilots, tracked targets, stored energy.

A slot is scored by the problem's own protocol: the exact worst case over the balls around the
estimates known when deciding, and the information at the true targets. Pilots are chosen with the
decision: they close the slot, take ``pilot_cost`` of the cell's rate in it, and give the next slot
a fresh estimate. So a slot's metrics are those of ``evaluate``, and pilots never act backwards.

The utilities of a slot are f1, the rate left after pilots over the interference-free rate with
perfect knowledge (an upper bound as long as the balls hold), and f2, the posterior bound of the
all-sensing policy's own recursion over the posterior bound. The all-sensing policy minimises each
slot's CRLB: a yardstick, not a certified bound of what a sequence of slots can reach.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.process import Transition
from isac_gym.core.random import Streams
from isac_gym.core.scene import Ellipse, Points
from isac_gym.problems.robust_beamforming import csi, targets
from isac_gym.problems.robust_beamforming.actions import PilotedDecision
from isac_gym.problems.robust_beamforming.anchors import (
    crlb_lower_bound,
    rate_upper_bound,
    unit_power,
)
from isac_gym.problems.robust_beamforming.geometry import channel_amplitude, echoes, norm
from isac_gym.problems.robust_beamforming.process import (
    RobustBeamformingProcess,
    demand_choice,
    demand_number,
    first_factor,
)
from isac_gym.problems.robust_beamforming.records import (
    RobustBeamformingDecision,
    RobustBeamformingInstance,
    RobustBeamformingMetrics,
)
from isac_gym.problems.robust_beamforming.view import Part, RobustBeamformingState

__all__ = ["DynamicRobustBeamforming"]

_LEAST_BUDGET = 1e-3  # of the full power, with an empty bucket
_MIX = 0.1  # of the fresh beams, in amplitude
_GAP_M = 0.2  # between estimated targets where echoes are not resolved


@dataclass(frozen=True, kw_only=True)
class DynamicRobustBeamforming(RobustBeamformingProcess):
    """Slots coupled by what is known of channels and targets, and by energy.

    Attributes:
        slot_s: Slot length in seconds.
        correlation: Fading correlation rho per slot, J0(2 pi f_D slot_s); 0.998 is 1.4 Hz of
            Doppler. At 0.98 one slot costs more certainty than pilots do, and pilots in every slot
            are best.
        coverage: Probability that a ball holds its link's channel, from an exact estimate. Fresh
            estimates have errors near the edge of their balls: 0.999 gives 0.982 in the slot after
            pilots and 0.996 on average.
        pilots: Who decides on pilots: ``agent`` (the last action entry of a station, > 0 sends
            them), or a rule that ignores that entry: ``never``, ``always``, ``greedy``. The greedy
            rule also speaks for decisions without pilot bits, e.g. a solver's.
        pilot_cost: Share of the cell's rate that pilots take.
        pilot_threshold: Greedy: send pilots where the next ball of an own link would exceed this
            share of the estimate.
        speed_mps: First speed of every target; the direction is random.
        acceleration_std_mps2: White acceleration per axis, the trackers' process noise as well.
        prior_position_m: Standard deviation of the first position estimates, per axis.
        prior_velocity_mps: Standard deviation of the first velocity estimates, per axis.
        refinements: Steps per slot of the sensing factors behind the certified CRLB bound.
        bucket_slots: Energy a station can store, in slots at full power; 0: no bucket.
        harvest: Energy that arrives per slot, in slots at full power.
    """

    horizon: int = 50
    slot_s: float = 0.01
    correlation: float = 0.998
    coverage: float = 0.999
    pilots: str = "agent"
    pilot_cost: float = 0.1
    pilot_threshold: float = 0.18
    speed_mps: float = 20.0
    acceleration_std_mps2: float = 20.0
    prior_position_m: float = 1.0
    prior_velocity_mps: float = 5.0
    refinements: int = 2
    bucket_slots: float = 0.0
    harvest: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        demand_choice("pilots", self.pilots, ("agent", "never", "always", "greedy"))
        for name, low, high in (
            ("slot_s", 1e-6, 1.0),
            ("correlation", 0.0, 1.0),
            ("coverage", 0.0, 1 - 1e-9),
            ("pilot_cost", 0.0, 1.0),
            ("pilot_threshold", 0.0, 1e6),
            ("speed_mps", 0.0, 1e4),
            ("acceleration_std_mps2", 0.0, 1e5),
            ("prior_position_m", 1e-6, 1e3),
            ("prior_velocity_mps", 1e-6, 1e3),
            ("refinements", 0, 1000),
            ("bucket_slots", 0.0, 1e6),
            ("harvest", 0.0, 1.0),
        ):
            demand_number(name, getattr(self, name), low=low, high=high)
        if 0 < self.bucket_slots < 1:
            raise ScenarioError(f"bucket_slots must be 0 or >= 1, got {self.bucket_slots!r}.")
        if self.speed_mps * self.slot_s > self._region_m / 2:
            raise ScenarioError(
                f"speed_mps must be <= {self._region_m / 2 / self.slot_s:g} m/s with this slot_s, "
                f"got {self.speed_mps!r}."
            )

    @property
    def local_action_size(self) -> int:
        """Numbers of one base station, the pilot bit last."""
        return super().local_action_size + 1

    @property
    def _region_m(self) -> float:
        """Half side of the square that targets stay in: the scenario's largest target box."""
        return self.problem.scenario.bs_radius_m / 2

    @property
    def _ball_factor(self) -> float:
        return csi.ball_factor(self.problem.scenario.num_antennas, self.coverage)

    def initial(self, streams: Streams) -> RobustBeamformingState:
        """Instances of ``Problem.sample`` with fresh estimates; targets known up to the prior."""
        instance = self.problem.sample(streams)
        count = instance.target.shape[1]
        heading = 2 * math.pi * streams.uniform("heading", count)
        velocity = self.speed_mps * torch.stack([torch.cos(heading), torch.sin(heading)], -1)
        state = torch.cat([instance.target, velocity], -1)
        deviation = [self.prior_position_m] * 2 + [self.prior_velocity_mps] * 2
        track = state + state.new_tensor(deviation) * streams.normal("prior", count, 4)
        measured = self._seen(instance, track)
        prior = targets.prior_covariance(
            instance.target, self.prior_position_m, self.prior_velocity_mps
        )
        blank = self._blank(instance, measured)
        start = blank.replace(
            velocity=velocity,
            track=track,
            covariance=prior.clone(),
            yardstick=prior.clone(),
            rate_reference=self._rate_reference(instance),
            energy=max(self.bucket_slots, 1.0) * instance.max_power_w,
        )
        seen_bound, plan = self._optimum(measured)
        return start.replace(
            measured=measured.replace(crlb_bound=seen_bound),
            factor=self._optimum(instance)[1],
            plan=plan,
        )

    def advance(
        self,
        state: RobustBeamformingState,
        decision: RobustBeamformingDecision,
        streams: Streams,
    ) -> Transition:
        """Score the decision; then channels age, pilots arrive, targets move and are tracked."""
        metrics = self.problem.evaluate(state.instance, decision)
        noise = streams.normal("echo", 2 * state.track.shape[1], dtype=state.dtype)
        sensed = self._sense(state, decision, noise)
        utilities = self._scores(sensed, decision, metrics)
        after = self._evolve(sensed, self._sent(state, decision), metrics.power_w, streams)
        after = after.replace(rmse_m=targets.bound_of(sensed.covariance).sqrt())
        return self._transition(state, after, decision, metrics, utilities)

    def _utilities(
        self,
        state: RobustBeamformingState,
        decision: RobustBeamformingDecision,
        metrics: RobustBeamformingMetrics,
    ) -> tuple[Tensor, Tensor]:
        quiet = state.track.new_zeros(state.batch_size, 2 * state.track.shape[1])
        return self._scores(self._sense(state, decision, quiet), decision, metrics)

    def _scores(
        self,
        sensed: RobustBeamformingState,
        decision: RobustBeamformingDecision,
        metrics: RobustBeamformingMetrics,
    ) -> tuple[Tensor, Tensor]:
        """f1 after pilots and f2 of the posterior covariances, (B,) each."""
        rate = (sensed.instance.weight * torch.log2(1 + metrics.worst_sinr)).sum(-1)
        kept = 1 - self.pilot_cost * self._sent(sensed, decision).to(rate.dtype)
        f1 = (kept * rate).sum(-1) / sensed.rate_reference
        least, reached = (
            targets.bound_of(each).sum(-1) for each in (sensed.yardstick, sensed.covariance)
        )
        return f1, least / reached

    def _sense(
        self, state: RobustBeamformingState, decision: RobustBeamformingDecision, noise: Tensor
    ) -> RobustBeamformingState:
        """The state with posterior track and covariance, its own and the all-sensing policy's."""
        i, information = state.instance, self.problem.information
        root = targets.information_root(information(i, self.problem.covariance(decision)))
        track, covariance = targets.measure(state.track, state.covariance, root, i.target, noise)
        full = torch.full_like(state.energy, self.problem.scenario.max_power_w)
        factor = unit_power(state.factor.flatten(3), full)
        best = targets.information_root(information(i, factor @ factor.mH))
        _, yardstick = targets.measure(state.track, state.yardstick, best, i.target, noise)
        return state.replace(track=track, covariance=covariance, yardstick=yardstick)

    def _evolve(
        self, state: RobustBeamformingState, sent: Tensor, power_w: Tensor, streams: Streams
    ) -> RobustBeamformingState:
        """The next slot, of a state with posterior track and covariances."""
        old, s = state.instance, self.problem.scenario
        known = csi.age(
            csi.Knowledge(old.channel, old.radius, old.true_channel),
            channel_amplitude(s, old.bs, old.user),
            sent,
            streams,
            correlation=self.correlation,
            factor=self._ball_factor,
            csi_error=s.csi_error,
        )
        draw = streams.normal("acceleration", old.target.shape[1], 2, dtype=state.dtype)
        position, velocity, turn = targets.move(
            old.target,
            state.velocity,
            self.acceleration_std_mps2 * draw,
            slot_s=self.slot_s,
            region_m=self._region_m,
        )
        track = targets.predict(state.track, self.slot_s, turn)
        covariance, yardstick = (
            targets.turned(
                targets.predict_covariance(each, self.slot_s, self.acceleration_std_mps2), turn
            )
            for each in (state.covariance, state.yardstick)
        )
        energy, budget = self._recharged(state, power_w)
        moved = self._at(old.replace(**known._asdict(), max_power_w=budget), position)
        rate = rate_upper_bound(moved.channel, moved.radius, moved.weight, budget)
        moved = moved.replace(rate_bound=rate)
        after = state.replace(
            instance=moved,
            measured=self._seen(moved, track),
            age=torch.where(sent, 0, state.age + 1),
            velocity=velocity,
            track=track,
            covariance=covariance,
            yardstick=yardstick,
            rate_reference=self._rate_reference(moved),
            energy=energy,
        )
        return self._bounded(after)

    def _recharged(self, state: RobustBeamformingState, power_w: Tensor) -> tuple[Tensor, Tensor]:
        """Energy stored and power budgets of the next slot, (B, I) each."""
        full = torch.full_like(power_w, self.problem.scenario.max_power_w)
        if self.bucket_slots == 0:
            return state.energy, full
        left = (state.energy - power_w).clamp_min(0) + self.harvest * full
        energy = torch.minimum(left, self.bucket_slots * full)
        return energy, torch.minimum(energy.clamp_min(_LEAST_BUDGET * full), full)

    def _at(
        self, instance: RobustBeamformingInstance, position: Tensor
    ) -> RobustBeamformingInstance:
        """The instance with its targets at other positions (B, T, 2)."""
        i, phase = instance, instance.reflection.angle()
        echo = echoes(self.problem.scenario, i.bs, position, phase)
        return i.replace(target=position, **echo)

    def _seen(
        self, instance: RobustBeamformingInstance, track: Tensor
    ) -> RobustBeamformingInstance:
        """What the agents know of an instance: targets at their predicted positions."""
        position = track[..., :2].clamp(-self._region_m, self._region_m)
        if self.problem.scenario.delay != "resolved":
            position = targets.keep_apart(position, _GAP_M)
        return self._at(instance.replace(true_channel=instance.channel), position)

    def _bounded(self, state: RobustBeamformingState) -> RobustBeamformingState:
        """The state with refined sensing factors and certified CRLB bounds, true and estimated.

        A little of the fresh beams is mixed in first: factors that had become blind for a direction
        could not follow the targets, and the bound would be loose there.
        """
        both = RobustBeamformingInstance.cat([state.instance, state.measured])
        old = torch.cat([state.factor, state.plan]) + _MIX * first_factor(both)
        bound, factor = crlb_lower_bound(
            partial(self.problem.information, both),
            old.flatten(3),
            both.max_power_w,
            steps=self.refinements,
        )
        factor, batch = factor.reshape(old.shape), state.batch_size
        return state.replace(
            instance=state.instance.replace(crlb_bound=bound[:batch]),
            measured=state.measured.replace(crlb_bound=bound[batch:]),
            factor=factor[:batch],
            plan=factor[batch:],
        )

    def _rate_reference(self, instance: RobustBeamformingInstance) -> Tensor:
        i, full = instance, self.problem.scenario.max_power_w
        power = torch.full_like(i.max_power_w, full)
        return rate_upper_bound(i.true_channel, torch.zeros_like(i.radius), i.weight, power)

    # --- pilots -------------------------------------------------------------------------------

    def _decode(self, state: RobustBeamformingState, action: Tensor) -> PilotedDecision:
        plain = super()._decode(state, action[..., :-1])
        sent = action[..., -1] > 0 if self.pilots == "agent" else self._rule(state)
        return PilotedDecision(plain.beam, plain.sensing, sent)

    def encode(self, state: RobustBeamformingState, decision: RobustBeamformingDecision) -> Tensor:
        """As the base; a decision without pilot bits gets the greedy rule's."""
        plain = super().encode(state, decision).unflatten(1, (self._cells, -1))
        sent = torch.where(self._sent(state, decision), 1.0, -1.0).to(plain.dtype)
        return torch.cat([plain, sent[..., None]], -1).flatten(1)

    def _sent(self, state: RobustBeamformingState, decision: RobustBeamformingDecision) -> Tensor:
        """Pilot bits of a decision, (B, I) bool."""
        is_piloted = isinstance(decision, PilotedDecision)
        return decision.pilots if is_piloted else self._rule(state)

    def _rule(self, state: RobustBeamformingState) -> Tensor:
        """Pilot bits of the rules, (B, I) bool; ``agent`` falls back on the greedy one."""
        if self.pilots in ("never", "always"):
            return torch.full_like(state.age, self.pilots == "always", dtype=torch.bool)
        i, s = state.measured, self.problem.scenario
        grown = csi.grown_radius(
            i.radius,
            channel_amplitude(s, i.bs, i.user),
            s.num_antennas,
            correlation=self.correlation,
            factor=self._ball_factor,
        )
        is_loose = grown > self.pilot_threshold * self.correlation * norm(i.channel)
        return torch.diagonal(is_loose, dim1=1, dim2=2).any(1)  # own links (B, K, I)

    # --- view ---------------------------------------------------------------------------------

    def _station_parts(self) -> tuple[Part, ...]:
        capacity = max(self.bucket_slots, 1.0) * self.problem.scenario.max_power_w
        return (
            *super()._station_parts(),
            Part("age", 1, "cell's estimates, slots / 10", lambda state: state.age / 10),
            Part("energy", 1, "energy over capacity", lambda state: state.energy / capacity),
        )

    def _shared_parts(self) -> tuple[Part, ...]:
        def deviation(state: RobustBeamformingState) -> Tensor:
            own = torch.diagonal(state.covariance, dim1=1, dim2=3)  # (B, 4, 4, T)
            variance = torch.diagonal(own, dim1=1, dim2=2).transpose(1, 2)[:, :2]  # (B, 2, T)
            return variance.clamp_min(1e-12).log10().flatten(1) / 2

        size = 2 * self.problem.scenario.num_targets
        return (
            *super()._shared_parts(),
            Part(
                "spread", size, "log10 of the predicted position deviations in m (2 T)", deviation
            ),
            Part("time", 1, "slot / horizon", lambda state: state.slot[:, None] / self.horizon),
        )

    def _track_points(self, row: RobustBeamformingState) -> tuple[Points, ...]:
        return (Points(label="estimate", xy_m=row.measured.target[0].numpy(), role="estimate"),)

    def _ellipses(self, row: RobustBeamformingState) -> tuple[Ellipse, ...]:
        return tuple(
            Ellipse(
                label=f"target {index}, predicted, 1 sigma",
                centre_m=row.track[0, index, :2].numpy(),
                covariance_m2=row.covariance[0, index, :2, index, :2].numpy(),
            )
            for index in range(row.track.shape[1])
        )
