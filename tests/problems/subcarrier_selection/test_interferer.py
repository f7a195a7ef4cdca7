import itertools

import numpy as np
import pytest
import torch

from isac_gym.core import Streams
from isac_gym.problems.subcarrier_selection.interferer import Band, Belief, Interferer

LAW = {
    "links": 2,
    "tones": 8,
    "width": 3,
    "walk": 0.3,
    "jump": 0.05,
    "mean_db": 10.0,
    "std_db": 0.0,
    "correlation": 0.9,
}
NULL = torch.tensor([True, *[False] * 6, True])


def law(**changes):
    return Interferer(**{**LAW, **changes})


def transition(places, walk, jump):
    """Probabilities from place to place, by cases."""
    matrix = np.full((places, places), jump / places)
    for place in range(places):
        for side in (-1, 1):
            there = min(max(place + side, 0), places - 1)
            matrix[place, there] += (1 - jump) * walk / 2
        matrix[place, place] += (1 - jump) * (1 - walk)
    return matrix


def test_covers__width_tones_from_the_place():
    covered = law().covers(torch.tensor([[0, 5]]))
    assert covered.shape == (1, 2, 8)
    assert covered[0].nonzero()[:, 1].tolist() == [0, 1, 2, 5, 6, 7]


def test_noise__on_covered_tones_but_null_ones():
    band = Band(torch.tensor([[0, 4]]), torch.tensor([[10.0, 20.0]], dtype=torch.float64))
    noise = law().noise(band, NULL)
    wanted = torch.zeros(1, 16, dtype=torch.float64)
    wanted[0, [1, 2]] = 10.0
    wanted[0, [12, 13, 14]] = 100.0
    torch.testing.assert_close(noise, wanted)


def test_step__moves_as_often_as_the_law_says():
    lanes, band_law = 20_000, law(links=1)
    streams = Streams.from_seed(3, lanes)
    places = band_law.places
    for place in (0, 2, places - 1):
        band = Band(torch.full((lanes, 1), place), torch.zeros(lanes, 1, dtype=torch.float64))
        after = band_law.step(band, streams.at_step(1)).place[:, 0]
        share = torch.bincount(after, minlength=places).double().numpy() / lanes
        wanted = transition(places, 0.3, 0.05)[place]
        assert np.abs(share - wanted).max() < 4 * np.sqrt(0.25 / lanes)


def test_level__is_stationary():
    band_law, lanes = law(links=1, std_db=3.0), 20_000
    streams = Streams.from_seed(4, lanes)
    band = first = band_law.begin(streams, torch.float64)
    for number in range(1, 6):
        band = band_law.step(band, streams.at_step(number))
    for level in (first.level_db, band.level_db):
        assert float(level.mean()) == pytest.approx(10, abs=0.1)
        assert float(level.std()) == pytest.approx(3, abs=0.1)
    pair = torch.stack([first.level_db[:, 0], band.level_db[:, 0]])
    assert float(torch.corrcoef(pair)[0, 1]) == pytest.approx(0.9**5, abs=0.03)


def test_update__is_the_forward_filter():
    """Against sums over all paths of places, with the sightings of four frames."""
    band_law, frames, lanes = law(links=1), 4, 5
    streams, places = Streams.from_seed(6, lanes), band_law.places
    matrix = transition(places, 0.3, 0.05)
    band = band_law.begin(streams, torch.float64)
    belief = band_law.prior(torch.zeros(lanes, 1, dtype=torch.float64))
    seen, noisy = [], []
    for number in range(frames):
        look = streams.at_step(number).uniform("look", 8) < 0.4
        noise = band_law.noise(band, NULL)
        seen.append((look & ~NULL).numpy())
        noisy.append((noise > 0).numpy())
        belief = band_law.update(belief, noise, look, NULL)
        band = band_law.step(band, streams.at_step(number + 1))
    for lane in range(lanes):
        total = np.zeros(places)
        for path in itertools.product(range(places), repeat=frames):
            weight = 1 / places
            for number, place in enumerate(path):
                if number:
                    weight *= matrix[path[number - 1], place]
                covered = (np.arange(8) >= place) & (np.arange(8) < place + 3)
                agrees = covered == noisy[number][lane]
                weight *= agrees[seen[number][lane]].all()
            total += weight * matrix[path[-1]]
        found = belief.place[lane, 0].numpy()
        np.testing.assert_allclose(found[:places], total / total.sum(), rtol=1e-12, atol=1e-15)
        assert (found[places:] == 0).all()


def test_update__null_and_unseen_tones_tell_nothing():
    band_law = law()
    belief = band_law.prior(torch.zeros(1, 1, dtype=torch.float64))
    noise = torch.zeros(1, 16, dtype=torch.float64)
    nothing = band_law.update(belief, noise, torch.zeros(1, 16, dtype=torch.bool), NULL)
    only_null = band_law.update(belief, noise, NULL.repeat(2)[None], NULL)
    other = band_law.update(belief, noise + 7, torch.zeros(1, 16, dtype=torch.bool), NULL)
    for found in (only_null, other):
        for one, two in zip(nothing, found, strict=True):
            assert torch.equal(one, two)
    uniform = transition(6, 0.3, 0.05).sum(0) / 6
    np.testing.assert_allclose(nothing.place[0, 0, :6].numpy(), uniform)


def test_update__level_is_seen_exactly_then_forgotten():
    band_law = law(std_db=3.0)
    place = torch.tensor([[2, 0]])
    noise = band_law.noise(Band(place, torch.tensor([[16.0, 4.0]], dtype=torch.float64)), NULL)
    belief = band_law.prior(torch.zeros(1, 1, dtype=torch.float64))
    seen = torch.zeros(1, 16, dtype=torch.bool)
    seen[0, 3] = True  # of the first link only
    after = band_law.update(belief, noise, seen, NULL)
    torch.testing.assert_close(after.level_db, torch.tensor([[15.4, 10.0]], dtype=torch.float64))
    later = band_law.update(after, noise, torch.zeros_like(seen), NULL)
    assert float(later.level_db[0, 0]) == pytest.approx(10 + 0.81 * 6)


def test_expected__certain_belief_is_the_noise():
    band_law = law()
    place = torch.tensor([[1, 5]])
    level = torch.full((1, 2), 10.0, dtype=torch.float64)
    sure = torch.nn.functional.one_hot(place, 8).double()
    found = band_law.expected(Belief(sure, level), NULL)
    torch.testing.assert_close(found, band_law.noise(Band(place, level), NULL))
    prior = band_law.prior(torch.zeros(1, 1, dtype=torch.float64))
    mean = band_law.expected(prior, NULL)
    assert float(mean[0, 3]) == pytest.approx(10 * 3 / 6)  # three of six places cover it
    assert float(mean[0, 0]) == 0
