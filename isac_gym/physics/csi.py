"""Channel state information of OFDM links in a room: walls, furniture, one moving person.

A link is one transmitter and one receiver; its channel is the sum of the direct path, of wall
reflections (image sources) and of bistatic point scatterers. Phases of a path of length d at
frequency f are the fraction of f d / c, taken in double precision before any trigonometry: f d / c
is of the order of 100 cycles.

Source: the SPG-MIBO paper, (27) and section V-A, whose (27) has one carrier per path where the
subcarrier's frequency must stand; radar equation for the scatterers.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.units import SPEED_OF_LIGHT_MPS

__all__ = [
    "Reflections",
    "bistatic_stretch",
    "path_response",
    "phasor",
    "receive",
    "reflections",
    "scattered_paths",
    "static_response",
    "tone_frequencies",
]

_NEAREST_M = 0.3  # a scatterer is never closer to a node: the far field ends there


def tone_frequencies(carrier_hz: float, bandwidth_hz: float, num_tones: int) -> Tensor:
    """Frequencies of K equidistant tones around the carrier, (K,) Hz, float64."""
    index = torch.arange(num_tones, dtype=torch.float64) - (num_tones - 1) / 2
    return carrier_hz + index * (bandwidth_hz / num_tones)


def phasor(frequency_hz: Tensor, length_m: Tensor) -> Tensor:
    """exp(-j 2 pi f d / c), (..., K) complex128, of lengths (...) m and frequencies (K,) Hz."""
    cycles = length_m[..., None] * (frequency_hz / SPEED_OF_LIGHT_MPS)
    angle = (cycles - cycles.round()) * (-2 * math.pi)
    return torch.polar(torch.ones_like(angle), angle)


def path_response(frequency_hz: Tensor, gain: Tensor, length_m: Tensor) -> Tensor:
    """Sum of paths, (..., K) complex, of gains (..., L) and lengths (..., L) m.

    One path at a time: the product with the tones of all paths at once would not fit.
    """
    total = torch.zeros((), dtype=torch.complex128, device=gain.device)
    for path in range(gain.shape[-1]):
        total = total + gain[..., path, None] * phasor(frequency_hz, length_m[..., path])
    return total


@dataclass(frozen=True)
class Reflections:
    """Images of a node in the four walls of a rectangular room.

    Attributes:
        place: Positions of the images, (L, 3) m; the node itself comes first.
        gain: (-reflection)^bounces of each, (L,).
    """

    place: Tensor
    gain: Tensor


def reflections(
    node: Tensor, room_m: tuple[float, float], *, reflection: float, order: int
) -> Reflections:
    """Images of a node up to ``order`` bounces off the walls (floor and ceiling absorb).

    Along an axis of length X the images of x with n bounces lie at n X + x for even n and at
    (n + 1) X - x for odd n, n of both signs.

    Args:
        node: Position, (3,) m.
        room_m: Lengths along x and y; the room begins at 0.
        reflection: Amplitude reflection of a wall, in [0, 1]; its sign is -1.
        order: Largest number of bounces, >= 0: 1, 5, 13 images for 0, 1, 2.
    """
    places, gains = [], []
    turns = range(-order, order + 1)
    pairs = [(i, j) for i in turns for j in turns if abs(i) + abs(j) <= order]
    for i, j in sorted(pairs, key=lambda pair: (abs(pair[0]) + abs(pair[1]), pair)):
        x = _image(node[0], i, room_m[0])
        y = _image(node[1], j, room_m[1])
        places.append(torch.stack([x, y, node[2]]))
        gains.append((-reflection) ** (abs(i) + abs(j)))
    return Reflections(torch.stack(places), torch.tensor(gains, dtype=node.dtype))


def _image(x: Tensor, bounces: int, length_m: float) -> Tensor:
    return bounces * length_m + x if bounces % 2 == 0 else (bounces + 1) * length_m - x


def static_response(images: Reflections, receiver: Tensor, frequency_hz: Tensor) -> Tensor:
    """Direct path and wall reflections at a receiver (3,) m, (K,) complex128.

    The amplitude of a path of length d is gain * wavelength / (4 pi d).
    """
    length = _distance(images.place, receiver)
    spread = SPEED_OF_LIGHT_MPS / (4 * math.pi) / (frequency_hz * length[:, None])  # (L, K)
    return (images.gain[:, None] * spread * phasor(frequency_hz, length)).sum(0)


def scattered_paths(
    scatterer: Tensor, sender: Tensor, receiver: Tensor, rcs_m2: Tensor, carrier_hz: float
) -> tuple[Tensor, Tensor]:
    """Gain and length of the path sender, scatterer, receiver.

    The gain is sqrt(rcs) wavelength / ((4 pi)^1.5 d1 d2) (bistatic radar equation), the distances
    at least 0.3 m.

    Args:
        scatterer: Positions, (..., 3) m.
        sender: (3,) m.
        receiver: (3,) m.
        rcs_m2: Radar cross-sections, broadcastable to (...), m^2.
        carrier_hz: Carrier frequency.

    Returns:
        Gains (...) and lengths d1 + d2 (...) m.
    """
    out, back = _distance(scatterer, sender), _distance(scatterer, receiver)
    spread = out.clamp_min(_NEAREST_M) * back.clamp_min(_NEAREST_M)
    wavelength = SPEED_OF_LIGHT_MPS / carrier_hz
    return rcs_m2.sqrt() * (wavelength / (4 * math.pi) ** 1.5) / spread, out + back


def bistatic_stretch(scatterer: Tensor, sender: Tensor, receiver: Tensor) -> Tensor:
    """Growth of the path per metre of motion along the bisector, 2 cos(beta / 2), (...).

    beta is the angle at the scatterer between the directions to sender and receiver.
    """
    to_sender, to_receiver = sender - scatterer, receiver - scatterer
    dot = (to_sender * to_receiver).sum(-1)
    size = (to_sender.square().sum(-1) * to_receiver.square().sum(-1)).sqrt()
    cosine = dot / size.clamp_min(torch.finfo(dot.dtype).tiny)
    return 2 * ((1 + cosine.clamp(-1, 1)) / 2).sqrt()


def receive(channel: Tensor, noise: Tensor, *, agc_db: Tensor, turn: Tensor) -> Tensor:
    """Reported CSI: channel plus noise, times a common complex gain per packet and link.

    Args:
        channel: (..., P, K) complex.
        noise: Additive noise, broadcastable, complex.
        agc_db: Gain error of automatic gain control, (..., P) dB.
        turn: Phase left by carrier frequency offset, (..., P) in turns.
    """
    gain = torch.polar(torch.pow(10.0, agc_db / 20), 2 * math.pi * turn)
    return (channel + noise) * gain[..., None]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(-1).sqrt()
