"""Breathing rates from selected subcarriers: the score, what is known, what the world decides."""

import numpy as np
import pytest
import torch

from isac_gym.core import ScenarioError, ShapeError, Streams
from isac_gym.core.family import family
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.problems.subcarrier_selection.respiration import (
    CHANCE_HZ,
    RespirationScenario,
    SubcarrierRespiration,
)
from isac_gym.problems.subcarrier_selection.world import ACTIVITIES, World
from tests.oracles import subcarrier_breathing as oracle

BPM = 60 * CHANCE_HZ


def problem(preset="tiny-8", **changes):
    return SubcarrierRespiration(scenario=RespirationScenario.preset(preset, **changes))


TINY = problem()
ROOMS = TINY.sample(Streams.from_seed(5, 3))


def every(setup):
    return torch.ones(1, 1, setup.scenario.num_tones, dtype=torch.bool)


def mean_error(setup, instance, mask=None):
    mask = every(setup) if mask is None else mask
    return setup.mask_errors(instance, mask.expand(instance.batch_size, -1, -1))[:, 0]


def test_family__is_registered():
    assert isinstance(family("subcarrier_respiration").make_problem(), SubcarrierRespiration)


def test_evaluate__equals_loops():
    mask = TINY.floor(ROOMS).mask
    metrics = TINY.evaluate(ROOMS, SubcarrierDecision(mask))
    for lane in range(3):
        spectrum, rate = ROOMS.score[lane].numpy(), ROOMS.score_hz[lane].numpy()
        wanted = oracle.mask_error(spectrum, rate, mask[lane].tolist(), TINY.frequency_hz.numpy())
        assert abs(float(metrics.mae_bpm[lane]) - 60 * wanted) <= 1e-9
    torch.testing.assert_close(metrics.objective, 1 - metrics.mae_bpm / BPM)
    torch.testing.assert_close(metrics.error, TINY.mask_errors(ROOMS, mask[:, None])[:, 0])
    assert ((metrics.within >= 0) & (metrics.within <= 1)).all()


@pytest.mark.parametrize(("count", "violation"), [(0, 1.0), (2, 1 / 3), (3, 0.0), (4, 0), (6, 0.5)])
def test_violation__counts_tones_outside_the_limits(count, violation):
    assert (TINY.scenario.min_tones, TINY.scenario.max_tones) == (3, 4)
    mask = (torch.arange(8) < count).repeat(3, 1)
    found = TINY.evaluate(ROOMS, SubcarrierDecision(mask)).violation
    torch.testing.assert_close(found, torch.full_like(found, violation))


@pytest.mark.parametrize("preset", RespirationScenario.presets)
def test_floor__is_an_even_comb_of_the_most_tones(preset):
    setup = problem(preset)
    instance = ROOMS.replace(score=torch.zeros(3, 1, 1, 1, dtype=torch.float64))
    mask = setup.floor(instance).mask
    assert (mask.sum(1) == setup.scenario.max_tones).all()
    places = mask[0].nonzero()[:, 0]
    assert int(places.diff().max() - places.diff().min()) <= 1


def test_chance__is_the_error_of_the_mean_rate():
    people = World(TINY.scenario).people(
        Streams.from_seed(0, 1), World(TINY.scenario).room(Streams.from_seed(0, 1)), "x", 20_000
    )
    spread = (people.breathing_hz - people.breathing_hz.mean()).abs().mean()
    assert float(spread) == pytest.approx(CHANCE_HZ, rel=0.02)


def test_rates_of_other_windows__are_worth_no_more_than_chance():
    setup = problem("small-16", num_held_out=200)
    rooms = setup.sample(Streams.from_seed(1, 3))
    shuffled = rooms.replace(score_hz=rooms.score_hz.roll(1, 1))
    assert (mean_error(setup, rooms) < 0.3).all()
    assert (mean_error(setup, shuffled) > 0.95).all()


def test_null_tones__tell_nothing():
    setup = problem("small-16", num_held_out=200)
    rooms = setup.sample(Streams.from_seed(2, 3))
    null = setup.scenario.null.repeat(2)[None, None]
    assert (mean_error(setup, rooms, null) > 0.9).all()


def test_known__hides_the_scored_windows():
    known = TINY.known(ROOMS)
    assert torch.equal(known.score, ROOMS.val)
    assert torch.equal(known.score_hz, ROOMS.val_hz)
    assert torch.equal(known.train, ROOMS.train)


def test_posture__decides_whether_the_chest_is_seen():
    errors = {}
    for posture in (*ACTIVITIES, "any"):
        setup = problem("small-16", posture=posture, num_held_out=128)
        errors[posture] = float(mean_error(setup, setup.sample(Streams.from_seed(3, 4))).mean())
    assert errors["lying"] < errors["sitting"] < errors["any"] < errors["standing"]
    assert errors["standing"] > 0.7  # sway of 6 mm hides a chest of 3 to 7 mm


def test_noise__costs_accuracy_and_more_tones_buy_it_back():
    found = {}
    for preset in ("paper", "low-snr", "small-16", "low-snr-16"):
        setup = problem(preset, num_held_out=128)
        found[preset] = mean_error(setup, setup.sample(Streams.from_seed(4, 3))).mean()
    assert found["low-snr-16"] > found["small-16"] > found["paper"]
    assert found["low-snr-16"] > found["low-snr"]


def test_windows__of_a_split_do_not_change_with_the_others():
    more = problem(num_train=40).sample(Streams.from_seed(5, 3))
    assert torch.equal(more.score, ROOMS.score)
    assert not np.array_equal(more.train.numpy(), ROOMS.train.numpy())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"posture": "running"}, "posture"),
        ({"num_packets": 4}, "num_packets"),
        ({"packet_rate_hz": 1.0}, "packet_rate_hz"),
        ({"num_bins": 2}, "num_bins"),
    ],
)
def test_scenario__refuses(changes, words):
    with pytest.raises(ScenarioError, match=words):
        problem(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"score": -ROOMS.score}, r"RespirationInstance\.score: .*>= 0"),
        ({"val_hz": 0 * ROOMS.val_hz}, r"RespirationInstance\.val_hz: .*> 0"),
        ({"train": ROOMS.train[:, :, :-1]}, r"RespirationInstance\.train"),
    ],
)
def test_validate__refuses(changes, words):
    with pytest.raises(ShapeError, match=words):
        TINY.validate(ROOMS.replace(**changes))
