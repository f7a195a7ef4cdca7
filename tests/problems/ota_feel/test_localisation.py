"""Search, scoring and the rounds of localisation."""

import dataclasses

import pytest
import torch

from isac_gym.core.random import Streams
from isac_gym.problems.ota_feel.echoes import evidence, hear_ideal, probe, sounding, value_of
from isac_gym.problems.ota_feel.localisation import (
    SearchGrid,
    cell_values,
    gradient_step,
    local_scores,
    local_values,
    peaks,
    scale_scores,
    scale_values,
    scoring_step,
    server_information,
    single_shot,
)
from isac_gym.problems.ota_feel.localise import LocalisationPlan, localise
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.records import OtaFeelDecision
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario
from isac_gym.problems.ota_feel.transmission import weighted_sum

_PERFECT = {"link": "perfect", "rounds": 25}


def _setting(batch=8, seed=40, **changes):
    problem = OtaFeel(scenario=OtaFeelScenario(**({"pulse": "none"} | changes)))
    streams = Streams.from_seed(seed, batch)
    return problem, problem.sample(streams), streams


def _ideal(batch=8, **changes):
    problem, instance, streams = _setting(batch, **changes)
    precoder = problem.floor(instance).precoder
    echoes = hear_ideal(problem, instance, precoder, streams, "echo")
    return problem, instance, precoder, evidence(echoes, likelihood="white")


def test_grid__covers_the_region_of_the_target():
    problem, instance, _ = _setting(batch=300)
    grid = SearchGrid.of(problem.scenario)
    assert grid.shape == (8, 31, 3)
    assert len(grid.points) == 8 * 31 * 3
    assert grid.half_m <= 1.25 / 2
    away = (grid.points - instance.target[:, None]).abs().amin(1)
    nearest = (grid.points - instance.target[:, None]).square().sum(-1).amin(-1).sqrt()
    assert away.max() <= 2 * grid.half_m
    assert nearest.max() <= 3**0.5 * grid.half_m * 1.01
    assert len(SearchGrid.of(problem.scenario, spacing_m=50.0).points) == 1


def test_cells__hold_the_best_value_inside():
    problem, instance, _, heard = _ideal(batch=3, array="upa")
    grid = SearchGrid.of(problem.scenario)
    value = cell_values(problem, instance, heard, grid)
    middle = value_of(
        heard, probe(problem, instance.position, grid.points.expand(3, -1, -1), heard)
    )
    plain = (middle - middle.amax(-1, keepdim=True)).clamp_min(-30)
    assert value.shape == (3, 15, 744)
    assert (value <= 0).all()
    assert (value >= -30).all()
    # the best cell of a device is 0 by definition, and cells do not lose what their middle has
    assert (value.amax(-1) == 0).all()
    assert (value.sum(1).argmax(-1) != plain.sum(1).argmax(-1)).any()


def test_peaks__are_local_maxima_best_first():
    problem, _, _ = _setting()
    grid = SearchGrid.of(problem.scenario)
    value = -(grid.points - grid.points[100]).square().sum(-1)
    twin = -(grid.points - grid.points[600]).square().sum(-1) - 0.5
    chosen = peaks(grid, torch.maximum(value, twin)[None], 3)[0]
    assert (chosen[0] == grid.points[100]).all()
    assert (chosen[1] == grid.points[600]).all()


@pytest.mark.parametrize("array", ["vertical", "upa"])
def test_scoring__reaches_the_maximum_of_the_sum(array):
    problem, instance, precoder, heard = _ideal(array=array)
    power, points = sounding(instance, precoder, 64), instance.target[:, None]
    for _ in range(60):
        score = local_scores(problem, instance, heard, points).sum(1).unflatten(-1, (-1, 3))
        matrix = server_information(
            problem, instance, power, points, likelihood="white", samples=64
        )
        points = scoring_step(problem, points, score, matrix)
    best = value_of(heard, probe(problem, instance.position, points, heard)).sum((1, 2))
    for offset in 0.02 * torch.eye(3, dtype=torch.float64):
        for sign in (1, -1):
            near = probe(problem, instance.position, points + sign * offset, heard)
            assert (value_of(heard, near).sum((1, 2)) <= best + 1e-9).all()


@pytest.mark.parametrize("array", ["vertical", "upa"])
def test_localise__follows_the_bound_in_the_mean(array):
    problem, instance, streams = _setting(batch=192, array=array)
    plan = LocalisationPlan(
        echoes="ideal", likelihood="white", link="perfect", rounds=20, spacing_m=2.5
    )
    found = localise(problem, instance, streams, plan)
    information = problem.information(instance, OtaFeelDecision(found.precoder), interference=False)
    ratio = found.error_m2[:, -1] / problem.bound(information)
    assert 0.8 < ratio.mean() < 1.5
    start = localise(
        problem, instance, streams, dataclasses.replace(plan, start="random", settle=0)
    )
    from_random = start.error_m2[:, -1] / problem.bound(information)
    assert from_random.mean() > 10  # what the search is for: 194 and 23 000, in the paper's metric
    assert (from_random > 10).sum() > (ratio > 10).sum()


def test_localise__over_the_air_is_as_good_as_perfect_links():
    problem, instance, streams = _setting(batch=24, array="upa")
    perfect = localise(problem, instance, streams, LocalisationPlan(**_PERFECT))
    heard = localise(problem, instance, streams, LocalisationPlan(rounds=25))
    apart = (perfect.estimate - heard.estimate).square().sum(-1)
    assert (apart < 0.1 * perfect.error_m2[:, -1] + 0.01).double().mean() > 0.9


@pytest.mark.parametrize("pulse", ["none", "dft"])
@pytest.mark.parametrize("likelihood", ["full", "whitened"])
def test_localise__lanes_do_not_depend_on_each_other(pulse, likelihood):
    problem, instance, streams = _setting(batch=4, num_devices=5, pulse=pulse)
    plan = LocalisationPlan(rounds=12, likelihood=likelihood, spacing_m=2.5, echoes="accumulate")
    together = localise(problem, instance, streams, plan)
    alone = localise(problem, instance[1:2], streams[1:2], plan)
    torch.testing.assert_close(alone.error_m2, together.error_m2[1:2], rtol=1e-5, atol=1e-6)


def test_localise__a_bad_lane_disturbs_no_other():
    problem, instance, streams = _setting(batch=3, num_devices=5)
    plan = LocalisationPlan(rounds=10, spacing_m=2.5)
    good = localise(problem, instance, streams, plan)
    channel = instance.channel.clone()
    channel[1] = torch.nan
    bad = localise(problem, dataclasses.replace(instance, channel=channel), streams, plan)
    assert torch.equal(good.error_m2[[0, 2]], bad.error_m2[[0, 2]])


def test_steps__survive_no_information_and_numbers_that_are_none():
    problem, instance, _ = _setting(batch=2)
    points = instance.target[:, None]
    score = torch.full_like(points, torch.nan)
    zero = torch.zeros(2, 1, 3, 3, dtype=torch.float64)
    for step in (scoring_step, gradient_step):
        assert torch.equal(step(problem, points, score, zero), points)
        moved = step(problem, points, 1e9 * torch.ones_like(points), zero + 1e-9 * torch.eye(3))
        assert ((moved - points).square().sum(-1).sqrt() < 5 + 1e-9).all()


@pytest.mark.parametrize("batch", [2])
def test_scores_and_values__round_trip_on_perfect_links(batch):
    problem, instance, _, heard = _ideal(batch)
    points = instance.target[:, None] + Streams.from_seed(1, batch).normal("p", 4, 3)
    score = local_scores(problem, instance, heard, points)
    score[1, 3] = 0  # a device that knows nothing
    value = local_values(problem, instance, heard, points)
    for message, scaling in ((score, scale_scores(score)), (value, scale_values(value))):
        symbols = scaling.symbols(message)[:, :, None]
        got = scaling.restored(
            weighted_sum(scaling.weight[..., None], symbols)[:, 0], message.shape[-1]
        )
        torch.testing.assert_close(got, message.sum(1), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(scaling.weight.sum(-1), torch.ones(batch, dtype=torch.float64))
    silent = scale_scores(torch.zeros_like(score))
    assert (silent.symbols(torch.zeros_like(score)) == 0).all()
    assert (silent.factor == 0).all()
    assert (silent.weight == 1 / 15).all()


def test_single_shot__is_far_worse_than_the_sum():
    problem, instance, streams = _setting(batch=16, array="upa")
    found = localise(problem, instance, streams, LocalisationPlan(**_PERFECT))
    alone = single_shot(problem, instance, found.evidence, SearchGrid.of(problem.scenario))
    error = (alone - instance.target).square().sum(-1)
    assert error.median() > 5 * found.error_m2[:, -1].median()
