"""The split is a permutation with enough for everyone, and has the law it says."""

import math

import pytest
import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.physics.data_split import batch_index, dirichlet_split, log_gamma_draws


@pytest.fixture
def labels() -> Tensor:
    return Streams.from_seed(1, 1).integers("labels", 1400, high=10)[0]


@pytest.mark.parametrize("concentration", [0.1, 0.4, 1.0, 3.0])
def test_gamma_draws_have_their_moments(concentration: float) -> None:
    draws = log_gamma_draws(
        Streams.from_seed(0, 4), "gamma", 50_000, concentration=concentration
    ).flatten()
    value = draws.exp()
    error = math.sqrt(concentration / len(value))
    assert float(value.mean()) == pytest.approx(concentration, abs=4 * error)
    assert float(value.var()) == pytest.approx(concentration, rel=0.05)
    expected = float(torch.digamma(torch.tensor(concentration, dtype=torch.float64)))
    spread = math.sqrt(torch.special.polygamma(1, torch.tensor(concentration)) / len(value))
    assert float(draws.mean()) == pytest.approx(expected, abs=4 * spread)


def test_a_split_is_a_permutation_with_enough_for_everyone(labels: Tensor) -> None:
    order, offset = dirichlet_split(labels, 15, Streams.from_seed(0, 20))
    assert order.dtype == offset.dtype == torch.int32
    assert torch.equal(order.sort(-1).values, torch.arange(1400, dtype=torch.int32).expand(20, -1))
    assert (offset[:, 0] == 0).all()
    assert (offset[:, -1] == 1400).all()
    assert int(offset.diff(dim=-1).min()) >= 16


def test_a_split_is_the_same_alone_and_in_a_batch(labels: Tensor) -> None:
    streams = Streams.from_seed(0, 20)
    whole = dirichlet_split(labels, 15, streams)
    for rows in (slice(7, 8), slice(3, 12)):
        for part, same in zip(dirichlet_split(labels, 15, streams[rows]), whole, strict=True):
            assert torch.equal(part, same[rows])


@pytest.mark.parametrize("concentration", [0.4, 100.0])
def test_shares_of_a_class_vary_as_a_dirichlet_distribution(
    labels: Tensor, concentration: float
) -> None:
    devices = 4
    order, offset = dirichlet_split(
        labels, devices, Streams.from_seed(0, 400), concentration=concentration, least_images=1
    )
    kinds = labels[order.long()]
    share = []
    for b in range(400):
        ends = offset[b].tolist()
        own = [kinds[b, ends[k] : ends[k + 1]] for k in range(devices)]
        share.append(torch.stack([part.bincount(minlength=10) for part in own]))
    count = torch.stack(share).double() / labels.bincount()
    variance = (1 / devices) * (1 - 1 / devices) / (devices * concentration + 1)
    assert float(count.mean()) == pytest.approx(1 / devices)
    assert float((count - 1 / devices).square().mean()) == pytest.approx(variance, rel=0.15)


def test_a_split_that_cannot_be_is_refused(labels: Tensor) -> None:
    with pytest.raises(
        ScenarioError, match="least_images must be <= 93 for 1400 images of 15 devices"
    ):
        dirichlet_split(labels, 15, Streams.from_seed(0, 2), least_images=94)
    with pytest.raises(ScenarioError, match=r"concentration 0\.4 gave each least_images = 90"):
        dirichlet_split(labels, 15, Streams.from_seed(0, 2), least_images=90)


def test_batches_come_from_the_device_and_change_with_the_round(labels: Tensor) -> None:
    streams = Streams.from_seed(0, 6)
    order, offset = dirichlet_split(labels, 15, streams)
    index = batch_index(order, offset, streams.at_step(1), steps=5, batch_size=32)
    assert index.shape == (5, 6, 15, 32)
    for b in range(6):
        for k in range(15):
            own = order[b, offset[b, k] : offset[b, k + 1]].long()
            assert torch.isin(index[:, b, k], own).all()
    other = batch_index(order, offset, streams.at_step(2), steps=5, batch_size=32)
    assert not torch.equal(index, other)
    part = batch_index(order[2:3], offset[2:3], streams[2:3].at_step(1), steps=5, batch_size=32)
    assert torch.equal(part, index[:, 2:3])


def test_batches_are_uniform_over_the_device(labels: Tensor) -> None:
    streams = Streams.from_seed(3, 1)
    order, offset = dirichlet_split(labels, 4, streams)
    index = batch_index(order, offset, streams, steps=2000, batch_size=32)
    for k in range(4):
        size = int(offset[0, k + 1] - offset[0, k])
        count = index[:, 0, k].flatten().bincount(minlength=1400)
        held = count[order[0, offset[0, k] : offset[0, k + 1]].long()].double()
        expected = 64_000 / size
        chi = float(((held - expected).square() / expected).sum())
        assert abs(chi - (size - 1)) < 5 * math.sqrt(2 * size)
