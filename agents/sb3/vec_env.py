"""Stable-Baselines3 vector environment over any process: one batched step, NumPy out."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from isac_gym.core.errors import ScenarioError
from isac_gym.core.scenario import Scenario
from isac_gym.envs.edges import to_numpy
from isac_gym.envs.vector import ProcessVectorEnv

__all__ = ["IsacVecEnv", "serial_vec_env"]


def serial_vec_env(environment: str, num_envs: int) -> VecEnv:
    """SB3's own vector environment, one ``gymnasium.make`` after the other: for comparison."""
    return DummyVecEnv([lambda: gymnasium.make(environment) for _ in range(num_envs)])


class IsacVecEnv(VecEnv):
    """All lanes of an environment as one Stable-Baselines3 ``VecEnv``.

    Lanes restart in the step that ends their episode. The info of such a lane holds
    ``terminal_observation``, ``TimeLimit.truncated`` (always False: the horizon is part of the
    process, so values must not be bootstrapped) and ``episode`` with return ``r`` and length ``l``;
    the info of any other lane is empty. The batched info of the last step is in ``last_info``.

    Attributes:
        env: The vector environment inside, which keeps torch tensors.
        last_info: Its info of the last step; see ``ProcessVectorEnv``.
    """

    def __init__(
        self,
        environment: str,
        num_envs: int,
        *,
        scenario: "str | Scenario | Mapping[str, Any] | None" = None,
        settings: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
        dtype: str = "float64",
        seed: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Build the lanes; see :class:`~isac_gym.envs.vector.ProcessVectorEnv` for arguments.

        Args:
            environment: Environment id, ``isac/<Name>-v<N>``.
            num_envs: Number of lanes.
            scenario: Preset name, scenario, or mapping ``{"preset": name, field: value}``; None:
                the environment's own preset.
            settings: Fields of the process to change.
            device: Where the lanes live.
            dtype: ``float64`` or ``float32``.
            seed: Seed of lane 0 at the first reset, seed + i of lane i; None draws them.
            render_mode: None, ``rgb_array`` or ``human``.
        """
        self.env = ProcessVectorEnv(
            num_envs,
            environment=environment,
            scenario=scenario,
            settings=settings,
            autoreset_mode=AutoresetMode.SAME_STEP,
            output="torch",
            device=device,
            dtype=dtype,
            record_statistics=True,
            render_mode=render_mode,
        )
        self.last_info: dict[str, Any] = {}
        self._actions: NDArray[Any] | None = None
        spaces = self.env.single_observation_space, self.env.single_action_space
        super().__init__(num_envs, *spaces)
        if seed is not None:
            self.seed(seed)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds of the next reset: seed + i for lane i; None goes on with the running streams."""
        lanes = range(self.num_envs)
        self._seeds = [None if seed is None else int(seed) + lane for lane in lanes]
        return self._seeds

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every lane; returns observations (B, O) float32.

        Raises:
            ScenarioError: Reset options were set; there are none.
        """
        if any(self._options):
            raise ScenarioError(f"reset takes no options, got {self._options[0]}.")
        seeds = [seed for seed in self._seeds if seed is not None]
        observation, _ = self.env.reset(seed=seeds or None)
        self._reset_seeds()
        return to_numpy(observation)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions, (B, action_size), for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Play the step.

        Returns:
            Observations (B, O) float32, rewards (B,) float32, dones (B,) bool, one info per lane.

        Raises:
            ShapeError: Wrong shape, or a non-finite action (the message names the lane).
        """
        observation, reward, done, _, self.last_info = self.env.step(self._actions)
        rewards = to_numpy(reward.to(torch.float32))
        return to_numpy(observation), rewards, to_numpy(done), self._infos()  # pyright: ignore

    def close(self) -> None:
        """Close the window, if there is one."""
        self.env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """One frame per lane; needs ``render_mode="rgb_array"``."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Attribute of the vector environment, the same object for each of the lanes asked for."""
        return [getattr(self.env, attr_name)] * len(self._lanes(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the vector environment, for all lanes at once.

        Raises:
            ScenarioError: ``indices`` name only some of the lanes.
        """
        self._demand_all(indices)
        setattr(self.env, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of the vector environment once; its result is repeated for every lane.

        Raises:
            ScenarioError: ``indices`` name only some of the lanes.
        """
        self._demand_all(indices)
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result] * self.num_envs

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """True for ``Monitor`` only: the lanes keep its episode statistics themselves."""
        return [issubclass(Monitor, wrapper_class)] * len(self._lanes(indices))

    def _infos(self) -> list[dict[str, Any]]:
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if "final_obs" not in self.last_info:
            return infos
        final = to_numpy(self.last_info["final_obs"])
        returns = self.last_info["episode"]["r"].tolist()
        lengths = self.last_info["episode"]["l"].tolist()
        for lane in self.last_info["_final_obs"].nonzero()[:, 0].tolist():
            infos[lane] = {
                "terminal_observation": final[lane],
                "TimeLimit.truncated": False,
                "episode": {"r": returns[lane], "l": lengths[lane]},
            }
        return infos

    def _lanes(self, indices: VecEnvIndices) -> list[int]:
        lanes = list(self._get_indices(indices))
        outside = [lane for lane in lanes if not 0 <= lane < self.num_envs]
        if outside:
            raise ScenarioError(f"indices {outside} are not in [0, {self.num_envs}).")
        return lanes

    def _demand_all(self, indices: VecEnvIndices) -> None:
        if indices is not None and sorted(self._lanes(indices)) != list(range(self.num_envs)):
            raise ScenarioError("the lanes share one environment: indices must be None or all.")
