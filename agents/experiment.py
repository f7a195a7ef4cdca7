"""One training run from task to artifact: train, judge on held-out episodes, draw, save."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from agents.artifact import Manifest, TrainedAgent, load_agent, save_agent, versions
from agents.curves import plot_curves
from agents.evaluation import episode_seeds, play, references, summary
from agents.network import PolicyNetwork
from agents.training import Progress, Recorder, TrainingTask, metric_name
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import load_object

__all__ = ["METHODS", "Method", "TrainingRun", "make_config", "run"]

CURVE = "curve.png"


@dataclass(frozen=True)
class Method:
    """A way to train, in strings: an optional dependency is imported only when it is chosen.

    Attributes:
        train: ``"module:function"`` taking (task, config, progress=).
        config: ``"module:Class"`` of its hyper-parameters, with ``default_for(process)``.
        packages: Packages whose versions belong into the manifest.
    """

    train: str
    config: str
    packages: tuple[str, ...] = ()


METHODS = {
    "amortised": Method("agents.amortised.train:train", "agents.amortised.train:AmortisedConfig"),
    "ppo": Method("agents.sb3.train:train", "agents.sb3.train:PpoConfig", ("stable_baselines3",)),
}


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """What to do.

    Attributes:
        task: What to train on and for how long.
        method: Name in ``METHODS``.
        out: Folder of the artifact.
        name: Name of the agent; empty: the method's.
        changes: Hyper-parameters that differ from the method's defaults for the task.
        held_out_episodes: Episodes of the final comparison.
        command: Command line, kept in the manifest.
    """

    task: TrainingTask
    method: str
    out: Path
    name: str = ""
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    held_out_episodes: int = 4096
    command: str = ""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ScenarioError(f"unknown method {self.method!r}; allowed: {', '.join(METHODS)}.")
        if self.held_out_episodes < 2:
            raise ScenarioError(f"held_out_episodes must be >= 2, got {self.held_out_episodes}.")


def make_config(method: str, task: TrainingTask, changes: Mapping[str, Any]) -> Any:
    """Hyper-parameters of a method for a task, with some changed.

    Raises:
        ScenarioError: Unknown hyper-parameter, or a value of the wrong type or out of range.
    """
    config_type = load_object(METHODS[method].config)
    hints = get_type_hints(config_type)
    unknown = sorted(set(changes) - set(hints))
    if unknown:
        raise ScenarioError(
            f"{method} has no hyper-parameter(s) {unknown}; allowed: {', '.join(hints)}."
        )
    values = {}
    for name, value in changes.items():
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as err:
            raise ScenarioError(f"{name}: {err.errors()[0]['msg']}, got {value!r}.") from err
    return dataclasses.replace(config_type.default_for(task.process), **values)


def run(what: TrainingRun, *, progress: Progress | None = None) -> TrainedAgent:
    """Train, judge on held-out episodes beside the references, save artifact and learning curve.

    Args:
        what: What to do.
        progress: Called with (steps, validation value) after every evaluation.

    Returns:
        The agent as loaded from its folder.

    Raises:
        ScenarioError: Unknown method or hyper-parameter, or a value out of range.
    """
    method = METHODS[what.method]
    config = make_config(what.method, what.task, what.changes)
    network, recorder = load_object(method.train)(what.task, config, progress=progress)
    manifest = _manifest(what, config, network, recorder)
    save_agent(what.out, manifest, network)  # what we have is safe before anything else
    manifest = manifest.model_copy(update=_judged(what, load_agent(what.out)))
    save_agent(what.out, manifest, network)
    plot_curves([manifest], what.out / CURVE)
    return load_agent(what.out)


def _manifest(
    what: TrainingRun,
    config: Any,
    network: PolicyNetwork,
    recorder: Recorder,
) -> Manifest:
    task, scenario = what.task, what.task.process.problem.scenario
    return Manifest(
        name=what.name or what.method,
        method=what.method,
        environment=task.environment,
        scenario=scenario.to_dict(),
        scenario_digest=scenario.digest(),
        settings=dict(task.settings),
        architecture=network.architecture,
        command=what.command,
        seed=task.seed,
        versions=versions(*METHODS[what.method].packages),
        hyperparameters=dataclasses.asdict(config) | {"num_envs": task.num_envs or config.num_envs},
        steps=recorder.steps,
        seconds=round(recorder.seconds, 3),
        interrupted=recorder.interrupted,
        curve_metric=metric_name(task.process),
        curve=tuple(recorder.curve),
    )


def _judged(what: TrainingRun, agent: TrainedAgent) -> dict[str, Any]:
    """Manifest fields ``results`` and ``curve_references``."""
    task = what.task
    process, others = task.process, references(task.process)
    held_out = episode_seeds(task.environment, "held-out", what.held_out_episodes)
    levels = {}
    for policy in others:
        episodes = play(process, policy, task.validation_seeds)
        values = episodes.objective if process.horizon == 1 else episodes.reward
        levels[policy.name] = float(values.mean())
    results = {policy.name: summary(process, policy, held_out) for policy in [agent, *others]}
    return {"curve_references": levels, "results": results}
