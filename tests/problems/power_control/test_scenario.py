import math

import numpy as np
import pytest

from isac_gym.core import ScenarioError
from isac_gym.problems.power_control.scenario import PowerControlScenario
from tests.oracles import power_control_physics as oracle


def test_defaults__are_those_of_the_spec():
    s = PowerControlScenario()
    assert (s.num_bs, s.hex_radius_m, s.carrier_hz, s.bandwidth_hz) == (3, 100.0, 3.5e9, 100e6)
    assert (s.num_subcarriers, s.num_symbols) == (3276, 14)
    assert (s.bs_height_m, s.ue_height_m, s.target_height_m) == (10.0, 1.5, 1.5)
    assert (s.comm_exponent, s.sense_exponent, s.rician_k_db) == (2.5, 2.0, 10.0)
    assert (s.self_interference_db, s.threshold_db, s.min_distance_m) == (-110.0, 0.0, 1.0)
    assert (s.own_echo, s.processing_gain, s.objective) == ("signal", False, "maxmin")


def test_derived__values():
    s = PowerControlScenario()
    assert s.inter_site_distance_m == pytest.approx(173.205, abs=1e-3)
    assert s.ue_radius_m == pytest.approx(86.6025, abs=1e-4)
    assert s.wavelength_m == pytest.approx(oracle.wavelength(3.5e9), rel=1e-15)
    assert s.max_power_w == pytest.approx(1.0, rel=1e-15)
    assert s.bs_noise_w == pytest.approx(oracle.noise_power(100e6, 5.0), rel=1e-14)
    assert s.ue_noise_w == pytest.approx(oracle.noise_power(100e6, 9.0), rel=1e-14)
    assert s.integration_gain == 1.0
    assert s.replace(processing_gain=True).integration_gain == 3276 * 14
    assert s.replace(threshold_db=-math.inf).threshold == 0.0


@pytest.mark.parametrize(
    ("preset", "field", "value"),
    [
        ("paper", "threshold_db", 0.0),
        ("paper-constrained", "threshold_db", 3.0),
        ("high-si", "self_interference_db", -90.0),
        ("low-si", "self_interference_db", -130.0),
        ("dense-7", "num_bs", 7),
        ("dense-19", "num_bs", 19),
        ("realistic", "processing_gain", True),
        ("peb2d", "objective", "peb2d"),
        ("peb3d", "objective", "peb3d"),
    ],
)
def test_presets__mean_what_they_say(preset, field, value):
    assert getattr(PowerControlScenario.preset(preset), field) == value


def test_bs_positions__three_on_alternate_vertices():
    np.testing.assert_allclose(
        PowerControlScenario().bs_positions(), oracle.bs_triangle(100.0, 10.0), atol=1e-12
    )


@pytest.mark.parametrize(("count", "rings"), [(1, 0), (7, 1), (19, 2)])
def test_bs_positions__rings_of_a_lattice(count, rings):
    mine = np.array(PowerControlScenario(num_bs=count).bs_positions())
    theirs = oracle.bs_lattice(rings, math.sqrt(3) * 100.0, 10.0)
    gaps = np.linalg.norm(mine[:, None] - theirs[None], axis=-1)
    assert gaps.min(1).max() < 1e-9  # the same set, in some order
    assert gaps.min(0).max() < 1e-9


@pytest.mark.parametrize("count", [2, 4, 12, 37, 61])
def test_bs_positions__neighbours_are_an_isd_apart(count):
    scenario = PowerControlScenario(num_bs=count)
    points = np.array(scenario.bs_positions())
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(count)
    assert len(points) == count
    np.testing.assert_allclose(gaps.min(1), scenario.inter_site_distance_m, rtol=1e-9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_bs", 0),
        ("num_bs", 62),
        ("max_power_dbm", math.nan),
        ("max_power_dbm", math.inf),
        ("bandwidth_hz", 0.0),
        ("bandwidth_hz", -1.0),
        ("bandwidth_hz", math.inf),
        ("target_rcs_dbsm", math.nan),
        ("bs_noise_figure_db", math.nan),
        ("self_interference_db", 1.0),
        ("hex_radius_m", 0.0),
        ("hex_radius_m", -5.0),
        ("min_distance_m", 0.0),
        ("threshold_db", math.nan),
        ("own_echo", "noise"),
        ("objective", "sum"),
    ],
)
def test_scenario__refuses(field, value):
    with pytest.raises(ScenarioError, match=f"{field} must be"):
        PowerControlScenario(**{field: value})
