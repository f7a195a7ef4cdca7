"""Power control for tracking: powers steer the accuracy of a Kalman filter fed with the ranges."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock
from isac_gym.core.random import Streams
from isac_gym.core.scene import Ellipse, Points
from isac_gym.core.units import linear_to_db
from isac_gym.physics.motion import velocity
from isac_gym.physics.tracking import filter_predict, filter_update
from isac_gym.problems.power_control.model import NormalisedNetwork, PowerControlMetrics
from isac_gym.problems.power_control.process import (
    DynamicPowerControl,
    check_positive,
    outage_penalty,
)
from isac_gym.problems.power_control.view import PowerControlState

__all__ = ["TrackingPowerControl", "posterior_std"]


@dataclass(frozen=True, kw_only=True)
class TrackingPowerControl(DynamicPowerControl):
    """Powers steer the accuracy of an extended Kalman filter fed with the ranges.

    Attributes:
        reward_mode: ``posterior``, the only one: minus log10 of the filter's position deviation.
        acceleration_std_mps2: Process noise of the constant-velocity model; smaller than what the
            default heading noise amounts to (about 20 m/s^2), so the filter is optimistic in turns.
        prior_position_m: Standard deviation of the first position estimate, per axis.
        prior_velocity_mps: Standard deviation of the first velocity estimate, per axis.
    """

    objective_names: ClassVar[tuple[str, ...]] = ("tracking", "communication", "power")

    reward_modes: ClassVar[tuple[str, ...]] = ("posterior",)
    local_reward_modes: ClassVar[tuple[str, ...]] = ("shared",)

    reward_mode: str = "posterior"
    horizon: int = 50
    acceleration_std_mps2: float = 3.0
    prior_position_m: float = 20.0
    prior_velocity_mps: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("acceleration_std_mps2", "prior_position_m", "prior_velocity_mps"):
            check_positive(name, getattr(self, name))

    def initial(self, streams: Streams) -> PowerControlState:
        """As the dynamic process, with a filter started at the truth plus prior errors."""
        state = super().initial(streams)
        deviation = torch.tensor(
            [self.prior_position_m] * 2 + [self.prior_velocity_mps] * 2,
            dtype=state.power.dtype,
            device=state.power.device,
        )
        speed = velocity(state.heading_rad, self.speed_mps)
        truth = torch.cat([state.instance.target[:, :2], speed], -1)
        mean = truth + deviation * streams.normal("prior", 4, dtype=state.power.dtype)
        return state.replace(
            track_mean=mean,
            track_covariance=torch.diag(deviation.square()).expand(mean.shape[0], 4, 4).clone(),
        )

    def _sense(
        self, state: PowerControlState, metrics: PowerControlMetrics, streams: Streams
    ) -> PowerControlState:
        difference = state.instance.target[:, None, :] - state.instance.bs
        sigma = metrics.range_sigma_m
        noise = streams.normal("range", self._count, dtype=sigma.dtype)
        measured = difference.square().sum(-1).sqrt() + sigma * noise
        mean, covariance = filter_update(
            state.track_mean,
            state.track_covariance,
            measured,
            sigma,
            anchor=state.instance.bs,
            height=state.instance.target[:, 2],
        )
        return state.replace(track_mean=mean, track_covariance=covariance)

    def _predict(self, state: PowerControlState) -> PowerControlState:
        mean, covariance = filter_predict(
            state.track_mean,
            state.track_covariance,
            slot_s=self.slot_s,
            acceleration_std_mps2=self.acceleration_std_mps2,
        )
        return state.replace(track_mean=mean, track_covariance=covariance)

    def _score(
        self,
        state: PowerControlState,
        metrics: PowerControlMetrics,
        network: NormalisedNetwork,
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, outage = outage_penalty(state, metrics)
        tracking = -linear_to_db(posterior_std(state)) / 10
        mean_power = metrics.total_power_w / state.instance.max_power_w.sum(-1)
        reward = tracking - outage - self.power_price * mean_power
        objectives = torch.stack([tracking, -outage, -mean_power], -1)
        return reward, objectives, reward[:, None].expand(-1, self._count)

    def _extra_blocks(self) -> tuple[ObservationBlock, ...]:
        return (
            ObservationBlock("track", 4, "filter mean: position / 100 m, velocity / 10 m/s"),
            ObservationBlock("spread", 4, "log10 of the filter's standard deviations (m, m/s)"),
        )

    def _extra_observation(self, state: PowerControlState) -> list[Tensor]:
        scale = state.track_mean.new_tensor([100.0, 100.0, 10.0, 10.0])
        variance = torch.diagonal(state.track_covariance, dim1=-2, dim2=-1)
        return [state.track_mean / scale, linear_to_db(variance) / 20]

    def _track_points(self, row: PowerControlState) -> tuple[Points, ...]:
        return (
            Points(label="filter estimate", xy_m=row.track_mean[:, :2].numpy(), role="estimate"),
        )

    def _ellipses(
        self, row: PowerControlState, metrics: PowerControlMetrics
    ) -> tuple[Ellipse, ...]:
        return (
            Ellipse(
                label="filter, 1 sigma",
                centre_m=row.track_mean[0, :2].numpy(),
                covariance_m2=row.track_covariance[0, :2, :2].numpy(),
            ),
        )


def posterior_std(state: PowerControlState) -> Tensor:
    """Posterior position standard deviation sqrt(tr P_pos), (B,) m."""
    return torch.diagonal(state.track_covariance, dim1=-2, dim2=-1)[:, :2].sum(-1).sqrt()
