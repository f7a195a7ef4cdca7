"""The windows of a room written as one does first, in NumPy, packet by packet: for the bench.

An independent derivation of :class:`isac_gym.problems.subcarrier_selection.world.World` for one
room without wall bounces of the person, and calibrated features. The draws are given.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isac_gym.core.random import Streams
from isac_gym.core.units import SPEED_OF_LIGHT_MPS
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario
from isac_gym.problems.subcarrier_selection.world import People, Room

__all__ = ["WindowDraws", "windows_by_loop"]

Numbers = NDArray[np.float64]
Complex = NDArray[np.complex128]

_HEIGHT_M, _RCS, _SWAY_M = (1.2, 0.8, 0.35), (1.0, 0.6, 0.35), (6e-3, 2e-3, 0.5e-3)
_MEMORY = 0.8


@dataclass(frozen=True)
class WindowDraws:
    """Random numbers of the windows of one chunk of the first room.

    Attributes:
        sway: Standard normal, (n, T).
        is_hit: Packets with interference, (n, T, P).
        noise: Unit complex normal, (n, T, P, K).
        agc_db: Gain errors, (n, T, P) dB.
        turn: Phases, (n, T, P) turns.
    """

    sway: Numbers
    is_hit: NDArray[np.bool_]
    noise: Complex
    agc_db: Numbers
    turn: Numbers

    @classmethod
    def of(
        cls, scenario: SubcarrierScenario, streams: Streams, label: str, count: int
    ) -> "WindowDraws":
        """The draws of ``count`` windows of the chunk ``label``."""
        s = scenario
        shape = (count, s.num_packets, s.num_links)
        hit = streams.uniform(f"{label}/hit", *shape) < s.interference_duty
        return cls(
            sway=streams.normal(f"{label}/sway", count, s.num_packets)[0].numpy(),
            is_hit=hit[0].numpy(),
            noise=streams.complex_normal(f"{label}/noise", *shape, s.tones_per_link)[0].numpy(),
            agc_db=s.agc_db * streams.normal(f"{label}/agc", *shape)[0].numpy(),
            turn=streams.uniform(f"{label}/turn", *shape)[0].numpy(),
        )


def windows_by_loop(
    scenario: SubcarrierScenario, room: Room, people: People, draws: WindowDraws, count: int
) -> Numbers:
    """Calibrated features (n, S, 4) of the first ``count`` windows of the first room."""
    return np.stack([_window(scenario, room, people, draws, window) for window in range(count)])


def _window(
    scenario: SubcarrierScenario, room: Room, people: People, draws: WindowDraws, window: int
) -> Numbers:
    """Features (S, 4) of one window."""
    s = scenario
    csi = np.zeros((s.num_packets, s.num_links, s.tones_per_link), dtype=complex)
    state = int(people.activity[0, window])
    body = np.array([*people.place[0, window].tolist(), _HEIGHT_M[state]])
    sway = 0.0
    for packet in range(s.num_packets):
        fresh = draws.sway[window, packet]
        sway = fresh if packet == 0 else _MEMORY * sway + math.sqrt(1 - _MEMORY**2) * fresh
        time_s = packet / s.packet_rate_hz
        angle = 2 * math.pi * float(people.breathing_hz[0, window]) * time_s
        chest = float(people.chest_m[0, window]) * math.sin(angle + float(people.phase[0, window]))
        moved_m = chest + _SWAY_M[state] * s.motion_scale * sway
        for link in range(s.num_links):
            channel = room.channel[0, link].numpy()
            seen = channel + _scattered(s, body, link, moved_m, s.target_rcs_m2 * _RCS[state])
            power = float(room.noise_w[0, link])
            level = power * (1 + room.inr[0, link].numpy() * draws.is_hit[window, packet, link])
            seen = seen + draws.noise[window, packet, link] * np.sqrt(level)
            gain = 10 ** (draws.agc_db[window, packet, link] / 20)
            csi[packet, link] = seen * gain * np.exp(2j * np.pi * draws.turn[window, packet, link])
    links = [_features(csi[:, link], room.empty[0, link].numpy()) for link in range(s.num_links)]
    return np.concatenate(links)


def _scattered(
    scenario: SubcarrierScenario, body: Numbers, link: int, moved_m: float, rcs_m2: float
) -> Complex:
    """What the person adds to a link, (K,)."""
    s = scenario
    sender, receiver = s.node_m[0].numpy() - body, s.node_m[1 + link].numpy() - body
    out, back = float(np.linalg.norm(sender)), float(np.linalg.norm(receiver))
    stretch = 2 * math.sqrt((1 + float(sender @ receiver) / (out * back)) / 2)
    index = np.arange(s.tones_per_link) - (s.tones_per_link - 1) / 2
    frequency = s.carrier_hz + index * s.bandwidth_hz / s.tones_per_link
    cycles = frequency * (out + back + stretch * moved_m) / SPEED_OF_LIGHT_MPS
    wavelength_m = SPEED_OF_LIGHT_MPS / s.carrier_hz
    gain = math.sqrt(rcs_m2) * wavelength_m / (4 * math.pi) ** 1.5
    gain /= max(out, 0.3) * max(back, 0.3)
    return gain * np.exp(-2j * np.pi * (cycles - np.round(cycles))) * ~s.null.numpy()


def _features(csi: Complex, empty: Complex) -> Numbers:
    """Calibrated features (K, 4) of the packets (T, K) of one link."""
    power = np.abs(empty) ** 2
    aligned = np.array([row / ((row * empty.conj()).sum() / power.sum()) for row in csi])
    change = aligned - empty
    mean, scale = change.mean(0), power.mean()
    spread = (np.abs(change - mean) ** 2).mean(0)
    cross = (change[:, 1:] * change[:, :-1].conj()).mean(0)
    angle = np.angle(np.concatenate([cross[:1], cross]))
    levels = [10 * np.log10(x / scale + 1e-6) for x in (np.abs(mean) ** 2, spread)]
    return np.stack([*levels, np.cos(angle), np.sin(angle)], -1)
