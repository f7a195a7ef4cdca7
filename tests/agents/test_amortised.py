"""Amortised training: it learns, on any process, the same way every time."""

import pytest
import torch

from agents.amortised.train import AmortisedConfig, gradient_steps, make_network, train
from agents.evaluation import FloorPolicy, play
from agents.training import TrainingTask
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family_of
from tests.conftest import environment_ids

TINY = AmortisedConfig(hidden=(32,), num_envs=64, pool_size=512, warm_up=5)


def weights(network):
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


def test_train__improves_one_step_power_control_beyond_its_floor(static_task):
    task = static_task()
    network, recorder = train(task, TINY)
    values = [point.value for point in recorder.curve]
    floor = play(task.process, FloorPolicy(), task.validation_seeds).objective.mean()
    assert max(values) > values[0] + 1
    assert max(values) > float(floor)
    assert network.architecture.sizes == (task.process.observation_size, 32, 3)


def test_train__improves_a_process_in_time(toy_task):
    task = toy_task(horizon=4, steps=8192)
    config = AmortisedConfig(hidden=(32,), num_envs=64, window=2, warm_up=5)
    _, recorder = train(task, config)
    floor = play(task.process, FloorPolicy(), task.validation_seeds).reward.mean()
    values = [point.value for point in recorder.curve]
    assert max(values) > values[0]
    assert max(values) > 0.98 * float(floor)  # equal power is nearly optimal on the toy


def has_gradient(environment):
    decision = family_of(environment).make_problem().decision_type
    return any(info.kind in ("real", "complex") for info in decision.tensor_fields().values())


@pytest.mark.parametrize("environment", [id for id in environment_ids() if not has_gradient(id)])
def test_gradient_steps__refuse_discrete_decisions(environment):
    task, config = TrainingTask(environment=environment, steps=16), AmortisedConfig()
    with pytest.raises(ScenarioError, match="are bool; use method ppo"):
        next(gradient_steps(make_network(task, config), task, config))


@pytest.mark.parametrize("environment", [id for id in environment_ids() if has_gradient(id)])
def test_gradient_steps__move_every_environment(environment):
    config = AmortisedConfig(hidden=(8,), num_envs=4, pool_size=8, window=2, warm_up=1)
    task = TrainingTask(environment=environment, steps=16)  # ramps rule the first two slots
    network = make_network(task, config)
    before = weights(network).detach().clone()
    list(gradient_steps(network, task, config))
    after = weights(network).detach()
    assert after.isfinite().all()
    assert not torch.equal(after, before)


def test_train__is_reproducible_and_depends_on_the_seed(toy_task):
    first, again, other = (
        weights(train(toy_task(steps=640, seed=seed), TINY)[0]) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_train__leaves_the_global_generator_alone(toy_task):
    before = torch.random.get_rng_state()
    train(toy_task(steps=128), TINY)
    assert torch.equal(before, torch.random.get_rng_state())


def test_train__spends_the_steps_it_was_given(toy_task):
    _, recorder = train(toy_task(steps=1000), TINY)
    assert recorder.steps == 1024  # whole updates of 64
    assert not recorder.interrupted


def test_train__stops_at_its_target(toy_task):
    _, recorder = train(toy_task(steps=10**9, evaluations=10**6, stop_at=0.0), TINY)
    assert recorder.steps < 10**4


def test_train__keeps_what_it_has_when_interrupted(toy_task):
    def stop(steps, value):
        if steps >= 1024:
            raise KeyboardInterrupt

    network, recorder = train(toy_task(), TINY, progress=stop)
    assert recorder.interrupted
    assert recorder.steps == 1024
    assert torch.isfinite(weights(network)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, "num_envs must be >= 1, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be > 0, got -1.0"),
        ({"violation_weight": -1.0}, "violation_weight must be >= 0"),
        ({"hidden": (0,)}, "hidden"),
    ],
)
def test_config__names_a_bad_value(changes, message):
    with pytest.raises(ScenarioError, match=message):
        AmortisedConfig(**changes)
