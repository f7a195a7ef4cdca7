"""Echoes of one target at devices that hear their own signal: response and Fisher information.

Model: device k receives a_k sum_l a_l^T x_l(t) + noise, matched to its own frame of T samples. The
response is a_k(v) = alpha_k exp(-2 pi j e_m . u), u the unit vector from device to target, with
amplitude alpha_k = alpha_0 / r^n, and elements e_m in wavelengths, the first of them at the origin.

Source: the OTA-FEEL paper, (8), (9), (11) and theorem 1, with the missing factor 2 of a Fisher
information of complex samples restored.
"""

import math

import torch
from torch import Tensor

__all__ = [
    "ARRAYS",
    "echo_derivatives",
    "element_positions",
    "fisher_informations",
    "paper_bound",
    "response",
]

ARRAYS = ("vertical", "upa", "horizontal", "literal")
_SPACING = 0.5  # wavelengths


def element_positions(
    array: str,
    num_elements: int,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Elements of a device's array in wavelengths, (M, 3), the first at the origin.

    ``vertical`` and ``horizontal`` are lines along z and y, ``upa`` is two columns in the plane of
    y and z; half a wavelength apart.
    """
    index = torch.arange(num_elements, dtype=dtype, device=device)
    zero = torch.zeros_like(index)
    if array == "upa":
        column, row = index % 2, torch.div(index, 2, rounding_mode="floor")
        return _SPACING * torch.stack([zero, column, row], -1)
    along = [zero, index, zero] if array == "horizontal" else [zero, zero, index]
    return _SPACING * torch.stack(along, -1)


def response(
    device: Tensor,
    target: Tensor,
    *,
    array: str,
    num_elements: int,
    gain: float = 1.0,
    exponent: float = 1.0,
    wavelength_m: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Responses a_k and their derivatives by the target's position.

    ``literal`` is the paper's (9) as printed: its element spacing is the range itself, so the phase
    of element m is -2 pi m (z - z_k) / wavelength.

    Args:
        device: Positions of the devices, (B, K, 3) m.
        target: Position of the target, (B, 3) m.
        array: One of ``ARRAYS``.
        num_elements: M, antennas of a device.
        gain: alpha_0, amplitude at 1 m.
        exponent: n of the amplitude alpha_0 / r^n.
        wavelength_m: Only ``literal`` needs it.

    Returns:
        a (B, K, M) complex, and da / dv (B, K, M, 3) complex, 1/m.
    """
    offset = target[:, None, :] - device
    distance = offset.square().sum(-1, keepdim=True).sqrt()
    unit = offset / distance
    elements = element_positions(array, num_elements, dtype=device.dtype, device=device.device)
    if array == "literal":
        index = elements[:, 2] / _SPACING
        path = offset[..., 2:] / wavelength_m * index  # wavelengths, (B, K, M)
        slope = (elements / (_SPACING * wavelength_m)).expand(*path.shape, 3)
    else:
        path = unit @ elements.mT
        slope = (elements - path[..., None] * unit[..., None, :]) / distance[..., None]
    amplitude = gain * (-exponent * distance.log()).exp()  # pow rounds by the batch size
    a = torch.polar(amplitude.expand_as(path), -2 * math.pi * path)
    fall = -exponent * unit / distance  # d log alpha / dv, (B, K, 3)
    log_slope = torch.complex(fall[..., None, :].expand_as(slope), -2 * math.pi * slope)
    return a, a[..., None] * log_slope


def echo_derivatives(a: Tensor, slope: Tensor, precoder: Tensor) -> Tensor:
    """Derivatives of a_k a_k^T C_k by the position, (B, K, 3, M, R), of a, da / dv and C."""
    sent = torch.einsum("bkm,bkmr->bkr", a, precoder)
    steered = torch.einsum("bkmi,bkmr->bkir", slope, precoder)
    first = torch.einsum("bkmi,bkr->bkimr", slope, sent)
    return first + torch.einsum("bkm,bkir->bkimr", a, steered)


def fisher_informations(
    a: Tensor,
    slope: Tensor,
    precoder: Tensor,
    echo_noise_w: Tensor,
    *,
    frame_length: int,
) -> tuple[Tensor, Tensor]:
    """Fisher information of the target's position from one frame, without and with interference.

    J = 2 Re sum_k (T / zeta_k^2) tr(D_ki^H R_k^-1 D_kj) with D the derivatives of a a^T C. Without
    interference R = I, as in the paper. With it R_k = I + (q_k / zeta_k^2) a_k a_k^H, where
    q_k = sum of |a_l^T C_l|^2 over the other devices: their echoes are noise from the direction of
    the target, and no pulse shape or frame length removes them relative to the thermal noise. It is
    a model-based reference: it treats those echoes as white Gaussian noise of known power.

    Args:
        a: Responses, (B, K, M) complex.
        slope: Their derivatives, (B, K, M, 3) complex, 1/m.
        precoder: C, (B, K, M, R) complex, sqrt(W).
        echo_noise_w: zeta_k^2, noise power per antenna, (B, K) W.
        frame_length: T, samples.

    Returns:
        J without and with the other devices' echoes, (B, 3, 3) each, real symmetric, 1/m^2;
        singular for silent devices and single line arrays.
    """
    d = echo_derivatives(a, slope, precoder)
    root = (frame_length / echo_noise_w).sqrt()[..., None, None, None]
    d = d * root
    flat = d.transpose(1, 2).flatten(2)  # (B, 3, K M R)
    ideal = flat @ flat.mH
    sent = _square(torch.einsum("bkm,bkmr->bkr", a, precoder)).sum(-1)
    others = sent.sum(-1, keepdim=True) - sent
    size = _square(a).sum(-1)
    share = others / (echo_noise_w + others * size)  # of R^-1 = I - share a a^H
    along = torch.einsum("bkm,bkimr->bkir", a.conj(), d)
    shared = (share[..., None, None] * along).transpose(1, 2).flatten(2)
    disturbed = ideal - shared @ along.transpose(1, 2).flatten(2).mH
    return 2 * ideal.real, 2 * disturbed.real


def paper_bound(
    device: Tensor,
    precoder: Tensor,
    echo_noise_w: Tensor,
    *,
    frame_length: int,
    gain: float,
    exponent: float,
    min_distance_m: float,
    array: str,
    wavelength_m: float = 1.0,
) -> Tensor:
    """The paper's CRB_L of theorem 2, (B,) m^2: reported, never a design metric.

    It is 9 over an upper limit of tr J for a target as near as ``min_distance_m``, so it depends on
    the total power only and lies tens of dB below the bound it stands for. The factor 2 of complex
    samples is restored.

    Args:
        device: Positions, (B, K, 3) m; only their number matters.
        precoder: C, (B, K, M, R) complex, sqrt(W).
        echo_noise_w: zeta_k^2, (B, K) W.
        frame_length: T, samples.
        gain: alpha_0.
        exponent: n of the amplitude.
        min_distance_m: Smallest distance of target and device, m.
        array: One of ``ARRAYS``.
        wavelength_m: Only ``literal`` needs it.

    Source: paper, theorem 2 and appendix C.
    """
    r, m = min_distance_m, precoder.shape[2]
    power = _square(precoder).sum((1, 2, 3))
    elements = element_positions(array, m, dtype=device.dtype, device=device.device)
    scale = r / (_SPACING * wavelength_m) if array == "literal" else 1.0
    phases = (2 * math.pi * scale * elements).square().sum()  # r times the turns per metre
    # |d(a a^T)|_F^2 <= 4 |a|^2 |da|^2, summed over the coordinates
    slope = gain**2 * r ** (-2 * exponent - 2) * (m * exponent**2 + phases)
    most = 2 * 4 * m * gain**2 * r ** (-2 * exponent) * slope
    tiny = torch.finfo(power.dtype).tiny
    return 9 / (most * (frame_length / echo_noise_w).sum(-1) * power).clamp_min(tiny)


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
