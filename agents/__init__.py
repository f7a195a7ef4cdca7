"""Learned policies: training, artifacts without code, and a few trained agents."""

from pathlib import Path
from typing import TYPE_CHECKING

from isac_gym.core.lazy import lazy_exports

if TYPE_CHECKING:
    from agents.artifact import Manifest, TrainedAgent, load_agent, save_agent

__all__ = ["Manifest", "TrainedAgent", "load_agent", "pretrained", "save_agent"]

__getattr__ = lazy_exports(__name__, __all__, modules=("artifact",))


def pretrained() -> dict[str, Path]:
    """Folders of the agents that are shipped with the package, by name."""
    root = Path(__file__).parent / "pretrained"
    return {path.parent.name: path.parent for path in sorted(root.glob("*/manifest.json"))}
