"""The same numbers calculated apart: plain NumPy, one instance at a time, from the definitions.

Nothing here uses the package's physics: receivers are solved symbol by symbol, the Fisher
information comes from central differences of the mean echo, the alternation bisects its multipliers
on matrix inverses.
"""

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.figures import Array

__all__ = [
    "Complex",
    "alternated",
    "alternation",
    "floor",
    "information",
    "mean_error",
    "null_space_fill",
    "position_bound",
    "signalling_load",
]

Complex = NDArray[Any]
_STEP_M = 1e-3  # of the central differences: errors near 1e-9 of the derivative


def mean_error(
    channel: Complex, precoder: Complex, weight: Array, noise_w: float, frame_length: int | None
) -> float:
    """Mean over a frame of |M(t)^H H_k C_k p_k(t) - W_k|^2 + noise |M(t)|^2.

    Args:
        channel: (K, N, M).
        precoder: (K, M, R).
        weight: (K, R).
        noise_w: Noise power per antenna.
        frame_length: T of DFT pulses; None without pulses.
    """
    devices, antennas, _ = channel.shape
    gain = [h @ c for h, c in zip(channel, precoder, strict=True)]
    total = noise_w * np.eye(antennas) + sum(g @ g.conj().T for g in gain)
    errors = []
    for t in range(frame_length or 1):
        turn = 2j * math.pi * t / (frame_length or 1)
        heard = [g * np.exp(turn * k) for k, g in enumerate(gain)]
        wanted = sum(g @ np.diag(w) for g, w in zip(heard, weight, strict=True))
        receiver = np.linalg.solve(total, wanted)
        each = [
            np.linalg.norm(receiver.conj().T @ heard[k] - np.diag(weight[k])) ** 2
            for k in range(devices)
        ]
        errors.append(sum(each) + noise_w * np.linalg.norm(receiver) ** 2)
    return float(np.mean(errors))


def floor(num_devices: int, num_tasks: int, server_antennas: int) -> float:
    """Least error over that of silence with orthogonal pulses and equal weights, any noise."""
    streams = num_devices * num_tasks
    return max(streams - server_antennas, 0) / streams


def position_bound(
    position: Array,
    target: Array,
    precoder: Complex,
    echo_noise_w: Array,
    *,
    frame_length: int,
    array: str,
    interference: bool,
    prior_std_m: float = math.inf,
) -> float:
    """Trace of (J + prior)^-1 with J from central differences of the mean echo, m^2.

    Args:
        position: Devices, (K, 3) m.
        target: (3,) m.
        precoder: (K, M, R).
        echo_noise_w: (K,).
        frame_length: T.
        array: ``vertical`` or ``upa``.
        interference: Count the other devices' echoes as noise.
        prior_std_m: What is known of each coordinate before.
    """
    found = information(
        position,
        target,
        precoder,
        echo_noise_w,
        frame_length=frame_length,
        array=array,
        interference=interference,
    )
    total = found.sum(0) + np.eye(3) / prior_std_m**2
    return float(np.trace(np.linalg.inv(total)))


def information(
    position: Array,
    target: Array,
    precoder: Complex,
    echo_noise_w: Array,
    *,
    frame_length: int,
    array: str,
    interference: bool,
) -> Array:
    """Fisher information of the position at each device, (K, 3, 3); see :func:`position_bound`."""
    antennas = precoder.shape[1]
    total = np.zeros((len(position), 3, 3))
    heard = [
        _response(p, target, array, antennas) @ c for p, c in zip(position, precoder, strict=True)
    ]
    power = [float(np.linalg.norm(h) ** 2) for h in heard]
    for k, (place, c) in enumerate(zip(position, precoder, strict=True)):
        slopes = []
        for axis in range(3):
            shift = np.zeros(3)
            shift[axis] = _STEP_M
            up, down = (_response(place, target + s, array, antennas) for s in (shift, -shift))
            slopes.append((np.outer(up, up @ c) - np.outer(down, down @ c)) / (2 * _STEP_M))
        noise = echo_noise_w[k] * np.eye(antennas, dtype=complex)
        if interference:
            a = _response(place, target, array, antennas)
            noise = noise + (sum(power) - power[k]) * np.outer(a, a.conj())
        whitened = [np.linalg.solve(noise, s) for s in slopes]
        for i, j in itertools.product(range(3), range(3)):
            total[k, i, j] = 2 * frame_length * np.vdot(slopes[i], whitened[j]).real
    return total


def _response(place: Array, target: Array, array: str, antennas: int) -> Complex:
    """Array response of amplitude 1 / r, elements half a wavelength apart."""
    offset = target - place
    distance = float(np.linalg.norm(offset))
    index = np.arange(antennas)
    across, up = (index % 2, index // 2) if array == "upa" else (0 * index, index)
    path = 0.5 * (across * offset[1] + up * offset[2]) / distance
    return np.asarray(np.exp(-2j * math.pi * path) / distance)


def alternation(
    channel: Complex,
    precoder: Complex,
    weight: Array,
    budget: Array,
    noise_w: float,
    rounds: int,
    *,
    has_pulses: bool,
) -> list[float]:
    """Error over that of silence before and after every round of exact alternation."""
    found = []
    for _ in range(rounds + 1):
        error, _ = _receive(channel, precoder, weight, noise_w, has_pulses=has_pulses)
        found.append(error)
        precoder = alternated(channel, precoder, weight, budget, noise_w, 1, has_pulses=has_pulses)
    return found


def alternated(
    channel: Complex,
    precoder: Complex,
    weight: Array,
    budget: Array,
    noise_w: float,
    rounds: int,
    *,
    has_pulses: bool,
) -> Complex:
    """Precoders (K, M, R) after rounds of exact alternation."""
    for _ in range(rounds):
        _, receivers = _receive(channel, precoder, weight, noise_w, has_pulses=has_pulses)
        whole = None if has_pulses else np.sum(receivers, 0)
        stacked = np.concatenate(receivers, 1)
        spread = stacked @ stacked.conj().T
        new = []
        for k, h in enumerate(channel):
            own = receivers[k] if whole is None else whole
            matrix = h.conj().T @ (spread if whole is None else whole @ whole.conj().T) @ h
            new.append(_limited(matrix, h.conj().T @ own @ np.diag(weight[k]), float(budget[k])))
        precoder = np.array(new)
    return precoder


def _receive(
    channel: Complex, precoder: Complex, weight: Array, noise_w: float, *, has_pulses: bool
) -> tuple[float, list[Any]]:
    gain = [h @ c for h, c in zip(channel, precoder, strict=True)]
    total = noise_w * np.eye(channel.shape[1]) + sum(g @ g.conj().T for g in gain)
    receivers = [np.linalg.solve(total, g @ np.diag(w)) for g, w in zip(gain, weight, strict=True)]
    silent = float((weight**2).sum())
    if has_pulses:
        caught = sum(
            np.vdot(g @ np.diag(w), m).real for g, w, m in zip(gain, weight, receivers, strict=True)
        )
    else:
        wanted = sum(g @ np.diag(w) for g, w in zip(gain, weight, strict=True))
        caught = np.vdot(wanted, sum(receivers)).real
    return 1 - float(caught) / silent, receivers


def _limited(matrix: Complex, wanted: Complex, budget: float) -> Complex:
    """Least-norm minimiser of a convex quadratic inside a ball, its multiplier by bisection."""
    best = np.linalg.pinv(matrix, hermitian=True) @ wanted
    if np.linalg.norm(best) ** 2 <= budget:
        return np.asarray(best)
    eye = np.eye(len(matrix))
    low, high = 0.0, float(np.linalg.norm(wanted)) / math.sqrt(budget)
    for _ in range(100):
        middle = (low + high) / 2
        is_over = np.linalg.norm(np.linalg.solve(matrix + middle * eye, wanted)) ** 2 > budget
        low, high = (middle, high) if is_over else (low, middle)
    return np.asarray(np.linalg.solve(matrix + high * eye, wanted))


def null_space_fill(
    channel: Complex, precoder: Complex, weight: Array, budget: Array, noise_w: float
) -> Complex:
    """Precoders of full power with unchanged errors: the rest goes where the receiver is deaf."""
    _, receivers = _receive(channel, precoder, weight, noise_w, has_pulses=False)
    whole = np.sum(receivers, 0)
    filled = []
    for h, c, most in zip(channel, precoder, budget, strict=True):
        deaf = np.linalg.svd(whole.conj().T @ h)[2].conj().T[:, -1]  # M > R: exists
        along = deaf.conj() @ c[:, 0]
        rest = max(float(most) - float(np.linalg.norm(c) ** 2), 0.0)
        # |c + x deaf|^2 = |c|^2 + 2 Re(x conj(along)) + |x|^2: a phase that adds nothing twice
        phase = 1j * along / abs(along) if abs(along) > 0 else 1.0
        extra = np.zeros_like(c)
        extra[:, 0] = math.sqrt(rest) * phase * deaf
        filled.append(c + extra)
    return np.array(filled)


def signalling_load(num_devices: int, device_antennas: int, samples: int) -> int:
    """Real numbers of centralised sensing: two per device, antenna and sample."""
    return 2 * num_devices * device_antennas * samples
