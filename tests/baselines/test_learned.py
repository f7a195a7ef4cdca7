"""Weights on disk and the command that trains them; the networks have tests of their own."""

import hashlib
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from baselines import learned
from baselines.learned import FitPlan, Fitted, LearnedSolver, load_weights, save_weights
from baselines.robust_beamforming import learned as networks
from isac_gym.cli import main
from isac_gym.core.errors import ScenarioError, SubmissionError
from isac_gym.core.family import family
from tests.contracts.toy import ToyProblem

TENSORS = {
    "layer.weight": torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4),
    "step": torch.tensor([0.1], dtype=torch.float64, requires_grad=True),
}


def fitted(tensors=None, **results):
    return Fitted(
        tensors=TENSORS if tensors is None else tensors,
        steps=7,
        seconds=1.23456,
        curve_metric="objective",
        curve=[(0, 0.0, 0.0, -1.0), (7, 1.2, 0.5, -0.5)],
        results={"objective": -0.5} | results,
    )


def write(path, result=None, **plan):
    return save_weights(
        path,
        result or fitted(),
        solver="toy-net",
        problem=ToyProblem(),
        plan=FitPlan(steps=7, batch=4, **plan),
        command="isac fit toy toy-net",
    )


def rewrite(path, **changes):
    """The manifest with other values."""
    manifest = json.loads(path.with_suffix(".json").read_text()) | changes
    path.with_suffix(".json").write_text(json.dumps(manifest))


# --- files --------------------------------------------------------------------------------------


def test_weights__come_back_in_single_precision(tmp_path):
    path = tmp_path / "new" / "folder" / "net"
    written = write(path)
    tensors, manifest = load_weights(path)
    assert manifest == written
    assert set(tensors) == set(TENSORS)
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float32
        assert not tensor.requires_grad
        assert torch.equal(tensor, TENSORS[name].detach().float())


def test_manifest__says_how_the_weights_were_made(tmp_path):
    manifest = write(tmp_path / "net", seed=5)
    content = (tmp_path / "net.safetensors").read_bytes()
    scenario = ToyProblem().scenario
    assert manifest["weights_sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["scenario_digest"] == scenario.digest()
    assert manifest["scenario"] == scenario.to_dict()
    assert manifest["command"] == "isac fit toy toy-net"
    assert (manifest["solver"], manifest["problem"]) == ("toy-net", "toy")
    assert (manifest["steps"], manifest["parameters"], manifest["seconds"]) == (7, 13, 1.235)
    assert manifest["plan"]["seed"] == 5
    assert "max_seconds" not in manifest["plan"]  # infinity is no JSON
    assert manifest["curve"] == [[0, 0.0, 0.0, -1.0], [7, 1.2, 0.5, -0.5]]
    assert {"python", "torch", "isac_gym"} == set(manifest["versions"])
    assert write(tmp_path / "net", max_seconds=60.0)["plan"]["max_seconds"] == 60.0


def test_weights__dots_in_a_name_belong_to_the_name(tmp_path):
    write(tmp_path / "rate0.1")
    write(tmp_path / "rate0.2", fitted({"step": torch.tensor([2.0])}))
    assert len(list(tmp_path.iterdir())) == 4
    assert set(load_weights(tmp_path / "rate0.1")[0]) == set(TENSORS)
    assert set(load_weights(tmp_path / "rate0.2")[0]) == {"step"}


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_load__names_the_missing_file(tmp_path, suffix):
    path = tmp_path / "net"
    write(path)
    path.with_suffix(suffix).unlink()
    with pytest.raises(SubmissionError, match=rf"net\{suffix}: no such file; .*isac fit"):
        load_weights(path)


def test_load__refuses_other_weights_than_those_of_the_manifest(tmp_path):
    path = tmp_path / "net"
    write(path)
    content = bytearray(path.with_suffix(".safetensors").read_bytes())
    content[-1] ^= 1
    path.with_suffix(".safetensors").write_bytes(content)
    with pytest.raises(SubmissionError, match=r"net: .*not those of the manifest"):
        load_weights(path)
    write(path)
    rewrite(path, weights_sha256=None)
    with pytest.raises(SubmissionError, match="not those of the manifest"):
        load_weights(path)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"null", b"\xff\xfe\xff", b"[" * 100_000])
def test_load__refuses_a_malformed_manifest(tmp_path, text):
    path = tmp_path / "net"
    write(path)
    path.with_suffix(".json").write_bytes(text)
    with pytest.raises(SubmissionError, match="net: malformed"):
        load_weights(path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not weights at all"])
def test_load__refuses_malformed_weights(tmp_path, content):
    path = tmp_path / "net"
    write(path)
    path.with_suffix(".safetensors").write_bytes(content)
    rewrite(path, weights_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(SubmissionError, match="net: malformed weights"):
        load_weights(path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_load__names_non_finite_weights(tmp_path, value):
    path = tmp_path / "net"
    write(path, fitted({"good": torch.ones(2), "bad": torch.tensor([1.0, value])}))
    with pytest.raises(SubmissionError, match=r"net: non-finite weights \['bad'\]"):
        load_weights(path)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_load__reads_no_file_that_is_too_large(monkeypatch, tmp_path, suffix):
    path = tmp_path / "net"
    write(path)
    monkeypatch.setattr(learned, "_MAX_BYTES", 4096)
    load_weights(path)
    with path.with_suffix(suffix).open("ab") as file:
        file.truncate(4097)
    with pytest.raises(SubmissionError, match=rf"net\{suffix}: more than 4096 bytes"):
        load_weights(path)


def test_save__leaves_the_old_weights_when_a_write_stops(monkeypatch, tmp_path):
    path = tmp_path / "net"
    write(path)
    before = load_weights(path)

    def stopped(self, content):
        Path.write_text(self, "half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", stopped)
        with pytest.raises(OSError, match="disk full"):
            write(path, fitted({"step": torch.zeros(1)}))
    after = load_weights(path)
    assert after[1] == before[1]
    assert all(torch.equal(after[0][name], tensor) for name, tensor in before[0].items())


def test_save__writes_nothing_if_the_manifest_is_no_json(tmp_path):
    path = tmp_path / "net"
    write(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(path, fitted({"step": torch.zeros(1)}, crlb_m2=math.nan))
    assert set(load_weights(path)[0]) == set(TENSORS)
    assert len(list(tmp_path.iterdir())) == 2


def test_load__runs_no_foreign_code(tmp_path):
    """A pickle under the weights' name is not even opened as one."""
    path = tmp_path / "net"
    write(path)
    torch.save({"step": torch.zeros(1)}, path.with_suffix(".safetensors"))
    with pytest.raises(SubmissionError, match="malformed weights"):
        load_weights(path)


# --- plan and solver ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "bound"),
    [
        ("steps", 0, ">= 1"),
        ("batch", 0, ">= 1"),
        ("evaluations", -1, ">= 1"),
        ("seed", -1, ">= 0"),
        ("learning_rate", 0.0, "> 0"),
        ("learning_rate", math.nan, "> 0"),
        ("max_seconds", -2.0, "> 0"),
        ("max_seconds", math.nan, "> 0"),
    ],
)
def test_plan__names_a_bad_field(field, value, bound):
    with pytest.raises(ScenarioError, match=f"{field} must be {bound}, got {value}"):
        FitPlan(**{field: value})


@dataclass(frozen=True, kw_only=True)
class ToyNet(LearnedSolver):
    """A learned solver in name only."""

    name: ClassVar[str] = "toy-net"
    shipped: ClassVar[Path] = Path("shipped")

    @classmethod
    def fit(cls, problem, plan, *, progress=None):
        return fitted()

    def solve(self, problem, instance, **options):
        raise NotImplementedError


def test_solver__takes_the_shipped_weights_unless_told_otherwise(tmp_path):
    solver = ToyNet()
    assert solver.path == Path("shipped/toy-net")
    other = solver.with_weights(tmp_path / "mine")
    assert other.path == tmp_path / "mine"
    assert other == ToyNet(weights=str(tmp_path / "mine"))
    assert isinstance(other, ToyNet)


# --- isac fit -----------------------------------------------------------------------------------

TINY = ("--steps", "2", "--batch", "4", "--preset", "small")


def fit(monkeypatch, capsys, *arguments):
    """Exit code, standard output and standard error of ``isac fit``."""
    monkeypatch.setattr(sys, "argv", ["isac", "fit", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.fixture
def _short_checks(monkeypatch):
    """Validation and held-out sets of a few instances."""
    monkeypatch.setattr(networks, "_VALIDATION", 8)
    monkeypatch.setattr(networks, "_HELD_OUT", 16)


@pytest.mark.usefixtures("_short_checks")
def test_fit__writes_weights_and_manifest(monkeypatch, capsys, tmp_path):
    out = tmp_path / "weights" / "net.1"
    code, text, _ = fit(
        monkeypatch, capsys, "robust-beamforming", "boblrbf-dnn-gradient", *TINY,
        "--seed", "3", "--set", "csi_error=0.05", "--learning-rate", "0.002", "--out", out,
    )  # fmt: skip
    assert code == 0
    assert "2 steps in" in text
    assert "net.1.*" in text.replace("\n", "")
    tensors, manifest = load_weights(out)
    scenario = {"preset": "small", "csi_error": 0.05}
    digest = family("robust_beamforming").make_problem(scenario).scenario.digest()
    assert manifest["scenario_digest"] == digest
    assert manifest["command"].startswith("isac fit robust-beamforming boblrbf-dnn-gradient --st")
    assert manifest["solver"] == "boblrbf-dnn-gradient"
    plan = {"steps": 2, "batch": 4, "seed": 3, "device": "cpu", "learning_rate": 0.002}
    assert plan.items() <= manifest["plan"].items()
    assert [point[0] for point in manifest["curve"]] == [0, 1, 2]
    assert all(map(math.isfinite, manifest["curve"][-1]))
    assert manifest["results"]["instances"] == 16
    assert manifest["results"]["objective"] > -1
    assert sum(t.numel() for t in tensors.values()) == manifest["parameters"]
    assert sorted(p.name for p in out.parent.iterdir()) == ["net.1.json", "net.1.safetensors"]


@pytest.mark.usefixtures("_short_checks")
def test_fit__default_place_and_json(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, text, _ = fit(
        monkeypatch, capsys, "robust-beamforming", "boblrbf-dnn-features", *TINY, "--json"
    )
    assert code == 0
    assert json.loads(text) == load_weights(tmp_path / "boblrbf-dnn-features-seed0")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("robust-beamforming", "pga"), "solver 'pga' of robust_beamforming has no weights"),
        (("power-control", "exact"), "solver 'exact' of power_control has no weights"),
        (("robust-beamforming", "best"), "unknown solver 'best'"),
        (("nothing", "pga"), "unknown problem 'nothing'"),
        (("robust-beamforming", "boblrbf-dnn", "--steps", "0"), "steps must be >= 1, got 0"),
        (("robust-beamforming", "boblrbf-dnn", "--batch", "-3"), "batch must be >= 1, got -3"),
        (("robust-beamforming", "boblrbf-dnn", "--seed", "-1"), "seed must be >= 0, got -1"),
        (("robust-beamforming", "boblrbf-dnn", "--learning-rate", "0"), "learning_rate must be"),
        (("robust-beamforming", "boblrbf-dnn", "--max-seconds", "0"), "max_seconds must be > 0"),
        (("robust-beamforming", "boblrbf-dnn", "--device", "gpu7"), "'gpu7' is not available"),
        (("robust-beamforming", "boblrbf-dnn", "--preset", "moon"), "unknown preset 'moon'"),
        (("robust-beamforming", "boblrbf-dnn", "--set", "wings=2"), "wings"),
    ],
)
def test_fit__refuses_wrong_input_in_one_line(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, text, error = fit(monkeypatch, capsys, *arguments)
    assert code == 2
    lines = [line for line in error.splitlines() if "commands of" not in line]
    assert len(lines) == 1
    assert message in lines[0]
    assert text == ""
    assert not list(tmp_path.iterdir())


def test_fit__help_gives_an_example(monkeypatch, capsys):
    code, text, _ = fit(monkeypatch, capsys, "--help")
    assert code == 0
    assert "isac fit robust-beamforming boblrbf-dnn-gradient" in text
