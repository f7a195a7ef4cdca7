r"""Locating the target over the air: a coarse search that many candidates survive, then scoring.

The devices' log-likelihoods add up, so the server only needs sums of what they send. A local method
from one random start ends in a local maximum too often. The stream of localisation is empty but
for two symbols per round, so the search is sent over it, three kinds of rounds:

1. ``search``: every device sends its log-likelihood at the points of a grid over the region in
   which the target may be: its maximum over the cell of the point, by a few scoring steps of its
   own that do not leave the cell. So a peak far narrower than the cell is not missed, and the sum
   is nearly an upper bound of what the cell can give. Values far below a device's best are raised
   to a floor: they are out anyway, and symbols of unit variance should tell the others apart. The
   server keeps the best few peaks of the noisy sum.
2. ``score``: the score at every candidate, two symbols each; v += eta (J + damping)^-1 g, J the
   server's own information matrix, which also whitens the scores; or the paper's plain gradient.
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
    power_probe,
    probe,
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
    "unwhitened_scores",
    "whitened_scores",
]

_DEPTH = 30.0  # log-likelihood below a device's best at which differences stop to count
_DAMPING = 1e-3
_MAX_STEP_M = 5.0
_MARGIN_M = 10.0  # estimates may leave the region by this much
_CLIMBS = 2
_NUMBERS = 1 << 13  # cells of devices in one chunk of the grid: what caches hold


@dataclass(frozen=True)
class SearchGrid:
    """Points over the region of the target.

    Attributes:
        points: (G, 3) m, radius slowest, then angle, then height.
        shape: Numbers of radii, angles and heights.
        half_m: Half the side of the cell of a point, m.
    """

    points: Tensor
    shape: tuple[int, int, int]
    half_m: float

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
    return _floored(value_of(heard, probe(problem, instance.position, points, heard)))


def local_scores(
    problem: OtaFeel, instance: OtaFeelInstance, heard: Evidence, points: Tensor
) -> Tensor:
    """Score of every device at candidates (B, C, 3), (B, K, 3 C), 1/m; 0 where not finite."""
    score = score_of(heard, probe(problem, instance.position, points, heard)).flatten(2)
    return torch.where(score.isfinite(), score, 0)


def cell_values(
    problem: OtaFeel, instance: OtaFeelInstance, heard: Evidence, grid: SearchGrid
) -> Tensor:
    """Largest log-likelihood of every device inside every cell, floored, (B, K, G)."""
    value, _ = _cell_maxima(problem, instance, heard, grid)
    return _floored(value)


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
    gram, sent = power_probe(problem, instance.position, points, power)
    if likelihood == "white":
        return information(gram, sent, None, 0).sum(1)
    count = torch.as_tensor(samples, dtype=torch.float64, device=gram.device).reshape(-1, 1, 1)
    ratio = interference_ratio(instance, gram, sent, count)
    heard = samples if likelihood == "full" else 0
    return information(gram, sent, ratio, heard).sum(1)


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
    damped = _damped(matrix)
    move = solve_or_nan(damped.flatten(0, 1), score.flatten(0, 1)[..., None])
    eta = torch.as_tensor(step, dtype=points.dtype, device=points.device).reshape(-1, 1, 1)
    return _moved(problem, points, eta * move.reshape(points.shape))


def whitened_scores(score: Tensor, matrix: Tensor) -> Tensor:
    """Scores (B, K, 3 C) as sent: L^-1 s_k with J = L L^T of each candidate, (B, C, 3, 3).

    The link's noise then moves estimates as an error of the size of the bound does, in every
    direction alike. In metres, noise of the strong direction swamps the weak one: J of a line array
    has a condition number of 500. The server sends its J along with the candidates.
    """
    parts = score.unflatten(-1, (-1, 3))[..., None]
    root = _root(matrix)[:, None].expand(-1, parts.shape[1], -1, -1, -1)
    white = torch.linalg.solve_triangular(root, parts, upper=False)[..., 0]
    return torch.where(white.isfinite(), white, 0).flatten(2)


def unwhitened_scores(total: Tensor, matrix: Tensor) -> Tensor:
    """Sums of scores (B, C, 3) in 1/m, of the sums (B, 3 C) of :func:`whitened_scores`."""
    return (_root(matrix) @ total.unflatten(-1, (-1, 3))[..., None])[..., 0]


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
    """Mean of the devices' own maximum-likelihood estimates in the region, (B, 3) m.

    Ill-posed for line arrays: one device's information has rank 2 there, and noise decides where on
    its ring the best cell lies.
    """
    value, place = _cell_maxima(problem, instance, heard, grid)
    best = value.argmax(-1)[..., None, None].expand(-1, -1, 1, 3)
    return place.gather(2, best)[:, :, 0].mean(1)


def _cell_maxima(
    problem: OtaFeel, instance: OtaFeelInstance, heard: Evidence, grid: SearchGrid
) -> tuple[Tensor, Tensor]:
    """Largest log-likelihood of each device in each cell (B, K, G), and where (B, K, G, 3) m."""
    batch, devices = heard.share.shape
    size = max(1, _NUMBERS // (batch * devices))
    values: list[Tensor] = []
    places: list[Tensor] = []
    for points in grid.points.to(heard.share.device).split(size):
        middle = points.expand(batch, devices, -1, -1)
        value, place = _climbed(problem, instance.position, heard, middle, grid.half_m)
        values.append(value)
        places.append(place)
    return torch.cat(values, 2), torch.cat(places, 2)


def _climbed(
    problem: OtaFeel, position: Tensor, heard: Evidence, middle: Tensor, half_m: float
) -> tuple[Tensor, Tensor]:
    """Best value (B, K, P) and place (B, K, P, 3) of a few scoring steps inside the cells."""
    place, low, high = middle, middle - half_m, middle + half_m
    best, where = torch.full_like(middle[..., 0], -torch.inf), middle
    ratio = (heard.share / (1 - heard.share))[..., None]
    eye = torch.eye(3, dtype=middle.dtype, device=middle.device) / half_m**2
    for climb in range(_CLIMBS + 1):
        at = probe(problem, position, place, heard)
        value = value_of(heard, at)
        is_better = value > best
        best = torch.where(is_better, value, best)
        where = torch.where(is_better[..., None], place, where)
        if climb < _CLIMBS:
            matrix = information(at.gram, at.power, ratio, heard.samples)
            move = _solved(matrix + eye, score_of(heard, at))
            place = torch.minimum(torch.maximum(place + move, low), high)
    return best, where


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """Solutions (..., 3) of symmetric 3 x 3 systems by Cramer's rule; many are solved at once."""
    first, second, third = matrix.unbind(-1)
    minors = torch.stack(
        [
            torch.linalg.cross(second, third),
            torch.linalg.cross(third, first),
            torch.linalg.cross(first, second),
        ],
        -2,
    )
    determinant = (first * minors[..., 0, :]).sum(-1, keepdim=True)
    return (minors * right[..., None, :]).sum(-1) / determinant


def _damped(matrix: Tensor) -> Tensor:
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    eps = torch.finfo(matrix.dtype).eps
    return matrix + torch.diag_embed(_DAMPING * diagonal + eps * diagonal.sum(-1, keepdim=True))


def _root(matrix: Tensor) -> Tensor:
    """Lower factors of damped J; the unit matrix where nothing is known."""
    factor, info = torch.linalg.cholesky_ex(_damped(matrix), check_errors=False)
    eye = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    return torch.where((info == 0)[..., None, None], factor, eye)


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
