"""The commands ``isac tasks``, ``isac evaluate``, ``isac site`` and ``isac demo``."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from rich.text import Text

from isac_gym.core.errors import ScenarioError
from isac_gym.terminal import Json, print_json

if TYPE_CHECKING:
    from leaderboard.board import Table
    from leaderboard.results import Result
    from leaderboard.tasks import Task

__all__ = ["register"]

_STRIP = 24  # cells of a drawn interval
_ROUNDING = 1e-9


def register(app: typer.Typer) -> None:
    """Add the leaderboard's commands to the command line."""
    app.command("tasks")(_tasks)
    app.command("evaluate")(_evaluate)
    app.command("site")(_site)
    app.command("demo")(_demo)


def _tasks(
    check: Annotated[
        bool, typer.Option("--check", help="Check digests, draw instances and score rows again.")
    ] = False,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Also recompute all reference values (minutes).")
    ] = False,
    freeze: Annotated[
        Path | None, typer.Option(help="Freeze a draft task file: fill in data and digests.")
    ] = None,
    as_json: Json = False,
) -> None:
    r"""List the leaderboard's tasks, check what they pin down, or freeze a new one.

    \b
    Examples:
      isac tasks
      isac tasks --check
      isac tasks --freeze leaderboard/data/tasks/power_control/my-task-v0.json
    """
    from leaderboard.tasks import tasks

    if freeze is not None:
        from leaderboard.reference import freeze as freeze_task

        typer.echo(f"frozen: {freeze_task(freeze).id}")
        return
    if check or recompute:
        _check_all(recompute=recompute)
        return
    if as_json:
        print_json([task.model_dump(mode="json", exclude_none=True) for task in tasks().values()])
        return
    grid = _grid("task", "kind", "instances", "split", "score 100 is", "what it asks")
    for task in tasks().values():
        bound, count = task.reference("bound"), str(task.instances.count)
        mark = f"{bound.label} ({bound.kind})"
        grid.add_row(task.id, task.kind, count, task.instances.split, mark, task.title)
    Console().print(grid)


def _check_all(*, recompute: bool) -> None:
    from leaderboard.instances import check_instances
    from leaderboard.store import Store
    from leaderboard.tasks import load_references, tasks

    for task in tasks().values():
        typer.echo(f"{task.id}: re-draw deviates by {check_instances(task):.1e}")
        load_references(task)
        if recompute:
            from leaderboard.reference import check_references

            parts = (f"{role} {value:.1e}" for role, value in check_references(task).items())
            typer.echo(f"  references deviate by {', '.join(parts)} {task.metric.unit}")
    drifts = Store().check_drift()
    for drift in drifts:
        if not drift.is_clean:
            typer.echo(f"drift: {drift.task} {drift.row}: {drift.deviation:.1e} {drift.reason}")
    typer.echo(f"{len(drifts)} stored rows scored again")
    if not all(drift.is_clean for drift in drifts):
        raise typer.Exit(1)


def _evaluate(
    task_id: Annotated[str, typer.Option("--task", help="Task id, see `isac tasks`.")],
    solver: Annotated[
        str, typer.Option(help="Solver NAME[:field=value,...]; margin=dB tightens constraints.")
    ] = "",
    agent: Annotated[Path | None, typer.Option(help="Folder of a trained agent.")] = None,
    submission: Annotated[Path | None, typer.Option(help="Folder of a submission.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the results to this JSON file.")] = None,
    as_json: Json = False,
) -> None:
    r"""Score a solver, a trained agent or a submission on one task.

    \b
    Examples:
      isac evaluate --task power_control/paper-v0 --solver sca
      isac evaluate --task power_control/dynamic-v0 --solver exact:margin=1
      isac evaluate --task power_control/paper-v0 --submission my-submission --json
    """
    from leaderboard.tasks import task as task_of

    if sum([bool(solver), agent is not None, submission is not None]) != 1:
        raise ScenarioError("give exactly one of --solver, --agent and --submission.")
    task = task_of(task_id)
    with _progress() as progress:
        if submission is not None:
            from leaderboard.submission import verify_submission

            results = [r for r in verify_submission(submission) if r.task == task.id]
            if not results:
                raise ScenarioError(f"submission {submission.name} has no entry for {task.id}.")
        elif agent is not None:
            from agents.artifact import load_agent
            from leaderboard.reference import run_agent

            results = [run_agent(task, load_agent(agent), progress=_watch(progress, task)).result]
        else:
            name, margin_db, fields = _parse_solver(solver)
            from baselines.registry import make_solver
            from leaderboard.reference import run_solver

            chosen = make_solver(task.problem, name, **fields)
            watch = _watch(progress, task)
            results = [run_solver(task, chosen, margin_db=margin_db, progress=watch).result]
    values = [result.model_dump(mode="json") for result in results]
    if out is not None:
        out.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
    if as_json:
        print_json(values)
    else:
        _print_results(task, results)
    if any(result.above_bound for result in results):
        typer.echo("a feasible decision beats the bound: the task needs a review", err=True)
        raise typer.Exit(1)


def _parse_solver(text: str) -> tuple[str, float, dict[str, Any]]:
    """Name, margin in dB and fields of ``NAME[:field=value,...]``."""
    name, _, rest = text.partition(":")
    fields: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        try:
            fields[key] = json.loads(value) if equals else None
        except json.JSONDecodeError:
            fields[key] = value
        if fields[key] is None:
            raise ScenarioError(f"--solver: {part!r} must read field=value.")
    margin = fields.pop("margin", 0.0)
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise ScenarioError(f"--solver: margin must be a number in dB, got {margin!r}.")
    return name, float(margin), fields


def _site(
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("build/site"),
    results: Annotated[Path | None, typer.Option(help="Folder of the record.")] = None,
) -> None:
    r"""Build the leaderboard's page from the record of results.

    \b
    Examples:
      isac site --out build/site
    """
    from leaderboard.site import build_site
    from leaderboard.store import Store

    typer.echo(build_site(out, store=Store() if results is None else Store(results)))


def _demo(
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("build/site"),
    results: Annotated[
        Path | None, typer.Option(help="Folder of the record; default: next to the page.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="One part: scores, or a part a problem brings.")
    ] = None,
) -> None:
    r"""Run every baseline on the leaderboard's tasks, print the scores and build the page.

    Then the parts that problems bring of their own, such as a run of federated learning.

    \b
    Examples:
      isac demo
      isac demo --out build/site
      isac demo --only federated
    """
    import torch

    parts = {point.name: point for point in entry_points(group="isac_gym.demos")}
    if only not in (None, "scores", *parts):
        allowed = ", ".join(("scores", *sorted(parts)))
        raise ScenarioError(f"only must be one of {allowed}, got {only!r}.")
    torch.set_num_threads(1)
    if only in (None, "scores"):
        _demo_scores(out, results)
    for name in sorted(parts):
        if only in (None, name):
            parts[name].load()(Console())


def _demo_scores(out: Path, results: Path | None) -> None:
    from leaderboard.board import build_board
    from leaderboard.reference import jobs_of, run_job
    from leaderboard.site import build_site
    from leaderboard.store import Store
    from leaderboard.tasks import tasks

    start, console = time.perf_counter(), Console()
    store = Store(results or out.parent / "record")
    with _progress() as progress:
        jobs = [(task, job) for task in tasks().values() for job in jobs_of(task)]
        total = progress.add_task("all tasks", total=len(jobs))
        known = dict(store.known_decisions())
        for task, job in jobs:
            watch = _watch(progress, task, label=_label(job))
            run = run_job(task, job, progress=watch)
            key = (task.id, run.result.decisions_sha256)
            twin = known.setdefault(key, run.result.method.name) if key[1] else None
            if twin in (None, run.result.method.name):
                store.add(run.result, decision=run.decision)
            else:
                progress.console.print(
                    f"{task.id}: {run.result.method.name} decides as {twin}", style="dim"
                )
            progress.advance(total)
        board = build_board(store)
        page = build_site(out, store=store, board=board)
    for table in board.tables:
        console.print(_score_grid(table, is_wide=console.width >= 110))
    seconds = time.perf_counter() - start
    console.print(f"\n{len(jobs)} runs in {seconds:.0f} s. Score 0 is the floor, 100 the bound.")
    typer.echo(f"The page: {page}")


def _label(job: Mapping[str, Any]) -> str:
    what = Path(str(job.get("solver") or job.get("policy") or job.get("agent"))).name
    return what.rpartition(":")[2]


def _watch(progress: Progress, task: "Task", *, label: str = "") -> Callable[[int, int], None]:
    """Show one run on the last line of ``progress``; returns what is called with (done, total)."""
    for row in progress.task_ids[1:]:
        progress.remove_task(row)
    row = progress.add_task(f"{task.id} {label}", total=None)

    def show(done: int, total: int) -> None:
        progress.update(row, completed=done, total=total)

    return show


def _score_grid(table: "Table", *, is_wide: bool) -> Grid:
    task, axis = table.task, table.axis
    last = f"mean loss ({task.metric.unit})" if task.has_bound else f"mean {task.metric.unit}"
    grid = _grid("rank", "method", "score", "95 % interval", last, "feasible")
    if is_wide:
        grid.add_column("time")
        grid.add_column(f"{axis.low:.0f} to {axis.high:.0f} points", style="cyan")
    for column in grid.columns:
        column.no_wrap = True
    grid.title = Text(f"\n{task.id}: {task.title}", style="bold")
    grid.title_justify = "left"
    for line in table.lines:
        r, s = line.result, line.result.summary
        why = line.why.partition(":")[0]
        mean = s.loss_mean if task.has_bound else sum(r.objective) / len(r.objective)
        cells = [
            str(line.rank or "-"),
            r.method.name + ("" if why in ("", "genie") else f" ({why})"),
            f"{s.iqm:.2f}",
            f"{s.low:.1f} to {s.high:.1f}",
            f"{mean:.3g}" if abs(mean) > _ROUNDING else "0",
            f"{100 * r.feasibility_rate:.1f} %",
        ]
        if is_wide:
            cells.append(f"{1e3 * r.timing.seconds_per_decision:.2g} ms" if r.timing else "-")
            cells.append(_drawn(axis.at(s.low), axis.at(s.iqm), axis.at(s.high)))
        grid.add_row(*cells, style=None if line.rank else "dim")
    return grid


def _drawn(low: float, value: float, high: float) -> str:
    cells = [" "] * (_STRIP + 1)
    first, middle, last = (round(_STRIP * share / 100) for share in (low, value, high))
    cells[first : last + 1] = "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * (last + 1 - first)
    cells[middle] = "\N{BLACK CIRCLE}"
    return "".join(cells)


def _print_results(task: "Task", results: "Sequence[Result]") -> None:
    console = Console()
    for r in results:
        s = r.summary
        console.print(Text(f"{r.method.name} on {task.id}", style="bold"))
        console.print(f"  score {s.iqm:.3f} (95 % interval {s.low:.3f} to {s.high:.3f})")
        console.print(
            f"  mean {s.mean:.3f}, worst 5 % {s.worst_tail:.3f}, of {s.weighted} instances"
        )
        console.print(
            f"  loss {s.loss_mean:.3g} mean, {s.loss_p95:.3g} at 95 %, {s.loss_max:.3g} largest, "
            f"{task.metric.unit}"
        )
        console.print(
            f"  feasible {100 * r.feasibility_rate:.1f} % as handed in, "
            f"{100 * r.feasibility_rate_after:.1f} % as scored"
        )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _grid(*columns: str) -> Grid:
    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(Text(column), overflow="fold")
    return grid
