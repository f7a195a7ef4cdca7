"""A narrow band of interference on every link that wanders, jumps and fades; what is known of it.

The band of a link covers ``width`` neighbouring tones and begins at one of K - width + 1 places. In
a frame it jumps to any place with probability ``jump``, else moves to a neighbouring place with
probability ``walk`` (at the ends, half of these moves stay). Its level in dB is a stationary AR(1).

Whoever acquires tones sees which of them are noisy, and how noisy. Places that disagree are ruled
out, then everything spreads by one frame: this is the exact posterior of the place, as a band is
either on a tone or not. The level, seen exactly whenever the band is hit, regresses to its mean.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.random import Streams
from isac_gym.core.units import db_to_linear, linear_to_db

__all__ = ["Band", "Belief", "Interferer"]


class Band(NamedTuple):
    """Where the bands of a frame are.

    Attributes:
        place: First tone of every link's band, (B, A) int64.
        level_db: Variance it adds to standardised features, (B, A) dB.
    """

    place: Tensor
    level_db: Tensor


class Belief(NamedTuple):
    """What is known of the bands of a frame.

    Attributes:
        place: Probability that a link's band begins at a tone, (B, A, K).
        level_db: Expected level, (B, A) dB.
    """

    place: Tensor
    level_db: Tensor


@dataclass(frozen=True, kw_only=True)
class Interferer:
    """Law of the bands.

    Attributes:
        links: A.
        tones: Tones of a link, K.
        width: Tones under a band, in [1, K].
        walk: Probability of a move to a neighbouring place.
        jump: Probability of a jump to any place.
        mean_db: Mean level.
        std_db: Standard deviation of the level.
        correlation: Of the level from frame to frame.
    """

    links: int
    tones: int
    width: int
    walk: float
    jump: float
    mean_db: float
    std_db: float
    correlation: float

    @property
    def places(self) -> int:
        """Places where a band can begin."""
        return self.tones - self.width + 1

    def covers(self, place: Tensor) -> Tensor:
        """True at tones under a band that begins at ``place`` (...), (..., K) bool."""
        tone = torch.arange(self.tones, device=place.device)
        return (tone >= place[..., None]) & (tone < place[..., None] + self.width)

    def begin(self, streams: Streams, dtype: torch.dtype) -> Band:
        """Bands of a first frame, drawn from their stationary law."""
        place = streams.integers("band", self.links, high=self.places)
        level = self.std_db * streams.normal("level", self.links, dtype=dtype)
        return Band(place, self.mean_db + level)

    def step(self, band: Band, streams: Streams) -> Band:
        """Bands of the next frame."""
        chance, side = streams.uniform("move", self.links, 2).unbind(-1)
        anywhere = streams.integers("jump", self.links, high=self.places)
        move = torch.where(side < 0.5, -1, 1) * (chance < self.jump + (1 - self.jump) * self.walk)
        near = (band.place + move).clamp(0, self.places - 1)
        draw = streams.normal("level", self.links, dtype=band.level_db.dtype)
        fresh = self.std_db * (1 - self.correlation**2) ** 0.5 * draw
        level = self.mean_db + self.correlation * (band.level_db - self.mean_db) + fresh
        return Band(torch.where(chance < self.jump, anywhere, near), level)

    def noise(self, band: Band, null: Tensor) -> Tensor:
        """Variance it adds to the features of every tone, (B, S); nothing to null ones (K,)."""
        covered = (self.covers(band.place) & ~null).flatten(1)
        level = db_to_linear(band.level_db).repeat_interleave(self.tones, -1)
        return torch.where(covered, level, 0)

    def prior(self, like: Tensor) -> Belief:
        """Belief before anything was seen, in the type and on the device of ``like`` (B, ...)."""
        tone = torch.arange(self.tones, device=like.device)
        share = (tone < self.places).to(like.dtype) / self.places
        level = torch.full_like(like[:, :1], self.mean_db).expand(-1, self.links)
        return Belief(share.expand(len(like), self.links, -1).clone(), level.clone())

    def update(self, belief: Belief, noise: Tensor, seen: Tensor, null: Tensor) -> Belief:
        """Belief about the next frame after this one's ``noise`` (B, S) where ``seen`` (B, S).

        Args:
            belief: About this frame, before anything of it was seen.
            noise: True variances; only those of seen tones are looked at.
            seen: True at acquired tones.
            null: True at the null tones of a link, (K,), which tell nothing.
        """
        shape = (-1, self.links, 1, self.tones)
        told, noisy = seen.reshape(shape) & ~null, (noise > 0).reshape(shape)
        covered = self.covers(torch.arange(self.tones, device=noise.device))  # (places, K)
        agrees = (~told | (covered == noisy)).all(-1)
        place = _normalised(belief.place * agrees)
        hit = (told & noisy)[:, :, 0]
        tiny = torch.finfo(noise.dtype).tiny
        largest = torch.where(hit, noise.reshape(hit.shape), tiny).amax(-1)
        level = torch.where(hit.any(-1), linear_to_db(largest), belief.level_db)
        level = self.mean_db + self.correlation * (level - self.mean_db)
        return Belief(place @ self._transition(place), level)

    def expected(self, belief: Belief, null: Tensor) -> Tensor:
        """Expected variance of every tone, (B, S), at the believed level."""
        covered = self.covers(torch.arange(self.tones, device=null.device)).to(belief.place.dtype)
        level = (belief.place @ covered) * db_to_linear(belief.level_db)[..., None]
        return torch.where(null, 0, level).flatten(1)

    def _transition(self, like: Tensor) -> Tensor:
        """Probabilities (K, K) from place (row) to place (column); places of no band stay."""
        tone = torch.arange(self.tones, device=like.device)
        valid = tone < self.places
        apart = tone[:, None] - tone
        near = ((apart.abs() == 1) & valid & valid[:, None]).to(like.dtype) * (self.walk / 2)
        near = near + torch.diag_embed(1 - near.sum(-1))
        matrix = (1 - self.jump) * near + self.jump * valid.to(like.dtype) / self.places
        return torch.where(valid[:, None], matrix, torch.diag_embed(torch.ones_like(matrix[0])))


def _normalised(share: Tensor) -> Tensor:
    """Rows over their sum."""
    return share / share.sum(-1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
