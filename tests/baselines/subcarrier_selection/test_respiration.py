"""Selections for breathing: by hand, against one another, and blind to the scored windows."""

import pytest
import torch

from baselines.registry import make_solver, solvers
from baselines.subcarrier_selection.respiration import best_move, grow, labelled
from isac_gym.core import Budget, Streams, family
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision

NAME = "subcarrier_respiration"
ORACLES = {"exhaustive"}
TINY = family(NAME).make_problem("tiny-8")
ROOMS = TINY.sample(Streams.from_seed(6, 3))
GRID = TINY.frequency_hz
LIMITS = TINY.scenario.min_tones, TINY.scenario.max_tones


def solved(name, problem=TINY, instance=ROOMS, **options):
    return make_solver(NAME, name).solve(problem, instance, **options)


def labelled_error(mask, problem=TINY, instance=ROOMS):
    """Errors of a mask (B, S) on calibration and validation windows together."""
    joint = instance.replace(
        score=torch.cat([instance.train, instance.val], 1),
        score_hz=torch.cat([instance.train_hz, instance.val_hz], 1),
    )
    return problem.mask_errors(joint, mask[:, None])[:, 0]


@pytest.mark.parametrize("name", [name for name in solvers(NAME) if name not in ORACLES])
def test_solver__does_not_look_at_the_scored_windows(name):
    streams = Streams.from_seed(8, 3)
    blind = ROOMS.replace(
        score=streams.uniform("score", *ROOMS.score.shape[1:]),
        score_hz=0.2 + 0.3 * streams.uniform("hz", ROOMS.score.shape[1]),
    )
    found, other = solved(name, seed=2), solved(name, instance=blind, seed=2)
    assert torch.equal(found.decision.mask, other.decision.mask)
    assert found.certificate is None


@pytest.mark.parametrize("name", [name for name in solvers(NAME) if name != "all-tones"])
def test_solver__keeps_the_limits(name):
    count = solved(name).decision.mask.sum(1)
    assert ((count >= LIMITS[0]) & (count <= LIMITS[1])).all()


def test_greedy__adds_the_best_tone_each_time():
    mask = torch.zeros(8, dtype=torch.bool)
    best = {}
    for size in range(1, LIMITS[1] + 1):
        tried = {}
        for tone in range(8):
            if not mask[tone]:
                more = mask.clone()
                more[tone] = True
                tried[tone] = float(labelled_error(more.repeat(3, 1))[0])
        tone = min(tried, key=lambda t: tried[t])
        mask[tone] = True
        best[size] = (tried[tone], mask.clone())
    wanted = min((best[size] for size in range(LIMITS[0], LIMITS[1] + 1)), key=lambda b: b[0])[1]
    assert torch.equal(solved("greedy").decision.mask[0], wanted)


def test_swap__improves_on_greedy_and_ends_where_no_move_helps():
    problem = family(NAME).make_problem("low-snr-16")
    rooms = problem.sample(Streams.from_seed(3, 4))
    greedy, swap = (solved(n, problem, rooms).decision.mask for n in ("greedy", "swap"))
    before, after = (labelled_error(mask, problem, rooms) for mask in (greedy, swap))
    assert (after <= before + 1e-12).all()
    assert (after < before - 1e-6).any()
    setup, windows = labelled(problem, rooms)
    s = setup.scenario
    _, reached = best_move(windows, swap, setup.frequency_hz, s.min_tones, s.max_tones)
    assert (reached >= after - 1e-9).all()
    trace = solved("swap", problem, rooms).trace
    torch.testing.assert_close(trace.objective[:, -1], 1 - after)
    assert (trace.objective.diff(dim=1) >= -1e-12).all()


def test_swap__starts_from_the_given_mask():
    start = SubcarrierDecision(torch.arange(8).ge(4).repeat(3, 1))
    found = solved("swap", start=start, budget=Budget(iterations=1))
    _, windows = labelled(TINY, ROOMS)
    move, error = best_move(windows, start.mask, GRID, *LIMITS)
    is_better = error < labelled_error(start.mask) - 1e-9
    wanted = torch.where(is_better[:, None], move, start.mask)
    assert torch.equal(found.decision.mask, wanted)


def test_moves__exchange_add_or_remove_one_tone():
    _, windows = labelled(TINY, ROOMS)
    for least, most in ((1, 8), (3, 4), (4, 4)):
        mask = torch.arange(8).lt(4).repeat(3, 1)
        moved, error = best_move(windows, mask, GRID, least, most)
        count = moved.sum(1)
        assert ((count >= least) & (count <= most)).all()
        assert ((moved ^ mask).sum(1) <= 2).all()
        torch.testing.assert_close(error, labelled_error(moved))


def test_grow__reports_the_error_of_its_mask():
    _, windows = labelled(TINY, ROOMS)
    mask, error = grow(windows, GRID, *LIMITS)
    torch.testing.assert_close(error, labelled_error(mask))


def test_filters__rank_tones_as_defined():
    spectra = torch.cat([ROOMS.train, ROOMS.val], 1)
    sharp = spectra.amax(-1).mean(1).topk(LIMITS[1]).indices.sort().values
    found = solved("peakiness").decision.mask.nonzero()[:, 1].view(3, -1)
    assert torch.equal(found, sharp)
    alone = torch.stack(
        [labelled_error(torch.eye(8, dtype=torch.bool)[t].repeat(3, 1)) for t in range(8)], 1
    )
    good = alone.topk(LIMITS[1], largest=False).indices.sort().values
    found = solved("single-tone").decision.mask.nonzero()[:, 1].view(3, -1)
    assert torch.equal(found, good)
