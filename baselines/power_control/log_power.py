"""Power control in log-powers z = log x: smooth objectives of the inverse SINRs as programmes.

With r_i = log (F e^z + n)_i - z_i (minus the log of the weighted sensing SINR) and the same for the
thresholds, both r and the constraints are convex in z (geometric programming). An objective f(r)
that does not decrease in any r_i enters through its gradient and Hessian in r only.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from baselines.interior_point import Expansion
from isac_gym.problems.power_control.model import NormalisedNetwork

__all__ = ["LOG_RANGE", "MeanSigmaProgramme", "PositionProgramme"]

LOG_RANGE = 27.6  # powers stay above e^-27.6 = -120 dB
_NO_THRESHOLD = 1e-30  # stands for comm noise 0, so that its logarithm is finite


class _LogPower:
    """Constraints and chain rule shared by all objectives f(r).

    Constraints: thresholds, z <= 0 and z >= -LOG_RANGE.
    """

    coupling: Tensor  # F and Q', (B, 2, I, I)
    noise: Tensor  # n and m', (B, 2, I)

    def outer(self, inverse_sinr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value (B,), gradient (B, I) and Hessian (B, I, I) of f at r (B, I)."""
        raise NotImplementedError

    def value(self, point: Tensor) -> Tensor:
        """Objective f, (B,), at z (B, I)."""
        return self.outer(self._rows(point)[0][:, 0])[0]

    def expand(self, point: Tensor) -> Expansion:
        """See :class:`baselines.interior_point.Programme`."""
        value, share = self._rows(point[:, :, 0])
        eye = torch.eye(point.shape[1], dtype=point.dtype, device=point.device)
        slope = share - eye  # (B, 2, I, I)
        gradient = self.outer(value[:, 0])[1]
        box = torch.cat([eye, -eye]).expand(point.shape[0], -1, -1)
        return Expansion(
            gradient=slope[:, 0].mT @ gradient[:, :, None],
            constraint=torch.cat([value[:, 1, :, None], point, -point - LOG_RANGE], 1),
            jacobian=torch.cat([slope[:, 1], box], 1),
        )

    def hessian(self, point: Tensor, multiplier: Tensor) -> Tensor:
        """See :class:`baselines.interior_point.Programme`."""
        value, share = self._rows(point[:, :, 0])
        _, gradient, bend = self.outer(value[:, 0])
        weight = torch.stack([gradient[:, :, None], multiplier[:, : point.shape[1]]], 1)
        weighted = weight * share  # (B, 2, I, I)
        slope = share[:, 0] - torch.eye(point.shape[1], dtype=point.dtype, device=point.device)
        spread = (share.mT @ weighted).sum(1)
        return torch.diag_embed(weighted.sum((1, 2))) - spread + slope.mT @ bend @ slope

    def _rows(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """Log inverse ratios (B, 2, I) and the shares of the terms in them, (B, 2, I, I)."""
        terms = self.coupling * point.exp()[:, None, None, :]
        total = terms.sum(-1) + self.noise
        return total.log() - point[:, None, :], terms / total[..., None]

    @staticmethod
    def _stack(network: NormalisedNetwork) -> tuple[Tensor, Tensor]:
        comm_noise = network.comm_noise.clamp_min(_NO_THRESHOLD)
        return (
            torch.stack([network.coupling, network.comm_coupling], 1),
            torch.stack([network.noise, comm_noise], 1),
        )


class _MeanSigmaFields(NamedTuple):
    coupling: Tensor
    noise: Tensor


class MeanSigmaProgramme(_LogPower, _MeanSigmaFields):
    """Log of the mean range error up to a constant: f = log sum_i exp(r_i / 2), convex.

    All sigma_i have the same factor, as the bandwidth weights are folded into F and n.
    """

    is_convex = True

    @classmethod
    def of(cls, network: NormalisedNetwork) -> Self:
        """Programme of a network."""
        return cls(*cls._stack(network))

    def outer(self, inverse_sinr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, gradient and Hessian of f."""
        half = inverse_sinr / 2
        part = half.softmax(-1)
        bend = torch.diag_embed(part) - part[:, :, None] * part[:, None, :]
        return half.logsumexp(-1), part / 2, bend / 4


class _PositionFields(NamedTuple):
    coupling: Tensor
    noise: Tensor
    direction: Tensor


class PositionProgramme(_LogPower, _PositionFields):
    """Log of the squared position error bound up to a constant: f = log tr J^-1.

    J = sum_i e^-r_i u_i u_i^T with directions u_i (B, I, d). For I = d the directions are a basis
    and tr J^-1 = sum_i c_i e^r_i with c_i >= 0: convex. Otherwise a ratio of posynomials.
    """

    @classmethod
    def of(cls, network: NormalisedNetwork, direction: Tensor) -> Self:
        """Programme of a network and directions (B, I, d), d = 2 or 3."""
        return cls(*cls._stack(network), direction)

    @property
    def is_convex(self) -> bool:
        """True for as many base stations as dimensions."""
        return self.direction.shape[1] == self.direction.shape[2]

    def outer(self, inverse_sinr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, gradient and Hessian of f."""
        best = inverse_sinr.amin(-1, keepdim=True)
        weight = (best - inverse_sinr).exp()  # a, largest 1
        u = self.direction
        inverse = torch.linalg.inv_ex((u * weight[:, :, None]).mT @ u)[0]
        total = inverse.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None]
        cross, cross2 = u @ inverse @ u.mT, u @ (inverse @ inverse) @ u.mT  # (B, I, I)
        gradient = weight * cross2.diagonal(dim1=-2, dim2=-1) / total
        pair = weight[:, :, None] * weight[:, None, :] / total[:, :, None]
        bend = 2 * pair * cross * cross2 - torch.diag_embed(gradient)
        bend = bend - gradient[:, :, None] * gradient[:, None, :]
        return total.log()[:, 0] + best[:, 0], gradient, bend
