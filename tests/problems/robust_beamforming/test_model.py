import numpy as np
import pytest
import torch

from isac_gym.core import ShapeError, Streams
from isac_gym.problems.robust_beamforming.model import RobustBeamformingDecision
from isac_gym.problems.robust_beamforming.records import chebyshev, sensing_factor
from tests.oracles import robust_beamforming as oracle
from tests.oracles import robust_beamforming_sensing as sensing
from tests.problems.robust_beamforming.helpers import (
    decide,
    draw,
    make,
    place_of,
    power_of,
    scored,
    uneven,
)

CLOSE = {"rtol": 1e-11, "atol": 0}
DELAYS = ["resolved", "bandlimited", "unresolved"]

# --- instances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", DELAYS)
def test_sample__echoes_match_the_oracle(delay):
    problem = make(delay=delay, target_box_m=20.0, num_targets=3)
    instance = draw(problem)
    for row in range(4):
        bs, target = (t[row].numpy() for t in (instance.bs, instance.target))
        expected = {
            "angle": sensing.electrical_angle(bs, target),
            "correlation": sensing.correlation(bs, target, delay),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(instance, name)[row], value, atol=1e-9, err_msg=name)
        slope = sensing.angle_slope(bs, target)
        np.testing.assert_allclose(instance.angle_slope[row], slope, rtol=1e-7, atol=1e-9)
        size = np.abs(sensing.reflections(bs, target, np.random.default_rng(0)))
        np.testing.assert_allclose(instance.reflection[row].abs(), size, rtol=1e-12)


def test_sample__users_live_in_their_ring():
    instance = draw(make("two-users", min_user_distance_m=30.0, max_user_distance_m=40.0), 64)
    distance = (instance.user - instance.bs[:, :, None]).norm(dim=-1)
    assert distance.min() >= 30 - 1e-9
    assert distance.max() <= 40 + 1e-9
    assert distance.max() - distance.min() > 9


def test_sample__channels_have_the_path_gain():
    instance = draw(make(), 4000)
    distance = (instance.user[:, None] - instance.bs[:, :, None, None]).norm(dim=-1)
    gain = 1e-4 / 10**-11.5 * distance**-3.8
    scaled = instance.channel.abs().square() / gain[..., None]
    # 36000 links of 5 entries of unit mean: standard error 1 / sqrt(180000)
    assert abs(float(scaled.mean()) - 1) < 5 / 180_000**0.5


def test_sample__true_channel_is_uniform_in_the_ball():
    problem = make("two-users")
    instance = draw(problem, 400)
    error = (instance.true_channel - instance.channel).norm(dim=-1) / instance.radius
    assert error.max() <= 1 + 1e-12
    volume = error**10  # 2 N real dimensions
    assert abs(float(volume.mean()) - 0.5) < 5 * (1 / 12 / volume.numel()) ** 0.5


def test_sample__radius_is_relative_to_the_estimate():
    instance = draw(make(csi_error=0.2))
    norm = np.linalg.norm(instance.channel.numpy(), axis=-1)
    np.testing.assert_allclose(instance.radius, 0.2 * norm, rtol=1e-12)


def test_sample__targets_keep_apart():
    instance = draw(make("large"), 500)
    gap = (instance.target[:, :, None] - instance.target[:, None]).norm(dim=-1)
    gap = gap + 1e9 * torch.eye(3)
    assert gap.min() >= 1.0
    assert instance.target.abs().max() <= 20


def test_sample__preference_is_spread_as_asked():
    even = draw(make(), 2000).preference
    assert (even >= 0).all()
    assert (even <= 1).all()
    assert abs(float(even.mean()) - 0.5) < 5 * (1 / 12 / 2000) ** 0.5
    fixed = draw(make(preference=0.3, preference_spread=0.0)).preference
    torch.testing.assert_close(fixed, torch.full_like(fixed, 0.3))
    cut = draw(make(preference=1.0, preference_spread=1.0), 500).preference
    assert 0.4 < float((cut == 1).double().mean()) < 0.6


# --- metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("paper", {}),
        ("csi-20", {"delay": "bandlimited"}),
        ("two-users", {"delay": "unresolved"}),
        ("random-targets", {}),
        ("small", {"num_bs": 2}),
    ],
)
def test_evaluate__matches_the_oracles(preset, changes):
    problem = make(preset, **changes)
    instance = problem.anchored(uneven(draw(problem, 2)))
    decision = decide(problem, instance)
    found = problem.evaluate(instance, decision)
    for row in range(2):
        e = scored(problem, instance, decision, row)
        np.testing.assert_allclose(found.worst_sinr[row], e["worst_sinr"], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(found.crlb_m2[row], e["crlb_m2"], rtol=1e-6)
        np.testing.assert_allclose(found.target_rmse_m[row] ** 2, e["target_m2"], rtol=1e-6)
        np.testing.assert_allclose(found.power_w[row], e["power_w"], rtol=1e-12)
        weight = instance.weight[row].numpy()
        for name in ("worst", "nominal", "realised"):
            rate = np.sum(weight * np.log2(1 + e[f"{name}_sinr"]))
            np.testing.assert_allclose(getattr(found, f"{name}_rate_bps_hz")[row], rate, rtol=1e-8)
        rates = np.log2(1 + e["worst_sinr"])
        jain = rates.sum() ** 2 / (rates.size * np.sum(rates**2))
        np.testing.assert_allclose(found.fairness[row], jain, rtol=1e-8)


def test_evaluate__utilities_and_objective_follow_from_the_metrics():
    problem = make("two-users")
    instance = draw(problem, 16)
    found = problem.evaluate(instance, decide(problem, instance))
    f1 = found.worst_rate_bps_hz / instance.rate_bound
    f2 = instance.crlb_bound / found.crlb_m2
    torch.testing.assert_close(found.rate_utility, f1, **CLOSE)
    torch.testing.assert_close(found.sensing_utility, f2, **CLOSE)
    p = instance.preference
    lost = torch.maximum(p * (1 - f1), (1 - p) * (1 - f2))
    torch.testing.assert_close(found.objective, -lost, **CLOSE)
    torch.testing.assert_close(found.objective, chebyshev(p, f1, f2), **CLOSE)


@pytest.mark.parametrize("preset", ["paper", "csi-20", "two-users", "unresolved"])
def test_evaluate__rates_are_ordered(preset):
    problem = make(preset)
    instance = draw(problem, 32)
    decision = decide(problem, instance)
    found = problem.evaluate(instance, decision)
    worst = found.worst_rate_bps_hz
    assert (found.certified_rate_bps_hz <= worst * (1 + 1e-13)).all()
    torch.testing.assert_close(found.certified_rate_bps_hz, worst, rtol=1e-8, atol=1e-10)
    assert (worst <= found.realised_rate_bps_hz + 1e-12).all()
    assert (worst <= found.nominal_rate_bps_hz + 1e-12).all()
    for utility in (found.rate_utility, found.sensing_utility):
        assert (utility >= 0).all()
        assert (utility <= 1).all()


def test_evaluate__exact_csi_makes_all_rates_equal():
    problem = make("csi-0")
    instance = draw(problem)
    found = problem.evaluate(instance, decide(problem, instance))
    for rate in (found.nominal_rate_bps_hz, found.realised_rate_bps_hz):
        torch.testing.assert_close(found.worst_rate_bps_hz, rate, **CLOSE)


def test_evaluate__worst_rate_falls_with_the_radius():
    problem = make()
    instance = draw(problem)
    decision, last = decide(problem, instance), None
    for factor in (0.0, 0.5, 1.0, 2.0, 4.0):
        grown = instance.replace(radius=factor * instance.radius)
        rate = problem.evaluate(grown, decision).worst_rate_bps_hz
        assert last is None or (rate < last).all()
        last = rate


def test_evaluate__phases_and_bases_do_not_matter():
    problem = make("two-users")
    instance = draw(problem)
    decision = decide(problem, instance)
    before = problem.evaluate(instance, decision)
    streams = Streams.from_seed(4, 4)
    mix = torch.linalg.qr(streams.complex_normal("mix", 3, 4, 4)).Q
    phase = torch.polar(
        torch.ones(4, 3, 2, dtype=torch.float64), 6.0 * streams.uniform("phase", 3, 2)
    )
    turned = RobustBeamformingDecision(decision.beam * phase[..., None], decision.sensing @ mix)
    after = problem.evaluate(instance, turned)
    for (name, old), (_, new) in zip(before.items(), after.items(), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-9, atol=1e-12, msg=name)


def test_evaluate__crlb_is_homogeneous_and_falls_with_power():
    problem = make("unresolved")
    instance = draw(problem)
    decision = decide(problem, instance)
    base = problem.evaluate(instance, decision).crlb_m2
    louder = problem.evaluate(instance, decision.map(lambda t: 2 * t)).crlb_m2
    torch.testing.assert_close(louder, base / 4, rtol=1e-9, atol=0)
    added = decision.replace(sensing=decision.sensing + 0)
    more = torch.cat([added.sensing, decide(problem, instance, seed=9).sensing], -1)
    assert (problem.evaluate(instance, decision.replace(sensing=more)).crlb_m2 < base).all()


def test_covariance__is_the_sum_of_all_streams():
    problem = make("two-users")
    decision = decide(problem, draw(problem))
    covariance = problem.covariance(decision)
    for row in range(4):
        expected = oracle.covariance(decision.beam[row].numpy(), decision.sensing[row].numpy())
        np.testing.assert_allclose(covariance[row], expected, atol=1e-13)


def test_information__matches_simulated_data():
    problem = make("bandlimited")
    instance = draw(problem, 1)
    covariance = problem.covariance(decide(problem, instance))
    info = problem.information(instance, covariance)[0]
    expected = sensing.information(place_of(problem, instance, 0), covariance[0].numpy())
    np.testing.assert_allclose(info, expected, rtol=1e-6, atol=1e-8 * float(info.abs().max()))


# --- degenerate decisions -----------------------------------------------------------------------


@pytest.mark.parametrize("delay", DELAYS)
def test_evaluate__nothing_sent_is_blind_and_silent(delay):
    problem = make(delay=delay)
    instance = draw(problem)
    zero = decide(problem, instance).map(lambda t: 0 * t)
    zero = zero.map(lambda t: t.requires_grad_())
    found = problem.evaluate(instance, zero)
    assert torch.isinf(found.crlb_m2).all()
    assert torch.isinf(found.target_rmse_m).all()
    for name in ("sensing_utility", "rate_utility", "worst_rate_bps_hz", "violation", "power_w"):
        assert (getattr(found, name) == 0).all(), name
    p = instance.preference
    torch.testing.assert_close(found.objective, -torch.maximum(p, 1 - p))
    for slope in torch.autograd.grad(found.objective.sum(), [zero.beam, zero.sensing]):
        assert torch.isfinite(slope).all()


def test_evaluate__sensing_only_leaves_no_rate_and_beams_only_still_sense():
    problem = make()
    instance = draw(problem)
    decision = decide(problem, instance)
    mute = problem.evaluate(instance, decision.replace(beam=0 * decision.beam))
    assert (mute.rate_utility == 0).all()
    assert (mute.sensing_utility > 0).all()
    beams = problem.evaluate(instance, decision.replace(sensing=0 * decision.sensing))
    assert (beams.rate_utility > 0).all()


@pytest.mark.parametrize("error", [1.0, 1.5])
def test_evaluate__a_ball_that_holds_the_zero_channel_leaves_no_rate(error):
    problem = make(csi_error=error)
    instance = draw(problem)
    assert (instance.rate_bound <= 1e-9).all()
    found = problem.evaluate(instance, decide(problem, instance))
    assert (found.rate_utility == 0).all()
    assert (found.sensing_utility > 0).all()
    assert torch.isfinite(found.objective).all()


# --- projection ---------------------------------------------------------------------------------


def test_project__scales_each_station_onto_its_budget():
    problem = make("two-users")
    instance = uneven(draw(problem))
    decision = decide(problem, instance).map(lambda t: t.clone())
    decision.beam[:, 0] *= 3
    decision.sensing[:, 0] *= 3
    projected = problem.project(instance, decision)
    np.testing.assert_allclose(power_of(projected)[:, 0], instance.max_power_w[:, 0], rtol=1e-13)
    for name, tensor in projected.items():
        before = getattr(decision, name)
        assert torch.equal(tensor[:, 1:], before[:, 1:])  # inside: not touched
        ratio = tensor[:, 0] / before[:, 0]
        torch.testing.assert_close(ratio.imag, torch.zeros_like(ratio.imag), rtol=0, atol=1e-14)
    again = problem.project(instance, projected)
    for name, tensor in again.items():
        torch.testing.assert_close(tensor, getattr(projected, name), rtol=1e-15, atol=0)
    assert problem.evaluate(instance, projected).violation.max() <= 1e-14


def test_project__is_the_nearest_feasible_decision():
    problem = make()
    instance = draw(problem, 1)
    loud = decide(problem, instance).map(lambda t: 2 * t)

    def distance(other):
        parts = zip((t for _, t in loud.items()), (t for _, t in other.items()), strict=True)
        return sum(float((a - b).abs().square().sum()) for a, b in parts)

    least = distance(problem.project(instance, loud))
    for seed in range(50):
        other = decide(problem, instance, seed=seed)
        near = problem.project(instance, loud.map(lambda t: t))  # start at the projection
        parts = zip((t for _, t in near.items()), (t for _, t in other.items()), strict=True)
        mixed = RobustBeamformingDecision(*(a + 0.05 * (b - a) for a, b in parts))
        assert distance(mixed) >= least * (1 - 1e-12)  # the feasible set is convex


def test_evaluate__violation_is_the_largest_excess():
    problem = make()
    instance = uneven(draw(problem))
    decision = decide(problem, instance).map(lambda t: 1.5 * t)
    excess = (power_of(decision) / instance.max_power_w - 1).clamp_min(0).amax(-1)
    found = problem.evaluate(instance, decision).violation
    torch.testing.assert_close(found, excess, **CLOSE)
    assert (found > 0.3).all()


# --- sensing covariances ------------------------------------------------------------------------


def test_sensing_factor__reproduces_the_covariance():
    factor = Streams.from_seed(1, 3).complex_normal("c", 2, 5, 3)
    covariance = factor @ factor.mH
    for columns in (3, 4, 5):
        found = sensing_factor(covariance, columns)
        assert found.shape == (3, 2, 5, columns)
        torch.testing.assert_close(found @ found.mH, covariance, rtol=1e-10, atol=1e-10)
    assert (sensing_factor(0 * covariance, 2) == 0).all()
    wide = sensing_factor(covariance, 7)
    torch.testing.assert_close(wide @ wide.mH, covariance, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("spoil", "columns", "named"),
    [
        (lambda q: q - 0.1 * torch.eye(5), 5, "row 0 is not positive semidefinite"),
        (lambda q: q, 2, "of rank <= num_streams = 2"),
        (lambda q: q + 0.1 * torch.ones(5, 5).triu(1), 5, "Hermitian"),
    ],
)
def test_sensing_factor__refuses(spoil, columns, named):
    factor = Streams.from_seed(1, 3).complex_normal("c", 2, 5, 3)
    with pytest.raises(ShapeError, match=named):
        sensing_factor(spoil(factor @ factor.mH), columns)


def test_sensing_factor__names_the_bad_row():
    factor = Streams.from_seed(1, 3).complex_normal("c", 2, 5, 3)
    covariance = factor @ factor.mH
    covariance[2, 1] *= -1
    with pytest.raises(ShapeError, match="row 2 is not positive semidefinite"):
        sensing_factor(covariance, 5)


# --- validation ---------------------------------------------------------------------------------


def _set(tensor, value, where=(-1,)):
    changed = tensor.clone()
    changed[where] = value
    return changed


BAD_FIELDS = {
    "preference above 1": ("preference", lambda i: _set(i.preference, 1.1), r"in \[0, 1\]"),
    "preference below 0": ("preference", lambda i: _set(i.preference, -0.1), r"in \[0, 1\]"),
    "no weight": ("weight", lambda i: _set(i.weight, 0.0), "> 0"),
    "no power": ("max_power_w", lambda i: _set(i.max_power_w, 0.0), "> 0"),
    "negative radius": ("radius", lambda i: _set(i.radius, -1.0), ">= 0"),
    "stale rate bound": ("rate_bound", lambda i: i.rate_bound * 1.01, "anchored"),
    "no CRLB bound": ("crlb_bound", lambda i: 0 * i.crlb_bound, "> 0"),
    "correlation of 2 with itself": (
        "correlation",
        lambda i: _set(i.correlation, 2.0, (-1, 0, 0, 0, 0)),
        "1 on the diagonal",
    ),
    "correlation above 1": (
        "correlation",
        lambda i: i.correlation + 2 * (1 - torch.eye(2)),
        "positive semidefinite",
    ),
    "target on a station": ("target", lambda i: _set(i.target, i.bs[-1, 0], (-1, 0)), "stations"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_validate__refuses_instances(case):
    problem = make()
    instance = draw(problem)
    problem.validate(instance)
    name, build, allowed = BAD_FIELDS[case]
    bad = instance.replace(**{name: build(instance)})
    with pytest.raises(ShapeError, match=rf"RobustBeamformingInstance.{name}: must be .*{allowed}"):
        problem.validate(bad)


def test_validate__names_the_row():
    problem = make()
    instance = draw(problem)
    bad = instance.replace(preference=_set(instance.preference, 1.5, (2,)))
    with pytest.raises(ShapeError, match=r"got 1.5 in row 2"):
        problem.validate(bad)


@pytest.mark.parametrize("delay", ["bandlimited", "unresolved"])
def test_validate__coincident_targets_need_resolved_delays(delay):
    problem = make(delay=delay)
    instance = draw(problem)
    target = instance.target.clone()
    target[:, 1] = target[:, 0] + 0.1
    with pytest.raises(ShapeError, match=r"0\.3 m apart unless resolved"):
        problem.validate(instance.replace(target=target))


def test_validate__coincident_targets_are_fine_where_delays_are_resolved():
    problem = make()
    instance = draw(problem)
    target = instance.target.clone()
    target[:, 1] = target[:, 0]
    problem.validate(instance.replace(target=target))


def test_validate__resolved_delays_need_the_identity():
    instance = draw(make("bandlimited"))
    with pytest.raises(ShapeError, match="identity where delays are resolved"):
        make().validate(instance)


@pytest.mark.parametrize("name", ["beam", "sensing"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_validate__refuses_decisions_that_are_not_finite(name, value):
    problem = make()
    instance = draw(problem)
    decision = decide(problem, instance)
    bad = decision.replace(**{name: _set(getattr(decision, name), value, (1, 0, 0, 0))})
    with pytest.raises(ShapeError, match=f"RobustBeamformingDecision.{name}"):
        problem.validate(instance, bad)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("beam", lambda t: t[..., :-1]),
        ("beam", lambda t: t[:, :-1]),
        ("beam", lambda t: t.real),
        ("sensing", lambda t: torch.cat([t, t], -1)),
        ("sensing", lambda t: t[:-1]),
    ],
)
def test_validate__refuses_decisions_of_another_shape(name, change):
    problem = make()
    instance = draw(problem)
    decision = decide(problem, instance)
    with pytest.raises(ShapeError, match=name):
        problem.validate(instance, decision.replace(**{name: change(getattr(decision, name))}))


def test_evaluate__float32_is_close():
    problem = make("two-users")
    instance = draw(problem, 16)
    decision = decide(problem, instance)
    exact = problem.evaluate(instance, decision)
    single = problem.evaluate(instance.to(dtype=torch.float32), decision.to(dtype=torch.float32))
    assert single.objective.dtype == torch.float32
    torch.testing.assert_close(single.objective.double(), exact.objective, rtol=1e-4, atol=1e-5)
