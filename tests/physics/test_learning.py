"""Networks side by side equal networks one by one; a row does not know its neighbours."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.random import Streams
from isac_gym.physics import learning
from isac_gym.physics.learning import (
    Network,
    cnn,
    initial_weights,
    local_updates,
    logits,
    mlp,
    scores,
)

NETWORKS = {
    "mlp": mlp(64, 32, 10),
    "deep": mlp(20, 16, 8, 4),
    "linear": mlp(12, 3),
    "cnn": cnn((2, 8, 8), filters=(4, 6), hidden=(12, 7), classes=5),
}
BATCH, DEVICES, STEPS, SIZE, IMAGES = 3, 4, 3, 8, 50


def module(network: Network, row: Tensor) -> nn.Module:
    """The same network out of torch's own layers."""
    layers: list[nn.Module] = []
    channels, height, width = network.image
    if network.filters:
        layers.append(nn.Unflatten(1, network.image))
    for count in network.filters:
        for wide in (channels, count):
            layers += [nn.Conv2d(wide, count, 3, padding=1), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
        channels, height, width = count, height // 2, width // 2
    layers.append(nn.Flatten())
    sizes = [channels * height * width, *network.hidden, network.classes]
    for number, (before, after) in enumerate(pairwise(sizes)):
        layers += [nn.ReLU()] if number else []
        layers.append(nn.Linear(before, after))
    whole = nn.Sequential(*layers).to(row.dtype)
    start = 0
    with torch.no_grad():
        for parameter in whole.parameters():
            values = row[start : start + parameter.numel()]
            start += parameter.numel()
            is_matrix = parameter.ndim == 2
            shape = parameter.T.shape if is_matrix else parameter.shape
            new = values.reshape(shape)
            parameter.copy_(new.T if is_matrix else new)
    assert start == network.num_weights
    return whole


def flat(whole: nn.Module) -> Tensor:
    """Row of a module's parameters."""
    parts = [p.detach().T if p.ndim == 2 else p.detach() for p in whole.parameters()]
    return torch.cat([part.flatten() for part in parts])


@pytest.fixture(params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> Network:
    return NETWORKS[request.param]


def data(network: Network, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights, images, labels and batches."""
    streams = Streams.from_seed(5, BATCH)
    one = streams[:1]
    images = one.normal("images", IMAGES, network.inputs)[0].to(dtype)
    labels = one.integers("labels", IMAGES, high=network.classes)[0]
    index = streams.integers("index", STEPS, DEVICES, SIZE, high=IMAGES).transpose(0, 1)
    return initial_weights(network, streams).to(dtype), images, labels, index.contiguous()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_local_updates_equal_networks_trained_one_by_one(
    network: Network, dtype: torch.dtype, tolerance: float
) -> None:
    weights, images, labels, index = data(network, dtype)
    delta = local_updates(network, weights, images, labels, index, learning_rate=0.1)
    assert delta.dtype == dtype
    for b in range(BATCH):
        for k in range(DEVICES):
            whole = module(network, weights[b])
            descent = torch.optim.SGD(whole.parameters(), lr=0.1)
            for t in range(STEPS):
                descent.zero_grad()
                rows = index[t, b, k]
                functional.cross_entropy(whole(images[rows]), labels[rows]).backward()
                descent.step()
            torch.testing.assert_close(
                delta[b, k], flat(whole) - weights[b], rtol=tolerance, atol=tolerance
            )


def test_logits_and_scores_equal_torch_modules(network: Network) -> None:
    weights, images, labels, _ = data(network, torch.float64)
    out = logits(network, weights, images[None])
    accuracy, loss = scores(network, weights, images, labels)
    for b in range(BATCH):
        with torch.no_grad():
            expected = module(network, weights[b])(images)
        torch.testing.assert_close(out[b], expected)
        right = (expected.argmax(-1) == labels).double().mean()
        torch.testing.assert_close(accuracy[b], right)
        torch.testing.assert_close(loss[b], functional.cross_entropy(expected, labels))


def test_convolutions_by_products_equal_those_by_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS["cnn"]
    weights, images, labels, index = data(network, torch.float64)
    expected = local_updates(network, weights, images, labels, index, learning_rate=0.1)
    monkeypatch.setattr(learning, "_by_groups", learning._by_products)
    found = local_updates(network, weights, images, labels, index, learning_rate=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_row_is_the_same_alone_and_in_any_batch(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, images, labels, index = data(network, torch.float32)
    whole = local_updates(network, weights, images, labels, index, learning_rate=0.1)
    tested = scores(network, weights, images, labels)
    # one model alone is a convolution without groups, which rounds otherwise
    rounding = 1e-6 if network.filters else 1e-13
    for b in range(BATCH):
        rows = slice(b, b + 1)
        alone = local_updates(
            network, weights[rows], images, labels, index[:, rows], learning_rate=0.1
        )
        assert torch.equal(alone, whole[rows])
        one = scores(network, weights[rows], images, labels)
        assert torch.equal(one[0], tested[0][rows])
        torch.testing.assert_close(one[1], tested[1][rows], rtol=rounding, atol=0)
    monkeypatch.setattr(learning, "_CACHED_WEIGHTS", 1)  # one environment at a time
    monkeypatch.setattr(learning, "_TESTED_NUMBERS", 7 * network.inputs)
    again = local_updates(network, weights, images, labels, index, learning_rate=0.1)
    assert torch.equal(again, whole)
    some = scores(network, weights, images, labels)
    torch.testing.assert_close(some, tested, rtol=1e-6, atol=0)


def test_training_leaves_its_arguments_alone_and_works_without_gradients(network: Network) -> None:
    weights, images, labels, index = data(network, torch.float32)
    before = weights.clone()
    with torch.no_grad():
        delta = local_updates(network, weights, images, labels, index, learning_rate=0.1)
    assert torch.equal(weights, before)
    assert not delta.requires_grad
    assert delta.abs().amax() > 0


def test_weights_have_the_variance_of_their_layer() -> None:
    network = cnn()
    rows = initial_weights(network, Streams.from_seed(0, 2))
    assert rows.shape == (2, network.num_weights)
    for part in network.unpack(rows):
        shape = part.shape[1:]
        if len(shape) == 1:
            assert not part.any()
            continue
        inputs = shape[0] if len(shape) == 2 else shape[1] * 9
        assert float(part.var()) == pytest.approx(2 / inputs, rel=0.1)


def test_the_papers_networks_have_their_sizes() -> None:
    assert mlp(784, 32, 10).num_weights == 784 * 32 + 32 + 32 * 10 + 10
    network = cnn()
    pairs = ((3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128))
    convolutions = sum(9 * a * b + b for a, b in pairs)
    dense = 2048 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 10 + 10
    assert network.num_weights == convolutions + dense == 2_915_114


def test_bad_networks_are_refused() -> None:
    with pytest.raises(ScenarioError, match="size must be an integer >= 1"):
        mlp(784, 0, 10)
    with pytest.raises(ScenarioError, match="needs inputs and outputs"):
        mlp(784)
    with pytest.raises(ScenarioError, match="poolings need an image of at least 16 pixels"):
        cnn((1, 8, 8), filters=(2, 2, 2, 2))
    with pytest.raises(ShapeError, match="expected \\(S, 39\\)"):
        logits(mlp(12, 3), torch.zeros(2, 40), torch.zeros(1, 5, 12))
