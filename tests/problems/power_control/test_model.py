import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import ScenarioError, ShapeError, Streams
from isac_gym.physics.interference import balanced_level, max_min_level, sinr
from isac_gym.problems.power_control import model
from isac_gym.problems.power_control.model import Fading, PowerControlDecision
from tests.oracles import dynamics
from tests.oracles import power_control_physics as oracle
from tests.problems.power_control.helpers import draw, gains_of, make, powers, scored, uneven

CLOSE = {"rtol": 1e-11, "atol": 0}

# --- gains --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_bs": 7, "threshold_db": -10.0},
        {"direct_cancel_db": 20.0, "rician_k_db": 3.0, "comm_exponent": 3.0},
        {
            "min_distance_m": 60.0,
            "sense_exponent": 2.4,
            "target_rcs_dbsm": 0.0,
            "threshold_db": -9.0,
        },
    ],
)
def test_instance_at__gains_match_the_oracle(changes):
    problem = make(**changes)
    s = problem.scenario
    instance, fading = problem.sample_with_fading(Streams.from_seed(3, 3), -math.inf)
    for row in range(3):
        bs, ue, target = (t[row].numpy() for t in (instance.bs, instance.ue, instance.target))
        comm = {"k_db": s.rician_k_db, "exponent": s.comm_exponent, "d_min": s.min_distance_m}
        echo = {
            "rcs_dbsm": s.target_rcs_dbsm,
            "exponent": s.sense_exponent,
            "d_min": s.min_distance_m,
        }
        wavelength = oracle.wavelength(s.carrier_hz)
        w_u, w_b = fading.ue[row].numpy(), fading.bs[row].numpy()
        expected = {
            "comm_gain": oracle.comm_gains(bs, ue, w_u, wavelength, **comm),
            "direct_gain": oracle.direct_gains(
                bs, w_b, wavelength, direct_cancel_db=s.direct_cancel_db, **comm
            ),
            "bs_echo_gain": oracle.echo_gains(bs, bs, target, wavelength, **echo),
            "ue_echo_gain": oracle.echo_gains(ue, bs, target, wavelength, **echo),
        }
        for name, gain in expected.items():
            # the phase counts up to 4000 wavelengths, so 1e-12 of it is lost
            np.testing.assert_allclose(
                getattr(instance, name)[row].numpy(), gain, rtol=1e-9, err_msg=name
            )


def test_instance_at__antenna_gains_add_in_db():
    base, gained = make(), make(bs_gain_dbi=8.0, ue_gain_dbi=3.0)
    streams = Streams.from_seed(3, 4)
    plain, _ = base.sample_with_fading(streams, -math.inf)
    loud, _ = gained.sample_with_fading(streams, -math.inf)
    gains_db = {"comm_gain": 11, "direct_gain": 16, "bs_echo_gain": 16, "ue_echo_gain": 11}
    for name, gain_db in gains_db.items():
        expected = getattr(plain, name) * 10 ** (gain_db / 10)
        torch.testing.assert_close(getattr(loud, name), expected, **CLOSE)


def test_sample__gains_are_reciprocal_where_physics_says_so():
    instance = draw(make("dense-7"))
    torch.testing.assert_close(instance.direct_gain, instance.direct_gain.mT, **CLOSE)
    torch.testing.assert_close(instance.bs_echo_gain, instance.bs_echo_gain.mT, **CLOSE)
    assert (torch.diagonal(instance.direct_gain, dim1=1, dim2=2) == 0).all()
    determinant = instance.bs_echo_gain[:, :2, :2]
    product = determinant[:, 0, 0] * determinant[:, 1, 1]
    torch.testing.assert_close(determinant[:, 0, 1] ** 2, product, **CLOSE)  # rank one


def test_sample__typical_magnitudes():
    # spec 1.2, 5000 draws: own echo -136..-82 dB (median -126), direct sum -96.5 dB
    instance, _ = make().sample_with_fading(Streams.from_seed(1, 5000), -math.inf)
    own_db = 10 * torch.diagonal(instance.bs_echo_gain, dim1=1, dim2=2).log10()
    assert float(own_db.median()) == pytest.approx(-126, abs=1)
    assert -138 < float(own_db.min()) < -132
    direct_db = 10 * instance.direct_gain.sum(-1).median().log10()
    assert float(direct_db) == pytest.approx(-96.5, abs=0.7)
    shares = instance.direct_gain.sum(-1), instance.self_interference, instance.bs_noise_w
    echo = instance.bs_echo_gain.sum(-1) - torch.diagonal(instance.bs_echo_gain, dim1=1, dim2=2)
    direct, own, noise = (float(part.mean()) for part in shares)
    whole = direct + own + noise + float(echo.mean())
    assert direct / whole == pytest.approx(0.944, abs=0.02)
    assert own / whole == pytest.approx(0.044, abs=0.015)
    assert noise / whole == pytest.approx(0.006, abs=0.004)


# --- metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_echo", ["signal", "interference"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"processing_gain": True, "threshold_db": 3.0},
        {"threshold_db": -math.inf},
        {"num_bs": 5, "threshold_db": -6.0, "self_interference_db": -90.0},
    ],
)
@pytest.mark.parametrize("spread", [lambda instance: instance, uneven], ids=["even", "uneven"])
def test_evaluate__matches_the_oracle(own_echo, changes, spread):
    problem = make(own_echo=own_echo, **changes)
    instance, decision = spread(draw(problem, 3)), powers(problem, 3)
    metrics = problem.evaluate(instance, decision)
    for row in range(3):
        expected = scored(problem, instance, decision, row)
        seen = {
            "t": metrics.worst_sinr,
            "worst": metrics.worst_sigma_m,
            "mean": metrics.mean_sigma_m,
            "viol_db": metrics.violation_db,
            "usable": metrics.usable,
            "power": metrics.total_power_w,
            "rate": metrics.sum_rate_bps_hz,
            "peb2": metrics.peb2d_m,
            "peb3": metrics.peb3d_m,
            "cond2": metrics.condition2d,
        }
        for name, tensor in seen.items():
            assert float(tensor[row]) == pytest.approx(expected[name], rel=1e-8, abs=1e-12), name
        gains, p = gains_of(instance, row), (decision.power * instance.max_power_w)[row].numpy()
        np.testing.assert_allclose(
            metrics.sensing_sinr[row].numpy(), oracle.sensing_sinr(p, gains), rtol=1e-11
        )
        np.testing.assert_allclose(
            metrics.comm_sinr[row].numpy(), oracle.comm_sinr(p, gains, own_echo), rtol=1e-11
        )


@pytest.mark.parametrize(
    ("objective", "name", "power"), [("peb2d", "peb2d_m", -2), ("peb3d", "peb3d_m", -2)]
)
def test_evaluate__position_objectives_are_db_of_the_bound(objective, name, power):
    problem = make(objective=objective)
    metrics = problem.evaluate(draw(problem), powers(problem))
    expected = 10 * (getattr(metrics, name) ** power).log10()
    torch.testing.assert_close(metrics.objective, expected, **CLOSE)


def test_evaluate__maxmin_objective_is_monotone_in_the_worst_sigma():
    problem = make()
    instance = uneven(draw(problem, 64))
    metrics = problem.evaluate(instance, powers(problem, 64))
    torch.testing.assert_close(metrics.objective, 10 * metrics.worst_sinr.log10(), **CLOSE)
    # sigma_i is c / (2 B_i sqrt(2 gamma_i)), so t B_max^2 fixes the largest sigma
    widest = instance.bandwidth_hz.amax(-1)
    from_level = oracle.SPEED_OF_LIGHT / (2 * widest * (2 * metrics.worst_sinr).sqrt())
    torch.testing.assert_close(metrics.worst_sigma_m, from_level, **CLOSE)


def test_evaluate__peb3d_of_three_stations_is_a_posynomial():
    problem = make()
    instance, decision = draw(problem, 20), powers(problem, 20)
    metrics = problem.evaluate(instance, decision)
    for row in range(20):
        bs, target = instance.bs[row].numpy(), instance.target[row].numpy()
        sigma = metrics.range_sigma_m[row].numpy()
        expected = float((oracle.peb3_coefficients(bs, target) * sigma**2).sum())
        rounding = np.linalg.cond(oracle.position_information(bs, target, sigma, 3)) * 1e-14
        assert rounding < 1e-8
        assert float(metrics.peb3d_m[row]) ** 2 == pytest.approx(expected, rel=rounding)


def test_evaluate__violation_is_relative_and_in_db():
    problem = make(threshold_db=3.0)
    instance, decision = draw(problem, 32), powers(problem, 32)
    metrics = problem.evaluate(instance, decision)
    ratio = (metrics.comm_sinr / instance.threshold).amin(-1)
    torch.testing.assert_close(metrics.violation, (1 - ratio).clamp_min(0), rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(
        metrics.violation_db, (-10 * ratio.log10()).clamp_min(0), rtol=1e-9, atol=1e-14
    )
    assert torch.equal(metrics.is_feasible, ratio >= 1)
    assert 0 < int(metrics.is_feasible.sum()) < 32


@pytest.mark.parametrize("edge", [-0.25, 1.25])
def test_evaluate__box_excess_is_a_violation(edge):
    problem = make(threshold_db=-math.inf)
    instance, decision = draw(problem, 4), powers(problem, 4)
    decision.power[2, 1] = edge
    metrics = problem.evaluate(instance, decision)
    assert metrics.violation.tolist() == [0, 0, pytest.approx(0.25), 0]
    assert metrics.is_feasible.tolist() == [True, True, False, True]


def test_evaluate__scale_invariant_without_noise():
    problem = make()
    instance = draw(problem)
    quiet = dataclasses.replace(
        instance, bs_noise_w=instance.bs_noise_w * 1e-15, ue_noise_w=instance.ue_noise_w * 1e-15
    )
    decision = powers(problem)
    half = PowerControlDecision(decision.power / 2)
    loud, soft = problem.evaluate(quiet, decision), problem.evaluate(quiet, half)
    for name in ("sensing_sinr", "comm_sinr"):
        torch.testing.assert_close(getattr(loud, name), getattr(soft, name), rtol=1e-9, atol=0)


def test_evaluate__more_power_for_all_never_hurts_with_noise():
    problem = make()
    instance, decision = draw(problem, 50), powers(problem, 50)
    half = PowerControlDecision(decision.power / 2)
    loud, soft = problem.evaluate(instance, decision), problem.evaluate(instance, half)
    assert (loud.sensing_sinr > soft.sensing_sinr).all()
    assert (loud.comm_sinr > soft.comm_sinr).all()


@given(st.permutations(range(3)))
def test_evaluate__labels_of_the_stations_do_not_matter(order):
    problem = make(threshold_db=3.0)
    instance, decision = uneven(draw(problem)), powers(problem)
    index = torch.tensor(order)
    permuted = {}
    for name, info in type(instance).tensor_fields().items():
        tensor = getattr(instance, name)
        for axis, letter in enumerate(info.axes):
            if letter == "I":
                tensor = tensor.index_select(axis, index)
        permuted[name] = tensor
    twin = type(instance).from_items(permuted)
    mine = problem.evaluate(instance, decision)
    theirs = problem.evaluate(twin, PowerControlDecision(decision.power[:, index]))
    torch.testing.assert_close(theirs.objective, mine.objective, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(theirs.sensing_sinr, mine.sensing_sinr[:, index], **CLOSE)
    best, twin_best = (max_min_level(*problem.network(i)) for i in (instance, twin))
    torch.testing.assert_close(twin_best.level, best.level, rtol=4e-12, atol=0)
    torch.testing.assert_close(twin_best.x, best.x[:, index], rtol=1e-8, atol=0)


# --- the normalised network ---------------------------------------------------------------------


@pytest.mark.parametrize("own_echo", ["signal", "interference"])
def test_network__matches_the_oracle(own_echo):
    problem = make(own_echo=own_echo, threshold_db=2.0)
    instance = uneven(draw(problem, 3))
    network = problem.network(instance)
    for row in range(3):
        f, n, q, m = oracle.normalised(gains_of(instance, row), own_echo)
        bandwidth = instance.bandwidth_hz[row].numpy()
        weight, gamma = (bandwidth.max() / bandwidth) ** 2, instance.threshold[row].numpy()
        expected = weight[:, None] * f, weight * n, gamma[:, None] * q, gamma * m
        for mine, theirs in zip(network, expected, strict=True):
            np.testing.assert_allclose(mine[row].numpy(), theirs, rtol=1e-11, atol=1e-300)


def test_network__gives_the_sinrs():
    problem = make(threshold_db=2.0)
    instance, decision = uneven(draw(problem)), powers(problem)
    metrics, network = problem.evaluate(instance, decision), problem.network(instance)
    x = decision.power
    weighted = (
        metrics.sensing_sinr
        * (instance.bandwidth_hz / instance.bandwidth_hz.amax(-1, keepdim=True)).square()
    )
    torch.testing.assert_close(sinr(x, network.coupling, network.noise), weighted, **CLOSE)
    ratio = metrics.comm_sinr / instance.threshold
    torch.testing.assert_close(sinr(x, network.comm_coupling, network.comm_noise), ratio, **CLOSE)


def test_comm_margin__scales_with_the_threshold():
    problem = make()
    instance = draw(problem, 20)
    margin = problem.comm_margin(instance)
    harder = problem.comm_margin(problem.tighten(instance, 3.0))
    torch.testing.assert_close(harder, margin / 10**0.3, rtol=1e-10, atol=0)


def test_tighten__raises_thresholds_only():
    problem = make()
    instance = draw(problem, 2)
    tight = problem.tighten(instance, 10.0)
    torch.testing.assert_close(tight.threshold, 10 * instance.threshold, **CLOSE)
    assert tight.comm_gain is instance.comm_gain
    free = make(threshold_db=-math.inf)
    assert (free.tighten(draw(free, 2), 10.0).threshold == 0).all()


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"threshold_db": 2.0}, {"threshold_db": -2.0}),
        ({"self_interference_db": -95.0}, {"self_interference_db": -105.0}),
        ({"max_power_dbm": 10.0}, {"max_power_dbm": 30.0}),
        ({"bs_noise_figure_db": 15.0}, {"bs_noise_figure_db": 5.0}),
    ],
)
def test_optimum__is_monotone(worse, better):
    streams, levels = Streams.from_seed(9, 60), []
    for changes in (worse, better):
        problem = make(min_margin_db=-math.inf, **changes)
        best = max_min_level(*problem.network(problem.sample(streams)))
        levels.append(torch.where(best.is_feasible, best.level, 0))
    assert (levels[0] <= levels[1] * (1 + 1e-12)).all()
    assert (levels[0] < levels[1]).float().mean() > 0.8  # some thresholds bind in neither


# --- sampling -----------------------------------------------------------------------------------


def test_sample__targets_fill_the_hexagon():
    instance, _ = make().sample_with_fading(Streams.from_seed(2, 20_000), -math.inf)
    target = instance.target.numpy()
    outside = [p for p in target[:4000, :2] if not oracle.in_hexagon(p, 100.0, slack=1e-9)]
    assert not outside
    assert (target[:, 2] == 1.5).all()


def test_sample__users_fill_their_discs():
    instance, _ = make().sample_with_fading(Streams.from_seed(2, 20_000), -math.inf)
    offset = (instance.ue - instance.bs)[..., :2]
    radius = offset.norm(dim=-1)
    assert float(radius.max()) <= 86.6026
    inside = (radius / 86.6025).square()  # uniform in [0, 1]
    assert float(inside.mean()) == pytest.approx(0.5, abs=0.004)
    assert float(offset.mean()) == pytest.approx(0.0, abs=0.6)
    assert (instance.ue[..., 2] == 1.5).all()


def test_sample__keeps_the_margin_and_redraws_only_what_fails():
    streams = Streams.from_seed(4, 300)
    problem, free = make(threshold_db=3.0, min_margin_db=1.0), make(threshold_db=3.0)
    drawn = problem.sample(streams)
    raw, _ = free.sample_with_fading(streams, -math.inf)
    margin = problem.comm_margin(drawn)
    assert (margin >= 10**0.1 * (1 - 1e-12)).all()
    keeps = free.comm_margin(raw) >= 10**0.1
    assert 0.3 < float(keeps.double().mean()) < 0.99
    same = (drawn.target == raw.target).all(-1)
    assert torch.equal(same, keeps)


def test_sample__feasible_share_without_redraw():
    # spec 6.2: 0.995 at 0 dB, 0.838 at 5 dB, 0.299 at 10 dB (10^4 draws)
    streams = Streams.from_seed(11, 4000)
    for threshold_db, share in ((0.0, 0.995), (5.0, 0.838), (10.0, 0.299)):
        problem = make(threshold_db=threshold_db, min_margin_db=-math.inf)
        feasible = problem.comm_margin(problem.sample(streams)) >= 1
        assert float(feasible.double().mean()) == pytest.approx(share, abs=0.02)


def test_sample__fading_matches_the_gains_after_redraws():
    problem = make(threshold_db=5.0)
    instance, fading = problem.sample_with_fading(Streams.from_seed(4, 40), 0.5)
    again = problem.instance_at(instance.bs, instance.ue, instance.target, fading)
    torch.testing.assert_close(again.comm_gain, instance.comm_gain, **CLOSE)
    torch.testing.assert_close(again.direct_gain, instance.direct_gain, **CLOSE)


def test_sample__out_of_reach_names_the_fields(monkeypatch):
    monkeypatch.setattr(model, "_MAX_ATTEMPTS", 5)
    with pytest.raises(
        ScenarioError, match=r"threshold_db = 60 .* min_margin_db = 0.1 within 5 draws"
    ):
        draw(make(threshold_db=60.0))


GOLDEN = {
    "paper": [-39.1754980883, -33.8829565802, -32.6683807029],
    "paper-constrained": [-39.1754980883, -33.8829565802, -33.4596675302],
    "high-si": [-44.4624176259, -42.6688838654, -39.4649926681],
    "low-si": [-39.0709639171, -33.5882274826, -32.5009182976],
    "dense-7": [-47.511989855, -45.5264321461, -45.6553521418],
    "dense-19": [-57.8817641425, -61.6671016988, -57.6951047419],
    "realistic": [-39.1754980883, -33.8829565802, -32.6683807029],
    "peb3d": [-47.5619613544, -43.1386569893, -45.7793060976],
    "peb2d": [-39.7707353767, -34.2104006648, -33.3989054342],
}


@pytest.mark.parametrize("preset", sorted(GOLDEN))
def test_sample__golden(preset):
    # floor objectives in dB; a change here needs new -vN ids and a CHANGELOG line
    problem = make(preset)
    instance = draw(problem, 3, seed=0)
    objective = problem.evaluate(instance, problem.floor(instance)).objective
    np.testing.assert_allclose(objective.numpy(), GOLDEN[preset], rtol=1e-9)


# --- projection ---------------------------------------------------------------------------------


def test_project__is_the_first_feasible_point_towards_the_safe_one():
    problem = make(threshold_db=3.0)
    instance, decision = draw(problem, 24), powers(problem, 24)
    network = problem.network(instance)
    safe = balanced_level(network.comm_coupling, network.comm_noise)[1]
    projected = problem.project(instance, decision).power
    for row in range(24):
        expected = dynamics.radial_projection(
            decision.power[row].numpy(),
            network.comm_coupling[row].numpy(),
            network.comm_noise[row].numpy(),
            safe[row].numpy(),
        )
        np.testing.assert_allclose(projected[row].numpy(), expected, rtol=1e-9)


def test_project__feasible_points_come_back_bit_for_bit():
    problem = make(threshold_db=0.0)
    instance, decision = draw(problem, 200), powers(problem, 200)
    inside = problem.evaluate(instance, decision).violation == 0
    assert 0.05 < float(inside.double().mean()) < 0.95
    kept = problem.project(instance, decision).power[inside]
    assert torch.equal(kept, decision.power[inside])


def test_project__clips_to_the_box():
    problem = make(threshold_db=-math.inf)
    instance = draw(problem, 2)
    wild = PowerControlDecision(torch.tensor([[-1.0, 0.5, 7.0], [0.0, 1.0, 0.25]]).double())
    assert problem.project(instance, wild).power.tolist() == [[0, 0.5, 1], [0, 1, 0.25]]


def test_project__infeasible_instances_get_the_max_margin_point():
    problem = make(threshold_db=10.0, min_margin_db=-math.inf)
    instance = draw(problem, 64)
    margin = problem.comm_margin(instance)
    lost = margin < 1
    assert lost.any()
    network = problem.network(instance)
    safe = balanced_level(network.comm_coupling, network.comm_noise)[1]
    projected = problem.project(instance, powers(problem, 64)).power
    torch.testing.assert_close(projected[lost], safe[lost], **CLOSE)
    metrics = problem.evaluate(instance, PowerControlDecision(projected))
    torch.testing.assert_close(metrics.violation[lost], 1 - margin[lost], rtol=1e-8, atol=1e-12)
    assert (metrics.violation[~lost] <= 1e-12).all()


def test_project__gradcheck():
    problem = make(threshold_db=3.0)
    instance, decision = draw(problem, 6), powers(problem, 6)
    is_moved = problem.project(instance, decision).power != decision.power
    assert is_moved.any(-1).any()
    assert not is_moved.any(-1).all()
    variable = decision.power.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: problem.project(instance, PowerControlDecision(x)).power, (variable,)
    )


def test_floor__is_full_power_projected():
    problem = make(threshold_db=0.0)
    instance = draw(problem, 40)
    floor = problem.floor(instance)
    full = PowerControlDecision(torch.ones_like(floor.power))
    assert torch.equal(floor.power, problem.project(instance, full).power)
    inside = problem.evaluate(instance, full).violation == 0
    assert inside.any()
    assert (floor.power[inside] == 1).all()


# --- validation ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("comm_gain", -1e-9, r"comm_gain: must be >= 0, got -1e-09"),
        ("bs_noise_w", 0.0, r"bs_noise_w: must be > 0, got 0"),
        ("ue_noise_w", -1.0, r"ue_noise_w: must be > 0, got -1"),
        ("bandwidth_hz", 0.0, r"bandwidth_hz: must be > 0"),
        ("max_power_w", 0.0, r"max_power_w: must be > 0"),
        ("threshold", -0.5, r"threshold: must be >= 0"),
        ("self_interference", math.nan, r"self_interference: non-finite value in row 1"),
        ("target", math.inf, r"target: non-finite value in row 1"),
    ],
)
def test_validate__refuses_instances(field, value, message):
    problem = make()
    instance = draw(problem, 3)
    spoiled = getattr(instance, field).clone()
    spoiled[1].view(-1)[0] = value
    with pytest.raises(ShapeError, match=f"PowerControlInstance.{message}"):
        problem.validate(instance.replace(**{field: spoiled}))


def test_validate__refuses_gains_that_are_not_square():
    problem = make()
    instance = draw(problem, 3)
    narrow = instance.comm_gain[:, :, :2]
    with pytest.raises(ShapeError, match=r"comm_gain: shape \(3, 3, 2\), expected \(B I I\)"):
        problem.validate(instance.replace(comm_gain=narrow))


@pytest.mark.parametrize("value", [-1e-8, 1 + 1e-8, 2.0])
def test_validate__refuses_powers_outside_the_box(value):
    problem = make()
    instance, decision = draw(problem, 3), powers(problem, 3)
    decision.power[2, 0] = value
    with pytest.raises(ShapeError, match=r"PowerControlDecision.power: must be in \[0, 1\]"):
        problem.validate(instance, decision)


@pytest.mark.parametrize("value", [-1e-10, 1 + 1e-10])
def test_validate__forgives_rounding(value):
    problem = make()
    instance, decision = draw(problem, 3), powers(problem, 3)
    decision.power[2, 0] = value
    problem.validate(instance, decision)


def test_validate__no_threshold_is_allowed():
    problem = make(threshold_db=-math.inf)
    instance = draw(problem, 3)
    problem.validate(instance, problem.floor(instance))


@pytest.mark.parametrize("count", [1, 2])
def test_problem__works_for_few_stations(count):
    problem = make(num_bs=count)
    instance = draw(problem, 5)
    metrics = problem.evaluate(instance, problem.floor(instance))
    assert torch.isfinite(metrics.objective).all()
    assert (metrics.violation <= 1e-12).all()
    if count == 1:
        network = problem.network(instance)
        best = max_min_level(*network)
        closed = 1 / (network.coupling[:, 0, 0] + network.noise[:, 0])
        torch.testing.assert_close(best.level, closed, **CLOSE)


def test_fading__is_a_pair():
    _, fading = make().sample_with_fading(Streams.from_seed(0, 2), -math.inf)
    assert isinstance(fading, Fading)
    assert torch.equal(fading.bs, fading.bs.mT)
