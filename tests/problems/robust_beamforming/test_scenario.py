import math

import numpy as np
import pytest

from isac_gym.core import ScenarioError
from isac_gym.problems.robust_beamforming.scenario import RobustBeamformingScenario
from tests.oracles import robust_beamforming_sensing as sensing


def test_defaults__are_those_of_the_paper():
    s = RobustBeamformingScenario()
    assert (s.num_bs, s.num_users, s.num_antennas, s.num_targets) == (3, 1, 5, 2)
    assert (s.num_streams, s.max_power_dbm, s.csi_error, s.delay) == (4, 40.0, 0.1, "resolved")
    assert (s.preference, s.preference_spread, s.target_box_m) == (0.5, 0.5, 0.0)
    assert s == RobustBeamformingScenario.preset("paper")


def test_derived__values():
    s = RobustBeamformingScenario()
    assert s.max_power_w == pytest.approx(10.0, rel=1e-14)
    assert s.user_noise_w == pytest.approx(10**-11.5, rel=1e-13)
    assert s.echo_noise_w == pytest.approx(10**-11.5, rel=1e-13)
    assert s.wavelength_m == pytest.approx(299_792_458 / 3.5e9, rel=1e-15)
    assert s.num_samples == pytest.approx(1024, rel=1e-14)
    assert s.path_gain == pytest.approx(1e-4, rel=1e-14)
    assert s.target_rcs_m2 == 1.0


def test_positions__are_the_papers():
    s = RobustBeamformingScenario()
    np.testing.assert_allclose(s.bs_positions(), sensing.PAPER_BS, atol=1e-12)
    np.testing.assert_array_equal(s.target_positions(), sensing.PAPER_TARGET)
    assert s.replace(num_targets=1).target_positions() == [(2.0, 5.0)]


@pytest.mark.parametrize("count", [2, 5, 12])
def test_bs_positions__are_a_circle(count):
    bs = np.array(RobustBeamformingScenario(num_bs=count, bs_radius_m=60.0).bs_positions())
    np.testing.assert_allclose(np.linalg.norm(bs, axis=1), 60.0, rtol=1e-14)
    np.testing.assert_allclose(bs.sum(0), 0, atol=1e-11)


@pytest.mark.parametrize(
    ("preset", "field", "value"),
    [
        ("small", "num_antennas", 3),
        ("csi-0", "csi_error", 0.0),
        ("csi-05", "csi_error", 0.05),
        ("csi-20", "csi_error", 0.2),
        ("power-30", "max_power_dbm", 30.0),
        ("power-35", "csi_error", 0.05),
        ("bandlimited", "delay", "bandlimited"),
        ("unresolved", "delay", "unresolved"),
        ("random-targets", "target_box_m", 20.0),
        ("two-users", "num_users", 2),
        ("large", "num_antennas", 8),
    ],
)
def test_presets__mean_what_they_say(preset, field, value):
    assert getattr(RobustBeamformingScenario.preset(preset), field) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_bs", 1),
        ("num_bs", 0),
        ("num_users", 0),
        ("num_antennas", 1),
        ("num_targets", 0),
        ("num_streams", 0),
        ("num_streams", 6),
        ("csi_error", -0.1),
        ("csi_error", math.nan),
        ("csi_error", math.inf),
        ("max_power_dbm", math.nan),
        ("max_power_dbm", math.inf),
        ("user_noise_dbm", math.nan),
        ("bandwidth_hz", 0.0),
        ("observation_s", -1.0),
        ("preference", -0.01),
        ("preference", 1.01),
        ("preference_spread", 1.5),
        ("delay", "partly"),
        ("target_box_m", -1.0),
        ("num_targets", 3),
    ],
)
def test_scenario__refuses(field, value):
    with pytest.raises(ScenarioError, match=f"{field} must be"):
        RobustBeamformingScenario(**{field: value})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"target_box_m": 41.0}, "target_box_m must be <= bs_radius_m / 2"),
        ({"target_box_m": 1.0}, "target_box_m must be 0 or >= num_targets"),
        ({"min_user_distance_m": 70.0}, "min_user_distance_m must be <= max_user_distance_m"),
        ({"num_antennas": 3}, "num_streams must be <= num_antennas = 3"),
        ({"num_targets": 3}, "set target_box_m"),
    ],
)
def test_scenario__refuses_combinations(fields, named):
    with pytest.raises(ScenarioError, match=named):
        RobustBeamformingScenario(**fields)


def test_scenario__one_station_is_refused_with_the_reason():
    with pytest.raises(ScenarioError, match="num_bs must be"):
        RobustBeamformingScenario(num_bs=1)
