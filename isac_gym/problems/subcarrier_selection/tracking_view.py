"""What agents and people see of mask tracking: the state record, observations, the scene."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock
from isac_gym.core.records import TensorRecord, record_field, tensor_field
from isac_gym.core.scene import Bars, Scene
from isac_gym.core.units import linear_to_db
from isac_gym.problems.subcarrier_selection.mask_scene import map_of, tone_names
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.records import SubcarrierInstance
from isac_gym.problems.subcarrier_selection.tone_process import Part, ToneProcess

__all__ = ["FEATURE_LIMIT", "MaskTrackingState", "MaskTrackingView"]

FEATURE_LIMIT = 5.0  # standardised features are clipped here
_AGE = 10.0  # frames, scale of ages in observations
_SHARE, _RISE = 5.0, 10.0  # of explained shares and rises of the error in observations


@dataclass(frozen=True)
class MaskTrackingState(TensorRecord):
    """A frame about to be decided."""

    instance: SubcarrierInstance = record_field(
        SubcarrierInstance, doc="the room; its scored windows are the coming frame, with its noise"
    )
    pool: Tensor = tensor_field("B H S C", "real", doc="windows frames are drawn from, clean")
    pool_label: Tensor = tensor_field("B H Y", "real", doc="their labels")
    planning_noise: Tensor = tensor_field(
        "B H S C", "real", doc="unit noise of the validation windows: what planners rehearse with"
    )
    noise: Tensor = tensor_field("B S", "real", doc="variance added in the coming frame")
    place: Tensor = tensor_field("B A", "int", doc="first tone of each link's band in that frame")
    level_db: Tensor = tensor_field("B A", "real", unit="dB", doc="its level in that frame")
    belief: Tensor = tensor_field(
        "B S", "real", doc="probability that its link's band begins at a tone, by what was seen"
    )
    believed_db: Tensor = tensor_field("B A", "real", unit="dB", doc="its expected level")
    alone: Tensor = tensor_field("B S 2", "real", doc="explained share with a tone alone, by task")
    loss: Tensor = tensor_field("B S 2", "real", doc="rise of the error if a tone of all is left")
    mask: Tensor = tensor_field("B S", "bool", doc="tones acquired last; none before")
    seen: Tensor = tensor_field("B S", "real", doc="variance on a tone when last acquired; or 0")
    age: Tensor = tensor_field("B S", "int", doc="frames since then; the horizon if never")
    error: Tensor = tensor_field("B 2", "real", doc="errors of the last frame; 1 before")
    slot: Tensor = tensor_field("B", "int", doc="frames done in this episode")


@dataclass(frozen=True, kw_only=True)
class MaskTrackingView(ToneProcess):
    """The observing half of the process.

    Attributes:
        problem: The selection problem.
        horizon: Frames per episode.
    """

    problem: SubcarrierSelection
    horizon: int = 64

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is observed of every tone."""
        return _PARTS

    def shared_blocks(self) -> tuple[ObservationBlock, ...]:
        """The last frame's errors, and the time."""
        return (
            ObservationBlock("error", 2, "errors of the last frame: place, activity; 1 before"),
            ObservationBlock("time", 1, "frames done / horizon"),
        )

    def shared(self, state: MaskTrackingState) -> Tensor:
        """Both errors and the time, (B, 3)."""
        time = state.slot.to(state.dtype)[:, None] / self.horizon
        return torch.cat([state.error, time], -1)

    def scene(self, state: MaskTrackingState) -> Scene:
        """The room; bars of the coming frame's noise, of what is known of it and of the mask."""
        row = state[:1].to("cpu", torch.float64)
        names = tone_names(self.problem.scenario)
        outline, points = map_of(self.problem.scenario)
        title = (
            f"frame {int(row.slot[0])}, last errors {float(row.error[0, 0]):.2f} (place) and "
            f"{float(row.error[0, 1]):.2f} (activity)"
        )
        panels = (
            ("noise of the coming frame", "dB", linear_to_db(1 + row.noise)),
            ("noise when last acquired", "dB", linear_to_db(1 + row.seen)),
            ("frames since then", "1", row.age),
            ("acquired last", "1", row.mask),
        )
        return Scene(
            title=title,
            outline_m=outline,
            points=points,
            bars=tuple(
                Bars(title=label, unit=unit, names=names, values=values[0].double().numpy())
                for label, unit, values in panels
            ),
        )


_PARTS = (
    Part("mask", 1, "1 if acquired last, else 0", lambda s: s.mask.to(s.dtype)[..., None]),
    Part(
        "seen",
        1,
        "noise on it when last acquired, 10 log10(1 + variance) / 20; 0 if never",
        lambda s: linear_to_db(1 + s.seen)[..., None] / 20,
    ),
    Part(
        "age",
        1,
        "frames since it was last acquired / 10; the horizon if never",
        lambda s: s.age.to(s.dtype)[..., None] / _AGE,
    ),
    Part(
        "alone",
        2,
        "5 x share of place and activity that it explains alone, on clean validation windows",
        lambda s: _SHARE * s.alone,
    ),
    Part(
        "loss",
        2,
        "10 x rise of both errors if it alone is left out of all tones, on the same",
        lambda s: _RISE * s.loss,
    ),
)
