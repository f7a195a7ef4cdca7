"""Trained agents as data: a folder with ``weights.safetensors`` and ``manifest.json``.

The manifest declares an architecture that this package builds itself; the weights are plain arrays
whose SHA-256 stands in the manifest. Loading an agent never runs foreign code and never unpickles.
"""

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load, save
from torch import Tensor

import isac_gym
from agents.network import Architecture, PolicyNetwork
from isac_gym.core.errors import ShapeError, SubmissionError
from isac_gym.core.policy import PolicyContext

__all__ = ["CurvePoint", "Manifest", "TrainedAgent", "load_agent", "save_agent", "versions"]

MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
_MAX_WEIGHT_BYTES = 64 * 2**20
_MAX_MANIFEST_BYTES = 4 * 2**20
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class CurvePoint(BaseModel):
    """One evaluation during training, on validation instances.

    Attributes:
        steps: Environment steps so far (instances seen, for one-step processes).
        seconds: Wall time so far, evaluations excluded.
        value: Mean of the manifest's ``curve_metric``.
    """

    model_config = _FROZEN

    steps: int = Field(ge=0)
    seconds: float = Field(ge=0)
    value: float


class Manifest(BaseModel):
    """Everything about a trained agent but its weights.

    Attributes:
        schema_version: Version of this layout.
        name: Name of the agent.
        method: How it was trained.
        environment: Environment id.
        scenario: All scenario fields, plain values.
        scenario_digest: SHA-256 of the scenario.
        settings: Process settings that differ from the defaults.
        architecture: Declared network.
        weights_sha256: SHA-256 of the weights file.
        command: Command line that produced it.
        seed: Seed of weights and instances.
        versions: Versions of python, torch, isac_gym and the training library.
        hyperparameters: Hyper-parameters of the method.
        steps: Environment steps spent.
        seconds: Wall time spent training, evaluations excluded.
        interrupted: True if the training was stopped before its budget.
        curve_metric: What the curve shows, with its unit.
        curve: Validation values during training.
        curve_references: Values of other policies on the same validation instances.
        results: Held-out results: numbers by name, intervals as ``[low, high]``.
    """

    model_config = _FROZEN

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1, max_length=100)
    method: str
    environment: str
    scenario: dict[str, Any]
    scenario_digest: str = Field(pattern="^[0-9a-f]{64}$")
    settings: dict[str, Any] = {}
    architecture: Architecture
    weights_sha256: str = Field(default="0" * 64, pattern="^[0-9a-f]{64}$")
    command: str = ""
    seed: int = Field(default=0, ge=0)
    versions: dict[str, str] = {}
    hyperparameters: dict[str, Any] = {}
    steps: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)
    interrupted: bool = False
    curve_metric: str = ""
    curve: tuple[CurvePoint, ...] = ()
    curve_references: dict[str, float] = {}
    results: dict[str, Any] = {}


@dataclass(frozen=True)
class TrainedAgent:
    """A loaded agent: a deterministic :class:`isac_gym.core.policy.Policy`.

    Attributes:
        manifest: What it is and where it comes from.
        network: Its network, float64: the answer of a lane does not depend on the batch.
    """

    manifest: Manifest
    network: PolicyNetwork

    @property
    def name(self) -> str:
        """Name of the agent."""
        return self.manifest.name

    def act(self, observation: Tensor, context: PolicyContext | None = None) -> Tensor:
        """Joint actions (B, action_size) float32 in [-1, 1] for observations (B, O).

        Raises:
            ShapeError: The observation does not have the size the agent was trained with.
        """
        wanted = self.manifest.architecture.sizes[0]
        if observation.ndim != 2 or observation.shape[1] != wanted:
            raise ShapeError(
                f"observation: shape {tuple(observation.shape)}, agent {self.name!r} was trained "
                f"with (B, {wanted}) on {self.manifest.environment}."
            )
        with torch.no_grad():
            network = self.network.to(observation.device)
            return network(observation.to(torch.float64)).to(torch.float32)


def versions(*packages: str) -> dict[str, str]:
    """Versions of python, torch, isac_gym and of further installed ``packages``."""
    from importlib.metadata import version

    known = {"python": platform.python_version(), "torch": str(torch.__version__)}
    return known | {"isac_gym": isac_gym.__version__} | {name: version(name) for name in packages}


def save_agent(folder: Path | str, manifest: Manifest, network: PolicyNetwork) -> Manifest:
    """Write weights and manifest into ``folder``, each complete or not at all.

    A reader that comes between the two renames sees a digest mismatch, never a mixture.

    Returns:
        The manifest with the digest of the weights.

    Raises:
        ShapeError: The network is not of the declared architecture.
    """
    if network.architecture != manifest.architecture:
        raise ShapeError("architecture: the network is not the one the manifest declares.")
    state = network.state_dict().items()
    arrays = {name: t.detach().to("cpu", torch.float32).contiguous() for name, t in state}
    weights = save(arrays)
    manifest = manifest.model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / WEIGHTS, weights)
    _write(folder / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())
    return manifest


def load_agent(folder: Path | str) -> TrainedAgent:
    """Agent of a folder written by :func:`save_agent`.

    Raises:
        SubmissionError: A file is missing, too large, malformed, or its digest does not match.
        ShapeError: A weight is missing, or has the wrong shape, type or a non-finite value.
    """
    folder = Path(folder)
    manifest_bytes = _read(folder / MANIFEST, _MAX_MANIFEST_BYTES)
    try:
        manifest = Manifest.model_validate_json(manifest_bytes)
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(map(str, first["loc"])) or MANIFEST
        raise SubmissionError(f"{folder / MANIFEST}: {field}: {first['msg']}.") from err
    weights = _read(folder / WEIGHTS, _MAX_WEIGHT_BYTES)
    digest = hashlib.sha256(weights).hexdigest()
    if digest != manifest.weights_sha256:
        raise SubmissionError(
            f"{folder / WEIGHTS}: SHA-256 is {digest}, the manifest says "
            f"{manifest.weights_sha256}; the weights were changed after saving."
        )
    try:
        arrays = load(weights)
    except safetensors.SafetensorError as err:
        raise SubmissionError(f"{folder / WEIGHTS}: not a safetensors file ({err}).") from err
    _check_weights(arrays, manifest.architecture.shapes())
    network = PolicyNetwork(manifest.architecture)
    network.load_state_dict(arrays)
    return TrainedAgent(manifest, network.double().eval().requires_grad_(False))


def _check_weights(arrays: Mapping[str, Tensor], declared: Mapping[str, tuple[int, ...]]) -> None:
    if set(arrays) != set(declared):
        missing, unknown = sorted(set(declared) - set(arrays)), sorted(set(arrays) - set(declared))
        raise ShapeError(f"weights: missing {missing}, unknown {unknown}.")
    for name, shape in declared.items():
        found = arrays[name]
        if tuple(found.shape) != shape or found.dtype != torch.float32:
            raise ShapeError(
                f"weights {name}: {found.dtype} {tuple(found.shape)}, expected float32 {shape}."
            )
        if not bool(torch.isfinite(found).all()):
            raise ShapeError(f"weights {name}: non-finite value; every weight must be finite.")


def _read(path: Path, limit: int) -> bytes:
    if not path.is_file():
        raise SubmissionError(f"{path}: no such file; an agent is {MANIFEST} + {WEIGHTS}.")
    size = path.stat().st_size
    if size > limit:
        raise SubmissionError(f"{path}: {size} bytes, at most {limit} are allowed.")
    return path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
