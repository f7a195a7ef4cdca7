"""What both probing processes share: one agent, the base station, and the picture of the region."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock, Process
from isac_gym.core.scene import Scene, Voxels
from isac_gym.problems.multi_user_imaging.design import ImagingDesign

__all__ = ["ProbingView", "lit_voxels"]

_CLIP = 5.0


@dataclass(frozen=True, kw_only=True)
class ProbingView(Process):
    """The single agent's view of a process whose joint action is its own.

    Attributes:
        problem: The design problem.
        horizon: Decisions per episode.
    """

    problem: ImagingDesign
    horizon: int = 1

    @property
    def agents(self) -> tuple[str, ...]:
        """The base station."""
        return ("bs",)

    @property
    def local_action_size(self) -> int:
        """Length of the action."""
        return self.action_size

    @property
    def local_observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of the observation."""
        return self.observation_blocks

    def observe_local(self, state: Any) -> Tensor:
        """The observation, (B, 1, O) float32."""
        return self.observe(state)[:, None]

    def _bounded(self, observation: Tensor) -> Tensor:
        return observation.clamp(-_CLIP, _CLIP).to(torch.float32)

    def _region(self, title: str, image: Tensor, estimate: Tensor, lit: Tensor) -> Scene:
        """Scene of row 0 of an image (B, V), its estimate (B, V) and the illumination (B, V)."""
        s = self.problem.scenario
        shape = (s.voxels_x, s.voxels_y, s.voxels_z)
        largest = max(float(lit[0].max()), 1e-9)
        empty = torch.zeros(0, 2).numpy()
        return Scene(
            title=title,
            outline_m=empty,
            points=(),
            voxels=tuple(
                Voxels(title=name, values=value.reshape(shape).numpy(), limit=limit, role=role)
                for name, value, limit, role in (
                    ("target", image[0].abs(), 1.0, "truth"),
                    ("estimate", estimate[0].abs(), 1.0, "estimate"),
                    ("illumination", lit[0], largest, "light"),
                )
            ),
        )


def lit_voxels(bs_channel: Tensor, covariance: Tensor) -> Tensor:
    """Illumination diag(G W G^H) of every voxel, (B, V) W, of G (B, V, N) and W (B, N, N)."""
    return (bs_channel.conj() * (bs_channel @ covariance)).real.sum(-1)
