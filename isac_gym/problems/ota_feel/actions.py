r"""Action maps: numbers in [-1, 1] per device to a precoder within its budget, and back.

The precoder of a device is F = C / sqrt(P), (M, R); every map ends inside the unit ball. The server
broadcasts the receiver of its base design, so a device knows what it has to meet in the sum; b is
the direction of the estimated target, n the part of b that the receiver does not hear. The base
design expects the roles of the round before, so that roles which stay are met exactly.

* ``null-space``, 2 numbers: a power share u and a sensing entry q. For q >= 0 the share q of the
  power goes to the target, off the sum: F = D(u (1 - q)) + sqrt(u q) n x, where D(.) is the best
  precoder for the receiver within a budget and the row x is aligned with what is sent anyway. For
  q < 0 the device keeps quiet: D is designed behind the filter I + q b b^H, and at q = -1 nothing
  reaches the target. Echoes of other devices are noise, so quiet devices help one that senses.
* ``residual``: both and 2 M R more; F = the above + g(x), g(x) = 0.1 x + 0.9 x^5 of every real
  part. Near zero that is a correction of gain 0.1; at the ends it replaces the base design, so that
  every decision is reachable.
* ``raw``: the entries of F, scaled back where |F| > 1. Every decision is reachable.

The power entry p gives u = 1 - (1 - p)^2 / 4. With ``is_scheduled``, p < -0.8 silences the device.
With orthogonal pulses there is no sum to meet, and D only scales the base design. With M = R the
receiver hears every direction, and n is b.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.physics.precoder_step import sum_precoders

__all__ = ["ACTION_MODES", "ActionMap", "Directions", "directions", "filtered", "unit"]

ACTION_MODES = ("residual", "null-space", "raw")
_SILENT = -0.8
_LEAST = 1e-9  # share of the power below which a base design is empty
_MARGIN = 1.25  # of the power that a base design expects
_GAIN = 0.1  # of the residual near zero
_NEWTON = 60  # steps of the residual's inverse; monotone from the right, quadratic at the end


class Directions(NamedTuple):
    """What the maps are built from; everything the devices know.

    Attributes:
        own: H_k^H M sqrt(P), what the receiver hears, or without ``weight`` the base design over
            sqrt(P), (B, K, M, R).
        weight: Diagonals of W_k, (B, K, R); None: the base design is only scaled.
        toward: b, (B, K, M), unit norm.
        beam: n x, (B, K, M, R), unit norm.
    """

    own: Tensor
    weight: Tensor | None
    toward: Tensor
    beam: Tensor


def directions(own: Tensor, weight: Tensor | None, plan: Tensor, response: Tensor) -> Directions:
    """Directions of what is heard, weights, base designs and responses a_k at the estimate."""
    if weight is None:  # a base design of rounding errors is none
        is_some = _square(own).sum((-2, -1), keepdim=True) > torch.finfo(plan.real.dtype).eps
        own = torch.where(is_some, own, 0)
    toward = unit(response.conj())
    off = toward
    if own.shape[-2] > own.shape[-1]:
        off = unit(_off(own, toward))
    sent = torch.einsum("bkm,bkmr->bkr", toward.conj(), plan)
    size = _square(sent).sum(-1, keepdim=True)
    first = torch.zeros_like(sent)
    first[..., 0] = 1
    info = torch.finfo(size.dtype)
    # what a plan that nulls the target still sends there is rounding, without a direction
    least = (info.eps * _square(plan).sum((-2, -1))[..., None]).clamp_min(info.tiny**0.5)
    row = torch.where(size > least, sent / size.clamp_min(info.tiny**0.5).sqrt(), first)
    return Directions(own, weight, toward, off[..., None] * row[..., None, :])


def _off(columns: Tensor, v: Tensor) -> Tensor:
    """Part of v (B, K, M) off the columns (B, K, M, R), by Gram-Schmidt, twice for its rounding."""
    largest = _square(columns).sum(-2).amax(-1, keepdim=True)
    least = largest * torch.finfo(largest.dtype).eps ** 2
    frame: list[Tensor] = []
    for column in columns.unbind(-1):
        is_some = _square(column).sum(-1, keepdim=True) > least
        frame.append(unit(_without(torch.where(is_some, column, 0), frame)))
    return _without(v, frame)


def _without(v: Tensor, frame: list[Tensor]) -> Tensor:
    for _ in range(2):
        for each in frame:
            v = v - each * (each.conj() * v).sum(-1, keepdim=True)
    return v


@dataclass(frozen=True, kw_only=True)
class ActionMap:
    """Map of one mode between actions (B, K, size) and precoders F (B, K, M, R).

    Attributes:
        mode: One of :data:`ACTION_MODES`.
        antennas: M.
        streams: R.
        is_scheduled: Low power entries silence a device.
    """

    mode: str
    antennas: int
    streams: int
    is_scheduled: bool = False

    @property
    def size(self) -> int:
        """Numbers per device."""
        entries = 2 * self.antennas * self.streams
        return {"residual": 2 + entries, "null-space": 2, "raw": entries}[self.mode]

    def decode(self, known: Directions, action: Tensor) -> Tensor:
        """Precoders of actions in [-1, 1]; |F_k| <= 1."""
        if self.mode == "raw":
            return _within(self._complex(action))
        factor = self._shaped(known, action[..., :2])
        if self.mode == "residual":
            x = action[..., 2:]
            factor = factor + self._complex(_GAIN * x + (1 - _GAIN) * x.pow(5))
        factor = _within(factor)
        if self.is_scheduled:
            is_silent = action[..., 0] < _SILENT
            factor = torch.where(is_silent[..., None, None], 0, factor)
        return factor

    def encode(self, known: Directions, factor: Tensor) -> Tensor:
        """Actions of precoders, exact where they are reachable, else near them."""
        if self.mode == "raw":
            return _real(factor).clamp(-1, 1)
        shape = self.shape(known, factor)
        if self.mode == "null-space":
            return shape
        rest = _real(factor - self._shaped(known, shape))
        is_far = rest.abs().amax(-1, keepdim=True) > 1
        empty = torch.zeros_like(shape)
        empty[..., 0] = self._least
        shape = torch.where(is_far, empty, shape)
        rest = torch.where(is_far, _real(factor), rest)
        return torch.cat([shape, _inverse_residual(rest)], -1)

    @property
    def _least(self) -> float:
        """Power entry without power."""
        return _SILENT if self.is_scheduled else -1.0

    def _complex(self, x: Tensor) -> Tensor:
        pairs = x.unflatten(-1, (self.antennas, self.streams, 2))
        return torch.complex(pairs[..., 0], pairs[..., 1])

    def role(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Share of the power for the sum, u (1 - q), and quietness of entries (B, K, 2), (B, K)."""
        share = shape[..., 1].clamp_min(0)
        return self._power(shape) * (1 - share), (-shape[..., 1]).clamp_min(0)

    def shape(self, known: Directions, factor: Tensor) -> Tensor:
        """Power and sensing entries (B, K, 2) whose precoder is ``factor``, or near it."""
        sensed = self._sensing_entries(known, factor)
        quiet = self._quiet_entries(known, factor)
        missed = [_square(self._shaped(known, e) - factor).sum((-2, -1)) for e in (sensed, quiet)]
        return torch.where((missed[0] <= missed[1])[..., None], sensed, quiet)

    def expected(self, known: Directions, shape: Tensor) -> Tensor:
        """Entries for the next base design, of the entries (B, K, 2) of a decision.

        A precoder that needs less than its share says nothing about the share, so the power is
        read against what the full share would have been used for, with a margin: else a base
        design that is played would shrink from round to round.
        """
        full = torch.stack([torch.ones_like(shape[..., 0]), shape[..., 1]], -1)
        most, quiet = self.role(full)
        spent, used = (
            _square(_designed(known, share, quiet)).sum((-2, -1))
            for share in (self.role(shape)[0], most)
        )
        tiny = torch.finfo(used.dtype).tiny ** 0.5
        power = torch.where(used > tiny, _MARGIN * spent / used.clamp_min(tiny), 1).clamp_max(1)
        return torch.stack([self._entry(power), shape[..., 1]], -1)

    def _shaped(self, known: Directions, shape: Tensor) -> Tensor:
        kept = _designed(known, *self.role(shape))
        sensed = self._power(shape) * shape[..., 1].clamp_min(0)
        return kept + _root(sensed)[..., None, None] * known.beam

    def _power(self, shape: Tensor) -> Tensor:
        entry = ((shape[..., 0] - self._least) / (1 - self._least)).clamp_min(0)
        return 1 - (1 - entry).square()

    def _entry(self, power: Tensor) -> Tensor:
        entry = 1 - _root((1 - power).clamp(0, 1))
        return self._least + (1 - self._least) * entry

    def _sensing_entries(self, known: Directions, factor: Tensor) -> Tensor:
        tiny = torch.finfo(factor.real.dtype).tiny ** 0.5
        along = _dot(known.beam, factor).clamp(0, 1)
        rest = _square(factor - along[..., None, None] * known.beam).sum((-2, -1))
        if known.weight is None:
            size = _square(known.own).sum((-2, -1))
            rest = torch.where(size > tiny, rest / size.clamp_min(tiny), 0)
        sensed = along.square()
        power = sensed + rest
        share = torch.where(power > tiny, sensed / power.clamp_min(tiny), 0)
        return torch.stack([self._entry(power), share], -1).clamp(-1, 1)

    def _quiet_entries(self, known: Directions, factor: Tensor) -> Tensor:
        """From F = (O - y b b^H O) K with O ``own``: K off b by least squares, then y along b."""
        silent, along = _split(known.own, known.toward)
        kept, heard = _split(factor, known.toward)
        gram = silent.mH @ silent
        if known.weight is None:
            size = torch.diagonal(gram, dim1=-2, dim2=-1).real.sum(-1)
            scale = _dot(silent, kept) / size.clamp_min(torch.finfo(size.dtype).tiny ** 0.5)
            mixed, start = scale[..., None, None] * along, scale[..., None, None] * known.own
        else:
            mixer, _ = torch.linalg.solve_ex(_ridged(gram), silent.mH @ kept)
            mixed, start = along @ mixer, known.own @ mixer
        size = _square(mixed).sum((-2, -1))
        left = _dot(mixed, heard) / size.clamp_min(torch.finfo(size.dtype).tiny ** 0.5)
        left = left.clamp(0, 1)
        if known.weight is None:
            quiet, power = 1 - left, scale.square()
        else:
            quiet = 1 - _root(left)
            before = start - quiet[..., None, None] * known.toward[..., None] * mixed
            power = _square(before).sum((-2, -1))
        return torch.stack([self._entry(power), -quiet], -1).nan_to_num(0.0).clamp(-1, 1)


def _designed(known: Directions, power: Tensor, quiet: Tensor) -> Tensor:
    """D: best precoder for the receiver within ``power`` behind the filter I - quiet b b^H."""
    is_on = (power > _LEAST)[..., None, None]
    own = filtered(known.own, known.toward, quiet)
    if known.weight is None:
        return torch.where(is_on, _root(power)[..., None, None] * own, 0)
    best = sum_precoders(own.conj(), known.weight, power.clamp_min(_LEAST)).mT
    return torch.where(is_on, filtered(best, known.toward, quiet), 0)


def filtered(factor: Tensor, toward: Tensor, quiet: Tensor) -> Tensor:
    """(I - quiet b b^H) F of F (B, K, M, R), b (B, K, M) and quiet (B, K)."""
    along = toward.conj()[..., None, :] @ factor
    return factor - quiet[..., None, None] * toward[..., None] * along


def _split(factor: Tensor, toward: Tensor) -> tuple[Tensor, Tensor]:
    """Part of F (B, K, M, R) off b, and the row b^H F, (B, K, 1, R)."""
    along = toward.conj()[..., None, :] @ factor
    return factor - toward[..., None] * along, along


def _ridged(gram: Tensor) -> Tensor:
    """Hermitian matrices (..., R, R) that are safe to solve with, also where they are zero."""
    info = torch.finfo(gram.real.dtype)
    size = torch.diagonal(gram, dim1=-2, dim2=-1).real.sum(-1)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return gram + (info.eps * size + info.tiny**0.5)[..., None, None] * eye


def _inverse_residual(y: Tensor) -> Tensor:
    """Solve g(x) = y, |y| <= 1, for x in [-1, 1]; Newton on a convex function from 1."""
    size = y.abs().clamp_max(1)
    x = torch.ones_like(size)
    for _ in range(_NEWTON):
        value = _GAIN * x + (1 - _GAIN) * x.pow(5) - size
        x = x - value / (_GAIN + 5 * (1 - _GAIN) * x.pow(4))
    return x.clamp(0, 1) * y.sign()


def _within(factor: Tensor) -> Tensor:
    """Precoders (B, K, M, R) scaled back into the unit ball, which ends 32 roundings early."""
    norm = _root(_square(factor).sum((-2, -1), keepdim=True))
    full = 1 - 32 * torch.finfo(norm.dtype).eps
    return factor * (full / norm.clamp_min(full))


def _root(x: Tensor) -> Tensor:
    """Square root of x >= 0 whose slope at 0 is 0."""
    is_positive = x > torch.finfo(x.dtype).tiny
    return torch.where(is_positive, torch.where(is_positive, x, 1).sqrt(), 0)


def unit(v: Tensor) -> Tensor:
    """Vectors of norm 1 along the last axis; zero stays zero."""
    norm = _square(v).sum(-1, keepdim=True).sqrt()
    return v / norm.clamp_min(math.sqrt(torch.finfo(norm.dtype).tiny))


def _real(factor: Tensor) -> Tensor:
    return torch.view_as_real(factor.resolve_conj()).flatten(-3)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real.sum((-2, -1))


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
