"""Conformance of processes: states, observations, action maps, time, purity, agents."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isac_gym.core.errors import ShapeError
from isac_gym.core.process import Process, Transition
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.testing.candidates import clone
from isac_gym.testing.common import (
    ROW_TOLERANCE,
    ConformanceError,
    demand,
    demand_raises,
    demand_same,
    demand_same_records,
    flat_rows,
    global_state_guard,
)
from isac_gym.testing.rollouts import ReferenceStep, local_actions, reference_rollout

__all__ = ["PROCESS_CHECKS", "check_process"]

_SEED, _BATCH, _STEPS = 30, 6, 4
_LIMIT = 5.0  # observations are clipped to +-5
_ROUND_TRIP = 1e-9


def check_process(process: Process) -> None:
    """Run every check of :data:`PROCESS_CHECKS`.

    Raises:
        ConformanceError: Names the first check that failed, what was expected and what was seen.
    """
    for check in PROCESS_CHECKS.values():
        check(process)


def _play(process: Process, batch: int = _BATCH, steps: int = _STEPS) -> list[ReferenceStep]:
    return reference_rollout(process, Streams.from_seed(_SEED, batch), steps)


def _step(process: Process, state: Any, streams: Streams) -> Transition:
    action = process.join(local_actions(process, streams.batch_size, 0))
    return process.advance(state, process.decode(state, action), streams)


def _transition_tensors(result: Transition) -> dict[str, Tensor]:
    names = ("reward", "objectives", "terminated", "local_reward")
    tensors = {name: getattr(result, name) for name in names}
    for prefix in ("state", "metrics"):
        record: TensorRecord = getattr(result, prefix)
        tensors |= {f"{prefix}.{name}": t for name, t in record.items()}
    return tensors


def _demand_same_transition(
    left: Transition, right: Transition, tolerance: float, *, check: str, expected: str
) -> None:
    theirs = _transition_tensors(right)
    for name, mine in _transition_tensors(left).items():
        demand_same(mine, theirs[name], tolerance, check=check, expected=expected, name=name)


def _rows(result: Transition, rows: slice | Tensor) -> Transition:
    return Transition(
        state=result.state[rows],
        metrics=result.metrics[rows],
        reward=result.reward[rows],
        objectives=result.objectives[rows],
        terminated=result.terminated[rows],
        local_reward=result.local_reward[rows],
    )


def _spaces(process: Process) -> None:
    """Sizes, agents and blocks agree with each other and with the tensors."""
    check = "process.spaces"
    agents = process.agents
    demand(len(set(agents)) == len(agents) > 0, check, "different agents", agents)
    blocks = {block.name for block in process.observation_blocks}
    demand(len(blocks) == len(process.observation_blocks), check, "different block names", blocks)
    local = local_actions(process, _BATCH, 0)
    joint = process.join(local)
    wanted = (_BATCH, process.action_size)
    demand(joint.shape == wanted, check, f"joined actions {wanted}", tuple(joint.shape))
    state = process.initial(Streams.from_seed(_SEED, _BATCH))
    demand(isinstance(state, TensorRecord), check, "a TensorRecord state", type(state).__name__)
    try:
        state.check(B=_BATCH, **process.problem.axis_sizes).check_finite()
    except ShapeError as error:
        raise ConformanceError(check, "a state as declared", str(error)) from error


def _observations(process: Process) -> None:
    """Joint and local observations: declared size, float32, finite, inside [-5, 5]."""
    check = "process.observations"
    sizes = (process.observation_size,), (len(process.agents), process.local_observation_size)
    for played in _play(process):
        reached = played.transition.state
        seen = process.observe(reached), process.observe_local(reached)
        for name, observation, size in zip(("observe", "observe_local"), seen, sizes, strict=True):
            shape = (_BATCH, *size)
            demand(observation.shape == shape, check, f"{name} {shape}", tuple(observation.shape))
            is_single = observation.dtype == torch.float32
            demand(is_single, check, f"{name} in float32", observation.dtype)
            most = float(observation.abs().amax())  # NaN fails the comparison
            demand(most <= _LIMIT, check, f"{name} finite and inside [-5, 5]", most)


def _transitions(process: Process) -> None:
    """Rewards, objectives, metrics: shapes, types, finite; metrics are those of ``evaluate``."""
    check, agents = "process.transitions", len(process.agents)
    shapes = {
        "reward": (_BATCH,),
        "objectives": (_BATCH, len(process.objective_names)),
        "terminated": (_BATCH,),
        "local_reward": (_BATCH, agents),
    }
    for played in _play(process):
        result = played.transition
        for name, shape in shapes.items():
            tensor = getattr(result, name)
            demand(tensor.shape == shape, check, f"{name} {shape}", tuple(tensor.shape))
            demand(torch.isfinite(tensor).all(), check, f"finite {name}", tensor.tolist())
        demand(result.terminated.dtype == torch.bool, check, "bool ends", result.terminated.dtype)
        wanted = process.problem.metrics_type
        demand(
            type(result.metrics) is wanted, check, wanted.__name__, type(result.metrics).__name__
        )
    first = _play(process, steps=1)[0]
    decision = process.decode(first.state, first.action)
    demand_same_records(
        first.transition.metrics,
        process.problem.evaluate(process.truth(first.state), decision),
        ROW_TOLERANCE,
        check=check,
        expected="metrics of the first decision to be evaluate(truth(state), decision)",
    )


def _instances(process: Process) -> None:
    """``measured`` and ``truth`` are valid instances of the problem at every step."""
    for played in _play(process):
        for name in ("measured", "truth"):
            instance = getattr(process, name)(played.transition.state)
            try:
                process.problem.validate(instance)
            except ShapeError as error:
                raise ConformanceError(
                    "process.instances", f"{name} to be a valid instance", str(error)
                ) from error


def _rows_alone(process: Process) -> None:
    """A lane plays the same episode alone, in any batch and in any order."""
    streams = Streams.from_seed(_SEED, _BATCH)
    order = streams.uniform("permutation").argsort()
    state = process.initial(streams)
    same = {"check": "process.rows_alone", "expected": "a lane to be the same alone and in a batch"}
    for number in range(1, _STEPS + 1):
        there = streams.at_step(number)
        action = process.join(local_actions(process, _BATCH, number))
        whole = process.advance(state, process.decode(state, action), there)
        for rows in (slice(0, 1), slice(_BATCH - 1, _BATCH), order):
            part = state[rows]
            decision = process.decode(part, action[rows])
            alone = process.advance(part, decision, there[rows])
            _demand_same_transition(alone, _rows(whole, rows), ROW_TOLERANCE, **same)
            seen = process.observe(part)
            demand_same(seen, process.observe(state)[rows], 1e-6, name="observe", **same)
        state = whole.state
    for rows in (slice(2, 3), order):
        first = process.initial(streams[rows])
        demand_same_records(first, process.initial(streams)[rows], ROW_TOLERANCE, **same)


def _mixed_slots(process: Process) -> None:
    """Lanes at different steps of their episodes do not disturb each other."""
    streams = Streams.from_seed(_SEED, 2)
    young = process.initial(streams)
    if process.horizon == 1:
        return
    old = _step(process, young, streams.at_step(1)).state
    both = type(young).cat([young[:1], old[1:]])
    action = process.join(local_actions(process, 2, 0))
    mixed = process.advance(
        both, process.decode(both, action), streams.at_step(torch.tensor([1, 2]))
    )
    same = {
        "check": "process.mixed_slots",
        "expected": "lanes at different steps to be independent",
    }
    for row, (state, number) in enumerate(((young, 1), (old, 2))):
        rows = slice(row, row + 1)
        part = state[rows]
        alone = process.advance(
            part, process.decode(part, action[rows]), streams[rows].at_step(number)
        )
        _demand_same_transition(alone, _rows(mixed, rows), ROW_TOLERANCE, **same)


def _seeds(process: Process) -> None:
    """Same streams, same episode; another seed or episode, another start; steps differ."""
    check, streams = "process.seeds", Streams.from_seed(_SEED, 16)
    first = process.initial(streams)
    again = process.initial(Streams.from_seed(_SEED, 16))
    demand_same_records(first, again, 0.0, check=check, expected="the same seed to repeat")
    later = process.initial(streams.next_episode())
    starts = process.truth(first), process.truth(later)
    rows = torch.cat([flat_rows(record) for record in starts])
    different = rows.unique(dim=0).shape[0]
    demand(different == 32, check, "32 starts of 32 seeds and episodes", different)
    one = _step(process, first, streams.at_step(1))
    _demand_same_transition(
        one,
        _step(process, first, streams.at_step(1)),
        0.0,
        check=check,
        expected="advance to be a pure function",
    )


def _actions(process: Process) -> None:
    """``decode`` gives valid decisions; ``encode`` undoes it; wrong shapes are refused."""
    check, state = "process.actions", process.initial(Streams.from_seed(_SEED, _BATCH))
    shape = (_BATCH, process.action_size)
    tried = {
        "random actions": process.join(local_actions(process, _BATCH, 0)),
        "all low": torch.full(shape, -1.0),
        "all high": torch.full(shape, 1.0),
        "all zero": torch.zeros(shape),
    }
    for label, action in tried.items():
        decision = process.decode(state, action)
        try:
            process.problem.validate(process.measured(state), decision)
        except ShapeError as error:
            raise ConformanceError(check, f"a valid decision of {label}", str(error)) from error
        code = process.encode(state, decision)
        demand(code.shape == shape, check, f"encoded actions {shape}", tuple(code.shape))
        most = float(code.abs().amax())
        demand(most <= 1, check, "encoded actions inside [-1, 1]", most)
        expected = f"decode(encode(decision)) = decision for {label}"
        back = process.decode(state, code)
        demand_same_records(decision, back, _ROUND_TRIP, check=check, expected=expected)
    code = process.encode(state, process.problem.floor(process.measured(state)))
    demand(code.abs().amax() <= 1, check, "the floor encoded inside [-1, 1]", code.tolist())
    for bad in (torch.zeros(_BATCH, process.action_size + 1), torch.zeros(_BATCH + 1, shape[1])):
        demand_raises(
            lambda bad=bad: process.decode(state, bad),
            ShapeError,
            "action",
            check=check,
            case=f"an action of shape {tuple(bad.shape)}",
        )


def _horizon(process: Process) -> None:
    """All lanes terminate exactly at the horizon; the next episode terminates there again."""
    check, horizon, streams = "process.horizon", process.horizon, Streams.from_seed(_SEED, 2)
    for episode in (1, 2):
        state = process.initial(streams)
        for number in range(1, horizon + 1):
            result = _step(process, state, streams.at_step(number))
            seen, wanted = result.terminated.tolist(), number == horizon
            expected = f"terminated = {wanted} after step {number} of episode {episode}"
            demand(seen == [wanted] * 2, check, expected, seen)
            state = result.state
        streams = streams.next_episode()


def _purity(process: Process) -> None:
    """No argument is changed, no global state is touched."""
    check = "process.purity"
    with global_state_guard(check):
        streams = Streams.from_seed(_SEED, _BATCH)
        state = process.initial(streams)
        action = process.join(local_actions(process, _BATCH, 0))
        decision = process.decode(state, action)
        before = clone(state), clone(decision)
        process.observe(state)
        process.observe_local(state)
        process.encode(state, decision)
        process.scene(state)
        result = process.advance(state, decision, streams.at_step(1))
        after = clone(result.state)
        _step(process, result.state, streams.at_step(2))
    expected = "arguments left alone"
    demand_same_records(before[0], state, 0.0, check=check, expected=expected)
    demand_same_records(before[1], decision, 0.0, check=check, expected=expected)
    demand_same_records(after, result.state, 0.0, check=check, expected=expected)


def _float32(process: Process) -> None:
    """A single-precision state stays in single precision and close to double."""
    check, streams = "process.float32", Streams.from_seed(_SEED, _BATCH)
    state = process.initial(streams)
    exact = _step(process, state, streams.at_step(1))
    single = _step(process, state.to(dtype=torch.float32), streams.at_step(1))
    for name, tensor in _transition_tensors(single).items():
        if tensor.is_floating_point():
            demand(tensor.dtype == torch.float32, check, f"{name} in float32", tensor.dtype)
    gap = (single.reward.double() - exact.reward).abs()
    demand(
        (gap <= 1e-2 * (1 + exact.reward.abs())).all(), check, "rewards within 1 %", gap.tolist()
    )


def _scene(process: Process) -> None:
    """``scene`` describes row 0 with finite numbers."""
    check = "process.scene"
    scene = process.scene(process.initial(Streams.from_seed(_SEED, 2)))
    arrays = [scene.outline_m, *(points.xy_m for points in scene.points)]
    arrays += [ellipse.covariance_m2 for ellipse in scene.ellipses]
    arrays += [bars.values for bars in scene.bars]
    arrays += [voxels.values for voxels in scene.voxels]
    for array in arrays:
        demand(np.isfinite(array).all(), check, "finite numbers in the scene", array)
    for bars in scene.bars:
        seen = f"{len(bars.values)} values of {bars.title}"
        demand(len(bars.values) == len(bars.names), check, f"{len(bars.names)} bars", seen)
    for voxels in scene.voxels:
        is_box = voxels.values.ndim == 3 and voxels.values.min() >= 0 and voxels.limit > 0
        demand(is_box, check, "a box of values >= 0 and a limit > 0", voxels.title)


PROCESS_CHECKS: Mapping[str, Callable[[Process], None]] = MappingProxyType(
    {
        "spaces": _spaces,
        "observations": _observations,
        "transitions": _transitions,
        "instances": _instances,
        "rows_alone": _rows_alone,
        "mixed_slots": _mixed_slots,
        "seeds": _seeds,
        "actions": _actions,
        "horizon": _horizon,
        "purity": _purity,
        "float32": _float32,
        "scene": _scene,
    }
)
