import csv
import json
import re
from html.parser import HTMLParser

import pytest

from leaderboard.evaluate import evaluate_decisions
from leaderboard.results import Training
from leaderboard.site import build_site
from leaderboard.store import Store
from leaderboard.tasks import make_problem, tasks
from tests.leaderboard.conftest import PAPER

VOID = {"meta", "link", "br", "img", "hr", "input", "path", "use"}


class Page(HTMLParser):
    """Checks nesting; collects links, ids and tags."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.links, self.ids, self.tags, self.text = [], [], [], set(), []
        self.feed(text)
        self.close()
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        self.links += [values[name] for name in ("href", "src", "xlink:href") if name in values]
        if "id" in values:
            self.ids.append(values["id"])
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def store(tmp_path_factory, paper, instance, optimum, method):
    store = Store(tmp_path_factory.mktemp("site") / "record")
    store.add(evaluate_decisions(paper, optimum, method=method), decision=optimum)
    training = Training(data="<b>bold</b> & sons", budget="none")
    card = method.model_copy(
        update={
            "name": "Full (power)",
            "summary": "<script>alert(1)</script>",
            "kind": "learned",
            "training": training,
            "seeds_tried": [1, 2],
            "seed_reported": 2,
            "parameters": 12345,
        }
    )
    floor = make_problem(paper).floor(instance)
    row = store.add(evaluate_decisions(paper, floor, method=card))
    gone = method.model_copy(update={"name": "Gone"})
    third = floor.replace(power=floor.power * 0.7)
    row = store.add(evaluate_decisions(paper, third, method=gone))
    store.set_status(PAPER, row.id, status="invalid", reason="trained on the test set")
    return store


@pytest.fixture(scope="module")
def site(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert build_site(out, store=store) == out / "index.html"
    return out


@pytest.fixture(scope="module")
def pages(site):
    return {p.relative_to(site).as_posix(): Page(p.read_text()) for p in site.rglob("*.html")}


def test_build_site__every_task_has_a_page_that_is_linked(pages):
    for task_id in tasks():
        assert f"tasks/{task_id}.html" in pages
        assert f"tasks/{task_id}.html" in pages["index.html"].links


def test_build_site__needs_no_script_and_no_other_host(site, pages):
    for page in pages.values():
        assert not page.tags & {"script", "iframe", "object", "embed"}
        assert len(set(page.ids)) == len(page.ids)
    for path in site.rglob("*"):
        if path.suffix in (".html", ".css"):
            text = path.read_text()
            assert not re.search(r"(?:href|src|url)\s*[=(]\s*[\"']?(?:https?:)?//", text)
            assert "@import" not in text


def test_build_site__internal_links_lead_somewhere(site, pages):
    for name, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if target.startswith("data:") or not target:
                continue
            path = (site / name).parent / target
            assert path.is_file(), f"{name}: {link}"
            if anchor:
                assert anchor in pages[path.resolve().relative_to(site.resolve()).as_posix()].ids


def test_build_site__text_of_strangers_is_escaped(site):
    text = (site / "methods.html").read_text()
    assert "&lt;script&gt;alert(1)" in text
    assert "<b>bold" not in text


def test_build_site__shows_scores_references_and_retired_rows(pages):
    text = " ".join(pages[f"tasks/{PAPER}.html"].text)
    for part in ("Our method", "certified optimum", "full power", "trained on the test set"):
        assert part in text
    assert "<svg" not in text
    assert "svg" in pages[f"tasks/{PAPER}.html"].tags


def test_build_site__works_on_phones_and_in_the_dark(site):
    style = (site / "style.css").read_text()
    assert "prefers-color-scheme: dark" in style
    assert "max-width" in style
    assert 'name="viewport"' in (site / "index.html").read_text()


def test_build_site__drawing_follows_the_colours_of_the_page(site):
    text = (site / "tasks" / f"{PAPER}.html").read_text()
    assert "var(--muted)" in text
    assert "#010203" not in text


def test_build_site__data_can_be_downloaded(site):
    rows = list(csv.DictReader((site / "data" / "results.csv").open()))
    assert {row["method"] for row in rows} == {"Our method", "Full (power)", "Gone"}
    values = json.loads((site / "data" / "results.json").read_text())
    assert {task["id"] for task in values["tasks"]} == set(tasks())
    assert len(values["rows"]) == 3


def test_build_site__again_gives_the_same_bytes(site, store, tmp_path):
    build_site(tmp_path, store=store)
    for path in site.rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(site)).read_bytes() == path.read_bytes()


def test_build_site__an_empty_record_gives_a_page(tmp_path):
    index = build_site(tmp_path / "out", store=Store(tmp_path / "none"))
    assert "No method has results" in index.read_text()
