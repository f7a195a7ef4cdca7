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
from isac_gym.physics.imaging import user_gram
from isac_gym.problems.multi_user_imaging.recovery import (
    ImagingRecovery,
    ImagingRecoveryDecision,
    ImagingRecoveryInstance,
    gathering_scalars,
)

__all__ = [
    "KNOWLEDGE",
    "Products",
    "Statistics",
    "data_as_noise",
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


class Products(NamedTuple):
    r"""Products of known signals and samples that serve every estimate of a frame.

    v(t) = G p(t) + c(t) a, so that statistics and sums over samples cost O(L (N + K)) a round.

    Attributes:
        bs_channel: G, (B, V, N).
        user_channel: g, (B, K, V).
        data: a = G w_c, (B, V) sqrt(W).
        gram: g^H g, (B, V, V).
        probe: p, (B, L, N) sqrt(W).
        received: y, (B, L, K) sqrt(W).
        power: (G p)^H (G p), (B, V, V) W.
        heard: Matched filter of the probe, (B, V) W.
        energy: |y|^2 of the frame, (B,) W.
    """

    bs_channel: Tensor
    user_channel: Tensor
    data: Tensor
    gram: Tensor
    probe: Tensor
    received: Tensor
    power: Tensor
    heard: Tensor
    energy: Tensor

    @classmethod
    def of(cls, problem: ImagingRecovery, instance: ImagingRecoveryInstance) -> "Products":
        """Of the frames of an instance."""
        i, y = instance, instance.received
        sent = i.probe.mH
        per_user = (i.bs_channel.conj() @ (sent @ y)).mT  # (B, K, V)
        return cls(
            i.bs_channel,
            i.user_channel,
            problem.data_illumination(i),
            user_gram(i.user_channel),
            i.probe,
            y,
            i.bs_channel.conj() @ (sent @ i.probe) @ i.bs_channel.mT,
            (i.user_channel.conj() * per_user).sum(-2),
            y.abs().square().sum((-2, -1)),
        )

    def known(self, symbol: Tensor) -> tuple[Tensor, Tensor]:
        """Phi (B, V, V) and b (B, V) at soft symbols (B, L); see :func:`statistics`."""
        a = self.data
        cross = (self.probe.mH @ symbol[..., None])[..., 0]  # (B, N)
        cross = (self.bs_channel.conj() @ cross[..., None])[..., 0]
        share = symbol.abs().square().clamp_min(1).sum(-1)  # |c|^2 and what is unsure of it
        mixed = cross[:, :, None] * a[:, None]
        power = self.power + mixed + mixed.mH
        power = power + share[:, None, None] * a.conj()[:, :, None] * a[:, None]
        per_user = (symbol.conj()[:, None] @ self.received)[:, 0]  # (B, K)
        heard = (self.user_channel.mH @ per_user[..., None])[..., 0]
        return power * self.gram, self.heard + a.conj() * heard

    def combined(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maximum-ratio sums, given an image (B, V).

        Returns:
            Sums (B, L) over the users of what the probe leaves, |z|^2 (B,), and the power of what
            the probe leaves, summed over the frame, (B,).
        """
        seen = self.user_channel * image[:, None]
        gain = (seen @ self.data[..., None]).conj()  # (B, K, 1)
        echo = self.bs_channel.mT @ (seen.mT @ gain)
        total = (self.received @ gain - self.probe @ echo)[..., 0]
        curved = ((self.power * self.gram) @ image[..., None])[..., 0]
        rest = self.energy + (image.conj() * (curved - 2 * self.heard)).real.sum(-1)
        return total, gain.abs().square().sum((-2, -1)), rest


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
    products = Products.of(problem, instance)
    if symbol is None:
        return data_as_noise(problem, products, noise=noise)
    level = torch.full_like(products.energy, problem.scenario.noise_w) if noise is None else noise
    return Statistics(*products.known(symbol), level)


def data_as_noise(
    problem: ImagingRecovery, products: Products, *, noise: Tensor | None = None
) -> Statistics:
    """Statistics of the probe alone; see :func:`statistics`."""
    s, lit = problem.scenario, products.user_channel * products.data[:, None]
    heard = lit.abs().square().sum(-1).mean(-1) * (s.image_energy / s.num_voxels)
    level = heard + s.noise_w if noise is None else noise
    return Statistics(products.power * products.gram, products.heard, level)


def soft_symbols(products: Products, image: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior means of the QPSK symbols given an image, and the noise to believe in.

    That noise is the mean power which all but decided symbols leave, at least ``floor``.

    Args:
        products: Products of the frames.
        image: (B, V).
        floor: Noise power of the receivers, (B,) W.

    Returns:
        Symbols (B, L), moduli <= 1, and the noise (B,) W.
    """
    total, gain, rest = products.combined(image)
    symbol = _means(total, floor * 1e-3)
    fitted = (symbol.conj() * total).real.sum(-1) * 2 - symbol.abs().square().sum(-1) * gain
    level = torch.maximum((rest - fitted) / products.received.shape[1:].numel(), floor)
    return _means(total, level), level


def _means(total: Tensor, noise: Tensor) -> Tensor:
    scale = 2**0.5 / noise[:, None]
    return torch.complex(torch.tanh(scale * total.real), torch.tanh(scale * total.imag)) * 0.5**0.5


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
