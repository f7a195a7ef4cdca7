import json

import numpy as np
import pytest
import torch

from agents.artifact import Manifest, TrainedAgent, load_agent
from agents.network import Architecture, PolicyNetwork
from baselines.registry import make_solver, solvers
from leaderboard.instances import check_instances, fingerprint, load_instances
from leaderboard.reference import (
    check_references,
    compute_references,
    freeze,
    jobs_of,
    run_agent,
    run_job,
    run_solver,
)
from leaderboard.tasks import TaskError, load_references, make_process, task, tasks
from tests.leaderboard.conftest import PAPER

DYNAMIC, TRACKING = "power_control/dynamic-v0", "power_control/tracking-v0"
OFFLINE = {"branch-bound", "exhaustive", "swap"}  # references that take minutes
STATIC = [
    pytest.param(
        each.id,
        marks=[pytest.mark.slow] if each.reference("bound").method in OFFLINE else [],
    )
    for each in tasks().values()
    if each.kind == "static"
]


@pytest.fixture
def draft(tmp_path):
    """Write a small draft made from a shipped task; returns its path."""

    def write(task_id, **changes):
        values = task(task_id).model_dump(mode="json", exclude_none=True)
        values["id"] = "power_control/small-v0"
        values["references_sha256"] = values["scenario"]["digest"] = ""
        name = "power_control/small-v0/test"
        count = changes.pop("count", 4)
        values["instances"] |= {"name": name, "count": count, "sha256": "", "fingerprint": {}}
        values.update(changes)
        path = tmp_path / "tasks" / "power_control" / "small-v0.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
        return path

    yield write
    tasks.cache_clear()


@pytest.mark.parametrize("task_id", STATIC)
def test_check_references__static_values_can_be_recomputed(task_id):
    deviation = check_references(task(task_id))
    assert {"floor", "bound"} <= set(deviation) <= {"floor", "bound", "paper"}


@pytest.mark.slow
@pytest.mark.parametrize("task_id", [DYNAMIC, TRACKING])
def test_check_references__dynamic_values_can_be_recomputed(task_id):
    check_references(task(task_id))


def test_check_references__a_changed_value_is_detected(draft, tmp_path, monkeypatch):
    each = freeze(draft(PAPER), data=tmp_path)
    assert max(check_references(each, data=tmp_path).values()) == 0

    def shifted(*args, **options):
        values = compute_references(*args, **options)
        return values | {"bound": values["bound"] + 1e-3}

    monkeypatch.setattr("leaderboard.reference.compute_references", shifted)
    with pytest.raises(TaskError, match=r"the bound deviates by 1\.0e-03 dB"):
        check_references(each, data=tmp_path)


def test_freeze__makes_a_task_that_checks_out_and_cannot_be_frozen_again(draft, tmp_path):
    path = draft(PAPER)
    each = freeze(path, data=tmp_path)
    assert tasks(tmp_path) == {each.id: each}
    assert check_instances(each, data=tmp_path) == 0
    assert load_instances(each, data=tmp_path).batch_size == 4
    references = load_references(each, data=tmp_path)
    assert (references.floor < references.bound).all()
    provenance = json.loads((tmp_path / "references" / f"{each.id}.json").read_text())
    assert provenance["task_digest"] == each.digest()
    with pytest.raises(TaskError, match="frozen already"):
        freeze(path, data=tmp_path)


def test_freeze__large_instances_are_drawn_from_pinned_seeds(draft, tmp_path, monkeypatch):
    monkeypatch.setattr("leaderboard.reference.STORED_BYTES", 1000)
    each = freeze(draft(PAPER), data=tmp_path)
    assert not (tmp_path / "instances").exists()
    assert check_instances(each, data=tmp_path) == 0
    assert load_instances(each, data=tmp_path).batch_size == 4
    assert check_references(each, data=tmp_path)["bound"] == 0
    name = next(iter(each.instances.fingerprint))
    changed = each.instances.fingerprint | {name: each.instances.fingerprint[name] * 1.001}
    other = each.model_copy(
        update={"instances": each.instances.model_copy(update={"fingerprint": changed})}
    )
    drawn = load_instances(each, data=tmp_path)
    assert fingerprint(drawn, is_mixed=True) == each.instances.fingerprint
    for name, tensor in drawn.items():  # neither order, sign nor lane may change unnoticed
        if tensor.is_floating_point() and not torch.equal(tensor, tensor.flip(0)):
            turned = drawn.replace(**{name: tensor.flip(0)})
            old, new = (fingerprint(i, is_mixed=True)[f"{name} mixed"] for i in (drawn, turned))
            assert abs(new - old) > 1e-6 * abs(old), name
    for refuse in (load_instances, check_instances):
        with pytest.raises(TaskError, match="re-draw deviates"):
            refuse(other, data=tmp_path)


def test_static_bound__a_yardstick_is_what_its_method_reaches(paper, instance):
    bound = paper.reference("bound").model_copy(update={"kind": "yardstick", "method": "sca"})
    others = tuple(each for each in paper.references if each.role != "bound")
    values = compute_references(
        paper.model_copy(update={"references": (*others, bound)}), instance=instance[:2]
    )
    assert (values["bound"] == values["paper"]).all()


def test_freeze__dynamic_tasks_pin_seeds_and_a_fingerprint(draft, tmp_path):
    path = draft(DYNAMIC, settings={"horizon": 3})
    each = freeze(path, data=tmp_path)
    assert check_instances(each, data=tmp_path) == 0
    assert len(each.instances.fingerprint) > 3
    references = load_references(each, data=tmp_path)
    assert references.floor.shape == (4,)
    assert (references.bound == 0).all()


def test_compute_references__a_bound_of_another_kind_is_refused(paper, instance):
    bound = paper.reference("bound").model_copy(update={"kind": "dual"})
    others = tuple(each for each in paper.references if each.role != "bound")
    changed = paper.model_copy(update={"references": (*others, bound)})
    with pytest.raises(TaskError, match="expected 'dual'"):
        compute_references(changed, instance=instance[:2])


def test_compute_references__a_bound_that_is_beaten_is_refused(paper, instance):
    bound = paper.reference("bound").model_copy(update={"method": "", "value": -100.0})
    others = tuple(each for each in paper.references if each.role != "bound")
    changed = paper.model_copy(update={"references": (*others, bound)})
    with pytest.raises(TaskError, match="the floor beats the bound"):
        compute_references(changed, instance=instance[:2])


def test_run_solver__scores_static_and_dynamic_tasks(paper, draft, tmp_path):
    solver = make_solver("power_control", "exact")
    run = run_solver(paper, solver, limit=8)
    assert run.result.summary.iqm == pytest.approx(100, abs=1e-6)
    assert run.result.is_partial(paper)
    assert run.decision.batch_size == 8
    assert run.result.method.name == "exact"
    tight = run_solver(paper, solver, limit=8, margin_db=0.05)
    assert tight.result.method.name == "exact +0.05 dB"
    assert tight.result.summary.loss_mean > run.result.summary.loss_mean


def test_run_solver__a_genie_is_marked_and_better(monkeypatch):
    each = task(DYNAMIC)
    short = each.model_copy(update={"settings": {**each.settings, "horizon": 3}})
    solver = make_solver("power_control", "exact")
    genie = run_solver(short, solver, knowledge="truth").result
    stale = run_solver(short, solver).result
    assert genie.method.kind == "genie"
    assert np.mean(genie.objective) > np.mean(stale.objective)


def test_jobs_of__leaves_slow_solvers_out():
    kinds = solvers("subcarrier_selection")
    names = [job["solver"] for job in jobs_of(task("subcarrier_selection/small-16-v0"))]
    assert names == [name for name, kind in kinds.items() if not kind.is_slow]
    assert "exhaustive" in set(kinds) - set(names)


def test_jobs_of__covers_all_solvers_and_finds_policies_by_data(paper):
    names = [job["solver"] for job in jobs_of(paper) if "solver" in job]
    assert names == list(solvers("power_control"))
    dynamic, tracking = list(jobs_of(task(DYNAMIC))), list(jobs_of(task(TRACKING)))
    assert any("policy" in job for job in dynamic)
    assert all("only" not in job for job in dynamic + tracking)
    assert {"solver": "peb2d", "margin_db": 1.0} in tracking
    assert {"solver": "peb2d", "margin_db": 1.0} not in dynamic


def test_run_job__policies_of_ours_play(paper):
    each = task(DYNAMIC)
    short = each.model_copy(update={"settings": {**each.settings, "horizon": 2}})
    (job, *_) = [job for job in jobs_of(short) if "policy" in job]
    result = run_job(short, job).result
    assert result.method.name.startswith("distributed")
    assert len(result.objective) == each.instances.count


@pytest.fixture
def agent():
    """Make an untrained agent for a task."""

    def make(each):
        process = make_process(each)
        sizes = (process.observation_size, 8, process.action_size)
        manifest = Manifest(
            name="untrained",
            method="amortised",
            environment=each.environment,
            scenario={},
            scenario_digest=each.scenario.digest,
            architecture=Architecture(sizes=sizes),
            seed=5,
        )
        return TrainedAgent(manifest, PolicyNetwork(manifest.architecture).double())

    return make


def test_run_agent__decides_on_static_tasks_through_the_environment(paper, agent):
    run = run_agent(paper, agent(paper))
    assert run.decision.batch_size == 256
    method = run.result.method
    assert (method.kind, method.seeds_tried, method.seed_reported) == ("learned", [5], 5)
    assert method.parameters == sum(t.numel() for t in agent(paper).network.parameters()) > 0
    assert run.result.summary.iqm < 100


def test_run_agent__plays_dynamic_tasks(agent):
    each = task(DYNAMIC)
    short = each.model_copy(update={"settings": {**each.settings, "horizon": 2}})
    seen = []
    run = run_agent(short, agent(short), progress=lambda done, total: seen.append(done))
    assert seen == [1, 2]
    assert run.decision is None
    assert run.result.decisions_sha256 == "0" * 64


def test_jobs_of__shipped_agents_enter_only_where_they_fit():
    for each in tasks().values():
        for job in jobs_of(each):
            if "agent" in job:
                manifest = load_agent(job["agent"]).manifest
                assert manifest.environment == each.environment
                process, sizes = make_process(each), manifest.architecture.sizes
                assert (sizes[0], sizes[-1]) == (process.observation_size, process.action_size)
