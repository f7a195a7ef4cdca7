import pytest

from isac_gym.core import ScenarioError
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario


def test_defaults__are_those_of_the_paper():
    s = OtaFeelScenario()
    assert (s.num_devices, s.device_antennas, s.server_antennas, s.num_tasks) == (15, 4, 16, 2)
    assert (s.min_radius_m, s.max_radius_m, s.min_target_radius_m) == (50, 100, 100)
    assert (s.max_target_radius_m, s.arc_deg, s.max_target_height_m) == (110, 20, 3)
    assert (s.pulse, s.array, s.reference_gain) == ("dft", "vertical", 1)
    assert s == OtaFeelScenario.preset("paper")
    assert s.noise_w == pytest.approx(0.1, rel=1e-14)
    assert s.arc_rad == pytest.approx(0.3490658503988659, rel=1e-14)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("coherent", {"pulse": "none", "array": "vertical", "sensing_weight": 0.0}),
        ("joint", {"pulse": "none", "array": "upa", "sensing_weight": 0.5}),
        ("sensing", {"array": "upa", "sensing_weight": 1.0, "sensing": "ideal"}),
        ("unequal", {"pulse": "dft", "weight_spread": 1.0}),
        ("path-loss", {"pulse": "none", "uplink_exponent": 3.0}),
        ("low-snr", {"snr_db": 0.0}),
        ("high-snr", {"snr_db": 20.0}),
        ("small", {"num_devices": 4, "server_antennas": 4, "array": "upa"}),
    ],
)
def test_presets__mean_what_they_say(preset, expected):
    scenario = OtaFeelScenario.preset(preset)
    assert {name: getattr(scenario, name) for name in expected} == expected
    assert OtaFeelScenario.from_dict(scenario.to_dict()) == scenario


def test_literal__warns():
    with pytest.warns(UserWarning, match="condition number near 4e7"):
        OtaFeelScenario(array="literal")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"frame_length": 14},
            "frame_length must be >= num_devices = 15 with pulse 'dft', got 14.",
        ),
        (
            {"num_tasks": 5},
            "num_tasks must be <= 4, the fewer of device_antennas and server_antennas, got 5.",
        ),
        (
            {"num_tasks": 3, "server_antennas": 2},
            "num_tasks must be <= 2, the fewer of device_antennas and server_antennas, got 3.",
        ),
        ({"min_target_distance_m": 0.0}, "min_target_distance_m must be > 0 and <= 100000"),
        ({"min_target_distance_m": -1.0}, "min_target_distance_m must be > 0 and <= 100000"),
        (
            {"min_target_distance_m": 51.0},
            "min_target_distance_m must be <= 50, min_target_radius_m - min_radius_m, got 51.",
        ),
        ({"min_target_distance_m": float("nan")}, "min_target_distance_m must be > 0"),
        ({"snr_db": float("nan")}, "snr_db must be >= -40 and <= 80, got nan."),
        ({"max_power_w": 0.0}, "max_power_w must be > 0"),
        ({"echo_noise_w": 0.0}, "echo_noise_w must be > 0"),
        ({"echo_noise_w": float("inf")}, "echo_noise_w must be > 0"),
        ({"prior_std_m": 0.0}, "prior_std_m must be > 0"),
        (
            {"array": "upa", "device_antennas": 5},
            "device_antennas must be even and >= 4 with array 'upa', got 5.",
        ),
        (
            {"array": "upa", "device_antennas": 2},
            "device_antennas must be even and >= 4 with array 'upa', got 2.",
        ),
        ({"array": "circle"}, "array must be one of 'vertical', 'upa', 'horizontal', 'literal'"),
        ({"pulse": "hadamard"}, "pulse must be one of 'none', 'dft'"),
        ({"min_radius_m": 101.0}, "min_radius_m must be <= max_radius_m = 100, got 101."),
        (
            {"min_target_radius_m": 120.0},
            "min_target_radius_m must be <= max_target_radius_m = 110, got 120.",
        ),
        ({"sensing_weight": 1.5}, "sensing_weight must be >= 0 and <= 1, got 1.5."),
        ({"num_devices": 0}, "num_devices must be >= 1"),
        ({"num_devices": 15.0}, "num_devices must be int"),
    ],
)
def test_refusals__name_the_field(changes, message):
    with pytest.raises(ScenarioError) as caught:
        OtaFeelScenario(**changes)
    assert str(caught.value).startswith(message)


def test_frames__may_be_short_without_pulses():
    assert OtaFeelScenario(frame_length=2, pulse="none").frame_length == 2
