import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import ShapeError
from isac_gym.problems.subcarrier_selection.mask_actions import (
    check_action,
    joined,
    mask_of,
    scores_of,
    shares,
)

BID = st.floats(-3, 3, allow_nan=False, width=32)
SCORE = st.floats(-1, 1, allow_nan=False, width=32)


def largest_remainders(bids, total):
    weight = [math.exp(b) for b in bids]
    quota = [total * w / sum(weight) for w in weight]
    count = [math.floor(q) for q in quota]
    order = sorted(range(len(bids)), key=lambda p: -(quota[p] - count[p]))
    for p in order[: total - sum(count)]:
        count[p] += 1
    return count


@st.composite
def teams(draw):
    links = draw(st.integers(1, 5))
    tones = draw(st.integers(2, 9))
    total = draw(st.integers(links, links * tones))
    bids = draw(st.lists(BID, min_size=links, max_size=links))
    scores = draw(st.lists(SCORE, min_size=links * tones, max_size=links * tones))
    least = draw(st.integers(1, total))
    return links, tones, total, least, bids, scores


@given(teams())
def test_shares__whole_budget_within_limits(team):
    _, tones, total, _, bids, _ = team
    found = shares(torch.tensor([bids], dtype=torch.float64), tones, total)[0]
    assert int(found.sum()) == total
    assert int(found.min()) >= 1
    assert int(found.max()) <= tones


@given(st.lists(BID, min_size=2, max_size=5), st.integers(5, 40))
def test_shares__largest_remainders_where_no_limit_binds(bids, total):
    wanted = largest_remainders(bids, total)
    weight = [math.exp(b) for b in bids]
    rest = [total * w / sum(weight) % 1 for w in weight]
    gaps = [abs(a - b) for i, a in enumerate(rest) for b in rest[:i]]
    if min(wanted) < 1 or min(gaps) < 1e-9:  # a limit binds, or a tie
        return
    assert shares(torch.tensor([bids], dtype=torch.float64), total, total)[0].tolist() == wanted


def test_shares__a_higher_bid_never_gets_less():
    bids = torch.linspace(-3, 3, 61, dtype=torch.float64)
    found = shares(torch.stack([bids, torch.zeros_like(bids)], -1), 8, 8)[:, 0]
    assert (found.diff() >= 0).all()
    assert found[[0, 30, -1]].tolist() == [1, 4, 7]


@given(teams())
def test_joined__every_link_keeps_to_its_share(team):
    links, tones, total, least, bids, scores = team
    own = torch.tensor([scores], dtype=torch.float64).reshape(1, links, tones)
    bid = torch.tensor([bids], dtype=torch.float64)
    mask = mask_of(joined(own, bid, total), least, total).reshape(links, tones)
    share = shares(bid, tones, total)[0]
    assert (mask.sum(-1) <= share).all()
    assert least <= int(mask.sum()) <= total
    for link in range(links):  # its best ones, as far as it wants them or the team needs them
        taken = int(mask[link].sum())
        best = own[0, link].argsort(descending=True, stable=True)[:taken]
        assert sorted(best.tolist()) == mask[link].nonzero()[:, 0].tolist()
        wanted = min(int((own[0, link] > 0).sum()), int(share[link]))
        assert taken >= wanted


def test_mask_of__above_zero_within_limits():
    scores = torch.tensor([[0.9, -0.1, 0.2, -0.5], [0.9, 0.8, 0.2, 0.1], [-1, -1, -1, -0.9]])
    found = mask_of(scores, 1, 3).int().tolist()
    assert found == [[1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]]
    mask = torch.tensor([[True, False, True, False]])
    assert torch.equal(mask_of(scores_of(mask, torch.float64), 1, 3), mask)


def test_mask_of__a_score_above_zero_by_less_than_rounding_counts():
    scores = torch.tensor([[-0.5, 1e-38, 2e-38, -0.1]], dtype=torch.float64)
    assert mask_of(scores, 1, 3).tolist() == [[False, True, True, False]]
    assert mask_of(scores, 1, 1).tolist() == [[False, False, True, False]]


def test_check_action__names_what_is_expected():
    with pytest.raises(ShapeError, match=r"action: shape \(2, 3\), expected \(2, 4\)"):
        check_action(torch.zeros(2, 3), 2, 4)
