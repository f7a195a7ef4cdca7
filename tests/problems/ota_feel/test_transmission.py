"""The simulated uplink against the closed forms, and the way of updates to symbols and back."""

import dataclasses

import pytest
import torch

from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.physics.aggregation import task_errors
from isac_gym.problems.ota_feel.model import OtaFeel, gains
from isac_gym.problems.ota_feel.records import OtaFeelDecision
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario
from isac_gym.problems.ota_feel.transmission import (
    Uplink,
    pack,
    pulses,
    scale_updates,
    send,
    send_repeated,
    send_round,
    send_updates,
    unpack,
    weighted_sum,
)


def _setting(batch=3, seed=5, **changes):
    problem = OtaFeel(scenario=OtaFeelScenario(**changes))
    instance = problem.sample(Streams.from_seed(seed, batch))
    shape = problem.floor(instance).precoder.shape[1:]
    random = OtaFeelDecision(Streams.from_seed(seed, batch).complex_normal("precoder", *shape))
    return problem, instance, problem.project(instance, random)


def _symbols(instance, length, seed=7, name="payload"):
    shape = (instance.position.shape[1], instance.weight.shape[2], length)
    return Streams.from_seed(seed, instance.batch_size).complex_normal(name, *shape)


@pytest.mark.parametrize("pulse", ["none", "dft"])
@pytest.mark.parametrize("carried", [(0, 1), (1,)])
def test_send__has_the_closed_form_error(pulse, carried):
    problem, instance, decision = _setting(pulse=pulse, weight_spread=0.7, frame_length=20)
    payload = _symbols(instance, 40_000)[:, :, list(carried)]
    uplink = Uplink.of(problem, instance, decision)
    estimate = send(uplink, payload, Streams.from_seed(1, 3), "x", carried=carried)
    error = estimate - weighted_sum(instance.weight[..., list(carried)], payload)
    expected = task_errors(
        gains(instance, decision), instance.weight, problem.scenario.noise_w, pulse=pulse
    )[:, list(carried)]
    torch.testing.assert_close(error.abs().square().mean(-1), expected, rtol=0.015, atol=0)


@pytest.mark.parametrize("pulse", ["none", "dft"])
def test_send__is_the_receiver_on_the_received_signal(pulse):
    problem, instance, decision = _setting(pulse=pulse, frame_length=16, snr_db=80.0)
    payload = _symbols(instance, 37)
    uplink = Uplink.of(problem, instance, decision)
    got = send(uplink, payload, Streams.from_seed(1, 3), "x")
    gain, noise = gains(instance, decision), problem.scenario.noise_w
    phase = pulses(15, 16) if pulse == "dft" else torch.ones(15, 16, dtype=torch.complex128)
    for t in (0, 5, 36):
        p = phase[:, t % 16]
        received = torch.einsum("k,bknr,bkr->bn", p, gain, payload[..., t])
        covariance = torch.einsum("bknr,bkmr->bnm", gain, gain.conj()) + noise * torch.eye(16)
        wanted = torch.einsum("k,bknr->bnr", p, gain * instance.weight[:, :, None])
        receiver = torch.linalg.solve(covariance, wanted)
        expected = torch.einsum("bnr,bn->br", receiver.conj(), received)
        spread = torch.einsum("bnr,bnr->br", receiver.conj(), receiver).real.mul(noise).sqrt()
        assert ((got[..., t] - expected).abs() < 6 * spread).all()


def test_send__noise_of_the_rows_is_correlated_as_the_receiver_makes_it():
    problem, instance, decision = _setting(pulse="none", num_tasks=3, snr_db=0.0)
    uplink = Uplink.of(problem, instance, decision)
    zero = torch.zeros(3, 15, 3, 60_000, dtype=torch.complex128)
    noise = send(uplink, zero, Streams.from_seed(1, 3), "x")
    got = noise @ noise.mH / zero.shape[-1]
    expected = uplink.noise[:, 0]
    assert ((got - expected).abs() < 0.02 * expected.abs().amax((1, 2), keepdim=True)).all()


def test_send__survives_silence_and_does_not_mix_lanes():
    problem, instance, decision = _setting(pulse="dft")
    quiet = decision.precoder.clone()
    quiet[1] = 0
    uplink = Uplink.of(problem, instance, OtaFeelDecision(quiet))
    payload = _symbols(instance, 100)
    together = send(uplink, payload, Streams.from_seed(1, 3), "x")
    assert (together[1] == 0).all()
    last = Uplink(heard=uplink.heard[2:], noise=uplink.noise[2:])
    alone = send(last, payload[2:], Streams.from_seed(3, 1), "x")
    torch.testing.assert_close(together[2:], alone, rtol=1e-12, atol=1e-15)


def test_send__names_streams_that_do_not_exist():
    problem, instance, decision = _setting()
    uplink = Uplink.of(problem, instance, decision)
    with pytest.raises(ScenarioError, match="carried must be different streams"):
        send(uplink, _symbols(instance, 4), Streams.from_seed(1, 3), "x", carried=(0, 2))


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_pack__is_undone_and_has_unit_power(size):
    values = Streams.from_seed(1, 4).normal("v", 3, size)
    symbols = pack(values)
    assert symbols.shape == (4, 3, -(-size // 2))
    torch.testing.assert_close(unpack(symbols, size), values, rtol=1e-15, atol=0)
    assert symbols.abs().square().sum() == pytest.approx(values.square().sum().item() / 2)


@pytest.mark.parametrize("rule", ["adaptive", "max"])
def test_scaling__is_exact_on_perfect_links(rule):
    streams = Streams.from_seed(1, 4)
    sizes = 10.0 ** streams.normal("sizes", 5, 1)
    updates = sizes * streams.normal("u", 5, 31) + streams.normal("m", 5, 1)
    updates[1, 2] = 0
    updates[2, 3] = 4.0  # constant
    weight = torch.softmax(streams.normal("w", 5), -1)
    scaling = scale_updates(updates, weight, rule=rule)
    symbols = scaling.symbols(updates)
    total = weighted_sum(scaling.weight[..., None], symbols[:, :, None])[:, 0]
    expected = (weight[..., None] * updates).sum(1)
    torch.testing.assert_close(scaling.restored(total, 31), expected, rtol=1e-11, atol=1e-12)
    power = symbols.abs().square().sum(-1) * 2 / 31
    assert (power < 1 + 1e-9).all()
    if rule == "adaptive":
        torch.testing.assert_close(scaling.weight.sum(-1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("rule", ["adaptive", "max"])
def test_scaling__of_zero_updates_is_zero(rule):
    weight = torch.full((2, 5), 0.2, dtype=torch.float64)
    scaling = scale_updates(torch.zeros(2, 5, 9), weight, rule=rule)
    assert (scaling.weight == weight).all()
    problem, instance, decision = _setting(batch=2, num_devices=5)
    instance = dataclasses.replace(instance, weight=scaling.weight[..., None].expand(2, 5, 2))
    uplink = Uplink.of(problem, instance, decision)
    got = send_updates(uplink, torch.zeros(2, 5, 9), scaling, Streams.from_seed(1, 2), stream=1)
    assert (got == 0).all()


def test_scaling__names_an_unknown_rule():
    with pytest.raises(ScenarioError, match="rule must be one of"):
        scale_updates(torch.zeros(1, 2, 3), torch.ones(1, 2), rule="min")


@pytest.mark.parametrize("pulse", ["none", "dft"])
@pytest.mark.parametrize(("score_length", "size"), [(2, 9001), (600, 801)])
def test_send_round__sends_both_streams_at_once(pulse, score_length, size):
    problem, instance, decision = _setting(batch=4, pulse=pulse, frame_length=16, num_devices=6)
    streams = Streams.from_seed(9, 4)
    updates = (0.1 * streams.normal("u", 6, size) + 0.01).float()
    scaling = scale_updates(updates, instance.weight[..., 1], rule="adaptive")
    weight = torch.stack([instance.weight[..., 0], scaling.weight], -1)
    instance = dataclasses.replace(instance, weight=weight)
    uplink = Uplink.of(problem, instance, decision)
    score = streams.complex_normal("score", 6, score_length)
    heard, average = send_round(uplink, score, updates, scaling, streams)
    errors = task_errors(gains(instance, decision), weight, problem.scenario.noise_w, pulse=pulse)
    assert heard.dtype == torch.complex128
    assert average.dtype == torch.float32
    wanted = weighted_sum(weight[..., :1], score[:, :, None])[:, 0]
    if score_length > 100:
        got = (heard - wanted).abs().square().mean(-1) / errors[:, 0]
        assert ((got > 0.8) & (got < 1.2)).all()
    wanted = updates.to(torch.float64).mean(1)  # equal weights
    got = ((average - wanted) / scaling.factor[:, None]).square().mean(-1)
    ratio = got / errors[:, 1]
    assert ((ratio > 0.8) & (ratio < 1.2)).all()


def test_send_updates__does_not_depend_on_chunks_or_batch():
    problem, instance, decision = _setting(batch=3, pulse="dft")
    uplink = Uplink.of(problem, instance, decision)
    streams = Streams.from_seed(9, 3)
    updates = streams.normal("u", 15, 12_001, dtype=torch.float32)
    scaling = scale_updates(updates, instance.weight[..., 1], rule="max")
    average = send_updates(uplink, updates, scaling, streams, stream=1)
    symbols = scaling.symbols(updates)[:, :, None]
    whole = send(uplink, symbols, streams, "uplink/updates", carried=(1,))[:, 0]
    torch.testing.assert_close(average, scaling.restored(whole, 12_001), rtol=1e-5, atol=1e-6)
    one = Uplink(heard=uplink.heard[:1], noise=uplink.noise[:1])
    first = scale_updates(updates[:1], instance.weight[:1, :, 1], rule="max")
    alone = send_updates(one, updates[:1], first, streams[:1], stream=1)
    torch.testing.assert_close(alone, average[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pulse", ["none", "dft"])
@pytest.mark.parametrize("repeats", [1, 3, 12, 16, 24])
def test_send_repeated__is_never_worse_and_undoes_the_pulses(pulse, repeats):
    problem, instance, decision = _setting(batch=4, pulse=pulse, frame_length=16, num_devices=12)
    uplink = Uplink.of(problem, instance, decision)
    symbols = Streams.from_seed(3, 4).complex_normal("g", 12, 3000)
    weight = instance.weight[..., 0]
    got = send_repeated(uplink, symbols, weight, Streams.from_seed(1, 4), "x", repeats=repeats)
    wanted = weighted_sum(weight[..., None], symbols[:, :, None])[:, 0]
    error = (got - wanted).abs().square().mean(-1)
    once = problem.errors(instance, decision)[:, 0]
    if repeats == 1:
        torch.testing.assert_close(error, once, rtol=0.15, atol=0)
    else:
        assert (error < 1.05 * once).all()
    if pulse == "dft" and repeats >= 12:
        assert (error < 0.6 * once).all()
