"""Rooms and people: the CSI of a window from its definition, laws of noise, gain and motion."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from isac_gym.core.random import Streams
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario
from isac_gym.problems.subcarrier_selection.world import SPLITS, World
from tests.oracles import subcarrier as oracle

CLEAN = {"snr_db": 100.0, "agc_db": 0.0, "num_interferers": 0, "num_furniture": 0}
HEIGHT, SHARE = (1.2, 0.8, 0.35), (1.0, 0.6, 0.35)


def make(preset="small-16", **changes):
    return World(SubcarrierScenario.preset(preset, **changes))


def scene(world, *, seed=1, batch=1, count=4, split="train"):
    streams = Streams.from_seed(seed, batch)
    room = world.room(streams)
    return streams, room, world.people(streams, room, split, count)


def flat(x):
    return x.numpy().ravel()


# --- a window from its definition ---------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"layout": "symmetric", "num_links": 4}, {"room_x_m": 9.0, "target_rcs_m2": 0.2}],
    ids=["default", "four links", "long room"],
)
def test_csi__equals_walls_plus_a_person_who_stands_still(changes):
    """Up to the gain of a packet and link, and noise at -100 dB."""
    world = make(motion_scale=0.0, guard_tones=0, **CLEAN, **changes)
    s = world.scenario
    streams, room, people = scene(world)
    csi = world.csi(streams, room, people, "train", 0)[0].numpy()
    nodes, f = s.node_m.tolist(), oracle.tones(s.carrier_hz, s.bandwidth_hz, s.tones_per_link)
    size = (s.room_x_m, s.room_y_m)
    walls = np.array([oracle.walls_response(nodes[0], n, size, 0.6, 2, f) for n in nodes[1:]])
    assert np.allclose(room.channel[0], walls, rtol=1e-9, atol=1e-14)
    for n in range(4):
        pose = int(people.activity[0, n])
        place, rcs = people.place[0, n].tolist(), s.target_rcs_m2 * SHARE[pose]
        person = oracle.person_response(place, HEIGHT[pose], rcs, [0.0], nodes, s.carrier_hz, f)[0]
        for p in range(s.num_links):
            wanted = walls[p] + person[p]
            for t in range(s.num_packets):
                gain = csi[n, t, p] @ wanted.conj() / np.linalg.norm(wanted) ** 2
                assert abs(gain) == pytest.approx(1, abs=1e-4)
                error = np.linalg.norm(csi[n, t, p] / gain - wanted)
                assert error < 1e-3 * np.linalg.norm(person[p])


def test_csi__motion_stretches_the_path_of_the_person():
    world = make(guard_tones=0, **CLEAN)
    s = world.scenario
    streams, _, people = scene(world, count=3)
    motion = world._motion(streams, people, "train/0")
    found = world._person(people, motion)[0].numpy()
    f = oracle.tones(s.carrier_hz, s.bandwidth_hz, s.tones_per_link)
    for n in range(3):
        pose = int(people.activity[0, n])
        wanted = oracle.person_response(
            people.place[0, n].tolist(),
            HEIGHT[pose],
            SHARE[pose],
            motion[0, n].tolist(),
            s.node_m.tolist(),
            s.carrier_hz,
            f,
        )
        assert np.allclose(found[n], wanted, rtol=1e-5, atol=1e-9)


def test_csi__wall_bounces_of_the_person_are_paths_to_images():
    world = make("hard-16", guard_tones=0, motion_scale=0.0, **CLEAN)
    s = world.scenario
    streams, _, people = scene(world, count=2)
    found = world._person(people, world._motion(streams, people, "x"))[0].numpy()
    nodes, size = s.node_m.tolist(), (s.room_x_m, s.room_y_m)
    f = oracle.tones(s.carrier_hz, s.bandwidth_hz, s.tones_per_link)
    for n in range(2):
        pose = int(people.activity[0, n])
        body = [*people.place[0, n].tolist(), HEIGHT[pose]]
        for p, receiver in enumerate(nodes[1:]):
            ways = [
                (a, receiver, -0.6) for a, b in oracle.mirrored(nodes[0], size, 1).values() if b
            ]
            ways += [
                (nodes[0], a, -0.6) for a, b in oracle.mirrored(receiver, size, 1).values() if b
            ]
            ways += [(nodes[0], receiver, 1.0)]
            assert len(ways) == 9
            wanted = np.zeros(len(f), complex)
            for sender, end, factor in ways:
                gain, length = oracle.scattered(body, sender, end, SHARE[pose], s.carrier_hz)
                wanted += [oracle.wave(factor * gain, hz, length) for hz in f]
            assert np.allclose(found[n, 0, p], wanted, rtol=1e-9, atol=1e-14)


def test_room__furniture_are_scatterers_inside_the_room():
    """Four of them, whose channel is the sum of their paths."""
    world = make(guard_tones=0)
    s = world.scenario
    streams = Streams.from_seed(3, 2)
    place = 0.2 + streams.uniform("furniture", 4, 3).numpy() * (np.array([6.0, 4.0, 2.8]) - 0.4)
    extra = world.room(streams).channel - make(guard_tones=0, **CLEAN).room(streams).channel
    f = oracle.tones(s.carrier_hz, s.bandwidth_hz, s.tones_per_link)
    nodes = s.node_m.tolist()
    for b in range(2):
        for p, receiver in enumerate(nodes[1:]):
            wanted = np.zeros(len(f), complex)
            for point in place[b]:
                gain, length = oracle.scattered(point, nodes[0], receiver, 0.5, s.carrier_hz)
                wanted += [oracle.wave(gain, hz, length) for hz in f]
            assert np.allclose(extra[b, p], wanted, rtol=1e-7, atol=1e-13)


def test_csi__twice_the_cross_section_adds_3_01_db_to_the_person():
    power = []
    for rcs in (0.5, 1.0):
        world = make(target_rcs_m2=rcs, **CLEAN)
        streams, _, people = scene(world)
        moved = world._person(people, world._motion(streams, people, "train/0"))
        power.append(10 * moved.abs().square().log10())
    assert torch.allclose(power[1] - power[0], torch.tensor(3.0103).double(), atol=1e-4)


# --- noise and interference ---------------------------------------------------------------------


def noise_of(world, *, seed=2, batch=1, count=50):
    """Noise of every packet and unused subcarrier, (B, N, T, P, k), and the room."""
    streams, room, people = scene(world, seed=seed, batch=batch, count=count)
    csi = world.csi(streams, room, people, "train", 0)
    return csi[..., world.scenario.null], room


def test_noise__has_the_power_that_the_snr_says():
    """1e5 draws of unused subcarriers, which carry nothing else: within 2 %."""
    quiet = {"agc_db": 0.0, "num_interferers": 0, "guard_tones": 12}
    noise, room = noise_of(make("paper", num_packets=64, snr_db=20.0, **quiet))
    ratio = noise.abs().square() / room.noise_w[:, None, None, :, None]
    assert ratio.numel() >= 1e5
    assert float(ratio.mean()) == pytest.approx(1, abs=0.02)
    assert float(ratio.square().mean()) == pytest.approx(2, abs=0.08)  # exponential


def test_noise__is_below_the_mean_static_power_by_the_snr():
    world = make(snr_db=20.0, guard_tones=0, num_interferers=0)
    room = world.room(Streams.from_seed(4, 3))
    assert torch.allclose(
        room.channel.abs().square().mean(-1) / room.noise_w, torch.tensor(100.0).double()
    )


def test_null_tones__carry_noise_only():
    world = make("paper", snr_db=100.0, agc_db=0.0, num_interferers=0)
    streams, room, people = scene(world)
    csi = world.csi(streams, room, people, "train", 0)
    null = world.scenario.null
    assert int(null.sum()) == 5
    assert null[[0, 1, 16, 30, 31]].all()
    assert not bool(room.channel[..., null].any())
    quiet, used = csi[..., null].abs().mean(), csi[..., ~null].abs().mean()
    assert float(quiet / used) < 1e-4


def test_interference__is_a_band_of_the_right_width_level_and_duty():
    world = make("paper", snr_db=20.0, agc_db=0.0, guard_tones=0, has_dc_null=False, motion_scale=0)
    s = world.scenario
    streams = Streams.from_seed(5, 40)
    room = world.room(streams)
    assert torch.equal((room.inr > 0).sum(-1), torch.full((40, 2), round(0.2 * 32)))
    edges = (room.inr > 0).int().diff(dim=-1).abs().sum(-1)
    assert int(edges.max()) <= 2  # one band
    level = 10 * room.inr.amax(-1).log10()
    assert 10 <= float(level.min()) <= 12
    assert 18 <= float(level.max()) <= 20
    first = (room.inr > 0).int().argmax(-1)
    assert int(first.min()) == 0 or int(first.max()) == 26
    people = world.people(streams, room, "train", 50)
    csi = world.csi(streams, room, people, "train", 0)
    still = dataclasses.replace(room, inr=torch.zeros_like(room.inr))
    quiet = world.csi(streams, still, people, "train", 0)  # the same draws without interference
    noisy = ((csi - quiet).abs() > 1e-12).any(-1)
    assert float(noisy.double().mean()) == pytest.approx(s.interference_duty, abs=0.01)
    outside = (csi - quiet)[(room.inr[:, None, None] == 0).expand_as(csi)]
    assert float(outside.abs().max()) < 1e-12


def test_interference__adds_its_power_where_it_hits():
    world = make(
        "paper", agc_db=0.0, interference_duty=1.0, guard_tones=6, inr_min_db=13, inr_max_db=13
    )
    noise, room = noise_of(world, batch=20)
    null = world.scenario.null
    inr, sigma = room.inr[:, None, None][..., null], room.noise_w[:, None, None, :, None]
    ratio = noise.abs().square() / sigma
    hit = (inr > 0).expand_as(ratio)
    assert float(ratio[hit].mean()) == pytest.approx(1 + 10**1.3, rel=0.02)
    assert float(ratio[~hit].mean()) == pytest.approx(1, rel=0.02)


def test_empty_room__is_known_from_64_packets():
    world = make("paper", snr_db=10.0, num_interferers=0)
    room = world.room(Streams.from_seed(6, 100))
    error = (room.empty - room.channel).abs().square() / room.noise_w[..., None]
    assert float(error.mean()) == pytest.approx(1 / 64, rel=0.05)


def test_gain__is_common_to_a_packet_and_link_with_the_right_laws():
    world = make("paper", snr_db=100.0, num_interferers=0, motion_scale=0.0, agc_db=0.5)
    streams, room, people = scene(world, count=50)
    csi = world.csi(streams, room, people, "train", 0)
    moved = world._person(people, world._motion(streams, people, "x"))
    used = ~world.scenario.null
    gain = csi[..., used] / (room.channel[:, None, None] + moved)[..., used]
    assert float((gain / gain[..., :1] - 1).abs().max()) < 5e-3  # noise at -100 dB, fades
    agc = 20 * gain.abs().mean(-1).log10()
    assert float(agc.mean()) == pytest.approx(0, abs=0.05)
    assert float(agc.std()) == pytest.approx(0.5, rel=0.05)
    turn = flat(gain[..., 0].angle())
    assert abs(np.exp(1j * turn).mean()) < 0.08  # uniform: 1600 draws
    assert abs(np.exp(2j * turn).mean()) < 0.08


# --- motion -------------------------------------------------------------------------------------


def still_breath(people):
    return dataclasses.replace(people, chest_m=torch.zeros_like(people.chest_m))


@pytest.mark.parametrize(("pose", "rms_m"), [(0, 6e-3), (1, 2e-3), (2, 0.5e-3)])
def test_sway__has_its_rms_and_memory(pose, rms_m):
    world = make(num_packets=16)
    streams, _, people = scene(world, batch=60, count=50)
    people = dataclasses.replace(
        still_breath(people), activity=torch.full_like(people.activity, pose)
    )
    sway = world._motion(streams, people, "train/0")  # 3000 windows of 16 packets
    assert torch.allclose(
        sway.square().mean((0, 1)).sqrt(), torch.tensor(rms_m).double(), rtol=0.06
    )
    for lag in (1, 3, 8):
        product = (sway[..., lag:] * sway[..., :-lag]).mean() / rms_m**2
        assert float(product) == pytest.approx(0.8**lag, abs=0.03)


def test_sway__of_chunks_and_splits_is_independent():
    world = make()
    streams, _, people = scene(world, batch=60, count=50)
    parts = [world._motion(streams, still_breath(people), label) for label in ("a/0", "a/1", "b/0")]
    for i in range(3):
        for j in range(i):
            product = (parts[i] * parts[j]).mean() / (parts[i].std() * parts[j].std())
            assert abs(float(product)) < 0.03


def test_breathing__is_a_sine_of_the_persons_rate_and_depth():
    world = make(num_packets=64, packet_rate_hz=4.0)
    streams, _, people = scene(world, count=20)
    still = world._motion(streams, still_breath(people), "x")
    chest = (world._motion(streams, people, "x") - still)[0].numpy()
    t = np.arange(64) / 4.0
    for n in range(20):
        rate, depth = float(people.breathing_hz[0, n]), float(people.chest_m[0, n])
        assert 0.2 <= rate <= 0.5
        assert 3e-3 <= depth <= 7e-3
        wanted = depth * np.sin(2 * math.pi * rate * t + float(people.phase[0, n]))
        assert np.allclose(chest[n], wanted, atol=1e-12)


# --- places -------------------------------------------------------------------------------------


def test_grid__is_the_papers():
    grid = make("paper").scenario.grid
    assert len(grid) == 27 * 17
    assert torch.allclose(grid.amin(0), torch.tensor(0.4).double())
    assert torch.allclose(grid.amax(0), torch.tensor([5.6, 3.6]).double())


def places_of(world, *, seed=0, batch=2):
    s, streams = world.scenario, Streams.from_seed(seed, batch)
    room = world.room(streams)
    counts = {"train": s.num_train, "val": s.num_held_out, "score": s.num_held_out}
    return {k: world.people(streams, room, k, counts[k]).place for k in SPLITS}


@pytest.mark.parametrize("preset", SubcarrierScenario.presets)
def test_people__no_place_is_in_two_splits(preset):
    places = places_of(make(preset))
    for row in range(2):
        sets = [{tuple(p) for p in places[k][row].tolist()} for k in SPLITS]
        for i in range(3):
            for j in range(i):
                assert not sets[i] & sets[j]


@pytest.mark.parametrize(
    "changes", [{"num_train": 16}, {"num_held_out": 16}, {"grid_m": 0.4}, {"num_train": 3000}]
)
def test_people__no_place_is_in_two_splits_whatever_the_sizes(changes):
    places = places_of(make(**changes), batch=1)
    sets = [{tuple(p) for p in places[k][0].tolist()} for k in SPLITS]
    assert all(sets)
    assert sum(len(x) for x in sets) == len(set.union(*sets))


def test_people__places_and_activities_are_uniform():
    world = make()
    _, _, people = scene(world, batch=200, count=50)
    share = torch.bincount(people.activity.flatten()) / people.activity.numel()
    assert torch.allclose(share.double(), torch.tensor(1 / 3).double(), atol=0.02)
    middle = people.place.mean((0, 1))
    assert torch.allclose(middle, torch.tensor([3.0, 2.0]).double(), atol=0.06)


def test_splits__draw_different_windows():
    """Not even the breathing of a training window returns in another split."""
    world = make()
    streams, room, _ = scene(world)
    rates = [world.people(streams, room, split, 20).breathing_hz for split in SPLITS]
    assert len(torch.cat(rates, 1).unique()) == 60


# --- batches ------------------------------------------------------------------------------------


def test_features__do_not_depend_on_the_batch_or_on_later_windows():
    world = make()
    streams, room, people = scene(world, batch=3, count=60)
    every = world.features(streams, room, people, "train")
    alone, room_1, people_1 = scene(world, seed=2, count=60)
    assert torch.allclose(
        world.features(alone, room_1, people_1, "train")[0], every[1], rtol=1e-12, atol=1e-12
    )
    fewer = world.people(streams, room, "train", 50)
    assert torch.equal(world.features(streams, room, fewer, "train"), every[:, :50])
