import dataclasses
import importlib
import subprocess
import sys

import pytest

from isac_gym.core import EnvironmentEntry, ScenarioError, add_family, families, family, family_of
from isac_gym.core.family import as_scenario
from tests.contracts.toy import TOY_FAMILY, ToyProblem, ToyProcess, ToyScenario

family_module = importlib.import_module("isac_gym.core.family")  # the package exports a function


def test_families__found_by_entry_point():
    assert "power_control" in families()
    assert all(name == each.name for name, each in families().items())


def test_families__ids_are_unique_and_versioned():
    ids = [entry.id for each in families().values() for entry in each.environments]
    assert len(ids) == len(set(ids))
    assert all(i.startswith("isac/") and i.rpartition("-v")[2].isdigit() for i in ids)


def test_family__hyphen_is_underscore():
    assert family("power-control") is family("power_control")


def test_family__unknown_lists_known():
    with pytest.raises(ScenarioError, match=r"unknown problem 'chess'; allowed: .*power_control"):
        family("chess")


def test_family_of__inverts_the_ids():
    for each in families().values():
        for entry in each.environments:
            assert family_of(entry.id) is each


def test_family_of__unknown_lists_known():
    with pytest.raises(ScenarioError, match=r"unknown environment 'isac/Chess-v0'; allowed: isac/"):
        family_of("isac/Chess-v0")


def test_make_problem__of_name_mapping_and_scenario():
    assert TOY_FAMILY.make_problem() == ToyProblem()
    assert TOY_FAMILY.make_problem("wide").scenario.num_users == 6
    mapping = {"preset": "wide", "noise_dbm": 3.0}
    assert TOY_FAMILY.make_problem(mapping).scenario == ToyScenario(num_users=6, noise_dbm=3.0)
    assert TOY_FAMILY.make_problem(ToyScenario(num_users=2)).scenario.num_users == 2


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("none", "unknown preset 'none'"),
        ({"user_count": 3}, "unknown field"),
        ({"num_users": 0}, "num_users must be >= 1"),
        (7, "must be a preset name, a mapping or a ToyScenario, got int"),
    ],
)
def test_as_scenario__refuses(scenario, message):
    with pytest.raises(ScenarioError, match=message):
        as_scenario(ToyScenario, scenario)


def test_as_scenario__leaves_the_mapping_alone():
    mapping = {"preset": "wide"}
    as_scenario(ToyScenario, mapping)
    assert mapping == {"preset": "wide"}


def test_make_process__applies_settings():
    process = TOY_FAMILY.make_process("isac/Toy-v0", "wide", {"horizon": 2})
    assert isinstance(process, ToyProcess)
    assert (process.horizon, process.action_size) == (2, 6)


def test_make_process__refuses_unknown():
    with pytest.raises(ScenarioError, match="unknown environment 'isac/Toy-v1'"):
        TOY_FAMILY.make_process("isac/Toy-v1")
    with pytest.raises(ScenarioError, match=r"unknown setting\(s\) \['horizn'\]; allowed: horizon"):
        TOY_FAMILY.make_process("isac/Toy-v0", settings={"horizn": 3})
    with pytest.raises(ScenarioError, match="unknown setting"):
        TOY_FAMILY.make_process("isac/Toy-v0", settings={"problem": None})


def test_add_family__makes_it_known_once():
    added = dataclasses.replace(TOY_FAMILY, name="toy_added")
    add_family(added)
    try:
        assert family("toy-added") is added
        with pytest.raises(ScenarioError, match="problem name 'toy_added' is taken"):
            add_family(added)
    finally:
        family_module._ADDED.pop("toy_added")
    assert "toy_added" not in families()


def test_families__listing_loads_no_tensor_model():
    code = (
        "import sys\n"
        "from isac_gym.core.family import families\n"
        "families()\n"
        "found = [m for m in sys.modules if m.startswith('isac_gym.problems') and 'model' in m]\n"
        "sys.exit(1 if found else 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_make_process__without_a_preset_takes_the_environments_own():
    entry = EnvironmentEntry(id="isac/Toy-v0", process=ToyProcess, doc="toy", preset="wide")
    toys = dataclasses.replace(TOY_FAMILY, environments=(entry,))
    users = [
        toys.make_process("isac/Toy-v0", scenario).problem.scenario.num_users
        for scenario in (None, {}, {"noise_dbm": 1.0}, "paper", {"preset": "paper"})
    ]
    assert users == [6, 6, 6, 3, 3]
