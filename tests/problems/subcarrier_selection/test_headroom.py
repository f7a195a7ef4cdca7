"""What there is to win in mask tracking, and that simple tricks do not win it."""

from functools import cache

import pytest
import torch
from scipy import stats

from baselines.subcarrier_selection.scripted import AvoidKnown, forward_mask
from isac_gym.core import Streams, family_of
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision

ID = "isac/SubcarrierSelection-v0"
ROOMS, FRAMES, EVERY = 12, 6, 8  # frames 8 apart: where a band was says little about where it is


@cache
def frames(count=FRAMES, every=EVERY, rooms=ROOMS):
    """The process and states before frames 0, 8, ..., 40; decisions do not matter to frames."""
    process = family_of(ID).make_process(ID)
    streams = Streams.from_seed(7100, rooms)
    state, kept = process.initial(streams), []
    floor = process.problem.floor(state.instance)
    for number in range(count * every):
        if number % every == 0:
            kept.append(state.to(dtype=torch.float32))
        state = process.advance(state, floor, streams.at_step(number + 1)).state
    return process, tuple(kept)


def mean_error(process, kept, mask):
    """Mean error over the frames of masks (B, Q, S), (B, Q)."""
    errors = [process.problem.mask_errors(state.instance, mask).mean(-1) for state in kept]
    return torch.stack(errors).mean(0)


def greedy(process, kept):
    """The mask (B, S) of the least mean error over the frames, and that error (B,)."""
    s, rooms = process.problem.scenario, kept[0].batch_size
    each = torch.eye(s.num_tones, dtype=torch.bool)
    mask, path = torch.zeros(rooms, s.num_tones, dtype=torch.bool), []
    for _ in range(s.max_tones):
        error = mean_error(process, kept, mask[:, None] | each).masked_fill(mask, torch.inf)
        least, tone = error.min(-1)
        mask = mask | each[tone]
        path.append((least, mask))
    allowed = path[s.min_tones - 1 :]
    best = torch.stack([least for least, _ in allowed]).argmin(0)
    masks, errors = (torch.stack(part) for part in zip(*((m, e) for e, m in allowed), strict=True))
    room = torch.arange(rooms)
    return masks[best, room], errors[best, room]


@cache
def static():
    """Mean error of the best static mask, (B,).

    It is learnt on the very windows that frames are drawn from, under bands of other episodes.
    """
    process, kept = frames()
    s, learnt = process.problem.scenario, []
    for number in range(16):
        streams = Streams.from_seed(7300 + 100 * number, ROOMS)
        band = process.interferer.begin(streams, torch.float32)
        noise = process.interferer.noise(band, s.null)[:, None, :, None]
        draw = streams.normal("frame", *kept[0].pool.shape[1:], dtype=torch.float32)
        noisy = (kept[0].pool + noise.sqrt() * draw).clamp(-5, 5)
        instance = kept[0].instance.replace(score=noisy, score_label=kept[0].pool_label)
        learnt.append(kept[0].replace(instance=instance))
    mask, _ = greedy(process, learnt)
    return mean_error(process, kept, mask[:, None])[:, 0]


def clairvoyant(process, kept):
    """Mean cost of planning with the frames' variances, every change at its price, (B,)."""
    cost, last = [], None
    for state in kept:
        mask = AvoidKnown().mask(process, state, torch.zeros_like(state.mask[:, 0]))
        error = process.problem.mask_errors(state.instance, mask[:, None]).mean((1, 2))
        changed = 0 if last is None else (mask ^ last).sum(-1)
        cost.append(error + process.switching_cost / 2 * changed)
        last = mask
    return torch.stack(cost).mean(0)


@cache
def least():
    """Cost of the clairvoyant on the short course of frames, (B,)."""
    return clairvoyant(*frames())


def lower_bound(gain):
    """One-sided 99 % bound of the mean over rooms."""
    quantile = stats.t.ppf(0.99, len(gain) - 1)
    return float(gain.mean() - quantile * gain.std() / len(gain) ** 0.5)


def test_headroom__the_best_static_mask_pays_a_fifth_more_than_it_must():
    """Though the clairvoyant pays for every change and plans on windows of its own."""
    assert lower_bound(1 - least() / static()) > 0.2


@pytest.mark.slow
def test_headroom__no_static_mask_would_do_even_in_hindsight():
    """Chosen on the very frames that score it, over a whole episode; bands stay for 20 frames."""
    process, kept = frames(16, 4, 8)
    _, error = greedy(process, kept)
    assert lower_bound(1 - clairvoyant(process, kept) / error) > 0.1


def test_headroom__degenerate_masks_do_badly():
    process, kept = frames()
    s = process.problem.scenario
    tone = torch.arange(s.num_tones)
    null = s.null.repeat(s.num_links)
    clean = process.problem.known(process.rehearsed(kept[0], torch.zeros_like(kept[0].noise)))
    masks = {
        "null tones first": null.double() - tone / 100,
        "first link only": -tone.double(),
        "every second": (tone % 2 == 0).double() - tone / 100,
        "best on clean windows": forward_mask(process.problem, clean).double(),
    }
    for name, scores in masks.items():
        decision = SubcarrierDecision(scores.expand(ROOMS, -1).argsort(-1).argsort(-1) >= 16 - 8)
        error = mean_error(process, kept, decision.mask[:, None])[:, 0]
        assert lower_bound(error - least()) > 0.2, name
    decision = SubcarrierDecision((null.double() - tone / 100).argsort().argsort() >= 16 - 6)
    error = mean_error(process, kept, decision.mask.expand(ROOMS, 1, -1))[:, 0]
    assert lower_bound(error - 0.9) > 0, "the null tones and two others explain nothing"
