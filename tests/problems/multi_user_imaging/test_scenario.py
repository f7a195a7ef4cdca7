import math

import pytest

from isac_gym.core import ScenarioError
from isac_gym.problems.multi_user_imaging.scenario import (
    DesignScenario,
    ImagingScenario,
    RecoveryScenario,
)

KINDS = [RecoveryScenario, DesignScenario]


@pytest.mark.parametrize("kind", KINDS)
def test_defaults__are_those_of_the_paper(kind):
    s = kind()
    assert (s.num_users, s.num_antennas, s.num_voxels, s.num_occupied) == (20, 16, 32, 4)
    assert (s.max_power_w, s.snr_db, s.num_samples, s.carrier_hz) == (10.0, 15.0, 750, 28e9)
    assert s == kind.preset("paper")


def test_derived__values():
    s = RecoveryScenario()
    assert s.noise_w == pytest.approx(10 * 10**-1.5, rel=1e-14)
    assert s.wavelength_m == pytest.approx(299_792_458 / 28e9, rel=1e-15)
    assert s.num_edges == 30
    assert s.image_energy == pytest.approx(4 * 7 / 12, rel=1e-14)  # E[u^2] on [1/2, 1] = 7/12
    d = DesignScenario()
    assert d.comm_noise_w == pytest.approx(10 * 10**-1.5, rel=1e-14)
    assert d.min_sinr == pytest.approx(10.0, rel=1e-14)


@pytest.mark.parametrize(
    ("kind", "preset", "expected"),
    [
        (RecoveryScenario, "small", {"num_voxels": 8, "num_users": 4, "num_antennas": 4}),
        (RecoveryScenario, "image", {"num_voxels": 64, "num_occupied": 8}),
        (RecoveryScenario, "aligned", {"shape": "aligned", "num_voxels": 64}),
        (RecoveryScenario, "low-snr", {"snr_db": -10.0, "num_voxels": 64}),
        (RecoveryScenario, "real", {"phase": "zero"}),
        (RecoveryScenario, "constant-beam", {"probing": "constant"}),
        (RecoveryScenario, "geometric", {"channel": "geometric"}),
        (DesignScenario, "small", {"num_voxels": 8, "num_users": 4, "num_antennas": 4}),
        (DesignScenario, "joint", {"information": "joint"}),
        (DesignScenario, "image", {"num_voxels": 64}),
        (DesignScenario, "low-snr", {"snr_db": -10.0, "num_samples": 12}),
        (DesignScenario, "geometric", {"channel": "geometric"}),
    ],
)
def test_presets__mean_what_they_say(kind, preset, expected):
    scenario = kind.preset(preset)
    assert {name: getattr(scenario, name) for name in expected} == expected


@pytest.mark.parametrize("kind", KINDS)
def test_presets__survive_a_dictionary(kind):
    for preset in kind.presets:
        scenario = kind.preset(preset)
        assert kind.from_dict(scenario.to_dict()) == scenario


def test_voxels__run_fastest_along_z():
    s = ImagingScenario(voxels_x=2, voxels_y=1, voxels_z=3, num_occupied=1)
    assert s.voxels() == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 0), (1, 0, 1), (1, 0, 2)]


@pytest.mark.parametrize("edge", [1, 2, 3, 8])
def test_blocks__are_cubes_cut_at_the_border(edge):
    s = ImagingScenario(voxels_x=5, voxels_y=4, voxels_z=3, block_size=edge)
    blocks = s.blocks()
    per_axis = [math.ceil(n / edge) for n in (5, 4, 3)]
    assert sorted(set(blocks)) == list(range(math.prod(per_axis)))
    for block in set(blocks):
        inside = [v for v, b in zip(s.voxels(), blocks, strict=True) if b == block]
        corner = [min(axis) // edge * edge for axis in zip(*inside, strict=True)]
        full = [
            v for v in s.voxels() if all(c <= i < c + edge for i, c in zip(v, corner, strict=True))
        ]
        assert inside == full


# --- refused ------------------------------------------------------------------------------------

COMMON = [
    ({"num_users": 1}, "num_users"),
    ({"num_users": 2.5}, "num_users"),
    ({"num_antennas": 0}, "num_antennas"),
    ({"voxels_x": 0}, "voxels_x"),
    ({"voxels_y": 0}, "voxels_y"),
    ({"voxels_z": 0}, "voxels_z"),
    ({"voxels_x": 16, "voxels_y": 16, "voxels_z": 3}, r"voxels_z must be <= 512, got 768"),
    ({"block_size": 0}, "block_size"),
    ({"num_occupied": 0}, "num_occupied"),
    ({"num_occupied": 33}, "num_occupied"),
    ({"shape": "sphere"}, "shape"),
    ({"min_amplitude": 0.0}, "min_amplitude"),
    ({"min_amplitude": 0.9, "max_amplitude": 0.8}, "min_amplitude"),
    ({"max_amplitude": 1.01}, "max_amplitude"),
    ({"max_amplitude": math.nan}, "max_amplitude"),
    ({"phase": "random"}, "phase"),
    ({"max_power_w": 0.0}, "max_power_w"),
    ({"max_power_w": -1.0}, "max_power_w"),
    ({"max_power_w": math.inf}, "max_power_w"),
    ({"max_power_w": math.nan}, "max_power_w"),
    ({"snr_db": -40.5}, "snr_db"),
    ({"snr_db": 60.5}, "snr_db"),
    ({"snr_db": math.nan}, "snr_db"),
    ({"num_samples": 0}, "num_samples"),
    ({"channel": "rice"}, "channel"),
    ({"channel": "geometric", "num_antennas": 15}, "num_antennas must be a square"),
    ({"channel": "geometric", "carrier_hz": 0.0}, "carrier_hz"),
    ({"channel": "geometric", "voxel_m": 0.0}, "voxel_m"),
    ({"channel": "geometric", "bs_distance_m": 0.2}, "bs_distance_m"),
    ({"channel": "geometric", "min_user_distance_m": 0.2}, "min_user_distance_m"),
    ({"min_user_distance_m": 4.0}, "min_user_distance_m"),
]
RECOVERY = [
    ({"data_share": -0.1}, "data_share"),
    ({"data_share": 1.0}, "data_share"),
    ({"probing": "fixed"}, "probing"),
    ({"mean_degree": 1.89}, r"mean_degree must be in \[1\.9, 19\]"),
    ({"mean_degree": 19.5}, "mean_degree"),
    ({"mean_degree": math.nan}, "mean_degree"),
    ({"num_users": 3}, "mean_degree"),
]
DESIGN = [
    ({"comm_snr_db": -41.0}, "comm_snr_db"),
    ({"comm_snr_db": 61.0}, "comm_snr_db"),
    ({"min_sinr_db": 61.0}, "min_sinr_db"),
    ({"min_sinr_db": math.nan}, "min_sinr_db"),
    ({"information": "both"}, "information"),
    ({"prior_variance": 0.0}, "prior_variance"),
    ({"prior_variance": -1.0}, "prior_variance"),
    ({"prior_variance": math.inf}, "prior_variance"),
    ({"data_share": 0.3}, "data_share"),
]
CASES = [
    *((kind, changes, name) for kind in KINDS for changes, name in COMMON),
    *((RecoveryScenario, changes, name) for changes, name in RECOVERY),
    *((DesignScenario, changes, name) for changes, name in DESIGN),
]


@pytest.mark.parametrize(("kind", "changes", "named"), CASES)
def test_scenario__refuses_by_name(kind, changes, named):
    with pytest.raises(ScenarioError, match=named):
        kind.from_dict({**kind().to_dict(), **changes})


def test_mean_degree__may_be_that_of_a_tree_and_of_the_full_graph():
    tree, full = RecoveryScenario(mean_degree=1.9), RecoveryScenario(mean_degree=19.0)
    assert (tree.num_edges, full.num_edges) == (19, 190)
    assert RecoveryScenario(num_users=2, mean_degree=1.0).num_edges == 1


def test_scenario__needs_a_square_array_only_where_channels_are_geometric():
    assert RecoveryScenario(num_antennas=15).num_antennas == 15
