r"""Linear proofs that SINRs and a position bound are out of reach of all power budgets.

A proof averages: for user n let the channel error d be random with E ||d||^2 <= radius^2, M_ln =
E (h_l + d)(h_l + d)^H its moments, d_n >= 0 a weight. What holds for every error holds on average,

    <M_nn, W_n / gamma_n - rest_n> >= 1 + sum_l <M_ln, R_l>,

where W_n is the beam's covariance, rest_n all else its cell sends and l runs over other cells. And
1 / CRLB is concave and homogeneous in the covariances: <G, R> >= 1 / CRLB with its gradient G at
any point. Weighted and summed up, with tr R_c <= P_c, every feasible decision has

    sum_n d_n + kappa / CRLB <= sum_c P_c phi_c,
    phi_c = max_k lambda_max(S_ck (1 + 1 / gamma_ck) - L_c)_+,   S_n = d_n M_nn,
    L_c = sum_j S_cj + sum_n d_n M_cn (other cells' users) - kappa G_c.

Such a :class:`Cut` is valid for all gamma and all CRLBs at once, whoever proposed its numbers.

Source: S-lemma (Yakubovich) read from its dual side; the position bound is the one of
``isac_gym.physics.multistatic.resolved_information``.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from isac_gym.core.errors import ScenarioError
from isac_gym.core.linalg import inverse_trace
from isac_gym.physics.multistatic import resolved_information

__all__ = [
    "Cut",
    "Network",
    "Sensing",
    "crlb_slope",
    "error_moment",
    "nearest_positive",
]

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

_TINY = 1e-300  # keeps quotients of vanishing channels and multipliers finite


class Sensing(NamedTuple):
    """Geometry of the targets of one instance; fields as in the problem's instance record.

    Attributes:
        angle: Electrical angles, (I, T), rad.
        angle_slope: Their slopes with the position, (I, T, 2), rad/m.
        reflection: Reflection amplitudes over the noise, (I, T, I), 1/sqrt(W).
    """

    angle: Array
    angle_slope: Array
    reflection: ComplexArray


class Network(NamedTuple):
    """One instance in NumPy arrays, over the noise.

    Attributes:
        channel: Estimates, (I, I, K, N), [l, c, k], 1/sqrt(W).
        radius: Radii of the error balls, (I, I, K), 1/sqrt(W).
        max_power_w: Power budgets, (I,), W.
        sensing: Targets; None where only rates matter.
    """

    channel: ComplexArray
    radius: Array
    max_power_w: Array
    sensing: Sensing | None = None

    @property
    def targets(self) -> Sensing:
        """The targets.

        Raises:
            ScenarioError: There are none.
        """
        if self.sensing is None:
            raise ScenarioError("sensing is None, but a CRLB needs targets.")
        return self.sensing


@dataclass(frozen=True)
class Cut:
    """Linear proof that some targets are out of reach; budgets are folded in.

    Attributes:
        signal: P_c d_n M_nn of every user, (I, K, N, N).
        load: P_c times what a covariance costs its cell and the others, less kappa G, (I, N, N).
        demand: sum_n d_n.
        price: kappa, m^2: demand per unit of 1 / CRLB.
    """

    signal: ComplexArray
    load: ComplexArray
    demand: float
    price: float

    def supply(self, sinr: Array) -> Array:
        """P_c lambda_max(.)_+ of every user at its own target (..., I, K), the same shape."""
        factor = 1 + 1 / np.maximum(sinr, _TINY)[..., None, None]
        matrix = factor * self.signal - self.load[:, None]
        return np.linalg.eigvalsh(matrix)[..., -1].clip(0)

    def power_scale(self, sinr: Array, information: float = 0.0) -> float:
        """Lower bound of the share of the budgets that SINRs (I, K) and 1 / CRLB demand."""
        supply = self.supply(sinr).max(-1).sum()
        return float((self.demand + self.price * information) / max(supply, _TINY))


def crlb_slope(sensing: Sensing, covariance: ComplexArray) -> tuple[float, ComplexArray]:
    """CRLB of all positions with resolved delays, and minus its gradient.

    Args:
        sensing: Targets.
        covariance: Transmit covariances, (I, N, N), W.

    Returns:
        CRLB in m^2 and -dCRLB / dR, (I, N, N) Hermitian PSD, m^2/W; infinite and zero where a
        target is not seen.
    """
    targets = [torch.from_numpy(np.ascontiguousarray(array))[None] for array in sensing]
    with torch.enable_grad():
        r = torch.from_numpy(covariance)[None].requires_grad_()
        value = inverse_trace(resolved_information(r, *targets)[0]).sum()
        (slope,) = torch.autograd.grad(value, r)
    if not value.isfinite():
        return value.item(), np.zeros_like(covariance)
    return value.item(), nearest_positive(-slope[0].numpy())


def nearest_positive(matrix: ComplexArray) -> ComplexArray:
    """Nearest Hermitian PSD matrices, (..., N, N)."""
    value, vector = np.linalg.eigh((matrix + matrix.conj().swapaxes(-1, -2)) / 2)
    return (vector * value.clip(0)[..., None, :]) @ vector.conj().swapaxes(-1, -2)


def error_moment(dual: ComplexArray, u: ComplexArray, radius: float) -> ComplexArray:
    """E (u + d)(u + d)^H of the distribution a PSD multiplier (N + 1, N + 1) stands for.

    Its blocks are E d d^H and E d; both shrink until E ||d||^2 <= radius^2, which keeps them the
    moments of a distribution. Without mass the error is zero.
    """
    mass = dual[-1, -1].real
    if mass <= _TINY:
        return np.outer(u, u.conj())
    spread, mean = dual[:-1, :-1] / mass, dual[:-1, -1] / mass
    shrink = min(1.0, radius**2 / max(np.trace(spread).real, _TINY))
    cross = shrink * np.outer(mean, u.conj())
    return shrink * spread + cross + cross.conj().T + np.outer(u, u.conj())
