"""Sparse-group lasso: optimality, invariances, and what it is worth."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.multi_user_imaging.lasso import (
    SparseGroupLasso,
    SparseGroupLassoGenie,
    penalty,
    traced_lasso,
)
from baselines.multi_user_imaging.least_squares import LeastSquares, LeastSquaresGenie
from isac_gym.core.errors import ScenarioError
from isac_gym.core.solution import Status
from tests.baselines.multi_user_imaging.recovery_cases import IMAGE, SMALL, blinded, drawn, error

BLOCKS = torch.arange(8) // 4
SINGLE = (torch.complex64, torch.complex64, torch.float32)


def design(seed, lanes=2):
    """Phi, b and s2."""
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(lanes, 20, 8, dtype=torch.complex128, generator=g)
    y = torch.randn(lanes, 20, 1, dtype=torch.complex128, generator=g) + a[..., :2].sum(-1, True)
    return a.mH @ a, (a.mH @ y)[..., 0], torch.full((lanes,), 0.3, dtype=torch.float64)


def cost(phi, b, weight, x):
    curved = (phi @ x[..., None])[..., 0] / 2
    smooth = (x.conj() * (curved - b)).real.sum(-1)
    norm = (x.abs().square() @ weight.member).sqrt()
    return smooth + (weight.entry * x.abs()).sum(-1) + (weight.block * norm).sum(-1)


def solved(phi, b, noise, entry, block):
    weight = penalty(phi, noise, BLOCKS, entry=entry, block=block)
    return traced_lasso(phi, b, weight, iterations=5000, tolerance=1e-13).image, weight


SEED, WEIGHT = st.integers(0, 1000), st.floats(0, 3)


@settings(max_examples=20, deadline=None)
@given(SEED, WEIGHT, WEIGHT)
def test_minimiser__no_neighbour_costs_less(seed, entry, block):
    phi, b, noise = design(seed)
    x, weight = solved(phi, b, noise, entry, block)
    least = cost(phi, b, weight, x)
    g = torch.Generator().manual_seed(seed + 1)
    for size in (1e-4, 1e-2, 1.0):
        other = x + size * torch.randn(x.shape, dtype=x.dtype, generator=g)
        assert (cost(phi, b, weight, other) >= least - 1e-9).all()
    assert (cost(phi, b, weight, torch.zeros_like(x)) >= least - 1e-9).all()


@settings(max_examples=10, deadline=None)
@given(SEED, WEIGHT, WEIGHT, st.floats(0.1, 10), st.floats(0, 6.28))
def test_minimiser__follows_units_and_phase(seed, entry, block, scale, angle):
    phi, b, noise = design(seed)
    x, _ = solved(phi, b, noise, entry, block)
    turn = torch.polar(torch.tensor(scale), torch.tensor(angle)).to(b.dtype)
    turned, _ = solved(phi, b * turn, noise * scale**2, entry, block)
    torch.testing.assert_close(turned, x * turn, rtol=1e-6, atol=1e-7)
    other, _ = solved(phi * scale, b * scale, noise * scale, entry, block)
    torch.testing.assert_close(other, x, rtol=1e-6, atol=1e-7)


def test_minimiser__is_least_squares_without_a_penalty_and_zero_under_a_large_one():
    phi, b, noise = design(0)
    plain = solved(phi, b, noise, 0, 0)[0]
    torch.testing.assert_close(plain, torch.linalg.solve(phi, b), rtol=1e-5, atol=1e-6)
    assert (solved(phi, b, noise, 1e4, 0)[0] == 0).all()
    assert (solved(phi, b, noise, 0, 1e4)[0] == 0).all()


@settings(max_examples=10, deadline=None)
@given(SEED, WEIGHT, WEIGHT, st.sampled_from([1e-2, 1e-5, 1e-8]))
def test_converged__is_as_near_the_least_cost_as_it_says(seed, entry, block, tolerance):
    phi, b, noise = design(seed)
    best, weight = solved(phi, b, noise, entry, block)
    found = traced_lasso(phi, b, weight, iterations=2000, tolerance=tolerance)
    assert (found.status == int(Status.CONVERGED)).all()
    least, reached = (cost(phi, b, weight, x) for x in (best, found.image))
    assert (reached - least <= tolerance * reached.abs() + 1e-12).all()
    torch.testing.assert_close(found.cost[:, -1], reached)
    assert found.cost.shape[-1] == found.count.max()


def test_converged__at_once_where_nothing_is_there():
    phi, b, noise = design(0)
    weight = penalty(phi, noise, BLOCKS, entry=1e4, block=0)
    found = traced_lasso(phi, b, weight, iterations=9, tolerance=1e-9)
    assert (found.count == 1).all()
    assert (found.status == int(Status.CONVERGED)).all()


def test_singular_information__has_the_image_of_the_voxels_that_are_seen():
    phi, b, noise = design(0)
    best, weight = solved(phi, b, noise, 1, 0)
    phi[0, :, 3], phi[0, 3], b[0, 3] = 0, 0, 0
    found = traced_lasso(phi, b, weight, iterations=600, tolerance=1e-9)
    seen = torch.arange(8) != 3
    part = weight._replace(entry=weight.entry[:, seen], member=weight.member[seen])
    rest = traced_lasso(phi[:, seen][..., seen], b[:, seen], part, iterations=600, tolerance=1e-13)
    torch.testing.assert_close(found.image[0, seen], rest.image[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.image[1], best[1], rtol=1e-3, atol=1e-4)
    assert found.image[0, 3] == 0
    short = traced_lasso(phi, b, weight, iterations=5, tolerance=1e9)
    assert short.status.tolist() == [int(Status.BUDGET_SPENT), int(Status.CONVERGED)]


def test_single_precision__converges_to_its_roundings():
    phi, b, noise = (t.to(d) for t, d in zip(design(0), SINGLE, strict=True))
    weight = penalty(phi, noise, BLOCKS, entry=1, block=1)
    found = traced_lasso(phi, b, weight, iterations=500, tolerance=1e-12)
    assert found.image.dtype == torch.complex64
    assert (found.status == int(Status.CONVERGED)).all()


@pytest.mark.parametrize("block", [0.0, 1.0])
def test_single_precision__finds_the_image_of_double(block):
    instance = drawn(SMALL, 6)
    solver = SparseGroupLasso(block=block)
    wanted = solver.solve(SMALL, instance).decision.estimate
    found = solver.solve(SMALL, instance.to(dtype=torch.float32))
    assert (found.status == int(Status.CONVERGED)).all()
    assert found.decision.estimate.dtype == torch.complex64
    torch.testing.assert_close(
        found.decision.estimate.to(wanted.dtype), wanted, rtol=1e-3, atol=1e-3
    )


def test_lanes__stop_on_their_own():
    phi, b, noise = design(0, lanes=3)
    weight = penalty(phi, noise, BLOCKS, entry=1, block=1)
    whole, status, count, _ = traced_lasso(phi, b, weight, iterations=900, tolerance=1e-9)
    assert (status == int(Status.CONVERGED)).all()
    assert count.unique().numel() > 1
    row = weight._replace(entry=weight.entry[1:2], block=weight.block[1:2])
    alone, _, steps, _ = traced_lasso(phi[1:2], b[1:2], row, iterations=900, tolerance=1e-9)
    assert steps == count[1]
    torch.testing.assert_close(whole[1:2], alone, rtol=1e-11, atol=1e-12)


def test_sparsity__is_worth_decibels_with_and_without_symbols():
    instance = drawn(IMAGE, 6)
    pairs = [(SparseGroupLasso, LeastSquares), (SparseGroupLassoGenie, LeastSquaresGenie)]
    for sparse, plain in pairs:
        ours, theirs = (error(IMAGE, instance, s()).mean() for s in (sparse, plain))
        assert ours < theirs / 2


def test_truth__is_not_read_without_saying_so():
    instance = drawn(SMALL, 3)
    one, two = (SparseGroupLasso().solve(SMALL, i).decision for i in (instance, blinded(instance)))
    assert torch.equal(one.estimate, two.estimate)


@pytest.mark.parametrize("wrong", [{"entry": -1.0}, {"block": -1.0}, {"iterations": 0}])
def test_wrong_settings__are_refused(wrong):
    with pytest.raises(ScenarioError, match=next(iter(wrong))):
        SparseGroupLasso(**wrong)
