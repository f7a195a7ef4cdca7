"""The command ``isac train``."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from isac_gym.terminal import assignments

__all__ = ["register"]

_ONE_STEP = {"loss": ("loss", 1.0), "share %": ("share", 100.0), "score": ("score", 1.0)}
_IN_TIME = {"reward per slot": ("reward", 1.0), "objective": ("objective", 1.0)}
_ALWAYS = {"infeasible %": ("infeasible", 100.0)}  # heading: (key of the summary, factor)


def register(app: typer.Typer) -> None:
    """Add ``train`` to the command line."""
    app.command("train")(_train)


def _train(
    environment: Annotated[str, typer.Argument(metavar="ENV_ID", help="See `isac list`.")],
    method: Annotated[
        str, typer.Option(help="amortised (gradient of the score) or ppo (Stable-Baselines3).")
    ] = "amortised",
    steps: Annotated[int, typer.Option(help="Environment steps to spend.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Seed of weights and instances.")] = 0,
    num_envs: Annotated[
        int | None, typer.Option(help="Lanes per update; default: the method's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the agent; default: <method>-seed<seed>.")
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario", "--preset", help="Scenario preset; default: the environment's own."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Scenario field, as field=value.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--setting", help="Environment setting, as name=value.")
    ] = None,
    hyper: Annotated[
        list[str] | None, typer.Option("--hyper", help="Hyper-parameter, as name=value.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the agent.")] = "",
    episodes: Annotated[int, typer.Option(help="Held-out episodes of the final table.")] = 4096,
    device: Annotated[str, typer.Option(help="Torch device; cuda with amortised only.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Train an agent, save it as plain data, and compare it with the references.

    The folder holds weights.safetensors, manifest.json and curve.png. Ctrl-C keeps what there is.

    \b
    Examples:
      isac train isac/PowerControlStatic-v0 --method amortised --steps 1000000
      isac train isac/PowerControl-v0 --method ppo --seed 1 --setting ramp_db=2
      isac train isac/PowerControl-v0 --method ppo --hyper gamma=0.95 --json
    """  # noqa: D301 - the help renderer wants the \b character
    from agents.experiment import TrainingRun, make_config, run
    from agents.training import TrainingTask

    task = TrainingTask(
        environment=environment,
        scenario=({"preset": scenario} if scenario else {}) | assignments("--set", changes),
        settings=assignments("--setting", settings),
        steps=steps,
        seed=seed,
        num_envs=num_envs,
        device=device,
    )
    what = TrainingRun(
        task=task,
        method=method,
        out=out or Path(f"{method}-seed{seed}"),
        name=name,
        changes=assignments("--hyper", hyper),
        held_out_episodes=episodes,
        command=shlex.join(["isac", *sys.argv[1:]]),
    )
    make_config(method, task, what.changes)  # refuse before the bar appears
    with _bar(quiet=as_json) as bar:
        line = bar.add_task("training", total=steps, value="")
        agent = run(
            what,
            progress=lambda done, value: bar.update(line, completed=done, value=f"{value:.4f}"),
        )
    if as_json:
        typer.echo(json.dumps(agent.manifest.model_dump(mode="json"), indent=2, allow_nan=False))
    else:
        _print(what.out, agent.manifest)
    if agent.manifest.interrupted:
        raise typer.Exit(1)


def _bar(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} / {task.total:,.0f} steps, {task.fields[value]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )


def _print(out: Path, manifest: Any) -> None:
    console, results = Console(), manifest.results
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    has_bound = any("loss" in row for row in results.values())
    shown = (_ONE_STEP if has_bound else _IN_TIME) | _ALWAYS
    shown = {h: p for h, p in shown.items() if any(p[0] in row for row in results.values())}
    table.add_column("policy", no_wrap=True)
    for heading in shown:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for policy, row in results.items():
        table.add_row(policy, *(_cell(row, *place) for place in shown.values()))
    console.print(table)
    state = "interrupted" if manifest.interrupted else "trained"
    console.print(f"{state} {manifest.steps:,} steps in {manifest.seconds:.1f} s; saved to {out}")


def _cell(row: dict[str, Any], key: str, factor: float) -> str:
    if key not in row:
        return ""
    text = f"{factor * row[key]:.3f}"
    low, high = row.get(f"{key}_interval", (row[key], row[key]))
    return text if low == high else f"{text} ± {factor * (high - low) / 2:.3f}"
