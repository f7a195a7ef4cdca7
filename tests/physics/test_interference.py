"""Interference networks against eigenvalues, linear programmes, enumeration and bisection."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch.utils._python_dispatch import TorchDispatchMode

from isac_gym.physics.interference import (
    balanced_level,
    least_fixed_point,
    max_min_level,
    max_min_level_bisect,
    perron,
    radial_project,
    sinr,
)

SIZES = (1, 2, 3, 7, 19)
SI_DB = (-130, -110, -90, -70)


def stations(size, spacing_m=173.0):
    """Nearest points of a hexagonal lattice, (I, 2)."""
    grid = [(i + j / 2, j * np.sqrt(3) / 2) for i in range(-3, 4) for j in range(-3, 4)]
    grid.sort(key=lambda p: (round(p[0] ** 2 + p[1] ** 2, 6), np.arctan2(p[1], p[0])))
    return spacing_m * np.array(grid[:size])


def draw(seed, count, size, *, si_db=-110.0, gamma_db=0.0, dtype=torch.float64):
    """Networks F, n, Q, m of the design note, 1.2 and 1.4 (own echo counts as signal)."""
    rng = np.random.default_rng(seed)
    wave = 299792458 / 3.5e9
    bs = np.column_stack([stations(size), np.full(size, 10.0)])
    radius, angle = 86.6 * np.sqrt(rng.random((count, size))), 2 * np.pi * rng.random((count, size))
    offset = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    ue = np.concatenate([bs[:, :2] + offset, np.full((count, size, 1), 1.5)], -1)
    corner = 100 * np.exp(2j * np.pi * np.arange(6) / 6)
    pick, u = 2 * rng.integers(3, size=count), rng.random((2, count))
    xy = u[0] * corner[pick] + u[1] * corner[(pick + 2) % 6]
    target = np.column_stack([xy.real, xy.imag, np.full(count, 1.5)])

    def distance(a, b):
        return np.maximum(np.linalg.norm(a - b, axis=-1), 1)

    def channel(d, w):
        ray = np.sqrt(10 / 11) * np.exp(-2j * np.pi * d / wave) + np.sqrt(1 / 11) * w
        return (wave / (4 * np.pi)) ** 2 * d**-2.5 * np.abs(ray) ** 2

    def noise():
        real, imag = rng.standard_normal((2, count, size, size))
        return (real + 1j * imag) / np.sqrt(2)

    wb = np.triu(noise(), 1)
    h = channel(distance(ue[:, :, None], bs), noise())
    off = 1 - np.eye(size)
    g = channel(distance(bs[:, None], bs)[None], wb + wb.swapaxes(1, 2)) * off
    echo = wave**2 * 10 / (4 * np.pi) ** 3
    d_bs, d_ue = distance(bs, target[:, None]), distance(ue, target[:, None])
    a = echo * d_bs[:, :, None] ** -2 * d_bs[:, None] ** -2
    c = h + echo * d_ue[:, :, None] ** -2 * d_bs[:, None] ** -2
    own_a, own_c = (np.diagonal(v, axis1=1, axis2=2) for v in (a, c))
    thermal = 1.380649e-23 * 290 * 100e6
    gamma = np.broadcast_to(10 ** (np.asarray(gamma_db) / 10), (count, size))
    f = ((a + g) * off + 10 ** (si_db / 10) * np.eye(size)) / own_a[:, :, None]
    q = gamma[:, :, None] * c * off / own_c[:, :, None]
    parts = f, thermal * 10**0.5 / own_a, q, gamma * thermal * 10**0.9 / own_c
    return tuple(torch.tensor(part, dtype=dtype) for part in parts)


def feasible(seed, count, size, **options):
    """As draw, but only lanes whose thresholds can be met."""
    parts = draw(seed, count, size, **options)
    keep = balanced_level(*parts[2:])[0] >= 1
    return tuple(part[keep] for part in parts)


def eigen_level(coupling, noise):
    """min_k 1 / rho(F + n e_k^T) with numpy eigenvalues, (B,)."""
    f, n = coupling.numpy(), noise.numpy()
    capped = f[:, None] + n[:, None, :, None] * np.eye(f.shape[-1])[:, None, :]
    return 1 / np.abs(np.linalg.eigvals(capped)).max(-1).max(-1)


def enumerated_level(f, n, q, m):
    """Smallest t(S, k) of the design note, 4.2, over all row choices S and caps k."""
    size, best = len(n), np.inf
    for rows in product([True, False], repeat=size):
        sense = np.diag(np.array(rows, float))
        for k in range(size):
            cap = np.eye(size)[k]
            comm = (np.eye(size) - sense) @ (q + np.outer(m, cap))
            core = np.linalg.solve(np.eye(size) - comm, sense @ (f + np.outer(n, cap)))
            radius = np.abs(np.linalg.eigvals(core)).max()
            best = min(best, 1 / radius) if radius > 0 else best
    return best


def programme_level(f, n, q, m, steps=48):
    """Bisection in log t on the linear programme min 1^T x (HiGHS)."""
    low, high = 1e-9, (1 / (np.diag(f) + n)).min()
    eye = np.eye(len(n))
    for _ in range(steps):
        t = np.sqrt(low * high)
        rows, sides = np.vstack([t * f - eye, q - eye]), -np.concatenate([t * n, m])
        found = linprog(np.ones(len(n)), A_ub=rows, b_ub=sides, bounds=(0, None), method="highs")
        reached = found.status == 0 and found.x.max() <= 1
        low, high = (t, high) if reached else (low, t)
    return low


def relative(found, wanted):
    return float((torch.as_tensor(found) / torch.as_tensor(wanted) - 1).abs().max())


def violation(x, q, m):
    return float(((q @ x.unsqueeze(-1)).squeeze(-1) + m - x).max())


class NoSync(TorchDispatchMode):
    """Fails on operators that read values on the host or have data-dependent shapes."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.__name__.split(".")[0] not in {"_local_scalar_dense", "nonzero", "equal"}
        return func(*args, **(kwargs or {}))


def test_sinr__matches_a_loop_and_differentiates():
    f, n, _, _ = draw(1, 4, 3)
    x = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.1
    for b, i in product(range(4), range(3)):
        load = sum(f[b, i, j] * x[b, j] for j in range(3)) + n[b, i]
        assert sinr(x, f, n)[b, i] == pytest.approx(float(x[b, i] / load), rel=1e-14)
    assert torch.autograd.gradcheck(lambda v: sinr(v, f, n), x.requires_grad_())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("si_db", SI_DB)
def test_perron__matches_eigenvalues(size, si_db):
    f, n, _, _ = draw(2, 60, size, si_db=si_db)
    matrix = f + n.unsqueeze(-1)
    radius, x = perron(matrix)
    assert relative(radius, np.abs(np.linalg.eigvals(matrix.numpy())).max(-1)) < 1e-12
    assert relative((matrix @ x.unsqueeze(-1)).squeeze(-1) / x, radius.unsqueeze(-1)) < 1e-13
    assert (x > 0).all()
    assert (x.amax(-1) == 1).all()


def test_perron__periodic_matrix():
    radius, x = perron(torch.tensor([[[0.0, 4.0], [1.0, 0.0]]], dtype=torch.float64))
    assert radius.item() == pytest.approx(2, rel=1e-15)
    assert x.tolist()[0] == pytest.approx([1, 0.5], rel=1e-15)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("si_db", SI_DB)
def test_balanced_level__matches_eigenvalues(size, si_db):
    parts = draw(3, 60, size, si_db=si_db, gamma_db=5.0)
    for coupling, noise in (parts[:2], parts[2:]):
        level, x = balanced_level(coupling, noise)
        assert relative(level, eigen_level(coupling, noise)) < 1e-12
        assert (x.amax(-1) == 1).all()


@pytest.mark.parametrize("size", [2, 3, 7, 19])
def test_balanced_level__balances_every_link(size):
    """I = 7 at -130 dB once lost 2.6e-12: row swaps in LAPACK blurred the smallest levels."""
    for si_db in SI_DB:
        f, n, _, _ = draw(5, 2000 if size < 8 else 100, size, si_db=si_db)
        level, x = balanced_level(f, n)
        assert relative(sinr(x, f, n), level.unsqueeze(-1)) < 1e-13


def test_balanced_level__scales_with_the_thresholds():
    _, _, q, m = draw(4, 50, 3, gamma_db=0.0)
    assert relative(balanced_level(4 * q, 4 * m)[0], balanced_level(q, m)[0] / 4) < 1e-14


def test_balanced_level__without_thresholds():
    level, x = balanced_level(torch.zeros(2, 3, 3), torch.zeros(2, 3))
    assert torch.equal(level, torch.full((2,), torch.inf))
    assert torch.equal(x, torch.ones(2, 3))


def test_balanced_level__some_links_without_threshold():
    _, _, q, m = draw(6, 20, 3, gamma_db=[3.0, 3.0, -np.inf])
    level, x = balanced_level(q, m)
    alone, x_alone = balanced_level(q[:, :2, :2], m[:, :2])
    assert relative(level, alone) < 1e-14
    assert torch.allclose(x[:, :2], x_alone, rtol=1e-13)
    assert (x[:, 2] == 0).all()


def test_least_fixed_point__is_the_limit_of_iteration_from_zero():
    f, n, q, m = feasible(7, 200, 3, gamma_db=3.0)
    level = 0.9 * max_min_level(f, n, q, m).level
    found = least_fixed_point(level, f, n, q, m)
    assert found.exists.all()
    x = torch.zeros_like(n)
    for _ in range(3000):
        sensing = level.unsqueeze(-1) * ((f @ x.unsqueeze(-1)).squeeze(-1) + n)
        comm = (q @ x.unsqueeze(-1)).squeeze(-1) + m
        x = torch.maximum(sensing, comm)
    assert torch.allclose(found.x, x, rtol=1e-9)
    assert torch.equal(found.sensing_rows, sensing > comm)


def test_least_fixed_point__absent_beyond_the_pole():
    f, n, q, m = feasible(8, 50, 3, gamma_db=0.0)
    pole = 1 / perron(f)[0]
    inside = least_fixed_point(0.999999 * pole, f, n, q * 0, m * 0)
    outside = least_fixed_point(1.000001 * pole, f, n, q * 0, m * 0)
    assert inside.exists.all()
    assert not outside.exists.any()
    assert (outside.x == torch.inf).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("si_db", SI_DB)
@pytest.mark.parametrize("gamma_db", [-20, 0, 5, 15])
def test_max_min__agrees_with_bisection(size, si_db, gamma_db):
    parts = feasible(9, 300 if size < 8 else 24, size, si_db=si_db, gamma_db=gamma_db)
    found, twin = max_min_level(*parts), max_min_level_bisect(*parts)
    assert found.has_converged.all()
    assert twin.has_converged.all()
    if not len(found.level):
        return
    assert relative(found.level, twin.level) < 1e-11
    assert relative(found.bound, found.level) < 1e-13
    assert (found.bound >= found.level).all()
    assert torch.allclose(found.x, twin.x, rtol=0, atol=1e-8)
    assert torch.allclose(found.x.amax(-1), torch.ones_like(found.level), rtol=0, atol=1e-9)
    assert relative(sinr(found.x, *parts[:2]).amin(-1), found.level) < 1e-13
    assert violation(found.x, *parts[2:]) < 1e-13


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("gamma_db", [0, 10])
def test_max_min__agrees_with_enumerated_eigenvalues(size, gamma_db):
    for si_db in SI_DB:
        parts = feasible(10, 40, size, si_db=si_db, gamma_db=gamma_db)
        wanted = [
            enumerated_level(*(part[b].numpy() for part in parts)) for b in range(len(parts[0]))
        ]
        assert relative(max_min_level(*parts).level, wanted) < 1e-11


@pytest.mark.parametrize(("size", "count"), [(2, 3), (3, 4), (7, 3), (19, 1)])
def test_max_min__agrees_with_linear_programmes(size, count):
    for si_db, gamma_db in ((-110, 0), (-90, -10)):
        parts = [p[:count] for p in feasible(11, 12, size, si_db=si_db, gamma_db=gamma_db)]
        wanted = [programme_level(*(p[b].numpy() for p in parts)) for b in range(len(parts[0]))]
        assert relative(max_min_level(*parts).level, wanted) < 1e-9


@pytest.mark.parametrize("size", [2, 3, 7])
def test_max_min__without_thresholds_is_the_balanced_level(size):
    f, n, q, m = draw(12, 200, size)
    found = max_min_level(f, n, q * 0, m * 0)
    level, x = balanced_level(f, n)
    assert relative(found.level, level) < 1e-13
    assert torch.allclose(found.x, x, rtol=1e-9)
    assert relative(max_min_level(f, n, q * 1e-30, m * 1e-30).level, level) < 1e-13


def test_max_min__one_link_in_closed_form():
    f, n, q, m = feasible(13, 20, 1)
    assert relative(max_min_level(f, n, q, m).level, 1 / (f[:, 0, 0] + n[:, 0])) < 1e-15


def test_max_min__some_links_without_threshold():
    parts = feasible(14, 300, 3, gamma_db=[8.0, -np.inf, 0.0])
    found, twin = max_min_level(*parts), max_min_level_bisect(*parts)
    assert relative(found.level, twin.level) < 1e-11
    assert found.has_converged.all()


@pytest.mark.parametrize("excess", [1e-3, 1e-6, 1e-9, 1e-12])
def test_max_min__nearly_infeasible(excess):
    f, n, q, m = draw(15, 200, 3, gamma_db=5.0)
    scale = balanced_level(q, m)[0] / (1 + excess)
    parts = f, n, q * scale[:, None, None], m * scale[:, None]
    found, twin = max_min_level(*parts), max_min_level_bisect(*parts)
    assert found.is_feasible.all()
    assert found.has_converged.all()
    assert relative(found.level, twin.level) < 1e-11


def test_max_min__flags_infeasible_lanes():
    f, n, q, m = draw(16, 400, 3, gamma_db=8.0)
    margin, safe = balanced_level(q, m)
    for solve in (max_min_level, max_min_level_bisect):
        found = solve(f, n, q, m)
        bad = ~found.is_feasible
        assert torch.equal(bad, margin < 1)
        assert 0.3 < bad.double().mean() < 0.7
        assert torch.allclose(found.x[bad], safe[bad], rtol=1e-13)
        assert relative(found.level[bad], sinr(safe, f, n).amin(-1)[bad]) < 1e-12
        assert torch.equal(found.bound[bad], found.level[bad])
        assert (found.passes[bad] == 0).all()


@pytest.mark.parametrize("size", [2, 3, 7])
def test_max_min__permuting_links_permutes_levels(size):
    f, n, q, m = feasible(17, 100, size, gamma_db=2.0)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    plain = max_min_level(f, n, q, m)
    mixed = max_min_level(
        f[:, order][:, :, order], n[:, order], q[:, order][:, :, order], m[:, order]
    )
    assert relative(mixed.level, plain.level) < 1e-13
    assert torch.allclose(mixed.x, plain.x[:, order], rtol=1e-10)


def test_max_min__falls_with_thresholds_and_self_interference():
    def level(si_db, gamma_db):
        return max_min_level(*(p[keep] for p in draw(18, 60, 3, si_db=si_db, gamma_db=gamma_db)))

    keep = balanced_level(*draw(18, 60, 3, gamma_db=6.0)[2:])[0] >= 1
    levels = [level(-110, g).level for g in (-20, 0, 3, 6)]
    assert all((high >= low * (1 - 1e-13)).all() for high, low in pairwise(levels))
    levels = [level(si, 0.0).level for si in SI_DB]
    assert all((high > low).all() for high, low in pairwise(levels))


def test_max_min__no_projected_point_is_better():
    f, n, q, m = feasible(19, 40, 3, gamma_db=3.0)
    best, safe = max_min_level(f, n, q, m), balanced_level(q, m)[1]
    rng = torch.Generator().manual_seed(2)
    for _ in range(200):
        x = 10 ** (-3 * torch.rand(n.shape, generator=rng, dtype=n.dtype))
        assert (
            sinr(radial_project(x, q, m, safe), f, n).amin(-1) <= best.bound * (1 + 1e-12)
        ).all()


def test_max_min__bound_holds_after_one_pass():
    parts = feasible(20, 500, 3, gamma_db=3.0)
    early, full = max_min_level(*parts, max_passes=1), max_min_level(*parts)
    assert not early.has_converged.all()
    assert (early.passes == 1).all()
    assert (early.bound >= full.level * (1 - 1e-13)).all()


@pytest.mark.parametrize("size", [2, 3, 7])
def test_max_min__a_neighbour_does_not_change_a_bit(size):
    easy = feasible(21, 80, size, gamma_db=-20.0)
    hard = feasible(22, 2000, size, si_db=-70, gamma_db=3.0)
    worst = int(max_min_level(*hard).passes.argmax())
    calm = tuple(torch.cat((e[:1], e)) for e in easy)
    rough = tuple(torch.cat((h[worst : worst + 1], e)) for h, e in zip(hard, easy, strict=True))
    first, second = max_min_level(*calm), max_min_level(*rough)
    assert second.passes[0] > first.passes.max()
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a[1:], b[1:])


@pytest.mark.parametrize("size", SIZES)
def test_solvers__a_row_alone_gives_the_same_answer(size):
    parts = draw(23, 24, size, gamma_db=0.0)
    level, x = balanced_level(*parts[:2])
    batch = max_min_level(*parts)
    for b in range(0, 24, 5):
        row = [part[b : b + 1] for part in parts]
        alone, found = balanced_level(*row[:2]), max_min_level(*row)
        assert relative(alone[0], level[b : b + 1]) < 1e-12
        assert torch.allclose(alone[1], x[b : b + 1], rtol=1e-12)
        assert relative(found.level, batch.level[b : b + 1]) < 1e-12
        assert torch.allclose(found.x, batch.x[b : b + 1], rtol=1e-11)


@pytest.mark.parametrize("size", [3, 7])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, 0.0])
def test_solvers__a_broken_lane_stays_alone(size, poison):
    parts = feasible(24, 20, size, gamma_db=0.0)
    broken = tuple(part.clone() for part in parts)
    for part in broken[:2]:
        part[4] = poison
    broken[2][7] = torch.ones(size, size, dtype=torch.float64)  # I - Q is singular
    good = [b for b in range(len(parts[0])) if b not in (4, 7)]
    for solve in (max_min_level, max_min_level_bisect):
        for a, b in zip(solve(*parts), solve(*broken), strict=True):
            assert torch.allclose(a[good].double(), b[good].double(), rtol=1e-12)
    assert torch.equal(balanced_level(*parts[:2])[1][good], balanced_level(*broken[:2])[1][good])


@pytest.mark.parametrize("size", [1, 3, 7])
def test_solvers__empty_batch(size):
    f, n, x = torch.zeros(0, size, size), torch.zeros(0, size), torch.zeros(0, size)
    assert sinr(x, f, n).shape == (0, size)
    assert perron(f)[1].shape == balanced_level(f, n)[1].shape == (0, size)
    assert radial_project(x, f, n, x).shape == (0, size)
    assert least_fixed_point(torch.zeros(0), f, n, f, n).x.shape == (0, size)
    for solve in (max_min_level, max_min_level_bisect):
        assert solve(f, n, f, n).x.shape == (0, size)


@pytest.mark.parametrize(("size", "count"), [(2, 8000), (3, 3000), (7, 600), (19, 60)])
@pytest.mark.parametrize("si_db", SI_DB)
def test_solvers__single_precision(size, count, si_db):
    """Once stopped next to a switch of rows: 3e-4 in level (I = 2, 0 dB)."""
    single = feasible(25, count, size, si_db=si_db, gamma_db=0.0, dtype=torch.float32)
    parts = [part.double() for part in single]
    exact, found = max_min_level(*parts), max_min_level(*single)
    assert found.level.dtype == found.x.dtype == found.bound.dtype == torch.float32
    assert torch.equal(found.is_feasible, exact.is_feasible)
    assert found.has_converged.all()
    margin = balanced_level(*parts[2:])[0]
    away = margin > 1.05  # nearer, rounding of the thresholds itself moves the optimum
    assert relative(found.level.double()[away], exact.level[away]) < 5e-6
    assert relative(found.level.double(), exact.level) < 1e-4
    assert torch.allclose(found.x.double(), exact.x, rtol=0, atol=2e-4)
    needed = (single[2] @ found.x.unsqueeze(-1)).squeeze(-1) + single[3]
    assert (10 * torch.log10(found.x / needed)).min() > -3e-5
    assert relative(balanced_level(*single[:2])[0].double(), balanced_level(*parts[:2])[0]) < 1e-6


@pytest.mark.parametrize("size", [1, 3, 7])
def test_solvers__run_on_meta_and_without_host_synchronisation(size):
    f, n, q, m = draw(26, 5, size)
    with NoSync():
        level, safe = balanced_level(q, m)
        projected = radial_project(torch.ones_like(n), q, m, safe)
        assert len(level) == len(perron(f)[0]) == len(sinr(projected, f, n))
    f, n, q, m = (part.to("meta") for part in (f, n, q, m))
    level, safe = balanced_level(q, m)
    assert level.shape == perron(f)[0].shape == (5,)
    projected = radial_project(n, q, m, safe)
    assert sinr(projected, f, n).shape == safe.shape == perron(f)[1].shape == (5, size)
    assert projected.is_meta


@pytest.mark.parametrize("size", SIZES)
def test_radial_project__feasible_idempotent_and_identity_where_feasible(size):
    _, _, q, m = feasible(27, 2000 if size < 8 else 100, size, gamma_db=3.0 if size < 8 else -3.0)
    safe = balanced_level(q, m)[1]
    x = torch.rand(safe.shape, generator=torch.Generator().manual_seed(3), dtype=safe.dtype)
    once = radial_project(x, q, m, safe)
    assert violation(once, q, m) < 1e-12
    assert once.min() >= 0
    assert once.max() <= 1
    assert torch.equal(radial_project(once, q, m, safe), once)
    held = ((q @ x.unsqueeze(-1)).squeeze(-1) + m <= x).all(-1)
    assert torch.equal(once[held], x[held])
    moved = once[~held]
    line = (moved - x[~held]) / (safe - x)[~held]  # one theta per row
    assert size == 1 or (line.amax(-1) - line.amin(-1)).max() < 1e-6
    slack = (moved - m[~held] - (q[~held] @ moved.unsqueeze(-1)).squeeze(-1)).amin(-1)
    assert slack.abs().max() < 1e-12  # stops at the boundary


def test_radial_project__clips_and_gives_up_on_infeasible_thresholds():
    _, _, q, m = draw(28, 200, 3, gamma_db=8.0)
    margin, safe = balanced_level(q, m)
    x = 3 * torch.rand(safe.shape, generator=torch.Generator().manual_seed(4), dtype=safe.dtype) - 1
    found = radial_project(x, q, m, safe)
    assert torch.equal(found[margin < 1], safe[margin < 1])
    assert torch.equal(found, radial_project(x.clamp(0, 1), q, m, safe))
    ones = balanced_level(q * 0, m * 0)[1]
    assert torch.equal(radial_project(x, q * 0, m * 0, ones), x.clamp(0, 1))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_radial_project__gradient(size):
    _, _, q, m = feasible(29, 60, size, gamma_db=1.0)
    safe = balanced_level(q, m)[1]
    rng = torch.Generator().manual_seed(5)
    x = 0.05 + 0.9 * torch.rand(safe.shape, generator=rng, dtype=safe.dtype)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: radial_project(v, q, m, safe), x, atol=1e-5)
    ones = torch.ones_like(x, requires_grad=True)
    radial_project(ones, q, m, safe).sum().backward()
    assert ones.grad.isfinite().all()


@pytest.mark.gpu
@pytest.mark.parametrize("size", [3, 7, 19])
def test_solvers__agree_on_both_devices(size):
    parts = draw(30, 500, size, gamma_db=0.0)
    here, there = max_min_level(*parts), max_min_level(*(part.cuda() for part in parts))
    assert torch.equal(here.is_feasible, there.is_feasible.cpu())
    assert relative(there.level.cpu(), here.level) < 1e-11
    assert torch.allclose(there.x.cpu(), here.x, rtol=0, atol=1e-9)
