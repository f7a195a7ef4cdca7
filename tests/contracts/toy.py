"""A tiny correct family: power over parallel complex channels. Nothing of it is in the package.

Objective: sum rate. Constraint: total power. It proves that the conformance suite and the adapters
know no problem in particular; ``test_checkers_can_fail.py`` breaks it in one way at a time.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from isac_gym.core import (
    Bars,
    Budget,
    Certificate,
    EnvironmentEntry,
    Family,
    ObservationBlock,
    Points,
    Problem,
    Process,
    Scenario,
    Scene,
    ShapeError,
    Solution,
    Solver,
    TensorRecord,
    Trace,
    Transition,
    iterate,
    parameter,
)
from isac_gym.core.records import record_field, tensor_field
from isac_gym.core.units import dbm_to_w, linear_to_db


@dataclass(frozen=True, kw_only=True)
class ToyScenario(Scenario):
    presets: ClassVar = {"paper": {}, "wide": {"num_users": 6}}

    num_users: int = parameter(3, low=1, high=64, doc="channels", source="ours")
    tx_power_dbm: float = parameter(30.0, low=-60, high=90, doc="total power", source="ours")
    noise_dbm: float = parameter(0.0, low=-200, high=90, doc="noise", source="ours")
    is_uncoded: bool = parameter(False, doc="count a coding gap of 3 dB", source="ours")
    colour: str = parameter(
        "red", choices=("red", "blue"), inert=True, doc="colour of the plot", source="ours"
    )

    @property
    def tx_power_w(self):
        return dbm_to_w(self.tx_power_dbm)

    @property
    def noise_w(self):
        return dbm_to_w(self.noise_dbm) * (2.0 if self.is_uncoded else 1.0)


@dataclass(frozen=True)
class ToyInstance(TensorRecord):
    channel: torch.Tensor = tensor_field("B K", "complex", doc="amplitude")
    noise_w: torch.Tensor = tensor_field("B", "real", unit="W", doc="noise power")
    cap_w: torch.Tensor = tensor_field("B", "real", unit="W", doc="power cap")


@dataclass(frozen=True)
class ToyDecision(TensorRecord):
    power_w: torch.Tensor = tensor_field("B K", "real", unit="W", doc="power per channel")


@dataclass(frozen=True)
class ToyMetrics(TensorRecord):
    objective: torch.Tensor = tensor_field("B", "real", unit="bit/s/Hz", doc="sum rate")
    violation: torch.Tensor = tensor_field("B", "real", doc="excess over the cap")
    rate_bps_hz: torch.Tensor = tensor_field("B K", "real", unit="bit/s/Hz", doc="rate")


@dataclass(frozen=True, kw_only=True)
class ToyProblem(Problem):
    name: ClassVar = "toy"
    scenario_type: ClassVar = ToyScenario
    instance_type: ClassVar = ToyInstance
    decision_type: ClassVar = ToyDecision
    metrics_type: ClassVar = ToyMetrics
    objective_unit: ClassVar = "bit/s/Hz"

    scenario: ToyScenario = ToyScenario()

    @property
    def axis_sizes(self):
        return {"K": self.scenario.num_users}

    def sample(self, streams):
        channel = streams.complex_normal("channel", self.scenario.num_users)
        ones = torch.ones_like(channel.real[:, 0])
        return ToyInstance(channel, self.scenario.noise_w * ones, self.scenario.tx_power_w * ones)

    def project(self, instance, decision):
        power = decision.power_w.clamp_min(0)
        total = power.sum(-1, keepdim=True)
        cap = instance.cap_w[:, None]
        return ToyDecision(torch.where(total > cap, power * (cap / total.clamp_min(cap)), power))

    def evaluate(self, instance, decision):
        gain = instance.channel.real.square() + instance.channel.imag.square()
        rate = torch.log2((1 + gain * decision.power_w / instance.noise_w[:, None]).clamp_min(1e-9))
        excess = decision.power_w.sum(-1) / instance.cap_w - 1
        negative = (-decision.power_w).amax(-1) / instance.cap_w
        return ToyMetrics(rate.sum(-1), torch.maximum(excess, negative).clamp_min(0), rate)

    def floor(self, instance):
        share = instance.cap_w[:, None] / self.scenario.num_users
        return ToyDecision(share.expand(-1, self.scenario.num_users).clone())


@dataclass(frozen=True)
class ToyState(TensorRecord):
    instance: ToyInstance = record_field(ToyInstance, doc="truth")
    power_w: torch.Tensor = tensor_field("B K", "real", unit="W", doc="last powers")
    slot: torch.Tensor = tensor_field("B", "int", doc="slots done")


@dataclass(frozen=True, kw_only=True)
class ToyProcess(Process):
    objective_names: ClassVar = ("rate", "power")

    problem: ToyProblem
    horizon: int = 4
    correlation: float = 0.9

    @property
    def agents(self):
        return tuple(f"user_{k}" for k in range(self.action_size))

    @property
    def action_size(self):
        return self.problem.scenario.num_users

    @property
    def local_action_size(self):
        return 1

    @property
    def observation_blocks(self):
        return (
            ObservationBlock("gain", self.action_size, "gain in dB / 10"),
            ObservationBlock("power", self.action_size, "last power over the cap"),
            ObservationBlock("time", 1, "slot / horizon"),
        )

    @property
    def local_observation_blocks(self):
        return (ObservationBlock("gain", 1, "dB / 10"), ObservationBlock("time", 1, "slot"))

    def initial(self, streams):
        instance = self.problem.sample(streams)
        slot = torch.zeros_like(streams.seed)
        return ToyState(instance, self.problem.floor(instance).power_w, slot)

    def _gain(self, state):
        return linear_to_db(state.instance.channel.abs().square()) / 10

    def _time(self, state):
        return (state.slot / self.horizon).to(state.power_w.dtype)

    def observe(self, state):
        power = state.power_w / state.instance.cap_w[:, None]
        parts = [self._gain(state), power, self._time(state)[:, None]]
        return torch.cat(parts, 1).clamp(-5, 5).to(torch.float32)

    def observe_local(self, state):
        gain = self._gain(state)
        local = torch.stack([gain, self._time(state)[:, None].expand_as(gain)], -1)
        return local.clamp(-5, 5).to(torch.float32)

    def decode(self, state, action):
        if action.shape != state.power_w.shape:
            raise ShapeError(f"action: shape {tuple(action.shape)}, expected (B, K).")
        share = (action.to(state.power_w.dtype).clamp(-1, 1) + 1) / 2
        share = share / share.sum(-1, keepdim=True).clamp_min(1)
        return ToyDecision(share * state.instance.cap_w[:, None])

    def encode(self, state, decision):
        return (2 * decision.power_w / state.instance.cap_w[:, None] - 1).clamp(-1, 1)

    def advance(self, state, decision, streams):
        metrics = self.problem.evaluate(state.instance, decision)
        fresh = streams.complex_normal("evolve", self.action_size, dtype=state.power_w.dtype)
        channel = self.correlation * state.instance.channel
        channel = channel + (1 - self.correlation**2) ** 0.5 * fresh
        slot = state.slot + 1
        power = -decision.power_w.sum(-1) / state.instance.cap_w
        local = metrics.objective[:, None].expand(-1, self.action_size)
        return Transition(
            state=ToyState(state.instance.replace(channel=channel), decision.power_w, slot),
            reward=metrics.objective,
            objectives=torch.stack([metrics.objective, power], -1),
            metrics=metrics,
            terminated=slot >= self.horizon,
            local_reward=local,
        )

    def measured(self, state):
        return state.instance

    def truth(self, state):
        return state.instance

    def scene(self, state):
        row = state[:1].to("cpu", torch.float64)
        line = np.stack([np.arange(self.action_size), np.zeros(self.action_size)], -1)
        return Scene(
            title="toy",
            outline_m=np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]),
            points=(Points(label="user", xy_m=line.astype(float), role="user"),),
            bars=(Bars(title="power", unit="W", names=self.agents, values=row.power_w[0].numpy()),),
        )


@dataclass(frozen=True, kw_only=True)
class ToyWaterfill(Solver):
    """Water level by bisection, each lane by itself."""

    name: ClassVar = "waterfill"
    certifies: ClassVar = True
    max_iterations: int = 80
    tolerance: float = 1e-13

    def solve(self, problem, instance, *, budget=Budget(), seed=0, start=None):  # noqa: B008
        floor = instance.noise_w[:, None] / instance.channel.abs().square()
        cap = instance.cap_w
        low = floor.amin(-1)

        def powers(level):
            return (level[:, None] - floor).clamp_min(0)

        def halve(low, high, history, column):
            level = (low + high) / 2
            is_over = powers(level).sum(-1) > cap
            low, high = torch.where(is_over, low, level), torch.where(is_over, level, high)
            value = problem.evaluate(instance, ToyDecision(powers(low))).objective
            place = torch.arange(history.shape[1]) >= column[:, None]
            history = torch.where(place, value[:, None], history)
            return (low, high, history, column + 1), (high - low) / high

        steps = budget.iterations or self.max_iterations
        history = torch.zeros(len(cap), steps, dtype=cap.dtype)
        (low, _, history, _), status, count = iterate(
            halve,
            (low, low + cap, history, torch.zeros_like(cap)),
            iterations=steps,
            tolerance=budget.tolerance or self.tolerance,
        )
        spare = cap - powers(low).sum(-1)  # Lagrangian bound, valid at every water level
        value = problem.evaluate(instance, ToyDecision(powers(low))).objective
        bound = value + spare / (low * math.log(2))
        return Solution(
            decision=ToyDecision(powers(low)),
            status=status,
            iterations=count,
            trace=Trace(objective=history, length=count),
            certificate=Certificate(bound=bound, kind="dual", source="Lagrangian at the level"),
        )


TOY_FAMILY = Family(
    name="toy",
    title="power over parallel channels",
    paper="none",
    problem="tests.contracts.toy:ToyProblem",
    environments=(
        EnvironmentEntry(
            id="isac/Toy-v0",
            process="tests.contracts.toy:ToyProcess",
            doc="parallel channels in time",
            parallel_id="isac/Toy-v0",
        ),
    ),
)
