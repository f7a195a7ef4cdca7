"""What all adapters check and convert at the edge: actions, seeds, choices, arrays, spaces."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from isac_gym.core.errors import ScenarioError, ShapeError

__all__ = [
    "SEED_LIMIT",
    "action_box",
    "check_choice",
    "numbers",
    "observation_box",
    "seed_list",
    "to_numpy",
    "torch_device",
    "torch_dtype",
]

SEED_LIMIT = 2**63
_OBSERVATION_CLIP = 5.0  # the clip every process promises
_DTYPES = {"float64": torch.float64, "float32": torch.float32}


def observation_box(*shape: int) -> Box:
    """Space of normalised observations: float32 in [-5, 5]."""
    return Box(-_OBSERVATION_CLIP, _OBSERVATION_CLIP, shape, np.float32)


def action_box(*shape: int) -> Box:
    """Space of actions: float32 in [-1, 1]."""
    return Box(-1.0, 1.0, shape, np.float32)


def check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raise :class:`ScenarioError` unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise ScenarioError(f"{name} must be one of {allowed}, got {value!r}.")


def torch_dtype(name: str) -> torch.dtype:
    """Real dtype of a name, ``float64`` or ``float32``."""
    check_choice("dtype", name, tuple(_DTYPES))
    return _DTYPES[name]


def torch_device(device: str | torch.device) -> torch.device:
    """Device of a name; raises :class:`ScenarioError` for names torch does not know."""
    try:
        return torch.device(device)
    except RuntimeError as err:
        raise ScenarioError(f"device must be a torch device, got {device!r}.") from err


def seed_list(seed: int | Sequence[int], count: int) -> list[int]:
    """Seeds of ``count`` lanes: s, s + 1, ... of an integer s, or the given sequence.

    Raises:
        ScenarioError: A seed is not an integer in [0, 2^63).
        ShapeError: The sequence has another length.
    """
    is_sequence = isinstance(seed, Sequence | np.ndarray | Tensor)
    seeds = [_seed(s) for s in seed] if is_sequence else [_seed(seed) + i for i in range(count)]
    if len(seeds) != count:
        raise ShapeError(f"seed: {len(seeds)} seeds for {count} lanes, expected one per lane.")
    return seeds


def _seed(value: object) -> int:
    try:
        number = operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError as err:
        raise ScenarioError(f"seed must be an integer >= 0, got {value!r}.") from err
    if not 0 <= number < SEED_LIMIT:
        raise ScenarioError(f"seed must be in [0, 2^63), got {number}.")
    return number


def numbers(
    values: Any,
    shape: tuple[int, ...],
    *,
    device: torch.device,
    dtype: torch.dtype,
    name: str,
) -> Tensor:
    """Finite tensor of an array, tensor or nested list that must have ``shape``.

    Raises:
        ShapeError: Not numbers, another shape, or a non-finite entry (the message names the lane).
    """
    try:
        tensor = torch.as_tensor(values, device=device)
    except (TypeError, ValueError, RuntimeError) as err:
        raise ShapeError(f"{name}: not an array of real numbers ({err}).") from err
    if tensor.is_complex():
        raise ShapeError(f"{name}: complex, expected an array of real numbers.")
    tensor = tensor.to(dtype)
    if tensor.shape != shape:
        raise ShapeError(f"{name}: shape {tuple(tensor.shape)}, expected {shape}.")
    if not bool(tensor.isfinite().all()):
        row = int((~tensor.isfinite()).reshape(shape[0], -1).any(1).nonzero()[0, 0])
        where, values = ("", tensor) if len(shape) == 1 else (f"lane {row} is ", tensor[row])
        raise ShapeError(f"{name}: {where}{values.tolist()}, every entry must be finite.")
    return tensor


def to_numpy(tensor: Tensor) -> "np.ndarray[Any, Any]":
    """NumPy view of a tensor; a copy only if it is on another device."""
    return tensor.numpy(force=True)
