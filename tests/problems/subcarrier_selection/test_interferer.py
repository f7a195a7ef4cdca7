"""Wandering bands and what is known of them, against a hidden Markov chain in loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import Streams
from isac_gym.problems.subcarrier_selection.interferer import Interferer
from isac_gym.problems.subcarrier_selection.mask_actions import joined, mask_of, scores_of, shares
from tests.oracles import subcarrier_bands as oracle


def make(**changes):
    law = {
        **{"links": 2, "tones": 8, "width": 3, "walk": 0.3, "jump": 0.05},
        **{"mean_db": 10.0, "std_db": 0.0, "correlation": 0.9},
    }
    return Interferer(**(law | changes))


def run(law, frames, batch, seed=0):
    """Bands of successive frames."""
    streams = Streams.from_seed(seed, batch)
    band = law.begin(streams, torch.float64)
    out = [band]
    for frame in range(1, frames):
        band = law.step(band, streams.at_step(frame))
        out.append(band)
    return out


@pytest.mark.parametrize("changes", [{}, {"walk": 0.8, "jump": 0.2}, {"width": 7}, {"width": 8}])
def test_step__moves_by_the_law(changes):
    """Shares of 20000 moves from every place."""
    law = make(**changes)
    here, there = run(law, 2, 20000)
    table = np.array(oracle.transition(law.places, law.walk, law.jump))
    for place in range(law.places):
        goes = there.place[here.place == place]
        share = torch.bincount(goes, minlength=law.places).double() / len(goes)
        error = 4.5 * np.sqrt(table[place] * (1 - table[place]) / len(goes)) + 1e-12
        assert (abs(share.numpy() - table[place]) < error).all()


def test_law__is_stationary():
    law = make(std_db=4.0)
    bands = run(law, 30, 4000)
    share = torch.bincount(bands[-1].place.flatten(), minlength=6) / 8000
    assert torch.allclose(share.double(), torch.tensor(1 / 6).double(), atol=0.02)
    level = torch.stack([band.level_db for band in bands])
    assert torch.allclose(level.std((1, 2)), torch.tensor(4.0).double(), rtol=0.05)
    assert torch.allclose(level.mean((1, 2)), torch.tensor(10.0).double(), atol=0.25)
    product = ((level[10] - 10) * (level[13] - 10)).mean() / 16
    assert float(product) == pytest.approx(0.9**3, abs=0.04)


@given(seed=st.integers(0, 10_000), walk=st.floats(0.05, 0.9), jump=st.floats(0.01, 0.5))
def test_belief__is_the_forward_algorithm(seed, walk, jump):
    law = make(walk=walk, jump=jump)
    null = torch.zeros(8, dtype=torch.bool)
    rng = np.random.default_rng(seed)
    bands = run(law, 5, 1, seed)
    belief = law.prior(torch.zeros(1, 5).double())
    looked = [[], []]
    for band in bands:
        seen = torch.tensor(rng.uniform(size=(1, 16)) < 0.3)
        noise = law.noise(band, null)
        belief = law.update(belief, noise, seen, null)
        for link in range(2):
            part = slice(8 * link, 8 * link + 8)
            tones = seen[0, part].nonzero()[:, 0].tolist()
            looked[link].append({k: bool(noise[0, part][k] > 0) for k in tones})
    for link in range(2):
        wanted = oracle.forward(looked[link], 8, 3, walk, jump)[-1]
        assert np.allclose(belief.place[0, link, :6], wanted, atol=1e-12)
        assert not belief.place[0, link, 6:].any()
    expected = law.expected(belief, null).reshape(2, 8)
    for link in range(2):
        for tone in range(8):
            chance = sum(float(belief.place[0, link, p]) for p in range(6) if p <= tone < p + 3)
            assert float(expected[link, tone]) == pytest.approx(10 * chance, abs=1e-9)


def test_noise__is_flat_over_the_band_and_not_on_null_tones():
    law = make(std_db=3.0)
    null = torch.tensor([True, *[False] * 6, True])
    band = run(law, 1, 50)[0]
    noise = law.noise(band, null).reshape(50, 2, 8)
    for row in range(50):
        for link in range(2):
            first, level = int(band.place[row, link]), float(band.level_db[row, link])
            for tone in range(8):
                is_hit = first <= tone < first + 3 and not null[tone]
                wanted = 10 ** (level / 10) if is_hit else 0.0
                assert float(noise[row, link, tone]) == pytest.approx(wanted, rel=1e-12)


@given(
    bids=st.lists(st.floats(-4, 4), min_size=1, max_size=5),
    tones=st.integers(1, 9),
    data=st.data(),
)
def test_shares__are_the_largest_remainders(bids, tones, data):
    total = data.draw(st.integers(len(bids), tones * len(bids) + 3))
    found = shares(torch.tensor([bids]).double(), tones, total)[0].tolist()
    top = max(bids)
    weight = [math.exp(b - top) for b in bids]
    quota = [total * w / sum(weight) for w in weight]
    assert sum(found) == min(total, tones * len(bids))
    assert all(1 <= n <= tones for n in found)
    wanted = oracle.split([w / sum(weight) for w in weight], tones, total)
    gaps = sorted(q - n for q in quota for n in range(tones))
    if min(np.diff(gaps), default=1) > 1e-9:  # no ties
        assert found == wanted


@given(seed=st.integers(0, 10_000))
def test_joined__no_link_exceeds_its_share(seed):
    rng = np.random.default_rng(seed)
    scores, bids = (
        torch.tensor(rng.uniform(-1, 1, (3, 2, 8))),
        torch.tensor(rng.normal(size=(3, 2))),
    )
    mask = mask_of(joined(scores, bids, 8), 6, 8)
    per_link, share = mask.reshape(3, 2, 8).sum(-1), shares(bids, 8, 8)
    assert (per_link <= share).all()
    assert (mask.sum(-1) >= 6).all()
    for row in range(3):
        for link in range(2):
            kept = scores[row, link][mask.reshape(3, 2, 8)[row, link]]
            dropped = scores[row, link][~mask.reshape(3, 2, 8)[row, link]]
            assert not len(kept) or not len(dropped) or kept.min() >= dropped.max()


@given(seed=st.integers(0, 10_000))
def test_scores__and_masks_are_inverse(seed):
    rng = np.random.default_rng(seed)
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, rng.permutation(16)[: rng.integers(6, 9)]] = True
    assert torch.equal(mask_of(scores_of(mask, torch.float64), 6, 8), mask)
