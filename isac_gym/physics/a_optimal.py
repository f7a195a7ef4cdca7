r"""A-optimal probing: the covariance that leaves the least error, with a certified lower bound.

    minimise  f(W) = tr (J_0 + (L / noise) conj(G W G^H) o (g^H g))^-1

over transmissions of a power budget whose data reach one communication user h with an SINR. Which
covariance W informs makes two models:

* ``step1``: the known probe alone, W = W_s. The best data beam is along h, and with
  B = I + Gamma h h^H / |h|^2 the constraints become tr (W_s B) <= P - Gamma noise_c / |h|^2.
* ``joint``: the decoded data as well, W = R = W_s + w_c w_c^H. Splitting R with
  w_c = R h / sqrt(h^H R h) silences the probe at the user, so that SINR = h^H R h / noise_c.

Both are convex in a covariance of unit trace; see :mod:`isac_gym.physics.trace_descent`.

Source: the networked-ISAC paper, (40)-(47), with Bayesian A-optimality as its metric: then neither
penalty nor randomisation is needed.
"""

from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh, inverse_trace
from isac_gym.core.solution import Status
from isac_gym.physics.imaging import expected_information
from isac_gym.physics.trace_descent import Covariance, TraceTask, descend, outer, share_along

__all__ = [
    "CHEAP_ITERATIONS",
    "CHEAP_TOLERANCE",
    "PriorityDesign",
    "ProbingDesign",
    "ProbingTask",
    "error_bound",
    "factor",
    "joint_design",
    "joint_priority",
    "split",
    "step1_design",
    "step1_priority",
]

CHEAP_ITERATIONS, CHEAP_TOLERANCE = 40, 1e-5  # enough for a reward: about 20 iterations
# By which the SINR needed is exceeded, against rounding.
_MARGIN = {torch.float64: 1e-12, torch.float32: 2e-5}
_GRIDS = (17, 9, 9)  # levels of the SINR: everywhere, then around the best


class ProbingTask(NamedTuple):
    """What is to be designed.

    Attributes:
        bs_channel: G, (B, V, N).
        gram: g^H g, (B, V, V); see :func:`isac_gym.physics.imaging.user_gram`.
        precision: J_0, (B, V, V) Hermitian positive definite.
        comm_channel: h, (B, N); the communication user receives h^H tx.
        max_power_w: P, (B,) W.
        gain: L / noise, samples over noise power of a sensing user, (B,) 1/W.
        min_sinr: Gamma, (B,) linear, >= 0.
        comm_noise_w: Noise power of the communication user, (B,) W.
    """

    bs_channel: Tensor
    gram: Tensor
    precision: Tensor
    comm_channel: Tensor
    max_power_w: Tensor
    gain: Tensor
    min_sinr: Tensor
    comm_noise_w: Tensor


class ProbingDesign(NamedTuple):
    """A design and what it is worth.

    Attributes:
        value: f of the design, (B,).
        lower: Certified lower bound of the optimum, (B,); ``value`` where the SINR is out of reach,
            -inf (no claim) where the value is not finite.
        covariance: W_s, (B, N, N) Hermitian positive semidefinite, W.
        beam: w_c, (B, N) sqrt(W).
        iterations: Evaluations of the gradient, (B,) int64.
        has_converged: Relative gap within the tolerance, (B,) bool.
        is_reachable: P |h|^2 > Gamma noise_c, (B,) bool; elsewhere all power goes to the user.
        history: Best value after every iteration, (B, iterations); repeats the last one.
    """

    value: Tensor
    lower: Tensor
    covariance: Tensor
    beam: Tensor
    iterations: Tensor
    has_converged: Tensor
    is_reachable: Tensor
    history: Tensor


class PriorityDesign(NamedTuple):
    """A trade-off between imaging and communication; see :func:`joint_priority`.

    Attributes:
        score: (1 - beta) f / f* - beta SINR / SINR*, (B,); smaller is better.
        lower: Certified lower bound of the best score, (B,).
        value: f, (B,).
        sinr: SINR of the communication user, (B,).
        covariance: W_s, (B, N, N) W.
        beam: w_c, (B, N) sqrt(W).
        iterations: Evaluations of the gradient, (B,) int64.
        has_converged: Every descent behind it did, (B,) bool.
    """

    score: Tensor
    lower: Tensor
    value: Tensor
    sinr: Tensor
    covariance: Tensor
    beam: Tensor
    iterations: Tensor
    has_converged: Tensor


def error_bound(task: ProbingTask, covariance: Tensor) -> Tensor:
    """Error f of an informing covariance W (B, N, N), (B,); ``inf`` where singular."""
    gained = expected_information(task.bs_channel, task.gram, covariance, 1)
    return inverse_trace(task.precision + task.gain[:, None, None] * gained)


def factor(covariance: Tensor) -> Tensor:
    """Factor F with F F^H = W, (B, N, N), of W Hermitian positive semidefinite to rounding."""
    value, vector = hermitian_eigh((covariance + covariance.mH) / 2)
    return vector * value.clamp_min(0).sqrt()[..., None, :]


def split(covariance: Tensor, comm_channel: Tensor) -> tuple[Tensor, Tensor]:
    """Best split of R into W_s (B, N, N) and w_c (B, N): the probe is silent at the user.

    No split has a larger SINR than h^H R h / noise_c, which this one has.

    Args:
        covariance: R, (B, N, N) Hermitian positive semidefinite, W.
        comm_channel: h, (B, N).
    """
    tiny = torch.finfo(covariance.real.dtype).tiny
    seen = (covariance @ comm_channel[..., None])[..., 0]
    beam = seen / share_along(comm_channel, covariance).clamp_min(tiny).sqrt()[:, None]
    unit = outer(_unit(comm_channel))
    eye = torch.eye(comm_channel.shape[-1], dtype=unit.dtype, device=unit.device)
    rest = (eye - unit) @ (covariance - outer(beam)) @ (eye - unit)  # exact but for rounding
    return (rest + rest.mH) / 2, beam


def step1_design(
    task: ProbingTask,
    *,
    iterations: int = 500,
    tolerance: float = 1e-8,
    start: Tensor | None = None,
) -> ProbingDesign:
    """Best design if only the known probe informs.

    Args:
        task: What is to be designed.
        iterations: Largest number of gradients, >= 1; ``CHEAP_ITERATIONS`` for a quick answer.
        tolerance: Relative gap at which a lane stops, >= 0.
        start: W_s to start from, (B, N, N), or None for equal power in all directions.

    Returns:
        See :class:`ProbingDesign`.
    """
    least = task.min_sinr * (1 + _MARGIN[task.min_sinr.dtype])
    energy = _energy(task.comm_channel)
    unit = outer(_unit(task.comm_channel))
    budget = task.max_power_w - least * task.comm_noise_w / energy
    is_reachable = budget > 0
    eye = torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device)
    rise = (1 + least).sqrt()[:, None, None]
    shaped = eye + (1 / rise - 1) * unit  # B^-1/2
    power = budget.clamp_min(0)[:, None, None]
    amplitude = (task.gain[:, None, None] * power).sqrt()
    none = torch.zeros_like(budget)
    core = _trace_task(task, amplitude * (task.bs_channel @ shaped), none)
    wide = eye + (rise - 1) * unit
    first = eye.expand_as(unit) if start is None else wide @ start @ wide
    found = descend(core, first, iterations=iterations, tolerance=tolerance)
    covariance = power * (shaped @ found.point @ shaped)
    needed = least * (share_along(task.comm_channel, covariance) + task.comm_noise_w) / energy
    needed = torch.where(is_reachable, needed, task.max_power_w)
    beam = needed.sqrt()[:, None] * _unit(task.comm_channel)
    return _design(found, found.value, covariance, beam, is_reachable)


def joint_design(
    task: ProbingTask,
    *,
    iterations: int = 500,
    tolerance: float = 1e-8,
    start: Tensor | None = None,
) -> ProbingDesign:
    """Best design if decoded data inform like the probe; arguments as in :func:`step1_design`."""
    least = task.min_sinr * (1 + _MARGIN[task.min_sinr.dtype]) * task.comm_noise_w
    need = least / (task.max_power_w * _energy(task.comm_channel))
    is_reachable = need < 1
    core = _joint_task(task, torch.where(is_reachable, need, 0))
    eye = torch.eye(core.direction.shape[-1], dtype=core.channel.dtype, device=need.device)
    first = eye.expand(len(need), -1, -1) if start is None else start
    found = descend(core, first, iterations=iterations, tolerance=tolerance)
    alone = outer(core.direction)
    point = torch.where(is_reachable[:, None, None], found.point, alone)
    whole = task.max_power_w[:, None, None] * point
    value = torch.where(is_reachable, found.value, error_bound(task, whole))
    covariance, beam = split(whole, task.comm_channel)
    return _design(found, value, covariance, beam, is_reachable)


def joint_priority(
    task: ProbingTask, priority: Tensor, *, iterations: int = 400, tolerance: float = 1e-7
) -> PriorityDesign:
    """Minimise (1 - beta) f / f* - beta SINR / SINR* over the power budget, data informing.

    f* is the least error and SINR* the largest SINR of the budget, each alone. The SINR is linear
    in the covariance, so that this is convex. Source: the networked-ISAC paper, (45), (46).

    Args:
        task: What is to be designed; ``min_sinr`` is ignored.
        priority: beta of communication, in [0, 1], (B,).
        iterations: Largest number of gradients, >= 1.
        tolerance: Gap over the size of the score's terms, >= 0.
    """
    free = task._replace(min_sinr=torch.zeros_like(task.min_sinr))
    least = joint_design(free, iterations=iterations, tolerance=tolerance)
    core = _joint_task(task, torch.zeros_like(priority))
    core = core._replace(weight=(1 - priority) / least.value, reward=priority)
    start = least.covariance + outer(least.beam)
    found = descend(core, start, iterations=iterations, tolerance=tolerance)
    whole = task.max_power_w[:, None, None] * found.point
    covariance, beam = split(whole, task.comm_channel)
    return PriorityDesign(
        score=found.value,
        lower=found.lower,
        value=error_bound(task, whole),
        sinr=share_along(task.comm_channel, whole) / task.comm_noise_w,
        covariance=covariance,
        beam=beam,
        iterations=least.iterations + found.iterations,
        has_converged=least.has_converged & (found.status == int(Status.CONVERGED)),
    )


def step1_priority(
    task: ProbingTask, priority: Tensor, *, iterations: int = 200, tolerance: float = 1e-6
) -> PriorityDesign:
    """As :func:`joint_priority` if only the probe informs: a search over the SINR's level.

    Every level is solved exactly, so that the score between two neighbours is at least that of the
    lower level's error and the upper level's SINR: ``lower`` is certified, but only as tight as the
    grid is fine.
    """
    best_sinr = task.max_power_w * _energy(task.comm_channel) / task.comm_noise_w
    none = torch.zeros_like(priority)
    free = step1_design(task._replace(min_sinr=none), iterations=iterations, tolerance=tolerance)
    low, high, turns = none, none + 1, []
    for count in _GRIDS:
        part = torch.linspace(0, 1, count, dtype=none.dtype, device=none.device)
        level = low[:, None] + (high - low)[:, None] * part  # (B, count), share of the best SINR
        found = _levels(task, level * best_sinr[:, None], iterations, tolerance)
        error = (1 - priority)[:, None] / free.value[:, None]
        score = error * found.value - priority[:, None] * level
        under = (error * found.lower.clamp_min(0))[:, :-1] - priority[:, None] * level[:, 1:]
        pick = score.argmin(-1)
        rows = torch.arange(len(pick), device=pick.device)
        turns.append(
            PriorityDesign(
                score=score[rows, pick],
                lower=under.amin(-1),
                value=found.value[rows, pick],
                sinr=level[rows, pick] * best_sinr,
                covariance=found.covariance[rows, pick],
                beam=found.beam[rows, pick],
                iterations=found.iterations.sum(-1),
                has_converged=found.has_converged.all(-1),
            )
        )
        low = level[rows, (pick - 1).clamp_min(0)]
        high = level[rows, (pick + 1).clamp_max(count - 1)]
    best = reduce(_better, turns)
    return best._replace(
        lower=turns[0].lower,
        iterations=free.iterations + sum(turn.iterations for turn in turns),
        has_converged=torch.stack([turn.has_converged for turn in turns]).all(0),
    )


def _levels(task: ProbingTask, sinr: Tensor, iterations: int, tolerance: float) -> ProbingDesign:
    """Designs of several SINR levels (B, levels), fields with both axes."""
    shape = sinr.shape
    many = ProbingTask(*(t.repeat_interleave(shape[1], 0) for t in task))
    many = many._replace(min_sinr=sinr.flatten())
    found = step1_design(many, iterations=iterations, tolerance=tolerance)
    return ProbingDesign(*(t.unflatten(0, shape) for t in found))


def _better(old: PriorityDesign, new: PriorityDesign) -> PriorityDesign:
    is_better = new.score < old.score
    pairs = zip(new, old, strict=True)
    return PriorityDesign(
        *(torch.where(is_better.reshape((-1,) + (1,) * (x.ndim - 1)), x, y) for x, y in pairs)
    )


def _joint_task(task: ProbingTask, need: Tensor) -> TraceTask:
    amplitude = (task.gain * task.max_power_w).sqrt()[:, None, None]
    return _trace_task(task, amplitude * task.bs_channel, need)


def _trace_task(task: ProbingTask, channel: Tensor, need: Tensor) -> TraceTask:
    one = torch.ones_like(need)
    direction = _unit(task.comm_channel)
    return TraceTask(channel, task.gram, task.precision, direction, need, one, 0 * one)


def _design(
    found: Covariance, value: Tensor, covariance: Tensor, beam: Tensor, is_reachable: Tensor
) -> ProbingDesign:
    is_finite = value.isfinite()
    return ProbingDesign(
        value=value,
        lower=torch.where(is_reachable, found.lower, torch.where(is_finite, value, -torch.inf)),
        covariance=(covariance + covariance.mH) / 2,
        beam=beam,
        iterations=found.iterations,
        has_converged=is_finite & (found.status == int(Status.CONVERGED)),
        is_reachable=is_reachable,
        history=torch.where(is_reachable[:, None], found.history, value[:, None]),
    )


def _energy(h: Tensor) -> Tensor:
    energy = h.real.square() + h.imag.square()
    return energy.sum(-1).clamp_min(torch.finfo(h.real.dtype).tiny)


def _unit(h: Tensor) -> Tensor:
    return h / _energy(h).sqrt()[..., None]
