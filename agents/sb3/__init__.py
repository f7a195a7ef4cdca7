"""Stable-Baselines3 on top of the batched environments; the only package that imports it."""

try:
    import stable_baselines3  # noqa: F401
except ImportError as err:
    raise ImportError('agents.sb3 needs Stable-Baselines3: pip install "isac_gym[sb3]"') from err

from agents.sb3.vec_env import IsacVecEnv

__all__ = ["IsacVecEnv"]
