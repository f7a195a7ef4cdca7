"""The unrolled networks before training: sizes, what each of them sees, their losses."""

import math

import pytest
import torch

from baselines.robust_beamforming import boblrbf_dnn
from baselines.robust_beamforming.bilevel import Bilevel
from baselines.robust_beamforming.boblrbf_dnn import (
    MODES,
    Unrolled,
    UnrolledSizes,
    exact_value,
    features,
    loss,
    schedule,
    start_point,
)
from baselines.robust_beamforming.pga import warm_start
from tests.problems.robust_beamforming.helpers import draw, make, power_of


def setting(mode, batch=8, *, preset="paper", seed=0):
    """(network in double precision, programme, start)."""
    problem = make(preset)
    programme = Bilevel(problem, draw(problem, batch))
    network = Unrolled(mode, UnrolledSizes.of(problem), seed=seed).double()
    return network, programme, start_point(programme, mode)


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


# --- sizes and features -------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["paper", "small", "two-users"])
def test_sizes__are_those_of_the_variables_and_features(preset):
    problem = make(preset)
    instance = draw(problem, 2)
    programme, sizes = Bilevel(problem, instance), UnrolledSizes.of(problem)
    assert sizes.design == programme.num_design
    assert sizes.errors == 2 * instance.channel[0].numel()
    assert features(instance).shape == (2, sizes.features)
    for mode in MODES:
        assert start_point(programme, mode).shape == (2, sizes.design + sizes.errors)


def test_sizes__of_the_paper():
    """3 stations, 1 user each, 5 antennas, 4 sensing streams: 2 * 3 * 5 * 5 and 2 * 9 * 5."""
    sizes = UnrolledSizes.of(make())
    assert (sizes.design, sizes.errors) == (150, 90)
    count = {m: sum(p.numel() for p in Unrolled(m, sizes).parameters()) for m in MODES}
    hidden = 256 * 256 + 256
    assert count["literal"] == 5 * (240 * 256 + 256 + hidden + 256 * 240 + 240 + 3)
    assert count["features"] == count["literal"] + 5 * 256 * sizes.features


@pytest.mark.parametrize("preset", ["paper", "two-users", "csi-0", "random-targets"])
def test_features__are_finite_and_of_ordinary_size(preset):
    problem = make(preset)
    found = features(draw(problem, 64))
    assert found.isfinite().all()
    assert found.abs().max() < 6
    spread = found.std(0)
    assert (spread > 0.01).sum() > 0.5 * found.shape[1]


def test_features__of_a_lost_channel_are_finite():
    problem = make()
    instance = draw(problem, 3)
    channel = instance.channel.clone()
    channel[1, 0, 1, 0] = 0
    lost = problem.anchored(instance.replace(channel=channel))
    found, whole = features(lost), features(instance)
    assert found.isfinite().all()
    assert torch.equal(found[::2], whole[::2])


def test_features__rows_are_independent():
    problem = make()
    instance = draw(problem, 9)
    whole = features(instance)
    for row in (0, 4, 8):
        assert torch.equal(features(instance[row : row + 1])[0], whole[row])
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(features(instance[order]), whole[order])


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("channel", lambda t: t * 1.5),
        ("channel", lambda t: t.conj()),
        ("radius", lambda t: t * 1.5),
        ("angle", lambda t: t + 0.1),
        ("preference", lambda t: 1 - t),
        ("reflection", lambda t: t * torch.linspace(1, 2, 2, dtype=torch.float64)[:, None]),
    ],
)
def test_features__tell_instances_apart(field, change):
    instance = draw(make(), 4)
    other = instance.replace(**{field: change(getattr(instance, field))})
    assert ((features(instance) - features(other)).abs().amax(1) > 1e-3).all()


# --- what the networks see ----------------------------------------------------------------------


def test_literal__sees_no_channel():
    network, programme, x = setting("literal", 6)
    decision = programme.decision(network(programme, x))
    assert (programme.instance.channel[0] != programme.instance.channel[1]).all()
    for part in (decision.beam, decision.sensing):
        torch.testing.assert_close(part, part[:1].expand_as(part), rtol=1e-12, atol=1e-12)
    other = start_point(programme, "literal", seed=1)
    assert not torch.equal(network(programme, other), network(programme, x))  # but its start


@pytest.mark.parametrize("mode", ["features", "gradient"])
def test_others__see_channel_and_preference(mode):
    network, programme, x = setting(mode, 4)
    problem, instance = programme
    found = network(programme, x)
    for changes in (
        {"preference": 1 - instance.preference},
        {"channel": instance.channel * 1j},
        {"angle": instance.angle + 0.3},
    ):
        other = Bilevel(problem, instance.replace(**changes))
        assert ((network(other, x) - found).abs().amax(1) > 1e-6).all()  # from the same start


@pytest.mark.parametrize("mode", MODES)
def test_forward__rows_are_independent(mode):
    network, programme, x = setting(mode, 5)
    problem, instance = programme
    whole = network(programme, x)
    for row in (0, 3):
        one = slice(row, row + 1)
        alone = network(Bilevel(problem, instance[one]), x[one])
        torch.testing.assert_close(alone, whole[one], rtol=1e-9, atol=1e-10)
    poisoned = instance.replace(channel=instance.channel.clone())
    poisoned.channel[1] = torch.nan
    found = network(Bilevel(problem, poisoned), x)
    keep = torch.tensor([0, 2, 3, 4])
    torch.testing.assert_close(found[keep], whole[keep], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_start__keeps_the_budgets_and_claims_no_errors(mode):
    _, programme, x = setting(mode)
    power = power_of(programme.decision(x)) / programme.instance.max_power_w
    low, high = (0.9, 0.9) if mode == "literal" else (0.95, 1.0)
    assert (power >= low * (1 - 1e-9)).all()
    assert (power <= high * (1 + 1e-9)).all()
    assert (x[:, programme.num_design :] == 0).all()


def test_start__of_the_repaired_networks_is_that_of_pga():
    _, programme, x = setting("gradient")
    wanted = programme.start(warm_start(*programme, seed=0))
    assert torch.equal(x, wanted)


# --- the gradient network -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "preset",
    ["paper", *(pytest.param(p, marks=pytest.mark.slow) for p in ("two-users", "unresolved"))],
)
def test_gradient__improves_on_its_start_before_training(preset):
    network, programme, x = setting("gradient", 32, preset=preset)
    problem, instance = programme
    before, after = (
        problem.evaluate(instance, problem.project(instance, programme.decision(point))).objective
        for point in (x, network(programme, x).detach())
    )
    assert after.mean() > before.mean() + 0.03
    assert (after > before).double().mean() > 0.8


def test_gradient__keeps_budgets_and_leaves_errors_alone():
    network, programme, x = setting("gradient")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)  # however wild the weights
        found = network(programme, x)
    assert (programme.power(found)[0] <= 1 + 1e-12).all()
    assert torch.equal(found[:, programme.num_design :], x[:, programme.num_design :])


def test_slope__is_the_gradient_of_the_smoothed_objective_in_unit_blocks(monkeypatch):
    network, programme, x = setting("gradient", 3)
    rough = network._slope(programme, x)
    monkeypatch.setattr(boblrbf_dnn, "_ORACLE_STEPS", None)  # the worst error in full accuracy
    slope, columns = network._slope(programme, x), []
    for coordinate in range(50):  # of the first station
        shift = torch.zeros_like(x)
        shift[:, coordinate] = 1e-5
        change = exact_value(programme, x + shift) - exact_value(programme, x - shift)
        columns.append(change / 2e-5)
    numeric = torch.nn.functional.normalize(torch.stack(columns, 1))
    torch.testing.assert_close(slope[:, :50], numeric, rtol=0, atol=1e-6)
    blocks = rough.reshape(3, 3, -1)
    assert blocks.norm(dim=-1).numpy() == pytest.approx(1, abs=1e-9)
    assert (blocks * slope.reshape(3, 3, -1)).sum(-1).min() > 0.999


def test_exact_value__is_the_scored_objective_up_to_smoothing():
    _, programme, x = setting("gradient", 16)
    problem, instance = programme
    exact = problem.evaluate(instance, programme.decision(x)).objective
    smooth = exact_value(programme, x)
    assert (smooth <= exact + 1e-3).all()  # six Newton steps may miss the worst error slightly
    assert (smooth >= exact - 0.02 * math.log(2) - 1e-9).all()


# --- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_training__lowers_the_loss_on_a_fixed_batch(mode):
    network, programme, x = setting(mode, 4, preset="small")
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    values = []
    for _ in range(20):
        value = loss(network, programme, network(programme, x), 0)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert all(map(math.isfinite, values))
    assert values[-1] < values[0] - 1e-3
    assert min(values[10:]) < min(values[:5])


@pytest.mark.parametrize("mode", MODES)
def test_loss__reaches_every_weight(mode):
    network, programme, x = setting(mode, 8)
    loss(network, programme, network(programme, x), 3).backward()
    for name, parameter in network.named_parameters():
        if name == "skip" and mode != "gradient":
            assert parameter.grad is None  # only gradient layers have momentum
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("mode", ["literal", "features"])
def test_loss__charges_power_and_the_gap_more_and_more(mode):
    network, programme, x = setting(mode, 8)
    design = programme.num_design
    loud = torch.cat([2 * x[:, :design], x[:, design:]], 1)
    at = [float(loss(network, programme, loud, step).detach()) for step in (0, 50, 100)]
    assert at[0] < at[1] < at[2]
    assert at[2] - at[1] == pytest.approx(at[1] - at[0], rel=1e-9)
    quiet = programme.project(x)
    power = programme.power(loud)[0]
    excess = float((power - 1).clamp_min(0).square().sum(-1).mean())
    assert excess > 1
    # weights 10 + 0.02 s on the budgets and 1 + 0.02 s on the gap
    gap = float(loss(network, programme, loud, 50).detach()) - at[0] - excess
    assert gap > -1e-9
    assert float(loss(network, programme, quiet, 0).detach()) < at[0] - 9 * excess


def test_loss__of_the_literal_network_ignores_the_preference():
    for mode, is_deaf in (("literal", True), ("features", False)):
        network, programme, x = setting(mode, 8)
        problem, instance = programme
        other = Bilevel(problem, instance.replace(preference=0 * instance.preference))
        values = [loss(network, p, x, 0).detach() for p in (programme, other)]
        assert torch.equal(*values) == is_deaf


def test_network__is_a_function_of_its_seed_only():
    sizes = UnrolledSizes.of(make("small"))
    before = torch.get_rng_state()
    for mode in MODES:
        first, again, other = (weights(Unrolled(mode, sizes, seed=s)) for s in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.isfinite().all()
    assert torch.equal(torch.get_rng_state(), before)


def test_schedule__warms_up_and_falls_to_zero():
    assert schedule(0.0) == pytest.approx(0.02)
    assert schedule(0.02) == pytest.approx(1.0, abs=2e-3)
    assert schedule(0.5) == pytest.approx(0.5)
    assert schedule(1.0) == schedule(1.7) == pytest.approx(0.0, abs=1e-12)
    later = [schedule(0.02 + 0.098 * i) for i in range(11)]
    assert later == sorted(later, reverse=True)
