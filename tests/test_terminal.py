import json

import pytest
from rich.console import Console

from isac_gym.core.errors import ScenarioError
from isac_gym.terminal import assignments, duration, plain_table, print_json


def test_assignments__values_are_json_where_they_parse():
    texts = ["a=2", "b=-1.5", "c=true", "d=levels", "e=x=y", "f="]
    assert assignments("--set", texts) == {
        "a": 2,
        "b": -1.5,
        "c": True,
        "d": "levels",
        "e": "x=y",
        "f": "",
    }


def test_assignments__none_given():
    assert assignments("--set", None) == {}


@pytest.mark.parametrize("text", ["x", "=1", ""])
def test_assignments__malformed_text_names_option_and_text(text):
    with pytest.raises(ScenarioError, match=f"--set must read name=value, got '{text}'"):
        assignments("--set", [text])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.345, "12.3 s"), (1.0, "1 s"), (0.5, "500 ms"), (2.5e-5, "25 us"), (1e-8, "10 ns")],
)
def test_duration__unit_fits_the_size(seconds, text):
    assert duration(seconds) == text


def test_plain_table__numbers_are_aligned_to_the_right():
    table = plain_table("name", "count", numeric=["count"])
    table.add_row("a", "1")
    table.add_row("b", "1000")
    console = Console(width=40)
    with console.capture() as capture:
        console.print(table)
    rows = [line.rstrip() for line in capture.get().splitlines()]
    assert rows == ["name  count", "a         1", "b      1000"]


def test_print_json__is_strict(capsys):
    print_json({"a": [1, None]})
    assert json.loads(capsys.readouterr().out) == {"a": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        print_json(float("nan"))
