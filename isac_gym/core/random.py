"""Counter-based randomness: a draw is a function of (lane seed, episode, step, name, column).

The generator is SplitMix64 in counter mode on int64 tensors: a lane's key is derived from its
64-bit seed, its episode and its step; the word in column c of the stream called ``name`` is
``mix(key + (c + 1) * GAMMA)``. So a lane draws the same numbers alone, in a batch of any size, in
any order and on any device, and no torch or NumPy generator is ever touched.

Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators" (the finaliser
is Stafford's variant 13).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError

__all__ = ["Streams", "lane_seeds", "splitmix64"]


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)
_LOW_32 = (1 << 32) - 1


def _logical_shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def splitmix64(z: Tensor) -> Tensor:
    """SplitMix64 finaliser of int64 words (any shape), bit-exact on every device.

    Known answer: the words of the reference generator seeded with s are
    ``splitmix64(s + k * 0x9E3779B97F4A7C15)`` for k = 1, 2, ...
    """
    z = (z ^ _logical_shift(z, 30)) * _MIX_1
    z = (z ^ _logical_shift(z, 27)) * _MIX_2
    return z ^ _logical_shift(z, 31)


@lru_cache(maxsize=4096)
def _name_key(name: str) -> int:
    return _signed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little"))


def lane_seeds(name: str, count: int, *, first: int = 0, salt: str = "") -> list[int]:
    """Seeds of the evaluation instances ``first .. first + count - 1`` of a named set.

    A SHA-256 of (name, salt, index), so no two sets share an instance (``seed + i`` would).

    Returns:
        ``count`` integers in [0, 2^63).
    """
    texts = (f"{name}\0{salt}\0{index}" for index in range(first, first + count))
    words = (hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    return [int.from_bytes(word, "little") >> 1 for word in words]


@dataclass(frozen=True)
class Streams:
    """Random streams of a batch of lanes.

    Attributes:
        seed: Lane seeds, (B,) int64.
        episode: Episode number of each lane, (B,) int64.
        step: Step number of each lane, (B,) int64.
    """

    seed: Tensor
    episode: Tensor
    step: Tensor

    @classmethod
    def from_seed(cls, seed: int, batch_size: int, *, device: torch.device | str = "cpu") -> Self:
        """Lane i gets seed ``seed + i``, Gymnasium's convention for vector environments."""
        if seed < 0:
            raise ScenarioError(f"seed must be an integer >= 0, got {seed}.")
        return cls.from_seeds([seed + lane for lane in range(batch_size)], device=device)

    @classmethod
    def from_seeds(cls, seeds: Sequence[int], *, device: torch.device | str = "cpu") -> Self:
        """One lane per seed; seeds are integers in [0, 2^64).

        Raises:
            ScenarioError: A seed lies outside.
        """
        for s in seeds:
            if not 0 <= int(s) < 1 << 64:
                raise ScenarioError(f"seed must be an integer in [0, 2^64), got {s}.")
        seed = torch.tensor([_signed(int(s)) for s in seeds], dtype=torch.int64, device=device)
        zero = torch.zeros_like(seed)
        return cls(seed, zero, zero)

    @property
    def batch_size(self) -> int:
        """Number of lanes."""
        return self.seed.shape[0]

    def at_step(self, step: Tensor | int) -> "Streams":
        """The same lanes at another step, (B,) int64 or one number for all."""
        return Streams(self.seed, self.episode, torch.zeros_like(self.seed) + step)

    def next_episode(self, mask: Tensor | None = None) -> "Streams":
        """Lanes under ``mask`` (B,) bool (all if None) move to step 0 of their next episode."""
        ended = torch.ones_like(self.seed) if mask is None else mask.to(torch.int64)
        return Streams(self.seed, self.episode + ended, self.step * (1 - ended))

    def __getitem__(self, rows: slice | Tensor) -> "Streams":
        """The lanes under ``rows``."""
        return Streams(self.seed[rows], self.episode[rows], self.step[rows])

    def words(self, name: str, columns: int) -> Tensor:
        """Raw 64-bit words, (B, columns) int64."""
        key = splitmix64(self.seed + _GAMMA)
        key = splitmix64(key ^ _name_key(name))
        key = splitmix64(key + self.episode * _GAMMA + _GAMMA)
        key = splitmix64(key + self.step * _GAMMA + _GAMMA)
        column = torch.arange(1, columns + 1, dtype=torch.int64, device=self.seed.device)
        return splitmix64(key[:, None] + column * _GAMMA)

    def uniform(self, name: str, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Uniform draws in [0, 1), (B, *shape); 53 random bits."""
        word = self.words(name, math.prod(shape))
        value = _logical_shift(word, 11).to(torch.float64) * 2.0**-53
        if dtype == torch.float32:  # truncate, so that rounding cannot reach 1
            value = _logical_shift(word, 40).to(torch.float32) * 2.0**-24
        return value.reshape(self.batch_size, *shape)

    def normal(self, name: str, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Standard normal draws, (B, *shape) real; Box-Muller, one 64-bit word per pair."""
        size = math.prod(shape)
        first, second = self._pair(name, (size + 1) // 2, dtype)
        return torch.cat([first, second], 1)[:, :size].reshape(self.batch_size, *shape)

    def complex_normal(self, name: str, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Circular CN(0, 1) draws, (B, *shape) complex; ``dtype`` is the real dtype."""
        first, second = self._pair(name, math.prod(shape), dtype)
        return (torch.complex(first, second) * math.sqrt(0.5)).reshape(self.batch_size, *shape)

    def integers(self, name: str, *shape: int, high: int) -> Tensor:
        """Integers in [0, high), (B, *shape) int64; high < 2^31, bias below high * 2^-32."""
        word = self.words(name, math.prod(shape)) & _LOW_32
        return ((word * high) >> 32).reshape(self.batch_size, *shape)

    def _pair(self, name: str, pairs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        word = self.words(name, pairs)
        radius = ((_logical_shift(word, 32) + 1).to(dtype) * 2.0**-32).log().mul(-2).sqrt()
        angle = (word & _LOW_32).to(dtype) * (2 * math.pi * 2.0**-32)
        return radius * torch.cos(angle), radius * torch.sin(angle)
