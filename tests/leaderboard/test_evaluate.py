import numpy as np
import pytest
import torch

from baselines import solve
from isac_gym.core import ShapeError
from isac_gym.envs.vector import ProcessVectorEnv
from leaderboard.evaluate import (
    FloorPolicy,
    evaluate_decisions,
    evaluate_policy,
    measure,
    play,
    policy_decisions,
)
from leaderboard.instances import load_instances
from leaderboard.scoring import RESOLUTION
from leaderboard.tasks import References, TaskError, load_references, make_problem, task
from tests.leaderboard.conftest import CONSTRAINED, PAPER

DYNAMIC = "power_control/dynamic-v0"


class Constant:
    """Plays the same action for ever; may misbehave in one slot."""

    name = "constant"

    def __init__(self, change=lambda action, slot: action):
        self.change, self.slot = change, 0

    def act(self, observation, context):
        self.slot += 1
        action = torch.zeros(observation.shape[0], context.process.action_size)
        return self.change(action, self.slot)


def test_evaluate_decisions__optimum_scores_100_and_full_power_0(paper, instance, optimum, method):
    best = evaluate_decisions(paper, optimum, method=method)
    assert best.summary.iqm == pytest.approx(100, abs=1e-6)
    assert best.summary.loss_max == pytest.approx(0, abs=1e-6)
    assert best.feasibility_rate == best.feasibility_rate_after == 1
    assert best.above_bound == 0
    floor = evaluate_decisions(paper, make_problem(paper).floor(instance), method=method)
    assert floor.summary.iqm == pytest.approx(0, abs=1e-6)


def test_evaluate_decisions__breaking_constraints_for_a_better_objective_earns_nothing(method):
    each = task(CONSTRAINED)
    instance, references = load_instances(each), load_references(each)
    problem = make_problem(each)
    lawless = instance.replace(threshold=torch.zeros_like(instance.threshold))
    cheat = solve(problem, lawless, "exact").decision
    raw = problem.metrics(instance, cheat).objective.numpy()
    assert (raw > references.bound + 0.1).sum() > 20  # the cheat does beat the optimum, unpunished
    result = evaluate_decisions(each, cheat, method=method)
    assert result.above_bound == 0
    assert result.feasibility_rate < 0.8
    assert result.feasibility_rate_after == 1
    assert max(result.scores(each, references)) <= 100 + 1e-6
    assert result.summary.iqm < 99.9


def test_measure__what_stays_infeasible_is_capped_by_the_floor(paper, instance, optimum):
    """An instance nobody can satisfy: projection fails, and no objective above the floor counts."""
    hopeless = instance[:4].replace(threshold=instance.threshold[:4] * 1e6)
    problem = make_problem(paper)
    measured = measure(paper, hopeless, optimum[:4])
    assert (measured.feasible_after == 0).all()
    floor = problem.metrics(hopeless, problem.floor(hopeless)).objective.numpy()
    assert (measured.objective <= floor).all()


def test_evaluate_decisions__a_wrong_bound_is_reported(paper, references, optimum, method):
    low = References(floor=references.floor - 50, bound=references.bound - 1)
    result = evaluate_decisions(paper, optimum, method=method, references=low)
    assert result.above_bound == 256


def test_evaluate_decisions__float32_decisions_differ_by_less_than_the_resolution(
    paper, references, optimum, method
):
    rounded = optimum.to(dtype=torch.float32)
    one = evaluate_decisions(paper, optimum, method=method).scores(paper, references)
    two = evaluate_decisions(paper, rounded, method=method).scores(paper, references)
    assert 0 < np.abs(one - two).max() < RESOLUTION


def test_evaluate_decisions__fewer_instances_are_a_partial_result(paper, optimum, method):
    result = evaluate_decisions(paper, optimum[:8], method=method)
    assert len(result.objective) == 8
    assert result.is_partial(paper)


def test_evaluate_decisions__does_not_depend_on_neighbours(paper, instance, method):
    floor = make_problem(paper).floor(instance)
    whole = evaluate_decisions(paper, floor, method=method).objective
    part = evaluate_decisions(paper, floor[:5], method=method).objective
    assert whole[:5] == pytest.approx(part, rel=1e-12)


def test_evaluate_decisions__refuses_wrong_records(paper, instance, optimum, method):
    with pytest.raises(ShapeError, match="expected a PowerControlDecision"):
        evaluate_decisions(paper, instance, method=method)
    bad = optimum.power.clone()
    bad[7, 1] = torch.nan
    with pytest.raises(ShapeError, match=r"power.*row 7"):
        evaluate_decisions(paper, optimum.replace(power=bad), method=method)
    with pytest.raises(ShapeError, match="power"):
        evaluate_decisions(paper, optimum.replace(power=optimum.power[:, :2]), method=method)
    more = type(optimum).cat([optimum, optimum])
    with pytest.raises(ShapeError, match="batch size 512, at most 256"):
        evaluate_decisions(paper, more, method=method)


def test_evaluate_decisions__leaving_the_box_is_scored_as_infeasible(paper, optimum, method):
    outside = optimum.replace(power=optimum.power * 3)
    result = evaluate_decisions(paper, outside, method=method)
    assert result.feasibility_rate == 0
    assert result.feasibility_rate_after == 1
    assert min(result.violation) > 0.5


def test_play__the_floor_policy_reproduces_the_stored_floor():
    each = task(DYNAMIC)
    measured = play(each, FloorPolicy(), episodes=4)
    stored = load_references(each).first(4).floor
    assert np.abs(measured.objective - stored).max() <= each.reference("floor").tolerance


def test_play__agrees_with_the_vector_environment():
    each = task(DYNAMIC)
    env = ProcessVectorEnv(
        3,
        environment=each.environment,
        scenario=each.scenario.mapping(),
        settings={**each.settings, "horizon": 12},
        autoreset_mode="Disabled",
        output="torch",
    )
    env.reset(seed=each.seeds()[:3])
    total, worst = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for _ in range(12):
        _, reward, _, _, info = env.step(torch.zeros(3, env.process.action_size))
        total += reward
        worst = torch.maximum(worst, torch.as_tensor(info["violation"]))
    short = each.model_copy(update={"settings": {**each.settings, "horizon": 12}})
    measured = play(short, Constant(), episodes=3)
    assert measured.objective == pytest.approx((total / 12).numpy(), rel=1e-9)
    assert measured.violation == pytest.approx(worst.numpy(), rel=1e-9)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a, k: a[:, :2], r"slot 1: \(2, 2\), expected shape \(2, 3\)"),
        (lambda a, k: a + (torch.nan if k == 3 else 0), "slot 3: not finite"),
        (lambda a, k: a.numpy(), "slot 1: ndarray"),
    ],
)
def test_play__refuses_wrong_actions(change, reason):
    with pytest.raises(ShapeError, match=reason):
        play(task(DYNAMIC), Constant(change), episodes=2)


def test_play__actions_outside_the_box_gain_nothing_over_its_edge():
    each = task(DYNAMIC)
    short = each.model_copy(update={"settings": {**each.settings, "horizon": 5}})
    huge = play(short, Constant(lambda a, k: a + 1e6), episodes=2)
    edge = play(short, Constant(lambda a, k: a + 1), episodes=2)
    assert (huge.objective == edge.objective).all()


def test_evaluate_policy__scores_and_reports_progress(method):
    each = task(DYNAMIC)
    seen = []
    result = evaluate_policy(
        each,
        FloorPolicy(),
        method=method,
        episodes=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (100, 100)
    assert result.tier == "policies"
    assert result.is_partial(each)
    assert result.summary.iqm == pytest.approx(0, abs=1e-3)
    assert result.timing.source == "measured by us"
    assert 0 < result.feasibility_rate < 1
    assert {"reward sensing [1]", "objective [dB]"} <= set(result.columns)


def test_evaluate__tiers_are_not_mixed_up(paper, optimum, method):
    with pytest.raises(TaskError, match="takes decisions"):
        evaluate_policy(paper, FloorPolicy(), method=method)
    with pytest.raises(TaskError, match="stores seeds"):
        evaluate_decisions(task(DYNAMIC), optimum, method=method)
    with pytest.raises(TaskError, match="is played"):
        policy_decisions(task(DYNAMIC), FloorPolicy())


def test_policy_decisions__the_one_step_environment_draws_the_stored_instances(paper, instance):
    decision = policy_decisions(paper, FloorPolicy())
    floor = make_problem(paper).floor(instance)
    assert torch.allclose(decision.power, floor.power, atol=1e-9)


def test_paper_task__is_what_the_constants_say():
    assert task(PAPER).id == PAPER


def test_measure__a_column_without_a_finite_mean_is_left_out():
    each = task("imaging_design/paper-v0")
    instance = load_instances(each)[:2]
    decision = solve(make_problem(each), instance, "mrt-only").decision
    columns = measure(each, instance, decision).columns
    assert "support_bound [1]" not in columns  # nothing lights the image
    assert all(np.isfinite(value) for value in columns.values())
    assert "error_bound [1]" in columns
