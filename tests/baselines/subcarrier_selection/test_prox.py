import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.subcarrier_selection.prox import PROX_KINDS, prox, prox_cardinality
from isac_gym.core.errors import ScenarioError
from isac_gym.problems.subcarrier_selection.model import select_tones

GRID = torch.linspace(0, 1, 100_001, dtype=torch.float64)


def objective(w, v, tau, kind):
    distance = torch.minimum(w, 1 - w)
    if kind == "squared":
        distance = distance.square()
    if kind == "hard":
        distance = torch.where(distance == 0, 0.0, torch.inf)
    return (w - v).square() / 2 + (tau * distance if kind != "hard" else distance)


@pytest.mark.parametrize("kind", PROX_KINDS)
@given(
    v=st.one_of(st.floats(-0.5, 1.5), st.sampled_from([0.0, 0.5, 1.0])),
    tau=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.7])),
)
def test_prox__is_no_worse_than_a_grid(kind, v, tau):
    found = prox(torch.tensor([v], dtype=torch.float64), tau, kind)
    assert 0 <= float(found) <= 1
    mine = float(objective(found, v, tau, kind))
    # around the answer too, at a spacing of 1e-7, where the coarse grid cannot tell
    near = (found + torch.linspace(-1e-3, 1e-3, 20_001, dtype=torch.float64)).clamp(0, 1)
    least = min(float(objective(w, v, tau, kind).amin()) for w in (GRID, near))
    assert mine <= least + 1e-10
    step = float(GRID[1])
    slope = 2 + tau  # of the objective in w: the grid is at most half a step away
    assert least <= mine + slope * step


@pytest.mark.parametrize("kind", PROX_KINDS)
def test_prox__ties_go_up_and_sides_mirror(kind):
    v = torch.linspace(-0.6, 1.6, 2_200, dtype=torch.float64)
    v = v[(v - 0.5).abs() > 1e-9]
    torch.testing.assert_close(prox(1 - v, 0.1, kind), 1 - prox(v, 0.1, kind))
    assert float(prox(torch.tensor([0.5]), 0.7, kind)) > 0.5


def test_prox__l1_rounds_from_one_half_on():
    v = torch.linspace(-1, 2, 1000, dtype=torch.float64)
    assert torch.equal(prox(v, 0.5), prox(v, 0.0, "hard"))


def test_prox__reaches_an_integer_in_finitely_many_steps_only_with_l1():
    w = {kind: torch.tensor([0.3, 0.8], dtype=torch.float64) for kind in ("l1", "squared")}
    for _ in range(10):
        w = {kind: prox(each, 0.05, kind) for kind, each in w.items()}
    assert w["l1"].tolist() == [0, 1]
    assert 0 < float(w["squared"][0]) < 0.3
    assert 0.8 < float(w["squared"][1]) < 1


def test_prox__refuses_an_unknown_kind():
    with pytest.raises(ScenarioError, match="kind must be one of"):
        prox(torch.zeros(1), 0.1, "l0")


@pytest.mark.parametrize("kind", PROX_KINDS)
@given(seed=st.integers(0, 10_000), tau=st.floats(0, 0.7))
def test_prox_cardinality__keeps_the_sum_within_its_limits(kind, seed, tau):
    v = torch.randn(8, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = prox_cardinality(v, tau, kind, least=4, most=6)
    total = found.sum(-1)
    assert (total >= 4 - 1e-9).all()
    assert (total <= 6 + 1e-9).all()
    plain = prox(v, tau, kind)
    inside = (plain.sum(-1) >= 4) & (plain.sum(-1) <= 6)
    assert torch.equal(found[inside], plain[inside])


@given(seed=st.integers(0, 10_000), least=st.integers(1, 7), width=st.integers(0, 3))
def test_projection__is_the_best_of_all_masks(seed, least, width):
    most = min(least + width, 8)
    v = 2 * torch.rand(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=8)), dtype=torch.float64)
    masks = masks[(masks.sum(-1) >= least) & (masks.sum(-1) <= most)]
    mine = (select_tones(v, least, most).to(v.dtype) - v).square().sum()
    assert float(mine) <= float((masks - v).square().sum(-1).amin()) + 1e-12
