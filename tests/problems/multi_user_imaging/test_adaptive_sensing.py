import dataclasses

import pytest
import torch

from isac_gym.core import ScenarioError, Streams, family_of
from isac_gym.problems.multi_user_imaging import adaptive_sensing
from isac_gym.problems.multi_user_imaging.frames import Statistics, aged, moved, observed
from isac_gym.problems.multi_user_imaging.world import support_of
from isac_gym.testing import check_process

NAME = "isac/AdaptiveSensing"
VARIANTS = ("", "Moving", "Fading", "Budget")


def make(variant="", scenario="small", **settings):
    name = f"{NAME}{variant}-v0"
    return family_of(name).make_process(name, scenario, settings)


def play(process, action, lanes=4, *, seed=5):
    """States before each frame and transitions."""
    streams = Streams.from_seed(seed, lanes)
    state, played = process.initial(streams), []
    for number in range(1, process.horizon + 1):
        wanted = torch.as_tensor(action, dtype=torch.float32).expand(lanes, process.action_size)
        decision = process.decode(state, wanted)
        played.append((state, process.advance(state, decision, streams.at_step(number))))
        state = played[-1][1].state
    return played


@pytest.mark.parametrize("variant", VARIANTS)
def test_conformance(variant):
    check_process(make(variant))


@pytest.mark.parametrize("mode", ["eigen", "factor"])
def test_conformance__other_maps(mode):
    check_process(make(action_mode=mode, symbols="sliced", reward_mode="posterior"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_frame__meets_power_and_sinr(variant):
    for _, result in play(make(variant), 0.4):
        reachable = result.metrics.is_reachable
        assert (result.metrics.violation[reachable] < 1e-9).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_reward__gradient_in_the_action_is_that_of_differences(variant):
    process = make(variant)
    streams = Streams.from_seed(5, 3)
    state = process.initial(streams)
    generator = torch.Generator().manual_seed(1)
    action, way = torch.rand(2, 3, process.action_size, generator=generator).double() - 0.5

    def reward(at):
        return process.advance(state, process.decode(state, at), streams.at_step(1)).reward

    slope = torch.autograd.functional.jvp(reward, action, way)[1]
    step = 1e-4 * way
    torch.testing.assert_close(
        (reward(action + step) - reward(action - step)) / 2e-4, slope, rtol=1e-5, atol=1e-7
    )


def test_reward__telescopes():
    for mode in ("truth", "posterior"):
        process = make(reward_mode=mode)
        played = play(process, 0.0)
        total = torch.stack([result.reward for _, result in played]).sum(0)
        last = played[-1][1].state
        first = played[0][0].variance.sum(-1)
        wanted = -last.error_db / 10 if mode == "truth" else (first / last.variance.sum(-1)).log10()
        torch.testing.assert_close(total, wanted)


def test_reward__tracking_sums_to_the_mean_error():
    played = play(make("Moving"), 0.0)
    errors = torch.stack([result.state.error_db for _, result in played])
    total = torch.stack([result.reward for _, result in played]).sum(0)
    torch.testing.assert_close(total, -errors.mean(0) / 10)


def test_statistics__accumulate_and_forget():
    process = make()
    streams = Streams.from_seed(2, 3)
    instance = process.problem.sample(streams)
    decision, s = process.problem.floor(instance), process.problem.scenario
    zero = Statistics(torch.zeros_like(instance.precision), torch.zeros_like(instance.image))
    one = observed(s, instance, decision, streams.at_step(1), past=zero, gamma=None)
    two = observed(s, instance, decision, streams.at_step(2), past=zero, gamma=None)
    both = observed(s, instance, decision, streams.at_step(2), past=one, gamma=None)
    torch.testing.assert_close(both.information, one.information + two.information)
    torch.testing.assert_close(both.matched, one.matched + two.matched)
    for forgetting in (0.25, 1.0):
        played = play(make(forgetting=forgetting), 0.0)
        (_, first), (_, second) = played[:2]
        fresh = second.state.information - forgetting * first.state.information
        whole = torch.linalg.eigvalsh(fresh)
        assert (whole > -1e-6 * whole[:, -1:]).all()


def test_forgetting__counts_once_a_frame():
    process, forgetting = make(forgetting=0.4), 0.4
    (_, first), (before, second) = play(process, 0.0)[:2]
    zero = Statistics(torch.zeros_like(before.information), torch.zeros_like(before.matched))
    decision = process.decode(before, torch.zeros(4, process.action_size))
    fresh = observed(
        process.problem.scenario,
        before.instance,
        decision,
        Streams.from_seed(5, 4).at_step(2),
        past=zero,
        gamma=None,
    )
    wanted = forgetting * first.state.information + fresh.information
    torch.testing.assert_close(second.state.information, wanted)
    wanted = forgetting * first.state.matched + fresh.matched
    torch.testing.assert_close(second.state.matched, wanted)


def test_precision__is_that_of_the_posterior_after_forgetting():
    process = make(least_variance=1e-8, forgetting=0.4)
    for _, result in play(process, 0.0):
        state = result.state
        wanted = 0.4 * state.information / process.problem.scenario.noise_w
        wanted = wanted + torch.diag_embed(1 / state.gamma).to(wanted.dtype)
        torch.testing.assert_close(state.measured.precision, wanted)


def test_precision__is_that_of_the_posterior():
    played = play(make(least_variance=1e-8), 0.0)
    process_noise = make().problem.scenario.noise_w
    for _, result in played:
        state = result.state
        wanted = state.information / process_noise
        wanted = wanted + torch.diag_embed(1 / state.gamma).to(wanted.dtype)
        torch.testing.assert_close(state.measured.precision, wanted)
        mean = torch.linalg.solve(wanted, (state.matched / process_noise)[..., None])[..., 0]
        torch.testing.assert_close(mean, state.estimate, rtol=1e-4, atol=1e-6)


def test_budget__is_never_exceeded_and_serves_the_data():
    process = make("Budget")
    for level in (-1.0, 0.5, 1.0):
        played = play(process, level, lanes=16)
        spent = torch.stack([result.metrics.power_w for _, result in played]).sum(0)
        total = played[0][0].energy
        assert (spent <= total * (1 + 1e-9)).all()
        assert (played[-1][1].state.energy >= 0).all()


def test_budget__serves_the_data_in_every_frame():
    """Full power asked for in every frame leaves nothing over but what the data will need."""
    process = make("Budget", {"preset": "paper", "min_sinr_db": 22.0})
    s, played = process.problem.scenario, play(process, 1.0, lanes=8)
    gain = played[0][0].instance.comm_channel.abs().square().sum(-1)
    can = process.horizon * s.min_sinr * s.comm_noise_w / gain < 0.99 * played[0][0].energy
    assert can.sum() >= 4
    for _, result in played:
        assert (result.metrics.sinr[can] >= s.min_sinr * (1 - 1e-9)).all()


@pytest.mark.parametrize("variant", ["", "Budget"])
@pytest.mark.parametrize(("probe", "beam"), [(100.0, 100.0), (1.0, 0.0), (50.0, 1.0)])
def test_advance__sends_only_what_power_and_sinr_allow(variant, probe, beam):
    process, streams = make(variant), Streams.from_seed(5, 8)
    problem, state = process.problem, process.initial(streams)
    fair = process.decode(state, torch.zeros(8, process.action_size))
    asked = fair.replace(probe=probe * fair.probe, beam=beam * fair.beam)
    result = process.advance(state, asked, streams.at_step(1))
    wanted = problem.evaluate(state.instance, asked)
    torch.testing.assert_close(result.metrics.power_w, wanted.power_w, rtol=0, atol=0)
    sent = problem.project(state.instance, asked)
    honest = process.advance(state, sent, streams.at_step(1))
    for name in ("information", "matched", "estimate", "energy", "lit", "error_db"):
        got, due = getattr(result.state, name), getattr(honest.state, name)
        torch.testing.assert_close(got, due, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(result.reward, honest.reward)
    torch.testing.assert_close(result.objectives, honest.objectives)
    spent = state.energy - result.state.energy
    torch.testing.assert_close(spent, problem.evaluate(state.instance, sent).power_w)


def known_to(process, state):
    """All that a policy may see of a state: observation and measured tensors."""
    seen, m = {"observation": process.observe(state)}, process.measured(state)
    return seen | {f.name: getattr(m, f.name) for f in dataclasses.fields(m)}


def same(first, second):
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_truth__is_seen_through_the_received_signals_only(variant, monkeypatch):
    """Same statistics, another image, other motion and ageing: the same is known."""
    process, streams = make(variant), Streams.from_seed(5, 4)
    state = process.initial(streams)
    decision = process.decode(state, torch.zeros(4, process.action_size))
    received = []

    def kept(*args, **settings):
        received.append(observed(*args, **settings))
        return received[0]

    monkeypatch.setattr(adaptive_sensing, "observed", kept)
    one = process.advance(state, decision, streams.at_step(1)).state
    truth = state.instance.replace(image=state.instance.image.flip(0) * 0.7j)
    other = state.replace(instance=truth)
    same(known_to(process, state), known_to(process, other))
    two = process.advance(other, decision, Streams.from_seed(6, 4).at_step(1)).state
    assert (one.instance.image != two.instance.image).any(-1).all()
    assert (one.instance.bs_channel != two.instance.bs_channel).any() == (variant == "Fading")
    same(known_to(process, one), known_to(process, two))


@pytest.mark.parametrize("variant", VARIANTS)
def test_truth__of_the_next_frame_is_not_read(variant):
    process = make(variant)
    state = play(process, 0.0)[0][1].state
    i = state.instance
    truth = i.replace(image=i.image.flip(0) * 0.7j)
    if variant == "Fading":
        truth = truth.replace(bs_channel=2 * i.bs_channel, user_channel=3 * i.user_channel)
    other = state.replace(instance=truth)
    same(known_to(process, state), known_to(process, other))
    action = torch.full((4, process.action_size), 0.3)
    one, two = process.decode(state, action), process.decode(other, action)
    torch.testing.assert_close(two.probe, one.probe, rtol=0, atol=0)
    torch.testing.assert_close(two.beam, one.beam, rtol=0, atol=0)


def test_fading__design_knows_the_frame_before():
    played = play(make("Fading", correlation=0.9), 0.0, lanes=64)
    for before, result in played:
        after = result.state
        torch.testing.assert_close(after.measured.bs_channel, before.instance.bs_channel)
        rest = after.instance.bs_channel - 0.9 * after.measured.bs_channel
        assert abs(float(rest.abs().square().mean()) / 0.19 - 1) < 0.1
        torch.testing.assert_close(after.instance.comm_channel, before.instance.comm_channel)


def test_aged__keeps_the_power():
    process = make(scenario="paper")
    streams = Streams.from_seed(1, 64)
    old = process.problem.sample(streams)
    new = aged(old, streams.at_step(1), 0.5)
    assert abs(float(new.bs_channel.abs().square().mean()) - 1) < 0.02
    overlap = (new.bs_channel * old.bs_channel.conj()).real.mean()
    assert abs(float(overlap) - 0.5) < 0.02


def test_moved__wraps_by_one_voxel_and_keeps_the_target():
    process = make(scenario="image")
    s, streams = process.problem.scenario, Streams.from_seed(1, 200)
    image = process.problem.sample(streams).image
    new = moved(s, image, streams.at_step(1), 1.0)
    torch.testing.assert_close(new.abs().sort(-1).values, image.abs().sort(-1).values)
    cube = image.unflatten(1, (4, 4, 4)), new.unflatten(1, (4, 4, 4))
    ways = [torch.roll(cube[0], shift, axis) for axis in (1, 2, 3) for shift in (1, -1)]
    same = torch.stack([(way == cube[1]).flatten(1).all(-1) for way in ways])
    assert same.any(0).all()
    assert same.any(1).all()
    stay = moved(s, image, streams.at_step(1), 0.3)
    share = (stay == image).all(-1).double().mean()
    assert 0.6 < float(share) < 0.8
    assert (support_of(stay).sum(-1) == s.num_occupied).all()


def test_greedy__beats_equal_power_and_silence_images_nothing():
    process = make(scenario="low-snr")
    errors = {}
    for name, action in (("equal", (1.0, -1.0, -1.0)), ("greedy", (-1.0, -1.0, 1.0))):
        errors[name] = play(process, torch.tensor(action), 12)[-1][1].state.error_db.mean()
    assert errors["greedy"] < errors["equal"] - 2
    silent = play(make("Budget"), -1.0)
    lit = silent[-1][1].metrics
    assert (lit.sinr[lit.is_reachable] >= 9.99).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"action_mode": "raw"},
        {"reward_mode": "x"},
        {"symbols": "x"},
        {"move_probability": 1.1},
        {"forgetting": -0.1},
        {"correlation": float("nan")},
        {"energy": 0.0},
        {"updates": 0},
        {"refinements": 2.5},
        {"horizon": 0},
    ],
)
def test_settings__bad_ones_are_refused(settings):
    with pytest.raises(ScenarioError, match=next(iter(settings))):
        make(**settings)
