r"""Action maps of probing: numbers in [-1, 1] to a transmission within power and SINR, and back.

With the data beam along the user's channel h at the power its SINR needs, the budget reads
tr (B W_s) <= P - Gamma noise_c / |h|^2 with B = I + Gamma h h^H / |h|^2. So every matrix F gives a
transmission, W_s ~ B^-1/2 F F^H B^-1/2 with the rest of the power, and three maps choose F:

* ``eigen``: F = U diag(weights)^1/2 in a basis U that the state supplies; weights = softmax of the
  action, ratios up to exp(10).
* ``factor``: F = U X, the entries of X; every probe of this form is reachable.
* ``mix``: F F^H = convex combination of given covariances; weights = softmax, ratios up to exp(8).

With ``joint`` information the data inform as well. The maps keep the cheapest beam along h: the
best probe for it has 96 % of the optimum's efficiency.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh
from isac_gym.physics.a_optimal import (
    ProbingDesign,
    ProbingTask,
    step1_design,
)
from isac_gym.physics.imaging import user_gram
from isac_gym.problems.multi_user_imaging.design import ImagingDesign, ImagingDesignInstance
from isac_gym.problems.multi_user_imaging.records import ProbingDecision

__all__ = [
    "ClosedForm",
    "closed_form",
    "coded_factor",
    "coded_mixture",
    "coded_weights",
    "equal_power",
    "error_covariance",
    "factor_of",
    "mixture",
    "planned",
    "power_of",
    "probing_task",
    "root_of",
    "sensitivity",
    "spectral",
]

_ROUNDINGS = 64  # by which the SINR needed is exceeded
_EIGEN, _MIX = 5.0, 4.0  # scales of the logits


class ClosedForm(NamedTuple):
    """The budget once the data beam is along h.

    Attributes:
        wide: B^1/2, (B, N, N).
        narrow: B^-1/2, (B, N, N).
        unit: h / |h|, (B, N).
        least: Power the data need where the probe is silent, at most P, (B,) W.
        room: P less that, (B,) W.
        min_sinr: Gamma with a margin against rounding.
    """

    wide: Tensor
    narrow: Tensor
    unit: Tensor
    least: Tensor
    room: Tensor
    min_sinr: float

    def transmit(self, factor: Tensor, share: Tensor | None = None) -> ProbingDecision:
        """Decision of a factor F (B, N, N) of any size, with a share (B,) of the room; None: 1."""
        power = self.room if share is None else self.room * share
        probe = self.narrow @ (_unit_norm(factor) * power.sqrt()[:, None, None])
        heard = _square((self.unit.conj()[:, None] @ probe)[:, 0]).sum(-1)
        data = self.least + self.min_sinr * heard
        return ProbingDecision(probe, self.unit * data.sqrt()[:, None])

    def shape(self, decision: ProbingDecision) -> tuple[Tensor, Tensor]:
        """F of unit norm (B, N, N), zero where the probe is, and the share (B,) of the room."""
        factor = self.wide @ decision.probe
        power = _square(factor).sum((-2, -1))
        tiny = torch.finfo(power.dtype).tiny
        return _unit_norm(factor), (power / self.room.clamp_min(tiny)).clamp(0, 1)


def closed_form(problem: ImagingDesign, instance: ImagingDesignInstance) -> ClosedForm:
    """Budget of an instance."""
    s, h = problem.scenario, instance.comm_channel
    energy = _square(h).sum(-1)
    tiny = torch.finfo(energy.dtype).tiny
    unit = h / energy.clamp_min(tiny).sqrt()[:, None]
    min_sinr = s.min_sinr * (1 + _ROUNDINGS * torch.finfo(energy.dtype).eps)
    least = min_sinr * s.comm_noise_w / energy.clamp_min(tiny)
    least = torch.minimum(least, instance.max_power_w)
    along = unit[..., None] * unit.conj()[..., None, :]
    eye = torch.eye(h.shape[-1], dtype=h.dtype, device=h.device)
    rise = math.sqrt(1 + min_sinr)
    return ClosedForm(
        wide=eye + (rise - 1) * along,
        narrow=eye + (1 / rise - 1) * along,
        unit=unit,
        least=least,
        room=instance.max_power_w - least,
        min_sinr=min_sinr,
    )


def power_of(decision: ProbingDecision) -> Tensor:
    """Power of the probe and the data, (B,) W."""
    return _square(decision.probe).sum((-2, -1)) + _square(decision.beam).sum(-1)


# --- maps ---------------------------------------------------------------------------------------


def spectral(basis: Tensor, action: Tensor) -> Tensor:
    """F = U diag(softmax(5 a))^1/2, (B, N, N), of U (B, N, N) and a (B, N)."""
    return basis * (_EIGEN * action).softmax(-1).sqrt()[:, None]


def coded_weights(basis: Tensor, factor: Tensor) -> Tensor:
    """Action (B, N) of the diagonal of U^H F F^H U; exact where nothing else is there."""
    weight = _square(basis.mH @ factor).sum(-1)
    return _logits(weight, _EIGEN)


def factor_of(basis: Tensor, action: Tensor) -> Tensor:
    """F = U X, (B, N, N), X from 2 N^2 entries; X = 0 counts as the identity."""
    count = basis.shape[-1]
    re, im = action.unflatten(-1, (2, count, count)).unbind(1)
    entries = torch.complex(re, im)
    is_empty = (entries == 0).all(-1).all(-1)[:, None, None]
    eye = torch.eye(count, dtype=entries.dtype, device=entries.device)
    return basis @ torch.where(is_empty, eye, entries)


def coded_factor(basis: Tensor, factor: Tensor) -> Tensor:
    """Action (B, 2 N^2) of F: its entries over the largest."""
    entries = torch.view_as_real(basis.mH @ factor).movedim(-1, 1)
    most = entries.abs().amax((1, 2, 3), keepdim=True)
    tiny = torch.finfo(most.dtype).tiny
    return (entries / most.clamp_min(tiny)).clamp(-1, 1).flatten(1)


def mixture(plans: Tensor, action: Tensor) -> Tensor:
    """F with F F^H = sum of softmax(4 a) times the plans, (B, N, N), of plans (B, C, N, N)."""
    weight = (_MIX * action).softmax(-1)
    return root_of((weight[..., None, None] * plans).sum(1))


def coded_mixture(plans: Tensor, factor: Tensor) -> Tensor:
    """Action (B, C) of the least-squares weights of F F^H; equal plans share theirs."""
    rows = torch.view_as_real(plans).flatten(2)  # (B, C, 2 N^2)
    wanted = torch.view_as_real(factor @ factor.mH).flatten(1)
    u, size, vh = torch.linalg.svd(rows.mT, full_matrices=False)
    eps = torch.finfo(size.dtype).eps
    is_real = size > 1e3 * eps * size[:, :1]
    inverse = torch.where(is_real, 1 / size.clamp_min(eps), 0)
    weight = (vh.mT @ (inverse[..., None] * (u.mT @ wanted[..., None])))[..., 0]
    return _logits(weight, _MIX)


def root_of(covariance: Tensor) -> Tensor:
    """Hermitian root S, (B, N, N), of a Hermitian positive semidefinite matrix W.

    Its derivative solves S dS + dS S = dW, which repeated eigenvalues do not disturb; what both
    ends of dW map to zero has none and counts as constant.
    """
    whole = (covariance + covariance.mH) / 2
    value, vector = hermitian_eigh(whole.detach())
    size = value.clamp_min(0).sqrt()
    root = (vector * size[:, None]) @ vector.mH
    if not whole.requires_grad:
        return root
    both = size[:, :, None] + size[:, None]
    is_real = both > torch.finfo(size.dtype).eps ** 0.5 * size[:, -1:, None]
    rate = torch.where(is_real, 1 / torch.where(is_real, both, 1), 0)
    change = vector.mH @ (whole - whole.detach()) @ vector  # zero, with the gradient of W
    return root + vector @ (rate * change) @ vector.mH


# --- plans --------------------------------------------------------------------------------------


def probing_task(problem: ImagingDesign, instance: ImagingDesignInstance) -> ProbingTask:
    """The instance as :mod:`isac_gym.physics.a_optimal` takes it."""
    s, i = problem.scenario, instance
    one = torch.ones_like(i.max_power_w)
    return ProbingTask(
        bs_channel=i.bs_channel,
        gram=user_gram(i.user_channel),
        precision=i.precision,
        comm_channel=i.comm_channel,
        max_power_w=i.max_power_w,
        gain=one * (s.num_samples / s.noise_w),
        min_sinr=one * s.min_sinr,
        comm_noise_w=one * s.comm_noise_w,
    )


def planned(
    problem: ImagingDesign,
    instance: ImagingDesignInstance,
    *,
    iterations: int,
    tolerance: float,
    start: Tensor | None = None,
) -> tuple[ProbingDesign, Tensor]:
    """A-optimal design if the probe alone informs, and its F F^H with unit trace, (B, N, N).

    Args:
        problem: The design problem.
        instance: What is known.
        iterations: Largest number of gradients.
        tolerance: Relative gap that is enough.
        start: F F^H to start from, (B, N, N); None: the identity.
    """
    form = closed_form(problem, instance)
    first = None if start is None else form.narrow @ start @ form.narrow
    task = probing_task(problem, instance)
    found = step1_design(task, iterations=iterations, tolerance=tolerance, start=first)
    whole = form.wide @ found.covariance @ form.wide
    trace = torch.diagonal(whole, dim1=-2, dim2=-1).real.sum(-1)[:, None, None]
    eye = torch.eye(whole.shape[-1], dtype=whole.dtype, device=whole.device)
    tiny = torch.finfo(trace.dtype).tiny ** 0.5
    unit = torch.where(trace > tiny, whole / trace.clamp_min(tiny), eye / len(eye))
    return found, (unit + unit.mH) / 2


def sensitivity(channel: Tensor, gram: Tensor, inverse: Tensor) -> Tensor:
    """-grad f in F F^H, (B, N, N) Hermitian.

    Args:
        channel: A, G B^-1/2 times the root of what scales its information, (B, V, N).
        gram: g^H g, (B, V, V).
        inverse: (J_0 + J)^-1, (B, V, V).
    """
    weighted = (inverse @ inverse).conj() * gram
    slope = channel.mH @ (weighted @ channel)
    return (slope + slope.mH) / 2


def equal_power(channel: Tensor) -> Tensor:
    """F F^H = I / N, (B, N, N), of any (B, ..., N)."""
    count = channel.shape[-1]
    eye = torch.eye(count, dtype=channel.dtype, device=channel.device)
    return (eye / count).expand(len(channel), -1, -1)


def error_covariance(
    channel: Tensor, gram: Tensor, precision: Tensor, covariance: Tensor
) -> Tensor:
    """Error covariance (J_0 + J)^-1, (B, V, V), that F F^H (B, N, N) leaves.

    Args:
        channel: A as in :func:`sensitivity`.
        gram: g^H g, (B, V, V).
        precision: J_0, (B, V, V).
        covariance: F F^H, (B, N, N).
    """
    lit = channel @ covariance @ channel.mH
    lower, _ = torch.linalg.cholesky_ex(precision + lit.conj() * gram, check_errors=False)
    return torch.cholesky_inverse(lower)


def _logits(weight: Tensor, scale: float) -> Tensor:
    """Actions of weights (B, C): softmax(scale a) gives them back, ratios cut at exp(2 scale)."""
    most = weight.amax(-1, keepdim=True)
    tiny = torch.finfo(weight.dtype).tiny
    is_empty = most <= 0
    ratio = torch.where(is_empty, 1, weight / torch.where(is_empty, 1, most))
    return (1 + ratio.clamp_min(tiny).log() / scale).clamp(-1, 1)


def _unit_norm(factor: Tensor) -> Tensor:
    """F over its Frobenius norm; zero stays zero."""
    size = _square(factor).sum((-2, -1), keepdim=True).sqrt()
    return factor / size.clamp_min(torch.finfo(size.dtype).tiny)


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
