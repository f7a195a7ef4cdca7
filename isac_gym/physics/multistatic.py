r"""Fisher information of target positions in a network where every base station hears all echoes.

Receiver m sees sum over transmitters l and targets j of alpha_ljm a(w_mj) a(w_lj)^H S_ljm in white
noise; unknown are the positions and every complex alpha_ljm. Signals of different base stations are
uncorrelated; delayed copies of one signal have the correlation chi^lm_jj' and the covariance R_l.
Everything then decouples over (l, m), and with E = (a'_m a_l^H, a_m a'_l^H, a_m a_l^H) as basis,

    K^lm[e j, e' j'] = chi^lm_jj' (r_je^H r_j'e') (t_j'e'^H R_l t_je),
    EFIM = sum_lm 2 Re [X_pp - X_pa X_aa^-1 X_ap],

where X_pp and X_pa contract K with the slopes of the electrical angles and the reflections.
Only angles inform: delays do not, as in the paper. The information is concave in the covariances.

Source: Slepian-Bangs formula; the paper's Appendix C is lost. See docs/robust_beamforming.md.
"""

import torch
from torch import Tensor

__all__ = [
    "block_diagonal",
    "position_information",
    "resolved_information",
    "steering",
    "target_bounds",
]

_RIDGE = 1e-13  # on the unit-diagonal information of the reflections: coinciding targets


def steering(angle: Tensor, num_antennas: int) -> tuple[Tensor, Tensor]:
    """Responses a_n = exp(i n w) and slopes a' = i n a of a linear array with centred phase.

    Args:
        angle: Electrical angles w = pi sin(theta) at half-wavelength spacing, any shape, rad.
        num_antennas: N; n = -(N - 1) / 2, ..., (N - 1) / 2, so that a^H a' = 0.

    Returns:
        a and a', both (..., N) complex.
    """
    n = torch.arange(num_antennas, dtype=angle.dtype, device=angle.device) - (num_antennas - 1) / 2
    phase = angle[..., None] * n
    response = torch.polar(torch.ones_like(phase), phase)
    return response, 1j * n * response


def position_information(
    covariance: Tensor,
    angle: Tensor,
    angle_slope: Tensor,
    reflection: Tensor,
    correlation: Tensor,
) -> Tensor:
    """Fisher information of all positions, reflections eliminated, for any delay correlation.

    Args:
        covariance: Transmit covariances R_l, (B, I, N, N) Hermitian PSD, W.
        angle: Electrical angles w_lj, (B, I, T), rad.
        angle_slope: d w_lj / d p_j, (B, I, T, 2), rad/m.
        reflection: sqrt(samples) alpha_ljm over the noise, (B, I, T, I), [l, j, m], 1/sqrt(W).
        correlation: chi^lm_jj' of delayed copies, (B, I, I, T, T), PSD with unit diagonal.

    Returns:
        (B, 2 T, 2 T) symmetric, 1/m^2, index 2 j + coordinate.
    """
    a, slope = steering(angle, covariance.shape[-1])
    basis = torch.stack([a, slope], 3)  # (B, I, T, 2, N)
    batch, cells, targets = angle.shape
    flat = basis.flatten(2, 3)  # (B, I, 2T, N)
    receive = (flat.conj() @ flat.mT).unflatten(3, (targets, 2)).unflatten(2, (targets, 2))
    transmit = (flat.conj() @ covariance @ flat.mT).unflatten(3, (targets, 2))
    transmit = transmit.unflatten(2, (targets, 2)).permute(0, 1, 4, 5, 2, 3)  # [j s, j' u]
    # Entries (slope of receive, slope of transmit) of the basis: (1, 0), (0, 1), (0, 0).
    left = _picked(receive, (1, 0, 0))[:, None]  # (B, 1, m, j, e, j', e')
    right = _picked(transmit, (0, 1, 0))[:, :, None]  # (B, l, 1, j, e, j', e')
    c = reflection.transpose(2, 3)  # (B, l, m, j)
    kernel = left * right * correlation[..., :, None, :, None]
    to_position = torch.stack(
        [angle_slope[:, None].expand(-1, cells, -1, -1, -1), _per_receiver(angle_slope)], 4
    )  # (B, l, m, j, e, d): receive slope of m, transmit slope of l
    weight = to_position * c[..., None, None]
    x_pp = torch.einsum(
        "blmjed,blmjeif,blmifc->blmjdic", weight.conj(), kernel[..., :2, :, :2], weight
    )
    x_pa = torch.einsum("blmjed,blmjei->blmjdi", weight.conj(), kernel[..., :2, :, 2])
    x_aa = kernel[..., 2, :, 2]
    size = (batch, cells, cells, 2 * targets)
    x_pa = x_pa.reshape(*size, targets)
    # Scaled to a unit diagonal, so that the ridge is relative to each target's own illumination.
    tiny = torch.finfo(angle.dtype).tiny ** 0.5
    scale = torch.diagonal(x_aa, dim1=-2, dim2=-1).real.clamp_min(tiny).rsqrt()
    eye = torch.eye(targets, dtype=x_aa.dtype, device=x_aa.device)
    x_aa = x_aa * scale[..., :, None] * scale[..., None, :] + _RIDGE * eye
    x_pa = x_pa * scale[..., None, :]
    solved, _ = torch.linalg.solve_ex(x_aa, x_pa.mH)
    information = x_pp.reshape(*size, 2 * targets) - x_pa @ solved
    return 2 * information.real.sum((1, 2))


def _picked(gram: Tensor, order: tuple[int, ...]) -> Tensor:
    """Entries ``order`` of both basis axes of a Gram tensor (B, I, j, s, j', s').

    Slices, because an index list would be copied to the device and make the host wait.
    """
    for axis in (3, 5):
        gram = torch.cat([gram.narrow(axis, entry, 1) for entry in order], axis)
    return gram


def _per_receiver(angle_slope: Tensor) -> Tensor:
    """Slopes of the transmitter, (B, l, m, j, d), the same for every receiver."""
    return angle_slope[:, :, None].expand(-1, -1, angle_slope.shape[1], -1, -1)


def resolved_information(
    covariance: Tensor, angle: Tensor, angle_slope: Tensor, reflection: Tensor
) -> Tensor:
    """Information of each target where all delays are resolved (chi = I); the others do not matter.

    Model: J_j = sum_l 2 [N z_lj (sum_m |c_ljm|^2) g_lj g_lj^T
    + (N (N^2 - 1) / 12) a^H R_l a sum_m |c_ljm|^2 g_mj g_mj^T],
    z_lj = a'^H R_l a' - |a'^H R_l a|^2 / (a^H R_l a).

    Args:
        covariance: Transmit covariances, (B, I, N, N), W.
        angle: Electrical angles, (B, I, T), rad.
        angle_slope: Slopes, (B, I, T, 2), rad/m.
        reflection: (B, I, T, I) complex, 1/sqrt(W).

    Returns:
        (B, T, 2, 2) symmetric, 1/m^2: the diagonal blocks of :func:`position_information`.
    """
    antennas = covariance.shape[-1]
    a, slope = steering(angle, antennas)
    toward = (covariance @ a.mT).mT  # (B, l, j, N)
    lit = (a.conj() * toward).real.sum(-1)
    mixed = (slope.conj() * toward).sum(-1)
    spread = (slope.conj() * (covariance @ slope.mT).mT).real.sum(-1)
    gain = reflection.real.square() + reflection.imag.square()  # (B, l, j, m)
    tiny = torch.finfo(lit.dtype).tiny ** 0.5
    lost = (mixed.real.square() + mixed.imag.square()) / lit.clamp_min(tiny)
    transmit = 2 * antennas * (spread - lost).clamp_min(0) * gain.sum(-1)
    receive = antennas * (antennas**2 - 1) / 6 * torch.einsum("blj,bljm->bmj", lit, gain)
    return torch.einsum("blj,bljc,bljd->bjcd", transmit + receive, angle_slope, angle_slope)


def block_diagonal(blocks: Tensor) -> Tensor:
    """Information (B, 2 T, 2 T) of targets that do not disturb each other, blocks (B, T, 2, 2)."""
    count = blocks.shape[1]
    eye = torch.eye(count, dtype=blocks.dtype, device=blocks.device)
    whole = blocks[:, :, :, None] * eye[:, None, :, None]  # (B, j, d, j', d')
    return whole.reshape(-1, 2 * count, 2 * count)


def target_bounds(information: Tensor) -> Tensor:
    """Bound of each target's squared position error: partial traces of the inverse information.

    Args:
        information: (B, 2 T, 2 T) symmetric, 1/m^2.

    Returns:
        (B, T) m^2; ``inf`` in every target of a row whose information is singular.
    """
    is_bad = (torch.linalg.cholesky_ex(information.detach()).info != 0)[:, None]
    eye = torch.eye(information.shape[-1], dtype=information.dtype, device=information.device)
    # Replaced before the factorisation, whose gradient would be NaN at a singular matrix.
    factor, _ = torch.linalg.cholesky_ex(torch.where(is_bad[..., None], eye, information))
    half = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
    bound = half.square().sum(-2).unflatten(-1, (-1, 2)).sum(-1)
    return torch.where(is_bad, torch.inf, bound)
