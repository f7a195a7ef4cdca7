"""Gymnasium vector environment over any process: one batched tensor step for all lanes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.family import family_of
from isac_gym.core.process import Process, Transition
from isac_gym.core.random import Streams
from isac_gym.core.scenario import Scenario
from isac_gym.envs import edges
from isac_gym.envs.lanes import Lanes

__all__ = ["ProcessVectorEnv"]

_FEASIBLE = 1e-7  # relative violation still called feasible in ``info["feasible"]``


class ProcessVectorEnv(VectorEnv[Any, Any, Any]):
    """All lanes of an environment in one batch of tensors.

    Every lane has its own counter-based random stream, so lane i of any batch equals a
    :class:`~isac_gym.envs.single.ProcessEnv` with the same seed, through all later episodes.

    Info of a step, for all lanes, under every autoreset mode and on the terminating step too:
    ``objectives`` (B, M), ``cost`` = ``violation`` (B,), ``feasible`` (B,), ``objective`` (B,),
    ``local_reward`` (B, A) and every other field of the metrics record. Each ``key`` has the mask
    ``_key`` Gymnasium asks for. Under ``SAME_STEP`` a step that ends an episode adds ``final_obs``
    (B, O) and ``final_info``, valid under ``_final_obs`` and ``_final_info``. Under ``NEXT_STEP``
    the step that only restarts a lane ignores its action: reward 0, info 0 and mask False.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium's attribute, replaced per instance
        "render_modes": ["human", "rgb_array"],
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        environment: str,
        scenario: "str | Scenario | Mapping[str, Any] | None" = None,
        settings: Mapping[str, Any] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        output: str = "numpy",
        device: str | torch.device = "cpu",
        dtype: str = "float64",
        record_statistics: bool = False,
        render_mode: str | None = None,
    ) -> None:
        """Build the process; no instance is drawn before :meth:`reset`.

        Args:
            num_envs: Number of lanes B >= 1.
            environment: Environment id, ``isac/<Name>-v<N>``.
            scenario: Preset name, scenario, or mapping ``{"preset": name, field: value}``; None:
                the environment's own preset.
            settings: Fields of the process to change, e.g. ``{"ramp_db": 2.0}``.
            autoreset_mode: What happens when a lane's episode ends: it restarts in the same step
                (default), in the next step, or only when reset with a ``reset_mask``.
            output: ``numpy``, or ``torch`` for tensors that stay on ``device``.
            device: Where the lanes live.
            dtype: ``float64`` or ``float32``; instances are always drawn in float64.
            record_statistics: Add ``info["episode"]`` with return ``r`` and length ``l`` of the
                episodes that ended, valid under ``info["_episode"]``.
            render_mode: None, ``rgb_array`` (a frame per lane) or ``human`` (a window, lane 0).

        Raises:
            ScenarioError: Unknown id, preset, field, setting or option, or a value out of range.
        """
        if not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ScenarioError(f"num_envs must be an integer >= 1, got {num_envs!r}.")
        edges.check_choice("output", output, ("numpy", "torch"))
        edges.check_choice("render_mode", render_mode, (None, "human", "rgb_array"))
        process = family_of(environment).make_process(environment, scenario, settings)
        self.num_envs = int(num_envs)
        self.environment = environment
        self.device = edges.torch_device(device)
        self.output = output
        self.record_statistics = record_statistics
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, "autoreset_mode": _autoreset(autoreset_mode)}
        self.single_observation_space = edges.observation_box(process.observation_size)
        self.single_action_space = edges.action_box(process.action_size)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._lanes = Lanes(process, device=self.device, dtype=edges.torch_dtype(dtype))
        self._ended: Tensor | None = None  # lanes that wait for a reset, None if there are none
        self._statistics = _EpisodeStatistics(self.num_envs, self.device)
        self._window: Any = None

    @property
    def process(self) -> Process:
        """The process being played."""
        return self._lanes.process

    @property
    def dtype(self) -> torch.dtype:
        """Real dtype of the state."""
        return self._lanes.dtype

    @property
    def state(self) -> Any:
        """State record of the process, B lanes; None before the first reset."""
        return self._lanes.state

    @property
    def streams(self) -> Streams:
        """Random streams at the episode and step of each lane.

        Raises:
            ResetNeeded: Before the first reset.
        """
        return self._lanes.streams

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What happens when a lane's episode ends."""
        return self.metadata["autoreset_mode"]

    @torch.no_grad()
    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in every lane, or in the lanes of ``options["reset_mask"]``.

        Args:
            seed: An integer s: lane i gets seed s + i. A sequence: one seed per lane. None: each
                lane goes on to the next episode of its stream (the first time, seeds are drawn
                from ``np_random``). Seeds are integers in [0, 2^63).
            options: None, or ``{"reset_mask": ...}``, (B,) bool with at least one True; the other
                lanes keep their state.

        Returns:
            Observations of all lanes, (B, O) float32, and an empty info.

        Raises:
            ScenarioError: A seed out of range or an unknown option.
            ShapeError: Seeds or mask of the wrong shape or kind.
            ResetNeeded: A mask before the first reset.
        """
        mask = self._reset_mask(options)
        seeds = None if seed is None else edges.seed_list(seed, self.num_envs)
        super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else None)
        if seeds is None and not self._lanes.is_started:
            seeds = self.np_random.integers(edges.SEED_LIMIT - 1, size=self.num_envs).tolist()
        if seeds is None:
            self._lanes.next_episode(mask)
        else:
            self._lanes.seed(seeds, mask)
        waiting = None if self._ended is None or mask is None else self._ended & ~mask
        self._ended = waiting if waiting is not None and bool(waiting.any()) else None
        self._statistics.clear(mask)
        self._show()
        observation = self.process.observe(self.state)
        return (observation if self.output == "torch" else edges.to_numpy(observation)), {}

    @torch.no_grad()
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play one step in every lane.

        Args:
            actions: (B, action_size) array or tensor, finite; values outside [-1, 1] are clipped.

        Returns:
            Observations (B, O) float32, rewards (B,), terminated (B,) bool, truncated (B,) bool
            (always False: the horizon is part of the process) and the info of the class docstring.

        Raises:
            ShapeError: Wrong shape, or a non-finite action (the message names the lane).
            ResetNeeded: Before the first reset, or, with ``DISABLED``, while a lane has ended.
        """
        lanes = self._lanes
        shape = (self.num_envs, self.process.action_size)
        action = edges.numbers(
            actions, shape, device=lanes.device, dtype=lanes.dtype, name="actions"
        )
        begun = self._begin_waiting()
        if begun is not None and begun.numel() == self.num_envs:
            return self._only_begun()
        change = lanes.advance(action, held=begun)
        observation, ended = self.process.observe(lanes.state), change.terminated
        active = torch.ones_like(ended)
        active = active if begun is None else active.index_fill(0, begun, False)
        info = _step_info(change, active)
        has_ended = bool(ended.any())
        if self.record_statistics:
            self._statistics.add(change.reward, active)
            info |= self._statistics.report(ended) if has_ended else {}
        if has_ended:
            observation = self._end_episodes(ended, observation, info)
        self._show()
        return self._five(observation, change.reward, ended, info)

    def render(self) -> tuple[Any, ...] | None:
        """Frames of all lanes, each (H, W, 3) uint8, or None (``human``: lane 0 in a window)."""
        if self.render_mode is None or self.state is None:
            return None
        from isac_gym.envs.render import SceneWindow, draw_frame  # matplotlib is slow to import

        if self.render_mode == "human":
            self._window = self._window or SceneWindow()
            self._window.show(self.process.scene(self.state[:1]))
            return None
        rows = [self.state[lane : lane + 1] for lane in range(self.num_envs)]
        return tuple(draw_frame(self.process.scene(row)) for row in rows)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()

    def _reset_mask(self, options: dict[str, Any] | None) -> Tensor | None:
        unknown = sorted(set(options or {}) - {"reset_mask"})
        if unknown:
            raise ScenarioError(f"unknown reset option(s) {unknown}; allowed: reset_mask.")
        if not options:
            return None
        mask = torch.as_tensor(options["reset_mask"], device=self.device)
        if mask.shape != (self.num_envs,) or mask.dtype != torch.bool or not bool(mask.any()):
            raise ShapeError(
                f"reset_mask: shape {tuple(mask.shape)} {mask.dtype}, expected "
                f"({self.num_envs},) bool with at least one True."
            )
        if not self._lanes.is_started:
            raise ResetNeeded("call reset() for all lanes before resetting some of them.")
        return mask

    def _begin_waiting(self) -> Tensor | None:
        """NEXT_STEP: restart the lanes that ended in the last step and return their rows."""
        if self._ended is None:
            return None
        if self.autoreset_mode is AutoresetMode.DISABLED:
            lanes = self._ended.nonzero()[:8, 0].tolist()
            raise ResetNeeded(
                f"the episodes of lanes {lanes} have ended; "
                'call reset(options={"reset_mask": mask}) for them before step().'
            )
        self._statistics.clear(self._ended)
        rows = self._lanes.next_episode(self._ended)
        self._ended = None
        return rows

    def _only_begun(self) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Result of a NEXT_STEP step in which every lane restarted."""
        observation = self.process.observe(self.state)
        nothing = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._show()
        return self._five(observation, nothing.to(self._lanes.dtype), nothing, {})

    def _end_episodes(self, ended: Tensor, observation: Tensor, info: dict[str, Any]) -> Tensor:
        """Handle lanes that ended; returns the observation to act on next."""
        if self.autoreset_mode is not AutoresetMode.SAME_STEP:
            self._ended = ended.clone()
            return observation
        final = {key: ended if key.startswith("_") else value for key, value in info.items()}
        info |= {"final_obs": observation, "_final_obs": ended}
        info |= {"final_info": final, "_final_info": ended}
        self._statistics.clear(ended)
        rows = self._lanes.next_episode(ended)
        if rows.numel() == self.num_envs:
            return self.process.observe(self.state)
        return observation.index_copy(0, rows, self.process.observe(self.state[rows]))

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()

    def _five(
        self, observation: Tensor, reward: Tensor, terminated: Tensor, info: dict[str, Any]
    ) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        truncated = torch.zeros_like(terminated)
        if self.output == "torch":
            return observation, reward, terminated, truncated, info
        arrays = [edges.to_numpy(t) for t in (observation, reward, terminated, truncated)]
        return arrays[0], arrays[1], arrays[2], arrays[3], _numpy_info(info)


class _EpisodeStatistics:
    """Return and length of the running episode of every lane, in float64 and int64."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._return = torch.zeros(count, dtype=torch.float64, device=device)
        self._length = torch.zeros(count, dtype=torch.int64, device=device)

    def clear(self, mask: Tensor | None = None) -> None:
        """Forget the episodes under ``mask``, or all."""
        keep = torch.zeros_like(self._length) if mask is None else 1 - mask.to(torch.int64)
        self._return, self._length = self._return * keep, self._length * keep

    def add(self, reward: Tensor, active: Tensor) -> None:
        """Count one step in the lanes under ``active``; the others have reward 0."""
        self._return, self._length = self._return + reward, self._length + active

    def report(self, ended: Tensor) -> dict[str, Any]:
        """Info entries of the episodes that ended."""
        episode = {
            "r": torch.where(ended, self._return, 0),
            "l": torch.where(ended, self._length, 0),
        }
        return {"episode": episode, "_episode": ended}


def _step_info(change: Transition, active: Tensor) -> dict[str, Any]:
    metrics = dict(change.metrics.items())
    violation = metrics["violation"]
    info: dict[str, Any] = metrics | {
        "objectives": change.objectives,
        "cost": violation,
        "feasible": violation <= _FEASIBLE,
        "local_reward": change.local_reward.contiguous(),  # often one value, expanded
    }
    return info | {f"_{key}": active for key in info}


def _numpy_info(info: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _numpy_info(value) if isinstance(value, dict) else edges.to_numpy(value)
        for key, value in info.items()
    }


def _autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError as err:
        allowed = [known.value for known in AutoresetMode]
        raise ScenarioError(f"autoreset_mode must be one of {allowed}, got {mode!r}.") from err
