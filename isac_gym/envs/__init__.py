"""Thin adapters over any process: Gymnasium (single, vector) and PettingZoo (``envs.parallel``).

``isac_gym.envs.parallel`` is not imported here, so that PettingZoo stays optional.
"""

from isac_gym.envs.multi_objective import MultiObjective, MultiObjectiveVector
from isac_gym.envs.single import ProcessEnv
from isac_gym.envs.vector import ProcessVectorEnv

__all__ = ["MultiObjective", "MultiObjectiveVector", "ProcessEnv", "ProcessVectorEnv"]
