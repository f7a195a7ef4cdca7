"""Rooms, people and the channel state information they leave: draws of one scenario.

Every draw has a stream of its own, by split and by chunk of 50 windows: the number of windows of
one split changes nothing in another. The splits share no place: half of the places are for
training, a quarter each for validation and for scoring.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.random import Streams
from isac_gym.core.units import db_to_linear
from isac_gym.physics.csi import (
    Reflections,
    bistatic_stretch,
    path_response,
    phasor,
    receive,
    reflections,
    scattered_paths,
    static_response,
    tone_frequencies,
)
from isac_gym.physics.csi_features import calibrated_features, window_features
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario

__all__ = ["ACTIVITIES", "BREATHING_HZ", "People", "Room", "World"]

ACTIVITIES = ("standing", "sitting", "lying")
SPLITS = ("train", "val", "score")
_HEIGHT_M = (1.2, 0.8, 0.35)
_RCS_SHARE = (1.0, 0.6, 0.35)
_SWAY_M = (6e-3, 2e-3, 0.5e-3)
_CHEST_M = (3e-3, 7e-3)
BREATHING_HZ = (0.2, 0.5)
_MEMORY = 0.8  # of the sway, from packet to packet
_CEILING_M = 2.8
_EMPTY_PACKETS = 64
_CHUNK = 50
_BOUNCES = 2


@dataclass(frozen=True)
class Room:
    """A batch of furnished rooms.

    Attributes:
        channel: Without a person, unused subcarriers 0, (B, P, K) complex.
        empty: Its estimate from 64 packets, (B, P, K) complex.
        noise_w: Noise power of each link, (B, P).
        inr: Interference over noise where it hits, (B, P, K).
        place: The grid in random order, (B, G, 2) m; each split owns a part of it.
    """

    channel: Tensor
    empty: Tensor
    noise_w: Tensor
    inr: Tensor
    place: Tensor


@dataclass(frozen=True)
class People:
    """Who stands where in each window.

    Attributes:
        place: (B, N, 2) m.
        activity: Index into ``ACTIVITIES``, (B, N) int64.
        breathing_hz: (B, N) Hz.
        chest_m: Amplitude of the chest, (B, N) m.
        phase: Of the breathing, (B, N) rad.
    """

    place: Tensor
    activity: Tensor
    breathing_hz: Tensor
    chest_m: Tensor
    phase: Tensor


@dataclass(frozen=True)
class World:
    """Draws of one scenario; every method is a function of the streams."""

    scenario: SubcarrierScenario

    def room(self, streams: Streams) -> Room:
        """Furniture, static channels, interferers and the order of the places."""
        s, device = self.scenario, streams.seed.device
        channel = self._walls().to(device) + self._furniture(streams)
        is_used = ~s.null.to(device)
        noise_w = channel.abs().square().mean(-1) * db_to_linear(-s.snr_db)
        inr = self._interference(streams)
        error = streams.complex_normal("empty", s.num_links, s.tones_per_link)
        level = noise_w[..., None] * (1 + s.interference_duty * inr) / _EMPTY_PACKETS
        channel = channel * is_used
        order = streams.uniform("places", len(s.grid)).argsort(dim=1, stable=True)
        place = s.grid.to(device)[order]
        return Room(channel, channel + level.sqrt() * error, noise_w, inr, place)

    def people(self, streams: Streams, room: Room, split: str, count: int) -> People:
        """``count`` windows of a split, on the split's own places."""
        first, last = self._cells(split)
        u = streams.uniform(f"{split}/people", count, 5)
        cell = first + (u[..., 0] * (last - first)).floor().to(torch.int64)
        slow, fast = BREATHING_HZ
        shallow, deep = _CHEST_M
        return People(
            place=room.place.take_along_dim(cell[..., None], 1),
            activity=(u[..., 1] * len(ACTIVITIES)).floor().to(torch.int64),
            breathing_hz=slow + (fast - slow) * u[..., 2],
            chest_m=(shallow + (deep - shallow) * u[..., 3]) * self.scenario.motion_scale,
            phase=2 * math.pi * u[..., 4],
        )

    def features(self, streams: Streams, room: Room, people: People, split: str) -> Tensor:
        """Raw features of the windows, (B, N, S, C) float64."""
        count, parts = people.place.shape[1], []
        for chunk in range(math.ceil(count / _CHUNK)):
            csi = self.csi(streams, room, people, split, chunk)
            if self.scenario.features == "window":
                parts.append(window_features(csi))
            else:
                parts.append(calibrated_features(csi, room.empty[:, None, None]))
        return torch.cat(parts, 1)

    def csi(self, streams: Streams, room: Room, people: People, split: str, chunk: int) -> Tensor:
        """Reported CSI of up to 50 windows, (B, n, T, P, K) complex128."""
        s, rows = self.scenario, slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
        part = People(*(getattr(people, name)[:, rows] for name in People.__dataclass_fields__))
        label = f"{split}/{chunk}"
        moved = self._person(part, self._motion(streams, part, label))
        moved = moved * ~s.null.to(moved.device)
        shape = (part.place.shape[1], s.num_packets, s.num_links)
        is_hit = streams.uniform(f"{label}/hit", *shape) < s.interference_duty
        level = 1 + room.inr[:, None, None] * is_hit[..., None]
        level = level * room.noise_w[:, None, None, :, None]
        noise = streams.complex_normal(f"{label}/noise", *shape, s.tones_per_link)
        return receive(
            room.channel[:, None, None] + moved,
            noise * level.sqrt(),
            agc_db=s.agc_db * streams.normal(f"{label}/agc", *shape),
            turn=streams.uniform(f"{label}/turn", *shape),
        )

    def _walls(self) -> Tensor:
        """Direct and wall paths of every link, (P, K) complex."""
        s = self.scenario
        images = self._images(s.node_m[0], _BOUNCES)
        return torch.stack([static_response(images, rx, self._tones) for rx in s.node_m[1:]])

    def _images(self, node: Tensor, order: int) -> Reflections:
        s = self.scenario
        size = (s.room_x_m, s.room_y_m)
        return reflections(node, size, reflection=s.wall_reflection, order=order)

    @property
    def _tones(self) -> Tensor:
        s = self.scenario
        return tone_frequencies(s.carrier_hz, s.bandwidth_hz, s.tones_per_link)

    def _furniture(self, streams: Streams) -> Tensor:
        """What static scatterers add, (B, P, K) complex."""
        s, device = self.scenario, streams.seed.device
        margin = 0.2
        size = torch.tensor([s.room_x_m, s.room_y_m, _CEILING_M], dtype=torch.float64) - 2 * margin
        place = margin + size.to(device) * streams.uniform("furniture", s.num_furniture, 3)
        rcs = torch.full_like(place[..., 0], s.furniture_rcs_m2)
        tones, node = self._tones.to(device), s.node_m.to(device)
        links = [
            path_response(tones, *scattered_paths(place, node[0], rx, rcs, s.carrier_hz))
            for rx in node[1:]
        ]
        links = [link.expand(streams.batch_size, s.tones_per_link) for link in links]
        return torch.stack(links, 1)

    def _interference(self, streams: Streams) -> Tensor:
        """Interference over noise of every subcarrier where it hits, (B, P, K)."""
        s = self.scenario
        u = streams.uniform("interferers", s.num_interferers, s.num_links, 2)
        width = max(1, round(s.interference_width * s.tones_per_link))
        first = (u[..., 0] * (s.tones_per_link - width + 1)).floor()[..., None]
        tone = torch.arange(s.tones_per_link, device=u.device)
        is_inside = (tone >= first) & (tone < first + width)
        level = db_to_linear(s.inr_min_db + (s.inr_max_db - s.inr_min_db) * u[..., 1])
        return (level[..., None] * is_inside).sum(1)

    def _cells(self, split: str) -> tuple[int, int]:
        """Part of the places that belongs to a split: half of them, a quarter, a quarter."""
        count = len(self.scenario.grid)
        ends = {"train": (0, count // 2), "val": (count // 2, 3 * count // 4)}
        return ends.get(split, (3 * count // 4, count))

    def _motion(self, streams: Streams, people: People, label: str) -> Tensor:
        """Displacement of the body, (B, n, T) m: chest and AR(1) sway."""
        s = self.scenario
        time = torch.arange(s.num_packets, dtype=torch.float64, device=people.place.device)
        angle = 2 * math.pi / s.packet_rate_hz * people.breathing_hz[..., None] * time
        chest = people.chest_m[..., None] * torch.sin(angle + people.phase[..., None])
        draw = streams.normal(f"{label}/sway", people.place.shape[1], s.num_packets)
        lag = time[:, None] - time
        filtering = (math.sqrt(1 - _MEMORY**2) * _MEMORY ** lag.clamp_min(0)).tril()
        filtering[:, 0] = _MEMORY**time
        sway = self._by_activity(_SWAY_M, people.activity) * s.motion_scale
        return chest + sway[..., None] * (draw @ filtering.mT)

    def _person(self, people: People, motion: Tensor) -> Tensor:
        """What the person adds to every link, (B, n, T, P, K) complex."""
        s, device = self.scenario, motion.device
        height = self._by_activity(_HEIGHT_M, people.activity)
        body = torch.cat([people.place, height[..., None]], -1)
        rcs = s.target_rcs_m2 * self._by_activity(_RCS_SHARE, people.activity)
        links = []
        for receiver in s.node_m[1:]:
            total = torch.zeros((), dtype=torch.complex128, device=device)
            for sender, gain, end in self._ways(receiver):
                a, b = sender.to(device), end.to(device)
                amplitude, length = scattered_paths(body, a, b, rcs, s.carrier_hz)
                path = length[..., None] + bistatic_stretch(body, a, b)[..., None] * motion
                waves = phasor(self._tones.to(device), path)
                total = total + (gain * amplitude)[..., None, None] * waves
            links.append(total)
        return torch.stack(links, -2)

    def _ways(self, receiver: Tensor) -> list[tuple[Tensor, float, Tensor]]:
        """Sender or its image, gain, receiver or its image: 1 path, or 9 with wall bounces."""
        sender = self.scenario.node_m[0]
        ways = [(sender, 1.0, receiver)]
        if self.scenario.has_target_bounces:
            before, after = self._images(sender, 1), self._images(receiver, 1)
            ways += [
                (a, float(g), receiver)
                for a, g in zip(before.place[1:], before.gain[1:], strict=True)
            ]
            ways += [
                (sender, float(g), b) for b, g in zip(after.place[1:], after.gain[1:], strict=True)
            ]
        return ways

    @staticmethod
    def _by_activity(values: tuple[float, ...], activity: Tensor) -> Tensor:
        """Value of each activity, (B, n) float64."""
        table = torch.tensor(values, dtype=torch.float64).to(activity.device)
        return table[activity]
