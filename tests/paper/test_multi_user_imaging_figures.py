"""Figures 4 to 10 of the networked-ISAC paper: files, verdicts that can fail, and (slow) all."""

import copy
import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines.figures import Estimate, Table
from baselines.multi_user_imaging.figures import expected, image_claims, make_figures, plots, tuning
from baselines.multi_user_imaging.figures.claims import verdicts
from baselines.multi_user_imaging.figures.draws import Frames, mean_db, msd_estimate
from baselines.multi_user_imaging.figures.filters import Variant, run, steady
from baselines.multi_user_imaging.figures.imaging import AUDITS, SHIFTS_DB, Picture
from baselines.multi_user_imaging.figures.measure import OCCUPIED, SHAPES, Grid, settling
from baselines.multi_user_imaging.figures.tables import Measured, measure_all
from baselines.multi_user_imaging.figures.theory import CASES
from isac_gym.core.errors import ScenarioError

DRAWS = 3
GRID = Grid(
    samples=40,
    occupied=(2, 32),
    users=(5, 10),
    sizes=(8, 16),
    snrs_db=(-5, 3, 15),
    audit_snrs_db=(-5, 15),
    priorities=(0.1, 0.9),
    antennas=(4, 8),
    budgets=(1_000, 50_000),
    theory_samples=60,
    theory_worlds=1,
)
FIGURES = (
    "fig4",
    "fig5",
    "fig5_images",
    "fig5_scale",
    "fig6",
    "fig7_fig8",
    "fig9",
    "fig10",
    "theory",
    "sharing",
)
TABLES = {
    "fig4_curves": "sample",
    "fig4_ends": "shape",
    "fig5": "snr_db",
    "fig5_scale": "assumption",
    "fig6_two_step": "num_occupied",
    "fig6_known": "num_occupied",
    "fig7": "num_users",
    "fig8": "num_voxels",
    "fig9": "priority",
    "fig9_constraints": "min_sinr_db",
    "fig10": "num_antennas",
    "theory": "case",
    "sharing": "scalars",
}


def read(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def quick():
    return measure_all(draws=DRAWS, seed=2, grid=GRID, progress=lambda line: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quick):
    """Files of ``make_figures`` on the measured tables (measuring once is enough)."""
    out = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "measure_all", lambda **settings: quick)
        return out, make_figures(out, draws=DRAWS, grid=GRID)


def known(value, spread=0.02):
    """Estimate over 10 batches whose common pattern cancels in differences."""
    return Estimate(value, tuple(value + spread * np.resize([1.0, -1.0], 10)))


def put(table, place, scheme, value=None, quantity="msd_db", **found):
    found = found if value is None else {quantity: value, **found}
    table.cells.update({(place, scheme, name): known(v) for name, v in found.items()})


def ideal_ends():
    table = Table("shape")
    values = {"none": -15, "l1": -18, "step 1": -7, "central": -20, "central, same": -20}
    values |= {"sliced lms": -28, "joint": -48, "oracle-ls": -48, "bound": -48}
    values |= {"known l1": -31, "known l1+l21": -31.3}
    values |= {f"prototype {n}": v for n, v in expected.TWO_STEP.items()}
    for shape, both in (("blob", -18.0), ("aligned", -19.0)):
        for scheme, value in values.items():
            put(table, shape, scheme, value, settled_at=400)
        put(table, shape, "l1+l21", both, settled_at=410)
    return table


def ideal_scores():
    table = Table("snr_db")
    for snr, (nmsd, f1) in expected.IMAGES.items():
        put(table, snr, "prototype", nmsd, "nmsd_db", f1=f1, clutter=0.1)
    for snr, clutter in ((3, 0.003), (15, 0.001)):
        for scheme in ("prototype", "two-step", "joint"):
            put(table, snr, scheme, -14, "nmsd_db", f1=1.0, clutter=clutter)
    return table


def ideal_audit():
    table = Table("assumption")
    for name in AUDITS:
        never = name in ("no cooperation", "constant beams")
        put(table, name, "readable", math.inf if never else -5.5, "snr_db", f1_15db=1.0)
    return table


def ideal_occupied():
    table = Table("num_occupied")
    for shape in SHAPES:
        for count, gain in zip(OCCUPIED, (5, 4, 3, 2, 0.5), strict=True):
            for name in ("none", "l1", "l1+l21"):
                for how in ("kept", "tuned"):
                    put(table, count, f"{shape} {name} {how}", -15 - gain * (name != "none"))
    return table


def line(axis, scheme, values, **others):
    """Curve ``scheme`` and constant curves of the others."""
    table = Table(axis)
    for place, value in values.items():
        put(table, place, scheme, value)
        for name, function in others.items():
            put(table, place, name.replace("_", "-"), function(value))
    return table


def ideal_known():
    table = Table("num_occupied")
    for count, row in expected.KNOWN.items():
        for name, value in zip(("none", "l1", "l1+l21", "l21"), row, strict=True):
            put(table, count, f"known {name}", value)
    return table


def ideal_users():
    table = line("num_users", "known none", expected.USERS_KNOWN, joint=lambda v: 2 * v)
    for place, value in zip(expected.USERS_KNOWN, (-12, -17, -18, -19, -20), strict=True):
        put(table, place, "l1+l21", value)
    return table


def ideal_sizes():
    table = Table("num_voxels")
    for k, (place, value) in enumerate(expected.SIZES_LS.items()):
        put(table, place, "ls-genie", value, nmsd_db=-43.0)
        put(table, place, "l1+l21", (-21, -19, -19.3, -12)[k])
    return table


def ideal_designs(axis, numbers):
    table = Table(axis)
    for place, (sinr, error) in numbers.items():
        put(table, place, "optimal", error, "error_db", sinr_db=sinr)
    put(table, 1.0, "best", 27.0, "sinr_db")
    return table


def ideal():
    """Tables of a run in which every number is as expected."""
    theory, sharing, constraints = Table("case"), Table("scalars"), Table("min_sinr_db")
    for name in CASES:
        full, alone = expected.THEORY.get(name, (0.1, None))
        put(theory, name, "theory", full, "excess_db")
        put(theory, name, "independent", -0.5 if alone is None else alone, "excess_db")
    for place, value in ((5e3, -10.0), (1.5e6, -39.0)):
        put(sharing, place, "diffusion", value, "nmsd_db")
        for name in ("gathering", "gather-statistics", "consensus-statistics"):
            put(sharing, place, name, -50.0, "nmsd_db")
    for sinr_db, error in {0.0: -33.75, 10.0: -33.60, 20.0: -32.62}.items():
        put(constraints, sinr_db, "step1", error, "error_db")
    box = np.zeros((4, 4, 4))
    return Measured(
        curves=Table("sample"),
        ends=ideal_ends(),
        scores=ideal_scores(),
        audit=ideal_audit(),
        pictures=[Picture(3, box, box, box)],
        occupied=ideal_occupied(),
        known=ideal_known(),
        users=ideal_users(),
        sizes=ideal_sizes(),
        priorities=ideal_designs("priority", expected.PRIORITIES),
        constraints=constraints,
        antennas=ideal_designs("num_antennas", expected.ANTENNAS),
        theory=theory,
        sharing=sharing,
    )


def test_files__every_figure_and_table_is_written(folder):
    out, _ = folder
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for name, axis in TABLES.items():
        rows = read(out / f"{name}.csv")
        assert rows
        assert list(rows[0]) == [axis, "scheme", "quantity", "value", "half_width_95"]
    assert not list(out.glob("*.partial"))


def test_files__verdicts_are_those_returned(folder):
    out, found = folder
    assert [r["id"] for r in read(out / "verdicts.csv")] == [v.id for v in found]
    assert len({v.id for v in found}) == len(found) >= 20
    assert any(not v.holds for v in found), "forty samples must not reproduce everything"


@pytest.mark.parametrize(("draws", "seed"), [(2, 0), (3, -1)])
def test_make_figures__refuses_numbers_out_of_range(tmp_path, draws, seed):
    with pytest.raises(ScenarioError, match="must be >="):
        make_figures(tmp_path, draws=draws, seed=seed)


def test_verdicts__all_hold_on_expected_numbers():
    assert [(v.id, v.measured) for v in verdicts(ideal()) if not v.holds] == []


def test_verdicts__are_a_pure_function_of_the_tables(quick):
    before = copy.deepcopy(quick.ends)
    assert verdicts(quick) == verdicts(quick)
    assert quick.ends == before


WRONG = [
    ("fig4/sparse-beats-none", "ends", "blob", "l1", "msd_db", -14.0),
    ("fig4/block-beats-l1", "ends", "aligned", "l1+l21", "msd_db", -17.0),
    ("fig4/second-step-helps", "ends", "aligned", "step 1", "msd_db", -20.0),
    ("fig4/centralised-is-lower", "ends", "blob", "central", "msd_db", -17.0),
    ("fig4/distributed-is-faster", "ends", "blob", "central, same", "settled_at", 500.0),
    ("fig4/reference", "ends", "blob", "joint", "msd_db", -45.0),
    ("fig4/slicing", "ends", "aligned", "sliced lms", "msd_db", -20.0),
    ("fig5/clearer-with-snr", "scores", 0, "prototype", "f1", 0.3),
    ("fig5/unreadable-at-3-db", "scores", 3, "prototype", "f1", 0.2),
    ("fig5/clutter", "scores", 3, "prototype", "clutter", 0.3),
    ("fig5/snr-scale", "audit", "as specified", "readable", "snr_db", math.inf),
    ("fig6/gain-shrinks", "occupied", 2, "blob l1+l21 kept", "msd_db", -15.0),
    ("fig6/element-reverses", "known", 32, "known l1", "msd_db", -30.0),
    ("fig6/both-reverses", "known", 32, "known l1+l21", "msd_db", -30.0),
    ("fig6/tuned-never-worse", "occupied", 32, "blob l1 tuned", "msd_db", -10.0),
    ("fig6/known", "known", 8, "known l21", "msd_db", -25.0),
    ("fig7/more-users-help", "users", 40, "l1+l21", "msd_db", -10.0),
    ("fig7/reference", "users", 40, "joint", "msd_db", -30.0),
    ("fig8/larger-is-harder", "sizes", 16, "l1+l21", "msd_db", -20.0),
    ("fig8/least-squares", "sizes", 64, "ls-genie", "msd_db", -40.0),
    ("fig8/double-fading", "sizes", 64, "ls-genie", "nmsd_db", -33.0),
    ("fig9/trade-off", "priorities", 0.99, "optimal", "error_db", -35.0),
    ("fig9/constraint-is-cheap", "constraints", 20.0, "step1", "error_db", -28.0),
    ("fig10/more-antennas-help", "antennas", 32, "optimal", "sinr_db", 20.0),
    ("theory/steady-state", "theory", "lms, step 1, 0.8", "theory", "excess_db", -2.0),
    ("theory/independence", "theory", "lms, step 1, 0.8", "independent", "excess_db", 0.0),
    (
        "sharing/estimates-save-communication",
        "sharing",
        1.5e6,
        "diffusion",
        "nmsd_db",
        -60.0,
    ),
]


@pytest.mark.parametrize(("claim", "table", "place", "scheme", "quantity", "wrong"), WRONG)
def test_verdicts__one_wrong_number_flips_its_claim(claim, table, place, scheme, quantity, wrong):
    measured = ideal()
    getattr(measured, table).cells[place, scheme, quantity] = known(wrong)
    assert not {v.id: v.holds for v in verdicts(measured)}[claim]


def test_verdicts__every_claim_has_a_wrong_number():
    assert {v.id for v in verdicts(ideal())} == {row[0] for row in WRONG}


def test_tuning__uses_frames_of_its_own():
    reported = Frames.sample(draws=4, seed=11).instance.image
    tuned = Frames.sample(draws=4, seed=tuning.SEED).instance.image
    assert not (reported == tuned).all(-1).any()


def test_tuning__takes_the_least_error_and_never_less_than_no_penalty():
    frames = Frames.sample(draws=2, seed=tuning.SEED, num_samples=60)
    found = tuning.tune(frames, Variant(), steps=(0.3, 0.6), penalties=(0.0, 0.2))
    none, l1, both = (
        mean_db(steady(run(frames, found[n]).second).numpy()) for n in ("none", "l1", "l1+l21")
    )
    assert l1 <= none
    assert found["none"].l1 == found["none"].l21 == found["l1"].l21 == 0
    assert both < 10


@pytest.mark.parametrize("setting", list(tuning.TUNED), ids=str)
def test_tuned__plain_filters_have_no_penalties(setting):
    none, l1, both = (tuning.tuned(*setting, name) for name in ("none", "l1", "l1+l21"))
    assert none.l1 == none.l21 == l1.l21 == 0
    assert both.l1 + both.l21 > 0
    assert none.knows_symbols == setting[0].startswith("known")
    assert none.is_central == setting[0].startswith("central")
    assert (none.estimator == "lms") == setting[0].startswith("lms")


def test_filters__genie_beats_the_estimated_symbols_and_steps_are_paired():
    frames = Frames.sample(draws=4, seed=1, num_samples=300)
    found = run(frames, Variant(is_sliced=True))
    genie = run(frames, Variant(knows_symbols=True))
    assert found.first is not None
    assert genie.first is None
    assert steady(genie.second).mean() < steady(found.first).mean()
    assert found.estimate.shape == frames.instance.user_channel.shape


def test_filters__central_filter_agrees_among_users():
    frames = Frames.sample(draws=2, seed=1, num_samples=20)
    image = run(frames, Variant(is_central=True, l1=0.1, l21=0.1)).estimate
    torch.testing.assert_close(image, image[:, :1].expand_as(image), rtol=1e-4, atol=1e-5)


def test_settling__counts_until_the_curve_stays_close():
    curve = torch.cat([torch.full((3, 40), 10.0), torch.full((3, 160), 1.0)], 1)
    assert settling(curve).value == 41
    assert settling(torch.ones(3, 50)).value == 1


def test_estimates__are_means_in_db():
    found = msd_estimate(torch.tensor([1.0, 3.0, 2.0]))
    assert found.value == pytest.approx(10 * math.log10(2))
    assert len(found.batches) == 3


@pytest.mark.parametrize(("shift", "word"), [(12.0, "enough"), (5.0, "too little"), (-3.0, "no")])
def test_explains__needs_ten_db(shift, word):
    assert image_claims.explains(shift) == word


def test_shifts__follow_from_antennas_users_and_voxels():
    assert SHIFTS_DB["BS gains add to 1 per voxel"] == pytest.approx(12.04, abs=0.01)
    assert SHIFTS_DB["power per antenna, not total"] == pytest.approx(-12.04, abs=0.01)
    assert SHIFTS_DB["SNR means received SNR"] == pytest.approx(6.69, abs=0.01)


@pytest.mark.slow
def test_shifts__are_exact():
    """Channels of the base station 12 dB weaker are noise and steps 12 dB larger."""
    frames = Frames.sample(draws=2, seed=1, num_samples=100)
    i, factor = frames.single, 0.25
    weak = replace(i, bs_channel=i.bs_channel * factor, received=i.received * factor)
    scaled = Frames(frames.problem, weak)
    image = run(frames, Variant(knows_symbols=True)).estimate
    other = run(scaled, Variant(knows_symbols=True, step=0.6 / factor**2)).estimate
    torch.testing.assert_close(image, other, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_verdicts__all_agree_with_expectation_on_50_frames():
    measured = measure_all(draws=50, seed=11, grid=Grid(), progress=lambda line: None)
    assert [(v.id, v.measured) for v in verdicts(measured) if not v.holds] == []
