"""The bench's checks pass for the right results and fail for wrong ones."""

import dataclasses

import pytest
import torch

from baselines.subcarrier_selection import bench
from isac_gym.core.solution import Trace


@pytest.fixture(scope="module")
def rows():
    return {row.name.removeprefix("subcarrier_selection/"): row for row in bench.rows()}


@pytest.fixture(scope="module")
def small():
    """Eight tones and 64 training windows."""
    return bench._stage("tiny-8")


def both(row, stage):
    return row.ours.run(stage), row.theirs.run(stage)


def test_check__kernel_ridge_is_that_of_scikit_learn(rows, small, monkeypatch):
    monkeypatch.setattr(bench, "_peak_mib", lambda: 1.0)
    row = rows["kernel-ridge"]
    ours, theirs = both(row, small)
    check = row.check(small, ours, theirs)
    assert check.is_correct, check.facts
    assert not row.check(small, ours + 1e-8, theirs).is_correct


def test_check__single_precision_is_within_the_guard_band(rows, small):
    row = rows["kernel-ridge-screened"]
    ours, theirs = both(row, small)
    assert row.check(small, ours, theirs).is_correct
    assert not row.check(small, ours + 1e-5, theirs).is_correct
    assert row.ours.units(small) == ours.shape[1]


def test_check__soft_neighbours_are_those_of_numpy(rows, small):
    row = rows["soft-neighbours"]
    ours, theirs = both(row, small)
    assert row.check(small, ours, theirs).is_correct
    assert not row.check(small, ours * 1.001, theirs).is_correct


@pytest.mark.parametrize("steps", [None, 2])
def test_check__greedy_takes_the_same_path(rows, steps):
    stage = bench._stage("tiny-8", steps=steps)
    row = rows["greedy-16"]
    ours, theirs = both(row, stage)
    assert row.check(stage, ours, theirs).is_correct
    history = Trace(objective=ours.trace.objective + 1e-4, length=ours.trace.length)
    wrong = dataclasses.replace(ours, trace=history)
    assert not row.check(stage, wrong, theirs).is_correct
    if steps is None:
        decision = type(ours.decision)(~ours.decision.mask)
        wrong = dataclasses.replace(ours, decision=decision)
        assert not row.check(stage, wrong, theirs).is_correct


def test_check__windows_are_those_of_the_loop(rows, monkeypatch):
    monkeypatch.setattr(bench, "_WINDOWS", 6)
    row, stage = rows["windows"], bench._window_stage()
    ours, theirs = both(row, stage)
    assert row.check(stage, ours, theirs).is_correct
    assert not row.check(stage, ours + 1e-5, theirs).is_correct


def test_check__retraining_does_not_depend_on_the_other_sets(rows, small, monkeypatch):
    monkeypatch.setattr(bench, "_STEPS", 3)
    row = rows["retraining"]
    ours, theirs = both(row, small)
    assert row.check(small, ours, theirs).is_correct
    assert not row.check(small, ours + torch.tensor(0.01), theirs).is_correct
