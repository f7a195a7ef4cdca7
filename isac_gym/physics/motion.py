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
    """Move by one step with specular reflection at the edges (normals at 0, 60, 120, ... degrees).

    The edges reflect in the order in which they are hit, so the path near a corner is exact.

    Args:
        position_m: Positions inside the hexagon, (B, 2), metres.
        heading_rad: Headings, (B,), radians.
        step_m: Length of the step, at most half of ``radius_m``: then it hits at most two edges.
        radius_m: Circumradius of the hexagon, metres.

    Returns:
        New positions (B, 2) and headings (B,); the length of the path is conserved.
    """
    angle = torch.arange(6, dtype=position_m.dtype, device=position_m.device) * (math.pi / 3)
    normal = torch.stack([torch.cos(angle), torch.sin(angle)], -1)  # (6, 2)
    direction = torch.stack([torch.cos(heading_rad), torch.sin(heading_rad)], -1)
    left = torch.full_like(heading_rad, step_m)
    for _ in range(3):  # two edges, then the rest of the way
        speed = direction @ normal.mT  # (B, 6)
        room = (radius_m * math.sqrt(3) / 2 - position_m @ normal.mT).clamp_min(0)
        until, edge = torch.where(speed > 0, room / speed, torch.inf).min(-1)
        way = torch.minimum(until, left)
        position_m = position_m + way[:, None] * direction
        hit = normal[edge]
        turned = direction - 2 * (direction * hit).sum(-1, keepdim=True) * hit
        direction = torch.where((until < left)[:, None], turned, direction)
        left = left - way
    return position_m, torch.atan2(direction[:, 1], direction[:, 0])


def uniform_in_hexagon(u: Tensor, radius_m: float) -> Tensor:
    """Map uniforms (B, 3) to points (B, 2) of a hexagon: one of three rhombi, then its two sides.

    The hexagon has circumradius ``radius_m`` and vertices at 30, 90, ... degrees; no rejection.
    """
    first = math.radians(30) + (3 * u[:, 0]).floor() * math.radians(120)
    second = first + math.radians(120)
    x = u[:, 1] * torch.cos(first) + u[:, 2] * torch.cos(second)
    y = u[:, 1] * torch.sin(first) + u[:, 2] * torch.sin(second)
    return radius_m * torch.stack([x, y], -1)
