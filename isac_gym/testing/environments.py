"""Conformance of environments: every facade plays exactly the process behind it."""

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from gymnasium.vector import AutoresetMode

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.random import Streams
from isac_gym.core.scenario import Scenario
from isac_gym.testing.common import (
    ROW_TOLERANCE,
    ConformanceError,
    demand,
    demand_raises,
    demand_same_records,
    global_state_guard,
)
from isac_gym.testing.env_case import LANES, SEED, EnvCase
from isac_gym.testing.rollouts import ReferenceStep, local_actions

__all__ = ["ENV_CHECKS", "EnvCase", "check_env"]

_OBSERVATION_TOLERANCE, _REWARD_TOLERANCE = 1e-5, 1e-9
_INFO_KEYS = ("objectives", "cost", "violation", "feasible", "objective")
_FEASIBLE = 1e-7


def check_env(
    env_id: str,
    *,
    scenario: "str | Scenario | Mapping[str, Any]" = "paper",
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Run every check of :data:`ENV_CHECKS` on a registered environment.

    Args:
        env_id: Environment id.
        scenario: Preset name, scenario or mapping.
        settings: Fields of the process to change, or None.

    Raises:
        ConformanceError: Names the first check that failed, what was expected and what was seen.
    """
    case = EnvCase(env_id, scenario, settings)
    for check in ENV_CHECKS.values():
        check(case)


def _near(
    seen: Any,
    wanted: Any,
    tolerance: float,
    *,
    check: str,
    name: str,
) -> None:
    seen, wanted = np.asarray(seen, dtype=float), np.asarray(wanted, dtype=float)
    is_near = seen.shape == wanted.shape and bool(
        (np.abs(seen - wanted) <= tolerance * (1 + np.abs(wanted))).all()
    )
    demand(is_near, check, f"{name} {wanted.tolist()}", seen.tolist())


def _spaces(case: EnvCase) -> None:
    """Boxes of float32 with the process' sizes, in both facades and both registries."""
    check, process = "env.spaces", case.process
    spec = gymnasium.registry.get(case.id)
    demand(spec and spec.entry_point, check, "an entry_point", spec)
    demand(spec and spec.vector_entry_point, check, "a vector_entry_point", spec)
    env, batch = case.single(), case.vector()
    wanted = (
        Box(-5.0, 5.0, (process.observation_size,), np.float32),
        Box(-1.0, 1.0, (process.action_size,), np.float32),
    )
    demand((env.observation_space, env.action_space) == wanted, check, str(wanted), env)
    seen = (batch.single_observation_space, batch.single_action_space)
    demand(seen == wanted, check, str(wanted), seen)
    mode = batch.metadata.get("autoreset_mode")
    demand(mode is AutoresetMode.SAME_STEP, check, "autoreset SAME_STEP by default", mode)


def _numpy_types(case: EnvCase) -> None:
    """The facades speak NumPy and Python: float32 arrays, float, bool, dict."""
    check, env = "env.numpy_types", case.single()
    batch = case.vector()
    first = env.reset(seed=SEED)[0], batch.reset(seed=SEED)[0]
    step = env.step(env.action_space.sample() * 0)
    many = batch.step(batch.action_space.sample() * 0)
    for observation in (*first, step[0], many[0]):
        demand(type(observation) is np.ndarray, check, "NumPy observations", type(observation))
        demand(observation.dtype == np.float32, check, "float32", observation.dtype)
    kinds = [type(value) for value in step[1:]]
    demand(kinds == [float, bool, bool, dict], check, "(float, bool, bool, dict)", kinds)
    kinds = [array.dtype.kind for array in many[1:4]]
    demand(kinds == ["f", "b", "b"], check, "float and bool arrays", kinds)


def _single_agrees(case: EnvCase) -> None:
    """The Gymnasium environment equals the process played by hand, across episodes."""
    check, env = "env.single_agrees", case.single()
    env.reset(seed=SEED)
    for played in case.reference:
        observation, reward, terminated, truncated, info = env.step(played.action[0].numpy())
        result = played.transition
        _near(
            observation,
            played.final_observation[0],
            _OBSERVATION_TOLERANCE,
            check=check,
            name="observation",
        )
        _near(reward, result.reward[0], _REWARD_TOLERANCE, check=check, name="reward")
        demand(not truncated, check, "truncated False", truncated)
        ended = bool(result.terminated[0])
        demand(terminated == ended, check, f"terminated {ended}", terminated)
        _compare_info(info, played, check=check, lane=0)
        observation[...] = np.nan  # the caller's copy
        if ended:
            fresh, _ = env.reset()
            _near(
                fresh,
                played.observation[0],
                _OBSERVATION_TOLERANCE,
                check=check,
                name="observation of the next episode",
            )


def _vector_agrees(case: EnvCase) -> None:
    """Every lane of the vector environment equals the process, across episodes; SAME_STEP."""
    check, batch = "env.vector_agrees", case.vector()
    batch.reset(seed=SEED)
    for played in case.reference:
        observation, reward, terminated, truncated, info = batch.step(played.action.numpy())
        result = played.transition
        _near(
            observation,
            played.observation,
            _OBSERVATION_TOLERANCE,
            check=check,
            name="observation",
        )
        _near(reward, result.reward, _REWARD_TOLERANCE, check=check, name="reward")
        _near(terminated, result.terminated, 0.0, check=check, name="terminated")
        demand(not truncated.any(), check, "truncated False", truncated)
        _compare_info(info, played, check=check, lane=None)
        if bool(result.terminated.any()):
            ended = result.terminated.numpy()
            demand("final_obs" in info, check, "final_obs where an episode ended", sorted(info))
            _near(
                info["final_obs"][ended],
                played.final_observation[ended],
                _OBSERVATION_TOLERANCE,
                check=check,
                name="final_obs",
            )
            info["final_obs"][...] = np.nan  # the caller's copy
        observation[...] = np.nan


def _compare_info(
    info: Mapping[str, Any], played: ReferenceStep, *, check: str, lane: int | None
) -> None:
    missing = [key for key in _INFO_KEYS if key not in info]
    step = "the terminating step" if bool(played.transition.terminated.any()) else "a step"
    demand(not missing, check, f"{_INFO_KEYS} at the top of the info of {step}", sorted(info))
    metrics = dict(played.transition.metrics.items())
    violation = metrics["violation"]
    wanted = metrics | {
        "objectives": played.transition.objectives,
        "cost": violation,
        "feasible": violation <= _FEASIBLE,
    }
    for name, tensor in wanted.items():
        row = tensor if lane is None else tensor[lane]
        demand(name in info, check, f"info[{name!r}]", sorted(info))
        finite = torch.isfinite(row.double()).all()
        if finite:
            _near(info[name], row, 1e-8, check=check, name=f"info[{name!r}]")


def _parallel_agrees(case: EnvCase) -> None:
    """The agents together play the joint process; all end together."""
    check, env = "env.parallel_agrees", case.parallel()
    if env is None:
        return
    names = list(case.process.agents)
    env.reset(seed=SEED)
    for played in case.reference:
        actions = dict(zip(names, played.local[0].numpy(), strict=True))
        observation, reward, terminated, truncated, info = env.step(actions)
        result = played.transition
        ended = bool(result.terminated[0])
        for row, name in enumerate(names):
            _near(
                observation[name],
                played.final_local[0, row],
                _OBSERVATION_TOLERANCE,
                check=check,
                name=f"observation of {name}",
            )
            _near(
                reward[name],
                result.local_reward[0, row],
                _REWARD_TOLERANCE,
                check=check,
                name=f"reward of {name}",
            )
            demand(terminated[name] == ended, check, f"{name} terminated {ended}", terminated)
            demand(not truncated[name], check, f"{name} not truncated", truncated)
            _compare_info(info[name], played, check=check, lane=0)
        live = [] if ended else names
        demand(env.agents == live, check, f"live agents {live}", env.agents)
        if ended:
            env.reset()


def _autoreset_modes(case: EnvCase) -> None:
    """NEXT_STEP and DISABLED start the same next episode as SAME_STEP."""
    check = "env.autoreset_modes"
    rollout = case.reference[: case.process.horizon + 1]
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED):
        batch = case.vector(autoreset_mode=mode)
        batch.reset(seed=SEED)
        for played in rollout:
            observation = batch.step(played.action.numpy())[0]
            ended = played.transition.terminated
            _near(
                observation,
                played.final_observation,
                _OBSERVATION_TOLERANCE,
                check=check,
                name=f"observation under {mode.value}",
            )
            if not bool(ended.any()):
                continue
            if mode is AutoresetMode.DISABLED:
                fresh, _ = batch.reset(options={"reset_mask": ended.numpy()})
            else:
                fresh, reward, *_ = batch.step(played.action.numpy())
                _near(reward, np.zeros(LANES), 0.0, check=check, name="reward of the reset step")
            _near(
                fresh,
                played.observation,
                _OBSERVATION_TOLERANCE,
                check=check,
                name=f"first observation under {mode.value}",
            )


def _seeding(case: EnvCase) -> None:
    """One seed, one episode, in every facade and batch size; other seeds, other episodes."""
    check, process = "env.seeding", case.process
    wanted = process.initial(Streams.from_seed(SEED, 5))
    first = process.observe(wanted)
    env, small, large = case.single(), case.vector(3), case.vector(5)
    seen = {
        "gym.make": env.reset(seed=SEED)[0],
        "gym.make, again": env.reset(seed=SEED)[0],
        "slot 0 of 3": small.reset(seed=SEED)[0][0],
        "slot 0 of 5": large.reset(seed=SEED)[0][0],
        "slot 2 of [9, 9, seed]": small.reset(seed=[9, 9, SEED])[0][2],
    }
    for label, observation in seen.items():
        _near(observation, first[0], _OBSERVATION_TOLERANCE, check=check, name=f"reset of {label}")
    expected = "the state of the vector environment to be initial(streams)"
    demand_same_records(large.state, wanted, ROW_TOLERANCE, check=check, expected=expected)
    rows = case.vector(16).reset(seed=SEED)[0]
    different = len(np.unique(rows, axis=0))
    demand(different == 16, check, "16 different starts of 16 seeds", different)


def _resets(case: EnvCase) -> None:
    """``reset(seed)`` restarts everything, even within an episode; ``reset()`` goes on."""
    check, env = "env.resets", case.single()
    action = process_action(case)

    def episode(seed: int | None) -> list[np.ndarray[Any, Any]]:
        return [env.reset(seed=seed)[0], env.step(action)[0]]

    first, later = episode(SEED), episode(None)
    again, later_again, other = episode(SEED), episode(None), episode(SEED + 1)
    pairs = (("reset(seed)", first, again), ("the episode after it", later, later_again))
    for label, left, right in pairs:
        is_same = all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))
        demand(is_same, check, f"{label} to repeat on one environment", "another episode")
    for label, episode_ in (("reset() after reset(seed)", later), ("another seed", other)):
        is_new = not np.array_equal(episode_[0], first[0])
        demand(is_new, check, f"{label} to start another episode", "the same observation")


def process_action(case: EnvCase) -> np.ndarray[Any, Any]:
    """A fixed joint action, (action_size,) float32."""
    process = case.process
    return process.join(local_actions(process, 1, 0))[0].numpy()


def _errors(case: EnvCase) -> None:
    """Wrong arguments, actions and seeds: the exact class, naming what is wrong."""
    check, env, batch = "env.errors", case.single(), case.vector()
    env.reset(seed=SEED)
    batch.reset(seed=SEED)
    size = case.process.action_size
    nan = np.full((LANES, size), np.nan, np.float32)

    def make(**arguments: Any) -> Callable[[], object]:
        return lambda: gymnasium.make(case.id, **arguments)

    cases: tuple[tuple[str, Callable[[], object], type[Exception], str], ...] = (
        ("an unknown scenario field", make(scenario={"no_such": 1}), ScenarioError, "no_such"),
        ("an unknown preset", make(scenario="no such"), ScenarioError, "no such"),
        ("an unknown setting", make(settings={"no_such": 1}), ScenarioError, "no_such"),
        ("a wrong horizon", make(settings={"horizon": 0}), ScenarioError, "horizon"),
        ("no lanes", lambda: case.vector(0), ScenarioError, "num_envs"),
        ("a long action", lambda: env.step(np.zeros(size + 1)), ShapeError, "action"),
        ("a NaN action", lambda: env.step(nan[0]), ShapeError, "action"),
        ("NaN actions", lambda: batch.step(nan), ShapeError, "actions"),
        ("one action for all", lambda: batch.step(np.zeros(size)), ShapeError, "actions"),
        ("a negative seed", lambda: env.reset(seed=-1), ScenarioError, "seed"),
        ("a negative seed", lambda: batch.reset(seed=-1), ScenarioError, "seed"),
    )
    for label, action, error, words in cases:
        demand_raises(action, error, words, check=check, case=label)


def _global_state(case: EnvCase) -> None:
    """No global generator, default dtype or thread count is touched."""
    with global_state_guard("env.global_state"):
        env, batch, agents = case.single(), case.vector(), case.parallel()
        for each in (env, batch):
            each.reset(seed=SEED)
        env.step(process_action(case))
        batch.step(np.stack([process_action(case)] * LANES))
        if agents is not None:
            agents.reset(seed=SEED)
            local = local_actions(case.process, 1, 0)[0].numpy()
            agents.step(dict(zip(agents.agents, local, strict=True)))


def _gymnasium(case: EnvCase) -> None:
    """Gymnasium's own checker passes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            gymnasium_check_env(case.single().unwrapped, skip_render_check=True)
        except Exception as error:
            seen = f"{type(error).__name__}: {error}"
            raise ConformanceError("env.gymnasium", "Gymnasium's checker to pass", seen) from error


ENV_CHECKS: Mapping[str, Callable[[EnvCase], None]] = MappingProxyType(
    {
        "spaces": _spaces,
        "numpy_types": _numpy_types,
        "single_agrees": _single_agrees,
        "vector_agrees": _vector_agrees,
        "parallel_agrees": _parallel_agrees,
        "autoreset_modes": _autoreset_modes,
        "seeding": _seeding,
        "resets": _resets,
        "errors": _errors,
        "global_state": _global_state,
        "gymnasium": _gymnasium,
    }
)
