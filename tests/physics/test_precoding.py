import pytest
import torch

from isac_gym.core.random import Streams
from isac_gym.physics.aggregation import mmse_receivers, separation_floor, task_errors
from isac_gym.physics.precoding import (
    Uplink,
    alternating_precoders,
    best_precoders,
    best_receiver,
    initial_precoders,
    precoder_step,
    strongest_directions,
)

NOISE_W = 0.1
SIZES = [(6, 8, 4, 2), (15, 16, 4, 2), (3, 12, 3, 1), (5, 6, 4, 3), (2, 20, 4, 2)]  # K N M R


def drawn(devices, antennas, elements, tasks, batch=4):
    streams = Streams.from_seed(2, batch)
    channel = streams.complex_normal("h", devices, antennas, elements)
    weight = streams.uniform("w", devices, tasks) + 0.2
    budget = streams.uniform("p", devices) + 0.5
    start = strongest_directions(channel, budget, tasks)
    return channel, weight, budget, start


def error_of(channel, weight, precoder, pulse):
    return task_errors(channel @ precoder, weight, NOISE_W, pulse=pulse).sum(-1)


def power(c):
    return c.abs().square().sum((-2, -1))


@pytest.mark.parametrize("pulse", ["none", "dft"])
@pytest.mark.parametrize("size", SIZES)
def test_best_receiver__is_that_of_the_aggregation(size, pulse):
    channel, weight, budget, start = drawn(*size)
    link = Uplink.of(channel, weight, budget, NOISE_W)
    receiver, error = best_receiver(link, start.mT, pulse=pulse)
    torch.testing.assert_close(error, error_of(channel, weight, start, pulse), rtol=1e-9, atol=0)
    wanted = mmse_receivers(channel @ start, weight, NOISE_W)
    flat = wanted.sum(1) if pulse == "none" else wanted.transpose(1, 2).flatten(2)
    torch.testing.assert_close(receiver.conj().resolve_conj(), flat)


@pytest.mark.parametrize("pulse", ["none", "dft"])
@pytest.mark.parametrize("size", SIZES)
def test_precoder_step__no_other_precoders_are_better(size, pulse):
    channel, weight, budget, start = drawn(*size)
    wanted = mmse_receivers(channel @ start, weight, NOISE_W)
    receiver = wanted.sum(1) if pulse == "none" else wanted
    found = precoder_step(channel, weight, budget, receiver, pulse=pulse)
    assert (power(found) <= budget * (1 + 1e-12)).all()

    def error(precoder):
        heard = channel @ precoder
        target = torch.diag_embed(weight).to(heard.dtype)
        if pulse == "none":
            return (receiver[:, None].mH @ heard - target).abs().square().sum((1, 2, 3))
        cross = torch.einsum("blni,bknj->blkij", receiver.conj(), heard)
        own = torch.eye(size[0], dtype=torch.float64)[:, :, None, None]
        return (cross - own * target[:, None]).abs().square().sum((1, 2, 3, 4))

    best = error(found)
    for trial in range(30):
        noise = Streams.from_seed(trial, 4).complex_normal("try", *found.shape[1:])
        other = found + 10.0 ** (-trial % 5) * noise
        other = other * (budget / power(other)).sqrt().clamp_max(1)[..., None, None]
        assert (error(other) >= best * (1 - 1e-12)).all()


@pytest.mark.parametrize("relaxation", [1.0, 1.9])
@pytest.mark.parametrize("pulse", ["none", "dft"])
@pytest.mark.parametrize("size", SIZES)
def test_alternation__never_raises_the_error_of_receiver_and_precoders(size, pulse, relaxation):
    channel, weight, budget, start = drawn(*size)
    link = Uplink.of(channel, weight, budget, NOISE_W)
    receiver, _ = best_receiver(link, start.mT, pulse=pulse)
    last = torch.full((4,), torch.inf, dtype=torch.float64)
    for _ in range(40):
        rows = best_precoders(link, receiver, pulse=pulse)
        m = receiver.conj() if pulse == "none" else receiver.conj().unflatten(2, weight.shape[1:])
        heard = channel @ rows.mT
        target = torch.diag_embed(weight).to(heard.dtype)
        if pulse == "none":
            left = (m[:, None].mH @ heard - target).abs().square().sum((1, 2, 3))
        else:
            cross = torch.einsum("bnli,bknj->blkij", m.conj(), heard)
            own = torch.eye(size[0], dtype=torch.float64)[:, :, None, None]
            left = (cross - own * target[:, None]).abs().square().sum((1, 2, 3, 4))
        error = left + NOISE_W * m.abs().square().flatten(1).sum(-1)
        assert (error <= last * (1 + 1e-12)).all()
        last = error
        best, _ = best_receiver(link, rows, pulse=pulse)
        receiver = receiver + relaxation * (best - receiver)


@pytest.mark.parametrize("pulse", ["none", "dft"])
@pytest.mark.parametrize("size", SIZES)
def test_alternating_precoders__descend_within_the_budgets(size, pulse):
    channel, weight, budget, start = drawn(*size)
    last = error_of(channel, weight, start, pulse)
    precoder = start
    for _ in range(6):
        precoder = alternating_precoders(
            channel, weight, budget, NOISE_W, pulse=pulse, iterations=3, start=precoder
        )
        error = error_of(channel, weight, precoder, pulse)
        assert (power(precoder) <= budget * (1 + 1e-12)).all()
        assert (error <= last * (1 + 1e-12)).all()
        last = error
    once = alternating_precoders(
        channel, weight, budget, NOISE_W, pulse=pulse, iterations=18, start=start
    )
    torch.testing.assert_close(once, precoder, rtol=1e-6, atol=1e-8)


def test_alternating_precoders__separate_devices_no_better_than_the_floor():
    channel, weight, budget, _ = drawn(15, 16, 4, 2)
    found = alternating_precoders(channel, weight, budget, 1e-6, pulse="dft", iterations=60)
    error = task_errors(channel @ found, weight, 1e-6, pulse="dft").sum(-1)
    floor = separation_floor(weight, 16)
    assert (error >= floor).all()
    assert (error <= 1.05 * floor).all()


def test_alternating_precoders__do_not_depend_on_the_batch():
    channel, weight, budget, _ = drawn(15, 16, 4, 2)
    for pulse in ("none", "dft"):
        whole = alternating_precoders(channel, weight, budget, 0.1, pulse=pulse, iterations=10)
        alone = alternating_precoders(
            channel[1:2], weight[1:2], budget[1:2], 0.1, pulse=pulse, iterations=10
        )
        torch.testing.assert_close(alone, whole[1:2], rtol=1e-9, atol=1e-11)


def test_alternating_precoders__zero_rounds_are_the_start():
    channel, weight, budget, _ = drawn(6, 8, 4, 2)
    for pulse in ("none", "dft"):
        start = initial_precoders(channel, budget, 2, pulse=pulse)
        found = alternating_precoders(channel, weight, budget, 0.1, pulse=pulse, iterations=0)
        assert torch.equal(found, start)
        torch.testing.assert_close(power(start), budget)


def test_alternating_precoders__single_precision_agrees_whatever_the_phases():
    channel, weight, budget, _ = drawn(15, 16, 4, 2)
    for pulse in ("none", "dft"):
        double = alternating_precoders(channel, weight, budget, 0.1, pulse=pulse, iterations=10)
        single = alternating_precoders(
            channel.to(torch.complex64),
            weight.float(),
            budget.float(),
            0.1,
            pulse=pulse,
            iterations=10,
        )
        a, b = (error_of(channel, weight, c.to(channel.dtype), pulse) for c in (double, single))
        torch.testing.assert_close(a, b, rtol=1e-3, atol=0)


@pytest.mark.parametrize("pulse", ["none", "dft"])
def test_least_total_power__is_kept_and_costs_something_only_without_a_null_space(pulse):
    channel, weight, budget, _ = drawn(6, 16, 2, 2)
    strong = 50 * budget
    receiver = mmse_receivers(channel @ strongest_directions(channel, budget, 2), weight, NOISE_W)
    m = receiver.sum(1) if pulse == "none" else receiver
    free = precoder_step(channel, weight, strong, m, pulse=pulse)
    least = float(0.9 * strong.sum(-1).amin())
    assert (power(free).sum(-1) < least).all()
    full = precoder_step(channel, weight, strong, m, pulse=pulse, least_w=least)
    assert (power(full).sum(-1) >= least * (1 - 1e-9)).all()
    assert (power(full) <= strong * (1 + 1e-9)).all()
