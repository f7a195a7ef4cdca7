"""Scripted policies under moving interference: what knowing where it is would be worth."""

from collections.abc import Iterator

import torch

from baselines.figures import Check, Table, Verdict, combine, grade, judge
from baselines.subcarrier_selection.figures.checks import OURS, names
from baselines.subcarrier_selection.figures.draws import by_room
from baselines.subcarrier_selection.scripted import tracking_ladder
from isac_gym.core.policy import Policy, PolicyContext
from isac_gym.core.random import Streams, lane_seeds
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario
from isac_gym.problems.subcarrier_selection.tracking import MaskTracking

__all__ = ["POLICIES", "measure_tracking", "tracking_verdicts"]

POLICIES = (
    *("random each frame", "static clean", "static robust"),
    *("avoid seen", "avoid expected", "avoid known (genie)"),
)
_LEAST_HEADROOM = 0.2
# The prototype's cost per frame in six rooms of 20 frames, and its 95 % half widths.
_PROTOTYPE = {
    "random each frame": (1.130, 0.045),
    "static clean": (0.954, 0.090),
    "avoid seen": (0.812, 0.077),
    "avoid known (genie)": (0.548, 0.029),
}


def measure_tracking(*, rooms: int, seed: int, frames: int) -> Table:
    """Error, exchanged tones and cost per frame of every policy on the same episodes."""
    table = Table("frames")
    problem = SubcarrierSelection(scenario=SubcarrierScenario.preset("tracking"))
    process = MaskTracking(problem=problem, horizon=frames)
    seeds = lane_seeds(f"figures/subcarrier_selection/tracking/{seed}", rooms)
    for policy in (policy for policy in tracking_ladder() if policy.name in POLICIES):
        error, price = _episode(process, policy, Streams.from_seeds(seeds))
        swaps = price / process.switching_cost
        for quantity, values in {"error": error, "swaps": swaps, "cost": error + price}.items():
            table.cells[frames, policy.name, quantity] = by_room(values)
    return table


def _episode(
    process: MaskTracking, policy: Policy, streams: Streams
) -> tuple[torch.Tensor, torch.Tensor]:
    """Errors and prices of the changes, (B, frames)."""
    state = process.initial(streams)
    errors, prices = [], []
    for frame in range(process.horizon):
        is_reset = torch.full((streams.batch_size,), frame == 0)
        action = policy.act(process.observe(state), PolicyContext(process, state, is_reset))
        decision = process.decode(state, action)
        step = process.advance(state, decision, streams.at_step(frame + 1))
        errors.append(step.metrics.error)
        prices.append(-step.objectives[:, -1])
        state = step.state
    return torch.stack(errors, 1), torch.stack(prices, 1)


def tracking_verdicts(table: Table) -> Iterator[Verdict]:
    """What an agent can win by exploring."""
    frames = next(iter(table.cells))[0]
    cost = {name: table.at(frames, name, "cost") for name in POLICIES}
    static = min((cost[n] for n in POLICIES if n.startswith("static")), key=lambda e: e.value)
    seen = min((cost["avoid seen"], cost["avoid expected"]), key=lambda e: e.value)
    genie = cost["avoid known (genie)"]
    headroom = combine(lambda a, b: 1 - b / a, static, genie)
    yield judge(
        "tracking/headroom",
        "Knowing where the interference is lowers the cost of the best fixed mask by 20 % or more",
        source=OURS,
        verdict=grade([headroom.is_above(_LEAST_HEADROOM)]),
        expected_verdict="reproduced",
        checks=[Check(name, cost[name], *_PROTOTYPE[name]) for name in _PROTOTYPE],
        note=f"headroom {headroom}; " + names(cost.items()),
    )
    yield judge(
        "tracking/partial-knowledge",
        "Avoiding the bands that were seen lies between a fixed mask and full knowledge",
        source=OURS,
        verdict=grade([(seen - static).is_below(0), (genie - seen).is_below(0)]),
        expected_verdict="reproduced",
        note=f"best that explores nothing {seen}; left to win {seen - genie}",
    )
