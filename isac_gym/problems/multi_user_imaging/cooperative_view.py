"""What users and people see of cooperative imaging: the state record, observations, the scene."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock, Process
from isac_gym.core.records import TensorRecord, record_field, tensor_field
from isac_gym.core.scene import Bars, Points, Scene, Voxels
from isac_gym.core.units import linear_to_db
from isac_gym.problems.multi_user_imaging.diffusion import (
    ImagingDiffusion,
    ImagingDiffusionDecision,
    ImagingDiffusionInstance,
)
from isac_gym.problems.multi_user_imaging.recovery import passive

__all__ = ["CooperativeImagingState", "CooperativeImagingView", "Slots"]

_CLIP = 5.0
_LEAST = 1e-9  # of a ratio of powers, before its logarithm


@dataclass(frozen=True)
class CooperativeImagingState(TensorRecord):
    """Where a run stands between two blocks."""

    instance: ImagingDiffusionInstance = record_field(
        ImagingDiffusionInstance, doc="the truth and the samples of the next block"
    )
    probe: Tensor = tensor_field("B L N", "complex", unit="sqrt(W)", doc="probe of the last block")
    symbol: Tensor = tensor_field("B L", "complex", doc="its symbols as far as decoded, else 0")
    received: Tensor = tensor_field("B L K", "complex", unit="sqrt(W)", doc="samples in it")
    last: ImagingDiffusionDecision = record_field(
        ImagingDiffusionDecision, doc="settings of the last block"
    )
    message: Tensor = tensor_field(
        "B K V", "complex", doc="image each user sent last; empty, as all began, before"
    )
    message_error: Tensor = tensor_field(
        "B K", "real", unit="W", doc="its sender's error power at that time"
    )
    age: Tensor = tensor_field(
        "B K", "int", doc="blocks since a user last sent, or since the start"
    )
    surprise: Tensor = tensor_field(
        "B K", "real", unit="W", doc="error power in the last block of the image before it"
    )
    error: Tensor = tensor_field(
        "B K", "real", unit="W", doc="error power in the last block of the image after it"
    )
    spent: Tensor = tensor_field("B", "real", doc="blocks' worth of exchange so far")
    block: Tensor = tensor_field("B", "int", doc="blocks done")


class Slots(NamedTuple):
    """The nearest neighbours of every user, in fixed places.

    Attributes:
        index: Users by distance, (B, K, D) int64.
        used: True where the place holds a neighbour, (B, K, D) bool.
    """

    index: Tensor
    used: Tensor

    def pick(self, value: Tensor) -> Tensor:
        """Entries (B, K, D) of a quantity (B, K) of the neighbours; 0 in empty places."""
        spread = value[:, None].expand(-1, value.shape[-1], -1)
        return torch.where(self.used, spread.gather(-1, self.index), 0)


@dataclass(frozen=True, kw_only=True)
class CooperativeImagingView(Process):
    """The observing half of the process.

    Attributes:
        problem: The diffusion problem.
        horizon: Blocks per episode.
        max_neighbours: Places for neighbours; a user listens to its nearest ones only. Of graphs
            of 20 users and mean degree 3, one in 700 has a user with more than 8.
    """

    problem: ImagingDiffusion
    horizon: int = 30
    max_neighbours: int = 8

    @property
    def _users(self) -> int:
        return self.problem.scenario.num_users

    @property
    def _places(self) -> int:
        return min(self.max_neighbours, self._users - 1)

    @property
    def agents(self) -> tuple[str, ...]:
        """One agent per user."""
        return tuple(f"user_{index}" for index in range(self._users))

    @property
    def local_action_size(self) -> int:
        """Step size, sending, sparsity; scores of oneself and of every place."""
        return 4 + self._places

    @property
    def action_size(self) -> int:
        """The users' actions one after the other."""
        return self._users * self.local_action_size

    @property
    def local_observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of one user's observation."""
        places = self._places
        return (
            ObservationBlock(
                "error",
                2,
                "log10 of the error power in the last block over the noise / 2: of the image "
                "before and after it",
            ),
            ObservationBlock("norm", 1, "norm of the own image over that of a typical target"),
            ObservationBlock("energy", 1, "mean energy of the own regressor over E"),
            ObservationBlock("degree", 1, "links / 8"),
            ObservationBlock("silence", 1, "blocks since the own last message / 10"),
            ObservationBlock("link", places, "1 where a place holds a neighbour, nearest first"),
            ObservationBlock(
                "distance",
                places,
                "log10 of the squared distance of the own image to that last received, over the "
                "energy of a typical target / 2",
            ),
            ObservationBlock(
                "neighbour", places, "log10 of the sender's error power over the noise / 2"
            ),
            ObservationBlock("age", places, "blocks since the neighbour's last message / 10"),
            ObservationBlock("action", self.local_action_size, "the own last action"),
            ObservationBlock("time", 1, "block / horizon"),
        )

    @property
    def observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of the joint observation: that of each user, the time once."""
        *own, time = self.local_observation_blocks
        users = self._users
        return (
            ObservationBlock(
                "users",
                users * sum(block.size for block in own),
                f"for each user: {', '.join(block.name for block in own)}",
            ),
            time,
        )

    def encode(self, state: CooperativeImagingState, decision: ImagingDiffusionDecision) -> Tensor:
        """See the process."""
        raise NotImplementedError

    def slots(self, instance: ImagingDiffusionInstance) -> Slots:
        """Neighbours by distance."""
        place = instance.position
        gap = (place[:, :, None] - place[:, None]).square().sum(-1)
        order = gap.masked_fill(~instance.adjacency, torch.inf).argsort(stable=True, dim=-1)
        index = order[..., : self._places]
        return Slots(index, instance.adjacency.gather(-1, index))

    def measured(self, state: CooperativeImagingState) -> ImagingDiffusionInstance:
        """What the users know together: the last block's samples, their mean image as the truth."""
        i = state.instance
        return i.replace(
            image=passive(i.estimate.mean(1)),
            probe=state.probe,
            symbol=state.symbol,
            received=state.received,
        )

    def truth(self, state: CooperativeImagingState) -> ImagingDiffusionInstance:
        """What the next decision is scored on."""
        return state.instance

    def observe(self, state: CooperativeImagingState) -> Tensor:
        """Joint observation, (B, O) float32; see ``observation_blocks``."""
        joint = torch.cat([self._own(state).flatten(1), self._time(state)], -1)
        return joint.clamp(-_CLIP, _CLIP).to(torch.float32)

    def observe_local(self, state: CooperativeImagingState) -> Tensor:
        """Local observations, (B, K, O) float32; see ``local_observation_blocks``."""
        time = self._time(state)[:, None].expand(-1, self._users, -1)
        local = torch.cat([self._own(state), time], -1)
        return local.clamp(-_CLIP, _CLIP).to(torch.float32)

    def _time(self, state: CooperativeImagingState) -> Tensor:
        return (state.block.to(state.dtype) / self.horizon)[:, None]

    def _own(self, state: CooperativeImagingState) -> Tensor:
        """Everything but the time, (B, K, O - 1)."""
        s, estimate, dtype = self.problem.scenario, state.instance.estimate, state.dtype
        slots = self.slots(state.instance)
        links = state.instance.adjacency.sum(-1).to(dtype)
        age = state.age.to(dtype) / 10
        columns = (
            self._level(state.surprise / s.noise_w),
            self._level(state.error / s.noise_w),
            estimate.abs().square().sum(-1).sqrt() / math.sqrt(s.image_energy),
            self._energy(state) / s.regressor_energy,
            links / 8,
            age,
        )
        places = (
            slots.used.to(dtype),
            self._distance(state, slots),
            slots.pick(self._level(state.message_error / s.noise_w)),
            slots.pick(age),
        )
        action = self.encode(state, state.last).to(dtype).unflatten(1, (self._users, -1))
        return torch.cat([torch.stack(columns, -1), *places, action], -1)

    def _level(self, ratio: Tensor) -> Tensor:
        return ratio.clamp_min(_LEAST).log10() / 2

    def _energy(self, state: CooperativeImagingState) -> Tensor:
        """Mean |u_k|^2, (B, K) W, of what the users know of the transmission."""
        s, i = self.problem.scenario, state.instance
        probe = (1 - s.data_share) * s.max_power_w / s.num_antennas
        lit = probe * i.bs_channel.abs().square().sum(-1)  # (B, V)
        if s.known_symbols:
            lit = lit + (i.bs_channel @ i.beam[..., None])[..., 0].abs().square()
        return (i.user_channel.abs().square() @ lit[..., None])[..., 0]

    def _distance(self, state: CooperativeImagingState, slots: Slots) -> Tensor:
        own, sent = (
            torch.view_as_real(z).flatten(2) for z in (state.instance.estimate, state.message)
        )
        places = slots.index[..., None].unbind(2)  # (B, K, 1) each
        heard = (sent.gather(1, place.expand_as(sent)) for place in places)
        gap = torch.stack([(own - there).square().sum(-1) for there in heard], -1)
        level = self._level(gap / self.problem.scenario.image_energy)
        return torch.where(slots.used, level, 0)

    def scene(self, state: CooperativeImagingState) -> Scene:
        """The image, the users' mean and the worst user's; map; bars of errors and settings."""
        row = state[:1].to("cpu", torch.float64)
        i, s = row.instance, self.problem.scenario
        angle = torch.arange(49, dtype=torch.float64) * (2 * math.pi / 48)
        outline = s.max_user_distance_m * torch.stack([torch.cos(angle), torch.sin(angle)], -1)
        energy = i.image.abs().square().sum(-1).clamp_min(_LEAST)[:, None]
        share = ((i.estimate - i.image[:, None]).abs().square().sum(-1) / energy)[0]
        level = linear_to_db(share.clamp_min(_LEAST))
        mean = float(linear_to_db(share.mean().clamp_min(_LEAST)))
        title = (
            f"block {int(row.block[0])}, image error {mean:.1f} dB, "
            f"{float(row.spent[0]):.1f} blocks of exchange"
        )
        user = Points(
            label="user", xy_m=i.position[0, :, :2].numpy(), role="user", names=self.agents
        )
        region = Points(label="region", xy_m=outline[:1].numpy() * 0, role="target")
        return Scene(
            title=title,
            outline_m=outline.numpy(),
            points=(user, region),
            bars=(
                self._bars("image error", "dB", level),
                self._bars("step size", "1/E", row.last.step[0]),
                self._bars("blocks since the last message", "1", row.age[0]),
            ),
            voxels=(
                self._box("image", i.image[0], "truth"),
                self._box("mean of the users", i.estimate[0].mean(0), "estimate"),
                self._box("worst user", i.estimate[0, int(share.argmax())], "estimate"),
            ),
        )

    def _bars(self, title: str, unit: str, values: Tensor) -> Bars:
        return Bars(
            title=title, unit=unit, names=self.agents, values=values.to(torch.float64).numpy()
        )

    def _box(self, title: str, image: Tensor, role: str) -> Voxels:
        s = self.problem.scenario
        box = image.abs().reshape(s.voxels_x, s.voxels_y, s.voxels_z)
        return Voxels(title=title, values=box.numpy(), limit=s.max_amplitude, role=role)
