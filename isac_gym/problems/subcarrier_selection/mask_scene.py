"""The map of the room and the names of the tones, for what ``render`` shows."""

import numpy as np
from numpy.typing import NDArray

from isac_gym.core.scene import Points
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario

__all__ = ["map_of", "tone_names"]


def map_of(scenario: SubcarrierScenario) -> tuple[NDArray[np.float64], tuple[Points, ...]]:
    """Outline (n, 2) m of the room, its transmitter and receivers; nothing of unknown rooms."""
    node = scenario.node_m.numpy()[:, :2]
    if not len(node):
        return np.zeros((0, 2)), ()
    x, y = scenario.room_x_m, scenario.room_y_m
    outline = np.array([(0, 0), (x, 0), (x, y), (0, y), (0, 0)], dtype=np.float64)
    receivers = tuple(f"rx_{link}" for link in range(scenario.num_links))
    return outline, (
        Points(label="transmitter", xy_m=node[:1], role="base_station", names=("tx",)),
        Points(label="receivers", xy_m=node[1:], role="user", names=receivers),
    )


def tone_names(scenario: SubcarrierScenario) -> tuple[str, ...]:
    """``link:tone`` of every tone, link by link."""
    tones = range(scenario.tones_per_link)
    return tuple(f"{link}:{tone}" for link in range(scenario.num_links) for tone in tones)
