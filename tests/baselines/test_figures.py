"""Estimates, tables, verdicts and files of the paper figures, on few draws."""

import csv
import dataclasses
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from baselines.figures import (
    VERDICTS,
    Check,
    Estimate,
    Table,
    combine,
    estimate,
    figure_style,
    grade,
    judge,
    judge_table,
    save_figure,
    write_csv,
)
from baselines.power_control.figures import make_figures, measure
from baselines.power_control.figures.claims import level_of_no_gain, verdicts
from baselines.power_control.figures.draws import Draws
from isac_gym.core.errors import ScenarioError

DRAWS = 200
FIGURES = ("fig3", "fig4", "fig5", "sca", "localisation", "sensitivity")
TABLES = {
    "fig3": "probability",
    "fig4": "self_interference_db",
    "fig5": "threshold_db",
    "sca_gap": "probability",
    "sca_iterations": "iterations",
    "localisation": "self_interference_db",
    "localisation_ratios": "probability",
    "sensitivity": "change",
    "energy": "self_interference_db",
    "interference_shares": "part",
}
UNITS = ("_m", "_db", "_dbm", "_share", "_percent", "_median", "_min", "_max", "_ratio")


def known(value, half_width=0.0):
    """Estimate of ten batches whose 95 % half width is the given one."""
    swing = half_width * math.sqrt(9) / 2.2621571627409915
    return Estimate(value, tuple(value + swing * (-1) ** k for k in range(10)))


def read(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def measured():
    return measure.measure_all(draws=DRAWS, seed=2, progress=lambda line: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, measured):
    """Files of ``make_figures`` on the measured tables (measuring once is enough)."""
    out = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "measure_all", lambda **settings: measured)
        found = make_figures(out, draws=DRAWS, seed=2)
    return out, found


def test_estimate__covers_the_mean_at_95_percent():
    rng = np.random.default_rng(1)
    found = [estimate(rng.exponential(2.0, 400), num_batches=10) for _ in range(500)]
    hits = np.mean([abs(e.value - 2.0) <= e.half_width for e in found])
    assert 0.92 < hits < 0.98


def test_estimate__uses_kept_draws_only():
    values, keep = np.array([1.0, 100.0, 3.0, 100.0]), np.array([True, False, True, False])
    found = estimate(values, num_batches=2, keep=keep)
    assert (found.value, found.batches) == (2.0, (1.0, 3.0))


def test_estimate__empty_batch_is_left_out_and_two_batches_give_no_interval():
    keep = np.array([True] * 3 + [False])
    found = estimate(np.arange(4.0), num_batches=4, keep=keep)
    assert math.isnan(found.batches[3])
    assert found.half_width > 0
    assert math.isnan(estimate(np.arange(4.0), num_batches=2).half_width)


def test_difference__common_draws_cancel():
    noise = np.random.default_rng(2).normal(size=1000)
    low, high = (estimate(noise + shift, num_batches=10) for shift in (0.0, 1e-6))
    assert low.half_width > 1e-3
    assert (high - low).is_above(0)
    assert (low - high).is_below(0)
    assert not (high - low).is_above(1e-5)


@pytest.mark.parametrize(
    ("value", "half_width", "holds"),
    [
        (1.0, 0.0, True),
        (1.09, 0.0, True),
        (1.11, 0.0, False),
        (1.11, 0.02, True),
        (0.85, 0.01, False),
    ],
)
def test_check__interval_must_meet_the_tolerance_band(value, half_width, holds):
    assert Check("x", known(value, half_width), 1.0, 0.1).holds is holds


def test_check__unknown_number_or_interval_does_not_hold():
    assert not Check("x", Estimate(math.nan, (math.nan,) * 10), 1.0, 1e9).holds
    assert not Check("x", Estimate(1.0, (1.0, 1.0)), 1.0, 1e9).holds


def test_grade__all_some_none():
    assert [grade(p) for p in ([True, True], [True, False], [False])] == list(VERDICTS[:3])


def test_judge__wrong_number_or_wrong_verdict_does_not_hold():
    def holds(value, verdict):
        check = Check("x", known(value), 1.0, 0.1, "m")
        found = judge(
            "a", "b", source="c", verdict=verdict, expected_verdict="reproduced", checks=[check]
        )
        assert ("(!)" in found.measured) == (value != 1.0)
        return found.holds

    assert holds(1.0, "reproduced")
    assert not holds(2.0, "reproduced")
    assert not holds(1.0, "partly")


def test_judge_table__one_wrong_number_is_named():
    checks = [Check("good", known(1.0), 1.0, 0.1), Check("bad", known(5.0), 1.0, 0.1)]
    found = judge_table("a", "b", source="c", checks=checks)
    assert (found.holds, found.verdict) == (False, "partly")
    assert "1 of 2" in found.measured
    assert "bad" in found.measured
    assert judge_table("a", "b", source="c", checks=checks[:1]).holds


def test_write_csv__failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    write_csv(path, ["a"], [[1.5]])
    with pytest.raises(TypeError):
        write_csv(path, ["a"], [[1.0], None])  # pyright: ignore[reportArgumentType]
    assert path.read_text() == "a\n1.5\n"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_save_figure__failure_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "plot.png"
    path.write_bytes(b"old")

    def half_written(self, file, **settings):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", half_written)
    with pytest.raises(OSError, match="disk full"):
        save_figure(Figure(), path, caption="x")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["plot.png"]


def test_figure_style__is_undone():
    from matplotlib import rcParams

    before = rcParams["font.size"]
    with figure_style():
        assert rcParams["font.size"] != before
    assert rcParams["font.size"] == before


def test_draws__batches_are_distinct_and_reproducible():
    first, again = (Draws.sample(draws=100, seed=5).instance.target for _ in range(2))
    other = Draws.sample(draws=100, seed=6).instance.target
    assert torch.equal(first, again)
    assert len(torch.cat([first, other]).unique(dim=0)) == 200


def test_draws__a_sweep_changes_one_field_only():
    here = Draws.sample(draws=20, seed=5)
    moved = here.at(self_interference_db=-90.0)
    changed = [
        name
        for (name, a), (_, b) in zip(here.instance.items(), moved.instance.items(), strict=True)
        if not torch.equal(a, b)
    ]
    assert changed == ["self_interference"]
    assert torch.allclose(moved.instance.self_interference, torch.tensor(1e-9, dtype=torch.float64))


def test_level_of_no_gain__interpolates_the_last_rise():
    table = Table("x")
    for x, best, full in ((0.0, 1.0, 2.0), (1.0, 2.0, 2.5), (2.0, 4.0, 2.5)):
        table.cells[x, "exact", "mean_sigma_m"] = known(best)
        table.cells[x, "full-power", "mean_sigma_m"] = known(full)
    assert level_of_no_gain(table).value == pytest.approx(1.25)


def test_sweep_threshold__own_and_common_subsets_agree_at_the_common_threshold(measured):
    table, place = measured.threshold, measure.COMMON_SUBSET_DB
    own, common = (table.at(place, s, "mean_sigma_m") for s in ("exact", "exact common"))
    assert own.value == pytest.approx(common.value, rel=1e-12)


def test_sweep_threshold__optimum_beats_feasible_full_power(measured):
    _, shares = measured.threshold.line("exact over full-power-projected", "worst_improves_share")
    assert min(e.value for e in shares) > 0.99


def test_interference_shares__sum_to_one(measured):
    assert sum(e.value for e in measured.shares.cells.values()) == pytest.approx(1.0)


def test_gap_to_optimum__is_never_negative_and_falls_with_the_tolerance(measured):
    gaps = [
        measured.gaps.at(1.0, f"eps {tolerance:g}", "gap_db").value
        for tolerance in measure.SCA_TOLERANCES
    ]
    lowest = [e.value for (p, _, _), e in measured.gaps.cells.items() if p == 0.01]
    assert min(lowest) > -1e-9
    assert gaps[0] > gaps[-1]


def test_localisation__no_scheme_beats_the_optimum_of_a_bound(measured):
    table = measured.localisation
    feasible = ("exact", "min-mean-sigma", "peb2d", "peb3d")
    for bound in ("peb2d", "peb3d"):
        ratios = [table.at(si, s, f"{bound}_ratio").value for si in (-110, -90) for s in feasible]
        assert min(ratios) >= 1 - 1e-9


def test_make_figures__writes_whole_files_with_units(folder):
    out, _ = folder
    names = {f"{name}.png" for name in FIGURES} | {f"{name}.csv" for name in [*TABLES, "verdicts"]}
    assert {path.name for path in out.iterdir()} == names
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for name, axis in TABLES.items():
        rows = read(out / f"{name}.csv")
        assert list(rows[0]) == [axis, "scheme", "quantity", "value", "half_width_95"]
        bare = {"share", "value"}
        assert all(r["quantity"] in bare or r["quantity"].endswith(UNITS) for r in rows)
        assert all(math.isfinite(float(r["value"])) for r in rows if float(r["half_width_95"]) > 0)


def test_make_figures__returns_one_verdict_per_claim(folder):
    out, found = folder
    assert len({v.id for v in found}) == len(found) >= 15
    assert {v.verdict for v in found} <= set(VERDICTS)
    assert all(v.claim and v.source and v.measured and v.expected for v in found)
    rows = read(out / "verdicts.csv")
    assert [(r["id"], r["verdict"], r["holds"]) for r in rows] == [
        (v.id, v.verdict, str(v.holds)) for v in found
    ]


@pytest.mark.parametrize(
    ("field", "cell", "claim"),
    [
        ("shares", ("direct", "full-power", "share"), "scenario/direct-signals-dominate"),
        ("self_interference", (-110, "exact", "mean_sigma_m"), "fig3/improves-at-low-si"),
        ("self_interference", (-110, "exact", "mean_sigma_m"), "fig4/table"),
        ("self_interference", (-70, "exact", "largest_power_min"), "fig4/all-powers-fall"),
        ("energy", (-90, "energy-saver 0.1 dB", "power_dbm"), "fig4/loose-tolerance"),
        ("threshold", (0, "full-power", "feasible_share"), "fig5/fair-baseline"),
        ("threshold", (5, "exact", "worst_sigma_m"), "fig5/table"),
        ("sensitivity", ("K = 3 dB", "exact", "mean_sigma_m"), "scenario/sensitivity"),
        ("gaps", (1.0, "eps 0.001", "gap_db"), "problem/non-convex"),
        ("localisation", (-110, "exact", "peb3d_ratio"), "localisation/carries-over"),
    ],
)
def test_verdicts__a_wrong_number_flips_holds(measured, field, cell, claim):
    table = getattr(measured, field)
    wrong = combine(lambda value: 1.5 * value + 0.5, table.cells[cell])
    changed = dataclasses.replace(table, cells=table.cells | {cell: wrong})
    right = {v.id: v.holds for v in verdicts(measured)}
    found = {v.id: v.holds for v in verdicts(dataclasses.replace(measured, **{field: changed}))}
    assert right[claim]
    assert not found[claim]


def test_make_figures__refuses_bad_numbers(tmp_path):
    with pytest.raises(ScenarioError, match="draws must be >= 100, got 99"):
        make_figures(tmp_path, draws=99)
    with pytest.raises(ScenarioError, match="seed must be >= 0, got -1"):
        make_figures(tmp_path, seed=-1)
    assert list(tmp_path.iterdir()) == []
