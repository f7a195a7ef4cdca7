r"""Sufficient statistics that users hold, mix and turn into images.

User k's samples matter through b_k = sum_t conj(u_k) y_k, V scalars however long the frame, with
information Phi_k = (V^H V) o (conj(g_k) g_k^T). Channels, probe, graph and weights are known to
all, as in the paper, so that the information behind a mixture sum_l w_l b_l is known too: it is
sum_l w_l Phi_l. Averaging need not have converged: any weights give an unbiased estimate.

Letters: g ``user_channel``, p probe, a = G w_c ``data``, c symbols, u_k = g_k o (G p + c a), y
``received``, z_k gain of the data at user k; w ``mixing`` (B, J, K), J holders of mixtures.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.physics.sparse_bayes import debias, sparse_bayes
from isac_gym.physics.trust_region import squared
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery, ImagingRecoveryInstance

__all__ = [
    "Estimate",
    "Frame",
    "decided_symbols",
    "images",
    "linear_estimate",
    "own_statistics",
    "sparse_estimate",
]

Estimate = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Image (..., V) of information Phi (..., V, V), matched filter b (..., V) and noise (...,) W."""

_UPDATES = 20  # of the prior variances by MacKay's rule; more change nothing above 0.1 dB
_PRIOR = 0.3  # variance of a coefficient in the linear estimate; that of the design problem


class Frame(NamedTuple):
    """What all users know, and what each has received.

    Attributes:
        user_channel: g, (B, K, V).
        probing: G p(t), (B, L, V) sqrt(W).
        data: a, (B, V) sqrt(W).
        received: y, (B, L, K) sqrt(W).
        noise_w: Noise power, (B,).
        interference_w: Expected power of the data at a user, mean over users, (B,).
        adjacency: (B, K, K) bool.
    """

    user_channel: Tensor
    probing: Tensor
    data: Tensor
    received: Tensor
    noise_w: Tensor
    interference_w: Tensor
    adjacency: Tensor

    @classmethod
    def of(cls, problem: ImagingRecovery, instance: ImagingRecoveryInstance) -> "Frame":
        """Everything of an instance but the truth."""
        i, s = instance, problem.scenario
        data = problem.data_illumination(i)
        spread = s.image_energy / s.num_voxels  # E |x_n|^2
        heard = squared(i.user_channel * data[:, None]).sum(-1).mean(-1) * spread
        noise = torch.full_like(heard, s.noise_w)
        return cls(i.user_channel, problem.probing(i), data, i.received, noise, heard, i.adjacency)

    @property
    def everything(self) -> Tensor:
        """1 for every sample, (B, 1, L)."""
        return torch.ones_like(self.received.real[:, None, :, 0])

    @property
    def together(self) -> Tensor:
        """Mixing of one who holds everybody's statistics, (B, 1, K)."""
        return torch.ones_like(self.user_channel.real[:, None, :, 0])

    @property
    def alone(self) -> Tensor:
        """Mixing of users who share nothing, (B, K, K)."""
        return torch.diag_embed(self.together[:, 0])


def images(
    frame: Frame,
    estimate: Estimate,
    mixing: Tensor,
    *,
    symbol: Tensor | None = None,
    used: Tensor | None = None,
    decided: Tensor | None = None,
    passes: int = 2,
) -> Tensor:
    """Images (B, J, V) of the holders of mixed statistics.

    Unknown data is noise in the first pass. Then the users' maximum-ratio products are added up,
    symbols decided, and matched filters mixed again with the data as part of what is known.

    Args:
        frame: What is known and received.
        estimate: Estimator.
        mixing: w, (B, J, K), J either K or 1.
        symbol: Known symbols (B, 1, L), or None.
        used: Samples that count, (B, 1, L) real 0 or 1; None: all.
        decided: Samples among them whose symbols are decided, (B, 1, L); None: all.
        passes: >= 1; 1: unknown data stays noise.
    """
    used = frame.everything if used is None else used
    noise, loud = frame.noise_w, frame.noise_w + frame.interference_w
    if symbol is not None:
        return _mixed(frame, own_statistics(frame, symbol, used), mixing, noise, estimate)
    unknown = torch.zeros_like(frame.received.mT[:, :1])
    image = _mixed(frame, own_statistics(frame, unknown, used), mixing, loud, estimate)
    decided = used if decided is None else decided
    weight = decided + (noise / loud)[:, None, None] * (used - decided)
    for _ in range(passes - 1):
        symbol = decided_symbols(frame, image, frame.together) * decided
        image = _mixed(frame, own_statistics(frame, symbol, weight), mixing, noise, estimate)
    return image


def own_statistics(frame: Frame, symbol: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Information V^H V of the illumination, (B, 1, V, V), and every user's own b_k, (B, K, V).

    Args:
        frame: What is known and received.
        symbol: c, the same for all users, (B, 1, L); 0: the data is noise.
        weight: Of every sample, (B, 1, L) real: 0 leaves it out.
    """
    lit = frame.probing + symbol.mT * frame.data[:, None]
    weighted = weight.mT * lit  # (B, L, V)
    heard = frame.received.mT @ weighted.conj()
    return (weighted.mH @ lit)[:, None], frame.user_channel.conj() * heard


def _mixed(
    frame: Frame, own: tuple[Tensor, Tensor], mixing: Tensor, noise_w: Tensor, estimate: Estimate
) -> Tensor:
    """Image of every holder; weights are scaled to sum w = sum w^2: the noise keeps its power."""
    gram, matched = own
    w = mixing * (mixing.sum(-1) / mixing.square().sum(-1))[..., None]
    wide, g = w.to(matched.dtype), frame.user_channel
    users = torch.einsum("bjk,bkn,bkm->bjnm", wide, g.conj(), g)
    return estimate(gram * users, wide @ matched, noise_w[:, None].expand(w.shape[:2]))


def decided_symbols(frame: Frame, image: Tensor, mixing: Tensor) -> Tensor:
    """QPSK symbols from sums of maximum-ratio products conj(z_k) (residual of user k), (B, J, L).

    Args:
        frame: What is known and received.
        image: Every user's own, (B, K, V), or everyone's, (B, 1, V).
        mixing: Whose products are summed, (B, J, K).
    """
    seen = frame.user_channel * image
    residual = frame.received.mT - seen @ frame.probing.mT  # (B, K, L)
    gain = seen @ frame.data[..., None]  # (B, K, 1)
    total = mixing.to(residual.dtype) @ (gain.conj() * residual)
    parts = torch.where(total.real < 0, -1.0, 1.0), torch.where(total.imag < 0, -1.0, 1.0)
    return (torch.complex(*parts) * 0.5**0.5).to(residual.dtype)


def linear_estimate(information: Tensor, matched: Tensor, noise_w: Tensor) -> Tensor:
    """Regularised least squares (Phi + noise I / 0.3)^-1 b; defined where Phi is singular."""
    eye = torch.eye(matched.shape[-1], dtype=matched.dtype, device=matched.device)
    loaded = information + (noise_w / _PRIOR)[..., None, None] * eye
    return torch.linalg.solve_ex(loaded, matched[..., None]).result[..., 0]


def sparse_estimate(information: Tensor, matched: Tensor, noise_w: Tensor) -> Tensor:
    """Least squares on the support that sparse Bayesian learning finds."""
    shape, voxels = matched.shape, matched.shape[-1]
    phi, b = information.reshape(-1, voxels, voxels), matched.reshape(-1, voxels)
    noise = noise_w.reshape(-1)
    found = sparse_bayes(phi, b, noise, iterations=_UPDATES, rule="mackay")
    return debias(phi, b, noise, found)[0].reshape(shape)
