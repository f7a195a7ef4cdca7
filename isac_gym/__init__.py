"""isac_gym: benchmark environments for learned optimisers in integrated sensing and communication.

Importing this package registers every environment id with Gymnasium, by string: no problem, tensor
library model or PettingZoo is imported until an environment is made.
"""

from isac_gym.registration import register_environments, register_family

__all__ = ["register_family"]
__version__ = "0.5.0"

register_environments()
