"""The page: static HTML built from a store. No script, no external host, light and dark."""

import json
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from leaderboard.arrays import write_bytes
from leaderboard.board import Board, build_board
from leaderboard.plots import profile_plot
from leaderboard.store import Store
from leaderboard.submission import software_versions

__all__ = ["build_site"]


def build_site(out_dir: Path, *, store: Store | None = None, board: Board | None = None) -> Path:
    """Build the page from a store; the same store gives the same bytes.

    Args:
        out_dir: Folder of the page; made if missing, files of the same name are replaced.
        store: Results; the ones shipped with the package if None.
        board: What :func:`build_board` made of the store, if it is at hand.

    Returns:
        Path of ``index.html``.
    """
    store = Store() if store is None else store
    board = build_board(store) if board is None else board
    environment = _environment()

    def render(template: str, path: str, **values: Any) -> None:
        root = "../" * path.count("/")
        page = environment.get_template(template).render(board=board, root=root, **values)
        write_bytes(out_dir / path, page.encode())

    render("index.html", "index.html")
    render("methods.html", "methods.html")
    for table in board.tables:
        plot = profile_plot(table)
        render(
            "task.html",
            f"tasks/{table.task.id}.html",
            table=table,
            svg=plot.svg,
            legend=plot.legend,
        )
    style = environment.get_template("style.css").render()
    write_bytes(out_dir / "style.css", style.encode())
    write_bytes(out_dir / "data" / "results.csv", store.export_csv().encode())
    write_bytes(out_dir / "data" / "results.json", _results_json(store, board).encode())
    return out_dir / "index.html"


def _results_json(store: Store, board: Board) -> str:
    rows = [
        {
            "row": row.id,
            "status": row.status,
            "reason": row.reason,
            "result": row.result.model_dump(mode="json"),
        }
        for row in store.rows()
    ]
    definitions = [table.task.model_dump(mode="json", exclude_none=True) for table in board.tables]
    values = {"schema_version": 1, "tasks": definitions, "rows": rows}
    return json.dumps(values, sort_keys=True, allow_nan=False) + "\n"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("leaderboard"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": _score,
        "share": _share,
        "duration": _duration,
        "quantity": _quantity,
        "slug": _slug,
        "floor_label": lambda task: task.reference("floor").label,
    }
    environment.globals["software"] = software_versions()
    return environment


def _score(value: float) -> str:
    """Points with as many digits as tell methods near 100 apart."""
    digits = 3 if 99.9 <= value < 99.9995 else 1
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _share(value: float) -> str:
    percent = 100 * value
    if percent in (0.0, 100.0):
        return f"{percent:.0f} %"
    return f"{min(max(percent, 0.1), 99.9):.1f} %"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "\N{EN DASH}"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "\N{MICRO SIGN}s")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _quantity(value: float) -> str:
    """Three significant digits; losses that are rounding show as 0."""
    if abs(value) < 1e-9:
        return "0"
    text = f"{value:.3g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"
    return text.replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else text


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
