r"""Robust beamforming at fixed SINR targets as a semidefinite programme.

With the beams' covariances W_ck free of the rank-one condition, worst-case targets gamma_ck are
linear matrix inequalities by the S-lemma. The programme looks for the smallest share s of the power
budgets, R_c = sum_k W_ck + Q_c with tr R_c <= s P_c, that meets them and, if asked, a cap on the
Cramer-Rao bound of all positions (all delays resolved). The targets are out of reach iff s > 1.

Nothing of the solver is believed: its multipliers are clipped and shrunk to the moments of channel
errors inside the balls, which makes them a :class:`Cut`, a bound that is exact up to rounding.

Source: S-lemma (Yakubovich); rank relaxation and audit of ``docs/robust_beamforming.md``.
"""

import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
import torch
from numpy.typing import NDArray

from baselines.convex.robust_cuts import (
    Cut,
    Network,
    crlb_slope,
    error_moment,
    nearest_positive,
)
from isac_gym.physics.multistatic import steering

__all__ = ["Answer", "RobustProgramme"]

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

_TINY = 1e-300  # keeps quotients of vanishing channels finite
_INAUDIBLE = 1e-6  # full power over the noise below which a link is programmed as if it had this
_RELIEF = 16.0  # price of forgiving everybody's noise: no targets are infeasible, s ends there
_TOLERANCES = (1e-8, 1e-5)
_THRIFT = 1e-4  # price of all power: without it slack base stations send anything, of any rank


class Answer(NamedTuple):
    """What the programme returns at one set of targets.

    Attributes:
        power_scale: Share s of the budgets according to the solver, with what it forgives added:
            about 16 where no power is enough.
        beam: Covariances W of the beams, (I, K, N, N), W.
        sensing: Covariances Q, (I, N, N), W; zero without a cap on the CRLB.
        cut: Repaired multipliers.
    """

    power_scale: float
    beam: ComplexArray
    sensing: ComplexArray
    cut: Cut


class _Link(NamedTuple):
    """Channel u (N, 1), a unit vector unless its error is larger, gain g and relative radius."""

    u: ComplexArray
    gain: float
    radius: float


class RobustProgramme:
    """The programme for one size, compiled once (disciplined parametrised programming).

    Powers are in units of the budgets and channels are unit vectors u. With A = W - gamma (the rest
    of the cell) for the own link and A = -R for a link from another cell, each inequality reads

        [[A + mu I, A u], [u^H A, u^H A u + slack - mu radius^2]] >= 0.

    u and u u^H are separate parameters, because u^H A u is quadratic in u.

    Attributes:
        shape: I, K, N.
        num_targets: T; 0 without a cap on the CRLB.
        problem: CVXPY problem.
    """

    solver = "CLARABEL"

    def __init__(self, shape: tuple[int, int, int], num_targets: int) -> None:
        self.shape, self.num_targets = shape, num_targets
        cells, users, size = shape
        self._parameters: dict[tuple[Any, ...], cp.Parameter] = {}
        self._w = [cp.Variable((size, size), hermitian=True) for _ in range(cells * users)]
        num_free = cells if num_targets else 0
        self._q = [cp.Variable((size, size), hermitian=True) for _ in range(num_free)]
        self._scale, self._relief = cp.Variable(), cp.Variable(nonneg=True)
        self._interference = cp.Variable((cells, cells * users), nonneg=True)
        self._multiplier = cp.Variable((cells, cells * users), nonneg=True)
        self._covariance = [
            _total(self._w[c * users : (c + 1) * users] + self._q[c : c + 1]) for c in range(cells)
        ]
        pairs = [(b, n) for b in range(cells) for n in range(cells * users)]
        self._links = {(b, n): self._inequality(b, n) >> 0 for b, n in pairs}
        rows: list[Any] = [matrix >> 0 for matrix in (*self._w, *self._q)]
        rows += [cp.real(cp.trace(r)) <= self._scale for r in self._covariance]
        rows += self._links.values()
        if num_targets:
            rows += self._crlb_rows()
        power = cp.real(_total([cp.trace(r) for r in self._covariance]))
        cost = self._scale + _RELIEF * self._relief + _THRIFT * power
        self.problem = cp.Problem(cp.Minimize(cost), rows)

    @classmethod
    @cache
    def compiled(cls, shape: tuple[int, int, int], num_targets: int) -> "RobustProgramme":
        """The programme of a size (I, K, N) and T, shared by all callers."""
        return cls(shape, num_targets)

    def solve(
        self, network: Network, sinr: Array, *, crlb_m2: float | None = None
    ) -> Answer | None:
        """Smallest share of the power budgets that meets targets, and the cut that proves it.

        Args:
            network: Instance of this size.
            sinr: Worst-case targets, (I, K), >= 0.
            crlb_m2: Cap on the trace of the position bounds, > 0; needed iff T > 0.

        Returns:
            Answer, or None where Clarabel returns no point.
        """
        self._fill_links(network, sinr)
        if crlb_m2 is not None:
            self._fill_crlb(network, crlb_m2)
        if not any(self._has_point(tolerance) for tolerance in _TOLERANCES):
            return None
        cells, users, size = self.shape
        power = network.max_power_w[:, None, None]
        beam = nearest_positive(np.stack([_value(w) for w in self._w]))
        beam = power[:, None] * beam.reshape(cells, users, size, size)
        sensing = np.zeros((cells, size, size), complex)
        if self.num_targets:
            sensing = power * nearest_positive(np.stack([_value(q) for q in self._q]))
        cut = self._cut(network, sinr, beam.sum(1) + sensing, crlb_m2)
        scale = float(_value(self._scale) + _RELIEF * _value(self._relief))
        return Answer(scale, beam, sensing, cut)

    def _has_point(self, tolerance: float) -> bool:
        """True if Clarabel returns numbers; its status is not asked, the cut is measured.

        Without a warm start, since that keeps the scaling of the first instance ever solved, and
        without chordal decomposition, which makes it stall on embedded Hermitian matrices.
        """
        options = {"tol_gap_abs": tolerance, "tol_gap_rel": tolerance, "tol_feas": tolerance}
        options |= {"chordal_decomposition_enable": False, "warm_start": False}
        with suppress(cp.SolverError, ValueError), warnings.catch_warnings():  # gave up, or NaN
            warnings.simplefilter("ignore", UserWarning)
            self.problem.solve(solver=self.solver, ignore_dpp=False, **options)
            held = [self._scale.value, *(row.dual_value for row in self._links.values())]
            return all(value is not None and np.isfinite(value).all() for value in held)
        return False

    # --- the programme --------------------------------------------------------------------------

    def _parameter(self, *name: Any, shape: tuple[int, ...] = (), **kind: Any) -> cp.Parameter:
        self._parameters[name] = cp.Parameter(shape, **kind)
        return self._parameters[name]

    def _inequality(self, b: int, n: int) -> cp.Expression:
        """Matrix of the link from base station b to user n = c K + k."""
        users, size = self.shape[1:]
        u = self._parameter("u", b, n, shape=(size, 1), complex=True)
        outer = self._parameter("outer", b, n, shape=(size, size), hermitian=True)
        room = self._parameter("room", b, n, nonneg=True)  # 1 / g; gamma / g on the own link
        radius = self._parameter("radius", b, n, nonneg=True)  # squared
        mu, own = self._multiplier[b, n], n // users
        if b != own:
            a = -self._covariance[b]
            column, corner, slack = a @ u, cp.trace(a @ outer), room * self._interference[b, n]
        else:
            a, column, corner = self._own(n, u, outer)
            heard = [self._interference[m, n] for m in range(self.shape[0]) if m != own]
            slack = -room * (sum(heard) + 1 - self._relief)
        corner = cp.reshape(corner + slack - radius * mu, (1, 1), order="F")
        return cp.bmat([[a + mu * np.eye(size), column], [column.H, corner]])

    def _own(self, n: int, u: cp.Parameter, outer: cp.Parameter) -> tuple[Any, Any, Any]:
        """A, A u and u^H A u of user n's own link."""
        users, size = self.shape[1:]
        cell, a = n // users, self._w[n]
        column, corner = a @ u, cp.trace(a @ outer)
        rest = [self._w[m] for m in range(cell * users, (cell + 1) * users) if m != n]
        rest += self._q[cell : cell + 1]
        if rest:
            total = _total(rest)
            a = a - self._parameter("target", n, nonneg=True) * total
            column -= total @ self._parameter("target u", n, shape=(size, 1), complex=True)
            scaled = self._parameter("target outer", n, shape=(size, size), hermitian=True)
            corner -= cp.trace(total @ scaled)
        return a, column, corner

    def _crlb_rows(self) -> list[Any]:
        """Cap on sum_j tr J_j^-1 with J_j = sum_b seen_bj g_bj g_bj^T.

        spread <= a'^H R a' - |a'^H R a|^2 / a^H R a is a Schur complement, inverse >= J^-1 another.
        J_j is in coordinates where full power in all directions makes it the identity.
        """
        cells, rows, traces = self.shape[0], [], []
        for j in range(self.num_targets):
            spread, lit, seen = cp.Variable(cells), cp.Variable(cells), cp.Variable(cells)
            for b in range(cells):
                full, mixed, light = self._lights(b, j)
                rows.append(cp.bmat([[full - spread[b], mixed], [cp.conj(mixed), light]]) >> 0)
                rows.append(lit[b] <= light[0, 0])
            transmit = self._parameter("transmit", j, shape=(cells,), nonneg=True)
            receive = self._parameter("receive", j, shape=(cells, cells), nonneg=True)
            rows.append(seen <= cp.multiply(transmit, spread) + receive @ lit)
            slopes = [
                self._parameter("slope", b, j, shape=(2, 2), symmetric=True) for b in range(cells)
            ]
            information = _total([seen[b] * slopes[b] for b in range(cells)])
            inverse = cp.Variable((2, 2), symmetric=True)
            rows.append(cp.bmat([[information, np.eye(2)], [np.eye(2), inverse]]) >> 0)
            cost = self._parameter("cost", j, shape=(2, 2), symmetric=True)
            traces.append(cp.trace(cost @ inverse))
        self._cap = _total(traces) <= 1
        return [*rows, self._cap]

    def _lights(self, b: int, j: int) -> tuple[Any, Any, Any]:
        """a'^H R a', a'^H R a and a^H R a, each (1, 1), of base station b towards target j."""
        shape, values = (self.shape[2],) * 2, []
        for name in ("spread", "mixed", "lit"):
            parameter = self._parameter(name, b, j, shape=shape, complex=True)
            value = cp.trace(self._covariance[b] @ parameter)
            values.append(cp.reshape(value, (1, 1), order="F"))
        return cp.real(values[0]), values[1], cp.real(values[2])

    # --- values of the parameters ---------------------------------------------------------------

    def _fill_links(self, network: Network, sinr: Array) -> None:
        for (b, n), link in self._directions(network):
            is_own, outer = n // self.shape[1] == b, link.u * link.u.conj().T
            target = float(sinr.reshape(-1)[n]) if is_own else 1.0
            self._set("u", b, n, value=link.u)
            self._set("outer", b, n, value=outer)
            self._set("room", b, n, value=target / max(link.gain, _INAUDIBLE))
            self._set("radius", b, n, value=link.radius**2)
            if is_own and ("target", n) in self._parameters:
                self._set("target", n, value=target)
                self._set("target u", n, value=target * link.u)
                self._set("target outer", n, value=target * outer)

    def _fill_crlb(self, network: Network, crlb_m2: float) -> None:
        cells, _, antennas = self.shape
        sensing, power = network.targets, network.max_power_w
        pair = steering(torch.from_numpy(sensing.angle), antennas)
        a, slope = (t.numpy()[..., None] for t in pair)  # (I, T, N, 1)
        gain = np.abs(sensing.reflection) ** 2  # (I, T, I)
        transmit = 2 * antennas * power[:, None] * gain.sum(-1)
        receive = antennas * (antennas**2 - 1) / 6 * power[:, None, None] * gain
        usual = transmit * np.square(np.abs(slope)).sum((2, 3)) / antennas
        usual += np.einsum("ljm->mj", receive)  # seen with full power in all directions, (I, T)
        g = sensing.angle_slope[..., None] * np.sqrt(usual)[..., None, None]
        value, vector = np.linalg.eigh((g @ g.swapaxes(-1, -2)).sum(0))
        white = vector / np.sqrt(np.maximum(value, _TINY**0.5))[:, None, :]  # S S^T = J^-1
        g = white.swapaxes(-1, -2) @ g
        for j in range(self.num_targets):
            self._set("transmit", j, value=transmit[:, j] / usual[:, j])
            self._set("receive", j, value=receive[:, j].T / usual[:, j, None])
            self._set("cost", j, value=white[j].T @ white[j] / crlb_m2)
            for b in range(cells):
                self._set("spread", b, j, value=slope[b, j] * slope[b, j].conj().T)
                self._set("mixed", b, j, value=a[b, j] * slope[b, j].conj().T)
                self._set("lit", b, j, value=a[b, j] * a[b, j].conj().T)
                self._set("slope", b, j, value=g[b, j] * g[b, j].T)

    def _set(self, *name: Any, value: Any) -> None:
        self._parameters[name].value = value

    def _directions(self, network: Network) -> Iterator[tuple[tuple[int, int], _Link]]:
        cells, users, size = self.shape
        channel = network.channel.reshape(cells, cells * users, size)
        radius = network.radius.reshape(cells, cells * users)
        for b, n in self._links:
            unit = max(float(np.linalg.norm(channel[b, n])), float(radius[b, n]), _TINY**0.25)
            u, gain = channel[b, n][:, None] / unit, float(network.max_power_w[b]) * unit**2
            yield (b, n), _Link(u, gain, float(radius[b, n]) / unit)

    # --- the proof ------------------------------------------------------------------------------

    def _cut(
        self, network: Network, sinr: Array, covariance: ComplexArray, crlb_m2: float | None
    ) -> Cut:
        """Multipliers of the last solve, made exact."""
        cells, users, size = self.shape
        links = dict(self._directions(network))
        dual = {
            key: nearest_positive(_value(row, "dual_value")) for key, row in self._links.items()
        }
        mass = np.array([dual[n // users, n][-1, -1].real for n in range(cells * users)])
        gain = np.array([links[n // users, n].gain for n in range(cells * users)])
        weight = mass * sinr.reshape(-1) / gain
        signal = np.zeros((cells * users, size, size), complex)
        load = np.zeros((cells, size, size), complex)
        for (b, n), link in links.items():
            moment = error_moment(dual[b, n], link.u[:, 0], link.radius)
            load[b] += weight[n] * link.gain * moment
            if b == n // users:
                signal[n] = weight[n] * link.gain * moment
        price = 0.0
        if crlb_m2 is not None:
            value, slope = crlb_slope(network.targets, covariance)
            kappa = max(float(_value(self._cap, "dual_value").item()), 0.0) / crlb_m2
            if np.isfinite(kappa * value):
                price = kappa * value**2
                load -= kappa * network.max_power_w[:, None, None] * slope
        return Cut(signal.reshape(cells, users, size, size), load, float(weight.sum()), price)


def _value(holder: Any, name: str = "value") -> Any:
    return np.asarray(getattr(holder, name))


def _total(terms: list[Any]) -> Any:
    return sum(terms[1:], terms[0])
