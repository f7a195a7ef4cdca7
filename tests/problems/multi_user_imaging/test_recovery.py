import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import ShapeError
from isac_gym.physics.graphs import proximity_graph
from isac_gym.physics.imaging import information, masked_bound, matched
from isac_gym.problems.multi_user_imaging.recovery import (
    ImagingRecoveryDecision,
    gathering_scalars,
    image_snr_db,
    passive,
)
from isac_gym.problems.multi_user_imaging.world import support_of
from tests.oracles import imaging as oracle
from tests.problems.multi_user_imaging.helpers import (
    draw,
    energy,
    guess,
    make_recovery,
    set_at,
    single,
)

SCORES = ("msd", "msd_user", "disagreement", "f1", "iou")


def everyone(instance, image):
    """The same image (B, V) at every user, nothing exchanged."""
    estimate = image[:, None].expand_as(instance.user_channel).clone()
    return ImagingRecoveryDecision(estimate, torch.zeros(len(image), dtype=torch.int64))


# --- metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("preset", ["small", "aligned"])
def test_evaluate__matches_the_oracle(preset, size):
    problem = make_recovery(preset, num_samples=16)
    instance = draw(problem)
    decision = guess(instance, size=size)
    found = problem.evaluate(instance, decision)
    for row in range(4):
        image, estimate = instance.image[row].numpy(), decision.estimate[row].numpy()
        expected = oracle.scores(image, estimate, 0.25)
        for name in SCORES:
            actual = getattr(found, name)[row].numpy()
            np.testing.assert_allclose(actual, expected[name], rtol=1e-12, err_msg=name)
        snr = 10 * math.log10(np.sum(np.abs(image) ** 2) / expected["msd"])
        assert float(found.objective[row]) == pytest.approx(snr, abs=1e-10)
        over = max(np.abs(estimate).max() - 1, 0)
        assert float(found.violation[row]) == pytest.approx(over, rel=1e-12, abs=1e-15)
        assert float(found.scalars[row]) == int(decision.scalars[row])
    torch.testing.assert_close(
        found.excess_db, 10 * torch.log10(found.msd / found.genie_bound), rtol=1e-12, atol=1e-10
    )


@pytest.mark.parametrize("probing", ["random", "gauss", "hop"])
def test_bounds__match_the_whole_fisher_matrix(probing):
    problem = make_recovery(probing=probing, num_samples=16, num_occupied=3)
    instance = draw(problem, 3)
    genie, unknown = problem.bounds(instance)
    i = instance
    for row in range(3):
        g, channel, x, w = (t[row].numpy() for t in (i.user_channel, i.bs_channel, i.image, i.beam))
        sent = i.probe[row].numpy() + np.outer(i.symbol[row].numpy(), w)
        gain = oracle.gains(channel, g, x, w)
        matrix = oracle.fisher(sent @ channel.T, g, gain, problem.scenario.noise_w)
        known, blind = (
            oracle.bound(matrix, np.abs(x) > 0, 8, nuisance=flag) for flag in (False, True)
        )
        assert float(genie[row]) == pytest.approx(known, rel=1e-10)
        assert float(unknown[row]) == pytest.approx(blind, rel=1e-9)


def test_bounds__one_voxel_hides_behind_unknown_symbols():
    problem = make_recovery(num_occupied=1)
    instance = draw(problem, 16)
    found = problem.evaluate(instance, problem.floor(instance))
    assert (found.unknown_bound == torch.inf).all()
    assert torch.isfinite(found.genie_bound).all()
    assert torch.isfinite(found.excess_db).all()


def test_bounds__are_infinite_where_one_beam_lights_more_voxels_than_users():
    problem = make_recovery(
        probing="constant", num_users=2, mean_degree=1.0, num_occupied=8, data_share=0.0
    )
    instance = draw(problem, 8)
    found = problem.evaluate(instance, problem.floor(instance))
    assert (found.genie_bound == torch.inf).all()
    assert (found.unknown_bound == torch.inf).all()
    assert (found.excess_db + 150).abs().max() <= 1e-9
    assert torch.isfinite(found.objective).all()


@pytest.mark.parametrize(("probing", "rank"), [("constant", 4), ("random", 8)])
def test_probing__identifies_the_region_unless_constant(probing, rank):
    problem = make_recovery(probing=probing)
    instance = draw(problem)
    phi = information(problem.probing(instance), instance.user_channel)
    assert (torch.linalg.matrix_rank(phi, rtol=1e-9, hermitian=True) == rank).all()


def test_oracle_least_squares__meets_the_genie_bound_on_average():
    problem = make_recovery("small")
    i = draw(problem, 400, seed=1000)
    lit = problem.probing(i) + i.symbol[..., None] * problem.data_illumination(i)[:, None]
    phi, b = information(lit, i.user_channel), matched(lit, i.user_channel, i.received)
    support = support_of(i.image)
    both = support[:, :, None] & support[:, None]
    part = torch.where(both, phi, torch.eye(8, dtype=phi.dtype))
    estimate = torch.linalg.solve(part, torch.where(support, b, 0))
    found = problem.evaluate(i, everyone(i, estimate))
    ratio = float((found.msd / found.genie_bound).mean())
    assert 0.93 <= ratio <= 1.07
    assert (found.genie_bound < found.unknown_bound).all()
    dense = masked_bound(phi / problem.scenario.noise_w, torch.ones_like(support))
    assert (found.genie_bound < dense).all()


def test_illumination__is_split_into_probe_and_data():
    problem = make_recovery(num_samples=12)
    i = draw(problem, 2)
    lit = problem.probing(i) + i.symbol[..., None] * problem.data_illumination(i)[:, None]
    clean = torch.einsum("blv,bkv,bv->blk", lit, i.user_channel, i.image)
    off = (i.received - clean).abs().square().mean()
    assert float(off) == pytest.approx(problem.scenario.noise_w, rel=0.4)


def test_evaluate__the_truth_is_clipped_and_the_empty_image_is_0_db():
    problem = make_recovery()
    instance = draw(problem)
    exact = problem.evaluate(instance, everyone(instance, instance.image))
    torch.testing.assert_close(exact.objective, torch.full((4,), 150.0, dtype=torch.float64))
    assert (exact.msd == 0).all()
    assert (exact.f1 == 1).all()
    assert (exact.iou == 1).all()
    empty = problem.evaluate(instance, problem.floor(instance))
    torch.testing.assert_close(empty.objective, torch.zeros(4).double(), rtol=0, atol=1e-12)
    for name in ("f1", "iou", "disagreement", "violation", "scalars"):
        assert (getattr(empty, name) == 0).all(), name


def test_evaluate__scores_the_support_of_the_mean_image():
    problem = make_recovery()
    instance = draw(problem, 2)
    off = torch.tensor([3.0, -1.0, -1.0, -1.0], dtype=torch.float64)
    estimate = instance.image[:, None] + off[:, None]
    decision = ImagingRecoveryDecision(estimate, torch.zeros(2, dtype=torch.int64))
    found = problem.evaluate(instance, decision)
    assert (found.f1 == 1).all()
    torch.testing.assert_close(found.disagreement, torch.full((2,), 8 * 12 / 4).double())


def test_evaluate__msd_splits_into_bias_and_disagreement():
    problem = make_recovery()
    instance = draw(problem)
    decision = guess(instance)
    found = problem.evaluate(instance, decision)
    bias = energy(decision.estimate.mean(1) - instance.image)
    torch.testing.assert_close(found.msd, bias + found.disagreement, rtol=1e-12, atol=0)


@given(st.permutations(range(4)))
def test_evaluate__follows_a_permutation_of_the_users(order):
    problem = make_recovery(num_samples=8)
    instance = draw(problem, 2)
    decision = guess(instance)
    swapped = instance.replace(
        user_channel=instance.user_channel[:, order],
        position=instance.position[:, order],
        adjacency=instance.adjacency[:, order][:, :, order],
        received=instance.received[:, :, order],
    )
    problem.validate(swapped)
    before = problem.evaluate(instance, decision)
    after = problem.evaluate(swapped, decision.replace(estimate=decision.estimate[:, order]))
    for name, tensor in before.items():
        expected = tensor[:, order] if name == "msd_user" else tensor
        torch.testing.assert_close(getattr(after, name), expected, rtol=1e-10, atol=1e-10, msg=name)


def test_evaluate__has_finite_slopes_at_the_floor_and_at_the_truth():
    problem = make_recovery()
    instance = draw(problem)
    for decision in (problem.floor(instance), everyone(instance, instance.image)):
        estimate = decision.estimate.clone().requires_grad_()
        found = problem.evaluate(instance, decision.replace(estimate=estimate))
        (slope,) = torch.autograd.grad(found.objective.sum() + found.violation.sum(), estimate)
        assert torch.isfinite(slope).all()


@pytest.mark.parametrize("preset", ["small", "real", "constant-beam", "geometric"])
def test_evaluate__float32_is_close(preset):
    problem = make_recovery(preset, num_samples=64)
    instance = draw(problem)
    decision = guess(instance)
    exact = problem.evaluate(instance, decision)
    low = problem.evaluate(single(instance), single(decision))
    assert low.objective.dtype == torch.float32
    for name in ("objective", "msd", "disagreement", "violation"):
        torch.testing.assert_close(
            getattr(low, name).double(), getattr(exact, name), rtol=1e-5, atol=1e-5, msg=name
        )
    for name, value in low.items():
        assert value.dtype == torch.float32, name
    assert low.gathering_scalars.double().equal(exact.gathering_scalars)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_excess__of_an_exact_image_is_cut(dtype):
    problem = make_recovery()
    instance = draw(problem).to(dtype=dtype)
    found = problem.evaluate(instance, everyone(instance, instance.image))
    assert (found.msd == 0).all()
    assert (found.excess_db + 150).abs().max() <= 1e-4


def test_image_snr_db__does_not_depend_on_the_unit():
    problem = make_recovery()
    image, msd = draw(problem).image, torch.linspace(0.1, 1.0, 4).double()
    torch.testing.assert_close(image_snr_db(image, msd), image_snr_db(1e-6 * image, 1e-12 * msd))


# --- projection ---------------------------------------------------------------------------------


@given(st.complex_numbers(max_magnitude=1e6, allow_nan=False))
def test_passive__is_the_nearest_passive_number_and_idempotent(value):
    z = torch.tensor([value], dtype=torch.complex128)
    near = passive(z)
    assert float(near.abs()) <= 1 + 1e-15
    assert float((z - near).abs()) == pytest.approx(max(abs(value) - 1, 0), rel=1e-9, abs=1e-9)
    torch.testing.assert_close(passive(near), near, rtol=3e-16, atol=0)
    if abs(value) < 1:
        assert torch.equal(near, z)


def test_project__cuts_moduli_and_keeps_passive_images():
    problem = make_recovery()
    instance = draw(problem)
    wild = guess(instance, size=3.0)
    wild = wild.replace(scalars=-wild.scalars)
    once = problem.project(instance, wild)
    assert (once.estimate.abs() <= 1 + 1e-15).all()
    assert (once.scalars == 0).all()
    twice = problem.project(instance, once)
    torch.testing.assert_close(twice.estimate, once.estimate, rtol=3e-16, atol=0)
    assert problem.evaluate(instance, once).violation.max() <= 1e-15
    calm = everyone(instance, 0.999 * instance.image)
    assert torch.equal(problem.project(instance, calm).estimate, calm.estimate)


def test_project__never_loses_in_msd():
    problem = make_recovery()
    instance = draw(problem, 64)
    for size in (0.3, 1.0, 3.0):
        wild = guess(instance, size=size)
        before = problem.evaluate(instance, wild)
        after = problem.evaluate(instance, problem.project(instance, wild))
        assert (after.msd_user <= before.msd_user + 1e-14).all()  # the passive set is convex


# --- communication ------------------------------------------------------------------------------


@given(st.integers(2, 9), st.integers(0, 1000))
def test_gathering_scalars__is_the_best_leader_by_breadth_first_search(users, seed):
    place = torch.from_numpy(np.random.default_rng(seed).standard_normal((3, users, 3)))
    count = min(round(1.5 * users), users * (users - 1) // 2)
    graph = proximity_graph(place, max(count, users - 1))
    found = gathering_scalars(graph, 30, 8)
    for row in range(3):
        way = oracle.hops(graph[row].numpy()).sum(1).min()
        assert float(found[row]) == way * 30 + 8 * (users - 1)


def test_gathering_scalars__is_reported_with_every_decision():
    problem = make_recovery(num_samples=50)
    instance = draw(problem)
    found = problem.evaluate(instance, guess(instance)).gathering_scalars
    assert torch.equal(found, gathering_scalars(instance.adjacency, 50, 8))
    assert (found >= 50 * 3 + 8 * 3).all()


# --- validation ---------------------------------------------------------------------------------


def _linked(instance, value, *pairs):
    graph = instance.adjacency.clone()
    for i, j in pairs:
        graph[-1, i, j] = value
    return graph


BAD_FIELDS = {
    "one-way link": (
        "adjacency",
        lambda i: _linked(i, ~i.adjacency[-1, 0, 1], (0, 1)),
        "symmetric; row 3",
    ),
    "self loop": ("adjacency", lambda i: _linked(i, True, (2, 2)), "itself; row 3"),
    "nobody linked": ("adjacency", lambda i: i.adjacency & False, "connected; row 0"),
    "hermit": (
        "adjacency",
        lambda i: _linked(i, False, *((0, j) for j in range(4)), *((j, 0) for j in range(4))),
        "connected; row 3",
    ),
    "empty image": ("image", lambda i: set_at(i.image, 0.0), "occupied voxel; row 3"),
    "active image": ("image", lambda i: set_at(i.image, 1.1, (1, 0)), "passive.*row 1"),
    "loud symbol": ("symbol", lambda i: set_at(i.symbol, 2.0, (2, 5)), "unit modulus; row 2"),
    "no symbol": ("symbol", lambda i: 0 * i.symbol, "unit modulus; row 0"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_validate__refuses_instances(case):
    problem = make_recovery()
    instance = draw(problem)
    problem.validate(instance)
    name, build, allowed = BAD_FIELDS[case]
    bad = instance.replace(**{name: build(instance)})
    with pytest.raises(ShapeError, match=rf"ImagingRecoveryInstance.{name}: must be .*{allowed}"):
        problem.validate(bad)


@pytest.mark.parametrize(
    "name",
    ["bs_channel", "user_channel", "image", "position", "beam", "probe", "symbol", "received"],
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_validate__refuses_instances_that_are_not_finite(name, value):
    problem = make_recovery()
    instance = draw(problem)
    bad = instance.replace(**{name: set_at(getattr(instance, name), value, (1, ..., 0))})
    with pytest.raises(ShapeError, match=rf"ImagingRecoveryInstance.{name}: .*row 1"):
        problem.validate(bad)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_validate__refuses_estimates_that_are_not_finite(value):
    problem = make_recovery()
    instance = draw(problem)
    decision = guess(instance)
    bad = decision.replace(estimate=set_at(decision.estimate, value, (2, 0, 0)))
    with pytest.raises(ShapeError, match=r"ImagingRecoveryDecision.estimate: .*row 2"):
        problem.validate(instance, bad)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("estimate", lambda t: t[..., :-1]),
        ("estimate", lambda t: t[:, :1]),
        ("estimate", lambda t: t[:, 0]),
        ("estimate", lambda t: t[:-1]),
        ("estimate", lambda t: t.real),
        ("scalars", lambda t: t.double()),
        ("scalars", lambda t: t[:, None]),
        ("scalars", lambda t: t[:-1]),
    ],
)
def test_validate__refuses_decisions_of_another_shape(name, change):
    problem = make_recovery()
    instance = draw(problem)
    decision = guess(instance)
    with pytest.raises(ShapeError, match=name):
        problem.validate(instance, decision.replace(**{name: change(getattr(decision, name))}))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bs_channel", lambda t: t[..., :-1]),
        ("user_channel", lambda t: t[:, :-1]),
        ("image", lambda t: t.real),
        ("adjacency", lambda t: t.double()),
        ("position", lambda t: t[..., :2]),
        ("probe", lambda t: t[:, :-1]),
        ("received", lambda t: t.mT),
    ],
)
def test_validate__refuses_instances_of_another_shape(name, change):
    problem = make_recovery()
    instance = draw(problem)
    with pytest.raises(ShapeError, match=f"ImagingRecoveryInstance.{name}"):
        problem.validate(instance.replace(**{name: change(getattr(instance, name))}))


def test_validate__refuses_instances_of_another_scenario():
    instance = draw(make_recovery(num_users=5))
    with pytest.raises(ShapeError, match=r"K"):
        make_recovery().validate(instance)
