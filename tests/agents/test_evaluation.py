"""Playing and summing up: streams, fairness to all policies, known sums."""

from types import SimpleNamespace

import pytest
import torch

from agents import cli, evaluation
from agents.evaluation import (
    FloorPolicy,
    certifier,
    episode_seeds,
    interval,
    play,
    references,
    summary,
)
from isac_gym.core.random import Streams


class Constant:
    name = "constant"

    def __init__(self, value):
        self.value = value
        self.resets = []

    def act(self, observation, context):
        self.resets.append(context.is_reset.clone())
        return torch.full((len(observation), context.process.action_size), self.value)


def test_play__follows_the_streams_convention(toy_task):
    process = toy_task(horizon=3).process
    seeds = [5, 6]
    streams = Streams.from_seeds(seeds)
    state, rewards = process.initial(streams), []
    for slot in (1, 2, 3):
        action = torch.full((2, process.action_size), 0.25)
        step = process.advance(state, process.decode(state, action), streams.at_step(slot))
        state, rewards = step.state, [*rewards, step.reward]
    policy = Constant(0.25)
    assert torch.equal(play(process, policy, seeds).reward, torch.stack(rewards, 1))
    assert [bool(mask.all()) for mask in policy.resets] == [True, False, False]


def test_play__a_lane_does_not_depend_on_its_neighbours(toy_task):
    process = toy_task(horizon=3).process
    together = play(process, Constant(0.1), [5, 6, 7]).reward
    alone = play(process, Constant(0.1), [6]).reward
    torch.testing.assert_close(together[1:2], alone, rtol=1e-12, atol=0)


def test_episode_seeds__splits_and_environments_share_nothing():
    names = [("isac/A-v0", "validation"), ("isac/A-v0", "held-out"), ("isac/B-v0", "held-out")]
    seeds = [seed for name in names for seed in episode_seeds(*name, 50)]
    assert len(set(seeds)) == 150


def test_summary__of_the_exact_genie_is_the_bound(static_task):
    process = static_task().process
    seeds = episode_seeds("isac/PowerControlStatic-v0", "validation", 128)
    genie = references(process)[-1]
    row = summary(process, genie, seeds)
    assert row["loss"] == pytest.approx(0, abs=1e-3)  # the action map reaches down to -40 dB
    assert row["share"] == pytest.approx(1, abs=1e-3)
    assert row["score"] == pytest.approx(100, abs=0.1)
    assert row["infeasible"] == 0


def test_summary__of_the_floor_scores_zero(static_task):
    process = static_task().process
    seeds = episode_seeds("isac/PowerControlStatic-v0", "validation", 128)
    row = summary(process, FloorPolicy(), seeds)
    assert row["score"] == pytest.approx(0, abs=1e-9)
    assert 0.2 < row["share"] < 0.7
    assert row["share_interval"][0] < row["share"] < row["share_interval"][1]


def test_summary__without_a_certificate_reports_no_share(toy_task):
    process = toy_task().process
    row = summary(process, FloorPolicy(), [1, 2, 3])
    assert certifier(process, [1]) is None
    assert set(row) == {
        "reward",
        "reward_interval",
        "objective",
        "objective_interval",
        "infeasible",
    }


class Certifying:
    """Stands for a solver; only its name is asked for."""

    name = "toy-bound"


@pytest.mark.parametrize(
    ("lowest", "unit", "has_share"),
    [
        (1e-3, "bit/s/Hz", True),
        (0.0, "bit/s/Hz", False),
        (-2.0, "bit/s/Hz", False),
        (-2, "dB", True),
    ],
)
def test_summary__share_only_of_a_positive_bound(monkeypatch, toy_task, lowest, unit, has_share):
    process, seeds = toy_task().process, [1, 2, 3]
    objective = play(process, Constant(0.5), seeds).objective.mean(1)
    bound = objective + 1.0
    bound[1] = lowest
    monkeypatch.setattr(evaluation, "certifier", lambda *_: (Certifying(), bound))
    monkeypatch.setattr(type(process.problem), "objective_unit", unit)
    row = summary(process, Constant(0.5), seeds)
    assert ("share" in row) == ("share_interval" in row) == has_share
    assert row["loss"] == pytest.approx(float((bound - objective).mean()))
    assert {"score", "loss_interval", "infeasible"} <= set(row)
    if has_share:
        ratio = 10 ** ((objective - bound) / 10) if unit == "dB" else objective / bound
        assert row["share"] == pytest.approx(float(ratio.mean()))


@pytest.mark.parametrize("has_share", [True, False])
def test_table__has_a_share_column_only_if_a_row_has_a_share(capsys, tmp_path, has_share):
    row = {"loss": 0.25, "score": 50.0, "infeasible": 0.0} | ({"share": 0.9} if has_share else {})
    manifest = SimpleNamespace(
        results={"agent": row, "floor": row}, interrupted=False, steps=10, seconds=1.0
    )
    cli._print(tmp_path, manifest)
    text = capsys.readouterr().out
    assert ("share %" in text) == ("90.000" in text) == has_share
    for word in ("loss", "score", "infeasible %", "0.250", "50.000"):
        assert word in text


def test_references__of_a_process_in_time_plan_with_and_without_margin():
    from agents.training import TrainingTask

    task = TrainingTask(environment="isac/PowerControl-v0", steps=1)
    names = [policy.name for policy in references(task.process)]
    assert names == ["floor", "exact", "exact +1 dB", "exact (genie)"]


def test_interval__matches_the_textbook():
    low, high = interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 * 0.577350, 2 + 4.302653 * 0.577350), 1e-5)
    assert interval([2.0, 2.0]) == (2.0, 2.0)
