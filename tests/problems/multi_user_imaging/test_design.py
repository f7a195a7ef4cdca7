import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import ShapeError, Streams
from isac_gym.problems.multi_user_imaging.design import ProbingDecision, sinr
from isac_gym.problems.multi_user_imaging.world import matched_beam
from tests.oracles import imaging as oracle
from tests.problems.multi_user_imaging.helpers import (
    draw,
    energy,
    make_design,
    probing,
    set_at,
    single,
)

SEEDS = st.integers(0, 10_000)
SHARES = st.floats(0, 1)


def power_of(decision):
    return energy(decision.probe) + energy(decision.beam)


def quiet(instance, probe):
    """A decision without data."""
    return ProbingDecision(probe, torch.zeros_like(instance.comm_channel))


def flat(instance, weight=1e-9):
    """The instance with next to no prior."""
    eye = torch.eye(instance.image.shape[-1], dtype=instance.image.dtype)
    return instance.replace(precision=(weight * eye).expand_as(instance.precision).clone())


def unreachable(instance):
    """Lanes 0 and 2 have too little power for the SINR."""
    scale = torch.tensor([1e-6, 1.0, 1e-6, 1.0], dtype=torch.float64)
    return instance.replace(max_power_w=instance.max_power_w * scale)


# --- metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["step1", "joint"])
@pytest.mark.parametrize("columns", [1, 4])
def test_evaluate__matches_the_oracle(kind, columns):
    problem = make_design(information=kind)
    s, i = problem.scenario, draw(problem)
    decision = probing(i, columns=columns, size=1.3)
    found = problem.evaluate(i, decision)
    for row in range(4):
        channel, g, h, x = (
            t[row].numpy() for t in (i.bs_channel, i.user_channel, i.comm_channel, i.image)
        )
        f, w = decision.probe[row].numpy(), decision.beam[row].numpy()
        cov = f @ f.conj().T + (np.outer(w, w.conj()) if kind == "joint" else 0)
        gain = s.num_samples / s.noise_w
        bound = oracle.error_bound(channel, g, i.precision[row].numpy(), cov, gain)
        assert float(found.error_bound[row]) == pytest.approx(bound, rel=1e-10)
        assert float(found.objective[row]) == pytest.approx(-10 * math.log10(bound), rel=1e-10)
        heard = oracle.sinr(h, f, w, s.comm_noise_w)
        assert float(found.sinr[row]) == pytest.approx(heard, rel=1e-12)
        power = np.sum(np.abs(f) ** 2) + np.sum(np.abs(w) ** 2)
        assert float(found.power_w[row]) == pytest.approx(power, rel=1e-13)
        short = max(power / 10 - 1, 1 - heard / s.min_sinr)
        assert float(found.violation[row]) == pytest.approx(short, rel=1e-10)
        assert short >= 0.299
        support = np.abs(x) > 0
        part = oracle.error_bound(channel[support], g[:, support], np.zeros((2, 2)), cov, gain)
        assert float(found.support_bound[row]) == pytest.approx(part, rel=1e-9)
        assert bool(found.is_reachable[row]) == (
            10 * np.sum(np.abs(h) ** 2) > s.min_sinr * s.comm_noise_w
        )


def test_evaluate__step1_ignores_what_the_data_tell():
    step, joint = make_design(), make_design(information="joint")
    instance = draw(step)
    decision = probing(instance)
    mute = decision.replace(beam=0 * decision.beam)
    with_data, without = (step.evaluate(instance, d).error_bound for d in (decision, mute))
    assert torch.equal(with_data, without)
    assert (joint.evaluate(instance, decision).error_bound < with_data).all()
    torch.testing.assert_close(joint.evaluate(instance, mute).error_bound, without)


def test_evaluate__nothing_sent_leaves_the_prior():
    problem = make_design(prior_variance=0.2)
    instance = draw(problem)
    zero = probing(instance).map(lambda t: (0 * t).requires_grad_())
    found = problem.evaluate(instance, zero)
    torch.testing.assert_close(found.error_bound, torch.full((4,), 1.6, dtype=torch.float64))
    assert (found.support_bound == torch.inf).all()
    assert (found.sinr == 0).all()
    assert (found.violation == 1).all()
    for slope in torch.autograd.grad(
        found.objective.sum() + found.violation.sum(), [zero.probe, zero.beam]
    ):
        assert torch.isfinite(slope).all()


def test_evaluate__one_constant_beam_leaves_the_prior_of_all_voxels_but_the_users():
    problem = make_design(snr_db=30.0, num_samples=10_000)  # V - K = 4 unseen of variance .3
    instance = draw(problem)
    found = problem.evaluate(instance, probing(instance, columns=1)).error_bound
    assert (found >= 4 * 0.3 * (1 - 1e-9)).all()
    torch.testing.assert_close(found, torch.full((4,), 1.2).double(), rtol=1e-4, atol=0)


def test_error_bound__is_reached_by_the_linear_estimator():
    """E|x - estimate|^2 of Gaussian images, with the covariance fixed by an orthogonal code."""
    problem = make_design(num_samples=4, snr_db=0.0)
    i, lanes = draw(problem, 1), 4000
    decision = probing(i)
    streams = Streams.from_seed(9, lanes)
    x = 0.3**0.5 * streams.complex_normal("x", 8)
    code = torch.fft.fft(torch.eye(4, dtype=torch.complex128))  # sum over samples: 4 I
    lit = i.bs_channel[0] @ decision.probe[0] @ code  # (V, L)
    operator = torch.einsum("kv,vl->klv", i.user_channel[0], lit).reshape(16, 8)
    noise = problem.scenario.noise_w
    y = x @ operator.T + noise**0.5 * streams.complex_normal("noise", 16)
    precision = i.precision[0] + operator.mH @ operator / noise
    estimate = torch.linalg.solve(precision, (y @ operator.conj()).T / noise).T
    error = float(energy(x - estimate).mean())
    bound = float(problem.evaluate(i, decision).error_bound)
    assert error == pytest.approx(bound, rel=0.05)


@given(SEEDS, SHARES)
def test_error_bound__falls_with_the_covariance_and_is_convex(seed, share):
    problem = make_design()
    instance = draw(problem, 2, seed=seed)
    one, two = (probing(instance, seed=seed + k, columns=4).probe for k in (1, 2))
    first, second = one @ one.mH, two @ two.mH

    def bound(covariance):
        root = torch.linalg.cholesky(covariance)
        return problem.evaluate(instance, quiet(instance, root)).error_bound

    ends = share * bound(first) + (1 - share) * bound(second)
    assert (bound(share * first + (1 - share) * second) <= ends * (1 + 1e-9)).all()
    assert (bound(first + share * second) <= bound(first) * (1 + 1e-9)).all()


@given(SEEDS, st.floats(1e-2, 1e2))
def test_error_bound__is_homogeneous_where_nothing_is_known_before(seed, scale):
    problem = make_design()
    instance = flat(draw(problem, 2, seed=seed))
    decision = quiet(instance, probing(instance, seed=seed).probe)
    base = problem.evaluate(instance, decision).error_bound
    scaled = problem.evaluate(instance, decision.map(lambda t: scale**0.5 * t)).error_bound
    torch.testing.assert_close(scaled, base / scale, rtol=1e-6, atol=0)


@given(SEEDS, st.permutations(range(4)))
def test_error_bound__does_not_depend_on_the_order_of_users(seed, order):
    problem = make_design()
    instance = draw(problem, 2, seed=seed)
    decision = probing(instance)
    swapped = instance.replace(user_channel=instance.user_channel[:, order])
    for name, tensor in problem.evaluate(instance, decision).items():
        after = getattr(problem.evaluate(swapped, decision), name)
        torch.testing.assert_close(after, tensor, rtol=1e-10, atol=1e-12, msg=name)


def test_evaluate__phases_and_bases_of_the_factor_do_not_matter():
    problem = make_design()
    instance = draw(problem)
    decision = probing(instance)
    mix = torch.linalg.qr(Streams.from_seed(4, 4).complex_normal("mix", 4, 4)).Q
    turned = ProbingDecision(decision.probe @ mix, 1j * decision.beam)
    after = problem.evaluate(instance, turned)
    for name, tensor in problem.evaluate(instance, decision).items():
        torch.testing.assert_close(getattr(after, name), tensor, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("preset", ["small", "joint"])
def test_evaluate__float32_is_close(preset):
    problem = make_design(preset)
    instance = draw(problem)
    decision = problem.isotropic(instance)
    exact = problem.evaluate(instance, decision)
    low = problem.evaluate(single(instance), single(decision))
    assert low.objective.dtype == torch.float32
    torch.testing.assert_close(low.objective.double(), exact.objective, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(low.sinr.double(), exact.sinr, rtol=1e-4, atol=0)


# --- projection ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.05, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.9, 1.0])
def test_project__meets_power_and_sinr(size, share):
    problem = make_design()
    instance = draw(problem, 64)
    wild = probing(instance, size=size, share=share)
    near = problem.project(instance, wild)
    found = problem.evaluate(instance, near)
    assert found.is_reachable.all()
    assert (found.violation <= 1e-12).all()
    assert (found.power_w <= 10 * (1 + 1e-12)).all()
    assert (found.sinr >= problem.scenario.min_sinr * (1 - 1e-12)).all()
    again = problem.project(instance, near)
    for name, tensor in near.items():
        torch.testing.assert_close(getattr(again, name), tensor, rtol=1e-13, atol=1e-13)


def test_project__keeps_what_is_feasible():
    problem = make_design()
    instance = draw(problem, 16)
    decision = problem.isotropic(instance).map(lambda t: t)
    louder = decision.replace(probe=0.9 * decision.probe)
    assert (problem.evaluate(instance, louder).violation == 0).all()
    for name, tensor in problem.project(instance, louder).items():
        assert torch.equal(tensor, getattr(louder, name)), name


def test_project__only_scales_where_the_sinr_allows_it():
    problem = make_design()
    instance = draw(problem, 16)
    probe, h = probing(instance).probe, instance.comm_channel
    probe = probe - matched_beam(h, 1.0)[..., None] @ (matched_beam(h, 1.0).conj()[:, None] @ probe)
    loud = ProbingDecision(2 * probe, matched_beam(h, 30.0))
    near = problem.project(instance, loud)
    torch.testing.assert_close(power_of(near), instance.max_power_w, rtol=1e-13, atol=0)
    scale = (instance.max_power_w / power_of(loud)).sqrt()
    torch.testing.assert_close(near.probe, scale[:, None, None] * loud.probe)
    torch.testing.assert_close(near.beam, scale[:, None] * loud.beam)


def test_project__raises_the_beam_where_there_is_power_to_spare():
    problem = make_design()
    instance = draw(problem, 16)
    h, quiet = instance.comm_channel, probing(instance, size=0.3).probe
    decision = ProbingDecision(quiet, matched_beam(h, 0.5))
    before = problem.evaluate(instance, decision)
    is_short = before.sinr < problem.scenario.min_sinr
    assert is_short.any()
    near = problem.project(instance, decision)
    after = problem.evaluate(instance, near)
    affordable = is_short & (after.power_w < instance.max_power_w * (1 - 1e-9))
    assert affordable.any()
    assert torch.equal(near.probe[affordable], decision.probe[affordable])
    least = torch.full_like(after.sinr, problem.scenario.min_sinr)
    torch.testing.assert_close(after.sinr[affordable], least[affordable], rtol=1e-12, atol=0)
    assert torch.equal(near.beam[~is_short], decision.beam[~is_short])


def test_project__a_nearly_feasible_design_loses_next_to_nothing():
    problem = make_design("paper")
    instance = problem.sample(Streams.from_seed(3, 16))
    floor = problem.floor(instance)
    weaker = ProbingDecision(0.7 * floor.probe, 0.69 * floor.beam)
    gained = problem.evaluate(instance, problem.project(instance, weaker))
    given = problem.evaluate(instance, weaker)
    assert (given.violation > 0).all()
    assert (gained.violation <= 1e-12).all()
    assert torch.equal(gained.objective, given.objective)


def test_project__keeps_the_probe_that_has_more_power_left():
    problem = make_design()
    s, instance = problem.scenario, draw(problem, 16)
    h = instance.comm_channel
    along = matched_beam(h, 0.999 * s.max_power_w)  # the probe shouts at the user: scaled down
    shouting = ProbingDecision(
        torch.diag_embed(torch.zeros_like(h)) + along[..., None] * torch.eye(1, h.shape[1]),
        0.01 * matched_beam(h, 1.0),
    )
    near = problem.project(instance, shouting)
    found = problem.evaluate(instance, near)
    assert (found.violation <= 1e-9).all()
    torch.testing.assert_close(found.power_w, instance.max_power_w, rtol=1e-9, atol=0)
    assert (near.probe.abs().square().sum((-2, -1)) > 0).all()
    full = probing(instance, share=0.0)  # a probe that hardly looks at the user: silenced there
    silent = problem.project(instance, full)
    kept = energy(silent.probe.flatten(1))
    assert (problem.evaluate(instance, silent).violation <= 1e-9).all()
    assert (kept > 0.3 * s.max_power_w).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_project__an_unreachable_sinr_is_a_flag(share):
    problem = make_design()
    instance = unreachable(draw(problem))
    problem.validate(instance)
    near = problem.project(instance, probing(instance, share=share, size=2.0))
    found = problem.evaluate(instance, near)
    assert found.is_reachable.tolist() == [False, True, False, True]
    for name in ("objective", "violation", "error_bound", "sinr", "power_w"):
        assert torch.isfinite(getattr(found, name)).all(), name
    assert (found.power_w <= instance.max_power_w * (1 + 1e-12)).all()
    assert (found.violation[1::2] <= 1e-12).all()
    assert (found.violation[::2] > 0.9).all()
    best = instance.max_power_w * energy(instance.comm_channel) / problem.scenario.comm_noise_w
    torch.testing.assert_close(found.sinr[::2], best[::2], rtol=1e-12, atol=0)


def test_is_reachable__follows_the_definition():
    problem = make_design(comm_snr_db=4.0)
    s, instance = problem.scenario, draw(problem, 64)
    found = problem.evaluate(instance, problem.isotropic(instance)).is_reachable
    expected = 10 * energy(instance.comm_channel) > s.min_sinr * s.comm_noise_w
    assert torch.equal(found, expected)
    assert 0 < int(found.sum()) < 64


def test_project__a_user_without_a_channel_is_unreachable():
    problem = make_design()
    instance = draw(problem)
    deaf = instance.replace(comm_channel=0 * instance.comm_channel)
    for decision in (problem.project(deaf, probing(deaf)), problem.isotropic(deaf)):
        found = problem.evaluate(deaf, decision)
        assert not found.is_reachable.any()
        assert torch.isfinite(found.objective).all()
        assert (found.power_w <= 10 * (1 + 1e-12)).all()


@pytest.mark.parametrize("size", [0.3, 3.0])
def test_project__holds_in_single_precision(size):
    problem = make_design()
    instance = single(draw(problem, 64))
    near = problem.project(instance, single(probing(draw(problem, 64), size=size, share=0.1)))
    assert near.probe.dtype == torch.complex64
    assert (problem.evaluate(instance, near).violation <= 1e-5).all()


# --- fixed designs ------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["small", "paper", "geometric"])
def test_isotropic__spends_all_power_and_just_meets_the_sinr(preset):
    problem = make_design(preset)
    instance = draw(problem, 8)
    decision = problem.isotropic(instance)
    found = problem.evaluate(instance, decision)
    torch.testing.assert_close(found.power_w, instance.max_power_w, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.sinr, torch.full((8,), 10.0).double(), rtol=1e-12, atol=0)
    assert (found.violation <= 1e-12).all()
    covariance = decision.probe @ decision.probe.mH
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype)
    torch.testing.assert_close(covariance, covariance[:, :1, :1] * eye, rtol=1e-13, atol=1e-13)
    h = instance.comm_channel
    along = (h.conj() * decision.beam).sum(-1).abs().square()
    torch.testing.assert_close(along, energy(h) * energy(decision.beam), rtol=1e-12, atol=0)
    for name, tensor in problem.floor(instance).items():
        assert torch.equal(tensor, getattr(decision, name)), name


def test_isotropic__gives_all_power_to_an_unreachable_user():
    problem = make_design()
    instance = unreachable(draw(problem))
    decision = problem.isotropic(instance)
    assert (decision.probe[::2] == 0).all()
    torch.testing.assert_close(power_of(decision), instance.max_power_w, rtol=1e-12, atol=0)


def test_beam_alone__is_the_cheapest_for_a_silent_probe():
    problem = make_design()
    instance = draw(problem, 16)
    beam = problem.beam_alone(instance)
    mute = ProbingDecision(torch.zeros(16, 4, 4, dtype=torch.complex128), beam)
    reached = sinr(instance.comm_channel, mute, problem.scenario.comm_noise_w)
    torch.testing.assert_close(reached, torch.full((16,), 10.0).double(), rtol=1e-12, atol=0)
    turned = probing(instance, share=1.0).beam
    turned = turned * (energy(beam) / energy(turned)).sqrt()[:, None]
    other = sinr(instance.comm_channel, mute.replace(beam=turned), problem.scenario.comm_noise_w)
    assert (other < reached).all()


# --- validation ---------------------------------------------------------------------------------

BAD_FIELDS = {
    "no power": ("max_power_w", lambda i: set_at(i.max_power_w, 0.0), "> 0; row 3"),
    "negative power": ("max_power_w", lambda i: set_at(i.max_power_w, -1.0, (1,)), "> 0; row 1"),
    "lopsided precision": (
        "precision",
        lambda i: set_at(i.precision, 1.0, (2, 0, 1)),
        "Hermitian; row 2",
    ),
    "complex variance": (
        "precision",
        lambda i: set_at(i.precision, 3.0 + 1.0j, (2, 1, 1)),
        "Hermitian; row 2",
    ),
    "no prior": ("precision", lambda i: 0 * i.precision, "positive definite; row 0"),
    "negative prior": (
        "precision",
        lambda i: set_at(i.precision, -3.0, (1, 2, 2)),
        "positive definite; row 1",
    ),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_validate__refuses_instances(case):
    problem = make_design()
    instance = draw(problem)
    problem.validate(instance)
    name, build, allowed = BAD_FIELDS[case]
    bad = instance.replace(**{name: build(instance)})
    with pytest.raises(ShapeError, match=rf"ImagingDesignInstance.{name}: must be .*{allowed}"):
        problem.validate(bad)


@pytest.mark.parametrize("name", ["bs_channel", "user_channel", "comm_channel", "image"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_validate__refuses_instances_that_are_not_finite(name, value):
    problem = make_design()
    instance = draw(problem)
    bad = instance.replace(**{name: set_at(getattr(instance, name), value, (1, ..., 0))})
    with pytest.raises(ShapeError, match=rf"ImagingDesignInstance.{name}: .*row 1"):
        problem.validate(bad)


@pytest.mark.parametrize("name", ["probe", "beam"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_validate__refuses_decisions_that_are_not_finite(name, value):
    problem = make_design()
    instance = draw(problem)
    decision = probing(instance)
    bad = decision.replace(**{name: set_at(getattr(decision, name), value, (2, ..., 0))})
    with pytest.raises(ShapeError, match=rf"ProbingDecision.{name}: .*row 2"):
        problem.validate(instance, bad)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("probe", lambda t: t[..., :1]),
        ("probe", lambda t: t[:, :-1]),
        ("probe", lambda t: t[:-1]),
        ("probe", lambda t: t.real),
        ("beam", lambda t: t[:, :-1]),
        ("beam", lambda t: t[..., None]),
        ("beam", lambda t: t.real),
    ],
)
def test_validate__refuses_decisions_of_another_shape(name, change):
    problem = make_design()
    instance = draw(problem)
    decision = probing(instance)
    with pytest.raises(ShapeError, match=name):
        problem.validate(instance, decision.replace(**{name: change(getattr(decision, name))}))
