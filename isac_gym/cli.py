"""The command ``isac``: its own commands, those of every installed package, one way to fail.

Packages add commands through the entry-point group ``isac_gym.commands`` (objects:
``register(app: typer.Typer) -> None``). Nothing heavy is imported before a command runs.
"""

import importlib.metadata
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from isac_gym.core.errors import IsacError
from isac_gym.core.family import families
from isac_gym.terminal import Json, duration, plain_table, print_json

__all__ = ["main", "make_app"]

_UsageError: Any = typer.BadParameter.__bases__[0]  # Typer does not export what it raises
_HELP = """Benchmark environments and certified baselines for integrated sensing and communication.

\b
Where to begin:
  isac list                       what is installed
  isac show power-control         one problem: formulas, parameters, observations
  isac bench --quick              how fast, against the usual alternatives

Every command takes --help, and --json for programs.

Exit codes: 0 done; 1 a check or a claim failed; 2 wrong input (one line on stderr says what).
"""


class _Group(TyperGroup):
    """The command group; turns every foreseeable failure into one line and an exit code."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run; the exit code is 0, 1 (raised as ``typer.Exit(1)``) or 2 (wrong input)."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            code = super().main(*args, standalone_mode=False, **extra)
        except _UsageError as error:
            command = error.ctx.command_path if error.ctx else "isac"
            _refuse(f"{error.format_message()} (see `{command} --help`)")
        except ModuleNotFoundError as error:
            extra_name = _extra_of(error.name or "")
            if extra_name is None:
                raise
            _refuse(f'{error.name} is not installed: pip install "isac_gym[{extra_name}]"')
        except (IsacError, OSError) as error:
            _refuse(str(error))
        except typer.Abort:
            _refuse("stopped")
        sys.exit(code if isinstance(code, int) else 0)


def _refuse(message: str) -> NoReturn:
    typer.echo(f"isac: {' '.join(message.split())}", err=True)
    sys.exit(2)


def _extra_of(module: str) -> str | None:
    """Extra of this project that installs a module, or None."""
    wanted = module.partition(".")[0].replace("_", "-").lower()
    for requirement in importlib.metadata.requires("isac_gym") or ():
        found = re.match(r"([\w.-]+).*extra == [\"'](.+)[\"']", requirement)
        name = found[1].replace("_", "-").lower() if found else ""
        if found and name == wanted != "isac-gym":
            return found[2]
    return None


def make_app() -> typer.Typer:
    """The application with the commands of every installed package."""
    app = typer.Typer(
        cls=_Group,
        name="isac",
        help=_HELP,
        invoke_without_command=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    app.command("list")(_list)
    app.command("show")(_show)
    app.command("bench")(_bench)
    points = importlib.metadata.entry_points(group="isac_gym.commands")
    for point in sorted(points, key=lambda point: point.name):
        try:
            register = point.load()
        except (ImportError, AttributeError) as error:
            typer.echo(f"isac: the commands of {point.name!r} are missing: {error}", err=True)
        else:
            register(app)
    return app


def main() -> None:
    """Console entry point."""
    make_app()()


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"isac_gym {importlib.metadata.version('isac_gym')}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _list(as_json: Json = False) -> None:
    """List problems with their environments, solvers and leaderboard tasks.

    \b
    Examples:
      isac list
      isac list --json | jq '.problems[].environments[].id'
    """  # noqa: D301 - the help renderer wants the \b character
    catalogue = [_catalogue_entry(name, _task_counts()) for name in families()]
    if as_json:
        print_json({"problems": catalogue})
        return
    console = Console()
    for entry in catalogue:
        console.print(Text(f"{entry['name']}", style="bold"), entry["title"])
        console.print(Text(f"  {entry['paper']}", style="dim"))
        if entry["environments"]:
            grid = plain_table("environment", "what it is")
            for environment in entry["environments"]:
                grid.add_row(environment["id"], environment["doc"])
            console.print(grid)
        console.print(f"  {len(entry['solvers'])} solvers:", ", ".join(entry["solvers"]) or "none")
        console.print(f"  {entry['tasks']} leaderboard tasks")


def _catalogue_entry(name: str, tasks: Counter[str]) -> dict[str, Any]:
    family = families()[name]
    points = importlib.metadata.entry_points(group="isac_gym.solvers", name=name)
    return {
        "name": name,
        "title": family.title,
        "paper": family.paper,
        "environments": [
            {"id": e.id, "parallel_id": e.parallel_id, "doc": e.doc} for e in family.environments
        ],
        "solvers": [solver for point in points for solver in point.load()],
        "tasks": tasks[name],
    }


def _task_counts() -> Counter[str]:
    """Number of leaderboard tasks by problem; task ids read ``problem/name-vN``."""
    points = importlib.metadata.entry_points(group="isac_gym.tasks")
    return Counter(task_id.partition("/")[0] for point in points for task_id in point.load()())


def _show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A problem or an environment id.")],
    scenario: Annotated[
        str | None, typer.Option(help="Preset of the sizes; default: the environment's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the card of a problem: formulas, scenario, records, observations, actions, agents.

    \b
    Examples:
      isac show power-control
      isac show isac/PowerControl-v0 --scenario dense-7
      isac show power-control --json | jq .presets
    """  # noqa: D301 - the help renderer wants the \b character
    from isac_gym.card import card

    found = card(name, scenario)
    if as_json:
        print_json(found)
        return
    _print_card(found, scenario or "paper")


def _print_card(found: dict[str, Any], scenario: str) -> None:
    console = Console()
    console.print(Text(found["title"], style="bold"))
    console.print(Text(found["paper"], style="dim"), end="\n\n")
    for line in found["formulas"]:
        console.print(Text(f"  {line}"))
    grid = plain_table("field", f"{scenario!r}", "allowed", "meaning", "source")
    for row in found["scenario"]:
        grid.add_row(*(str(row[key]) for key in ("field", "value", "allowed", "doc", "source")))
    _print_section(console, "Scenario", grid)
    grid = plain_table("preset", "changes")
    for preset, changes in found["presets"].items():
        grid.add_row(preset, ", ".join(f"{k} = {v}" for k, v in changes.items()) or "defaults")
    _print_section(console, "Presets", grid)
    axes = ", ".join(f"{axis} {meaning}" for axis, meaning in found["axes"].items())
    for record, rows in found["records"].items():
        grid = plain_table("field", "axes", "kind", "unit", "meaning")
        for row in rows:
            grid.add_row(row["field"], row["axes"], row["kind"], row["unit"], row["doc"])
        _print_section(console, f"{record.capitalize()} ({axes})", grid)
    for environment in found["environments"]:
        _print_environment(console, environment)


def _print_environment(console: Console, environment: dict[str, Any]) -> None:
    action, agents = environment["action"], environment["agents"]
    settings = ", ".join(f"{s['setting']} = {s['default']!r}" for s in environment["settings"])
    grid = plain_table("entries", "observation", "meaning")
    for block in environment["observation"]:
        grid.add_row("{}:{}".format(*block["entries"]), block["name"], block["doc"])
    _print_section(console, f"{environment['id']}: {environment['doc']}", grid)
    console.print(f"  action: {action['size']} numbers in [{action['low']:g}, {action['high']:g}]")
    console.print(f"  reward vector: {', '.join(environment['objectives'])}")
    console.print(Text(f"  preset: {environment['preset']}; settings: {settings}"))
    grid = plain_table("entries", "observation of one agent", "meaning")
    for block in environment["local_observation"]:
        grid.add_row("{}:{}".format(*block["entries"]), block["name"], block["doc"])
    if environment["parallel_id"]:
        names = ", ".join(agents) if len(agents) <= 4 else f"{agents[0]} ... {agents[-1]}"
        each = environment["local_action"]["size"]
        console.print(f"  PettingZoo agents: {names}; {each} number(s) in [-1, 1] each")
        console.print(grid)


def _bench(
    rows: Annotated[str, typer.Option(help="Part of the row names, or a shell pattern.")] = "*",
    quick: Annotated[bool, typer.Option("--quick", help="Smaller work, same checks.")] = False,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds per row, at least 5.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Write the JSON report to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Time our code against the usual alternatives, in one process on one thread.

    Each ratio is (their seconds per unit) / (our seconds per unit), the median over interleaved
    rounds, and counts only if both sides gave the right answer in this run: a wrong answer shows
    as FAIL and ends with exit code 1. Being slower than the target does not.

    \b
    Examples:
      isac bench --quick
      isac bench --rows power_control --out bench.json
      isac bench --rows '*/vector-*' --json
    """  # noqa: D301 - the help renderer wants the \b character
    from isac_gym import bench

    report: dict[str, Any] = {"machine": bench.machine(), "rows": []}
    chosen = bench.select_rows(bench.installed_rows(), rows)
    console, log = Console(quiet=as_json), Console(stderr=True)
    machine = "{processor}, {cores} cores; torch {torch}, {threads} thread"
    console.print(machine.format_map(report["machine"]))
    for row in chosen:
        with log.status(f"{row.name}: {row.ours.label} against {row.theirs.label}"):
            result = bench.compare(row, rounds=rounds, quick=quick).to_dict()
        report["rows"].append(result)
        _print_result(console, result)
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n")
    if as_json:
        print_json(report)
    if any(row["verdict"] == bench.Verdict.FAIL for row in report["rows"]):
        raise typer.Exit(1)


def _print_result(console: Console, row: dict[str, Any]) -> None:
    ratio = "not measured"
    if row["ratio"] is not None:
        ratio = "{ratio:.4g}x ({ratio_low:.4g} to {ratio_high:.4g})".format_map(row)
    head = f"{row['verdict'].upper():5} {row['name']}: {ratio}, target {row['target']:g}x"
    console.print()
    console.print(Text(head, style="bold"))
    for side, key in (("ours", "our_seconds"), ("theirs", "their_seconds")):
        time = "" if row[key] is None else f"{duration(row[key])}/{row['unit']}"
        console.print(Text(f"  {side:7} {time:18} {row[side]}"))
    facts = [f"{name} {value:.3g}" for name, value in row["facts"].items() if value is not None]
    for label, text in (("checked", ", ".join(facts)), ("note", row["note"])):
        if text:
            console.print(Text(f"  {label:7} {text}", style="dim"))


def _print_section(console: Console, title: str, grid: Table) -> None:
    console.print()
    console.print(Text(title, style="bold"))
    console.print(grid)
