r"""The paper's bilevel programme as one level: real variables, objectives, lower level, cuts.

Variables x = [gamma; u]: gamma is the real view of the factors F_l = [v_l, C_l] / sqrt(P_l), u that
of the channel errors in units of their radii, so that every constraint set is a unit ball. Both
objectives are minimised and lie in [0, 1] for exact rates: F = (1 - WSR / bound, 1 - bound / CRLB),
because cones of bit/s/Hz and square metres would contain no point or all.

The errors are variables of the upper level too, as in (17). Its rate is therefore a *claim*: only
the cutting planes keep the errors from being chosen in the designer's favour.

Source: Chen and Yang 2025, equations (11)-(20).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.physics.worst_case import sinr_at
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
    sensing_utility,
)

__all__ = ["Bilevel", "Cone", "Cuts", "LowerLevel"]

_EDGE = 1e-6  # rad, by which a ray may miss the quadrant


class LowerLevel(NamedTuple):
    """How the lower level (15) is solved: gradient descent (16) on an augmented Lagrangian.

    Attributes:
        steps: K_GD, >= 1.
        rate: Step in units of u per bit/s/Hz, > 0.
        penalty: Of the augmented Lagrangian, bit/s/Hz, > 0.
    """

    steps: int = 1
    rate: float = 1.0
    penalty: float = 10.0


class Bilevel(NamedTuple):
    """The programme of a batch of instances.

    Attributes:
        problem: Problem the instances belong to.
        instance: The instances, batch size B.
    """

    problem: RobustBeamforming
    instance: RobustBeamformingInstance

    @property
    def num_streams(self) -> int:
        """R, sensing streams of a base station."""
        return self.problem.axis_sizes["R"]

    @property
    def num_design(self) -> int:
        """Length of gamma, 2 I (K + R) N."""
        _, cells, _, users, antennas = self.instance.channel.shape
        return 2 * cells * (users + self.num_streams) * antennas

    def start(self, decision: RobustBeamformingDecision) -> Tensor:
        """Variables x of a decision, with zero errors, (B, n)."""
        factor = torch.cat([decision.beam, decision.sensing.mT], 2)  # (B, I, K + R, N)
        gamma = torch.view_as_real((factor / self._amplitude).contiguous()).flatten(1)
        errors = 2 * self.instance.channel[0].numel()
        return torch.cat([gamma, gamma.new_zeros(len(gamma), errors)], 1)

    def decision(self, x: Tensor) -> RobustBeamformingDecision:
        """Beams and sensing factors of x (B, n); not scaled to the power budgets."""
        factor, users = self._factor(x), self.instance.channel.shape[3]
        return RobustBeamformingDecision(beam=factor[:, :, :users], sensing=factor[:, :, users:].mT)

    def errors(self, x: Tensor) -> Tensor:
        """Channel errors of x (B, n) in the channel's unit, (B, I, I, K, N) complex."""
        unit = _complex(x[:, self.num_design :], self.instance.channel.shape)
        return unit * self.instance.radius[..., None]

    def claimed_rate(self, x: Tensor) -> Tensor:
        """Weighted sum rate (7) at the errors of x (B, n), (B,) bit/s/Hz."""
        factor = self._factor(x)
        return self._rate(x, factor, _covariance(factor))

    def objectives(self, x: Tensor) -> Tensor:
        """Objectives F of x (B, n) to be minimised, (B, 2)."""
        factor, instance = self._factor(x), self.instance
        covariance = _covariance(factor)
        rate = self._rate(x, factor, covariance) / instance.rate_bound
        crlb = self.problem.position_bounds(instance, covariance).sum(-1)
        accuracy = sensing_utility(instance.crlb_bound, crlb)
        return 1 - torch.stack([rate, accuracy], 1)

    def jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Objectives (B, 2) and their gradients (B, 2, n) by two reverse passes."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = self.objectives(x)
            (first,) = torch.autograd.grad(value[:, 0].sum(), x, retain_graph=True)
            (second,) = torch.autograd.grad(value[:, 1].sum(), x)
        return value.detach(), torch.stack([first, second], 1)

    def power(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Powers over the budgets tr R_l / P_l (B, I) and their gradients (B, I, n)."""
        cells, design = self.instance.channel.shape[1], self.num_design
        block = x[:, :design].reshape(len(x), cells, -1)
        gradient = x.new_zeros(len(x), cells, cells, block.shape[2])
        gradient.diagonal(dim1=1, dim2=2).copy_(2 * block.mT)
        zero = x.new_zeros(len(x), cells, x.shape[1] - design)
        return block.square().sum(-1), torch.cat([gradient.flatten(2), zero], 2)

    def project(self, x: Tensor) -> Tensor:
        """Factors of x (B, n) scaled into their power budgets, errors as they are."""
        cells, design = self.instance.channel.shape[1], self.num_design
        block = x[:, :design].reshape(len(x), cells, -1)
        scale = block.square().sum(-1, keepdim=True).clamp_min(1).rsqrt()
        return torch.cat([(block * scale).flatten(1), x[:, design:]], 1)

    @torch.enable_grad()
    def response(self, x: Tensor, lower: LowerLevel) -> Tensor:
        """Estimate phi(gamma) (16) of the worst errors from zero, as u (B, n - design).

        The augmented Lagrangian is that of |u|^2 <= 1 per ball without slack variables (Rockafellar
        1973); every step ends in the ball, or large steps diverge. Differentiable in gamma: here
        the linearisation of the rate at gamma has the same value and derivatives as the rate.
        """
        gamma, multiplier = x[:, : self.num_design], torch.zeros_like(self.instance.radius)
        u = torch.zeros_like(x[:, self.num_design :]).requires_grad_()
        for _ in range(lower.steps):
            rate = self.claimed_rate(torch.cat([gamma, u], 1))
            shifted = (multiplier + lower.penalty * (self._balls(u).square().sum(-1) - 1)).relu()
            penalty = (shifted.square() - multiplier.square()).sum((1, 2, 3)) / (2 * lower.penalty)
            (slope,) = torch.autograd.grad((rate + penalty).sum(), u, create_graph=True)
            ball = self._balls(u - lower.rate * slope)
            length2 = ball.square().sum(-1, keepdim=True)
            u = (ball * length2.clamp_min(1).rsqrt()).flatten(1)
            multiplier = shifted.detach()
        return u

    def gap(self, x: Tensor, lower: LowerLevel) -> tuple[Tensor, Tensor]:
        """Distance g = |u - phi(gamma)|^2 of (14), (B,), and its gradient (B, n)."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            g = (x[:, self.num_design :] - self.response(x, lower)).square().sum(-1)
            (slope,) = torch.autograd.grad(g.sum(), x)
        return g.detach(), slope

    def _balls(self, u: Tensor) -> Tensor:
        """One row of 2N reals for each uncertain channel, (B, I, I, K, 2N)."""
        return u.reshape(*self.instance.channel.shape[:-1], -1)

    def _factor(self, x: Tensor) -> Tensor:
        """[v_l, C_l] in sqrt(W), (B, I, K + R, N) complex."""
        batch, cells, _, users, antennas = self.instance.channel.shape
        shape = (batch, cells, users + self.num_streams, antennas)
        return _complex(x[:, : self.num_design], shape) * self._amplitude

    @property
    def _amplitude(self) -> Tensor:
        return self.instance.max_power_w.sqrt()[:, :, None, None]

    def _rate(self, x: Tensor, factor: Tensor, covariance: Tensor) -> Tensor:
        instance = self.instance
        beam = factor[:, :, : instance.channel.shape[3]]
        sinr = sinr_at(instance.channel + self.errors(x), beam, covariance)
        return (instance.weight * torch.log2(1 + sinr)).sum((1, 2))


class Cone(NamedTuple):
    """Constraints r_j = (u_j - u_k)^T F <= 0 of (12): nearer to the lane's ray than to any other.

    The rays are 90 / S degrees apart. Only the two neighbours of a ray bound its cone.

    Attributes:
        rows: u_j - u_k of both neighbours, (B, 2, 2).
        exists: False for neighbours outside the quadrant, (B, 2) bool.
    """

    rows: Tensor
    exists: Tensor

    @classmethod
    def around(cls, preference: Tensor, num_preferences: int) -> "Cone":
        """Cones around the rays u_k = (1 - p, p) / |.| of preferences p (B,), S rays in all."""
        width = math.pi / 2 / num_preferences
        angle = torch.atan2(preference, 1 - preference)[:, None]
        near = torch.cat([angle - width, angle + width], 1)
        ray, rays = (torch.stack([a.cos(), a.sin()], -1) for a in (angle, near))
        return cls(rays - ray, (near >= -_EDGE) & (near <= math.pi / 2 + _EDGE))

    def value(self, objectives: Tensor) -> Tensor:
        """r_j (B, 2) of objectives (B, 2); -inf where there is no neighbour."""
        r = (self.rows @ objectives[:, :, None])[:, :, 0]
        return torch.where(self.exists, r, -torch.inf)


class Cuts(NamedTuple):
    """Cutting planes slope^T x + offset <= 0 of (18) in a buffer of P places.

    Attributes:
        slope: (B, P, n).
        offset: (B, P).
        is_cut: True where a place is taken, (B, P) bool.
    """

    slope: Tensor
    offset: Tensor
    is_cut: Tensor

    @classmethod
    def none(cls, x: Tensor, places: int) -> "Cuts":
        """An empty buffer for points like x (B, n)."""
        slope = x.new_zeros(len(x), places, x.shape[1])
        return cls(slope, slope[..., 0], torch.zeros_like(slope[..., 0], dtype=torch.bool))

    def value(self, x: Tensor) -> Tensor:
        """slope^T x + offset, (B, P); -inf where a place is free."""
        value = (self.slope @ x[:, :, None])[:, :, 0] + self.offset
        return torch.where(self.is_cut, value, -torch.inf)

    def update(self, x: Tensor, gap: Tensor, slope: Tensor, *, tolerance: float) -> "Cuts":
        """Drop inactive planes, add (20) where the gap exceeds the tolerance.

        Args:
            x: Query points, (B, n).
            gap: g at x, (B,).
            slope: Its gradient, (B, n).
            tolerance: epsilon of (17).

        Returns:
            The new buffer; a full one loses the plane that holds most easily.
        """
        is_cut = self.is_cut & (self.value(x) >= 0)
        place = torch.where(is_cut, self.value(x), -torch.inf).argmin(-1, keepdim=True)
        index = torch.arange(is_cut.shape[1], device=x.device)
        takes = (index == place) & (gap > tolerance)[:, None]
        offset = gap - (slope * x).sum(-1) - tolerance
        return Cuts(
            torch.where(takes[:, :, None], slope[:, None], self.slope),
            torch.where(takes, offset[:, None], self.offset),
            is_cut | takes,
        )


def _complex(flat: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.view_as_complex(flat.reshape(*shape, 2))


def _covariance(factor: Tensor) -> Tensor:
    """R_l of the factors (B, I, K + R, N), (B, I, N, N)."""
    return factor.mT @ factor.conj()
