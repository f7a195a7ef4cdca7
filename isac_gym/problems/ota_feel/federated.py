r"""Federated rounds with real training: networks, uplink, echoes and the search for the target.

A round: devices have trained on their own images and announced the scales of their updates and of
their messages of localisation, which are weights of the two sums. Precoders are chosen; updates and
messages travel in the same transmission; the server adds the average update to the global network
and moves its estimate of the target. The echoes of the round are heard by the devices, and what
they tell travels from the next round on. Then channels fade, and the devices train again.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.process import Transition
from isac_gym.core.random import Streams
from isac_gym.physics.channels import ar1_step
from isac_gym.problems.ota_feel.echoes import Echoes, hear, hear_ideal, sounding
from isac_gym.problems.ota_feel.exchange import Sums, exchange
from isac_gym.problems.ota_feel.federated_settings import SCHEMES, FederatedSettings
from isac_gym.problems.ota_feel.federated_view import OtaFeelFederatedState
from isac_gym.problems.ota_feel.locating import Known, groups
from isac_gym.problems.ota_feel.model import power_of
from isac_gym.problems.ota_feel.records import OtaFeelDecision, OtaFeelInstance, OtaFeelMetrics
from isac_gym.problems.ota_feel.tracking import first_belief, kept_apart
from isac_gym.problems.ota_feel.transmission import pulsed, scale_updates

__all__ = ["SCHEMES", "OtaFeelFederated"]

_LEAST_BUDGET = 1e-6  # of the full power, once the energy is spent
_LEAST_ERROR_M = 0.01  # the rewarded error is cut here
_LEAST_VARIANCE_M2 = 0.01  # of what is known of the target before


@dataclass(frozen=True, kw_only=True)
class OtaFeelFederated(FederatedSettings):
    """Precoders of every round of a federation that learns and locates; see the settings."""

    objective_names: ClassVar[tuple[str, ...]] = ("learning", "localisation")

    # --- time ---------------------------------------------------------------------------------

    def initial(self, streams: Streams) -> OtaFeelFederatedState:
        """Instances of ``Problem.sample``; images are split, every device has trained once."""
        instance = self.problem.sample(streams)
        full = instance.max_power_w
        order, images, weights = self._data(streams)
        zero, silent = torch.zeros_like(full[:, 0]), self._silence(instance)
        candidates = self.locating.first(streams).to(full)
        accuracy, loss = self._tested(weights)
        blank = OtaFeelFederatedState(
            instance=instance,
            measured=instance,
            plan=torch.zeros_like(instance.channel[:, :, : instance.weight.shape[-1]].mT),
            role=self.first_role(instance),
            estimate=candidates[:, 0],
            covariance=torch.zeros_like(full[:, :3, None].expand(-1, -1, 3)),
            energy=self.horizon * self.energy * full,
            power_w=torch.zeros_like(full),
            nmse_task=torch.ones_like(instance.weight[:, 0]),
            slot=torch.zeros_like(streams.seed),
            weights=weights,
            delta=weights[:, None],
            order=order,
            images=images,
            mean=torch.zeros_like(full),
            divisor=torch.zeros_like(full),
            factor=zero,
            offset=zero,
            cross=silent,
            power=silent,
            total=silent,
            samples=zero,
            sounded=silent,
            candidates=candidates,
            message=zero[:, None, None],
            accuracy=accuracy.to(full),
            loss=loss.to(full),
            error_m=_distance(candidates[:, 0], instance.target),
        )
        is_new = torch.ones_like(zero, dtype=torch.bool)
        return self._ready(blank, instance.channel, is_new, streams)

    def advance(
        self, state: OtaFeelFederatedState, decision: OtaFeelDecision, streams: Streams
    ) -> Transition:
        """Transmit, update network and estimate, hear the echoes; then fade, train, announce."""
        i, s = state.instance, self.problem.scenario
        metrics = self.problem.evaluate(i, decision)
        sent = self.problem.project(i, decision)
        sums = exchange(self, state, self._known(state), sent, streams)
        heard = self._heard_echoes(state, sent, streams)
        energy = (state.energy - power_of(sent.precoder)).clamp_min(0)
        slot = state.slot + 1
        is_new = slot % self.coherence == 0
        moved = i.replace(
            channel=self._faded(i, is_new, streams),
            max_power_w=energy.clamp(_LEAST_BUDGET * s.max_power_w, s.max_power_w),
        )
        reached = self._learned(heard.replace(instance=moved, energy=energy, slot=slot), sums)
        reached = reached.replace(power_w=metrics.power_w, nmse_task=metrics.nmse_task)
        seen = i.channel if self.delay_rounds else moved.channel
        return self._transition(state, self._ready(reached, seen, is_new, streams), metrics)

    def _transition(
        self,
        state: OtaFeelFederatedState,
        after: OtaFeelFederatedState,
        metrics: OtaFeelMetrics,
    ) -> Transition:
        """Falls of the test loss and of the tenfold of the target error are the objectives."""
        errors = torch.stack([state.error_m, after.error_m], -1).clamp_min(_LEAST_ERROR_M)
        fall = errors.log10().diff(dim=-1)[:, 0]
        objectives = torch.stack([state.loss - after.loss, -fall], -1)
        reward = self.preference * objectives[:, 0] + (1 - self.preference) * objectives[:, 1]
        return Transition(
            state=after,
            reward=reward,
            objectives=objectives,
            metrics=metrics,
            terminated=after.slot >= self.horizon,
            local_reward=reward[:, None].expand(-1, self._devices),
        )

    # --- learning -----------------------------------------------------------------------------

    def _data(self, streams: Streams) -> tuple[Tensor, Tensor, Tensor]:
        """Images device by device (B, J), their numbers (B, K), first global weights (B, d)."""
        devices, training = self._devices, self.training
        if not self.learns:
            none = torch.zeros_like(streams.seed)[:, None]
            return none, none.expand(-1, devices), none.to(torch.float32)
        order, offset = training.split(
            streams, devices, concentration=self.concentration, least=self.least_images
        )
        return order, offset.diff(dim=-1), training.start(streams)

    def _tested(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Accuracy and loss, (B,) each; zeros where nothing is learned."""
        if not self.learns:
            zero = torch.zeros_like(weights[:, 0])
            return zero, zero
        return self.training.test(weights)

    def _learned(self, state: OtaFeelFederatedState, sums: Sums) -> OtaFeelFederatedState:
        """The state with the sums in the global network and in the estimate."""
        weights = state.weights + sums.update
        accuracy, loss = self._tested(weights)
        estimate = sums.candidates[:, 0]
        return state.replace(
            weights=weights,
            accuracy=accuracy.to(state.dtype),
            loss=loss.to(state.dtype),
            candidates=sums.candidates,
            estimate=estimate,
            error_m=_distance(estimate, state.instance.target),
        )

    # --- echoes -------------------------------------------------------------------------------

    def _silence(self, instance: OtaFeelInstance) -> Tensor:
        m = instance.channel.shape[-1]
        return torch.zeros_like(instance.channel[:, :, :1, :1].expand(-1, -1, m, m))

    def _known(self, state: OtaFeelFederatedState) -> Known:
        cross, power, total = (
            each.to(torch.complex128) for each in (state.cross, state.power, state.total)
        )
        return Known(
            instance=state.instance,
            echoes=Echoes(cross, power, total, state.samples.to(torch.float64)),
            sounded=state.sounded,
            candidates=state.candidates,
            slot=state.slot,
        )

    def _heard_echoes(
        self, state: OtaFeelFederatedState, sent: OtaFeelDecision, streams: Streams
    ) -> OtaFeelFederatedState:
        """The state with the echoes of a round; with ``frame``, only the first round's count."""
        listens = torch.ones_like(state.slot, dtype=torch.bool)
        if self.echoes == "frame":
            listens = state.slot == 0
            if not bool(listens.any()):
                return state
        p, i, s = self.problem, state.instance, self.problem.scenario
        if s.sensing == "ideal":
            new = hear_ideal(p, i, sent.precoder, streams, "echo")
        else:
            symbols = streams.complex_normal("sounding", s.num_devices, s.num_tasks, s.frame_length)
            waveform = sent.precoder.to(torch.complex128) @ pulsed(symbols, s.pulse)
            new = hear(p, i, waveform, streams, "echo")
        expected = sounding(i, sent.precoder, s.frame_length)
        is_heard = listens[:, None, None, None]
        matrices = {
            name: getattr(state, name) + torch.where(is_heard, each, 0).to(state.cross)
            for name, each in (
                ("cross", new.cross),
                ("power", new.power),
                ("total", new.total),
                ("sounded", expected),
            )
        }
        samples = state.samples + torch.where(listens, new.samples, 0).to(state.samples)
        return state.replace(samples=samples, **matrices)

    def _faded(self, instance: OtaFeelInstance, is_new: Tensor, streams: Streams) -> Tensor:
        draw = streams.complex_normal("channel", *instance.channel.shape[1:], dtype=instance.dtype)
        amplitude = self.problem.channel_amplitude(instance.position)[..., None, None]
        new = ar1_step(instance.channel, amplitude * draw, correlation=self.correlation)
        return torch.where(is_new[:, None, None, None], new, instance.channel)

    # --- the next round -----------------------------------------------------------------------

    def _ready(
        self,
        state: OtaFeelFederatedState,
        seen: Tensor,
        is_new: Tensor,
        streams: Streams,
    ) -> OtaFeelFederatedState:
        """The state with trained devices, announced scales, and a base design for them.

        Args:
            state: Everything but what depends on the training of the round.
            seen: Channels as measured, (B, K, N, M).
            is_new: Lanes whose channels are new, (B,).
            streams: Randomness of the batches.
        """
        delta = torch.zeros_like(state.weights[:, None].expand(-1, self._devices, -1))
        if self.learns:
            offset = torch.nn.functional.pad(state.images.cumsum(-1), (1, 0))
            delta = self.training.updates(state.weights, state.order, offset, streams)
        scaling = scale_updates(delta, self.shares(state), rule=self.scaling)
        known = self._known(state)
        message = self.locating.message(known)
        columns = []
        if self.locates:
            columns.append(self.locating.weights(known, message).to(state.dtype))
        if self.learns:
            columns.append(scaling.weight.to(state.dtype))
        tasks = self.problem.scenario.num_tasks
        columns = (columns or [self.shares(state)]) * tasks
        instance = state.instance.replace(weight=torch.stack(columns[:tasks], -1))
        measured = self._measured(state, instance.replace(channel=seen))
        return state.replace(
            instance=instance,
            measured=measured,
            plan=self._designed(measured, state.role, state.plan, is_new),
            covariance=self._covariance(known).to(state.dtype),
            delta=delta,
            mean=scaling.mean.to(state.dtype),
            divisor=scaling.divisor.to(state.dtype),
            factor=scaling.factor.to(state.dtype),
            offset=scaling.offset.to(state.dtype),
            message=message.to(state.dtype),
        )

    def _measured(self, state: OtaFeelFederatedState, instance: OtaFeelInstance) -> OtaFeelInstance:
        """An instance with the target where the server estimates it, never at a device."""
        least = self.problem.scenario.min_target_distance_m
        return instance.replace(target=kept_apart(state.estimate, instance.position, least))

    def _covariance(self, known: Known) -> Tensor:
        """Inverse of the server's information and the prior's, (B, 3, 3) m^2."""
        points = known.candidates[:, :1].to(torch.float64)
        prior = first_belief(self.problem.scenario, points[:, 0]).covariance
        prior = torch.diagonal(prior, dim1=1, dim2=2) + _LEAST_VARIANCE_M2
        whole = self.locating.information(known, points)[:, 0] + torch.diag_embed(1 / prior)
        factor, _ = torch.linalg.cholesky_ex(whole, check_errors=False)
        eye = torch.eye(3, dtype=whole.dtype, device=whole.device)
        return torch.cholesky_solve(eye.expand_as(whole), factor)

    def _designed(
        self, measured: OtaFeelInstance, role: Tensor, last: Tensor, is_new: Tensor
    ) -> Tensor:
        """Base design, (B, K, M, R): from the last one, but anew where channels are new."""
        plan = last
        for is_new_rows, rows in groups(is_new):
            start = None if is_new_rows else last[rows]
            count = self.first_rounds if is_new_rows else self.rounds
            found = self._planned(measured[rows], role[rows], start, count)
            plan = found if isinstance(rows, slice) else plan.index_copy(0, rows, found)
        return plan


def _distance(estimate: Tensor, target: Tensor) -> Tensor:
    return (estimate - target).square().sum(-1).sqrt()
