import itertools
import math

import numpy as np
import pytest
import torch

from isac_gym.core import ScenarioError, ShapeError, Streams, family_of
from isac_gym.core.records import TensorRecord
from isac_gym.physics.diffusion import diffuse
from isac_gym.physics.graphs import metropolis
from isac_gym.problems.multi_user_imaging.diffusion import STEP_RANGE
from isac_gym.testing import check_process
from isac_gym.testing.candidates import random_decision

ID = "isac/CooperativeImaging-v0"


def make(scenario="paper", **settings):
    return family_of(ID).make_process(ID, scenario, settings)


def start(process, lanes=4, *, seed=5):
    streams = Streams.from_seed(seed, lanes)
    return process.initial(streams), streams


def random_action(process, lanes, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(lanes, process.action_size, generator=generator) - 1


def play(process, choose, lanes=4, *, blocks=None, seed=5):
    """All transitions of decisions chosen by (process, state)."""
    state, streams = start(process, lanes, seed=seed)
    played = []
    for number in range(1, (blocks or process.horizon) + 1):
        played.append(process.advance(state, choose(process, state), streams.at_step(number)))
        state = played[-1].state
    return played


def plain(process, state):
    return process.problem.floor(state.instance)


def changed(**settings):
    """The plain filter with constant settings."""

    def choose(process, state):
        floor = plain(process, state)
        filled = {name: torch.full_like(getattr(floor, name), v) for name, v in settings.items()}
        return floor.replace(**filled)

    return choose


def total(played):
    return torch.stack([step.reward for step in played]).sum(0)


# --- actions ------------------------------------------------------------------------------------


def test_decode__ends_of_the_scales():
    process = make("small")
    state, _ = start(process)
    low, middle, high = (
        process.decode(state, torch.full((4, process.action_size), value)) for value in (-1, 0, 1)
    )
    for decision, step, sparsity, send in (
        (low, 0.05, 0.0, False),
        (middle, math.sqrt(0.05 * 1.5), 0.0125, True),
        (high, 1.5, 0.05, True),
    ):
        np.testing.assert_allclose(decision.step.numpy(), step)
        np.testing.assert_allclose(decision.sparsity.numpy(), sparsity)
        assert (decision.send == send).all()
    eye = torch.eye(4, dtype=torch.bool)
    circle = state.instance.adjacency | eye
    uniform = circle / circle.sum(-2, keepdim=True)
    for decision in (low, middle, high):
        torch.testing.assert_close(decision.weight, uniform, check_dtype=False)


def test_decode__scores_go_to_neighbours_by_distance():
    process = make("small")
    state, _ = start(process, 1)
    place, adjacency = state.instance.position[0], state.instance.adjacency[0]
    for user in range(4):
        links = [n for n in range(4) if adjacency[user, n]]
        links.sort(key=lambda n, user=user: float((place[n] - place[user]).norm()))
        for seat, chosen in enumerate([user, *links]):
            action = torch.full((1, 4, process.local_action_size), -1.0)
            action[0, user, 3 + seat] = 1
            column = process.decode(state, action.flatten(1)).weight[0, :, user]
            assert int(column.argmax()) == chosen
            others = len(links) + 1 - 1
            assert float(column[chosen]) == pytest.approx(1 / (1 + others * math.exp(-8)))


def test_decode__empty_places_play_no_role():
    process = make("small")
    state, _ = start(process)
    degree = state.instance.adjacency.sum(-1)
    assert (degree < 3).any()
    action = random_action(process, 4).unflatten(1, (4, -1))
    other = action.clone()
    for row, user in itertools.product(range(4), range(4)):
        other[row, user, 4 + int(degree[row, user]) :] = 0.77
    assert not torch.equal(action, other)
    here, there = (process.decode(state, a.flatten(1)) for a in (action, other))
    assert torch.equal(here.weight, there.weight)


def test_decode__refuses_a_wrong_shape():
    process = make("small")
    state, _ = start(process)
    with pytest.raises(ShapeError, match=r"action: shape \(4, 3\), expected \(4, 28\)"):
        process.decode(state, torch.zeros(4, 3))


@pytest.mark.parametrize("scenario", ["paper", "small"])
def test_encode__plain_filter_is_exact(scenario):
    process = make(scenario)
    state, _ = start(process, 8)
    floor = plain(process, state)
    back = process.decode(state, process.encode(state, floor))
    for name, tensor in floor.items():
        if tensor.dtype == torch.bool:
            assert torch.equal(getattr(back, name), tensor)
        else:
            torch.testing.assert_close(getattr(back, name), tensor, rtol=1e-12, atol=1e-12)


def test_encode__any_decision_is_reached_nearly():
    process = make()
    state, _ = start(process, 6)
    decision = process.problem.project(
        state.instance, random_decision(process.problem, state.instance, "encode")
    )
    back = process.decode(state, process.encode(state, decision))
    torch.testing.assert_close(back.step, decision.step)
    torch.testing.assert_close(back.sparsity, decision.sparsity)
    assert torch.equal(back.send, decision.send)
    assert float((back.weight - decision.weight).abs().max()) < 8 * math.exp(-8)  # no exact zeros


def test_max_neighbours__the_farthest_are_not_listened_to():
    process = make(max_neighbours=1)
    state, _ = start(process, 3)
    weight = process.decode(state, process.encode(state, plain(process, state))).weight
    place, adjacency = state.instance.position, state.instance.adjacency
    gap = (place[:, :, None] - place[:, None]).norm(dim=-1)
    nearest = gap.masked_fill(~adjacency, torch.inf).argmin(-1)
    assert (weight > 0).sum(-2).max() == 2
    for row, user in itertools.product(range(3), range(20)):
        heard = set(weight[row, :, user].nonzero()[:, 0].tolist())
        assert heard == {user, int(nearest[row, user])}


# --- time and reward ----------------------------------------------------------------------------


def test_constant_settings__are_the_plain_filter_over_750_samples():
    process = make()
    played = play(process, plain, 2)
    assert len(played) == 30
    assert played[-1].terminated.all()
    state, streams = start(process, 2)
    i, weight = state.instance, metropolis(state.instance.adjacency).to(torch.complex128)
    x, lits, samples = torch.zeros_like(i.estimate), [], []
    for number in range(30):
        i = process.problem.transmit(i, streams.at_step(number))
        sent = i.probe + i.symbol[..., None] * i.beam[:, None]
        lit = sent @ i.bs_channel.mT
        lits.append(lit)
        samples.append(i.received)
        for t in range(25):
            u = i.user_channel * lit[:, t, None]
            error = i.received[:, t] - (u * x).sum(-1)
            x = weight.mT @ (x + 0.6 / 320 * error[..., None] * u.conj())
    torch.testing.assert_close(played[-1].state.instance.estimate, x, rtol=0, atol=1e-11)
    step = torch.full((2, 20), 0.6 / 320, dtype=torch.float64)
    frame = torch.cat(lits, 1), torch.cat(samples, 1)
    whole = diffuse(torch.zeros_like(x), *frame, i.user_channel, weight.real, step=step)
    torch.testing.assert_close(whole.estimate, x, rtol=0, atol=1e-11)
    assert played[-1].state.instance.elapsed.tolist() == [750, 750]
    assert played[-1].state.spent.tolist() == [30.0, 30.0]


def test_reward__sums_to_the_final_image_less_the_price():
    process = make("small", horizon=6, exchange_cost=1.5)
    played = play(process, lambda p, s: p.decode(s, random_action(p, 4)))
    image = played[-1].metrics.objective / 10
    share = torch.stack([step.metrics.cost_share for step in played]).mean(0)
    torch.testing.assert_close(total(played), image - 1.5 * share)
    objectives = torch.stack([step.objectives for step in played]).sum(0)
    torch.testing.assert_close(objectives, torch.stack([image, -share], -1))
    assert process.objective_names == ("image", "exchange")
    for step in played:
        assert torch.equal(step.local_reward, step.reward[:, None].expand(-1, 4))


def test_reward__individual_pays_for_the_own_image_and_messages():
    process = make("small", horizon=5, local_reward_mode="individual")
    played = play(process, lambda p, s: p.decode(s, random_action(p, 4)))
    first = played[0]
    x = first.state.instance.image
    after = (first.state.instance.estimate - x[:, None]).abs().square().sum(-1)
    gain = (x.abs().square().sum(-1, keepdim=True) / after).log10()
    links = first.state.instance.adjacency.sum(-1)
    share = 4 * links * first.state.last.send / links.sum(-1, keepdim=True) / 5
    torch.testing.assert_close(first.local_reward, gain - share)
    price = torch.stack([step.metrics.cost_share for step in played]) / 5
    torch.testing.assert_close(price[0], share.mean(-1), check_dtype=False)


@pytest.mark.parametrize("scenario", ["paper", "noisy", "unknown-symbols"])
def test_reward__degenerate_policies_lose_to_the_plain_filter(scenario):
    process = make(scenario)
    reference = total(play(process, plain, 6))
    assert (reference > 0.4).all()  # an empty image earns 0
    degenerate = {
        "silent": changed(send=False),
        "silent and fast": changed(send=False, step=STEP_RANGE[1]),
        "timid": changed(step=STEP_RANGE[0]),
    }
    for label, choose in degenerate.items():
        assert (total(play(process, choose, 6)) < reference - 0.2).all(), label


def test_reward__there_is_something_to_learn():
    process = make()

    def schedule(process, state):
        step = 1.0 if int(state.block[0]) < 16 else 0.1
        return changed(step=step)(process, state)

    reference, scheduled = (play(process, choose, 8) for choose in (plain, schedule))
    gain = (scheduled[-1].metrics.objective - reference[-1].metrics.objective).mean()
    assert 2.0 < float(gain) < 6.0  # dB; 4.0 on 100 episodes


def test_advance__draws_fresh_samples_and_keeps_the_world():
    process = make("small", horizon=4)
    (first, second), (state, streams) = play(process, plain, blocks=2), start(process)
    for name in ("probe", "symbol", "received"):
        drawn = [getattr(s.instance, name) for s in (state, first.state, second.state)]
        for here, there in itertools.combinations(drawn, 2):
            assert not torch.equal(here, there), name
    assert [s.instance.elapsed.tolist() for s in (first.state, second.state)] == [[8] * 4, [16] * 4]
    for name in ("bs_channel", "user_channel", "image", "adjacency", "beam"):
        assert torch.equal(getattr(state.instance, name), getattr(second.state.instance, name))
    again = process.problem.transmit(state.instance, streams)
    assert torch.equal(again.received, state.instance.received)


def test_advance__infeasible_settings_are_run_as_repaired():
    process = make("small")
    state, streams = start(process)
    raw = random_decision(process.problem, state.instance, "raw")
    result = process.advance(state, raw, streams.at_step(1))
    fixed = process.problem.project(state.instance, raw)
    same = process.advance(state, fixed, streams.at_step(1))
    assert (result.metrics.violation > 0).all()
    torch.testing.assert_close(result.reward, same.reward)
    torch.testing.assert_close(result.state.last.weight, fixed.weight)


# --- what is known ------------------------------------------------------------------------------


def seen(process, state):
    """Blocks of the local observation by name, (B, K, size)."""
    blocks = process.local_observation_blocks
    parts = process.observe_local(state).split([block.size for block in blocks], -1)
    return dict(zip([block.name for block in blocks], parts, strict=True))


def close(found, expected):
    torch.testing.assert_close(found.double(), expected.clamp(-5, 5).double(), rtol=1e-5, atol=1e-5)


def test_observation__by_definition():
    process = make()
    chosen = lambda p, s: p.decode(s, random_action(p, 4, seed=int(s.block[0])))  # noqa: E731
    played = play(process, chosen, blocks=5)
    before, state = played[-2].state, played[-1].state
    i, s, found = state.instance, process.problem.scenario, seen(process, state)
    block, problem = before.instance, process.problem
    levels = [problem.residual(block, x) for x in (block.estimate, i.estimate)]
    close(found["error"], torch.stack([(v / s.noise_w).log10() / 2 for v in levels], -1))
    close(found["norm"][..., 0], i.estimate.norm(dim=-1) / math.sqrt(s.image_energy))
    close(found["degree"][..., 0], i.adjacency.sum(-1) / 8)
    close(found["time"], torch.full((4, 20, 1), 5 / 30))
    close(found["action"].flatten(1), process.encode(state, state.last))
    quiet = torch.stack([step.state.last.send for step in played]).long()  # (5, B, K)
    age = quiet.flip(0).cummax(0).values.logical_not().sum(0)
    assert torch.equal(age, state.age)
    close(found["silence"][..., 0], age / 10)
    gap = (i.position[:, :, None] - i.position[:, None]).norm(dim=-1)
    for row, user in itertools.product(range(4), range(20)):
        links = [n for n in range(20) if i.adjacency[row, user, n]]
        links.sort(key=lambda n, row=row, user=user: float(gap[row, user, n]))
        places = {name: found[name][row, user] for name in ("link", "distance", "neighbour", "age")}
        assert places["link"].tolist() == [1.0] * len(links) + [0.0] * (8 - len(links))
        for values in places.values():
            assert not values[len(links) :].any()
        off = i.estimate[row, user] - state.message[row, links]
        close(
            places["distance"][: len(links)],
            (off.abs().square().sum(-1) / s.image_energy).log10() / 2,
        )
        close(places["age"][: len(links)], age[row, links] / 10)
        level = (state.message_error[row, links] / s.noise_w).log10() / 2
        close(places["neighbour"][: len(links)], level)


def test_observation__energy_is_that_of_the_known_transmission():
    for scenario in ("paper", "unknown-symbols"):
        process = make({"preset": scenario, "num_samples": 1000})
        state, _ = start(process, 2)
        lit = process.problem.known_illumination(state.instance).abs().square().mean(1)
        energy = torch.einsum("bv,bkv->bk", lit, state.instance.user_channel.abs().square())
        found = seen(process, state)["energy"][..., 0]
        torch.testing.assert_close(found.double(), energy / 320, rtol=0.15, atol=0)


def test_observation__joint_is_the_users_one_after_the_other():
    process = make("small")
    state = play(process, plain, blocks=2)[-1].state
    local, joint = process.observe_local(state), process.observe(state)
    assert torch.equal(joint[:, :-1], local[..., :-1].flatten(1))
    assert torch.equal(joint[:, -1:], local[:, 0, -1:])
    assert make().observation_size <= 1500


def test_knowledge__nothing_of_the_truth_or_the_future():
    for scenario in ("small", {"preset": "small", "known_symbols": False}):
        process = make(scenario)
        (result,) = play(process, plain, blocks=1)
        state, before = result.state, start(process)[0].instance
        i = state.instance
        other = state.replace(
            instance=i.replace(
                image=i.image.conj() * 0.5,
                probe=-i.probe,
                symbol=-i.symbol,
                received=2 * i.received,
            )
        )
        assert torch.equal(process.observe(state), process.observe(other))
        for name, tensor in process.measured(state).items():
            assert torch.equal(tensor, getattr(process.measured(other), name)), name
        known = process.measured(state)
        assert torch.equal(known.received, before.received)
        assert torch.equal(known.estimate, i.estimate)
        torch.testing.assert_close(known.image, i.estimate.mean(1))
        expected = before.symbol if process.problem.scenario.known_symbols else 0 * before.symbol
        assert torch.equal(known.symbol, expected)
        assert torch.equal(process.truth(state).received, i.received)


def test_knowledge__at_the_start_nothing_was_received():
    process = make("small")
    state, _ = start(process)
    known = process.measured(state)
    for name in ("image", "probe", "symbol", "received", "estimate"):
        assert not getattr(known, name).any(), name
    process.problem.validate(known, process.problem.floor(known))


def test_messages__are_kept_until_the_next_one():
    process = make("small", horizon=3)
    (first, second) = play(process, lambda p, s: changed(send=int(s.block[0]) == 0)(p, s), blocks=2)
    assert first.state.message.abs().amax(-1).all()
    assert torch.equal(first.state.message, second.state.message)
    assert torch.equal(first.state.message_error, second.state.message_error)
    assert not first.state.age.any()
    assert (second.state.age == 1).all()
    floor = plain(process, start(process)[0])
    outcome = process.problem.run(start(process)[0].instance, floor)
    assert torch.equal(first.state.message, outcome.message)


# --- the rest -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"exchange_cost": -0.1}, "exchange_cost must be in"),
        ({"exchange_cost": math.nan}, "exchange_cost must be in"),
        ({"exchange_cost": 101.0}, "exchange_cost must be in"),
        ({"max_neighbours": 0}, "max_neighbours must be an integer >= 1"),
        ({"max_neighbours": True}, "max_neighbours must be an integer >= 1"),
        ({"max_neighbours": 2.5}, "max_neighbours must be an integer >= 1"),
        ({"local_reward_mode": "difference"}, "local_reward_mode must be"),
        ({"horizon": 0}, "horizon must be"),
        ({"blocks": 3}, "unknown setting"),
    ],
)
def test_settings__are_checked(settings, words):
    with pytest.raises(ScenarioError, match=words):
        make(**settings)


def test_scene__shows_users_and_images():
    process = make()
    state = play(process, plain, 2, blocks=3)[-1].state
    scene = process.scene(state)
    assert "block 3" in scene.title
    users = next(points for points in scene.points if points.role == "user")
    np.testing.assert_allclose(users.xy_m, state.instance.position[0, :, :2])
    bars = {bar.title: bar.values for bar in scene.bars}
    i = state.instance
    off = (i.estimate[0] - i.image[0]).abs().square().sum(-1) / i.image[0].abs().square().sum()
    np.testing.assert_allclose(bars["image error"], 10 * off.log10())
    np.testing.assert_allclose(bars["step size"], 0.6)
    shown = (i.image[0], i.estimate[0].mean(0), i.estimate[0, int(off.argmax())])
    assert [box.role for box in scene.voxels] == ["truth", "estimate", "estimate"]
    for box, image in zip(scene.voxels, shown, strict=True):
        assert box.values.shape == (4, 4, 2)
        np.testing.assert_allclose(box.values.flatten(), image.abs())


@pytest.mark.parametrize("mode", ["shared", "individual"])
def test_small__conforms(mode):
    process = make("small", horizon=5, max_neighbours=2, local_reward_mode=mode)
    assert isinstance(start(process)[0], TensorRecord)
    check_process(process)
