"""Echo statistics, their likelihood and its derivatives."""

import dataclasses

import pytest
import torch

from isac_gym.core.random import Streams
from isac_gym.problems.ota_feel.echoes import (
    LIKELIHOODS,
    Echoes,
    evidence,
    hear,
    hear_ideal,
    information,
    interference_ratio,
    power_probe,
    probe,
    score_of,
    sounding,
    value_of,
)
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario
from isac_gym.problems.ota_feel.transmission import pulsed


def _heard(batch=4, frame=64, seed=0, **changes):
    problem = OtaFeel(scenario=OtaFeelScenario(frame_length=frame, **changes))
    streams = Streams.from_seed(seed, batch)
    instance = problem.sample(streams)
    precoder = problem.floor(instance).precoder
    s = problem.scenario
    symbols = streams.complex_normal("symbols", s.num_devices, s.num_tasks, frame)
    waveform = precoder @ pulsed(symbols, s.pulse)
    return problem, instance, precoder, hear(problem, instance, waveform, streams, "echo"), waveform


@pytest.mark.filterwarnings("ignore:array='literal'")
@pytest.mark.parametrize("array", ["vertical", "upa", "horizontal", "literal"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_score__is_the_gradient(array, likelihood):
    problem, instance, _, echoes, _ = _heard(array=array)
    heard = evidence(echoes, likelihood=likelihood)
    points = instance.target[:, None] + Streams.from_seed(3, 4).normal("offset", 5, 3)
    points.requires_grad_()
    at = probe(problem, instance.position, points, heard)
    (expected,) = torch.autograd.grad(value_of(heard, at).sum(), points)
    got = score_of(heard, at).sum(1)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_value__is_the_gaussian_likelihood_of_the_samples():
    problem, instance, _, _, waveform = _heard(batch=2)
    streams = Streams.from_seed(4, 2)
    echoes = hear(problem, instance, waveform, streams, "echo")
    a, _ = problem.responses(instance)
    noise = streams.complex_normal("echo", *waveform.shape[1:]) * 1e-2
    u = torch.einsum("bkm,blj,bljt->bkmt", a, a, waveform) + noise
    points = instance.target[:, None] + streams.normal("offset", 3, 3)
    for likelihood in ("white", "full"):
        heard = evidence(echoes, likelihood=likelihood)
        got = value_of(heard, probe(problem, instance.position, points, heard))
        expected = torch.zeros_like(got)
        for p in range(3):
            moved = dataclasses.replace(instance, target=points[:, p])
            b, _ = problem.responses(moved)
            left = (
                u - b[..., None] * torch.einsum("bkm,bkmt->bkt", b, waveform)[:, :, None]
            ) / 1e-2
            size = b.abs().square().sum(-1)
            along = torch.einsum("bkm,bkmt->bkt", b.conj(), left).abs().square().sum(-1) / size
            expected[..., p] = heard.share * along - left.abs().square().sum((-2, -1))
        difference = got - expected
        scale = expected.abs().amax((0, 2))[:, None]
        assert ((difference - difference[..., :1]).abs() < 1e-9 * scale).all()


@pytest.mark.parametrize("array", ["vertical", "upa"])
def test_information__is_that_of_the_bounds(array):
    problem, instance, precoder, _, _ = _heard(array=array)
    decision = problem.floor(instance)
    power = sounding(instance, precoder, 64)
    gram, sent = power_probe(problem, instance.position, instance.target[:, None], power)
    ratio = interference_ratio(instance, gram, sent, 64)
    for chosen, interference in ((None, False), (ratio, True)):
        got = information(gram, sent, chosen, 0).sum((1, 2))
        expected = problem.information(instance, decision, interference=interference)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9 * float(expected.max()))
    more = information(gram, sent, ratio, 64) - information(gram, sent, ratio, 0)
    assert (torch.linalg.eigvalsh(more) > -1e-9 * more.abs().max()).all()


@pytest.mark.parametrize("likelihood", ["full", "white"])
def test_score__has_mean_zero_and_the_information_as_covariance(likelihood):
    problem, one, _, _, _ = _heard(batch=1, array="upa", num_devices=6)
    count = 3000
    instance = _repeated(one, count)
    streams = Streams.from_seed(50, count)
    precoder = problem.floor(instance).precoder
    symbols = streams.complex_normal("symbols", 6, 2, 64)
    if likelihood == "white":
        echoes = hear_ideal(problem, instance, precoder, streams, "echo")
    else:
        echoes = hear(problem, instance, precoder @ symbols, streams, "echo")
    power = sounding(one, precoder[:1], 64)
    gram, sent = power_probe(problem, one.position, one.target[:, None], power)
    ratio = None if likelihood == "white" else interference_ratio(one, gram, sent, 64)
    heard = evidence(echoes, likelihood=likelihood)
    if ratio is not None:  # the estimate of the power is not what is tested
        share = (ratio / (1 + ratio))[..., 0].expand(count, -1)
        heard = dataclasses.replace(heard, share=share)
    score = score_of(heard, probe(problem, instance.position, instance.target[:, None], heard))
    score = score[:, :, 0]
    expected = information(gram, sent, ratio, 64)[0, :, 0]
    spread = torch.einsum("bki,bki->k", score, score) / count
    got = spread / expected.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert ((got > 0.9) & (got < 1.1)).all()
    total = score.sum(1)
    assert (total.mean(0).abs() < 4 * total.std(0) / count**0.5).all()


def test_echoes__tend_to_the_model_in_long_frames():
    problem, instance, precoder, echoes, _ = _heard(batch=2, frame=65536, echo_noise_w=1e-2)
    a, _ = problem.responses(instance)
    power = sounding(instance, precoder, 65536)
    mean = a[..., None] * (a[..., None, :] @ echoes.power)  # a a^T C C^H T / zeta^2 in the limit
    gram, sent = power_probe(problem, instance.position, instance.target[:, None], power)
    ratio = interference_ratio(instance, gram, sent, 65536)[..., 0]
    level = 1 + ratio[..., None] / 4  # of each antenna: noise, and its part of the other echoes
    spread = (level[..., None] * power.diagonal(dim1=-2, dim2=-1).real[..., None, :]).sqrt()
    assert ((echoes.cross - mean).abs() < 5 * spread + 1e-9 * mean.abs().max()).all()
    near = ratio.argmax(-1)[:, None]
    size = torch.linalg.matrix_norm(mean).gather(1, near)
    off = torch.linalg.matrix_norm(echoes.cross - mean).gather(1, near)
    assert (off < 0.1 * size).all()
    assert ((echoes.power - power).abs() / power.abs().amax()).max() < 0.02


def test_echoes__of_two_frames_add_up():
    problem, instance, _, first, waveform = _heard()
    second = hear(problem, instance, waveform, Streams.from_seed(7, 4), "other")
    both = first + second
    assert (both.samples == 128).all()
    assert isinstance(both, Echoes)
    heard, halves = evidence(both, likelihood="white"), []
    points = instance.target[:, None] + 0.3
    for part in (first, second):
        each = evidence(part, likelihood="white")
        halves.append(value_of(each, probe(problem, instance.position, points, each)))
    got = value_of(heard, probe(problem, instance.position, points, heard))
    torch.testing.assert_close(got, halves[0] + halves[1], rtol=1e-9, atol=1e-6)


def test_share__is_that_of_the_other_devices_echoes():
    problem, instance, precoder, echoes, _ = _heard(batch=3, frame=16384, echo_noise_w=1e-4)
    heard = evidence(echoes, likelihood="full")
    power = sounding(instance, precoder, 16384)
    gram, sent = power_probe(problem, instance.position, instance.target[:, None], power)
    ratio = interference_ratio(instance, gram, sent, 16384)[..., 0]
    torch.testing.assert_close(heard.share, ratio / (1 + ratio), rtol=0.05, atol=0.02)


def test_echoes__of_silence_are_finite():
    problem, instance, precoder, _, _ = _heard()
    quiet = hear(problem, instance, 0 * precoder @ torch.ones(4, 15, 2, 64).to(precoder), _s(), "e")
    for likelihood in LIKELIHOODS:
        heard = evidence(quiet, likelihood=likelihood)
        at = probe(problem, instance.position, instance.target[:, None], heard)
        assert value_of(heard, at).isfinite().all()
        assert score_of(heard, at).isfinite().all()


def _s():
    return Streams.from_seed(0, 4)


def _repeated(record, count):
    fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    return type(record)(**{k: v.expand(count, *v.shape[1:]) for k, v in fields.items()})
