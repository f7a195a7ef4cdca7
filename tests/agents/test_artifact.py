"""Artifacts: what is saved is what is played; what was changed is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import agents
from agents.artifact import MANIFEST, WEIGHTS, Manifest, load_agent, save_agent
from agents.network import Architecture, PolicyNetwork
from isac_gym.core.errors import ShapeError, SubmissionError
from isac_gym.core.policy import Policy

SIZES = (7, 16, 16, 3)


@pytest.fixture
def network():
    network = PolicyNetwork(Architecture(sizes=SIZES, activation="tanh"), seed=3)
    generator = torch.Generator().manual_seed(4)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=generator)
    return network


@pytest.fixture
def folder(tmp_path, network):
    manifest = Manifest(
        name="toy",
        method="test",
        environment="isac/Toy-v0",
        scenario={},
        scenario_digest="0" * 64,
        architecture=network.architecture,
    )
    save_agent(tmp_path / "agent", manifest, network)
    return tmp_path / "agent"


@pytest.fixture
def observation():
    return torch.randn(257, SIZES[0], generator=torch.Generator().manual_seed(5))


def rewrite(folder, **changes):
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(values | changes))


def retouch(folder, edit):
    """Change the arrays and make the digest right again, as a careful forger would."""
    arrays = load_file(folder / WEIGHTS)
    edit(arrays)
    save_file(arrays, folder / WEIGHTS)
    import hashlib

    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    rewrite(folder, weights_sha256=digest)


def test_artifact__plays_what_was_saved(folder, network, observation):
    agent = load_agent(folder)
    assert agent.name == "toy"
    assert isinstance(agent, Policy)
    torch.testing.assert_close(agent.act(observation), network(observation), atol=1e-6, rtol=0)


def test_artifact__second_save_replaces_the_first_and_leaves_no_debris(folder, observation):
    other = PolicyNetwork(Architecture(sizes=SIZES, activation="tanh"), seed=9)
    save_agent(folder, load_agent(folder).manifest, other)
    torch.testing.assert_close(
        load_agent(folder).act(observation), other(observation), atol=1e-6, rtol=0
    )
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, WEIGHTS]


def test_act__is_deterministic_and_independent_of_the_batch(folder, observation):
    agent = load_agent(folder)
    together = agent.act(observation)
    alone = torch.cat([agent.act(row[None]) for row in observation])
    shuffled = agent.act(observation.flip(0)).flip(0)
    assert torch.equal(together, alone)
    assert torch.equal(together, shuffled)
    assert together.dtype == torch.float32
    assert float(together.abs().max()) <= 1


def test_act__leaves_no_gradient_and_no_random_state(folder, observation):
    agent, before = load_agent(folder), torch.random.get_rng_state()
    assert not agent.act(observation.requires_grad_()).requires_grad
    assert torch.equal(before, torch.random.get_rng_state())


def test_act__names_a_wrong_observation(folder):
    with pytest.raises(ShapeError, match=r"observation: shape \(2, 8\).*\(B, 7\)"):
        load_agent(folder).act(torch.zeros(2, 8))


def test_load__refuses_changed_weights(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))
    with pytest.raises(SubmissionError, match="SHA-256"):
        load_agent(folder)


@pytest.mark.parametrize("missing", [MANIFEST, WEIGHTS])
def test_load__names_a_missing_file(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(SubmissionError, match=missing):
        load_agent(folder)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"surprise": 1}, "surprise"),
        ({"weights_sha256": "xyz"}, "weights_sha256"),
        ({"seed": -1}, "seed"),
        ({"architecture": {"kind": "pickle", "sizes": [7, 3]}}, r"architecture\.kind"),
    ],
)
def test_load__names_a_bad_manifest_field(folder, changes, field):
    rewrite(folder, **changes)
    with pytest.raises(SubmissionError, match=field):
        load_agent(folder)


def test_load__refuses_a_manifest_that_is_not_json(folder):
    (folder / MANIFEST).write_text("{")
    with pytest.raises(SubmissionError, match=MANIFEST):
        load_agent(folder)


def test_load__refuses_weights_that_are_not_safetensors(folder):
    import hashlib

    (folder / WEIGHTS).write_bytes(b"\x80\x04K\x01.")
    rewrite(folder, weights_sha256=hashlib.sha256(b"\x80\x04K\x01.").hexdigest())
    with pytest.raises(SubmissionError, match="not a safetensors file"):
        load_agent(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda a: a.pop("layers.0.bias"), r"missing \['layers.0.bias'\]"),
        (lambda a: a.update(extra=torch.zeros(1)), r"unknown \['extra'\]"),
        (lambda a: a.update({"layers.0.bias": torch.zeros(15)}), r"layers.0.bias.*\(15,\)"),
        (lambda a: a.update({"layers.0.bias": torch.zeros(16).double()}), "float64"),
        (lambda a: a.update({"layers.0.bias": torch.full((16,), torch.nan)}), "non-finite"),
    ],
)
def test_load__refuses_weights_that_do_not_fit_the_architecture(folder, edit, message):
    retouch(folder, edit)
    with pytest.raises(ShapeError, match=message):
        load_agent(folder)


def test_save__refuses_another_architecture(folder):
    other = PolicyNetwork(Architecture(sizes=(7, 3)))
    with pytest.raises(ShapeError, match="architecture"):
        save_agent(folder, load_agent(folder).manifest, other)


def test_pretrained__all_load_and_are_small():
    shipped = agents.pretrained()
    assert shipped
    for path in shipped.values():
        agent = load_agent(path)
        assert agent.manifest.command.startswith("isac train ")
        assert not agent.manifest.interrupted
        assert sum(file.stat().st_size for file in path.iterdir()) < 1e6
