"""The OTA-FEEL problem: precoders of one frame that serve an aggregation and a position bound.

Source: the OTA-FEEL paper, MOOP1 of section IV, with its position bound replaced and its errors
listed in ``docs/ota_feel.md``.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.linalg import inverse_trace
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord, demand
from isac_gym.core.units import linear_to_db
from isac_gym.physics.aggregation import task_errors
from isac_gym.physics.echo import fisher_informations, paper_bound, response
from isac_gym.problems.ota_feel.records import OtaFeelDecision, OtaFeelInstance, OtaFeelMetrics
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario

__all__ = [
    "OtaFeel",
    "OtaFeelDecision",
    "OtaFeelInstance",
    "OtaFeelMetrics",
    "gains",
    "power_of",
    "within_budget",
]

_PLACINGS = 16  # tries to place a device away from the target
_UPLINK_M = 75.0  # distance at which a channel has unit power


@dataclass(frozen=True, kw_only=True)
class OtaFeel(Problem):
    """Minimise aggregation error and position bound under the devices' power budgets."""

    name: ClassVar[str] = "ota_feel"
    scenario_type: ClassVar[type[OtaFeelScenario]] = OtaFeelScenario
    instance_type: ClassVar[type[TensorRecord]] = OtaFeelInstance
    decision_type: ClassVar[type[TensorRecord]] = OtaFeelDecision
    metrics_type: ClassVar[type[TensorRecord]] = OtaFeelMetrics
    objective_unit: ClassVar[str] = "dB"

    scenario: OtaFeelScenario = OtaFeelScenario()

    @property
    def axis_sizes(self) -> dict[str, int]:
        """Devices, server antennas, device antennas, streams."""
        s = self.scenario
        return {
            "K": s.num_devices,
            "N": s.server_antennas,
            "M": s.device_antennas,
            "R": s.num_tasks,
        }

    def sample(self, streams: Streams) -> OtaFeelInstance:
        """Draw target, devices, channels and weights."""
        s = self.scenario
        target = self.place_target(streams)
        device = self.place_devices(streams, target)
        fading = streams.complex_normal(
            "channel", s.num_devices, s.server_antennas, s.device_antennas
        )
        one = torch.ones_like(device[..., 0])
        return OtaFeelInstance(
            position=device,
            target=target,
            channel=self.channel_amplitude(device)[..., None, None] * fading,
            weight=self._weights(streams),
            max_power_w=s.max_power_w * one,
            echo_noise_w=s.echo_noise_w * one,
        )

    def place_target(self, streams: Streams) -> Tensor:
        """Target (B, 3) m, uniform over its part of the ring and over the heights."""
        s, u = self.scenario, streams.uniform("target", 3)
        ground = _ring(u[:, :2], s.min_target_radius_m, s.max_target_radius_m, s.arc_rad)
        return torch.cat([ground, s.max_target_height_m * u[:, 2:]], -1)

    def place_devices(self, streams: Streams, target: Tensor) -> Tensor:
        """Devices (B, K, 3) m, uniform over their part of the ring, away from the target."""
        s = self.scenario
        u = streams.uniform("device", _PLACINGS, s.num_devices, 2)
        u[:, -1, :, 0] = 0  # the last try lies on the inner radius, which is far enough
        ground = _ring(u, s.min_radius_m, s.max_radius_m, s.arc_rad)
        offset = ground - target[:, None, None, :2]
        is_good = offset.square().sum(-1) >= s.min_target_distance_m**2
        is_good[:, -1] = True
        first = is_good.to(torch.int64).argmax(1)
        placed = ground.take_along_dim(first[:, None, :, None], 1)[:, 0]
        height = torch.full_like(placed[..., :1], s.device_height_m)
        return torch.cat([placed, height], -1)

    def channel_amplitude(self, device: Tensor) -> Tensor:
        """Root mean square of the entries of each channel, (B, K), of positions (B, K, 3)."""
        distance = device.square().sum(-1).sqrt() / _UPLINK_M
        return (-self.scenario.uplink_exponent / 2 * distance.log()).exp()

    def _weights(self, streams: Streams) -> Tensor:
        s = self.scenario
        draw = s.weight_spread * streams.normal("weight", s.num_devices, s.num_tasks)
        return torch.softmax(draw, 1)

    def responses(self, instance: OtaFeelInstance) -> tuple[Tensor, Tensor]:
        """a_k (B, K, M) and its derivatives by the position (B, K, M, 3), in double precision."""
        s = self.scenario
        return response(
            instance.position.to(torch.float64),
            instance.target.to(torch.float64),
            array=s.array,
            num_elements=s.device_antennas,
            gain=s.reference_gain,
            exponent=s.path_exponent,
            wavelength_m=s.wavelength_m,
        )

    def information(
        self, instance: OtaFeelInstance, decision: OtaFeelDecision, *, interference: bool
    ) -> Tensor:
        """Fisher information of the target's position, (B, 3, 3) 1/m^2, double, no prior."""
        return self.informations(instance, decision)[int(interference)]

    def informations(
        self, instance: OtaFeelInstance, decision: OtaFeelDecision
    ) -> tuple[Tensor, Tensor]:
        """Both :meth:`information`, without and with the other devices' echoes."""
        a, slope = self.responses(instance)
        return fisher_informations(
            a,
            slope,
            decision.precoder.to(torch.complex128),
            instance.echo_noise_w.to(torch.float64),
            frame_length=self.scenario.frame_length,
        )

    def bound(self, information: Tensor) -> Tensor:
        """Position bound tr (J + prior)^-1, (B,) m^2, of J (B, 3, 3); that of no echoes at most."""
        variance = self.scenario.prior_std_m**2
        eye = torch.eye(3, dtype=information.dtype, device=information.device)
        return inverse_trace(information + eye / variance).clamp_max(3 * variance)

    def errors(self, instance: OtaFeelInstance, decision: OtaFeelDecision) -> Tensor:
        """Aggregation error of each stream, (B, R), in double: small ones are lost in single."""
        gain = gains(instance, decision).to(torch.complex128)
        weight = instance.weight.to(torch.float64)
        return task_errors(gain, weight, self.scenario.noise_w, pulse=self.scenario.pulse)

    def project(self, instance: OtaFeelInstance, decision: OtaFeelDecision) -> OtaFeelDecision:
        """Scale the precoder of every device that is above its budget to it."""
        return OtaFeelDecision(within_budget(decision.precoder, instance.max_power_w))

    def floor(self, instance: OtaFeelInstance) -> OtaFeelDecision:
        """Full power, stream i on antenna i: nothing is known of channels and target."""
        s, i = self.scenario, instance
        each = (i.max_power_w / s.num_tasks).sqrt()[..., None, None]
        eye = torch.eye(s.device_antennas, s.num_tasks, dtype=i.channel.dtype, device=i.device)
        return OtaFeelDecision(each * eye)

    def evaluate(self, instance: OtaFeelInstance, decision: OtaFeelDecision) -> OtaFeelMetrics:
        """All metrics of a decision; total and differentiable."""
        i, s = instance, self.scenario
        errors = self.errors(i, decision).to(i.dtype)
        wanted = i.weight.square().sum(1)
        tiny = torch.finfo(i.dtype).tiny
        mse = errors.sum(-1)
        nmse = mse / wanted.sum(-1).clamp_min(tiny)
        ideal, disturbed = (self.bound(each).to(i.dtype) for each in self.informations(i, decision))
        scored = ideal if s.sensing == "ideal" else disturbed
        power = power_of(decision.precoder)
        share = s.sensing_weight
        return OtaFeelMetrics(
            objective=-(1 - share) * linear_to_db(nmse) - share * linear_to_db(scored),
            violation=(power / i.max_power_w - 1).clamp_min(0).amax(-1),
            nmse=nmse,
            nmse_task=errors / wanted.clamp_min(tiny),
            mse=mse,
            crb_m2=scored,
            crb_ideal_m2=ideal,
            crb_interference_m2=disturbed,
            crb_paper_m2=self._paper_bound(i, decision),
            power_w=power,
        )

    def _paper_bound(self, instance: OtaFeelInstance, decision: OtaFeelDecision) -> Tensor:
        s = self.scenario
        return paper_bound(
            instance.position,
            decision.precoder,
            instance.echo_noise_w,
            frame_length=s.frame_length,
            gain=s.reference_gain,
            exponent=s.path_exponent,
            min_distance_m=s.min_target_distance_m,
            array=s.array,
            wavelength_m=s.wavelength_m,
        )

    def validate(self, instance: TensorRecord, decision: TensorRecord | None = None) -> None:
        """As the base, and: positive budgets and noise, weights >= 0, a target apart from devices.

        Raises:
            ShapeError: Names the record, the field and what is allowed.
        """
        super().validate(instance, decision)
        if not isinstance(instance, OtaFeelInstance) or instance.batch_size == 0:
            return
        i, label = instance, "OtaFeelInstance"
        demand(i.max_power_w > 0, f"{label}.max_power_w", "> 0")
        demand(i.echo_noise_w > 0, f"{label}.echo_noise_w", "> 0")
        demand(i.weight >= 0, f"{label}.weight", ">= 0")
        demand(i.weight.sum(1) > 0, f"{label}.weight", "> 0 for some device in every stream")
        offset = (i.position - i.target[:, None]).square().sum(-1)
        demand(offset > 0, f"{label}.target", "at no device's position")


def gains(instance: OtaFeelInstance, decision: OtaFeelDecision) -> Tensor:
    """G_k = H_k C_k, what the server hears of every stream, (B, K, N, R) sqrt(W)."""
    return instance.channel @ decision.precoder


def power_of(precoder: Tensor) -> Tensor:
    """|C_k|_F^2, (B, K) W, of C (B, K, M, R)."""
    return (precoder.real.square() + precoder.imag.square()).sum((-2, -1))


def within_budget(precoder: Tensor, budget: Tensor) -> Tensor:
    """C (B, K, M, R) with each device scaled down to at most its budget (B, K) W."""
    scale = (budget / torch.maximum(power_of(precoder), budget)).sqrt()
    return precoder * scale[..., None, None]


def _ring(u: Tensor, inner_m: float, outer_m: float, arc_rad: float) -> Tensor:
    """Points (..., 2) m, uniform in area, of uniforms (..., 2)."""
    radius = (inner_m**2 + (outer_m**2 - inner_m**2) * u[..., 0]).sqrt()
    angle = arc_rad * (u[..., 1] - 0.5)
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)
