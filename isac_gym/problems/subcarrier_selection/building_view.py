"""What agents and people see of mask building: the records, observations, the scene."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock, Process
from isac_gym.core.records import TensorRecord, record_field, tensor_field
from isac_gym.core.scene import Bars, Scene
from isac_gym.problems.subcarrier_selection.mask_scene import map_of, tone_names
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.records import (
    SubcarrierDecision,
    SubcarrierInstance,
)

__all__ = ["BuildingDecision", "MaskBuildingState", "MaskBuildingView"]

_CLIP = 5.0
_SHARE = 5.0  # of shares and ratios in observations


@dataclass(frozen=True)
class BuildingDecision(SubcarrierDecision):
    """A mask with enough tones to be scored, and those of them that stay."""

    built: Tensor = tensor_field("B S", "bool", doc="tones built so far, with this step's")


@dataclass(frozen=True)
class MaskBuildingState(TensorRecord):
    """A mask in the making."""

    instance: SubcarrierInstance = record_field(SubcarrierInstance, doc="the room")
    alone: Tensor = tensor_field("B S 2", "real", doc="explained share with a tone alone, by task")
    fisher: Tensor = tensor_field("B S", "real", doc="variance between over within activities")
    built: Tensor = tensor_field("B S", "bool", doc="tones built so far")
    mask: Tensor = tensor_field("B S", "bool", doc="the same, completed to the fewest allowed")
    stopped: Tensor = tensor_field("B", "bool", doc="no tone will be added any more")
    error: Tensor = tensor_field("B 2", "real", doc="validation errors of ``mask``; 1 before")
    slot: Tensor = tensor_field("B", "int", doc="steps done in this episode")


@dataclass(frozen=True, kw_only=True)
class MaskBuildingView(Process):
    """The observing half of the process: one agent, what is known of every tone.

    Attributes:
        problem: The selection problem.
        horizon: Steps per episode; the paper's masks have up to 32 tones.
    """

    problem: SubcarrierSelection
    horizon: int = 32

    @property
    def _tones(self) -> int:
        return self.problem.scenario.num_tones

    @property
    def agents(self) -> tuple[str, ...]:
        """One agent."""
        return ("builder",)

    @property
    def action_size(self) -> int:
        """A score of every tone, then one of stopping."""
        return self._tones + 1

    @property
    def local_action_size(self) -> int:
        """The same."""
        return self.action_size

    @property
    def observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of the observation, tones link by link."""
        s = self._tones
        return (
            ObservationBlock("built", s, "1 if built, else 0"),
            ObservationBlock("completed", s, "1 if in the mask that was scored last, else 0"),
            ObservationBlock(
                "alone",
                2 * s,
                "5 x share of place and activity that a tone explains alone, on validation windows "
                "(S 2)",
            ),
            ObservationBlock(
                "fisher",
                s,
                "5 x variance of its features between over within activities, in training",
            ),
            ObservationBlock(
                "deviation",
                self.problem.scenario.num_features * s,
                "log10 of its features' standard deviations in training, dB and 1 (S C)",
            ),
            ObservationBlock("error", 2, "validation errors of the mask: place, activity"),
            ObservationBlock("left", 1, "tones that may be added / the most allowed"),
            ObservationBlock("time", 1, "steps done / horizon"),
            ObservationBlock("stopped", 1, "1 if stopped"),
        )

    @property
    def local_observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """The same."""
        return self.observation_blocks

    def observe(self, state: MaskBuildingState) -> Tensor:
        """Observation, (B, O) float32; see ``observation_blocks``."""
        dtype, most = state.dtype, self.problem.scenario.max_tones
        left = (most - state.built.sum(-1)).to(dtype) / most
        single = (left, state.slot.to(dtype) / self.horizon, state.stopped.to(dtype))
        parts = (
            state.built.to(dtype),
            state.mask.to(dtype),
            _SHARE * state.alone.flatten(1),
            _SHARE * state.fisher,
            state.instance.feature_std.log10().flatten(1),
            state.error,
            torch.stack(single, -1),
        )
        return torch.cat(parts, 1).clamp(-_CLIP, _CLIP).to(torch.float32)

    def observe_local(self, state: MaskBuildingState) -> Tensor:
        """The same for the one agent, (B, 1, O)."""
        return self.observe(state)[:, None]

    def scene(self, state: MaskBuildingState) -> Scene:
        """The room; bars of the mask and of what single tones tell."""
        row = state[:1].to("cpu", torch.float64)
        outline, points = map_of(self.problem.scenario)
        title = (
            f"{int(row.built.sum())} tones built, validation errors {float(row.error[0, 0]):.2f} "
            f"(place) and {float(row.error[0, 1]):.2f} (activity)"
        )
        panels = (
            ("built", row.built),
            ("explained alone: place", row.alone[..., 0]),
            ("explained alone: activity", row.alone[..., 1]),
        )
        names = tone_names(self.problem.scenario)
        return Scene(
            title=title,
            outline_m=outline,
            points=points,
            bars=tuple(
                Bars(title=label, unit="1", names=names, values=values[0].double().numpy())
                for label, values in panels
            ),
        )
