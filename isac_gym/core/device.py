"""Torch devices by name."""

import torch

from isac_gym.core.errors import ScenarioError

__all__ = ["torch_device"]


def torch_device(name: str) -> torch.device:
    """The device, tried out.

    Args:
        name: As torch spells it: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        ScenarioError: No such device, or none on this machine.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as err:  # torch asserts where it was built without CUDA
        raise ScenarioError(f"device {name!r} is not available: {err}") from err
    return device
