import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from isac_gym.core import lane_seeds
from leaderboard.instances import check_instances, load_instances, seeds_digest
from leaderboard.tasks import (
    DATA,
    TaskError,
    load_references,
    load_task,
    make_problem,
    make_process,
    task,
    tasks,
)

IDS = tuple(tasks())


@pytest.fixture
def data(tmp_path):
    """A private copy of the paper task and its files."""
    for kind in ("tasks", "instances", "references"):
        folder = tmp_path / kind / "power_control"
        folder.mkdir(parents=True)
        for path in (DATA / kind / "power_control").glob("paper-v0.*"):
            shutil.copy(path, folder)
    yield tmp_path
    tasks.cache_clear()


def edit(data, **changes):
    path = data / "tasks" / "power_control" / "paper-v0.json"
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps(values))
    return path


def test_tasks__the_first_problem_has_its_tasks():
    names = ("paper", "paper-constrained", "high-si", "peb3d", "dynamic", "tracking")
    assert {f"power_control/{name}-v0" for name in names} <= set(IDS)


@pytest.mark.parametrize("task_id", IDS)
def test_task__is_frozen_and_complete(task_id):
    each = task(task_id)
    references = load_references(each)
    assert each.scenario.digest == make_problem(each).scenario.digest()
    assert references.floor.shape == references.bound.shape == (each.instances.count,)
    names = {each.instances.name, each.instances.train, each.instances.validation}
    assert len(names) == 3
    assert not each.environment or make_process(each).action_size > 0
    provenance = json.loads((DATA / "references" / f"{each.id}.json").read_text())
    assert provenance["task_digest"] == each.digest()


@pytest.mark.parametrize("task_id", IDS)
def test_task__instances_can_be_drawn_again(task_id):
    assert check_instances(task(task_id)) <= 1e-9


@pytest.mark.parametrize("task_id", IDS)
def test_references__floor_and_paper_do_not_beat_a_bound(task_id):
    each = task(task_id)
    references = load_references(each)
    if each.has_bound:
        slack = each.reference("bound").tolerance
        assert (references.floor <= references.bound + slack).all()
        if references.paper is not None:
            assert (references.paper <= references.bound + slack).all()
    assert ((references.bound - references.floor) >= each.metric.min_range).mean() > 0.8


def test_tasks__no_two_sets_share_a_seed():
    sets = [
        name
        for each in tasks().values()
        for name in (each.instances.name, each.instances.train, each.instances.validation)
    ]
    seeds = [seed for name in sorted(set(sets)) for seed in lane_seeds(name, 256)]
    assert len(set(seeds)) == len(seeds)


def test_load_instances__a_changed_file_is_detected(data, paper):
    path = data / "instances" / "power_control" / "paper-v0.safetensors"
    arrays = load_file(path)
    arrays["threshold"] = arrays["threshold"] * (1 - 1e-12)
    save_file(arrays, path)
    with pytest.raises(TaskError, match=r"instances file .* SHA-256"):
        load_instances(paper, data=data)
    path.unlink()
    with pytest.raises(TaskError, match="missing"):
        load_instances(paper, data=data)


def test_load_references__a_changed_file_is_detected(data, paper):
    path = data / "references" / "power_control" / "paper-v0.safetensors"
    arrays = load_file(path)
    save_file(arrays | {"bound": arrays["bound"] - 1}, path)
    with pytest.raises(TaskError, match=r"references file .* SHA-256"):
        load_references(paper, data=data)


def test_check_instances__another_set_of_instances_is_detected(data):
    values = json.loads((DATA / "tasks" / "power_control" / "paper-v0.json").read_text())
    path = edit(data, instances=values["instances"] | {"name": "power_control/paper-v0/other"})
    with pytest.raises(TaskError, match="re-draw deviates"):
        check_instances(load_task(path), data=data)


def test_check_instances__another_fingerprint_or_seed_is_detected():
    dynamic = task("power_control/dynamic-v0")
    name = next(iter(dynamic.instances.fingerprint))
    fingerprint = dynamic.instances.fingerprint | {name: 1.0 + 1e-6}
    changed = dynamic.instances.model_copy(update={"fingerprint": fingerprint})
    with pytest.raises(TaskError, match="re-draw deviates"):
        check_instances(dynamic.model_copy(update={"instances": changed}))
    renamed = dynamic.instances.model_copy(update={"name": "another"})
    with pytest.raises(TaskError, match="seeds"):
        check_instances(dynamic.model_copy(update={"instances": renamed}))
    assert seeds_digest(dynamic.seeds()) == dynamic.instances.sha256


def test_make_problem__a_changed_scenario_is_detected(data):
    values = json.loads((DATA / "tasks" / "power_control" / "paper-v0.json").read_text())
    path = edit(data, scenario=values["scenario"] | {"changes": {"threshold_db": 0.5}})
    with pytest.raises(TaskError, match="needs a new task version"):
        make_problem(load_task(path))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"schema_version": 2}, "schema_version"),
        ({"id": "power_control/paper"}, "id"),
        ({"kind": "sequential"}, "kind"),
        ({"references": []}, "references"),
        ({"instances": {}}, "instances"),
    ],
)
def test_load_task__names_the_field(data, changes, field):
    with pytest.raises(TaskError, match=field):
        load_task(edit(data, **changes))


def test_task__a_yardstick_needs_a_method_or_a_distance_and_a_bound_no_distance(data, paper):
    values = paper.model_dump(mode="json")["references"]
    bound = next(each for each in values if each["role"] == "bound")
    odd = {"kind": "yardstick", "method": "", "value": 1.0}
    for change in (odd, {"above_floor": 1.0}, {"method": ""}):
        others = [each for each in values if each["role"] != "bound"]
        with pytest.raises(TaskError, match="bound needs a method"):
            load_task(edit(data, references=[*others, bound | change]))


def test_tasks__file_and_id_must_agree(data):
    edit(data, id="power_control/other-v0")
    with pytest.raises(TaskError, match="the task inside is called"):
        tasks(data)


def test_task__unknown_id_lists_the_known_ones():
    with pytest.raises(TaskError, match="power_control/paper-v0"):
        task("power_control/paper-v9")


def test_digest__covers_the_definition_but_not_the_successor(paper):
    assert paper.digest() == paper.model_copy(update={"superseded_by": "x"}).digest()
    assert paper.digest() != paper.model_copy(update={"budget": "more"}).digest()


def test_load_instances__is_float64_and_refuses_dynamic_tasks(instance):
    assert instance.dtype == torch.float64
    assert instance.batch_size == 256
    with pytest.raises(TaskError, match="stores seeds"):
        load_instances(task("power_control/dynamic-v0"))


def test_data__files_stay_small():
    files = [path for path in DATA.rglob("*") if path.is_file()]
    assert all(path.stat().st_size < 500_000 for path in files)
