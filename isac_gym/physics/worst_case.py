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
  ||e(s)|| = radius; all expressions are written without the removable pole at s = 1 / a_max, and a
  repeated top eigenvalue is first turned so that h sees one of its axes. In the hard case (an axis
  of the top eigenspace that neither h nor v sees) the radius left over is filled along it.

References: Conn, Gould, Toint 2000, Trust-Region Methods, ch. 7 (secular equation, hard case);
Polik, Terlaky 2007 (S-lemma); the ray parametrisation is ours. Noise power is 1 everywhere.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.linalg import hermitian_eigh
from isac_gym.physics.trust_region import (
    NEWTON_STEPS,
    all_on_cpu,
    fill_ball,
    squared,
    strongest_power,
)

__all__ = [
    "NEWTON_STEPS",
    "WorstCase",
    "robust_sinr",
    "sinr_at",
    "worst_case",
]


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
    sinr = sinr_at(channel + found.error, beam, covariance)
    return found._replace(sinr=sinr, lower=torch.minimum(found.lower, sinr.detach()))


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
    signal = squared(amplitude)
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
    error, power, bound = strongest_power(channel, radius, covariance, count)
    cells = channel.shape[1]
    others = ~torch.eye(cells, dtype=torch.bool, device=channel.device)[:, :, None]
    attained = 1 + (power * others).sum(1)  # (B, c, k)
    at_most = 1 + (bound * others).sum(1)
    own_channel = torch.diagonal(channel, dim1=1, dim2=2).permute(0, 3, 1, 2)
    own_radius = torch.diagonal(radius, dim1=1, dim2=2).mT
    rest = covariance[:, :, None] - beam[..., :, None] * beam[..., None, :].conj()
    floors = (attained, at_most)
    sinr, lower, own_error = _weakest(own_channel, own_radius, beam, rest, floors, count)
    error = torch.where(others[..., None], error, own_error[:, None])
    return WorstCase(sinr, lower, error)


class _Link(NamedTuple):
    """Own link in the eigenbasis of A, reduced to what is invariant to phases.

    Attributes:
        top: Largest eigenvalue a1, (B, c, k).
        g1: |g|^2 of its eigenvector, g = U^H h.
        w1: |w|^2 of it, w = U^H v.
        cross1: w conj(g) of it, real and imaginary part, (B, c, k, 2).
        a: The other eigenvalues, (B, c, k, N - 1).
        moments: Rows a |g|^2, Re w conj(g), Im w conj(g), |w|^2 of the others, (B, c, k, 4, N - 1).
        c0: Noise and interference, (B, c, k).
        r: Radius > 0, (B, c, k).
    """

    top: Tensor
    g1: Tensor
    w1: Tensor
    cross1: Tensor
    a: Tensor
    moments: Tensor
    c0: Tensor
    r: Tensor

    @classmethod
    def of(cls, value: Tensor, g: Tensor, w: Tensor, c0: Tensor, r: Tensor) -> "_Link":
        """Moments of a link's secular equation."""
        cross, g2, w2 = w * g.conj(), squared(g), squared(w)
        a = value[..., :-1]
        rows = (a * g2[..., :-1], cross.real[..., :-1], cross.imag[..., :-1], w2[..., :-1])
        moments = torch.stack(rows, -2)
        parts = torch.view_as_real(cross)[..., -1, :]
        return cls(value[..., -1], g2[..., -1], w2[..., -1], parts, a, moments, c0, r)


class _Ray(NamedTuple):
    """What a slope s = t / mu gives; y is its coordinate, s = r^2 (1 - y) / (c0 y).

    Attributes:
        s: Slope, (B, c, k).
        sums: Moments times (1, a / d, (a / d)^2) / d with d = 1 - s a, (B, c, k, 4, 3).
        d1: 1 - s a1.
        kappa: kappa without the term of the top eigenvector.
        den: d1 times the whole kappa; > 0 inside the domain.
        along: Re conj(cross1) beta.
        bound: Dual value t(s); minus infinity outside the domain.
    """

    s: Tensor
    sums: Tensor
    d1: Tensor
    kappa: Tensor
    den: Tensor
    along: Tensor
    bound: Tensor


def _weakest(
    h: Tensor, radius: Tensor, v: Tensor, matrix: Tensor, floors: tuple[Tensor, Tensor], steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Smallest |v^H x|^2 / (x^H A x + c0), ||x - h|| <= radius: value, lower bound, error."""
    tiny = torch.finfo(radius.dtype).tiny
    basis = _aligned(*hermitian_eigh(matrix), h, v)
    value, vector, g, w, hidden = basis
    link = _Link.of(value, g, w, floors[0], radius.clamp_min(tiny**0.25))
    amplitude = (w.conj() * g).sum(-1)
    signal, norm = amplitude.abs(), squared(w).sum(-1).sqrt()
    start, low = _start(link, signal, norm)
    is_null = signal <= radius * norm  # the beam can be missed altogether
    root = _root(link, start, low, is_null, steps)

    def attained(y: Tensor) -> tuple[Tensor, Tensor]:
        e = _error(value, g, w, link, y)
        e = torch.where(e.isfinite().all(-1, keepdim=True), e, 0)
        e = (vector @ fill_ball(e, g, radius, hidden)[..., None])[..., 0]
        x = h + e
        heard = (x.conj() * (matrix @ x[..., None])[..., 0]).real.sum(-1).clamp_min(0)
        return squared((v.conj() * x).sum(-1)) / (heard + floors[0]), e

    (first, e_first), (last, e_last) = (attained(y) for y in (start, root))
    sinr = torch.minimum(first, last)
    e = torch.where((first < last)[..., None], e_first, e_last)
    safe = link._replace(c0=floors[1])
    lower = torch.maximum(*(_ray(safe, y).bound for y in (start, root)))
    lower = torch.where(radius > 0, lower, sinr * (floors[0] / floors[1]))
    missed = -v * (amplitude / norm.square().clamp_min(tiny))[..., None]
    e = torch.where(is_null[..., None], missed, e)
    sinr = torch.where(is_null, 0, sinr)
    return sinr, torch.minimum(lower.clamp_min(0), sinr), e


class _Basis(NamedTuple):
    """Eigenbasis of A in which a repeated top eigenvalue has one axis that h sees.

    Attributes:
        value: Eigenvalues, ascending; those within 1e-6 of the largest are raised to it.
        vector: Columns, (..., N, N).
        g: h in this basis; in the top eigenspace only the last entry is not 0.
        w: v in this basis; there only the last two entries are not 0.
        hidden: True at the entry to fill the ball along, (..., N): in the top eigenspace and, if
            there is such an axis, seen by neither h nor v; else the last.
    """

    value: Tensor
    vector: Tensor
    g: Tensor
    w: Tensor
    hidden: Tensor


def _aligned(value: Tensor, vector: Tensor, h: Tensor, v: Tensor) -> _Basis:
    """Turn the top eigenspace: first h, then what is left of v, onto the last axes.

    Raising the cluster to its largest value only adds interference, so lower bounds stay valid.
    """
    info = torch.finfo(value.dtype)
    value = value.clamp_min(0)
    near = max(1e-6, 128 * info.eps)
    is_top = value >= value[..., -1:] * (1 - near)
    value = torch.where(is_top, value[..., -1:], value)
    g, w = ((vector.mH @ t[..., None])[..., 0] for t in (h, v))
    in_top = torch.where(is_top, g, 0)
    is_heard = squared(in_top).sum(-1, keepdim=True) > 0
    turn = _reflection(torch.where(is_heard, in_top, torch.where(is_top, w, 0)), -1)
    vector, w = vector @ turn, (turn @ w[..., None])[..., 0]
    last = torch.zeros_like(is_top)
    last[..., -1] = True
    g = torch.where(is_top & ~last, 0, (turn @ g[..., None])[..., 0])
    if value.shape[-1] == 1:
        return _Basis(value, vector, g, w, last)
    turn = _reflection(torch.where(is_top & ~last, w, 0), -2)
    vector, w = vector @ turn, (turn @ w[..., None])[..., 0]
    second, third = last.roll(-1, -1), last.roll(-2, -1)
    w = torch.where(is_top & ~last & ~second, 0, w)
    is_blind = squared(w[..., -2]) <= (1e3 * info.eps) ** 2 * squared(w).sum(-1)
    count = is_top.sum(-1)
    hidden = torch.where((count == 2)[..., None] & is_blind[..., None], second, last)
    return _Basis(value, vector, g, w, torch.where((count > 2)[..., None], third, hidden))


def _reflection(u: Tensor, axis: int) -> Tensor:
    """Householder reflection (..., N, N) that maps u (..., N) onto one axis; identity if u = 0."""
    tiny = torch.finfo(u.real.dtype).tiny
    size = squared(u).sum(-1).sqrt()
    entry = u[..., axis]
    phase = torch.where(entry == 0, 1, entry / entry.abs().clamp_min(tiny))
    normal = u.clone()
    normal[..., axis] = entry + phase * size
    half = (squared(normal).sum(-1) / 2).clamp_min(tiny)
    eye = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
    outer = normal[..., :, None] * normal[..., None, :].conj() / half[..., None, None]
    return eye - torch.where((size > tiny**0.5)[..., None, None], outer, 0)


def _start(link: _Link, signal: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
    """First coordinate y, the answer if A = 0 and in the hard case, and a lower limit of y."""
    info, r2 = torch.finfo(link.r.dtype), link.r.square()
    guess = (link.r * norm / signal.clamp_min(info.tiny)).clamp(info.eps, 1)
    top = r2 * link.top / (link.c0 + r2 * link.top)  # where s = 1 / a1
    second = link.a.amax(-1) if link.a.shape[-1] else torch.zeros_like(link.top)
    pole = r2 * second / (link.c0 + r2 * second)  # where s = 1 / a2: the domain ends
    start = torch.maximum(top * (1 + info.eps**0.8), guess).clamp_max(1)
    return start, torch.maximum(pole, guess / 16)


def _root(link: _Link, y: Tensor, low: Tensor, is_settled: Tensor, steps: int) -> Tensor:
    """Coordinate y with ||e|| = r: Newton on 1 / ||e||, bisection where it leaves the bracket.

    Lanes stay where they have settled, so that stopping early (on the CPU, where asking is free)
    does not change them.
    """
    high, close = torch.ones_like(y), torch.finfo(y.dtype).eps ** 0.75 * link.r
    rate_of_s = link.r.square() / link.c0
    for _ in range(steps):
        ray = _ray(link, y)
        square, slope = _squared_error(link, ray)
        length = square.clamp_min(0).sqrt()
        is_beyond = ~(ray.bound >= 0)
        is_settled = is_settled | ((length - link.r).abs() <= close) & ~is_beyond
        if all_on_cpu(is_settled):
            break
        is_far = is_beyond | ~(length < link.r)  # s is too large, y too small
        low, high = torch.where(is_far, y, low), torch.where(is_far, high, y)
        rate = slope / 2 * rate_of_s / y.square()  # - length d length / dy
        newton = y - square * (1 - length / link.r) / rate
        is_good = (newton >= low) & (newton <= high) & ~is_beyond
        moved = torch.where(is_good, newton, (low * high).sqrt())
        y = torch.where(is_settled, y, moved)
    return y


def _ray(link: _Link, y: Tensor) -> _Ray:
    r2 = link.r.square()
    s = r2 * (1 - y) / (link.c0 * y)
    d1, inverse = 1 - s * link.top, 1 / (1 - s[..., None] * link.a)
    pull = link.a * inverse
    powers = torch.stack([inverse, inverse * pull, inverse * pull.square()], -1)
    sums = link.moments @ powers
    (lit, re, im, gamma), c1 = sums[..., 0].unbind(-1), link.cross1
    kappa = r2 + s * (link.c0 + lit)
    along = c1[..., 0] * re + c1[..., 1] * im
    glow = s * link.top * link.g1
    den = glow + d1 * kappa
    num = link.g1 * link.w1 + 2 * along + d1 * (re.square() + im.square())
    num = num - glow * gamma - kappa * (link.w1 + d1 * gamma)
    bound = torch.where(den > 0, s * num / den, -torch.inf)
    return _Ray(s, sums, d1, kappa, den, along, bound)


def _squared_error(link: _Link, ray: _Ray) -> tuple[Tensor, Tensor]:
    """||e(s)||^2 and its derivative in s, (B, c, k).

    With b = cross1 + d1 beta and q = den / b, the error is e_i = (s a_i g_i - q w_i) / d_i, and
    e_1 = (s a1 g1 beta - w1 kappa) / b for the top eigenvector. Summed up,
    ||e||^2 = s^2 A + (den^2 W - 2 s den Re(conj(b) beta') + E) / |b|^2 with E = |b e_1|^2.
    """
    s, sums, d1, kappa, den, along, _ = ray
    a1 = link.top
    (lit, lit1, lit2), (re, re1, re2), (im, im1, im2), (gamma, gamma1, gamma2) = (
        row.unbind(-1) for row in sums.unbind(-2)
    )
    dkappa = link.c0 + lit + s * lit1
    dden = a1 * (link.g1 - kappa) + d1 * dkappa
    wide, dwide = gamma + s * gamma1, 2 * (gamma1 + s * gamma2)  # W and its derivative
    b_re, b_im = link.cross1[..., 0] + d1 * re, link.cross1[..., 1] + d1 * im
    db_re, db_im = d1 * re1 - a1 * re, d1 * im1 - a1 * im
    b2, db2 = b_re.square() + b_im.square(), 2 * (b_re * db_re + b_im * db_im)
    mixed = b_re * re1 + b_im * im1
    dmixed = db_re * re1 + db_im * im1 + 2 * (b_re * re2 + b_im * im2)
    pull, glow = s * a1, a1.square() * link.g1
    beta2, dbeta2 = re.square() + im.square(), 2 * (re * re1 + im * im1)
    dalong = link.cross1[..., 0] * re1 + link.cross1[..., 1] * im1
    own = s.square() * glow * beta2 - 2 * pull * kappa * along + link.w1 * kappa.square()
    down = s * glow * (2 * beta2 + s * dbeta2) + 2 * link.w1 * kappa * dkappa
    down = down - 2 * (a1 * kappa + pull * dkappa) * along - 2 * pull * kappa * dalong
    whole = den.square() * wide - 2 * s * den * mixed + own
    dwhole = 2 * den * dden * wide + den.square() * dwide + down
    dwhole = dwhole - 2 * (den + s * dden) * mixed - 2 * s * den * dmixed
    ratio = whole / b2
    square = s.square() * lit1 + ratio
    return square, 2 * s * (lit1 + s * lit2) + (dwhole - ratio * db2) / b2


def _error(value: Tensor, g: Tensor, w: Tensor, link: _Link, y: Tensor) -> Tensor:
    """Error e(s) in the eigenbasis, (B, c, k, N); formulas in :func:`_squared_error`."""
    ray = _ray(link, y)
    a, s, kappa = value[..., :-1], ray.s[..., None], ray.kappa
    beta = torch.complex(ray.sums[..., 1, 0], ray.sums[..., 2, 0])
    g1, w1 = g[..., -1], w[..., -1]
    b = w1 * g1.conj() + ray.d1 * beta
    others = (s * a * g[..., :-1] - w[..., :-1] * (ray.den / b)[..., None]) / (1 - s * a)
    first = (ray.s * link.top * g1 * beta - w1 * kappa) / b
    return torch.cat([others, first[..., None]], -1)
