"""The toy family with episodes of different lengths: partial resets, which no horizon produces."""

from dataclasses import dataclass

from isac_gym.core import EnvironmentEntry, Family
from tests.contracts.toy import TOY_FAMILY, ToyProcess

ID = "isac/Uneven-v0"


@dataclass(frozen=True, kw_only=True)
class UnevenProcess(ToyProcess):
    """Lanes with a strong first channel play four slots, the others two."""

    correlation: float = 1.0

    def advance(self, state, decision, streams):
        change = super().advance(state, decision, streams)
        length = 2 + 2 * (state.instance.channel[:, 0].abs() > 0.8)
        ended = change.state.slot >= length
        return type(change)(**{**vars(change), "terminated": ended})


FAMILY = Family(
    name="uneven",
    title=TOY_FAMILY.title,
    paper="none",
    problem=TOY_FAMILY.problem,
    environments=(
        EnvironmentEntry(id=ID, process="tests.envs.uneven:UnevenProcess", doc="uneven lengths"),
    ),
)
