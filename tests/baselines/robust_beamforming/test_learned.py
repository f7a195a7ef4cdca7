"""The networks as solvers: training, budgets, seeds, refusals, and the shipped weights."""

import hashlib
import json

import pytest
import torch

from baselines import solve
from baselines.learned import FitPlan, load_weights, save_weights
from baselines.registry import make_solver
from baselines.robust_beamforming import learned
from baselines.robust_beamforming.closed_form import RzfSplit
from baselines.robust_beamforming.front import BoblrbfDnnGradientFront
from baselines.robust_beamforming.learned import (
    BoblrbfDnn,
    BoblrbfDnnFeatures,
    BoblrbfDnnGradient,
)
from isac_gym.core import ScenarioError, SolverError, Status, Streams, SubmissionError, family
from isac_gym.core.random import lane_seeds
from tests.problems.robust_beamforming.helpers import decide, draw, make, power_of, uneven

KINDS = (BoblrbfDnn, BoblrbfDnnFeatures, BoblrbfDnnGradient)
TINY = {"steps": 2, "batch": 4, "evaluations": 1}
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.fixture(autouse=True)
def _short_checks(monkeypatch):
    """Validation and held-out sets of a few instances."""
    monkeypatch.setattr(learned, "_VALIDATION", 8)
    monkeypatch.setattr(learned, "_HELD_OUT", 8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Function that gives a barely trained solver of a kind and a preset."""
    folder, known = tmp_path_factory.mktemp("weights"), {}

    def make_one(kind, preset="paper"):
        if (kind, preset) not in known:
            path = folder / f"{kind.name}-{preset}"
            problem, plan = make(preset), FitPlan(**TINY)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(learned, "_VALIDATION", 2)
                patch.setattr(learned, "_HELD_OUT", 2)
                fitted = kind.fit(problem, plan)
            save_weights(path, fitted, solver=kind.name, problem=problem, plan=plan, command="test")
            known[kind, preset] = kind(weights=str(path))
        return known[kind, preset]

    return make_one


# --- solving ------------------------------------------------------------------------------------


@by_kind
def test_solve__is_one_forward_pass_within_the_budgets(kind, trained):
    problem = make()
    instance = problem.anchored(uneven(draw(problem, 6)))
    solution = solve(problem, instance, trained(kind))
    assert (power_of(solution.decision) <= instance.max_power_w * (1 + 1e-12)).all()
    assert (solution.status == int(Status.CONVERGED)).all()
    assert (solution.iterations == 1).all()
    assert solution.certificate is None
    problem.validate(instance, solution.decision)


@by_kind
def test_solve__a_row_is_the_same_alone_and_in_a_batch(kind, trained):
    problem = make()
    instance, solver = draw(problem, 5), trained(kind)
    whole = solver.solve(problem, instance).decision
    alone = solver.solve(problem, instance[3:4]).decision
    torch.testing.assert_close(alone.beam, whole.beam[3:4], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(alone.sensing, whole.sensing[3:4], rtol=1e-9, atol=1e-9)


@by_kind
def test_solve__repeats_itself_and_depends_on_seed_and_start(kind, trained):
    problem = make()
    instance, solver = draw(problem, 3), trained(kind)
    first, again, other = (
        solver.solve(problem, instance, seed=seed).decision for seed in (1, 1, 2)
    )
    assert torch.equal(first.beam, again.beam)
    assert not torch.allclose(first.sensing, other.sensing, rtol=1e-6)
    started = solver.solve(problem, instance, start=decide(problem, instance)).decision
    assert not torch.allclose(started.beam, first.beam, rtol=1e-3)
    loud = decide(problem, instance).map(lambda t: 5 * t)
    decision = solver.solve(problem, instance, start=loud).decision
    assert (power_of(decision) <= instance.max_power_w * (1 + 1e-12)).all()


@by_kind
def test_solve__single_precision_in_single_precision_out(kind, trained):
    problem, solver = make(), trained(kind)
    instance = draw(problem, 4)
    before = solver.solve(problem, instance).decision
    rough = solver.solve(problem, instance.to(dtype=torch.float32)).decision
    assert rough.beam.dtype == torch.complex64
    torch.testing.assert_close(rough.beam.to(before.beam.dtype), before.beam, rtol=0, atol=0.02)
    after = solver.solve(problem, instance).decision  # the weights are still the same
    assert torch.equal(after.beam, before.beam)


def test_literal__gives_every_channel_the_same_decision(trained):
    problem = make()
    first, second = draw(problem, 2, seed=1), draw(problem, 2, seed=2)
    solver = trained(BoblrbfDnn)
    one, two = (solver.solve(problem, instance).decision for instance in (first, second))
    torch.testing.assert_close(one.beam, two.beam, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.beam[0], one.beam[1], rtol=1e-12, atol=1e-12)
    for kind in (BoblrbfDnnFeatures, BoblrbfDnnGradient):
        one, two = (trained(kind).solve(problem, i).decision for i in (first, second))
        assert not torch.allclose(one.beam, two.beam, rtol=0.1)


def test_front__is_the_point_solver_on_every_point(trained):
    front = family("robust_front").make_problem("paper")
    channels = front.sample(Streams.from_seed(5, 2))
    point = trained(BoblrbfDnnGradient)
    solution = BoblrbfDnnGradientFront(weights=point.weights).solve(front, channels)
    points = point.solve(front.points, front.spread(channels)).decision
    again = front.gather(points)
    assert torch.equal(solution.decision.beam, again.beam)
    assert (front.evaluate(channels, solution.decision).objective > 0.1).all()


# --- refusals -----------------------------------------------------------------------------------


@by_kind
def test_solve__other_sizes_are_refused_by_name(kind, trained):
    problem = make("small")
    solver = trained(kind)
    name = solver.path.name
    with pytest.raises(ScenarioError, match=rf"weights {name}: trained on .* other sizes"):
        solver.solve(problem, draw(problem, 2))
    digest = make().scenario.digest()[:12]
    with pytest.raises(ScenarioError, match=digest):
        solver.solve(problem, draw(problem, 2))


def test_solve__weights_of_another_network_are_refused(trained):
    problem = make()
    other = BoblrbfDnnGradient(weights=trained(BoblrbfDnn).weights)
    with pytest.raises(ScenarioError, match="weights boblrbf-dnn-paper"):
        other.solve(problem, draw(problem, 2))


@by_kind
def test_solve__missing_weights_say_how_to_get_them(kind, tmp_path):
    problem = make()
    solver = make_solver("robust_beamforming", kind.name, weights=str(tmp_path / "none"))
    with pytest.raises(SubmissionError, match=r"none\.json: no such file; .*isac fit"):
        solve(problem, draw(problem, 2), solver)


def test_solve__weights_without_a_digest_of_the_scenario_are_refused_all_the_same(
    trained, tmp_path
):
    source = trained(BoblrbfDnn).path
    manifest = json.loads(source.with_name(source.name + ".json").read_text())
    del manifest["scenario_digest"]
    (tmp_path / "bare.json").write_text(json.dumps(manifest))
    content = source.with_name(source.name + ".safetensors").read_bytes()
    (tmp_path / "bare.safetensors").write_bytes(content)
    problem = make("small")
    with pytest.raises(ScenarioError, match="weights bare"):
        BoblrbfDnn(weights=str(tmp_path / "bare")).solve(problem, draw(problem, 1))


# --- training -----------------------------------------------------------------------------------


@by_kind
def test_fit__is_a_function_of_its_seed(kind):
    problem, states = make("small"), torch.get_rng_state()
    runs = [kind.fit(problem, FitPlan(**TINY, seed=seed)) for seed in (1, 1, 2)]
    first, again, other = runs
    assert [point[:1] + point[2:] for point in first.curve] == [
        point[:1] + point[2:] for point in again.curve
    ]
    assert first.results == again.results
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, again.tensors[name])
    assert any(not torch.equal(t, other.tensors[name]) for name, t in first.tensors.items())
    assert torch.equal(torch.get_rng_state(), states)


def test_fit__curve_shows_the_mean_loss_since_the_last_point():
    problem, told = make("small"), []
    plan = {"steps": 7, "batch": 4, "seed": 1}
    fine = BoblrbfDnnFeatures.fit(problem, FitPlan(**plan, evaluations=7))
    losses = [point[2] for point in fine.curve[1:]]
    coarse = BoblrbfDnnFeatures.fit(
        problem, FitPlan(**plan, evaluations=2), progress=lambda *point: told.append(point)
    )
    assert [point[0] for point in coarse.curve] == [0, 3, 6, 7]
    wanted = [sum(losses[:3]) / 3, sum(losses[3:6]) / 3, losses[6]]
    assert [point[2] for point in coarse.curve[1:]] == pytest.approx(wanted, rel=1e-6)
    assert coarse.curve[-1][3] == fine.curve[-1][3]
    assert told == [(point[0], point[3]) for point in coarse.curve]


@pytest.mark.slow
def test_fit__learns():
    """Forty steps move the exact objective of the gradient network up."""
    plan = FitPlan(steps=40, batch=8, evaluations=1)
    fitted = BoblrbfDnnGradient.fit(make("small"), plan)
    assert fitted.curve[-1][3] > fitted.curve[0][3] + 0.002
    assert fitted.steps == 40


def test_fit__stops_at_its_time(monkeypatch):
    now = iter(range(10**6))
    monkeypatch.setattr(learned.time, "perf_counter", lambda: float(next(now)))
    plan = FitPlan(steps=1000, batch=2, max_seconds=12.0, evaluations=1)
    fitted = BoblrbfDnnFeatures.fit(make("small"), plan)
    assert 1 <= fitted.steps < 20
    assert fitted.curve[-1][0] == fitted.steps


def test_fit__says_that_it_diverged():
    plan = FitPlan(steps=3, batch=2, learning_rate=1e30, evaluations=3)
    with pytest.raises(SolverError, match="training diverged after"):
        BoblrbfDnnFeatures.fit(make("small"), plan)


def test_fit__training_validation_and_held_out_instances_are_apart():
    name = "robust_beamforming/dnn"
    names = [f"{name}/train/0", f"{name}/train/1", f"{name}/validation", f"{name}/held-out"]
    seeds = [seed for split in names for seed in lane_seeds(split, 100)]
    assert len(set(seeds)) == 400


# --- the shipped weights ------------------------------------------------------------------------


@by_kind
def test_shipped__are_whole_and_trained_on_the_paper_preset(kind):
    path = kind().path
    tensors, manifest = load_weights(path)
    content = path.with_name(f"{path.name}.safetensors").read_bytes()
    assert manifest["weights_sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["scenario_digest"] == make().scenario.digest()
    assert (manifest["solver"], manifest["problem"]) == (kind.name, "robust_beamforming")
    assert manifest["command"].startswith("isac fit robust-beamforming")
    assert manifest["parameters"] == sum(t.numel() for t in tensors.values())
    assert manifest["steps"] == manifest["curve"][-1][0]
    assert -1 < manifest["results"]["objective"] < 0


@by_kind
def test_shipped__reach_what_their_manifest_says(kind):
    problem, solver = make(), kind()
    results = load_weights(solver.path)[1]["results"]
    instance = draw(problem, 64, seed=2024)
    decision = solve(problem, instance, solver).decision
    objective = problem.evaluate(instance, decision).objective
    error = float(objective.std()) / 8  # of the mean over 64; the manifest's own is smaller
    assert float(objective.mean()) == pytest.approx(results["objective"], abs=4 * error)


def test_shipped__gradient_network_beats_regularised_zero_forcing():
    problem = make()
    instance = draw(problem, 64, seed=2025)
    ours, theirs = (
        problem.evaluate(instance, solve(problem, instance, solver).decision).objective
        for solver in (BoblrbfDnnGradient(), RzfSplit())
    )
    gain = ours - theirs
    assert gain.mean() > 0.02
    assert gain.mean() > 3 * gain.std() / 8  # three standard errors of the mean
    assert (gain > 0).sum() > 32
