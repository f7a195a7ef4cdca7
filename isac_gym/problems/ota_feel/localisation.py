r"""Locating the target over the air: a coarse search that many candidates survive, then scoring.

The devices' log-likelihoods add up, so the server only needs sums of what they send. A local method
from one random start ends in a local maximum too often. The stream of localisation is empty but
for two symbols per round, so the search is sent over it, three kinds of rounds:

1. ``search``: every device sends its log-likelihood at the points of a grid over the region in
   which the target may be. The likelihood is that of a cell: v normal around the point, the model
   linear inside, so that a peak far narrower than the cell is not missed:

       L + g^T (J + 1 / s^2)^-1 g / 2 - log det (1 + s^2 J) / 2.

   Values far below a device's best are raised to a floor: they are out anyway, and symbols of unit
   variance should tell the others apart. The server keeps the best few peaks of the noisy sum.
2. ``score``: the score at every candidate, two symbols each; v += eta (J + damping)^-1 g, J the
   server's own information matrix; or the paper's plain gradient.
3. ``elect``: the log-likelihoods at the candidates; the best one stays.

Source: spec 3.4 of the OTA-FEEL paper's scheme for scores; search and election are ours.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.linalg import solve_or_nan
from isac_gym.problems.ota_feel.echoes import (
    Evidence,
    information,
    interference_ratio,
    responses_at,
    score_of,
    value_of,
)
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.records import OtaFeelInstance
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario
from isac_gym.problems.ota_feel.transmission import Scaling, scale_updates

__all__ = [
    "SearchGrid",
    "cell_values",
    "gradient_step",
    "local_scores",
    "local_values",
    "peaks",
    "scale_scores",
    "scale_values",
    "scoring_step",
    "server_information",
    "single_shot",
]

_DEPTH = 30.0  # log-likelihood below a device's best at which differences stop to count
_DAMPING = 1e-3
_MAX_STEP_M = 5.0
_MARGIN_M = 10.0  # estimates may leave the region by this much
_NUMBERS = 1 << 21  # complex numbers of one chunk of the grid


@dataclass(frozen=True)
class SearchGrid:
    """Points over the region of the target.

    Attributes:
        points: (G, 3) m, radius slowest, then angle, then height.
        shape: Numbers of radii, angles and heights.
        spread_m: Standard deviation of the cell of a point, m.
    """

    points: Tensor
    shape: tuple[int, int, int]
    spread_m: float

    @classmethod
    def of(cls, scenario: OtaFeelScenario, *, spacing_m: float | None = None) -> "SearchGrid":
        """Cells of at most ``spacing_m``; None: a quarter of the lobe at the nearest distance.

        M elements half a wavelength apart see a target at distance r in a lobe of about 4 r / M.
        """
        s = scenario
        if spacing_m is None:
            spacing_m = s.min_target_distance_m / s.device_antennas
        outer, inner = s.max_target_radius_m, s.min_target_radius_m
        sizes = (outer - inner, outer * s.arc_rad, s.max_target_height_m)
        shape = tuple(max(1, math.ceil(size / spacing_m)) for size in sizes)
        u = [(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in shape]
        radius, angle, height = torch.meshgrid(
            inner + (outer - inner) * u[0],
            s.arc_rad * (u[1] - 0.5),
            s.max_target_height_m * u[2],
            indexing="ij",
        )
        points = torch.stack([radius * angle.cos(), radius * angle.sin(), height], -1)
        cell = max(size / n for size, n in zip(sizes, shape, strict=True))
        return cls(points.flatten(0, 2), (shape[0], shape[1], shape[2]), cell / 2)


def local_values(
    problem: OtaFeel, instance: OtaFeelInstance, heard: Evidence, points: Tensor
) -> Tensor:
    """Log-likelihood of every device at candidates (B, C, 3), floored, (B, K, C)."""
    a, _ = responses_at(problem, instance, points)
    return _floored(value_of(heard, a).mT)


def local_scores(
    problem: OtaFeel, instance: OtaFeelInstance, heard: Evidence, points: Tensor
) -> Tensor:
    """Score of every device at candidates (B, C, 3), (B, K, 3 C), 1/m; 0 where not finite."""
    a, slope = responses_at(problem, instance, points)
    score = score_of(heard, a, slope).transpose(1, 2).flatten(2)
    return torch.where(score.isfinite(), score, 0)


def cell_values(
    problem: OtaFeel, instance: OtaFeelInstance, heard: Evidence, grid: SearchGrid
) -> Tensor:
    """Log-likelihood of every device at every cell of the grid, floored, (B, K, G)."""
    batch, devices = heard.share.shape
    antennas = heard.power.shape[-1]
    size = max(1, _NUMBERS // (batch * devices * antennas * 3))
    parts: list[Tensor] = []
    for points in grid.points.to(heard.share.device).split(size):
        value, _ = _cells(problem, instance, heard, points.expand(batch, -1, -1), grid.spread_m)
        parts.append(value)
    return _floored(torch.cat(parts, 1).mT)


def peaks(grid: SearchGrid, value: Tensor, count: int) -> Tensor:
    """The ``count`` best local maxima of sums (B, G) over the grid, (B, C, 3) m, best first.

    Where there are fewer, the best other points follow.
    """
    field = value.unflatten(-1, grid.shape)[:, None]
    around = torch.nn.functional.max_pool3d(field, 3, stride=1, padding=1)
    is_peak = (field >= around).flatten(1)
    span = value.amax(-1, keepdim=True) - value.amin(-1, keepdim=True)
    ranked = torch.where(is_peak, value, value - span)
    count = min(count, ranked.shape[-1])
    best = torch.sort(ranked, dim=-1, descending=True, stable=True).indices[:, :count]
    return grid.points.to(value.device)[best]


def scale_scores(score: Tensor) -> Scaling:
    """Symbols of scores (B, K, n): divided by their rms nu_k, weights nu_k over their sum."""
    size = torch.linalg.vector_norm(score, dim=-1) / math.sqrt(score.shape[-1])
    return _scaling_of(size)


def scale_values(value: Tensor) -> Scaling:
    """Symbols of log-likelihoods (B, K, n): as adaptive updates; constants do not matter."""
    return scale_updates(value, torch.ones_like(value[..., 0]), rule="adaptive")


def server_information(
    problem: OtaFeel,
    instance: OtaFeelInstance,
    power: Tensor,
    points: Tensor,
    *,
    likelihood: str,
    samples: Tensor | int,
) -> Tensor:
    """Information matrix at candidates (B, C, 3) as the server knows it, (B, C, 3, 3) 1/m^2.

    Args:
        problem: Arrays.
        instance: Places of the devices and their noise.
        power: Expected P_k, (B, K, M, M), the sum of :func:`echoes.sounding` over the frames.
        points: Candidates, (B, C, 3) m.
        likelihood: One of ``echoes.LIKELIHOODS``.
        samples: Samples heard, (B,) or one number.
    """
    a, slope = responses_at(problem, instance, points)
    if likelihood == "white":
        return information(power, a, slope, None, 0).sum(2)
    count = torch.as_tensor(samples, dtype=a.real.dtype, device=a.device).reshape(-1, 1, 1)
    ratio = interference_ratio(instance, power, a, count)
    heard = samples if likelihood == "full" else 0
    return information(power, a, slope, ratio, heard).sum(2)


def scoring_step(
    problem: OtaFeel, points: Tensor, score: Tensor, matrix: Tensor, *, step: Tensor | float = 0.7
) -> Tensor:
    """Candidates (B, C, 3) after a damped step along J^-1 score, at most 5 m, near the region.

    Args:
        problem: Region of the target.
        points: Candidates, (B, C, 3) m.
        score: Sums of the scores, (B, C, 3) 1/m.
        matrix: J, (B, C, 3, 3) 1/m^2.
        step: eta, a number or (B,).
    """
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    eps = torch.finfo(matrix.dtype).eps
    floor = _DAMPING * diagonal + eps * diagonal.sum(-1, keepdim=True)
    damped = matrix + torch.diag_embed(floor)
    move = solve_or_nan(damped.flatten(0, 1), score.flatten(0, 1)[..., None])
    eta = torch.as_tensor(step, dtype=points.dtype, device=points.device).reshape(-1, 1, 1)
    return _moved(problem, points, eta * move.reshape(points.shape))


def gradient_step(
    problem: OtaFeel, points: Tensor, score: Tensor, matrix: Tensor, *, step: Tensor | float = 1.0
) -> Tensor:
    """The paper's plain gradient, step over the largest eigenvalue of J."""
    largest = torch.linalg.matrix_norm(matrix, ord="fro")  # within sqrt(3) of it, from above
    rate = 1 / largest.clamp_min(torch.finfo(matrix.dtype).tiny)
    eta = torch.as_tensor(step, dtype=points.dtype, device=points.device).reshape(-1, 1, 1)
    return _moved(problem, points, eta * rate[..., None] * score)


def single_shot(
    problem: OtaFeel, instance: OtaFeelInstance, heard: Evidence, grid: SearchGrid
) -> Tensor:
    """Mean of the devices' own maximum-likelihood estimates, (B, 3) m.

    Each device takes its best cell and its maximum inside. Ill-posed for line arrays: one device's
    information has rank 2, and where on its ring the best cell lies is left to noise.
    """
    value = cell_values(problem, instance, heard, grid)
    best = grid.points.to(value.device)[value.argmax(-1)]  # (B, K, 3)
    _, move = _cells(problem, instance, heard, best, grid.spread_m)
    own = torch.einsum("bkki->bki", move)
    limit = 2 * grid.spread_m
    return (best + own.clamp(-limit, limit)).mean(1)


def _cells(
    problem: OtaFeel, instance: OtaFeelInstance, heard: Evidence, points: Tensor, spread_m: float
) -> tuple[Tensor, Tensor]:
    """Likelihoods of the cells around points, (B, P, K), and their maxima's places (B, P, K, 3)."""
    a, slope = responses_at(problem, instance, points)
    score = score_of(heard, a, slope)
    ratio = (heard.share / (1 - heard.share))[:, None].expand(-1, points.shape[1], -1)
    matrix = information(heard.power, a, slope, ratio, heard.samples)
    eye = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    scaled = spread_m**2 * matrix + eye  # s^2 (J + 1 / s^2)
    factor, _ = torch.linalg.cholesky_ex(scaled, check_errors=False)
    move = spread_m**2 * torch.cholesky_solve(score[..., None], factor)[..., 0]
    gained = (score * move).sum(-1) / 2
    volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return value_of(heard, a) + gained - volume, move


def _floored(value: Tensor) -> Tensor:
    """Values (B, K, n) raised to a depth below each device's best; not finite: the depth."""
    value = torch.where(value.isfinite(), value, -torch.inf)
    best = value.amax(-1, keepdim=True)
    return (value - torch.where(best.isfinite(), best, 0)).clamp_min(-_DEPTH)


def _scaling_of(size: Tensor) -> Scaling:
    total = size.sum(-1)
    is_usable = total > torch.finfo(size.dtype).tiny
    even = torch.full_like(size, 1 / size.shape[-1])
    shares = size / torch.where(is_usable, total, 1)[:, None]
    return Scaling(
        mean=torch.zeros_like(size),
        divisor=torch.where(size > 0, size, 1),
        weight=torch.where(is_usable[:, None], shares, even),
        factor=torch.where(is_usable, total, 0),
        offset=torch.zeros_like(total),
    )


def _moved(problem: OtaFeel, points: Tensor, move: Tensor) -> Tensor:
    """Points after moves of limited length, kept near the region; moves that are no numbers: 0."""
    move = torch.where(move.isfinite().all(-1, keepdim=True), move, 0)
    length = torch.linalg.vector_norm(move, dim=-1, keepdim=True)
    move = move * (_MAX_STEP_M / length.clamp_min(_MAX_STEP_M))
    low, high = _box(problem.scenario)
    low, high = (torch.tensor(x, dtype=points.dtype, device=points.device) for x in (low, high))
    return torch.minimum(torch.maximum(points + move, low), high)


def _box(scenario: OtaFeelScenario) -> tuple[list[float], list[float]]:
    s = scenario
    half = s.arc_rad / 2
    near = s.min_target_radius_m * math.cos(half) if half < math.pi / 2 else -s.max_target_radius_m
    side = s.max_target_radius_m * (math.sin(half) if half < math.pi / 2 else 1.0)
    low = [near, -side, 0.0]
    high = [s.max_target_radius_m, side, s.max_target_height_m]
    return [x - _MARGIN_M for x in low], [x + _MARGIN_M for x in high]
