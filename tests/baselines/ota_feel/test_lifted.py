"""Lower bounds of the aggregation error: any dual point is valid, and the gap closes."""

import pytest
import torch

from baselines.front import solve
from baselines.ota_feel.lifted import dual_value, lifted_bound, lifted_task, lifted_value
from baselines.ota_feel.relaxation import Relaxation
from baselines.ota_feel.separation import (
    log_inverse,
    separation_bound,
    separation_task,
    threshold_bound,
)
from isac_gym.core import Status, Streams
from isac_gym.physics.aggregation import separation_floor
from tests.baselines.ota_feel.certificate_cases import challengers, drawn, excess, uneven


def task_of(batch=4, **changes):
    problem, instance = drawn("small", batch, sensing_weight=0.0, **changes)
    return problem, instance, lifted_task(instance, problem.scenario.noise_w)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_lifted_value__of_one_receiver_is_the_error_of_the_best_precoders(spread):
    problem, instance, task = task_of(weight_spread=spread)
    start = solve(problem, instance, "ao").decision.precoder
    gain = instance.channel @ start
    flat = gain.transpose(1, 2).flatten(2)
    eye = torch.eye(4, dtype=flat.dtype)
    wanted = (gain * instance.weight[:, :, None]).sum(1)
    receiver = torch.linalg.solve(flat @ flat.mH + problem.scenario.noise_w * eye, wanted)
    total = instance.weight.square().sum((1, 2))
    unit = problem.scenario.noise_w**0.5 / total.sqrt()
    value, _, z = lifted_value(task, (unit[:, None, None] * receiver)[:, :, None])
    nmse = problem.evaluate(instance, solve(problem, instance, "ao").decision).nmse
    assert (value <= nmse * (1 + 1e-9)).all()  # AO's next precoders
    torch.testing.assert_close(value, nmse, rtol=1e-3, atol=0)
    assert (dual_value(task, z) <= value).all()


def test_lifted_value__gradient_is_that_of_differences():
    _, _, task = task_of(2, weight_spread=0.5)
    draw = Streams.from_seed(3, 2)
    point = 0.2 * draw.complex_normal("point", 4, 3, 2).to(task.channel)
    move = draw.complex_normal("move", 4, 3, 2).to(task.channel)
    step = 1e-6
    up, down = (lifted_value(task, point + t * move)[0] for t in (step, -step))
    slope = lifted_value(task, point)[1]
    rate = 2 * (slope.conj() * move).real.sum((1, 2, 3))
    torch.testing.assert_close((up - down) / (2 * step), rate, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_dual_value__of_any_point_is_below_every_decision(spread):
    problem, instance, task = task_of(6, weight_spread=spread)
    best = torch.stack(
        [problem.evaluate(instance, d).nmse for d in challengers(problem, instance).values()]
    ).amin(0)
    draw = Streams.from_seed(9, 6)
    for scale in (1e-6, 1e-2, 1.0, 1e3):
        for index in range(4):
            z = scale * draw.complex_normal(f"z {index}", 4, 2, 2).to(task.channel)
            z = z + scale * torch.eye(2)
            found = dual_value(task, z)
            assert (found >= 0).all()
            assert (found <= best).all()


def test_dual_value__no_number_and_nothing_make_no_claim():
    _, _, task = task_of(2)
    z = torch.zeros(2, 4, 2, 2, dtype=task.channel.dtype)
    assert (dual_value(task, z) == 0).all()
    z[0, 0, 0, 0] = torch.nan
    z[1, 0, 0, 0] = torch.inf
    assert (dual_value(task, z) == 0).all()


@pytest.mark.parametrize("changes", [{}, {"weight_spread": 1.0}, {"snr_db": 0.0}])
def test_lifted_bound__closes_its_own_gap(changes):
    _, _, task = task_of(8, **changes)
    found = lifted_bound(task, iterations=800)
    gap = 10 * (found.value / found.lower).log10()
    assert gap.min() >= 0
    assert gap.max() <= 0.01  # dB


def test_lifted_bound__is_the_same_in_every_batch():
    _, _, task = task_of(5)
    whole = lifted_bound(task, iterations=100)
    part = lifted_bound(type(task)(*(t[2:3] for t in task)), iterations=100)
    torch.testing.assert_close(part.lower[0], whole.lower[2], rtol=1e-6, atol=0)


SETTINGS = [
    ("coherent", {"num_devices": 6}),
    ("coherent", {"num_devices": 6, "snr_db": 60.0}),  # every device can invert its channel
    ("coherent", {"weight_spread": 1.0, "num_devices": 6}),
    ("paper", {}),
    ("unequal", {}),
    ("unequal", {"server_antennas": 8, "num_tasks": 3}),
    ("paper", {"num_devices": 3, "weight_spread": 1.0}),  # fewer streams than antennas
    ("paper", {"sensing_weight": 0.5, "sensing": "ideal"}),
    ("paper", {"sensing_weight": 0.5, "weight_spread": 1.0}),
    ("joint", {"num_devices": 6}),
]


@pytest.mark.parametrize(("preset", "changes"), SETTINGS)
@pytest.mark.parametrize("change", [lambda i: i, uneven])
def test_relaxation__is_not_beaten(preset, changes, change):
    problem, instance = drawn(preset, 4, **changes)
    instance = change(instance)
    found = solve(problem, instance, Relaxation(iterations=300))
    assert (found.status != int(Status.FAILED)).all()
    assert found.certificate.bound.isfinite().all()
    assert excess(problem, instance, found.certificate.bound).max() <= 0


def test_relaxation__a_lower_ceiling_is_broken():
    problem, instance = drawn("paper", 4)
    bound = solve(problem, instance, Relaxation()).certificate.bound
    assert (excess(problem, instance, bound - 0.05) > 0).all()


@pytest.mark.parametrize("preset", ["paper", "coherent"])
def test_relaxation__single_precision_claims_nothing_false(preset):
    problem, instance = drawn(preset, 4)
    small = instance.to(dtype=torch.float32)
    bound = solve(problem, small, Relaxation(iterations=200)).certificate.bound
    assert bound.dtype == torch.float32
    assert excess(problem, small, bound).max() <= 0


def test_separation__equal_weights_are_certified_within_a_hundredth_of_a_db():
    problem, instance = drawn("paper", 8)
    lower, _ = separation_bound(separation_task(instance, problem.scenario.noise_w))
    nmse = problem.evaluate(instance, solve(problem, instance, "ao").decision).nmse
    gap = 10 * (nmse / lower).log10()
    assert gap.min() >= 0
    assert gap.max() <= 0.01
    assert (lower > 0.4695).all()  # the prototype: 0.4699
    assert (lower < 0.471).all()


def test_separation__never_below_the_floor():
    for changes in ({}, {"weight_spread": 1.0}, {"server_antennas": 8}, {"snr_db": 60.0}):
        problem, instance = drawn("paper", 4, **changes)
        floor = separation_floor(instance.weight, problem.scenario.server_antennas)
        floor = floor / instance.weight.square().sum((1, 2))
        lower, _ = separation_bound(separation_task(instance, problem.scenario.noise_w))
        assert (lower >= floor * (1 - 1e-9)).all()


def test_separation__threshold_is_the_error_where_weights_are_equal():
    problem, instance = drawn("paper", 4)
    task = separation_task(instance, problem.scenario.noise_w)
    decision = problem.floor(instance)
    z = decision.precoder @ decision.precoder.mH
    trace = log_inverse(task, z)[0].exp()
    best = threshold_bound(task, trace)
    nmse = problem.evaluate(instance, decision).nmse
    torch.testing.assert_close(best.fixed + best.slope * trace, nmse, rtol=1e-9, atol=0)
