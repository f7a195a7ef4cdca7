r"""Action maps: numbers in [-1, 1] per base station to a transmit factor, and back.

The factor of a base station is F = [v_1, ..., v_K, C] / sqrt(P), stacked as rows (K + R, N); every
map ends inside the unit ball. Three maps:

* ``raw``: the entries of F, scaled back where ||F|| > 1. Every decision is reachable.
* ``structured``, K + 4 numbers: sensing share, power share, loading of the regularised zero
  forcing, weight of the soft null towards the users, and the users' power logits.
* ``residual``: both; F = structured + 0.3 x + 0.7 x^5 of the raw entries x. Near zero the raw part
  is a correction of gain 0.3; at the ends it can replace the structured part, so that every
  decision is reachable here as well.

Every map has an exact inverse on what it reaches: the loading and the null weight enter linearly
once the unknown scales are unknowns too, so that both follow from small least-squares problems.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from isac_gym.core.records import tensor_field
from isac_gym.problems.robust_beamforming.anchors import unit_power
from isac_gym.problems.robust_beamforming.records import (
    RobustBeamformingDecision,
    RobustBeamformingInstance,
)

__all__ = ["ACTION_MODES", "ActionMap", "Directions", "PilotedDecision", "directions"]

ACTION_MODES = ("raw", "structured", "residual")
_DECADES = 3.0  # of the loading around its robust default, to either side
_LOGIT = 3.0
_GAIN = 0.3  # of the raw part near zero
_NEWTON = 40  # steps of the residual's inverse; monotone from the right, quadratic at the end


@dataclass(frozen=True)
class PilotedDecision(RobustBeamformingDecision):
    """A decision with pilot bits, which only the process reads.

    The problem knows one slot and no pilots; a field of its decision that no metric sees would be a
    trap for every solver. Where a process gets the plain record, its own pilot rule decides.
    """

    pilots: Tensor = tensor_field("B I", "bool", doc="cell sends pilots at the end of this slot")


class Directions(NamedTuple):
    """What the structured map is built from; everything the stations know.

    Attributes:
        own: Channels to the own users, (B, I, K, N).
        gram: Sum of h h^H over all users a station reaches, (B, I, N, N).
        loading: Loading at action 0, I K / P + sum eps^2 / N, (B, I).
        sensing: Sensing factors of unit norm, (B, I, N, R).
        heard: Their part that the users hear, Q C with Q = I - (I + gram / loading)^-1.
    """

    own: Tensor
    gram: Tensor
    loading: Tensor
    sensing: Tensor
    heard: Tensor


def directions(instance: RobustBeamformingInstance, factor: Tensor, streams: int) -> Directions:
    """Directions of an instance and sensing factors (B, I, N, columns), cut or padded to R."""
    i = instance
    batch, cells, _, users, antennas = i.channel.shape
    rows = i.channel.reshape(batch, cells, cells * users, antennas)
    gram = rows.mT @ rows.conj()
    own = torch.diagonal(i.channel, dim1=1, dim2=2).permute(0, 3, 1, 2)
    loading = cells * users / i.max_power_w + i.radius.square().sum((-2, -1)) / antennas
    missing = max(streams - factor.shape[-1], 0)
    sensing = torch.nn.functional.pad(factor[..., :streams], (0, missing))
    sensing = unit_power(sensing, torch.ones_like(loading))
    silent, _ = torch.linalg.solve_ex(_loaded(gram, loading), sensing)
    return Directions(own, gram, loading, sensing, sensing - loading[..., None, None] * silent)


@dataclass(frozen=True, kw_only=True)
class ActionMap:
    """Map of one mode between actions (B, I, size) and factors F (B, I, K + R, N).

    Attributes:
        mode: One of :data:`ACTION_MODES`.
        users: K.
        streams: R.
        antennas: N.
    """

    shapes: ClassVar[tuple[str, ...]] = ("sensing share", "power", "loading", "soft null")

    mode: str
    users: int
    streams: int
    antennas: int

    @property
    def size(self) -> int:
        """Numbers per base station."""
        raw, structured = self._raw_size, self.users + len(self.shapes)
        return {"raw": raw, "structured": structured, "residual": structured + raw}[self.mode]

    @property
    def _raw_size(self) -> int:
        return 2 * (self.users + self.streams) * self.antennas

    def decode(self, known: Directions, action: Tensor) -> Tensor:
        """Factor of an action in [-1, 1]; ||F_l|| <= 1."""
        if self.mode == "raw":
            return within(self._complex(action))
        split = self.users + len(self.shapes)
        factor = self._shaped(known, action[..., :split])
        if self.mode == "structured":
            return within(factor)
        raw = action[..., split:]
        return within(factor + self._complex(_GAIN * raw + (1 - _GAIN) * raw.pow(5)))

    def encode(self, known: Directions, factor: Tensor) -> Tensor:
        """Action of a factor, exact where it is reachable, else near it."""
        if self.mode == "raw":
            return _real(factor).clamp(-1, 1)
        shape = self._shape(known, factor)
        if self.mode == "structured":
            return shape
        rest = _real(factor - self._shaped(known, shape))
        is_far = rest.abs().amax(-1, keepdim=True) > 1
        silent = torch.zeros_like(shape)
        silent[..., 1] = -1.0  # no power in the structured part
        shape = torch.where(is_far, silent, shape)
        rest = torch.where(is_far, _real(factor), rest)
        return torch.cat([shape, _inverse_residual(rest)], -1)

    def _complex(self, x: Tensor) -> Tensor:
        pairs = x.unflatten(-1, (self.users + self.streams, self.antennas, 2))
        return torch.complex(pairs[..., 0], pairs[..., 1])

    def _shaped(self, known: Directions, action: Tensor) -> Tensor:
        share, power, null = ((action[..., j] + 1) / 2 for j in (0, 1, 3))
        loading = known.loading * 10 ** (_DECADES * action[..., 2])
        beam, _ = torch.linalg.solve_ex(_loaded(known.gram, loading), known.own.mT)
        split = (_LOGIT * action[..., 4:]).softmax(-1)
        size = (power * (1 - share))[..., None] * split
        beam = _unit(beam.mT) * size.sqrt()[..., None]
        sensing = known.sensing - null[..., None, None] * known.heard
        sensing = unit_power(sensing, power * share)
        return torch.cat([beam, sensing.mT], 2)

    def _shape(self, known: Directions, factor: Tensor) -> Tensor:
        """Structured action whose factor is ``factor``, or near it."""
        tiny = torch.finfo(known.loading.dtype).tiny ** 0.5
        beam, sensing = factor[:, :, : self.users], factor[:, :, self.users :].mT
        spent, sensed = _square(beam).sum(-1), _square(sensing).sum((-2, -1))
        power = spent.sum(-1) + sensed
        share = torch.where(power > tiny, sensed / power.clamp_min(tiny), 0.5)
        logit = spent.clamp_min(tiny).log()
        middle = (logit.amax(-1, keepdim=True) + logit.amin(-1, keepdim=True)) / 2
        columns = [
            2 * share - 1,
            2 * power - 1,
            (_loading_of(known, beam) / known.loading).log10() / _DECADES,
            2 * _null_of(known, sensing) - 1,
        ]
        action = torch.cat([torch.stack(columns, -1), (logit - middle) / _LOGIT], -1)
        return action.clamp(-1, 1)


def _loading_of(known: Directions, beam: Tensor) -> Tensor:
    """Loading whose regularised zero forcing gives the beams' directions, (B, I).

    (G + loading) v = c h for some c; off the direction of h that is linear in the loading.
    """
    tiny = torch.finfo(known.loading.dtype).tiny ** 0.5
    unit = _unit(known.own)

    def off(v: Tensor) -> Tensor:
        return v - unit * (unit.conj() * v).sum(-1, keepdim=True)

    side, pulled = off(beam), off((known.gram @ beam.mT).mT)
    against = -(side.conj() * pulled).real.sum((-2, -1))
    size = _square(side).sum((-2, -1))
    is_known = (size > tiny) & (against > 0)
    return torch.where(is_known, against / size.clamp_min(tiny), known.loading)


def _null_of(known: Directions, sensing: Tensor) -> Tensor:
    """Weight m of C = c (C_0 - m Q C_0), by least squares in (c, c m); (B, I) in [0, 1]."""
    tiny = torch.finfo(known.loading.dtype).tiny ** 0.5

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a.conj() * b).real.sum((-2, -1))

    base, heard = known.sensing, known.heard
    aa, bb, ab = dot(base, base), dot(heard, heard), dot(base, heard)
    ca, cb = dot(base, sensing), dot(heard, sensing)
    weight, slope = ca * bb - cb * ab, ca * ab - cb * aa  # times the determinant
    return torch.where(weight > tiny, slope / weight.clamp_min(tiny), 0).clamp(0, 1)


def _inverse_residual(y: Tensor) -> Tensor:
    """Solve 0.3 x + 0.7 x^5 = y, |y| <= 1, for x in [-1, 1]; Newton on a convex function from 1."""
    size = y.abs().clamp_max(1)
    x = torch.ones_like(size)
    for _ in range(_NEWTON):
        value = _GAIN * x + (1 - _GAIN) * x.pow(5) - size
        x = x - value / (_GAIN + 5 * (1 - _GAIN) * x.pow(4))
    return x.clamp(0, 1) * y.sign()


def within(factor: Tensor) -> Tensor:
    """Factors (B, I, rows, N) scaled back into the unit ball of each base station.

    The ball ends 32 rounding errors early, so that no rounding makes a violation of full power.
    """
    norm = _square(factor).sum((-2, -1), keepdim=True).sqrt()
    full = 1 - 32 * torch.finfo(norm.dtype).eps
    return factor * (full / norm.clamp_min(full))


def _loaded(gram: Tensor, loading: Tensor) -> Tensor:
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    return gram + loading[..., None, None] * eye


def _unit(v: Tensor) -> Tensor:
    norm = _square(v).sum(-1, keepdim=True).sqrt()
    return v / norm.clamp_min(math.sqrt(torch.finfo(norm.dtype).tiny))


def _real(factor: Tensor) -> Tensor:
    return torch.stack([factor.real, factor.imag], -1).flatten(2)


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
