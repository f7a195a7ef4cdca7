"""What agents and people see of federated rounds: the state record, observations, the scene."""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from isac_gym.core.records import tensor_field
from isac_gym.core.scene import Bars, Scene
from isac_gym.problems.ota_feel.acting import OtaFeelActing
from isac_gym.problems.ota_feel.surrogate_view import OtaFeelState, Part

__all__ = ["OtaFeelFederatedState", "OtaFeelFederatedView"]

_LEAST = 1e-12


@dataclass(frozen=True)
class OtaFeelFederatedState(OtaFeelState):
    """A federated round about to be decided: devices have trained and announced their scales."""

    weights: Tensor = tensor_field("B D", "real", doc="global network")
    delta: Tensor = tensor_field("B K D", "real", doc="updates that wait for transmission")
    order: Tensor = tensor_field("B J", "int", doc="training images, device by device")
    images: Tensor = tensor_field("B K", "int", doc="training images of each device")
    mean: Tensor = tensor_field("B K", "real", doc="m_k, mean over the entries of each update")
    divisor: Tensor = tensor_field("B K", "real", doc="what each update is divided by")
    factor: Tensor = tensor_field("B", "real", doc="what the server multiplies the sum by")
    offset: Tensor = tensor_field("B", "real", doc="what the server adds to it")
    cross: Tensor = tensor_field("B K M M", "complex", doc="echoes against what was sent, X_k")
    power: Tensor = tensor_field("B K M M", "complex", doc="what was sent against itself, P_k")
    total: Tensor = tensor_field("B K M M", "complex", doc="echoes against themselves, V_k")
    samples: Tensor = tensor_field("B", "real", doc="samples of the echoes")
    sounded: Tensor = tensor_field("B K M M", "complex", doc="P_k as the server expects it")
    candidates: Tensor = tensor_field("B T 3", "real", unit="m", doc="the estimate first")
    message: Tensor = tensor_field("B K V", "real", doc="what devices want to sum to locate")
    accuracy: Tensor = tensor_field("B", "real", doc="of the global network on the test images")
    loss: Tensor = tensor_field("B", "real", doc="its mean cross-entropy there, nat")
    error_m: Tensor = tensor_field("B", "real", unit="m", doc="distance of estimate and target")

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """As any record, but networks keep their precision: they are trained in float32."""
        moved = super().to(device, dtype)
        return moved.replace(weights=self.weights.to(device), delta=self.delta.to(device))


@dataclass(frozen=True, kw_only=True)
class OtaFeelFederatedView(OtaFeelActing):
    """The observing half of the federated process.

    Base designs expect full power for the sums from every device, whatever it did before: weights
    change from round to round, and so would a role that is read off a decision.

    Attributes:
        horizon: Rounds per episode.
        correlation: Of the channels of a block with those of the block before.
        delay_rounds: Age of the channels that precoders are chosen with, 0 or 1.
    """

    horizon: int = 40
    correlation: float = 0.0
    delay_rounds: int = 0

    @property
    def planning_noise_w(self) -> float:
        """Noise that base designs count with: the thermal one."""
        return self.problem.scenario.noise_w

    def _own_parts(self) -> tuple[Part, ...]:
        def weight(state: Any) -> Tensor:
            return self._devices * state.measured.weight

        def size(state: Any) -> Tensor:
            divisor = state.divisor.clamp_min(_LEAST)
            return (divisor / divisor.mean(-1, keepdim=True)).log10()[..., None]

        tasks = self.problem.scenario.num_tasks
        return (
            *(part for part in super()._own_parts() if part.name != "role"),
            Part("weight", tasks, "weight in each average over the mean one (K R)", weight),
            Part("update", 1, "log10 of the update's scale over the mean one (K)", size),
        )

    def _shared_parts(self) -> tuple[Part, ...]:
        def learned(state: Any) -> Tensor:
            return state.accuracy[:, None]

        def scale(state: Any) -> Tensor:
            return state.factor[:, None].clamp_min(_LEAST).log10()

        return (
            *super()._shared_parts(),
            Part("accuracy", 1, "of the global network on the test images", learned),
            Part("scale", 1, "log10 of what the server multiplies the sum by", scale),
        )

    def scene(self, state: Any) -> Scene:
        """As the surrogate's, and the accuracy; row 0."""
        base = super().scene(state)
        row = state[:1].to("cpu")
        level = 100 * float(row.accuracy[0])
        title = f"{base.title}, test accuracy {level:.1f} %"
        images = Bars(
            title="training images",
            unit="1",
            names=self.agents,
            values=row.images[0].double().numpy(),
        )
        return replace(base, title=title, bars=(*base.bars, images))
