"""Statistics against sums over samples and users, and images of mixtures."""

from dataclasses import replace

import pytest
import torch

from baselines.multi_user_imaging.sharing import consensus_weights
from baselines.multi_user_imaging.statistics import (
    Frame,
    decided_symbols,
    images,
    linear_estimate,
    own_statistics,
    sparse_estimate,
)
from isac_gym.core.random import Streams
from isac_gym.physics.imaging import information, matched
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario

SMALL = RecoveryScenario.preset("small", mean_degree=1.5)  # a tree
PROBLEM = ImagingRecovery(scenario=SMALL)
NOISELESS = ImagingRecovery(scenario=replace(SMALL, snr_db=60.0))


def drawn(problem=PROBLEM, lanes=3):
    instance = problem.sample(Streams.from_seed(2, lanes))
    return instance, Frame.of(problem, instance)


def mean_error(image, instance):
    off = (image - instance.image[:, None]).abs().square().sum(-1).mean(-1)
    return off / instance.image.abs().square().sum(-1)


def test_own_statistics__are_sums_over_samples():
    instance, frame = drawn()
    weight = torch.rand(3, 1, 64, generator=torch.Generator().manual_seed(0)).double()
    gram, own = own_statistics(frame, instance.symbol[:, None], weight)
    lit = torch.einsum("bvn,bln->blv", instance.bs_channel, instance.probe)
    lit = lit + instance.symbol[..., None] * frame.data[:, None]
    u = instance.user_channel[:, None] * lit[:, :, None]  # (B, L, K, V)
    wanted = torch.einsum("bl,blkv,blk->bkv", weight[:, 0] + 0j, u.conj(), instance.received)
    torch.testing.assert_close(own, wanted)
    phi = torch.einsum("bl,blkv,blkw->bkvw", weight[:, 0] + 0j, u.conj(), u)
    g = instance.user_channel
    torch.testing.assert_close(gram * g.conj()[..., None] * g[..., None, :], phi)


def test_own_statistics__add_up_to_those_of_all_samples():
    """Raw samples are never needed: b = sum_k b_k, and Phi is known to all."""
    instance, frame = drawn()
    lit = frame.probing + instance.symbol[..., None] * frame.data[:, None]
    _, own = own_statistics(frame, instance.symbol[:, None], frame.everything)
    together = matched(lit, instance.user_channel, instance.received)
    torch.testing.assert_close(own.sum(1), together)
    noise = frame.noise_w
    phi = information(lit, instance.user_channel)
    found = images(frame, linear_estimate, frame.together, symbol=instance.symbol[:, None])
    torch.testing.assert_close(found[:, 0], linear_estimate(phi, together, noise))


@pytest.mark.parametrize("rounds", [3, 8])
def test_images__of_any_mixture_are_unbiased(rounds):
    """Without noise, averaging that is far from converged already gives the exact image."""
    instance, frame = drawn(NOISELESS)
    mixing = consensus_weights(instance.adjacency, rounds, dtype=torch.float64)
    assert float((mixing - 0.25).abs().max()) > 1e-3  # far from the mean
    found = images(frame, linear_estimate, mixing, symbol=instance.symbol[:, None])
    assert found.shape == (3, 4, 8)
    assert float(mean_error(found, instance).max()) < 1e-5
    naive = images(frame, linear_estimate, frame.together, symbol=instance.symbol[:, None])
    assert float(mean_error(naive, instance).max()) < 1e-5


def test_images__ignore_what_is_not_used():
    _, frame = drawn()
    used = (torch.arange(64) < 40).double().expand(3, 1, 64)
    spoiled = frame._replace(received=torch.where(used.mT > 0, frame.received, 9.0))
    first = images(frame, linear_estimate, frame.together, used=used)
    torch.testing.assert_close(images(spoiled, linear_estimate, frame.together, used=used), first)


def test_images__second_pass_uses_the_data():
    instance, frame = drawn(lanes=16)
    once, twice = (
        images(frame, linear_estimate, frame.together, passes=passes) for passes in (1, 2)
    )
    genie = images(frame, linear_estimate, frame.together, symbol=instance.symbol[:, None])
    errors = [float(mean_error(image, instance).mean()) for image in (once, twice, genie)]
    assert errors[2] <= errors[1] * 1.01
    assert errors[1] < errors[0] / 4
    some = (torch.arange(64) < 32).double().expand(16, 1, 64)
    half = images(frame, linear_estimate, frame.together, decided=some)
    assert errors[1] < float(mean_error(half, instance).mean()) < errors[0]


def test_decided_symbols__are_the_sent_ones():
    instance, frame = drawn(NOISELESS)
    image = instance.image[:, None]
    found = decided_symbols(frame, image, frame.together)
    torch.testing.assert_close(found[:, 0], instance.symbol)
    own = decided_symbols(frame, image, frame.alone)
    assert own.shape == (3, 4, 64)
    assert float(((own - instance.symbol[:, None]).abs() < 1e-6).double().mean()) > 0.95


def test_linear_estimate__is_finite_without_information():
    eye = torch.eye(4, dtype=torch.complex128)
    noise = torch.ones(2, dtype=torch.float64)
    found = linear_estimate(
        torch.stack([0 * eye, 1e6 * eye]), torch.ones(2, 4).to(eye.dtype), noise
    )
    assert bool(found.isfinite().all())
    torch.testing.assert_close(
        found[1], torch.full((4,), 1e-6 + 0j, dtype=found.dtype), rtol=1e-4, atol=0
    )


def test_sparse_estimate__is_least_squares_on_the_support():
    instance, frame = drawn(lanes=8)
    symbol = instance.symbol[:, None]
    found, dense = (
        images(frame, estimate, frame.together, symbol=symbol)
        for estimate in (sparse_estimate, linear_estimate)
    )
    assert found.shape == (8, 1, 8)
    assert bool((found[:, 0].abs() > 0).sum(-1).eq(2).all())
    assert float(mean_error(found, instance).mean()) < 0.5 * float(
        mean_error(dense, instance).mean()
    )
