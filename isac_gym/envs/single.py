"""Gymnasium environment over any process: one lane of the vector environment."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from isac_gym.core.errors import ScenarioError
from isac_gym.core.process import Process
from isac_gym.core.random import Streams
from isac_gym.core.scenario import Scenario
from isac_gym.envs import edges
from isac_gym.envs.vector import ProcessVectorEnv

__all__ = ["OneLane", "ProcessEnv", "one_lane"]

Array = NDArray[np.float32]


class OneLane:
    """What the adapters that play one episode at a time share: a batch of one lane."""

    def __init__(
        self,
        *,
        environment: str,
        scenario: "str | Scenario | Mapping[str, Any] | None" = None,
        settings: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
        dtype: str = "float64",
        render_mode: str | None = None,
    ) -> None:
        """Build the process; see :class:`~isac_gym.envs.vector.ProcessVectorEnv` for arguments."""
        self._batch = ProcessVectorEnv(
            1,
            environment=environment,
            scenario=scenario,
            settings=settings,
            autoreset_mode=AutoresetMode.DISABLED,
            output="torch",
            device=device,
            dtype=dtype,
            render_mode=render_mode,
        )
        self.render_mode = render_mode
        self._declare()

    def _declare(self) -> None:
        """Set the spaces and whatever else an adapter announces before the first reset."""

    @property
    def process(self) -> Process:
        """The process being played."""
        return self._batch.process

    @property
    def streams(self) -> Streams:
        """Random streams at the current episode and step, one lane."""
        return self._batch.streams

    def render(self) -> Any:
        """The scene, (H, W, 3) uint8 for ``rgb_array``; None otherwise."""
        frames = self._batch.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Close the window, if there is one."""
        self._batch.close()

    def _tensor(self, action: Any, size: int, name: str) -> torch.Tensor:
        batch = self._batch
        return edges.numbers(action, (size,), device=batch.device, dtype=batch.dtype, name=name)


class ProcessEnv(OneLane, gymnasium.Env[Array, Array]):
    """One episode at a time, equal to row 0 of the vector environment with the same seed.

    The info of a step holds ``objectives`` (M,), ``cost`` = ``violation``, ``feasible``,
    ``objective``, ``local_reward`` (A,) and every other field of the metrics record.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium's attribute
        "render_modes": ["human", "rgb_array"],
        "render_fps": 10,
    }

    def _declare(self) -> None:
        self.observation_space = self._batch.single_observation_space
        self.action_space = self._batch.single_action_space

    @property
    def state(self) -> Any:
        """State record of the process, one lane; None before the first reset."""
        return self._batch.state

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start the episode of ``seed``, or the next one of the running stream.

        Args:
            seed: Integer in [0, 2^63), or None; the first time None draws one from ``np_random``.
            options: None or empty.

        Returns:
            Observation (O,) float32 and an empty info.

        Raises:
            ScenarioError: A seed out of range, or an option.
        """
        if options:
            raise ScenarioError(f"reset takes no options, got {sorted(options)}.")
        if seed is not None:  # our error before Gymnasium's
            edges.seed_list(seed, 1)
        super().reset(seed=seed)
        if seed is None and self._batch.state is None:
            seed = int(self.np_random.integers(edges.SEED_LIMIT - 1))
        observation, _ = self._batch.reset(seed=seed)
        return edges.to_numpy(observation)[0], {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Play one step.

        Args:
            action: (action_size,) finite; values outside [-1, 1] are clipped.

        Returns:
            Observation (O,) float32, reward, terminated, truncated (always False: the horizon is
            part of the process) and the info of the class docstring.

        Raises:
            ShapeError: Wrong shape, or a non-finite action.
            ResetNeeded: Before the first reset, or after the episode has ended.
        """
        joint = self._tensor(action, self.process.action_size, "action")[None]
        observation, reward, terminated, _, info = self._batch.step(joint)
        row = edges.to_numpy(observation)[0]
        return row, float(reward), bool(terminated), False, one_lane(info)


def one_lane(info: Mapping[str, Any]) -> dict[str, Any]:
    """Lane 0 of a vector environment's info: plain numbers and arrays, without the masks."""
    rows = {name: edges.to_numpy(t)[0] for name, t in info.items() if not name.startswith("_")}
    return {name: row.item() if row.ndim == 0 else row for name, row in rows.items()}
