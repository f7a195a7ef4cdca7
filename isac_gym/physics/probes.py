"""Probes: how well labels are predicted from some of the tones, for many sets of tones at once.

A probe is trained on samples (B, J, S, C) with labels (B, J, Y) and predicts those of held-out
samples (B, H, S, C), once for every row of weights (B, Q, S): a row of zeros and ones is a set of
tones, real weights are its relaxation. Both kernel probes see the samples only through the weighted
mean of the squared differences over the C features of the S tones,

    d(x, x') = sum_s w_s |x_s - x'_s|^2 / (C sum_s w_s),

so that neither the number of tones nor their scale changes the bandwidth. Every function is total
(a row of zeros makes all samples equal), differentiable in the weights, and works through the rows
a few at a time, so that memory does not grow with their number when no gradient is asked for.

Sources: kernel ridge regression, Saunders et al. 1998; soft neighbours, Nadaraya 1964 and Watson
1964.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from isac_gym.core.errors import ShapeError

__all__ = [
    "KERNEL_RIDGE",
    "KERNEL_WIDTH",
    "NEIGHBOUR_BANDWIDTH",
    "kernel_ridge_predict",
    "soft_neighbours_predict",
    "task_errors",
]

# Chosen from small grids on rooms of an earlier generator.
KERNEL_WIDTH = 0.3  # of exp(-width d)
KERNEL_RIDGE = 0.2
NEIGHBOUR_BANDWIDTH = 0.1  # of softmax(-d / bandwidth)

_Rows = Callable[[Tensor], Tensor]  # results (b, q, ...) of weights (b, q, S)

_NUMBERS_CPU = 1 << 19  # numbers of the largest tensor of a chunk, 4 MB in double
_NUMBERS_GPU = 1 << 27


def kernel_ridge_predict(
    train: Tensor,
    train_label: Tensor,
    held: Tensor,
    weight: Tensor,
    *,
    width: float = KERNEL_WIDTH,
    ridge: float = KERNEL_RIDGE,
) -> Tensor:
    """Predictions (B, Q, H, Y) of kernel ridge regression with the kernel exp(-width d).

    alpha = (K + ridge I)^-1 train_label, prediction = K_held alpha, without an intercept: labels
    are meant to be centred. One Cholesky factor of each row serves all labels.

    Args:
        train: Features (B, J, S, C) of the training samples.
        train_label: Their labels (B, J, Y).
        held: Features (B, H, S, C) of the held-out samples.
        weight: Weights of the tones, (B, Q, S) real >= 0.
        width: gamma of the kernel, > 0.
        ridge: Added to the diagonal, > 0.

    Returns:
        Predictions; NaN in the rows whose kernel matrix could not be factorised.
    """
    _check(train, train_label, held, weight)
    factor = width * math.log2(math.e)  # exp2 is three times faster than exp on a CPU

    def prepare(train: Tensor, label: Tensor, held: Tensor) -> _Rows:
        within = _exponents(train, train, factor)
        across = _exponents(train, held, factor)

        def predict(weight: Tensor) -> Tensor:
            alpha = _ridge_solve(torch.exp2(within(weight)), label, ridge)
            return torch.exp2(across(weight)).mT @ alpha

        return predict

    return _in_chunks(prepare, (train, train_label, held), weight)


def soft_neighbours_predict(
    train: Tensor,
    train_label: Tensor,
    held: Tensor,
    weight: Tensor,
    *,
    bandwidth: float = NEIGHBOUR_BANDWIDTH,
) -> Tensor:
    """Predictions (B, Q, H, Y): means of the training labels with weights softmax(-d / bandwidth).

    Args:
        train: Features (B, J, S, C) of the training samples.
        train_label: Their labels (B, J, Y).
        held: Features (B, H, S, C) of the held-out samples.
        weight: Weights of the tones, (B, Q, S) real >= 0.
        bandwidth: h, > 0.
    """
    _check(train, train_label, held, weight)

    def prepare(train: Tensor, label: Tensor, held: Tensor) -> _Rows:
        across = _exponents(train, held, 1 / bandwidth)

        def predict(weight: Tensor) -> Tensor:
            share = torch.softmax(across(weight), -2)  # over the training samples
            return share.mT @ label[:, None]

        return predict

    return _in_chunks(prepare, (train, train_label, held), weight)


def task_errors(prediction: Tensor, label: Tensor, *, num_location: int = 2) -> Tensor:
    """Squared error over that of the mean predictor, (B, Q, 2): location, then sensing.

    Args:
        prediction: (B, Q, H, Y).
        label: (B, H, Y), centred by the training mean: predicting 0 has error 1.
        num_location: How many of the first entries are a location; the others are sensing.
    """
    wrong = (prediction - label[:, None]).square().sum(-2)  # (B, Q, Y)
    scale = label.square().sum(-2)[:, None]
    tiny = torch.finfo(label.dtype).tiny
    parts = [
        wrong[..., part].sum(-1) / scale[..., part].sum(-1).clamp_min(tiny)
        for part in (slice(None, num_location), slice(num_location, None))
    ]
    return torch.stack(parts, -1)


def _exponents(first: Tensor, second: Tensor, factor: float) -> _Rows:
    """A function that gives -factor d (b, q, N, M) of weights (b, q, S) for two sets of samples."""
    features = first.shape[-1]
    x, y = first.flatten(2)[:, None], second.flatten(2)[:, None]  # (b, 1, N, S C)
    squares, others = x.square(), y.square()

    def exponents(weight: Tensor) -> Tensor:
        share = weight / (features * weight.sum(-1, keepdim=True).clamp_min(1))
        every = (factor * share).repeat_interleave(features, -1)[..., None]  # (b, q, S C, 1)
        mine, theirs = squares @ every, others @ every  # (b, q, N, 1), (b, q, M, 1)
        left = torch.cat([2 * x * every.mT, -mine, -torch.ones_like(mine)], -1)
        right = torch.cat([y.expand(*theirs.shape[:3], -1), torch.ones_like(theirs), theirs], -1)
        return (left @ right.mT).clamp_max_(0)  # one product: passes over memory cost more

    return exponents


def _ridge_solve(kernel: Tensor, label: Tensor, ridge: float) -> Tensor:
    """(K + ridge I)^-1 Y, (B, Q, J, Y), of K (B, Q, J, J) and Y (B, J, Y); NaN where it fails."""
    eye = torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device)
    factor, info = torch.linalg.cholesky_ex(kernel + ridge * eye, check_errors=False)
    alpha = torch.cholesky_solve(label[:, None].expand(*factor.shape[:2], -1, -1), factor)
    return torch.where((info != 0)[..., None, None], torch.nan, alpha)


def _in_chunks(
    prepare: Callable[..., _Rows], samples: tuple[Tensor, ...], weight: Tensor
) -> Tensor:
    """Results (B, Q, ...) of weights (B, Q, S), some lanes and rows at a time.

    Args:
        prepare: Makes the function of weights of some lanes from their part of ``samples``.
        samples: Features of the training samples first, (B, J, S, C), then whatever is needed.
        weight: Weights of all rows.
    """
    train = samples[0]
    most = max(train.shape[1], *(x.shape[1] for x in samples), train[0:1].flatten(2).shape[-1])
    numbers = max(1, train.shape[1] * most)
    budget = _NUMBERS_CPU if train.device.type == "cpu" else _NUMBERS_GPU
    lanes = max(1, budget // (numbers * max(1, weight.shape[1])))
    rows = max(1, budget // numbers)
    found = []
    for first in range(0, max(1, len(train)), lanes):
        some = slice(first, first + lanes)
        of_rows = prepare(*(x[some] for x in samples))
        found.append(torch.cat([of_rows(part) for part in weight[some].split(rows, 1)], 1))
    return torch.cat(found)


def _check(train: Tensor, label: Tensor, held: Tensor, weight: Tensor) -> None:
    """Raise ShapeError where the sizes of the arguments disagree."""
    if train.ndim != 4 or held.ndim != 4 or label.ndim != 3 or weight.ndim != 3:
        raise ShapeError(
            "probe: expected train (B, J, S, C), train_label (B, J, Y), held (B, H, S, C) and "
            f"weight (B, Q, S), got {tuple(train.shape)}, {tuple(label.shape)}, "
            f"{tuple(held.shape)}, {tuple(weight.shape)}."
        )
    batch, samples, tones, features = train.shape
    wanted = {
        "train_label": (label.shape[:2], (batch, samples)),
        "held": ((held.shape[0], *held.shape[2:]), (batch, tones, features)),
        "weight": ((weight.shape[0], weight.shape[2]), (batch, tones)),
    }
    for name, (got, expected) in wanted.items():
        if tuple(got) != expected:
            raise ShapeError(f"{name}: sizes {tuple(got)}, expected {expected} as in train.")
