r"""In-sample group ridge regression of labels on weighted subcarriers: convex in the weights.

    phi_t(w) = min over V of |y_t - X V|^2 + f sum_j |V_j|^2 / w_j

X (J, D) holds the basis of every tone, c columns each, and y_t the labels of task t. With
A = f I + X W X^T, W repeating every w_j c times, the minimum is f y_t^T A^-1 y_t: convex, and no
entry of w raises it. At binary w it is the ridge objective of the selected tones. With
B = X^T A^-1 y_t, which solves (f I + X^T X W) B = X^T y_t,

    phi_t = |y_t|^2 - <X^T y_t, W B>,     d phi_t / d w_j = -f |B_j|^2,

so neither a root of w nor its inverse is needed, and w = 0 is as good a point as any. Columns of X
have unit variance, X is divided by the root of J, and y_t is scaled to unit energy: phi_t(0) = 1 is
the error of the mean predictor, as in :func:`isac_gym.physics.probes.task_errors`.

Source: Pilanci, Wainwright and El Ghaoui 2015 (boolean relaxation of the ridge objective). The
in-sample value is a probe of its own: it does not rank masks as a held-out error does.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.errors import ShapeError

__all__ = [
    "PROBE_DEGREE",
    "PROBE_RIDGE",
    "ProbeTask",
    "convex_probe_errors",
    "convex_probe_predict",
    "convex_probe_slope",
    "convex_probe_value",
    "probe_basis",
    "probe_duals",
    "probe_task",
]

# Chosen on eight rooms by rank correlation with the held-out kernel ridge error of random masks. On
# twelve fresh rooms each it is 0.83 +- 0.05 at 16 tones and 0.55 +- 0.06 at 64; a ridge of 0.1
# over-fits: 0.74 +- 0.08 and -0.03 +- 0.14.
PROBE_RIDGE = 3.0  # per sample; features have unit variance
PROBE_DEGREE = 1
_FLAT = 1e-6  # deviation below which a column is constant
_CHUNK = 1 << 22  # matrix entries factorised at once


class ProbeTask(NamedTuple):
    """Statistics of a batch of training sets, double precision.

    Attributes:
        cross: X^T y, (B, D, Y).
        energy: |y_t|^2, (B, 2): one, or zero where all labels of a task are.
        gram: X^T X, (B, D, D); (B, 0, 0) where D > J.
        feature: X, (B, J, D); (B, 0, D) where D <= J.
        label: y, (B, J, Y); (B, 0, Y) where D <= J.
        ridge: f, (B,).
        member: Task of every label entry, one-hot (B, Y, 2).
    """

    cross: Tensor
    energy: Tensor
    gram: Tensor
    feature: Tensor
    label: Tensor
    ridge: Tensor
    member: Tensor


def probe_basis(x: Tensor, train: Tensor, *, degree: int = PROBE_DEGREE) -> Tensor:
    """Powers 1 .. degree of the features, centred and scaled as those of the training set.

    Args:
        x: Features, (B, N, S, C).
        train: Features of the training set, (B, J, S, C).
        degree: Largest power, >= 1.

    Returns:
        (B, N, S, C degree) in double precision; zero columns where the training set is constant.
    """
    raw, own = (
        torch.cat([each.to(torch.float64) ** power for power in range(1, degree + 1)], -1)
        for each in (x, train)
    )
    mean = own.mean(1, keepdim=True)
    deviation = (own - mean).square().mean(1, keepdim=True).sqrt()
    scale = torch.where(deviation > _FLAT, 1 / deviation.clamp_min(_FLAT), 0)
    return (raw - mean) * scale


def probe_task(
    train: Tensor,
    label: Tensor,
    *,
    ridge: float = PROBE_RIDGE,
    degree: int = PROBE_DEGREE,
    num_location: int = 2,
) -> ProbeTask:
    """Statistics of training sets; the smaller of D and J is what is factorised later.

    Args:
        train: Features, (B, J, S, C).
        label: Labels centred by their mean, (B, J, Y).
        ridge: f > 0.
        degree: Largest power of the basis, >= 1.
        num_location: Leading label entries of the first task; the others are the second.
    """
    count = train.shape[1]
    x = probe_basis(train, train, degree=degree).flatten(2) / count**0.5
    unit, member = _unit_labels(label.to(torch.float64), num_location)
    is_tall = x.shape[2] <= count
    return ProbeTask(
        cross=x.mT @ unit,
        energy=(unit.square().sum(1)[:, None] @ member)[:, 0],
        gram=x.mT @ x if is_tall else x.new_zeros(len(x), 0, 0),
        feature=x[:, :0] if is_tall else x,
        label=unit[:, :0] if is_tall else unit,
        ridge=torch.full_like(unit[:, 0, 0], ridge),
        member=member,
    )


def probe_duals(task: ProbeTask, weight: Tensor) -> Tensor:
    """B = X^T A^-1 y, (B, Q, S, c, Y), at weights (B, Q, S) in double precision, >= 0."""
    lanes, masks, tones = weight.shape
    width = task.cross.shape[1] // tones
    spread = weight.flatten(0, 1).repeat_interleave(width, -1)  # (B Q, D)
    rows = torch.arange(lanes, device=weight.device).repeat_interleave(masks)
    size = task.gram.shape[1] or task.feature.shape[1]
    chunk = max(1, _CHUNK // size**2)
    parts = [
        _solved(ProbeTask(*(each[some] for each in task)), part)
        for some, part in zip(rows.split(chunk), spread.split(chunk), strict=True)
    ]
    return torch.cat(parts).reshape(lanes, masks, tones, width, task.cross.shape[2])


def convex_probe_slope(task: ProbeTask, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Both phi_t (B, Q, 2) and their gradients (B, Q, 2, S) at weights (B, Q, S) >= 0."""
    w, member = weight.to(torch.float64), task.member[:, None]
    dual = probe_duals(task, w)
    cross = task.cross.reshape(len(w), 1, *dual.shape[2:])
    gain = (cross * dual).sum(-2) @ member  # (B, Q, S, 2)
    value = task.energy[:, None] - (w[..., None] * gain).sum(-2)
    slope = (dual.square().sum(-2) @ member).mT
    return value, -task.ridge[:, None, None, None] * slope


def convex_probe_errors(
    train: Tensor,
    label: Tensor,
    weight: Tensor,
    *,
    ridge: float = PROBE_RIDGE,
    degree: int = PROBE_DEGREE,
    num_location: int = 2,
) -> Tensor:
    """phi_t of both tasks, in [0, 1]; differentiable in every argument.

    Args:
        train: Training features, (B, J, S, C).
        label: Training labels centred by their mean, (B, J, Y).
        weight: Weights or binary masks, (B, Q, S) real >= 0.
        ridge: f > 0 on features of unit variance.
        degree: Largest power of the additive basis, >= 1.
        num_location: Leading label entries of the first task.

    Returns:
        (B, Q, 2) in the weights' dtype; a task whose labels are all zero has error 0.

    Raises:
        ShapeError: Sizes of ``weight`` that are not those of ``train``.
    """
    if weight.ndim != 3 or weight.shape[::2] != train.shape[::2]:
        raise ShapeError(
            f"weight: sizes {tuple(weight.shape)}, expected ({len(train)}, Q, {train.shape[2]})."
        )
    task = probe_task(train, label, ridge=ridge, degree=degree, num_location=num_location)
    value, _ = convex_probe_slope(task, weight)
    return value.to(weight.dtype)


def convex_probe_value(
    train: Tensor,
    label: Tensor,
    weight: Tensor,
    *,
    ridge: float = PROBE_RIDGE,
    degree: int = PROBE_DEGREE,
    num_location: int = 2,
) -> Tensor:
    """phi, the mean of both :func:`convex_probe_errors`, (B, Q)."""
    return convex_probe_errors(
        train, label, weight, ridge=ridge, degree=degree, num_location=num_location
    ).mean(-1)


def convex_probe_predict(
    train: Tensor,
    label: Tensor,
    held: Tensor,
    weight: Tensor,
    *,
    ridge: float = PROBE_RIDGE,
    degree: int = PROBE_DEGREE,
    num_location: int = 2,
) -> Tensor:
    """Predictions (B, Q, H, Y) of the fitted V = W B for features ``held`` (B, H, S, C)."""
    task = probe_task(train, label, ridge=ridge, degree=degree, num_location=num_location)
    w = weight.to(torch.float64)
    fitted = (w[..., None, None] * probe_duals(task, w)).flatten(2, 3)  # (B, Q, D, Y)
    x = probe_basis(held, train, degree=degree).flatten(2) / train.shape[1] ** 0.5
    scale, _ = _label_scale(label.to(torch.float64), num_location)
    return (x[:, None] @ fitted * scale[:, None]).to(weight.dtype)


def _solved(task: ProbeTask, spread: Tensor) -> Tensor:
    """B (N, D, Y) of N training sets with weights (N, D)."""
    size = task.gram.shape[1] or task.feature.shape[1]
    eye = task.ridge[:, None, None] * torch.eye(size, dtype=spread.dtype, device=spread.device)
    if task.gram.shape[1]:
        matrix = task.gram * spread[:, None] + eye
        return torch.linalg.solve_ex(matrix, task.cross, check_errors=False).result
    matrix = (task.feature * spread[:, None]) @ task.feature.mT + eye
    return task.feature.mT @ torch.linalg.solve_ex(matrix, task.label, check_errors=False).result


def _unit_labels(label: Tensor, num_location: int) -> tuple[Tensor, Tensor]:
    """Labels (B, J, Y) of unit energy per task, and the task of every entry (B, Y, 2)."""
    scale, member = _label_scale(label, num_location)
    return label / scale.clamp_min(torch.finfo(label.dtype).tiny), member


def _label_scale(label: Tensor, num_location: int) -> tuple[Tensor, Tensor]:
    """Root of each task's energy, repeated over its entries (B, 1, Y); the task of every entry."""
    is_place = torch.arange(label.shape[-1], device=label.device) < num_location
    member = torch.stack([is_place, ~is_place], -1).to(label.dtype).expand(len(label), -1, -1)
    return (label.square().sum(1, keepdim=True) @ member @ member.mT).sqrt(), member
