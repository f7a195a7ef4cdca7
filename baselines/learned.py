"""Learned solvers: solvers whose hyper-parameters are trained weights, shipped as plain data.

A set of weights is ``<name>.safetensors`` and ``<name>.json`` in one folder; the JSON says how they
were made (command, seed, scenario, versions, loss curve) and holds the SHA-256 of the weights.
Loading never runs foreign code. ``isac fit`` trains any solver of this kind.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import platform
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor

from isac_gym.core.errors import ScenarioError, SubmissionError
from isac_gym.core.problem import Problem
from isac_gym.core.solution import Solver

__all__ = [
    "FitPlan",
    "Fitted",
    "LearnedSolver",
    "Progress",
    "load_weights",
    "save_weights",
]

_MAX_BYTES = 64 * 2**20
Progress = Callable[[int, float], None]  # called with (steps so far, validation value)


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """What to spend on training.

    Attributes:
        steps: Gradient steps, >= 1.
        batch: Instances per step, >= 1.
        seed: Seed of weights and instances, >= 0.
        device: Torch device.
        learning_rate: Peak rate of Adam, > 0.
        evaluations: Points of the validation curve, >= 1.
        max_seconds: Wall time after which training stops early, > 0.
    """

    steps: int = 10_000
    batch: int = 256
    seed: int = 0
    device: str = "cpu"
    learning_rate: float = 1e-3
    evaluations: int = 40
    max_seconds: float = math.inf

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluations"):
            if getattr(self, name) < 1:
                raise ScenarioError(f"{name} must be >= 1, got {getattr(self, name)}.")
        if self.seed < 0:
            raise ScenarioError(f"seed must be >= 0, got {self.seed}.")
        for name in ("learning_rate", "max_seconds"):
            if not getattr(self, name) > 0:
                raise ScenarioError(f"{name} must be > 0, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Result of a training run.

    Attributes:
        tensors: Weights by name.
        steps: Gradient steps taken.
        seconds: Wall time of training, validation excluded.
        curve_metric: What the curve shows.
        curve: Points (steps, seconds, training loss, validation value).
        results: Held-out results by name.
    """

    tensors: Mapping[str, Tensor]
    steps: int
    seconds: float
    curve_metric: str
    curve: list[tuple[int, float, float, float]]
    results: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LearnedSolver(Solver):
    """Base of solvers with trained weights.

    Attributes:
        weights: Path of the weights without suffix; empty: the shipped ones.
    """

    shipped: ClassVar[Path]

    weights: str = ""

    @classmethod
    @abstractmethod
    def fit(cls, problem: Problem, plan: FitPlan, *, progress: Progress | None = None) -> Fitted:
        """Train on instances of the problem's own sampling."""

    @property
    def path(self) -> Path:
        """Where the weights lie, without suffix."""
        return Path(self.weights) if self.weights else self.shipped / self.name

    def with_weights(self, path: Path) -> Self:
        """The same solver with other weights."""
        return type(self)(weights=str(path))


def save_weights(
    path: Path, fitted: Fitted, *, solver: str, problem: Problem, plan: FitPlan, command: str
) -> dict[str, Any]:
    """Write weights and their manifest beside each other, each as a whole.

    Args:
        path: Path without suffix.
        fitted: What training gave.
        solver: Name of the solver.
        problem: Problem it was trained on.
        plan: What was spent.
        command: Command line that did it.

    Returns:
        The manifest.
    """
    arrays = {
        n: t.detach().to("cpu", torch.float32).contiguous() for n, t in fitted.tensors.items()
    }
    content = save(arrays)
    spent = {k: v for k, v in asdict(plan).items() if v != math.inf}
    manifest = {
        "schema_version": 1,
        "solver": solver,
        "problem": problem.name,
        "scenario": problem.scenario.to_dict(),
        "scenario_digest": problem.scenario.digest(),
        "command": command,
        "plan": spent,
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "isac_gym": importlib.metadata.version("isac_gym"),
        },
        "device": _device_name(plan.device),
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 3),
        "parameters": sum(t.numel() for t in arrays.values()),
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "curve_metric": fitted.curve_metric,
        "curve": [list(point) for point in fitted.curve],
        "results": dict(fitted.results),
    }
    text = json.dumps(manifest, indent=1, allow_nan=False) + "\n"  # before anything is written
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(_beside(path, ".safetensors"), content)
    _write(_beside(path, ".json"), text.encode())
    return manifest


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights by name and their manifest.

    Raises:
        SubmissionError: A file is missing, too large, malformed, or the digest does not match.
    """
    parts = {suffix: _beside(path, suffix) for suffix in (".json", ".safetensors")}
    for file in parts.values():
        if not file.is_file():
            raise SubmissionError(f"{file}: no such file; train it with `isac fit`.")
        if file.stat().st_size > _MAX_BYTES:
            raise SubmissionError(f"{file}: more than {_MAX_BYTES} bytes.")
    content = parts[".safetensors"].read_bytes()
    try:
        manifest = json.loads(parts[".json"].read_bytes())
        tensors = load(content)
    except (ValueError, RecursionError, safetensors.SafetensorError) as err:
        raise SubmissionError(f"{path}: malformed weights or manifest ({err}).") from err
    if not isinstance(manifest, dict):
        raise SubmissionError(f"{path}: malformed manifest (not a JSON object).")
    if hashlib.sha256(content).hexdigest() != manifest.get("weights_sha256"):
        raise SubmissionError(f"{path}: the weights are not those of the manifest (SHA-256).")
    bad = [name for name, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if bad:
        raise SubmissionError(f"{path}: non-finite weights {bad}.")
    return tensors, manifest


def _beside(path: Path, suffix: str) -> Path:
    """The path with a suffix added; dots in the name, as in ``rate0.1``, belong to the name."""
    return path.with_name(path.name + suffix)


def _device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
