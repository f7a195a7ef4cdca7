"""Deciding on a round: what all OTA-FEEL processes share of actions, roles and base designs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.physics.precoding import alternating_precoders
from isac_gym.problems.ota_feel.actions import (
    ACTION_MODES,
    ActionMap,
    Directions,
    directions,
    filtered,
    unit,
)
from isac_gym.problems.ota_feel.model import within_budget
from isac_gym.problems.ota_feel.records import OtaFeelDecision, OtaFeelInstance
from isac_gym.problems.ota_feel.surrogate_view import OtaFeelState, OtaFeelView

__all__ = ["OtaFeelActing", "demand_range"]

_LEAST_BUDGET = 1e-6  # of the power of a round, for the base design of a silent device
_RELAXATION = 1.9  # of the receiver of base designs


@dataclass(frozen=True, kw_only=True)
class OtaFeelActing(OtaFeelView):
    """The deciding half of the processes.

    Attributes:
        action_mode: ``residual``, ``null-space`` or ``raw``; see ``actions.py``.
        is_scheduled: Power entries below -0.8 silence a device.
        preference: Share of the first objective in the reward; the rest is localisation.
        rounds: Alternating iterations of the base design per round; it starts from the last one.
        first_rounds: The same before the first round.
    """

    action_mode: str = "residual"
    is_scheduled: bool = False
    preference: float = 0.5
    rounds: int = 3
    first_rounds: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action_mode not in ACTION_MODES:
            raise ScenarioError(
                f"action_mode must be one of {ACTION_MODES}, got {self.action_mode!r}."
            )
        if not isinstance(self.is_scheduled, bool):
            raise ScenarioError(f"is_scheduled must be True or False, got {self.is_scheduled!r}.")
        demand_range("preference", self.preference, 0.0, 1.0)
        for name in ("rounds", "first_rounds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10_000:
                raise ScenarioError(f"{name} must be an integer in [0, 10000], got {value!r}.")

    @property
    def _map(self) -> ActionMap:
        s = self.problem.scenario
        return ActionMap(
            mode=self.action_mode,
            antennas=s.device_antennas,
            streams=s.num_tasks,
            is_scheduled=self.is_scheduled,
        )

    @property
    def local_action_size(self) -> int:
        """Numbers of one device."""
        return self._map.size

    def decode(self, state: OtaFeelState, action: Tensor) -> OtaFeelDecision:
        """Decision of an action in [-1, 1]; within the power budgets.

        Raises:
            ShapeError: Wrong shape.
        """
        expected = (state.batch_size, self.action_size)
        if action.shape != expected:
            raise ShapeError(f"action: shape {tuple(action.shape)}, expected {expected}.")
        action = action.to(state.dtype).clamp(-1, 1).unflatten(1, (self._devices, -1))
        factor = self._map.decode(self._directions(state), action)
        return OtaFeelDecision(_root(state) * factor)

    def encode(self, state: OtaFeelState, decision: OtaFeelDecision) -> Tensor:
        """Action whose decoding is ``decision``: exact but for ``null-space``, where it is near."""
        factor = decision.precoder / _root(state)
        return self._map.encode(self._directions(state), factor).flatten(1)

    def _directions(self, state: OtaFeelState) -> Directions:
        response, _ = self.problem.responses(state.measured)
        toward, plan = response.to(state.plan.dtype), state.plan / _root(state)
        if self.problem.scenario.pulse != "none":
            return directions(plan, None, plan, toward)
        heard = self.heard(state) * _root(state)
        return directions(heard, state.measured.weight, plan, toward)

    def first_role(self, instance: OtaFeelInstance) -> Tensor:
        """Role before the first round, (B, K, 2): full power, all of it for the sum."""
        full = torch.ones_like(instance.max_power_w)
        return torch.stack([full, torch.zeros_like(full)], -1)

    def role_of(self, state: OtaFeelState, decision: OtaFeelDecision) -> Tensor:
        """Power and sensing entries that a decision lets expect, (B, K, 2), without gradient."""
        with torch.no_grad():
            known, factor = self._directions(state), decision.precoder / _root(state)
            return self._map.expected(known, self._map.shape(known, factor))

    @torch.no_grad()
    def _planned(
        self, measured: OtaFeelInstance, role: Tensor, start: Tensor | None, iterations: int
    ) -> Tensor:
        """Base design, (B, K, M, R), for devices that keep their roles (B, K, 2)."""
        m, pulse = measured, self.problem.scenario.pulse
        share, quiet = self._map.role(role)
        if pulse != "none":  # nothing to meet in the sum: devices scale and filter by themselves
            share, quiet = torch.ones_like(share), torch.zeros_like(quiet)
        response, _ = self.problem.responses(m)
        toward = unit(response.conj()).to(m.channel.dtype)
        budget = share.clamp_min(_LEAST_BUDGET) * m.max_power_w
        heard = filtered(m.channel.mH, toward, quiet).mH
        sent = alternating_precoders(
            heard,
            m.weight,
            budget,
            self.planning_noise_w,
            pulse=pulse,
            iterations=iterations,
            relaxation=_RELAXATION,
            start=None if start is None else within_budget(start, budget),
        )
        return filtered(sent, toward, quiet)


def _root(state: OtaFeelState) -> Tensor:
    return state.measured.max_power_w.sqrt()[..., None, None]


def demand_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a setting outside [low, high] with a ``ScenarioError``."""
    if not low <= value <= high:
        raise ScenarioError(f"{name} must be in [{low:g}, {high:g}], got {value!r}.")
