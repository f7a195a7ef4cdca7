"""An environment under test: its facades, and the process played by hand as their yardstick."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import gymnasium

from isac_gym.core.family import family_of
from isac_gym.core.process import Process
from isac_gym.core.random import Streams
from isac_gym.core.scenario import Scenario
from isac_gym.testing.rollouts import ReferenceStep, reference_rollout

__all__ = ["LANES", "SEED", "EnvCase"]

SEED, LANES = 50, 3
_STEPS = 50


@dataclass(frozen=True)
class EnvCase:
    """An environment id with its arguments.

    Attributes:
        id: Environment id.
        scenario: Preset name, scenario or mapping.
        settings: Fields of the process to change, or None.
    """

    id: str
    scenario: "str | Scenario | Mapping[str, Any]" = "paper"
    settings: Mapping[str, Any] | None = None

    @property
    def process(self) -> Process:
        """A fresh process, the yardstick of the facades."""
        return family_of(self.id).make_process(self.id, self.scenario, self.settings)

    @property
    def steps(self) -> int:
        """Steps to compare: at least 50, and beyond the end of an episode."""
        return max(_STEPS, self.process.horizon + 2)

    def single(self) -> gymnasium.Env[Any, Any]:
        """A Gymnasium environment."""
        return gymnasium.make(
            self.id, scenario=self.scenario, settings=self.settings, disable_env_checker=True
        )

    def vector(self, num_envs: int = LANES, **options: Any) -> Any:
        """A Gymnasium vector environment."""
        arguments = {"scenario": self.scenario, "settings": self.settings, **options}
        return gymnasium.make_vec(self.id, num_envs=num_envs, **arguments)

    def parallel(self) -> Any:
        """A PettingZoo environment, or None without PettingZoo or a parallel id."""
        entries = {entry.id: entry for entry in family_of(self.id).environments}
        if not entries[self.id].parallel_id or find_spec("pettingzoo") is None:
            return None
        from isac_gym.envs.parallel import ProcessParallelEnv

        return ProcessParallelEnv(
            environment=self.id, scenario=self.scenario, settings=self.settings
        )

    @cached_property
    def reference(self) -> list[ReferenceStep]:
        """The process played by hand, 3 lanes."""
        return reference_rollout(self.process, Streams.from_seed(SEED, LANES), self.steps)
