"""The command `isac train`: what it writes, what it refuses."""

import json
import sys

import pytest

from agents.artifact import load_agent
from isac_gym.cli import main

STATIC = "isac/PowerControlStatic-v0"
TINY = ["--hyper", "pool_size=512", "--hyper", "hidden=[16]", "--hyper", "num_envs=64"]


def isac(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["isac", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_train__writes_an_agent_and_prints_the_comparison(monkeypatch, capsys, tmp_path):
    out = tmp_path / "agent"
    code, text, _ = isac(
        monkeypatch, capsys, "train", STATIC, "--steps", 1024, "--out", out, "--episodes", 64,
        "--set", "threshold_db=1.5", "--seed", 3, *TINY,
    )  # fmt: skip
    assert code == 0
    for word in ("amortised", "floor", "exact (genie)", "share %", str(out)):
        assert word in text.replace("\n", "")
    agent = load_agent(out)
    manifest = agent.manifest
    assert manifest.scenario["threshold_db"] == 1.5
    assert manifest.seed == 3
    assert manifest.steps == 1024
    assert manifest.command.startswith(f"isac train {STATIC} --steps 1024")
    assert manifest.architecture.sizes == (31, 16, 3)
    assert manifest.curve[-1].steps == 1024
    assert {"python", "torch", "isac_gym"} <= set(manifest.versions)
    assert sorted(path.name for path in out.iterdir()) == [
        "curve.png",
        "manifest.json",
        "weights.safetensors",
    ]


def test_train__json_is_the_manifest(monkeypatch, capsys, tmp_path):
    code, text, _ = isac(
        monkeypatch, capsys, "train", STATIC, "--method", "ppo", "--steps", 512, "--out", tmp_path,
        "--episodes", 64, "--hyper", "rollout=4", "--num-envs", 32, "--json",
    )  # fmt: skip
    assert code == 0
    printed = json.loads(text)
    assert printed == load_agent(tmp_path).manifest.model_dump(mode="json")
    assert printed["hyperparameters"]["gamma"] == 0
    assert printed["hyperparameters"]["num_envs"] == 32
    assert "stable_baselines3" in printed["versions"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["isac/Nothing-v0"], "unknown environment 'isac/Nothing-v0'"),
        ([STATIC, "--method", "magic"], "unknown method 'magic'; allowed: amortised, ppo"),
        ([STATIC, "--steps", "0"], "steps must be >= 1, got 0"),
        ([STATIC, "--seed", "-1"], "seed must be >= 0, got -1"),
        ([STATIC, "--num-envs", "0"], "num_envs must be >= 1, got 0"),
        ([STATIC, "--episodes", "1"], "held_out_episodes must be >= 2, got 1"),
        ([STATIC, "--scenario", "moon"], "unknown preset 'moon'"),
        ([STATIC, "--set", "wings=2"], "unknown field(s) ['wings']"),
        ([STATIC, "--set", "threshold_db"], "--set must read name=value, got 'threshold_db'"),
        ([STATIC, "--setting", "wings=2"], "unknown setting(s) ['wings']"),
        ([STATIC, "--hyper", "wings=2"], "amortised has no hyper-parameter(s) ['wings']"),
        ([STATIC, "--hyper", "learning_rate=fast"], "learning_rate"),
        ([STATIC, "--hyper", "learning_rate=-1"], "learning_rate must be > 0, got -1"),
    ],
)
def test_train__refuses_wrong_input_in_one_line(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, text, error = isac(monkeypatch, capsys, "train", *arguments)
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert text == ""
    assert not list(tmp_path.iterdir())


def test_train__interrupted_saves_and_says_so(monkeypatch, capsys, tmp_path):
    from agents import experiment

    def stopped(task, config, *, progress):
        def stop(steps, value):
            raise KeyboardInterrupt

        return original(task, config, progress=stop if progress else None)

    original = experiment.load_object("agents.amortised.train:train")
    loader = experiment.load_object
    monkeypatch.setattr(
        experiment,
        "load_object",
        lambda path: stopped if path.endswith(":train") else loader(path),
    )
    code, text, _ = isac(
        monkeypatch, capsys, "train", STATIC, "--steps", 512, "--out", tmp_path, "--episodes", 64,
        *TINY,
    )  # fmt: skip
    assert code == 1
    assert "interrupted" in text
    assert load_agent(tmp_path).manifest.interrupted
