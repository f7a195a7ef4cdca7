import json
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.core import Scenario, ScenarioError, parameter


@dataclass(frozen=True, kw_only=True)
class Example(Scenario):
    presets: ClassVar = {"paper": {}, "loud": {"power_dbm": 40.0}}

    count: int = parameter(3, low=1, high=9, doc="count", source="ours")
    power_dbm: float = parameter(30.0, low=-60, high=90, doc="power", source="ours")
    width_hz: float = parameter(1e6, above=0, doc="width", source="ours")
    floor_db: float = parameter(0.0, low=-math.inf, high=30, doc="floor", source="ours")
    mode: str = parameter("fast", choices=("fast", "slow"), doc="mode", source="ours")
    has_echo: bool = parameter(False, doc="echo", source="ours")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("count", 0, "count must be >= 1 and <= 9, got 0"),
        ("count", 10, "count must be >= 1 and <= 9, got 10"),
        ("count", 3.5, "count must be int, got 3.5"),
        ("count", True, "count must be int, got True"),
        ("power_dbm", 91.0, "power_dbm must be >= -60 and <= 90, got 91"),
        ("power_dbm", math.nan, "power_dbm must be"),
        ("power_dbm", math.inf, "power_dbm must be"),
        ("power_dbm", -math.inf, "power_dbm must be"),
        ("power_dbm", "30", "power_dbm must be float, got '30'"),
        ("power_dbm", True, "power_dbm must be float, got True"),
        ("width_hz", 0.0, "width_hz must be > 0, got 0"),
        ("width_hz", math.inf, "width_hz must be > 0, got inf"),
        ("floor_db", math.nan, "floor_db must be"),
        ("mode", "medium", "mode must be one of 'fast', 'slow', got 'medium'"),
        ("mode", 1, "mode must be str, got 1"),
        ("has_echo", 1, "has_echo must be bool, got 1"),
    ],
)
def test_scenario__refuses_a_value_and_says_why(field, value, message):
    with pytest.raises(ScenarioError) as caught:
        Example(**{field: value})
    assert message in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("count", 1), ("count", 9), ("power_dbm", -60)])
def test_scenario__accepts_the_ends_of_a_range(field, value):
    assert getattr(Example(**{field: value}), field) == value


def test_scenario__minus_infinity_only_where_declared():
    assert Example(floor_db=-math.inf).floor_db == -math.inf


def test_preset__applies_and_changes():
    assert Example.preset("loud").power_dbm == 40
    assert Example.preset("loud", count=5).count == 5
    assert Example.preset() == Example()


def test_preset__refuses_unknown_names():
    with pytest.raises(ScenarioError, match="unknown preset 'quiet'; allowed: paper, loud"):
        Example.preset("quiet")
    with pytest.raises(ScenarioError, match=r"unknown field\(s\) \['power'\]; allowed: count"):
        Example.preset("paper", power=3.0)


@given(
    st.builds(
        Example,
        count=st.integers(1, 9),
        power_dbm=st.floats(-60, 90),
        floor_db=st.one_of(st.floats(-100, 30), st.just(-math.inf)),
        mode=st.sampled_from(["fast", "slow"]),
        has_echo=st.booleans(),
    )
)
def test_to_dict__round_trips_through_strict_json(scenario):
    text = json.dumps(scenario.to_dict(), allow_nan=False)
    assert Example.from_dict(json.loads(text)) == scenario
    assert Example.from_dict(json.loads(text)).digest() == scenario.digest()


def test_digest__int_and_float_of_one_value_agree():
    assert Example(power_dbm=30) == Example(power_dbm=30.0)
    assert Example(power_dbm=30).digest() == Example(power_dbm=30.0).digest()
    assert Example(floor_db=-0.0).digest() == Example(floor_db=0.0).digest()


def test_digest__depends_on_every_field():
    changes = {
        "count": 4,
        "power_dbm": 31.0,
        "width_hz": 2e6,
        "floor_db": -math.inf,
        "mode": "slow",
        "has_echo": True,
    }
    digests = {Example(**{name: value}).digest() for name, value in changes.items()}
    assert len(digests | {Example().digest()}) == 7
    assert Example().digest() == "013f806a149f471b8c0dd63e97b69785497c8e746de9808d7ff3b7c6219cf93f"


def test_replace__validates():
    assert Example().replace(count=4).count == 4
    with pytest.raises(ScenarioError, match="count must be"):
        Example().replace(count=40)


def test_table__has_a_row_per_field():
    rows = {row["field"]: row for row in Example.table()}
    assert list(rows) == ["count", "power_dbm", "width_hz", "floor_db", "mode", "has_echo"]
    assert rows["width_hz"]["allowed"] == "> 0"
    assert rows["mode"]["allowed"] == "one of 'fast', 'slow'"
    assert rows["has_echo"]["allowed"] == "True or False"


@dataclass(frozen=True, kw_only=True)
class Conditional(Example):
    rate: float = parameter(
        1.0, above=0, only_where=("mode", "slow"), doc="rate of the slow mode", source="ours"
    )


def test_scenario__a_field_may_matter_only_where_another_has_a_value():
    assert Conditional().is_inert("rate")
    assert not Conditional(mode="slow").is_inert("rate")
    assert not Conditional().is_inert("count")
    row = next(row for row in Conditional.table() if row["field"] == "rate")
    assert row["doc"] == "rate of the slow mode (only where mode is 'slow')"
