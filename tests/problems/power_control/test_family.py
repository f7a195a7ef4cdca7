from isac_gym.core import family
from isac_gym.core.family import load_object
from isac_gym.core.process import Process
from isac_gym.problems.power_control import FAMILY


def test_family__is_installed():
    assert family("power_control") is FAMILY


def test_family__paths_load():
    assert load_object(FAMILY.problem).name == FAMILY.name
    for entry in FAMILY.environments:
        kind = load_object(entry.process)
        assert issubclass(kind, Process)
        assert kind.__doc__


def test_family__has_the_four_environments():
    assert [entry.id for entry in FAMILY.environments] == [
        "isac/PowerControlStatic-v0",
        "isac/PowerControl-v0",
        "isac/PowerControlTracking-v0",
        "isac/PowerControlEnergy-v0",
    ]
    assert all(entry.parallel_id == entry.id for entry in FAMILY.environments)
