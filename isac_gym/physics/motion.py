"""Motion of targets: constant speed inside a hexagon with specular reflection."""

import math

import torch
from torch import Tensor

__all__ = ["reflect_in_hexagon", "uniform_in_hexagon", "velocity"]


def velocity(heading_rad: Tensor, speed_mps: float) -> Tensor:
    """Velocity vectors, (B, 2) m/s, of headings (B,) in radians."""
    return speed_mps * torch.stack([torch.cos(heading_rad), torch.sin(heading_rad)], -1)


def reflect_in_hexagon(
    position_m: Tensor, heading_rad: Tensor, *, step_m: float, radius_m: float
) -> tuple[Tensor, Tensor]:
    """Move by one step with specular reflection at the edges (normals at 0, 60, 120 degrees).

    Args:
        position_m: Positions inside the hexagon, (B, 2), metres.
        heading_rad: Headings, (B,), radians.
        step_m: Length of the step, at most the apothem.
        radius_m: Circumradius of the hexagon, metres.

    Returns:
        New positions (B, 2) and headings (B,); the length of the path is conserved.
    """
    apothem = radius_m * math.sqrt(3) / 2
    direction = torch.stack([torch.cos(heading_rad), torch.sin(heading_rad)], -1)
    position = position_m + step_m * direction
    for _ in range(2):  # a corner reflects at two edges
        for angle in (0.0, math.pi / 3, 2 * math.pi / 3):
            normal = position.new_tensor([math.cos(angle), math.sin(angle)])
            along = position @ normal
            excess = along.abs() - apothem
            is_out = (excess > 0)[:, None]
            mirrored = position - (2 * excess * along.sign())[:, None] * normal
            turned = direction - 2 * (direction @ normal)[:, None] * normal
            position = torch.where(is_out, mirrored, position)
            direction = torch.where(is_out, turned, direction)
    return position, torch.atan2(direction[:, 1], direction[:, 0])


def uniform_in_hexagon(u: Tensor, radius_m: float) -> Tensor:
    """Map uniforms (B, 3) to points (B, 2) of a hexagon: one of three rhombi, then its two sides.

    The hexagon has circumradius ``radius_m`` and vertices at 30, 90, ... degrees; no rejection.
    """
    first = math.radians(30) + (3 * u[:, 0]).floor() * math.radians(120)
    second = first + math.radians(120)
    x = u[:, 1] * torch.cos(first) + u[:, 2] * torch.cos(second)
    y = u[:, 1] * torch.sin(first) + u[:, 2] * torch.sin(second)
    return radius_m * torch.stack([x, y], -1)
