"""Federated rounds: exact where sums are exact, close where noise is small, honest when silent."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.data.images import load_images
from isac_gym.physics.data_split import batch_index, dirichlet_split
from isac_gym.problems.ota_feel.exchange import kept
from isac_gym.problems.ota_feel.federated import SCHEMES, OtaFeelFederated
from isac_gym.problems.ota_feel.federated_settings import TASKS
from isac_gym.problems.ota_feel.federated_view import OtaFeelFederatedState
from isac_gym.problems.ota_feel.model import OtaFeel, power_of
from isac_gym.problems.ota_feel.records import OtaFeelDecision
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario
from isac_gym.problems.ota_feel.transmission import scale_updates
from isac_gym.testing import PROCESS_CHECKS

LANES = 3


def process(preset: str = "small", **settings: Any) -> OtaFeelFederated:
    """A process; scenario fields under ``scenario``."""
    scenario = OtaFeelScenario.preset(preset, **settings.pop("scenario", {}))
    return OtaFeelFederated(problem=OtaFeel(scenario=scenario), **settings)


def of_scheme(scheme: str, **settings: Any) -> OtaFeelFederated:
    """A small process with as many streams as the scheme has."""
    scenario = {"num_tasks": TASKS.get(scheme, 2)} | settings.pop("scenario", {})
    return process(scheme=scheme, scenario=scenario, **settings)


def play(
    p: OtaFeelFederated, rounds: int, *, lanes: int = LANES, seed: int = 0
) -> list[OtaFeelFederatedState]:
    """States of an episode in which the base design is played."""
    streams = Streams.from_seed(seed, lanes)
    states = [p.initial(streams)]
    for number in range(1, rounds + 1):
        decision = OtaFeelDecision(states[-1].plan)
        states.append(p.advance(states[-1], decision, streams.at_step(number)).state)
    return states


def averaged(weights: Tensor, streams: Streams, rounds: int) -> list[Tensor]:
    """Global weights of federated averaging on digits with torch's layers, devices one by one."""
    images = load_images("digits")
    x, y = images.normalised(images.train).flatten(1), images.train_label
    order, offset = dirichlet_split(y, 4, streams)
    history = [weights]
    for number in range(rounds):
        index = batch_index(order, offset, streams.at_step(number), steps=5, batch_size=32)
        rows: list[Tensor] = []
        for b in range(len(weights)):
            size = offset[b].diff().double()
            total = torch.zeros_like(weights[b], dtype=torch.float64)
            for k in range(4):
                net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
                parts = history[-1][b].split([64 * 32, 32, 320, 10])
                with torch.no_grad():
                    net[0].weight.copy_(parts[0].view(64, 32).T)
                    net[0].bias.copy_(parts[1])
                    net[2].weight.copy_(parts[2].view(32, 10).T)
                    net[2].bias.copy_(parts[3])
                descent = torch.optim.SGD(net.parameters(), lr=0.1)
                for t in range(5):
                    descent.zero_grad()
                    batch = index[t, b, k]
                    functional.cross_entropy(net(x[batch]), y[batch]).backward()
                    descent.step()
                trained = [p.detach().T if p.ndim == 2 else p.detach() for p in net.parameters()]
                flat = torch.cat([part.flatten() for part in trained])
                total += (size[k] / size.sum()) * (flat - history[-1][b])
            rows.append(history[-1][b] + total.float())
        history.append(torch.stack(rows))
    return history


def test_perfect_sums_are_federated_averaging() -> None:
    states = play(of_scheme("perfect"), 3)
    expected = averaged(states[0].weights, Streams.from_seed(0, LANES), 3)
    for state, weights in zip(states, expected, strict=True):
        torch.testing.assert_close(state.weights, weights, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scaling", ["adaptive", "max"])
def test_without_noise_the_air_adds_exactly(scaling: str) -> None:
    quiet = {"snr_db": 80.0, "server_antennas": 16}
    air = play(of_scheme("joint", scaling=scaling, scenario=quiet, first_rounds=200), 1)
    exact = play(of_scheme("perfect", scenario=quiet), 1)
    change = exact[1].weights - exact[0].weights
    gap = (air[1].weights - exact[1].weights).square().sum(-1) / change.square().sum(-1)
    assert float(gap.max()) < 1e-4


def test_noise_of_the_update_is_what_the_metrics_say() -> None:
    p = process("joint", scenario={"snr_db": 0.0})
    streams = Streams.from_seed(0, LANES)
    state = p.initial(streams)
    result = p.advance(state, OtaFeelDecision(state.plan), streams.at_step(1))
    share = state.images.double() / state.images.sum(-1, keepdim=True)
    exact = torch.einsum("bk,bkd->bd", share, state.delta.double())
    error = (result.state.weights - state.weights - exact).square().mean(-1)
    learning = state.instance.weight[..., 1].square().sum(-1)
    expected = state.factor.square() * result.metrics.nmse_task[:, 1] * learning
    ratio = error / expected
    assert float(ratio.min()) > 0.7
    assert float(ratio.max()) < 1.3  # updates of different devices are not quite uncorrelated


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_learn_and_locate_as_they_say(scheme: str) -> None:
    p = of_scheme(scheme, likelihood="full")
    states = play(p, 9, lanes=6)
    learned = states[-1].accuracy > states[0].accuracy + 0.2
    assert bool(learned.all()) == p.learns
    moved = (states[-1].estimate != states[0].estimate).any(-1)
    assert bool(moved.all()) == (p.locates or scheme == "single-shot")
    if not p.learns:
        assert states[-1].weights.shape == (6, 1)
        assert not states[-1].accuracy.any()


def test_repeats_undo_the_pulses() -> None:
    scenario = {"pulse": "dft", "num_devices": 15, "server_antennas": 16}
    error = {
        repeats: play(of_scheme("joint", repeats=repeats, scenario=scenario), 8, lanes=6)[-1]
        for repeats in (1, 64)
    }
    assert float(error[64].error_m.mean()) < float(error[1].error_m.mean())
    torch.testing.assert_close(error[64].accuracy, error[1].accuracy, rtol=0.1, atol=0)


def test_the_search_finds_the_target() -> None:
    states = play(of_scheme("setup-1", scenario={"num_devices": 15}), 8, lanes=8)
    before, after = states[0].error_m, states[-1].error_m
    assert float(after.median()) < 1.0 < float(before.median())


def test_silent_devices_are_left_out() -> None:
    p = process(scenario={"snr_db": 80.0}, first_rounds=200)
    streams = Streams.from_seed(0, LANES)
    state = p.initial(streams)
    sent = state.plan.clone()
    sent[:, 1:] = 0
    after = p.advance(state, OtaFeelDecision(sent), streams.at_step(1)).state
    alone = state.weights + state.delta[:, 0]
    gap = (after.weights - alone).square().sum(-1) / state.delta[:, 0].square().sum(-1)
    assert float(gap.max()) < 1e-4
    quiet = p.advance(state, OtaFeelDecision(0 * sent), streams.at_step(1)).state
    assert torch.equal(quiet.weights, state.weights)
    assert not quiet.sounded.any()


def test_kept_scales_are_those_of_the_others_alone() -> None:
    streams = Streams.from_seed(2, LANES)
    delta = streams.normal("delta", 5, 40) * streams.uniform("scale", 5, 1)
    share = streams.uniform("share", 5)
    share = share / share.sum(-1, keepdim=True)
    active = torch.tensor([1.0, 0, 1, 1, 0]).double().expand(LANES, -1)
    norm = (share * active).sum(-1)
    for rule in ("adaptive", "max"):
        whole = scale_updates(delta, share, rule=rule)
        found = kept(whole, active, norm, share)
        others = active[0].bool()
        expected = scale_updates(
            delta[:, others], share[:, others] / norm[:, None], rule="adaptive"
        )
        if rule == "adaptive":
            torch.testing.assert_close(found.factor, expected.factor)
            torch.testing.assert_close(found.weight[:, others], expected.weight)
        else:
            torch.testing.assert_close(found.factor, whole.factor)
        assert not found.weight[:, ~others].any()
        torch.testing.assert_close(found.offset, expected.offset)
        sums = torch.einsum("bk,bkd->bd", found.weight, delta / found.divisor[..., None])
        plain = torch.einsum("bk,bkd->bd", share * active, delta) / norm[:, None]
        torch.testing.assert_close(sums * found.factor[:, None], plain)


def test_channels_last_as_long_as_they_should() -> None:
    states = play(process(coherence=3), 7, lanes=2)
    is_new = [not torch.equal(a.instance.channel, b.instance.channel) for a, b in pairwise(states)]
    assert is_new == [False, False, True, False, False, True, False]
    late = play(process(coherence=3, delay_rounds=1), 4, lanes=2)
    assert torch.equal(late[3].measured.channel, late[2].instance.channel)
    assert not torch.equal(late[3].measured.channel, late[3].instance.channel)
    assert torch.equal(late[4].measured.channel, late[4].instance.channel)


def test_energy_runs_out() -> None:
    p = process(energy=0.1, horizon=20)
    streams = Streams.from_seed(0, LANES)
    state = p.initial(streams)
    for number in range(1, 6):
        full = p.problem.floor(state.instance)
        state = p.advance(state, full, streams.at_step(number)).state
    assert float(state.energy.max()) < 1e-12
    assert float(state.instance.max_power_w.max()) <= 1e-6
    assert float(power_of(state.plan).max()) <= 1e-6 * (1 + 1e-9)


def test_frames_of_echoes_add_up_only_where_asked() -> None:
    once, often = (play(process(echoes=e), 3, lanes=2) for e in ("frame", "accumulate"))
    assert once[1].samples.tolist() == once[3].samples.tolist() == [64.0] * 2
    assert often[3].samples.tolist() == [192.0] * 2
    torch.testing.assert_close(once[1].power, often[1].power)
    torch.testing.assert_close(once[3].sounded, once[1].sounded)


def test_networks_keep_single_precision_in_a_double_state() -> None:
    state = process().initial(Streams.from_seed(0, 1)).to(dtype=torch.float64)
    assert state.weights.dtype == state.delta.dtype == torch.float32
    assert state.loss.dtype == torch.float64


@pytest.mark.parametrize(
    "settings",
    [
        {"is_scheduled": True, "action_mode": "null-space"},
        {"echoes": "accumulate", "energy": 0.4, "delay_rounds": 1, "start": "random"},
        {"scaling": "max", "averaging": "equal", "repeats": 3, "method": "gradient"},
        {"scheme": "ota", "scenario": {"num_tasks": 1, "pulse": "dft"}},
        {"scheme": "setup-2", "scenario": {"num_tasks": 1, "sensing": "ideal"}},
        {"scheme": "single-shot"},
    ],
)
@pytest.mark.parametrize("check", ["transitions", "rows_alone", "mixed_slots", "float32"])
def test_settings_conform(check: str, settings: dict[str, Any]) -> None:
    PROCESS_CHECKS[check](process(**settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scheme": "both"}, "scheme must be one of"),
        ({"scheme": "ota"}, "num_tasks must be 1 with scheme 'ota', got 2"),
        ({"scaling": "none"}, "scaling must be one of"),
        ({"coherence": 0}, "coherence must be an integer in"),
        ({"learning_rate": float("nan")}, "learning_rate must be in"),
        ({"batch_size": 2.5}, "batch_size must be an integer in"),
        ({"likelihood": "best"}, "likelihood must be one of"),
        ({"energy": 0.0}, "energy must be in"),
        ({"folder": 3}, "folder must be a path as text or None, got 3"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        process(**settings)


def test_too_many_images_are_refused() -> None:
    with pytest.raises(ScenarioError, match="train_images must be <= 1437 for digits, got 1500"):
        process(train_images=1500).initial(Streams.from_seed(0, 1))
