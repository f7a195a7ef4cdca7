r"""What estimators in one place share: statistics of a frame, symbols, cost, one image for all.

Letters: Phi ``information``, b ``matched``, z_k data gains, c symbols, a = G w_c.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.problem import Problem
from isac_gym.core.records import TensorRecord
from isac_gym.core.solution import Solution, Status, Trace, status_tensor
from isac_gym.physics.imaging import information, matched, user_gram
from isac_gym.problems.multi_user_imaging.recovery import (
    ImagingRecovery,
    ImagingRecoveryDecision,
    ImagingRecoveryInstance,
    gathering_scalars,
)

__all__ = [
    "KNOWLEDGE",
    "Statistics",
    "demand",
    "genie_image",
    "shared",
    "soft_symbols",
    "statistics",
    "typed",
]

KNOWLEDGE = ("probe", "genie")  # of the data: none (it is noise), or the true symbols


class Statistics(NamedTuple):
    """Sufficient statistics of a frame.

    Attributes:
        information: Phi, (B, V, V) W.
        matched: b, (B, V) W.
        noise: Power of everything unknown in a sample, mean over the users, (B,) W.
    """

    information: Tensor
    matched: Tensor
    noise: Tensor


def typed(
    problem: Problem, instance: TensorRecord
) -> tuple[ImagingRecovery, ImagingRecoveryInstance]:
    """Problem and instance as recovery's; double precision where channels are spherical waves.

    Their information matrices have condition numbers of 1e5 and more.
    """
    setup, i = cast(ImagingRecovery, problem), cast(ImagingRecoveryInstance, instance)
    if setup.scenario.channel == "geometric":
        i = i.to(dtype=torch.float64)
    return setup, i


def statistics(
    problem: ImagingRecovery,
    instance: ImagingRecoveryInstance,
    *,
    symbol: Tensor | None = None,
    noise: Tensor | None = None,
) -> Statistics:
    r"""Statistics with the data as noise, or as part of what is known.

    Soft symbols enter by their mean; their variance 1 - |c|^2 adds conj(a) a^T to V^H V, which is
    the expectation step of an EM algorithm over QPSK.

    Args:
        problem: Recovery problem.
        instance: Frames.
        symbol: Symbols or their posterior means, (B, L); None: the data is noise.
        noise: Noise power, (B,); None: the receivers' (plus the data's).
    """
    i, s = instance, problem.scenario
    data = problem.data_illumination(i)
    lit, floor = problem.probing(i), torch.full_like(data[:, 0].real, s.noise_w)
    if symbol is None:
        spread = s.image_energy / s.num_voxels
        heard = (i.user_channel * data[:, None]).abs().square().sum(-1).mean(-1) * spread
        level = floor + heard if noise is None else noise
        return Statistics(
            information(lit, i.user_channel), matched(lit, i.user_channel, i.received), level
        )
    lit = lit + symbol[..., None] * data[:, None]
    unsure = (1 - symbol.abs().square()).clamp_min(0).sum(-1)
    extra = data.conj()[:, :, None] * data[:, None] * unsure[:, None, None]
    known = information(lit, i.user_channel) + extra * user_gram(i.user_channel)
    level = floor if noise is None else noise
    return Statistics(known, matched(lit, i.user_channel, i.received), level)


def soft_symbols(
    problem: ImagingRecovery, instance: ImagingRecoveryInstance, image: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Posterior means of the QPSK symbols given an image, and the power left unexplained.

    Args:
        problem: Recovery problem.
        instance: Frames.
        image: (B, V).
        noise: Noise power to believe in, (B,) W.

    Returns:
        Symbols (B, L), moduli <= 1, and the mean residual power (B,) W.
    """
    i = instance
    seen = i.user_channel * image[:, None]
    rest = i.received - problem.probing(i) @ seen.mT  # (B, L, K)
    gain = (seen @ problem.data_illumination(i)[..., None])[..., 0]  # (B, K)
    total = (rest @ gain.conj()[..., None])[..., 0]
    scale = 2**0.5 / noise[:, None]
    symbol = torch.complex(torch.tanh(scale * total.real), torch.tanh(scale * total.imag))
    symbol = symbol * 0.5**0.5
    left = (rest - symbol[..., None] * gain[:, None]).abs().square().mean((-2, -1))
    return symbol, left


def genie_image(instance: ImagingRecoveryInstance) -> tuple[Tensor, Tensor]:
    """True support (B, V) bool and true symbols (B, L): for genies and oracles only."""
    return instance.image.abs() > 0, instance.symbol


def shared(
    instance: TensorRecord,
    image: Tensor,
    *,
    status: Tensor | None = None,
    iterations: Tensor | None = None,
    objective: Tensor | None = None,
) -> Solution:
    """Solution in which all users have the leader's image; lanes that are not finite FAILED.

    Args:
        instance: Frames.
        image: (B, V).
        status: (B,) int64; None: CONVERGED.
        iterations: (B,) int64; None: 1.
        objective: Trace, (B, L), or None.
    """
    i = cast(ImagingRecoveryInstance, instance)
    batch, users, voxels = i.user_channel.shape
    image = image.to(i.user_channel.dtype)
    cost = gathering_scalars(i.adjacency, i.received.shape[1], voxels)
    code = status_tensor(Status.CONVERGED, batch, device=image.device) if status is None else status
    is_good = torch.isfinite(image).all(-1)
    done = torch.ones_like(code) if iterations is None else iterations
    return Solution(
        decision=ImagingRecoveryDecision(
            torch.where(is_good[:, None], image, 0)[:, None].repeat(1, users, 1),
            cost.to(torch.int64),
        ),
        status=torch.where(is_good, code, int(Status.FAILED)),
        iterations=done,
        trace=None if objective is None else Trace(objective=objective, length=done),
    )


def demand(is_good: bool, name: str, allowed: str, value: object) -> None:
    """Refuse a hyper-parameter with a ``ScenarioError``."""
    if not is_good:
        raise ScenarioError(f"{name} must be {allowed}, got {value!r}.")
