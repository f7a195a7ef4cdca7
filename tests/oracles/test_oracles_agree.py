"""The power-control oracles against each other, without the package (spec section 8)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.oracles import dynamics
from tests.oracles import power_control_monte_carlo as monte_carlo
from tests.oracles import power_control_optimum as optimum
from tests.oracles import power_control_physics as physics
from tests.oracles import power_control_sca as sca

RADIUS, BANDWIDTH = 100.0, 100e6
WAVELENGTH = physics.wavelength(3.5e9)
SIGMA_SQ = (physics.SPEED_OF_LIGHT / (2 * BANDWIDTH)) ** 2 / 2  # sigma^2 gamma_s of (12), m^2
CASES = [
    (size, si_db, gamma_db)
    for size in (1, 2, 3, 7)
    for si_db, gamma_db in ((-130, -5), (-110, 0), (-110, 3), (-90, 3), (-70, 0))
]


@dataclass(frozen=True)
class Draw:
    """One instance: positions, raw gains and the normalised network."""

    bs: physics.Array
    ue: physics.Array
    tgt: physics.Array
    gains: physics.Gains
    net: optimum.Network


def draw(seed: int, *, size: int = 3, si_db: float = -110.0, gamma_db: float = 3.0) -> Draw:
    """First draw of the seed whose communication margin is at least 0.1 dB (1.2)."""
    rng = np.random.default_rng(seed)
    while True:
        sample = draw_any(rng, size=size, si_db=si_db, gamma_db=gamma_db)
        if optimum.comm_margin(sample.net)[0] > 10**0.01:
            return sample


def draw_any(rng: np.random.Generator, *, size: int, si_db: float, gamma_db: float) -> Draw:
    """One draw, feasible or not."""
    isd = RADIUS * math.sqrt(3)
    sites = physics.bs_lattice(1, isd, 10.0)[:size]
    bs = physics.bs_triangle(RADIUS, 10.0) if size == 3 else sites
    angle, reach = 2 * math.pi * rng.random(size), isd / 2 * np.sqrt(rng.random(size))
    ue = np.stack([reach * np.cos(angle), reach * np.sin(angle), np.full(size, -8.5)], 1) + bs
    tgt = np.array([math.inf, math.inf, 1.5])
    while not physics.in_hexagon(tgt, RADIUS):
        tgt[:2] = rng.uniform(-RADIUS, RADIUS, 2)
    w_b = monte_carlo.complex_normal(rng, size, size)
    gains = physics.Gains(
        h=physics.comm_gains(bs, ue, monte_carlo.complex_normal(rng, size, size), WAVELENGTH),
        g=physics.direct_gains(bs, np.triu(w_b) + np.triu(w_b, 1).T, WAVELENGTH),
        a=physics.echo_gains(bs, bs, tgt, WAVELENGTH),
        e=physics.echo_gains(ue, bs, tgt, WAVELENGTH),
        si=np.full(size, 10 ** (si_db / 10)),
        n_b=np.full(size, physics.noise_power(BANDWIDTH, 5.0)),
        n_u=np.full(size, physics.noise_power(BANDWIDTH, 9.0)),
        p_max=np.ones(size),
    )
    net = optimum.make_network(*physics.normalised(gains), gamma_db=gamma_db)
    return Draw(bs, ue, tgt, gains, net)


# --- physics -----------------------------------------------------------------------------------


def test_hexagon__area_and_second_moment() -> None:
    points = np.random.default_rng(0).uniform(-RADIUS, RADIUS, (20_000, 2))
    inside = np.array([p for p in points if physics.in_hexagon(p, RADIUS)])
    area = len(inside) / len(points) * 4 * RADIUS**2
    assert area == pytest.approx(1.5 * math.sqrt(3) * RADIUS**2, rel=0.02)
    assert (inside**2).sum(1).mean() == pytest.approx(5 * RADIUS**2 / 12, rel=0.02)


def test_hexagon__bs_on_alternate_vertices_and_normals_of_edges() -> None:
    corners = physics.hexagon_vertices(RADIUS)
    bs = physics.bs_triangle(RADIUS, 10.0)[:, :2]
    assert np.allclose(bs, corners[[1, 3, 5]])
    middles = (corners + np.roll(corners, -1, 0)) / 2
    normals = dynamics.hexagon_normals()
    best = (middles @ normals.T).max(1)
    assert np.allclose(best, RADIUS * math.sqrt(3) / 2)


def test_lattice__sizes_and_inter_site_distance() -> None:
    for rings, size in ((0, 1), (1, 7), (2, 19)):
        sites = physics.bs_lattice(rings, 100.0, 10.0)
        assert sites.shape == (size, 3)
        gaps = [math.dist(sites[0], site) for site in sites[1:7]]
        assert np.allclose(gaps, 100.0)


def test_range_std__is_curry_over_crb() -> None:
    gamma, bw = np.array([0.01, 3.0]), np.array([1e8, 2e7])
    ratio = physics.range_std(gamma, bw, 7.0) / physics.range_crb_std(gamma, bw, 7.0)
    assert np.allclose(ratio, 2 * math.pi / math.sqrt(12), rtol=1e-14)


@pytest.mark.parametrize("own_echo", ["signal", "interference"])
def test_normalised__reproduces_both_sinrs(own_echo: str) -> None:
    rng = np.random.default_rng(1)
    raw = draw(1).gains
    gains = replace(raw, p_max=rng.uniform(0.1, 2, 3), si=raw.si * rng.uniform(0.1, 9, 3))
    x = rng.random(3)
    f, n, q, m = physics.normalised(gains, own_echo)
    p = x * gains.p_max
    assert np.allclose(x / (f @ x + n), physics.sensing_sinr(p, gains), rtol=1e-13)
    assert np.allclose(x / (q @ x + m), physics.comm_sinr(p, gains, own_echo), rtol=1e-13)


def test_sinr__integration_only_adds_interference() -> None:
    gains = draw(2).gains
    p = np.array([0.3, 1.0, 0.7])
    assert (physics.sensing_only_sinr(p, gains) > physics.sensing_sinr(p, gains)).all()
    assert (physics.comm_only_sinr(p, gains) > physics.comm_sinr(p, gains, "interference")).all()


def test_sinr__ratio_is_scale_free_without_noise() -> None:
    gains = replace(draw(3).gains, n_b=np.zeros(3), n_u=np.zeros(3))
    p = np.array([0.3, 1.0, 0.7])
    for sinr in (physics.sensing_sinr, physics.comm_sinr):
        assert np.allclose(sinr(1e-3 * p, gains), sinr(p, gains), rtol=1e-12)


@pytest.mark.parametrize("seed", [4, 5])
def test_sinr__matches_sampled_signal(seed: int) -> None:
    rng, sample = np.random.default_rng(seed), draw(seed)
    p = rng.uniform(0.1, 1.0, 3)
    sampled = monte_carlo.sampled_sensing_sinr(p, sample.gains, 200_000, rng)
    assert np.allclose(sampled, physics.sensing_sinr(p, sample.gains), rtol=5e-3)
    for own_echo in ("signal", "interference"):
        sampled = monte_carlo.sampled_comm_sinr(p, sample.gains, own_echo, 200_000, rng)
        assert np.allclose(sampled, physics.comm_sinr(p, sample.gains, own_echo), rtol=5e-3)


def test_evaluate__agrees_with_the_normalised_form() -> None:
    sample, x = draw(6), np.array([0.4, 1.0, 0.2])
    out = physics.evaluate(
        x, sample.gains, sample.bs, sample.tgt, bw_hz=np.full(3, 1e8), gamma_db=np.full(3, 3.0)
    )
    assert out["t"] == pytest.approx(optimum.level(sample.net, x), rel=1e-12)
    assert out["worst"] == pytest.approx(math.sqrt(SIGMA_SQ / out["t"]), rel=1e-12)
    short = -10 * math.log10(optimum.comm_ratio(sample.net, x))
    assert out["viol_db"] == pytest.approx(max(0.0, short), abs=1e-12)


def test_peb3__is_a_weighted_sum_of_variances() -> None:
    for seed in range(20):
        sample = draw(seed)
        sigma = physics.range_std(sample.gains.a.diagonal() * 1e10, np.full(3, BANDWIDTH))
        total = (physics.peb3_coefficients(sample.bs, sample.tgt) * sigma**2).sum()
        expected = physics.peb(sample.bs, sample.tgt, sigma, 3)
        assert math.sqrt(total) == pytest.approx(expected, rel=1e-11)


# --- Monte-Carlo bounds ------------------------------------------------------------------------


def test_ofdm_ranging__meets_crb_above_threshold_and_collapses_below() -> None:
    rng = np.random.default_rng(7)
    ratio = {db: monte_carlo.ofdm_ranging_ratio(db, trials=800, rng=rng) for db in (9.5, 15.5, 20)}
    assert 0.93 < ratio[20] < 1.07
    assert 0.93 < ratio[15.5] < 1.10
    assert ratio[9.5] > 50


@pytest.mark.parametrize(("dim", "low", "high"), [(2, 0.97, 1.03), (3, 0.97, 1.10)])
def test_localisation__meets_the_bound_with_processing_gain(
    dim: int, low: float, high: float
) -> None:
    rng, ratios = np.random.default_rng(8), []
    for seed in range(12):
        sample = draw(seed)
        gamma_s = physics.sensing_sinr(np.ones(3), sample.gains)
        sigma = physics.range_std(gamma_s, np.full(3, BANDWIDTH), 3276 * 14)
        ratios.append(
            monte_carlo.localisation_ratio(
                sample.bs, sample.tgt, sigma, dim=dim, trials=300, rng=rng
            )
        )
    assert low < np.median(ratios) < high


# --- optimum -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "si_db", "gamma_db"), CASES)
def test_optimum__lp_gp_and_enumeration_agree(size: int, si_db: float, gamma_db: float) -> None:
    net = draw(9 + size, size=size, si_db=si_db, gamma_db=gamma_db).net
    t, x = optimum.enumeration_optimum(net)
    t_lp, x_lp = optimum.lp_optimum(net)
    t_gp, x_gp = optimum.gp_optimum(net)
    assert t_lp == pytest.approx(t, rel=1e-11)
    assert t_gp == pytest.approx(t, rel=1e-8)
    flat = max(1.0, 1e-3 / (t * net.n).min())  # x is poorly determined where noise hardly matters
    assert np.allclose(x_lp, x, atol=1e-9 * flat)
    assert np.allclose(x_gp, x, atol=1e-8 * flat)
    assert x.max() == pytest.approx(1.0, abs=1e-12)
    assert optimum.level(net, x) == pytest.approx(t, rel=1e-11)
    assert optimum.comm_ratio(net, x) > 1 - 1e-11


def test_optimum__unequal_bandwidths_and_caps_agree() -> None:
    raw = draw(20).gains
    gains = replace(raw, p_max=np.array([1.0, 0.2, 3.0]))
    arrays = physics.normalised(gains, "interference")
    net = optimum.make_network(
        *arrays, gamma_db=np.array([-3.0, -math.inf, 0.0]), bw_hz=np.array([1e8, 5e7, 2e7])
    )
    t, _ = optimum.lp_optimum(net)
    assert optimum.gp_optimum(net)[0] == pytest.approx(t, rel=1e-8)
    assert optimum.enumeration_optimum(net)[0] == pytest.approx(t, rel=1e-11)
    assert optimum.level(net, optimum.distributed(net, eta=0.2, iterations=1000)) == pytest.approx(
        t, rel=1e-9
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_optimum__without_comm_is_the_eigenvalue_form(size: int) -> None:
    net = draw(21, size=size, gamma_db=-300.0).net
    t, x = optimum.unconstrained_optimum(net)
    assert optimum.lp_optimum(net)[0] == pytest.approx(t, rel=1e-10)
    assert optimum.level(net, x) == pytest.approx(t, rel=1e-12)
    gamma_s = x / (net.f @ x + net.n)
    assert np.allclose(gamma_s, t, rtol=1e-10)
    if size == 1:
        assert t == pytest.approx(1 / (net.f[0, 0] + net.n[0]), rel=1e-14)


def test_comm_margin__equals_box_test_and_scales() -> None:
    rng, verdicts = np.random.default_rng(22), []
    for _ in range(100):
        net = draw_any(rng, size=3, si_db=-110.0, gamma_db=5.0).net
        margin, safe = optimum.comm_margin(net)
        verdicts.append(margin >= 1)
        assert verdicts[-1] == (optimum.smallest_comm_powers(net) is not None)
        doubled = optimum.comm_margin(replace(net, gamma=2 * net.gamma))[0]
        assert 2 * doubled == pytest.approx(margin, rel=1e-12)
        assert optimum.comm_ratio(net, safe) == pytest.approx(margin, rel=1e-9)
    assert 0 < sum(verdicts) < 100


def test_lp__rejects_infeasible_thresholds() -> None:
    net = draw(23, gamma_db=0.0).net
    margin = optimum.comm_margin(net)[0]
    with pytest.raises(ValueError, match="infeasible"):
        optimum.lp_optimum(replace(net, gamma=net.gamma * margin * 1.001))
    assert optimum.lp_optimum(replace(net, gamma=net.gamma * margin * 0.999))[0] > 0


@pytest.mark.parametrize(("size", "steps", "low"), [(2, 20_001, 0.999), (3, 451, 0.96)])
@pytest.mark.parametrize("gamma_db", [-300.0, 3.0])
def test_grid__approaches_the_optimum_from_below(
    size: int, steps: int, low: float, gamma_db: float
) -> None:
    for seed in range(3):
        net = draw(seed, size=size, gamma_db=gamma_db).net
        ratio = optimum.grid_optimum(net, steps=steps)[0] / optimum.enumeration_optimum(net)[0]
        assert low < ratio <= 1 + 1e-12


def test_optimum__is_unique_and_monotone_in_scarcity() -> None:
    for seed in range(4):
        net = draw(seed).net
        t, x = optimum.enumeration_optimum(net)
        least, most = optimum.lp_power_range(net, t * (1 - 1e-9))
        sensitivity = 1 / (t * net.n).min()  # |d log x / d log t| is at most of this order
        assert np.abs(most - least).max() < 1e-9 * sensitivity
        assert np.allclose(most, x, atol=1e-9 * sensitivity)
        easier = optimum.enumeration_optimum(replace(net, gamma=net.gamma / 2))[0]
        cleaner = optimum.enumeration_optimum(replace(net, f=net.f - 0.5 * np.diag(np.diag(net.f))))
        assert easier >= t * (1 - 1e-12)
        assert cleaner[0] > t
        assert t < 1 / np.diag(net.f).max()


def test_optimum__permutes_with_the_labels() -> None:
    net, order = draw(24, size=7, gamma_db=0.0).net, np.array([3, 0, 6, 1, 5, 2, 4])
    moved = optimum.Network(
        net.f[np.ix_(order, order)],
        net.n[order],
        net.q[np.ix_(order, order)],
        net.m[order],
        net.gamma[order],
        net.weight[order],
    )
    t, x = optimum.enumeration_optimum(net)
    t_moved, x_moved = optimum.enumeration_optimum(moved)
    assert t_moved == pytest.approx(t, rel=1e-12)
    assert np.allclose(x_moved, x[order], atol=1e-9)


def test_distributed__converges_for_small_eta_only() -> None:
    errors = {0.2: [], 1.0: []}
    for seed in range(40):
        net = draw(seed).net
        t = optimum.enumeration_optimum(net)[0]
        for eta, found in errors.items():
            x = optimum.distributed(net, eta=eta, iterations=1000)
            gap = 10 * math.log10(t / optimum.level(net, x))
            violation = -10 * math.log10(optimum.comm_ratio(net, x))
            found.append(max(abs(gap), violation))
    assert max(errors[0.2]) < 3e-3  # 1e-3 dB in the draws with the smallest margins
    assert max(errors[1.0]) > 1.0  # limit cycles, mostly t above t* by breaking P1.a


# --- Algorithm 1 -------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["balanced", "fixed"])
def test_sca__balanced_splits_reach_the_optimum(split: str) -> None:
    for seed in range(3):
        net = draw(seed).net
        t = optimum.enumeration_optimum(net)[0]
        result = sca.sca(net, split=split)
        trace = np.array(result.t[1:])
        assert 10 * math.log10(t / optimum.level(net, result.x)) < 1e-3
        assert (np.diff(trace) >= -1e-6 * t).all()
        assert trace.max() <= t * (1 + 1e-6)


def test_sca__literal_watts_fail() -> None:
    sample = draw(100)
    watts = {"row_scale": np.diag(sample.gains.a), "comm_scale": np.diag(sample.gains.h)}
    t = optimum.enumeration_optimum(sample.net)[0]
    result = sca.sca(sample.net, split="unit", max_iter=12, **watts)
    assert 10 * math.log10(t / optimum.level(sample.net, result.x)) > 1.0


# --- other objectives --------------------------------------------------------------------------


def test_peb3__gp_equals_polished_grid() -> None:
    for seed in range(4):
        sample = draw(seed)
        u = physics.directions(sample.bs, sample.tgt, 3)
        scale = np.full(3, SIGMA_SQ)
        cost = physics.peb3_coefficients(sample.bs, sample.tgt) * scale
        square, x = optimum.gp_min_weighted_std(sample.net, cost, 1.0)
        gamma_s = physics.sensing_sinr(x, sample.gains)
        sigma = physics.range_std(gamma_s, np.full(3, BANDWIDTH))
        polished, _ = optimum.peb_optimum(sample.net, u, scale, steps=69)
        bound = physics.peb(sample.bs, sample.tgt, sigma, 3)
        assert math.sqrt(square) == pytest.approx(bound, rel=1e-9)
        assert math.sqrt(square) == pytest.approx(polished, rel=1e-7)


def test_peb2__polish_only_improves_and_beats_maxmin() -> None:
    for seed in range(4):
        sample = draw(seed)
        u, scale = physics.directions(sample.bs, sample.tgt, 2), np.full(3, SIGMA_SQ)
        objective = optimum.peb_objective(u, scale)
        grid = optimum.grid_minimum(sample.net, objective, steps=137)[0][0]
        best, x = optimum.peb_optimum(sample.net, u, scale)
        fair = optimum.enumeration_optimum(sample.net)[1]
        assert 0.9 * grid < best <= grid
        assert best <= objective((fair / (sample.net.f @ fair + sample.net.n))[None])[0]
        gamma_s = physics.sensing_sinr(x, sample.gains)
        sigma = physics.range_std(gamma_s, np.full(3, BANDWIDTH))
        assert best == pytest.approx(physics.peb(sample.bs, sample.tgt, sigma, 2), rel=1e-9)
        assert optimum.comm_ratio(sample.net, x) > 1 - 1e-8


def test_mean_std__gp_equals_slsqp() -> None:
    sample, cost = draw(25), np.full(3, math.sqrt(SIGMA_SQ) / 3)
    value, x = optimum.gp_min_weighted_std(sample.net, cost, 0.5)
    start = optimum.comm_margin(sample.net)[1]
    slsqp, _ = optimum.polish(sample.net, lambda g: (cost / np.sqrt(g)).sum(1), start)
    gamma_s = physics.sensing_sinr(x, sample.gains)
    assert value == pytest.approx(slsqp, rel=1e-7)
    assert value == pytest.approx(physics.range_std(gamma_s, np.full(3, BANDWIDTH)).mean())


# --- dynamics ----------------------------------------------------------------------------------


def test_motion__stays_inside_and_keeps_its_speed() -> None:
    rng, position, velocity = np.random.default_rng(26), np.zeros(2), np.array([10.0, 0.0])
    total = 0
    for _ in range(3000):
        velocity = dynamics.turn(velocity, rng.normal(0, 0.2))
        position, velocity, bounces = dynamics.move_target(position, velocity, 0.5, RADIUS)
        total += bounces
        assert physics.in_hexagon(position, RADIUS, slack=1e-9)
    assert math.hypot(*velocity) == pytest.approx(10.0, rel=1e-10)
    assert total > 10


def test_motion__one_bounce_is_the_mirror_image() -> None:
    apothem, normal = RADIUS * math.sqrt(3) / 2, dynamics.hexagon_normals()[1]
    along = np.array([-normal[1], normal[0]])
    start, velocity = (apothem - 1) * normal + 5 * along, 30 * normal + 20 * along
    end, after, bounces = dynamics.move_target(start, velocity, 0.1, RADIUS)
    straight = start + 0.1 * velocity
    assert bounces == 1
    assert np.allclose(end, straight - 2 * (normal @ straight - apothem) * normal)
    assert np.allclose(after, -30 * normal + 20 * along)


@pytest.mark.parametrize("rho", [0.8, 0.95])
def test_ar1__is_stationary_with_the_right_memory(rho: float) -> None:
    rng = np.random.default_rng(27)
    series = [monte_carlo.complex_normal(rng, 4000)]
    for _ in range(20):
        innovation = monte_carlo.complex_normal(rng, 4000)
        series.append(dynamics.ar1_step(series[-1], innovation, rho))
    stats = dynamics.fading_statistics(np.array(series))
    assert stats["mean"] < 0.05
    assert stats["pseudo"] < 0.05
    assert stats["power"] == pytest.approx(1.0, rel=0.05)
    assert stats["correlation"] == pytest.approx(rho, abs=0.01)
    assert stats["kurtosis"] == pytest.approx(2.0, rel=0.1)


def test_ekf__covariance_forms_agree_and_exact_ranges_do_not_move() -> None:
    sample, sigma = draw(28), np.array([1.0, 5.0, 0.3])
    state = np.array([*sample.tgt[:2], 3.0, -4.0])
    state, covariance = dynamics.ekf_predict(state, np.diag([9.0, 16.0, 4.0, 1.0]), 0.1, 3.0)
    here = np.array([*state[:2], 1.5])
    ranges = np.array([physics.distance(b, here) for b in sample.bs])
    new, posterior = dynamics.ekf_update(state, covariance, ranges, sigma, sample.bs, 1.5)
    other = dynamics.information_update(state, covariance, sigma, sample.bs, 1.5)
    assert np.allclose(new, state, atol=1e-12)
    assert np.allclose(posterior, other, rtol=1e-10, atol=1e-12)
    bound = physics.peb(sample.bs, here, sigma, 2)
    assert math.sqrt(posterior[0, 0] + posterior[1, 1]) < bound


def test_ekf__vague_prior_reaches_the_position_bound() -> None:
    sample, sigma = draw(29), np.array([1.0, 2.0, 0.7])
    state, prior = np.array([*sample.tgt[:2], 0.0, 0.0]), np.diag([1e8, 1e8, 1.0, 1.0])
    posterior = dynamics.information_update(state, prior, sigma, sample.bs, sample.tgt[2])
    bound = physics.peb(sample.bs, sample.tgt, sigma, 2)
    assert math.sqrt(posterior[0, 0] + posterior[1, 1]) == pytest.approx(bound, rel=1e-5)


def test_projection__bisection_equals_closed_form() -> None:
    rng, moved = np.random.default_rng(30), 0
    net = draw(30).net
    q, m = net.comm
    safe = optimum.comm_margin(net)[1]
    for x in 10 ** (rng.uniform(-30, 0, (200, 3)) / 10):
        y = dynamics.radial_projection(x, q, m, safe)
        slack, slack_safe = x - q @ x - m, safe - q @ safe - m
        hit = slack < 0
        theta = (-slack[hit] / (slack_safe - slack)[hit]).max(initial=0.0)
        moved += hit.any()
        assert np.allclose(y, x + theta * (safe - x), atol=1e-12)
        assert (y - q @ y - m).min() > -1e-12
        assert np.array_equal(dynamics.radial_projection(y, q, m, safe), y)
    assert 0 < moved < 200
