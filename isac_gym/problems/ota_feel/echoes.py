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
    "evidence",
    "hear",
    "hear_ideal",
    "information",
    "interference_ratio",
    "responses_at",
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
        antennas = total.shape[-1]
        per_sample = left / echoes.samples.clamp_min(1)[:, None]
        ratio = (per_sample - antennas).clamp_min(0)
        share = torch.where(echoes.samples[:, None] > 0, ratio / (1 + ratio), share)
        if likelihood == "whitened":
            total = explained
    samples = echoes.samples if likelihood == "full" else torch.zeros_like(echoes.samples)
    return Evidence(echoes.cross, echoes.power, total, share, samples)


def responses_at(problem: OtaFeel, position: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Responses (B, P, K, M) and derivatives (B, P, K, M, 3) for targets at points (B, P, 3).

    Devices are at ``position`` (B, K, 3) m.
    """
    s, count = problem.scenario, points.shape[1]
    device = position.to(torch.float64)[:, None].expand(-1, count, -1, -1).flatten(0, 1)
    a, slope = response(
        device,
        points.to(torch.float64).flatten(0, 1),
        array=s.array,
        num_elements=s.device_antennas,
        gain=s.reference_gain,
        exponent=s.path_exponent,
        wavelength_m=s.wavelength_m,
    )
    return a.unflatten(0, (-1, count)), slope.unflatten(0, (-1, count))


def value_of(heard: Evidence, a: Tensor) -> Tensor:
    """Log-likelihood of every device, (B, P, K), of responses a (B, P, K, M)."""
    matched = _form(a.conj(), heard.cross, a.conj()).real
    power = _form(a, heard.power, a.conj()).real
    energy = _form(a.conj(), heard.total, a).real
    size, share = _size(a), heard.share[:, None]
    return (1 - share) * (2 * matched - size * power) + share * energy / size


def score_of(heard: Evidence, a: Tensor, slope: Tensor) -> Tensor:
    """Gradient of the log-likelihood of every device by the position, (B, P, K, 3), 1/m."""
    left = torch.einsum("bkmn,bpkn->bpkm", heard.cross, a.conj())  # X a^*
    right = torch.einsum("bkmn,bpkm->bpkn", heard.cross, a.conj())  # (a^H X)^T
    matched = torch.einsum("bpkm,bpkmi->bpki", (left + right).conj(), slope).real
    sent = torch.einsum("bkmn,bpkn->bpkm", heard.power, a.conj())  # P a^*
    d_power = 2 * torch.einsum("bpkm,bpkmi->bpki", sent, slope).real
    seen = torch.einsum("bkmn,bpkn->bpkm", heard.total, a)  # V a
    d_energy = 2 * torch.einsum("bpkm,bpkmi->bpki", seen.conj(), slope).real
    d_size = 2 * torch.einsum("bpkm,bpkmi->bpki", a.conj(), slope).real
    size, share = _size(a)[..., None], heard.share[:, None, :, None]
    power = (a * sent).sum(-1, keepdim=True).real
    energy = (a.conj() * seen).sum(-1, keepdim=True).real
    own = 2 * matched - d_size * power - size * d_power
    return (1 - share) * own + share * (d_energy - energy * d_size / size) / size


def interference_ratio(
    instance: OtaFeelInstance, power: Tensor, a: Tensor, samples: Tensor | int
) -> Tensor:
    """p_k = q_k |a_k|^2 / zeta_k^2 at responses a, (B, P, K), of P_k (B, K, M, M)."""
    noise_w = instance.echo_noise_w.to(torch.float64)[:, None]
    sent = _form(a, power, a.conj()).real * noise_w / samples  # |a_l^T C_l|^2
    others = sent.sum(-1, keepdim=True) - sent
    return others * _size(a) / noise_w


def information(
    power: Tensor, a: Tensor, slope: Tensor, ratio: Tensor | None, samples: Tensor | int
) -> Tensor:
    """Fisher information of the position at every device, (B, P, K, 3, 3) 1/m^2.

    Args:
        power: P_k, (B, K, M, M).
        a: Responses, (B, P, K, M).
        slope: Their derivatives, (B, P, K, M, 3).
        ratio: p_k of :func:`interference_ratio`, (B, P, K); None: other devices unheard.
        samples: Samples from which the direction of the other devices' echoes is read, (B,) or a
            number: 0 for ``whitened``, all for ``full``.
    """
    b = torch.einsum("bkmn,bpkm->bpkn", power, a)  # P^T a
    own = torch.einsum("bpkn,bpkn->bpk", b, a.conj()).real[..., None, None]
    mixed = torch.einsum("bpkn,bpkni->bpki", b, slope.conj())  # b b_i^H
    curved = torch.einsum("bkmn,bpkmj,bpkni->bpkij", power, slope, slope.conj())  # b_j b_i^H
    inner = torch.einsum("bpkm,bpkmi->bpki", a.conj(), slope)  # a^H da_i
    size = _size(a)[..., None, None]
    slopes = slope.mH @ slope
    first = inner[..., :, None].conj() * mixed[..., None, :].conj()  # (da_i^H a)(b_j b^H)
    second = mixed[..., :, None] * inner[..., None, :]  # (b b_i^H)(a^H da_j)
    twist = inner[..., :, None].conj() * inner[..., None, :]
    found = slopes * own + first + second + size * curved
    if ratio is None:
        return 2 * found.real
    p = ratio[..., None, None]
    along = twist * own / size + first + second + size * curved  # (a^H D_i)(a^H D_j)^H / |a|^2
    across = (slopes - twist / size) / size
    count = torch.as_tensor(samples, dtype=torch.float64, device=a.device).reshape(-1, 1, 1, 1, 1)
    return 2 * (found - p / (1 + p) * along + count * p.square() / (1 + p) * across).real


def _form(left: Tensor, matrix: Tensor, right: Tensor) -> Tensor:
    """left^T Q right at every point, (B, P, K), of (B, P, K, M), (B, K, M, M), (B, P, K, M)."""
    return (left * torch.einsum("bkmn,bpkn->bpkm", matrix, right)).sum(-1)


def _size(a: Tensor) -> Tensor:
    return (a.real.square() + a.imag.square()).sum(-1)


def _pseudo_inverse(power: Tensor) -> Tensor:
    value, vector = hermitian_eigh(power)
    floor = _RANK_CUT * torch.finfo(value.dtype).eps * value[..., -1:]
    is_used = value > floor
    inverse = torch.where(is_used, 1 / torch.where(is_used, value, 1), 0)
    return (vector * inverse[..., None, :].to(vector.dtype)) @ vector.mH
