"""The simulated uplink: what the server's MMSE receiver makes of the symbols that devices send.

In symbol t device k sends C_k g_k(t) p_k(t), and the server's estimate of sum_k W_k g_k(t) is
M(t)^H y(t). Only R numbers per symbol are needed: the effective gains M(t)^H H_k C_k p_k(t), which
repeat with the frame, and a noise of covariance sigma^2 M(t)^H M(t). Streams that carry nothing
are filled with unit-variance Gaussian symbols, which reach the estimates as more Gaussian noise of
known covariance, so that no filler is drawn. Both are exact in distribution.

Updates travel as in spec 3.4 of the paper's scheme: each device removes the mean of its update,
divides by a scale, and sends two real entries per complex symbol; means and scales travel on an
error-free control channel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.physics.aggregation import mmse_receivers
from isac_gym.problems.ota_feel.model import OtaFeel, gains
from isac_gym.problems.ota_feel.records import OtaFeelDecision, OtaFeelInstance

__all__ = [
    "SCALINGS",
    "Scaling",
    "Uplink",
    "pack",
    "pulsed",
    "pulses",
    "scale_updates",
    "send",
    "send_repeated",
    "send_round",
    "send_updates",
    "unpack",
    "weighted_sum",
]

SCALINGS = ("adaptive", "max")
_CHUNK = 2048  # symbols at once; fixed, so that rounding does not depend on the batch


@dataclass(frozen=True)
class Uplink:
    """Receiver and channels of one frame.

    Attributes:
        heard: M(t)^H H_k C_k p_k(t), (B, P, R, K, R) complex, the receiver's row first; P is 1
            without pulses and the frame length with them.
        noise: sigma^2 M(t)^H M(t), (B, P, R, R) complex.
    """

    heard: Tensor
    noise: Tensor

    @classmethod
    def of(cls, problem: OtaFeel, instance: OtaFeelInstance, decision: OtaFeelDecision) -> Self:
        """The uplink of a decision with the MMSE receiver for the instance's weights."""
        s, gain = problem.scenario, gains(instance, decision)
        receivers = mmse_receivers(gain, instance.weight, s.noise_w)  # (B, K, N, R)
        if s.pulse == "none":
            receiver = receivers.sum(1, keepdim=True)  # (B, P = 1, N, R)
            heard = torch.einsum("bpnr,bknj->bprkj", receiver.conj(), gain)
        else:
            pulse = pulses(s.num_devices, s.frame_length).to(gain)
            receiver = torch.einsum("kp,bknr->bpnr", pulse, receivers)
            flat = gain.transpose(1, 2).flatten(2)[:, None]  # (B, 1, N, K R)
            heard = (receiver.mH @ flat).unflatten(-1, (gain.shape[1], gain.shape[3]))
            heard = heard * pulse.mT[:, None, :, None]
        return cls(heard=heard, noise=s.noise_w * receiver.mH @ receiver)

    @property
    def num_streams(self) -> int:
        """R, number of streams."""
        return self.noise.shape[-1]


def pulses(num_devices: int, frame_length: int) -> Tensor:
    """DFT pulses p_k(t) = exp(2 pi j k t / T), (K, T) complex128, orthogonal for K <= T."""
    k = torch.arange(num_devices, dtype=torch.int64)[:, None]
    turn = (k * torch.arange(frame_length, dtype=torch.int64)) % frame_length
    angle = turn.to(torch.float64) * (2 * math.pi / frame_length)
    return torch.polar(torch.ones_like(angle), angle)


def pulsed(payload: Tensor, pulse: str) -> Tensor:
    """g_k(t) p_k(t) of the symbols of one frame, (B, K, R, T); times C_k they are the waveform."""
    if pulse == "none":
        return payload
    return payload * pulses(payload.shape[1], payload.shape[3]).to(payload)[:, None]


def weighted_sum(weight: Tensor, payload: Tensor) -> Tensor:
    """What perfect links give: sum_k w_k g_k, (B, A, L), of (B, K, A) and (B, K, A, L)."""
    return torch.einsum("bka,bkal->bal", weight.to(payload.dtype), payload)


def send(
    uplink: Uplink,
    payload: Tensor,
    streams: Streams,
    name: str,
    *,
    carried: Sequence[int] | None = None,
) -> Tensor:
    """The server's estimates of sum_k w_k g_k(t) for some streams; the others carry filler.

    Args:
        uplink: Receiver and channels.
        payload: g_k(t) of the carried streams, (B, K, A, L) complex, unit variance; its dtype is
            that of the result. Symbol 0 is the first of a frame.
        streams: Randomness of the noise.
        name: Name of the draw.
        carried: Streams in the payload's order; all of them if None.

    Returns:
        Estimates, (B, A, L) complex.
    """
    rows = _rows(uplink, carried)
    heard = uplink.heard[:, :, rows][..., rows].to(payload.dtype).flatten(3)
    flat, length = payload.flatten(1, 2), payload.shape[-1]
    estimate = _noise(uplink, rows, length, streams, name, payload.dtype)
    for first, last in _chunks(uplink, length):
        estimate[..., first:last] += _mix(heard, flat[..., first:last])
    return estimate


def send_repeated(
    uplink: Uplink, symbols: Tensor, weight: Tensor, streams: Streams, name: str, *, repeats: int
) -> Tensor:
    """Sums of symbols of stream 0 that are each sent several times, spread over the frame.

    The repeats of a symbol are combined by their own MMSE filter. Without pulses that averages the
    noise. With pulses the devices' gains differ from repeat to repeat, and K repeats or more tell
    the devices apart: the floor of the aggregation with pulses is gone. The other streams carry
    filler.

    Args:
        uplink: Receiver and channels.
        symbols: g_k, (B, K, S) complex, unit variance.
        weight: Weights w_k of the sum, (B, K): those of the receiver.
        streams: Randomness of the noise.
        name: Name of the draw.
        repeats: Times each symbol is sent, >= 1.

    Returns:
        Estimates of sum_k w_k g_k, (B, S) complex.
    """
    length, stride = symbols.shape[-1], _stride(uplink, repeats)
    blocks = -(-length // stride)
    padded = torch.nn.functional.pad(symbols, (0, blocks * stride - length))
    block = padded.unflatten(-1, (blocks, 1, stride)).expand(-1, -1, -1, repeats, -1)
    got = send(uplink, block.flatten(2)[:, :, None], streams, name, carried=(0,))[:, 0]
    filters = _combiners(uplink, weight, repeats).conj()  # (B, D, repeats, stride)
    turn = torch.arange(blocks, device=got.device) % filters.shape[1]
    combined = filters[:, turn] * got.unflatten(-1, (blocks, repeats, stride))
    return combined.sum(2).flatten(1)[:, :length].to(symbols.dtype)


def _stride(uplink: Uplink, repeats: int) -> int:
    """Symbols between repeats: a frame holds every repeat, as far apart as can be."""
    return max(uplink.noise.shape[1] // repeats, 1)


def _combiners(uplink: Uplink, weight: Tensor, repeats: int) -> Tensor:
    """MMSE filters over the repeats of each symbol of D blocks, (B, D, repeats, stride)."""
    phases, stride = uplink.noise.shape[1], _stride(uplink, repeats)
    size = repeats * stride
    starts = phases // math.gcd(size, phases)
    time = torch.arange(starts * size, device=weight.device) % phases
    phase = time.reshape(starts, repeats, stride).mT  # (D, stride, repeats)
    heard = uplink.heard[:, :, 0, :, 0][:, phase]  # (B, D, stride, repeats, K)
    filler = uplink.heard[:, :, 0, :, 1:].abs().square().sum((2, 3))
    level = uplink.noise[:, :, 0, 0].real + filler
    covariance = heard @ heard.mH + torch.diag_embed(level[:, phase]).to(heard.dtype)
    eps, tiny = torch.finfo(level.dtype).eps, torch.finfo(level.dtype).tiny
    floor = tiny + eps * _trace(covariance)  # silence: nothing is heard, every estimate is 0
    eye = torch.eye(repeats, dtype=heard.dtype, device=heard.device)
    factor, _ = torch.linalg.cholesky_ex(
        covariance + floor[..., None, None] * eye, check_errors=False
    )
    wanted = heard @ weight[:, None, None, :, None].to(heard.dtype)
    return torch.cholesky_solve(wanted, factor)[..., 0].mT


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).real.sum(-1)


def pack(values: Tensor) -> Tensor:
    """Two real numbers per symbol, (..., ceil(d / 2)) complex, unit power for unit variance."""
    if values.shape[-1] % 2:
        values = torch.nn.functional.pad(values, (0, 1))
    pairs = values.unflatten(-1, (-1, 2)).contiguous()
    return torch.view_as_complex(pairs) * math.sqrt(0.5)


def unpack(symbols: Tensor, size: int) -> Tensor:
    """The ``size`` real numbers of :func:`pack`, (..., size)."""
    return torch.view_as_real(symbols.resolve_conj()).flatten(-2)[..., :size] * math.sqrt(2)


@dataclass(frozen=True)
class Scaling:
    """How updates become symbols of unit variance, and back; known to the server.

    Attributes:
        mean: What each device subtracts, (B, K).
        divisor: What it divides by, (B, K), > 0.
        weight: Weights of the symbols in the sum, (B, K): of this the receiver is made.
        factor: What the server multiplies by, (B,).
        offset: What it adds, (B,).
    """

    mean: Tensor
    divisor: Tensor
    weight: Tensor
    factor: Tensor
    offset: Tensor

    def symbols(self, updates: Tensor) -> Tensor:
        """Symbols (B, K, ceil(d / 2)) complex of updates (B, K, d)."""
        centred = updates - self.mean[..., None].to(updates.dtype)
        return pack(centred / self.divisor[..., None].to(updates.dtype))

    def restored(self, symbols: Tensor, size: int) -> Tensor:
        """The average update (B, size) of the server's estimates (B, L)."""
        values = unpack(symbols, size)
        return values * self.factor[:, None].to(values) + self.offset[:, None].to(values)


def scale_updates(updates: Tensor, weight: Tensor, *, rule: str) -> Scaling:
    """Side information of a round's updates.

    ``adaptive``: every device sends unit variance, and its spread moves into the weights.
    ``max``: all divide by the largest spread, so that the weights stay and powers fall. Devices
    whose updates are constant send zeros; their mean still counts.

    Args:
        updates: (B, K, d) real.
        weight: Weights of the devices in the average, (B, K), sum 1.
        rule: One of ``SCALINGS``.
    """
    if rule not in SCALINGS:
        raise ScenarioError(f"rule must be one of {SCALINGS}, got {rule!r}.")
    middle = updates.mean(-1, keepdim=True)
    mean = middle[..., 0].to(weight.dtype)
    length = torch.linalg.vector_norm(updates - middle, dim=-1)  # ten times as fast as std
    spread = length.to(weight.dtype) / math.sqrt(updates.shape[-1])
    small = torch.finfo(updates.dtype).tiny
    if rule == "max":
        factor = spread.amax(-1)
        divisor, shares = factor[:, None].expand_as(spread), weight
    else:
        sized = weight * spread
        factor, divisor = sized.sum(-1), spread
        # no spread anywhere: the weights themselves keep the receiver defined
        shares = torch.where(
            factor[:, None] > small, sized / factor[:, None].clamp_min(small), weight
        )
    return Scaling(
        mean=mean,
        divisor=torch.where(divisor > small, divisor, 1),
        weight=shares,
        factor=factor,
        offset=(weight * mean).sum(-1),
    )


def send_updates(
    uplink: Uplink, updates: Tensor, scaling: Scaling, streams: Streams, *, stream: int
) -> Tensor:
    """Average update (B, d) after the uplink, of updates (B, K, d) on one stream.

    The other streams carry filler. Symbols are made chunk by chunk, never all at once.
    """
    symbols = _update_symbols(uplink, updates, scaling, streams, stream)
    return scaling.restored(symbols, updates.shape[-1])


def send_round(
    uplink: Uplink, score: Tensor, updates: Tensor, scaling: Scaling, streams: Streams
) -> tuple[Tensor, Tensor]:
    """One round: symbols of localisation on stream 0 while updates travel on stream 1.

    Args:
        uplink: Receiver and channels, of two streams or more.
        score: Symbols of stream 0, (B, K, S) complex; filler follows them.
        updates: (B, K, d) real.
        scaling: That of the updates.
        streams: Randomness of the round.

    Returns:
        Estimates of the sums of stream 0, (B, S) complex, and the average update (B, d).
    """
    symbols = _update_symbols(uplink, updates, scaling, streams, 1)
    estimate = send(uplink, score[:, :, None], streams, "uplink/score", carried=(0,))[:, 0]
    both = min(score.shape[-1], symbols.shape[-1])
    learning = scaling.symbols(updates[..., : 2 * both]).to(score.dtype)
    pair = torch.stack([score[..., :both], learning], 2)
    joint = send(uplink, pair, streams, "uplink/both", carried=(0, 1))
    estimate = torch.cat([joint[:, 0], estimate[:, both:]], -1)
    symbols = torch.cat([joint[:, 1].to(symbols.dtype), symbols[:, both:]], -1)
    return estimate, scaling.restored(symbols, updates.shape[-1])


def _update_symbols(
    uplink: Uplink, updates: Tensor, scaling: Scaling, streams: Streams, stream: int
) -> Tensor:
    rows = _rows(uplink, (stream,))
    dtype = updates.dtype.to_complex()
    heard = uplink.heard[:, :, rows][..., rows].to(dtype).flatten(3)
    length = -(-updates.shape[-1] // 2)
    estimate = _noise(uplink, rows, length, streams, "uplink/updates", dtype)
    for first, last in _chunks(uplink, length):
        part = scaling.symbols(updates[..., 2 * first : 2 * last])
        estimate[..., first:last] += _mix(heard, part)
    return estimate[:, 0]


def _rows(uplink: Uplink, carried: Sequence[int] | None) -> list[int]:
    count = uplink.num_streams
    rows = list(range(count)) if carried is None else list(carried)
    if len(set(rows)) != len(rows) or not all(0 <= row < count for row in rows):
        raise ScenarioError(f"carried must be different streams in [0, {count - 1}], got {rows}.")
    return rows


def _chunks(uplink: Uplink, length: int) -> list[tuple[int, int]]:
    """Ranges of whole frames, the last one cut."""
    phases = uplink.noise.shape[1]
    size = max(_CHUNK // phases, 1) * phases
    return [(first, min(first + size, length)) for first in range(0, length, size)]


def _mix(matrix: Tensor, values: Tensor) -> Tensor:
    """Matrix (B, P, A, C) of phase t mod P on values (B, C, L): (B, A, L)."""
    phases, length = matrix.shape[1], values.shape[-1]
    frames = -(-length // phases)
    padded = torch.nn.functional.pad(values, (0, frames * phases - length))
    by_phase = padded.unflatten(-1, (frames, phases)).permute(0, 3, 1, 2)  # (B, P, C, F)
    mixed = matrix @ by_phase
    return mixed.permute(0, 2, 3, 1).flatten(2)[..., :length]


def _noise(
    uplink: Uplink, rows: list[int], length: int, streams: Streams, name: str, dtype: torch.dtype
) -> Tensor:
    """Noise and filler at the estimates ``rows``, (B, A, L) complex."""
    filler = [row for row in range(uplink.num_streams) if row not in rows]
    covariance = uplink.noise[:, :, rows][..., rows]
    if filler:
        heard = uplink.heard[:, :, rows][..., filler].flatten(3)
        covariance = covariance + heard @ heard.mH
    white = streams.complex_normal(name, len(rows), length, dtype=dtype.to_real())
    return _mix(_root(covariance).to(dtype), white)


def _root(covariance: Tensor) -> Tensor:
    """Lower triangular root of semidefinite matrices (..., A, A), A small; zero pivots allowed."""
    left, columns = covariance, []
    for i in range(covariance.shape[-1]):
        pivot = left[..., i, i].real
        is_zero = pivot <= torch.finfo(pivot.dtype).eps * covariance[..., i, i].real
        scale = torch.where(is_zero, 0, torch.where(is_zero, 1, pivot).rsqrt())
        column = left[..., i] * scale[..., None]
        column = torch.cat([torch.zeros_like(column[..., :i]), column[..., i:]], -1)
        left = left - column[..., :, None] * column[..., None, :].conj()
        columns.append(column)
    return torch.stack(columns, -1)
