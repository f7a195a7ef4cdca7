"""The OTA-FEEL problem: what it draws, what it reports and what it refuses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import ShapeError, Streams
from isac_gym.problems.ota_feel.model import OtaFeel, OtaFeelDecision, within_budget
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario
from tests.oracles import ota_feel as oracle


def make(preset="paper", **changes):
    return OtaFeel(scenario=OtaFeelScenario.preset(preset, **changes))


def draw(problem, batch=4, *, seed=5):
    return problem.sample(Streams.from_seed(seed, batch))


def decide(problem, instance, *, seed=8):
    """Random precoders at 20 to 100 % of every budget."""
    s, streams = problem.scenario, Streams.from_seed(seed, instance.batch_size)
    raw = streams.complex_normal("precoder", s.num_devices, s.device_antennas, s.num_tasks)
    share = 0.2 + 0.8 * streams.uniform("share", s.num_devices)
    full = within_budget(1e3 * raw, instance.max_power_w)
    return OtaFeelDecision(full * share.sqrt()[..., None, None])


def scene_of(problem, instance, row):
    s, i = problem.scenario, instance
    return oracle.Scene(
        *(t[row].numpy() for t in (i.position, i.target)),
        s.device_antennas,
        array=s.array,
        gain=s.reference_gain,
        exponent=s.path_exponent,
        wavelength=s.wavelength_m,
        noise=i.echo_noise_w[row].numpy(),
        length=s.frame_length,
    )


# --- instances ----------------------------------------------------------------------------------


def on_the_ground(points):
    return points[..., :2].norm(dim=-1), torch.atan2(points[..., 1], points[..., 0])


def is_uniform(sample, *, errors=4.5):
    """Mean and second moment of a sample that should be uniform in [0, 1]."""
    n = sample.numel()
    mean, square = float(sample.mean()), float(sample.square().mean())
    assert abs(mean - 1 / 2) < errors * (1 / 12 / n) ** 0.5
    assert abs(square - 1 / 3) < errors * (4 / 45 / n) ** 0.5
    return True


def test_sample__target_is_uniform_in_area_arc_and_height():
    i = draw(make(), 6000)
    radius, angle = on_the_ground(i.target)
    assert radius.min() >= 100
    assert radius.max() <= 110
    assert is_uniform((radius.square() - 100**2) / (110**2 - 100**2))
    assert is_uniform(angle / math.radians(20) + 0.5)
    assert is_uniform(i.target[:, 2] / 3)


def test_sample__devices_are_uniform_in_area_and_arc():
    """Far from the target nothing is redrawn."""
    i = draw(make(min_target_distance_m=1.0, min_target_radius_m=101.0), 2000)
    radius, angle = on_the_ground(i.position)
    assert radius.min() >= 50
    assert radius.max() <= 100
    assert is_uniform((radius.square() - 50**2) / (100**2 - 50**2))
    assert is_uniform(angle / math.radians(20) + 0.5)
    assert (i.position[..., 2] == 1.5).all()


def test_sample__uniform_in_area_is_told_from_uniform_in_radius():
    radius, _ = on_the_ground(draw(make(), 2000).position)
    with pytest.raises(AssertionError):
        is_uniform((radius - 50) / 50)


@pytest.mark.parametrize("distance", [0.01, 5.0, 30.0, 50.0])
def test_sample__devices_keep_their_distance(distance):
    i = draw(make(min_target_distance_m=distance, arc_deg=5.0), 500)
    apart = (i.position - i.target[:, None])[..., :2].norm(dim=-1)
    assert apart.min() >= distance * (1 - 1e-12)
    radius, angle = on_the_ground(i.position)
    assert radius.min() >= 50 - 1e-9
    assert angle.abs().max() <= math.radians(2.5) + 1e-12


def test_sample__a_distance_changes_only_who_is_too_near():
    near, far = (draw(make(min_target_distance_m=d), 500) for d in (0.01, 20.0))
    apart = (near.position - near.target[:, None])[..., :2].norm(dim=-1)
    same = (near.position == far.position).all(-1)
    torch.testing.assert_close(same, apart >= 20.0, rtol=0, atol=0)
    assert 0.02 < float((~same).double().mean()) < 0.5


def test_sample__channels_are_circular_and_of_unit_power():
    h = draw(make(), 500).channel
    n = h.numel()
    assert abs(float(h.abs().square().mean()) - 1) < 5 / n**0.5
    assert abs(complex((h * h).mean())) < 5 * (2 / n) ** 0.5
    assert abs(complex(h.mean())) < 5 / n**0.5


def test_sample__channels_fade_with_the_distance():
    i = draw(make("path-loss"), 1000)
    law = (i.position.norm(dim=-1) / 75) ** -3.0
    power = i.channel.abs().square().mean((-2, -1)) / law
    assert abs(float(power.mean()) - 1) < 5 / i.channel.numel() ** 0.5
    assert float(law.max() / law.min()) > 6


def test_sample__weights_sum_to_one():
    equal, spread = draw(make(), 4), draw(make("unequal"), 400)
    torch.testing.assert_close(equal.weight, torch.full_like(equal.weight, 1 / 15))
    torch.testing.assert_close(spread.weight.sum(1), torch.ones(400, 2, dtype=torch.float64))
    logs = spread.weight.log()
    logs = logs - logs.mean(1, keepdim=True)
    assert float(logs.square().sum(1).mean() / 14) == pytest.approx(1.0, rel=0.05)
    assert not torch.equal(spread.weight[..., 0], spread.weight[..., 1])


# --- metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["paper", "joint", "unequal", "small", "sensing", "path-loss"])
def test_metrics__are_those_of_the_definitions(preset):
    problem = make(preset)
    s, i = problem.scenario, draw(problem)
    d = decide(problem, i)
    m = problem.evaluate(i, d)
    pulse = oracle.pulses(s.pulse, s.num_devices, s.frame_length)
    for row in range(2):
        h, c, w = (t[row].numpy() for t in (i.channel, d.precoder, i.weight))
        error = oracle.aggregation_error(h, c, w, 10 ** (-s.snr_db / 10), pulse)
        scene = scene_of(problem, i, row)
        prior = np.eye(3) / s.prior_std_m**2
        ideal, heard = (
            np.trace(np.linalg.inv(oracle.fisher(scene, c, disturbed=x, step=1e-2) + prior))
            for x in (False, True)
        )
        power = (np.abs(c) ** 2).sum((1, 2))
        most = 2 * oracle.largest_slope(scene, s.min_target_distance_m)
        most *= s.frame_length * np.sum(1 / scene.noise) * power.sum()
        scored = ideal if s.sensing == "ideal" else heard
        nmse, share = error.sum() / np.sum(w**2), s.sensing_weight
        expected = {
            "mse": error.sum(),
            "nmse": nmse,
            "nmse_task": error / (w**2).sum(0),
            "crb_ideal_m2": ideal,
            "crb_interference_m2": heard,
            "crb_m2": scored,
            "crb_paper_m2": 9 / most,
            "power_w": power,
            "objective": -10 * ((1 - share) * math.log10(nmse) + share * math.log10(scored)),
        }
        for name, value in expected.items():
            mine = getattr(m, name)[row]
            np.testing.assert_allclose(mine, value, rtol=1e-8, atol=1e-12, err_msg=name)
    assert (m.violation == 0).all()


def test_metrics__violation_is_that_of_the_worst_device():
    problem = make("small")
    i = draw(problem)
    d = within_budget(1e3 * decide(problem, i).precoder, i.max_power_w)
    d[:, 2] *= 1.5**0.5
    d[:, 0] *= 1.2**0.5
    torch.testing.assert_close(
        problem.evaluate(i, OtaFeelDecision(d)).violation, torch.full((4,), 0.5).double()
    )
    back = problem.evaluate(i, problem.project(i, OtaFeelDecision(d)))
    assert back.violation.max() < 1e-12


def test_metrics__paper_bound_is_tens_of_db_too_low():
    """Spec, item 7: 68 dB (vertical) and 52 dB (two columns) for a nearest distance of 5 m."""
    for array, low, high in (("vertical", 60, 75), ("upa", 48, 58), ("horizontal", 60, 95)):
        problem = make("coherent", array=array)
        i = draw(problem, 64)
        m = problem.evaluate(i, decide(problem, i))
        gap = 10 * (m.crb_ideal_m2 / m.crb_paper_m2).log10()
        assert low < float(gap.median()) < high
        assert gap.min() > 20


def test_metrics__silence_is_finite():
    for preset in ("paper", "joint", "sensing"):
        problem = make(preset)
        i = draw(problem)
        m = problem.evaluate(i, OtaFeelDecision(0 * decide(problem, i).precoder))
        torch.testing.assert_close(m.nmse, torch.ones(4, dtype=torch.float64))
        torch.testing.assert_close(m.crb_m2, torch.full((4,), 3e4, dtype=torch.float64))
        assert m.objective.isfinite().all()


@pytest.mark.parametrize("array", ["vertical", "upa"])
def test_metrics__stay_finite_where_echoes_drown_the_prior(array):
    """A lone line array at an absurd echo SNR: J is singular to the last digit."""
    for devices in (1, 2):
        problem = make("joint", array=array, num_devices=devices, echo_noise_w=1e-20)
        i = draw(problem, 64)
        m = problem.evaluate(i, problem.floor(i))
        assert m.objective.isfinite().all()
        assert m.crb_m2.max() <= 3e4 * (1 + 1e-9)


def test_metrics__the_prior_moves_a_metre_by_little():
    problem = make("joint")
    i = draw(problem, 64)
    d = decide(problem, i)
    free = torch.linalg.inv(problem.information(i, d, interference=True))
    free = free.diagonal(dim1=-2, dim2=-1).sum(-1)
    shift = (free / problem.evaluate(i, d).crb_m2 - 1).median()
    assert 0 < float(shift) < 5e-4


def test_metrics__coherent_beats_pulses_once_designed():
    """Channels inverted towards two directions: any error without pulses, the floor with them."""
    coherent, pulsed = make("coherent", snr_db=60.0), make("paper", snr_db=60.0)
    i = draw(coherent)
    receive = torch.linalg.qr(i.channel[:, 0, :, :2]).Q
    inverse = torch.linalg.pinv(receive.mH[:, None] @ i.channel)  # (B, K, M, 2)
    size = inverse.abs().square().sum((-2, -1)).amax(-1)
    d = OtaFeelDecision(inverse / size.sqrt()[:, None, None, None])
    assert coherent.evaluate(i, d).nmse.max() < 1e-3
    assert pulsed.evaluate(i, d).nmse.min() > 14 / 30  # (K I - N) / (K I)


def test_metrics__power_in_the_null_space_is_free_for_the_aggregation():
    """M > I: no receiver hears it, the paper's bound rewards it; so its fronts are one point."""
    problem = make("coherent")
    i = draw(problem)
    d = decide(problem, i)
    hidden = torch.linalg.svd(seen_by(problem, i, d)).Vh.mH[..., -1:]  # (B, K, M, 1)
    along = hidden.mH @ d.precoder  # what already is sent there, (B, K, 1, R)
    more = OtaFeelDecision(d.precoder + 0.5 * hidden @ along)
    for row in range(4):
        same = fixed_errors(problem, i, d, more, row)
        assert same[1] == pytest.approx(same[0], rel=1e-9)
    before, after = problem.evaluate(i, d), problem.evaluate(i, more)
    assert (after.nmse <= before.nmse * (1 + 1e-9)).all()
    assert (after.power_w > before.power_w).all()
    assert (after.crb_paper_m2 < before.crb_paper_m2).all()


def test_metrics__with_pulses_and_equal_weights_power_always_helps():
    """MSE = w^2 (K I - N + noise tr A^-1), A = sum_k H_k C_k C_k^H H_k^H + noise."""
    problem = make("paper")
    s, i = problem.scenario, draw(problem)
    d = decide(problem, i)
    gain = (i.channel @ d.precoder).numpy()
    mse = problem.evaluate(i, d).mse
    for row in range(4):
        a = sum(g @ g.conj().T for g in gain[row]) + s.noise_w * np.eye(16)
        expected = (30 - 16 + s.noise_w * np.trace(np.linalg.inv(a)).real) / 15**2
        assert float(mse[row]) == pytest.approx(expected, rel=1e-10)
    louder = d.precoder.clone()
    louder[:, 3] *= 1.1
    assert (problem.evaluate(i, OtaFeelDecision(louder)).mse < mse).all()


def seen_by(problem, instance, decision):
    """M^H H_k of all receivers of a frame, (B, K, at most M - 1, M), by the oracle's receivers."""
    s, rows = problem.scenario, []
    for row in range(instance.batch_size):
        h, c, w = (t[row].numpy() for t in (instance.channel, decision.precoder, instance.weight))
        gain = oracle.heard(h, c, np.ones(s.num_devices))
        m = oracle.receiver(gain, w, s.noise_w)
        rows.append(np.stack([m.conj().T @ x for x in h]))
    return torch.as_tensor(np.stack(rows))


def fixed_errors(problem, instance, first, second, row):
    """Errors of two precoders with the coherent receiver of the first, by the oracle."""
    noise = problem.scenario.noise_w
    h, w = instance.channel[row].numpy(), instance.weight[row].numpy()
    one, two = (oracle.heard(h, d.precoder[row].numpy(), np.ones(len(w))) for d in (first, second))
    m = oracle.receiver(one, w, noise)
    return oracle.error_of(m, one, w, noise).sum(), oracle.error_of(m, two, w, noise).sum()


@given(st.integers(0, 10**6), st.sampled_from(["paper", "joint", "small"]))
def test_metrics__do_not_depend_on_the_order_or_the_basis(seed, preset):
    problem = make(preset)
    i = draw(problem, 2, seed=seed)
    d, k = decide(problem, i, seed=seed), problem.scenario.num_devices
    order = torch.as_tensor(np.random.default_rng(seed).permutation(k))
    mixed = i.replace(
        position=i.position[:, order],
        channel=i.channel[:, order],
        weight=i.weight[:, order],
        max_power_w=i.max_power_w[:, order],
        echo_noise_w=i.echo_noise_w[:, order],
    )
    turn = torch.linalg.qr(Streams.from_seed(seed, 2).complex_normal("turn", 2, 2)).Q
    before = problem.evaluate(i, d)
    moved = problem.evaluate(mixed, OtaFeelDecision(d.precoder[:, order]))
    turned = problem.evaluate(i, OtaFeelDecision(d.precoder @ turn[:, None]))
    for name in ("objective", "nmse", "crb_ideal_m2", "crb_interference_m2", "crb_paper_m2"):
        for after in (moved, turned):
            torch.testing.assert_close(
                getattr(after, name), getattr(before, name), rtol=1e-9, atol=1e-9, msg=name
            )


@pytest.mark.parametrize("snr_db", [20.0, 50.0, 80.0])
@pytest.mark.parametrize("preset", ["coherent", "small"])
def test_precision__small_errors_keep_their_digits(preset, snr_db):
    """w^T (I + G^H G / s)^-1 w of four columns in six dimensions, which nothing cancels."""
    problem = make(preset, num_devices=2, server_antennas=6, snr_db=snr_db)
    i = draw(problem, 1)
    d = decide(problem, i)
    g = np.concatenate(list((i.channel @ d.precoder)[0].numpy()), 1)
    wide = np.concatenate([np.diag(w) for w in i.weight[0].numpy()])
    noise = 10 ** (-snr_db / 10)
    inside = np.linalg.inv(noise * np.eye(4) + g.conj().T @ g)
    exact = noise * np.trace(wide.T @ inside @ wide).real
    assert float(problem.evaluate(i, d).mse[0]) == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize("preset", ["paper", "joint", "sensing"])
def test_precision__single_in_single_out(preset):
    for snr_db in (10.0, 80.0):
        problem = make(preset, snr_db=snr_db)
        i = draw(problem, 16)
        d = decide(problem, i)
        wide = problem.evaluate(i, d)
        low = problem.evaluate(i.to(dtype=torch.float32), d.to(dtype=torch.float32))
        for name, value in low.items():
            assert value.dtype == torch.float32
            tolerance = {"rtol": 2e-3, "atol": 2e-3 if name == "objective" else 1e-6}
            torch.testing.assert_close(value.double(), dict(wide.items())[name], **tolerance)


# --- refusals -----------------------------------------------------------------------------------


def spoiled(**changes):
    problem = make("small")
    i = draw(problem)
    return problem, i.replace(
        **{name: change(getattr(i, name)) for name, change in changes.items()}
    )


def with_value(value, index=(2, 1)):
    def change(t):
        t = t.clone()
        t[index] = value
        return t

    return change


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("max_power_w", with_value(0.0), "OtaFeelInstance.max_power_w: must be > 0; row 2 is not."),
        ("echo_noise_w", with_value(-1.0), "OtaFeelInstance.echo_noise_w: must be > 0; row 2"),
        ("weight", with_value(-0.1), "OtaFeelInstance.weight: must be >= 0; row 2 is not."),
        (
            "weight",
            with_value(0.0, (1, slice(None), 1)),
            "OtaFeelInstance.weight: must be > 0 for some device in every stream; row 1 is not.",
        ),
        ("channel", with_value(complex(math.nan, 0)), "OtaFeelInstance.channel"),
        ("position", with_value(math.inf), "OtaFeelInstance.position"),
        ("weight", lambda t: t.to(torch.complex128), "OtaFeelInstance.weight"),
        ("channel", lambda t: t[:, :, :-1], "OtaFeelInstance.channel"),
    ],
)
def test_validate__names_the_field(field, change, message):
    problem, instance = spoiled(**{field: change})
    with pytest.raises(ShapeError) as caught:
        problem.validate(instance)
    assert str(caught.value).startswith(message)


def test_validate__target_at_a_device():
    problem = make("small")
    i = draw(problem)
    target = i.target.clone()
    target[3] = i.position[3, 2]
    with pytest.raises(ShapeError) as caught:
        problem.validate(i.replace(target=target))
    assert (
        str(caught.value)
        == "OtaFeelInstance.target: must be at no device's position; row 3 is not."
    )


@pytest.mark.parametrize("value", [complex(math.nan, 0), complex(0, math.inf)])
def test_validate__decision_is_finite(value):
    problem = make("small")
    i = draw(problem)
    d = OtaFeelDecision(with_value(value, (1, 0, 0, 0))(decide(problem, i).precoder))
    with pytest.raises(ShapeError, match=r"OtaFeelDecision\.precoder"):
        problem.validate(i, d)


def test_validate__good_instances_of_every_preset():
    for preset in OtaFeelScenario.presets:
        if preset != "literal":
            problem = make(preset)
            i = draw(problem, 2)
            problem.validate(i, problem.floor(i))
