"""PPO: it learns, and its exported actor is the actor."""

import random

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from agents.artifact import load_agent, save_agent
from agents.experiment import TrainingRun, _manifest
from agents.sb3.train import PpoConfig, export_actor, make_ppo, train
from isac_gym.core.errors import ScenarioError

TINY = PpoConfig(hidden=(16,), num_envs=64, rollout=8, batch_size=128, gamma=0.0, gae_lambda=1.0)


def _numpy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002 - the generator SB3 uses


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu"])
def test_export__equals_sb3_deterministic_prediction(static_task, tmp_path, activation):
    import dataclasses

    task = static_task()
    config = dataclasses.replace(TINY, activation=activation, hidden=(24, 16))
    with torch.random.fork_rng(devices=[]):  # the weights are drawn from torch's own generator
        torch.manual_seed(0)
        model = make_ppo(task, config)
        model.learn(512)
    with torch.no_grad():  # push some actions beyond the box, so that clipping is tested too
        model.policy.action_net.weight.mul_(20)
        model.policy.action_net.bias[0] = 1.0
    observation = np.random.default_rng(1).normal(size=(300, 31)).astype(np.float32)
    expected, _ = model.predict(observation, deterministic=True)
    what = TrainingRun(task=task, method="ppo", out=tmp_path)
    from agents.training import Recorder

    network = export_actor(model.policy)
    save_agent(tmp_path, _manifest(what, config, network, Recorder(task)), network)
    actions = load_agent(tmp_path).act(torch.from_numpy(observation)).numpy()
    assert 0.05 < (np.abs(expected) == 1).mean() < 0.95
    np.testing.assert_allclose(actions, expected, atol=1e-6, rtol=0)


def test_train__improves_one_step_power_control(static_task):
    _, recorder = train(static_task(), TINY)
    values = [point.value for point in recorder.curve]
    assert values[-1] > values[0] + 0.5
    assert recorder.steps == 8192


def test_train__is_reproducible_and_puts_the_global_generators_back(toy_task):
    states = torch.random.get_rng_state(), _numpy_state(), random.getstate()
    weights = []
    for seed in (1, 1, 2):
        network, _ = train(toy_task(steps=512, seed=seed), TINY)
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert np.array_equal(states[1], _numpy_state())
    assert states[2] == random.getstate()


def test_train__keeps_what_it_has_when_interrupted(toy_task):
    def stop(steps, value):
        if steps > 0:
            raise KeyboardInterrupt

    _, recorder = train(toy_task(), TINY, progress=stop)
    assert recorder.interrupted
    assert recorder.steps > 0


def test_train__stops_at_its_target(toy_task):
    _, recorder = train(toy_task(steps=10**6, evaluations=1000, stop_at=-1e9), TINY)
    assert recorder.steps <= 2048


def test_config__one_step_processes_are_not_discounted(toy_task):
    assert PpoConfig.default_for(toy_task(horizon=1).process).gamma == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"gamma": 1.5}, r"gamma must be in \[0, 1\]"), ({"epochs": 0}, "epochs must be >= 1")],
)
def test_config__names_a_bad_value(changes, message):
    with pytest.raises(ScenarioError, match=message):
        PpoConfig(**changes)
