"""The benchmark rows on tiny work: they run, agree, and refuse wrong results."""

import dataclasses

import pytest
import torch

from baselines.robust_beamforming import bench
from isac_gym.bench import Verdict, compare

PREFIX = "robust_beamforming/"
NAMES = [
    "worst-case-sdp",
    "worst-case-single",
    "worst-case-dinkelbach",
    "crlb-single",
    "boblrbf-iteration",
    "pga-iteration",
]


@pytest.fixture(scope="module")
def base():
    """Six instances and designs after a few steps of the reference."""
    return bench._stage(6, 2)


@pytest.fixture
def rows(monkeypatch, base):
    """Rows by short name; every batch is the small one."""
    monkeypatch.setattr(bench, "_BATCH", 6)
    monkeypatch.setattr(bench, "_ITERATIONS", 2)
    monkeypatch.setattr(
        bench, "_stage", lambda batch, few: dataclasses.replace(base, few=min(few, 6))
    )
    return {row.name.removeprefix(PREFIX): row for row in bench.rows()}


def test_rows__have_unique_names_and_sensible_targets():
    rows = bench.rows()
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert {PREFIX + name for name in NAMES} <= set(names)
    for row in rows:
        assert row.name.startswith(PREFIX)
        assert row.target > 1
        for side in (row.ours, row.theirs):
            assert side.units >= 1
            assert side.label


def test_rows__units_count_the_instances_and_iterations_of_each_side():
    rows = {row.name.removeprefix(PREFIX): row for row in bench.rows()}
    units = {name: (rows[name].ours.units, rows[name].theirs.units) for name in NAMES}
    assert units["worst-case-sdp"] == (256, 2)
    assert units["worst-case-single"] == (256, 1)
    assert units["worst-case-dinkelbach"] == (1024, 1024)
    assert units["boblrbf-iteration"] == (64 * 5, 5)


@pytest.mark.parametrize("name", NAMES)
def test_row__both_sides_agree(rows, name):
    row = rows[name]
    context = row.prepare(True)
    ours, theirs = row.ours.run(context), row.theirs.run(context)
    assert len(theirs) <= len(ours) == 6
    assert ours.isfinite().all()
    check = row.check(context, ours, theirs)
    assert check.is_correct, check.facts


@pytest.mark.parametrize("name", NAMES)
def test_check__catches_wrong_results(rows, name):
    row = rows[name]
    context = row.prepare(True)
    theirs = row.theirs.run(context)
    ours = torch.cat([theirs, theirs])
    assert row.check(context, ours, theirs).is_correct
    wrong = ours.clone()
    wrong.view(-1)[0] = 1.01 * wrong.view(-1)[0] + 0.01
    check = row.check(context, wrong, theirs)
    assert not check.is_correct
    assert check.facts["largest_relative_gap"] > 1e-3
    wrong.view(-1)[0] = torch.nan
    assert not row.check(context, wrong, theirs).is_correct


def test_stage__designs_use_their_budgets_and_have_a_rate(base):
    i = base.instance
    power = (base.problem.covariance(base.decision)).diagonal(dim1=-2, dim2=-1).real.sum(-1)
    assert (power <= i.max_power_w * (1 + 1e-12)).all()
    assert (power > 0.5 * i.max_power_w).all()
    assert (bench._sinr(base) > 1e-3).any(-1).any(-1).all()
    assert len(base.first(2).instance.channel) == len(base.first(2).decision.beam) == 2


def test_compare__a_wrong_row_fails_however_fast(rows):
    row = rows["crlb-single"]
    wrong = dataclasses.replace(row.ours, run=lambda stage: 1.1 * bench._crlb(stage))
    assert compare(row, quick=True).verdict != Verdict.FAIL
    assert compare(dataclasses.replace(row, ours=wrong), quick=True).verdict == Verdict.FAIL


def test_cuda_rows__appear_only_with_a_device(monkeypatch):
    def count():
        return sum("cuda" in row.name for row in bench.rows())

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert count() == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    names = [row.name for row in bench.rows()]
    assert count() == 4
    assert len(set(names)) == len(names)
