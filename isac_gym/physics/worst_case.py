r"""Exact worst-case SINR of a multi-cell downlink whose channels are known up to a ball each.

Every user's channels are h + e with ||e|| <= radius, one ball per base station. Channels belong to
one user each, so the joint worst case is the users' own. For user (c, k):

* interference of another cell: max (h + e)^H R (h + e), a trust-region problem (one secular root);
* own link: min |v^H x|^2 / (x^H A x + c0) over x = h + e, with A the covariance of everything else
  the own base station sends and c0 = 1 + interference. By the S-lemma the minimum is the largest t
  with W + mu I >= 0 and dual value >= t c0, where W = v v^H - t A. Along a ray t = s mu that dual
  value is a rational function of s alone (Sherman-Morrison), so

      SINR = max_s s (|beta|^2 / kappa - gamma),   M = I - s A,
      beta = v^H M^-1 h,  gamma = v^H M^-1 v,  kappa = radius^2 + s c0 + h^H (M^-1 - I) h:

  one scalar root per user and one eigendecomposition, where Dinkelbach's method needs one for each
  of its steps. Every admissible s gives a certified lower bound. The root is that of
  ||e(s)|| = radius; all expressions are written without the removable pole at s = 1 / a_max, so the
  hard case (the top eigenvector of A orthogonal to h and v) and its neighbourhood need no branch
  but one: the radius left over is filled along that eigenvector.

References: Conn, Gould, Toint 2000, Trust-Region Methods, ch. 7 (secular equation, hard case);
Polik, Terlaky 2007 (S-lemma); the ray parametrisation is ours. Noise power is 1 everywhere.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "NEWTON_STEPS",
    "WorstCase",
    "robust_sinr",
    "sinr_at",
    "weakest_power",
    "worst_case",
]

NEWTON_STEPS = {torch.float64: 16, torch.float32: 10}  # of both roots; see tests/physics


class WorstCase(NamedTuple):
    """Worst case of every user.

    Attributes:
        sinr: Smallest SINR, attained at ``error``, (B, I, K).
        lower: Certified lower bound of the smallest SINR (dual value), (B, I, K).
        error: Worst channel errors e[l, c, k], (B, I, I, K, N) complex.
    """

    sinr: Tensor
    lower: Tensor
    error: Tensor


def robust_sinr(
    channel: Tensor, radius: Tensor, beam: Tensor, covariance: Tensor, *, steps: int | None = None
) -> WorstCase:
    """:func:`worst_case` whose ``sinr`` is differentiable: the errors are held fixed (Danskin).

    Arguments and result as in :func:`worst_case`.
    """
    with torch.no_grad():
        found = worst_case(channel, radius, beam, covariance, steps=steps)
    return found._replace(sinr=sinr_at(channel + found.error, beam, covariance))


def sinr_at(channel: Tensor, beam: Tensor, covariance: Tensor) -> Tensor:
    """SINR of given channels.

    Model: |h_c^H v_ck|^2 / (h_c^H (R_c - v v^H) h_c + sum_{l != c} h_l^H R_l h_l + 1).

    Args:
        channel: From BS l to user (c, k), (B, I, I, K, N) complex, noise-normalised.
        beam: Beams v_lk, (B, I, K, N) complex, sqrt(W).
        covariance: Transmit covariances R_l, (B, I, N, N) Hermitian, W.

    Returns:
        (B, I, K), linear.
    """
    # Users of all cells behind one another are the columns of a matrix per base station.
    batch, cells, _, users, antennas = channel.shape
    columns = channel.reshape(batch, cells, cells * users, antennas).mT  # (B, l, N, c k)
    power = (columns.conj() * (covariance @ columns)).real.sum(-2)
    power = power.reshape(batch, cells, cells, users).sum(1)  # received from everywhere, (B, c, k)
    own = torch.diagonal(channel, dim1=1, dim2=2).permute(0, 3, 1, 2)  # (B, c, k, N)
    amplitude = (own.conj() * beam).sum(-1)
    signal = _square(amplitude)
    return signal / ((power - signal).clamp_min(0) + 1)


def worst_case(
    channel: Tensor, radius: Tensor, beam: Tensor, covariance: Tensor, *, steps: int | None = None
) -> WorstCase:
    """Exact worst case over the balls; not differentiable, see :func:`robust_sinr`.

    Args:
        channel: Channel estimates, (B, I, I, K, N) complex, noise-normalised.
        radius: Radii of the balls >= 0, (B, I, I, K), same unit.
        beam: Beams v_lk, (B, I, K, N) complex, sqrt(W).
        covariance: Transmit covariances R_l >= sum_k v_lk v_lk^H, (B, I, N, N), W.
        steps: Newton steps of each root; None: enough for the dtype's full accuracy.

    Returns:
        See :class:`WorstCase`. Lanes with a non-finite covariance give NaN.
    """
    count = NEWTON_STEPS[radius.dtype] if steps is None else steps
    finite = covariance.isfinite().flatten(1).all(1)
    safe = torch.where(finite[:, None, None, None], covariance, 0)
    error, power, bound = _strongest(channel, radius, safe, count)
    cells = channel.shape[1]
    others = ~torch.eye(cells, dtype=torch.bool, device=channel.device)[:, :, None]
    attained = 1 + (power * others).sum(1)  # (B, c, k)
    at_most = 1 + (bound * others).sum(1)
    own_channel = torch.diagonal(channel, dim1=1, dim2=2).permute(0, 3, 1, 2)
    own_radius = torch.diagonal(radius, dim1=1, dim2=2).mT
    rest = safe[:, :, None] - beam[..., :, None] * beam[..., None, :].conj()
    floors = (attained, at_most)
    sinr, lower, own_error = _weakest(own_channel, own_radius, beam, rest, floors, count)
    error = torch.where(others[..., None], error, own_error[:, None])
    poison = torch.where(finite, 0.0, torch.nan).to(sinr.dtype)[:, None, None]
    return WorstCase(sinr + poison, lower + poison, error)


def weakest_power(channel: Tensor, radius: Tensor, covariance: Tensor) -> Tensor:
    """Smallest received power min (h + e)^H R (h + e) over ||e|| <= radius, differentiable in R.

    With q, g as for the strongest interference: e_i = -q_i g_i / (q_i + y), and y >= 0 solves
    ||e|| = radius; 0 where the ball reaches the null space of R. Concave in R.

    Args:
        channel: (B, I, K, N) complex.
        radius: (B, I, K).
        covariance: (B, I, N, N) Hermitian PSD.

    Returns:
        (B, I, K).
    """
    info = torch.finfo(radius.dtype)
    with torch.no_grad():
        value, vector = torch.linalg.eigh(covariance)
        top = value[..., -1:].clamp_min(info.tiny)
        q = (value / top).clamp_min(0)[:, :, None]
        g = channel @ vector.conj()
        r = radius[..., None].clamp_min(info.tiny**0.25)
        pull = q * _square(g).sqrt()
        y = (pull / r - q).amax(-1, keepdim=True).clamp_min(info.eps)
        for _ in range(NEWTON_STEPS[radius.dtype]):
            part = (pull / (q + y)).square()
            norm2 = part.sum(-1, keepdim=True)
            slope = (part / (q + y)).sum(-1, keepdim=True)
            step = norm2 * (norm2.sqrt() / r - 1) / slope.clamp_min(info.tiny)
            y = y + torch.where(norm2 > r.square(), step, 0)
        e = -q * g / (q + y)
        length = _square(e).sum(-1, keepdim=True).sqrt().clamp_min(info.tiny)
        x = channel + (e * (radius[..., None] / length).clamp_max(1)) @ vector.mT
    return (x.conj() * (x @ covariance.mT)).real.sum(-1).clamp_min(0)


def _strongest(
    channel: Tensor, radius: Tensor, covariance: Tensor, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Strongest interference max (h + e)^H R (h + e): error, its power, certified upper bound.

    With eigenvalues q of R over the largest one, g = U^H h: e_i = q_i g_i / (y - q_i) and y >= 1
    solves ||e|| = radius. 1 / ||e(y)|| is concave, so Newton from the left converges monotonically.
    """
    tiny = torch.finfo(radius.dtype).tiny
    value, vector = torch.linalg.eigh(covariance)  # ascending, (B, l, N)
    top = value[..., -1:].clamp_min(tiny)
    q = (value / top).clamp_min(0)[:, :, None, None]  # (B, l, 1, 1, N)
    batch, cells, _, users, antennas = channel.shape
    rows = channel.reshape(batch, cells, cells * users, antennas)
    g = (rows @ vector.conj()).reshape(channel.shape)  # U^H h
    size = _square(g).sqrt()
    r = radius[..., None].clamp_min(tiny**0.25)
    pull = q * size
    y = (q + pull / r).amax(-1, keepdim=True).clamp_min(1 + 4 * torch.finfo(r.dtype).eps)
    for _ in range(steps):
        part = (pull / (y - q)).square()
        norm2 = part.sum(-1, keepdim=True)
        slope = (part / (y - q)).sum(-1, keepdim=True)  # -(1/2) d norm2 / dy
        step = norm2 * (norm2.sqrt() / r - 1) / slope.clamp_min(tiny)
        y = y + torch.where(norm2 > r.square(), step, 0)
    e = q * g / (y - q)
    e = _fill(e, g, radius)
    x = g + e
    power = top[..., 0, None, None] * (q * _square(x)).sum(-1)
    dual = y[..., 0] * (radius.square() + (q * size.square() / (y - q)).sum(-1))
    error = (e.reshape(rows.shape) @ vector.mT).reshape(channel.shape)
    return error, power, top[..., 0, None, None] * dual


def _fill(e: Tensor, g: Tensor, radius: Tensor) -> Tensor:
    """Error (..., N) brought to norm ``radius`` (...): shrunk, or filled along the last entry.

    The fill takes the phase of the last entry's own error, else of g: the objective is indifferent
    in the hard case, where that eigenvector sees neither.
    """
    tiny = torch.finfo(radius.dtype).tiny
    norm2 = _square(e).sum(-1)
    shrink = (radius / norm2.sqrt().clamp_min(tiny)).clamp_max(1)
    e = e * shrink[..., None]
    last = e[..., -1]
    size = last.abs()
    guide = torch.where(size > 0, last, g[..., -1])
    phase = torch.where(guide == 0, 1, guide / guide.abs().clamp_min(tiny))
    rest = norm2 * shrink.square() - size.square()
    wanted = (radius.square() - rest).clamp_min(0).sqrt()
    return torch.cat([e[..., :-1], (wanted * phase)[..., None]], -1)


class _Link(NamedTuple):
    """Own link in the eigenbasis of A: the top eigenvector and the others.

    Attributes:
        a1: Top eigenvalue, (B, c, k).
        g1: Its entry of h.
        w1: Its entry of v.
        a: Other eigenvalues, (B, c, k, N - 1).
        g: Their entries of h.
        w: Their entries of v.
        c0: Noise and interference, (B, c, k).
        r: Radius > 0, (B, c, k).
    """

    a1: Tensor
    g1: Tensor
    w1: Tensor
    a: Tensor
    g: Tensor
    w: Tensor
    c0: Tensor
    r: Tensor


class _Point(NamedTuple):
    """What a slope s gives: kappa without its top term, conj(beta), (1 - s a1) kappa, and t(s).

    Attributes:
        s: Slope t / mu, (B, c, k); of the coordinate y: r^2 (1 - y) / (c0 y), so that y is
            linear in 1 / ||e|| where A = 0.
        d1: 1 - s a1.
        inverse: 1 / (1 - s a), (B, c, k, N - 1).
        kappa: As beta, without the term of the top eigenvector.
        beta: Conjugate of v^H M^-1 h, likewise.
        den: (1 - s a1) times the whole kappa; > 0 inside the domain.
        bound: Dual value t(s); minus infinity outside the domain.
    """

    s: Tensor
    d1: Tensor
    inverse: Tensor
    kappa: Tensor
    beta: Tensor
    den: Tensor
    bound: Tensor


def _weakest(
    h: Tensor, radius: Tensor, v: Tensor, matrix: Tensor, floors: tuple[Tensor, Tensor], steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Smallest |v^H x|^2 / (x^H A x + c0), ||x - h|| <= radius: value, lower bound, error."""
    tiny = torch.finfo(radius.dtype).tiny
    value, vector = torch.linalg.eigh(matrix)
    value = value.clamp_min(0)
    g, w = ((vector.mH @ t[..., None])[..., 0] for t in (h, v))
    parts = (value[..., -1], g[..., -1], w[..., -1], value[..., :-1], g[..., :-1], w[..., :-1])
    link = _Link(*parts, floors[0], radius.clamp_min(tiny**0.25))
    amplitude = (w.conj() * g).sum(-1)
    signal, norm = amplitude.abs(), _square(w).sum(-1).sqrt()
    start, low = _start(link, signal, norm)
    root = _root(link, start, low, steps)

    def attained(point: _Point) -> tuple[Tensor, Tensor]:
        e = _error(link, point)[0]
        e = _fill(torch.where(e.isfinite().all(-1, keepdim=True), e, 0), g, radius)
        x = g + e
        heard = (value * _square(x)).sum(-1) + floors[0]
        return _square((w.conj() * x).sum(-1)) / heard, e

    (first, e_first), (last, e_last) = (attained(_point(link, y)) for y in (start, root))
    sinr = torch.minimum(first, last)
    e = torch.where((first < last)[..., None], e_first, e_last)
    safe = link._replace(c0=floors[1])
    lower = torch.maximum(*(_point(safe, y).bound for y in (start, root)))
    lower = torch.where(radius > 0, lower, sinr * (floors[0] / floors[1]))
    is_null = signal <= radius * norm  # the beam can be missed altogether
    missed = -w * (amplitude / norm.square().clamp_min(tiny))[..., None]
    e = torch.where(is_null[..., None], missed, e)
    sinr = torch.where(is_null, 0, sinr)
    return sinr, torch.minimum(lower.clamp_min(0), sinr), (vector @ e[..., None])[..., 0]


def _start(link: _Link, signal: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """First coordinate y, the answer if A = 0 and in the hard case, and a lower limit of y."""
    info, r2 = torch.finfo(link.r.dtype), link.r.square()
    guess = (link.r * norm / signal.clamp_min(info.tiny)).clamp(info.eps, 1)
    top = r2 * link.a1 / (link.c0 + r2 * link.a1)  # where s = 1 / a1
    second = link.a.amax(-1) if link.a.shape[-1] else torch.zeros_like(link.a1)
    pole = r2 * second / (link.c0 + r2 * second)  # where s = 1 / a2: the domain ends
    start = torch.maximum(top * (1 + info.eps**0.8), guess).clamp_max(1)
    return start, torch.maximum(pole, guess / 16)


def _root(link: _Link, y: Tensor, low: Tensor, steps: int) -> Tensor:
    """Coordinate y with ||e|| = r: Newton on 1 / ||e||, bisection where it leaves the bracket."""
    high = torch.ones_like(y)
    for _ in range(steps):
        point = _point(link, y)
        e, slope = _error(link, point)
        length = _square(e).sum(-1).sqrt()
        is_beyond = ~(point.bound >= 0)
        is_far = is_beyond | ~(length < link.r)  # s is too large, y too small
        low, high = torch.where(is_far, y, low), torch.where(is_far, high, y)
        growth = (e.real * slope.real + e.imag * slope.imag).sum(-1)  # length d length / ds
        rate = growth * link.r.square() / (link.c0 * y.square())  # - length d length / dy
        newton = y - length.square() * (1 - length / link.r) / rate
        is_good = (newton >= low) & (newton <= high) & ~is_beyond
        y = torch.where(is_good, newton, (low * high).sqrt())
    return y


def _point(link: _Link, y: Tensor) -> _Point:
    a1, g1, w1, a, g, w, c0, r = link
    s = r.square() * (1 - y) / (c0 * y)
    d1, inverse = 1 - s * a1, 1 / (1 - s[..., None] * a)
    kappa = r.square() + s * (c0 + (a * _square(g) * inverse).sum(-1))
    gamma = (_square(w) * inverse).sum(-1)
    beta = (w * g.conj() * inverse).sum(-1)
    power1, weight1 = _square(g1), _square(w1)
    cross = w1.conj() * g1 * beta
    num = power1 * weight1 + 2 * cross.real + d1 * _square(beta)
    num = num - s * a1 * power1 * gamma - kappa * (weight1 + d1 * gamma)
    den = s * a1 * power1 + d1 * kappa
    bound = torch.where(den > 0, s * num / den, -torch.inf)
    return _Point(s, d1, inverse, kappa, beta, den, bound)


def _error(link: _Link, point: _Point) -> tuple[Tensor, Tensor]:
    """Error e(s), (B, c, k, N) with the top entry last, and its derivative in s."""
    a1, g1, w1, a, g, w, c0, _ = link
    s, d1, inverse, kappa, beta, den, _ = point
    weight = inverse.square()
    dkappa = c0 + (a * _square(g) * weight).sum(-1)
    dbeta = (a * weight * w * g.conj()).sum(-1)
    dden = a1 * (_square(g1) - kappa) + d1 * dkappa
    b, db = w1 * g1.conj() + d1 * beta, d1 * dbeta - a1 * beta
    ratio = den / b
    dratio = (dden - ratio * db) / b
    pull = a1 * g1
    e1 = (s * pull * beta - w1 * kappa) / b
    de1 = (pull * (beta + s * dbeta) - w1 * dkappa - e1 * db) / b
    pulls = a * g
    e = (s[..., None] * pulls - w * ratio[..., None]) * inverse
    de = (pulls + a * e - w * dratio[..., None]) * inverse
    return torch.cat([e, e1[..., None]], -1), torch.cat([de, de1[..., None]], -1)


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
