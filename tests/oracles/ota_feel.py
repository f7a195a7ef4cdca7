"""Over-the-air aggregation and echoes from their definitions, in NumPy; one lane at a time.

Nothing is shared with the package. channel (K, N, M), precoder (K, M, R), weight (K, R), pulses
(K, T), device (K, 3), target (3,).
"""

import math
from dataclasses import dataclass, field

import numpy as np


def complex_normal(rng, *shape):
    """CN(0, 1) samples."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / math.sqrt(2.0)


# --- aggregation --------------------------------------------------------------------------------


def pulses(kind, num_devices, length):
    """p_k(t), (K, T): rows of the DFT matrix, or ones."""
    if kind == "none":
        return np.ones((num_devices, length), complex)
    out = np.zeros((num_devices, length), complex)
    for k in range(num_devices):
        for t in range(length):
            out[k, t] = np.exp(-2j * math.pi * k * t / length)
    return out


def heard(channel, precoder, pulse):
    """H_k C_k p_k of one instant, a list of K matrices (N, R)."""
    return [h @ c * p for h, c, p in zip(channel, precoder, pulse, strict=True)]


def receiver(gain, weight, noise):
    """Linear receiver (N, R) of least error: E[y y^H]^-1 E[y wanted^H]."""
    size = len(gain[0])
    covariance = noise * np.eye(size, dtype=complex)
    cross = np.zeros((size, weight.shape[1]), complex)
    for g, w in zip(gain, weight, strict=True):
        covariance += g @ g.conj().T
        cross += g @ np.diag(w)
    return np.linalg.solve(covariance, cross)


def error_of(receive, gain, weight, noise):
    """Squared error of every stream, (R,), of any linear receiver at one instant: paper (6)."""
    out = np.zeros(weight.shape[1])
    for i in range(len(out)):
        m = receive[:, i].conj()
        for g, w in zip(gain, weight, strict=True):
            for j in range(len(out)):
                out[i] += abs(m @ g[:, j] - (w[i] if i == j else 0)) ** 2
        out[i] += noise * np.sum(np.abs(m) ** 2)
    return out


def aggregation_error(channel, precoder, weight, noise, pulse):
    """Mean over the frame of the error with the best receiver of every instant, (R,)."""
    total = np.zeros(weight.shape[1])
    for t in range(pulse.shape[1]):
        gain = heard(channel, precoder, pulse[:, t])
        total += error_of(receiver(gain, weight, noise), gain, weight, noise)
    return total / pulse.shape[1]


def simulated_error(rng, channel, precoder, weight, noise, pulse, *, frames):
    """The same as a mean over transmitted frames: symbols, channels, noise, receivers."""
    devices, length = pulse.shape
    streams, antennas = weight.shape[1], channel.shape[1]
    total = np.zeros(streams)
    for t in range(length):
        gain = heard(channel, precoder, pulse[:, t])
        receive = receiver(gain, weight, noise)
        symbol = complex_normal(rng, devices, streams, frames)
        y = math.sqrt(noise) * complex_normal(rng, antennas, frames)
        wanted = np.zeros((streams, frames), complex)
        for k in range(devices):
            sent = precoder[k] @ symbol[k] * pulse[k, t]
            y += channel[k] @ sent
            wanted += weight[k][:, None] * symbol[k]
        total += np.mean(np.abs(receive.conj().T @ y - wanted) ** 2, axis=1)
    return total / length


def separation_floor(weight, antennas):
    """Sum of the K R - N smallest squared weights."""
    squares = sorted(float(w) ** 2 for w in weight.ravel())
    return sum(squares[: max(len(squares) - antennas, 0)])


# --- echoes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """Devices, target and radar of one lane."""

    device: np.ndarray
    target: np.ndarray
    num_elements: int
    array: str = "vertical"
    gain: float = 1.0
    exponent: float = 1.0
    wavelength: float = 0.1
    noise: np.ndarray = field(default_factory=lambda: np.ones(1))
    length: int = 64


def elements(array, count):
    """Positions in wavelengths, (M, 3)."""
    if array == "upa":
        return np.array([[0, (m % 2) / 2, (m // 2) / 2] for m in range(count)])
    axis = 1 if array == "horizontal" else 2
    out = np.zeros((count, 3))
    for m in range(count):
        out[m, axis] = m / 2
    return out


def response(scene, place, target):
    """a_k at a device's place for a target, (M,)."""
    offset = target - place
    r = math.sqrt(sum(x * x for x in offset))
    out = np.zeros(scene.num_elements, complex)
    for m, e in enumerate(elements(scene.array, scene.num_elements)):
        path = m * offset[2] / scene.wavelength if scene.array == "literal" else e @ offset / r
        out[m] = scene.gain / r**scene.exponent * np.exp(-2j * math.pi * path)
    return out


def responses(scene, target):
    """Of all devices, (K, M)."""
    return np.array([response(scene, place, target) for place in scene.device])


def slopes(function, target, step):
    """Central differences of five points of an array-valued function of the target, (3, ...)."""
    out = []
    for axis in np.eye(3):
        near = function(target + step * axis) - function(target - step * axis)
        far = function(target + 2 * step * axis) - function(target - 2 * step * axis)
        out.append((8 * near - far) / (12 * step))
    return np.array(out)


def whitened_mean(scene, precoder, target):
    """sqrt(T) / zeta_k a_k a_k^T C_k, mean of the whitened matched samples, (K, M, R)."""
    out = []
    for place, c, noise in zip(scene.device, precoder, scene.noise, strict=True):
        a = response(scene, place, target)
        out.append(math.sqrt(scene.length / noise) * np.outer(a, a @ c))
    return np.array(out)


def interference(scene, precoder):
    """Power of the other devices' signals at the target as heard by each device, (K,)."""
    a = responses(scene, scene.target)
    sent = [float(np.sum(np.abs(x @ c) ** 2)) for x, c in zip(a, precoder, strict=True)]
    return np.array([sum(p for j, p in enumerate(sent) if j != k) for k in range(len(sent))])


def covariances(scene, precoder):
    """I + q_k / zeta_k^2 a_k a_k^H, (K, M, M): what a device hears beside its own echo."""
    a, q = responses(scene, scene.target), interference(scene, precoder)
    return np.array(
        [
            np.eye(scene.num_elements) + q[k] / scene.noise[k] * np.outer(a[k], a[k].conj())
            for k in range(len(a))
        ]
    )


def fisher(scene, precoder, *, disturbed, step=1e-4):
    """Fisher information (3, 3) of circular Gaussian samples, of differences of the mean."""
    d = slopes(lambda v: whitened_mean(scene, precoder, v), scene.target, step)
    eye = np.eye(scene.num_elements)
    cov = covariances(scene, precoder) if disturbed else [eye] * len(precoder)
    total = np.zeros((3, 3))
    for k in range(len(precoder)):
        inverse = np.linalg.inv(cov[k])
        for i in range(3):
            for j in range(3):
                total[i, j] += 2 * np.trace(d[i, k].conj().T @ inverse @ d[j, k]).real
    return total


def score_information(rng, scene, precoder, *, samples, step=1e-3):
    """Mean outer product of the likelihood's slopes at the truth, (3, 3); no derivative known.

    Samples of the statistics are drawn; log p = -|sample - mean|^2 is differenced.
    """
    mean = whitened_mean(scene, precoder, scene.target)
    drawn = mean + complex_normal(rng, samples, *mean.shape)

    def log_likelihood(v):
        rest = drawn - whitened_mean(scene, precoder, v)
        return -np.sum(np.abs(rest) ** 2, axis=(1, 2, 3))

    score = slopes(log_likelihood, scene.target, step)
    return score @ score.T / samples


def matched_echoes(rng, scene, precoder, pulse, *, frames):
    """Waveforms of ``frames`` frames, matched and whitened at each device: (frames, K, M, R).

    u_k(t) = a_k sum_l a_l^T x_l(t) + noise of T samples times G^H (G G^H)^-1/2 / zeta_k, G the
    device's own symbols and pulse, less its own echo: what disturbs the statistic.
    """
    a = responses(scene, scene.target)
    devices, length = pulse.shape
    streams = precoder.shape[2]
    out = np.zeros((frames, devices, scene.num_elements, streams), complex)
    for f in range(frames):
        symbol = complex_normal(rng, devices, streams, length) * pulse[:, None, :]
        sent = np.array([a[k] @ precoder[k] @ symbol[k] for k in range(devices)])  # at the target
        for k in range(devices):
            u = np.outer(a[k], sent.sum(0))
            noise = complex_normal(rng, scene.num_elements, length)
            u = u + math.sqrt(scene.noise[k]) * noise - np.outer(a[k], sent[k])
            gram, vector = np.linalg.eigh(symbol[k] @ symbol[k].conj().T)
            root = vector @ np.diag(gram**-0.5) @ vector.conj().T
            out[f, k] = u @ symbol[k].conj().T @ root / math.sqrt(scene.noise[k])
    return out


def largest_slope(scene, radius):
    """Upper limit of sum_i |d(a a^T)/dv_i|^2 for any target at least ``radius`` away."""
    worst = 0.0
    for m, e in enumerate(elements(scene.array, scene.num_elements)):
        turn = 2 * math.pi * (m / scene.wavelength if scene.array == "literal" else math.hypot(*e))
        distance = 1.0 if scene.array == "literal" else radius
        worst += (scene.exponent / radius) ** 2 + (turn / distance) ** 2
    amplitude = (scene.gain / radius**scene.exponent) ** 2
    return 4 * scene.num_elements * amplitude * amplitude * worst
