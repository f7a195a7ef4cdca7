import json
from pathlib import Path

import pytest
import torch

from isac_gym.core import SubmissionError
from leaderboard.results import Training
from leaderboard.submission import (
    read_submission,
    software_versions,
    verify_submission,
    write_submission,
)
from leaderboard.tasks import DATA
from tests.leaderboard.conftest import CONSTRAINED, PAPER

POWER, NUMBER = f"{PAPER}:power", f"{PAPER}:instance"


def edit_json(folder, change):
    path = folder / "submission.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return folder


def test_verify_submission__scores_a_valid_one(submission, method):
    (result,) = verify_submission(submission)
    assert result.task == PAPER
    assert result.method == method
    assert result.summary.iqm == pytest.approx(100, abs=1e-6)
    assert result.timing is None


def test_write_submission__states_time_and_leaves_two_files(tmp_path, method, optimum):
    folder = write_submission(
        tmp_path / "s",
        method=method,
        decisions={PAPER: optimum},
        seconds_per_decision={PAPER: 1e-3},
        batch_size=8,
    )
    assert sorted(p.name for p in folder.iterdir()) == ["decisions.safetensors", "submission.json"]
    (result,) = verify_submission(folder)
    assert (result.timing.seconds_per_decision, result.timing.batch_size) == (1e-3, 8)
    assert result.timing.source == "stated by the authors"


def test_verify_submission__accepts_float32(edit_arrays, submission):
    folder = edit_arrays(lambda arrays: arrays.update({POWER: arrays[POWER].float()}))
    digest = "tasks.*decisions_sha256"
    with pytest.raises(SubmissionError, match=digest):  # other numbers than those declared
        verify_submission(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a[POWER].__setitem__((3, 0), torch.nan), f"{POWER}: row 3 .* finite"),
        (lambda a: a[POWER].__setitem__((9, 2), torch.inf), f"{POWER}: row 9 .* finite"),
        (lambda a: a[POWER].__setitem__((1, 1), 1e-320), f"{POWER}: row 1 .* subnormal"),
        (lambda a: a.update({POWER: a[POWER].half()}), "dtype F16"),
        (lambda a: a.update({POWER: a[POWER].long()}), "dtype I64"),
        (lambda a: a.update({POWER: a[POWER].T}), r"shape \[3, 256\], expected \[256, 3\]"),
        (lambda a: a.update({POWER: a[POWER][:255]}), r"shape \[255, 3\]"),
        (lambda a: a.pop(POWER), "missing arrays"),
        (lambda a: a.update(extra=torch.zeros(1)), "unknown arrays"),
        (lambda a: a[NUMBER].__setitem__(5, 4), "number 4 occurs twice"),
        (lambda a: a.update({NUMBER: a[NUMBER].flip(0)}), "row 0 holds 255"),
        (lambda a: a.update({NUMBER: a[NUMBER] + 1}), "row 0 holds 1"),
        (lambda a: a.update({POWER: a[POWER] * 0.5}), "decisions_sha256"),
        (lambda a: a.update({POWER: torch.zeros(2_000_000)}), "allowed at most"),
    ],
)
def test_verify_submission__refuses_bad_arrays(edit_arrays, change, reason):
    with pytest.raises(SubmissionError, match=reason):
        verify_submission(edit_arrays(change))


def task_entry(values):
    return values["tasks"][PAPER]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v.update(colour="red"), "colour"),
        (lambda v: v["method"].update(kind="magic"), "method.kind"),
        (lambda v: v["method"].update(kind="genie"), "a genie is a reference"),
        (lambda v: v["method"].update(name="<script>"), "method.name"),
        (lambda v: v["method"].update(contact=""), "method.contact"),
        (lambda v: v["method"].update(licence=""), "method.licence"),
        (lambda v: v["method"].update(code_url="javascript:alert(1)"), "method.code_url"),
        (lambda v: v["method"].update(code_commit="HEAD"), "method.code_commit"),
        (lambda v: v["method"].update(kind="rl"), "method.training"),
        (lambda v: v["method"].update(versions={}), "method.versions"),
        (lambda v: v["method"].update(parameters=-1), "method.parameters"),
        (lambda v: v["method"].update(parameters="7"), "method.parameters"),
        (lambda v: v["method"].update(seeds_tried=[1, 1]), "listed twice"),
        (lambda v: v.update(schema_version=99), "schema_version 99"),
        (lambda v: v.pop("schema_version"), "schema_version None"),
        (lambda v: v.update(tasks={}), "tasks"),
        (lambda v: task_entry(v).update(instances_sha256="0" * 64), "instances_sha256"),
        (lambda v: task_entry(v).update(decisions_sha256="0" * 64), "decisions_sha256"),
        (lambda v: task_entry(v).update(seconds_per_decision=0), "seconds_per_decision"),
        (lambda v: task_entry(v).update(decisions="../../etc/passwd"), "decisions"),
        (lambda v: v["tasks"].update({"a/b-v0": task_entry(v)}), "unknown task 'a/b-v0'"),
        (lambda v: v["tasks"].update({"../../x": task_entry(v)}), "unknown task '../../x'"),
        (
            lambda v: v["tasks"].update({"power_control/dynamic-v0": task_entry(v)}),
            "takes a policy",
        ),
    ],
)
def test_verify_submission__refuses_bad_declarations(submission, change, reason):
    with pytest.raises(SubmissionError, match=reason):
        verify_submission(edit_json(submission, change))


def test_verify_submission__refuses_duplicate_tasks_and_broken_json(submission):
    path = submission / "submission.json"
    text = path.read_text()
    entry = text[text.index(f'"{PAPER}"') : text.rindex("}\n}")].rstrip()
    path.write_text(text.replace(entry, f"{entry},\n{entry}"))
    with pytest.raises(SubmissionError, match="duplicate key"):
        verify_submission(submission)
    path.write_text(text[:-20])
    with pytest.raises(SubmissionError, match="not valid JSON"):
        verify_submission(submission)
    path.write_text(" " * (2 << 20))
    with pytest.raises(SubmissionError, match="allowed at most"):
        verify_submission(submission)


def test_verify_submission__refuses_links_archives_and_further_files(submission, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(submission)
    with pytest.raises(SubmissionError, match="must be a folder"):
        verify_submission(link)
    archive = tmp_path / "bomb.zip"
    archive.write_bytes(b"PK\x03\x04")
    with pytest.raises(SubmissionError, match="must be a folder"):
        verify_submission(archive)
    secret = tmp_path / "secret"
    (submission / "decisions.safetensors").rename(secret)
    (submission / "decisions.safetensors").symlink_to(secret)
    with pytest.raises(SubmissionError, match="regular file"):
        verify_submission(submission)
    (submission / "run.py").write_text("import os")
    with pytest.raises(SubmissionError, match=r"run\.py.*two files only"):
        verify_submission(submission)


def test_verify_submission__never_unpickles(submission):
    torch.save({POWER: torch.zeros(256, 3)}, submission / "decisions.safetensors")
    with pytest.raises(SubmissionError, match=r"decisions\.safetensors"):
        verify_submission(submission)


def test_verify_submission__refuses_a_replay_under_another_name(submission):
    (result,) = verify_submission(submission)
    key = (PAPER, result.decisions_sha256)
    assert verify_submission(submission, known={key: "Our method"})
    with pytest.raises(SubmissionError, match="on the board as 'First'"):
        verify_submission(submission, known={key: "First"})


def test_submission__a_learned_method_names_all_its_seeds(tmp_path, method, optimum):
    training = Training(data="its own", budget="one hour")
    learned = {"kind": "learned", "training": training, "seeds_tried": [1, 2, 3]}
    for reported, fits in ((2, True), (7, False), (None, False)):
        card = method.model_copy(update={**learned, "seed_reported": reported})
        if fits:
            write_submission(tmp_path / "s", method=card, decisions={PAPER: optimum})
        else:
            with pytest.raises(SubmissionError, match="seeds_tried"):
                write_submission(tmp_path / "s", method=card, decisions={PAPER: optimum})


def test_submission__several_tasks_are_scored_one_by_one(tmp_path, method, optimum):
    both = {PAPER: optimum, CONSTRAINED: optimum}
    folder = write_submission(tmp_path / "s", method=method, decisions=both)
    one, two = verify_submission(folder)
    assert (one.task, two.task) == (PAPER, CONSTRAINED)
    assert two.summary.iqm < one.summary.iqm


def test_write_submission__an_incomplete_card_is_refused_before_anything_is_written(
    tmp_path, method, optimum
):
    bare = method.model_copy(update={"contact": ""})
    with pytest.raises(SubmissionError, match=r"method\.contact"):
        write_submission(tmp_path / "s", method=bare, decisions={PAPER: optimum})
    assert not (tmp_path / "s").exists()


def test_read_submission__touches_no_array(submission):
    (submission / "decisions.safetensors").write_bytes(b"junk")
    assert read_submission(submission).tasks.keys() == {PAPER}


def test_software_versions__names_the_needed_ones():
    assert {"isac_gym", "torch", "python"} <= set(software_versions())


def test_verify_submission__reads_only_its_folder(submission, monkeypatch):
    """Every path opened lies in the submission or in the package's own data."""
    opened = []
    original = Path.read_bytes

    def spy(self):
        opened.append(self)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", spy)
    verify_submission(submission)
    assert opened
    assert all(path.is_relative_to(submission) or path.is_relative_to(DATA) for path in opened)
