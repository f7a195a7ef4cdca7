import dataclasses
from typing import cast

import pytest
import torch

from baselines.registry import make_solver
from baselines.subcarrier_selection.relaxation import GateTraining
from baselines.subcarrier_selection.retraining import masknet_errors, retrain
from isac_gym.core.errors import DataFormatError, ScenarioError
from isac_gym.core.random import Streams
from isac_gym.data.csi import CSIRecording
from isac_gym.data.csi_formats import load_recording
from isac_gym.envs.render import draw_frame
from isac_gym.physics.csi_features import window_features
from isac_gym.problems.subcarrier_selection.building import MaskBuilding
from isac_gym.problems.subcarrier_selection.recorded import recorded_problem
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario
from isac_gym.problems.subcarrier_selection.tracking import MaskTracking
from isac_gym.problems.subcarrier_selection.world import World
from tests.data.csi_files import nexmon_file, whole_csi

N, T, P, K = 96, 8, 2, 6
FREQS = 5.2e9 + 312.5e3 * torch.arange(K, dtype=torch.float64)


def parts(**changes):
    generator = torch.Generator().manual_seed(1)
    session = torch.arange(N) // 6  # 16 sessions of 6 windows
    return {
        "csi": torch.randn(N, T, P, K, dtype=torch.complex64, generator=generator),
        "fs": 100.0,
        "fc": 5.2e9,
        "freqs": FREQS,
        "null": torch.zeros(P, K, dtype=torch.bool),
        "loc": torch.rand(N, 2, generator=generator),
        "sen": torch.arange(N) % 4,
        "session": session,
        "source": "walk",
    } | changes


def recording(**changes):
    return CSIRecording(**parts(**changes))


def found_rows(problem, streams):
    """Which windows each part of each lane holds, (B, n), by their positions, all different."""
    instance, found = problem.sample(streams), {}
    for split in ("train", "val", "score"):
        label = getattr(instance, f"{split}_label") * instance.label_scale[:, None]
        place = (label + instance.label_mean[:, None])[..., :2]
        found[split] = torch.cdist(place, problem.raw_labels[:, :2]).argmin(-1)
    return found


def test_problem__has_the_sizes_of_the_recording():
    problem = recorded_problem(recording())
    s = problem.scenario
    assert (s.num_links, s.tones_per_link, s.num_packets) == (P, K, T)
    assert (s.num_train, s.num_held_out) == (48, 24)
    assert (s.min_tones, s.max_tones) == (4, 6)
    assert problem.axis_sizes == {"J": 48, "H": 24, "S": 12, "C": 2, "Y": 6}
    instance = problem.sample(Streams.from_seed(0, 3))
    problem.validate(instance, problem.floor(instance))
    metrics = problem.evaluate(instance, problem.floor(instance))
    assert metrics.objective.shape == (3,)
    assert metrics.violation.tolist() == [0, 0, 0]


def test_split__no_session_and_no_window_is_in_two_parts():
    problem = recorded_problem(recording())
    found = found_rows(problem, Streams.from_seed(0, 5))
    session = parts()["session"]
    for lane in range(5):
        taken = [set(session[found[split][lane]].tolist()) for split in found]
        assert sum(map(len, taken)) == len(set.union(*taken)) == 16
        windows = torch.cat([found[split][lane] for split in found])
        assert len(windows.unique()) == N
    assert not torch.equal(found["train"][0].sort().values, found["train"][1].sort().values)


def test_split__is_that_of_the_lane():
    problem = recorded_problem(recording())
    streams = Streams.from_seed(3, 4)
    whole, alone = problem.sample(streams), problem.sample(streams[2:3])
    for field in dataclasses.fields(whole):
        assert torch.equal(getattr(whole, field.name)[2:3], getattr(alone, field.name))


def test_split__sessions_at_one_position_stay_together():
    loc = parts()["loc"]
    loc[6] = loc[0]  # session 1 meets session 0
    loc[18] = loc[11]  # session 3 meets session 1
    problem = recorded_problem(recording(loc=loc))
    session = parts()["session"]
    group = [set(problem.group[session == n].tolist()) for n in range(16)]
    assert group[0] == group[1] == group[3] == {0}
    assert len(set.union(*group)) == 14
    assert problem.scenario.num_held_out == 18  # three groups of six windows
    for split in (problem.sample(Streams.from_seed(0, 9)),):
        places = [split.train_label, split.val_label, split.score_label]
        raw = [
            p[..., :2] * split.label_scale[:, None, :2] + split.label_mean[:, None, :2]
            for p in places
        ]
        for a, b in ((0, 1), (0, 2), (1, 2)):
            assert torch.cdist(raw[a], raw[b]).min() > 1e-6


@pytest.mark.parametrize("many", [False, True])
def test_split__of_unequal_sessions_always_has_enough_windows(many):
    generator = torch.Generator().manual_seed(2)
    sizes = torch.randint(1, 9, (60,), generator=generator) if many else torch.tensor([100, 80, 60])
    session = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    count = len(session)
    changes = {
        "csi": torch.randn(count, 2, 1, 4, generator=generator),
        "null": torch.zeros(1, 4, dtype=torch.bool),
        "freqs": FREQS[:4],
        "loc": torch.rand(count, 2, generator=generator),
        "sen": torch.arange(count) % 3,
        "session": session,
    }
    problem = recorded_problem(recording(**changes | {"csi": changes["csi"].abs()}))
    s = problem.scenario
    if many:
        assert s.num_train == (count - 8) // 2
        assert s.num_held_out == (count - 32) // 4
    else:
        assert (s.num_train, s.num_held_out) == (60, 60)
    found = found_rows(problem, Streams.from_seed(0, 200))
    for lane in range(200):
        taken = [set(session[found[split][lane]].tolist()) for split in found]
        assert sum(map(len, taken)) == len(set.union(*taken))
        windows = torch.cat([found[split][lane] for split in found])
        assert len(windows.unique()) == s.num_train + 2 * s.num_held_out


def test_places__that_are_classes_are_one_hot_and_asked_for_everywhere():
    loc = torch.arange(N) % 3
    problem = recorded_problem(recording(loc=loc, loc_names=("a", "b", "c", "d")))
    assert problem.num_place == 4
    assert problem.num_classes == 4
    assert problem.axis_sizes["Y"] == 8
    assert torch.equal(problem.raw_labels[:, :4].argmax(-1), loc)
    instance = problem.sample(Streams.from_seed(0, 2))
    energy = instance.train_label.square()
    assert energy[..., :4].sum(-1).mean(-1) == pytest.approx(torch.ones(2).double())
    assert energy[..., 4:].sum(-1).mean(-1) == pytest.approx(torch.ones(2).double())
    problem.validate(instance)


def test_errors__of_the_mean_predictor_count_as_one():
    loc = torch.arange(N) % 3
    problem = recorded_problem(recording(loc=loc))
    instance = problem.sample(Streams.from_seed(0, 4))
    noise = instance.replace(train=instance.train * 0)  # nothing to learn: the mean
    errors = problem.mask_errors(noise, torch.ones(4, 1, problem.scenario.num_tones) > 0)
    assert errors == pytest.approx(torch.ones(4, 1, 2).double(), abs=0.05)


def test_features__leave_out_null_tones_and_padding():
    null = torch.zeros(P, K, dtype=torch.bool)
    null[0, 2] = null[1, 4] = True
    valid = torch.ones(N, T, dtype=torch.bool)
    valid[5, :3] = False
    csi = parts()["csi"]
    csi[5, :3] = 0
    problem = recorded_problem(recording(csi=csi, null=null, valid=valid))
    assert problem.scenario.tones_per_link == 4
    used = torch.tensor([0, 1, 3, 5])
    expected = window_features(csi[..., used].abs().double())
    assert torch.allclose(problem.raw_features[:5], expected[:5], rtol=1e-12)
    alone = window_features(csi[5, 3:][..., used].abs().double())
    assert torch.allclose(problem.raw_features[5], alone, rtol=1e-12)


def test_features__of_amplitudes_equal_those_of_the_complex_recording():
    a = recorded_problem(recording())
    b = recorded_problem(recording(csi=parts()["csi"].abs()))
    assert torch.allclose(a.raw_features, b.raw_features, rtol=1e-12)


def simulated(*, shuffled=False):
    """A recording of one simulated room, four links: one session per window."""
    scenario = SubcarrierScenario.preset("paper", num_links=4, num_packets=4, features="window")
    world, streams = World(scenario), Streams.from_seed(7, 1)
    room = world.room(streams)
    people = world.people(streams, room, "train", 600)
    csi = torch.cat([world.csi(streams, room, people, "train", n)[0] for n in range(12)])
    place, activity = people.place[0], people.activity[0]
    if shuffled:
        order = torch.randperm(600, generator=torch.Generator().manual_seed(0))
        place, activity = place[order], activity[order]
    null = scenario.null.expand(4, -1).contiguous()
    tone = torch.arange(scenario.tones_per_link, dtype=torch.float64)
    return CSIRecording(
        csi=(csi / csi.abs().mean()).to(torch.complex64),
        fs=scenario.packet_rate_hz,
        fc=scenario.carrier_hz,
        freqs=scenario.carrier_hz + 5e6 * (tone - 15.5),
        null=null,
        loc=place.float(),
        sen=activity,
    )


def test_recording__of_the_simulator_is_learnable_unless_labels_are_shuffled():
    found = []
    for shuffled in (False, True):
        problem = recorded_problem(simulated(shuffled=shuffled))
        instance = problem.sample(Streams.from_seed(0, 4))
        found.append(problem.evaluate(instance, problem.floor(instance)))
    true, shuffled = found
    assert (true.error_location < 0.8).all()
    assert (true.location_rmse_m < 2).all()
    assert (shuffled.error > 0.95).all()


def test_capture_files__become_a_problem(tmp_path):
    lines = ["file,place,activity"]
    for n in range(24):
        (tmp_path / f"{n}.pcap").write_bytes(nexmon_file(whole_csi(n, 12, 2, 64, -99, 99), cores=2))
        lines.append(f"{n}.pcap,{'abc'[n % 3]},{('sit', 'walk')[n // 12]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    problem = recorded_problem(load_recording(tmp_path, num_packets=3))
    assert problem.axis_sizes == {"J": 48, "H": 24, "S": 104, "C": 2, "Y": 5}
    instance = problem.sample(Streams.from_seed(0, 2))
    mask = torch.zeros(2, 104, dtype=torch.bool)
    mask[:, ::2] = True
    metrics = problem.evaluate(instance, SubcarrierDecision(mask))
    assert metrics.error.isfinite().all()
    assert metrics.num_selected.tolist() == [52, 52]


REFUSED = {
    "no places": ({"loc": None}, "walk: loc: no labels; allowed: positions or places"),
    "one position": ({"loc": torch.ones(N, 2)}, "walk: loc: one position; allowed: two or more"),
    "one place": ({"loc": torch.ones(N).long()}, "walk: loc: only class 1; allowed: two or more"),
    "no activities": ({"sen": None}, "walk: sen: no labels; allowed: classes"),
    "one activity": ({"sen": torch.zeros(N).long()}, "walk: sen: only class 0; allowed"),
    "rates": ({"sen": torch.rand(N)}, "walk: sen: rates, a task of SubcarrierRespiration"),
    "two sessions": (
        {"session": torch.arange(N) // 48},
        "walk: session: 2 groups of windows without a common session or position; allowed: at",
    ),
    "one tone": (
        {
            "null": torch.tensor(
                [[True] * 3 + [False] * 3, [False] * 2 + [True] * 2 + [False, True]]
            )
        },
        "walk: null: 1 tones carry a channel in all links; allowed: at least 2",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_recording__that_is_no_problem(case):
    changes, words = REFUSED[case]
    with pytest.raises(DataFormatError) as caught:
        recorded_problem(recording(**changes))
    assert str(caught.value).startswith(words)


def test_windows__more_than_there_are():
    with pytest.raises(ScenarioError, match="num_train must be at most 48, which every split"):
        recorded_problem(recording(), num_train=49)
    with pytest.raises(ScenarioError, match="num_held_out must be >= 16"):
        recorded_problem(recording(), num_held_out=15)
    problem = recorded_problem(recording(), num_train=32, num_held_out=16)
    assert problem.sample(Streams.from_seed(0, 1)).train.shape[1] == 32


@pytest.mark.parametrize("kind", [MaskBuilding, MaskTracking])
def test_process__on_a_recording_shows_no_map_of_a_room_it_does_not_know(kind):
    """Nine links, as in WiMANS: more than there are places for nodes in a simulated room."""
    changes = parts(csi=parts()["csi"].repeat(1, 1, 9, 1)[:, :, :9])
    changes["null"] = changes["null"][:1].repeat(9, 1)
    process = kind(problem=recorded_problem(CSIRecording(**changes)), horizon=2)
    streams = Streams.from_seed(0, 2)
    state = process.initial(streams)
    action = torch.zeros(2, process.action_size, dtype=state.dtype)
    after = process.advance(state, process.decode(state, action), streams.at_step(1))
    scene = process.scene(after.state)
    assert after.reward.isfinite().all()
    assert scene.points == ()
    assert len(scene.outline_m) == 0
    assert scene.bars
    assert draw_frame(scene).ndim == 3


def test_training__of_networks_splits_labels_where_places_are_classes():
    """Each network has as many outputs as its task has classes, and is judged by them alone."""
    problem = recorded_problem(recording(loc=torch.arange(N) % 3, sen=torch.arange(N) % 5))
    instance = problem.sample(Streams.from_seed(0, 2))
    for name, tasks in (("spg-mibo", (3, 5)), ("localisation-only", (3, None))):
        solver = cast(GateTraining, make_solver("subcarrier_selection", name))
        found = solver.relaxed(problem, instance, iterations=3)
        assert tuple(n and n.network.classes for n in found.networks) == tasks
        errors = found.errors(instance.val, instance.val_label)[:, 0]
        gate = found.gate.flatten(0, 1)
        inputs = instance.val.flatten(2).float()
        for task, part in enumerate((slice(3), slice(3, None))):
            network, label = found.networks[task], instance.val_label[..., part]
            if network is None:
                assert errors[:, task].isnan().all()
                continue
            missed = (network.predict(inputs, gate).double() - label).square().sum((1, 2))
            assert errors[:, task] == pytest.approx(missed / label.square().sum((1, 2)))
    mask = problem.floor(instance).mask[:, None]
    held = (instance.train, instance.train_label, instance.val, instance.val_label, mask)
    s = problem.scenario
    anew = retrain(*held, steps=3, num_location=3)
    once = masknet_errors(*held, least=s.min_tones, most=s.max_tones, steps=3, num_location=3)
    assert anew.isfinite().all()
    assert once.isfinite().all()
    assert not torch.equal(anew, retrain(*held, steps=3))
