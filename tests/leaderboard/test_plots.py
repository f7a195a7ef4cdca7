import re

import pytest

from leaderboard.board import build_board
from leaderboard.evaluate import evaluate_decisions
from leaderboard.plots import profile_plot
from leaderboard.store import Store
from leaderboard.tasks import make_problem
from tests.leaderboard.conftest import PAPER


@pytest.fixture
def table(tmp_path, paper, instance, optimum, method):
    store = Store(tmp_path / "record")
    floor = make_problem(paper).floor(instance)
    store.add(evaluate_decisions(paper, optimum, method=method))
    for number in range(9):
        card = method.model_copy(update={"name": f"cut {number}"})
        part = floor.replace(power=floor.power * (1 - 0.1 * number))
        part.power[:, 0] *= 0.3**number
        store.add(evaluate_decisions(paper, part, method=card))
    return next(each for each in build_board(store).tables if each.task.id == PAPER)


def test_profile_plot__every_ranked_method_is_in_the_legend(table):
    plot = profile_plot(table)
    names = ", ".join(names for _, names in plot.legend)
    assert sorted(names.split(", ")) == sorted(x.result.method.name for x in table.lines)
    assert len({colour for colour, _ in plot.legend}) == len(plot.legend) <= 7


def test_profile_plot__is_an_inline_element_without_fixed_size(table):
    svg = profile_plot(table).svg
    opening = re.match(r"<svg[^>]*>", svg).group(0)
    assert "width=" not in opening
    assert "viewBox" in opening
    assert svg.rstrip().endswith("</svg>")
    assert svg == profile_plot(table).svg


def test_profile_plot__nothing_to_draw(tmp_path):
    for table in build_board(Store(tmp_path / "none")).tables:
        assert profile_plot(table).svg == ""
