import itertools

import pytest
import torch

from baselines.subcarrier_selection.networks import Perceptrons, batches, cosine, perceptrons
from isac_gym.core.random import Streams
from isac_gym.physics.learning import mlp


def nets(replicas=3, tones=4, features=2, outputs=3, dtype=torch.float64, hidden=(6, 5), n=7):
    draw = torch.Generator().manual_seed(1)
    network = mlp(tones * features, *hidden, outputs)
    weights = 0.5 * torch.randn(replicas, network.num_weights, generator=draw, dtype=dtype)
    x = torch.randn(replicas, n, tones * features, generator=draw, dtype=dtype)
    y = torch.randn(replicas, n, outputs, generator=draw, dtype=dtype)
    gate = torch.rand(replicas, tones, generator=draw, dtype=dtype)
    return Perceptrons(network, weights), x, y, gate


def test_gradient__by_the_weights_is_that_of_differences():
    net, x, y, gate = nets()
    net.gradient(x, y, gate)
    slope, step = net.slope.clone(), 1e-6
    draw = torch.Generator().manual_seed(2)
    for _ in range(5):
        way = torch.randn(net.weights.shape, generator=draw, dtype=torch.float64)
        values = []
        for sign in (1, -1):
            moved = net.copy()
            moved.weights.add_(sign * step * way)
            values.append(moved.loss(x, y, gate))
        rate = (values[0] - values[1]) / (2 * step)
        torch.testing.assert_close((slope * way).sum(-1), rate, rtol=1e-7, atol=1e-9)


def test_gradient__by_the_gate_is_that_of_differences():
    net, x, y, gate = nets()
    loss, slope = net.gradient(x, y, gate)
    torch.testing.assert_close(loss, net.loss(x, y, gate))
    for tone in range(gate.shape[1]):
        step = torch.zeros_like(gate)
        step[:, tone] = 1e-6
        rate = (net.loss(x, y, gate + step) - net.loss(x, y, gate - step)) / 2e-6
        torch.testing.assert_close(slope[:, tone], rate, rtol=1e-7, atol=1e-9)


def test_gradient__without_a_gate_is_that_of_open_gates():
    net, x, y, gate = nets()
    open_, _ = net.gradient(x, y, torch.ones_like(gate))
    slope = net.slope.clone()
    loss, by_gate = net.gradient(x, y)
    torch.testing.assert_close(loss, open_)
    torch.testing.assert_close(net.slope, slope)
    assert by_gate.shape == (3, 1)


def test_predict__gates_the_features():
    net, x, _, gate = nets()
    gated = x * gate.repeat_interleave(2, 1)[:, None]
    torch.testing.assert_close(net.predict(x, gate), net.predict(gated))


def test_perceptrons__gaps_stay_empty():
    net, x, y, gate = nets()
    before = net.plain
    assert net.weights.shape[1] > before.shape[1]
    net.gradient(x, y, gate)
    net.step(0.1, decay=0.3)
    assert not torch.equal(net.plain, before)
    torch.testing.assert_close(net.weights.abs().sum(-1), net.plain.abs().sum(-1))


def test_step__is_that_of_adamw():
    net, x, y, gate = nets()
    mine = torch.nn.Parameter(net.weights.clone())
    other = torch.optim.AdamW([mine], lr=0.01, weight_decay=0.3)
    for _ in range(5):
        net.gradient(x, y, gate)
        mine.grad = net.slope.clone()
        other.step()
        net.step(0.01, decay=0.3)
        torch.testing.assert_close(net.weights, mine.data, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("outputs", [2, 3])
@pytest.mark.parametrize("tones", [16, 20, 64])
def test_training__of_a_replica_is_the_same_alone_bit_for_bit(tones, outputs):
    net, x, y, gate = nets(7, tones, 4, outputs, torch.float32, hidden=(64, 32), n=48)
    alone = Perceptrons(net.network, net.plain[2:3])
    for step in range(20):
        loss, slope = net.gradient(x, y, gate)
        mine, by_gate = alone.gradient(x[2:3], y[2:3], gate[2:3])
        assert torch.equal(loss[2:3], mine)
        assert torch.equal(slope[2:3], by_gate)
        net.step(0.01 * cosine(step, 20), decay=0.3)
        alone.step(0.01 * cosine(step, 20), decay=0.3)
    assert torch.equal(net.weights[2:3], alone.weights)


def test_copy__is_apart():
    net, x, y, gate = nets()
    before, other = net.weights.clone(), net.copy()
    other.gradient(x, y, gate)
    other.step(0.1, decay=0.0)
    assert torch.equal(net.weights, before)
    assert not torch.equal(other.weights, before)


def test_perceptrons__seeds_differ_and_rooms_do_not():
    streams = Streams.from_seeds([3, 4])
    net = perceptrons(8, 2, hidden=(5,), streams=streams, repeat=3, number=0)
    rows = net.weights.unflatten(0, (3, 2))
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0, 0], rows[0, 1])
    other = perceptrons(8, 2, hidden=(5,), streams=streams, repeat=3, number=1)
    assert not torch.equal(net.weights, other.weights)


@pytest.mark.parametrize(
    ("samples", "size", "steps"), [(10, 4, 7), (5, 8, 3), (8, 4, 4), (200, 128, 3), (100, 40, 9)]
)
def test_batches__an_epoch_repeats_nothing(samples, size, steps):
    order = batches(Streams.from_seeds([0, 1]), samples, size=size, steps=steps)
    width = {128: 128, 40: 32}.get(size, min(size, samples))
    assert order.shape == (steps, 2, width)
    each = samples // width
    for begin in range(0, steps - each + 1, each):
        for seed in range(2):
            rows = order[begin : begin + each, seed].flatten()
            assert len(rows.unique()) == len(rows)
    longer = batches(Streams.from_seeds([0, 1]), samples, size=size, steps=steps + 5)
    assert torch.equal(longer[:steps], order)


def test_cosine__falls_from_one_to_almost_nothing():
    shares = [cosine(step, 50) for step in range(50)]
    assert shares[0] == 1
    assert all(later < earlier for earlier, later in itertools.pairwise(shares))
    assert 0 < shares[-1] < 2e-3
