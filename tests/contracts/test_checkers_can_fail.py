"""Every check of the conformance suite rejects a family that is broken in that one way."""

import dataclasses
import importlib
import itertools
from dataclasses import dataclass
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

import isac_gym.envs.parallel as parallel_module
from isac_gym.core import (
    Budget,
    EnvironmentEntry,
    Family,
    Scenario,
    ShapeError,
    Status,
    Streams,
    parameter,
)
from isac_gym.core.family import add_family
from isac_gym.envs.parallel import ProcessParallelEnv
from isac_gym.envs.single import ProcessEnv
from isac_gym.envs.vector import ProcessVectorEnv
from isac_gym.testing import (
    ENV_CHECKS,
    PROBLEM_CHECKS,
    PROCESS_CHECKS,
    SOLVER_CHECKS,
    ConformanceError,
    EnvCase,
    check_env,
    check_problem,
    check_process,
    check_solver,
)
from isac_gym.testing.common import demand_raises, global_state_guard, row_error
from tests.contracts.toy import (
    ToyDecision,
    ToyInstance,
    ToyMetrics,
    ToyProblem,
    ToyProcess,
    ToyScenario,
    ToyWaterfill,
)

toy = dataclass(frozen=True, kw_only=True)


def rejects(run, check, words=""):
    """``run`` raises a ConformanceError of this check, with these words."""
    with pytest.raises(ConformanceError) as caught:
        run()
    assert caught.value.check == check, str(caught.value)
    assert words in str(caught.value)


# --- problems -----------------------------------------------------------------------------------


class BrokenProblem(ToyProblem):
    """Hooks that change what the toy problem returns."""

    def sample(self, streams):
        return self.bend_instance(super().sample(streams), streams)

    def evaluate(self, instance, decision):
        return self.bend_metrics(super().evaluate(instance, decision), instance, decision)

    def project(self, instance, decision):
        return self.bend_projection(super().project(instance, decision), instance, decision)

    def bend_instance(self, instance, streams):
        return instance

    def bend_metrics(self, metrics, instance, decision):
        return metrics

    def bend_projection(self, projected, instance, decision):
        return projected


def problem(**hooks):
    """A broken toy problem whose methods are given as functions of (self, ...)."""
    return dataclass(frozen=True, kw_only=True)(type("Broken", (BrokenProblem,), hooks))()


def scaled(projected, factor):
    return ToyDecision(projected.power_w * factor)


def in_place(self, metrics, instance, decision):
    decision.power_w.clamp_(min=0)
    return metrics


def rolled_dice(self, metrics, instance, decision):
    torch.rand(1)
    return metrics


def host_sync(self, metrics, instance, decision):
    if bool((metrics.violation > 1).any()):
        return metrics
    return metrics


def data_dependent_shape(self, metrics, instance, decision):
    assert metrics.violation[metrics.violation > 0].shape[0] >= 0
    return metrics


@toy
class StrayScenario(ToyScenario):
    @classmethod
    def from_dict(cls, values):
        known = {field.name for field in dataclasses.fields(cls)}
        return super().from_dict({k: v for k, v in values.items() if k in known})


@toy
class LaxScenario(ToyScenario):
    def __post_init__(self):
        """No validation."""


@toy
class TwinScenario(ToyScenario):
    presets: ClassVar = {"paper": {}, "twin": {}}


@toy
class NamelessScenario(ToyScenario):
    presets: ClassVar = {"wide": {"num_users": 6}}


@toy
class IgnoredScenario(ToyScenario):
    forgotten_db: float = parameter(1.0, low=0, high=9, doc="nothing", source="ours")


@toy
class SilentScenario(ToyScenario):
    tx_power_dbm: float = parameter(30.0, low=-60, high=90, doc="power", source="")


@toy
class NotInertScenario(ToyScenario):
    noise_dbm: float = parameter(0.0, low=-200, high=90, inert=True, doc="n", source="ours")


@toy
class ForgottenModeScenario(ToyScenario):
    forgotten_db: float = parameter(
        1.0, low=0, high=9, only_where=("colour", "blue"), doc="nothing", source="ours"
    )


@toy
class NoSuchModeScenario(ToyScenario):
    forgotten_db: float = parameter(
        1.0, low=0, high=9, only_where=("colour", "green"), doc="nothing", source="ours"
    )


@toy
class InfiniteScenario(ToyScenario):
    presets: ClassVar = {"paper": {}}

    def to_dict(self):
        return super().to_dict() | {"noise_dbm": float("nan")}


def with_scenario(kind):
    @toy
    class Broken(ToyProblem):
        scenario_type: ClassVar = kind
        scenario: Scenario = kind()

    return Broken()


def silent_validate(self, instance, decision=None):
    return None


def wrong_class_validate(self, instance, decision=None):
    try:
        ToyProblem.validate(self, instance, decision)
    except ShapeError as error:
        raise ValueError(str(error)) from error


def nameless_validate(self, instance, decision=None):
    try:
        ToyProblem.validate(self, instance, decision)
    except ShapeError as error:
        raise ShapeError("something is wrong") from error


def with_objective(change):
    return lambda self, m, i, d: m.replace(objective=change(m, i, d))


BROKEN_PROBLEMS = {
    "a column too many": (
        "records",
        problem(bend_metrics=with_objective(lambda m, i, d: m.objective[:, None])),
    ),
    "NaN for nothing": (
        "records",
        problem(
            bend_metrics=with_objective(
                lambda m, i, d: m.objective / d.power_w.sum(-1).clamp_min(0) * d.power_w.sum(-1)
            )
        ),
    ),
    "negative violation": (
        "records",
        problem(bend_metrics=lambda self, m, i, d: m.replace(violation=m.violation - 1)),
    ),
    "another record": (
        "records",
        problem(bend_projection=lambda self, p, i, d: p, evaluate=lambda self, i, d: d),
    ),
    "single precision draws": (
        "records",
        problem(bend_instance=lambda self, i, s: i.to(dtype=torch.float32)),
    ),
    "draws centred over the batch": (
        "sampling_rows",
        problem(bend_instance=lambda self, i, s: i.replace(channel=i.channel - i.channel.mean(0))),
    ),
    "draws by position": (
        "sampling_rows",
        problem(sample=lambda self, s: ToyProblem.sample(self, Streams.from_seed(0, s.batch_size))),
    ),
    "seed ignored": (
        "seeds",
        problem(
            sample=lambda self, s: ToyProblem.sample(self, Streams(s.seed * 0, s.episode, s.step))
        ),
    ),
    "episode ignored": (
        "seeds",
        problem(
            sample=lambda self, s: ToyProblem.sample(self, Streams(s.seed, s.episode * 0, s.step))
        ),
    ),
    "objective over the batch mean": (
        "evaluation_rows",
        problem(bend_metrics=with_objective(lambda m, i, d: m.objective - m.objective.mean())),
    ),
    "projection by the batch maximum": (
        "evaluation_rows",
        problem(bend_projection=lambda self, p, i, d: scaled(p, 1 / (1 + 1e-9 * d.power_w.max()))),
    ),
    "host synchronisation": ("meta", problem(bend_metrics=host_sync)),
    "data-dependent shapes": ("meta", problem(bend_metrics=data_dependent_shape)),
    "no projection": ("projection", problem(project=lambda self, i, d: d)),
    "projection that misses by 1e-6": (
        "projection",
        problem(bend_projection=lambda self, p, i, d: scaled(p, 1 + 1e-6)),
    ),
    "projection that shrinks": (
        "projection",
        problem(bend_projection=lambda self, p, i, d: scaled(p, 0.999)),
    ),
    "projection to the floor": ("projection", problem(project=lambda self, i, d: self.floor(i))),
    "infeasible floor": (
        "projection",
        problem(floor=lambda self, i: scaled(ToyProblem.floor(self, i), 2.0)),
    ),
    "an objective cut off from a field that the violation reaches": (
        "gradients",
        problem(
            evaluate=lambda self, i, d: ToyProblem.evaluate(self, i, d).replace(
                objective=ToyProblem.evaluate(self, i, d.detach()).objective
            )
        ),
    ),
    "a field without a role": (
        "gradients",
        problem(evaluate=lambda self, i, d: ToyProblem.evaluate(self, i, d.detach())),
    ),
    "detached": ("gradients", problem(bend_metrics=lambda self, m, i, d: m.detach())),
    "half the gradient": (
        "gradients",
        problem(
            bend_metrics=with_objective(lambda m, i, d: (m.objective + m.objective.detach()) / 2)
        ),
    ),
    "infinite gradient at zero": (
        "gradients",
        problem(
            bend_metrics=with_objective(
                lambda m, i, d: m.objective + d.power_w.clamp_min(0).sqrt().sum(-1)
            )
        ),
    ),
    "argument changed": ("purity", problem(bend_metrics=in_place)),
    "global generator": ("purity", problem(bend_metrics=rolled_dice)),
    "empty maximum": (
        "empty_batch",
        problem(
            bend_metrics=with_objective(
                lambda m, i, d: m.objective + 0 * m.objective.detach().max()
            )
        ),
    ),
    "no validation": ("input_errors", problem(validate=silent_validate)),
    "builtin error": ("input_errors", problem(validate=wrong_class_validate)),
    "nameless error": ("input_errors", problem(validate=nameless_validate)),
    "always double": (
        "float32",
        problem(bend_metrics=lambda self, m, i, d: m.to(dtype=torch.float64)),
    ),
    "ignored field": ("scenario_fields", with_scenario(IgnoredScenario)),
    "inert field that acts": ("scenario_fields", with_scenario(NotInertScenario)),
    "field of a mode that ignores it": ("scenario_fields", with_scenario(ForgottenModeScenario)),
    "field of a mode that does not exist": ("scenario_fields", with_scenario(NoSuchModeScenario)),
    "unknown field accepted": ("scenario_errors", with_scenario(StrayScenario)),
    "values not checked": ("scenario_errors", with_scenario(LaxScenario)),
    "twin presets": ("scenario_presets", with_scenario(TwinScenario)),
    "no preset paper": ("scenario_presets", with_scenario(NamelessScenario)),
    "no source": ("scenario_presets", with_scenario(SilentScenario)),
    "not strict JSON": ("scenario_presets", with_scenario(InfiniteScenario)),
}


@pytest.mark.parametrize("case", BROKEN_PROBLEMS)
def test_problem_check__rejects(case):
    check, broken = BROKEN_PROBLEMS[case]
    rejects(lambda: PROBLEM_CHECKS[check](broken), f"problem.{check}")
    with pytest.raises(ConformanceError):
        check_problem(broken)


# --- processes ----------------------------------------------------------------------------------


class BrokenProcess(ToyProcess):
    """A hook that changes what the toy process returns from a step."""

    def advance(self, state, decision, streams):
        result = super().advance(state, decision, streams)
        return dataclasses.replace(result, **self.bend(result, state, decision, streams))

    def bend(self, result, state, decision, streams):
        return {}


def process(**hooks):
    kind = dataclass(frozen=True, kw_only=True)(type("Broken", (BrokenProcess,), hooks))
    return kind(problem=ToyProblem())


def observing(change):
    return process(observe=lambda self, state: change(ToyProcess.observe(self, state)))


CALLS = itertools.count()


def forgetful_decode(self, state, action):
    return ToyProcess.decode(
        self, state, action.flatten()[: state.power_w.numel()].view_as(state.power_w)
    )


def state_in_place(self, result, state, decision, streams):
    state.slot.add_(1)
    return {}


def dice_in_step(self, result, state, decision, streams):
    np.random.rand()  # noqa: NPY002
    return {}


def upcast(self, result, state, decision, streams):
    return {"reward": result.reward.double()}


def blind_scene(self, state):
    scene = ToyProcess.scene(self, state)
    return dataclasses.replace(scene, outline_m=scene.outline_m * np.nan)


BROKEN_PROCESSES = {
    "twin agents": ("spaces", process(agents=property(lambda self: ("a", "a", "b")))),
    "join of the wrong size": (
        "spaces",
        process(join=lambda self, local: local.flatten(1)[:, :-1]),
    ),
    "double observations": ("observations", observing(lambda o: o.double())),
    "unclipped observations": ("observations", observing(lambda o: 50 * o)),
    "NaN observations": ("observations", observing(lambda o: o * torch.nan)),
    "an undeclared entry": ("observations", observing(lambda o: torch.cat([o, o[:, :1]], 1))),
    "reward (B, 1)": (
        "transitions",
        process(bend=lambda self, r, s, d, t: {"reward": r.reward[:, None]}),
    ),
    "infinite reward": (
        "transitions",
        process(bend=lambda self, r, s, d, t: {"reward": r.reward / 0}),
    ),
    "an objective too few": (
        "transitions",
        process(bend=lambda self, r, s, d, t: {"objectives": r.objectives[:, :1]}),
    ),
    "scored on the next slot": (
        "transitions",
        process(
            bend=lambda self, r, s, d, t: {"metrics": self.problem.evaluate(r.state.instance, d)}
        ),
    ),
    "measured is not an instance": ("instances", process(measured=lambda self, state: state)),
    "reward over the batch mean": (
        "rows_alone",
        process(bend=lambda self, r, s, d, t: {"reward": r.reward - r.reward.mean()}),
    ),
    "observation over the batch": ("rows_alone", observing(lambda o: (o - o.mean(0)).clamp(-5, 5))),
    "all end with the first": (
        "mixed_slots",
        process(bend=lambda self, r, s, d, t: {"reward": r.reward + s.slot.max()}),
    ),
    "episode ignored": (
        "seeds",
        process(
            initial=lambda self, t: ToyProcess.initial(self, Streams(t.seed, t.episode * 0, t.step))
        ),
    ),
    "hidden counter": (
        "seeds",
        process(bend=lambda self, r, s, d, t: {"reward": r.reward + next(CALLS)}),
    ),
    "encode loses": (
        "actions",
        process(encode=lambda self, state, d: ToyProcess.encode(self, state, d) / 2),
    ),
    "encode leaves the box": (
        "actions",
        process(encode=lambda self, state, d: ToyProcess.encode(self, state, d) * 2),
    ),
    "decode to nonsense": (
        "actions",
        process(decode=lambda self, state, a: ToyDecision(a.double() * torch.nan)),
    ),
    "any shape of action": ("actions", process(decode=forgetful_decode)),
    "one step too long": (
        "horizon",
        process(bend=lambda self, r, s, d, t: {"terminated": s.slot >= self.horizon}),
    ),
    "endless": ("horizon", process(bend=lambda self, r, s, d, t: {"terminated": s.slot < 0})),
    "state changed in place": ("purity", process(bend=state_in_place)),
    "global generator": ("purity", process(bend=dice_in_step)),
    "double reward of single state": ("float32", process(bend=upcast)),
    "NaN in the scene": ("scene", process(scene=blind_scene)),
}


@pytest.mark.parametrize("case", BROKEN_PROCESSES)
def test_process_check__rejects(case):
    check, broken = BROKEN_PROCESSES[case]
    rejects(lambda: PROCESS_CHECKS[check](broken), f"process.{check}")
    with pytest.raises(ConformanceError):
        check_process(broken)


# --- solvers ------------------------------------------------------------------------------------


class BrokenSolver(ToyWaterfill):
    """A hook that changes the toy solver's solution."""

    def solve(self, problem, instance, *, budget=Budget(), seed=0, start=None):  # noqa: B008
        solution = super().solve(problem, instance, budget=budget, seed=seed, start=start)
        return dataclasses.replace(solution, **self.bend(solution, instance, budget, start))

    def bend(self, solution, instance, budget, start):
        return {}


def solver(**hooks):
    return dataclass(frozen=True, kw_only=True)(type("Broken", (BrokenSolver,), hooks))()


def bounded(change):
    return lambda self, s, i, b, t: {
        "certificate": dataclasses.replace(s.certificate, bound=change(s.certificate.bound))
    }


def traced(history=lambda h: h, length=lambda n: n):
    def bend(self, s, i, b, t):
        objective, count = history(s.trace.objective), length(s.trace.length)
        return {"trace": dataclasses.replace(s.trace, objective=objective, length=count)}

    return bend


def deaf_to_budget(self, problem, instance, *, budget=Budget(), seed=0, start=None):  # noqa: B008
    return ToyWaterfill.solve(self, problem, instance, seed=seed)


def all_stop_together(self, s, i, b, t):
    """As many iterations for all lanes as the lane with the weakest channel asks for."""
    worst = (1 / i.channel.abs().amin()).ceil().to(torch.int64)
    return {"iterations": torch.zeros_like(s.iterations) + worst}


def leaking(self, s, i, b, t):
    crowd = i.channel.abs().sum()
    return {"decision": ToyDecision(s.decision.power_w * (1 - 1e-15 * crowd))}


def dice_start(self, s, i, b, t):
    return {"decision": ToyDecision(s.decision.power_w * (1 - 1e-9 * torch.rand(1).double()))}


COUNTER = itertools.count()


def moody(self, s, i, b, t):
    return {"iterations": s.iterations + next(COUNTER)}


def start_in_place(self, s, i, b, t):
    if t is not None:
        t.power_w.zero_()
    return {}


def instance_in_place(self, s, i, b, t):
    i.cap_w.mul_(2)
    return {}


BROKEN_SOLVERS = {
    "statuses as floats": (
        "results",
        solver(bend=lambda self, s, i, b, t: {"status": s.status.double()}),
    ),
    "status 7": ("results", solver(bend=lambda self, s, i, b, t: {"status": s.status + 7})),
    "NaN decision": (
        "results",
        solver(
            bend=lambda self, s, i, b, t: {"decision": ToyDecision(s.decision.power_w * torch.nan)}
        ),
    ),
    "another record": ("results", solver(bend=lambda self, s, i, b, t: {"decision": i})),
    "all failed": (
        "results",
        solver(bend=lambda self, s, i, b, t: {"status": s.status * 0 + int(Status.FAILED)}),
    ),
    "length beyond the trace": ("trace", solver(bend=traced(length=lambda n: n + 1000))),
    "tail goes on": ("trace", solver(bend=traced(length=lambda n: n * 0 + 1))),
    "trace of one lane": ("trace", solver(bend=traced(history=lambda h: h[0]))),
    "bound too low": ("certificate", solver(bend=bounded(lambda bound: bound * 0.99))),
    "bound of another lane": ("certificate", solver(bend=bounded(lambda bound: bound.flip(0)))),
    "NaN bound": ("certificate", solver(bend=bounded(lambda bound: bound * torch.nan))),
    "a secret certificate": ("certificate", solver(certifies=False)),
    "deaf to budgets": ("budget", solver(solve=deaf_to_budget)),
    "early claim": ("budget", solver(bend=lambda self, s, i, b, t: {"status": s.status * 0})),
    "all stop with the slowest": ("hard_neighbour", solver(bend=all_stop_together)),
    "last bits leak": ("hard_neighbour", solver(bend=leaking)),
    "global generator": ("seeds", solver(bend=dice_start)),
    "hidden counter": ("seeds", solver(bend=moody)),
    "instance changed": ("seeds", solver(bend=instance_in_place)),
    "start changed": ("start", solver(bend=start_in_place)),
}


@pytest.mark.parametrize("case", BROKEN_SOLVERS)
def test_solver_check__rejects(case):
    check, broken = BROKEN_SOLVERS[case]
    rejects(lambda: SOLVER_CHECKS[check](broken, ToyProblem()), f"solver.{check}")
    with pytest.raises(ConformanceError):
        check_solver(broken, ToyProblem())


class ToyWithDemand(ToyProblem):
    """A toy problem with instances nobody can meet: a cap below zero."""

    def evaluate(self, instance, decision):
        metrics = super().evaluate(instance, decision)
        excess = (decision.power_w.clamp_min(0).sum(-1) - instance.cap_w).clamp_min(0)
        return metrics.replace(violation=excess)

    def tighten(self, instance, margin_db):
        return instance.replace(cap_w=-instance.cap_w)


class Confident(ToyWaterfill):
    """Claims that everything has converged."""

    def solve(self, problem, instance, *, budget=Budget(), seed=0, start=None):  # noqa: B008
        solution = super().solve(problem, instance.replace(cap_w=instance.cap_w.abs()))
        return dataclasses.replace(solution, status=solution.status * 0)


class Timid(ToyWaterfill):
    """Raises for the whole batch."""

    def solve(self, problem, instance, *, budget=Budget(), seed=0, start=None):  # noqa: B008
        if bool((instance.cap_w < 0).any()):
            raise ValueError("infeasible")
        return super().solve(problem, instance, budget=budget, seed=seed, start=start)


@pytest.mark.parametrize("broken", [Confident(), Timid()])
def test_solver_check__rejects_infeasible(broken):
    demanding = ToyWithDemand()
    rejects(lambda: SOLVER_CHECKS["infeasible"](broken, demanding), "solver.infeasible")


# --- environments -------------------------------------------------------------------------------


class DoubleSpaces(ProcessEnv):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.observation_space = Box(-5.0, 5.0, self.observation_space.shape, np.float64)


class TorchEnv(ProcessEnv):
    def step(self, action):
        observation, *rest = super().step(action)
        return torch.as_tensor(observation), *rest


class NumpyReward(ProcessEnv):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, np.float32(reward), *rest


class Cheerful(ProcessEnv):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, reward + 1.0, *rest


class Truncating(ProcessEnv):
    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, False, terminated, info


class SameEpisode(ProcessEnv):
    """Every episode is that of the last seed."""

    seed = 0

    def reset(self, *, seed=None, options=None):
        self.seed = self.seed if seed is None else seed
        return super().reset(seed=self.seed, options=options)


class SeedOnce(ProcessEnv):
    """The private generator is built once: later seeds are ignored."""

    is_seeded = False

    def reset(self, *, seed=None, options=None):
        first, self.is_seeded = not self.is_seeded, True
        return super().reset(seed=seed if first else None, options=options)


class SeedZero(ProcessEnv):
    """The generator is rebuilt with 0 on every reset."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=0, options=options)


class Patient(ProcessEnv):
    """Accepts any action."""

    def step(self, action):
        action = np.resize(np.nan_to_num(action), self.action_space.shape)
        return super().step(action)


class Generous(ProcessEnv):
    """Ignores settings it does not know."""

    def __init__(self, *, settings=None, **arguments):
        known = {k: v for k, v in (settings or {}).items() if k == "horizon"}
        super().__init__(settings=known, **arguments)


class Meddler(ProcessEnv):
    def reset(self, *, seed=None, options=None):
        torch.manual_seed(0)
        return super().reset(seed=seed, options=options)


class NoOptions(ProcessEnv):
    def reset(self, *, seed=None):
        return super().reset(seed=seed)


class HiddenInfo(ProcessVectorEnv):
    """The info of the terminating step moves into final_info, as Gymnasium's own wrapper does."""

    def step(self, actions):
        *five, info = super().step(actions)
        return *five, {"final_info": info, "final_obs": 0} if five[2].any() else info


class AliasedFinal(ProcessVectorEnv):
    """final_obs is the observation of the next episode."""

    def step(self, actions):
        observation, *rest, info = super().step(actions)
        if "final_obs" in info:
            info["final_obs"] = observation
        return observation, *rest, info


class OneSeedForAll(ProcessVectorEnv):
    def reset(self, *, seed=None, options=None):
        seeds = [seed] * self.num_envs if isinstance(seed, int) else seed
        return super().reset(seed=seeds, options=options)


class SizedSeeds(ProcessVectorEnv):
    """The instance depends on the number of lanes."""

    def reset(self, *, seed=None, options=None):
        seed = seed + self.num_envs if isinstance(seed, int) else seed
        return super().reset(seed=seed, options=options)


class SkippedEpisode(ProcessVectorEnv):
    """A masked reset moves one episode too far."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        return super().reset(seed=seed, options=options)


class AnyLanes(ProcessVectorEnv):
    def __init__(self, num_envs=1, **arguments):
        super().__init__(max(num_envs, 1), **arguments)


BROKEN_ENVS = {
    "float64 box": ("spaces", {"entry_point": DoubleSpaces}),
    "no vector entry point": ("spaces", {"vector_entry_point": None}),
    "torch observations": ("numpy_types", {"entry_point": TorchEnv}),
    "NumPy reward": ("numpy_types", {"entry_point": NumpyReward}),
    "another reward": ("single_agrees", {"entry_point": Cheerful}),
    "truncated at the horizon": ("single_agrees", {"entry_point": Truncating}),
    "the same episode again": ("single_agrees", {"entry_point": SameEpisode}),
    "info hidden at the end": ("vector_agrees", {"vector_entry_point": HiddenInfo}),
    "final_obs of the next": ("vector_agrees", {"vector_entry_point": AliasedFinal}),
    "one seed for all lanes": ("vector_agrees", {"vector_entry_point": OneSeedForAll}),
    "an episode skipped": ("autoreset_modes", {"vector_entry_point": SkippedEpisode}),
    "seeds by batch size": ("seeding", {"vector_entry_point": SizedSeeds}),
    "one start for all": ("seeding", {"vector_entry_point": OneSeedForAll}),
    "seeded once": ("resets", {"entry_point": SeedOnce}),
    "seed ignored": ("resets", {"entry_point": SeedZero}),
    "any action": ("errors", {"entry_point": Patient}),
    "any setting": ("errors", {"entry_point": Generous}),
    "any number of lanes": ("errors", {"vector_entry_point": AnyLanes}),
    "global generator": ("global_state", {"entry_point": Meddler}),
    "reset without options": ("gymnasium", {"entry_point": NoOptions}),
}


@pytest.fixture
def toy_id():
    """Registers an environment of the toy family under a fresh id with some parts exchanged."""
    made = []

    def register(**parts):
        number = len(gymnasium.registry)
        name = f"isac/Broken{number}-v0"
        entry = EnvironmentEntry(
            id=name, process="tests.contracts.toy:ToyProcess", doc="broken", parallel_id=name
        )
        add_family(
            Family(
                name=f"broken_{number}",
                title="broken",
                paper="none",
                problem="tests.contracts.toy:ToyProblem",
                environments=(entry,),
            )
        )
        points = {"entry_point": ProcessEnv, "vector_entry_point": ProcessVectorEnv} | parts
        gymnasium.register(id=name, kwargs={"environment": name}, **points)
        made.append((f"broken_{number}", name))
        return name

    yield register
    family_module = importlib.import_module("isac_gym.core.family")

    for family_name, name in made:
        family_module._ADDED.pop(family_name)
        gymnasium.registry.pop(name)


@pytest.mark.parametrize("case", BROKEN_ENVS)
def test_env_check__rejects(case, toy_id):
    check, parts = BROKEN_ENVS[case]
    name = toy_id(**parts)
    rejects(lambda: ENV_CHECKS[check](EnvCase(name)), f"env.{check}")


def test_check_env__rejects(toy_id):
    name = toy_id(entry_point=Cheerful)
    rejects(lambda: check_env(name), "env.single_agrees", "reward")


class Deserter(ProcessParallelEnv):
    """One agent leaves early."""

    def step(self, actions):
        result = super().step({name: actions[name] for name in self.agents})
        self.agents = self.agents[1:]
        return result


class Swapped(ProcessParallelEnv):
    """Agents get each other's observations."""

    def step(self, actions):
        observation, *rest = super().step(actions)
        names = list(observation)
        return dict(zip(names[::-1], observation.values(), strict=True)), *rest


class Exchanged(ProcessParallelEnv):
    """Agents play each other's actions."""

    def step(self, actions):
        return super().step(dict(zip(list(actions)[::-1], actions.values(), strict=True)))


@pytest.mark.parametrize("broken", [Deserter, Swapped, Exchanged])
def test_env_check__rejects_parallel(broken, toy_id, monkeypatch):
    name = toy_id()
    monkeypatch.setattr(parallel_module, "ProcessParallelEnv", broken)
    rejects(lambda: ENV_CHECKS["parallel_agrees"](EnvCase(name)), "env.parallel_agrees")


# --- completeness -------------------------------------------------------------------------------


def test_checks__each_has_a_broken_twin():
    # cuda needs a GPU; infeasible and parallel_agrees are broken by tests of their own
    assert {c for c, _ in BROKEN_PROBLEMS.values()} == set(PROBLEM_CHECKS) - {"cuda"}
    assert {c for c, _ in BROKEN_PROCESSES.values()} == set(PROCESS_CHECKS)
    assert {c for c, _ in BROKEN_SOLVERS.values()} == set(SOLVER_CHECKS) - {"infeasible"}
    assert {c for c, _ in BROKEN_ENVS.values()} == set(ENV_CHECKS) - {"parallel_agrees"}


def test_conformance_error__names_check_expectation_and_finding():
    broken = BROKEN_PROBLEMS["negative violation"][1]
    with pytest.raises(ConformanceError) as caught:
        check_problem(broken)
    error = caught.value
    assert str(error) == f"{error.check}: expected {error.expected}; saw {error.seen}."
    assert error.check == "problem.records"
    assert "violation >= 0" in error.expected


# --- the tools ----------------------------------------------------------------------------------


def test_row_error__relative_to_the_row():
    left = torch.tensor([[1.0, 2.0], [1e-20, 0.0]])
    assert row_error(left, left.clone()) == 0
    assert row_error(left, left * (1 + 1e-5)) == pytest.approx(1e-5, rel=0.05)
    assert row_error(left, left[:1]) == float("inf")
    assert row_error(left, left.double()) == float("inf")
    assert row_error(left, left * torch.nan) == float("inf")
    nan = torch.tensor([[torch.nan, torch.inf]])
    assert row_error(nan, nan.clone()) == 0
    assert row_error(torch.zeros(0, 3), torch.zeros(0, 3)) == 0
    assert row_error(torch.tensor([1, 2]), torch.tensor([1, 3])) == float("inf")


@pytest.mark.parametrize(
    "touch",
    [
        lambda: torch.rand(1),
        lambda: np.random.rand(),  # noqa: NPY002
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_grad_enabled(False),
        lambda: np.seterr(divide="ignore"),
        lambda: torch.set_num_threads(2),
    ],
)
def test_global_state_guard__notices(touch):
    threads, errors = torch.get_num_threads(), np.geterr()
    try:
        with pytest.raises(ConformanceError, match="a change of"), global_state_guard("x"):
            touch()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.set_num_threads(threads)
        np.seterr(**errors)


def test_demand_raises__wants_the_exact_class():
    def fail():
        raise ShapeError("power: bad")

    demand_raises(fail, ShapeError, "power", check="c", case="x")
    for error, words in ((ValueError, "power"), (ShapeError, "gain")):
        rejects(lambda e=error, w=words: demand_raises(fail, e, w, check="c", case="x"), "c")
    rejects(
        lambda: demand_raises(lambda: None, ShapeError, "", check="c", case="x"), "c", "no error"
    )


def test_toy__shares_no_code_with_the_package():
    for kind in (ToyInstance, ToyDecision, ToyMetrics):
        assert kind.__module__ == "tests.contracts.toy"
