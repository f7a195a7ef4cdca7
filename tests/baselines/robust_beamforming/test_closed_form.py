import numpy as np
import pytest
import torch

from baselines.robust_beamforming.closed_form import (
    SHARES,
    MrtNull,
    MrtSplit,
    RzfNull,
    RzfSplit,
    ZfNull,
    ZfSplit,
    beams,
    best_sensing,
    null_projected,
    split,
)
from isac_gym.core import ScenarioError, Status
from tests.problems.robust_beamforming.helpers import draw, make, uneven

ALL = [MrtSplit, MrtNull, ZfSplit, ZfNull, RzfSplit, RzfNull]


def rows_of(instance, row, cell):
    """All channels from one station, (users of the network, N)."""
    return instance.channel[row, cell].flatten(0, 1).numpy()


def power(tensor):
    return tensor.abs().square().sum((-2, -1))


def expected_beams(instance, row, cell, kind):
    """Beams of one station by the textbook, (K, N)."""
    h = rows_of(instance, row, cell)
    own = instance.channel[row, cell, cell].numpy()
    budget, antennas = float(instance.max_power_w[row, cell]), h.shape[1]
    if kind == "mrt":
        v = own
    elif kind == "zf":
        pseudo = np.linalg.pinv(h.conj())  # h^H v = e_k
        users = own.shape[0]
        v = pseudo.T[cell * users : (cell + 1) * users]
    else:
        load = len(h) / budget + float(instance.radius[row, cell].square().sum()) / antennas
        matrix = load * np.eye(antennas) + sum(np.outer(g, g.conj()) for g in h)
        v = np.stack([np.linalg.solve(matrix, g) for g in own])
    v = v / np.linalg.norm(v, axis=1, keepdims=True)
    return v * np.sqrt(budget / len(v))


@pytest.mark.parametrize("preset", ["paper", "small", "two-users", "large"])
@pytest.mark.parametrize(("kind", "loading"), [("mrt", 1e9), ("zf", 1e-9)])
def test_beams__are_those_of_singular_values_to_rounding(kind, loading, preset):
    instance = uneven(draw(make(preset), 3))
    found = beams(instance, kind).numpy()
    for row in range(3):
        for cell, beam in enumerate(found[row]):
            h = rows_of(instance, row, cell)
            left, size, right = np.linalg.svd(h, full_matrices=False)
            load = loading * (size**2).sum() / h.shape[1]
            v = (left * (size / (size**2 + load))) @ right
            users = len(beam)
            v = v[cell * users : (cell + 1) * users]
            v *= np.linalg.norm(beam, axis=1, keepdims=True) / np.linalg.norm(
                v, axis=1, keepdims=True
            )
            np.testing.assert_allclose(beam, v, rtol=0, atol=1e-11 * abs(v).max())


@pytest.mark.parametrize("preset", ["paper", "two-users", "large"])
@pytest.mark.parametrize(("kind", "accuracy"), [("mrt", 1e-7), ("zf", 1e-6), ("rzf", 1e-10)])
def test_beams__are_the_textbooks(kind, accuracy, preset):
    if (kind, preset) == ("zf", "two-users"):
        preset = "large"  # five antennas cannot null six users
    instance = uneven(draw(make(preset), 3))
    found = beams(instance, kind)
    torch.testing.assert_close(power(found), instance.max_power_w, rtol=1e-12, atol=0)
    for row in range(3):
        for cell in range(3):
            expected = expected_beams(instance, row, cell, kind)
            np.testing.assert_allclose(found[row, cell], expected, rtol=0, atol=accuracy * 3)


def test_beams__zero_forcing_leaves_no_interference():
    instance = draw(make("large"), 3)
    found = beams(instance, "zf")
    heard = torch.einsum("blckn,bljn->blckj", instance.channel.conj(), found).abs()
    size = heard.amax((1, 2, 3, 4), keepdim=True)
    own = torch.eye(3).bool()[:, :, None, None] & torch.eye(2).bool()
    assert (heard.masked_fill(own, 0) < 1e-6 * size).all()


@pytest.mark.parametrize("preset", ["paper", "two-users", "unresolved"])
def test_best_sensing__reaches_the_bound_with_full_power(preset):
    problem = make(preset)
    instance = draw(problem)
    factor = best_sensing(problem, instance)
    assert factor.shape == (4, 3, 5, 4)
    torch.testing.assert_close(power(factor), instance.max_power_w, rtol=1e-12, atol=0)
    reached = problem.position_bounds(instance, factor @ factor.mH).sum(-1)
    torch.testing.assert_close(
        instance.crlb_bound / reached, torch.ones(4).double(), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize(("columns", "loss"), [(1, 0.9), (2, 1e-4), (5, 1e-6)])
def test_best_sensing__with_fewer_or_more_columns(columns, loss):
    problem = make(num_streams=columns)
    instance = draw(problem)
    factor = best_sensing(problem, instance)
    assert factor.shape[-1] == columns
    torch.testing.assert_close(power(factor), instance.max_power_w, rtol=1e-12, atol=0)
    reached = problem.position_bounds(instance, factor @ factor.mH).sum(-1)
    assert (instance.crlb_bound / reached >= 1 - loss).all()


def test_null_projected__misses_all_users_at_full_power():
    problem = make()
    instance = draw(problem)
    factor = null_projected(instance, best_sensing(problem, instance))
    torch.testing.assert_close(power(factor), instance.max_power_w, rtol=1e-12, atol=0)
    for row in range(4):
        for cell in range(3):
            h, c = rows_of(instance, row, cell), factor[row, cell].numpy()
            leak = np.abs(h.conj() @ c)
            assert leak.max() <= 1e-8 * np.linalg.norm(h) * np.linalg.norm(c)
            plain = best_sensing(problem, instance)[row, cell].numpy()
            q = np.linalg.qr(h.T)[0]  # the users' span
            expected = plain - q @ (q.conj().T @ plain)
            expected *= np.linalg.norm(c) / np.linalg.norm(expected)
            np.testing.assert_allclose(c, expected, atol=1e-8)


def test_null_projected__is_zero_where_users_fill_the_space():
    problem = make("two-users")
    instance = draw(problem)
    assert (null_projected(instance, best_sensing(problem, instance)) == 0).all()


def test_split__shares_the_power():
    problem = make()
    instance = uneven(draw(problem))
    beam, sensing = beams(instance, "mrt"), best_sensing(problem, instance)
    share = torch.tensor([0.0, 0.25, 0.7, 1.0], dtype=torch.float64)
    found = split(beam, sensing, share)
    budget = instance.max_power_w
    torch.testing.assert_close(power(found.beam), (1 - share[:, None]) * budget)
    torch.testing.assert_close(power(found.sensing), share[:, None] * budget)


@pytest.mark.parametrize("kind", ALL)
def test_solve__is_the_best_of_its_shares(kind):
    problem = make()
    instance = draw(problem, 12)
    solution = kind().solve(problem, instance)
    assert (solution.status == int(Status.CONVERGED)).all()
    assert (solution.iterations == 0).all()
    found = problem.evaluate(instance, solution.decision)
    assert found.violation.max() <= 1e-12
    each = torch.stack(
        [
            problem.evaluate(
                instance, kind(share=share).solve(problem, instance).decision
            ).objective
            for share in SHARES
        ]
    )
    torch.testing.assert_close(found.objective, each.amax(0), rtol=1e-12, atol=0)
    assert len(set(each.argmax(0).tolist())) > 1  # different lanes, different shares


def test_solve__ends_are_pure():
    problem = make()
    instance = draw(problem)
    sensing = RzfSplit(share=1.0).solve(problem, instance).decision
    assert (sensing.beam == 0).all()
    utility = problem.evaluate(instance, sensing).sensing_utility
    torch.testing.assert_close(utility, torch.ones_like(utility), rtol=1e-5, atol=0)
    assert (RzfSplit(share=0.0).solve(problem, instance).decision.sensing == 0).all()


@pytest.mark.parametrize("share", [1.01, float("nan")])
def test_split__refuses(share):
    with pytest.raises(ScenarioError, match="share must be"):
        ZfSplit(share=share)
