r"""What devices learn of the target from their own echoes: statistics, likelihood, score.

Device k sends S_k = C_k g_k(t) p_k(t) and receives U_k = a_k sum_l a_l^T S_l + noise. It keeps, in
noise deviations, X_k = U_k S_k^H / zeta^2, P_k = S_k S_k^H / zeta^2 and V_k = U_k U_k^H / zeta^2,
which add up over frames. As a function of the position v its log-likelihood is

    (1 - s_k) (2 Re a^H X_k a^* - |a|^2 a^T P_k a^*) + s_k a^H V_k a / |a|^2,

up to a constant. The echoes of the other devices' unknown symbols come from the same direction
a_k and are white with power q_k; s_k = p / (1 + p), p = q_k |a_k|^2 / zeta^2, which the device
reads off the energy that its own signal does not explain. ``white`` sets s_k = 0: the likelihood of
the paper. ``whitened`` only takes weight from the direction a_k: the model of
``crb_interference_m2``. ``full`` is the exact likelihood of U_k for Gaussian symbols: the other
devices' echoes, noise for the range, are a source for the direction.

Source: the OTA-FEEL paper, section III; no square root and no inverse of C C^H as in its (12) is
needed. Interference-aware likelihoods are ours.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.random import Streams
from isac_gym.physics.echo import response
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.records import OtaFeelInstance

__all__ = [
    "LIKELIHOODS",
    "Echoes",
    "Evidence",
    "Probe",
    "evidence",
    "hear",
    "hear_ideal",
    "information",
    "interference_ratio",
    "power_probe",
    "probe",
    "score_of",
    "sounding",
    "value_of",
]

LIKELIHOODS = ("white", "whitened", "full")
_RANK_CUT = 4096  # eps; eigenvalues below belong to directions in which nothing was sent


@dataclass(frozen=True)
class Echoes:
    """Sums over the samples heard so far, in noise deviations; frames add up.

    Attributes:
        cross: X_k = U S^H / zeta^2, (B, K, M, M) complex.
        power: P_k = S S^H / zeta^2, (B, K, M, M) complex.
        total: V_k = U U^H / zeta^2, (B, K, M, M) complex.
        samples: Number of samples of V, (B,).
    """

    cross: Tensor
    power: Tensor
    total: Tensor
    samples: Tensor

    def __add__(self, other: "Echoes") -> "Echoes":
        """The echoes of both; the target must not have moved."""
        return Echoes(
            self.cross + other.cross,
            self.power + other.power,
            self.total + other.total,
            self.samples + other.samples,
        )


@dataclass(frozen=True)
class Evidence:
    """What the likelihood of a device needs: X, P, V, s (B, K), and the samples V speaks for."""

    cross: Tensor
    power: Tensor
    total: Tensor
    share: Tensor
    samples: Tensor


def hear(
    problem: OtaFeel, instance: OtaFeelInstance, waveform: Tensor, streams: Streams, name: str
) -> Echoes:
    """Echoes of one frame at the level of waveforms.

    Args:
        problem: Arrays.
        instance: Places and noise.
        waveform: S_k, what each device sends, (B, K, M, T) complex, sqrt(W).
        streams: Randomness of the noise.
        name: Name of the draw.
    """
    a, _ = problem.responses(instance)
    sent = waveform.to(torch.complex128)
    noise_w = instance.echo_noise_w.to(torch.float64)
    scene = torch.einsum("bkm,bkmt->bt", a, sent)  # what reaches the target
    noise = streams.complex_normal(name, *sent.shape[1:]) * noise_w.sqrt()[..., None, None]
    heard = a[..., None] * scene[:, None, None] + noise
    scale = noise_w[..., None, None]
    samples = torch.full_like(noise_w[:, 0], sent.shape[-1])
    return Echoes(
        heard @ sent.mH / scale, sent @ sent.mH / scale, heard @ heard.mH / scale, samples
    )


def hear_ideal(
    problem: OtaFeel, instance: OtaFeelInstance, precoder: Tensor, streams: Streams, name: str
) -> Echoes:
    """The paper's model of a frame: other devices unheard, symbols exactly white; no V."""
    a, _ = problem.responses(instance)
    power = sounding(instance, precoder, problem.scenario.frame_length)
    noise_w = instance.echo_noise_w.to(torch.float64)
    root = (problem.scenario.frame_length / noise_w).sqrt()[..., None, None]
    sent = root * precoder.to(torch.complex128)
    noise = streams.complex_normal(name, *sent.shape[1:])
    mean = a[..., None] * (a[..., None, :] @ power)
    return Echoes(mean + noise @ sent.mH, power, torch.zeros_like(power), 0 * noise_w[:, 0])


def sounding(instance: OtaFeelInstance, precoder: Tensor, samples: int) -> Tensor:
    """Expected P_k of precoders (B, K, M, R): what the server knows, (B, K, M, M) complex."""
    c = precoder.to(torch.complex128)
    return samples * (c @ c.mH) / instance.echo_noise_w.to(torch.float64)[..., None, None]


def evidence(echoes: Echoes, *, likelihood: str) -> Evidence:
    """Evidence under one of ``LIKELIHOODS``; s_k from the energy that the own signal leaves."""
    share = torch.zeros_like(echoes.power[..., 0, 0].real)
    total = echoes.total
    if likelihood != "white":
        explained = echoes.cross @ _pseudo_inverse(echoes.power) @ echoes.cross.mH
        left = (total - explained).diagonal(dim1=-2, dim2=-1).real.sum(-1)
        used = _rank(echoes.power)  # degrees of freedom that the own signal takes
        per_sample = left / (echoes.samples[:, None] - used).clamp_min(1)
        ratio = (per_sample - total.shape[-1]).clamp_min(0)
        share = torch.where(echoes.samples[:, None] > 0, ratio / (1 + ratio), share)
        if likelihood == "whitened":
            total = explained
    samples = echoes.samples if likelihood == "full" else torch.zeros_like(echoes.samples)
    return Evidence(echoes.cross, echoes.power, total, share, samples)


class Probe(NamedTuple):
    """Products of z = [a, da/dx, da/dy, da/dz] at points, one matrix product each.

    Attributes:
        gram: z_i^H z_j, (B, K, P, 4, 4).
        power: z_i^T P z_j^*, (B, K, P, 4, 4).
        energy: z_i^H V a, (B, K, P, 4).
        matched: z_i^H (X + X^T) a^* / 2, (B, K, P, 4).
    """

    gram: Tensor
    power: Tensor
    energy: Tensor
    matched: Tensor


def probe(problem: OtaFeel, position: Tensor, points: Tensor, heard: Evidence) -> Probe:
    """What likelihood, score and information at points are made of.

    Args:
        problem: Arrays.
        position: Devices, (B, K, 3) m.
        points: Places of the target, (B, P, 3) for all devices or (B, K, P, 3) of their own, m.
        heard: What the devices know.
    """
    z = _responses(problem, position, points)  # (B, K, P, M, 4)
    a = z[..., 0].contiguous()  # strides would have matrix products copy lane by lane
    symmetric = (heard.cross + heard.cross.mT) / 2
    seen = a @ heard.total.mT.contiguous()
    sides = [z, seen[..., None], (a.conj().resolve_conj() @ symmetric)[..., None]]
    products = z.mH @ torch.cat(sides, -1)
    return Probe(products[..., :4], _power(z, heard.power), products[..., 4], products[..., 5])


def power_probe(
    problem: OtaFeel, position: Tensor, points: Tensor, power: Tensor
) -> tuple[Tensor, Tensor]:
    """``gram`` and ``power`` of :class:`Probe` for P_k (B, K, M, M), without any echo."""
    z = _responses(problem, position, points)
    return z.mH @ z, _power(z, power)


def value_of(heard: Evidence, at: Probe) -> Tensor:
    """Log-likelihood of every device at every point, (B, K, P)."""
    share, size = heard.share[..., None], at.gram[..., 0, 0].real
    own = 2 * at.matched[..., 0].real - size * at.power[..., 0, 0].real
    return (1 - share) * own + share * at.energy[..., 0].real / size


def score_of(heard: Evidence, at: Probe) -> Tensor:
    """Gradient of the log-likelihood of every device by the position, (B, K, P, 3), 1/m."""
    share = heard.share[..., None, None]
    gram, power, energy = at.gram[..., 0, :].real, at.power[..., 0].real, at.energy.real
    size, d_size = gram[..., :1], 2 * gram[..., 1:]
    own = 4 * at.matched[..., 1:].real - d_size * power[..., :1] - 2 * size * power[..., 1:]
    other = 2 * energy[..., 1:] - energy[..., :1] * d_size / size
    return (1 - share) * own + share * other / size


def interference_ratio(
    instance: OtaFeelInstance, gram: Tensor, power: Tensor, samples: Tensor | int
) -> Tensor:
    """p_k = q_k |a_k|^2 / zeta_k^2 at points, (B, K, P), of the products of ``power_probe``."""
    noise_w = instance.echo_noise_w.to(torch.float64)[..., None]
    sent = power[..., 0, 0].real * noise_w / samples  # |a_l^T C_l|^2
    others = sent.sum(1, keepdim=True) - sent
    return others * gram[..., 0, 0].real / noise_w


def information(gram: Tensor, power: Tensor, ratio: Tensor | None, samples: Tensor | int) -> Tensor:
    """Fisher information of the position at every device, (B, K, P, 3, 3) 1/m^2.

    Args:
        gram: z_i^H z_j, (B, K, P, 4, 4).
        power: z_i^T P z_j^*, (B, K, P, 4, 4).
        ratio: p_k of :func:`interference_ratio`, (B, K, P); None: other devices unheard.
        samples: Samples from which the direction of the other devices' echoes is read, (B,) or a
            number: 0 for ``whitened``, all for ``full``.
    """
    size, own = gram[..., :1, :1].real, power[..., :1, :1].real
    slopes, inner = gram[..., 1:, 1:], gram[..., :1, 1:]  # da_i^H da_j; a^H da_j, as a row
    mixed = power[..., :1, 1:]  # a^T P da_i^*, as a row
    half = mixed.mT * inner
    along = half + half.mH + size * power[..., 1:, 1:].mT
    twist = inner.mH * inner
    found = slopes * own + along
    if ratio is None:
        return 2 * found.real
    p = ratio[..., None, None]
    count = torch.as_tensor(samples, dtype=torch.float64, device=gram.device)
    across = count.reshape(-1, 1, 1, 1, 1) * p * (slopes - twist / size) / size
    return 2 * (found + p / (1 + p) * (across - along - twist * own / size)).real


def _responses(problem: OtaFeel, position: Tensor, points: Tensor) -> Tensor:
    """[a, da/dv] at points, (B, K, P, M, 4)."""
    s, position = problem.scenario, position.to(torch.float64)
    if points.ndim == 3:
        points = points[:, None].expand(-1, position.shape[1], -1, -1)
    a, slope = response(  # only differences of places matter: the device in the target's seat
        -points.to(torch.float64).flatten(0, 1),
        -position.flatten(0, 1),
        array=s.array,
        num_elements=s.device_antennas,
        gain=s.reference_gain,
        exponent=s.path_exponent,
        wavelength_m=s.wavelength_m,
    )
    return torch.cat([a[..., None], slope], -1).unflatten(0, position.shape[:2])


def _power(z: Tensor, power: Tensor) -> Tensor:
    rows = z.mT.flatten(2, 3)  # (B, K, 4 P, M)
    return (rows @ power).unflatten(2, (-1, 4)) @ z.conj()


def _rank(power: Tensor) -> Tensor:
    value, _ = hermitian_eigh(power)
    return (value > _floor(value)).to(value.dtype).sum(-1)


def _pseudo_inverse(power: Tensor) -> Tensor:
    value, vector = hermitian_eigh(power)
    is_used = value > _floor(value)
    inverse = torch.where(is_used, 1 / torch.where(is_used, value, 1), 0)
    return (vector * inverse[..., None, :].to(vector.dtype)) @ vector.mH


def _floor(value: Tensor) -> Tensor:
    return _RANK_CUT * torch.finfo(value.dtype).eps * value[..., -1:]
