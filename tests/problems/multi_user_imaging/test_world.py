import math

import numpy as np
import pytest
import torch

from isac_gym.core import Streams
from isac_gym.problems.multi_user_imaging.scenario import (
    ImagingScenario,
    RecoveryScenario,
)
from isac_gym.problems.multi_user_imaging.world import (
    draw_probe,
    draw_symbols,
    draw_world,
    matched_beam,
    support_of,
)
from tests.oracles import imaging as oracle
from tests.problems.multi_user_imaging.helpers import draw, energy, make_design, make_recovery

PROBINGS = ["random", "gauss", "hop", "constant"]


def world(batch=16, *, seed=5, **changes):
    scenario = ImagingScenario(**changes)
    return scenario, draw_world(scenario, Streams.from_seed(seed, batch))


def probe_of(probing, *, batch=16, samples=400, **changes):
    scenario = RecoveryScenario(probing=probing, **changes)
    return scenario, draw_probe(scenario, Streams.from_seed(5, batch), samples)


# --- seeds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [make_recovery, make_design])
@pytest.mark.parametrize("preset", ["small", "geometric"])
def test_sample__repeats_itself_and_rows_do_not_know_their_neighbours(make, preset):
    problem = make(preset, num_samples=8)
    whole = draw(problem, 4)
    for name, tensor in draw(problem, 4).items():
        assert torch.equal(tensor, getattr(whole, name)), name
    for row in range(4):
        for name, tensor in draw(problem, 1, seed=5 + row).items():
            assert torch.equal(tensor[0], getattr(whole, name)[row]), name


@pytest.mark.parametrize("make", [make_recovery, make_design])
def test_sample__differs_between_seeds_and_is_valid(make):
    problem = make()
    instance = draw(problem, 8)
    problem.validate(instance)
    assert len({complex(x) for x in instance.bs_channel[:, 0, 0]}) == 8
    assert len({complex(x) for x in instance.user_channel[:, 0, 0]}) == 8


@pytest.mark.parametrize("preset", ["small", "geometric"])
def test_sample__recovery_and_design_see_the_same_world(preset):
    recovery, design = draw(make_recovery(preset)), draw(make_design(preset))
    for name in ("bs_channel", "user_channel", "image"):
        assert torch.equal(getattr(recovery, name), getattr(design, name)), name
    along = (design.comm_channel.conj() * recovery.beam).sum(-1)
    expected = (energy(design.comm_channel) * energy(recovery.beam)).sqrt()
    torch.testing.assert_close(along.real, expected, rtol=1e-13, atol=0)


def test_world__does_not_depend_on_the_frame():
    scenario = RecoveryScenario.preset("small")
    streams = Streams.from_seed(3, 2)
    first = draw_world(scenario, streams)
    other = draw_world(scenario.replace(num_samples=9, snr_db=0.0, data_share=0.1), streams)
    for one, two in zip(first, other, strict=True):
        assert torch.equal(one, two)


# --- target -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["blob", "aligned"])
@pytest.mark.parametrize("occupied", [1, 4, 11, 32])
def test_image__fills_as_many_voxels_as_asked_for(shape, occupied):
    _, w = world(shape=shape, num_occupied=occupied, min_amplitude=0.3, max_amplitude=0.6)
    assert (support_of(w.image).sum(-1) == occupied).all()
    size = w.image[support_of(w.image)].abs()
    assert size.min() >= 0.3 - 1e-12
    assert size.max() <= 0.6 + 1e-12


def test_image__phases_are_uniform_or_zero():
    _, w = world(256)
    unit = w.image[support_of(w.image)]
    unit = unit / unit.abs()
    for order in (1, 2, 3):
        assert (unit**order).mean().abs() <= 4 / math.sqrt(len(unit))
    _, real = world(phase="zero")
    assert (real.image.imag == 0).all()
    assert (real.image.real >= 0).all()
    torch.testing.assert_close(real.image.abs(), world()[1].image.abs())


def test_image__energy_is_that_of_the_scenario():
    scenario, w = world(2000)
    assert float(energy(w.image).mean()) == pytest.approx(scenario.image_energy, rel=0.03)


def test_blob__is_the_set_of_nearest_voxels_to_some_point():
    sizes = {"voxels_x": 4, "voxels_y": 3, "voxels_z": 3}
    scenario, w = world(32, num_occupied=5, **sizes)
    place = np.array(scenario.voxels(), float)
    steps = [np.linspace(-0.5, n - 0.5, 10 * n + 1) for n in (4, 3, 3)]
    points = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)
    points = points + np.random.default_rng(0).uniform(-0.02, 0.02, points.shape)
    gaps = ((points[:, None] - place) ** 2).sum(-1)
    nearest = {frozenset(row) for row in np.argsort(gaps, axis=1)[:, :5].tolist()}
    hit = sum(frozenset(np.flatnonzero(m).tolist()) in nearest for m in support_of(w.image).numpy())
    assert hit >= 30  # a grid misses the sets of thin cells


def test_blob__of_one_voxel_is_anywhere():
    _, w = world(400, num_occupied=1, voxels_x=4, voxels_y=2, voxels_z=1)
    counts = support_of(w.image).sum(0)
    assert counts.min() >= 25  # of 50


def test_aligned__is_whole_blocks():
    scenario, w = world(32, shape="aligned", voxels_z=4, num_occupied=16)
    block, chosen = torch.tensor(scenario.blocks()), set()
    for mask in support_of(w.image):
        inside = {int(b) for b in block[mask]}
        assert len(inside) == 2
        assert mask[torch.isin(block, torch.tensor(sorted(inside)))].all()
        chosen |= inside
    assert chosen == set(range(8))


def test_aligned__fills_the_last_block_in_part():
    scenario, w = world(16, shape="aligned", num_occupied=11)
    block = torch.tensor(scenario.blocks())
    for mask in support_of(w.image):
        counts = torch.bincount(block[mask], minlength=4)
        assert sorted(counts.tolist()) == [0, 0, 3, 8]


# --- users and channels -------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["rayleigh", "geometric"])
def test_users__are_in_their_shell(channel):
    _, w = world(64, channel=channel, min_user_distance_m=1.5, max_user_distance_m=2.5)
    reach = w.position.norm(dim=-1)
    assert reach.min() >= 1.5 - 1e-12
    assert reach.max() <= 2.5 + 1e-12
    assert float(reach.mean()) == pytest.approx(2.0, abs=0.04)
    unit = (w.position / reach[..., None]).reshape(-1, 3)
    assert unit.mean(0).abs().max() <= 0.07  # four deviations: uniform on the sphere
    torch.testing.assert_close(
        unit.T @ unit / len(unit), torch.eye(3).double() / 3, atol=0.04, rtol=0
    )


def test_rayleigh__entries_have_unit_variance():
    _, w = world(64)
    for channel in (w.bs_channel, w.user_channel, w.comm_channel):
        assert float(channel.abs().square().mean()) == pytest.approx(1.0, abs=0.1)
        assert channel.mean().abs() <= 0.1


def test_geometric__is_a_spherical_wave():
    sizes = {"voxels_x": 3, "voxels_y": 2, "voxels_z": 4, "num_antennas": 9, "num_users": 5}
    s, w = world(2, channel="geometric", voxel_m=0.2, bs_distance_m=4.0, **sizes)
    voxel = oracle.voxel_centres((3, 2, 4), 0.2)
    antenna = oracle.array_elements(9, s.carrier_hz, 4.0)
    down = oracle.spherical(voxel, antenna, 4.0, s.carrier_hz)
    for row in range(2):
        np.testing.assert_allclose(w.bs_channel[row], down, rtol=1e-9)
        for k, user in enumerate(w.position[row].numpy()):
            up = oracle.spherical(user[None], voxel, np.linalg.norm(user), s.carrier_hz)
            np.testing.assert_allclose(w.user_channel[row, k], up[0], rtol=1e-9)
    np.testing.assert_allclose(w.comm_channel.abs(), 1.0, rtol=1e-13)


def test_geometric__communication_channel_is_a_plane_wave():
    _, w = world(8, channel="geometric", num_antennas=16)
    grid = w.comm_channel.reshape(-1, 4, 4)
    for axis in (1, 2):
        turn = grid.narrow(axis, 1, 3) / grid.narrow(axis, 0, 3)
        first = turn.flatten(1)[:, :1].expand(-1, 12)
        torch.testing.assert_close(turn.flatten(1), first, rtol=1e-10, atol=1e-12)


def test_geometric__communication_users_are_on_the_half_sphere():
    _, w = world(2000, channel="geometric", num_antennas=4)
    grid = w.comm_channel.reshape(-1, 2, 2)
    turns = [(grid[:, 1, 0] / grid[:, 0, 0]).angle(), (grid[:, 0, 1] / grid[:, 0, 0]).angle()]
    across = sum(t.square() for t in turns) / math.pi**2  # 1 - cosine^2, the cosine uniform
    assert across.max() <= 1 + 1e-9
    assert float(across.mean()) == pytest.approx(2 / 3, abs=0.03)


# --- transmission -------------------------------------------------------------------------------


def test_symbols__are_qpsk():
    symbol = draw_symbols(Streams.from_seed(1, 8), 500)
    torch.testing.assert_close(symbol**4, -torch.ones_like(symbol), rtol=0, atol=1e-14)
    quadrant = ((symbol.angle() / (math.pi / 2)).floor().long() % 4).flatten()
    assert torch.bincount(quadrant).min() >= 900  # of 1000


@pytest.mark.parametrize("probing", PROBINGS)
def test_probe__has_the_power_the_data_leave(probing):
    _, probe = probe_of(probing, data_share=0.4, max_power_w=7.0)
    power = probe.abs().square().sum(-1)
    if probing == "gauss":
        assert float(power.mean()) == pytest.approx(4.2, rel=0.02)
    else:
        torch.testing.assert_close(power, torch.full_like(power, 4.2), rtol=1e-12, atol=0)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_beam__has_its_share_of_the_power(share):
    instance = draw(make_recovery(data_share=share))
    torch.testing.assert_close(
        energy(instance.beam), torch.full((4,), 10 * share, dtype=torch.float64), rtol=1e-13, atol=0
    )


@pytest.mark.parametrize("probing", ["random", "gauss", "hop"])
def test_probe__is_white_over_the_antennas(probing):
    s, probe = probe_of(probing, num_antennas=4, batch=64)
    flat = probe.reshape(-1, 4)
    covariance = flat.T @ flat.conj() / len(flat)
    expected = 0.7 * s.max_power_w / 4 * torch.eye(4, dtype=torch.complex128)
    torch.testing.assert_close(covariance, expected, rtol=0, atol=0.06)


@pytest.mark.parametrize(("probing", "rank"), [("constant", 1), ("random", 16), ("hop", 16)])
def test_probe__spans_the_space_unless_constant(probing, rank):
    _, probe = probe_of(probing, batch=4)
    assert (torch.linalg.matrix_rank(probe) == rank).all()


def test_matched_beam__maximises_what_the_user_receives():
    h = Streams.from_seed(2, 5).complex_normal("h", 6)
    beam = matched_beam(h, torch.linspace(0, 4, 5).double())
    torch.testing.assert_close(energy(beam), torch.linspace(0, 4, 5).double())
    heard = (h.conj() * beam).sum(-1).abs().square()
    torch.testing.assert_close(heard, energy(h) * energy(beam))


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
def test_matched_beam__of_no_channel_is_no_beam(dtype):
    assert (matched_beam(torch.zeros(2, 3, dtype=dtype), 1e6) == 0).all()


@pytest.mark.parametrize("probing", PROBINGS)
def test_received__is_the_signal_plus_noise_of_the_right_power(probing):
    problem = make_recovery(probing=probing, num_samples=256)
    i, total = draw(problem, 3), 0.0
    for row in range(3):
        sent = (i.probe + i.symbol[..., None] * i.beam[:, None])[row].numpy()
        clean = oracle.received(
            i.bs_channel[row].numpy(), i.user_channel[row].numpy(), i.image[row].numpy(), sent
        )
        total += np.mean(np.abs(i.received[row].numpy() - clean) ** 2) / 3
    assert total == pytest.approx(problem.scenario.noise_w, rel=0.08)


def test_received__is_exact_where_noise_vanishes():
    i = draw(make_recovery(snr_db=60.0), 1)
    sent = (i.probe + i.symbol[..., None] * i.beam[:, None])[0].numpy()
    names = (i.bs_channel, i.user_channel, i.image)
    clean = oracle.received(*(t[0].numpy() for t in names), sent)
    assert np.abs(i.received[0].numpy() - clean).max() <= 5 * math.sqrt(1e-5)


def test_adjacency__is_the_graph_of_the_positions():
    problem = make_recovery("paper", num_samples=2)
    i = draw(problem, 3)
    for row in range(3):
        links = oracle.edges(i.position[row].tolist(), 30)
        np.testing.assert_array_equal(i.adjacency[row], oracle.adjacency(links, 20))
