"""Training on a device: the default spelled out, and devices that are refused."""

import sys

import pytest
import torch

from agents.amortised.train import AmortisedConfig, make_network, train
from agents.artifact import load_agent
from agents.evaluation import FloorPolicy, play
from agents.training import TrainingTask
from isac_gym.cli import main
from isac_gym.core.errors import ScenarioError

STATIC = "isac/PowerControlStatic-v0"
TINY = AmortisedConfig(hidden=(16,), num_envs=64, pool_size=512, warm_up=5)


def isac(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["isac", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("horizon", [1, 3])
def test_cpu__spelled_out_is_the_default(toy_task, horizon):
    default, explicit = (
        train(toy_task(horizon, steps=512, **changes), TINY) for changes in ({}, {"device": "cpu"})
    )
    assert torch.equal(weights(default[0]), weights(explicit[0]))
    assert [p.value for p in default[1].curve] == [p.value for p in explicit[1].curve]


def test_train__returns_a_network_on_the_cpu(toy_task):
    network, recorder = train(toy_task(steps=128, device="cpu"), TINY)
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    assert recorder.best(make_network(recorder.task, TINY)).architecture == network.architecture


def test_play__on_the_named_device_is_the_default(toy_task):
    process = toy_task(horizon=3).process
    default = play(process, FloorPolicy(), [5, 6])
    named = play(process, FloorPolicy(), [5, 6], device="cpu")
    assert torch.equal(default.reward, named.reward)
    assert torch.equal(default.violation, named.violation)


@pytest.mark.parametrize("device", ["gpu7", "cuda:99", ""])
def test_task__refuses_a_device_that_is_not_there(toy, device):
    with pytest.raises(ScenarioError, match=f"device '{device}' is not available"):
        TrainingTask(environment=toy, steps=1, device=device)


def test_ppo__refuses_every_device_but_the_cpu(monkeypatch, toy_task):
    pytest.importorskip("stable_baselines3")
    from agents.sb3.train import train as train_ppo

    monkeypatch.setattr("agents.training.torch_device", torch.device)  # as if there was a GPU
    with pytest.raises(ScenarioError, match="device must be cpu for PPO, got 'cuda'"):
        train_ppo(toy_task(device="cuda"))


def test_command__takes_the_device(monkeypatch, capsys, tmp_path):
    out = tmp_path / "agent"
    code, text, _ = isac(
        monkeypatch, capsys, "train", STATIC, "--steps", 128, "--episodes", 16, "--out", out,
        "--device", "cpu", "--hyper", "pool_size=128", "--hyper", "hidden=[8]",
    )  # fmt: skip
    assert code == 0
    assert "share %" in text
    assert "--device cpu" in load_agent(out).manifest.command


@pytest.mark.parametrize("method", ["amortised", "ppo"])
def test_command__refuses_a_wrong_device_in_one_line(monkeypatch, capsys, tmp_path, method):
    monkeypatch.chdir(tmp_path)
    arguments = ("train", STATIC, "--method", method, "--steps", 64, "--device", "gpu7")
    code, text, error = isac(monkeypatch, capsys, *arguments)
    assert code == 2
    lines = [line for line in error.splitlines() if "commands of" not in line]
    assert len(lines) == 1
    assert "device 'gpu7' is not available" in lines[0]
    assert text == ""
    assert not list(tmp_path.iterdir())


def test_command__refuses_a_gpu_for_ppo_in_one_line(monkeypatch, capsys, tmp_path):
    pytest.importorskip("stable_baselines3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("agents.training.torch_device", torch.device)
    arguments = ("train", STATIC, "--method", "ppo", "--steps", 64, "--device", "cuda", "--json")
    code, text, error = isac(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "device must be cpu for PPO, got 'cuda'" in error
    assert "Traceback" not in error
    assert text == ""
    assert not list(tmp_path.iterdir())
