from itertools import combinations

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.subcarrier_selection.probe_relaxation import (
    capped_simplex,
    exchanged,
    relaxed_probe,
    tangent_bound,
)
from isac_gym.core.solution import Status
from isac_gym.physics.convex_probe import convex_probe_slope, convex_probe_value, probe_task

RIDGES = [0.02, 3.0]
TONES, TOTAL = 8, 4


def rooms(windows=40, tones=TONES, batch=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, windows, tones, 3, generator=draw, dtype=torch.float64)
    x = x + 0.7 * x.roll(1, 2)  # neighbours resemble each other
    noise = torch.randn(batch, windows, 5, generator=draw, dtype=torch.float64)
    label = x[:, :, ::3, 0].sum(-1, keepdim=True) + x[:, :, 1, :1] + noise
    return x, label - label.mean(1, keepdim=True)


def all_masks(tones, total):
    chosen = torch.tensor(list(combinations(range(tones), total)))
    return torch.zeros(len(chosen), tones, dtype=torch.float64).scatter_(1, chosen, 1)


@given(seed=st.integers(0, 2**20), tones=st.integers(2, 12), spread=st.floats(1e-3, 1e3))
def test_capped_simplex__satisfies_the_optimality_conditions(seed, tones, spread):
    draw = torch.Generator().manual_seed(seed)
    point = spread * torch.randn(6, tones, generator=draw, dtype=torch.float64)
    for total in range(1, tones + 1):
        w = capped_simplex(point, total)
        assert ((w >= 0) & (w <= 1)).all()
        torch.testing.assert_close(
            w.sum(-1), torch.full((6,), float(total)).double(), rtol=1e-9, atol=0
        )
        # <point - w, s - w> <= 0 for all s: the best s holds the largest entries of point - w
        away = point - w
        gain = away.topk(total).values.sum(-1) - (away * w).sum(-1)
        assert (gain <= 1e-9 * spread * tones).all()


def test_capped_simplex__equals_the_quadratic_programme():
    draw = torch.Generator().manual_seed(2)
    for total in (1, 3, 6):
        point = 2 * torch.randn(5, 7, generator=draw, dtype=torch.float64)
        mine = capped_simplex(point, total)
        for row, found in zip(point.numpy(), mine.numpy(), strict=True):
            w = cp.Variable(7)
            cost = cp.Minimize(cp.sum_squares(w - row))
            cp.Problem(cost, [w >= 0, w <= 1, cp.sum(w) == total]).solve(solver=cp.CLARABEL)
            np.testing.assert_allclose(found, w.value, atol=1e-6)


def test_capped_simplex__keeps_masks_and_shares_among_equals():
    masks = all_masks(6, 3)
    assert torch.equal(capped_simplex(masks, 3), masks)
    equal = capped_simplex(torch.full((1, 4), 7.0).double(), 3)
    torch.testing.assert_close(equal, torch.full((1, 4), 0.75).double(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("windows", [40, 12], ids=["tall", "wide"])
def test_bound__lies_below_the_enumerated_optimum(ridge, windows):
    x, label = rooms(windows)
    masks = all_masks(TONES, TOTAL).expand(4, -1, -1)
    best = convex_probe_value(x, label, masks, ridge=ridge).amin(1)
    task = probe_task(x, label, ridge=ridge)
    for steps in (1, 3, 500):
        found = relaxed_probe(task, TONES, TOTAL, iterations=steps, tolerance=1e-9)
        assert (found.lower <= best + 1e-12).all()
        assert (found.lower <= found.value + 1e-12).all()
    assert (found.status == int(Status.CONVERGED)).all()
    torch.testing.assert_close(found.lower, found.value, rtol=1e-8, atol=0)
    smaller = all_masks(TONES, TOTAL - 1).expand(4, -1, -1)  # fewer tones never help
    assert (found.lower <= convex_probe_value(x, label, smaller, ridge=ridge).amin(1)).all()


def test_bound__tangents_of_any_point_hold():
    x, label = rooms()
    masks = all_masks(TONES, TOTAL).expand(4, -1, -1)
    best = convex_probe_value(x, label, masks).amin(1)
    task = probe_task(x, label)
    draw = torch.Generator().manual_seed(3)
    for _ in range(20):
        w = 2 * torch.rand(4, 1, TONES, generator=draw, dtype=torch.float64)
        value, slope = convex_probe_slope(task, w)
        bound = tangent_bound(value.mean((1, 2)), slope.mean((1, 2)), w[:, 0], TOTAL)
        assert (bound <= best + 1e-12).all()


@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("windows", [40, 12], ids=["tall", "wide"])
def test_exchanged__makes_the_best_exchange_until_none_helps(ridge, windows):
    x, label = rooms(windows)
    task = probe_task(x, label, ridge=ridge)
    mask = torch.zeros(4, TONES, dtype=torch.bool)
    mask[:, :TOTAL] = True
    wanted = mask.clone()
    for _ in range(30):  # the same search by full evaluations
        rows = []
        for lane in wanted:
            ins, outs = lane.nonzero()[:, 0], (~lane).nonzero()[:, 0]
            tried = lane.repeat(len(ins) * len(outs), 1)
            number = torch.arange(len(tried))
            tried[number, ins.repeat_interleave(len(outs))] = False
            tried[number, outs.repeat(len(ins))] = True
            rows.append(tried)
        tried = torch.stack(rows)
        value = convex_probe_value(x, label, tried.double(), ridge=ridge)
        now = convex_probe_value(x, label, wanted[:, None].double(), ridge=ridge)[:, 0]
        best = value.min(1)
        better = tried[torch.arange(4), best.indices]
        wanted = torch.where((best.values < now - 1e-12)[:, None], better, wanted)
    found, status, count = exchanged(task, mask, iterations=100)
    assert torch.equal(found, wanted)
    assert (status == int(Status.CONVERGED)).all()
    assert (count >= 1).all()


def test_exchanged__a_lane_alone_is_the_same_in_a_batch(monkeypatch):
    x, label = rooms(batch=5)
    mask = torch.zeros(5, TONES, dtype=torch.bool)
    mask[:, :TOTAL] = True
    whole, _, count = exchanged(probe_task(x, label), mask, iterations=100)
    monkeypatch.setattr("baselines.subcarrier_selection.probe_relaxation._CHUNK", 1)
    for lane in range(5):
        rows = slice(lane, lane + 1)
        alone, _, own = exchanged(probe_task(x[rows], label[rows]), mask[rows], iterations=100)
        assert torch.equal(whole[rows], alone)
        assert torch.equal(count[rows], own)


def test_relaxed_probe__flat_and_doubled_tones_do_no_harm():
    x, label = rooms()
    x[:, :, 3] = 1.5
    x[:, :, 5] = x[:, :, 0]
    found = relaxed_probe(probe_task(x, label), TONES, TOTAL, iterations=500, tolerance=1e-6)
    assert (found.status == int(Status.CONVERGED)).all()
    assert torch.isfinite(found.weight).all()
    x[:] = 1.5  # nothing to learn at all
    found = relaxed_probe(probe_task(x, label), TONES, TOTAL, iterations=50, tolerance=1e-6)
    torch.testing.assert_close(found.lower, torch.ones(4).double(), rtol=1e-12, atol=0)
