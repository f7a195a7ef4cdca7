"""Networks: declared shapes, bounded actions, private randomness."""

import pytest
import torch
from pydantic import ValidationError

from agents.network import Architecture, PolicyNetwork


def test_network__has_the_declared_weights():
    architecture = Architecture(sizes=(5, 8, 2))
    state = PolicyNetwork(architecture).state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == architecture.shapes()


def test_network__matches_a_hand_written_forward_pass():
    network = PolicyNetwork(Architecture(sizes=(5, 8, 2), activation="relu", output="tanh"), seed=2)
    x = torch.linspace(-3, 3, 20).reshape(4, 5)
    w = dict(network.named_parameters())
    hidden = (x @ w["layers.0.weight"].T + w["layers.0.bias"]).clamp_min(0)
    expected = torch.tanh(hidden @ w["layers.1.weight"].T + w["layers.1.bias"])
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("output", ["clip", "tanh"])
def test_network__actions_stay_in_the_box(output):
    network = PolicyNetwork(Architecture(sizes=(5, 8, 2), output=output))
    torch.nn.init.constant_(network.layers[-1].bias, 1.5)
    action = network(torch.full((3, 5), 100.0))
    assert bool((action.abs() <= 1).all())


def test_network__same_seed_same_weights_and_global_generator_untouched():
    before = torch.random.get_rng_state()
    first, second, other = (
        PolicyNetwork(Architecture(sizes=(5, 8, 2)), seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.layers[0].weight, second.layers[0].weight)
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "bad", [{"kind": "lstm"}, {"sizes": [3]}, {"activation": "exec"}, {"x": 1}]
)
def test_architecture__refuses_what_it_cannot_build(bad):
    with pytest.raises(ValidationError):
        Architecture.model_validate({"sizes": [3, 2]} | bad)
