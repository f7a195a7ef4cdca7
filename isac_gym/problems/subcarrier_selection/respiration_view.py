"""What agents and people see of breathing frames: the state record, observations, the scene."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock
from isac_gym.core.records import TensorRecord, record_field, tensor_field
from isac_gym.core.scene import Bars, Points, Scene
from isac_gym.physics.breathing import peakiness
from isac_gym.problems.subcarrier_selection.mask_scene import map_of, tone_names
from isac_gym.problems.subcarrier_selection.respiration import CHANCE_HZ, SubcarrierRespiration
from isac_gym.problems.subcarrier_selection.respiration_records import RespirationInstance
from isac_gym.problems.subcarrier_selection.tone_process import Part, ToneProcess
from isac_gym.problems.subcarrier_selection.world import BREATHING_HZ

__all__ = ["RespirationTrackingState", "RespirationTrackingView"]

_AGE = 10.0  # frames, scale of ages in observations
_PER_MINUTE = 60.0


@dataclass(frozen=True)
class RespirationTrackingState(TensorRecord):
    """A frame about to be decided."""

    instance: RespirationInstance = record_field(
        RespirationInstance,
        doc="train: calibration windows of the room without a band; val: the spectra of every tone "
        "when last acquired and the rates found last; score: the coming frame",
    )
    level: Tensor = tensor_field(
        "B S", "real", doc="log10 of the level's deviation in dB, of every tone in the coming frame"
    )
    channel: Tensor = tensor_field("B S", "complex", doc="the empty room's channel")
    noise_w: Tensor = tensor_field("B A", "real", unit="W", doc="noise of each link")
    person_m: Tensor = tensor_field("B 2", "real", unit="m", doc="place in the coming frame")
    activity: Tensor = tensor_field("B", "int", doc="posture there")
    chest_m: Tensor = tensor_field("B", "real", unit="m", doc="amplitude of the chest there")
    rate_hz: Tensor = tensor_field("B", "real", unit="Hz", doc="breathing rate round that frame")
    place: Tensor = tensor_field("B A", "int", doc="first tone of each link's band in that frame")
    level_db: Tensor = tensor_field(
        "B A", "real", unit="dB", doc="the band's power over the noise in that frame"
    )
    alone: Tensor = tensor_field(
        "B S", "real", doc="error of each tone alone on the calibration windows, 1: chance"
    )
    mask: Tensor = tensor_field("B S", "bool", doc="tones acquired last; none before")
    seen_level: Tensor = tensor_field("B S", "real", doc="``level`` when last acquired; 0 before")
    gap: Tensor = tensor_field(
        "B S", "real", doc="rate of the tone alone minus the rate found, when last acquired"
    )
    age: Tensor = tensor_field("B S", "int", doc="frames since then; the horizon if never")
    slot: Tensor = tensor_field("B", "int", doc="frames done in this episode")


@dataclass(frozen=True, kw_only=True)
class RespirationTrackingView(ToneProcess):
    """The observing half of the process: no true rate is ever observed.

    Attributes:
        problem: The selection problem.
        horizon: Frames per episode.
    """

    problem: SubcarrierRespiration
    horizon: int = 64

    def shared_blocks(self) -> tuple[ObservationBlock, ...]:
        """The rate found last, how clear it was, and the time."""
        return (
            ObservationBlock("rate", 1, "rate found last, (f - 0.35 Hz) / 0.075 Hz; 0 before"),
            ObservationBlock("clarity", 1, "5 x peak of the summed spectra it was found in"),
            ObservationBlock("time", 1, "frames done / horizon"),
        )

    def shared(self, state: RespirationTrackingState) -> Tensor:
        """Rate, clarity and time, (B, 3)."""
        i = state.instance
        is_first = state.slot == 0
        rate = (i.val_hz.mean(-1) - self.middle_hz) / CHANCE_HZ
        weight = state.mask.to(i.dtype)
        summed = torch.einsum("bs,bhsc->bhc", weight, i.val)
        clear = peakiness(summed).mean(-1) / weight.sum(-1).clamp_min(1)
        time = state.slot.to(i.dtype) / self.horizon
        return torch.stack([torch.where(is_first, 0, rate), 5 * clear, time], -1)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is observed of every tone."""
        return _PARTS

    @property
    def middle_hz(self) -> float:
        """Middle of the breathing rates."""
        return sum(BREATHING_HZ) / 2

    def scene(self, state: RespirationTrackingState) -> Scene:
        """The room and the person; bars of the coming frame, of what is known, and of the mask."""
        row = state[:1].to("cpu", torch.float64)
        names = tone_names(self.problem.scenario)
        outline, points = map_of(self.problem.scenario)
        found, truth = (float(t.mean()) for t in (row.instance.val_hz, row.rate_hz))
        person = Points(label="person", xy_m=row.person_m.numpy(), role="target", names=("person",))
        panels = (
            ("peak of the coming frame", peakiness(row.instance.score).mean(1)),
            ("peak when last acquired", peakiness(row.instance.val).mean(1)),
            ("frames since then", row.age),
            ("acquired last", row.mask),
        )
        return Scene(
            title=f"frame {int(row.slot[0])}: breathes {_PER_MINUTE * truth:.1f} times a minute, "
            f"found last {_PER_MINUTE * found:.1f}",
            outline_m=outline,
            points=(*points, person),
            bars=tuple(
                Bars(title=title, unit="1", names=names, values=values[0].double().numpy())
                for title, values in panels
            ),
        )


_PARTS = (
    Part(
        "peakiness",
        1,
        "5 x highest share of its spectrum when last acquired; 0 if never",
        lambda s: (5 * peakiness(s.instance.val).mean(1) * _was_seen(s))[..., None],
    ),
    Part(
        "gap",
        1,
        "its own rate then minus the rate found, over 0.075 Hz",
        lambda s: s.gap[..., None] / CHANCE_HZ,
    ),
    Part(
        "level",
        1,
        "log10 of its deviation in dB then; 0 if never",
        lambda s: s.seen_level[..., None],
    ),
    Part("mask", 1, "1 if acquired last, else 0", lambda s: s.mask.to(s.dtype)[..., None]),
    Part("seen", 1, "1 if it was ever acquired, else 0", lambda s: _was_seen(s)[..., None]),
    Part(
        "age",
        1,
        "frames since it was last acquired / 10; the horizon if never",
        lambda s: s.age.to(s.dtype)[..., None] / _AGE,
    ),
    Part(
        "alone",
        1,
        "its error alone on the calibration windows over chance",
        lambda s: s.alone[..., None],
    ),
)


def _was_seen(state: RespirationTrackingState) -> Tensor:
    """1 for tones that were acquired in this episode, (B, S)."""
    return (state.age < state.slot[:, None]).to(state.dtype)
