"""PettingZoo parallel environment over any process: the multi-agent view of one lane."""

from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Space
from numpy.typing import NDArray

from isac_gym.core.errors import ShapeError
from isac_gym.envs import edges
from isac_gym.envs.single import OneLane, one_lane

try:
    from pettingzoo import ParallelEnv
except ImportError as err:
    raise ImportError(
        'multi-agent environments need PettingZoo: pip install "isac_gym[marl]"'
    ) from err

__all__ = ["ProcessParallelEnv"]

Array = NDArray[np.float32]


class ProcessParallelEnv(OneLane, ParallelEnv[str, Any, Any]):
    """All agents of one episode at once; equal to the joint environment with the same seed.

    Agents, local observations and rewards come from the process. All agents end together. The
    info of every agent is the joint info of the step (see ``ProcessEnv``).
    """

    def _declare(self) -> None:
        process = self.process
        self.metadata = {
            "name": self._batch.environment,
            "render_modes": ["human", "rgb_array"],
            "render_fps": 10,
            "is_parallelizable": True,
        }
        self.possible_agents = list(process.agents)
        self.agents: list[str] = []
        size, width = process.local_observation_size, process.local_action_size
        agents = process.agents
        self.observation_spaces = {agent: edges.observation_box(size) for agent in agents}
        self.action_spaces = {agent: edges.action_box(width) for agent in agents}
        self.state_space = edges.observation_box(process.observation_size)

    def observation_space(self, agent: str) -> Space[Any]:
        """Space of one agent's observation."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """Space of one agent's action."""
        return self.action_spaces[agent]

    def reset(
        self,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Array], dict[str, dict[str, Any]]]:
        """Start the episode of ``seed``, or the next one of the running stream.

        Args:
            seed: Integer in [0, 2^63), or None; the first time None draws one.
            options: Ignored: PettingZoo's own test demands that any options are accepted.

        Returns:
            Local observations (O,) float32 and empty infos, by agent.

        Raises:
            ScenarioError: A seed out of range.
        """
        self._batch.reset(seed=seed)
        self.agents = self.possible_agents[:]
        return self._observations(), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Array]
    ) -> tuple[
        dict[str, Array],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Play one step of all agents.

        Args:
            actions: One action (local_action_size,) per live agent, finite, clipped to [-1, 1].

        Returns:
            Observations, rewards, terminations, truncations (always False) and infos, by agent;
            all empty once the episode has ended.

        Raises:
            ShapeError: A missing or unknown agent, a wrong shape, or a non-finite action.
            ResetNeeded: Before the first reset.
        """
        if self._batch.state is None:
            raise ResetNeeded("call reset() before step().")
        if not self.agents:
            return {}, {}, {}, {}, {}
        if set(actions) != set(self.agents):
            raise ShapeError(f"actions: agents {sorted(actions)}, expected {self.agents}.")
        width, live = self.process.local_action_size, self.agents
        local = torch.stack([self._tensor(actions[a], width, f"action of {a}") for a in live])
        joint = self.process.join(local[None])
        _, _, terminated, _, info = self._batch.step(joint)
        has_ended, joint_info = bool(terminated), one_lane(info)
        rewards = joint_info["local_reward"].tolist()
        self.agents = [] if has_ended else live
        return (
            self._observations(),
            dict(zip(live, rewards, strict=True)),
            dict.fromkeys(live, has_ended),
            dict.fromkeys(live, False),
            {agent: dict(joint_info) for agent in live},
        )

    def state(self) -> Array:
        """Joint observation, (O,) float32: the global view for centralised training."""
        with torch.no_grad():
            return edges.to_numpy(self.process.observe(self._batch.state))[0]

    def _observations(self) -> dict[str, Array]:
        with torch.no_grad():
            local = edges.to_numpy(self.process.observe_local(self._batch.state))[0]
        return dict(zip(self.possible_agents, local, strict=True))
