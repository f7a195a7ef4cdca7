"""Breathing frames: what is scored, what is seen, what moves."""

import dataclasses

import pytest
import torch

from isac_gym.core import ScenarioError, Streams, family_of
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.problems.subcarrier_selection.respiration_tracking import RespirationTracking
from isac_gym.problems.subcarrier_selection.world import BREATHING_HZ, World
from tests.oracles import subcarrier_breathing as oracle

ID = "isac/SubcarrierRespiration-v0"
LANES = 3


def make(**settings):
    return family_of(ID).make_process(ID, settings=settings)


PROCESS = make()
TONES = PROCESS.action_size


def masks(step, lanes=LANES):
    """Another allowed mask in every step."""
    scores = Streams.from_seed(9, lanes).at_step(step).uniform("mask", TONES)
    limits = PROCESS.problem.scenario.max_tones
    return scores.argsort(1).argsort(1) < limits


def play(process, steps, *, choose=masks, lanes=LANES, seed=4):
    """States before every step and the transitions."""
    streams = Streams.from_seed(seed, lanes)
    state, log = process.initial(streams), []
    for step in range(1, steps + 1):
        decision = SubcarrierDecision(choose(step, lanes))
        result = process.advance(state, decision, streams.at_step(step))
        log.append((state, decision.mask, result))
        state = result.state
    return log


LOG = play(PROCESS, 12)


def test_frames__are_scored_as_the_truth_says():
    grid = PROCESS.problem.frequency_hz.numpy()
    for state, mask, result in LOG[:4]:
        truth = PROCESS.truth(state)
        for lane in range(LANES):
            spectrum, rate = truth.score[lane].numpy(), truth.score_hz[lane].numpy()
            miss = oracle.mask_error(spectrum, rate, mask[lane].tolist(), grid)
            assert abs(float(result.metrics.mae_bpm[lane]) - 60 * miss) <= 1e-9


def test_reward__is_the_objective_less_the_price_of_changes():
    before = None
    for _, mask, result in LOG:
        swaps = 0 * mask.sum(1) if before is None else (mask ^ before).sum(1) / 2
        wanted = result.metrics.objective - 0.005 * swaps
        torch.testing.assert_close(result.reward, wanted.double())
        torch.testing.assert_close(result.objectives.sum(-1), result.reward)
        torch.testing.assert_close(result.local_reward, result.reward[:, None].expand(-1, 2))
        before = mask


def forget_truth(state, streams):
    """The state with noise in place of what was not acquired and of every true rate."""
    i = state.instance
    noise = streams.uniform("noise", *i.score.shape[1:])
    return state.replace(
        instance=i.replace(score=noise, score_hz=0.2 + 0.3 * streams.uniform("hz", 4)),
        rate_hz=0.2 + 0 * state.rate_hz,
        person_m=0 * state.person_m,
        level=0 * state.level,
    )


def test_observations_and_plans__show_nothing_of_the_coming_frame():
    streams = Streams.from_seed(1, LANES)
    for state, _, _ in LOG:
        other = forget_truth(state, streams)
        assert torch.equal(PROCESS.observe(state), PROCESS.observe(other))
        assert torch.equal(PROCESS.observe_local(state), PROCESS.observe_local(other))
        known, hidden = PROCESS.measured(state), PROCESS.measured(other)
        assert all(torch.equal(t, getattr(hidden, name)) for name, t in known.items())


def test_memory__is_of_acquired_tones_only():
    state, mask, result = LOG[0]
    changed = state.instance.score.clone()
    changed[~mask[:, None, :, None].expand_as(changed)] = 1 / 24
    other = state.replace(instance=state.instance.replace(score=changed))
    after = PROCESS.advance(other, SubcarrierDecision(mask), Streams.from_seed(4, 3).at_step(1))
    assert torch.equal(PROCESS.observe(after.state), PROCESS.observe(result.state))
    assert torch.equal(after.reward, result.reward)


def test_memory__keeps_what_was_seen_and_its_age():
    last = torch.full((LANES, TONES), PROCESS.horizon)
    for state, mask, result in LOG:
        last = torch.where(mask, 0, (last + 1).clamp_max(PROCESS.horizon))
        assert torch.equal(result.state.age, last)
        seen, before = result.state.instance.val, state.instance
        where = mask[:, None, :, None]
        assert torch.equal(seen, torch.where(where, before.score, before.val))


def test_no_true_rate__is_remembered():
    _, mask, result = LOG[0]
    found = result.state.instance.val_hz
    truth = LOG[0][0].instance.score_hz
    assert not torch.isclose(found, truth, atol=1e-12).any()
    assert mask.any()


def test_person__stays_or_moves_on_the_grid_and_breathes_within_the_range():
    still, restless = (play(make(move_probability=p), 6) for p in (0.0, 1.0))
    grid = PROCESS.problem.scenario.grid
    for log, stays in ((still, True), (restless, False)):
        places = torch.stack([state.person_m for state, _, _ in log], 1)
        steps = places.diff(dim=1).abs().sum(-1)
        assert bool((steps == 0).all()) == stays
        near = (places[:, :, None] - grid).abs().sum(-1).amin(-1)
        assert float(near.max()) <= 1e-12
    wild = play(make(drift_hz=0.3, jitter_hz=0.3), 12)
    rates = torch.cat([state.instance.score_hz for state, _, _ in wild], 1)
    assert (rates >= BREATHING_HZ[0] - 1e-12).all()
    assert (rates <= BREATHING_HZ[1] + 1e-12).all()
    assert float(rates.std()) > 0.05


def test_bands__make_the_tones_under_them_worse():
    """Frames with bands of 40 dB: the tones under them have flat spectra and lively levels."""
    log = play(make(inr_db=40.0, jump_probability=1.0), 24)
    clear, hit = [], []
    null = PROCESS.problem.scenario.null
    for state, _, _ in log:
        under = PROCESS.interferer.covers(state.place) & ~null
        free = ~PROCESS.interferer.covers(state.place) & ~null
        level = state.level.unflatten(1, (2, -1))
        hit.append(level[under])
        clear.append(level[free])
    assert float(torch.cat(hit).mean()) > float(torch.cat(clear).mean()) + 0.5


def test_frames__have_no_interference_without_a_band():
    quiet = make(inr_db=-30.0)
    loud = make(inr_db=30.0)
    calm, noisy = (
        torch.stack([r.metrics.error for _, _, r in play(p, 12, lanes=6)]) for p in (quiet, loud)
    )
    assert float(calm.mean()) < float(noisy.mean())


def test_reset__generates_few_windows(monkeypatch):
    count, whole = [], World.csi

    def counted(self, *arguments):
        csi = whole(self, *arguments)
        count.append(csi.shape[1])
        return csi

    monkeypatch.setattr(World, "csi", counted)
    PROCESS.initial(Streams.from_seed(0, 2))
    assert sum(count) <= 600


@pytest.mark.parametrize(
    ("name", "value"),
    [("move_probability", 1.5), ("drift_hz", -0.1), ("band_share", 2.0), ("inr_db", 100.0)],
)
def test_settings__outside_their_range_are_refused(name, value):
    with pytest.raises(ScenarioError, match=name):
        make(**{name: value})


def test_settings__all_play_a_role():
    base = torch.stack([r.reward for _, _, r in LOG])
    other = {
        "move_probability": 0.9,
        "drift_hz": 0.05,
        "jitter_hz": 0.05,
        "band_share": 0.6,
        "inr_db": 10.0,
        "inr_std_db": 5.0,
        "walk_probability": 1.0,
        "jump_probability": 0.9,
        "switching_cost": 0.1,
    }
    for name, value in other.items():
        changed = torch.stack([r.reward for _, _, r in play(make(**{name: value}), 12)])
        assert not torch.equal(base, changed), name
    pairs = [play(make(inr_std_db=5.0, inr_correlation=c), 12)[-1][0].level_db for c in (0.1, 0.9)]
    assert not torch.equal(*pairs)
    declared = {f.name for f in dataclasses.fields(RespirationTracking)}
    assert declared == {*other, "inr_correlation", "problem", "horizon"}
