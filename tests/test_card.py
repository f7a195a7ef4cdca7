import itertools
import json

import pytest

from isac_gym.card import card
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import families

NAMES = sorted(families())


@pytest.mark.parametrize("name", NAMES)
def test_card__is_strict_json(name):
    assert json.loads(json.dumps(card(name), allow_nan=False)) == card(name)


@pytest.mark.parametrize("name", NAMES)
def test_card__layout_covers_every_observation_entry_once(name):
    for environment in card(name)["environments"]:
        process = families()[name].make_process(environment["id"])
        for key, size in (
            ("observation", process.observation_size),
            ("local_observation", process.local_observation_size),
        ):
            edges = [row["entries"] for row in environment[key]]
            assert edges[0][0] == 0
            assert edges[-1][1] == size
            assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize("name", NAMES)
def test_card__records_are_the_declared_ones(name):
    problem = families()[name].make_problem()
    found = card(name)["records"]
    for key in ("instance", "decision", "metrics"):
        declared = getattr(problem, f"{key}_type").tensor_fields()
        assert [row["field"] for row in found[key]] == list(declared)


def test_card__sizes_and_values_follow_the_scenario():
    found = card("power-control", {"preset": "dense-7", "threshold_db": "-inf"})
    values = {row["field"]: row["value"] for row in found["scenario"]}
    shapes = {row["field"]: row["shape"] for row in found["records"]["instance"]}
    assert (values["num_bs"], values["threshold_db"]) == (7, "-inf")
    assert shapes["comm_gain"] == ["B", 7, 7]
    assert shapes["bs"] == ["B", 7, 3]
    assert found["environments"][0]["agents"][-1] == "bs_6"


def test_card__presets_hold_exactly_their_changes():
    found = card("power-control")["presets"]
    assert found["paper"] == {}
    assert found["dense-19"] == {"num_bs": 19, "threshold_db": -3.0}


def test_card__settings_show_the_default_of_that_environment():
    found = card("isac/PowerControl-v0")["environments"]
    settings = {row["setting"]: row["default"] for row in found[0]["settings"]}
    assert len(found) == 1
    assert settings["horizon"] == found[0]["horizon"] == 100
    assert "problem" not in settings


@pytest.mark.parametrize("name", ["nope", "isac/Nope-v0"])
def test_card__unknown_name_lists_the_known_ones(name):
    with pytest.raises(ScenarioError, match="allowed"):
        card(name)
