"""The demo's table holds what a run gives."""

import re

import pytest
from rich.console import Console

from baselines.ota_feel import demo


@pytest.mark.slow
def test_show__prints_accuracy_and_error_of_three_schemes():
    console = Console(record=True, width=90)
    demo.show(console)
    text = console.export_text()
    rows = [line.split() for line in text.splitlines() if re.match(r"\s*\d+\s+\d", line)]
    assert [int(row[0]) for row in rows] == list(demo._SHOWN)
    first, last = ([float(cell) for cell in rows[at][1:]] for at in (0, -1))
    assert all(after > 85 > before for after, before in zip(last[:3], first[:3], strict=True))
    assert all(after < before / 3 for after, before in zip(last[3:], first[3:], strict=True))
