"""Claims about the shipped agents, checked on episodes no training has seen."""

import dataclasses

import pytest

import agents
from agents.evaluation import FloorPolicy, interval, play, summary
from baselines.ota_feel.roles import RolesPolicy
from baselines.policy import SolverPolicy
from baselines.registry import make_solver
from isac_gym.core.family import family_of
from isac_gym.core.random import lane_seeds


def shipped(name):
    agent = agents.load_agent(agents.pretrained()[name])
    manifest = agent.manifest
    family = family_of(manifest.environment)
    process = family.make_process(manifest.environment, manifest.scenario, manifest.settings)
    assert process.problem.scenario.digest() == manifest.scenario_digest
    return agent, process


def fresh(count):
    return lane_seeds("tests/agents/pretrained", count)


def advantage(process, policy, other, count):
    """Interval of the paired difference of mean rewards."""
    seeds = fresh(count)
    rewards = [play(process, each, seeds).reward.mean(1) for each in (policy, other)]
    return interval(rewards[0] - rewards[1])


def test_static_amortised__reaches_95_percent_of_the_optimum():
    agent, process = shipped("power_control_static_amortised")
    row = summary(process, agent, fresh(2048))
    assert row["share_interval"][0] >= 0.95
    assert row["infeasible"] == 0
    assert row["score"] > 95


def test_static_amortised__results_in_the_manifest_are_what_it_does():
    agent, process = shipped("power_control_static_amortised")
    from agents.evaluation import episode_seeds

    row = summary(process, agent, episode_seeds(agent.manifest.environment, "held-out", 4096))
    for key in ("objective", "share", "loss", "score"):
        assert row[key] == pytest.approx(agent.manifest.results[agent.name][key], rel=1e-4)


def test_dynamic_amortised__beats_the_stale_optimum_with_margin():
    agent, process = shipped("power_control_amortised")
    exact = make_solver("power_control", "exact")
    assert advantage(process, agent, SolverPolicy(exact, margin_db=1.0), 192)[0] > 0


def test_dynamic_ppo__beats_full_power_and_its_own_start():
    agent, process = shipped("power_control_ppo")
    assert advantage(process, agent, FloorPolicy(), 32)[0] > 0
    curve = agent.manifest.curve
    assert max(point.value for point in curve) > curve[0].value + 0.3


def test_imaging_beam_amortised__is_near_the_certified_optimum():
    agent, process = shipped("imaging_beam_amortised")
    row = summary(process, agent, fresh(128))
    assert row["share_interval"][0] >= 0.98
    assert row["infeasible"] == 0
    floor = summary(process, FloorPolicy(), fresh(128))
    assert floor["share_interval"][1] <= 0.5


def test_ota_feel_amortised__beats_the_base_design_and_one_sensing_device():
    agent, process = shipped("ota_feel_amortised")
    for other in (RolesPolicy(), RolesPolicy(sensing=0.3)):
        assert advantage(process, agent, other, 64)[0] > 0


@pytest.mark.slow
def test_ota_feel_amortised__beats_alternation_with_late_channels_but_not_the_best_roles():
    agent, process = shipped("ota_feel_amortised")
    exact = dataclasses.replace(process, action_mode="residual")  # reaches the solver's decisions
    seeds = fresh(48)
    own = play(process, agent, seeds).reward.mean(1)
    ao = play(exact, SolverPolicy(make_solver("ota_feel", "ao")), seeds).reward.mean(1)
    assert interval(own - ao)[0] > 0.1
    assert advantage(process, agent, RolesPolicy(sensing=0.6, quiet=0.8), 64)[1] < 0
