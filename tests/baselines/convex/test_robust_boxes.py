import numpy as np
import pytest

from baselines.convex.robust_boxes import NUM_NODES, Box, Supplies
from baselines.convex.robust_cuts import Cut

SERVED = np.zeros(3, bool)
FIRST, LAST = np.full(3, 0.05), np.array([8.0, 10.0, 9.0])
WEIGHT = np.array([1.0, 0.7, 1.6])


def random_cut(rng):
    """Cut of random positive semidefinite matrices whose surface crosses the middle of the box."""
    root = rng.standard_normal((3, 1, 4, 4, 2)).view(complex)[..., 0]
    signal = 40 * root @ root.conj().swapaxes(-1, -2)
    other = rng.standard_normal((3, 4, 4, 2)).view(complex)[..., 0]
    load = signal[:, 0] + other @ other.conj().swapaxes(-1, -2)
    middle = rng.uniform(0.3, 0.6, 3) * LAST
    supply = Cut(signal, load, 1.0, 1.0).supply(np.exp2(middle)[:, None] - 1).sum()
    return Cut(signal, load, 0.9 * supply, 0.1 * supply)


@pytest.fixture
def supplies():
    rng = np.random.default_rng(0)
    cuts = [random_cut(rng) for _ in range(6)]
    found = Supplies(FIRST, LAST, WEIGHT)
    for cut in cuts:
        found.add(cut)
    return found, cuts


def whole():
    return Box(FIRST, LAST, SERVED)


def points(rng, count, box=None):
    box = whole() if box is None else box
    return box.low + (box.high - box.low) * rng.random((count, 3))


def is_refuted(cuts, rates, information):
    """By the cuts themselves, no tables."""
    sinr = np.exp2(rates)[:, None] - 1
    return any(cut.power_scale(sinr, information) > 1 for cut in cuts)


def test_violation__refutes_only_what_a_cut_refutes(supplies):
    found, cuts = supplies
    rng, count = np.random.default_rng(1), 0
    for rates in points(rng, 300):
        violation = found.violation(rates, SERVED, 1.0)
        if violation.max() > 0:
            assert is_refuted(cuts, rates, 1.0)
            assert violation.argmax() < len(cuts)
        elif is_refuted(cuts, rates, 1.0):
            count += 1  # lost to the chords between nodes
    assert count <= 3


def test_reduced__keeps_every_point_that_counts(supplies):
    found, cuts = supplies
    rng = np.random.default_rng(2)
    target = 0.36 * WEIGHT @ LAST
    box = Box(0.3 * LAST, LAST, SERVED)
    smaller = found.reduced(box, target, 1.0)
    assert (smaller.high < LAST).any()
    assert (smaller.low >= box.low).all()
    kept = [
        r for r in points(rng, 3000, box) if WEIGHT @ r >= target and not is_refuted(cuts, r, 1.0)
    ]
    assert len(kept) > 5
    for rates in kept:
        assert (rates >= smaller.low - 1e-12).all()
        assert (rates <= smaller.high + 1e-12).all()


def test_reduced__is_none_where_nothing_is_left(supplies):
    found, _ = supplies
    assert found.reduced(whole(), 1.01 * WEIGHT @ LAST, 1.0) is None
    assert found.reduced(Box(0.9 * LAST, LAST, SERVED), 0.0, 1.0) is None


@pytest.mark.parametrize("slope", [0.0, 0.3])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_best__bounds_every_point_of_the_box(supplies, slope, share):
    """Levels of points: the largest u <= weighted rate that the cuts allow at 1 + slope u."""
    found, cuts = supplies
    rng = np.random.default_rng(3)
    box = Box(0.25 * LAST, (0.25 + 0.4 * share) * LAST, SERVED)
    bound, rates = found.best(box, (0.0, 1.0), (1.0, slope), (-50.0, 50.0))
    assert (rates >= box.low - 1e-9).all()
    assert (rates <= box.high + 1e-9).all()
    best = -np.inf
    for point in points(rng, 1000, box):
        level = WEIGHT @ point
        if level > best and not is_refuted(cuts, point, 1 + slope * level):
            best = level
    assert best <= bound
    if share < 1:  # chords of a small box are nearly exact
        assert bound <= best + 0.5


def test_best__without_cuts_is_the_corner():
    empty = Supplies(FIRST, LAST, WEIGHT)
    bound, rates = empty.best(whole(), (2.0, 0.5), (0.0, 0.0), (-50.0, 100.0))
    assert bound == pytest.approx((WEIGHT @ LAST - 2) / 0.5)
    np.testing.assert_allclose(rates, LAST)


def test_best__silent_users_make_a_cut_mute_that_needs_them(supplies):
    found, _ = supplies
    silent = np.array([True, False, False])
    box = Box(FIRST, np.where(silent, FIRST, LAST), silent)
    bound, _ = found.best(box, (0.0, 1.0), (1.0, 0.0), (0.0, 100.0))
    assert bound == pytest.approx(WEIGHT @ box.high)
    assert not (found.violation(box.high, silent, 1.0) > 0).any()


def test_silent_users__do_not_mute_cuts_that_give_them_no_weight():
    cut = random_cut(np.random.default_rng(4))
    signal = cut.signal.copy()
    signal[0] = 0
    found = Supplies(FIRST, LAST, WEIGHT)
    found.add(Cut(signal, cut.load, cut.demand, cut.price))
    silent = np.array([True, False, False])
    assert found.violation(LAST, silent, 1.0).max() > 0


def test_lowered__reaches_the_target_or_the_least_rates(supplies):
    found, _ = supplies
    rates = np.array([4.0, 0.5, 6.0])
    target = 0.6 * WEIGHT @ rates
    lowered = found.lowered(rates, SERVED, target)
    assert WEIGHT @ lowered == pytest.approx(target, abs=1e-9)
    assert (lowered <= rates).all()
    np.testing.assert_allclose(found.lowered(rates, SERVED, 0.0), FIRST)
    np.testing.assert_allclose(found.lowered(rates, SERVED, 1e3), rates, atol=1e-9)


def test_halves__cover_the_box_and_cut_away_from_the_ends(supplies):
    found, _ = supplies
    rates = np.array([4.0, 10.0, 5.0])
    first, second = found.halves(whole(), rates, 0)
    n = int((first.high < LAST).nonzero()[0].item())
    assert first.high[n] == second.low[n]
    share = (first.high[n] - FIRST[n]) / (LAST[n] - FIRST[n])
    assert 0.19 < share < 0.81
    np.testing.assert_array_equal(first.low, FIRST)
    np.testing.assert_array_equal(second.high, LAST)


def test_halves__spare_silent_users(supplies):
    found, _ = supplies
    silent = np.array([False, True, True])
    box = Box(FIRST, np.where(silent, FIRST, LAST), silent)
    first, second = found.halves(box, box.high, 0)
    assert first.high[0] == second.low[0] < LAST[0]


def test_tables__are_exact_at_the_nodes_and_above_between_them(supplies):
    found, cuts = supplies
    step = (LAST - FIRST) / (NUM_NODES - 1)
    for place in (3.0, 200.0, 200.5):
        rates = FIRST + place * step
        demand = found.violation(rates, SERVED, 0.0)
        exact = np.array(
            [cut.demand - cut.supply(np.exp2(rates)[:, None] - 1).sum() for cut in cuts]
        )
        scale = np.abs(exact) + [cut.demand for cut in cuts]
        assert (demand <= exact + 1e-9 * scale).all()
        if place % 1 == 0:
            np.testing.assert_allclose(demand, exact, atol=3e-9 * scale.max())
