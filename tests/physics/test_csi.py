"""Channel state information: image sources, paths, motion and noise against loops and laws."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from isac_gym.core.units import SPEED_OF_LIGHT_MPS
from isac_gym.physics.csi import (
    bistatic_stretch,
    path_response,
    phasor,
    receive,
    reflections,
    scattered_paths,
    static_response,
    tone_frequencies,
)
from tests.oracles import subcarrier as oracle

ROOM = (6.0, 4.0)
TX, RX = torch.tensor([0.5, 1.7, 1.2]).double(), torch.tensor([5.5, 3.2, 1.4]).double()
CARRIER = 5.25e9
inside = st.tuples(st.floats(0.3, 5.7), st.floats(0.3, 3.7), st.floats(0.1, 2.6))


def vec(point):
    return torch.tensor(point, dtype=torch.float64)


def frequencies(count=8):
    return tone_frequencies(CARRIER, 160e6, count)


# --- frequencies and phases ---------------------------------------------------------------------


def test_tones__surround_the_carrier():
    f = frequencies(9)
    assert np.allclose(f, oracle.tones(CARRIER, 160e6, 9), rtol=1e-15)
    assert f[4] == CARRIER
    assert float(f[-1] - f[0]) == pytest.approx(160e6 * 8 / 9)


@given(length=st.floats(0, 1e4))
def test_phasor__is_exact_after_thousands_of_cycles(length):
    """1e4 m are 1.8e5 cycles: compared with arithmetic of 50 digits."""
    f = frequencies(4)
    found = phasor(f, vec(length))
    for k, hz in enumerate(f.tolist()):
        cycles = Fraction(hz) * Fraction(length) / Fraction(SPEED_OF_LIGHT_MPS)
        turn = float(cycles - int(cycles))
        error = abs(
            complex(found[k])
            - complex(math.cos(-2 * math.pi * turn), math.sin(-2 * math.pi * turn))
        )
        assert error < 1e-9


# --- walls --------------------------------------------------------------------------------------


@given(node=inside, order=st.integers(0, 3))
def test_reflections__are_mirror_images_of_mirror_images(node, order):
    found = reflections(vec(node), ROOM, reflection=0.6, order=order)
    wanted = oracle.mirrored(node, ROOM, order)
    assert len(found.place) == len(found.gain) == 1 + 2 * order * (order + 1)
    assert np.allclose(found.place[0], node)
    keys = {}
    for place, gain in zip(found.place.tolist(), found.gain.tolist(), strict=True):
        keys[oracle.key_of(place)] = gain
    if len(wanted) == len(found.place):  # no two images coincide
        assert keys.keys() == wanted.keys()
        for key, (_, bounces) in wanted.items():
            assert keys[key] == pytest.approx((-0.6) ** bounces, rel=1e-14)


WALLS = [(0, 0.0), (0, 6.0), (1, 0.0), (1, 4.0)]


def test_reflections__have_the_lengths_of_fermats_paths():
    """Shortest paths by way of one wall, or of two, in the better order."""
    images = reflections(TX, ROOM, reflection=0.6, order=2)
    length = (images.place - RX).norm(dim=-1)
    order = torch.log(images.gain.abs()) / math.log(0.6)
    once = sorted(oracle.shortest_bounce(TX.tolist(), RX.tolist(), [wall]) for wall in WALLS)
    assert np.allclose(sorted(length[order.round() == 1].tolist()), once, atol=1e-6)
    twice = []
    for a, b in itertools.combinations(WALLS, 2):
        both = [
            oracle.shortest_bounce(TX.tolist(), RX.tolist(), [a, b]),
            oracle.shortest_bounce(TX.tolist(), RX.tolist(), [b, a]),
        ]
        twice += both if a[0] == b[0] else [min(both)]
    assert np.allclose(sorted(length[order.round() == 2].tolist()), sorted(twice), atol=1e-6)


def test_static__direct_path_alone_has_the_friis_amplitude_and_phase_slope():
    alone = reflections(TX, ROOM, reflection=0.6, order=0)
    distance = math.dist(TX, RX)
    f = frequencies(64)
    h = static_response(alone, RX, f).numpy()
    assert np.allclose(abs(h), oracle.C_MPS / f.numpy() / (4 * math.pi * distance), rtol=1e-5)
    slope = np.diff(np.unwrap(np.angle(h))) / np.diff(f.numpy())
    assert np.allclose(slope, -2 * math.pi * distance / oracle.C_MPS, rtol=1e-5)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_static__equals_a_loop_over_paths(order):
    images = reflections(TX, ROOM, reflection=0.6, order=order)
    found = static_response(images, RX, frequencies())
    wanted = oracle.walls_response(
        TX.tolist(), RX.tolist(), ROOM, 0.6, order, frequencies().tolist()
    )
    assert np.allclose(found, wanted, rtol=1e-9, atol=1e-15)


@given(a=inside, b=inside)
def test_static__is_reciprocal(a, b):
    assume(math.dist(a, b) > 0.3)
    there, back = (
        static_response(reflections(x, ROOM, reflection=0.7, order=2), y, frequencies())
        for x, y in ((vec(a), vec(b)), (vec(b), vec(a)))
    )
    assert torch.allclose(there, back, rtol=1e-6, atol=1e-12)


def test_static__absorbing_walls_leave_the_direct_path():
    images = reflections(TX, ROOM, reflection=0.0, order=2)
    direct = reflections(TX, ROOM, reflection=0.0, order=0)
    f = frequencies()
    assert torch.equal(static_response(images, RX, f), static_response(direct, RX, f))


# --- scatterers ---------------------------------------------------------------------------------


@given(point=inside, rcs=st.floats(0.01, 10))
def test_scattered__equals_the_radar_equation(point, rcs):
    gain, length = scattered_paths(vec(point), TX, RX, vec(rcs), CARRIER)
    wanted = oracle.scattered(point, TX.tolist(), RX.tolist(), rcs, CARRIER)
    assert (float(gain), float(length)) == pytest.approx(wanted, rel=1e-12)


def test_scattered__received_power_is_the_bistatic_radar_equation():
    """P_r / P_t = rcs lambda^2 / ((4 pi)^3 d1^2 d2^2) with isotropic antennas."""
    point = vec((2.0, 2.0, 1.0))
    gain, _ = scattered_paths(point, TX, RX, vec(0.5), CARRIER)
    density = 1 / (4 * math.pi * math.dist(point, TX) ** 2)  # of a unit transmitter
    scattered = density * 0.5 / (4 * math.pi * math.dist(point, RX) ** 2)
    aperture = (oracle.C_MPS / CARRIER) ** 2 / (4 * math.pi)
    assert float(gain) ** 2 == pytest.approx(scattered * aperture, rel=1e-12)


def test_scattered__twice_the_cross_section_adds_3_01_db():
    point = vec([(1.0, 1.0, 1.0), (4.0, 3.0, 0.4)])
    powers = []
    for rcs in (0.7, 1.4):
        gain, length = scattered_paths(point, TX, RX, vec(rcs), CARRIER)
        waves = path_response(frequencies(), gain[:, None], length[:, None])
        powers.append(10 * torch.log10(waves.abs().square()))
    assert torch.allclose(powers[1] - powers[0], torch.tensor(3.0103).double(), atol=1e-4)


@given(point=inside)
def test_scattered__is_reciprocal(point):
    there = scattered_paths(vec(point), TX, RX, vec(1.0), CARRIER)
    back = scattered_paths(vec(point), RX, TX, vec(1.0), CARRIER)
    assert [float(x) for x in there] == pytest.approx([float(x) for x in back], rel=1e-14)
    assert float(bistatic_stretch(vec(point), TX, RX)) == pytest.approx(
        float(bistatic_stretch(vec(point), RX, TX)), rel=1e-12
    )


def test_scattered__no_closer_than_the_far_field():
    gain, length = scattered_paths(TX, TX, RX, vec(1.0), CARRIER)
    assert math.isfinite(float(gain))
    assert float(length) == pytest.approx(math.dist(TX, RX))


@given(point=inside)
def test_stretch__is_the_slope_of_the_path(point):
    assume(min(math.dist(point, TX), math.dist(point, RX)) > 0.1)
    found = float(bistatic_stretch(vec(point), TX, RX))
    assume(found > 0.05)  # between the nodes there is no bisector
    assert found == pytest.approx(oracle.stretch(point, TX.numpy(), RX.numpy()), rel=1e-6)


def test_stretch__is_two_behind_both_nodes_and_nothing_between_them():
    middle, beyond = (TX + RX) / 2, RX + 3 * (RX - TX)
    assert float(bistatic_stretch(middle, TX, RX)) == pytest.approx(0, abs=1e-7)
    assert float(bistatic_stretch(beyond, TX, RX)) == pytest.approx(2, rel=1e-9)


def test_paths__add_up_one_by_one():
    rng = np.random.default_rng(3)
    gain, length = rng.normal(size=(2, 5)), rng.uniform(1, 40, (2, 5))
    found = path_response(frequencies(), torch.tensor(gain), torch.tensor(length))
    for row in range(2):
        for k, f in enumerate(frequencies().tolist()):
            wanted = sum(oracle.wave(g, f, d) for g, d in zip(gain[row], length[row], strict=True))
            assert complex(found[row, k]) == pytest.approx(wanted, rel=1e-9)


# --- reception ----------------------------------------------------------------------------------


def test_receive__gain_and_turn_are_common_to_a_packet_and_link():
    rng = np.random.default_rng(1)
    h, n = (
        torch.tensor(rng.normal(size=(5, 2, 7)) + 1j * rng.normal(size=(5, 2, 7))) for _ in "ab"
    )
    agc, turn = torch.tensor(rng.normal(size=(5, 2))), torch.tensor(rng.uniform(size=(5, 2)))
    ratio = receive(h, n, agc_db=agc, turn=turn) / (h + n)
    assert torch.allclose(ratio, ratio[..., :1].expand_as(ratio), rtol=1e-12)
    assert torch.allclose(20 * torch.log10(ratio[..., 0].abs()), agc, atol=1e-12)
    wanted = torch.polar(torch.ones_like(turn), 2 * math.pi * turn)
    assert torch.allclose(ratio[..., 0] / ratio[..., 0].abs(), wanted, rtol=1e-12)
