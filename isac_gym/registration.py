"""Registration of every known family's environments with Gymnasium and PettingZoo."""

import gymnasium

from isac_gym.core.family import Family, add_family, families

__all__ = ["register_environments", "register_family", "register_parallel_environments"]


def register_family(family: Family) -> None:
    """Add a family to this process and register its environments; see ``docs/bring_your_own.md``.

    Raises:
        ScenarioError: The family's name is taken.
    """
    add_family(family)
    register_environments()


def register_environments() -> None:
    """Register all environment ids with Gymnasium; ids already present are kept."""
    for family in families().values():
        for entry in family.environments:
            if entry.id not in gymnasium.registry:
                gymnasium.register(
                    id=entry.id,
                    entry_point="isac_gym.envs.single:ProcessEnv",
                    vector_entry_point="isac_gym.envs.vector:ProcessVectorEnv",
                    kwargs={"environment": entry.id},
                )


def register_parallel_environments() -> None:
    """Register all multi-agent ids with PettingZoo's parallel registry; needs ``pettingzoo``."""
    try:
        from pettingzoo.env_registry import registration
    except ImportError as err:
        raise ImportError(
            'multi-agent environments need PettingZoo: pip install "isac_gym[marl]"'
        ) from err

    for family in families().values():
        for entry in family.environments:
            if entry.parallel_id and entry.parallel_id not in registration.parallel_registry:
                registration.register(
                    "parallel",
                    entry.parallel_id,
                    "isac_gym.envs.parallel:ProcessParallelEnv",
                    kwargs={"environment": entry.id},
                )
