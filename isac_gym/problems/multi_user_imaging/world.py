"""The world both problems share: target, users, channels; and the transmission of a frame.

Draws come from the streams ``target``, ``user``, ``channel``, ``comm``, so that recovery and design
see the same world for the same seed.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.random import Streams
from isac_gym.problems.multi_user_imaging.scenario import ImagingScenario, RecoveryScenario

__all__ = ["World", "draw_probe", "draw_symbols", "draw_world", "matched_beam", "support_of"]


class World(NamedTuple):
    """One draw.

    Attributes:
        bs_channel: G, base station to voxels, (B, V, N).
        user_channel: g, voxels to users, (B, K, V).
        comm_channel: h, to the communication user, (B, N); it receives h^H tx.
        image: x, (B, V).
        position: Users, (B, K, 3) m from the middle of the region.
    """

    bs_channel: Tensor
    user_channel: Tensor
    comm_channel: Tensor
    image: Tensor
    position: Tensor


def draw_world(scenario: ImagingScenario, streams: Streams) -> World:
    """Draw target, users and channels, one world per lane."""
    s = scenario
    voxel = _voxel_positions(s, streams.seed.device)
    position = _users(s, streams)
    if s.channel == "geometric":
        bs_channel, user_channel = _spherical(s, voxel, position)
        comm_channel = _plane_wave(s, streams)
    else:
        bs_channel = streams.complex_normal("channel/bs", s.num_voxels, s.num_antennas)
        user_channel = streams.complex_normal("channel/user", s.num_users, s.num_voxels)
        comm_channel = streams.complex_normal("comm", s.num_antennas)
    return World(bs_channel, user_channel, comm_channel, _image(s, voxel, streams), position)


def matched_beam(comm_channel: Tensor, power: Tensor | float) -> Tensor:
    """Data beam along the communication user's channel, (B, N) sqrt(W), of power (B,) W."""
    energy = comm_channel.abs().square().sum(-1)
    limits = torch.finfo(energy.dtype)
    gain = (power / energy.clamp_min(limits.tiny)).clamp_max(limits.max)  # inf * 0 is no beam
    return comm_channel * gain.sqrt()[..., None]


def draw_symbols(streams: Streams, num_samples: int) -> Tensor:
    """QPSK symbols exp(j (pi / 4 + i pi / 2)), (B, L)."""
    quadrant = streams.integers("symbol", num_samples, high=4)
    angle = (quadrant.to(torch.float64) + 0.5) * (math.pi / 2)
    return torch.complex(torch.cos(angle), torch.sin(angle))


def draw_probe(scenario: RecoveryScenario, streams: Streams, num_samples: int) -> Tensor:
    """Known probing waveform p(t), (B, L, N) sqrt(W), of mean power (1 - data_share) P."""
    s, count = scenario, scenario.num_antennas
    power = (1 - s.data_share) * s.max_power_w
    if s.probing == "gauss":
        return math.sqrt(power / count) * streams.complex_normal("probe", num_samples, count)
    if s.probing == "random":
        return math.sqrt(power / count) * _unit_phase(streams.uniform("probe", num_samples, count))
    code = _unit_phase(streams.uniform("probe", num_samples, 1))
    if s.probing == "constant":
        return math.sqrt(power / count) * code.expand(-1, -1, count)
    beam = streams.integers("hop", num_samples, 1, high=count)
    index = torch.arange(count, device=beam.device)
    fourier = _unit_phase(((beam * index) % count).to(torch.float64) / count)
    return math.sqrt(power / count) * fourier * code


def support_of(image: Tensor) -> Tensor:
    """Occupied voxels, (B, V) bool."""
    return image.abs() > 0


def _unit_phase(turns: Tensor) -> Tensor:
    angle = 2 * math.pi * turns
    return torch.complex(torch.cos(angle), torch.sin(angle))


def _voxel_positions(s: ImagingScenario, device: torch.device) -> Tensor:
    """Centres, (V, 3) m from the middle of the region."""
    place = torch.tensor(s.voxels(), dtype=torch.float64, device=device)
    middle = place.new_tensor([s.voxels_x - 1, s.voxels_y - 1, s.voxels_z - 1]) / 2
    return s.voxel_m * (place - middle)


def _users(s: ImagingScenario, streams: Streams) -> Tensor:
    """Directions uniform on the sphere, distances uniform between the limits, (B, K, 3) m."""
    height, turn, u = streams.uniform("user", 3, s.num_users).unbind(1)
    z = 2 * height - 1
    ring, angle = (1 - z.square()).clamp_min(0).sqrt(), 2 * math.pi * turn
    direction = torch.stack([ring * torch.cos(angle), ring * torch.sin(angle), z], -1)
    reach = s.min_user_distance_m + (s.max_user_distance_m - s.min_user_distance_m) * u
    return direction * reach[..., None]


def _image(s: ImagingScenario, voxel: Tensor, streams: Streams) -> Tensor:
    mask = _blocks_mask(s, streams) if s.shape == "aligned" else _blob_mask(s, voxel, streams)
    size = streams.uniform("target/amplitude", s.num_voxels)
    size = s.min_amplitude + (s.max_amplitude - s.min_amplitude) * size
    turn = streams.uniform("target/phase", s.num_voxels)
    unit = _unit_phase(turn if s.phase == "uniform" else torch.zeros_like(turn))
    return torch.where(mask, size * unit, 0)


def _blob_mask(s: ImagingScenario, voxel: Tensor, streams: Streams) -> Tensor:
    """The voxels nearest to a point that is uniform in the region, (B, V)."""
    reach = voxel.new_tensor([s.voxels_x, s.voxels_y, s.voxels_z]) * (s.voxel_m / 2)
    centre = (2 * streams.uniform("target/centre", 3) - 1) * reach
    gap = (voxel - centre[:, None]).square().sum(-1)
    return gap.argsort(-1).argsort(-1) < s.num_occupied


def _blocks_mask(s: ImagingScenario, streams: Streams) -> Tensor:
    """Random blocks filled one after the other, (B, V); the last one may be filled in part."""
    block = torch.tensor(s.blocks(), device=streams.seed.device)
    turn = streams.uniform("target/block", max(s.blocks()) + 1).argsort(-1).argsort(-1)[:, block]
    voxel = torch.arange(s.num_voxels, device=block.device)
    return (turn * s.num_voxels + voxel).argsort(-1).argsort(-1) < s.num_occupied


def _spherical(s: ImagingScenario, voxel: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Line-of-sight channels d_0 / d exp(-j 2 pi d / lambda), unit gain at the region's middle.

    The array is square, half a wavelength apart, facing the region along x.
    """
    side = math.isqrt(s.num_antennas)
    step = torch.arange(side, dtype=voxel.dtype, device=voxel.device) - (side - 1) / 2
    grid = torch.cartesian_prod(step, step) * (s.wavelength_m / 2)
    grid = grid.reshape(-1, 2)
    antenna = torch.cat([torch.full_like(grid[:, :1], -s.bs_distance_m), grid], -1)
    down = (voxel[:, None] - antenna).square().sum(-1).sqrt()  # (V, N)
    bs_channel = _wave(s, down, torch.full_like(down, s.bs_distance_m))
    up = (position[:, :, None] - voxel).square().sum(-1).sqrt()  # (B, K, V)
    reach = position.square().sum(-1, keepdim=True).sqrt()
    return bs_channel.expand(len(position), -1, -1).clone(), _wave(s, up, reach.expand_as(up))


def _wave(s: ImagingScenario, distance: Tensor, reference: Tensor) -> Tensor:
    turns = torch.remainder(distance / s.wavelength_m, 1.0)
    return reference / distance * _unit_phase(-turns)


def _plane_wave(s: ImagingScenario, streams: Streams) -> Tensor:
    """Unit-modulus response of the array to a direction uniform on the half sphere, (B, N)."""
    side = math.isqrt(s.num_antennas)
    cosine, turn = streams.uniform("comm", 2).unbind(1)
    ring, angle = (1 - cosine.square()).clamp_min(0).sqrt(), 2 * math.pi * turn
    step = torch.arange(side, dtype=cosine.dtype, device=cosine.device)
    half = (ring * torch.cos(angle)) / 2, (ring * torch.sin(angle)) / 2
    phase = half[0][:, None, None] * step[:, None] + half[1][:, None, None] * step
    return _unit_phase(phase.flatten(1))
