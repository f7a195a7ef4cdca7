"""Benchmark rows of training: their checks can fail, and pass on what is right."""

import pytest
import torch

pytest.importorskip("stable_baselines3")

from agents.amortised.train import AmortisedConfig, make_network
from agents.bench import (
    _check_race,
    _check_vector_envs,
    _direct_runner,
    _Race,
    _Runner,
    _share_of,
    _VectorEnvs,
    rows,
)
from agents.sb3.vec_env import IsacVecEnv
from agents.training import TrainingTask
from isac_gym.bench import Verdict, compare

DYNAMIC, STATIC = "isac/PowerControl-v0", "isac/PowerControlStatic-v0"


def vec_env(scenario):
    return IsacVecEnv(DYNAMIC, 64, scenario=scenario, seed=0)


def test_rows__are_the_two_of_the_design_with_their_targets():
    targets = {row.name: row.target for row in rows()}
    assert targets == {"training/ppo-steps": 1.8, "training/time-to-share": 20.0}


@pytest.mark.parametrize(("other", "is_correct"), [("paper", True), ("low-si", False)])
def test_check_vector_envs__notices_another_environment(other, is_correct):
    context = _VectorEnvs((None, None), (vec_env("paper"), vec_env(other)), 64)
    assert _check_vector_envs(context, None, None).is_correct is is_correct


def test_share_of__lies_between_zero_and_one_and_rewards_power():
    task = TrainingTask(environment=STATIC, steps=1)
    network = make_network(task, AmortisedConfig(hidden=(8,)))
    share = _share_of(STATIC, "validation")
    weak = share(network)
    torch.nn.init.constant_(network.layers[-1].bias, 5.0)
    assert 0 < weak < share(network) < 1


def test_check_race__refuses_a_network_that_has_not_arrived():
    task = TrainingTask(environment=STATIC, steps=1)
    network = make_network(task, AmortisedConfig(hidden=(8,)))
    runner = _Runner(iter([1]), lambda: network, needed=1, per_slice=1)
    for target, is_correct in ((0.93, False), (0.01, True)):
        race = _Race(runner, runner, _share_of(STATIC, "held-out"), target, (network, network))
        assert _check_race(race, None, None).is_correct is is_correct


def test_runner__counts_the_steps_to_its_target():
    runner = _direct_runner()
    runner.run_to(_share_of(STATIC, "validation"), 0.35, 51_200)
    assert runner.share >= 0.35
    assert runner.per_slice == 2560
    assert runner.needed % runner.per_slice == 0
    assert 0 < runner.fraction <= 1


@pytest.mark.slow
def test_ppo_steps__meets_its_target():
    assert compare(rows()[0], quick=True, rounds=5).verdict is Verdict.PASS
