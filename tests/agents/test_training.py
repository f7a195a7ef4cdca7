"""The run's record: when it evaluates, what it keeps, what it does not count."""

import pytest
import torch

from agents.network import Architecture, PolicyNetwork
from agents.training import Recorder, metric_name
from isac_gym.core.errors import ScenarioError, SolverError


def network_of(task, bias):
    sizes = (task.process.observation_size, task.process.action_size)
    network = PolicyNetwork(Architecture(sizes=sizes))
    torch.nn.init.zeros_(network.layers[0].weight)
    torch.nn.init.constant_(network.layers[0].bias, bias)
    return network


def bias_of(network):
    return float(network.layers[0].bias[0].detach())


def test_recorder__keeps_the_best_weights(toy_task):
    task = toy_task()
    recorder = Recorder(task)
    for steps, bias in ((0, -1.0), (1024, 0.5), (2048, -0.9)):  # more power, higher rate
        recorder.record(steps, network_of(task, bias))
    values = [point.value for point in recorder.curve]
    assert values[1] == max(values)
    assert bias_of(recorder.best(network_of(task, 0.0))) == 0.5


def test_recorder__keeps_a_copy_not_a_view(toy_task):
    task = toy_task()
    network, recorder = network_of(task, 0.5), Recorder(task)
    recorder.record(0, network)
    torch.nn.init.constant_(network.layers[0].bias, -1.0)
    assert bias_of(recorder.best(network)) == 0.5


def test_recorder__is_due_on_the_grid_and_at_the_end(toy_task):
    task = toy_task(steps=1000, evaluations=4)
    recorder = Recorder(task)
    assert recorder.is_due(0)
    recorder.record(0, network_of(task, 0.0))
    assert [steps for steps in (100, 249, 250, 1000) if recorder.is_due(steps)] == [250, 1000]


def test_recorder__evaluations_do_not_count_as_training_time(toy_task):
    task = toy_task(horizon=50, validation_episodes=2048)
    recorder = Recorder(task)
    recorder.record(0, network_of(task, 0.0))
    points = [recorder.curve[0].seconds]
    recorder.record(1, network_of(task, 0.0))
    points.append(recorder.curve[1].seconds)
    import time

    start = time.perf_counter()
    recorder.record(2, network_of(task, 0.0))
    assert points[1] - points[0] < (time.perf_counter() - start) / 2


def test_recorder__reports_progress_and_target(toy_task):
    task, told = toy_task(stop_at=1.0), []
    recorder = Recorder(task, lambda steps, value: told.append((steps, value)))
    assert recorder.record(7, network_of(task, 0.5))
    assert told == [(7, recorder.curve[0].value)]
    assert not Recorder(toy_task(stop_at=1e9)).record(7, network_of(task, 0.5))


def test_recorder__says_that_training_diverged(toy_task):
    task = toy_task()
    with pytest.raises(SolverError, match=r"diverged.*lower learning_rate"):
        Recorder(task).record(0, network_of(task, float("nan")))


@pytest.mark.parametrize("name", ["steps", "evaluations", "validation_episodes", "num_envs"])
def test_task__names_a_bad_number(toy_task, name):
    with pytest.raises(ScenarioError, match=f"{name} must be >= 1, got 0"):
        toy_task(**{name: 0})


def test_task__refuses_an_unknown_setting(toy):
    from agents.training import TrainingTask

    with pytest.raises(ScenarioError, match="wings"):
        TrainingTask(environment=toy, steps=1, settings={"wings": 2}).process  # noqa: B018


def test_metric_name__follows_the_horizon(toy_task):
    assert metric_name(toy_task(horizon=1).process) == "objective (bit/s/Hz)"
    assert metric_name(toy_task(horizon=3).process) == "reward per slot"
