"""Kernel ridge errors of very many sets of tones: a table of squared differences, made once.

The probe of :mod:`isac_gym.physics.probes` sees samples through sums of squared differences over
the chosen tones. With those of every tone in a table a set costs additions, and a set that differs
in one tone from a known one a single addition, whatever the number of tones. What is left is one
exponential of every pair of samples and one Cholesky factor. Single precision is meant for
screening: its errors differ by about 1e-6 from those in double precision.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isac_gym.physics.probes import KERNEL_RIDGE, KERNEL_WIDTH, task_errors

__all__ = ["DifferenceTable", "positive_solve"]

_TENSORS = ("exponent", "train_label", "held_label")
_CACHED_CPU = 1 << 18  # numbers of the kernels of a chunk: 1 MB in single precision, a cache
_SHARED_CPU = 1 << 20  # where a chunk reads the whole table: fewer chunks
_NUMBERS_GPU = 1 << 27

Solve = Callable[[Tensor, Tensor], Tensor]


def positive_solve(matrix: Tensor, label: Tensor) -> Tensor:
    """Solutions (b, q, J, Y) of systems (b, q, J, J) for labels (b, J, Y); NaN where it fails."""
    factor, info = torch.linalg.cholesky_ex(matrix, check_errors=False)
    right = label[:, None].expand(*factor.shape[:2], -1, -1)
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    found = torch.linalg.solve_triangular(factor.mT, half, upper=True)
    return torch.where((info != 0)[..., None, None], torch.nan, found)


@dataclass(frozen=True)
class DifferenceTable:
    """Exponents of the kernel for every tone, and labels; batch size B.

    Attributes:
        exponent: -width log2(e) / C times the squared difference of tone s between sample r (J
            training samples, then H held-out ones) and training sample j, (B, S, J + H, J).
        train_label: (B, J, Y).
        held_label: (B, H, Y).
        ridge: Added to the diagonal of the kernel.
        num_location: How many of the first entries of a label are a location.
        solve: Solutions (b, q, J, Y) of positive definite systems (b, q, J, J), which it may
            overwrite, for right-hand sides (b, J, Y); NaN where it fails.
    """

    exponent: Tensor
    train_label: Tensor
    held_label: Tensor
    ridge: float = KERNEL_RIDGE
    num_location: int = 2
    solve: Solve = positive_solve

    @classmethod
    def build(
        cls,
        train: Tensor,
        train_label: Tensor,
        held: Tensor,
        held_label: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        width: float = KERNEL_WIDTH,
        ridge: float = KERNEL_RIDGE,
        num_location: int = 2,
        solve: Solve = positive_solve,
    ) -> "DifferenceTable":
        """Table of samples (B, J, S, C) and (B, H, S, C) with labels (B, J, Y) and (B, H, Y)."""
        scale = math.sqrt(width * math.log2(math.e) / train.shape[-1])
        features = scale * torch.cat([train, held], 1)
        x = features.to(dtype).transpose(1, 2)  # (B, S, J + H, C)
        squares, one = x.square().sum(-1, keepdim=True), torch.ones_like(x[..., :1])
        left = torch.cat([2 * x, -squares, -one], -1)
        right = torch.cat([x, one, squares], -1)[:, :, : train.shape[1]]
        exponent = (left @ right.mT).clamp_max_(0)
        labels = train_label.to(dtype), held_label.to(dtype)
        return cls(exponent, *labels, ridge=ridge, num_location=num_location, solve=solve)

    def mean(self, mask: Tensor) -> Tensor:
        """Mean (B, J + H, J) of the exponents of the tones in masks (B, S): log2 of the kernel."""
        return (self._share(mask)[:, None] @ self.exponent.flatten(2)).unflatten(-1, self._pair)[
            :, 0
        ]

    def moved(self, mean: Tensor, tone: Tensor, share: Tensor) -> Tensor:
        """Mean exponent after one tone (B,) comes in or goes; see :meth:`errors_moved`."""
        lane = torch.arange(len(mean), device=mean.device)
        return torch.lerp(mean, self.exponent[lane, tone], share.to(mean.dtype)[:, None, None])

    def take(self, lanes: Tensor) -> "DifferenceTable":
        """Table of some lanes."""
        few = {name: getattr(self, name)[lanes] for name in _TENSORS}
        return replace(self, **few)

    def errors(self, mask: Tensor) -> Tensor:
        """Errors (B, Q, 2) of masks (B, Q, S): place and activity."""
        share, flat, samples = self._share(mask), self.exponent.flatten(2), self._pair[1]
        out = self.held_label.new_empty(*mask.shape[:2], 2)
        chunks, work = self._chunks(mask.shape[:2], _SHARED_CPU)
        for lanes, rows in chunks:
            some = share[lanes, rows]

            def block(part: slice, lanes: slice = lanes, some: Tensor = some) -> Tensor:
                columns = flat[lanes, :, part.start * samples : part.stop * samples]
                kernel = _view(work, *some.shape[:2], part.stop - part.start, samples)
                torch.bmm(some, columns, out=kernel.flatten(2))
                return kernel.exp2_()

            out[lanes, rows] = self._errors(block, lanes)
        return out

    def errors_moved(self, mean: Tensor, tone: Tensor, share: Tensor) -> Tensor:
        """Errors (B, Q, 2) of sets that differ in one tone from that of a mean exponent.

        Args:
            mean: Mean exponent of a set of n tones, (B, J + H, J), see :meth:`mean`.
            tone: The tone, one for each of the Q sets, (B, Q) int64.
            share: 1 / (n + 1) to add it, -1 / (n - 1) to take it out, (B,) real.
        """
        share = share.to(mean.dtype)[:, None, None, None]
        flat, tones = self.exponent.flatten(0, 1), self.exponent.shape[1]
        first = tones * torch.arange(len(mean), device=tone.device)[:, None]
        out = self.held_label.new_empty(*tone.shape, 2)
        chunks, work = self._chunks(tone.shape, _CACHED_CPU)
        for lanes, rows in chunks:
            index = first[lanes] + tone[lanes, rows]

            def block(part: slice, lanes: slice = lanes, index: Tensor = index) -> Tensor:
                rows = part.stop - part.start
                kernel = _view(work, *index.shape, rows, mean.shape[-1])
                if index.device.type == "cpu" and index.numel() == 1:  # a view, not a copy
                    moved = flat[int(index), part][None, None]
                else:
                    moved = kernel
                    torch.index_select(flat[:, part], 0, index.flatten(), out=kernel.flatten(0, 1))
                torch.lerp(mean[lanes, None, part], moved, share[lanes], out=kernel)
                return kernel.exp2_()

            out[lanes, rows] = self._errors(block, lanes)
        return out

    @property
    def _pair(self) -> tuple[int, int]:
        return self.exponent.shape[2], self.exponent.shape[3]

    def _share(self, mask: Tensor) -> Tensor:
        weight = mask.to(self.exponent.dtype)
        return weight / weight.sum(-1, keepdim=True).clamp_min(1)

    def _chunks(
        self, shape: tuple[int, ...], budget: int
    ) -> tuple[list[tuple[slice, slice]], Tensor]:
        """Parts of (B, Q) that are worked on at once, and memory that all of them use.

        Fresh pages would cost more than the arithmetic. A part does not depend on B, or its
        rounding might.
        """
        height, samples = self._pair
        numbers = max(1, samples * max(samples, height - samples))
        if self.exponent.device.type != "cpu":
            budget = _NUMBERS_GPU
        lanes = min(shape[0], max(1, budget // (numbers * max(1, shape[1]))))
        rows = min(shape[1], max(1, budget // (numbers * max(1, lanes))))
        chunks = [
            (slice(lane, lane + lanes), slice(row, row + rows))
            for lane in range(0, shape[0], max(1, lanes))
            for row in range(0, shape[1], max(1, rows))
        ]
        return chunks, self.exponent.new_empty(lanes * rows * numbers)

    def _errors(self, block: Callable[[slice], Tensor], lanes: slice) -> Tensor:
        """Errors (b, q, 2), from the kernel (b, q, N, J) of some samples with the training ones.

        Training samples first, then held-out ones in the same memory, so that it stays in a cache.
        """
        height, samples = self._pair
        within = block(slice(0, samples))
        within.diagonal(dim1=-2, dim2=-1).add_(self.ridge)
        alpha = self.solve(within, self.train_label[lanes])
        across = block(slice(samples, height))
        found = alpha.mT @ across.mT  # (b, q, Y, H): several times faster than its transpose
        held = self.held_label[lanes]
        return task_errors(found.mT, held, num_location=self.num_location)


def _view(work: Tensor, *shape: int) -> Tensor:
    return work[: math.prod(shape)].view(shape)
