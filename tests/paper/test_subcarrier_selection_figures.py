"""Tables II and III and Figures 6 to 8 of the SPG-MIBO paper: files and (slow) all claims."""

import csv

import pytest

from baselines.subcarrier_selection.figures import make_figures, measure
from baselines.subcarrier_selection.figures.claims import verdicts
from baselines.subcarrier_selection.figures.draws import Effort

pytestmark = pytest.mark.slow

DRAWS = 3
FIGURES = ("table2", "table3", "fig6", "fig7", "fig8", "masks", "ranks", "solvers", "applications")
TABLES = {
    "tables2_3": "tones",
    "table2_strength": "strength",
    "table3_masks": "tones",
    "fig6_7_curves": "iteration",
    "fig6_gradients": "gradients",
    "ranks": "tones",
    "solvers": "tones",
    "breathing": "setting",
    "tracking": "frames",
}
BRIEF = Effort(
    seeds=1,
    iterations=40,
    steps=20,
    windows=128,
    held_out=64,
    ranked=6,
    judged=1,
    enumerated=0,
    frames=2,
)


def read(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def quick():
    return measure.measure_all(draws=DRAWS, seed=11, effort=BRIEF, progress=lambda line: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quick):
    """Files of ``make_figures`` on the measured tables (measuring once is enough)."""
    out = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "measure_all", lambda **settings: quick)
        return out, make_figures(out, draws=DRAWS)


def test_files__every_figure_and_table_is_written(folder):
    out, _ = folder
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for name, axis in TABLES.items():
        rows = read(out / f"{name}.csv")
        assert list(rows[0]) == [axis, "scheme", "quantity", "value", "half_width_95"]
    assert not list(out.glob("*.partial"))


def test_files__verdicts_are_those_returned(folder):
    out, found = folder
    assert [r["id"] for r in read(out / "verdicts.csv")] == [v.id for v in found]
    assert len({v.id for v in found}) == len(found) >= 25


def test_verdicts__are_a_pure_function_of_the_tables(quick):
    assert verdicts(quick) == verdicts(quick)


def test_verdicts__all_agree_with_expectation():
    found = measure.measure_all(draws=6, seed=11, effort=Effort(), progress=lambda line: None)
    assert [(v.id, v.measured) for v in verdicts(found) if not v.holds] == []
